"""Addresses of MkDocs, tested against 1.6, with the blog plugin of Material 9.8 and mkdocs-static-i18n 1.3.

A page has the address of its path below `docs_dir`: `guide/planks.md` is `/guide/planks/`, or `/guide/planks.html`
without `use_directory_urls`; `index.md` and `README.md` are their folder. Posts of the blog plugin have
`/blog/2021/03/05/title/`. With the i18n plugin, `a.fr.md` or `fr/a.md` is `/fr/a/`.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from recommender.sources.generators import base
from recommender.sources.generators.base import Page, Site, as_mapping, within
from recommender.text.dates import parse_date

_SAFE_CHARACTERS = "/~"  # of urllib.parse.quote, which MkDocs uses
_PAGE_NAME = re.compile(r"(.+)\.(?:md|markdown|mdown|mkdn|mkd)", re.I)
_DATE_FORMAT = re.compile(r"y+|M+|d+")
_DEFAULT_EXCLUDED = ("/templates/",)


class Mkdocs(Site):
    """An MkDocs site; see the module's docstring for its rules."""

    name = "mkdocs"
    config_names = ("mkdocs.yml", "mkdocs.yaml")
    content_folder = "docs"
    titles_from_headings = True  # posts of the blog plugin
    folder_setting = "docs_dir"

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, config)
        self._base = base.base_path(self.config.get("site_url"))
        self._directory_urls = self.config.get("use_directory_urls") is not False
        self._plugins = dict(_plugins(self.config.get("plugins")))
        excluded = self.config.get("exclude_docs")
        patterns = excluded.split("\n") if isinstance(excluded, str) else []
        drafts = self.config.get("draft_docs")
        patterns += drafts.split("\n") if isinstance(drafts, str) else []
        self._excluded = [line.strip() for line in (*patterns, *_DEFAULT_EXCLUDED) if line.strip()[:1] not in ("", "#")]
        i18n = self._plugins.get("i18n", {})
        languages = i18n.get("languages")
        locales = [as_mapping(item) for item in languages] if isinstance(languages, list) else []
        self._languages = {str(item.get("locale")): bool(item.get("default")) for item in locales}
        self._language_folders = i18n.get("docs_structure") == "folder"
        blog = self._plugins.get("blog")
        self._blog = str(blog.get("blog_dir", "blog")).strip("./") if blog is not None else None

    @classmethod
    def read_config(cls, path: Path) -> Any:
        """Return the configuration in a file, completed from the file that its INHERIT names."""
        config = as_mapping(base.read_config(path))
        parent = config.get("INHERIT")
        if isinstance(parent, str) and (path.parent / parent).is_file() and (path.parent / parent) != path:
            return {**as_mapping(base.read_config(path.parent / parent)), **config}
        return config

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how MkDocs publishes a file; see `Site.page`."""
        inside = within(path, self.content_folders()[0])
        if inside is None:
            return Page(excluded=base.NOT_CONTENT)
        pure = PurePosixPath(inside)
        if any(part.startswith(".") for part in pure.parts) or self._is_excluded(inside):
            return Page(excluded=base.NO_PAGE)
        name = _PAGE_NAME.fullmatch(pure.name)
        if name is None:  # an HTML file is copied
            return Page(url=self._address(inside), section=self._section(pure.parts[:-1]))
        folders, stem, language = list(pure.parts[:-1]), name[1], None
        if self._languages and self._language_folders:
            if folders and folders[0] in self._languages:
                language = folders.pop(0)
        elif self._languages:
            first, _, tag = stem.rpartition(".")
            language = next((name for name, default in self._languages.items() if default), None)
            if first and tag in self._languages:
                stem, language = first, tag
            elif first and base.is_language(tag):
                return Page(excluded=base.NO_PAGE)  # a language that the site is not built for
        prefix = f"{language}/" if language and not self._languages[language] else ""
        if self._is_post([*folders, stem]):
            return Page(url=self._post(prefix, front), language=language, section=self._blog or None)
        if self._blog is not None and "/".join([*folders, stem]) == f"{self._blog}/index".lstrip("/"):
            return Page(excluded=base.LIST_PAGE, language=language)
        readme = stem == "README" and "index.md" not in base.file_names((self.root / path).parent)
        index = stem == "index" or readme
        if stem == "README" and not index:
            return Page(excluded=base.NO_PAGE)  # index.md is the page of the folder
        if index and not folders and front.get("related") is None:  # every page links to the home page anyway
            return Page(excluded=base.LIST_PAGE, language=language)
        if index and self._directory_urls:
            url = "/".join([*folders, ""])
        elif self._directory_urls:
            url = "/".join([*folders, stem, ""])
        else:
            url = "/".join([*folders, f"{'index' if index else stem}.html"])
        key = "/".join([*folders, stem]) if self._languages else None
        return Page(self._address(prefix + url), "", language, self._section(folders), translation_key=key)

    def _is_post(self, parts: Sequence[str]) -> bool:
        if self._blog is None:
            return False
        post_dir = str(self._plugins["blog"].get("post_dir", "{blog}/posts"))
        folder = post_dir.replace("{blog}", self._blog).strip("./")
        return bool(within("/".join(parts), folder))

    def _post(self, prefix: str, front: Mapping[str, Any]) -> str | None:
        """Return the address of a post of the blog plugin; None if it lacks a date or a title."""
        settings = self._plugins["blog"]
        date = front.get("date")
        published = parse_date(date.get("created") if isinstance(date, Mapping) else date)
        slug = front.get("slug") or _slug(str(front.get("title") or ""))
        if published is None or not slug:
            return None

        def date_part(letters: re.Match[str]) -> str:
            number = {"y": published.year, "M": published.month, "d": published.day}[letters[0][0]]
            return str(number).zfill(len(letters[0]))

        categories = front.get("categories")
        names = categories if isinstance(categories, list) else []
        limit = settings.get("post_url_max_categories", 1)
        values = {
            "date": _DATE_FORMAT.sub(date_part, str(settings.get("post_url_date_format", "yyyy/MM/dd"))),
            "slug": str(slug),
            "file": str(slug),
            "categories": "/".join(_slug(str(name)) for name in names[: limit if isinstance(limit, int) else 1]),
        }
        path = str(settings.get("post_url_format", "{date}/{slug}"))
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", value)
        path = re.sub("/+", "/", f"{self._blog}/{path}".strip("/"))
        return self._address(f"{prefix}{path}{'/' if self._directory_urls else '.html'}")

    def _section(self, folders: Sequence[str]) -> str | None:
        return folders[0] if folders else None

    def _address(self, path: str) -> str:
        return f"{self._base}/{base.escape(path, _SAFE_CHARACTERS)}"

    def _is_excluded(self, path: str) -> bool:
        """Return whether a pattern of `exclude_docs` or `draft_docs` matches; the last one that does decides."""
        excluded = False
        for line in self._excluded:
            pattern = line.lstrip("!").rstrip("/")
            anchored = pattern.startswith("/") or "/" in pattern
            pattern = pattern.lstrip("/").replace("**", "*")
            parts = path.split("/")
            candidates = ["/".join(parts[: end + 1]) for end in range(len(parts))] if anchored else parts
            if any(fnmatchcase(candidate, pattern) for candidate in candidates):
                excluded = not line.startswith("!")
        return excluded


def _plugins(config: object) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the names and settings of plugins; a name such as `material/blog` counts without its theme."""
    if isinstance(config, Mapping):
        items = list(config.items())
    else:
        entries = config if isinstance(config, list) else []
        items = [pair for entry in entries for pair in (entry.items() if isinstance(entry, Mapping) else [(entry, {})])]
    return [
        (str(name).rpartition("/")[2], as_mapping(settings))
        for name, settings in items
        if as_mapping(settings).get("enabled") is not False
    ]


def _slug(text: str) -> str:
    """Return a text as `pymdownx.slugs.slugify(case="lower")` does."""
    return re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-")
