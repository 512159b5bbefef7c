"""The content of HTML: its text without markup and code, its links, and those below a heading such as "See also"."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

import lxml.html
from inscriptis import Inscriptis
from inscriptis.css_profiles import CSS_PROFILES
from inscriptis.html_properties import Display
from inscriptis.model.config import ParserConfig
from inscriptis.model.html_element import HtmlElement as Shown
from lxml.html import HtmlElement

# A line or a heading that announces links to other articles; `rest` is what follows it on the line.
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
_NOT_TEXT = [
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
_BLOCK = Shown(display=Display.block)
_LAYOUT = ParserConfig(css=CSS_PROFILES["strict"] | {"dt": _BLOCK, "dd": _BLOCK, "figcaption": _BLOCK})
_NO_TEXT = re.compile("[^\\t\\n\\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML has no place for
_BULLET = re.compile(r"^\s*[*+o-] ", re.M)
_OURS = "//*[@data-recommender]"  # blocks that this package wrote; reading them back would feed on itself
_LONGEST_BLOCK = 5000  # characters; a longer one surrounds the article
_SIGNS = {"¶", "#", "§", "🔗", "\uf0c1"}  # of links to a heading itself
Resolve = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Markup:
    """What is read from a piece of HTML.

    Attributes:
        text: its words, with line breaks between paragraphs; no code blocks.
        heading: its first heading of the first level, which is not in the text.
        related: targets of the links below a heading, or in a block, that is about related articles.
        links: targets of the other links.
    """

    text: str
    heading: str
    related: tuple[str, ...]
    links: tuple[str, ...]


def read_markup(html: str, *, base: str | None = None, resolve: Resolve | None = None) -> Markup:
    """Read a piece of HTML.

    Args:
        html: a fragment or a page.
        base: what relative links are relative to.
        resolve: called with each link; returns the target, or None to leave the link out. None: resolve against `base`.
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
    """Return the tree of a piece of HTML; None if it holds nothing."""
    html = _NO_TEXT.sub("", html).strip()
    html = re.sub(r"^<\?xml[^>]*\?>", "", html)  # lxml takes no text that declares an encoding
    try:
        tree = lxml.html.document_fromstring(html) if html else None
    except (lxml.etree.LxmlError, ValueError):
        return None
    if tree is not None and "&#" in html:  # by which they come in again
        for part in tree.iter():
            for name in ("text", "tail"):
                if (text := getattr(part, name)) and _NO_TEXT.search(text):
                    setattr(part, name, _NO_TEXT.sub("", text))
    for link in list(tree.iter("a")) if tree is not None else ():
        if link.text_content().strip() in _SIGNS and link.get("href", "").startswith("#"):
            link.drop_tree()
    return tree


def text_of(tree: HtmlElement) -> str:
    """Return the words of a tree, blocks on lines of their own."""
    lines = (" ".join(line.split()) for line in _BULLET.sub("", Inscriptis(tree, _LAYOUT).get_text()).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def drop_non_text(tree: HtmlElement) -> None:
    """Take out of a tree what is not text."""
    for part in [*tree.iter(*_NOT_TEXT), *tree.xpath(_OURS)]:
        if part is not tree and part.getparent() is not None:
            part.drop_tree()


def absolute_url(base: str | None, link: str) -> str | None:
    """Return a link as an absolute URL, or as it is if there is no base; None for what leads to no other page."""
    link = link.strip().partition("#")[0]
    if not link or re.match(r"(?!https?:)[a-z][a-z0-9+.-]*:", link, re.I):
        return None
    try:
        return urljoin(base, link) if base else link
    except ValueError:
        return None


def link_targets(tree: HtmlElement, resolve: Resolve) -> list[str]:
    """Return where the links of a tree lead to, each once, in their order."""
    targets = (resolve(link.get("href")) for link in tree.iter("a") if link.get("href"))
    return list(dict.fromkeys(target for target in targets if target))


def take_related(tree: HtmlElement, resolve: Resolve) -> tuple[str, ...]:
    """Take out of a tree what is about related articles; return the targets of its links."""
    drop_ours = tree.xpath(_OURS)
    for part in drop_ours:
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
        if "related navigation" in names:  # what Sphinx calls its links to the page before and the page after
            continue
        if names and _RELATED_BLOCK.search(names) and _in(tree, part) and len(part.text_content()) < _LONGEST_BLOCK:
            targets |= dict.fromkeys(link_targets(part, resolve))
            part.drop_tree()
    return tuple(targets)


def _below(heading: HtmlElement) -> Iterator[HtmlElement]:
    """Yield the elements below a heading: up to the next of its rank, or the list after a line that is no heading."""
    of_rank = _HEADINGS.index(heading.tag) if heading.tag in _HEADINGS else None
    start = heading
    while of_rank is None and start.getnext() is None and start.getparent() is not None and start.tag != "div":
        start = start.getparent()  # a line in bold stands alone in its paragraph
    for part in start.itersiblings():
        if not isinstance(part.tag, str):
            continue
        if part.tag in _HEADINGS and (of_rank is None or _HEADINGS.index(part.tag) <= of_rank):
            return
        if of_rank is None and part.tag not in ("ul", "ol"):
            return
        yield part


def _in(tree: HtmlElement, part: HtmlElement) -> bool:
    top = part
    while top.getparent() is not None:
        top = top.getparent()
    return top is tree.getroottree().getroot() or top is tree
