"""The addresses of articles in published blocks, changed by a base URL and a template for a site of another layout."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from recommender.article import ArticleSummary, Recommendation
from recommender.publish.paths import page_path
from recommender.sources.record import TEMPLATE_FIELD, fill_url_template
from recommender.text.urls import web_url

_DATE_FIELDS = ("year", "month", "day")
_Item = TypeVar("_Item", ArticleSummary, Recommendation)


@dataclass(frozen=True, slots=True)
class Addresses:
    """How the addresses of articles are written.

    Attributes:
        base_url: the folder of the site, before each address on the site: "/blog/", "https://example.org" or
            "https://example.org/blog/". An address that begins with this folder is not prefixed again. Empty for none.
        template: the address of an article, with fields in braces: "/news/{slug}/". The fields are those of the
            article and its metadata, `path` (of its url), `year`, `month` and `day`. Empty for its url.

    Raises:
        ValueError: the base URL or the template is no address; the message is a sentence.
    """

    base_url: str = ""
    template: str = ""

    def __post_init__(self) -> None:
        """Check both."""
        base = self.base_url
        if base and (not re.match(r"/|https?://[^/]", base, re.I) or not web_url(base) or re.search(r"[?#{}\s]", base)):
            raise ValueError(
                f"{base!r} is no base URL; write /blog/, https://example.org or https://example.org/blog/."
            )
        if self.template and not (
            TEMPLATE_FIELD.search(self.template) and re.match(r"/|https?://|\{path\}", self.template, re.I)
        ):
            raise ValueError(
                f"{self.template!r} is no template of an address; begin it with / or https:// and write the fields of "
                f"an article in braces: /news/{{slug}}/."
            )

    def __bool__(self) -> bool:
        """Return whether any address may change."""
        return bool(self.base_url or self.template)

    def addressed(self, article: _Item) -> _Item:
        """Return an article or a link with its final url; None as the url without an address."""
        if not self:
            return article
        url = self._url(article)
        return article if url == article.url else replace(article, url=url)

    def _url(self, article: ArticleSummary) -> str | None:
        url = fill_url_template(_fields(article), self.template) if self.template else article.url
        if url is None or not (url := web_url(url)):
            return None
        return join_base(self.base_url, url) if self.base_url else url


def join_base(base_url: str, url: str) -> str:
    """Return an address on the site with the base URL before it; one of another host unchanged.

    Example:
        >>> join_base("https://example.org/blog/", "/posts/dam/")
        'https://example.org/blog/posts/dam/'
        >>> join_base("/blog", "/blog/posts/dam/")
        '/blog/posts/dam/'
    """
    if re.match(r"https?:", url, re.I):
        return url
    base = urlsplit(base_url)
    folder, path = base.path.rstrip("/"), url if url.startswith("/") else f"/{url}"
    if not _is_in_folder(path, folder):
        path = folder + path
    return f"{base.scheme}://{base.netloc}{path}" if base.netloc else path


def _is_in_folder(path: str, folder: str) -> bool:
    return path.startswith(folder) and path[len(folder) :][:1] in ("", "/", "?", "#")


def _fields(article: ArticleSummary) -> Mapping[str, Any]:
    """Return the fields of an article that a template may contain."""
    date = article.published
    return {
        **article.metadata,
        "id": article.id,
        "title": article.title,
        "section": article.section,
        "path": (page_path(article.url, "path") or "").partition("?")[0] or None if article.url else None,
        **(dict(zip(_DATE_FIELDS, date.strftime("%Y-%m-%d").split("-"), strict=True)) if date else {}),
    }
