"""Search in the vectors of a local index: a FAISS file, derived from SQLite, and what has changed since it was made."""

import errno
import logging
import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.blas import faiss
from recommender.files import replacing, unused
from recommender.store.rows import removed_after
from recommender.store.searchfile import DAMAGED, FOREIGN, SearchFile
from recommender.store.signalfile import SignalFile

_faiss: Any = faiss  # some of its types are declared wrong
_log = logging.getLogger("recommender")
CHUNK = 8192  # vectors read at once
EXACT = 10_000  # articles; up to so many comparing all takes about a millisecond
LISTS = 4  # that the vectors are parted into, times the square root of their number
TRAINING = 39  # vectors a list that its place is found from
MANY = 250_000  # articles from which on vectors are rotated first: it takes 20 s to find how, and halves a search
WIDEST = 1024  # dimensions up to which they are: the time to find how grows with the third power, 20 s are of 384
TURNS, TURNED = 20, 20_000  # rounds in which that is found, and vectors that it is found from
REFINED, OF_ROTATED = 4, 8  # times as many as are wanted are compared exactly
MOST_REFINED = 4096  # but no more than so many
COMPARED = 65_536  # of what is found for several queries are compared at once: 100 MB of vectors of 384 at most
AIM = 0.985  # of the ten nearest, on the average, that a search finds: 0.98, and room for what 256 searches cannot tell
TRIED, WANTED = 256, 50  # searches that this is measured on, and how many vectors each is to find
FIRST, STEP = 1 / 64, 1.2  # the share of the lists that is tried first, and how much more is tried next
SCANNED = 16  # a search for more than one in so many of the articles looks into all lists

# Gives keys (int64, shape (n,)) and vectors (float32, shape (n, dimensions)) of all rows after a change.
ReadVectors = Callable[[sqlite3.Connection, int], Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]]


# Gives the vectors of keys, float32, shape (n, dimensions), or None where it cannot.
VectorsOf = Callable[[NDArray[np.int64]], "NDArray[np.float32] | None"]


def write_search_file(folder: Path, change: int, signals: SignalFile) -> SearchFile:
    """Write the vectors of all articles to a FAISS file in `folder`, whole or not at all.

    Up to `EXACT` articles all vectors are compared. Beyond, they are parted into lists (an inverted file), of which a
    search looks into the nearest, and stand there in 4 bits for two numbers (product quantisation, Jégou et al. 2011;
    compared in registers, André et al. 2015), or from `MANY` articles on for four, once they are rotated so that these
    lose least (optimised product quantisation, Ge et al. 2013). How many lists that has to be is measured here.
    """
    count = len(signals)
    index: Any = _empty(signals.dimensions)
    if count > EXACT and signals.dimensions % 2 == 0:
        index = _trained(signals)
    for start in range(0, count, CHUNK):
        rows = np.arange(start, min(start + CHUNK, count))
        index.add_with_ids(signals.vectors(rows), signals.keys(rows))
    if lists := faiss.try_extract_index_ivf(index):
        _tune(index, lists, signals)
    path = unused(folder / f"dense-{change}.faiss")
    with replacing(path) as beside:
        try:
            faiss.write_index(index, str(beside))
        except RuntimeError as error:  # what FAISS makes of a full disk, or any other
            raise OSError(_errno_of(error), str(error)) from error
    return SearchFile.of(path, change, index.ntotal)


def _trained(signals: SignalFile) -> Any:
    """Return an index that has lists, and no vectors yet."""
    count, dimensions = len(signals), signals.dimensions
    lists = LISTS * math.isqrt(count)
    rotated = count >= MANY and dimensions % 4 == 0 and dimensions <= WIDEST
    parts = dimensions // (4 if rotated else 2)
    index: Any = faiss.index_factory(dimensions, f"IVF{lists},PQ{parts}x4fsr", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # else a small archive is warned of
    index.pq.cp.niter = 10  # FAISS's 25 find no more, and take a second longer for 20,000 articles
    vectors = signals.vectors(np.linspace(0, count - 1, min(count, TRAINING * lists), dtype=np.int64))
    if not rotated:
        index.train(vectors)
        return index
    rotation: Any = faiss.OPQMatrix(dimensions, parts, dimensions)
    codes: Any = faiss.ProductQuantizer(dimensions, parts, 4)
    rotation.pq, rotation.niter, rotation.max_train_points = codes, TURNS, TURNED
    codes.thisown = True  # FAISS does not free it, though SWIG takes it to
    rotation.train(vectors)
    rotation.pq = None
    for start in range(0, len(vectors), CHUNK):
        vectors[start : start + CHUNK] = rotation.apply(vectors[start : start + CHUNK])
    index.train(vectors)
    return faiss.IndexPreTransform(rotation, index)


def _tune(index: Any, lists: Any, signals: SignalFile) -> None:
    """Set in how many lists a search looks: as few as find `AIM` of the ten nearest of vectors of the archive."""
    count = len(signals)
    rows = np.linspace(0, count - 1, TRIED, dtype=np.int64)
    queries = signals.vectors(rows)
    scores = np.full((len(rows), 0), 0, dtype=np.float32)
    best = np.full((len(rows), 0), 0, dtype=np.int64)
    for start in range(0, count, CHUNK):
        part = np.arange(start, min(start + CHUNK, count))
        keys = signals.keys(part)
        compared = queries @ signals.vectors(part).T
        scores = np.concatenate([scores, compared], axis=1)
        best = np.concatenate([best, np.broadcast_to(keys, compared.shape)], axis=1)
        nearest = np.argpartition(-scores, 9, axis=1)[:, :10]
        scores, best = np.take_along_axis(scores, nearest, axis=1), np.take_along_axis(best, nearest, axis=1)
    share, recall = FIRST, 0.0
    while share < STEP and recall < AIM:
        lists.nprobe = max(int(min(share, 1.0) * lists.nlist), 1)
        _, found = index.search(queries, _refined(index) * WANTED)
        recall = np.mean([np.isin(ten, keys).mean() for ten, keys in zip(best, found, strict=True)])
        share *= STEP


def open_search_file(folder: Path, file: SearchFile, dimensions: int) -> tuple[faiss.Index | None, str]:
    """Map a search file; None, and why, if it is not to be used, see `SearchFile.fault`."""
    if fault := file.fault(folder):
        return None, fault
    try:
        index = faiss.read_index(str(folder / file.name), faiss.IO_FLAG_MMAP_IFC)
    except (OSError, RuntimeError):  # FAISS raises RuntimeError for whatever it cannot parse
        return None, DAMAGED
    return (index, "") if index.ntotal == file.count and index.d == dimensions else (None, DAMAGED)


def near_together(index: faiss.Index | None, keys: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return an order of articles in which near ones stand together: as they stand in the lists of their search file.

    Args:
        index: the file, if there is one.
        keys: of the articles, ascending. Those that do not stand in the file come last.

    Returns:
        int64, of the shape of `keys`; None if there is no file, or it has no lists.
    """
    parted: Any = faiss.try_extract_index_ivf(index) if index else None
    if not parted:
        return None
    lists = (
        faiss.rev_swig_ptr(parted.invlists.get_ids(number), parted.invlists.list_size(number))
        for number in range(parted.nlist)
        if parted.invlists.list_size(number)
    )
    listed = np.concatenate([np.empty(0, dtype=np.int64), *lists])
    places = np.searchsorted(keys, listed)
    held = places[(places < len(keys)) & (keys[np.minimum(places, len(keys) - 1)] == listed)]
    rest = np.ones(len(keys), dtype=np.bool_)
    rest[held] = False
    return np.concatenate([held, np.flatnonzero(rest)])


class VectorSearch:
    """Finds the nearest vectors by inner product: in the search file, and exactly in what came after it.

    The search file is mapped, not read, and never changed: keys that were removed since are masked, vectors that
    were added stand in memory. Where the file is missing or torn all vectors do.
    """

    def __init__(self, folder: Path, dimensions: int, read: ReadVectors, vectors_of: VectorsOf) -> None:
        self._folder = folder
        self._vectors_of = vectors_of
        self._dimensions = dimensions
        self._read = read
        self._file: SearchFile | None = None
        self._change = -1  # up to which the search knows the database
        self._base, self._delta = _empty(dimensions), _empty(dimensions)
        self._masked: set[int] = set()
        self.masked = np.empty(0, dtype=np.int64)  # the keys that are removed from the file
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
        if removed := removed_after(connection, self._folder, self._change):
            self._masked.update(removed)
            self.masked = np.fromiter(self._masked, dtype=np.int64, count=len(self._masked))
            self._selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(self.masked))
        self._change = change

    @property
    def count(self) -> int:
        """How many vectors there are, those that were removed since among them."""
        return int(self._base.ntotal + self._delta.ntotal)

    def search(self, queries: NDArray[np.float32], n: int, *, later: bool = False) -> list[NDArray[np.int64]]:
        """Return for each query the keys of its `n` nearest vectors, or of all if there are fewer.

        Args:
            queries: float32, shape (number of queries, dimensions).
            n: 1 or more.
            later: only of those that came after the search file.

        Returns:
            For each query int64, shape (up to n,), the nearest first.
        """
        scores: list[NDArray[np.float32]] = []
        keys: list[NDArray[np.int64]] = []
        for index in (self._delta,) if later else (self._base, self._delta):
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
        base, fault = open_search_file(self._folder, file, self._dimensions) if file else (None, "")
        if file and fault and fault != FOREIGN:  # which is told of all of them at once
            _log.warning(
                "The search file %s is %s; all vectors are searched without it, which is slower. "
                "The next build makes it again.",
                self._folder / file.name,
                fault,
            )
        self._file = file
        self._change = file.change if file and base else 0
        self._base = base or _empty(self._dimensions)
        self._delta = _empty(self._dimensions)
        self._masked, self.masked = set(), np.empty(0, dtype=np.int64)
        self._selector = None

    def _nearest(
        self, index: Any, queries: NDArray[np.float32], n: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        selector = {"sel": self._selector} if self._selector else {}
        parted = faiss.try_extract_index_ivf(index)
        if not parted:
            found = index.search(queries, n, params=_faiss.SearchParameters(**selector) if selector else None)
            return found[0], found[1]
        asked = min(max(n, min(_refined(index) * n, MOST_REFINED)), index.ntotal)
        for lists in (parted.nprobe if n * SCANNED < index.ntotal else parted.nlist, parted.nlist):
            params = _faiss.SearchParametersIVF(nprobe=lists, **selector)
            if isinstance(index, faiss.IndexPreTransform):
                params = _faiss.SearchParametersPreTransform(index_params=params)
            scores, keys = index.search(queries, asked, params=params)
            if lists == parted.nlist or (keys[:, n - 1] >= 0).all():  # else the lists held fewer than are wanted
                break
        some = max(COMPARED // asked, 1)  # queries that are near to one another have much of what is found in common
        for start in range(0, len(queries), some):
            part = slice(start, start + some)
            self._compare(queries[part], scores[part], keys[part])
        return scores, keys

    def _compare(self, queries: NDArray[np.float32], scores: NDArray[np.float32], keys: NDArray[np.int64]) -> None:
        """Put the exact scores of what was found in the place of those that FAISS gave, if its vectors are mapped."""
        held = keys >= 0  # FAISS fills up with -1
        found, places = np.unique(keys[held], return_inverse=True)
        vectors = self._vectors_of(found)
        if vectors is not None:
            ends = np.cumsum(held.sum(axis=1))
            for query, own_scores, own, part in zip(queries, scores, held, np.split(places, ends[:-1]), strict=True):
                own_scores[own] = vectors[part] @ query


def _refined(index: Any) -> int:
    """Return how many times as many as are wanted are compared exactly."""
    return OF_ROTATED if isinstance(index, faiss.IndexPreTransform) else REFINED


def _errno_of(error: Exception) -> int:
    """Return the number of the operating system's error that a library tells as a text."""
    return errno.ENOSPC if "No space left" in str(error) else errno.EIO


def _empty(dimensions: int) -> faiss.Index:
    return faiss.IndexIDMap(faiss.IndexFlatIP(dimensions))
