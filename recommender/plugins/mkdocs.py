"""A plugin for MkDocs: the block of related pages at the end of every page.

    plugins:
      - search
      - recommender

The plugin reads pages as they are rendered, after other plugins. docs/reference/plugins.md lists its options.
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

_INDEX = ".cache/recommender"
_DATES = ("published", "date", "created")
_SITE = "http://site.invalid/"  # stands before addresses within the site

log = get_plugin_logger("recommender")


class _Count(config_options.Type[int]):
    """A number of 1 or more."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(int, **kwargs)

    def run_validation(self, value: object) -> int:
        count = super().run_validation(value)
        if isinstance(value, bool) or count < 1:
            raise ValidationError(f"It is {value!r}; it must be a number of 1 or more.")
        return count


class _Heading(config_options.OptionallyRequired[str | dict[str, str]]):
    """A text, or one for each language."""

    def run_validation(self, value: object) -> str | dict[str, str]:
        if isinstance(value, str):
            return value
        if isinstance(value, dict) and value and all(isinstance(text, str) for pair in value.items() for text in pair):
            return value
        raise ValidationError(f"It is {value!r}; it must be a text, or texts by language: {{en: Related, de: Mehr}}.")


class _Settings(config_options.Type[dict[str, Any]]):
    """Settings of blocks."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dict, **kwargs)

    def run_validation(self, value: object) -> dict[str, Any]:
        settings = super().run_validation(value)
        try:
            Settings().updated(settings)
        except PolicyError as error:
            raise ValidationError(str(error)) from error
        return settings


class PluginConfig(Config):  # type: ignore[no-untyped-call]  # MkDocs has no type for how it takes subclasses
    """The options of the plugin in mkdocs.yml."""

    k = _Count(default=3)
    heading = _Heading(default="Related")
    index = config_options.Dir(default=_INDEX)
    exclude = config_options.Optional(config_options.PathSpec())
    template = config_options.Optional(config_options.File(exists=True))
    fields = config_options.ListOfItems(config_options.Type(str), default=[])
    model = config_options.Optional(config_options.Type(str))
    settings = _Settings(default={})


class RecommenderPlugin(BasePlugin[PluginConfig]):  # type: ignore[no-untyped-call]
    """The plugin."""

    def __init__(self) -> None:
        self._html: dict[str, str] = {}  # blocks by the path of their page's file

    def on_config(self, config: MkDocsConfig) -> MkDocsConfig:
        """Refuse a place for the index that MkDocs empties, publishes or watches."""
        index = Path(self.config.index)
        for folder, why in (
            (config.site_dir, "which every build empties"),
            (config.docs_dir, "whose files are published"),
            *((folder, "which is watched, so that every build would start another") for folder in config.watch),
        ):
            if index.is_relative_to(Path(folder).resolve()) or index.resolve().is_relative_to(Path(folder).resolve()):
                raise PluginError(
                    f"The index of the plugin recommender, {index}, lies in {folder}, {why}. "
                    f"Name another folder with its option index."
                )
        return config

    @event_priority(-100)  # after the plugins that still change content, such as those for cross-references
    def on_env(self, env: Environment, /, *, config: MkDocsConfig, files: Files) -> Environment:
        """Make the blocks of all pages."""
        self._html = {}
        try:
            with _logged():
                self._html = self._blocks(config, files)
        except Exception as error:  # pages without a block are better than no pages
            reason = str(error) if isinstance(error, RecommenderError) else f"{type(error).__name__}: {error}"
            log.warning("No related pages are shown. %s", reason)
            log.debug("This is where it happened:", exc_info=True)
        return env

    @event_priority(-100)  # after the search, which would find the titles in the blocks
    def on_page_context(
        self, context: TemplateContext, /, *, page: MkDocsPage, config: MkDocsConfig, nav: Navigation
    ) -> TemplateContext:
        """Put the block at the end of a page."""
        if block := self._html.get(page.file.src_uri):
            page.content = f"{page.content or ''}\n{block}"
        return context

    def _blocks(self, config: MkDocsConfig, files: Files) -> dict[str, str]:
        """Return the blocks as HTML."""
        documents = {
            file.src_uri: file.page
            for file in files.documentation_pages()
            if file.page and not (self.config.exclude and self.config.exclude.match_file(file.src_uri))
        }
        site = _Site(documents, config.site_url or _SITE)
        rendered = [document for document in documents.values() if document.content is not None]
        pages = [page for document in rendered if (page := site.read(document))]
        if not pages:
            return {}
        index = Path(self.config.index)
        if i18n := config.plugins.get("i18n"):  # mkdocs-static-i18n builds one language after the other
            index /= str(getattr(i18n, "current_language", None) or "")
        if not index.exists():
            log.info("%d pages are compared for the first time; later builds take up what has changed.", len(pages))
        blocks, report = page_blocks(
            pages,
            index,
            self.config.k,
            model=self.config.model,
            settings=self.config.settings,
            whole=len(rendered) == len(documents),  # not so with --dirty
            on_problem=log.info,
        )
        if Path(self.config.index) == Path(config.config_file_path or "mkdocs.yml").absolute().parent / _INDEX:
            write_gitignore(Path(self.config.index))
        log.info("%d pages compared, %d of them embedded, in %.1f s.", report.articles, report.embedded, report.seconds)
        return {
            id: fragment(
                site.addressed(block, documents[id]),
                heading=heading_in(self.config.heading, site.language(documents[id])),
                fields=self.config.fields,
                template=self.config.template,
            )
            for id, block in blocks.items()
        }


class _Site:
    """The pages of a site, and how they lead to one another.

    Args:
        pages: the pages by the paths of their files.
        url: where the site is.
    """

    def __init__(self, pages: Mapping[str, MkDocsPage], url: str) -> None:
        self._pages = pages
        self._url = url if url.endswith("/") else f"{url}/"
        self._by_url = {unquote(page.url): id for id, page in pages.items()}

    def read(self, page: MkDocsPage) -> Page | None:
        """Return what is indexed of a page."""
        meta, id = dict(page.meta), page.file.src_uri
        locale = getattr(page.file, "locale", None)  # set by mkdocs-static-i18n
        # The home page is a click away from every page.
        home = page.url in ("", "index.html", f"{locale}/", f"{locale}/index.html")
        if isinstance(meta.get("published"), bool):  # whether, and not when
            meta["is_published"] = meta.pop("published")
        published = next((meta[name] for name in _DATES if meta.get(name)), None)
        above = [item.title for item in page.ancestors if item.title]
        fields = ({"recommend": False, "block": False} if home and meta.get("related") is None else {}) | meta
        fields |= {
            "published": published.get("created") if isinstance(published, dict) else published,
            "url": f"/{page.url}",
            "section": above[-1] if above else meta.get("category"),
            "language": self.language(page),
        }
        return read_page(
            id,
            page.content or "",
            fields,
            name=page.title or id,
            find=lambda link: self._find(link, page),
            on_problem=log.info,
        )

    def language(self, page: MkDocsPage) -> str | None:
        """Return the language that a page declares."""
        return page.meta.get("language") or page.meta.get("lang") or getattr(page.file, "locale", None)

    def addressed(self, block: list[Recommendation], page: MkDocsPage) -> list[Recommendation]:
        """Return a block with links as they are on a page; without those to pages that the site does not have."""
        return [
            replace(link, url=self._pages[link.id].file.url_relative_to(page.file))
            for link in block
            if link.id in self._pages
        ]

    def _find(self, link: str, page: MkDocsPage) -> str | None:
        """Return the file of the page that a link leads to: by its address, or by the path of a file."""
        try:
            whole = urljoin(urljoin(self._url, page.url), link).partition("#")[0]
        except ValueError:
            return None
        if whole.startswith(self._url):
            path = unquote(whole.removeprefix(self._url)).removesuffix("index.html")
            if path in self._by_url:
                return self._by_url[path]
        paths = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), link)), link.lstrip("/")
        return next((path for path in paths if path in self._pages), None)


class _LogHandler(logging.Handler):
    """Tells what the package logs as the plugin's own."""

    def emit(self, record: logging.LogRecord) -> None:
        log.info(record.getMessage())


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    handler, logger = _LogHandler(), logging.getLogger("recommender")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
