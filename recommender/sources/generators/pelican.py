"""Addresses of Pelican, tested against 4.10.

An article has the address `ARTICLE_URL`, by default `{slug}.html`, and a page `PAGE_URL`, `pages/{slug}.html`; the
slug is that of the header or made of the title. An article in another language than `DEFAULT_LANG` has
`ARTICLE_LANG_URL`. An article without a date is not published. Fields that a file lacks are those of its path, of
`EXTRA_PATH_METADATA` and of `DEFAULT_METADATA`. The settings are read from `pelicanconf.py` and
`publishconf.py` without running them: only literals count.
"""

import ast
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from recommender.sources.generators import base
from recommender.sources.generators.base import Page, Site, as_mapping, lower_keys, with_defaults, within
from recommender.text.dates import parse_date

_PAGE_NAME = re.compile(r"(.+)\.(?:md|markdown|mkd|mdown|html?|rst)", re.I)
_DEFAULTS: Mapping[str, Any] = {
    "ARTICLE_PATHS": [""],
    "PAGE_PATHS": ["pages"],
    "ARTICLE_URL": "{slug}.html",
    "ARTICLE_LANG_URL": "{slug}-{lang}.html",
    "PAGE_URL": "pages/{slug}.html",
    "PAGE_LANG_URL": "pages/{slug}-{lang}.html",
    "DEFAULT_LANG": "en",
    "DEFAULT_CATEGORY": "misc",
    "FILENAME_METADATA": r"(?P<date>\d{4}-\d{2}-\d{2}).*",
    "PATH_METADATA": "",
    "SLUGIFY_SOURCE": "title",
    "SLUG_REGEX_SUBSTITUTIONS": [(r"[^\w\s-]", ""), (r"(?u)\A\s*", ""), (r"(?u)\s*\Z", ""), (r"[-\s]+", "-")],
}
# Fields of the settings that decide whether and where an article appears; those of its address are in `Page.url`.
_DEFAULT_FIELDS = ("status", "category", "tags", "date", "lang", "author", "authors", "summary")
_FIELD = re.compile(r"\{(\w+)(?::([^{}]*))?\}")


class Pelican(Site):
    """A Pelican site; see the module's docstring for its rules."""

    name = "pelican"
    config_names = ("pelicanconf.py",)
    content_folder = "content"
    html_is_source = True
    folder_setting = "PATH"

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, {**_DEFAULTS, **(config or {})})
        self._base = base.base_path(self.config.get("SITEURL"))
        self._default_language = str(self.config["DEFAULT_LANG"])

    @classmethod
    def read_config(cls, path: Path) -> Any:
        """Return the literal settings of `pelicanconf.py`, with the SITEURL of `publishconf.py` beside it."""
        settings = _literals(path)
        published = path.with_name("publishconf.py")
        if published.is_file():
            settings |= {name: value for name, value in _literals(published).items() if name == "SITEURL"}
        return settings

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Pelican publishes a file; see `Site.page`."""
        inside = within(path, self.content_folders()[0])
        name = _PAGE_NAME.fullmatch(PurePosixPath(path).name)
        if inside is None or name is None:
            return Page(excluded=base.NOT_CONTENT)
        if as_mapping(self.config.get("READERS")).get(PurePosixPath(path).suffix.lower()[1:], "") is None:
            return Page(excluded=base.NO_PAGE)
        is_page = _is_under(inside, self.config["PAGE_PATHS"])
        if not is_page and not _is_under(inside, self.config["ARTICLE_PATHS"]):
            return Page(excluded=base.NOT_CONTENT)
        if self._is_excluded(inside, "PAGE_EXCLUDES" if is_page else "ARTICLE_EXCLUDES"):
            return Page(excluded=base.NO_PAGE)
        folder = PurePosixPath(inside).parent.name if self.config.get("USE_FOLDER_AS_CATEGORY", True) else ""
        named = _groups(self.config["FILENAME_METADATA"], name[1]) | _groups(self.config["PATH_METADATA"], inside)
        defaults = self._defaults(inside) | ({"category": folder} if folder and not is_page else {}) | named
        fields = with_defaults(front, defaults)
        date = parse_date(fields.get("date"))
        if not fields.get("title"):
            return Page(excluded=base.NO_PAGE)
        if date is None and not is_page and self.config.get("DEFAULT_DATE") is None:
            return Page(excluded=base.NO_PAGE)
        language = str(fields.get("lang") or self._default_language)
        return Page(
            url=self._url("PAGE" if is_page else "ARTICLE", fields, name[1], date, language),
            language=str(fields["lang"]) if fields.get("lang") else None,
            section=None if is_page else folder or None,
            published=str(named["date"]) if named.get("date") else None,
            defaults={name: defaults[name] for name in _DEFAULT_FIELDS if name in defaults},
        )

    def _is_excluded(self, path: str, setting: str) -> bool:
        """Return whether a setting with excluded folders, or IGNORE_FILES, keeps Pelican from reading a file."""
        names = PurePosixPath(path).parts
        ignored = any(fnmatchcase(name, str(pattern)) for pattern in self._list("IGNORE_FILES") for name in names)
        return ignored or _is_under(path, [folder for folder in self._list(setting) if str(folder).strip("/.")])

    def _list(self, setting: str) -> Sequence[Any]:
        """Return a setting that Pelican ignores unless it is a list."""
        value = self.config.get(setting)
        return value if isinstance(value, list | tuple) else ()

    def _defaults(self, path: str) -> dict[str, Any]:
        """Return the fields that DEFAULT_METADATA, DEFAULT_DATE and EXTRA_PATH_METADATA give a file."""
        fields = dict(lower_keys(as_mapping(self.config.get("DEFAULT_METADATA"))))
        fields.pop("category", None)  # DEFAULT_CATEGORY replaces it
        date = self.config.get("DEFAULT_DATE")
        if isinstance(date, list | tuple):
            date = "-".join(f"{number:02}" for number in date[:3] if isinstance(number, int))
        if parse_date(date):  # not of "fs", the time of the file
            fields["date"] = date
        extra = as_mapping(self.config.get("EXTRA_PATH_METADATA"))
        for folder in sorted(map(str, extra)):
            if path == folder or path.startswith(f"{folder.rstrip('/')}/"):
                fields |= lower_keys(as_mapping(extra.get(folder)))
        return fields

    def _url(self, kind: str, fields: Mapping[str, Any], stem: str, date: datetime | None, language: str) -> str | None:
        """Return an address by the settings; None if a field of it is missing or not in Latin letters."""
        if isinstance(fields.get("url"), str):
            return base.escape(f"{self._base}/{str(fields['url']).lstrip('/')}")
        by_title = self.config["SLUGIFY_SOURCE"] == "title"
        slug = str(fields.get("slug") or "") or self._slug(str(fields.get("title") or "") if by_title else stem)
        category = str(fields.get("category") or self.config["DEFAULT_CATEGORY"])
        author = str(fields.get("author") or fields.get("authors") or self.config.get("AUTHOR") or "")
        values = {name: str(value) for name, value in fields.items() if isinstance(value, str | int)}
        values |= {"lang": language, "category": self._slug(category) or "", "author": self._slug(author) or ""}
        pattern = str(self.config[f"{kind}_URL" if language == self._default_language else f"{kind}_LANG_URL"])
        if not slug or (date is None and "{date" in pattern):
            return None
        values["slug"] = slug

        def value(field: re.Match[str]) -> str:
            if field[1] == "date" and date:
                return f"{date:{field[2] or '%Y-%m-%d'}}"
            return values.get(field[1], "")

        url = base.escape("/" + _FIELD.sub(value, pattern).lstrip("/"))
        return self._base + (url.removesuffix("index.html") if url.endswith("/index.html") else url)

    def _slug(self, text: str) -> str | None:
        """Return a text as Pelican's `slugify` does; None if it needs the transliteration of Unidecode."""
        slug = unicodedata.normalize("NFKC", re.sub(r"<[^<>]*>", "", text))
        if not self.config.get("SLUGIFY_USE_UNICODE"):
            slug = "".join(char for char in unicodedata.normalize("NFKD", slug) if not unicodedata.combining(char))
            slug = re.sub(r"[‐-―]", "-", re.sub(r"[‘’“”„«»…]", "", slug))
            if not slug.isascii():
                return None
        for pattern, replacement in self.config["SLUG_REGEX_SUBSTITUTIONS"]:
            slug = re.sub(pattern, replacement, slug, flags=re.I)
        return slug.strip() if self.config.get("SLUGIFY_PRESERVE_CASE") else slug.lower().strip()


def _is_under(path: str, folders: object) -> bool:
    names = [folders] if isinstance(folders, str) else folders if isinstance(folders, list | tuple) else []
    return any(within(path, str(folder).strip("/.")) is not None for folder in names)


def _groups(pattern: object, text: str) -> dict[str, Any]:
    try:
        match = re.match(str(pattern), text)
    except re.error:
        return {}
    return {name.lower(): value for name, value in match.groupdict().items() if value} if match else {}


def _literals(path: Path) -> dict[str, Any]:
    """Return the variables of a Python file that are assigned literals or earlier variables.

    Raises:
        ValueError: the file is not valid Python.
        OSError: the file cannot be read.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8-sig"))
    except (SyntaxError, RecursionError) as error:
        raise ValueError(str(error)) from error
    variables: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            value = statement.value
            try:
                literal = variables[value.id] if isinstance(value, ast.Name) else ast.literal_eval(value)
            except (ValueError, TypeError, KeyError):
                continue
            variables |= {target.id: literal for target in statement.targets if isinstance(target, ast.Name)}
    return variables
