"""Addresses of Hugo, tested against 0.168.

A page has the address of its path: `content/posts/a.md` is `/posts/a/`, a leaf bundle `posts/a/index.md` too. `slug`
replaces the last part, `url` the whole; `[permalinks]` gives the pages of a section a pattern. A language is the end of
a name (`a.fr.md`) or a content folder of its own, and a prefix of the address unless it is the default language.
`_index.md` is a list, and its `cascade` gives the pages below it front matter; the other files of a leaf bundle are its
resources.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from recommender.sources.front_matter import split_front_matter
from recommender.sources.generators import base
from recommender.sources.generators.base import Page, Site, as_mapping, within

_ENDINGS = ("toml", "yaml", "yml", "json")
_PAGE_ENDINGS = ("md", "markdown", "mdown", "mdx", "html", "htm")
_PAGE_NAME = re.compile(rf"(.+)\.(?:{'|'.join(_PAGE_ENDINGS)})", re.I)
_BUNDLE_PAGE = re.compile(rf"index\.(?:[\w-]+\.)?(?:{'|'.join(_PAGE_ENDINGS)})$")
_SECTION_PAGE = re.compile(r"_index\.")
_GLOB_TOKEN = re.compile(r"\*\*|.", re.S)
_GLOB_PATTERNS = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
_ADDRESS_FIELDS = frozenset({"url", "slug", "permalink", "aliases"})
_SIGNS = frozenset("-._#+~@/\\")  # that a path keeps, besides letters, digits and marks
_DATE_FIELDS = ("date", "publishdate", "pubdate", "published", "lastmod", "modified")
_TOKEN = re.compile(r"(?<!\\):(\w+)(?:\[([^\]]*)\])?")
_NO_DATE = datetime(1, 1, 1, tzinfo=UTC)  # of a page without a date: Go's zero time
# Names in a configuration that is named `config.toml`, as those of other programs are.
_CONFIG_FIELDS = {"baseurl", "languagecode", "defaultcontentlanguage", "permalinks", "taxonomies", "theme", "markup"}


class _ContentFolder(NamedTuple):
    """A folder of pages, relative to the root, the folder of the content tree that it is, and its language."""

    folder: str
    target: str
    language: str | None


class Hugo(Site):
    """A Hugo site; see the module's docstring for its rules."""

    name = "hugo"
    config_names = tuple(
        f"{folder}{stem}.{ending}"
        for stem in ("hugo", "config")
        for folder in ("", "config/_default/")
        for ending in _ENDINGS
    )
    content_folder = "content"
    layout_folders = ("content",)
    folder_setting = "contentdir"

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, base.lower_keys(config or {}))
        self._base = base.base_path(self.config.get("baseurl"))
        self._default_language = str(self.config.get("defaultcontentlanguage") or "en").lower()
        languages, disabled = as_mapping(self.config.get("languages")), self._disabled_languages()
        self._languages = {
            language: as_mapping(settings)
            for language, settings in languages.items()
            if not as_mapping(settings).get("disabled") and language not in disabled
        }
        self._multilingual = len(self._languages) > 1
        self._languages.setdefault(self._default_language, {})
        self._folders = self._content_folders()
        if not set(self.config) - {self.folder_setting}:
            self._infer_languages()
        ignored = self.config.get("ignorefiles")
        self._ignored = [str(pattern) for pattern in ignored] if isinstance(ignored, list) else []
        self._permalinks = tuple(_permalink_rules(self.config.get("permalinks")))

    @classmethod
    def read_config(cls, path: Path) -> Any:
        """Return the configuration in a file, and in the files `config/_default/*` of its parts."""
        config = dict(as_mapping(base.lower_keys(base.read_config(path))))
        folder = path.parent if path.parent.name == "_default" else path.parent / "config" / "_default"
        for name in sorted(base.file_names(folder)):
            stem, _, ending = name.partition(".")
            if ending in _ENDINGS and stem in ("languages", "permalinks", "module", "frontmatter", "cascade"):
                config[stem] = base.lower_keys(base.read_config(folder / name))
            elif ending in _ENDINGS and stem in ("hugo", "config") and folder / name != path:
                config |= as_mapping(base.lower_keys(base.read_config(folder / name)))
        return config

    @classmethod
    def matches_config(cls, path: Path, config: Mapping[str, Any]) -> bool:
        """Return whether a configuration is Hugo's; Zola has a `config.toml` with `base_url`."""
        if path.stem == "hugo":
            return True
        if not isinstance(config, Mapping) or "base_url" in config:
            return False
        has_content = path.suffix == ".toml" and cls.content_folder in base.file_names(path.parent)
        return has_content or bool(_CONFIG_FIELDS & set(config))

    @classmethod
    def matches_layout(cls, root: Path) -> bool:
        """Return whether `content/` has list pages, or translations of a leaf bundle beside one another."""
        content = root / cls.content_folder
        folders = [content, *(content / name for name in sorted(base.file_names(content)) if "." not in name)]
        for folder in folders:
            names = base.file_names(folder)
            if "_index.md" in names or sum(bool(re.fullmatch(r"index\.[a-z]{2}\.md", name)) for name in names) > 1:
                return True
        return False

    def content_folders(self) -> Sequence[str]:
        """Return the content folders of all languages, and the folders that are mounted as content."""
        return [content.folder for content in self._folders]

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Hugo publishes a file; see `Site.page`."""
        content = next((item for item in self._folders if within(path, item.folder) is not None), None)
        name = _PAGE_NAME.fullmatch(PurePosixPath(path).name)
        if content is None or name is None:
            return Page(excluded=base.NOT_CONTENT)
        if any(_matches_expression(pattern, path) for pattern in self._ignored):
            return Page(excluded=base.NO_PAGE)
        pure = PurePosixPath(content.target, within(path, content.folder) or "")
        folders = list(pure.parts[:-1])
        stem, _, tag = name[1].rpartition(".")
        language = content.language
        if stem and tag.lower() in self._languages:
            language = tag.lower()
        else:
            stem = name[1]
        if stem == "_index":
            return Page(excluded=base.LIST_PAGE, language=language)
        folder = (self.root / path).parent
        parents = [folder, *folder.parents][: len(folders)]
        if stem == "index" and not folders:
            return Page(excluded=base.LIST_PAGE, language=language)  # of the whole site
        if any(_is_leaf_bundle(parent) for parent in (parents[1:] if stem == "index" else parents)):
            return Page(excluded=base.RESOURCE)
        if stem == "index":
            stem = folders.pop()
        dated = base.DATED_STEM.fullmatch(stem)
        language = language or (self._default_language if self._multilingual else None)
        ancestors = [parents[-1].parent if parents else folder, *(parents[-len(folders) :][::-1] if folders else ())]
        has_default = content.language or language in (None, self._default_language)
        fronts = [_section_front(ancestor, language, has_default=bool(has_default)) for ancestor in ancestors]
        page = _PagePath(folders, stem, self._section(folders, self.root / path), front, fronts[1:])
        cascade = self._cascade(page, fronts[0], language)
        page = page._replace(front={**cascade, **front})
        return Page(
            url=self._url(page, language),
            language=language,
            section=folders[0] if folders else None,
            published="-".join(dated.groups()[:3]) if dated else None,
            translation_key="/".join([*folders, stem]) if self._multilingual else None,
            defaults={name: value for name, value in cascade.items() if name not in _ADDRESS_FIELDS},
        )

    def _cascade(self, page: "_PagePath", home: Mapping[str, Any], language: str | None) -> dict[str, Any]:
        """Return the front matter that a page has by `cascade`: its own, then those of its sections, the nearest first.

        Args:
            page: the page.
            home: the front matter of the home page.
            language: the page's language; None for a site in one language.
        """
        settings = self._languages.get(language or self._default_language, {})
        fields: dict[str, Any] = {}
        for front in (page.front, *reversed(page.sections_front), home, settings, self.config):
            if not (rules := front.get("cascade")):
                continue
            for rule in map(as_mapping, base.lower_keys(rules if isinstance(rules, list) else [rules])):
                if _is_target(as_mapping(rule.get("target") or rule.get("_target")), page, language):
                    fields = {**rule, **fields}
        return {name: value for name, value in fields.items() if name not in ("target", "_target")}

    def _url(self, page: "_PagePath", language: str | None) -> str | None:
        if self._multilingual and not language:
            return None  # the default language of a site without a configuration cannot be derived
        in_subfolder = language != self._default_language or self.config.get("defaultcontentlanguageinsubdir")
        prefix = f"/{language}" if self._multilingual and in_subfolder else ""
        url = page.front.get("url")
        slug = str(page.front.get("slug") or "")
        if isinstance(url, str) and url.strip():
            url = self._expand(url, page) if ":" in url and not re.match(r"https?:", url) else url
            if re.match(r"https?:", url):
                return url
            if not url.startswith("/"):
                url = f"{prefix}/{url}"
            path = url if url.endswith("/") or "." in url else f"{url}/"
            path = path.removesuffix("index.html") if path.endswith("/index.html") else path
            return base.escape(self._base + path)
        for pattern, target in self._permalinks:
            if _matches(page, target):
                expanded = self._expand(pattern, page)
                if _TOKEN.search(expanded):
                    return None  # a token of another version, or of a title that is missing
                path = self._sanitize(expanded.rstrip("/"))
                break
        else:
            date_in_name = base.DATED_STEM.fullmatch(page.stem)
            if not slug and date_in_name and ":filename" in self._date_sources() and not page.front.get("date"):
                slug = date_in_name[4]
            last = self._sanitize(slug or page.stem.replace(" ", "-")).strip("/")
            slugs = (str(section.get("slug") or "") for section in page.sections_front)
            names = (slug or name.replace(" ", "-") for slug, name in zip(slugs, page.folders, strict=False))
            path = "/".join([*map(self._sanitize, names), last])
        path = f"{prefix}/{re.sub('/+', '/', path).strip('/')}"
        ugly = self.config.get("uglyurls")
        if isinstance(ugly, Mapping):
            ugly = bool(page.folders) and ugly.get(page.folders[0].lower())
        return base.escape(self._base + path + (".html" if ugly else "/"))

    def _expand(self, pattern: str, page: "_PagePath") -> str:
        """Replace the tokens of a pattern of `permalinks` or `url`; an unknown token remains."""
        date = base.front_date(page.front, _DATE_FIELDS) or _NO_DATE
        dated = base.DATED_STEM.fullmatch(page.stem)
        slug = str(page.front.get("slug") or "")
        if dated and ":filename" in self._date_sources() and not page.front.get("date"):
            slug = slug or dated[4]
            date = base.front_date({"date": "-".join(dated.groups()[:3])}, ("date",)) or date
        title = re.sub(r"[/\\]", "-", str(page.front.get("title") or ""))
        sections = [self._sanitize(section.replace(" ", "-")) for section in page.sections]

        def value(token: re.Match[str]) -> str:
            match token[1]:
                case "year":
                    return str(date.year)
                case "month":
                    return f"{date.month:02}"
                case "monthname":
                    return f"{date:%B}"
                case "day":
                    return f"{date.day:02}"
                case "weekday":
                    return str(date.isoweekday() % 7)
                case "weekdayname":
                    return f"{date:%A}"
                case "yearday":
                    return str(date.timetuple().tm_yday)
                case "section":
                    return sections[0] if sections else ""
                case "sections":
                    return "/".join(sections if token[2] is None else _cut(sections, token[2]))
                case "title":
                    return self._sanitize(title) or token[0]
                case "slug":
                    return self._sanitize(slug or title) or token[0]
                case "filename" | "contentbasename":
                    return self._sanitize(page.stem)
                case "slugorfilename" | "slugorcontentbasename":
                    return self._sanitize(slug or page.stem)
            return token[0]

        return _TOKEN.sub(value, pattern).replace("\\:", ":").replace("+", " ")  # Hugo decodes it as a query

    def _sanitize(self, path: str) -> str:
        """Return a path with the characters that Hugo keeps; a run of spaces becomes one hyphen."""
        chars: list[str] = []
        space = False
        for char in path:
            if char in _SIGNS or unicodedata.category(char)[0] in "LM" or unicodedata.category(char) == "Nd":
                if space and char != "-":
                    chars.append("-")
                space = False
                chars.append(char)
            elif char.isspace() and chars and chars[-1] != "-":
                space = True
        sanitized = "".join(chars)
        if self.config.get("removepathaccents"):
            decomposed = unicodedata.normalize("NFD", sanitized)
            sanitized = unicodedata.normalize("NFC", "".join(c for c in decomposed if unicodedata.category(c) != "Mn"))
        return sanitized if self.config.get("disablepathtolower") else sanitized.lower()

    def _date_sources(self) -> Sequence[Any]:
        sources = as_mapping(self.config.get("frontmatter")).get("date")
        return [str(source).lower() for source in sources] if isinstance(sources, list) else ()

    def _section(self, folders: Sequence[str], path: Path) -> list[str]:
        """Return the folders that are sections: the first, and all down to the deepest that has an `_index` file."""
        folder = path.parent if path.stem.partition(".")[0] != "index" else path.parent.parent
        for depth in range(len(folders), 1, -1):
            if _has_match(_SECTION_PAGE, base.file_names(folder)):
                return list(folders[:depth])
            folder = folder.parent
        return list(folders[:1])

    def _disabled_languages(self) -> Sequence[str]:
        disabled = self.config.get("disablelanguages")
        return [str(language).lower() for language in disabled] if isinstance(disabled, list) else ()

    def _content_folders(self) -> list[_ContentFolder]:
        default = str(self.config.get("contentdir") or self.content_folder)
        folders = [
            _ContentFolder(str(settings["contentdir"]), "", language)
            for language, settings in self._languages.items()
            if settings.get("contentdir")
        ]
        mounts = as_mapping(self.config.get("module")).get("mounts")
        for mount in mounts if isinstance(mounts, list) else ():
            target = within(str(as_mapping(mount).get("target") or ""), "content")
            if target is not None and as_mapping(mount).get("source"):
                language = as_mapping(mount).get("lang")
                folders.append(_ContentFolder(str(mount["source"]), target, str(language) if language else None))
        folders.append(_ContentFolder(default, "", None))
        normal = (item._replace(folder=base.relative_path(self.root / item.folder, self.root)) for item in folders)
        return sorted(normal, key=lambda item: -len(item.folder))  # a folder within another one comes first

    def _infer_languages(self) -> None:
        """Take the languages of a site without a configuration from the names of translations beside one another."""
        languages: set[str] = set()
        not_default: set[str] = set()  # beside a file without a language in its name
        for folder, names in _walk(self.root / self._folders[0].folder):
            for name in names:
                language, stem, _ = base.sibling_language(folder / name)
                if language:
                    languages.add(language.lower())
                    if f"{stem}.md" in names:
                        not_default.add(language.lower())
        if languages:
            defaults = languages - not_default
            self._multilingual = True
            self._default_language = "en" if "en" in defaults else defaults.pop() if len(defaults) == 1 else ""
            self._languages = {language: {} for language in languages}


class _PagePath(NamedTuple):
    """The path of a page.

    Attributes:
        folders: the names of its folders below the content folder.
        stem: its name without endings; that of its folder for a leaf bundle.
        sections: the folders that are sections.
        front: its front matter.
        sections_front: the front matter of the `_index` file of each folder; empty without one.
    """

    folders: Sequence[str]
    stem: str
    sections: Sequence[str]
    front: Mapping[str, Any]
    sections_front: Sequence[Mapping[str, Any]]

    @property
    def path(self) -> str:
        """The path by which the configuration refers to the page: `/posts/two-words`."""
        return "/".join(["", *self.folders, self.stem]).lower().replace(" ", "-")


def _walk(folder: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    names = base.file_names(folder)
    yield folder, names
    for name in sorted(names):
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            yield from _walk(folder / name)


def _section_front(folder: Path, language: str | None, *, has_default: bool) -> Mapping[str, Any]:
    """Return the front matter of a section; an empty mapping without any.

    Args:
        folder: the folder of the section.
        language: the language of the section.
        has_default: whether a file without a language in its name is in this language.
    """
    names = base.file_names(folder)
    if not _has_match(_SECTION_PAGE, names):
        return {}
    stems = [f"_index.{language}", *(["_index"] if has_default else [])]
    files = (folder / f"{stem}.{ending}" for stem in stems for ending in _PAGE_ENDINGS if f"{stem}.{ending}" in names)
    if (path := next(files, None)) is None:
        return {}
    try:
        return _front_in(path, path.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=4096)
def _front_in(path: Path, changed: int) -> Mapping[str, Any]:
    return split_front_matter(base.file_text(path)).fields


def _is_target(target: Mapping[str, Any], page: _PagePath, language: str | None) -> bool:
    """Return whether the `target` of a cascade includes a page of a site that is built for production."""
    languages = as_mapping(as_mapping(target.get("sites")).get("matrix")).get("languages") or target.get("lang")
    patterns = {name: target.get(name) for name in ("path", "kind", "environment")} | {"language": languages}
    values = {"path": page.path, "kind": "page", "environment": "production", "language": language}
    return all(
        any(
            _glob(str(pattern).lower()).fullmatch(values[name] or "")
            for pattern in (globs if isinstance(globs, list) else [globs])
        )
        for name, globs in patterns.items()
        if globs and values[name]
    )


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    """Compile a glob, in which `*` matches within a folder, `**` across folders, and `{a,b}` either of two."""
    depth = 0

    def translate(token: re.Match[str]) -> str:
        nonlocal depth
        depth += (token[0] == "{") - (token[0] == "}")
        is_literal = token[0] not in _GLOB_PATTERNS or (token[0] == "," and not depth)
        return re.escape(token[0]) if is_literal else _GLOB_PATTERNS[token[0]]

    try:
        return re.compile(_GLOB_TOKEN.sub(translate, pattern))
    except re.error:  # its braces do not match
        return re.compile(re.escape(pattern))


def _matches_expression(pattern: str, path: str) -> bool:
    try:
        return re.search(pattern, path) is not None
    except re.error:  # a pattern that Go alone accepts
        return False


def _is_leaf_bundle(folder: Path) -> bool:
    return _has_match(_BUNDLE_PAGE, base.file_names(folder))


@lru_cache(maxsize=1024)  # the names of an unchanged folder are one object, with a cached hash
def _has_match(pattern: re.Pattern[str], names: frozenset[str]) -> bool:
    return any(map(pattern.match, names))


def _permalink_rules(config: object) -> Iterator[tuple[str, str]]:
    """Yield patterns for pages, and the section or the glob of paths that each applies to."""
    if isinstance(config, list):
        for rule in config:
            target = as_mapping(as_mapping(rule).get("target"))
            is_for_pages = _glob(str(target.get("kind") or "page")).fullmatch("page")
            if is_for_pages and isinstance(as_mapping(rule).get("pattern"), str):
                yield rule["pattern"], str(target.get("path") or "/**")
        return
    rules = as_mapping(config)
    pages = {section: pattern for section, pattern in rules.items() if isinstance(pattern, str)}
    pages |= as_mapping(rules.get("page"))
    for section in sorted(pages, key=len, reverse=True):
        if isinstance(pages[section], str):
            yield pages[section], section.strip(" /")


def _matches(page: _PagePath, target: str) -> bool:
    if target.startswith("/"):
        return _glob(target.lower()).fullmatch(page.path) is not None
    path = "/".join([*page.folders, page.stem]).lower()
    return within(path, target) is not None if target else len(page.folders) == 0


def _cut(sections: Sequence[str], cut: str) -> Sequence[str]:
    """Return the part of the sections that `[1:]`, `[:2]`, `[0]` or `[last]` selects."""

    def position(text: str, default: int) -> int:
        return len(sections) - 1 if text == "last" else int(text) if text.isdigit() else default

    start, colon, end = cut.strip().lower().partition(":")
    first = position(start, 0)
    return sections[first : position(end, len(sections))] if colon else sections[first : first + 1]
