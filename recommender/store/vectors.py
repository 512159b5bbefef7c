"""Search in the vectors of a local index: a FAISS file, derived from SQLite, and what has changed since it was made."""

import contextlib
import errno
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from recommender.files import replacing
from recommender.store.signalfile import SearchFile, SignalFile

_faiss: Any = faiss  # some of its types are declared wrong
_log = logging.getLogger("recommender")
CHUNK = 8192  # vectors read at once
EXACT = 10_000  # articles; up to so many comparing all takes less than a millisecond
NEIGHBOURS = 32  # of each article in the graph
VISITED = 128  # articles that a search in the graph keeps in view; docs/decisions.md has what it finds
SCANNED = 16  # a search for more than this share of the articles scans all of them
TRAINING = 65_536  # vectors that the range of each number is taken from

# Gives keys (int64, shape (n,)) and vectors (float32, shape (n, dimensions)) of all rows after a change.
ReadVectors = Callable[[sqlite3.Connection, int], Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]]


def write_search_file(folder: Path, change: int, signals: SignalFile) -> SearchFile:
    """Write the vectors of all articles to a FAISS file in `folder`, whole or not at all.

    Up to `EXACT` articles all vectors are compared. Beyond, the file is a graph (HNSW, Malkov & Yashunin 2018) over
    vectors of 8 bits a number: built by one thread, so that the same vectors give the same graph.
    """
    count = len(signals)
    if count <= EXACT:
        index = _empty(signals.dimensions)
    else:
        graph = _faiss.IndexHNSWSQ(
            signals.dimensions, faiss.ScalarQuantizer.QT_8bit, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT
        )
        sample = np.linspace(0, count - 1, min(count, TRAINING), dtype=np.int64)
        graph.train(signals.vectors(sample))
        index = faiss.IndexIDMap(graph)
    with _one_thread():
        for start in range(0, count, CHUNK):
            rows = np.arange(start, min(start + CHUNK, count))
            index.add_with_ids(signals.vectors(rows), signals.keys(rows))
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
        self._selector: faiss.IDSelector | None = None

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
            self._selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(masked))
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
                found = self._nearest(index, queries, min(n, index.ntotal))
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
        self._selector = None

    def _nearest(
        self, index: Any, queries: NDArray[np.float32], n: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        selector = {"sel": self._selector} if self._selector else {}
        graph = faiss.downcast_index(index.index)
        if not isinstance(graph, faiss.IndexHNSW):
            found = index.search(queries, n, params=_faiss.SearchParameters(**selector) if selector else None)
        elif n * SCANNED < index.ntotal:
            parameters = _faiss.SearchParametersHNSW(efSearch=max(VISITED, 2 * n), **selector)
            found = index.search(queries, n, params=parameters)
        else:  # so many that a graph may miss some
            scores, rows = graph.storage.search(queries, min(n + len(self._masked), index.ntotal))
            keys = faiss.vector_to_array(index.id_map)[rows]
            if self._masked:
                keys[np.isin(keys, list(self._masked))] = -1
            return scores, keys
        return found[0], found[1]


def errno_of(error: Exception) -> int:
    """Return the number of the operating system's error that a library tells as a text."""
    return errno.ENOSPC if "No space left" in str(error) else errno.EIO


def _empty(dimensions: int) -> faiss.Index:
    return faiss.IndexIDMap(faiss.IndexFlatIP(dimensions))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
