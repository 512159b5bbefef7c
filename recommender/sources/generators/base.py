"""Site and Page: the interface of all generators, and the rules of a folder that no known generator publishes."""

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import langcodes
import yaml

from recommender.text.dates import parse_date

_TOP_FOLDERS = {"", "source", "content", "src", "pages"}
LIST_PAGE, ERROR_PAGE, RESOURCE, NOT_CONTENT, NO_PAGE, TEMPLATE = (  # values of Entry.excluded
    "list page",
    "error page",
    "page resource",
    "outside the content",
    "without a page",
    "template",
)
DATED_STEM = re.compile(r"(\d{4})-(\d\d?)-(\d\d?)-(.+)")
HTML_ENDINGS = (".html", ".htm", ".xhtml")
_INDEX_STEMS = ("index", "_index", "readme")  # of pages that are served at the address of their folder
NO_SECTION = re.compile(r"[_.].*|\d+|content|docs|src|pages|posts|articles|blog", re.I)
_URL_FIELDS = ("url", "permalink")
_PATH_CHARACTERS = "/!$&'()*+,;=:@~"  # valid in a path, besides letters, digits and "-._"
# Names of templates that list other pages.
_LIST_TEMPLATES = {"home", "list", "archive", "archives", "tags", "categories", "search", "sitemap"}
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Page:
    """How a generator publishes a file.

    Attributes:
        url: the percent-encoded path of its address, with the base path of the site; an absolute URL where the front
            matter has one; None if it cannot be derived.
        excluded: why the file is no article, as in `Entry.excluded`; empty for an article.
        language: the language that the file's name, its folder or the configuration gives it; None without one.
        section: the section that its path gives it; None without one.
        published: the date in its path, `2026-03-05`; None without one.
        translation_key: a text that the translations of the page have too; None without any.
        defaults: fields that the site gives the page if its front matter lacks them, with names in lower case.
    """

    url: str | None = None
    excluded: str = ""
    language: str | None = None
    section: str | None = None
    published: str | None = None
    translation_key: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


class Site:
    """The site that a folder of pages belongs to; this base class is a site of an unknown generator.

    A subclass is one generator. It overrides `config_names`, `page`, and whichever of the other methods differ.

    Args:
        root: the folder of the site: paths of pages are relative to it.
        config: its configuration, as parsed.

    Attributes:
        name: the generator's name, a value of `--site`; "none" for an unknown generator.
        config_names: names of the configuration files that identify the generator, within the root.
        content_folder: the folder of pages within the root, where the configuration names no other.
        layout_folders: paths of folders of pages within a root, by which a root without a configuration is located.
        folder_setting: the name of the folder of pages in the configuration; empty if it has none.
        ids_are_local: whether `id` in a front matter is unique within a folder only, and so no id of an article.
        markdown_is_mdx: whether `.md` files may contain JavaScript, as `.mdx` files do.
        content_prefix: the beginning of a link to a file by its path in the folder of pages; "" if there is none.
        html_is_source: whether an HTML file is no built page, and the title and meta tags of its head are its fields.
        titles_from_headings: whether a page without a title has that of its first heading in its address.
        problem: the path of a configuration that could not be read, and a clause on why; None if it was read.
    """

    name: ClassVar[str] = "none"
    config_names: ClassVar[tuple[str, ...]] = ()
    content_folder: ClassVar[str] = ""
    layout_folders: ClassVar[tuple[str, ...]] = ()
    content_prefix: ClassVar[str] = ""
    html_is_source: ClassVar[bool] = False
    titles_from_headings: ClassVar[bool] = False
    folder_setting: ClassVar[str] = ""
    ids_are_local: ClassVar[bool] = False
    markdown_is_mdx: ClassVar[bool] = False

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        self.root = root
        self.config: Mapping[str, Any] = config or {}
        self.problem: tuple[Path, str] | None = None

    @classmethod
    def read_config(cls, path: Path) -> Any:
        """Return the configuration in a file.

        Raises:
            ValueError: it cannot be parsed; the message is a clause.
            OSError: it cannot be read.
        """
        return read_config(path)

    @classmethod
    def matches_config(cls, path: Path, config: Mapping[str, Any]) -> bool:
        """Return whether a file with one of `config_names` is this generator's: others use the same name."""
        return True

    @classmethod
    def matches_layout(cls, root: Path) -> bool:
        """Return whether the files of a folder without a configuration are unmistakably for this generator."""
        return False

    @classmethod
    def without_config(cls, folder: Path) -> "Site":
        """Return the site of a source's folder that has neither a configuration nor an unmistakable layout."""
        for root in (folder, *folder.parents):
            if cls.content_folder and (root / cls.content_folder).is_dir():
                site = cls(root)
                if site.contains(folder):
                    return site
        return cls(folder, {cls.folder_setting: "."} if cls.folder_setting else None)

    def content_folders(self) -> Sequence[str]:
        """Return the folders of pages, relative to the root; "" for the root itself."""
        folder = str(self.config.get(self.folder_setting) or self.content_folder)
        return (relative_path(self.root / folder, self.root),)

    def contains(self, source: Path) -> bool:
        """Return whether a source, a folder or the parent of a file, contains pages of the site or is one's folder."""
        inside = relative_path(source, self.root)
        return inside == "" or any(
            within(inside, folder) is not None or within(folder, inside) is not None
            for folder in self.content_folders()
        )

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how the site publishes a file.

        Args:
            path: the path of the file relative to the root, with `/`.
            front: its front matter, with names in lower case.
        """
        pure = PurePosixPath(path)
        language, stem, translated = sibling_language(self.root / path)
        dated = DATED_STEM.fullmatch(stem)
        return Page(
            url=front_url(front) or (None if language else default_address(path)),
            language=language,
            section=section_of(pure.parts[: -2 if self._is_bundle(path) else -1]),
            published="-".join(dated.groups()[:3]) if dated else None,
            translation_key=f"{pure.parent}/{stem}" if translated else None,
        )

    def _is_bundle(self, path: str) -> bool:
        """Return whether a file is the only page of its folder, which then is no section: `blog/fire/index.md`."""
        if PurePosixPath(path).stem.lower() not in _INDEX_STEMS:
            return False
        return sum(map(_has_page_ending, file_names((self.root / path).parent))) == 1


def _has_page_ending(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in (".md", ".mdx", ".markdown", *HTML_ENDINGS)


def default_address(path: str) -> str:
    """Return the address of a page by the default of most generators: `/news/fire/`; an HTML file keeps its name."""
    pure = PurePosixPath(path)
    stem = pure.name.removesuffix(pure.suffix)
    folder = "/" if str(pure.parent) == "." else f"/{pure.parent}/"
    if stem.lower() in _INDEX_STEMS:
        return quote(folder)
    return quote(f"{folder}{pure.name}" if pure.suffix.lower() in HTML_ENDINGS else f"{folder}{stem}/")


def section_of(folders: Sequence[str]) -> str | None:
    """Return the first of these folders that names a section; None if all are folders of a generator, or numbers."""
    return next((folder for folder in folders if not NO_SECTION.fullmatch(folder)), None)


def folders_of(path: PurePosixPath) -> Sequence[str]:
    """Return the folders above a page; for an index those above its folder: `blog` of `blog/fire/index.md`."""
    return path.parts[: -2 if path.stem == "index" else -1]


def date_in_path(path: PurePosixPath) -> str | None:
    """Return the date before a page's name, for an index before that of its folder: `2026-03-05`; None without one."""
    dated = DATED_STEM.fullmatch(path.parent.name if path.stem == "index" else path.stem)
    return "-".join(dated.groups()[:3]) if dated else None


def front_url(front: Mapping[str, Any], names: Sequence[str] = (*_URL_FIELDS, "slug", "path")) -> str | None:
    """Return the address that one of these fields gives a page: an absolute URL, or a path with a leading `/`.

    `slug` and `path` count only with a leading `/`; a pattern such as `/:year/:title/` does not count.
    """
    for name in names:
        value = front.get(name)
        if isinstance(value, str) and value.strip() and not re.search(r"\{|/:|^:", value):
            value = value.strip()
            if re.match(r"https?:|/", value):
                return value
            if name in _URL_FIELDS:
                return f"/{value}"
    return None


def exclusion(path: str, front: Mapping[str, Any]) -> str:
    """Return why a page of any generator is no article, by its name and the template in its front matter."""
    templates = {str(front.get(name) or "").lower().removesuffix(".html") for name in ("layout", "type", "template")}
    pagination = front.get("pagination")
    paginated = isinstance(pagination, Mapping) and pagination.get("enabled") is True  # jekyll-paginate-v2
    is_top = PurePosixPath(path).parent.name in _TOP_FOLDERS  # a page about error pages may have this name elsewhere
    is_missing = str(front.get("permalink") or front.get("url")).strip("/") in ("404", "404.html")
    if is_missing or (is_top and PurePosixPath(path).stem == "404") or "404" in templates:
        return ERROR_PAGE
    return LIST_PAGE if paginated or not _LIST_TEMPLATES.isdisjoint(templates) else ""


def escape(path: str, safe: str = _PATH_CHARACTERS) -> str:
    """Percent-encode a path; valid escapes in it remain."""
    return quote(_ESCAPE.sub("%25", path), safe=f"%{safe}")


def base_path(url: object) -> str:
    """Return the path of a site's URL without a final `/`: "/blog" of https://example.org/blog/, else ""."""
    try:
        return urlsplit(url).path.rstrip("/") if isinstance(url, str) else ""
    except ValueError:
        return ""


def front_date(front: Mapping[str, Any], names: Sequence[str]) -> datetime | None:
    """Return the first of these fields that is a date, as a datetime in its own time zone; None without one."""
    return next((date for name in names if (date := parse_date(front.get(name)))), None)


def relative_path(path: Path, root: Path) -> str:
    """Return a path relative to a folder, with `/`; "" for the folder itself, and `../x` outside it."""
    relative = os.path.relpath(path, root).replace(os.sep, "/")
    return "" if relative == "." else relative


def within(path: str, folder: str) -> str | None:
    """Return a path relative to a folder, both relative to the same root; None if it lies outside the folder."""
    if not folder or path == folder:
        return path if not folder else ""
    return path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else None


def file_names(folder: Path) -> frozenset[str]:
    """Return the names of a folder's files and subfolders; an empty set if it cannot be listed."""
    try:
        return _file_names(folder, folder.stat().st_mtime_ns)
    except OSError:
        return frozenset()


def folder_names(folder: Path) -> frozenset[str]:
    """Return the names of a folder's subfolders; an empty set if it cannot be listed."""
    return frozenset(name for name in file_names(folder) if (folder / name).is_dir())


def file_text(path: Path) -> str:
    """Return the text of a small file; an empty text if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@lru_cache(maxsize=4096)
def _file_names(folder: Path, changed: int) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir())


@cache
def is_language(tag: str) -> bool:
    """Return whether a text is a tag such as `fr`, `pt-br` or `zh-hans`; names such as `io` and `is` are tags too."""
    return bool(re.fullmatch(r"[a-z]{2}(?:[-_](?:[a-z]{2}|[a-z]{4}))?", tag, re.I)) and langcodes.tag_is_valid(
        tag.replace("_", "-")
    )


def sibling_language(path: Path) -> tuple[str | None, str, bool]:
    """Return the language in a file's name, the name without it and the ending, and whether a translation is beside it.

    `fire.fr.md` is French beside `fire.md` or `fire.de.md`. Alone, its ending may be any word, as in `crates.io.md`.
    """
    try:
        languages = _languages_by_name(path.parent, path.parent.stat().st_mtime_ns)
    except OSError:
        return None, path.stem, False
    stem, _, tag = path.stem.rpartition(".")
    if stem and len(languages.get((stem, path.suffix), ())) > 1 and is_language(tag):
        return tag, stem, True
    return None, path.stem, len(languages.get((path.stem, path.suffix), ())) > 1


@lru_cache(maxsize=256)
def _languages_by_name(folder: Path, changed: int) -> dict[tuple[str, str], set[str]]:
    """Return the languages of the files of a folder by name and ending; "" for a file without one in its name."""
    languages: dict[tuple[str, str], set[str]] = {}
    for name in _file_names(folder, changed):
        base, _, ending = name.rpartition(".")
        languages.setdefault((base, f".{ending}"), set()).add("")
        stem, _, tag = base.rpartition(".")
        if stem and is_language(tag):
            languages.setdefault((stem, f".{ending}"), set()).add(tag)
    return languages


def read_config(path: Path) -> Any:
    """Parse a configuration file in TOML, YAML or JSON by its ending.

    Raises:
        ValueError: it cannot be parsed; the message is a clause.
        OSError: it cannot be read.
    """
    text = path.read_text(encoding="utf-8-sig")
    try:
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix == ".json":
            return json.loads(text)
        return yaml.load(text, _ConfigLoader)  # noqa: S506 - a subclass of SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error


class _ConfigLoader(yaml.SafeLoader):  # type: ignore[misc]
    """A loader whose unknown tags (`!ENV`, `!!python/name:x`) yield None."""


_ConfigLoader.add_multi_constructor("", lambda loader, suffix, node: None)


def lower_keys(value: Any) -> Any:
    """Return a value with the names of all mappings within it in lower case."""
    if isinstance(value, Mapping):
        return {str(name).lower(): lower_keys(item) for name, item in value.items()}
    return [lower_keys(item) for item in value] if isinstance(value, list) else value


def with_defaults(front: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a front matter with default values for the fields that it lacks or leaves empty."""
    return {**front, **{name: value for name, value in defaults.items() if front.get(name) in (None, "")}}


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping unchanged, and an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}
