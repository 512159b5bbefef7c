"""The Pelican plugin: the block of related articles at the end of every article.

    PLUGINS = ["recommender.plugins.pelican"]

Themes find the same articles in `article.related_articles`. docs/reference/plugins.md lists the settings.
"""

import logging
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pelican import signals
from pelican.generators import ArticlesGenerator
from pelican.utils import get_relative_path, path_to_url

from recommender.article import Recommendation
from recommender.errors import RecommenderError
from recommender.plugins.pages import Page, heading_in, page_blocks, read_page, write_gitignore
from recommender.publish.html import fragment

_PREFIX = "RECOMMENDER_"
_SETTINGS: dict[str, Any] = {
    "K": 3,
    "HEADING": "Related",
    "INDEX": None,
    "CONTENT": True,
    "TEMPLATE": None,
    "FIELDS": (),
    "MODEL": None,
    "SETTINGS": {},
}
_BLOCK = "_recommender_block"  # attribute of an article: its block as HTML
_FILENAME_PREFIX = re.compile(r"^[{|]filename[}|]")

log = logging.getLogger(__name__)
_open_pages: "list[_PageOutput]" = []  # for the article whose page is being written; empty or one item


def register() -> None:
    """Connect the plugin to the signals of Pelican, which calls this function."""
    signals.all_generators_finalized.connect(_set_blocks)
    signals.article_generator_write_article.connect(_open_page)
    signals.content_written.connect(_close_pages)


def _set_blocks(generators: Sequence[Any]) -> None:
    """Set the related articles and the block of every published article."""
    for generator in generators:
        if isinstance(generator, ArticlesGenerator):
            articles = {_id(article): article for article in (*generator.articles, *generator.translations)}
            related: dict[str, list[Any]] = {}
            html_of: dict[str, str] = {}
            try:
                options = _options(generator.settings)
                for id, block in _blocks(articles, generator.settings, options).items():
                    links = [link for link in block if link.id in articles]
                    related[id] = [articles[link.id] for link in links]
                    if options["CONTENT"]:
                        html_of[id] = _html(articles[id], links, related[id], options)
            except Exception as error:  # a site without blocks is better than no site
                reason = str(error) if isinstance(error, RecommenderError) else f"{type(error).__name__}: {error}"
                log.debug("Traceback of this error:", exc_info=True)
                log.warning("Articles are written without related articles. %s", reason)
                related, html_of = {}, {}
            for id, article in articles.items():
                article.related_articles = related.get(id, [])
                setattr(article, _BLOCK, html_of.get(id, ""))


def _html(article: Any, block: Sequence[Recommendation], related: Sequence[Any], options: Mapping[str, Any]) -> str:
    """Return the block of an article as HTML for the article's page."""
    settings = article.settings
    site = settings["SITEURL"]
    if settings["RELATIVE_URLS"] or site.startswith("//"):  # blocks refuse a URL with a host but no scheme
        site = path_to_url(get_relative_path(article.save_as))
    links = [
        replace(link, url=f"{site.rstrip('/')}/{other.url.lstrip('/')}")
        for link, other in zip(block, related, strict=True)
    ]
    heading = heading_in(options["HEADING"], article.lang)
    return fragment(links, heading=heading, fields=options["FIELDS"], template=options["TEMPLATE"])


def _blocks(
    articles: Mapping[str, Any], settings: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, list[Recommendation]]:
    """Bring the index in line with the articles; return the blocks by article id."""
    is_multilingual = len({article.lang for article in articles.values()}) > 1
    urls = {unquote(article.url): id for id, article in articles.items()}
    slugs = {(article.slug, article.lang): id for id, article in articles.items()}

    def read(id: str, article: Any) -> Page | None:
        def resolve(link: str) -> str | None:
            return _target(link.strip(), article, articles, urls, slugs, settings["SITEURL"])

        related = article.metadata.get("related")
        if isinstance(related, str) and "," in related:  # the comma separates links, or is part of a title
            parts = [part.strip() for part in related.split(",")]
            related = parts if all(map(resolve, parts)) else [related, *parts]
        fields = dict(article.metadata) | {
            "related": related,
            "published": article.date,
            "url": f"/{article.url}",
            "section": str(article.category) if hasattr(article, "category") else None,
            # Pelican sets the default language on every article; on a site in one language it is often wrong.
            "language": article.lang if is_multilingual else article.metadata.get("lang"),
        }
        return read_page(id, article._content, fields, name=article.title, resolve=resolve, on_problem=log.warning)

    pages = [page for id, article in articles.items() if (page := read(id, article))]
    if not pages:
        return {}
    index = Path(options["INDEX"] or Path(settings["CACHE_PATH"]) / "recommender")
    blocks_by_id, report = page_blocks(
        pages, index, options["K"], model=options["MODEL"], settings=options["SETTINGS"], on_problem=log.warning
    )
    if not options["INDEX"]:
        write_gitignore(index)
    log.info("%d articles compared, %d of them embedded, in %.1f s.", report.articles, report.embedded, report.seconds)
    return blocks_by_id


def _options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the plugin by their names without the prefix.

    Raises:
        RecommenderError: a setting is unknown, or its value is invalid.
    """
    changed = {name.removeprefix(_PREFIX): value for name, value in settings.items() if name.startswith(_PREFIX)}
    if unknown := sorted(changed.keys() - _SETTINGS.keys()):
        names = ", ".join(_PREFIX + name for name in _SETTINGS)
        raise RecommenderError(f"There is no setting {_PREFIX}{unknown[0]}; these are {names}.")
    options = _SETTINGS | changed
    if not isinstance(options["K"], int) or isinstance(options["K"], bool) or options["K"] < 1:
        raise RecommenderError(f"{_PREFIX}K is {options['K']!r}; it must be a number of 1 or more.")
    return options


def _id(article: Any) -> str:
    return str(article.relative_source_path or article.save_as)


def _target(
    link: str,
    article: Any,
    articles: Mapping[str, Any],
    urls: Mapping[str, str],
    slugs: Mapping[tuple[str, str], str],
    site: str,
) -> str | None:
    """Return the id of the article that a link leads to, by file path, URL or slug; None for others."""
    path = unquote(_FILENAME_PREFIX.sub("", link).partition("#")[0])
    relative_path = posixpath.normpath(posixpath.join(article.relative_dir if article.source_path else "", path))
    for file in (path.lstrip("/"), relative_path):
        if file in articles:
            return file
    if site and path.startswith(site):
        path = path.removeprefix(site)
    return urls.get(path.lstrip("/")) or slugs.get((path, article.lang))


# The content of an article contains the block only while its own page is written: feeds, summaries and the pages of a
# theme that show whole articles must not contain blocks.


def _open_page(generator: Any, content: Any) -> None:
    """Append the block to an article whose page is about to be written."""
    _close_pages()
    if content.save_as and getattr(content, _BLOCK, ""):  # without a file no page is written
        _open_pages.append(_PageOutput(content, getattr(content, _BLOCK)))


def _close_pages(path: str = "", context: object = None) -> None:
    """Remove the block from the article whose page was written."""
    while _open_pages:
        _open_pages.pop().close()


class _PageOutput:
    """Makes the content of an article end with its block, but not its summary, until it is closed.

    Args:
        article: the article.
        block: the block as HTML.
    """

    def __init__(self, article: Any, block: str) -> None:
        self._article, self._block = article, block
        self._content, self._summary = article.get_content, article.get_summary
        article.get_content, article.get_summary = self._content_with_block, self._summary_without_block

    def close(self) -> None:
        """Restore the methods of the article."""
        # The methods of the class are visible again.
        del self._article.get_content, self._article.get_summary

    def _content_with_block(self, siteurl: str) -> str:
        return f"{self._content(siteurl)}\n{self._block}"

    def _summary_without_block(self, siteurl: str) -> str:
        self._article.get_content = self._content
        try:
            return str(self._summary(siteurl))
        finally:
            self._article.get_content = self._content_with_block
