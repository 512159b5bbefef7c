"""Addresses of Astro, tested against 5.

A page, `src/pages/about.md`, has the address `/about/`. An entry of a content collection has the address of the route
that renders the collection: `src/pages/blog/[...slug].astro` with `getCollection("blog")` makes `/blog/` and the id of
the entry, which is its `slug`, or its path with each name in lower case and without punctuation. The folder of a
collection is that of its loader in `src/content.config.ts`. An entry that no route renders, or one that computes its
path, has no known address. Starlight renders the collection `docs` at the root.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from recommender.sources.generators import base
from recommender.sources.generators.base import Page, Site, as_mapping, within
from recommender.sources.generators.javascript import read_javascript

_CONFIG_ENDINGS = ("ts", "mjs", "js", "mts")
_DEFINITION = re.compile(r"(?:(?:const|let|var)\s+(\w+)\s*=|['\"]?([\w-]+)['\"]?\s*:)\s*defineCollection\s*\(")
_COLLECTIONS = re.compile(r"\bcollections\s*=\s*\{(.*?)\}", re.S)
_ALIAS = re.compile(r"['\"]?([\w-]+)['\"]?\s*(?::\s*(\w+)\s*)?(?:,|$)")
_OPTION = {name: re.compile(rf"\b{name}\s*:\s*\[?\s*['\"`]([^'\"`]+)['\"`]") for name in ("base", "pattern")}
_RENDERED = re.compile(r"\bgetCollection\s*(?:<[^()]*>)?\s*\(\s*['\"`]([\w-]+)['\"`]")
_PARAMETERS = re.compile(r"\bparams\s*:\s*\{\s*(\w+)\s*(?::\s*([^{},]+?)\s*)?,?\s*\}")
_ID = re.compile(r"(?:\w+\??\.)?(?:id|slug)|\w+")
_ROUTE_NAME = re.compile(r"\[(?:\.\.\.)?(\w+)\]\.astro")
_STARLIGHT = re.compile(r"['\"]@astrojs/starlight['\"]")


@dataclass(frozen=True, slots=True)
class _Collection:
    """A content collection: its name, the folder of its entries, and the pattern of their paths; "" without one."""

    name: str
    folder: str
    pattern: str = ""

    def contains(self, path: str) -> bool:
        """Return whether a path within the folder is an entry."""
        pure = PurePosixPath(path)
        if not self.pattern or "[^_]" in self.pattern:
            hidden = pure.parts if not self.pattern else pure.parts[-1:]
            if any(part.startswith("_") for part in hidden):
                return False
        return "**" in self.pattern or not self.pattern or len(pure.parts) == len(PurePosixPath(self.pattern).parts)


class Astro(Site):
    """An Astro site; see the module's docstring for its rules."""

    name = "astro"
    config_names = tuple(f"astro.config.{ending}" for ending in ("mjs", "js", "ts", "mts", "cjs", "cts"))

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, config)
        self._source = base.relative_path(root / str(self.config.get("srcDir") or "src"), root)
        self._base = str(self.config.get("base") or "").strip("/")
        self._format = as_mapping(self.config.get("build")).get("format")
        self._trailing_slash = self.config.get("trailingSlash")
        locales = as_mapping(self.config.get("i18n")).get("locales")
        self._locales = {
            str(locale) for locale in (locales if isinstance(locales, list) else []) if isinstance(locale, str)
        }
        self._collections = self._read_collections()
        self._routes = self._read_routes()

    @classmethod
    def read_config(cls, path: Path) -> Any:
        """Return the configuration in a file, with `starlight` if it has this integration; see `Site.read_config`."""
        starlight = bool(_STARLIGHT.search(base.file_text(path)))
        return {**read_javascript(path), **({"starlight": True} if starlight else {})}

    def content_folders(self) -> Sequence[str]:
        """Return the folders of pages and of collections."""
        return [f"{self._source}/pages", f"{self._source}/content", *(item.folder for item in self._collections)]

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Astro publishes a file; see `Site.page`."""
        inside = within(path, f"{self._source}/pages")
        if inside is not None:
            return self._standalone_page(inside)
        for collection in sorted(self._collections, key=lambda item: -len(item.folder)):
            inside = within(path, collection.folder)
            if inside is not None and collection.contains(inside):
                return self._entry(collection, inside, front)
        return Page(excluded=base.NOT_CONTENT)

    def _standalone_page(self, path: str) -> Page:
        pure = PurePosixPath(path)
        if any(part.startswith("_") for part in pure.parts):
            return Page(excluded=base.NOT_CONTENT)
        stem = str(pure.with_suffix(""))
        if stem == "index":
            return Page(excluded=base.LIST_PAGE)
        if stem in ("404", "500"):
            return Page(excluded=base.ERROR_PAGE)
        folders = base.folders_of(pure)
        return Page(url=self._address(stem), language=self._language(folders), section=base.section_of(folders))

    def _entry(self, collection: _Collection, path: str, front: Mapping[str, Any]) -> Page:
        pure = PurePosixPath(path)
        slug = front.get("slug")
        id = str(slug) if slug else "/".join(_slug(part) for part in pure.with_suffix("").parts).removesuffix("/index")
        route = self._routes.get(collection.name)
        if route == "" and id in ("index", "404"):
            return Page(excluded=base.LIST_PAGE if id == "index" else base.ERROR_PAGE)
        folders = base.folders_of(pure)
        language = self._language(folders)
        section = base.section_of(folders[1:] if language else folders) or base.section_of([collection.name])
        return Page(
            url=None if route is None else self._address(f"{route}/{id}"),
            language=language,
            section=section,
            published=base.date_in_path(pure),
        )

    def _language(self, folders: Sequence[str]) -> str | None:
        return folders[0] if folders and folders[0] in self._locales else None

    def _address(self, path: str) -> str:
        """Return the address of a page, given its path without a base and an ending."""
        folder = re.sub(r"(?:^|/)index$", "", path)
        address = re.sub("/+", "/", f"/{self._base}/{folder}").rstrip("/")
        if self._format == "file" and self._trailing_slash != "never" and address.strip("/") != self._base:
            address += ".html"
        elif self._trailing_slash != "never" or not address:
            address += "/"
        return base.escape(address)

    def _read_collections(self) -> list[_Collection]:
        """Return the collections that the content configuration defines; one per folder of `content` without one."""
        content = f"{self._source}/content"
        names = [f"{self._source}/content.config", f"{content}/config"]
        texts = [base.file_text(self.root / f"{name}.{ending}") for name in names for ending in _CONFIG_ENDINGS]
        text = next(filter(None, texts), "")
        _, *parts = _DEFINITION.split(text)
        aliases: dict[str, str] = {}
        if exported := _COLLECTIONS.search(text):
            aliases = {variable or name: name for name, variable in _ALIAS.findall(exported[1].strip())}
        collections = []
        for variable, key, options in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            name = key or aliases.get(variable, variable)
            folder, pattern = (match[1] if (match := _OPTION[option].search(options)) else "" for option in _OPTION)
            if "glob" not in options:
                folder, pattern = f"{content}/{name}", ""
            path = base.relative_path((self.root / (folder or ".")).absolute(), self.root.absolute())
            collections.append(_Collection(name, path, pattern))
        if collections:
            return collections
        return [_Collection(name, f"{content}/{name}") for name in sorted(base.folder_names(self.root / content))]

    def _read_routes(self) -> dict[str, str]:
        """Return the folder of the route that renders each collection: "blog" of `src/pages/blog/[...slug].astro`."""
        pages = self.root / self._source / "pages"
        routes = {"docs": ""} if self.config.get("starlight") else {}
        by_folder: dict[str, str] = {}
        for path in sorted(pages.rglob("*.astro")) if pages.is_dir() else []:
            folder = base.relative_path(path.parent, pages)
            if not (name := _ROUTE_NAME.fullmatch(path.name)) or "[" in folder:
                continue
            text = base.file_text(path)
            if re.search(r"\bpaginate\s*\(", text):
                continue
            parameters = _PARAMETERS.search(text)
            if parameters and parameters[1] == name[1] and _ID.fullmatch(parameters[2] or "id"):
                by_folder.setdefault(folder, folder)
                if rendered := _RENDERED.search(text):
                    routes.setdefault(rendered[1], folder)
        for collection in self._collections:  # a route that calls a function of the site, in the collection's folder
            if collection.name in by_folder and collection.name not in routes:
                routes[collection.name] = by_folder[collection.name]
        unclaimed = set(by_folder.values()) - set(routes.values())
        if len(self._collections) == len(unclaimed) == 1:
            routes.setdefault(self._collections[0].name, unclaimed.pop())
        return routes


def _slug(name: str) -> str:
    """Return a name as github-slugger does: in lower case, hyphens for spaces, without punctuation."""
    slug_chars = (char for char in name.lower() if char in "-_ " or unicodedata.category(char)[0] in "LMN")
    return "".join(slug_chars).replace(" ", "-")
