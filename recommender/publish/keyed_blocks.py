"""What files hold: for each article its key and its links, with the fields that were asked for."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from recommender.article import ArticleSummary, Recommendation
from recommender.errors import RecommenderError
from recommender.publish.paths import SITES, page_path, page_url
from recommender.system.seen_ids import ACCEPTED, SeenIds

Block = tuple[ArticleSummary, list[Recommendation]]
FIELDS = ("id", "title", "url", "published", "section", "score", "via")  # of every link
MAX_REPORTED = 10  # articles of one kind that are told one by one


@dataclass(slots=True)
class KeyedBlocks:
    """Blocks by their keys, no key twice. To be read once; the counts are whole when it was.

    Reading them raises RecommenderError if there are articles and none has a key.

    Attributes:
        blocks: the blocks, in the order of the articles' ids.
        key: "id", "url", "path", or the generator whose path of a page it is (see `page_path`).
        fields: further fields of a link: of its metadata, and `tags`.
        on_problem: called with a sentence for what is left out.
        count: how many blocks there were with a key of their own.
        links: how many links they have.
        linked: how many of these have a url.
        empty: how many of the blocks have no link.
        without: how many articles have no url or path, and so no key.
        doubled: how many have a key that an article before them has.
    """

    blocks: Iterable[Block]
    key: str
    fields: Sequence[str]
    on_problem: Callable[[str], None]
    count: int = 0
    links: int = 0
    linked: int = 0
    empty: int = 0
    without: int = 0
    doubled: int = 0
    _lacking: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[tuple[str, ArticleSummary, list[Recommendation]]]:
        """Yield key, article and links; where keys are paths, that is the url of a link without one."""
        self._lacking = set(self.fields)
        seen = SeenIds()
        for card, block in self.blocks:
            key = self._key(card)
            if key is None:
                self.without += 1
                continue
            # Ids are told apart already.
            if self.key != "id" and (first := seen.record(key, card.id, ACCEPTED)):
                self.doubled += 1
                if self.doubled <= MAX_REPORTED:
                    self.on_problem(
                        f"The block of {card.id!r} is left out: {first!r} has the same {self._word()}, {key!r}."
                    )
                continue
            links = self._addressed(block)
            self.count += 1
            self.links += len(links)
            self.empty += not links
            self.linked += sum(link.url is not None for link in links)
            if self._lacking:
                self._lacking -= {name for link in links for name in self.fields if link_field(link, name) is not None}
            yield key, card, links
        self._close()

    def record(self, link: Recommendation) -> dict[str, Any]:
        """Return a link as JSON has it; what it lacks is None."""
        own = {
            "id": link.id,
            "title": link.title,
            "url": link.url,
            "published": link.published.isoformat() if link.published else None,
            "section": link.section,
            "score": round(link.score, 2),
            "via": link.via,
        }
        return own | {name: link_field(link, name) for name in self.fields}

    def _key(self, card: ArticleSummary) -> str | None:
        if self.key == "id":
            return card.id
        return card.url if self.key == "url" else page_path(card, self.key)

    def _addressed(self, block: list[Recommendation]) -> list[Recommendation]:
        if self.key not in SITES:
            return block
        urls = [page_url(link, self.key) for link in block]
        return [link if link.url == url else replace(link, url=url) for link, url in zip(block, urls, strict=True)]

    def _word(self) -> str:
        return "url" if self.key == "url" else "path"

    def _close(self) -> None:
        if self.without and not self.count:
            what = "a url" if self.key == "url" else "a url, nor an id that is the path of a page's file"
            raise RecommenderError(
                f"No article has {what}, so that there is nothing to find blocks by. Nothing was written."
            )
        if self.doubled > MAX_REPORTED:
            self.on_problem(
                f"... and {self.doubled - MAX_REPORTED:,} more blocks that are left out for the same reason."
            )
        for name in self.fields:
            if name in self._lacking and self.links:
                self.on_problem(f"No link has the field {name!r}.")


def link_field(link: Recommendation, name: str) -> Any:
    """Return a further field of a link; None if it lacks it."""
    return list(link.tags) or None if name == "tags" else link.metadata.get(name)


def as_text(value: Any) -> str:
    """Return a text as it is, and anything else as JSON: for tables, where a column has one type."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def utc(date: datetime | None) -> datetime | None:
    """Return a date in UTC."""
    try:
        return date.astimezone(UTC) if date else None
    except OverflowError:  # on the first or the last day of all
        return date.replace(tzinfo=UTC) if date else None
