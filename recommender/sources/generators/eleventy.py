"""Addresses of Eleventy, tested against 3.1.

A page, `src/posts/fire.md`, has the address `/posts/fire/`; `index.md` and a file with its folder's name have the
folder's. `permalink` replaces it: in the front matter, or in a data file of the page, of its folder or of a folder
above it (`posts/posts.json`, `posts/posts.11tydata.js`), which also make drafts of pages. It may contain
`page.fileSlug`, `page.filePathStem`, the date and fields of the front matter with the filter `slugify`. Any other
expression leaves the page without an address.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from recommender.sources.generators import base
from recommender.sources.generators.base import DATED_STEM, Page, Site, as_mapping, within
from recommender.sources.generators.javascript import read_javascript
from recommender.text.dates import parse_date

_EXPRESSION = re.compile(r"\{\{-?([^{}]*)\}\}")
_FILTERED_DATE = re.compile(r"(?:page\.)?date\s*\|\s*date\s*:\s*['\"]((?:%[YmdBbHMSjyeA]|[^%'\"])+)['\"]")
_FILTERED_FIELD = re.compile(r"(?:page\.)?([\w.]+)\s*((?:\|\s*\w+\s*)*)")
_DATED_SLUG = re.compile(r"\d{4}-\d{2}-\d{2}-(.*)", re.S)
_DATA_ENDINGS = (".json", ".11tydata.json", ".11tydata.mjs", ".11tydata.cjs", ".11tydata.js")  # the last one wins
_DATA_FIELDS = ("draft", "eleventyExcludeFromCollections", "lang")  # of data files, that apply to an article
_DIRECTORY_METHOD = re.compile(r"\.set(Input|Output|Includes)Directory\(\s*['\"]([^'\"]+)['\"]")
_IGNORE_METHOD = re.compile(r"\.ignores\.add\(\s*['\"]([^'\"]+)['\"]")
_PERMALINK_FUNCTION = re.compile(r"\bpermalink\b")
_RETURNED = re.compile(r"(?:\breturn\b|=>)(?!\s*(?:\{|\(?\w*\)?\s*=>|function\b))\s*([^;\n]+)")
_UNCHANGED_PERMALINK = re.compile(
    r"(?:false|\w+\.permalink|!?\w+\.draft\s*\?\s*(?:false\s*:\s*\w+\.permalink|\w+\.permalink\s*:\s*false))"
)
_LETTERS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "æ": "ae", "ø": "o", "œ": "oe"}
)


class Eleventy(Site):
    """An Eleventy site; see the module's docstring for its rules."""

    name = "eleventy"
    config_names = (
        ".eleventy.js", "eleventy.config.js", "eleventy.config.mjs", "eleventy.config.cjs", "eleventy.config.ts",
    )  # fmt: skip

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, config)
        folders = as_mapping(self.config.get("dir"))
        self._has_known_input = folders.get("input", "") is not None  # None: an expression, such as of the environment
        self._input = base.relative_path(root / str(folders.get("input") or "."), root)
        self._skipped = {
            PurePosixPath(str(folders.get(name) or default)).name
            for name, default in (
                ("includes", "_includes"),
                ("layouts", "_layouts"),
                ("data", "_data"),
                ("output", "_site"),
            )
        }
        self._base = str(self.config.get("pathPrefix") or "")
        lines = base.file_text(root / ".eleventyignore").splitlines() + list(self.config.get("ignores") or [])
        self._ignored = [
            line.strip().removeprefix("./").strip("/")
            for line in lines
            if line.strip() and not line.startswith(("#", "!"))
        ]
        self._data: dict[Path, Mapping[str, Any]] = {}

    @classmethod
    def read_config(cls, path: Path) -> Any:
        """Return the configuration in a file; see `Site.read_config`."""
        config = dict(read_javascript(path))
        text = base.file_text(path)
        config["ignores"] = _IGNORE_METHOD.findall(text)
        methods = {name.lower(): value for name, value in _DIRECTORY_METHOD.findall(text)}
        return config | ({"dir": {**as_mapping(config.get("dir")), **methods}} if methods else {})

    def content_folders(self) -> Sequence[str]:
        """Return the input folder."""
        return (self._input,)

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Eleventy publishes a file; see `Site.page`."""
        inside = within(path, self._input)
        if inside is None:
            return Page(excluded=base.NOT_CONTENT)
        pure = PurePosixPath(inside)
        if self._skipped & {*pure.parts[:-1]} or self._is_ignored(path):
            return Page(excluded=base.NOT_CONTENT)
        permalink = self._permalink(pure, front)
        if permalink is False:
            return Page(excluded=base.NO_PAGE)
        if front.get("pagination") is not None or str(pure.with_suffix("")) == "index":
            return Page(excluded=base.LIST_PAGE)
        if str(pure.with_suffix("")) == "404":
            return Page(excluded=base.ERROR_PAGE)
        address: str | None = None
        if permalink is None and self._has_known_input:
            folder = pure.parent if pure.stem in ("index", pure.parent.name) else pure.with_suffix("")
            address = "/" if str(folder) == "." else f"/{folder}/"
        elif isinstance(permalink, str):
            address = self._expand(permalink, pure, front)
        if address and not address.endswith(("/", *base.HTML_ENDINGS)) and "." in address.rpartition("/")[2]:
            return Page(excluded=base.NO_PAGE)  # a feed or another file
        return Page(
            url=address and base.escape(re.sub("/+", "/", f"/{self._base}/{address}")),
            section=base.section_of(base.folders_of(pure)),
            published=base.date_in_path(pure),
            defaults={
                name.lower(): data[name]
                for data in reversed([*self._page_data(pure)])
                for name in _DATA_FIELDS
                if data.get(name) is not None
            },
        )

    def _is_ignored(self, path: str) -> bool:
        parents = [path, *map(str, PurePosixPath(path).parents)][:-1]
        return any(
            fnmatchcase(parent, pattern) or ("/" not in pattern and fnmatchcase(PurePosixPath(parent).name, pattern))
            for parent in parents
            for pattern in self._ignored
        )

    def _permalink(self, page: PurePosixPath, front: Mapping[str, Any]) -> object:
        """Return the permalink of a page: a template, False for no page, None for the default, or else unknown."""
        fields_of_page = {name: value for name, value in front.items() if value is not None}
        data = [{**fields_of_page, "eleventyComputed": front.get("eleventycomputed")}, *self._page_data(page)]
        for fields in (*(as_mapping(item.get("eleventyComputed")) for item in data), *data):
            if "permalink" in fields:
                permalink = fields["permalink"]
                return permalink if isinstance(permalink, str | bool) else ...
        return None

    def _page_data(self, page: PurePosixPath) -> Iterator[Mapping[str, Any]]:
        """Yield the data of a page's own data files and of those of its folders, the most specific first."""
        root = self.root / self._input
        folders = [root / folder for folder in page.parents]
        for stem in (root / page.with_suffix(""), *(folder / folder.name for folder in folders)):
            names = base.file_names(stem.parent)
            for ending in reversed(_DATA_ENDINGS):
                if f"{stem.name}{ending}" in names:
                    yield self._data_of(stem.with_name(f"{stem.name}{ending}"))

    def _data_of(self, path: Path) -> Mapping[str, Any]:
        """Return the data in a file, without a computed permalink that only leaves out drafts."""
        if path not in self._data:
            try:
                self._data[path] = as_mapping(
                    base.read_config(path) if path.suffix == ".json" else read_javascript(path)
                )
            except (OSError, ValueError):
                self._data[path] = {}
            computed = as_mapping(self._data[path].get("eleventyComputed"))
            if computed.get("permalink", "") is None and _only_omits_drafts(base.file_text(path)):
                other_fields = {name: value for name, value in computed.items() if name != "permalink"}
                self._data[path] = {**self._data[path], "eleventyComputed": other_fields}
        return self._data[path]

    def _expand(self, template: str, page: PurePosixPath, front: Mapping[str, Any]) -> str | None:
        """Return a permalink with the values of its expressions; None if the value of one cannot be derived."""
        unknown = "{%" in template

        def value(expression: re.Match[str]) -> str:
            nonlocal unknown
            text = self._value(expression[1].removesuffix("-").strip(), page, front)
            unknown = unknown or text is None
            return text or ""

        address = _EXPRESSION.sub(value, template)
        if unknown or "{{" in address:
            return None
        return re.sub(r"(^|/)index\.html$", r"\1", f"/{address.lstrip('/')}")

    def _value(self, expression: str, page: PurePosixPath, front: Mapping[str, Any]) -> str | None:
        date = parse_date(front.get("date")) or (
            parse_date("-".join(dated.groups()[:3])) if (dated := DATED_STEM.fullmatch(page.stem)) else None
        )
        if filtered := _FILTERED_DATE.fullmatch(expression):
            return date.strftime(filtered[1]) if date else None
        field = _FILTERED_FIELD.fullmatch(expression)
        if not field:
            return None
        slug = _without_date(page.stem)
        values = {
            "fileSlug": _without_date(page.parent.name) if slug == "index" else slug,
            "filePathStem": f"/{page.with_name(slug)}",
        }
        name, filters = field[1], [name.strip() for name in field[2].split("|") if name.strip()]
        value: Any = values.get(name, front.get(name.lower()))
        if not isinstance(value, str | int) or isinstance(value, bool):
            return None
        text = str(value)
        for filter in filters:
            if filter in ("slugify", "slug"):
                slugified = slugify(text)
                if slugified is None or (filter == "slug" and not re.fullmatch(r"[\w\s-]*", text, re.A)):
                    return None
                text = slugified
            elif filter in ("lower", "downcase"):
                text = text.lower()
            elif filter not in ("safe", "trim", "strip"):
                return None
        return text


def _only_omits_drafts(module: str) -> bool:
    """Return whether a computed permalink is a function that returns `data.permalink` or false, as in the base blog."""
    computed = module.find("eleventyComputed")
    function = _PERMALINK_FUNCTION.search(module, computed) if computed >= 0 else None
    if not function:
        return False
    depth, end = 0, function.end()
    for end in range(function.end(), len(module)):
        depth += (module[end] in "([{") - (module[end] in ")]}")
        if depth < 0 or (depth == 0 and module[end] == ","):
            break
    values = _RETURNED.findall(module[function.end() : end])
    return bool(values) and all(_UNCHANGED_PERMALINK.fullmatch(value.strip()) for value in values)


def slugify(text: str) -> str | None:
    """Return a text as Eleventy's filter `slugify` does; None for letters that it transliterates by a longer table.

    Source: @sindresorhus/slugify 3, with `decamelize: false`.
    """
    decomposed = unicodedata.normalize("NFKD", text.translate(_LETTERS).replace("&", " and "))
    plain = "".join(char for char in decomposed if not unicodedata.combining(char))
    if any(char.isalnum() and not char.isascii() for char in plain):
        return None
    plain = re.sub(r"([a-z\d]+)['\u2019]([ts])(\s|$)", r"\1\2\3", plain.lower())
    return re.sub(r"[^a-z\d]+", "-", plain).strip("-")


def _without_date(name: str) -> str:
    dated = _DATED_SLUG.search(name)
    return dated[1] if dated else name
