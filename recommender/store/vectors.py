"""Search in the vectors of a local index: a FAISS file, derived from SQLite, and what has changed since it was made."""

import errno
import logging
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from recommender.files import replacing

_log = logging.getLogger("recommender")
CHUNK = 8192  # vectors read at once

# Gives keys (int64, shape (n,)) and vectors (float32, shape (n, dimensions)) of all rows after a change.
ReadVectors = Callable[[sqlite3.Connection, int], Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]]


@dataclass(frozen=True, slots=True)
class SearchFile:
    """Which search file, or folder, belongs to the database, as it stands in the table of settings.

    Attributes:
        name: its name within the index's folder.
        change: the change number that it was made at.
        count: how many articles it holds.
        size: its bytes.
    """

    name: str
    change: int
    count: int
    size: int


def write_search_file(
    folder: Path, change: int, dimensions: int, rows: Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]
) -> SearchFile:
    """Write the vectors to a FAISS file in `folder`, whole or not at all."""
    index = _empty(dimensions)
    for keys, vectors in rows:
        index.add_with_ids(vectors, keys)
    name = f"dense-{change}.faiss"
    with replacing(folder / name) as beside:
        try:
            faiss.write_index(index, str(beside))
        except RuntimeError as error:  # what FAISS makes of a full disk, or any other
            raise OSError(errno_of(error), str(error)) from error
        size = beside.stat().st_size
    return SearchFile(name, change, index.ntotal, size)


def open_search_file(folder: Path, file: SearchFile, dimensions: int) -> faiss.Index | None:
    """Map a search file; None if it is missing, or not the one that was written."""
    path = folder / file.name
    try:
        if path.stat().st_size != file.size:
            return None
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (OSError, RuntimeError):  # FAISS raises RuntimeError for whatever it cannot parse
        return None
    return index if index.ntotal == file.count and index.d == dimensions else None


class VectorSearch:
    """Finds the nearest vectors by inner product: in the search file, and exactly in what came after it.

    The search file is mapped, not read, and never changed: keys that were removed since are masked, vectors that
    were added stand in memory. Where the file is missing or torn all vectors do.
    """

    def __init__(self, folder: Path, dimensions: int, read: ReadVectors) -> None:
        self._folder = folder
        self._dimensions = dimensions
        self._read = read
        self._file: SearchFile | None = None
        self._change = -1  # up to which the search knows the database
        self._base, self._delta = _empty(dimensions), _empty(dimensions)
        self._masked: set[int] = set()
        self._parameters: faiss.SearchParameters | None = None

    def update(self, connection: sqlite3.Connection, file: SearchFile | None, change: int) -> None:
        """Take up what has changed in the database, whose search file and change number are given."""
        if file != self._file or self._change < 0:
            self._open(file)
        if change == self._change:
            return
        try:
            for keys, vectors in self._read(connection, self._change):
                self._delta.add_with_ids(vectors, keys)
        except BaseException:
            self._change = -1  # some may stand in the delta already: begin anew
            raise
        removed = connection.execute("SELECT key FROM removed WHERE change > ?", (self._change,)).fetchall()
        if removed:
            self._masked.update(key for (key,) in removed)
            masked = np.fromiter(self._masked, dtype=np.int64, count=len(self._masked))
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(masked))
            self._parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        self._change = change

    def search(self, queries: NDArray[np.float32], n: int) -> list[NDArray[np.int64]]:
        """Return for each query the keys of its `n` nearest vectors, or of all if there are fewer.

        Args:
            queries: float32, shape (number of queries, dimensions).
            n: 1 or more.

        Returns:
            For each query int64, shape (up to n,), the nearest first.
        """
        scores: list[NDArray[np.float32]] = []
        keys: list[NDArray[np.int64]] = []
        for index in (self._base, self._delta):
            if index.ntotal:
                found = index.search(queries, min(n, index.ntotal), params=self._parameters)
                scores.append(found[0])
                keys.append(found[1])
        if not keys:
            return [np.empty(0, dtype=np.int64) for _ in queries]
        all_scores, all_keys = np.concatenate(scores, axis=1), np.concatenate(keys, axis=1)
        all_scores[all_keys < 0] = -np.inf  # FAISS fills up with -1
        best = np.argsort(-all_scores, axis=1, kind="stable")[:, :n]
        return [row[row >= 0] for row in np.take_along_axis(all_keys, best, axis=1)]

    def _open(self, file: SearchFile | None) -> None:
        base = open_search_file(self._folder, file, self._dimensions) if file else None
        if file and not base:
            _log.warning(
                "The search file %s is missing or damaged; all vectors are searched without it, which is slower. "
                "The next build makes it again.",
                self._folder / file.name,
            )
        self._file = file
        self._change = file.change if file and base else 0
        self._base = base or _empty(self._dimensions)
        self._delta = _empty(self._dimensions)
        self._masked = set()
        self._parameters = None


def errno_of(error: Exception) -> int:
    """Return the number of the operating system's error that a library tells as a text."""
    return errno.ENOSPC if "No space left" in str(error) else errno.EIO


def _empty(dimensions: int) -> faiss.Index:
    return faiss.IndexIDMap(faiss.IndexFlatIP(dimensions))
