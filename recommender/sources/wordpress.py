"""Reader for WordPress exports (WXR): posts and pages with their links, categories, tags and metadata."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lxml import etree

from recommender.sources import damaged_xml, record
from recommender.sources.entry import MAX_ARTICLE_BYTES, Entry, File
from recommender.sources.short_codes import post_html
from recommender.sources.status import PRIVATE

_CONTENT = "{http://purl.org/rss/1.0/modules/content/}encoded"
_CREATOR = "{http://purl.org/dc/elements/1.1/}creator"
# Post types that have no page of their own, of WordPress and of common plugins, with the reason why they are left out.
_NOT_ARTICLES = {
    "attachment": "attachment",
    **dict.fromkeys(
        (
            "nav_menu_item", "revision", "custom_css", "customize_changeset", "oembed_cache", "user_request",
            "wp_font_family", "wp_font_face", "acf", "acf-field", "acf-field-group", "wpcf7_contact_form", "wpforms",
            "feedback", "tablepress_table", "shop_order", "shop_order_refund", "shop_coupon", "product_variation",
            "scheduled-action", "amp_validated_url", "mc4wp-form", "reply", "jp_pay_order", "popup", "ml-slider",
        ),
        "settings",
    ),
    **dict.fromkeys(
        (
            "wp_block", "wp_template", "wp_template_part", "wp_global_styles", "wp_navigation", "elementor_library",
            "et_pb_layout", "et_template", "fusion_template", "fusion_element", "vc_grid_item", "templatera",
        ),
        "template",
    ),
}  # fmt: skip
_TAXONOMIES_OF_WORDPRESS = {
    "category", "post_tag", "post_format", "language", "nav_menu", "post_translations", "term_translations",
    "term_language",
}  # fmt: skip
_META_OF_SEARCH_ENGINES = re.compile(r"_(?:yoast_wpseo|aioseop)_\w+")
MIN_FIELD_TEXT_CHARS = 100
_ENCODED_VALUE = re.compile(r"\s*[\[{]|[abdisO]:\d+[:;]|\S+\Z")  # JSON, PHP's serialize(), a URL or key
_PHP_VALUE = re.compile(r"[abdisO]:\d+[:;]")  # of PHP's serialize()
MAX_META_FIELDS = 50  # of a post
MAX_META_CHARS = 1000  # of a value; longer ones are layouts of page builders
_READ_BYTES = 2**20
_ITEM = re.compile(rb"<item(?:\s[^<>]*)?>")
_ITEM_END = re.compile(rb"</item\s*>")
_NEXT_ITEM = re.compile(rb"\s*<item[\s>]")
_ROOT = re.compile(rb"<rss\b[^<>]*>")
_XML_DECLARATION = re.compile(rb"\s*<\?xml[^<>]*\?>")
_NAMESPACES = (
    b'<rss xmlns:excerpt="http://wordpress.org/export/1.2/excerpt/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:wp="http://wordpress.org/export/1.2/">'
)
_LANGUAGE = re.compile(rb"<language>\s*([\w-]{2,20})\s*</language>")
# The content of an element that is one CDATA section; its end is the one before the element's end.
_CDATA = re.compile(rb"(<([\w:.-]+)(?:\s[^<>]*)?>\s*<!\[CDATA\[)(.*?)(\]\]>\s*</\2\s*>|\Z)", re.S)
_INNER_END = re.compile(rb"\]\]>(?!<!\[CDATA\[)")  # WordPress writes it as two sections


@dataclass(slots=True)
class _Export:
    """What the first pass over an export found.

    Attributes:
        images: the URLs of attachments by post id; they may follow the posts that use them.
        problem: the first XML error; empty for a well-formed export.
    """

    images: dict[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Item:
    """An item of an export.

    Attributes:
        element: its element; None if it cannot be read.
        language: the language of the site.
        problem: what was wrong with its XML; empty for nothing.
        is_whole: whether everything in it could be read.
    """

    element: Any
    language: str | None = None
    problem: str = ""
    is_whole: bool = True


def read(file: File) -> Iterator[Entry]:
    """Stream the posts and pages of an export; custom entities and external references are not resolved.

    Each item of an export that is not well-formed is repaired and parsed alone, so that damage costs only one item.
    """
    number = 0
    try:
        export = _survey(file)
        for item in _damaged_items(file, file.on_bytes_read) if export.problem else _items(file, file.on_bytes_read):
            number += 1
            where = f"{file.name}: item {number}"
            if item.element is None:
                yield Entry(where, problems=(item.problem,), unknown=True, failed=not item.is_whole)
            else:
                yield _entry(where, item, export.images, file)
    except etree.XMLSyntaxError as error:  # the file has changed since the first pass
        problem = f"the export is damaged or cut short from here on ({damaged_xml.message(error)})"
        yield Entry(f"{file.name}: item {number + 1}", problems=(problem,), unknown=True, failed=True)
    except OSError as error:
        yield file.unreadable_entry(error)


def _survey(file: File) -> _Export:
    """Return the attachments of an export and whether it is well-formed."""
    export = _Export()
    try:
        for item in _items(file):
            _collect_image(item.element, export.images)
    except etree.XMLSyntaxError as error:
        export.problem = damaged_xml.message(error)
        for item in _damaged_items(file):
            if item.element is not None:
                _collect_image(item.element, export.images)
    return export


def _collect_image(element: Any, images: dict[str, str]) -> None:
    if _text(element, "post_type") == "attachment" and (url := _text(element, "attachment_url")):
        images[_text(element, "post_id") or ""] = url


def _items(file: File, on_bytes_read: Any = None) -> Iterator[_Item]:
    """Stream the items of a well-formed export.

    Raises:
        etree.XMLSyntaxError: the export is not well-formed; the items before the error were yielded.
    """
    language = None
    reported_bytes = 0
    with file.path.open("rb") as opened:
        # The file may be hostile, so entities and external references stay unresolved.
        for _, element in etree.iterparse(
            opened,
            events=("end",),
            tag=("item", "language"),
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
        ):
            if element.tag == "language":
                language = element.text
                continue
            yield _Item(element, language)
            element.clear()
            while element.getprevious() is not None:  # free the items that were read
                del element.getparent()[0]
            if on_bytes_read:
                on_bytes_read(opened.tell() - reported_bytes)
                reported_bytes = opened.tell()


def _damaged_items(file: File, on_bytes_read: Any = None) -> Iterator[_Item]:
    """Stream the items of an export that is not well-formed; the last one reports a missing end of the file."""
    with file.path.open("rb") as opened:
        buffer = damaged_xml.without_prologue(opened.read(_READ_BYTES))
        declaration, root = _XML_DECLARATION.match(buffer), _ROOT.search(buffer)
        head = (declaration[0] if declaration else b"") + (root[0] if root else _NAMESPACES)
        tag = _LANGUAGE.search(buffer, 0, first.start() if (first := _ITEM.search(buffer)) else len(buffer))
        language = tag[1].decode() if tag else None
        position, searched = 0, 0  # where the rest of the buffer begins, and from where an end is searched
        while True:
            start = _ITEM.search(buffer, position)
            end = _item_end(buffer, start.end(), max(searched, start.end())) if start else None
            if start and end:
                yield _parsed_item(head, buffer[start.start() : end], language)
                position, searched = end, end
                continue
            is_too_long = start is not None and len(buffer) - start.start() > MAX_ARTICLE_BYTES
            if start and is_too_long:
                reason = f"the item is longer than {MAX_ARTICLE_BYTES // 2**20} MB, and was skipped"
                yield _Item(None, problem=reason)
                position = next((match.start() for match in _ITEM.finditer(buffer, start.end())), len(buffer))
            buffer = buffer[start.start() if start and not is_too_long else max(position, len(buffer) - 100) :]
            position, searched = 0, max(0, len(buffer) - 100)
            part = opened.read(_READ_BYTES)
            if on_bytes_read:
                on_bytes_read(len(part))
            if not part:
                break
            buffer += part
        if start or b"</channel>" not in buffer:
            yield _Item(None, problem="the export is cut short: its end is missing", is_whole=False)


def _item_end(buffer: bytes, start: int, searched: int) -> int | None:
    """Return where the item ends whose content begins at `start`; None if its end is not in the buffer."""
    for match in _ITEM_END.finditer(buffer, searched):
        is_in_cdata = buffer.rfind(b"<![CDATA[", start, match.start()) > buffer.rfind(b"]]>", start, match.start())
        if not is_in_cdata or _NEXT_ITEM.match(buffer, match.end()):
            return match.end()
    return None


def _parsed_item(head: bytes, content: bytes, language: str | None) -> _Item:
    """Return an item of a damaged export, parsed alone."""
    content = _CDATA.sub(lambda match: match[1] + _INNER_END.sub(b"]]]]><![CDATA[>", match[3]) + match[4], content)
    root, problem, is_whole = damaged_xml.parse(head + content + b"</rss>")
    element = root.find("item") if root is not None else None
    if element is None or not _text(element, "post_id") or not _text(element, "status"):
        reason = f"the item is damaged, and was skipped ({problem or 'it has no post_id or status'})"
        return _Item(None, language, reason)
    if not problem:
        return _Item(element, language)
    extent = "and was repaired" if is_whole else "and was read as far as possible"
    return _Item(element, language, f"its XML is damaged, {extent} ({problem})", is_whole)


def _entry(where: str, item: _Item, images: dict[str, str], file: File) -> Entry:
    """Return the Entry of an item: without an article if it is no page or protected by a password."""
    id, kind = _text(item.element, "post_id") or "", _text(item.element, "post_type") or ""
    if kind in _NOT_ARTICLES:
        return Entry(where, id=id, problems=(f"its type is {kind}",), excluded=_NOT_ARTICLES[kind])
    if (_text(item.element, "post_password") or "").strip():
        return Entry(where, id=id, problems=("it is protected by a password",), excluded=PRIVATE)
    fields = _record(item.element, item.language, images)
    entry = record.record_entry(where, fields, fields=file.fields, html=True)
    if item.problem and entry.article:
        return replace(entry, problems=(item.problem, *entry.problems))
    return entry


def _record(item: Any, language: str | None, images: dict[str, str]) -> dict[str, Any]:
    kind = _text(item, "post_type")
    terms: dict[str, list[str]] = {}
    for category in item.iterfind("category"):
        if category.text:
            domain = category.get("domain") or "category"
            # Polylang stores the language of a post as a term.
            name = category.get("nicename") if domain == "language" else category.text
            terms.setdefault(domain, []).append(name or category.text)
    excerpt = next(
        (element.text for element in item if _local_name(element) == "encoded" and element.tag != _CONTENT), None
    )
    meta = {
        _text(element, "meta_key") or "": _text(element, "meta_value") or ""
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
        "text": post_html(item.findtext(_CONTENT) or "") or _text_of_fields(meta),
        "published": published,
        "section": next(iter(terms.get("category", [])), None),
        "tags": terms.get("post_tag", []),
        "categories": terms.get("category"),
        "language": next(iter(terms.get("language", [])), (language or "").strip() or None),
        "status": _text(item, "status"),
        "type": kind,
        "slug": _text(item, "post_name"),
        "author": item.findtext(_CREATOR),
        "excerpt": (excerpt or "").strip() or None,
        "image": images.get(meta.get("_thumbnail_id") or ""),
    }
    own_terms = {name: values for name, values in terms.items() if name not in _TAXONOMIES_OF_WORDPRESS}
    for name, value in (*own_terms.items(), *_public_meta(meta).items()):
        if name not in fields and record.is_metadata_name(name):
            fields[name] = value
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _public_meta(meta: dict[str, str]) -> dict[str, str]:
    """Return the custom fields of a post (ACF and others) and those of Yoast and AIOSEO.

    WordPress hides fields whose names begin with an underscore, and ACF adds one to each of its own.
    """
    public = {
        name: value
        for name, value in meta.items()
        if (not name.startswith("_") or _META_OF_SEARCH_ENGINES.fullmatch(name))
        and 0 < len(value) <= MAX_META_CHARS
        and not _PHP_VALUE.match(value)
    }
    return dict(list(public.items())[:MAX_META_FIELDS])


def _text_of_fields(meta: dict[str, str]) -> str:
    """Return the long custom fields of a post: where ACF replaces the editor, the content is empty."""
    long = (value for name, value in meta.items() if not name.startswith("_") and len(value) >= MIN_FIELD_TEXT_CHARS)
    return "\n".join(f"<div>{post_html(value)}</div>" for value in long if not _ENCODED_VALUE.match(value))


def _local_name(element: Any) -> str:
    """Return the name of an element without namespace, or without a prefix that is not declared."""
    return str(element.tag).rpartition("}")[2].rpartition(":")[2]


def _text(item: Any, name: str) -> str | None:
    """Return the text of a child by its local name: the namespace varies with the version of the export."""
    return next((child.text for child in item if _local_name(child) == name), None)
