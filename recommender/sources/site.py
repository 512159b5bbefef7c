"""Where the pages of a folder stand on their site, and which of them a link means."""

import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urljoin, urlsplit

from recommender.sources.entry import File
from recommender.sources.markup import absolute_url

MARKDOWN = (".md", ".markdown", ".mdx")
HTML = (".html", ".htm", ".xhtml")
_INDEX = ("index", "_index", "readme")  # pages that stand at the address of their folder
DATED_STEM = re.compile(r"(\d{4})-(\d\d)-(\d\d)-(.+)")


def page_address(path: str) -> str | None:
    """Return where a page stands on its site, as the site generators have it by default: `/news/fire/`.

    Args:
        path: of the page's file within the site's folder, with `/`.

    Returns:
        A path; None for a file name that ends with a language, of which the generators make different ones.
    """
    pure = PurePosixPath(path)
    folder, stem = pure.parent, pure.name.removesuffix(pure.suffix)
    address = "/" if str(folder) == "." else f"/{folder}/"
    if stem.lower() in _INDEX:
        return quote(address)
    if pure.suffix.lower() in HTML:
        return quote(f"{address}{pure.name}")
    return None if "." in stem else quote(f"{address}{stem}/")


def find_page(file: File, link: str) -> Path | None:
    """Return the Markdown file of the same source that a link in another means; None if there is none.

    Generators differ in what a link is relative to: the file, or the page as it stands on the site.
    """
    try:
        path = unquote(urlsplit(link).path)
        if not path or "\0" in path:
            return None
        folder = file.path.parent
        starts = (file.root,) if path.startswith("/") else (folder, folder / file.path.stem, file.root)
        for start in starts:
            target = Path(os.path.normpath(start / path.lstrip("/")))
            names = [target] if target.suffix.lower() in MARKDOWN else []
            names += [target.with_name(target.name + ending) for ending in MARKDOWN if target.name]
            names += [target / f"{index}{ending}" for ending in MARKDOWN[:2] for index in ("index", "_index", "README")]
            for name in names:
                if name.is_file() and name.resolve().is_relative_to(file.root.resolve()):
                    return Path(file.root, name.resolve().relative_to(file.root.resolve()))
    except (ValueError, OSError):  # no URL, a name that is too long, a loop
        return None
    return None


def on_site(url: str | None, link: str) -> str | None:
    """Return a link of a page as a URL that does not depend on the page; None for what leads to no page."""
    whole = absolute_url(None, link)
    if whole is None or not url:
        return whole
    try:
        return urljoin(url, whole)
    except ValueError:
        return None
