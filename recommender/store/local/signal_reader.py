"""Reading the signals of articles from the forward index and the database, with their checks."""

import copy
import json
import logging
import math
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.store.base import Signals
from recommender.store.local.database import LIST, article_damaged_error, derived_data_damaged_error
from recommender.store.local.derived_file import FORWARD_INDEX, DerivedFile, derived_file
from recommender.store.local.forward_index import MAX_NORM_ERROR, ForwardIndex, Row, open_forward_index
from recommender.store.local.inverted_index import WeightedTerms
from recommender.store.local.rows import (
    MAX_TERM_ID,
    hubness_checksum,
    lexical_checksum,
    read_languages,
    removed_after,
    term_checksum,
    unpack_terms,
    vector_checksum,
)
from recommender.text import tfidf

NO_REVISION = 0  # before the first write
MAX_CACHED_ROWS = 8192  # of later articles: 20 MB
PAGE_ROWS = 1024
MIN_SHARED_FREQUENCY = 2  # document frequency from which a term has a weight, see `tfidf`
MAX_FROZEN_CHANGE = 0.1  # of a language's articles added or removed, up to which its counts stay frozen
_VECTORS = (
    "SELECT a.key, a.id, a.content_hash, v.revision, v.vector, v.checksum FROM vectors v JOIN articles a USING (key)"
)
_TERMS = (
    "SELECT a.key, a.id, a.content_hash, l.language, l.assumed, l.terms, l.checksum "
    "FROM vectors v JOIN articles a USING (key) "
    "JOIN lexical l USING (key)"
)
_SIGNALS = (
    "SELECT a.key, a.id, a.content_hash, v.revision, v.vector, v.checksum, l.language, l.assumed, l.terms, l.checksum "
    "FROM vectors v JOIN articles a USING (key) JOIN lexical l USING (key)"
)
_NO_TERMS = (np.empty(0, dtype=np.int64),) * 3
_log = logging.getLogger("recommender")


class SignalReader:
    """Reads signals as of one revision: from the forward index, and later articles from the database.

    Threads may share it. Document frequencies and hubness are cached: threads that read one of them store equal values.

    Collection sizes and document frequencies are frozen at the forward index, so that the score of an unchanged pair
    does not change. A term that was in fewer than two articles then, and is in more now, counts as in two. In a
    language that has since grown or shrunk by more than `MAX_FROZEN_CHANGE`, current counts are used.

    Args:
        index_path: the index's folder.
        dimensions: of the vectors.
    """

    def __init__(self, index_path: Path, dimensions: int = 0) -> None:
        self._index_path = index_path
        self._dimensions = dimensions
        self._revision = -1
        self._file: DerivedFile | None = None
        self._forward_index: ForwardIndex | None = None
        self._mean_hubness = 0.0
        self._collection_sizes: dict[str, int] = {}  # by language
        self._frozen_sizes: dict[str, int] = {}  # of the languages whose counts are frozen
        self._hubness: NDArray[np.float64] = np.empty(0)  # by row of the forward index; NaN where not read yet
        self._cached_rows: dict[int, Row] = {}  # by key, read from the database
        self._later_terms: dict[int, NDArray[np.int32]] = {}  # by key, of articles later than the forward index
        self._document_frequencies: NDArray[np.int32] = np.empty(0, dtype=np.int32)  # by term id; 0 where not read yet

    def read(self, connection: sqlite3.Connection, keys: NDArray[np.int64]) -> tuple[Signals, NDArray[np.int64]]:
        """Return the signals of the stored articles among `keys`, and the key of each.

        Raises:
            IndexDamagedError: a checksum or a value is wrong.
        """
        forward_index, rows = self._rows(keys)
        is_indexed = rows >= 0
        indexed_keys, rows = keys[is_indexed], rows[is_indexed]
        later = self._read_rows(connection, keys[~is_indexed].tolist())
        lengths, term_ids, frequencies = _NO_TERMS
        ids, languages = [row.id for row in later], [row.language for row in later]
        vectors = np.frombuffer(b"".join(row.vector for row in later), dtype="<f2").astype(np.float32)
        if forward_index and len(rows):
            ids = [*forward_index.ids(rows), *ids]
            names = forward_index.languages
            languages = [*(names[code] for code in forward_index.language_codes(rows).tolist()), *languages]
            vectors = np.concatenate([forward_index.vectors(rows).ravel(), vectors])
            lengths, term_ids, frequencies = forward_index.terms(rows)
        if later:
            lengths = np.concatenate([lengths, [len(row.term_ids) for row in later]])
            term_ids = np.concatenate([term_ids, *(row.term_ids for row in later)])
            frequencies = np.concatenate([frequencies, *(row.frequencies for row in later)])
        keys = np.concatenate([indexed_keys, np.array([row.key for row in later], dtype=np.int64)])
        sizes = [self._collection_sizes.get(language, 0) for language in languages]
        signals = Signals(
            ids=ids,
            languages=languages,
            vectors=vectors.reshape(len(ids), self._dimensions),
            collection_sizes=np.array(sizes, dtype=np.int64),
            hubness=self._read_hubness(connection, keys, rows),
            rows=np.repeat(np.arange(len(ids), dtype=np.int64), lengths),
            term_ids=term_ids,
            frequencies=frequencies,
            document_frequencies=self._read_document_frequencies(connection, term_ids),
            keys=keys,
        )
        return signals, keys

    @property
    def forward(self) -> tuple[DerivedFile | None, ForwardIndex | None]:
        """The file of the forward index, and the forward index; None where it is missing or damaged."""
        return self._file, self._forward_index

    def is_cut_short(self) -> bool:
        """Return whether a file of the forward index became shorter than its mapping."""
        return self._forward_index is not None and self._forward_index.is_cut_short()

    def _rows(self, keys: NDArray[np.int64]) -> tuple[ForwardIndex | None, NDArray[np.int64]]:
        """Return the forward index and the rows of keys in it, -1 where it has none; drop a damaged forward index."""
        forward_index = self._forward_index
        if forward_index:
            rows = forward_index.rows(keys)
            if forward_index.first_damaged_row(rows[rows >= 0]) is None:
                return forward_index, rows
            _log.warning(
                "The search folder %s is damaged; its articles are read from the database, which is slower. The next "
                "build makes it again.",
                self._index_path / (self._file.name if self._file else ""),
            )
            self._forward_index, self._document_frequencies = None, np.empty(0, dtype=np.int32)
        return None, np.full(len(keys), -1, dtype=np.int64)

    def _read_rows(self, connection: sqlite3.Connection, keys: list[int]) -> list[Row]:
        """Return the rows of the stored articles among `keys`, from the database or the cache."""
        cache, missing = self._cached_rows, [key for key in keys if key not in self._cached_rows]
        if missing:
            stored = connection.execute(f"{_SIGNALS} WHERE a.key IN {LIST}", (json.dumps(missing),))
            rows = {row.key: row for row in map(self._checked_row, stored)}
            if len(cache) + len(rows) > MAX_CACHED_ROWS:
                cache = {key: cache[key] for key in keys if key in cache}
                self._cached_rows = {}
            cache |= rows
        return [cache[key] for key in keys if key in cache]

    def _checked_row(self, row: tuple[Any, ...]) -> Row:
        """Return a row of `_SIGNALS`, checked."""
        key, id, content_hash = row[:3]
        vector = self._checked_vector(row[:6])
        return Row(key, id, row[6], vector, *self._checked_terms((key, id, content_hash, *row[6:])))

    def _read_hubness(
        self, connection: sqlite3.Connection, keys: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the hubness of articles, in the order of the keys; the mean of all where it is unknown or damaged.

        Args:
            connection: to the database.
            keys: of the articles.
            rows: in the forward index, of the first `len(rows)` articles.
        """
        values = np.full(len(keys), np.nan)
        values[: len(rows)] = self._hubness[rows]
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            values[missing] = self._mean_hubness
            position = dict(zip(keys[missing].tolist(), missing.tolist(), strict=True))
            stored = connection.execute(
                f"SELECT key, value, checksum FROM hubness WHERE key IN {LIST} AND value IS NOT NULL",
                (json.dumps(list(position)),),
            )
            for key, value, checksum in stored:
                if hubness_checksum(key, value) == checksum and math.isfinite(value):
                    values[position[key]] = value
            self._hubness[rows] = values[: len(rows)]
        return values

    def updated(self, connection: sqlite3.Connection, settings: Mapping[str, Any]) -> "SignalReader":
        """Return the reader of a later revision, within a snapshot of it whose settings are passed."""
        new = copy.copy(self)
        new._dimensions = settings["model"]["dimensions"]
        new._mean_hubness = settings.get("hubness", {}).get("mean", 0.0)
        languages = read_languages(connection, new._index_path)
        sizes = {name: articles for name, (articles, _) in languages.items()}
        file = derived_file(settings, FORWARD_INDEX)
        if file != new._file or new._revision < 0 or new.is_cut_short():
            new._open(file)
        frozen = {
            language: size
            for language, size in (new._forward_index.articles_by_language if new._forward_index else {}).items()
            if abs(sizes.get(language, 0) - size) <= MAX_FROZEN_CHANGE * size
        }
        # The cache has frozen counts of some languages and current ones of others.
        if new._forward_index and file and frozen.keys() != new._frozen_sizes.keys():
            new._document_frequencies = new._forward_index.document_frequencies
            new._later_terms, new._revision = {}, file.revision
        new._frozen_sizes, new._collection_sizes = frozen, sizes | frozen
        new._document_frequencies, new._later_terms = new._document_frequencies.copy(), dict(new._later_terms)
        if settings["revision"] != new._revision:
            if new._forward_index:
                changed = new._changed_term_ids(connection, new._forward_index)
                new._document_frequencies[changed[changed < len(new._document_frequencies)]] = 0
            else:
                new._document_frequencies = np.empty(0, dtype=np.int32)
            new._revision = settings["revision"]
        new._cached_rows = {}
        new._hubness = np.full(len(new._forward_index) if new._forward_index else 0, np.nan)
        return new

    def _open(self, file: DerivedFile | None) -> None:
        self._file, self._forward_index, self._later_terms = file, None, {}
        if file:
            self._forward_index, reason = open_forward_index(self._index_path, file, self._dimensions)
            if reason:
                _log.warning(
                    "The search folder %s is %s; its articles are read from the database, which is slower. "
                    "The next build makes it again.",
                    self._index_path / file.name,
                    reason,
                )
        self._document_frequencies = (
            self._forward_index.document_frequencies if self._forward_index else np.empty(0, dtype=np.int32)
        )
        self._revision = file.revision if file else NO_REVISION

    def _changed_term_ids(self, connection: sqlite3.Connection, forward_index: ForwardIndex) -> NDArray[np.int64]:
        """Return the ids of the terms whose document frequencies may have changed since this reader's revision."""
        rows = connection.execute(
            "SELECT key, l.terms FROM vectors v JOIN lexical l USING (key) WHERE v.revision > ?", (self._revision,)
        )
        added_terms = {key: unpack_terms(blob)[0].astype(np.int32) for key, blob in rows}
        removed_keys = removed_after(connection, self._index_path, self._revision)
        removed_rows = forward_index.rows(np.array(removed_keys, dtype=np.int64))
        removed_rows = removed_rows[removed_rows >= 0]
        if forward_index.first_damaged_row(removed_rows) is not None:
            name = self._file.name if self._file else ""
            raise derived_data_damaged_error(self._index_path, f"the search folder {name}")
        _, removed_terms, _ = forward_index.terms(removed_rows)
        removed_later_terms = [self._later_terms.pop(key) for key in removed_keys if key in self._later_terms]
        self._later_terms |= added_terms
        return distinct(np.concatenate([removed_terms, *removed_later_terms, *added_terms.values()]))

    def _read_document_frequencies(
        self, connection: sqlite3.Connection, term_ids: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the document frequency of each term, from the cache where possible."""
        if not len(term_ids):
            return term_ids
        max_id, cache, forward_index = int(term_ids.max()), self._document_frequencies, self._forward_index
        if max_id >= len(cache):
            cache = np.concatenate([cache, np.zeros(max_id + 1 - len(cache), dtype=np.int32)])
            self._document_frequencies = cache
        missing = distinct(term_ids[cache[term_ids] < 1])
        if len(missing):
            rows = connection.execute(
                f"SELECT term_id, language, term, document_frequency, checksum FROM terms WHERE term_id IN {LIST}",
                (json.dumps(missing.tolist()),),
            )
            for term_id, language, term, current, checksum in rows:
                if term_checksum(term_id, language, term, current) != checksum:
                    raise derived_data_damaged_error(self._index_path, f"the count of the term {term!r}")
                frequency = current
                if forward_index and language in self._frozen_sizes:
                    frozen = forward_index.document_frequencies
                    frozen_frequency = int(frozen[term_id]) if term_id < len(frozen) else 0
                    frequency = max(frozen_frequency, min(current, MIN_SHARED_FREQUENCY))
                cache[term_id] = frequency
            if (cache[missing] < 1).any():
                raise derived_data_damaged_error(self._index_path, "the list of terms")
        return cache[term_ids].astype(np.int64)

    def _checked_vector(self, row: tuple[Any, ...]) -> bytes:
        """Return the stored vector of a row of `_VECTORS`, checked."""
        _, id, content_hash, revision, blob, checksum = row
        if vector_checksum(id, content_hash, revision, blob) != checksum or len(blob) != 2 * self._dimensions:
            raise article_damaged_error(self._index_path, id)
        with np.errstate(invalid="ignore", over="ignore"):  # damaged numbers may not be finite
            norm = np.linalg.norm(np.frombuffer(blob, dtype="<f2").astype(np.float32))
        # A static model returns a zero vector for a text without known tokens.
        if norm and not abs(norm - 1) < MAX_NORM_ERROR:
            raise article_damaged_error(self._index_path, id)
        return bytes(blob)

    def _checked_terms(self, row: tuple[Any, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ids and frequencies of the terms of a row of `_TERMS`, checked."""
        _, id, content_hash, language, assumed, blob, checksum = row
        if lexical_checksum(id, content_hash, language, assumed, blob) != checksum:
            raise article_damaged_error(self._index_path, id)
        term_ids, frequencies = unpack_terms(blob)
        if term_ids.max(initial=0) >= MAX_TERM_ID:
            raise article_damaged_error(self._index_path, id)
        return term_ids, frequencies

    def checked_term_ids(self, connection: sqlite3.Connection, keys: list[int]) -> list[NDArray[np.int64]]:
        """Check the stored vectors and terms of articles; return the term ids of each.

        Raises:
            IndexDamagedError: a checksum or a value is wrong.
        """
        return [row.term_ids for row in self._read_rows(connection, keys)]

    def vectors_after(
        self, connection: sqlite3.Connection, revision: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield keys and vectors that were written after a revision, in chunks."""
        for page in self._pages(connection, _VECTORS, revision, "v.key", 0):
            keys = np.array([row[0] for row in page], dtype=np.int64)
            vectors = [np.frombuffer(self._checked_vector(row), dtype="<f2") for row in page]
            yield keys, np.array(vectors, dtype=np.float32)

    def weighted_terms_after(self, connection: sqlite3.Connection, revision: int) -> Iterator[WeightedTerms]:
        """Yield the weighted terms of articles that were written after a revision, in the order of their ids."""
        for page in self._pages(connection, _TERMS, revision, "a.id", 1):
            keys = np.array([row[0] for row in page], dtype=np.int64)
            terms = [self._checked_terms(row) for row in page]
            term_ids, frequencies = (np.concatenate(arrays) for arrays in zip(*terms, strict=True))
            lengths = np.array([len(article_ids) for article_ids, _ in terms], dtype=np.int64)
            weights = tfidf.tfidf_impacts(
                frequencies.astype(np.float64),
                self._read_document_frequencies(connection, term_ids),
                np.array([self._collection_sizes.get(row[3], 0) for row in page], dtype=np.int64),
                np.repeat(np.arange(len(page)), lengths),
                len(page),
            )
            yield WeightedTerms(keys, lengths, term_ids, weights)

    def all_rows(self, connection: sqlite3.Connection) -> Iterator[Row]:
        """Yield the rows of all articles, by ascending keys."""
        for page in self._pages(connection, _SIGNALS, NO_REVISION, "v.key", 0):
            yield from map(self._checked_row, page)

    @staticmethod
    def _pages(
        connection: sqlite3.Connection, select: str, revision: int, column: str, position: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows after a revision in pages, in the order of a unique column at `position` of the rows.

        A whole archive is read with a statement per page, between which others may write to other tables.
        """
        if revision != NO_REVISION:
            # The plus keeps SQLite from scanning all articles in order for a few later ones.
            rows = connection.execute(f"{select} WHERE v.revision > ? ORDER BY +{column}", (revision,))
            while page := rows.fetchmany(PAGE_ROWS):
                yield page
            return
        page = connection.execute(f"{select} ORDER BY {column} LIMIT {PAGE_ROWS}").fetchall()
        while page:
            yield page
            next_page = f"{select} WHERE {column} > ? ORDER BY {column} LIMIT {PAGE_ROWS}"
            page = connection.execute(next_page, (page[-1][position],)).fetchall()


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct values, ascending.

    `np.unique` takes 20 times as long for 24,000 values, and its first call imports `numpy.ma`, 20 ms.
    """
    ordered = np.sort(values)
    is_first = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return ordered[is_first]
