"""Vector search in a local index: approximate lists derived from SQLite, and exact search in later vectors."""

import contextlib
import copy
import logging
import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.store.local.derived_file import DAMAGED, DerivedFile, read_array
from recommender.store.local.forward_index import ForwardIndex
from recommender.store.local.rows import removed_after
from recommender.system.faiss_blas import faiss
from recommender.system.files import making_folder, unused

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
CODE_BITS = 4
# Each file holds one array: its name, and its type.
_TYPES = {
    "centroids": "<f4",  # of the lists, shape (lists, dimensions)
    "codebooks": "<f4",  # of the product quantiser, shape (parts, 16, dimensions of a part)
    "rotation": "<f4",  # shape (dimensions, dimensions), or empty
    "probes": "<i8",  # one number: how many lists a search reads
    "sizes": "<i8",  # how many articles each list holds
    "keys": "<i8",  # of the articles, list after list
    "codes": "u1",  # list after list, in the blocks of FAISS's fast scan
}

# Yields keys (int64, shape (n,)) and vectors (float32, shape (n, dimensions)) of all rows after a revision.
ReadVectors = Callable[[sqlite3.Connection, int], Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]]


def write_vector_index(folder: Path, change: int, signals: ForwardIndex) -> DerivedFile | None:
    """Write the approximate lists of all vectors to a folder within `folder`, whole or not at all.

    Up to `EXACT` articles, or if the dimensions are odd, all vectors are compared and nothing is written. Beyond, they
    are parted into lists (an inverted file), of which a search reads the nearest, and are stored in 4 bits for two
    numbers (product quantisation, Jégou et al. 2011; compared in registers, André et al. 2015), or from `MANY` articles
    on for four, once they are rotated so that these lose least (optimised product quantisation, Ge et al. 2013). How
    many lists a search has to read is measured here.

    Args:
        folder: the index's folder.
        change: the revision.
        signals: the forward index.
    """
    count = len(signals)
    if not needs_lists(count, signals.dimensions):
        return None
    index = _trained(signals)
    for start in range(0, count, CHUNK):
        rows = np.arange(start, min(start + CHUNK, count))
        index.add_with_ids(signals.vectors(rows), signals.keys(rows))
    lists: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    _tune(index, lists, signals)
    path = unused(folder / f"dense-{change}")
    with making_folder(path) as beside:
        for name, values in _arrays(index, lists).items():
            (beside / name).write_bytes(np.ascontiguousarray(values, dtype=_TYPES[name]).tobytes())
    return DerivedFile.of(path, change, count)


def needs_lists(count: int, dimensions: int) -> bool:
    """Return whether so many vectors are searched through approximate lists, and not all compared."""
    return count > EXACT and dimensions % 2 == 0


def _arrays(index: Any, lists: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays of a trained index, by the names of `_TYPES`."""
    inverted: Any = faiss.downcast_InvertedLists(lists.invlists)
    sizes = np.array([inverted.list_size(number) for number in range(lists.nlist)], dtype=np.int64)
    lengths = -(-sizes // inverted.n_per_block) * inverted.block_size
    filled = np.flatnonzero(sizes).tolist()
    rotation: Any = (
        faiss.downcast_VectorTransform(_faiss.downcast_index(index).chain.at(0))
        if isinstance(index, faiss.IndexPreTransform)
        else None
    )
    return {
        "centroids": lists.quantizer.reconstruct_n(0, lists.nlist),
        "codebooks": faiss.vector_to_array(lists.pq.centroids),
        "rotation": faiss.vector_to_array(rotation.A) if rotation else np.empty(0),
        "probes": np.array([lists.nprobe]),
        "sizes": sizes,
        "keys": np.concatenate([faiss.rev_swig_ptr(inverted.get_ids(i), int(sizes[i])) for i in filled]),
        "codes": np.concatenate([faiss.rev_swig_ptr(inverted.get_codes(i), int(lengths[i])) for i in filled]),
    }


def _index_of(arrays: dict[str, NDArray[Any]], dimensions: int) -> Any:
    """Return the FAISS index that arrays by the names of `_TYPES` make up.

    Raises:
        ValueError: their lengths do not fit together; checked before FAISS copies anything, since it checks nothing.
    """
    sizes, keys, codes, rotation = (arrays[name] for name in ("sizes", "keys", "codes", "rotation"))
    parts = dimensions // (4 if len(rotation) else 2)
    fits = (
        dimensions % (4 if len(rotation) else 2) == 0
        and len(sizes) > 0
        and len(arrays["centroids"]) == len(sizes) * dimensions
        and len(arrays["codebooks"]) == 2**CODE_BITS * dimensions
        and len(rotation) in (0, dimensions * dimensions)
        and len(arrays["probes"]) == 1
        and 1 <= arrays["probes"][0] <= len(sizes)
        and (sizes >= 0).all()
        and (sizes <= len(keys)).all()
        and sizes.sum() == len(keys)
        and all(np.isfinite(arrays[name]).all() for name in ("centroids", "codebooks", "rotation"))
    )
    if not fits:
        raise ValueError("the lengths of its arrays do not fit together")
    quantizer = faiss.IndexFlatIP(dimensions)
    quantizer.add(arrays["centroids"].reshape(-1, dimensions))
    lists: Any = faiss.IndexIVFPQFastScan(
        quantizer, dimensions, len(sizes), parts, CODE_BITS, faiss.METRIC_INNER_PRODUCT
    )
    lists.by_residual = True
    faiss.copy_array_to_vector(np.array(arrays["codebooks"]), lists.pq.centroids)
    inverted: Any = faiss.downcast_InvertedLists(lists.invlists)
    lengths = -(-sizes // inverted.n_per_block) * inverted.block_size
    if lengths.sum() != len(codes):
        raise ValueError("the length of its codes does not fit the lists")
    key_ends, code_ends = np.cumsum(sizes), np.cumsum(lengths)
    for number in np.flatnonzero(sizes).tolist():
        some_keys = keys[key_ends[number] - sizes[number] : key_ends[number]]
        some_codes = codes[code_ends[number] - lengths[number] : code_ends[number]]
        inverted.add_entries(number, len(some_keys), faiss.swig_ptr(some_keys), faiss.swig_ptr(some_codes))
    lists.is_trained, lists.ntotal, lists.nprobe = True, len(keys), int(arrays["probes"][0])
    if not len(rotation):
        return lists
    transform: Any = faiss.LinearTransform(dimensions, dimensions)
    faiss.copy_array_to_vector(np.array(rotation), transform.A)
    transform.is_trained = transform.is_orthonormal = True
    index: Any = faiss.IndexPreTransform(transform, lists)
    return index


def _trained(signals: ForwardIndex) -> Any:
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


def _tune(index: Any, lists: Any, signals: ForwardIndex) -> None:
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


def open_vector_index(folder: Path, file: DerivedFile, dimensions: int) -> tuple[Any, str]:
    """Return the FAISS index of approximate lists; None, and why, see `DerivedFile.invalid_reason`."""
    if reason := file.invalid_reason(folder):
        return None, reason
    try:
        index = _index_of(
            {name: read_array(folder / file.name / name, kind) for name, kind in _TYPES.items()}, dimensions
        )
    except (OSError, ValueError):
        return None, DAMAGED
    return (index, "") if index.ntotal == file.count else (None, DAMAGED)


def in_list_order(folder: Path, file: DerivedFile | None, keys: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return an order of articles in which near ones stand together: that of the approximate lists.

    Args:
        folder: the index's folder.
        file: the folder of the lists, if there is one.
        keys: of the articles, ascending. Those that no list holds come last.

    Returns:
        Positions among `keys`, int64, of their shape; None if there are no lists.
    """
    if file is None or file.invalid_reason(folder):
        return None
    listed = read_array(folder / file.name / "keys", _TYPES["keys"])
    positions = np.searchsorted(keys, listed)
    held = positions[(positions < len(keys)) & (keys[np.minimum(positions, len(keys) - 1)] == listed)]
    rest = np.ones(len(keys), dtype=np.bool_)
    rest[held] = False
    return np.concatenate([held, np.flatnonzero(rest)])


class VectorSearch:
    """Finds the nearest vectors by inner product, as of one revision. Threads may share it.

    The approximate lists are never changed: keys that were removed since are masked, later vectors are compared
    exactly. Where there are no lists all vectors are.

    Args:
        folder: the index's folder.
        dimensions: of the vectors.
    """

    def __init__(self, folder: Path, dimensions: int) -> None:
        self._folder = folder
        self._dimensions = dimensions
        self._signals: ForwardIndex | None = None
        self._files: tuple[DerivedFile | None, DerivedFile | None] = (None, None)
        self._change = -1  # the revision
        self._base: Any = None
        self._later: list[Any] = []
        self._removed: set[int] = set()
        self.removed = np.empty(0, dtype=np.int64)  # the keys that were removed since the base was made
        self._selector: Any = None

    def updated(
        self,
        connection: sqlite3.Connection,
        file: DerivedFile | None,
        forward: tuple[DerivedFile | None, ForwardIndex | None],
        change: int,
        read: ReadVectors,
    ) -> "VectorSearch":
        """Return the search as of a later revision.

        Args:
            connection: to the database, within a snapshot of that revision.
            file: its approximate lists, if it has any.
            forward: its forward index, which gives the vectors for exact scores.
            change: its number.
            read: yields the vectors of all articles that came after a revision.
        """
        new = copy.copy(self)
        new._later, new._removed, new._signals = list(self._later), set(self._removed), forward[1]
        if new._files != (file, forward[0]) or new._change < 0:
            new._open(file, *forward)
        for keys, vectors in read(connection, new._change):
            part = _flat(new._dimensions)
            part.add_with_ids(vectors, keys)
            _stack(new._later, part)
        if keys_removed := removed_after(connection, new._folder, new._change):
            new._removed.update(keys_removed)
            new.removed = np.fromiter(new._removed, dtype=np.int64, count=len(new._removed))
            new._selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(new.removed))
        new._change = change
        return new

    def search(self, queries: NDArray[np.float32], n: int, *, later: bool = False) -> list[NDArray[np.int64]]:
        """Return for each query the keys of its `n` nearest vectors, or of all if there are fewer.

        Args:
            queries: float32, shape (number of queries, dimensions).
            n: 1 or more.
            later: only of those that came after the base.

        Returns:
            For each query int64, shape (up to n,), the nearest first.
        """
        scores: list[NDArray[np.float32]] = []
        keys: list[NDArray[np.int64]] = []
        with _one_thread_for_one(queries):
            for index in self._later if later or not self._base else (self._base, *self._later):
                if index.ntotal:
                    nearest = self._nearest(index, queries, min(n, index.ntotal))
                    scores.append(nearest[0])
                    keys.append(nearest[1])
        if not keys:
            return [np.empty(0, dtype=np.int64) for _ in queries]
        all_scores, all_keys = np.concatenate(scores, axis=1), np.concatenate(keys, axis=1)
        all_scores[all_keys < 0] = -np.inf  # FAISS fills up with -1
        best = np.argsort(-all_scores, axis=1, kind="stable")[:, :n]
        return [row[row >= 0] for row in np.take_along_axis(all_keys, best, axis=1)]

    def _open(
        self, file: DerivedFile | None, forward_file: DerivedFile | None, forward_index: ForwardIndex | None
    ) -> None:
        base, reason = open_vector_index(self._folder, file, self._dimensions) if file else (None, "")
        if file and reason:
            _log.warning(
                "The search folder %s is %s; all vectors are searched without it, which is slower. "
                "The next build makes it again.",
                self._folder / file.name,
                reason,
            )
        if base is None and forward_index and len(forward_index):
            base = _flat(self._dimensions)
            for start in range(0, len(forward_index), CHUNK):
                rows = np.arange(start, min(start + CHUNK, len(forward_index)))
                base.add_with_ids(forward_index.vectors(rows), forward_index.keys(rows))
        self._files = file, forward_file
        self._change = forward_file.change if forward_file and base else 0
        self._base, self._later = base, []
        self._removed, self.removed, self._selector = set(), np.empty(0, dtype=np.int64), None

    def _nearest(
        self, index: Any, queries: NDArray[np.float32], n: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        selector = {"sel": self._selector} if self._selector else {}
        lists: Any = faiss.try_extract_index_ivf(index)
        if not lists:
            scores, keys = index.search(queries, n, params=_faiss.SearchParameters(**selector) if selector else None)
            return scores, keys
        asked = min(max(n, min(_refined(index) * n, MOST_REFINED)), index.ntotal)
        for probes in (lists.nprobe if n * SCANNED < index.ntotal else lists.nlist, lists.nlist):
            params = _faiss.SearchParametersIVF(nprobe=probes, **selector)
            if isinstance(index, faiss.IndexPreTransform):
                params = _faiss.SearchParametersPreTransform(index_params=params)
            scores, keys = index.search(queries, asked, params=params)
            if probes == lists.nlist or (keys[:, n - 1] >= 0).all():  # else the lists held fewer than are wanted
                break
        some = max(COMPARED // asked, 1)  # queries that are near to one another have many candidates in common
        for start in range(0, len(queries), some):
            part = slice(start, start + some)
            self._compare(queries[part], scores[part], keys[part])
        return scores, keys

    def _compare(self, queries: NDArray[np.float32], scores: NDArray[np.float32], keys: NDArray[np.int64]) -> None:
        """Replace FAISS's approximate scores by exact ones, where the forward index holds all of the vectors."""
        held = keys >= 0  # FAISS fills up with -1
        distinct_keys, positions = np.unique(keys[held], return_inverse=True)
        rows = self._signals.rows(distinct_keys) if self._signals else np.full(len(distinct_keys), -1)
        if self._signals is None or (rows < 0).any():
            return
        vectors = self._signals.vectors(rows)
        ends = np.cumsum(held.sum(axis=1))
        for query, own_scores, own, part in zip(queries, scores, held, np.split(positions, ends[:-1]), strict=True):
            with np.errstate(invalid="ignore", over="ignore"):  # numbers that are not finite: damage, found on scoring
                own_scores[own] = vectors[part] @ query


# A forked process does not have the threads of FAISS's pool, and would wait for them.
os.register_at_fork(after_in_child=lambda: faiss.omp_set_num_threads(1))


@contextlib.contextmanager
def _one_thread_for_one(queries: NDArray[np.float32]) -> Iterator[None]:
    """Keep FAISS from starting its thread pool for a single query: that takes longer than the search."""
    threads = faiss.omp_get_max_threads()
    if len(queries) > 1 or threads == 1:
        yield
        return
    faiss.omp_set_num_threads(1)  # of the calling thread only
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _stack(parts: list[Any], more: Any) -> None:
    """Put an index on a stack on which each is more than twice as large as the next: so each is joined a few times."""
    while parts and parts[-1].ntotal <= 2 * more.ntotal:
        joined = _flat(more.d)
        for part in (parts.pop(), more):
            joined.add_with_ids(part.index.reconstruct_n(0, part.ntotal), faiss.vector_to_array(part.id_map))
        more = joined
    parts.append(more)


def _refined(index: Any) -> int:
    """Return how many times as many as are wanted are compared exactly."""
    return OF_ROTATED if isinstance(index, faiss.IndexPreTransform) else REFINED


def _flat(dimensions: int) -> Any:
    return faiss.IndexIDMap(faiss.IndexFlatIP(dimensions))
