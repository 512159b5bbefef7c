"""The vector index: approximate lists (an inverted file) in FAISS, and exact search in later vectors."""

import contextlib
import copy
import logging
import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.store.local.derived_file import DAMAGED, VECTOR_INDEX, DerivedFile, read_array
from recommender.store.local.forward_index import ForwardIndex
from recommender.store.local.rows import removed_after
from recommender.system.faiss_blas import faiss
from recommender.system.files import atomic_folder, unused_path

_faiss: Any = faiss  # its stubs declare some types wrongly
_log = logging.getLogger("recommender")
CHUNK = 8192  # vectors per call
MAX_EXHAUSTIVE_ARTICLES = 10_000  # comparing all vectors takes about a millisecond up to here
LISTS_PER_SQRT = 4  # number of lists divided by the square root of the number of vectors
TRAINING_VECTORS_PER_LIST = 39
MIN_ROTATED_ARTICLES = 250_000  # training a rotation takes 20 s, and halves the time of a search
MAX_ROTATED_DIMENSIONS = 1024  # training time grows with the third power: 20 s at 384
ROTATION_ITERATIONS, MAX_ROTATION_VECTORS = 20, 20_000  # of training a rotation
REFINE_FACTOR, ROTATED_REFINE_FACTOR = 4, 8  # candidates with exact scores per vector that is asked for
MAX_REFINED = 4096  # candidates with exact scores per query
MAX_REFINED_PER_CHUNK = 65_536  # for several queries: 100 MB of vectors of 384
TARGET_RECALL = 0.985  # of the ten nearest: 0.98, and a margin for the error of a sample of 256 queries
TUNING_QUERIES, TUNING_RESULTS = 256, 50  # by which recall is measured
FIRST_PROBED_SHARE, PROBED_SHARE_FACTOR = 1 / 64, 1.2  # shares of the lists that tuning tries
EXHAUSTIVE_SHARE = 16  # a search for more than 1 / 16 of the articles probes all lists
CODE_BITS = 4
# Each file contains one array: its name, and its type.
_TYPES = {
    "centroids": "<f4",  # of the lists, shape (lists, dimensions)
    "codebooks": "<f4",  # of the product quantiser, shape (parts, 16, dimensions per part)
    "rotation": "<f4",  # shape (dimensions, dimensions), or empty
    "probes": "<i8",  # one number: how many lists a search probes
    "list_sizes": "<i8",  # articles per list
    "keys": "<i8",  # of the articles, list after list
    "codes": "u1",  # list after list, in the blocks of FAISS's fast scan
}

# Yields keys (int64, shape (n,)) and vectors (float32, shape (n, dimensions)) of all articles written after a revision.
ReadVectors = Callable[[sqlite3.Connection, int], Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]]


def write_vector_index(index_path: Path, revision: int, forward_index: ForwardIndex) -> DerivedFile | None:
    """Write the approximate lists of all vectors to a new folder, atomically.

    A search probes the nearest lists only. Vectors are stored in 4 bits for two numbers (product quantisation, Jégou et
    al. 2011; compared in registers, André et al. 2015), or, from `MIN_ROTATED_ARTICLES` articles on, in 4 bits for four
    numbers behind a rotation that minimises the loss (optimised product quantisation, Ge et al. 2013). The number of
    lists to probe is measured here.

    Args:
        index_path: the index's folder.
        revision: of the forward index.
        forward_index: whose vectors are indexed.

    Returns:
        The written folder; None if the vectors need no lists, see `needs_lists`.
    """
    count = len(forward_index)
    if not needs_lists(count, forward_index.dimensions):
        return None
    index = _trained(forward_index)
    for start in range(0, count, CHUNK):
        rows = np.arange(start, min(start + CHUNK, count))
        index.add_with_ids(forward_index.vectors(rows), forward_index.keys(rows))
    lists: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    _tune(index, lists, forward_index)
    path = unused_path(index_path / f"{VECTOR_INDEX}-{revision}")
    with atomic_folder(path) as temporary_path:
        for name, values in _arrays(index, lists).items():
            (temporary_path / name).write_bytes(np.ascontiguousarray(values, dtype=_TYPES[name]).tobytes())
    return DerivedFile.of(path, revision, count)


def needs_lists(count: int, dimensions: int) -> bool:
    """Return whether `count` vectors are searched through approximate lists, and not exhaustively."""
    return count > MAX_EXHAUSTIVE_ARTICLES and dimensions % 2 == 0


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
        "list_sizes": sizes,
        "keys": np.concatenate([faiss.rev_swig_ptr(inverted.get_ids(i), int(sizes[i])) for i in filled]),
        "codes": np.concatenate([faiss.rev_swig_ptr(inverted.get_codes(i), int(lengths[i])) for i in filled]),
    }


def _index_from(arrays: dict[str, NDArray[Any]], dimensions: int) -> Any:
    """Return the FAISS index of arrays by the names of `_TYPES`.

    Raises:
        ValueError: their lengths or values are inconsistent, which FAISS does not check.
    """
    sizes, keys, codes, rotation = (arrays[name] for name in ("list_sizes", "keys", "codes", "rotation"))
    parts = dimensions // (4 if len(rotation) else 2)
    is_consistent = (
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
    if not is_consistent:
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
        list_keys = keys[key_ends[number] - sizes[number] : key_ends[number]]
        list_codes = codes[code_ends[number] - lengths[number] : code_ends[number]]
        inverted.add_entries(number, len(list_keys), faiss.swig_ptr(list_keys), faiss.swig_ptr(list_codes))
    lists.is_trained, lists.ntotal, lists.nprobe = True, len(keys), int(arrays["probes"][0])
    if not len(rotation):
        return lists
    transform: Any = faiss.LinearTransform(dimensions, dimensions)
    faiss.copy_array_to_vector(np.array(rotation), transform.A)
    transform.is_trained = transform.is_orthonormal = True
    index: Any = faiss.IndexPreTransform(transform, lists)
    return index


def _trained(forward_index: ForwardIndex) -> Any:
    """Return a trained index without vectors."""
    count, dimensions = len(forward_index), forward_index.dimensions
    lists = LISTS_PER_SQRT * math.isqrt(count)
    is_rotated = count >= MIN_ROTATED_ARTICLES and dimensions % 4 == 0 and dimensions <= MAX_ROTATED_DIMENSIONS
    parts = dimensions // (4 if is_rotated else 2)
    index: Any = faiss.index_factory(dimensions, f"IVF{lists},PQ{parts}x4fsr", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # else FAISS prints a warning for a small archive
    index.pq.cp.niter = 10  # FAISS's default of 25 has the same recall, and takes 1 s longer for 20,000 articles
    sample_size = min(count, TRAINING_VECTORS_PER_LIST * lists)
    vectors = forward_index.vectors(np.linspace(0, count - 1, sample_size, dtype=np.int64))
    if not is_rotated:
        index.train(vectors)
        return index
    rotation: Any = faiss.OPQMatrix(dimensions, parts, dimensions)
    codes: Any = faiss.ProductQuantizer(dimensions, parts, 4)
    rotation.pq, rotation.niter, rotation.max_train_points = codes, ROTATION_ITERATIONS, MAX_ROTATION_VECTORS
    codes.thisown = True  # SWIG hands ownership to the matrix, which does not free it
    rotation.train(vectors)
    rotation.pq = None
    for start in range(0, len(vectors), CHUNK):
        vectors[start : start + CHUNK] = rotation.apply(vectors[start : start + CHUNK])
    index.train(vectors)
    return faiss.IndexPreTransform(rotation, index)


def _tune(index: Any, lists: Any, forward_index: ForwardIndex) -> None:
    """Set `nprobe` to the least that reaches `TARGET_RECALL` of the ten nearest, for a sample of the articles."""
    count = len(forward_index)
    queries = forward_index.vectors(np.linspace(0, count - 1, TUNING_QUERIES, dtype=np.int64))
    scores = np.full((len(queries), 0), 0, dtype=np.float32)
    nearest_keys = np.full((len(queries), 0), 0, dtype=np.int64)
    for start in range(0, count, CHUNK):
        rows = np.arange(start, min(start + CHUNK, count))
        chunk_scores = queries @ forward_index.vectors(rows).T
        chunk_keys = np.broadcast_to(forward_index.keys(rows), chunk_scores.shape)
        scores = np.concatenate([scores, chunk_scores], axis=1)
        nearest_keys = np.concatenate([nearest_keys, chunk_keys], axis=1)
        best = np.argpartition(-scores, 9, axis=1)[:, :10]
        scores, nearest_keys = np.take_along_axis(scores, best, axis=1), np.take_along_axis(nearest_keys, best, axis=1)
    share, recall = FIRST_PROBED_SHARE, 0.0
    while share < PROBED_SHARE_FACTOR and recall < TARGET_RECALL:
        lists.nprobe = max(int(min(share, 1.0) * lists.nlist), 1)
        _, keys = index.search(queries, _refine_factor(index) * TUNING_RESULTS)
        recall = np.mean([np.isin(ten, results).mean() for ten, results in zip(nearest_keys, keys, strict=True)])
        share *= PROBED_SHARE_FACTOR


def open_vector_index(index_path: Path, file: DerivedFile, dimensions: int) -> tuple[Any, str]:
    """Return the FAISS index of a file; None and the reason if it is invalid, see `DerivedFile.invalid_reason`."""
    if reason := file.invalid_reason(index_path):
        return None, reason
    try:
        arrays = {name: read_array(index_path / file.name / name, kind) for name, kind in _TYPES.items()}
        index = _index_from(arrays, dimensions)
    except (OSError, ValueError):
        return None, DAMAGED
    return (index, "") if index.ntotal == file.count else (None, DAMAGED)


def in_list_order(index_path: Path, file: DerivedFile | None, keys: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the order of articles in the approximate lists, in which neighbours are close to one another.

    Args:
        index_path: the index's folder.
        file: the vector index, if there is one.
        keys: of the articles, ascending. Articles that are in no list come last.

    Returns:
        Positions in `keys`: int64, of their shape; None if there is no valid vector index.
    """
    if file is None or file.invalid_reason(index_path):
        return None
    list_keys = read_array(index_path / file.name / "keys", _TYPES["keys"])
    positions = np.searchsorted(keys, list_keys)
    listed = positions[(positions < len(keys)) & (keys[np.minimum(positions, len(keys) - 1)] == list_keys)]
    is_unlisted = np.ones(len(keys), dtype=np.bool_)
    is_unlisted[listed] = False
    return np.concatenate([listed, np.flatnonzero(is_unlisted)])


class VectorSearch:
    """Finds the nearest vectors by inner product, as of one revision. Threads may share it.

    The approximate lists never change: keys that were removed later are masked, and later vectors are compared exactly.
    Without lists all vectors are compared.

    Args:
        index_path: the index's folder.
        dimensions: of the vectors.

    Attributes:
        removed: the keys that were removed after the forward index: int64.
    """

    def __init__(self, index_path: Path, dimensions: int) -> None:
        self._index_path = index_path
        self._dimensions = dimensions
        self._forward_index: ForwardIndex | None = None
        self._files: tuple[DerivedFile | None, DerivedFile | None] = (None, None)
        self._revision = -1
        self._base: Any = None
        self._later: list[Any] = []
        self._removed: set[int] = set()
        self.removed = np.empty(0, dtype=np.int64)
        self._selector: Any = None

    def updated(
        self,
        connection: sqlite3.Connection,
        file: DerivedFile | None,
        forward: tuple[DerivedFile | None, ForwardIndex | None],
        revision: int,
        read: ReadVectors,
    ) -> "VectorSearch":
        """Return the search as of a later revision.

        Args:
            connection: to the database, within a snapshot of that revision.
            file: its vector index, if there is one.
            forward: the file of its forward index and the forward index, for exact scores.
            revision: its number.
            read: yields the vectors of all articles that were written after a revision.
        """
        new = copy.copy(self)
        new._later, new._removed, new._forward_index = list(self._later), set(self._removed), forward[1]
        if new._files != (file, forward[0]) or new._revision < 0:
            new._open(file, *forward)
        for keys, vectors in read(connection, new._revision):
            part = _flat_index(new._dimensions)
            part.add_with_ids(vectors, keys)
            _push(new._later, part)
        if keys_removed := removed_after(connection, new._index_path, new._revision):
            new._removed.update(keys_removed)
            new.removed = np.fromiter(new._removed, dtype=np.int64, count=len(new._removed))
            new._selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(new.removed))
        new._revision = revision
        return new

    def search(self, queries: NDArray[np.float32], n: int, *, only_later: bool = False) -> list[NDArray[np.int64]]:
        """Return for each query the keys of its `n` nearest vectors, or of all if there are fewer.

        Args:
            queries: float32, shape (number of queries, dimensions).
            n: 1 or more.
            only_later: whether to search only vectors that were written after the forward index.

        Returns:
            For each query int64, shape (up to n,), the nearest first.
        """
        scores: list[NDArray[np.float32]] = []
        keys: list[NDArray[np.int64]] = []
        with _single_thread_for_single_query(queries):
            for index in self._later if only_later or not self._base else (self._base, *self._later):
                if index.ntotal:
                    nearest = self._nearest(index, queries, min(n, index.ntotal))
                    scores.append(nearest[0])
                    keys.append(nearest[1])
        if not keys:
            return [np.empty(0, dtype=np.int64) for _ in queries]
        all_scores, all_keys = np.concatenate(scores, axis=1), np.concatenate(keys, axis=1)
        all_scores[all_keys < 0] = -np.inf  # FAISS pads with -1
        best = np.argsort(-all_scores, axis=1, kind="stable")[:, :n]
        return [row[row >= 0] for row in np.take_along_axis(all_keys, best, axis=1)]

    def _open(
        self, file: DerivedFile | None, forward_file: DerivedFile | None, forward_index: ForwardIndex | None
    ) -> None:
        base, reason = open_vector_index(self._index_path, file, self._dimensions) if file else (None, "")
        if file and reason:
            _log.warning(
                "The search folder %s is %s; all vectors are searched without it, which is slower. "
                "The next build makes it again.",
                self._index_path / file.name,
                reason,
            )
        if base is None and forward_index and len(forward_index):
            base = _flat_index(self._dimensions)
            for start in range(0, len(forward_index), CHUNK):
                rows = np.arange(start, min(start + CHUNK, len(forward_index)))
                base.add_with_ids(forward_index.vectors(rows), forward_index.keys(rows))
        self._files = file, forward_file
        self._revision = forward_file.revision if forward_file and base else 0
        self._base, self._later = base, []
        self._removed, self.removed, self._selector = set(), np.empty(0, dtype=np.int64), None

    def _nearest(
        self, index: Any, queries: NDArray[np.float32], n: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return scores and keys of the nearest vectors in one FAISS index, `n` or more per query."""
        selector = {"sel": self._selector} if self._selector else {}
        lists: Any = faiss.try_extract_index_ivf(index)
        if not lists:
            scores, keys = index.search(queries, n, params=_faiss.SearchParameters(**selector) if selector else None)
            return scores, keys
        width = min(max(n, min(_refine_factor(index) * n, MAX_REFINED)), index.ntotal)
        for probes in (lists.nprobe if n * EXHAUSTIVE_SHARE < index.ntotal else lists.nlist, lists.nlist):
            params = _faiss.SearchParametersIVF(nprobe=probes, **selector)
            if isinstance(index, faiss.IndexPreTransform):
                params = _faiss.SearchParametersPreTransform(index_params=params)
            scores, keys = index.search(queries, width, params=params)
            if probes == lists.nlist or (keys[:, n - 1] >= 0).all():  # else the probed lists had fewer than n
                break
        chunk = max(MAX_REFINED_PER_CHUNK // width, 1)  # queries that are near to one another share candidates
        for start in range(0, len(queries), chunk):
            part = slice(start, start + chunk)
            self._refine(queries[part], scores[part], keys[part])
        return scores, keys

    def _refine(self, queries: NDArray[np.float32], scores: NDArray[np.float32], keys: NDArray[np.int64]) -> None:
        """Overwrite approximate scores with exact ones, if the forward index has all of the vectors."""
        is_key = keys >= 0  # FAISS pads with -1
        distinct_keys, positions = np.unique(keys[is_key], return_inverse=True)
        rows = self._forward_index.rows(distinct_keys) if self._forward_index else np.full(len(distinct_keys), -1)
        if self._forward_index is None or (rows < 0).any():
            return
        vectors = self._forward_index.vectors(rows)
        ends = np.cumsum(is_key.sum(axis=1))
        by_query = np.split(positions, ends[:-1])
        for query, query_scores, mask, part in zip(queries, scores, is_key, by_query, strict=True):
            with np.errstate(invalid="ignore", over="ignore"):  # damaged numbers, which exact scoring reports
                query_scores[mask] = vectors[part] @ query


@contextlib.contextmanager
def _single_thread_for_single_query(queries: NDArray[np.float32]) -> Iterator[None]:
    """Prevent FAISS from starting its thread pool for a single query, which takes longer than the search."""
    threads = faiss.omp_get_max_threads()
    if len(queries) > 1 or threads == 1:
        yield
        return
    faiss.omp_set_num_threads(1)  # of the calling thread only
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _push(stack: list[Any], index: Any) -> None:
    """Push an index on a stack, each more than twice as large as the next, so that each is merged log(n) times."""
    while stack and stack[-1].ntotal <= 2 * index.ntotal:
        merged = _flat_index(index.d)
        for part in (stack.pop(), index):
            merged.add_with_ids(part.index.reconstruct_n(0, part.ntotal), faiss.vector_to_array(part.id_map))
        index = merged
    stack.append(index)


def _refine_factor(index: Any) -> int:
    """Return the number of candidates with exact scores per vector that is asked for."""
    return ROTATED_REFINE_FACTOR if isinstance(index, faiss.IndexPreTransform) else REFINE_FACTOR


def _flat_index(dimensions: int) -> Any:
    return faiss.IndexIDMap(faiss.IndexFlatIP(dimensions))
