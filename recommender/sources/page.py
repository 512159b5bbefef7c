"""Reader for HTML pages, one article per file; trafilatura extracts the article."""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import langcodes
import trafilatura
from lxml import etree
from lxml.html import HtmlElement
from trafilatura.xml import xmltotxt

from recommender.sources import list_pages, markup, notion, record, structured_data
from recommender.sources.consent import drop_consent_banners
from recommender.sources.entry import MAX_MARKUP_BYTES, Entry, File, decode
from recommender.sources.front_matter import begins_with_fence
from recommender.sources.generators.base import TEMPLATE
from recommender.sources.medium import medium_record
from recommender.sources.site import on_site
from recommender.text.clean import normalise_title
from recommender.text.dates import numeric_dates, parse_date

_DATE_EXTRACTION_PARAMS = {"outputformat": "%Y-%m-%dT%H:%M:%S%z", "original_date": True, "extensive_search": False}
_OPENING_CHARS = 40  # of the article's text, searched for in the whole page to locate the article
_DATE_DISTANCE_CHARS = 300  # between the start of the article and a date that counts as its own
_TEMPLATE_TAG = re.compile(r"(?:\s|<!--.*?-->)*+\{[%{#]", re.S)  # of Jinja, Liquid, Go or Handlebars
_SITE_NAME = re.compile(r"\s*[|»·:–—-]\s.{1,80}")  # after the headline in the title of a page
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # this module reports unreadable pages, with the file
logging.getLogger("htmldate").setLevel(logging.CRITICAL)


def read(file: File) -> Iterator[Entry]:
    """Read one page; an unreadable page yields an Entry with the problem."""
    content = file.read_article_bytes(MAX_MARKUP_BYTES)
    if isinstance(content, Entry):
        yield content
        return
    text = decode(content)
    is_source = file.site is not None and file.site.html_is_source
    if is_source or begins_with_fence(text):  # a template of a site generator, not yet the page
        from recommender.sources import markdown  # noqa: PLC0415 - few pages have front matter

        yield from markdown.read_text(text, file)
        return
    page = file.page({})
    if not page.excluded and _TEMPLATE_TAG.match(text):
        page = replace(page, excluded=TEMPLATE)
    if page.excluded:
        yield file.excluded_entry(page)
        return
    tree = markup.parse_html(text)
    if tree is not None and (parts := notion.split_html(tree)):
        from recommender.sources import markdown  # noqa: PLC0415 - few pages are of Notion

        yield markdown.read_parts(parts, file)
        return
    if tree is not None and (exported := medium_record(tree, file.id)):
        yield record.record_entry(file.name, exported, id=file.id, fields=file.fields, html=False)
        return
    try:
        if tree is not None:
            _apply_base(tree)
            drop_consent_banners(tree)
        excluded = _exclusion_entry(tree, file) if tree is not None else None
        fields = page_record(tree, file) if tree is not None and excluded is None else None
    except Exception as error:  # trafilatura passes on any error of the libraries that it uses
        problem = f"the page cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        yield Entry(file.name, id=file.url or file.id, problems=(problem,))
        return
    if excluded is not None:
        yield excluded
        return
    if fields is None:
        problem = "the page contains no article: it has no text outside menus, lists and forms"
        yield Entry(file.name, id=file.url or file.id, problems=(problem,))
        return
    yield record.record_entry(file.name, fields, id=file.id, fields=file.fields, html=False)


def _apply_base(tree: HtmlElement) -> None:
    """Resolve the links of a page against its `<base href>`; links within the page stay as they are."""
    base = next((str(href).strip() for href in tree.xpath("//base/@href")), "")
    for link in tree.iter("a", "link") if base else ():
        if (href := link.get("href", "").strip()) and not href.startswith("#"):
            link.set("href", markup.absolute_url(base, href) or href)


def _exclusion_entry(tree: HtmlElement, file: File) -> Entry | None:
    """Return the Entry of a page that is no article, such as a list page; None for an article."""
    url, address = _url(tree, file), file.url or file.page({}).url
    # A redirect or the second page of a list may declare the URL of another page.
    is_own = bool(url) and (bool(file.url) or _path(url or "").endswith(_path(address or "")))
    own_url = url if is_own else address
    # The root of a site with a base path; an article that is read alone has a longer path.
    is_home = file.url is None and file.id == "index.html" and len(_path(own_url or "").strip("/").split("/")) == 1
    exclusion = list_pages.exclusion(tree, own_url, None if file.url else file.root, is_home=is_home)
    if exclusion is None:
        return None
    reason, problem = exclusion
    return Entry(file.name, id=(url if is_own else None) or file.url or file.id, problems=(problem,), excluded=reason)


def page_record(tree: HtmlElement, file: File) -> dict[str, Any] | None:
    """Return the record of a page, for `record.record_entry`; None if the page contains no article."""
    url = _url(tree, file)
    address = url or file.page({}).url
    related = markup.take_related(tree, lambda link: on_site(address, link))
    # trafilatura takes the whole page, menus included, if the article is very short.
    menus = tree.xpath("//nav | //*[@role='navigation'] | //footer[not(ancestor::article)]")
    for part in [*tree.iter("pre"), *(menu for menu in menus if next(menu.iter("h1"), None) is None)]:
        if part.getparent() is not None:
            part.drop_tree()
    language = _language(tree)
    article_date = structured_data.article_date(tree)
    expires = next(iter(tree.xpath("//meta[@property='article:expiration_time']/@content")), None)
    extracted = trafilatura.bare_extraction(
        tree,
        url=url if url and url.startswith("http") else None,
        with_metadata=True,
        include_comments=False,
        include_links=True,
        date_extraction_params=dict(_DATE_EXTRACTION_PARAMS),
    )
    if extracted is None or isinstance(extracted, dict) or extracted.body is None:
        return None
    links = [on_site(address, link.get("target") or "") for link in extracted.body.iter("ref")]
    title = _title(extracted.title or "", tree)
    text = _text(extracted.body)
    if not text:
        return None
    published = parse_date(extracted.date) if extracted.date else None
    # Beside the article, JSON-LD may describe the site or an organisation, with a date of its own.
    if (date := parse_date(article_date)) and not tree.xpath("//meta[@property='article:published_time']"):
        published = date
    if published and not _declares_date(published, tree, text, url or ""):
        published = None
    first, _, remainder = text.partition("\n")
    if normalise_title(first) in (normalise_title(title), normalise_title(extracted.title or "")):
        text = remainder
    metadata = {
        name: value
        for name, value in (
            ("author", extracted.author),
            ("excerpt", extracted.description),
            ("image", extracted.image),
            ("site", extracted.sitename),
            ("expires", expires),
        )
        if value
    }
    return {
        "id": None if url else file.id,
        "url": address,
        "title": title,
        "text": text,
        "published": published,
        "section": next(iter(extracted.categories or ()), None),
        "tags": [part.strip() for tag in extracted.tags or () for part in tag.split(",") if part.strip()],
        "language": language,
        "related": [link for link in related if link != address],
        "links": [link for link in dict.fromkeys(links) if link and link not in (*related, address)],
        **metadata,
    }


def _url(tree: HtmlElement, file: File) -> str | None:
    """Return the canonical URL that a page declares, else the URL that it was fetched from."""
    for link in tree.xpath("//link[@rel='canonical']/@href | //meta[@property='og:url']/@content"):
        absolute_link = on_site(file.url, str(link).strip())
        try:
            parts = urlsplit(absolute_link or "")
        except ValueError:
            continue
        # Some sites declare the URL of their home page on every page by mistake.
        path = re.sub(r"^index\.\w+$", "", parts.path.strip("/"))
        if parts.scheme in ("http", "https") and (path or parts.query or file.id == "index.html"):
            return absolute_link
    return file.url


def _path(url: str) -> str:
    """Return the path of a URL, decoded and without its file name if that is an index."""
    try:
        return re.sub(r"(?<=/)index\.x?html?$", "", unquote(urlsplit(url).path))
    except ValueError:
        return ""


def _text(body: Any) -> str:
    """Return the text of an article body from trafilatura, without its notation for links and tables."""
    etree.strip_tags(body, "ref", "table", "row")
    for cell in body.iter("cell"):
        cell.tag = "p"
    lines = (" ".join(line.split()) for line in xmltotxt(body, include_formatting=False).split("\n"))
    return "\n".join(line for line in lines if line)


def _title(title: str, tree: HtmlElement) -> str:
    """Return a title without the name of the site, if an h1 heading of the page equals the rest."""
    for heading in tree.iter("h1"):
        words = " ".join(heading.text_content().split())
        if 1 < len(words) < len(title) and _SITE_NAME.fullmatch(title.removeprefix(words)) and title.startswith(words):
            return words
    return title


def _declares_date(published: datetime, tree: HtmlElement, text: str, url: str) -> bool:
    """Return whether a page declares a date as its own, in metadata or near the start of the article."""
    xpath = "//head/meta/@content | //script[contains(@type, 'ld+json')]/text() | //time/@* | //abbr/@title"
    day = f"{published.year}[-/.]?0?{published.month}[-/.]?0?{published.day}(?!\\d)"
    if re.search(day, " ".join([url, *tree.xpath(f"{xpath} | //*[@itemprop or @pubdate]/@*")])):
        return True
    page_text = " ".join(tree.text_content().split())
    # A short first line may be a byline that occurs in several places.
    paragraph = next((line for line in text.split("\n") if len(line) >= _OPENING_CHARS), text)
    start = page_text.find(paragraph[:_OPENING_CHARS])
    if start < 0:
        return False
    nearby_text = page_text[max(0, start - _DATE_DISTANCE_CHARS) : start + _DATE_DISTANCE_CHARS]
    readings_per_date = [readings for readings in numeric_dates(nearby_text) if published.date() in readings]
    # An ambiguous date such as 03/04/2021 does not count: htmldate reads it as 3 April.
    if readings_per_date:
        return any(len(readings) == 1 for readings in readings_per_date)
    return str(published.year) in nearby_text


def _language(tree: HtmlElement) -> str | None:
    """Return the language tag that a page declares; None without a valid one."""
    root = tree.getroottree().getroot()
    declared = root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang") or root.get("xml:lang") or ""
    meta_tags = tree.xpath("//meta[@property='og:locale']/@content | //meta[@http-equiv='content-language']/@content")
    for language in (declared, *meta_tags):
        tag = language.strip().replace("_", "-")
        if tag and langcodes.tag_is_valid(tag):
            return str(tag)
    return None
