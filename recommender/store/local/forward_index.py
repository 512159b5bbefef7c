"""The forward index: what exact scoring needs of every article, in arrays, so that it is read without SQL."""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.store.local.derived_file import DAMAGED, DerivedFile, is_cut_short, read_array
from recommender.store.local.inverted_index import WeightedTerms
from recommender.system.faiss_blas import faiss
from recommender.system.files import making_folder, unused
from recommender.text import tfidf

FACTS = "facts.json"
WEIGHED_AT_ONCE = 16_384  # articles, or fewer that have so many terms: 150 MB with what is made of each
TERMS_AT_ONCE = 1_000_000
MAX_NORM_ERROR = 0.01  # of a unit vector in float16
_faiss: Any = faiss  # some of its types are declared wrong
# Each file holds one array: its name, and its type.
_TYPES = {
    "keys": "<i8",  # of the articles, ascending
    "vectors": "<f2",
    "ends": "<i8",  # where the terms of each article end
    "numbers": "<u4",  # of terms
    "frequencies": "<u2",
    "languages": "<u2",  # places among those in facts.json
    "idends": "<i8",  # where the id of each article ends
    "ids": "u1",  # UTF-8
    "sums": "<u4",  # CRC-32 of all else that belongs to each article
    "counts": "<i4",  # by term number, in how many articles the term stands
}


@dataclass(frozen=True, slots=True)
class Row:
    """One article as it is written.

    Attributes:
        key: its key.
        id: its id.
        language: that of its terms.
        vector: float16, little-endian.
        numbers: its terms' numbers, ascending: int64, shape (t,).
        frequencies: how often each stands in it: int64, shape (t,).
    """

    key: int
    id: str
    language: str
    vector: bytes
    term_ids: NDArray[np.int64]
    frequencies: NDArray[np.int64]


def write_forward_index(
    folder: Path, change: int, rows: Iterable[Row], counts: Iterable[tuple[int, int]]
) -> DerivedFile:
    """Write the signals into a folder within `folder`, whole or not at all.

    Args:
        folder: the index's.
        change: the change number that they are of.
        rows: all articles, by ascending keys.
        counts: the number of each term, and in how many articles it stands.
    """
    path = unused(folder / f"signals-{change}")
    with making_folder(path) as beside:
        languages: dict[str, int] = {}
        sizes = Counter[str]()
        count = ends = id_ends = 0
        with ExitStack() as stack:
            files = {part: stack.enter_context((beside / part).open("wb")) for part in _TYPES}

            def put(part: str, values: object) -> bytes:
                content = np.asarray(values, dtype=_TYPES[part]).tobytes()
                files[part].write(content)
                return content

            for row in rows:
                id = row.id.encode()
                ends, id_ends, count = ends + len(row.term_ids), id_ends + len(id), count + 1
                key = put("keys", row.key)
                put("ends", ends)
                put("idends", id_ends)
                put("languages", languages.setdefault(row.language, len(languages)))
                sizes[row.language] += 1
                files["vectors"].write(row.vector)
                files["ids"].write(id)
                numbers, frequencies = put("numbers", row.term_ids), put("frequencies", row.frequencies)
                put("sums", _sum((key, id, row.language.encode(), row.vector, numbers, frequencies)))
            pairs = np.array(list(counts), dtype=np.int64).reshape(-1, 2)
            by_number = np.zeros(int(pairs[:, 0].max(initial=-1)) + 1, dtype=np.int32)
            by_number[pairs[:, 0]] = pairs[:, 1]
            facts = {"languages": dict(sizes), "counts": _counts_sum(put("counts", by_number), sizes)}
        (beside / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    return DerivedFile.of(path, change, count)


def open_forward_index(folder: Path, file: DerivedFile, dimensions: int) -> "tuple[ForwardIndex | None, str]":
    """Open a forward index; None, and why, if it cannot be used, see `DerivedFile.invalid_reason`."""
    if reason := file.invalid_reason(folder, read=False):  # each article has a checksum
        return None, reason
    try:
        opened = ForwardIndex(folder / file.name, dimensions)
    except (OSError, ValueError, KeyError, TypeError):  # of a file, or of its content
        return None, DAMAGED
    return (opened, "") if len(opened) == file.count else (None, DAMAGED)


class ForwardIndex:
    """The signals as they were at one change, mapped.

    Args:
        path: the folder.
        dimensions: of the vectors.

    Raises:
        OSError, ValueError: it is not there, or not as it was written.

    Attributes:
        dimensions: of the vectors.
        counts: by term number, in how many articles the term stood then: int32.
        languages: by the numbers that the articles have in `language_of`.
        sizes: how many of the articles are in each language.
    """

    def __init__(self, path: Path, dimensions: int) -> None:
        arrays = {part: read_array(path / part, kind) for part, kind in _TYPES.items()}
        self._keys, self._ends, self._numbers = arrays["keys"], arrays["ends"], arrays["numbers"]
        self._frequencies, self._languages = arrays["frequencies"], arrays["languages"]
        self._id_ends, self._ids, self._sums = arrays["idends"], arrays["ids"], arrays["sums"]
        self._vectors = arrays["vectors"].reshape(-1, dimensions)
        self.dimensions, self.counts = dimensions, arrays["counts"]
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        self.sizes: dict[str, int] = facts["languages"]
        if not isinstance(self.sizes, dict) or not all(isinstance(size, int) for size in self.sizes.values()):
            raise ValueError("its languages have no counts")
        self.languages = list(self.sizes)
        self._encoded_languages = [str.encode(name) for name in self.languages]
        n = len(self._keys)
        if {len(self._vectors), len(self._ends), len(self._languages), len(self._id_ends), len(self._sums)} != {n}:
            raise ValueError("its parts are of different lengths")
        if n and (self._ends[-1] != len(self._numbers) or self._id_ends[-1] != len(self._ids)):
            raise ValueError("its parts are of different lengths")
        if _counts_sum(self.counts, self.sizes) != facts["counts"]:
            raise ValueError("its counts are not what was written")
        self._arrays = tuple(arrays.values())
        self._checked = np.zeros(n, dtype=np.bool_)  # once a process is enough

    def __len__(self) -> int:
        """Return the number of articles."""
        return len(self._keys)

    def is_cut_short(self) -> bool:
        """Return whether one of its files is shorter by now than it was."""
        return is_cut_short(*self._arrays)

    def keys(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the keys of articles."""
        return self._keys[rows].astype(np.int64)

    def rows(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of articles by their keys; -1 for those that are not here."""
        if not len(self._keys):
            return np.full(len(keys), -1, dtype=np.int64)
        rows = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[rows] == keys, rows, -1)

    def check(self, rows: NDArray[np.int64]) -> int | None:
        """Compare articles with their checksums, and check what their numbers index; return the first damaged row."""
        unchecked = rows[~self._checked[rows]]
        if not len(unchecked):
            return None
        with np.errstate(invalid="ignore", over="ignore"):  # of numbers that are not finite
            norms = np.linalg.norm(self.vectors(unchecked), axis=1)
        # A vector that is all zeros has no direction, and is near to nothing.
        wrong = ~((np.abs(norms - 1) < MAX_NORM_ERROR) | (norms == 0))
        for row, wrong_norm in zip(unchecked.tolist(), wrong.tolist(), strict=True):
            if wrong_norm or not self._is_whole(row):
                return int(row)
            self._checked[row] = True
        return None

    def _is_whole(self, row: int) -> bool:
        start, end = self._ends[row - 1] if row else 0, self._ends[row]
        id_start, id_end = self._id_ends[row - 1] if row else 0, self._id_ends[row]
        if not (0 <= start <= end <= len(self._numbers) and 0 <= id_start <= id_end <= len(self._ids)):
            return False
        numbers, frequencies, id = self._numbers[start:end], self._frequencies[start:end], self._ids[id_start:id_end]
        if self._languages[row] >= len(self.languages) or numbers.max(initial=0) >= max(len(self.counts), 1):
            return False
        parts = (
            self._keys[row],
            id,
            self._encoded_languages[self._languages[row]],
            self._vectors[row],
            numbers,
            frequencies,
        )
        if not frequencies.all() or _sum(parts) != self._sums[row]:
            return False
        try:
            id.tobytes().decode()
        except UnicodeDecodeError:
            return False
        return True

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the ids of articles."""
        starts, ends = self._starts(self._id_ends, rows), self._id_ends[rows]
        pairs = zip(starts.tolist(), ends.tolist(), strict=True)
        return [self._ids[start:end].tobytes().decode() for start, end in pairs]

    def language_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the languages of articles, as numbers: int64, shape (n,)."""
        return self._languages[rows].astype(np.int64)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of articles: float32, shape (n, dimensions)."""
        found: NDArray[np.float32] = _to_float32(np.take(self._vectors, rows, axis=0))
        return found

    def terms(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return how many terms each article has, and the terms' numbers and frequencies: int64."""
        starts, ends = self._starts(self._ends, rows), self._ends[rows]
        lengths = ends - starts
        offsets = np.cumsum(lengths) - lengths
        places = np.arange(int(lengths.sum())) + np.repeat(starts - offsets, lengths)
        return lengths, self._numbers[places].astype(np.int64), self._frequencies[places].astype(np.int64)

    def weighed(self) -> Iterator[WeightedTerms]:
        """Yield all articles with their weighed terms, in the order of the ids."""
        ids = self.ids(np.arange(len(self)))
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
        totals = np.bincount(self._languages)
        ends = np.cumsum(self._ends[order] - self._starts(self._ends, order))
        stop = 0
        while stop < len(order):
            start, most = stop, (ends[stop - 1] if stop else 0) + TERMS_AT_ONCE
            stop = max(min(start + WEIGHED_AT_ONCE, int(np.searchsorted(ends, most, side="right"))), start + 1)
            rows = order[start:stop]
            lengths, numbers, frequencies = self.terms(rows)
            counts = np.ones(len(numbers), dtype=np.int64)  # of what is not counted, which exact scoring tells
            counted = numbers < len(self.counts)
            counts[counted] = self.counts[numbers[counted]]
            weights = tfidf.tfidf_impacts(
                frequencies.astype(np.float64),
                counts,
                totals[self._languages[rows]],
                np.repeat(np.arange(len(rows)), lengths),
                len(rows),
            )
            yield WeightedTerms(self.keys(rows), lengths, numbers, weights)

    @staticmethod
    def _starts(ends: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(rows > 0, ends[rows - 1], 0)


def _to_float32(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Convert rows of numbers by FAISS, which does it five times as fast as NumPy."""
    quantizer = _faiss.ScalarQuantizer(halves.shape[1], faiss.ScalarQuantizer.QT_fp16)
    found: NDArray[np.float32] = quantizer.decode(halves.view(np.uint8))
    return found


def _counts_sum(counts: object, sizes: Mapping[str, int]) -> int:
    """Return the checksum of the counts of terms and of articles by language."""
    return _sum((counts, json.dumps(sizes).encode()))


def _sum(parts: Iterable[object]) -> int:
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)  # type: ignore[arg-type]  # whatever has a buffer
    return found
