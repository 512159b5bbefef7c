"""Reader for exports of Substack: a table of posts, posts.csv, and a page with the text of each, posts/*.html."""

import csv
from collections.abc import Callable, Iterator, Set
from pathlib import Path

from recommender.sources import table
from recommender.sources.entry import MAX_MARKUP_BYTES, Entry, File, decode

TABLE = "posts.csv"
PAGES = "posts"  # the folder of the pages
_COLUMNS = {"post_id", "post_date", "is_published", "audience", "title"}
# Calls to subscribe, share and comment, which are the same in all posts.
_FURNITURE = (
    "//*[contains(@class, 'subscription-widget') or contains(@class, 'button-wrap') or contains(@class, 'poll-')]"
)
_MAX_HEADER_BYTES = 2**12


def is_export(path: Path) -> bool:
    """Return whether a file is the table of an export of Substack."""
    if path.name.lower() != TABLE:
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline(_MAX_HEADER_BYTES)
    except OSError:
        return False
    return set(next(csv.reader([header]), [])) >= _COLUMNS


def is_page(path: Path, folders: Set[Path]) -> bool:
    """Return whether a file is the page of a post in an export in one of these folders."""
    return path.parent.name == PAGES and path.parent.parent in folders and path.suffix.lower() == ".html"


def read(file: File) -> Iterator[Entry]:
    """Yield an Entry for each row of the table, with the text of its page."""
    yield from table.read(file, _completion(file.path.parent / PAGES))


def _completion(folder: Path) -> Callable[[dict[str, str]], dict[str, str]]:
    """Return a function that returns the further fields of a row: its text, date, address and status."""
    try:
        pages = {path.stem: path for path in folder.iterdir() if path.suffix.lower() == ".html"}
    except OSError:
        pages = {}
    # The id in the table of older exports lacks the slug.
    pages |= {stem.partition(".")[0]: path for stem, path in pages.items()}

    def complete(row: dict[str, str]) -> dict[str, str]:
        name = row.get("post_id", "")
        page = pages.get(name) or pages.get(name.partition(".")[0])
        slug = (page.stem if page else name).partition(".")[2]
        fields = {
            "id": name,
            "published": row.get("post_date", ""),
            "excerpt": row.get("subtitle", ""),
            "url": f"/p/{slug}" if slug else "",
            "text": _text(page) if page else "",
            "status": "draft" if row.get("is_published", "").lower() == "false" else "",
        }
        return {name: value for name, value in fields.items() if value}

    return complete


def _text(page: Path) -> str:
    """Return the HTML of a page; an empty text for one that cannot be read."""
    try:
        with page.open("rb") as file:
            content = file.read(MAX_MARKUP_BYTES)
    except OSError:
        return ""
    import lxml.html  # noqa: PLC0415 - every source imports this module

    from recommender.sources import markup  # noqa: PLC0415

    tree = markup.parse_html(f"<div>{decode(content)}</div>")  # a page may begin with any element or text
    if tree is None:
        return ""
    for part in tree.xpath(_FURNITURE):
        if part.getparent() is not None:
            part.drop_tree()
    return f"<div>{lxml.html.tostring(tree, encoding='unicode')}</div>"
