"""Reads what the signals are compared by from the database of a local index, checked to be what was written."""

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
from recommender.store.local.database import LIST, article_damaged_error, countable
from recommender.store.local.derived_file import DerivedFile, derived_file
from recommender.store.local.forward_index import MAX_NORM_ERROR, ForwardIndex, Row, open_forward_index
from recommender.store.local.inverted_index import WeightedTerms
from recommender.store.local.rows import (
    MOST_TERMS,
    hubness_checksum,
    lexical_checksum,
    read_languages,
    removed_after,
    term_sum,
    unpack_terms,
    vector_checksum,
)
from recommender.text import tfidf

NO_CHANGE = 0
MAX_CACHED_ROWS = 8192  # of later articles: 20 MB
PAGE = 1024  # rows read at once where all are read
SHARED = 2  # articles that a term must stand in to weigh anything, see `tfidf`
HELD_SHARE = 0.1  # of a language's articles, that may have come or gone for its counts to be those of before
_VECTORS = (
    "SELECT a.key, a.id, a.content_hash, v.change, v.vector, v.checksum FROM vectors v JOIN articles a USING (key)"
)
_TERMS = (
    "SELECT a.key, a.id, a.content_hash, l.language, l.assumed, l.terms, l.checksum "
    "FROM vectors v JOIN articles a USING (key) "
    "JOIN lexical l USING (key)"
)
_SIGNALS = (
    "SELECT a.key, a.id, a.content_hash, v.change, v.vector, v.checksum, l.language, l.assumed, l.terms, l.checksum "
    "FROM vectors v JOIN articles a USING (key) JOIN lexical l USING (key)"
)
_NO_TERMS = (np.empty(0, dtype=np.int64),) * 3
_log = logging.getLogger("recommender")


class SignalReader:
    """Reads signals as of one revision: from the forward index, and with SQL those of later articles.

    Threads may share it. Counts and hubness stay in memory: whoever reads one of them stores the same value.

    Articles and terms are counted as of the forward index, so that scores of pairs that did not change do not change
    either; a term that came to be shared later counts as one of two articles, however many have it by now. All are
    counted as they are now in a language that has grown or shrunk too much since.

    Args:
        place: the index's folder.
        dimensions: of the vectors.
    """

    def __init__(self, place: Path, dimensions: int = 0) -> None:
        self._place = place
        self._dimensions = dimensions
        self._change = -1  # the revision
        self._file: DerivedFile | None = None
        self._mapped: ForwardIndex | None = None
        self._mean_hubness = 0.0
        self._sizes: dict[str, int] = {}  # articles by language
        self._held: dict[str, int] = {}  # those of the languages whose counts are as of the forward index
        self._known: NDArray[np.float64] = np.empty(0)  # hubness by row of the forward index; NaN where not read yet
        self._cached: dict[int, Row] = {}  # signals that were read with SQL
        self._later: dict[int, NDArray[np.int32]] = {}  # the terms of the articles that came after the forward index
        self._counts: NDArray[np.int32] = np.empty(0, dtype=np.int32)  # articles by term number; 0 where not read yet

    def read(self, connection: sqlite3.Connection, wanted: NDArray[np.int64]) -> tuple[Signals, NDArray[np.int64]]:
        """Read the signals of those of the articles with these keys that are stored; and the key of each of them."""
        mapped, rows = self._rows(wanted)
        inside = rows >= 0
        known, rows = wanted[inside], rows[inside]
        others = self._from_sql(connection, wanted[~inside].tolist())
        lengths, numbers, frequencies = _NO_TERMS
        ids, languages, vectors = [other.id for other in others], [other.language for other in others], _vectors(others)
        if mapped and len(rows):
            ids = [*mapped.ids(rows), *ids]
            names = mapped.languages
            languages = [*(names[code] for code in mapped.language_of(rows).tolist()), *languages]
            vectors = np.concatenate([mapped.vectors(rows).ravel(), vectors])
            lengths, numbers, frequencies = mapped.terms(rows)
        if others:
            lengths = np.concatenate([lengths, [len(other.term_ids) for other in others]])
            numbers = np.concatenate([numbers, *(other.term_ids for other in others)])
            frequencies = np.concatenate([frequencies, *(other.frequencies for other in others)])
        keys = np.concatenate([known, np.array([other.key for other in others], dtype=np.int64)])
        signals = Signals(
            ids=ids,
            languages=languages,
            vectors=vectors.reshape(len(ids), self._dimensions),
            collection_sizes=np.array([self._sizes.get(language, 0) for language in languages], dtype=np.int64),
            hubness=self._hubness(connection, keys, rows),
            rows=np.repeat(np.arange(len(ids), dtype=np.int64), lengths),
            term_ids=numbers,
            frequencies=frequencies,
            document_frequencies=self._counts_of(connection, numbers),
            keys=keys,
        )
        return signals, keys

    @property
    def forward(self) -> tuple[DerivedFile | None, ForwardIndex | None]:
        """The forward index, and the file that it is read from; None where there is none, or it is damaged."""
        return self._file, self._mapped

    def is_cut_short(self) -> bool:
        """Return whether a file of the forward index is shorter by now than it was."""
        return self._mapped is not None and self._mapped.is_cut_short()

    def _rows(self, keys: NDArray[np.int64]) -> tuple[ForwardIndex | None, NDArray[np.int64]]:
        """Return the forward index, and where it holds the articles; -1 for those that it does not."""
        mapped = self._mapped
        if mapped:
            rows = mapped.rows(keys)
            if mapped.check(rows[rows >= 0]) is None:
                return mapped, rows
            _log.warning(
                "The search folder %s is damaged; its articles are read from the database, which is slower. The next "
                "build makes it again.",
                self._place / (self._file.name if self._file else ""),
            )
            self._mapped, self._counts = None, np.empty(0, dtype=np.int32)
        return None, np.full(len(keys), -1, dtype=np.int64)

    def _from_sql(self, connection: sqlite3.Connection, keys: list[int]) -> list[Row]:
        cached, missing = self._cached, [key for key in keys if key not in self._cached]
        if missing:
            rows = connection.execute(f"{_SIGNALS} WHERE a.key IN {LIST}", (json.dumps(missing),))
            read = {row.key: row for row in map(self._row, rows)}
            if len(cached) + len(read) > MAX_CACHED_ROWS:
                cached = {key: cached[key] for key in keys if key in cached}
                self._cached = {}
            cached |= read
        return [cached[key] for key in keys if key in cached]

    def _row(self, row: tuple[Any, ...]) -> Row:
        key, id, content_hash = row[:3]
        vector = self._checked_vector(row[:6])
        return Row(key, id, row[6], vector, *self._terms((key, id, content_hash, *row[6:])))

    def _hubness(
        self, connection: sqlite3.Connection, keys: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the hubness of articles, in the order of the keys; the mean of all where it is unknown or damaged.

        Args:
            connection: to the database.
            keys: of the articles.
            rows: where the forward index holds the first of them.
        """
        values = np.full(len(keys), np.nan)
        values[: len(rows)] = self._known[rows]
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
            self._known[rows] = values[: len(rows)]
        return values

    def updated(self, connection: sqlite3.Connection, settings: Mapping[str, Any]) -> "SignalReader":
        """Return the reader of a later revision, within a snapshot of it whose settings are passed."""
        new = copy.copy(self)
        new._dimensions = settings["model"]["dimensions"]
        new._mean_hubness = settings.get("hubness", {}).get("mean", 0.0)
        new._sizes = {name: articles for name, (articles, _) in read_languages(connection, new._place).items()}
        file = derived_file(settings, "signals")
        if file != new._file or new._change < 0 or new.is_cut_short():
            new._open(file)
        held = {
            language: size
            for language, size in (new._mapped.sizes if new._mapped else {}).items()
            if abs(new._sizes.get(language, 0) - size) <= HELD_SHARE * size
        }
        if new._mapped and file and held.keys() != new._held.keys():  # counts that were read are of another kind
            new._counts, new._later, new._change = new._mapped.counts, {}, file.change
        new._held, new._sizes = held, new._sizes | held
        new._counts, new._later = new._counts.copy(), dict(new._later)
        if settings["change"] != new._change:
            if new._mapped:
                touched = new._touched(connection, new._mapped)
                new._counts[touched[touched < len(new._counts)]] = 0
            else:
                new._counts = np.empty(0, dtype=np.int32)
            new._change = settings["change"]
        new._cached = {}
        new._known = np.full(len(new._mapped) if new._mapped else 0, np.nan)
        return new

    def _open(self, file: DerivedFile | None) -> None:
        self._file, self._mapped, self._later = file, None, {}
        if file:
            self._mapped, reason = open_forward_index(self._place, file, self._dimensions)
            if reason:
                _log.warning(
                    "The search folder %s is %s; its articles are read from the database, which is slower. "
                    "The next build makes it again.",
                    self._place / file.name,
                    reason,
                )
        self._counts = self._mapped.counts if self._mapped else np.empty(0, dtype=np.int32)
        self._change = file.change if file else NO_CHANGE

    def _touched(self, connection: sqlite3.Connection, mapped: ForwardIndex) -> NDArray[np.int64]:
        """Return the numbers of the terms whose counts may have changed since the revision."""
        rows = connection.execute(
            "SELECT key, l.terms FROM vectors v JOIN lexical l USING (key) WHERE v.change > ?", (self._change,)
        )
        came = {key: unpack_terms(blob)[0].astype(np.int32) for key, blob in rows}
        gone = removed_after(connection, self._place, self._change)
        positions = mapped.rows(np.array(gone, dtype=np.int64))
        if mapped.check(positions[positions >= 0]) is not None:
            raise countable(self._place, f"the search folder {self._file.name if self._file else ''}")
        _, of_gone, _ = mapped.terms(positions[positions >= 0])
        later = [self._later.pop(key) for key in gone if key in self._later]
        self._later |= came
        return distinct(np.concatenate([of_gone, *later, *came.values()]))

    def _counts_of(self, connection: sqlite3.Connection, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return in how many articles each term stands."""
        if not len(numbers):
            return numbers
        last, counts, mapped = int(numbers.max()), self._counts, self._mapped
        if last >= len(counts):
            counts = np.concatenate([counts, np.zeros(last + 1 - len(counts), dtype=np.int32)])
            self._counts = counts
        missing = distinct(numbers[counts[numbers] < 1])
        if len(missing):
            rows = connection.execute(
                f"SELECT number, language, term, articles, checked FROM terms WHERE number IN {LIST}",
                (json.dumps(missing.tolist()),),
            )
            for number, language, term, articles, checked in rows:
                if term_sum(number, language, term, articles) != checked:
                    raise countable(self._place, f"the count of the term {term!r}")
                if mapped and language in self._held:
                    earlier = int(mapped.counts[number]) if number < len(mapped.counts) else 0
                    articles = max(earlier, min(articles, SHARED))  # noqa: PLW2901
                counts[number] = articles
            if (counts[missing] < 1).any():
                raise countable(self._place, "the list of terms")
        return counts[numbers].astype(np.int64)

    def _checked_vector(self, row: tuple[Any, ...]) -> bytes:
        _, id, content_hash, change, blob, checksum = row
        if vector_checksum(id, content_hash, change, blob) != checksum or len(blob) != 2 * self._dimensions:
            raise article_damaged_error(self._place, id)
        with np.errstate(invalid="ignore", over="ignore"):  # of numbers that are not finite
            norm = np.linalg.norm(np.frombuffer(blob, dtype="<f2").astype(np.float32))
        # A static model's vector of a text without known tokens is all zeros.
        if norm and not abs(norm - 1) < MAX_NORM_ERROR:
            raise article_damaged_error(self._place, id)
        return bytes(blob)

    def _vector(self, row: tuple[Any, ...]) -> NDArray[np.float32]:
        return np.frombuffer(self._checked_vector(row), dtype="<f2").astype(np.float32)

    def _terms(self, row: tuple[Any, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        _, id, content_hash, language, assumed, blob, checksum = row
        if lexical_checksum(id, content_hash, language, assumed, blob) != checksum:
            raise article_damaged_error(self._place, id)
        numbers, frequencies = unpack_terms(blob)
        if numbers.max(initial=0) >= MOST_TERMS:
            raise article_damaged_error(self._place, id)
        return numbers, frequencies

    def check(self, connection: sqlite3.Connection, keys: list[int]) -> list[NDArray[np.int64]]:
        """Check the vectors and the terms of articles as they are stored; return the numbers of their terms.

        Raises:
            IndexDamagedError: they are not what was written.
        """
        return [row.term_ids for row in self._from_sql(connection, keys)]

    def vectors_after(
        self, connection: sqlite3.Connection, change: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Give the vectors that changes after `change` brought, in chunks."""
        for page in self._pages(connection, _VECTORS, change, "v.key", 0):
            keys = np.array([row[0] for row in page], dtype=np.int64)
            yield keys, np.array([self._vector(row) for row in page], dtype=np.float32)

    def weighed_after(self, connection: sqlite3.Connection, change: int) -> Iterator[WeightedTerms]:
        """Give the weighed terms of the articles that changes after `change` brought, in the order of their ids."""
        for page in self._pages(connection, _TERMS, change, "a.id", 1):
            keys = np.array([row[0] for row in page], dtype=np.int64)
            terms = [self._terms(row) for row in page]
            numbers, frequencies = (np.concatenate(each) for each in zip(*terms, strict=True))
            lengths = np.array([len(of_article) for of_article, _ in terms], dtype=np.int64)
            weights = tfidf.tfidf_impacts(
                frequencies.astype(np.float64),
                self._counts_of(connection, numbers),
                np.array([self._sizes.get(row[3], 0) for row in page], dtype=np.int64),
                np.repeat(np.arange(len(page)), lengths),
                len(page),
            )
            yield WeightedTerms(keys, lengths, numbers, weights)

    def all_rows(self, connection: sqlite3.Connection) -> Iterator[Row]:
        """Give the signals of all articles, by ascending keys."""
        for page in self._pages(connection, _SIGNALS, NO_CHANGE, "v.key", 0):
            yield from map(self._row, page)

    @staticmethod
    def _pages(
        connection: sqlite3.Connection, select: str, change: int, column: str, place: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Give the rows after a change by a column without doubles, which stands at `place` in them, in pages.

        Each page of a whole archive is a statement of its own: between them others may write what is not read here.
        """
        if change != NO_CHANGE:
            # The plus keeps SQLite from walking all articles in that order for the sake of a few.
            rows = connection.execute(f"{select} WHERE v.change > ? ORDER BY +{column}", (change,))
            while page := rows.fetchmany(PAGE):
                yield page
            return
        page = connection.execute(f"{select} ORDER BY {column} LIMIT {PAGE}").fetchall()
        while page:
            yield page
            after = f"{select} WHERE {column} > ? ORDER BY {column} LIMIT {PAGE}"
            page = connection.execute(after, (page[-1][place],)).fetchall()


def _vectors(rows: list[Row]) -> NDArray[np.float32]:
    """Return the vectors of rows, one after the other."""
    return np.frombuffer(b"".join(row.vector for row in rows), dtype="<f2").astype(np.float32)


def distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct ones of some numbers, ascending, as `np.unique` does: which takes 20 times as long for 24,000
    of them, and imports `numpy.ma` when it is first called, 20 ms.
    """
    ordered = np.sort(numbers)
    first = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]
