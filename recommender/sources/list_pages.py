"""Recognition of the pages of a site that are no articles: list pages, pages for errors and search, and redirects.

A list page (home, tag, category, author, archive, page 2 of them) repeats the titles and beginnings of articles. Signs
are added up, since each of them occurs on articles too: what the page declares (structured data, classes of a theme),
its address, its title, and how much of its text belongs to links to other pages of the site.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lxml.html import HtmlElement

from recommender.sources import markup
from recommender.sources.entry import decode
from recommender.sources.generators.base import ERROR_PAGE, LIST_PAGE
from recommender.sources.page_words import INDEX_NAME, MIN_ENTRIES, PageWords, count_page_words
from recommender.sources.structured_data import ARTICLE_TYPES, json_ld_nodes, node_types

MIN_SCORE = 3  # points that make a page a list page
MIN_LINKS = 3  # of a page whose share of linked words counts
MAX_OWN_WORDS = 25  # of a page without a text of its own
MAX_INTRODUCTION_WORDS = 60  # above a list of links
MIN_ARTICLE_WORDS = 120  # outside links and entries, that make an article probable
MAX_LISTED_SHARE = 0.5  # of the words of an article that may belong to links and entries
MAX_REDIRECT_SECONDS = 10
MAX_STATUS_PAGE_WORDS = 120
MAX_HOME_BYTES = 2**18
REDIRECT, NOINDEX = "redirect", "noindex"  # values of Entry.excluded

# Types of schema.org.
_LIST_TYPES = {"CollectionPage", "SearchResultsPage", "Blog", "ItemList", "ProfilePage", "ImageGallery", "MediaGallery"}
# Classes that WordPress, Ghost, Drupal, Docusaurus, Blogger, Hugo themes and others give to a page as a whole.
_LIST_CLASS = re.compile(
    r"(?:archive|category|tag|author|search|search-results|paged|date|tax-\S+|post-type-archive|term-\S+|"
    r"home-template|tag-template|author-template|home|home-page|homepage|is-home|front-page|path-frontpage|list|list-page|"
    r"page-taxonomy\S*|path-taxonomy|taxonomy|index-page|archive-page|blog-list-page|blog-tags-\S+|blog-authors-\S+|"
    r"blog-archive-page|docs-tags?-\S+|docs-category-generated-index-page|tags?-page|category-page|archives)",
    re.I,
)
_ARTICLE_CLASS = re.compile(
    r"(?:single|single-\S+|postid-\d+|post-template|page-template|page-id-\d+|node-?type-\S+|page-node-type-\S+|"
    r"blog-post-page|docs-doc-page|post-page|is-article|item)",
    re.I,
)
_LIST_FOLDERS = {
    *("tag", "tags", "category", "categories", "kategorie", "kategorien", "categorie", "categoria", "catégorie"),
    *("categorías", "author", "authors", "label", "labels", "schlagwort", "etiqueta", "etiquetas"),
}
_LIST_NAMES = _LIST_FOLDERS | {"archive", "archives", "archiv", "search", "suche", "recherche", "sitemap"}
_PAGE_NUMBER = re.compile(
    r"(?:^|/)(?:pages?|seite|pagina|página)/?[-_]?\d+(?:\.html?|/|/index\.html?)?$|/index-?\d+\.html?$", re.I
)
_PAGE_PARAMETER = re.compile(r"(?:^|&)(?:page|paged|pg|start|offset)=\d+(?:&|$)", re.I)
_DATE_PATH = re.compile(r"(?:^|/)(?:19|20)\d\d(?:/\d\d){0,2}(?:/|\.html?|/index\.html?)?$")
_ERROR_NAME = re.compile(r"(?:^|/)(?:404|50\d|not-?found)(?:\.html?|/|/index\.html?)$", re.I)
_ERROR_TITLE = re.compile(
    r"(?:error|fehler|erreur|http)\W*404\b|\b404\b.{0,12}(?:error|not found)|^\W*404\W*(?:$|[|–—-])|"
    r"(?:page|seite|file|document)\s+(?:was |wurde )?(?:not|nicht)\s+(?:be\s+)?(?:found|gefunden)|"
    r"page (?:introuvable|non trouvée)|página no encontrada|pagina non trovata|nothing found|страница не найдена|"
    r"页面未找到|ページが見つかりません",
    re.I,
)
# Indexes that documentation generators (Sphinx, Javadoc, Doxygen) write; the second kind of name occurs elsewhere too.
_INDEX_FILE = re.compile(
    r"(?:^|/)(?:genindex(?:-\w+)?|\w+-modindex|modindex|index-all|all(?:classes|packages)\S*|constant-values|"
    r"overview-\w+|package-tree|namespacemembers\w*|functions_\w+|globals_\w+)\.html?$"
)
_CONTENTS_FILE = re.compile(
    r"(?:^|/)(?:search|contents|indices|annotated|classes|files|functions|globals|hierarchy|inherits|modules|namespaces|"
    r"pages|deprecated-list|help-doc)\.html?$"
)
_LIST_HEADING = re.compile(
    r"(?:all |recent |latest )?(?:posts|articles|entries|tags|categories|archives?|topics|authors)(?: list| index)?|"
    r"index|search(?: page| results.*)?|(?:python )?module index|(?:table of )?contents|site ?map|"
    r"(?:tag|category|author|archives?)\s*[:“\"'‘].*|"
    r"(?:posts?|entries|articles|archives?) (?:tagged|by|in|from|for) .*|"
    r"schlagw(?:ort|örter)|kategorien?|archiv|suche|alle beiträge|étiquettes|catégories|archives|recherche|etiquetas|"
    r"categorías|archivos?|buscar|tags|categorias|arquivos?|categorie|archivi?o?|标签|分类|归档|標籤|分類|歸檔|タグ|カテゴリー?",
    re.I,
)
_REFRESH = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:[;,]\s*url\s*=\s*(.+))?", re.I | re.S)


@dataclass(slots=True)
class _Signs:
    """The signs of one page, with points; positive ones of a list page, negative ones of an article."""

    points: float = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, points: float, reason: str = "") -> None:
        self.points += points
        if reason:
            self.reasons.append(reason)


def exclusion(
    tree: HtmlElement, address: str | None, root: Path | None, *, is_home: bool = False
) -> tuple[str, str] | None:
    """Return why a page is no article: a value of `Entry.excluded` and a clause with the signs; None for an article.

    Args:
        tree: the page, which is not changed.
        address: its URL or the path of it.
        root: the folder of the source, whose home page is compared; None for a page that was fetched.
        is_home: whether it is the home page, whatever its address.
    """
    path = unquote(urlsplit(address or "").path)
    if target := _redirect_target(tree):
        return REDIRECT, f"it is a redirect to {target!r}"
    if _is_noindex(tree):
        return NOINDEX, "its robots tag is noindex, which keeps it from search engines"
    words = count_page_words(tree, address, root)
    if reason := _error_reason(tree, path, words):
        return ERROR_PAGE, reason
    signs = _Signs()
    _add_declared_signs(signs, tree)
    _add_address_signs(signs, "/" if is_home else path, urlsplit(address or "").query)
    _add_title_signs(signs, tree, path, root)
    _add_text_signs(signs, words)
    if signs.points < MIN_SCORE or not signs.reasons:
        return None
    return LIST_PAGE, f"it is a list page: {', '.join(signs.reasons)}"


def _redirect_target(tree: HtmlElement) -> str:
    """Return the target of a page that only redirects; an empty text for any other page."""
    for meta in tree.xpath("//meta[translate(@http-equiv, 'REFSH', 'refsh') = 'refresh']/@content"):
        match = _REFRESH.match(str(meta))
        if match and match[2] and float(match[1]) <= MAX_REDIRECT_SECONDS:
            return match[2].strip(" '\"")
    return ""


def _is_noindex(tree: HtmlElement) -> bool:
    directives = tree.xpath("//meta[translate(@name, 'ROBTSGLE', 'robtsgle') = 'robots']/@content")
    return any({"noindex", "none"} & set(re.split(r"[\s,]+", str(value).lower())) for value in directives)


def _error_reason(tree: HtmlElement, path: str, words: PageWords) -> str:
    """Return a clause for a page that a server sends with an error; an empty text for any other page."""
    titles = [*tree.xpath("//title/text()")[:1], *(heading.text_content() for heading in tree.iter("h1"))]
    has_title = any(_ERROR_TITLE.search(str(title)) for title in titles)
    has_class = "error404" in _page_classes(tree)
    if has_class or (_ERROR_NAME.search(path) and (has_title or words.own_words < MAX_STATUS_PAGE_WORDS)):
        return "it is the page that a server sends for a missing page"
    is_short = words.own_words + words.linked_words + words.entry_words < MAX_STATUS_PAGE_WORDS
    return "its title is that of a missing page, and it is short" if has_title and is_short else ""


def _page_classes(tree: HtmlElement) -> set[str]:
    """Return the classes of the page as a whole."""
    return set(" ".join(tree.xpath("//html/@class | //body/@class | //body/@id | //main/@class")).split())


def _add_declared_signs(signs: _Signs, tree: HtmlElement) -> None:
    """Add what a page declares: its structured data, og:type and the classes of its theme."""
    types = set(_structured_types(tree))
    if listed := sorted(types & _LIST_TYPES):
        signs.add(3 if listed[0] in ("CollectionPage", "SearchResultsPage") else 1.5, f"structured data {listed[0]!r}")
    is_article = any(map(ARTICLE_TYPES.fullmatch, types)) or bool(
        tree.xpath("//meta[@property='og:type' and @content='article'] | //meta[@property='article:published_time']")
    )
    classes = _page_classes(tree)
    if listed := sorted(filter(_LIST_CLASS.fullmatch, classes)):
        signs.add(2, f"class {listed[0]!r}")
    if is_article:
        signs.add(-2)
    if any(map(_ARTICLE_CLASS.fullmatch, classes)):
        signs.add(-2)


def _structured_types(tree: HtmlElement) -> Iterator[str]:
    """Yield the types of schema.org that a page declares for itself, not for its parts."""
    for node in json_ld_nodes(tree):
        yield from node_types(node)
    # An article in microdata may be the only entry of a list, so only lists count there.
    kinds = {str(kind).rpartition("/")[2] for kind in tree.xpath("//*[not(ancestor::*[@itemscope])]/@itemtype")}
    yield from kinds & _LIST_TYPES


def _add_address_signs(signs: _Signs, path: str, query: str) -> None:
    """Add the signs of the URL of a page."""
    clean = INDEX_NAME.sub("", path)
    parts = [part.lower() for part in clean.split("/") if part]
    if not parts:
        signs.add(2, "the address of a home page")
    elif _PAGE_NUMBER.search(clean) or _PAGE_PARAMETER.search(query):
        signs.add(3, f"the address {path!r} with the number of a page")
    elif _INDEX_FILE.search(clean):
        signs.add(MIN_SCORE + 2, f"the address {path!r} of a generated index")
    elif _CONTENTS_FILE.search(clean):
        signs.add(2, f"the address {path!r} of a table of contents or a search")
    elif _DATE_PATH.search(clean):
        signs.add(3 if {"archive", "archives"} & set(parts) else 2, f"the address {path!r} of a period")
    elif re.sub(r"\.\w+$", "", parts[-1]) in _LIST_NAMES or _LIST_FOLDERS & set(parts[-2:-1]):
        signs.add(2, f"the address {path!r} of a list")


def _add_title_signs(signs: _Signs, tree: HtmlElement, path: str, root: Path | None) -> None:
    """Add a sign for a title that is only the name of the site, as on its home page and on page 2 of it."""
    title = _title(tree)
    site = " ".join(map(str, tree.xpath("//meta[@property='og:site_name']/@content")[:1])).strip()
    if title and title in (site, _home_title(root) if root is not None else ""):
        signs.add(1, f"the title of the site, {title!r}")
    headings = (" ".join(heading.text_content().split()) for heading in tree.iter("h1", "h2"))
    if heading := next((text for text in headings if _LIST_HEADING.fullmatch(text)), ""):
        signs.add(1, f"the heading {heading!r}")


def _title(tree: HtmlElement) -> str:
    return " ".join(str(next(iter(tree.xpath("//head/title/text()")), "")).split())


@lru_cache(maxsize=64)
def _home_title(root: Path) -> str:
    """Return the title of the home page of a folder; an empty text without one."""
    try:
        with (root / "index.html").open("rb") as file:
            tree = markup.parse_html(decode(file.read(MAX_HOME_BYTES)))
    except OSError:
        return ""
    return _title(tree) if tree is not None else ""


def _add_text_signs(signs: _Signs, words: PageWords) -> None:
    """Add how much of the text belongs to entries and links."""
    total = words.own_words + words.linked_words + words.entry_words
    listed = (words.linked_words + words.entry_words) / total if total else 0.0
    is_one_entry = words.entries == 1 and words.starts_with_entry
    if words.entries >= MIN_ENTRIES and words.entry_words > words.own_words:
        signs.add(2 if words.entries > MIN_ENTRIES else 1, f"{words.entries} entries with a link each")
    elif is_one_entry:
        signs.add(1, "one entry with a link")
    if words.links >= MIN_LINKS and listed >= 0.6:
        signs.add(
            1 + (listed >= 0.7) + (words.own_words < MAX_INTRODUCTION_WORDS),
            f"{round(100 * listed)} % of its words in links and entries",
        )
    if words.own_words < MAX_OWN_WORDS:
        signs.add(1, f"{words.own_words} words of its own")
    if words.is_numbered:
        signs.add(1, "links to further pages of a list")
    if words.own_words >= MIN_ARTICLE_WORDS and listed < MAX_LISTED_SHARE and not is_one_entry:
        signs.add(-2)
