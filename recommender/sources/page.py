"""HTML pages, one article a file: trafilatura tells the article from what stands around it."""

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import langcodes
import trafilatura
from lxml.html import HtmlElement
from trafilatura.xml import xmltotxt

from recommender.article import parse_date
from recommender.sources import markup, record
from recommender.sources.entry import Entry, File, decode
from recommender.sources.site import address, on_site

_DATES = {"outputformat": "%Y-%m-%dT%H:%M:%S%z", "original_date": True, "extensive_search": False}
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # what it cannot read is told here, with its file
logging.getLogger("htmldate").setLevel(logging.CRITICAL)


def read(file: File) -> Iterator[Entry]:
    """Read one page."""
    content = file.whole()
    if isinstance(content, Entry):
        yield content
        return
    found = page_record(decode(content), file)
    if found is None:
        problem = "the page holds no article: it has no text beside menus, lists and forms"
        yield Entry(file.name, id=file.url or file.id, problems=(problem,))
        return
    yield record.entry(file.name, found, id=file.id, fields=file.fields)


def page_record(html: str, file: File) -> dict[str, Any] | None:
    """Return what a page says as a record; None if it holds no article."""
    tree = markup.parse(html)
    if tree is None:
        return None
    url = _url(tree, file)
    place = url or address(file.id)
    related = markup.take_related(tree, lambda link: on_site(place, link))
    for part in list(tree.iter("pre")):
        if part.getparent() is not None:
            part.drop_tree()
    language = _language(tree)
    try:
        found = trafilatura.bare_extraction(
            tree,
            url=url if url and url.startswith("http") else None,
            with_metadata=True,
            include_comments=False,
            include_links=True,
            date_extraction_params=dict(_DATES),
        )
    except Exception:  # a library for pages of all kinds, which raises what its parts raise
        found = None
    if found is None or isinstance(found, dict) or found.body is None:
        return None
    links = []
    for link in list(found.body.iter("ref")):
        links.append(on_site(place, link.get("target") or ""))
        link.attrib.clear()
    text = xmltotxt(found.body, include_formatting=False)
    if not text.strip():
        return None
    lines = text.split("\n")
    if lines and found.title and " ".join(lines[0].split()) == " ".join(found.title.split()):
        text = "\n".join(lines[1:])
    metadata = {
        name: value
        for name, value in (
            ("author", found.author),
            ("excerpt", found.description),
            ("image", found.image),
            ("site", found.sitename),
        )
        if value
    }
    return {
        "id": None if url else file.id,
        "url": place,
        "title": found.title or "",
        "text": text,
        "published": parse_date(found.date) if found.date else None,
        "section": next(iter(found.categories or ()), None),
        "tags": [part.strip() for tag in found.tags or () for part in tag.split(",") if part.strip()],
        "language": language,
        "related": [link for link in related if link != place],
        "links": [link for link in dict.fromkeys(links) if link and link not in (*related, place)],
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


def _language(tree: HtmlElement) -> str | None:
    root = tree.getroottree().getroot()
    given = root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang") or root.get("xml:lang") or ""
    given = given.strip().replace("_", "-")
    return given if given and langcodes.tag_is_valid(given) else None
