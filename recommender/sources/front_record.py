"""Conversion of front matter to a record: the names that site generators give the fields of Article."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from recommender.article import as_flag
from recommender.sources import notion, obsidian
from recommender.sources.entry import File
from recommender.sources.generators.base import NO_SECTION, Page, Site, front_url, with_defaults
from recommender.text.dates import parse_date

# The generators' names for fields of Article, in lower case; the first that a file has wins.
_FIELD_NAMES = {
    "published": (
        "date",
        "publishdate",
        "publish_date",
        "pubdate",
        "pubdatetime",
        "published_at",
        "publishedat",
        "published_date",
        "publication_date",
        "created",
        "created_time",
        "created_at",
        "createdat",
    ),
    "url": ("url", "permalink"),
    "section": ("section", "category", "categories"),
    "tags": ("tags", "tag", "keywords", "topics"),
    "language": ("language", "lang", "locale"),
    "related": ("related", "see_also", "seealso", "related_posts"),
}
# The generators' names for fields of the metadata.
_METADATA_NAMES = {
    "image": ("image", "featured_image", "featuredimage", "cover", "thumbnail", "heroimage", "hero_image"),
    "excerpt": ("excerpt", "summary", "description"),
    "translation_key": ("translation_key", "translationkey"),
}
_TAXONOMIES = ("taxonomies", "taxonomy")  # of Zola and Grav: their mapping contains tags and categories
_SINGULARS = {"category": "categories", "tag": "tags"}
_LABEL_NAMES = ("name", "label", "title", "slug")
_FILE_DATES = frozenset({"created", "last modified", "git created", "git last modified"})  # dates in Eleventy


def front_record(front: Mapping[str, Any], file: File, page: Page) -> dict[str, Any]:
    """Return the record of a front matter, completed from the path of the file.

    Args:
        front: the front matter, with names in lower case.
        file: the file.
        page: how its site publishes it.
    """
    front = _with_taxonomies(with_defaults(front, page.defaults))
    fields = dict(front)
    if file.site is not None and file.site.ids_are_local:
        fields.pop("id", None)
    for name, names in _FIELD_NAMES.items():
        value = next((front[alias] for alias in names if front.get(alias) not in (None, "", [])), None)
        if value is not None and name != "published":
            fields[name] = value
    for name, names in _METADATA_NAMES.items():
        if name not in front and (value := next((front[alias] for alias in names if front.get(alias)), None)):
            fields[name] = value
    cover = fields.get("image")
    if isinstance(cover, dict):
        fields["image"] = cover.get("image") or cover.get("src") or cover.get("url")
    if isinstance(fields.get("title"), bool):
        fields["title"] = str(fields["title"])
    path = PurePosixPath(file.id)
    _set_date(fields, front, page.published or obsidian.split_name(path.stem)[0])
    fields["url"] = front_url(front, ("url", "permalink"))
    separator = r",|\s" if "_posts" in path.parts else ","
    for name in ("tags", "categories"):
        if fields.get(name) is not None:
            fields[name] = _split_labels(fields[name], separator)
    section = fields.get("section")
    if section is not None and section == front.get("categories"):
        section = fields["categories"]
    fields["section"] = next(_labels(section), None) or page.section
    fields["language"] = fields.get("language") or page.language
    if page.translation_key:
        fields.setdefault("translation_key", page.translation_key)
    if "_drafts" in path.parts:
        fields["draft"] = True
    if _is_unlisted(front):
        fields.setdefault("recommend", False)
    return fields


def notion_page(page: Page, front: Mapping[str, Any], file: File) -> Page:
    """Return a page of an export of Notion: the ids in its path are no part of an address or of a section."""
    if file.site is not None and file.site.name != Site.name:
        return page
    folders = map(notion.without_id, PurePosixPath(file.id).parts[:-1])
    section = next((folder for folder in folders if not NO_SECTION.fullmatch(folder)), None)
    return replace(page, url=front_url(front), section=section)


def _is_unlisted(front: Mapping[str, Any]) -> bool:
    """Return whether a page is published, but Docusaurus, Hugo or Eleventy lists it on no other page."""
    build = front.get("build") or front.get("_build")
    listed = build.get("list") if isinstance(build, Mapping) else None
    flags = (front.get("unlisted"), front.get("eleventyexcludefromcollections"))
    return listed in ("never", "local", False) if listed is not None else True in flags


def _with_taxonomies(front: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return front matter with the lists of its taxonomies as fields of their own."""
    for name in _TAXONOMIES:
        if isinstance(taxonomies := front.get(name), Mapping):
            lists = {_SINGULARS.get(str(key).lower(), str(key).lower()): value for key, value in taxonomies.items()}
            front = {**lists, **front}
    return front


def _set_date(fields: dict[str, Any], front: Mapping[str, Any], name_date: str | None) -> None:
    """Set the publication date of a record: of the first field with a date, else of the file's name."""
    flag = as_flag(front.get("published"))  # `published: no` is no date
    aliases = ("published", *_FIELD_NAMES["published"]) if flag is None else _FIELD_NAMES["published"]
    values = [_date_value(front[name]) for name in aliases if front.get(name) not in (None, "", [])]
    values = [value for value in values if value is not None]
    if flag is not None:
        fields["is_published"] = fields.pop("published")
    scheduled = front.get("publishdate") or front.get("publish_date")
    if (moment := parse_date(scheduled)) and moment > datetime.now(UTC):  # Hugo publishes it on this date
        fields["published"] = scheduled
    elif values:
        fields["published"] = values[0]
        if len(values) > 1 and parse_date(values[0]) is None:
            fields["published"] = next((value for value in values if parse_date(value)), values[0])
    elif name_date:
        fields["published"] = name_date
    else:
        fields.pop("published", None)


def _date_value(value: Any) -> Any:
    """Return the date in a field of front matter; None if it refers to the dates of the file."""
    if isinstance(value, Mapping):  # MkDocs has {created: ..., updated: ...}
        return value.get("created") or value.get("date")
    return None if isinstance(value, str) and value.strip().lower() in _FILE_DATES else value


def _split_labels(value: Any, separator: str) -> list[str]:
    """Return tags or categories as texts: of a text with separators, or of a list of texts, lists and objects."""
    if isinstance(value, str):
        value = re.split(r",|\s" if "#" in value else separator, value)
    return list(dict.fromkeys(label.removeprefix("#") for label in _labels(value)))


def _labels(value: Any) -> Iterator[str]:
    """Yield the texts in a value: a text, a number, an object with a name, or a list of them."""
    if isinstance(value, list):
        for item in value:
            yield from _labels(item)
    elif isinstance(value, Mapping):
        yield from _labels(next((value[name] for name in _LABEL_NAMES if value.get(name)), None))
    elif value is not None and (text := str(value).strip()):
        yield text.lower() if isinstance(value, bool) else text
