"""Reader of JSON files: lists of records, JSON Feed (jsonfeed.org), exports of Ghost and headless CMSs, one article."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from typing import Any

import ijson

from recommender.sources import cms, ghost, jsonl, record
from recommender.sources.entry import EMPTY_FILE, MAX_ARTICLE_BYTES, ONE_PAGE, Entry, File, decode
from recommender.sources.jsonsearch import GHOST, MAX_NESTING, Location, is_too_deep, locate_articles
from recommender.sources.site import on_site

MAX_PAGE_BYTES = 2**24  # of an answer of an API
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
        if location.path and _has_next_page(file):
            yield Entry(file.name, problems=(ONE_PAGE,), unknown=True)
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


def _has_next_page(file: File) -> bool:
    """Return whether a file is an answer of an API with pages, and not the last: JSON Feed, JSON:API, Strapi, Ghost."""
    if file.path.stat().st_size > MAX_PAGE_BYTES:
        return False
    answer = json.loads(decode(file.path.read_bytes()))
    links, meta = answer.get("links"), answer.get("meta")
    following = links.get("next") if isinstance(links, Mapping) else None
    following = following.get("href") if isinstance(following, Mapping) else following  # JSON:API has both
    if any(isinstance(url, str) and re.search(r"[/?]", url) for url in (answer.get("next_url"), following)):
        return True
    pagination = meta.get("pagination") if isinstance(meta, Mapping) else None
    if not isinstance(pagination, Mapping):
        return False
    page, pages = pagination.get("page"), pagination.get("pageCount", pagination.get("pages"))
    return isinstance(page, int) and isinstance(pages, int) and page < pages


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
        self._language: str | None = None  # of JSON Feed
        self._base: str | None = None  # URL that its links are relative to
        self._ghost: _GhostTables | None = None

    def entries(self, where: str, prefix: str, fields: Mapping[str, Any], id: str | None) -> Iterator[Entry]:
        """Yield the Entry of a record.

        Args:
            where: the file and the record, for messages.
            prefix: the path of the list or object that contains the record, as ijson writes it.
            fields: the record.
            id: the id to use if the record has none.
        """
        if prefix == f"{GHOST}.posts" or (
            prefix.rpartition(".")[2] in ("posts", "pages") and ghost.is_ghost_post(fields)
        ):
            yield self._ghost_entry(where, prefix.rpartition(".")[0], fields)
            return
        if prefix == "items" and {"content_html", "content_text", "date_published"} & set(fields):
            if self._language is None:
                self._language = _first_text(self._file, "language")
                homes = (_first_text(self._file, name) for name in ("feed_url", "home_page_url"))
                self._base = self._file.url or next(filter(None, homes), None)
            html = bool(fields.get("content_html"))
            fields = _feed_record(fields, self._language)
            fields["url"] = on_site(self._base, str(fields["url"] or ""))
            yield record.record_entry(where, fields, fields=self._file.fields, html=html)
            return
        yield cms.record_entry(where, fields, id=id, mapping=self._file.fields)

    def _ghost_entry(self, where: str, tables: str, post: Mapping[str, Any]) -> Entry:
        """Return the Entry of a post of Ghost, given the path of the tables of its export."""
        if self._ghost is None:
            self._ghost = _GhostTables(self._file, f"{tables}." if tables else "")
        id = str(post.get("id"))
        excluded, clause = ghost.exclusion(post, id in self._ghost.email_only)
        if excluded:
            return Entry(where, id=id, problems=(clause,), excluded=excluded)
        fields = ghost.ghost_record(post, self._ghost.tags.get(id) or ghost.own_tags(post))
        return record.record_entry(where, fields, fields=self._file.fields, html=True)


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


def _first_text(file: File, prefix: str) -> str:
    """Return the text at a path; "" without one, or if the file is damaged before it."""
    with suppress(ijson.JSONError):
        return str(next(_items(file, prefix), None) or "")
    return ""


def _feed_record(item: Mapping[str, Any], language: str) -> dict[str, Any]:
    """Return the record of an item of JSON Feed, version 1.1."""
    authors = item.get("authors")
    names = [
        author.get("name") for author in (authors if isinstance(authors, list) else []) if isinstance(author, Mapping)
    ]
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
        **({"author": ", ".join(map(str, filter(None, names)))} if any(names) else {}),
    }


class _GhostTables:
    """The other tables of an export of Ghost.

    Args:
        file: the export.
        path: the path of its tables, as ijson writes it, with a closing dot.

    Attributes:
        tags: the names of the tags of each post, by its id, in the order that Ghost shows them in.
        email_only: the ids of posts that were sent by e-mail only.
    """

    def __init__(self, file: File, path: str) -> None:
        names = {str(tag.get("id")): tag.get("name") for tag in _rows(file, f"{path}tags.item")}
        tag_rows = sorted(_rows(file, f"{path}posts_tags.item"), key=_sort_order)
        self.tags: dict[str, list[str]] = {}
        for row in tag_rows:
            if name := names.get(str(row.get("tag_id"))):
                self.tags.setdefault(str(row.get("post_id")), []).append(str(name))
        self.email_only = {
            str(row.get("post_id")) for row in _rows(file, f"{path}posts_meta.item") if row.get("email_only")
        }


def _sort_order(row: Mapping[str, Any]) -> float:
    order = row.get("sort_order")
    return order if isinstance(order, int | float) else 0


def _rows(file: File, prefix: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a table; those before damage, which the reader reports."""
    with suppress(ijson.JSONError):
        yield from (row for row in _items(file, prefix) if isinstance(row, Mapping))
