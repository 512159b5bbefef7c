"""Structured data of a page: JSON-LD with the vocabulary of schema.org."""

import json
import re
from collections.abc import Iterator
from typing import Any

from lxml.html import HtmlElement

ARTICLE_TYPES = re.compile(
    r"(?:\w*Article|\w*BlogPosting|\w*Posting|Report|Recipe|HowTo|Review|Course|Book|Event|Product)"
)


def json_ld_nodes(tree: HtmlElement) -> Iterator[dict[str, Any]]:
    """Yield the objects that a page describes itself with, those of a `@graph` one by one, but not their parts."""
    for script in tree.xpath("//script[contains(@type, 'ld+json')]/text()"):
        try:
            data = json.loads(str(script), strict=False)
        except (ValueError, RecursionError):
            continue
        for item in data if isinstance(data, list) else [data]:
            graph = item.get("@graph") if isinstance(item, dict) else None
            yield from (node for node in (graph if isinstance(graph, list) else [item]) if isinstance(node, dict))


def node_types(node: dict[str, Any]) -> list[str]:
    """Return the types of an object."""
    kinds = node.get("@type")
    return [str(kind) for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind]


def article_date(tree: HtmlElement) -> object:
    """Return the date of publication of the page's article in JSON-LD; None without one."""
    dates = (
        node.get("datePublished") for node in json_ld_nodes(tree) if any(map(ARTICLE_TYPES.fullmatch, node_types(node)))
    )
    return next((date for date in dates if date), None)
