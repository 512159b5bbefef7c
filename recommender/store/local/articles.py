"""Reads articles from the database of a local index: whole, their texts or cards, checked to be what was written."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from recommender.article import Article, ArticleSummary, content_hash
from recommender.errors import ArticleError
from recommender.store.base import ContentHashes
from recommender.store.local.database import LIST, article_damaged_error
from recommender.store.local.rows import row_checksum
from recommender.text.urls import web_url

CARDS = 16_384  # that stay in memory at most: a link stands in many blocks
SMALL_CARD = 4096  # characters of the metadata of those that do
ROW = (
    "a.key, a.id, a.title, a.url, a.published, a.section, a.tags, a.language, a.metadata, a.source, a.content_hash, "
    "a.record_hash, a.recommend, a.block, a.url_key, a.title_key, a.time, a.change, a.checksum"
)
METADATA = 8  # its place among these
_parse = json.JSONDecoder().raw_decode


class ArticleReader:
    """Reads articles as of one revision. Threads may share it.

    Args:
        place: the index's folder.

    Raises:
        IndexDamagedError: by the methods, if what they return is not what was written; `stamps` checks nothing.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._cards: dict[str, ArticleSummary] = {}

    def content_hashes(self, connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, ContentHashes]:
        """Return the stamps of those of the articles that are stored, by id, unchecked."""
        rows = connection.execute(
            f"SELECT a.id, a.content_hash, a.record_hash, a.source FROM articles a WHERE a.id IN {LIST}",
            (json.dumps(ids),),
        )
        return {id: ContentHashes(content, record, source) for id, content, record, source in rows}

    def articles(self, connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Article]:
        """Return those of the articles that are stored, by id, with their texts and links."""
        wanted = (json.dumps(ids),)
        targets: dict[tuple[int, str], list[str]] = {}
        for key, kind, target in connection.execute(
            f"SELECT l.key, l.kind, l.target FROM links l JOIN articles a USING (key) WHERE a.id IN {LIST} "
            f"ORDER BY l.key, l.position",
            wanted,
        ):
            targets.setdefault((key, kind), []).append(target)
        rows = connection.execute(
            f"SELECT {ROW}, x.text FROM articles a LEFT JOIN texts x USING (key) WHERE a.id IN {LIST}",
            wanted,
        )
        return {
            row[1]: self._article(row, *(targets.get((row[0], kind), []) for kind in ("related", "links")))
            for row in rows
        }

    def texts(self, connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return title and text of those that are stored, by id; without the rest, which takes three times as long."""
        rows = connection.execute(
            "SELECT a.id, a.title, x.text, a.content_hash FROM articles a LEFT JOIN texts x USING (key) "
            f"WHERE a.id IN {LIST}",
            (json.dumps(ids),),
        )
        return {id: self._text(id, *row) for id, *row in rows}

    def _text(self, id: str, title: Any, text: Any, stored: bytes) -> tuple[str, str]:
        if not (isinstance(title, str) and isinstance(text, str)) or content_hash(title, text) != stored:
            raise article_damaged_error(self._place, id)
        return title, text

    def summaries(self, connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, ArticleSummary]:
        """Return the cards of those of the articles that are stored, by id; they stay in memory.

        Args:
            connection: to the database.
            ids: the articles.
        """
        found = {id: card for id in ids if (card := self._cards.get(id))}
        if missing := [id for id in ids if id not in found]:
            rows = connection.execute(
                f"SELECT {ROW} FROM articles a WHERE a.id IN {LIST}", (json.dumps(missing),)
            ).fetchall()
            found |= {row[1]: self.card(row) for row in rows}
            small = [row[1] for row in rows if len(row[METADATA]) <= SMALL_CARD]
            if len(self._cards) + len(small) > CARDS:
                self._cards = {}
            self._cards |= {id: found[id] for id in small[:CARDS]}
        return {id: found[id] for id in ids if id in found}

    def card(self, row: tuple[Any, ...]) -> ArticleSummary:
        """Return what a row of `ROW` shows of its article."""
        if row_checksum(row[:-1]) != row[-1]:
            raise article_damaged_error(self._place, row[1])
        _, id, title, url, published, section, tags, _, metadata, _, _, _, _, block, *_ = row
        try:
            # As it was written, so nothing stands around it; `loads` looks for spaces and takes twice as long.
            tags, metadata = tuple(_parse(tags)[0]), _parse(metadata)[0]
            if not (isinstance(metadata, dict) and all(isinstance(text, str) for text in (id, title, *tags))):
                raise TypeError
            url = web_url(url) if url else None
            return ArticleSummary(id, title, url, _date(published), section, tags, metadata, block=bool(block))
        except (ValueError, TypeError, RecursionError) as error:
            raise article_damaged_error(self._place, id) from error

    def _article(self, row: tuple[Any, ...], related: list[str], body_links: list[str]) -> Article:
        _, id, title, url, published, section, tags, language, metadata, _, _, record_hash, *flags = row[:14]
        text = row[-1]
        try:
            article = Article(
                id=id,
                title=title,
                text=text,
                url=url,
                published=_date(published),
                section=section,
                tags=tuple(json.loads(tags)),
                language=language,
                related=tuple(related),
                links=tuple(body_links),
                recommend=bool(flags[0]),
                block=bool(flags[1]),
                metadata=json.loads(metadata),
            )
        except (ValueError, TypeError, RecursionError, ArticleError) as error:
            raise article_damaged_error(self._place, id) from error
        if article.record_hash != record_hash:
            raise article_damaged_error(self._place, id)
        return article if not article.url or web_url(article.url) else replace(article, url=None)


def _date(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None
