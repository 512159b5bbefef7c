"""Addresses of a site's pages: the URL path of a page file, the file that a link leads to, absolute links."""

import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urljoin, urlsplit

from recommender.sources.entry import File
from recommender.sources.markup import absolute_url

MARKDOWN_ENDINGS = (".md", ".markdown", ".mdx")
HTML_ENDINGS = (".html", ".htm", ".xhtml")
_INDEX_STEMS = ("index", "_index", "readme")  # of pages that are served at the address of their folder
DATED_STEM = re.compile(r"(\d{4})-(\d\d)-(\d\d)-(.+)")


def page_address(path: str) -> str | None:
    """Return the URL path of a page by the default of static site generators: `/news/fire/`.

    Args:
        path: the path of the page's file within the site's folder, with `/`.

    Returns:
        A percent-encoded path; None for a file name with a language suffix (`fire.de.md`), which generators map
        differently.
    """
    pure = PurePosixPath(path)
    folder, stem = pure.parent, pure.name.removesuffix(pure.suffix)
    address = "/" if str(folder) == "." else f"/{folder}/"
    if stem.lower() in _INDEX_STEMS:
        return quote(address)
    if pure.suffix.lower() in HTML_ENDINGS:
        return quote(f"{address}{pure.name}")
    return None if "." in stem else quote(f"{address}{stem}/")


def find_page(file: File, link: str) -> Path | None:
    """Return the Markdown file of the same source that a link in `file` leads to; None if there is none.

    Generators resolve links against the file or against the address of its page, so both are tried.
    """
    try:
        path = unquote(urlsplit(link).path)
        if not path or "\0" in path:
            return None
        folder = file.path.parent
        bases = (file.root,) if path.startswith("/") else (folder, folder / file.path.stem, file.root)
        for base in bases:
            target = Path(os.path.normpath(base / path.lstrip("/")))
            candidates = [target] if target.suffix.lower() in MARKDOWN_ENDINGS else []
            candidates += [target.with_name(target.name + ending) for ending in MARKDOWN_ENDINGS if target.name]
            candidates += [
                target / f"{index}{ending}"
                for ending in MARKDOWN_ENDINGS[:2]
                for index in ("index", "_index", "README")
            ]
            for candidate in candidates:
                if candidate.is_file() and candidate.resolve().is_relative_to(file.root.resolve()):
                    return Path(file.root, candidate.resolve().relative_to(file.root.resolve()))
    except (ValueError, OSError):  # an invalid URL, a name that is too long, a symlink loop
        return None
    return None


def on_site(url: str | None, link: str) -> str | None:
    """Return a link of the page at `url` as an absolute URL; None if the link leads to no page."""
    absolute_link = absolute_url(None, link)
    if absolute_link is None or not url:
        return absolute_link
    try:
        return urljoin(url, absolute_link)
    except ValueError:
        return None
