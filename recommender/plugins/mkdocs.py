"""The MkDocs plugin: the block of related pages at the end of every page.

    plugins:
      - search
      - recommender

The plugin reads the rendered pages, after the other plugins. docs/reference/plugins.md lists its options.
"""

import contextlib
import logging
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

from jinja2 import Environment
from mkdocs.config import config_options
from mkdocs.config.base import Config, ValidationError
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import BasePlugin, event_priority, get_plugin_logger
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page as MkDocsPage
from mkdocs.utils.templates import TemplateContext

from recommender.article import Recommendation
from recommender.blocks.policy import Settings
from recommender.errors import PolicyError, RecommenderError
from recommender.plugins.pages import Page, heading_in, page_blocks, read_page, write_gitignore
from recommender.publish.html import fragment

_DEFAULT_INDEX = ".cache/recommender"
_DATE_FIELDS = ("published", "date", "created")
_PLACEHOLDER_SITE_URL = "http://site.invalid/"  # for a site without `site_url`

log = get_plugin_logger("recommender")


class _Count(config_options.Type[int]):
    """An option whose value is an integer of 1 or more."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(int, **kwargs)

    def run_validation(self, value: object) -> int:
        count = super().run_validation(value)
        if isinstance(value, bool) or count < 1:
            raise ValidationError(f"It is {value!r}; it must be a number of 1 or more.")
        return count


class _Heading(config_options.OptionallyRequired[str | dict[str, str]]):
    """An option whose value is a text or a mapping of languages to texts."""

    def run_validation(self, value: object) -> str | dict[str, str]:
        if isinstance(value, str):
            return value
        if isinstance(value, dict) and value and all(isinstance(text, str) for pair in value.items() for text in pair):
            return value
        raise ValidationError(f"It is {value!r}; it must be a text, or texts by language: {{en: Related, de: Mehr}}.")


class _Settings(config_options.Type[dict[str, Any]]):
    """An option whose value is a mapping of block settings."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dict, **kwargs)

    def run_validation(self, value: object) -> dict[str, Any]:
        settings = super().run_validation(value)
        try:
            Settings().updated(settings)
        except PolicyError as error:
            raise ValidationError(str(error)) from error
        return settings


class PluginConfig(Config):  # type: ignore[no-untyped-call]  # __init_subclass__ of MkDocs is untyped
    """The options of the plugin in mkdocs.yml."""

    k = _Count(default=3)
    heading = _Heading(default="Related")
    index = config_options.Dir(default=_DEFAULT_INDEX)
    exclude = config_options.Optional(config_options.PathSpec())
    template = config_options.Optional(config_options.File(exists=True))
    fields = config_options.ListOfItems(config_options.Type(str), default=[])
    model = config_options.Optional(config_options.Type(str))
    settings = _Settings(default={})


class RecommenderPlugin(BasePlugin[PluginConfig]):  # type: ignore[no-untyped-call]
    """Adds the block of related pages to every page of an MkDocs site."""

    def __init__(self) -> None:
        self._html: dict[str, str] = {}  # block by the path of the page's source file

    def on_config(self, config: MkDocsConfig) -> MkDocsConfig:
        """Raise PluginError if the index lies in a folder that MkDocs empties, publishes or watches."""
        index = Path(self.config.index)
        for folder, reason in (
            (config.site_dir, "which every build empties"),
            (config.docs_dir, "whose files are published"),
            *((folder, "which is watched, so that every build would start another") for folder in config.watch),
        ):
            if index.is_relative_to(Path(folder).resolve()) or index.resolve().is_relative_to(Path(folder).resolve()):
                raise PluginError(
                    f"The index of the plugin recommender, {index}, lies in {folder}, {reason}. "
                    f"Name another folder with its option index."
                )
        return config

    @event_priority(-100)  # after plugins that change the content, such as those for cross-references
    def on_env(self, env: Environment, /, *, config: MkDocsConfig, files: Files) -> Environment:
        """Compute the blocks of all pages; on failure log a warning and leave all pages without a block."""
        self._html = {}
        try:
            with _logged():
                self._html = self._blocks(config, files)
        except Exception as error:  # a site without blocks is better than no site
            reason = str(error) if isinstance(error, RecommenderError) else f"{type(error).__name__}: {error}"
            log.warning("No related pages are shown. %s", reason)
            log.debug("Traceback of this error:", exc_info=True)
        return env

    @event_priority(-100)  # after the search plugin, whose index must not contain the titles in blocks
    def on_page_context(
        self, context: TemplateContext, /, *, page: MkDocsPage, config: MkDocsConfig, nav: Navigation
    ) -> TemplateContext:
        """Append the block to the content of a page."""
        if block := self._html.get(page.file.src_uri):
            page.content = f"{page.content or ''}\n{block}"
        return context

    def _blocks(self, config: MkDocsConfig, files: Files) -> dict[str, str]:
        """Bring the index in line with the site; return the blocks as HTML by the path of the page's source file."""
        documents = {
            file.src_uri: file.page
            for file in files.documentation_pages()
            if file.page and not (self.config.exclude and self.config.exclude.match_file(file.src_uri))
        }
        site = _Site(documents, config.site_url or _PLACEHOLDER_SITE_URL)
        rendered = [document for document in documents.values() if document.content is not None]
        pages = [page for document in rendered if (page := site.read(document))]
        if not pages:
            return {}
        index = Path(self.config.index)
        if i18n := config.plugins.get("i18n"):  # mkdocs-static-i18n builds the languages one by one: one index each
            index /= str(getattr(i18n, "current_language", None) or "")
        if not index.exists():
            log.info("%d pages are compared for the first time; later builds embed only changed pages.", len(pages))
        blocks, report = page_blocks(
            pages,
            index,
            self.config.k,
            model=self.config.model,
            settings=self.config.settings,
            is_complete=len(rendered) == len(documents),  # false with --dirty
            on_problem=log.info,
        )
        if Path(self.config.index) == Path(config.config_file_path or "mkdocs.yml").absolute().parent / _DEFAULT_INDEX:
            write_gitignore(Path(self.config.index))
        log.info("%d pages compared, %d of them embedded, in %.1f s.", report.articles, report.embedded, report.seconds)
        return {
            id: fragment(
                site.relative_to_page(block, documents[id]),
                heading=heading_in(self.config.heading, site.language(documents[id])),
                fields=self.config.fields,
                template=self.config.template,
            )
            for id, block in blocks.items()
        }


class _Site:
    """The pages of a site, and the resolution of links between them.

    Args:
        pages: the pages by the paths of their source files.
        url: the URL of the site.
    """

    def __init__(self, pages: Mapping[str, MkDocsPage], url: str) -> None:
        self._pages = pages
        self._url = url if url.endswith("/") else f"{url}/"
        self._by_url = {unquote(page.url): id for id, page in pages.items()}

    def read(self, page: MkDocsPage) -> Page | None:
        """Return the Page of a page of MkDocs; None if it has no text or is not published."""
        meta, id = dict(page.meta), page.file.src_uri
        locale = getattr(page.file, "locale", None)  # set by mkdocs-static-i18n
        # The home page neither has a block nor stands in one: every page links to it anyway.
        home = page.url in ("", "index.html", f"{locale}/", f"{locale}/index.html")
        if isinstance(meta.get("published"), bool):  # `published: false` is a flag, not a date
            meta["is_published"] = meta.pop("published")
        published = next((meta[name] for name in _DATE_FIELDS if meta.get(name)), None)
        ancestors = [item.title for item in page.ancestors if item.title]
        fields = ({"recommend": False, "block": False} if home and meta.get("related") is None else {}) | meta
        fields |= {
            "published": published.get("created") if isinstance(published, dict) else published,
            "url": f"/{page.url}",
            "section": ancestors[-1] if ancestors else meta.get("category"),
            "language": self.language(page),
        }
        return read_page(
            id,
            page.content or "",
            fields,
            name=page.title or id,
            resolve=lambda link: self._resolve(link, page),
            on_problem=log.info,
        )

    def language(self, page: MkDocsPage) -> str | None:
        """Return the language of a page's front matter, else of mkdocs-static-i18n; None without one."""
        return page.meta.get("language") or page.meta.get("lang") or getattr(page.file, "locale", None)

    def relative_to_page(self, block: list[Recommendation], page: MkDocsPage) -> list[Recommendation]:
        """Return a block with URLs relative to a page, without links to pages that are not on the site."""
        return [
            replace(link, url=self._pages[link.id].file.url_relative_to(page.file))
            for link in block
            if link.id in self._pages
        ]

    def _resolve(self, link: str, page: MkDocsPage) -> str | None:
        """Return the source file of the page that a link leads to, by its URL or by a file path; None for others."""
        try:
            target = urljoin(urljoin(self._url, page.url), link).partition("#")[0]
        except ValueError:
            return None
        if target.startswith(self._url):
            path = unquote(target.removeprefix(self._url)).removesuffix("index.html")
            if path in self._by_url:
                return self._by_url[path]
        paths = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), link)), link.lstrip("/")
        return next((path for path in paths if path in self._pages), None)


class _LogHandler(logging.Handler):
    """Logs the package's messages as messages of the plugin, at level INFO: warnings would fail strict builds."""

    def emit(self, record: logging.LogRecord) -> None:
        log.info(record.getMessage())


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Log the package's messages as messages of the plugin within a `with` block."""
    handler, logger = _LogHandler(), logging.getLogger("recommender")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
