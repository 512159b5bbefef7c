"""Addresses of Docusaurus, tested against 3.10.

A document, `docs/01-guide/02-nails.md`, has the address `/docs/guide/nails`: number prefixes are dropped; `slug`, or
else `id`, replaces the name; `index`, `readme` and a file with its folder's name have the folder's address. A post,
`blog/2021-05-12-pier.md` or `blog/2021/05/12/pier/index.md`, has `/blog/2021/05/12/pier`, or its `slug`. Versions
(`versioned_docs/version-1.0`) and translations (`i18n/fr/docusaurus-plugin-content-docs/current`) have a folder of
their own, except for the last version and the default locale. Names that begin with `_` are no pages.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from recommender.sources.generators import base
from recommender.sources.generators.base import Page, Site, as_mapping, within
from recommender.sources.generators.javascript import read_javascript

_PLUGIN = re.compile(r"content-(docs|blog|pages)$")
_DATED_PATH = re.compile(r"(.*)(\d{4}[-/]\d{1,2}[-/]\d{1,2})[-/]?(.*?)(?:/index)?", re.S)
_DATE_OR_VERSION = re.compile(r"\d+[-_.]\d+")
_NUMBER_PREFIX = re.compile(r"\d+\s*[-_.]+\s*([^-_.\s].*)", re.S)
_FOLDERS = {"docs": "docs", "blog": "blog", "pages": "src/pages"}
_ROUTES = {"docs": "docs", "blog": "blog", "pages": ""}


@dataclass(frozen=True, slots=True)
class _Plugin:
    """An instance of a content plugin: its kind ("docs", "blog" or "pages"), id and options."""

    kind: str
    id: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return posixpath.normpath(str(self.options.get("path") or _FOLDERS[self.kind]))

    @property
    def route(self) -> str:
        route = self.options.get("routeBasePath")
        return route if isinstance(route, str) else _ROUTES[self.kind]

    @property
    def prefix(self) -> str:
        """The prefix of the plugin's files: empty for the default instance."""
        return "" if self.id == "default" else f"{self.id}_"

    def translations(self, locale_folder: str) -> str:
        suffix = "" if self.id == "default" else f"-{self.id}"
        return f"{locale_folder}/docusaurus-plugin-content-{self.kind}{suffix}"


class Docusaurus(Site):
    """A Docusaurus site; see the module's docstring for its rules."""

    name = "docusaurus"
    config_names = tuple(f"docusaurus.config.{ending}" for ending in ("js", "ts", "mjs", "cjs", "mts", "cts"))
    layout_folders = ("docs", "blog", "versioned_docs", "i18n")
    ids_are_local: ClassVar[bool] = True
    markdown_is_mdx: ClassVar[bool] = True

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, config)
        self._base = str(self.config.get("baseUrl") or "/")
        self._trailing_slash = self.config.get("trailingSlash")
        i18n = as_mapping(self.config.get("i18n"))
        locales = i18n.get("locales")
        self._i18n = posixpath.normpath(str(i18n.get("path") or "i18n"))
        self._locale_configs = as_mapping(i18n.get("localeConfigs"))
        self._default_locale = i18n.get("defaultLocale")
        if isinstance(locales, list):
            self._locales = [str(locale) for locale in locales]
        else:
            self._locales = sorted(base.folder_names(root / self._i18n))
        self._plugins = _plugins(self.config)
        self._versions = {plugin.id: self._plugin_versions(plugin) for plugin in self._plugins if plugin.kind == "docs"}

    @classmethod
    def read_config(cls, path: Path) -> Any:
        """Return the configuration in a file; see `Site.read_config`."""
        return read_javascript(path)

    @classmethod
    def matches_layout(cls, root: Path) -> bool:
        """Return whether a folder has versions, translations or categories of Docusaurus."""
        if any(name.startswith("version-") for name in base.folder_names(root / "versioned_docs")):
            return True
        if any(
            name.startswith("docusaurus-plugin-content-")
            for locale in base.folder_names(root / "i18n")
            for name in base.folder_names(root / "i18n" / locale)
        ):
            return True
        return any(
            {"_category_.json", "_category_.yml"} & base.file_names(folder)
            for folder in (root / "docs", *(root / "docs" / name for name in base.folder_names(root / "docs")))
        )

    @classmethod
    def without_config(cls, folder: Path) -> Site:
        """Return the site whose folder of documents or posts a source is or contains; see `Site.without_config`."""
        for root in (folder, *folder.parents):
            site = cls(root)
            if any((root / plugin.folder).is_dir() for plugin in site._plugins) and site.contains(folder):
                return site
        return cls(folder, {"presets": [["classic", {"docs": {"path": "."}, "blog": False, "pages": False}]]})

    def content_folders(self) -> Sequence[str]:
        """Return the folders of documents, posts and pages, of their versions and of their translations."""
        folders = [plugin.folder for plugin in self._plugins]
        folders += [f"{plugin.prefix}versioned_docs" for plugin in self._plugins if plugin.kind == "docs"]
        return [*folders, self._i18n]

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Docusaurus publishes a file; see `Site.page`."""
        for locale, plugin, version, inside in self._locations(path):
            if any(part.startswith("_") for part in PurePosixPath(inside).parts):
                return Page(excluded=base.NOT_CONTENT)
            prefix = self._locale_base(locale)
            if prefix is None:
                return Page(excluded=base.NO_PAGE)
            language = locale or (self._default_locale if isinstance(self._default_locale, str) else None)
            if plugin.kind == "blog":
                return self._post(plugin, inside, front, prefix, language)
            if plugin.kind == "pages":
                return self._standalone_page(plugin, inside, front, prefix, language)
            version_path = self._version_path(plugin, version)
            if version_path is None:
                return Page(excluded=base.NO_PAGE)
            return self._document(inside, front, [prefix, plugin.route, version_path], language)
        return Page(excluded=base.NOT_CONTENT)

    def _locations(self, path: str) -> Sequence[tuple[str | None, _Plugin, str, str]]:
        """Return the possible (locale, plugin, version, path within the plugin's folder) of a file, the best first."""
        locations: list[tuple[str | None, _Plugin, str, str]] = []
        inside = within(path, self._i18n)
        if inside:
            folder = inside.partition("/")[0]
            for plugin in self._plugins:
                inner = within(inside, plugin.translations(folder))
                if inner and plugin.kind == "docs":
                    version, _, inner = inner.partition("/")
                    locations.append((folder, plugin, version.removeprefix("version-"), inner))
                elif inner:
                    locations.append((folder, plugin, "current", inner))
            return locations
        for plugin in sorted(self._plugins, key=lambda plugin: -len(plugin.folder)):
            if plugin.kind == "docs" and (inner := within(path, f"{plugin.prefix}versioned_docs")):
                version, _, inner = inner.partition("/")
                locations.append((None, plugin, version.removeprefix("version-"), inner))
            elif inner := within(path, "" if plugin.folder == "." else plugin.folder):
                locations.append((None, plugin, "current", inner))
        return locations

    def _locale_base(self, folder: str | None) -> str | None:
        """Return the base URL of a locale, given its folder; None if the site does not publish it."""
        if folder is None:
            return self._base
        for locale in self._locales:
            config = as_mapping(self._locale_configs.get(locale))
            if folder == str(config.get("path") or locale):
                if isinstance(config.get("baseUrl"), str):
                    return str(config["baseUrl"])
                return self._base if locale == self._default_locale else f"{self._base}/{locale}"
        return None

    def _plugin_versions(self, plugin: _Plugin) -> list[str]:
        """Return the versions of documents, the last one first, without the current one."""
        if plugin.options.get("disableVersioning") is True:
            return []
        try:
            versions = base.read_config(self.root / f"{plugin.prefix}versions.json")
        except (OSError, ValueError):
            versions = None
        if isinstance(versions, list):
            return [str(version) for version in versions]
        names = base.folder_names(self.root / f"{plugin.prefix}versioned_docs")
        folders = [name.removeprefix("version-") for name in names if name.startswith("version-")]
        return sorted(folders, key=lambda name: [int(number) for number in re.findall(r"\d+", name)], reverse=True)

    def _version_path(self, plugin: _Plugin, version: str) -> str | None:
        """Return the part of the address for a version; None if the site does not publish it."""
        versions = self._versions[plugin.id]
        names = [*versions] if plugin.options.get("includeCurrentVersion") is False else ["current", *versions]
        only = plugin.options.get("onlyIncludeVersions")
        if version not in names or (isinstance(only, list) and version not in only):
            return None
        path = as_mapping(as_mapping(plugin.options.get("versions")).get(version)).get("path")
        if isinstance(path, str):
            return path
        last = plugin.options.get("lastVersion") or (versions[0] if versions else "current")
        return "" if version == last else "next" if version == "current" else version

    def _document(self, path: str, front: Mapping[str, Any], prefix: Sequence[str], language: str | None) -> Page:
        pure = PurePosixPath(path)
        numbered = front.get("parse_number_prefixes") is not False
        folders = [_without_number(part) if numbered else part for part in pure.parts[:-1]]
        slug = "" if front.get("slug") is None else str(front["slug"])
        if not slug and pure.stem.lower() in ("index", "readme", *map(str.lower, pure.parts[-2:-1])):
            address = "/".join(["", *folders, ""])
        else:
            name = str(front.get("id") or (_without_number(pure.stem) if numbered else pure.stem))
            address = _resolve(slug or name, folders)
        return Page(url=self._address(*prefix, address), language=language, section=folders[0] if folders else None)

    def _post(self, plugin: _Plugin, path: str, front: Mapping[str, Any], prefix: str, language: str | None) -> Page:
        stem = path.removesuffix(PurePosixPath(path).suffix)
        dated = _DATED_PATH.fullmatch(stem)
        folder, date, text = dated.groups() if dated else ("", None, stem.removesuffix("/index"))
        slug = front.get("slug")
        if slug is None:
            slug = f"{date.replace('-', '/')}/{folder}{text}" if date else text
        year, month, day = re.split("[-/]", date) if date else ("", "", "")
        sections = PurePosixPath(folder if dated else text).parts[: None if dated else -1]
        return Page(
            url=self._address(prefix, plugin.route, str(slug)),
            language=language,
            section=next((part for part in sections if not part.isdigit()), None),
            published=f"{year}-{int(month):02}-{int(day):02}" if date else None,
        )

    def _standalone_page(
        self, plugin: _Plugin, path: str, front: Mapping[str, Any], prefix: str, language: str | None
    ) -> Page:
        stem = path.removesuffix(PurePosixPath(path).suffix)
        if stem in ("index", "404"):
            return Page(excluded=base.LIST_PAGE if stem == "index" else base.ERROR_PAGE)
        slug = front.get("slug")
        folder = stem.removesuffix("index") if re.search("(?:^|/)index$", stem) else stem
        return Page(url=self._address(prefix, plugin.route, folder if slug is None else str(slug)), language=language)

    def _address(self, *parts: str) -> str:
        path = re.sub("/+", "/", "/".join(["", *parts]))
        if self._trailing_slash is False and path.rstrip("/") != self._base.rstrip("/"):
            path = path.rstrip("/")
        elif self._trailing_slash is True and not path.endswith("/"):
            path += "/"
        return base.escape(path or "/")


def _plugins(config: Mapping[str, Any]) -> list[_Plugin]:
    """Return the content plugins that a configuration names; those of the classic preset where it names none."""
    plugins: list[_Plugin] = []
    presets, others = config.get("presets"), config.get("plugins")
    for preset in presets if isinstance(presets, list) else []:
        options = as_mapping(preset[1]) if isinstance(preset, list) and len(preset) > 1 else {}
        plugins += [
            _Plugin(kind, options=as_mapping(options.get(kind))) for kind in _FOLDERS if options.get(kind) is not False
        ]
    for plugin in others if isinstance(others, list) else []:
        name, options = (
            (plugin[0], as_mapping(plugin[1])) if isinstance(plugin, list) and len(plugin) > 1 else (plugin, {})
        )
        if isinstance(name, str) and (kind := _PLUGIN.search(name)):
            plugins.append(_Plugin(kind[1], str(options.get("id") or "default"), options))
        elif name is None and options.get("path") and options.get("routeBasePath"):  # require.resolve(...)
            plugins.append(_Plugin("docs", str(options.get("id") or "default"), options))
    return plugins or [_Plugin(kind) for kind in _FOLDERS]


def _without_number(name: str) -> str:
    """Return a name without a number prefix; dates and versions are none."""
    prefixed = None if _DATE_OR_VERSION.match(name) else _NUMBER_PREFIX.fullmatch(name)
    return prefixed[1] if prefixed else name


def _resolve(slug: str, folders: Sequence[str]) -> str:
    """Return a slug as a path from the root, relative to folders unless it begins with `/`."""
    path = slug if slug.startswith("/") else "/".join(["", *folders, slug])
    resolved = posixpath.normpath(path)
    return f"{resolved}/" if re.search(r"(?:^|/)\.{0,2}$", path) and resolved != "/" else resolved
