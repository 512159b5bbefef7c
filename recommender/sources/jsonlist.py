"""JSON files of many articles: a list of records, JSON Feed (jsonfeed.org), or an export of Ghost; read in a stream."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import ijson

from recommender.sources import record
from recommender.sources.entry import Entry, File

_NOT_A_LIST = (
    "the file holds no list of articles: write a JSON list of objects, or an object that has one, such as {names}"
)
_LISTS = ("articles", "items", "posts", "pages", "entries", "results", "records", "documents", "docs", "data", "nodes")
_GHOST = "db.item.data"
_HEADS = 10_000  # events in which the list of articles must begin, or the file is of another kind


def read(file: File) -> Iterator[Entry]:
    """Read the articles of a file. What comes before it is cut short or damaged is read."""
    number = 0
    try:
        prefix = _list_in(file)
        if prefix is None:
            problem = _NOT_A_LIST.format(names=f"{{{_LISTS[0]!r}: [...]}}".replace("'", '"'))
            yield Entry(file.name, problems=(problem,), unknown=True)
            return
        whole = _Whole(file)
        for number, found in enumerate(_items(file, f"{prefix}.item" if prefix else "item", counted=True), start=1):
            where = f"{file.name}: record {number}"
            if not isinstance(found, Mapping):
                yield Entry(where, problems=("it is not a JSON object",), unknown=True)
                continue
            try:
                plain = record.plain(found)
            except ValueError as error:  # of this record alone
                yield Entry(where, problems=(str(error),), unknown=True)
                continue
            yield from whole.entries(where, prefix, plain)
    except OSError as error:
        yield file.unread(error)
    except (ijson.JSONError, UnicodeDecodeError, ValueError, RecursionError) as error:
        problem = (
            f"the file is not JSON, or is damaged or cut short from here on ({' '.join(str(error).split())[:200]})"
        )
        yield Entry(f"{file.name}: record {number + 1}", problems=(problem,), unknown=True, failed=True)


class _Whole:
    """Makes entries of the records of one file, by what kind of file it is."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._language: str | None = None
        self._tags: dict[str, list[str]] = {}
        self._feed = False

    def entries(self, where: str, prefix: str, found: Mapping[str, Any]) -> Iterator[Entry]:
        if prefix == f"{_GHOST}.posts":
            if not self._tags:
                self._tags = _ghost_tags(self._file)
            if entry := _of_ghost(where, found, self._tags, self._file.fields):
                yield entry
            return
        if prefix == "items" and {"content_html", "content_text", "date_published"} & set(found):
            if self._language is None:
                self._language = next(_items(self._file, "language"), None) or ""
            html = bool(found.get("content_html"))
            found = _of_feed(found, self._language)
            yield record.entry(where, found, fields=self._file.fields, html=html)
            return
        yield record.entry(where, found, fields=self._file.fields)


def _items(file: File, prefix: str, *, counted: bool = False) -> Iterator[Any]:
    with file.path.open("rb") as opened:
        if opened.read(3) != b"\xef\xbb\xbf":
            opened.seek(0)
        done = 0
        for item in ijson.items(opened, prefix, use_float=True):
            yield item
            if counted:
                file.count(opened.tell() - done)
                done = opened.tell()


def _list_in(file: File) -> str | None:
    """Return where the list of articles is, as ijson names it: "" for the file itself; None if there is none."""
    with file.path.open("rb") as opened:
        if opened.read(3) != b"\xef\xbb\xbf":
            opened.seek(0)
        lists: list[str] = []
        for number, (prefix, event, _) in enumerate(ijson.parse(opened, use_float=True)):
            if event == "start_array" and prefix == "":
                return ""
            if event == "start_array" and prefix == _GHOST.removesuffix(".item.data"):
                return f"{_GHOST}.posts"
            if event == "start_map" and prefix.endswith(".item") and prefix.count(".") <= 3 and "item." not in prefix:
                lists.append(prefix.removesuffix(".item"))
                if lists[-1].rpartition(".")[2].lower() in _LISTS:
                    return lists[-1]
            if number > _HEADS:
                break
    return lists[0] if lists else None


def _of_feed(item: Mapping[str, Any], language: str) -> dict[str, Any]:
    """Return an item of a JSON Feed as a record (version 1.1)."""
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
    """Return the tags of each post, in their order."""
    names = {str(tag.get("id")): tag.get("name") for tag in _items(file, f"{_GHOST}.tags.item")}
    given = sorted(_items(file, f"{_GHOST}.posts_tags.item"), key=lambda row: row.get("sort_order") or 0)
    tags: dict[str, list[str]] = {"": []}
    for row in given:
        if name := names.get(str(row.get("tag_id"))):
            tags.setdefault(str(row.get("post_id")), []).append(str(name))
    return tags


def _of_ghost(
    where: str, post: Mapping[str, Any], tags: Mapping[str, list[str]], fields: Mapping[str, str]
) -> Entry | None:
    """Return the Entry of a post or a page; Ghost's sites have them at /slug/, and so are links written to them."""
    if post.get("type") not in (None, "post", "page"):
        return None
    own = [tag for tag in tags.get(str(post.get("id")), []) if not tag.startswith("#")]  # an internal tag
    text = post.get("html") or post.get("plaintext") or ""
    slug = post.get("slug")
    found = {
        "id": post.get("id"),
        "url": post.get("canonical_url") or (f"/{slug}/" if slug else None),
        "title": post.get("title"),
        "text": re.sub(r"__GHOST_URL__", "", str(text)),
        "published": post.get("published_at"),
        "section": own[0] if own else None,
        "tags": own,
        "language": post.get("locale"),
        "status": post.get("status"),
        "type": post.get("type"),
        "slug": slug,
        **({"excerpt": post["custom_excerpt"]} if post.get("custom_excerpt") else {}),
        **({"image": str(post["feature_image"]).replace("__GHOST_URL__", "")} if post.get("feature_image") else {}),
    }
    return record.entry(
        where, {name: value for name, value in found.items() if value is not None}, fields=fields, html=True
    )
