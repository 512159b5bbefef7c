"""Records of the pages in an export of Medium, which are marked up with microformats (h-entry)."""

import re
from pathlib import PurePosixPath
from typing import Any

from lxml.html import HtmlElement

from recommender.sources import markup

_DRAFT_NAME = re.compile(r"draft_", re.I)


def medium_record(tree: HtmlElement, name: str) -> dict[str, Any] | None:
    """Return the record of a page of an export, for `record.record_entry`; None for any other page.

    Args:
        tree: the page.
        name: the path of its file; the names of drafts begin with "draft_".
    """
    article = next(iter(tree.xpath("//article[contains(@class, 'h-entry')]")), None)
    footer = next(article.iter("footer"), None) if article is not None else None
    if article is None or footer is None or "Exported from Medium" not in " ".join(footer.text_content().split()):
        return None
    body = _part(article, "e-content")
    if body is None:
        return None
    title = _words(_part(article, "p-name"))
    for heading in list(body.iter("h1", "h2", "h3"))[:1]:  # Medium repeats the title in the text
        if _words(heading) == title and heading.getparent() is not None:
            heading.drop_tree()
    canonical, published = _part(footer, "p-canonical"), _part(footer, "dt-published")
    url = canonical.get("href") if canonical is not None else None
    related = markup.take_related(body, lambda link: markup.absolute_url(url, link))
    links = markup.link_targets(body, lambda link: markup.absolute_url(url, link))
    markup.drop_non_text(body)
    is_draft = published is None or bool(_DRAFT_NAME.match(PurePosixPath(name).name))
    fields = {
        "url": url,
        "title": title,
        "text": markup.text_of(body),
        "published": published.get("datetime") if published is not None else None,
        "author": _words(_part(footer, "p-author")),
        "excerpt": _words(_part(article, "p-summary")),
        "tags": [_words(tag) for tag in article.xpath(".//*[contains(@class, 'p-tag')]")],
        "status": "draft" if is_draft else None,
        "related": list(related),
        "links": [link for link in links if link not in related],
    }
    return {name: value for name, value in fields.items() if value}


def _part(element: HtmlElement, name: str) -> HtmlElement | None:
    """Return the first descendant with a class."""
    parts = element.xpath(f".//*[contains(concat(' ', normalize-space(@class), ' '), ' {name} ')]")
    return parts[0] if parts else None


def _words(element: HtmlElement | None) -> str:
    return " ".join(element.text_content().split()) if element is not None else ""
