"""Reader for WordPress exports (WXR): posts and pages with their links, categories and tags."""

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from recommender.sources import record
from recommender.sources.entry import Entry, File

_CONTENT = "{http://purl.org/rss/1.0/modules/content/}encoded"
_CREATOR = "{http://purl.org/dc/elements/1.1/}creator"
_NOT_ARTICLES = (
    "attachment", "nav_menu_item", "revision", "custom_css", "customize_changeset", "oembed_cache", "user_request",
    "wp_block", "wp_template", "wp_template_part", "wp_global_styles", "wp_navigation",
)  # fmt: skip
# Short codes: those of WordPress itself, others with attributes, and closing ones. In double brackets they are text.
_SHORT_CODE = re.compile(
    r"\[(\[[^\[\]]{1,2000}\])\]|\[/?(?:gallery|caption|wp_caption|embed|audio|video|playlist)\b[^\]]{0,2000}\]|"
    r"\[[a-z][\w-]{1,50} \w+=[^\]]{1,2000}\]|\[/[a-z][\w-]{1,50}\]",
    re.I,
)
# WordPress turns blank lines into paragraphs, except within these elements and around the blocks below.
_VERBATIM = re.compile(r"(<(pre|script|style|textarea)\b.*?(?:</\2\s*>|\Z))", re.I | re.S)
_BLANK_LINES = re.compile(r"\r?\n\s*\r?\n")
_BLOCK = re.compile(
    r"</?(?:address|article|aside|blockquote|caption|col|colgroup|d[dlt]|details|div|fieldset|fig(?:caption|ure)|"
    r"footer|form|h[1-6]|header|hr|legend|li|menu|nav|[ou]l|p|section|summary|t(?:able|body|[dhr]|foot|head))[\s/>]",
    re.I,
)


def read(file: File) -> Iterator[Entry]:
    """Stream the posts and pages of an export; custom entities and external references are not resolved."""
    number = 0
    try:
        language = None
        images = _attachments(file)
        with file.path.open("rb") as opened:
            reported_bytes = 0
            for _, element in _parse(opened, ("item", "language")):
                if element.tag == "language":
                    language = element.text
                    continue
                number += 1
                fields = _record(element, language, images)
                element.clear()
                while element.getprevious() is not None:  # free the items that were read
                    del element.getparent()[0]
                file.on_bytes_read(opened.tell() - reported_bytes)
                reported_bytes = opened.tell()
                if fields is not None:
                    yield record.record_entry(f"{file.name}: item {number}", fields, fields=file.fields, html=True)
    except etree.XMLSyntaxError as error:
        problem = f"the export is damaged or cut short from here on ({' '.join(str(error).split())[:200]})"
        yield Entry(f"{file.name}: item {number + 1}", problems=(problem,), unknown=True, failed=True)
    except OSError as error:
        yield file.unreadable_entry(error)


def _parse(opened: Any, tags: tuple[str, ...]) -> Iterator[Any]:
    # The file may be hostile, so entities and external references stay unresolved.
    return etree.iterparse(  # type: ignore[no-any-return]
        opened, events=("end",), tag=tags, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )


def _attachments(file: File) -> dict[str, str]:
    """Return the URLs of attachments by post id; a first pass, since they may follow the posts that use them."""
    urls: dict[str, str] = {}
    try:
        with file.path.open("rb") as opened:
            for _, element in _parse(opened, ("item",)):
                if _text(element, "post_type") == "attachment" and (url := _text(element, "attachment_url")):
                    urls[_text(element, "post_id") or ""] = url
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
    except etree.XMLSyntaxError:
        pass  # reported by the second pass
    return urls


def _record(item: Any, language: str | None, images: dict[str, str]) -> dict[str, Any] | None:
    kind = _text(item, "post_type")
    if kind in _NOT_ARTICLES:
        return None
    text = _paragraphs(_SHORT_CODE.sub(r"\1", item.findtext(_CONTENT) or ""))
    terms: dict[str, list[str]] = {}
    for category in item.iterfind("category"):
        if category.text:
            terms.setdefault(category.get("domain") or "category", []).append(category.text)
    excerpt = next(
        (element.text for element in item if _local_name(element) == "encoded" and element.tag != _CONTENT), None
    )
    meta = {
        _text(element, "meta_key"): _text(element, "meta_value")
        for element in item
        if _local_name(element) == "postmeta"
    }
    published = _text(item, "post_date_gmt")
    if not published or published.startswith("0000"):
        published = _text(item, "post_date")
    if not published or published.startswith("0000"):
        published = item.findtext("pubDate")
    fields = {
        "id": _text(item, "post_id"),
        "url": item.findtext("link"),
        "title": item.findtext("title"),
        "text": text,
        "published": published,
        "section": next(iter(terms.get("category", [])), None),
        "tags": terms.get("post_tag", []),
        "categories": terms.get("category"),
        "language": (language or "").strip() or None,
        "status": _text(item, "status"),
        "type": kind,
        "slug": _text(item, "post_name"),
        "author": item.findtext(_CREATOR),
        "excerpt": (excerpt or "").strip() or None,
        "image": images.get(meta.get("_thumbnail_id") or ""),
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _paragraphs(text: str) -> str:
    """Return the text of a post with <p> tags for blank lines; texts of the block editor already contain tags."""
    if "<!-- wp:" in text:
        return text
    parts = _VERBATIM.split(text)  # text, element, its name, text, ...
    parts[::3] = ["\n".join(map(_paragraph, _BLANK_LINES.split(part))) for part in parts[::3]]
    del parts[2::3]
    return "".join(parts)


def _paragraph(text: str) -> str:
    text = text.strip()
    if not text or _BLOCK.match(text):
        return text
    return f"<p>{text}" if _BLOCK.search(text) else f"<p>{text}</p>"


def _local_name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _text(item: Any, name: str) -> str | None:
    """Return the text of a child by its local name: the namespace varies with the version of the export."""
    return next((child.text for child in item if _local_name(child) == name), None)
