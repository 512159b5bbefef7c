"""The path of an article's page on its site, as a browser and as the generators of static sites write it."""

import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urljoin, urlsplit

from recommender.article import ArticleSummary
from recommender.text.urls import web_url

SITES = ("path", "hugo", "jekyll", "eleventy")
_PAGE = re.compile(r".+\.(?:md|markdown|mdown|mkd|mdx|rst|adoc|org|html?)", re.I | re.S)
_PLAIN = "/!$&'()*+,;=:@~"  # besides letters, digits and "-._": what stands in a path as it is
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


def page_path(card: ArticleSummary, site: str) -> str | None:
    """Return the path of an article's page, by its url, or else by its id if that is the path of a file; None if
    neither tells.

    Args:
        card: the article.
        site: "path", as a browser has it in `location`, with the query if there is one; or "hugo", "jekyll" or
            "eleventy": as `.RelPermalink`, `page.url` and `page.url` of these have it unless they are set otherwise.
    """
    url = _told(card)
    return _of_url(url, site) if url else _of_file(card.id, site)


def page_url(card: ArticleSummary, site: str) -> str | None:
    """Return the address that a page links to: an article's url, or else the path of its page."""
    url = _told(card)
    if url is None:
        path = _of_file(card.id, site)
        url = quote(path, safe=_PLAIN) if path and site == "eleventy" else path
    return web_url(url) if url else None


def _told(card: ArticleSummary) -> str | None:
    """Return an article's url, unless it is what the reader of Markdown takes for one where the file says nothing."""
    if card.url and "permalink" not in card.metadata and card.url == _of_file(card.id, "path"):
        return None
    return card.url


def _of_url(url: str, site: str) -> str | None:
    try:
        parts = urlsplit(urljoin("http://site/", url))
    except ValueError:
        return None
    if parts.scheme not in ("http", "https"):  # no page has it
        return None
    path = parts.path or "/"
    if site in ("hugo", "eleventy"):
        path = re.sub(r"/index\.html$", "/", path)
    if site == "hugo" and "." not in path.rpartition("/")[2]:
        path = path.rstrip("/") + "/"
    if site == "eleventy":
        return unquote(path)
    if site == "path" and parts.query:
        path += f"?{parts.query}"
    return _escaped(path, "?" if site == "path" else "")


def _of_file(id: str, site: str) -> str | None:
    if not _PAGE.fullmatch(id) or "://" in id:
        return None
    path = PurePosixPath(id)
    if not path.suffix or ".." in path.parts:
        return None
    folders, name = [part for part in path.parts[:-1] if part.strip("/")], path.stem
    index = name == "index"
    if site == "hugo":
        folders, name, index = [_hugo(part) for part in folders], _hugo(name), name in ("index", "_index")
        folders = folders[1:] if folders[:1] == ["content"] else folders
    elif site == "jekyll" and folders and re.match("_.", folders[0]):  # a collection, whose folders have no index
        folders[0], index = folders[0][1:], False
    elif site == "eleventy" and folders and name == folders[-1]:
        index = True
    if index:
        found = "/".join(["", *folders, ""])
    elif site == "jekyll" or (site == "path" and path.suffix.lower().startswith(".htm")):
        found = "/".join(["", *folders, name + (".html" if site == "jekyll" else path.suffix)])
    else:
        found = "/".join(["", *folders, name, ""])
    return found if site == "eleventy" else _escaped(found, "") if site == "hugo" else quote(found, safe=_PLAIN)


def _hugo(name: str) -> str:
    """Return a name as Hugo writes it in a path."""
    kept = []
    for place, char in enumerate(name):
        if char.isspace():
            kept.append("-")
        elif (
            char in "-._#+~@\\"
            or unicodedata.category(char)[0] in "LM"
            or unicodedata.category(char) == "Nd"
            or _ESCAPE.match(name, place)
        ):
            kept.append(char.lower()[0])
    return "".join(kept)


def _escaped(path: str, further: str) -> str:
    """Return a path with what has no place in one percent-encoded, and with what is already in one spelling."""
    whole = quote(_STRAY.sub("%25", path), safe=f"%{_PLAIN}{further}")
    return _ESCAPE.sub(lambda found: found[0].upper(), whole)
