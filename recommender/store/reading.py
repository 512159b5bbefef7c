"""Reads what the signals are compared by from the database of a local index, checked to be what was written."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.store.base import Signals
from recommender.store.database import LIST, damaged
from recommender.store.rows import (
    hubness_checksum,
    lexical_checksum,
    read_settings,
    unpack_terms,
    vector_checksum,
)
from recommender.store.vectors import CHUNK

NO_CHANGE = 0
_VECTORS = "SELECT a.key, a.id, a.content_hash, v.vector, v.checksum FROM vectors v JOIN articles a USING (key)"
_TERMS = (
    "SELECT a.key, a.id, a.content_hash, l.language, l.terms, l.checksum FROM vectors v JOIN articles a USING (key) "
    "JOIN lexical l USING (key)"
)
_SIGNALS = (
    "SELECT a.key, a.id, a.content_hash, v.vector, v.checksum, l.language, l.terms, l.checksum, h.value, h.reach, "
    "h.checksum FROM articles a JOIN vectors v USING (key) JOIN lexical l USING (key) LEFT JOIN hubness h USING (key)"
)


class SignalReader:
    """Reads signals within a snapshot; counts that were read stay in memory until the next change.

    Args:
        place: the index's folder, for messages.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._change = -1  # of the database that they were read from
        self._counts = np.empty(0, dtype=np.int64)  # of terms, by number; -1 where not read yet

    def read(self, connection: sqlite3.Connection, keys: list[int]) -> tuple[Signals, dict[int, int]]:
        """Read the signals of the articles with these keys; and which place each key has among them."""
        settings = read_settings(connection)
        sizes = dict(connection.execute("SELECT language, articles FROM languages").fetchall())
        mean = settings.get("hubness", {}).get("mean", 0.0)
        dimensions = settings["model"]["dimensions"]
        ids: list[str] = []
        languages: list[str] = []
        vectors: list[NDArray[np.float32]] = []
        hubness: list[float] = []
        reach: list[float] = []
        numbers, frequencies = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        row_of: dict[int, int] = {}
        rows = connection.execute(f"{_SIGNALS} WHERE a.key IN {LIST}", (json.dumps(keys),))
        for key, id, content_hash, vector, checksum, language, terms, terms_checksum, value, far, hub_checksum in rows:
            row_of[key] = len(ids)
            ids.append(id)
            languages.append(language)
            vectors.append(self._vector((key, id, content_hash, vector, checksum)))
            of_article = self._terms((key, id, content_hash, language, terms, terms_checksum))
            numbers.append(of_article[0])
            frequencies.append(of_article[1])
            known = value is not None and hubness_checksum(key, value, far) == hub_checksum  # a damaged one is not
            hubness.append(value if known else mean)
            reach.append(far if known else np.inf)
        lengths = [len(part) for part in numbers[1:]]
        all_numbers = np.concatenate(numbers)
        signals = Signals(
            ids=ids,
            languages=languages,
            vectors=np.array(vectors, dtype=np.float32).reshape(len(ids), dimensions),
            totals=np.array([sizes.get(language, 0) for language in languages], dtype=np.int64),
            hubness=np.array(hubness, dtype=np.float64),
            reach=np.array(reach, dtype=np.float64),
            rows=np.repeat(np.arange(len(ids), dtype=np.int64), lengths),
            numbers=all_numbers,
            frequencies=np.concatenate(frequencies),
            articles=self._counts_of(connection, all_numbers, settings["change"]),
        )
        return signals, row_of

    def _counts_of(self, connection: sqlite3.Connection, numbers: NDArray[np.int64], change: int) -> NDArray[np.int64]:
        """Return in how many articles each term stands; those that were read stay in memory until the next change."""
        self._forget(change)
        if not len(numbers):
            return numbers
        last = int(numbers.max())
        if last >= len(self._counts):
            grown = np.full(last + 1, -1, dtype=np.int64)
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        missing = np.unique(numbers[self._counts[numbers] < 0])
        if len(missing):
            rows = connection.execute(
                f"SELECT number, articles FROM terms WHERE number IN {LIST}", (json.dumps(missing.tolist()),)
            ).fetchall()
            found = np.array(rows, dtype=np.int64).reshape(-1, 2)
            self._counts[found[:, 0]] = found[:, 1]
        return self._counts[numbers]

    def _forget(self, change: int) -> None:
        """Drop what was kept in memory of another state of the database."""
        if change != self._change:
            self._counts = np.empty(0, dtype=np.int64)
            self._change = change

    def _vector(self, row: tuple[Any, ...]) -> NDArray[np.float32]:
        _, id, content_hash, blob, checksum = row
        if vector_checksum(id, content_hash, blob) != checksum:
            raise damaged(self._place, id)
        return np.frombuffer(blob, dtype="<f2").astype(np.float32)

    def _terms(self, row: tuple[Any, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        _, id, content_hash, language, blob, checksum = row
        if lexical_checksum(id, content_hash, language, blob) != checksum:
            raise damaged(self._place, id)
        return unpack_terms(blob)

    def vectors_after(
        self, connection: sqlite3.Connection, change: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Give the vectors that changes after `change` brought, in chunks."""
        for page in self._pages(connection, _VECTORS, change, "v.key", 0):
            keys = np.array([row[0] for row in page], dtype=np.int64)
            yield keys, np.array([self._vector(row) for row in page], dtype=np.float32)

    def terms_after(
        self, connection: sqlite3.Connection, change: int
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Give the terms of the articles that changes after `change` brought, in the order of their ids."""
        for page in self._pages(connection, _TERMS, change, "a.id", 1):
            for row in page:
                yield row[0], *self._terms(row)

    @staticmethod
    def _pages(
        connection: sqlite3.Connection, select: str, change: int, column: str, place: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Give the rows after a change by a column without doubles, which stands at `place` in them, in pages.

        Each page of a whole archive is a statement of its own: between them others may write what is not read here.
        """
        if change != NO_CHANGE:
            rows = connection.execute(f"{select} WHERE v.change > ? ORDER BY {column}", (change,))
            while page := rows.fetchmany(CHUNK):
                yield page
            return
        page = connection.execute(f"{select} ORDER BY {column} LIMIT {CHUNK}").fetchall()
        while page:
            yield page
            after = f"{select} WHERE {column} > ? ORDER BY {column} LIMIT {CHUNK}"
            page = connection.execute(after, (page[-1][place],)).fetchall()
