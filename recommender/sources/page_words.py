"""The words of a page, by the links that they belong to: how much of a page lists other pages of its site."""

import copy
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from lxml.html import HtmlElement

MIN_ENTRIES = 2  # of a list
MIN_LONG_ENTRY_WORDS = 120  # of an entry that may be the article itself
MAX_ENTRY_SHARE = 0.7  # of the words of all entries
MAX_TRIED_HOSTS = 3  # that a page without a canonical URL links to most
MAX_TRIED_LINKS = 5
MIN_LINKED_HEADING = 0.8  # of the words of a heading
INDEX_NAME = re.compile(r"(?:(?<=/)|^)(?:index|default)\.(?:x?html?|php)$", re.I)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_FURNITURE_TAGS = (
    "nav",
    "aside",
    "footer",
    "form",
    "dialog",
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "button",
)
_FURNITURE_ROLES = ("navigation", "complementary", "contentinfo", "search", "banner", "dialog")
_FURNITURE_NAME = re.compile(
    r"(?:^|[\s_-])(?:side-?bar\w*|\w*sidebar|nav(?:bar|igation)?|menu|footer|bread-?crumbs?|toc|widgets?|comments?|related|"
    r"share|sharing|social|skip-?link|pagination|pager|post-nav\w*|page-nav\w*|sphinxsidebar\w*)(?:$|[\s_-])",
    re.I,
)
_NUMBERED_LINK = re.compile(
    r"/(?:pages?|seite|pagina|página)/?[-_]?\d+(?:\.html?|/)?\?|[?&](?:page|paged|pg)=\d+", re.I
)
_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"  # scripts without spaces
_WORD = re.compile(rf"[{_NO_SPACES}]{{1,2}}|[^\W{_NO_SPACES}]+")
_ASSET = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|svg|ico|pdf|zip|gz|tgz|css|js|json|xml|rss|mp[34]|webm|txt)$", re.I)


@dataclass(frozen=True, slots=True)
class PageWords:
    """Numbers of words of a page outside menus, sidebars and the like, by the links that they belong to.

    Attributes:
        own_words: number of words that belong neither to links to other pages of the site nor to entries.
        linked_words: number of words in links to other pages of the site, outside entries.
        entry_words: number of words of entries.
        entries: number of entries: parts of the page whose heading is a link to another page of the site.
        starts_with_entry: whether one of the first two headings is that of an entry.
        links: number of links to other pages of the site.
        is_numbered: whether a link leads to a numbered page of a list.
    """

    own_words: int
    linked_words: int
    entry_words: int
    entries: int
    starts_with_entry: bool
    links: int
    is_numbered: bool


def count_page_words(tree: HtmlElement, address: str | None, root: Path | None) -> PageWords:
    """Count the words of a page; the tree is not changed.

    Args:
        tree: the page.
        address: its URL or the path of it.
        root: the folder of the site that the page is a file of; None for a page that was fetched.
    """
    own_urls = _own_urls(tree, address)
    if root is not None and not any(url.netloc for url in own_urls):
        own_urls += _linked_site(tree, root)
    is_numbered = any(map(_NUMBERED_LINK.search, _site_links(tree, own_urls, address).values()))
    main = copy.deepcopy(_main(tree))
    for block in main.xpath(".//*[@data-recommender]"):  # written by this package
        block.drop_tree()
    _drop_furniture(main)
    links = _site_links(main, own_urls, address)
    headings = [heading for heading in main.iter(*_HEADINGS) if _words(heading)]
    entry_headings = [heading for heading in headings if _is_linked(heading, links)]
    entries = _entries(main, entry_headings) if len(entry_headings) >= MIN_ENTRIES else []
    words_by_entry = [sum(map(_words, entry)) for entry in entries]
    entry_words = sum(words_by_entry)
    if entries and max(words_by_entry) > MAX_ENTRY_SHARE * entry_words > MIN_LONG_ENTRY_WORDS:
        entries, entry_words = [], 0  # an article below a linked heading, such as the name of the site
    inside = {part for entry in entries for element in entry for part in element.iter()}
    linked_words = sum(_words(link) for link in links if link not in inside)
    return PageWords(
        max(0, _words(main) - entry_words - linked_words),
        linked_words,
        entry_words,
        len(entries) or min(1, len(entry_headings)),
        bool(entry_headings) and entry_headings[0] in headings[:2],
        len(links),
        is_numbered,
    )


def _main(tree: HtmlElement) -> HtmlElement:
    """Return the element that a page declares as its main content; else its body."""
    mains = tree.xpath("//main | //*[@role='main']")
    bodies = tree.xpath("//body")
    return mains[0] if len(mains) == 1 else bodies[0] if bodies else tree


def _drop_furniture(main: HtmlElement) -> None:
    """Remove menus, sidebars, footers, forms and the like."""
    for part in list(main.iter()):
        if part is main or part.getparent() is None:
            continue
        if not isinstance(part.tag, str) or part.tag in _FURNITURE_TAGS or part.get("role") in _FURNITURE_ROLES:
            part.drop_tree()
        elif part.tag == "header":
            if not any(parent.tag in ("article", "main") for parent in part.iterancestors()):
                part.drop_tree()
        elif _FURNITURE_NAME.search(f"{part.get('id', '')} {part.get('class', '')}") and not any(
            True for _ in part.iter("h1", "article", "main")
        ):
            part.drop_tree()


def _own_urls(tree: HtmlElement, address: str | None) -> list[SplitResult]:
    """Return the URLs that a page declares as its own."""
    urls = tree.xpath("//link[@rel='canonical']/@href | //meta[@property='og:url']/@content")
    return [_split(str(url)) for url in (address or "", *urls)]


def _linked_site(tree: HtmlElement, root: Path) -> list[SplitResult]:
    """Return the URL of the site, without a path, for a page with absolute links to other files in its folder."""
    urls = [url for link in tree.iter("a") if (url := _split(link.get("href", ""))).scheme in ("http", "https")]
    hosts = Counter(url.netloc for url in urls).most_common(MAX_TRIED_HOSTS)
    for host, _ in hosts:
        paths = dict.fromkeys(url.path.strip("/") for url in urls if url.netloc == host)
        for path in [path for path in paths if path][:MAX_TRIED_LINKS]:
            shorter = path.partition("/")[2]  # the site may have a base path
            if any(_is_page(root, unquote(candidate)) for candidate in (path, shorter) if candidate):
                return [SplitResult("https", host, "", "", "")]
    return []


def _is_page(root: Path, path: str) -> bool:
    try:
        return (root / path).is_file() or (root / path / "index.html").is_file() or (root / f"{path}.html").is_file()
    except (OSError, ValueError):
        return False


def _site_links(tree: HtmlElement, own_urls: list[SplitResult], address: str | None) -> dict[HtmlElement, str]:
    """Return the links of a tree to other pages of its site, with their paths and queries; not to its home page."""
    hosts = {"", *(url.netloc.lower() for url in own_urls)}
    own_paths = {"", *(INDEX_NAME.sub("", url.path).strip("/") for url in own_urls)}
    links = {}
    for link in tree.iter("a"):
        target = link.get("href") or ""
        if not target or target.startswith(("#", "mailto:", "javascript:", "tel:", "data:")):
            continue
        try:
            parts = urlsplit(urljoin(address or "/", target))
        except ValueError:
            continue
        is_same = INDEX_NAME.sub("", parts.path).strip("/") in own_paths
        if parts.netloc.lower() in hosts and not is_same and not _ASSET.search(parts.path):
            links[link] = f"{parts.path}?{parts.query}#{parts.fragment}"
    return links


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _words(element: HtmlElement) -> int:
    return len(_WORD.findall(element.text_content()))


def _is_linked(heading: HtmlElement, links: dict[HtmlElement, str]) -> bool:
    """Return whether a heading is a link to a page, not to a part of it, around nearly all of its words."""
    around = [link for link in heading.iterancestors("a") if link in links]
    within = [link for link in heading.iter("a") if links.get(link, "#part").endswith("#")]
    return bool(around) or sum(map(_words, within)) >= MIN_LINKED_HEADING * _words(heading)


def _entries(main: HtmlElement, headings: list[HtmlElement]) -> list[list[HtmlElement]]:
    """Return the elements of each entry: the largest one around its heading alone, or the heading and what follows."""
    # An h1 that is no link belongs to no entry.
    bounds = dict.fromkeys([*headings, *main.iter("h1")])
    counts = Counter(parent for heading in bounds for parent in (heading, *heading.iterancestors()))
    entries = []
    for heading in headings:
        top = heading
        while top is not main and counts[top.getparent()] == 1:
            top = top.getparent()
        entry = [top]
        if top is heading:
            for part in top.itersiblings():
                if counts[part]:
                    break
                entry.append(part)
        entries.append(entry)
    return entries
