"""Reader of JSON files: lists of records, JSON Feed (jsonfeed.org), exports of Ghost, and single articles."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any

import ijson

from recommender.sources import jsonl, record
from recommender.sources.entry import EMPTY_FILE, MAX_ARTICLE_BYTES, Entry, File
from recommender.sources.jsonsearch import GHOST, MAX_NESTING, Location, is_too_deep, locate_articles

_NO_ARTICLES = (
    "the file contains neither an article nor a list of articles: write a JSON list of objects, or an object that "
    'contains one, such as {"articles": [...]}'
)


def read(file: File) -> Iterator[Entry]:
    """Yield an Entry for each record of a file, and one for each problem; lists are read as a stream.

    Records before damage or a cut are read. A file of one object per line is read as JSON Lines, whatever its name.
    """
    number = 0
    try:
        if not file.path.stat().st_size:
            yield Entry(file.name, problems=(EMPTY_FILE,), unknown=True, failed=True)
            return
        if _is_json_lines(file):
            yield from jsonl.read(file)
            return
        if is_too_deep(file):
            problem = f"the file nests values more than {MAX_NESTING} deep, and was skipped"
            yield Entry(file.name, problems=(problem,), unknown=True, failed=True)
            return
        location = locate_articles(file)
        if location is None:
            yield Entry(file.name, problems=(_NO_ARTICLES,), unknown=True)
            return
        factory = _EntryFactory(file)
        for name, id, value in _records(file, location):
            number += 1
            where = f"{file.name}: {name}"
            if not isinstance(value, Mapping):
                yield Entry(where, problems=("it is not a JSON object",), unknown=True)
                continue
            try:
                plain = record.json_value(value)
            except ValueError as error:
                yield Entry(where, problems=(str(error),), unknown=True)
                continue
            yield from factory.entries(where, location.prefix, plain, id)
    except OSError as error:
        yield file.unreadable_entry(error)
    except (ijson.JSONError, UnicodeDecodeError, ValueError, RecursionError) as error:
        problem = (
            f"the file is not JSON, or is damaged or cut short from here on ({' '.join(str(error).split())[:200]})"
        )
        yield Entry(f"{file.name}: record {number + 1}", problems=(problem,), unknown=True, failed=True)


def _is_json_lines(file: File) -> bool:
    """Return whether a file is JSON Lines: its first line is an object, and an object begins after it."""
    with file.path.open("rb") as opened:
        line = opened.readline(MAX_ARTICLE_BYTES).removeprefix(b"\xef\xbb\xbf").strip()
        if not (
            line.startswith(b"{") and line.endswith(b"}") and opened.read(MAX_ARTICLE_BYTES).lstrip().startswith(b"{")
        ):
            return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _records(file: File, location: Location) -> Iterator[tuple[str, str | None, Any]]:
    """Yield for each record of a file its name in messages, the id to use if it has none, and its value."""
    if location.kind == "article":
        yield from (("the article", file.id, value) for value in _parsed(file, ijson.items, location.prefix))
    elif location.kind == "objects":
        for key, value in _parsed(file, ijson.kvitems, location.prefix):
            if isinstance(value, Mapping):  # an object of articles may also contain counts and other values
                yield f"record {key!r}", key, value
    else:
        items = _parsed(file, ijson.items, f"{location.prefix}.item" if location.path else "item")
        yield from ((f"record {number}", None, value) for number, value in enumerate(items, start=1))


class _EntryFactory:
    """Makes Entries from the records of one file: of Ghost, of JSON Feed, or plain."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._language: str | None = None
        self._tags: dict[str, list[str]] = {}

    def entries(self, where: str, prefix: str, fields: Mapping[str, Any], id: str | None) -> Iterator[Entry]:
        """Yield the Entry of a record; nothing for a record of Ghost that is neither post nor page.

        Args:
            where: the file and the record, for messages.
            prefix: the path of the list or object that contains the record, as ijson writes it.
            fields: the record.
            id: the id to use if the record has none.
        """
        if prefix == f"{GHOST}.posts":
            if not self._tags:
                self._tags = _ghost_tags(self._file)
            if entry := _ghost_entry(where, fields, self._tags, self._file.fields):
                yield entry
            return
        if prefix == "items" and {"content_html", "content_text", "date_published"} & set(fields):
            if self._language is None:
                self._language = next(_items(self._file, "language"), None) or ""
            html = bool(fields.get("content_html"))
            fields = _feed_record(fields, self._language)
            yield record.record_entry(where, fields, fields=self._file.fields, html=html)
            return
        yield record.record_entry(where, fields, id=id, fields=self._file.fields)


def _parsed(file: File, parse: Callable[..., Iterator[Any]], prefix: str, *, counted: bool = True) -> Iterator[Any]:
    """Yield the values that `parse`, a function of ijson, finds at `prefix`; report the bytes read if `counted`."""
    number = position = 0
    for use_float in (True, False):  # floats are twice as fast as decimals, but fail at integers of more than 64 bits
        try:
            with file.path.open("rb") as opened:
                if opened.read(3) != b"\xef\xbb\xbf":
                    opened.seek(0)
                for item in islice(parse(opened, prefix, use_float=use_float), number, None):
                    yield item if use_float else _with_floats(item)
                    number += 1
                    if counted:
                        file.on_bytes_read(opened.tell() - position)
                        position = opened.tell()
            return
        except ijson.JSONError as error:
            if not use_float or "overflow" not in str(error):
                raise


def _with_floats(value: Any) -> Any:
    """Return a JSON value with floats in place of its Decimals."""
    if isinstance(value, dict):
        return {name: _with_floats(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_with_floats, value))
    return float(value) if isinstance(value, Decimal) else value


def _items(file: File, prefix: str) -> Iterator[Any]:
    return _parsed(file, ijson.items, prefix, counted=False)


def _feed_record(item: Mapping[str, Any], language: str) -> dict[str, Any]:
    """Return the record of an item of JSON Feed, version 1.1."""
    authors = [author.get("name") for author in item.get("authors") or [] if isinstance(author, Mapping)]
    return {
        "id": item.get("id"),
        "url": item.get("url"),
        "title": item.get("title"),
        "text": item.get("content_html") or item.get("content_text") or item.get("summary"),
        "published": item.get("date_published"),
        "tags": item.get("tags") or [],
        "language": item.get("language") or language or None,
        **{name: item[name] for name in ("image", "banner_image", "external_url") if item.get(name)},
        **({"excerpt": item["summary"]} if item.get("summary") else {}),
        **({"author": ", ".join(map(str, filter(None, authors)))} if any(authors) else {}),
    }


def _ghost_tags(file: File) -> dict[str, list[str]]:
    """Return the names of the tags of each post, by its id, in the order that Ghost shows them in."""
    names = {str(tag.get("id")): tag.get("name") for tag in _items(file, f"{GHOST}.tags.item")}
    tag_rows = sorted(_items(file, f"{GHOST}.posts_tags.item"), key=lambda row: row.get("sort_order") or 0)
    tags: dict[str, list[str]] = {"": []}
    for row in tag_rows:
        if name := names.get(str(row.get("tag_id"))):
            tags.setdefault(str(row.get("post_id")), []).append(str(name))
    return tags


def _ghost_entry(
    where: str, post: Mapping[str, Any], tags: Mapping[str, list[str]], fields: Mapping[str, str]
) -> Entry | None:
    """Return the Entry of a post or page, None for other types. Its URL is its canonical URL, else /slug/."""
    if post.get("type") not in (None, "post", "page"):
        return None
    # A tag that begins with "#" is internal.
    public_tags = [tag for tag in tags.get(str(post.get("id")), []) if not tag.startswith("#")]
    text = post.get("html") or post.get("plaintext") or ""
    slug = post.get("slug")
    record_fields = {
        "id": post.get("id"),
        "url": post.get("canonical_url") or (f"/{slug}/" if slug else None),
        "title": post.get("title"),
        "text": re.sub(r"__GHOST_URL__", "", str(text)),
        "published": post.get("published_at"),
        "section": public_tags[0] if public_tags else None,
        "tags": public_tags,
        "language": post.get("locale"),
        "status": post.get("status"),
        "type": post.get("type"),
        "slug": slug,
        **({"excerpt": post["custom_excerpt"]} if post.get("custom_excerpt") else {}),
        **({"image": str(post["feature_image"]).replace("__GHOST_URL__", "")} if post.get("feature_image") else {}),
    }
    return record.record_entry(
        where, {name: value for name, value in record_fields.items() if value is not None}, fields=fields, html=True
    )
