"""Addresses of Jekyll, tested against 4.3.

A post, `_posts/2021-03-05-planks.md`, has the address that `permalink` in `_config.yml` gives it, by default
`/:categories/:year/:month/:day/:title.html`; the folders above `_posts` are categories. A page has the address of its
path, `/docs/guide.html`, or `/docs/guide/` where the permalinks of posts end with a slash. `permalink` of a front
matter or of `defaults` replaces both. A file without front matter is copied, not rendered, unless it is a post.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

from recommender.sources.generators import base
from recommender.sources.generators.base import Page, Site, as_mapping, within
from recommender.text.dates import parse_date

_STYLES = {
    "date": "/:categories/:year/:month/:day/:title:output_ext",
    "pretty": "/:categories/:year/:month/:day/:title/",
    "ordinal": "/:categories/:year/:y_day/:title:output_ext",
    "weekdate": "/:categories/:year/W:week/:short_day/:title:output_ext",
    "none": "/:categories/:title:output_ext",
}
_EXTENDED_STYLES = ("date", "ordinal", "none")  # styles that end the addresses of pages with `.html`
# Files without front matter that jekyll-optional-front-matter leaves out.
_REPOSITORY_FILES = {
    *("LICENSE", "LICENCE", "COPYING", "CODE_OF_CONDUCT", "CONTRIBUTING"),
    *("ISSUE_TEMPLATE", "PULL_REQUEST_TEMPLATE"),
}
_POST_NAME = re.compile(r"(\d{2,4})-(\d{1,2})-(\d{1,2})-(.+)")
_PAGE_NAME = re.compile(r"(.+)\.(?:md|markdown|mkd|mkdn|mkdown|html?|xhtml)", re.I)
_DATE_TOKEN = re.compile(r":(?:year|short_year|i?_?month|i?_?day|y_day|week|w_year|w_day|short_day|long_day|hour)")
_TOKEN = re.compile(r":([a-z_]+)")
# Dates in UTC: those that YAML reads as times without a time zone, and those with the time zone UTC.
_UTC_DATE = re.compile(
    r"\d{4}-\d\d?-\d\d?(?:t|\s+)\d\d?:\d\d:\d\d(?:\.\d*)?|.*:\d\d(?:\.\d+)?\s*(?:Z|UTC|GMT|[+-]0{1,2}:?(?:00)?)", re.I
)
_OUTSIDE = re.compile(r"[_.#~]")  # the first character of names that are not published
_OPTIONAL_FRONT_MATTER = "jekyll-optional-front-matter"


class Jekyll(Site):
    """A Jekyll site; see the module's docstring for its rules."""

    name = "jekyll"
    config_names = ("_config.yml", "_config.yaml", "_config.toml")
    layout_folders = ("_posts",)

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, config)
        self._base = str(self.config.get("baseurl") or "").rstrip("/")
        if self._base and not self._base.startswith("/"):
            self._base = f"/{self._base}"
        self._style = str(self.config.get("permalink") or "date")
        collections = self.config.get("collections")
        if isinstance(collections, list):
            collections = {str(name): {} for name in collections}
        self._collections = {name: as_mapping(settings) for name, settings in as_mapping(collections).items()}
        self._collections_folder = str(self.config.get("collections_dir") or "").strip("/")
        self._included, excluded = (
            [str(pattern).strip("/") for pattern in patterns] if isinstance(patterns, list) else []
            for patterns in (self.config.get("include"), self.config.get("exclude"))
        )
        self._excluded = [pattern for pattern in excluded if pattern not in self._included]
        try:
            self._zone = ZoneInfo(str(self.config.get("timezone") or "UTC"))
        except (ValueError, OSError):
            self._zone = ZoneInfo("UTC")
        plugins = self.config.get("plugins") or self.config.get("gems") or ()
        self._optional_front_matter = (
            not self.config
            or _OPTIONAL_FRONT_MATTER in plugins
            or "github-pages" in plugins
            or "github-pages" in base.file_text(root / "Gemfile")
            or not (root / "Gemfile").exists()  # GitHub Pages needs none, and has that plugin
        )

    @classmethod
    def matches_config(cls, path: Path, config: Mapping[str, Any]) -> bool:
        """Return whether a configuration is Jekyll's: Hexo has a file of the same name."""
        names = base.file_names(path.parent / "source")
        return "source_dir" not in as_mapping(config) and "_posts" not in names

    @classmethod
    def matches_layout(cls, root: Path) -> bool:
        """Return whether a folder, or one of its subfolders, has `_posts`."""
        names = base.file_names(root)
        if "_posts" in names and root.name != "source":
            return True
        return any(name != "source" and "_posts" in base.file_names(root / name) for name in names if "." not in name)

    def content_folders(self) -> Sequence[str]:
        """Return the source folder, and none of the folders of templates and output."""
        return (str(self.config.get("source") or "").strip("./"),)

    def contains(self, source: Path) -> bool:
        """Return whether a source is no folder of templates or output; see `Site.contains`."""
        inside = base.relative_path(source, self.root)
        top = inside.split("/")[0]
        published = {"_posts", "_drafts", *(f"_{name}" for name in self._collections), self._collections_folder}
        is_named = top in published or self._is_included(top, inside)
        is_published = not self._is_excluded(inside) and (not top.startswith("_") or is_named)
        return super().contains(source) and is_published

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Jekyll publishes a file; see `Site.page`."""
        inside = within(path, self.content_folders()[0])
        pure = PurePosixPath(inside or path)
        name = _PAGE_NAME.fullmatch(pure.name)
        folders = list(pure.parts[:-1])
        if inside is None or name is None or self._is_excluded(str(pure)):
            return Page(excluded=base.NOT_CONTENT)
        document = within(str(pure), self._collections_folder)
        page = self._collected(PurePosixPath(document), name[1], front) if document else None
        if page:
            return page
        if any(_OUTSIDE.match(part) and not self._is_included(part, str(pure)) for part in pure.parts):
            return Page(excluded=base.NOT_CONTENT)
        if not front and pure.suffix.lower().startswith((".htm", ".xhtm")):
            return Page(url=base.escape(f"{self._base}/{pure}"))
        if not front and (not self._optional_front_matter or name[1].upper() in _REPOSITORY_FILES):
            return Page(excluded=base.NO_PAGE)
        is_readme = not front and name[1].lower() == "readme"  # the index of its folder, on GitHub Pages
        stem = "index" if is_readme else name[1]
        return self._page(folders, stem, self._with_defaults(str(pure), "pages", front))

    def _collected(self, path: PurePosixPath, stem: str, front: Mapping[str, Any]) -> Page | None:
        """Return how Jekyll publishes a post or a document of a collection; None for a file outside all collections.

        Args:
            path: the path of the file relative to the folder of the collections.
            stem: its name without the ending.
            front: its front matter.
        """
        folders = path.parts[:-1]
        collection = folders[0][1:] if folders and folders[0].startswith("_") else None
        kind = next((kind for kind in ("_posts", "_drafts") if kind in folders), None)
        if kind:
            fields = self._with_defaults(str(path), kind[1:], front)
            page = self._post(folders[: folders.index(kind)], stem, kind == "_drafts", fields)
        elif collection in self._collections:
            fields = self._with_defaults(str(path), collection, front)
            page = self._document(collection, folders[1:], stem, fields)
        else:
            return None
        return replace(page, defaults={"published": fields["published"]}) if "published" in fields else page

    def _post(self, folders: Sequence[str], stem: str, draft: bool, front: Mapping[str, Any]) -> Page:
        dated = _POST_NAME.fullmatch(stem)
        if not dated and not draft:
            return Page(excluded=base.NO_PAGE)
        published = None
        if dated:
            year, month, day = (int(part) for part in dated.groups()[:3])
            published = f"{year if year > 99 else year + 2000:04}-{month:02}-{day:02}"
        title = dated[4] if dated else stem
        categories = [*folders, *_categories(front)]
        style = str(self._collections.get("posts", {}).get("permalink") or self._style)
        url = self._expand(str(front.get("permalink") or _STYLES.get(style, style)), front, title, stem, {
            "categories": "/".join(dict.fromkeys(str(name).lower() for name in categories)),
            "slugified_categories": "/".join(dict.fromkeys(_slug(str(name)) for name in categories)),
            "collection": "posts",
            "path": stem,
        }, published)  # fmt: skip
        return Page(url=url, section=str(categories[0]) if categories else None, published=published)

    def _document(self, collection: str, folders: Sequence[str], stem: str, front: Mapping[str, Any]) -> Page:
        settings = self._collections[collection]
        if not settings.get("output"):
            return Page(excluded=base.NO_PAGE)
        dated = _POST_NAME.fullmatch(stem)
        categories = _categories(front)
        pattern = front.get("permalink") or settings.get("permalink") or self._suffixed("/:collection/:path")
        url = self._expand(str(pattern), front, dated[4] if dated else stem, stem, {
            "categories": "/".join(name.lower() for name in categories),
            "slugified_categories": "/".join(map(_slug, categories)),
            "collection": collection,
            "path": "/".join([*folders, stem]),
        }, "-".join(dated.groups()[:3]) if dated else None)  # fmt: skip
        return Page(url=url, section=collection)

    def _page(self, folders: Sequence[str], stem: str, front: Mapping[str, Any]) -> Page:
        index = stem == "index"
        if index and not folders:
            return Page(excluded=base.LIST_PAGE)  # the home page
        pattern = str(front.get("permalink") or ("/:path/" if index else self._suffixed("/:path/:basename")))
        values = {"path": "/".join(folders), "basename": stem, "output_ext": ".html"}
        url = _TOKEN.sub(lambda token: values.get(token[1], token[0]), pattern.replace(":output_ext", ".html"))
        return Page(url=self._address(url), section=next((name for name in folders if name[0] != "_"), None))

    def _expand(
        self,
        pattern: str,
        front: Mapping[str, Any],
        title: str,
        stem: str,
        values: dict[str, str],
        published: str | None,
    ) -> str | None:
        """Replace the tokens of a permalink; None if one needs a date that the article lacks."""
        date = self._date(front.get("date")) or self._date(published)
        if date is None and _DATE_TOKEN.search(pattern):
            return None
        date = date or datetime(1970, 1, 1, tzinfo=UTC)
        slug = str(front.get("slug") or title)
        week = date.isocalendar()
        values |= {
            "title": _slug(slug, pretty=True),
            "slug": _slug(slug),
            "name": _slug(stem),
            "basename": stem,
            "year": f"{date.year}",
            "short_year": f"{date.year % 100:02}",
            "month": f"{date.month:02}",
            "i_month": f"{date.month}",
            "short_month": f"{date:%b}",
            "long_month": f"{date:%B}",
            "day": f"{date.day:02}",
            "i_day": f"{date.day}",
            "y_day": f"{date.timetuple().tm_yday:03}",
            "w_year": f"{week.year}",
            "week": f"{week.week:02}",
            "w_day": f"{week.weekday}",
            "short_day": f"{date:%a}",
            "long_day": f"{date:%A}",
            "hour": f"{date:%H}",
            "minute": f"{date:%M}",
            "second": f"{date:%S}",
            "output_ext": ".html",
        }
        pattern = pattern.replace(":output_ext", ".html")
        return self._address(_TOKEN.sub(lambda token: values.get(token[1], token[0]), pattern))

    def _date(self, value: object) -> datetime | None:
        """Return a date in the time zone of the site, which is also that of a bare date and of a time in minutes."""
        date = parse_date(value)
        if date and not date.utcoffset() and not _UTC_DATE.fullmatch(str(value).strip()):
            date = date.replace(tzinfo=self._zone)
        return date.astimezone(self._zone) if date else None

    def _address(self, path: str) -> str:
        if re.match(r"https?:", path):
            return path
        return self._base + base.escape(re.sub(r"/+", "/", f"/{path}"))

    def _suffixed(self, pattern: str) -> str:
        """Return a pattern for pages with the end that the permalinks of posts have."""
        if self._style == "pretty" or self._style.endswith("/"):
            return f"{pattern}/"
        extended = self._style in _EXTENDED_STYLES or self._style.endswith(":output_ext")
        return f"{pattern}:output_ext" if extended else pattern

    def _is_included(self, part: str, path: str) -> bool:
        """Return whether `include` names a file, or a part of its path, that is not published otherwise."""
        return any(
            part.startswith(pattern) or fnmatchcase(part, pattern) or path == pattern for pattern in self._included
        )

    def _is_excluded(self, path: str) -> bool:
        return any(
            within(path, pattern) is not None or fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}/*")
            for pattern in self._excluded
        )

    def _with_defaults(self, path: str, kind: str, front: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a front matter with the `defaults` of the configuration, of which the one of the longest path wins.

        The categories of the front matter follow those of the defaults.
        """
        defaults = self.config.get("defaults")
        scopes: list[tuple[int, bool, int, Mapping[str, Any]]] = []
        for item in defaults if isinstance(defaults, list) else ():
            limits = as_mapping(as_mapping(item).get("scope"))
            folder = str(limits.get("path") or "").lstrip("/")
            if self._collections_folder:
                folder = folder.removeprefix(f"{self._collections_folder}/")
            fits = path.startswith(folder) or ("*" in folder and fnmatchcase(path, f"{folder}*"))
            if fits and limits.get("type") in (None, "", kind):
                scopes.append((len(folder), bool(limits.get("type")), len(scopes), as_mapping(item.get("values"))))
        fields: dict[str, Any] = {}
        for scope in sorted(scopes, key=lambda scope: scope[:3]):
            fields |= base.lower_keys(scope[3])
        categories = [*_words(fields.get("categories")), *_words(front.get("categories"))]
        fields |= {name: value for name, value in front.items() if value is not None}
        return {**fields, "categories": categories}


def _categories(front: Mapping[str, Any]) -> list[str]:
    """Return the categories of a front matter: `category`, which contains no separators, follows `categories`."""
    category = front.get("category")
    names = _words(front.get("categories")) + ([category] if isinstance(category, str) else _words(category))
    return list(dict.fromkeys(name for name in names if name))


def _words(value: object) -> list[str]:
    """Return categories as texts: those of a text are separated by spaces."""
    if isinstance(value, str):
        return value.split()
    return [str(name) for name in value if isinstance(name, str | int | float)] if isinstance(value, list) else []


def _slug(text: str, *, pretty: bool = False) -> str:
    """Return a text as Jekyll's `slugify` does, in its mode `pretty` without a change of case."""
    replaced = r"[^\w.~!$&'()+,;=@]+|(?<!\w)_+(?!\w)" if pretty else r"[\W_]+"
    slug = re.sub(replaced, "-", text).strip("-")
    return slug if pretty else slug.lower()
