"""The path of an article's page on its site, in the spelling of browsers and of static site generators."""

import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urljoin, urlsplit

from recommender.article import ArticleSummary
from recommender.text.urls import web_url

_COMPONENT_STYLES = ("astro", "docusaurus")  # whose components look the path up without its ending
PATH_STYLES = ("path", "hugo", "jekyll", "eleventy", *_COMPONENT_STYLES)
_PAGE = re.compile(r".+\.(?:md|markdown|mdown|mkd|mdx|rst|adoc|org|html?)", re.I | re.S)
_UNESCAPED = "/!$&'()*+,;=:@~"  # in a path, besides letters, digits and "-._"
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


def page_path(article: ArticleSummary, site: str) -> str | None:
    """Return the path of an article's page by its url, or else by its id if that is a file's path; None without both.

    Args:
        article: the article.
        site: "path", the path and query of `location` in a browser; "hugo", "jekyll" or "eleventy", the default
            `.RelPermalink`, `page.url` and `page.url` of these; or "astro" or "docusaurus", the path after `decodeURI`
            and without its ending (`/`, `.html` or `/index.html`).
    """
    if site in _COMPONENT_STYLES:
        path = page_path(article, "path")
        return path and _without_ending(path.partition("?")[0])
    url = _explicit_url(article)
    return _path_of_url(url, site) if url else _path_of_file(article.id, site)


def page_url(article: ArticleSummary, site: str) -> str | None:
    """Return the target of links to an article: its url, or else the path of its page."""
    url = _explicit_url(article)
    if url is None:
        site = "path" if site in _COMPONENT_STYLES else site
        path = _path_of_file(article.id, site)
        url = quote(path, safe=_UNESCAPED) if path and site == "eleventy" else path
    return web_url(url) if url else None


def _explicit_url(article: ArticleSummary) -> str | None:
    """Return an article's url; None for the default that the Markdown reader derives from the file's path."""
    if article.url and "permalink" not in article.metadata and article.url == _path_of_file(article.id, "path"):
        return None
    return article.url


def _without_ending(path: str) -> str:
    reserved = re.sub(r"%(?=2[346BCF]|3[ABDF]|40)", "%25", path)  # escapes that decodeURI leaves
    return re.sub(r"(?:/index)?(?:\.html)?/?\Z", "", unquote(reserved), count=1) or "/"


def _path_of_url(url: str, site: str) -> str | None:
    try:
        parts = urlsplit(urljoin("http://site/", url))
    except ValueError:
        return None
    if parts.scheme not in ("http", "https"):  # not the URL of a page
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
    return _escape(path, "?" if site == "path" else "")


def _path_of_file(id: str, site: str) -> str | None:
    if not _PAGE.fullmatch(id) or "://" in id:
        return None
    path = PurePosixPath(id)
    if not path.suffix or ".." in path.parts:
        return None
    folders, name = [part for part in path.parts[:-1] if part.strip("/")], path.stem
    index = name == "index"
    if site == "hugo":
        folders, name, index = [_hugo_name(part) for part in folders], _hugo_name(name), name in ("index", "_index")
        folders = folders[1:] if folders[:1] == ["content"] else folders
    elif site == "jekyll" and folders and re.match("_.", folders[0]):  # a collection, whose folders have no index
        folders[0], index = folders[0][1:], False
    elif site == "eleventy" and folders and name == folders[-1]:
        index = True
    if index:
        page = "/".join(["", *folders, ""])
    elif site == "jekyll" or (site == "path" and path.suffix.lower().startswith(".htm")):
        page = "/".join(["", *folders, name + (".html" if site == "jekyll" else path.suffix)])
    else:
        page = "/".join(["", *folders, name, ""])
    return page if site == "eleventy" else _escape(page, "") if site == "hugo" else quote(page, safe=_UNESCAPED)


def _hugo_name(name: str) -> str:
    """Return a file or folder name as Hugo writes it in a path."""
    chars = []
    for position, char in enumerate(name):
        if char.isspace():
            chars.append("-")
        elif (
            char in "-._#+~@\\"
            or unicodedata.category(char)[0] in "LM"
            or unicodedata.category(char) == "Nd"
            or _ESCAPE.match(name, position)
        ):
            chars.append(char.lower()[0])
    return "".join(chars)


def _escape(path: str, unescaped: str) -> str:
    """Return a path with invalid characters percent-encoded, and escapes in upper case."""
    quoted = quote(_BARE_PERCENT.sub("%25", path), safe=f"%{_UNESCAPED}{unescaped}")
    return _ESCAPE.sub(lambda escape: escape[0].upper(), quoted)
