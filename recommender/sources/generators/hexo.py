"""Addresses of Hexo, tested against 8.1.

A post, `source/_posts/planks.md`, has the address that `permalink` in `_config.yml` gives it, by default
`/:year/:month/:day/:title/`, where the title is its path below `_posts`; `new_post_name` names the parts of other file
names. `permalink` of a front matter is the whole address. A page, `source/about/index.md`, has the address of its path.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

from recommender.sources.generators import base
from recommender.sources.generators.base import Page, Site, as_mapping, within
from recommender.text.dates import parse_date

_PERMALINK = ":year/:month/:day/:title/"
_NEW_POST_NAME = ":title.md"
_CONFIG_FIELDS = {"source_dir", "public_dir", "new_post_name", "skip_render", "post_asset_folder", "permalink_defaults"}
_PAGE_NAME = re.compile(r"(.+)\.(?:md|markdown|mkd|mkdn|mdwn|mdtxt|mdtext|html?)", re.I)
_SPECIAL = re.compile(r"[\s~`!@#$%^&*()\-_+=\[\]{}|\\;:\"'<>,.?/]+")  # that a slug replaces by a hyphen
_TOKEN = re.compile(r":([a-z_]+)")
_NAME_PATTERNS = {"year": r"(\d{4})", "month": r"(\d{2})", "day": r"(\d{2})", "i_month": r"(\d{1,2})"}
_NAME_PATTERNS |= {"i_day": r"(\d{1,2})", "title": "(.+)"}
_TIME_ZONE = re.compile(r":\d\d(?:\.\d+)?\s*(?:Z|[+-]\d\d:?\d\d)$", re.I)
# Times with a time zone in YAML, which Hexo converts to UTC, and whose digits it takes for a time in the site's zone.
_YAML_TIME = re.compile(r"\d{4}-\d\d?-\d\d?(?:t|\s+)\d\d?:\d\d:\d\d(?:\.\d*)?\s*(?:Z|[+-]\d\d?(?::\d\d)?)", re.I)


class Hexo(Site):
    """A Hexo site; see the module's docstring for its rules."""

    name = "hexo"
    config_names = ("_config.yml", "_config.yaml", "_config.json")
    content_folder = "source"
    layout_folders = ("source", "source/_posts")
    folder_setting = "source_dir"

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, config)
        self._base = str(self.config.get("root") or base.base_path(self.config.get("url"))).strip("/")
        self._permalink = str(self.config.get("permalink") or _PERMALINK)
        skipped = self.config.get("skip_render")
        self._skipped = [str(pattern) for pattern in (skipped if isinstance(skipped, list) else [skipped]) if pattern]
        languages = self.config.get("language")
        self._languages = [str(language) for language in languages] if isinstance(languages, list) else []
        names: list[str] = []

        def group(token: re.Match[str]) -> str:
            names.append(token[1])
            return _NAME_PATTERNS.get(token[1], "([^/]+)")

        new_post_name = str(self.config.get("new_post_name") or _NEW_POST_NAME)
        pattern = _TOKEN.sub(group, re.sub(r"\.\w+$", "", new_post_name).replace(".", r"\."))
        self._post_name, self._name_parts = re.compile(pattern), names
        try:
            self._zone: ZoneInfo | None = ZoneInfo(str(self.config.get("timezone") or "UTC"))
        except (ValueError, OSError):
            self._zone = ZoneInfo("UTC")

    @classmethod
    def matches_config(cls, path: Path, config: Mapping[str, Any]) -> bool:
        """Return whether a configuration is Hexo's: Jekyll has a file of the same name."""
        names = base.file_names(path.parent / cls.content_folder)
        return "_posts" in names or bool(_CONFIG_FIELDS & set(as_mapping(config)))

    @classmethod
    def matches_layout(cls, root: Path) -> bool:
        """Return whether a folder has `source/_posts`."""
        return "_posts" in base.file_names(root / cls.content_folder)

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Hexo publishes a file; see `Site.page`."""
        inside = within(path, self.content_folders()[0])
        name = _PAGE_NAME.fullmatch(PurePosixPath(path).name)
        if inside is None or name is None:
            return Page(excluded=base.NOT_CONTENT)
        pure = PurePosixPath(inside)
        if any(fnmatchcase(inside, pattern.replace("**", "*")) for pattern in self._skipped):
            return Page(excluded=base.NO_PAGE)
        folders = pure.parts[:-1]
        for folder in ("_posts", "_drafts"):
            below = within(inside, folder)
            if below is not None:
                return self._post(below.removesuffix(pure.suffix), front)
        if any(part.startswith(("_", ".", "#", "~")) for part in pure.parts):
            return Page(excluded=base.NOT_CONTENT)
        if pure.stem == "index" and not folders:
            return Page(excluded=base.LIST_PAGE)  # the home page
        permalink = front.get("permalink")
        url = str(permalink) if permalink else str(pure.with_suffix(".html"))
        language = folders[0] if folders and folders[0] in self._languages else None
        sections = folders[1:] if language else folders
        return Page(url=self._address(url), language=language, section=sections[0] if len(sections) > 1 else None)

    def _post(self, path: str, front: Mapping[str, Any]) -> Page:
        named = self._post_name.fullmatch(path)
        parts = dict(zip(self._name_parts, named.groups(), strict=True)) if named else {}
        title = parts.get("title") or self._slug(path, str(self.config.get("filename_case") or "0"))
        dated = [parts.get("year"), parts.get("month") or parts.get("i_month"), parts.get("day") or parts.get("i_day")]
        published = f"{dated[0]}-{int(dated[1]):02}-{int(dated[2]):02}" if dated[0] and dated[1] and dated[2] else None
        categories = _category_paths(front)
        permalink = front.get("permalink")
        if isinstance(permalink, str) and permalink:
            url: str | None = self._address(permalink)
        else:
            url = self._expand(title, parts, self._date(front.get("date"), published), categories, front)
        return Page(
            url=url,
            language=parts.get("lang") if parts.get("lang") in self._languages else None,
            section=categories[0][0] if categories else None,
            published=published,
        )

    def _expand(
        self,
        title: str,
        parts: Mapping[str, str],
        date: datetime | None,
        categories: Sequence[Sequence[str]],
        front: Mapping[str, Any],
    ) -> str | None:
        """Replace the tokens of `permalink`; None if the value of one cannot be derived."""
        values: dict[str, Any] = dict(as_mapping(self.config.get("permalink_defaults")))
        values |= {name: value for name, value in front.items() if isinstance(value, str | int)}
        values |= {
            **parts,
            "title": title,
            "name": title.rpartition("/")[2],
            "post_title": self._slug(str(front.get("title") or ""), "1"),
            "category": self._category(categories[-1] if categories else ()),
        }
        if date:
            values |= {
                "year": f"{date.year}",
                "month": f"{date.month:02}",
                "day": f"{date.day:02}",
                "hour": f"{date:%H}",
                "minute": f"{date:%M}",
                "second": f"{date:%S}",
                "i_month": f"{date.month}",
                "i_day": f"{date.day}",
                "timestamp": f"{int(date.timestamp())}",
            }
        names = _TOKEN.findall(self._permalink)
        if any(name not in values for name in names):
            return None
        return self._address(_TOKEN.sub(lambda token: str(values[token[1]]), self._permalink))

    def _date(self, value: object, published: str | None) -> datetime | None:
        """Return a post's date as Hexo writes it on a machine in the site's time zone.

        A date without a time zone is in the site's already.
        """
        date = parse_date(value) or parse_date(published)
        text = str(value).strip()
        if date is None or not _TIME_ZONE.search(text):
            return date
        return date.astimezone(UTC if _YAML_TIME.fullmatch(text) else self._zone)

    def _category(self, path: Sequence[str]) -> str:
        names = as_mapping(self.config.get("category_map"))
        case = str(self.config.get("filename_case") or "0")
        slugs = [self._slug(str(names.get(name, name)), case) for name in path]
        return "/".join(slugs) or str(self.config.get("default_category") or "uncategorized")

    @staticmethod
    def _slug(text: str, case: str) -> str:
        """Return a text as `slugize` of hexo-util does; `case` is "1" for lower and "2" for upper case."""
        decomposed = unicodedata.normalize("NFD", text)
        plain = unicodedata.normalize("NFC", "".join(char for char in decomposed if unicodedata.category(char) != "Mn"))
        slug = re.sub(r"-{2,}", "-", _SPECIAL.sub("-", plain)).strip("-")
        return slug.lower() if case == "1" else slug.upper() if case == "2" else slug

    def _address(self, path: str) -> str:
        path = re.sub(r"/+", "/", "/".join(["", self._base, path]))
        return base.escape(path.removesuffix("index.html") if path.endswith("/index.html") else path)


def _category_paths(front: Mapping[str, Any]) -> list[list[str]]:
    """Return the categories as paths: texts in a list are one path, lists in a list are a path each."""
    value = front.get("categories") or front.get("category")
    items = value if isinstance(value, list) else [value] if value else []
    if any(isinstance(item, list) for item in items):
        paths = [item if isinstance(item, list) else [item] for item in items]
    else:
        paths = [items]
    return [[str(name) for name in path] for path in paths if path]
