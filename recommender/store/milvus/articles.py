"""Reading articles from Milvus: rows, overflow documents and texts, each checked."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from recommender.article import Article
from recommender.errors import ArticleError, IndexDamagedError
from recommender.store.milvus.connection import Row
from recommender.store.milvus.rows import (
    FIELDS,
    StoredArticle,
    decode_row,
    overflow_document,
    primary_key,
    text_document,
)
from recommender.store.milvus.schema import ARTICLES
from recommender.store.milvus.state import IndexState

BATCH_ROWS = 200  # read whole at once; a row may have 120 KB


class ArticleReader:
    """Reads articles of an index.

    Args:
        state: the state of the index.
    """

    def __init__(self, state: IndexState) -> None:
        self._state = state

    def stored(self, keys: Sequence[str]) -> dict[str, StoredArticle]:
        """Return the stored articles by primary key.

        Raises:
            IndexDamagedError: the checksum of a row does not match.
        """
        cached_rows = self._state.cached_rows
        articles = {key: cached_rows[key] for key in keys if key in cached_rows}
        missing = [key for key in dict.fromkeys(keys) if key not in articles]
        rows = list(self._state.connection.rows_by_key(ARTICLES, missing, FIELDS, batch_size=BATCH_ROWS))
        articles |= self._decode(rows)
        cached_rows.update(articles)
        return articles

    def scan(self, fields: Sequence[str]) -> Iterator[tuple[Row, StoredArticle]]:
        """Yield all articles in the order of their primary keys, each with a row of more fields; cache none.

        Raises:
            IndexDamagedError: the checksum of a row does not match.
        """
        for rows in self._state.connection.pages(ARTICLES, "", [*FIELDS[1:], *fields], size=BATCH_ROWS):
            articles = self._decode(rows)
            yield from ((row, articles[row["pk"]]) for row in rows)

    def _decode(self, rows: Sequence[Row]) -> dict[str, StoredArticle]:
        """Return the articles of rows by primary key."""
        overflow = self._overflow([row for row in rows if not row["record"]])
        articles = {}
        for row in rows:
            stored = decode_row(row, overflow.get(row["pk"]))
            if stored is None:
                raise self.damaged_error(row["pk"])
            articles[stored.pk] = stored
        return articles

    def _overflow(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
        """Return record and terms that are stored in documents, by primary key."""
        keys = {overflow_document(row["pk"], row["checksum"]): row["pk"] for row in rows}
        documents = self._state.documents.get(list(keys)) if keys else {}
        overflow = {}
        for name, text in documents.items():
            with contextlib.suppress(ValueError):
                record, terms = json.loads(text)
                overflow[keys[name]] = (record, terms)
        return overflow

    def stored_by_id(self, ids: Sequence[str]) -> dict[str, StoredArticle]:
        """Return the stored articles by id."""
        self._state.settings()
        return {stored.id: stored for stored in self.stored([primary_key(id) for id in ids]).values()}

    def articles(self, ids: Sequence[str]) -> dict[str, Article]:
        """Return the stored articles with their texts, by id.

        Raises:
            IndexDamagedError: an article differs from the one that was written.
        """
        articles, mismatched = self._with_texts(self.stored_by_id(ids))
        if mismatched:  # a writer may have replaced them between the reads of row and text
            for key in mismatched:
                self._state.cached_rows.pop(key, None)
            reread, damaged = self._with_texts(self.stored_by_id([id for id in ids if primary_key(id) in mismatched]))
            if damaged:
                raise self.damaged_error(min(damaged))
            articles |= reread
        return articles

    def _with_texts(self, stored: Mapping[str, StoredArticle]) -> tuple[dict[str, Article], set[str]]:
        """Return articles with their texts by id, and the primary keys of those whose row and text do not match."""
        names = {id: text_document(row.pk, row.content_hash) for id, row in stored.items()}
        texts = self._state.documents.get(list(names.values())) if names else {}
        articles, mismatched = {}, set[str]()
        for id, row in stored.items():
            try:
                articles[id] = row.article(texts[names[id]])
            except (KeyError, ValueError, TypeError, ArticleError):
                mismatched.add(row.pk)
        return articles, mismatched

    def id_of(self, pk: str) -> str:
        """Return the id of an article by its primary key; empty if it was removed meanwhile."""
        if "~" not in pk:
            return bytes.fromhex(pk).decode()
        return next((stored.id for stored in self.stored([pk]).values()), "")

    def matching_ids(self, where: str) -> list[str]:
        """Return the ids of the articles that match a filter expression, sorted."""
        pages = self._state.connection.pages(ARTICLES, where, [])
        return [self.id_of(row["pk"]) for page in pages for row in page]

    def existing_keys(self, ids: Iterable[str]) -> set[str]:
        """Return the primary keys of the articles that are stored."""
        keys = [primary_key(id) for id in ids]
        return {row["pk"] for row in self._state.connection.rows_by_key(ARTICLES, keys, ["pk"])}

    def damaged_error(self, pk: str) -> IndexDamagedError:
        """Return the error for a damaged article."""
        id = bytes.fromhex(pk.partition("~")[0]).decode(errors="replace")
        return IndexDamagedError(
            f"The index {self._state.name} is damaged: the stored article {id!r} is not what was written. Remove it "
            f"with `recommender remove`, then build again from its source."
        )
