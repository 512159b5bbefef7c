"""Search in the terms of a local index: a mapped inverted file, derived from SQLite, and what has changed since.

It proposes candidates and scores nothing for good: it weighs terms by the counts of the day they were read, and keeps
for each term only the articles that it weighs most in (champion lists: Manning, Raghavan & Schütze 2008, section
7.1.3), so that asking costs no more in an archive of millions. Exact scoring decides.
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

from recommender.store.local.derived_file import DAMAGED, DerivedFile, is_cut_short, read_array
from recommender.store.local.rows import removed_after
from recommender.system.files import making_folder, unused

_log = logging.getLogger("recommender")
CHAMPIONS = 2048  # articles that are kept of a term; up to so many articles nothing is left out
READ = 40  # of these, for each article that is asked for, are read of a query's heaviest term
AT_ONCE = 2**16  # articles that can be taken in at once
JOINED_AT_ONCE = 2**21  # postings of several parts, when a folder is written: 100 MB with what is made of each
PLACE_BITS, TERM_BITS = 28, 20  # what is left of 64 for an article and for a term, beside the 16 of a weight
WHOLE = 65_535  # what a weight of 1 is stored as; the least is 1
DENSE = 4  # times as many articles as postings, up to which a sum for each article is faster than sorting
# Each file holds one array: its name, and its type.
_TYPES = {"keys": "<i8", "numbers": "<u4", "ends": "<i8", "places": "<u4", "weights": "<u2"}


@dataclass(frozen=True, slots=True)
class WeightedTerms:
    """Articles with their weighed terms.

    Attributes:
        keys: of the articles, in the order of their ids: int64, shape (n,).
        lengths: how many terms each has: int64, shape (n,).
        numbers: the terms' numbers, article after article: int64.
        weights: what each weighs in its article, from 0 to 1: float64.
    """

    keys: NDArray[np.int64]
    lengths: NDArray[np.int64]
    term_ids: NDArray[np.int64]
    weights: NDArray[np.float64]


# Gives all rows after a change, some at a time.
ReadTerms = Callable[[sqlite3.Connection, int], Iterator[WeightedTerms]]


@dataclass(frozen=True, slots=True)
class Postings:
    """For each term the articles that it weighs most in.

    Attributes:
        keys: of all articles, in the order that decides between equal ones: int64, shape (n,).
        numbers: of the terms, ascending: uint32, shape (t,).
        ends: where the postings of each term end: int64, shape (t,).
        places: of each posting the article, as a place among `keys`: uint32; of each term the heaviest first.
        weights: of each posting the weight of the term in the article, in 65,535ths: uint16.
    """

    keys: NDArray[np.int64]
    term_ids: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    positions: NDArray[np.uint32]
    weights: NDArray[np.uint16]

    @classmethod
    def of(cls, given: WeightedTerms) -> Self:
        """Sort the terms of at most `AT_ONCE` articles."""
        packed = _packed(given)
        low = packed.astype(np.uint32)
        return cls.champions(
            given.keys,
            (packed >> np.uint64(32)).astype(np.uint32),
            low & np.uint32(0xFFFF),
            (WHOLE - (low >> np.uint32(16))).astype(np.uint16),
        )

    def joined(self, later: Self) -> Self:
        """Return these and those of other articles, which come after these where they are equal."""
        numbers = np.concatenate([np.repeat(part.term_ids, part.lengths()) for part in (self, later)])
        weights = np.concatenate([self.weights, later.weights])
        places = np.concatenate([self.positions, later.positions + np.uint32(len(self.keys))])
        order = np.argsort((numbers.astype(np.uint64) << np.uint64(16)) | (WHOLE - weights), kind="stable")
        return self.champions(np.concatenate([self.keys, later.keys]), numbers[order], places[order], weights[order])

    @classmethod
    def champions(
        cls,
        keys: NDArray[np.int64],
        numbers: NDArray[np.uint32],
        places: NDArray[np.uint32],
        weights: NDArray[np.uint16],
    ) -> Self:
        """Return the first `CHAMPIONS` postings of each term; they are in their order."""
        numbers, lengths = _runs(numbers)
        if lengths.max(initial=0) > CHAMPIONS:
            kept = _first_of_each(lengths)
            places, weights = places[kept], weights[kept]
        return cls(keys, numbers, np.cumsum(np.minimum(lengths, CHAMPIONS)), places, weights)

    def is_consistent(self) -> bool:
        """Return whether all offsets are ascending and within the arrays."""
        return (
            len(self.offsets) == len(self.term_ids)
            and len(self.positions) == len(self.weights) == (self.offsets[-1] if len(self.offsets) else 0)
            and bool((self.lengths() >= 0).all())
            and bool((np.diff(self.term_ids.astype(np.int64)) > 0).all())
            and bool(self.positions.max(initial=0) < max(len(self.keys), 1))
        )

    def is_cut_short(self) -> bool:
        """Return whether the file of an array is shorter by now than it was."""
        return is_cut_short(self.keys, self.term_ids, self.offsets, self.positions, self.weights)

    def lengths(self) -> NDArray[np.int64]:
        """Return how many postings each term has."""
        return np.diff(self.offsets, prepend=0)

    def best(
        self, numbers: NDArray[np.int64], weights: NDArray[np.float64], n: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the `n` articles of the highest cosine with a query, as far as it is made of these terms.

        Of a lighter term less is read than of the heaviest, in proportion to its weight, but enough for `n`.

        Args:
            numbers: the query's terms, shape (t,).
            weights: what each weighs in it, shape (t,).
            n: 1 or more.

        Returns:
            The cosines and the articles' keys, the best first; fewer where fewer have one of the terms.
        """
        at = np.searchsorted(self.term_ids, numbers.astype(np.uint32))
        known = at < len(self.term_ids)
        known[known] = self.term_ids[at[known]] == numbers[known]
        if not known.any():
            return np.empty(0), np.empty(0, dtype=np.int64)
        at, weights = at[known], weights[known].astype(np.float32)
        starts = np.where(at > 0, self.offsets[at - 1], 0)
        wanted = np.minimum(np.ceil(n * np.maximum(READ * weights / weights.max(), 1.0)), CHAMPIONS)
        ends = np.minimum(self.offsets[at], starts + wanted.astype(np.int64))
        held = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        places = np.concatenate([self.positions[part] for part in held])
        worth = np.concatenate([self.weights[part] for part in held]) * np.repeat(weights, ends - starts)
        places, sums = _summed(places, worth, len(self.keys))
        best = _highest(sums, n)
        return sums[best] / WHOLE, self.keys[places[best]]


def write_inverted_index(folder: Path, change: int, articles: Iterable[WeightedTerms]) -> DerivedFile:
    """Write the terms of articles to a folder within `folder`, whole or not at all.

    What is sorted waits in a temporary file, and is joined some terms at a time (external merge sort: Knuth, The Art of
    Computer Programming, vol. 3, section 5.4), so that memory does not grow with the archive, but for 8 bytes a term.

    Args:
        folder: the index's.
        change: the change number that they are of.
        articles: all, in the order of their ids, at most `AT_ONCE` at once and 2**28 together.
    """
    path = unused(folder / f"lexical-{change}")
    with making_folder(path) as beside, ExitStack() as stack:
        waiting = stack.enter_context(TemporaryFile(dir=beside))  # without a name, or soon without
        files = {name: stack.enter_context((beside / name).open("wb")) for name in _TYPES}

        def put(name: str, values: NDArray[Any]) -> None:
            files[name].write(np.ascontiguousarray(values, dtype=_TYPES[name]).data)

        counts = np.zeros(0, dtype=np.int64)  # by term, of postings
        firsts, ends = [0], [0]  # of each part the place of its first article, and where it ends
        for some in articles:
            packed = _packed(some)
            numbers, lengths = _runs((packed >> np.uint64(32)).astype(np.uint32))
            if len(numbers) and numbers[-1] >= len(counts):
                counts = np.pad(counts, (0, int(numbers[-1]) + 1 - len(counts)))
            counts[numbers] += lengths
            waiting.write(packed.data)
            put("keys", some.keys)
            firsts.append(firsts[-1] + len(some.keys))
            ends.append(ends[-1] + len(packed))
        waiting.flush()
        written = np.memmap(waiting, dtype=np.uint64, mode="r") if ends[-1] else np.empty(0, dtype=np.uint64)
        parts = [(first, written[start:end]) for first, start, end in zip(firsts, ends, ends[1:], strict=False)]
        kept = 0
        for found in _joined(parts, counts):
            put("numbers", found.term_ids)
            put("ends", kept + found.offsets)
            put("places", found.positions)
            put("weights", found.weights)
            kept += len(found.positions)
        del written, parts  # the temporary file has to be closed, and gone, before the folder is renamed
    return DerivedFile.of(path, change, firsts[-1])


def open_inverted_index(folder: Path, file: DerivedFile) -> tuple[Postings | None, str]:
    """Open an inverted index; None, and why, if it cannot be used, see `DerivedFile.invalid_reason`."""
    if reason := file.invalid_reason(folder):
        return None, reason
    try:
        opened = Postings(*(read_array(folder / file.name / name, kind) for name, kind in _TYPES.items()))
    except (OSError, ValueError):
        return None, DAMAGED
    return (opened, "") if len(opened.keys) == file.count and opened.is_consistent() else (None, DAMAGED)


class TermSearch:
    """Finds the articles that share a query's terms, as of one revision: in the inverted index, and in later articles.

    The inverted index is never changed: keys that were removed since are skipped, later articles are in memory. Where
    the inverted index is missing or damaged all articles are. Threads may share it.

    Args:
        folder: the index's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: DerivedFile | None = None
        self._change = -1  # the revision
        self._base: Postings | None = None
        self._later: list[Postings] = []
        self._removed: set[int] = set()

    def updated(
        self, connection: sqlite3.Connection, file: DerivedFile | None, change: int, read: ReadTerms
    ) -> "TermSearch":
        """Return the search as of a later revision.

        Args:
            connection: to the database, within a snapshot of that revision.
            file: its inverted index.
            change: its number.
            read: yields the weighted terms of all articles that came after a revision.
        """
        new = copy.copy(self)
        new._later, new._removed = list(self._later), set(self._removed)
        if file != new._file or new._change < 0 or new.is_cut_short():
            new._open(file)
        for some in read(connection, new._change):
            _stack(new._later, Postings.of(some))
        new._removed.update(removed_after(connection, new._folder, new._change))
        new._change = change
        return new

    def is_cut_short(self) -> bool:
        """Return whether a file of the inverted index is shorter by now than it was."""
        return self._base is not None and self._base.is_cut_short()

    def search(
        self, numbers: NDArray[np.int64], weights: NDArray[np.float64], n: int, *, later: bool = False
    ) -> NDArray[np.int64]:
        """Return the keys of the `n` articles of the highest cosine with these terms, in the folder and after it.

        Args:
            numbers: the terms' numbers, shape (t,).
            weights: how much each counts, above 0, shape (t,).
            n: 1 or more.
            later: only of those that came after the folder.

        Returns:
            Keys, int64: up to `n` from the folder and `n` that came later; fewer where fewer articles hold a term, or
            are kept of it.
        """
        both = [] if later or self._base is None else [[self._base]]
        both += [self._later] if self._later else []
        found = [self._live(parts, numbers, weights, n) for parts in both] if len(numbers) else []
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _live(
        self, parts: list[Postings], numbers: NDArray[np.int64], weights: NDArray[np.float64], n: int
    ) -> NDArray[np.int64]:
        asked = n
        while True:
            found = [part.best(numbers, weights, asked) for part in parts]
            if len(found) == 1 and not self._removed:
                return found[0][1]
            scores, keys = (np.concatenate(each) for each in zip(*found, strict=True))
            keys = keys[np.argsort(-scores, kind="stable")]
            live = np.array([key for key in keys.tolist() if key not in self._removed], dtype=np.int64)
            if len(live) >= n or all(len(some) < asked for some, _ in found):
                return live[:n]
            asked *= 4

    def _open(self, file: DerivedFile | None) -> None:
        self._base, reason = open_inverted_index(self._folder, file) if file else (None, "")
        if file and reason:
            _log.warning(
                "The search folder %s is %s; all terms are searched without it, which is slower. "
                "The next build makes it again.",
                self._folder / file.name,
                reason,
            )
        self._file = file
        self._change = file.change if file and self._base else 0
        self._later, self._removed = [], set()


def _stack(parts: list[Postings], more: Postings) -> None:
    """Put postings on a stack on which each is more than twice as large as the next: so each is joined a few times."""
    while parts and len(parts[-1].positions) <= 2 * len(more.positions):
        more = parts.pop().joined(more)
    parts.append(more)


def _packed(given: WeightedTerms) -> NDArray[np.uint64]:
    """Return the postings of at most `AT_ONCE` articles, sorted, the first `CHAMPIONS` of each term, as a number each.

    It is made of the term's number, what its weight lacks of the whole, and the article's place, from the highest bits
    to the lowest: numbers are sorted many times as fast as their order is found.
    """
    weights = np.maximum(np.round(given.weights * WHOLE), 1.0).astype(np.uint64)
    places = np.repeat(np.arange(len(given.keys), dtype=np.uint64), given.lengths)
    packed = (given.term_ids.astype(np.uint64) << np.uint64(32)) | ((WHOLE - weights) << np.uint64(16)) | places
    packed.sort()
    _, lengths = _runs((packed >> np.uint64(32)).astype(np.uint32))
    return packed[_first_of_each(lengths)] if lengths.max(initial=0) > CHAMPIONS else packed


def _first_of_each(lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell of the postings of terms, of which there are so many each, which are the first `CHAMPIONS` of theirs."""
    ends = np.cumsum(lengths)
    found: NDArray[np.bool_] = np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths) < CHAMPIONS
    return found


def _joined(parts: Sequence[tuple[int, NDArray[np.uint64]]], counts: NDArray[np.int64]) -> Iterator[Postings]:
    """Yield the postings of all parts, some terms at a time, by ascending numbers; of which articles is not told.

    Args:
        parts: of each the place of its first article, and its terms as `_packed` gives them.
        counts: by term, how many there are in all parts; changed.
    """
    ends = np.cumsum(counts, out=counts)
    stop = 0
    while stop < len(counts):
        start, most = stop, (ends[stop - 1] if stop else 0) + JOINED_AT_ONCE
        stop = min(max(int(np.searchsorted(ends, most, side="right")), start + 1), start + 2**TERM_BITS)
        bounds = np.array([start, stop], dtype=np.uint64) << np.uint64(32)
        found = []
        for first, part in parts:
            begin, end = np.searchsorted(part, bounds)
            high = (part[begin:end] - bounds[0]) >> np.uint64(16) << np.uint64(PLACE_BITS)
            found.append(high | ((part[begin:end] & np.uint64(0xFFFF)) + np.uint64(first)))
        packed = np.concatenate(found)
        del found
        packed.sort()
        yield Postings.champions(
            np.empty(0, dtype=np.int64),
            (packed >> np.uint64(16 + PLACE_BITS)).astype(np.uint32) + np.uint32(start),
            (packed & np.uint64(2**PLACE_BITS - 1)).astype(np.uint32),
            (WHOLE - (packed >> np.uint64(PLACE_BITS) & np.uint64(0xFFFF))).astype(np.uint16),
        )


def _runs(numbers: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the different ones of ascending numbers, and how often each is there."""
    starts = np.flatnonzero(_changes(numbers))
    return numbers[starts], np.diff(starts, append=len(numbers))


def _changes(numbers: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Tell of each number whether it is another one than the one before it."""
    found = np.ones(len(numbers), dtype=np.bool_)
    np.not_equal(numbers[1:], numbers[:-1], out=found[1:])
    return found


def _summed(
    places: NDArray[np.uint32], worth: NDArray[np.float32], n: int
) -> tuple[NDArray[np.integer[Any]], NDArray[np.float64]]:
    """Return the distinct ones of places below `n`, ascending, and the sums of what stands at each, all above 0."""
    if n <= DENSE * len(places):
        all_sums = np.asarray(np.bincount(places, worth, minlength=n), dtype=np.float64)
        found = np.flatnonzero(all_sums > 0)  # of numbers themselves it takes six times as long
        return found, all_sums[found]
    # Each place with what it is worth in one number: these are sorted in a third of the time.
    pairs = (places.astype(np.uint64) << np.uint64(32)) | worth.view(np.uint32)
    pairs.sort()
    places = (pairs >> np.uint64(32)).astype(np.uint32)
    starts = np.flatnonzero(_changes(places))
    before = np.cumsum(pairs.astype(np.uint32).view(np.float32), dtype=np.float64)
    # What `np.add.reduceat` gives, in a third of the time.
    return places[starts], np.diff(before[np.append(starts[1:], len(places)) - 1], prepend=0.0)


def _highest(scores: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Return the places of the `n` highest scores, the highest first, of equal ones the first."""
    places = np.arange(len(scores))
    if len(scores) > n:
        least = np.partition(scores, len(scores) - n)[len(scores) - n]
        above = np.flatnonzero(scores > least)
        places = np.concatenate([above, np.flatnonzero(scores == least)[: n - len(above)]])
    found: NDArray[np.int64] = places[np.argsort(-scores[places], kind="stable")]
    return found
