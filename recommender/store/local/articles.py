"""Reading articles, texts and summaries from the database, with their checks."""

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

MAX_CACHED_SUMMARIES = 16_384  # one article is linked from many blocks
MAX_CACHED_METADATA_CHARS = 4096  # of one summary
COLUMNS = (
    "a.key, a.id, a.title, a.url, a.published, a.section, a.tags, a.language, a.metadata, a.source, a.content_hash, "
    "a.record_hash, a.recommend, a.block, a.url_key, a.title_key, a.time, a.revision, a.checksum"
)
METADATA_COLUMN = 8  # position in `COLUMNS`
_decode_json = json.JSONDecoder().raw_decode


class ArticleReader:
    """Reads articles as of one revision. Threads may share it.

    Args:
        index_path: the index's folder.

    Raises:
        IndexDamagedError: by the methods, if a stored row fails its check; `content_hashes` checks nothing.
    """

    def __init__(self, index_path: Path) -> None:
        self._index_path = index_path
        self._summaries: dict[str, ArticleSummary] = {}

    def content_hashes(self, connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, ContentHashes]:
        """Return the hashes of the stored articles among `ids`, by id, unchecked."""
        rows = connection.execute(
            f"SELECT a.id, a.content_hash, a.record_hash, a.source FROM articles a WHERE a.id IN {LIST}",
            (json.dumps(ids),),
        )
        return {id: ContentHashes(content, record, source) for id, content, record, source in rows}

    def articles(self, connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Article]:
        """Return the stored articles among `ids`, by id, with texts and links."""
        parameters = (json.dumps(ids),)
        targets: dict[tuple[int, str], list[str]] = {}
        for key, kind, target in connection.execute(
            f"SELECT l.key, l.kind, l.target FROM links l JOIN articles a USING (key) WHERE a.id IN {LIST} "
            f"ORDER BY l.key, l.position",
            parameters,
        ):
            targets.setdefault((key, kind), []).append(target)
        rows = connection.execute(
            f"SELECT {COLUMNS}, x.text FROM articles a LEFT JOIN texts x USING (key) WHERE a.id IN {LIST}",
            parameters,
        )
        return {
            row[1]: self._article(row, *(targets.get((row[0], kind), []) for kind in ("related", "links")))
            for row in rows
        }

    def texts(self, connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return title and text of the stored articles among `ids`, by id, in a third of the time of `articles`."""
        rows = connection.execute(
            "SELECT a.id, a.title, x.text, a.content_hash FROM articles a LEFT JOIN texts x USING (key) "
            f"WHERE a.id IN {LIST}",
            (json.dumps(ids),),
        )
        return {id: self._checked_text(id, *row) for id, *row in rows}

    def _checked_text(self, id: str, title: Any, text: Any, stored_hash: bytes) -> tuple[str, str]:
        if not (isinstance(title, str) and isinstance(text, str)) or content_hash(title, text) != stored_hash:
            raise article_damaged_error(self._index_path, id)
        return title, text

    def summaries(self, connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, ArticleSummary]:
        """Return the summaries of the stored articles among `ids`, by id, from the cache where possible."""
        summaries = {id: summary for id in ids if (summary := self._summaries.get(id))}
        if missing := [id for id in ids if id not in summaries]:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM articles a WHERE a.id IN {LIST}", (json.dumps(missing),)
            ).fetchall()
            summaries |= {row[1]: self.summary(row) for row in rows}
            small = [row[1] for row in rows if len(row[METADATA_COLUMN]) <= MAX_CACHED_METADATA_CHARS]
            if len(self._summaries) + len(small) > MAX_CACHED_SUMMARIES:
                self._summaries = {}
            self._summaries |= {id: summaries[id] for id in small[:MAX_CACHED_SUMMARIES]}
        return {id: summaries[id] for id in ids if id in summaries}

    def summary(self, row: tuple[Any, ...]) -> ArticleSummary:
        """Return the summary of an article from a row of `COLUMNS`."""
        if row_checksum(row[:-1]) != row[-1]:
            raise article_damaged_error(self._index_path, row[1])
        _, id, title, url, published, section, tags, _, metadata, _, _, _, _, block, *_ = row
        try:
            # `json.loads` looks for surrounding whitespace and takes twice as long.
            tags, metadata = tuple(_decode_json(tags)[0]), _decode_json(metadata)[0]
            if not (isinstance(metadata, dict) and all(isinstance(text, str) for text in (id, title, *tags))):
                raise TypeError
            url = web_url(url) if url else None
            return ArticleSummary(id, title, url, _date(published), section, tags, metadata, block=bool(block))
        except (ValueError, TypeError, RecursionError) as error:
            raise article_damaged_error(self._index_path, id) from error

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
            raise article_damaged_error(self._index_path, id) from error
        if article.record_hash != record_hash:
            raise article_damaged_error(self._index_path, id)
        return article if not article.url or web_url(article.url) else replace(article, url=None)


def _date(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None
