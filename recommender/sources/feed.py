"""Reader of RSS and Atom feeds and of Blogger's backups, through feedparser."""

import calendar
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from xml.sax import SAXException

import feedparser

from recommender.sources import damaged_xml, record
from recommender.sources.entry import EMPTY_FILE, MAX_ARTICLE_BYTES, ONE_PAGE, Entry, File
from recommender.sources.site import on_site
from recommender.text.dates import numeric_dates, parse_date

_KIND_SCHEME = "http://schemas.google.com/g/2005#kind"
_BLOGGER_KIND = "http://schemas.google.com/blogger/2008/kind#"
_BLOGGER_STATUSES = {"DRAFT": "draft", "SCHEDULED": "scheduled", "SOFT_TRASHED": "trashed", "TRASHED": "trashed"}

MAX_PART_BYTES = 2**24  # of a feed that feedparser holds in memory at a time
_ITEM = re.compile(rb"<(entry|item)[\s>]")
_ITEM_END = re.compile(rb"</(?:entry|item)\s*>")


def read(file: File) -> Iterator[Entry]:
    """Yield an Entry for each item of a feed, and one for each problem with the file."""
    number = 0
    try:
        for content, is_last in _parts(file):
            feed = _parse(content)
            for item in feed.entries:
                number += 1
                yield _entry(f"{file.name}: entry {number}", item, feed.feed, file)
            if is_last:
                yield from _problems(file, feed, number)
    except OSError as error:
        yield file.unreadable_entry(error)
    except Exception as error:  # feedparser documents no exceptions
        problem = f"the feed cannot be read ({type(error).__name__})"
        yield Entry(file.name, problems=(problem,), unknown=True, failed=True)


def _parts(file: File) -> Iterator[tuple[bytes, bool]]:
    """Yield a feed as one document, or a long one as several with some of its items each; True for the last."""
    with file.path.open("rb") as opened:
        content = damaged_xml.without_prologue(opened.read(MAX_PART_BYTES))
        file.on_bytes_read(len(content))
        first = _ITEM.search(content)
        head = content[: first.start()] if first else b""
        end = b"</feed>" if first and first[1] == b"entry" else b"</channel></rss>"
        while part := opened.read(MAX_PART_BYTES):
            file.on_bytes_read(len(part))
            if ends := [match.end() for match in _ITEM_END.finditer(content)]:
                yield content[: ends[-1]] + end, False
                content = head + content[ends[-1] :]
            if len(content) > MAX_ARTICLE_BYTES:
                raise OSError(f"an item is longer than {MAX_ARTICLE_BYTES // 2**20} MB")
            content += part
        yield content, True


def _parse(content: bytes) -> Any:
    """Return what feedparser makes of a feed, repaired if it is not well-formed, without an item that is cut."""
    feed = feedparser.parse(BytesIO(content))
    if not isinstance(feed.get("bozo_exception"), SAXException):
        return feed
    content = damaged_xml.repair(content)
    repaired = feedparser.parse(BytesIO(content))
    ends = [match.end() for match in _ITEM_END.finditer(content)]
    if not repaired.get("bozo") or not ends:
        return repaired
    return feedparser.parse(BytesIO(content[: ends[-1]])) if _ITEM.search(content, ends[-1]) else repaired


def _entry(where: str, item: Any, feed: Mapping[str, Any], file: File) -> Entry:
    """Return the Entry of an item of a feed."""
    if (kind := _blogger_kind(item)) not in ("", "post", "page"):
        return Entry(where, id=str(dict.get(item, "id") or ""), problems=(f"its kind is {kind}",), excluded=kind)
    try:
        fields = record.json_value(_record(item, feed.get("language")))
        fields["url"] = on_site(file.url or feed.get("link"), fields.get("url") or "")
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # the item has an unexpected structure
        problem = f"the entry cannot be read ({error})"
        return Entry(where, id=str(dict.get(item, "id") or dict.get(item, "link") or ""), problems=(problem,))
    return record.record_entry(where, fields, fields=file.fields, html=True)


def _problems(file: File, feed: Any, count: int) -> Iterator[Entry]:
    """Yield an Entry for each reason why a feed of `count` items may lack some."""
    damage = feed.get("bozo_exception")
    if not count and not file.path.stat().st_size:
        yield Entry(file.name, problems=(EMPTY_FILE,), unknown=True, failed=True)
    elif isinstance(damage, SAXException):  # the items before the damage were yielded
        reason = f"the feed is damaged or cut short ({damaged_xml.message(damage)})"
        yield Entry(file.name, problems=(reason,), unknown=True, failed=not count)
    elif not count and not feed.get("version"):
        yield Entry(file.name, problems=("the file is not a readable feed",), unknown=True, failed=True)
    if any(link.get("rel") == "next" for link in feed.feed.get("links", [])):  # RFC 5005
        yield Entry(file.name, problems=(ONE_PAGE,), unknown=True)


def _blogger_kind(item: Any) -> str:
    """Return the kind of an entry in a backup of Blogger: post, page, comment, template or settings; "" elsewhere.

    Backups state it as a category (until 2024) or as `blogger:type` (Google Takeout).
    """
    terms = [str(tag.get("term") or "") for tag in item.get("tags", [])]
    kinds = [term.removeprefix(_BLOGGER_KIND) for term in terms if term.startswith(_BLOGGER_KIND)]
    return next(iter(kinds), str(item.get("blogger_type") or "").lower())


def _record(item: Mapping[str, Any], language: str | None) -> dict[str, Any]:
    """Return the record of a feed's item: its text is the longest of its contents and its summary."""
    contents = [part.get("value", "") for part in item.get("content", [])]
    summary = item.get("summary", "")
    text = max([*contents, summary], key=len)
    images = [
        part.get("url") or part.get("href")
        for part in (*item.get("media_thumbnail", []), *item.get("media_content", []), *item.get("enclosures", []))
        if str(part.get("type", "image")).startswith("image")
    ]
    language = (
        next((part.get("language") for part in item.get("content", []) if part.get("language")), None) or language
    )
    fields = {
        "id": item.get("id"),
        # A feed of Google Takeout has no links; the name of the page is its path.
        "url": item.get("blogger_filename") or item.get("link") or _page_url(item.get("id")),
        "title": item.get("title"),
        "text": text,
        "published": _published(item),
        "tags": [tag["term"] for tag in item.get("tags", []) if tag.get("term") and tag.get("scheme") != _KIND_SCHEME],
        "language": language or None,
        "author": item.get("author"),
        "excerpt": item.get("blogger_metadescription") or (summary if summary != text else None),
        "status": "draft" if item.get("app_draft") == "yes" else _BLOGGER_STATUSES.get(item.get("blogger_status", "")),
        "image": next(filter(None, images), None),
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _page_url(id: str | None) -> str | None:
    """Return the id of an item if it is a URL: most feeds use the address of the page."""
    return id if id and re.match(r"https?://", id) else None


def _published(item: Any) -> str | None:
    """Return the date of publication, else of the update or creation, in ISO 8601; unparsable dates as they are."""
    dates = [
        (text, dict.get(item, f"{name}_parsed"))
        for name in ("published", "updated", "created")
        if (text := dict.get(item, name))
    ]
    for text, parsed in dates:
        moment = parse_date(text)
        # feedparser knows more notations with named months, but reads 03-04-2021 as 2003-04-20, and few time zones.
        if moment is None and parsed and re.search(r"[^\W\d_]{3}", text) and not numeric_dates(text):
            moment = datetime.fromtimestamp(calendar.timegm(parsed), UTC)
        if moment and moment.year > 1:  # WordPress writes -0001-11-30 for no date
            return moment.isoformat()
    return next((text for text, _ in dates if "-0001 " not in text), None)
