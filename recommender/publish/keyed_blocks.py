"""Blocks by the keys of their articles, as the output formats write them."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from recommender.article import ArticleSummary, Recommendation
from recommender.errors import RecommenderError
from recommender.publish.addresses import Addresses
from recommender.publish.link_check import LinkCheck
from recommender.publish.paths import page_path
from recommender.system.seen_ids import ACCEPTED, SeenIds
from recommender.text.urls import normalise_url

Block = tuple[ArticleSummary, list[Recommendation]]
FIELDS = ("id", "title", "url", "published", "section", "score", "via")  # of every link
MAX_REPORTED = 10  # articles with the same problem that are reported one by one


@dataclass(slots=True)
class KeyedBlocks:
    """Blocks by unique keys. Iterate once; the counts are complete at the end.

    Iterating raises RecommenderError if there are articles and none has a key.

    Attributes:
        blocks: the blocks, in the order of the articles' ids.
        key: "id", "url", "path", or the name of a site generator, whose page path is the key (see `page_path`).
        fields: additional fields of a link: names of its metadata, and `tags`.
        on_problem: called with a sentence for each omitted block or missing field.
        addresses: the rules for the urls of articles and links.
        link_check: collects the links, to compare their urls with the site's output; None for no comparison.
        count: the number of blocks with a unique key.
        links: the number of their links.
        linked: the number of links with a url.
        repeated: the number of links to the url of an earlier link of the block, or of the block's own article.
        empty: the number of blocks without a link.
        keyless: the number of articles without a url or path, and so without a key.
        duplicates: the number of articles with the key of an earlier one.
    """

    blocks: Iterable[Block]
    key: str
    fields: Sequence[str]
    on_problem: Callable[[str], None]
    addresses: Addresses = field(default_factory=Addresses)
    link_check: LinkCheck | None = None
    count: int = 0
    links: int = 0
    linked: int = 0
    repeated: int = 0
    empty: int = 0
    keyless: int = 0
    duplicates: int = 0
    _unused_fields: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[tuple[str, ArticleSummary, list[Recommendation]]]:
        """Yield key, article and links."""
        self._unused_fields = set(self.fields)
        seen_keys = SeenIds()
        for summary, block in self.blocks:
            article = self.addresses.addressed(summary)
            key = self._key(article)
            if key is None:
                self.keyless += 1
                continue
            # Ids are unique.
            if self.key != "id" and (first := seen_keys.record(key, article.id, ACCEPTED)):
                self.duplicates += 1
                if self.duplicates <= MAX_REPORTED:
                    self.on_problem(
                        f"The block of {article.id!r} is left out: {first!r} has the same {self._key_label()}, {key!r}."
                    )
                continue
            links = [self.addresses.addressed(link) for link in block]
            self.count += 1
            self.links += len(links)
            self.empty += not links
            if self.link_check:
                self.link_check.add(links)
            pages = [normalise_url(link.url) or link.url for link in links if link.url is not None]
            self.linked += len(pages)
            page_keys = {normalise_url(article.url) or article.url} if article.url else set()
            self.repeated += len(pages) - len(set(pages) - page_keys)
            if self._unused_fields:
                self._unused_fields -= {
                    name for link in links for name in self.fields if link_field(link, name) is not None
                }
            yield key, article, links
        self._report_totals()

    def record(self, link: Recommendation) -> dict[str, Any]:
        """Return a link as a JSON object; missing fields are None."""
        record = {
            "id": link.id,
            "title": link.title,
            "url": link.url,
            "published": link.published.isoformat() if link.published else None,
            "section": link.section,
            "score": round(link.score, 2),
            "via": link.via,
        }
        return record | {name: link_field(link, name) for name in self.fields}

    def _key(self, article: ArticleSummary) -> str | None:
        if self.key == "id":
            return article.id
        return article.url if self.key == "url" or article.url is None else page_path(article.url, self.key)

    def _key_label(self) -> str:
        return "url" if self.key == "url" else "path"

    def _report_totals(self) -> None:
        """Report omitted blocks beyond the first, and fields that no link has; raise if no article has a key."""
        if self.keyless and not self.count:
            raise RecommenderError(
                "No article has a url, so no block has a key, and nothing was written. Give the articles their "
                "addresses with --map url=... in the build, or with --url-template."
            )
        if self.duplicates > MAX_REPORTED:
            self.on_problem(
                f"... and {self.duplicates - MAX_REPORTED:,} more blocks that are left out for the same reason."
            )
        for name in self.fields:
            if name in self._unused_fields and self.links:
                self.on_problem(f"No link has the field {name!r}.")


def link_field(link: Recommendation, name: str) -> Any:
    """Return an additional field of a link; None if it is missing."""
    return list(link.tags) or None if name == "tags" else link.metadata.get(name)


def as_text(value: Any) -> str:
    """Return a string unchanged and any other value as JSON, for table columns of one type."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def utc(date: datetime | None) -> datetime | None:
    """Return a date in UTC; a date that UTC cannot represent with its time unchanged."""
    try:
        return date.astimezone(UTC) if date else None
    except OverflowError:  # the first or the last day of the calendar
        return date.replace(tzinfo=UTC) if date else None
