"""Links of a site's pages: the file that a link leads to, absolute links."""

import os
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from recommender.sources.entry import File
from recommender.sources.generators.base import HTML_ENDINGS
from recommender.sources.markup import absolute_url

MARKDOWN_ENDINGS = (".md", ".markdown", ".mdx")
_TEXT_ENDINGS = (*MARKDOWN_ENDINGS, ".rst", ".ipynb")
# Endings of a file that a link names without its ending, or by that of Markdown.
_POST_ENDINGS = (".markdown", ".html")


def find_page(file: File, link: str) -> Path | None:
    """Return the text file or notebook of the same source that a link in `file` leads to; None if there is none.

    Generators resolve links against the file or against the address of its page, so both are tried.
    """
    try:
        path = unquote(urlsplit(link).path)
        if not path or "\0" in path:
            return None
        endings = (*_TEXT_ENDINGS, *HTML_ENDINGS) if file.site and file.site.html_is_source else _TEXT_ENDINGS
        folder = file.path.parent
        bases = [file.root] if path.startswith("/") else [folder, folder / file.path.stem, file.root]
        if file.site and names_content(file, path):
            path = path.removeprefix(file.site.content_prefix)
            bases = [file.site.root / content for content in file.site.content_folders()]
        if "/" not in path and path.endswith(".md"):  # of `post_url` in a page that is no post
            bases += [file.root / posts for posts in ("_posts", "source/_posts")]
        for base in bases:
            target = Path(os.path.normpath(base / path.lstrip("/")))
            candidates = [target] if target.suffix.lower() in endings else []
            candidates += [target.with_suffix(ending) for ending in _POST_ENDINGS if candidates]
            candidates += [target.with_name(target.name + ending) for ending in _TEXT_ENDINGS if target.name]
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


def names_content(file: File, link: str) -> bool:
    """Return whether a link in `file` is the path of a file in the folder of pages, in the generator's notation."""
    prefix = file.site.content_prefix if file.site else ""
    return bool(prefix) and link.startswith(prefix)


def on_site(url: str | None, link: str) -> str | None:
    """Return a link of the page at `url` as an absolute URL; None if the link leads to no page."""
    absolute_link = absolute_url(None, link)
    if absolute_link is None or not url:
        return absolute_link
    try:
        return urljoin(url, absolute_link)
    except ValueError:
        return None
