"""Reads what the signals are compared by from the database of a local index, checked to be what was written."""

import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender import tfidf
from recommender.store.base import Signals
from recommender.store.database import LIST, countable, damaged
from recommender.store.inverted import Weighed
from recommender.store.rows import (
    MOST_TERMS,
    hubness_checksum,
    lexical_checksum,
    read_languages,
    removed_after,
    term_sum,
    unpack_terms,
    vector_checksum,
)
from recommender.store.searchfile import FOREIGN, KEY, SearchFile, search_file
from recommender.store.signalfile import Row, SignalFile, open_signal_folder

NO_CHANGE = 0
PAGE = 1024  # rows read at once where all are read
FEW = 1000  # articles; so many are read from the database so fast that it need not be told
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
    """Reads signals within a snapshot: from the mapped files, and with SQL what came after them, or all without them.

    Counts that were read stay in memory for as long as they hold.

    Args:
        place: the index's folder.
        dimensions: of the vectors; where `read` is called first it is taken from the settings.
    """

    def __init__(self, place: Path, dimensions: int = 0) -> None:
        self._place = place
        self._change = -1  # up to which the rest knows the database
        self._file: SearchFile | None = None
        self._mapped: SignalFile | None = None
        self._dimensions = dimensions
        self._settings: Mapping[str, Any] | None = None  # that the next holds with
        self._sizes: dict[str, int] = {}  # of the languages
        self._known: NDArray[np.float64] = np.empty(
            (0, 2)
        )  # hubness and reach of what is mapped; NaN where not read yet
        self._later: dict[int, NDArray[np.int32]] = {}  # the terms of the articles that came after the file
        self._counts: NDArray[np.int32] = np.empty(0, dtype=np.int32)  # of terms, by number; -1 where not read yet

    def read(
        self, connection: sqlite3.Connection, settings: Mapping[str, Any], wanted: NDArray[np.int64]
    ) -> tuple[Signals, NDArray[np.int64]]:
        """Read the signals of the articles with these keys that are stored; and the key of each of them."""
        self.update(connection, settings)
        rows = self._rows(wanted)
        inside = rows >= 0
        known, rows = wanted[inside], rows[inside]
        others = self._from_sql(connection, wanted[~inside].tolist())
        lengths, numbers, frequencies = _NO_TERMS
        ids, languages, vectors = [other.id for other in others], [other.language for other in others], _vectors(others)
        if self._mapped and len(rows):
            ids = [*self._mapped.ids(rows), *ids]
            names = self._mapped.languages
            languages = [*(names[code] for code in self._mapped.language_of(rows).tolist()), *languages]
            vectors = np.concatenate([self._mapped.vectors(rows).ravel(), vectors])
            lengths, numbers, frequencies = self._mapped.terms(rows)
        if others:
            lengths = np.concatenate([lengths, [len(other.numbers) for other in others]])
            numbers = np.concatenate([numbers, *(other.numbers for other in others)])
            frequencies = np.concatenate([frequencies, *(other.frequencies for other in others)])
        found = np.concatenate([known, np.array([other.key for other in others], dtype=np.int64)])
        hubness, reach = self._hubness(connection, found, rows, settings.get("hubness", {}).get("mean", 0.0)).T
        signals = Signals(
            ids=ids,
            languages=languages,
            vectors=vectors.reshape(len(ids), settings["model"]["dimensions"]),
            totals=np.array([self._sizes.get(language, 0) for language in languages], dtype=np.int64),
            hubness=hubness,
            reach=reach,
            rows=np.repeat(np.arange(len(ids), dtype=np.int64), lengths),
            numbers=numbers,
            frequencies=frequencies,
            articles=self._counts_of(connection, numbers),
            keys=found,
        )
        return signals, found

    @property
    def mapped(self) -> SignalFile | None:
        """The mapped files; None where they are not to be used."""
        return self._mapped

    def vectors_of(self, keys: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Return the vectors of articles that stand in the mapped files, unchecked; None if not all do."""
        rows = self._mapped.rows(keys) if self._mapped else None
        return self._mapped.vectors(rows) if self._mapped and rows is not None and (rows >= 0).all() else None

    def _rows(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the articles stand in the mapped files; -1 for those that do not."""
        if self._mapped:
            rows = self._mapped.rows(keys)
            if self._mapped.check(rows[rows >= 0]) is None:
                return rows
            _log.warning(
                "The search folder %s is damaged; what it held is read from the database, which is slower. The next "
                "build makes it again.",
                self._place / (self._file.name if self._file else ""),
            )
            self._mapped, self._counts = None, np.empty(0, dtype=np.int32)
        return np.full(len(keys), -1, dtype=np.int64)

    def _from_sql(self, connection: sqlite3.Connection, keys: list[int]) -> list[Row]:
        rows = connection.execute(f"{_SIGNALS} WHERE a.key IN {LIST}", (json.dumps(keys),)) if keys else ()
        return [self._row(row) for row in rows]

    def _row(self, row: tuple[Any, ...]) -> Row:
        key, id, content_hash = row[:3]
        vector = self._checked_vector(row[:6])
        return Row(key, id, row[6], vector, *self._terms((key, id, content_hash, *row[6:])))

    def _hubness(
        self, connection: sqlite3.Connection, keys: NDArray[np.int64], rows: NDArray[np.int64], mean: float
    ) -> NDArray[np.float64]:
        """Return hubness and reach of articles, in the order of the keys; of a damaged row neither is known.

        Args:
            connection: to the database.
            keys: of the articles.
            rows: where the first of them stand in the mapped files.
            mean: what stands for a hubness that is not known.
        """
        if self._mapped and not len(self._known):
            self._known = np.full((len(self._mapped), 2), np.nan)
        found = np.full((len(keys), 2), np.nan)
        found[: len(rows)] = self._known[rows]
        missing = np.flatnonzero(np.isnan(found[:, 0]))
        if len(missing):
            found[missing] = mean, np.inf
            place = dict(zip(keys[missing].tolist(), missing.tolist(), strict=True))
            stored = connection.execute(
                f"SELECT key, value, reach, checksum FROM hubness WHERE key IN {LIST} AND value IS NOT NULL",
                (json.dumps(list(place)),),
            )
            for key, value, far, checksum in stored:
                if hubness_checksum(key, value, far) == checksum:
                    found[place[key]] = value, far
            self._known[rows] = found[: len(rows)]
        return found

    def update(self, connection: sqlite3.Connection, settings: Mapping[str, Any]) -> None:
        """Take up what has changed in the database."""
        file = search_file(settings, "signals")
        if file != self._file or self._change < 0:
            self._file, self._mapped = file, None
            self._dimensions = settings["model"]["dimensions"]
            if file:
                self._mapped, fault = open_signal_folder(self._place, file, self._dimensions)
                if fault == FOREIGN and file.count > FEW:
                    _log.warning(
                        "The search files of the index %s were not made on this machine and are not read, so that "
                        "asking is slow. `recommender verify --repair`, or the next build, makes them again here; "
                        "machines with the same $%s share them.",
                        self._place,
                        KEY,
                    )
                elif fault and fault != FOREIGN:
                    _log.warning(
                        "The search folder %s is %s; all is read from the database, which is slower. "
                        "The next build makes it again.",
                        self._place / file.name,
                        fault,
                    )
            self._later = {}
            self._counts = self._mapped.counts.copy() if self._mapped else np.empty(0, dtype=np.int32)
            self._change = file.change if file else NO_CHANGE
        change = settings["change"]
        if change != self._change:
            if self._mapped:
                touched = self._touched(connection, self._mapped)
                self._counts[touched[touched < len(self._counts)]] = -1
            else:
                self._counts = np.empty(0, dtype=np.int32)
            self._change = change
        if settings is not self._settings:
            self._sizes = {name: articles for name, (articles, _) in read_languages(connection, self._place).items()}
            self._settings, self._known = settings, np.empty((0, 2))

    def _touched(self, connection: sqlite3.Connection, mapped: SignalFile) -> NDArray[np.int64]:
        """Return the numbers of the terms whose counts may be others than those that are known."""
        rows = connection.execute(
            "SELECT key, l.terms FROM vectors v JOIN lexical l USING (key) WHERE v.change > ?", (self._change,)
        )
        came = {key: unpack_terms(blob)[0].astype(np.int32) for key, blob in rows}
        gone = removed_after(connection, self._place, self._change)
        places = mapped.rows(np.array(gone, dtype=np.int64))
        if mapped.check(places[places >= 0]) is not None:
            raise countable(self._place, f"the search folder {self._file.name if self._file else ''}")
        _, of_gone, _ = mapped.terms(places[places >= 0])
        later = [self._later.pop(key) for key in gone if key in self._later]
        self._later |= came
        return distinct(np.concatenate([of_gone, *later, *came.values()]))

    def _counts_of(self, connection: sqlite3.Connection, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return in how many articles each term stands."""
        if not len(numbers):
            return numbers
        last = int(numbers.max())
        if last >= len(self._counts):
            grown = np.full(last + 1, -1, dtype=np.int32)
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        missing = distinct(numbers[self._counts[numbers] < 0])
        if len(missing):
            rows = connection.execute(
                f"SELECT number, language, term, articles, checked FROM terms WHERE number IN {LIST}",
                (json.dumps(missing.tolist()),),
            )
            for number, language, term, articles, checked in rows:
                if term_sum(number, language, term, articles) != checked:
                    raise countable(self._place, f"the count of the term {term!r}")
                self._counts[number] = articles
            if (self._counts[missing] < 0).any():
                raise countable(self._place, "the list of terms")
        return self._counts[numbers].astype(np.int64)

    def _checked_vector(self, row: tuple[Any, ...]) -> bytes:
        _, id, content_hash, change, blob, checksum = row
        if vector_checksum(id, content_hash, change, blob) != checksum or len(blob) != 2 * self._dimensions:
            raise damaged(self._place, id)
        return bytes(blob)

    def _vector(self, row: tuple[Any, ...]) -> NDArray[np.float32]:
        return np.frombuffer(self._checked_vector(row), dtype="<f2").astype(np.float32)

    def _terms(self, row: tuple[Any, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        _, id, content_hash, language, assumed, blob, checksum = row
        if lexical_checksum(id, content_hash, language, assumed, blob) != checksum:
            raise damaged(self._place, id)
        numbers, frequencies = unpack_terms(blob)
        if numbers.max(initial=0) >= MOST_TERMS:
            raise damaged(self._place, id)
        return numbers, frequencies

    def check(self, connection: sqlite3.Connection, keys: list[int]) -> list[NDArray[np.int64]]:
        """Check the vectors and the terms of articles as they are stored; return the numbers of their terms.

        Raises:
            IndexDamagedError: they are not what was written.
        """
        return [row.numbers for row in self._from_sql(connection, keys)]

    def vectors_after(
        self, connection: sqlite3.Connection, change: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Give the vectors that changes after `change` brought, in chunks."""
        for page in self._pages(connection, _VECTORS, change, "v.key", 0):
            keys = np.array([row[0] for row in page], dtype=np.int64)
            yield keys, np.array([self._vector(row) for row in page], dtype=np.float32)

    def weighed_after(self, connection: sqlite3.Connection, change: int) -> Iterator[Weighed]:
        """Give the weighed terms of the articles that changes after `change` brought, in the order of their ids."""
        for page in self._pages(connection, _TERMS, change, "a.id", 1):
            keys = np.array([row[0] for row in page], dtype=np.int64)
            terms = [self._terms(row) for row in page]
            numbers, frequencies = (np.concatenate(each) for each in zip(*terms, strict=True))
            lengths = np.array([len(of_article) for of_article, _ in terms], dtype=np.int64)
            weights = tfidf.impacts(
                frequencies.astype(np.float64),
                self._counts_of(connection, numbers),
                np.array([self._sizes.get(row[3], 0) for row in page], dtype=np.int64),
                np.repeat(np.arange(len(page)), lengths),
                len(page),
            )
            yield Weighed(keys, lengths, numbers, weights)

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
