"""Rich text of editors and headless CMSs as HTML.

Formats: Lexical (Ghost, Payload), mobiledoc (older Ghost), Portable Text (Sanity), blocks of Strapi, Slate (Payload),
ProseMirror and TipTap (Storyblok, Directus), Contentful, Editor.js. They are trees of nodes with similar names.
"""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_DEPTH = 60  # nested nodes
# HTML elements by the kind of a node, without case and signs: listItem, list_item and list-item are one kind.
_TAGS = {
    **{f"h{level}": f"h{level}" for level in range(1, 7)},
    **{f"heading{level}": f"h{level}" for level in range(1, 7)},
    **dict.fromkeys(("paragraph", "p", "normal"), "p"),
    **dict.fromkeys(("quote", "extendedquote", "blockquote", "aside"), "blockquote"),
    **dict.fromkeys(("list", "ul", "ol", "bulletlist", "orderedlist", "unorderedlist", "numberedlist"), "ul"),
    **dict.fromkeys(("listitem", "li", "checklistitem"), "li"),
    **dict.fromkeys(("code", "codeblock", "codehighlight", "pre"), "pre"),
    **dict.fromkeys(("table", "tr", "td", "th"), "div"),
    **dict.fromkeys(("tablerow", "tablecell", "tableheader", "tableheadercell"), "div"),
}
_HEADINGS = ("heading", "extendedheading", "header")
_LINKS = ("link", "autolink", "hyperlink", "atlink", "a")
_BREAKS = ("linebreak", "hardbreak", "break", "br")
_INLINE_TEXTS = ("text", "extendedtext", "span", "codehighlight", "hashtag", "tk")
# Fields of Ghost's cards and of components of Strapi with text or HTML that readers see.
_CARD_FIELDS = (
    "calloutText", "heading", "content", "header", "subheader", "productTitle", "productDescription", "textValue",
    "caption", "html", "text", "body", "richText", "quote",
)  # fmt: skip


def rich_text_html(value: Any) -> str | None:
    """Return the text of an editor's document as HTML; None if the value is no such document.

    Args:
        value: the document as JSON values, or as a text in JSON.
    """
    if isinstance(value, str):
        if not value.lstrip().startswith(("{", "[{")):
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping):
        if isinstance(root := value.get("root"), Mapping):  # Lexical
            return _nodes(root.get("children"), 0)
        if isinstance(value.get("sections"), list) and "markups" in value:
            return _mobiledoc(value)
        if isinstance(blocks := value.get("blocks"), list) and all(isinstance(block, Mapping) for block in blocks):
            return "".join(map(_editor_js_block, blocks)) if all("data" in block for block in blocks) else None
        if (value.get("type") == "doc" or value.get("nodeType") == "document") and "content" in value:
            return _nodes(value["content"], 0)
        return None
    if isinstance(value, list) and value and all(isinstance(node, Mapping) for node in value):
        is_document = any(isinstance(node.get("children"), list) for node in value)  # Portable Text, Slate, Strapi
        is_zone = any("__component" in node for node in value)  # Strapi's dynamic zones
        return _nodes(value, 0) if is_document or is_zone else None
    return None


def markdown_html(text: str) -> str:
    """Return Markdown as HTML."""
    from markdown_it import MarkdownIt  # noqa: PLC0415 - few exports contain Markdown

    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


def _nodes(nodes: Any, depth: int, links: Mapping[str, str] = {}) -> str:
    if not isinstance(nodes, list) or depth > MAX_DEPTH:
        return ""
    return "".join(_node(node, depth + 1, links) for node in nodes if isinstance(node, Mapping))


def _node(node: Mapping[str, Any], depth: int, links: Mapping[str, str]) -> str:
    """Return a node as HTML.

    Args:
        node: a node of any format.
        depth: how many nodes contain it.
        links: for Portable Text, the addresses of the marks of the enclosing block.
    """
    kind = _kind(node)
    attributes = node.get("attrs") if isinstance(node.get("attrs"), Mapping) else {}
    children = node.get("children", node.get("content"))
    if kind in _BREAKS:
        return "<br>"
    if not isinstance(children, list):
        text = node.get("text", node.get("value") if kind == "text" else None)
        if isinstance(text, str) and (kind in _INLINE_TEXTS or kind == "" or "marks" in node):
            return _linked(html.escape(text, quote=False), _mark_link(node.get("marks"), links))
        return _card(kind, node)
    if kind == "block":  # Portable Text
        marks = {
            str(mark.get("_key")): str(mark["href"])
            for mark in _list(node.get("markDefs"))
            if isinstance(mark, Mapping) and mark.get("href")
        }
        style = _TAGS.get(_plain(node.get("style")), "p")
        tag = "li" if node.get("listItem") else style
        return f"<{tag}>{_nodes(children, depth, marks)}</{tag}>"
    inner = _nodes(children, depth, links)
    if kind in _LINKS:
        return _linked(inner, _address(node))
    level = node.get("level") or (attributes or {}).get("level") or str(node.get("tag") or "").lstrip("h")
    if kind in _HEADINGS:
        tag = f"h{level}" if re.fullmatch("[1-6]", str(level)) else "h2"
    else:
        tag = _TAGS.get(kind, "div" if kind else "p")
    return f"<{tag}>{inner}</{tag}>"


def _kind(node: Mapping[str, Any]) -> str:
    return _plain(node.get("type") or node.get("nodeType") or node.get("_type"))


def _plain(name: Any) -> str:
    return re.sub(r"[\W_]", "", str(name or "")).lower()


def _linked(inner: str, address: str | None) -> str:
    return f'<a href="{html.escape(address)}">{inner}</a>' if address else inner


def _address(node: Mapping[str, Any]) -> str | None:
    """Return the target of a link: in the node, in its `attrs` (TipTap), `data` (Contentful) or `fields` (Payload)."""
    for part in (node, *(node.get(name) for name in ("attrs", "data", "fields"))):
        if isinstance(part, Mapping):
            for name in ("url", "href", "uri"):
                if isinstance(part.get(name), str):
                    return str(part[name])
    return None


def _mark_link(marks: Any, links: Mapping[str, str]) -> str | None:
    """Return the target of the link among the marks of a text."""
    for mark in _list(marks):
        if isinstance(mark, str) and mark in links:
            return links[mark]
        if isinstance(mark, Mapping) and _plain(mark.get("type")) == "link":
            return _address(mark)
    return None


def _card(kind: str, node: Mapping[str, Any]) -> str:
    """Return a node without children: a card of Ghost, a component of Strapi."""
    if kind == "markdown" and isinstance(node.get("markdown"), str):
        return markdown_html(node["markdown"])
    if kind in ("codeblock", "emailcta", "email", "signup"):
        return ""
    if kind == "bookmark":
        metadata = node.get("metadata")
        title = metadata.get("title") if isinstance(metadata, Mapping) else None
        return f"<p>{_linked(html.escape(str(title or '')), _address(node))}</p>"
    parts = (_prose(node[name]) for name in _CARD_FIELDS if name in node)
    return "".join(f"<div>{part}</div>" for part in parts if part)


def _prose(value: Any) -> str:
    if not isinstance(value, str):
        return rich_text_html(value) or ""
    return value if "<" in value else markdown_html(value)


def _editor_js_block(block: Mapping[str, Any]) -> str:
    """Return a block of Editor.js; its texts are HTML."""
    data, kind = block.get("data"), _plain(block.get("type"))
    if not isinstance(data, Mapping) or kind in ("code", "raw", "image", "embed"):
        return str(data.get("html") or "") if isinstance(data, Mapping) and kind == "raw" else ""
    if isinstance(items := data.get("items"), list):
        return "<ul>" + "".join(f"<li>{text}</li>" for text in _item_texts(items, 0)) + "</ul>"
    tag = f"h{data.get('level')}" if kind == "header" and data.get("level") in range(1, 7) else "p"
    return f"<{tag}>{data['text']}</{tag}>" if isinstance(data.get("text"), str) else ""


def _item_texts(items: Iterable[Any], depth: int) -> Iterable[str]:
    for item in items:
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            yield str(item.get("content") or item.get("text") or "")
            if isinstance(nested := item.get("items"), list) and depth < MAX_DEPTH:
                yield from _item_texts(nested, depth + 1)


def _mobiledoc(document: Mapping[str, Any]) -> str:
    """Return a document of mobiledoc 0.3 (https://github.com/bustle/mobiledoc-kit, MOBILEDOC.md) as HTML."""
    cards, markups, atoms = (document.get(name) or [] for name in ("cards", "markups", "atoms"))
    parts = []
    for section in document["sections"]:
        if not isinstance(section, list) or len(section) < 2:
            continue
        if section[0] == 1 and len(section) > 2:
            tag = str(section[1]) if re.fullmatch(r"h[1-6]|p|blockquote|aside", str(section[1])) else "p"
            parts.append(f"<{tag}>{_markers(section[2], markups, atoms)}</{tag}>")
        elif section[0] == 3 and len(section) > 2 and isinstance(section[2], list):
            items = "".join(f"<li>{_markers(item, markups, atoms)}</li>" for item in section[2])
            parts.append(f"<ul>{items}</ul>")
        elif section[0] == 10 and isinstance(card := _at(cards, section[1]), list) and len(card) > 1:
            name, payload = _plain(card[0]).removeprefix("card"), card[1]
            if isinstance(payload, Mapping):
                parts.append(_card(name, payload))
    return "".join(parts)


def _markers(markers: Any, markups: Sequence[Any], atoms: Sequence[Any]) -> str:
    """Return the texts of a section of mobiledoc, with the links among its markups."""
    text = ""
    opened: list[str] = []
    for marker in _list(markers):
        if not isinstance(marker, list) or len(marker) < 4:
            continue
        kind, opens, closes, value = marker[:4]
        for number in _list(opens):
            markup = _at(markups, number)
            is_link = isinstance(markup, list) and len(markup) > 1 and markup[0] == "a" and isinstance(markup[1], list)
            names = markup[1] if is_link and isinstance(markup, list) else []
            pairs = zip(names[::2], names[1::2], strict=False)
            address = next((value for name, value in pairs if name == "href"), None)
            text += f'<a href="{html.escape(str(address))}">' if address else ""
            opened.append("</a>" if address else "")
        if kind == 0:
            text += html.escape(str(value), quote=False)
        elif isinstance(atom := _at(atoms, value), list) and atom:
            text += "<br>" if atom[0] == "soft-return" else html.escape(str(atom[1] if len(atom) > 1 else ""))
        for _ in range(closes if isinstance(closes, int) else 0):
            text += opened.pop() if opened else ""
    return text + "".join(reversed(opened))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _at(values: Any, number: Any) -> Any:
    is_valid = isinstance(values, list) and isinstance(number, int) and 0 <= number < len(values)
    return values[number] if is_valid else None
