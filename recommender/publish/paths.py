"""The path of an article's page on its site, in the spelling of browsers and of static site generators."""

import re
from urllib.parse import quote, unquote, urljoin, urlsplit

GENERATORS = ("hugo", "jekyll", "eleventy", "astro", "docusaurus")  # with a style of paths of their own
_UNESCAPED = "/!$&'()*+,;=:@~"  # in a path, besides letters, digits and "-._"
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


def page_path(url: str, style: str) -> str | None:
    """Return the path of a page; None if its URL is none of a page.

    Args:
        url: the address of the page.
        style: "path", the path and query of `location` in a browser; "hugo", "jekyll" or "eleventy", the default
            `.RelPermalink`, `page.url` and `page.url` of these, with the folder of the site; or "astro" or
            "docusaurus", the path after `decodeURI` and without its ending (`/`, `.html` or `/index.html`).
    """
    try:
        parts = urlsplit(urljoin("http://site/", url))
    except ValueError:
        return None
    if parts.scheme not in ("http", "https"):  # not the URL of a page
        return None
    path = parts.path or "/"
    if style in ("astro", "docusaurus"):
        return _without_ending(_escape(path, ""))
    if style in ("hugo", "eleventy"):
        path = re.sub(r"/index\.html$", "/", path)
    if style == "hugo" and "." not in path.rpartition("/")[2]:
        path = path.rstrip("/") + "/"
    if style == "eleventy":
        return unquote(path)
    if style == "path" and parts.query:
        path += f"?{parts.query}"
    return _escape(path, "?" if style == "path" else "")


def _without_ending(path: str) -> str:
    reserved = re.sub(r"%(?=2[346BCF]|3[ABDF]|40)", "%25", path)  # escapes that decodeURI leaves
    return re.sub(r"(?:/index)?(?:\.html)?/?\Z", "", unquote(reserved), count=1) or "/"


def _escape(path: str, unescaped: str) -> str:
    """Return a path with invalid characters percent-encoded, and escapes in upper case."""
    quoted = quote(_BARE_PERCENT.sub("%25", path), safe=f"%{_UNESCAPED}{unescaped}")
    return _ESCAPE.sub(lambda escape: escape[0].upper(), quoted)
