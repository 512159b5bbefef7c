"""URLs: normalisation for comparison, and validation for links on a page."""

import html
import re
import unicodedata
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

_PLAIN_URL = re.compile(r"https?://([a-z0-9.-]+)((?:/[\w.~%/-]*)?)", re.ASCII)
_WEB_URL = re.compile(r"https?://(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?(?:[/?#].*)?", re.I | re.S)
_ON_SITE = re.compile(r"(?![/\\]{2}|[a-z][a-z0-9+.-]*:)[^\\]+", re.I | re.S)
_PLAIN_WEB_URL = re.compile(r"https?://[\w.-]+(?::\d{1,5})?(?:[/?#][!-~]*)?|/(?:[\w.~%-][\w.~%/-]*)?", re.ASCII)


@lru_cache(maxsize=65_536)  # blocks repeat URLs
def normalise_url(url: str) -> str | None:
    """Return `url` without scheme, fragment and closing slash, host in lower case; None if it is not a URL.

    URLs that differ in these only lead to the same article.

    Example:
        >>> normalise_url("HTTPS://Example.org/News/Fire/#top")
        '//example.org/News/Fire'
    """
    if plain := _PLAIN_URL.fullmatch(url):  # the common case
        return f"//{plain[1]}{plain[2].rstrip('/')}"
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https", "") or not (parts.netloc or parts.path.startswith("/")):
        return None
    return urlunsplit(("", parts.netloc.lower(), parts.path.rstrip("/"), parts.query, "")) or None


def web_url(url: str) -> str | None:
    """Return a URL that a page may link to: http or https with a host, or a relative one that stays on the site.

    None for any other, as a browser resolves it (https://url.spec.whatwg.org/#url-parsing): `javascript:` runs code,
    `//host`, `/\\host` and `https:host` lead to another site, user names disguise the host. The rule holds for the URL
    as written and as it is without character references, spaces and invisible characters, which others may remove.

    Example:
        >>> web_url("/news/fire/")
        '/news/fire/'
        >>> web_url("javascript:alert(1)") is None
        True
    """
    if _PLAIN_WEB_URL.fullmatch(url):  # the common case
        return url
    url = url.strip()
    if any(unicodedata.category(char) == "Cc" for char in url):  # browsers remove tabs and line breaks
        return None
    visible = html.unescape(url)
    if not visible.isascii():
        import regex  # noqa: PLC0415 - few URLs need it

        visible = regex.sub(r"\p{Default_Ignorable_Code_Point}", "", visible)
    visible = "".join(char for char in visible if unicodedata.category(char)[0] not in "CZ")
    return url if any(kind.fullmatch(url) and kind.fullmatch(visible) for kind in (_WEB_URL, _ON_SITE)) else None
