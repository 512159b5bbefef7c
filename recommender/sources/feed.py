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
from recommender.sources.entry import EMPTY_FILE, ONE_PAGE, Entry, File
from recommender.sources.site import on_site
from recommender.text.dates import numeric_dates, parse_date

_KIND_SCHEME = "http://schemas.google.com/g/2005#kind"
_BLOGGER_KIND = "http://schemas.google.com/blogger/2008/kind#"
_BLOGGER_STATUSES = {"DRAFT": "draft", "SCHEDULED": "scheduled", "SOFT_TRASHED": "trashed", "TRASHED": "trashed"}


def read(file: File) -> Iterator[Entry]:
    """Yield an Entry for each item of a feed, and one for each problem with the file."""
    content = file.read_article_bytes()
    if isinstance(content, Entry):
        yield content
        return
    if not content.strip():
        yield Entry(file.name, problems=(EMPTY_FILE,), unknown=True, failed=True)
        return
    content = damaged_xml.without_prologue(content)
    try:
        feed = feedparser.parse(BytesIO(content))
        if isinstance(feed.get("bozo_exception"), SAXException):
            repaired = feedparser.parse(BytesIO(damaged_xml.repair(content)))
            feed = feed if repaired.get("bozo") else repaired
    except Exception as error:  # feedparser documents no exceptions
        problem = f"the feed cannot be read ({type(error).__name__})"
        yield Entry(file.name, problems=(problem,), unknown=True, failed=True)
        return
    language = feed.feed.get("language")
    base = file.url or feed.feed.get("link")
    for number, item in enumerate(feed.entries, start=1):
        where = f"{file.name}: entry {number}"
        if (kind := _blogger_kind(item)) not in ("", "post", "page"):
            yield Entry(where, id=str(dict.get(item, "id") or ""), problems=(f"its kind is {kind}",), excluded=kind)
            continue
        try:
            fields = record.json_value(_record(item, language))
            fields["url"] = on_site(base, fields.get("url") or "")
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # the item has an unexpected structure
            problem = f"the entry cannot be read ({error})"
            yield Entry(where, id=str(dict.get(item, "id") or dict.get(item, "link") or ""), problems=(problem,))
            continue
        yield record.record_entry(where, fields, fields=file.fields, html=True)
    if any(link.get("rel") == "next" for link in feed.feed.get("links", [])):  # RFC 5005
        yield Entry(file.name, problems=(ONE_PAGE,), unknown=True)
    damage = feed.get("bozo_exception")
    if isinstance(damage, SAXException):  # the items before the damage were yielded
        reason = f"the feed is damaged or cut short ({damaged_xml.message(damage)})"
        yield Entry(file.name, problems=(reason,), unknown=True, failed=not feed.entries)
    elif not feed.entries and not feed.get("version"):
        yield Entry(file.name, problems=("the file is not a readable feed",), unknown=True, failed=True)


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
        "url": item.get("link") if not item.get("blogger_filename") else item["blogger_filename"],
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


def _published(item: Any) -> str | None:
    """Return the date of publication, else of the update or creation, in ISO 8601; unparsable dates as they are."""
    dates = [
        (text, dict.get(item, f"{name}_parsed"))
        for name in ("published", "updated", "created")
        if (text := dict.get(item, name))
    ]
    for text, parsed in dates:
        # feedparser parses named months correctly, but reads 03-04-2021 as 2003-04-20.
        if parsed and re.search(r"[^\W\d_]{3}", text) and not numeric_dates(text):
            moment: datetime | None = datetime.fromtimestamp(calendar.timegm(parsed), UTC)
        else:
            moment = parse_date(text)
        if moment:
            return moment.isoformat()
    return dates[0][0] if dates else None
