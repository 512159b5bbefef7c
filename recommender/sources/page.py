"""HTML pages, one article per file: trafilatura extracts the article from its page."""

import logging
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import langcodes
import trafilatura
from lxml import etree
from lxml.html import HtmlElement
from trafilatura.xml import xmltotxt

from recommender.sources import markup, record
from recommender.sources.entry import MAX_MARKUP_BYTES, Entry, File, decode
from recommender.sources.site import on_site, page_address
from recommender.text.clean import normalise_title
from recommender.text.dates import numeric_dates, parse_date

_DATES = {"outputformat": "%Y-%m-%dT%H:%M:%S%z", "original_date": True, "extensive_search": False}
_OPENING = 40  # characters of a text by which its beginning is found in the page
_NEAR = 300  # characters before and after it, in which a date is that of the page
_SITE = re.compile(r"\s*[|»·:–—-]\s.{1,80}")  # what follows a headline in the title of a page
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # unreadable pages are reported here, with the file
logging.getLogger("htmldate").setLevel(logging.CRITICAL)


def read(file: File) -> Iterator[Entry]:
    """Read one page."""
    content = file.read_article_bytes(MAX_MARKUP_BYTES)
    if isinstance(content, Entry):
        yield content
        return
    try:
        fields = page_record(decode(content), file)
    except Exception as error:  # a library for pages of all kinds, which raises what its parts raise
        problem = f"the page cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        yield Entry(file.name, id=file.url or file.id, problems=(problem,))
        return
    if fields is None:
        problem = "the page holds no article: it has no text beside menus, lists and forms"
        yield Entry(file.name, id=file.url or file.id, problems=(problem,))
        return
    yield record.record_entry(file.name, fields, id=file.id, fields=file.fields, html=False)


def page_record(html: str, file: File) -> dict[str, Any] | None:
    """Return the record of a page; None if it contains no article."""
    tree = markup.parse_html(html)
    if tree is None:
        return None
    url = _url(tree, file)
    address = url or page_address(file.id)
    related = markup.take_related(tree, lambda link: on_site(address, link))
    for part in list(tree.iter("pre")):
        if part.getparent() is not None:
            part.drop_tree()
    language = _language(tree)
    extracted = trafilatura.bare_extraction(
        tree,
        url=url if url and url.startswith("http") else None,
        with_metadata=True,
        include_comments=False,
        include_links=True,
        date_extraction_params=dict(_DATES),
    )
    if extracted is None or isinstance(extracted, dict) or extracted.body is None:
        return None
    links = [on_site(address, link.get("target") or "") for link in extracted.body.iter("ref")]
    title = _title(extracted.title or "", tree)
    text = _text(extracted.body)
    if not text:
        return None
    published = parse_date(extracted.date) if extracted.date else None
    if published and not _is_told(published, tree, text, url or ""):
        published = None
    first, _, below = text.partition("\n")
    if normalise_title(first) in (normalise_title(title), normalise_title(extracted.title or "")):
        text = below
    metadata = {
        name: value
        for name, value in (
            ("author", extracted.author),
            ("excerpt", extracted.description),
            ("image", extracted.image),
            ("site", extracted.sitename),
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
    """Return the address that a page gives as its own, or that it was fetched from."""
    for link in tree.xpath("//link[@rel='canonical']/@href | //meta[@property='og:url']/@content"):
        whole = on_site(file.url, str(link).strip())
        try:
            parts = urlsplit(whole or "")
        except ValueError:
            continue
        # The address of the home page on every page is a mistake that sites make.
        if parts.scheme in ("http", "https") and (parts.path.strip("/") or parts.query or file.id == "index.html"):
            return whole
    return file.url


def _text(body: Any) -> str:
    """Return the words of an article as trafilatura has it, without the marks that it writes for links and tables."""
    etree.strip_tags(body, "ref", "table", "row")
    for cell in body.iter("cell"):
        cell.tag = "p"
    lines = (" ".join(line.split()) for line in xmltotxt(body, include_formatting=False).split("\n"))
    return "\n".join(line for line in lines if line)


def _title(title: str, tree: HtmlElement) -> str:
    """Return a title without the name of the site, if a heading of the page shows where it ends."""
    for heading in tree.iter("h1"):
        words = " ".join(heading.text_content().split())
        if 1 < len(words) < len(title) and _SITE.fullmatch(title.removeprefix(words)) and title.startswith(words):
            return words
    return title


def _is_told(published: datetime, tree: HtmlElement, text: str, url: str) -> bool:
    """Return whether a page declares this day as its own, and does not just mention it in its text."""
    xpath = "//head/meta/@content | //script[contains(@type, 'ld+json')]/text() | //time/@* | //abbr/@title"
    day = f"{published.year}[-/.]?0?{published.month}[-/.]?0?{published.day}(?!\\d)"
    if re.search(day, " ".join([url, *tree.xpath(f"{xpath} | //*[@itemprop or @pubdate]/@*")])):
        return True
    whole = " ".join(tree.text_content().split())
    first = next((line for line in text.split("\n") if len(line) >= _OPENING), text)  # a paragraph, and no byline
    start = whole.find(first[:_OPENING])
    if start < 0:
        return False
    near = whole[max(0, start - _NEAR) : start + _NEAR]
    days = [days for days in numeric_dates(near) if published.date() in days]
    # htmldate takes 03/04/2021 for 3 April.
    return any(len(readings) == 1 for readings in days) if days else str(published.year) in near


def _language(tree: HtmlElement) -> str | None:
    root = tree.getroottree().getroot()
    declared = root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang") or root.get("xml:lang") or ""
    meta_tags = tree.xpath("//meta[@property='og:locale']/@content | //meta[@http-equiv='content-language']/@content")
    for language in (declared, *meta_tags):
        tag = language.strip().replace("_", "-")
        if tag and langcodes.tag_is_valid(tag):
            return str(tag)
    return None
