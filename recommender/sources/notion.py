"""Exports of Notion: pages in Markdown or HTML whose properties follow the title, in files with ids in their names."""

import re
from typing import Any

from lxml import etree
from lxml.html import HtmlElement

from recommender.sources.front_matter import FrontMatter
from recommender.text.dates import parse_date

_ID = re.compile(r"[ _-]?[0-9a-f]{32}$")
_TITLE = re.compile(r"\s*# ([^\n]+)\n+")
_PROPERTY = re.compile(r"([^\s:][^:\n]{0,59}):(?: ([^\n]*))?(?:\n|\Z)")
_RELATION = re.compile(r"\(([^()\s]{1,500})\)|(\S{1,500}\.md)\b")
_LIST_NAMES = ("tags", "categories", "keywords", "topics")


def without_id(name: str) -> str:
    """Return the name of a file or folder without the id that Notion appends to it."""
    return _ID.sub("", name)


def has_id(name: str) -> bool:
    """Return whether the name of a file, without its ending, ends in an id of Notion."""
    return _ID.search(name) is not None


def split_properties(text: str) -> FrontMatter:
    """Split a page in Markdown into the properties below its title, as front matter, and its body with the title."""
    title = _TITLE.match(text)
    if title is None:
        return FrontMatter({}, text)
    position, fields = title.end(), {}
    while match := _PROPERTY.match(text, position):
        fields[match[1]] = match[2] or ""
        position = match.end()
    if text[position : position + 1].strip():  # a paragraph of prose that begins like a property
        return FrontMatter({}, text)
    return FrontMatter(_fields(fields), f"{title[0]}{text[position:]}")


def split_html(tree: HtmlElement) -> FrontMatter | None:
    """Return the properties and the body of a page in HTML; None for a page that Notion did not export."""
    bodies = tree.xpath("//article[contains(@class, 'page')]//div[@class='page-body']")
    titles = tree.xpath("//article//*[contains(@class, 'page-title')]")
    if not bodies or not titles:
        return None
    fields = {"title": " ".join(titles[0].text_content().split())}
    for row in tree.xpath("//table[@class='properties']//tr[th and td]"):
        cell = row.find("td")
        labels = [part.text_content() for part in cell.xpath(".//*[contains(@class, 'selected-value')]")]
        links = [part.get("href", "") for part in cell.iter("a")]
        checkbox = cell.xpath(".//*[contains(@class, 'checkbox')]/@class")
        value = ", ".join(labels or links) or cell.text_content().strip()
        if checkbox:
            value = "Yes" if "checkbox-on" in checkbox[0] else "No"
        fields[row.find("th").text_content().strip()] = value
    return FrontMatter(_fields(fields), etree.tostring(bodies[0], encoding="unicode", method="html", with_tail=False))


def _fields(properties: dict[str, str]) -> dict[str, Any]:
    """Return properties by names as in front matter: `publish_date` for "Publish Date"."""
    fields: dict[str, Any] = {}
    for name, text in properties.items():
        key, value = re.sub(r"\W+", "_", name.strip().lower()).strip("_"), text.strip()
        start = value.partition(" → ")[0].lstrip("@")  # of a period
        if start != value and parse_date(start):
            value = start
        fields[key] = [part.strip() for part in value.split(",") if part.strip()] if key in _LIST_NAMES else value
    if isinstance(related := fields.get("related"), str):
        fields["related"] = [link or file for link, file in _RELATION.findall(related)] or related
    return {name: value for name, value in fields.items() if value not in ("", [])}
