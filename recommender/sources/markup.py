"""Parser of HTML: its text without markup and code, its links, and its links to related articles."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

import lxml.html
from inscriptis import Inscriptis
from inscriptis.css_profiles import CSS_PROFILES
from inscriptis.html_properties import Display
from inscriptis.model.config import ParserConfig
from inscriptis.model.html_element import HtmlElement as LayoutElement
from lxml.html import HtmlElement

# A line or heading above links to related articles; the group `rest` is the remainder of the line.
RELATED_HEADING = re.compile(
    r"(?:(?:read|see|watch) (?:more|also|next)|also read|further reading|"
    r"(?:related|similar)(?: (?:articles?|stories|news|links?|posts?|topics?|pages?|content|reading|information))?|"
    r"more on this(?: (?:story|topic))?|more on the (?:story|topic)|don.t miss|lesen sie auch|siehe auch|"
    r"mehr zum thema|"
    r"(?:à )?lire aussi|voir aussi|sur le même sujet|(?:lea|lee) también|véase también|relacionad[oa]s?|leia também|"
    r"veja também|leggi anche|vedi anche|lees ook|zie ook|se även|zobacz też|читайте также|смотрите также|по теме|"
    r"関連記事|関連項目|相关文章|相关阅读|相關文章)\s*(?:[:：–—-]+\s*(?P<rest>.*))?",
    re.I,
)
_RELATED_BLOCK = re.compile(
    r"(?:^|[\s_-])(?:related|see-?also|more-?stories|read-?(?:more|next|also))(?:$|[\s_-])", re.I
)
_NON_TEXT_TAGS = [
    "script",
    "style",
    "template",
    "noscript",
    "svg",
    "iframe",
    "object",
    "math",
    "form",
    "button",
    "textarea",
    "select",
    "pre",
]
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCK = LayoutElement(display=Display.block)
_LAYOUT = ParserConfig(css=CSS_PROFILES["strict"] | {"dt": _BLOCK, "dd": _BLOCK, "figcaption": _BLOCK})
_INVALID_XML_CHARS = re.compile("[^\\t\\n\\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BULLET = re.compile(r"^\s*[*+o-] ", re.M)
_OWN_BLOCKS = "//*[@data-recommender]"  # blocks that this package wrote: they are not the author's links
MAX_RELATED_BLOCK_CHARS = 5000  # a longer element contains the article itself
_PERMALINK_TEXTS = {"¶", "#", "§", "🔗", "\uf0c1"}  # texts of permalinks to headings
Resolve = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Markup:
    """The content of a piece of HTML.

    Attributes:
        text: the text without code blocks and `heading`, with line breaks between paragraphs.
        heading: the first h1; "" without one.
        related: targets of the links to related articles: below a heading such as "See also", or in such a block.
        links: targets of the other links.
    """

    text: str
    heading: str
    related: tuple[str, ...]
    links: tuple[str, ...]


def read_markup(html: str, *, base: str | None = None, resolve: Resolve | None = None) -> Markup:
    """Parse a piece of HTML.

    Args:
        html: a fragment or a page.
        base: the URL that relative links are relative to.
        resolve: returns the target of a link, or None to drop the link; by default links are joined to `base`.
    """
    tree = parse_html(html)
    if tree is None:
        return Markup("", "", (), ())
    follow = resolve or (lambda link: absolute_url(base, link))
    related = take_related(tree, follow)
    heading = next(tree.iter("h1"), None)
    title = " ".join(heading.text_content().split()) if heading is not None else ""
    links = link_targets(tree, follow)
    drop_non_text(tree)
    if heading is not None and heading.getparent() is not None:
        heading.drop_tree()
    return Markup(text_of(tree), title, related, tuple(link for link in links if link not in related))


def parse_html(html: str) -> HtmlElement | None:
    """Return the tree of a piece of HTML; None if it is empty or cannot be parsed."""
    html = _INVALID_XML_CHARS.sub("", html).strip()
    html = re.sub(r"^<\?xml[^>]*\?>", "", html)  # lxml refuses a str that declares an encoding
    try:
        tree = lxml.html.document_fromstring(html) if html else None
    except (lxml.etree.LxmlError, ValueError):
        return None
    if tree is not None and "&#" in html:  # character references may add invalid characters
        for part in tree.iter():
            for name in ("text", "tail"):
                if (text := getattr(part, name)) and _INVALID_XML_CHARS.search(text):
                    setattr(part, name, _INVALID_XML_CHARS.sub("", text))
    for link in list(tree.iter("a")) if tree is not None else ():
        if link.text_content().strip() in _PERMALINK_TEXTS and link.get("href", "").startswith("#"):
            link.drop_tree()
    return tree


def text_of(tree: HtmlElement) -> str:
    """Return the text of a tree, one line per block element."""
    lines = (" ".join(line.split()) for line in _BULLET.sub("", Inscriptis(tree, _LAYOUT).get_text()).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def drop_non_text(tree: HtmlElement) -> None:
    """Remove scripts, forms, code blocks, blocks of this package and other elements without prose from a tree."""
    for part in [*tree.iter(*_NON_TEXT_TAGS), *tree.xpath(_OWN_BLOCKS)]:
        if part is not tree and part.getparent() is not None:
            part.drop_tree()


def absolute_url(base: str | None, link: str) -> str | None:
    """Return a link without its fragment, joined to `base` if there is one; None if it leads to no other page."""
    link = link.strip().partition("#")[0]
    if not link or re.match(r"(?!https?:)[a-z][a-z0-9+.-]*:", link, re.I):
        return None
    try:
        return urljoin(base, link) if base else link
    except ValueError:
        return None


def link_targets(tree: HtmlElement, resolve: Resolve) -> list[str]:
    """Return the distinct targets of the links of a tree, in document order."""
    targets = (resolve(link.get("href")) for link in tree.iter("a") if link.get("href"))
    return list(dict.fromkeys(target for target in targets if target))


def take_related(tree: HtmlElement, resolve: Resolve) -> tuple[str, ...]:
    """Remove the lists and blocks of related articles from a tree and return the targets of their links."""
    for part in tree.xpath(_OWN_BLOCKS):
        part.drop_tree()
    targets: dict[str, None] = {}
    for heading in list(tree.iter(*_HEADINGS, "p", "strong", "b")):
        words = " ".join(heading.text_content().split()) if len(heading) <= 3 else ""
        match = RELATED_HEADING.fullmatch(words.strip(" :：")) if 0 < len(words) < 60 else None
        if match and heading.getparent() is not None and (heading.tag in _HEADINGS or not match["rest"]):
            for part in list(_below(heading)):
                targets |= dict.fromkeys(link_targets(part, resolve))
                part.drop_tree()
            if heading.getparent() is not None:
                heading.drop_tree()
    for part in list(tree.iter("aside", "nav", "section", "div", "ul")):
        names = " ".join(part.get(name, "") for name in ("class", "id", "aria-label"))
        if "related navigation" in names:  # Sphinx: links to the previous and the next page
            continue
        if (
            names
            and _RELATED_BLOCK.search(names)
            and _is_in(tree, part)
            and len(part.text_content()) < MAX_RELATED_BLOCK_CHARS
        ):
            targets |= dict.fromkeys(link_targets(part, resolve))
            part.drop_tree()
    return tuple(targets)


def _below(heading: HtmlElement) -> Iterator[HtmlElement]:
    """Yield the elements up to the next heading of the same or a higher rank; after a plain line, only its lists."""
    rank = _HEADINGS.index(heading.tag) if heading.tag in _HEADINGS else None
    start = heading
    while rank is None and start.getnext() is None and start.getparent() is not None and start.tag != "div":
        start = start.getparent()  # a line in bold stands alone in its paragraph
    for part in start.itersiblings():
        if not isinstance(part.tag, str):
            continue
        if part.tag in _HEADINGS and (rank is None or _HEADINGS.index(part.tag) <= rank):
            return
        if rank is None and part.tag not in ("ul", "ol"):
            return
        yield part


def _is_in(tree: HtmlElement, part: HtmlElement) -> bool:
    """Return whether an element is still part of a tree."""
    top = part
    while top.getparent() is not None:
        top = top.getparent()
    return top is tree.getroottree().getroot() or top is tree
