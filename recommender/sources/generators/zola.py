"""Addresses of Zola, after its documentation and source of 0.21; no package was at hand to test them against.

A page has the address of its path below `content`, `posts/a.md` or `posts/a/index.md` is `/posts/a/`, with every part
as a slug. A date before the name, `2021-03-05-a.md`, is no part of it. `slug` replaces the last part and `path` the
whole. A language of the configuration is the end of the name, `a.fr.md`, and a prefix: `/fr/posts/a/`. `_index.md` is
a list; one with `draft = true` keeps its whole folder unpublished. `@/posts/a.md` is a link to a file of `content`.
"""

import re
import unicodedata
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from recommender.sources.entry import UNPUBLISHED
from recommender.sources.front_matter import split_front_matter
from recommender.sources.generators import base
from recommender.sources.generators.base import Page, Site, as_mapping, within

_PAGE_NAME = re.compile(r"(.+)\.md")
_DATED_NAME = re.compile(r"(\d{4}-\d\d-\d\d)(?:T[\d:+-]+Z?)?[ _-]+(\S.*)")
_UNSAFE = re.compile(r"[<>:\"/|?*#\\()\[\]\n\r]")  # that strategy "safe" removes


class Zola(Site):
    """A Zola site; see the module's docstring for its rules."""

    name = "zola"
    config_names = ("config.toml", "zola.toml")
    content_folder = "content"
    content_prefix = "@/"
    folder_setting = "content_dir"  # of this package; Zola has none

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, config)
        self._base = base.base_path(self.config.get("base_url"))
        self._languages = as_mapping(self.config.get("languages"))
        self._default_language = str(self.config.get("default_language") or "en")
        slugify = as_mapping(self.config.get("slugify"))
        self._strategy = str(slugify.get("paths", "on"))
        self._keeps_dates = bool(slugify.get("paths_keep_dates"))
        ignored = self.config.get("ignored_content")
        self._ignored = [str(pattern) for pattern in ignored] if isinstance(ignored, list) else []
        self._drafts: dict[Path, bool] = {}

    @classmethod
    def matches_config(cls, path: Path, config: Mapping[str, Any]) -> bool:
        """Return whether a configuration is Zola's, which must contain `base_url`."""
        return "base_url" in as_mapping(config)

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Zola publishes a file; see `Site.page`."""
        inside = within(path, self.content_folders()[0])
        name = _PAGE_NAME.fullmatch(PurePosixPath(path).name)
        if inside is None or name is None:
            return Page(excluded=base.NOT_CONTENT)
        if any(fnmatchcase(inside, pattern.replace("**/", "*")) for pattern in self._ignored):
            return Page(excluded=base.NO_PAGE)
        folders, stem = list(PurePosixPath(inside).parts[:-1]), name[1]
        language = self._default_language if self._languages else None
        first, _, tag = stem.rpartition(".")
        if first and tag in {*self._languages, self._default_language}:
            stem, language = first, tag
        if stem == "_index":
            return Page(excluded=base.LIST_PAGE, language=language)
        if any(map(self._is_draft_section, (self.root / path).parents[: len(folders) + 1])):
            return Page(excluded=UNPUBLISHED, language=language)
        if front.get("render") is False:
            return Page(excluded=base.NO_PAGE)
        if stem == "index":
            if not folders:
                return Page(excluded=base.LIST_PAGE, language=language)
            stem = folders.pop()
        dated = _DATED_NAME.fullmatch(stem)
        if dated and not self._keeps_dates:
            stem = dated[2]
        explicit = str(front.get("path") or "").strip("/")
        slug = self._slug(str(front.get("slug") or "") or stem)
        url = explicit or "/".join([*map(self._slug, folders), slug])
        prefix = f"/{language}" if language and language != self._default_language else ""
        return Page(
            url=base.escape(f"{self._base}{prefix}/{url}/"),
            language=language,
            section=folders[0] if folders else None,
            published=dated[1] if dated else None,
            translation_key="/".join([*folders, stem]) if self._languages else None,
        )

    def _is_draft_section(self, folder: Path) -> bool:
        """Return whether the section of a folder is a draft in any language: Zola then skips the folder."""
        if folder not in self._drafts:
            languages = ("", *(f".{tag}" for tag in {*self._languages, self._default_language}))
            names = {f"_index{language}.md" for language in languages} & base.file_names(folder)
            fronts = (split_front_matter(base.file_text(folder / name)).fields for name in names)
            self._drafts[folder] = any(front.get("draft") is True for front in fronts)
        return self._drafts[folder]

    def _slug(self, text: str) -> str:
        if self._strategy == "off":
            return text
        if self._strategy == "safe":
            return re.sub(r"\s+", "_", _UNSAFE.sub("", text).strip(" ."))
        ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
        return re.sub(r"[^a-z0-9_]+", "-", ascii_text).strip("-")
