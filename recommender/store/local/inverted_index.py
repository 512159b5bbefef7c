"""The inverted index, derived from the database, and the search of articles by terms.

Term search retrieves candidates, and exact scoring orders them: the index weights terms by the document frequencies at
its revision, and has for each term only the articles that the term weighs most in (champion lists: Manning, Raghavan &
Schütze 2008, section 7.1.3), so that a query costs no more in an archive of millions.
"""

import copy
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recommender.store.local.derived_file import DAMAGED, INVERTED_INDEX, DerivedFile, is_cut_short, read_array
from recommender.store.local.rows import removed_after
from recommender.system.files import atomic_folder, unused_path

_log = logging.getLogger("recommender")
MAX_POSTINGS = 2048  # per term; the list of a term is complete up to this number of articles
POSTINGS_READ = 40  # of a query's heaviest term, for each article that the query asks for
MAX_BATCH_ARTICLES = 2**16  # of `WeightedTerms`: a position in it has 16 bits
MAX_MERGED_POSTINGS = 2**21  # per merge step of `write_inverted_index`: 100 MB with all intermediate arrays
POSITION_BITS, TERM_BITS = 28, 20  # of 64, for an article and for a term; a weight has the other 16
UNIT_WEIGHT = 65_535  # the stored form of a weight of 1; the least stored weight is 1
DENSE_RATIO = 4  # up to this ratio of articles to postings, an array of all articles is faster than sorting
# Each file contains one array: its name, and its type.
_TYPES = {"keys": "<i8", "term_ids": "<u4", "offsets": "<i8", "positions": "<u4", "weights": "<u2"}


@dataclass(frozen=True, slots=True)
class WeightedTerms:
    """Articles with their weighted terms.

    Attributes:
        keys: of the articles, in the order of their ids: int64, shape (n,).
        lengths: the number of terms of each: int64, shape (n,).
        term_ids: article after article: int64, shape (terms,).
        weights: of each term in its article, from 0 to 1: float64, shape (terms,).
    """

    keys: NDArray[np.int64]
    lengths: NDArray[np.int64]
    term_ids: NDArray[np.int64]
    weights: NDArray[np.float64]


# Yields the terms of all articles that were written after a revision, in batches.
ReadTerms = Callable[[sqlite3.Connection, int], Iterator[WeightedTerms]]


@dataclass(frozen=True, slots=True)
class Postings:
    """For each term the articles that it weighs most in.

    Attributes:
        keys: of all articles, in the order that breaks ties: int64, shape (n,).
        term_ids: ascending: uint32, shape (t,).
        offsets: the end of each term's postings: int64, shape (t,).
        positions: the article of each posting, as a position in `keys`: uint32; of each term the heaviest first.
        weights: of the term in the article of each posting, in units of 1 / 65,535: uint16.
    """

    keys: NDArray[np.int64]
    term_ids: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    positions: NDArray[np.uint32]
    weights: NDArray[np.uint16]

    @classmethod
    def of(cls, articles: WeightedTerms) -> Self:
        """Invert the terms of at most `MAX_BATCH_ARTICLES` articles."""
        packed = _sorted_postings(articles)
        low = packed.astype(np.uint32)
        return cls.truncated(
            articles.keys,
            (packed >> np.uint64(32)).astype(np.uint32),
            low & np.uint32(0xFFFF),
            (UNIT_WEIGHT - (low >> np.uint32(16))).astype(np.uint16),
        )

    def merged(self, later: Self) -> Self:
        """Return the postings of these and of other articles, which come later in the order that breaks ties."""
        term_ids = np.concatenate([np.repeat(part.term_ids, part.lengths()) for part in (self, later)])
        weights = np.concatenate([self.weights, later.weights])
        positions = np.concatenate([self.positions, later.positions + np.uint32(len(self.keys))])
        order = np.argsort((term_ids.astype(np.uint64) << np.uint64(16)) | (UNIT_WEIGHT - weights), kind="stable")
        keys = np.concatenate([self.keys, later.keys])
        return self.truncated(keys, term_ids[order], positions[order], weights[order])

    @classmethod
    def truncated(
        cls,
        keys: NDArray[np.int64],
        term_ids: NDArray[np.uint32],
        positions: NDArray[np.uint32],
        weights: NDArray[np.uint16],
    ) -> Self:
        """Return the first `MAX_POSTINGS` postings of each term, given sorted postings."""
        distinct_ids, lengths = _run_lengths(term_ids)
        if lengths.max(initial=0) > MAX_POSTINGS:
            is_first = _is_among_first(lengths)
            positions, weights = positions[is_first], weights[is_first]
        return cls(keys, distinct_ids, np.cumsum(np.minimum(lengths, MAX_POSTINGS)), positions, weights)

    def is_consistent(self) -> bool:
        """Return whether all offsets and positions are within the arrays, and offsets and term ids ascend."""
        return (
            len(self.offsets) == len(self.term_ids)
            and len(self.positions) == len(self.weights) == (self.offsets[-1] if len(self.offsets) else 0)
            and bool((self.lengths() >= 0).all())
            and bool((np.diff(self.term_ids.astype(np.int64)) > 0).all())
            and bool(self.positions.max(initial=0) < max(len(self.keys), 1))
        )

    def is_cut_short(self) -> bool:
        """Return whether a file became shorter than its mapping."""
        return is_cut_short(self.keys, self.term_ids, self.offsets, self.positions, self.weights)

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of postings of each term: int64, shape (t,)."""
        return np.diff(self.offsets, prepend=0)

    def search(
        self, term_ids: NDArray[np.int64], weights: NDArray[np.float64], n: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the `n` articles of the highest cosine with a query of these terms.

        A lighter term has fewer postings read than the heaviest, in proportion to its weight, but at least `n`.

        Args:
            term_ids: the query's terms, shape (t,).
            weights: of the terms in the query, shape (t,).
            n: 1 or more.

        Returns:
            The cosines (float64) and the articles' keys (int64), the best first; fewer than `n` if fewer articles have
            one of the terms.
        """
        terms = np.searchsorted(self.term_ids, term_ids.astype(np.uint32))
        is_known = terms < len(self.term_ids)
        is_known[is_known] = self.term_ids[terms[is_known]] == term_ids[is_known]
        if not is_known.any():
            return np.empty(0), np.empty(0, dtype=np.int64)
        terms, term_weights = terms[is_known], weights[is_known].astype(np.float32)
        starts = np.where(terms > 0, self.offsets[terms - 1], 0)
        limits = np.ceil(n * np.maximum(POSTINGS_READ * term_weights / term_weights.max(), 1.0))
        ends = np.minimum(self.offsets[terms], starts + np.minimum(limits, MAX_POSTINGS).astype(np.int64))
        slices = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        positions = np.concatenate([self.positions[part] for part in slices])
        products = np.concatenate([self.weights[part] for part in slices]) * np.repeat(term_weights, ends - starts)
        articles, sums = _sum_by_position(positions, products, len(self.keys))
        best = _highest(sums, n)
        return sums[best] / UNIT_WEIGHT, self.keys[articles[best]]


def write_inverted_index(index_path: Path, revision: int, batches: Iterable[WeightedTerms]) -> DerivedFile:
    """Write an inverted index to a new folder, atomically.

    Sorted postings of each batch wait in a temporary file, and are merged some terms at a time (external merge sort:
    Knuth, The Art of Computer Programming, vol. 3, section 5.4), so that memory grows by 8 bytes a term only.

    Args:
        index_path: the index's folder.
        revision: that the articles are read at.
        batches: all articles, in the order of their ids, at most `MAX_BATCH_ARTICLES` per batch and 2**28 in all.
    """
    path = unused_path(index_path / f"{INVERTED_INDEX}-{revision}")
    with atomic_folder(path) as temporary_path, ExitStack() as stack:
        sorted_file = stack.enter_context(TemporaryFile(dir=temporary_path))
        files = {name: stack.enter_context((temporary_path / name).open("wb")) for name in _TYPES}

        def write(name: str, values: NDArray[Any]) -> None:
            files[name].write(np.ascontiguousarray(values, dtype=_TYPES[name]).data)

        posting_counts = np.zeros(0, dtype=np.int64)  # by term id
        batch_positions, batch_ends = [0], [0]  # of each batch, the position of its first article, and its end
        for batch in batches:
            packed = _sorted_postings(batch)
            term_ids, lengths = _run_lengths((packed >> np.uint64(32)).astype(np.uint32))
            if len(term_ids) and term_ids[-1] >= len(posting_counts):
                posting_counts = np.pad(posting_counts, (0, int(term_ids[-1]) + 1 - len(posting_counts)))
            posting_counts[term_ids] += lengths
            sorted_file.write(packed.data)
            write("keys", batch.keys)
            batch_positions.append(batch_positions[-1] + len(batch.keys))
            batch_ends.append(batch_ends[-1] + len(packed))
        sorted_file.flush()
        mapped = np.memmap(sorted_file, dtype=np.uint64, mode="r") if batch_ends[-1] else np.empty(0, dtype=np.uint64)
        bounds = zip(batch_positions, batch_ends, batch_ends[1:], strict=False)
        parts = [(position, mapped[start:end]) for position, start, end in bounds]
        count = 0
        for postings in _merged_batches(parts, posting_counts):
            write("term_ids", postings.term_ids)
            write("offsets", count + postings.offsets)
            write("positions", postings.positions)
            write("weights", postings.weights)
            count += len(postings.positions)
        del mapped, parts  # NFS keeps an open unnamed file in the folder, which could not be renamed
    return DerivedFile.of(path, revision, batch_positions[-1])


def open_inverted_index(index_path: Path, file: DerivedFile) -> tuple[Postings | None, str]:
    """Open an inverted index; return None and the reason if it is invalid, see `DerivedFile.invalid_reason`."""
    if reason := file.invalid_reason(index_path):
        return None, reason
    try:
        postings = Postings(*(read_array(index_path / file.name / name, kind) for name, kind in _TYPES.items()))
    except (OSError, ValueError):
        return None, DAMAGED
    return (postings, "") if len(postings.keys) == file.count and postings.is_consistent() else (None, DAMAGED)


class TermSearch:
    """Finds the articles that share a query's terms, as of one revision, in the inverted index and in later articles.

    The inverted index never changes: a search skips keys that were removed later, and the postings of later articles
    are in memory. If the inverted index is missing or damaged, the postings of all articles are. Threads may share it.

    Args:
        index_path: the index's folder.
    """

    def __init__(self, index_path: Path) -> None:
        self._index_path = index_path
        self._file: DerivedFile | None = None
        self._revision = -1
        self._base: Postings | None = None
        self._later: list[Postings] = []
        self._removed: set[int] = set()

    def updated(
        self, connection: sqlite3.Connection, file: DerivedFile | None, revision: int, read: ReadTerms
    ) -> "TermSearch":
        """Return the search as of a later revision.

        Args:
            connection: to the database, within a snapshot of that revision.
            file: its inverted index.
            revision: its number.
            read: yields the weighted terms of all articles that were written after a revision.
        """
        new = copy.copy(self)
        new._later, new._removed = list(self._later), set(self._removed)
        if file != new._file or new._revision < 0 or new.is_cut_short():
            new._open(file)
        for batch in read(connection, new._revision):
            _push(new._later, Postings.of(batch))
        new._removed.update(removed_after(connection, new._index_path, new._revision))
        new._revision = revision
        return new

    def is_cut_short(self) -> bool:
        """Return whether a file of the inverted index became shorter than its mapping."""
        return self._base is not None and self._base.is_cut_short()

    def search(
        self, term_ids: NDArray[np.int64], weights: NDArray[np.float64], n: int, *, only_later: bool = False
    ) -> NDArray[np.int64]:
        """Return the keys of the `n` articles of the highest cosine with these terms.

        Args:
            term_ids: the query's terms, shape (t,).
            weights: of the terms in the query, above 0, shape (t,).
            n: 1 or more.
            only_later: whether to search only articles that were written after the inverted index.

        Returns:
            Keys, int64: up to `n` from the inverted index and `n` later ones; fewer if fewer articles are in the
            postings of the terms.
        """
        groups = [] if only_later or self._base is None else [[self._base]]
        groups += [self._later] if self._later else []
        keys = [self._search_group(parts, term_ids, weights, n) for parts in groups] if len(term_ids) else []
        return np.concatenate(keys) if keys else np.empty(0, dtype=np.int64)

    def _search_group(
        self, parts: list[Postings], term_ids: NDArray[np.int64], weights: NDArray[np.float64], n: int
    ) -> NDArray[np.int64]:
        """Return the keys of the `n` best articles of some postings that were not removed."""
        width = n
        while True:
            results = [part.search(term_ids, weights, width) for part in parts]
            if len(results) == 1 and not self._removed:
                return results[0][1]
            scores, keys = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
            keys = keys[np.argsort(-scores, kind="stable")]
            remaining = np.array([key for key in keys.tolist() if key not in self._removed], dtype=np.int64)
            if len(remaining) >= n or all(len(part_scores) < width for part_scores, _ in results):
                return remaining[:n]
            width *= 4

    def _open(self, file: DerivedFile | None) -> None:
        self._base, reason = open_inverted_index(self._index_path, file) if file else (None, "")
        if file and reason:
            _log.warning(
                "The search folder %s is %s; all terms are searched without it, which is slower. "
                "The next build makes it again.",
                self._index_path / file.name,
                reason,
            )
        self._file = file
        self._revision = file.revision if file and self._base else 0
        self._later, self._removed = [], set()


def _push(stack: list[Postings], postings: Postings) -> None:
    """Push postings on a stack, each more than twice as large as the next, so that each is merged log(n) times."""
    while stack and len(stack[-1].positions) <= 2 * len(postings.positions):
        postings = stack.pop().merged(postings)
    stack.append(postings)


def _sorted_postings(articles: WeightedTerms) -> NDArray[np.uint64]:
    """Return the postings of at most `MAX_BATCH_ARTICLES` articles, sorted, the first `MAX_POSTINGS` of each term.

    A posting is one number: from the highest bits the term id (32), 65,535 minus the weight (16), and the article's
    position (16). Sorting numbers takes a fraction of the time of `np.argsort`.
    """
    weights = np.maximum(np.round(articles.weights * UNIT_WEIGHT), 1.0).astype(np.uint64)
    positions = np.repeat(np.arange(len(articles.keys), dtype=np.uint64), articles.lengths)
    high = articles.term_ids.astype(np.uint64) << np.uint64(32)
    packed = high | ((UNIT_WEIGHT - weights) << np.uint64(16)) | positions
    packed.sort()
    _, lengths = _run_lengths((packed >> np.uint64(32)).astype(np.uint32))
    return packed[_is_among_first(lengths)] if lengths.max(initial=0) > MAX_POSTINGS else packed


def _is_among_first(lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each posting whether it is among the first `MAX_POSTINGS` of its term, given the terms' lengths."""
    ends = np.cumsum(lengths)
    is_first: NDArray[np.bool_] = np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths) < MAX_POSTINGS
    return is_first


def _merged_batches(
    parts: Sequence[tuple[int, NDArray[np.uint64]]], posting_counts: NDArray[np.int64]
) -> Iterator[Postings]:
    """Yield the merged postings of all batches, some terms at a time, by ascending ids, without the articles' keys.

    Args:
        parts: of each batch the position of its first article, and its postings from `_sorted_postings`.
        posting_counts: by term id, the number of postings in all batches; overwritten.
    """
    ends = np.cumsum(posting_counts, out=posting_counts)
    stop = 0
    while stop < len(ends):
        start, max_end = stop, (ends[stop - 1] if stop else 0) + MAX_MERGED_POSTINGS
        stop = min(max(int(np.searchsorted(ends, max_end, side="right")), start + 1), start + 2**TERM_BITS)
        bounds = np.array([start, stop], dtype=np.uint64) << np.uint64(32)
        repacked = []
        for first_position, part in parts:
            begin, end = np.searchsorted(part, bounds)
            high = (part[begin:end] - bounds[0]) >> np.uint64(16) << np.uint64(POSITION_BITS)
            repacked.append(high | ((part[begin:end] & np.uint64(0xFFFF)) + np.uint64(first_position)))
        packed = np.concatenate(repacked)
        del repacked
        packed.sort()
        yield Postings.truncated(
            np.empty(0, dtype=np.int64),
            (packed >> np.uint64(16 + POSITION_BITS)).astype(np.uint32) + np.uint32(start),
            (packed & np.uint64(2**POSITION_BITS - 1)).astype(np.uint32),
            (UNIT_WEIGHT - (packed >> np.uint64(POSITION_BITS) & np.uint64(0xFFFF))).astype(np.uint16),
        )


def _run_lengths(values: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the distinct values of an ascending array, and the number of occurrences of each."""
    starts = np.flatnonzero(_differs_from_previous(values))
    return values[starts], np.diff(starts, append=len(values))


def _differs_from_previous(values: NDArray[np.uint32]) -> NDArray[np.bool_]:
    differs = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    return differs


def _sum_by_position(
    positions: NDArray[np.uint32], products: NDArray[np.float32], n: int
) -> tuple[NDArray[np.integer[Any]], NDArray[np.float64]]:
    """Return the distinct positions, all below `n`, ascending, and the sum of the products, above 0, at each."""
    if n <= DENSE_RATIO * len(positions):
        all_sums = np.asarray(np.bincount(positions, products, minlength=n), dtype=np.float64)
        articles = np.flatnonzero(all_sums > 0)  # flatnonzero of floats takes six times as long
        return articles, all_sums[articles]
    # Sorting position and product packed in one number takes a third of the time of `np.argsort`.
    pairs = (positions.astype(np.uint64) << np.uint64(32)) | products.view(np.uint32)
    pairs.sort()
    positions = (pairs >> np.uint64(32)).astype(np.uint32)
    starts = np.flatnonzero(_differs_from_previous(positions))
    cumulative = np.cumsum(pairs.astype(np.uint32).view(np.float32), dtype=np.float64)
    # The same as `np.add.reduceat` in a third of the time.
    return positions[starts], np.diff(cumulative[np.append(starts[1:], len(positions)) - 1], prepend=0.0)


def _highest(scores: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Return the positions of the `n` highest scores, the highest first; ties by position."""
    positions = np.arange(len(scores))
    if len(scores) > n:
        least = np.partition(scores, len(scores) - n)[len(scores) - n]
        above = np.flatnonzero(scores > least)
        positions = np.concatenate([above, np.flatnonzero(scores == least)[: n - len(above)]])
    highest: NDArray[np.int64] = positions[np.argsort(-scores[positions], kind="stable")]
    return highest
