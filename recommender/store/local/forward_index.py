"""The forward index: ids, vectors and terms of every article in arrays, so that exact scoring reads no SQL."""

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

from recommender.store.local.derived_file import DAMAGED, FORWARD_INDEX, DerivedFile, is_cut_short, read_array
from recommender.store.local.inverted_index import WeightedTerms
from recommender.system.faiss_blas import faiss
from recommender.system.files import atomic_folder, unused_path
from recommender.text import tfidf

LANGUAGES_FILE = "languages.json"
MAX_WEIGHTED_ARTICLES = 16_384  # per batch of `weighted_terms`, and
MAX_WEIGHTED_TERMS = 1_000_000  # per batch: 150 MB with all intermediate arrays
MAX_NORM_ERROR = 0.01  # of a unit vector in float16
_faiss: Any = faiss  # its stubs declare some types wrongly
# Each file contains one array: its name, and its type.
_TYPES = {
    "keys": "<i8",  # of the articles, ascending
    "vectors": "<f2",
    "term_offsets": "<i8",  # end of each article's terms
    "term_ids": "<u4",
    "frequencies": "<u2",
    "languages": "<u2",  # positions in `LANGUAGES_FILE`
    "id_offsets": "<i8",  # end of each article's id
    "ids": "u1",  # UTF-8
    "checksums": "<u4",  # CRC-32 of the other values of each article
    "document_frequencies": "<i4",  # by term id
}


@dataclass(frozen=True, slots=True)
class Row:
    """One article to write.

    Attributes:
        key: its key.
        id: its id.
        language: of its terms.
        vector: float16, little-endian.
        term_ids: ascending: int64, shape (terms,).
        frequencies: of its terms: int64, shape (terms,).
    """

    key: int
    id: str
    language: str
    vector: bytes
    term_ids: NDArray[np.int64]
    frequencies: NDArray[np.int64]


def write_forward_index(
    index_path: Path, revision: int, rows: Iterable[Row], document_frequencies: Iterable[tuple[int, int]]
) -> DerivedFile:
    """Write a forward index to a new folder, atomically.

    Args:
        index_path: the index's folder.
        revision: that the rows are read at.
        rows: all articles, by ascending keys.
        document_frequencies: pairs of term id and document frequency, of all terms.
    """
    path = unused_path(index_path / f"{FORWARD_INDEX}-{revision}")
    with atomic_folder(path) as temporary_path:
        language_codes: dict[str, int] = {}
        articles_by_language = Counter[str]()
        count = term_end = id_end = 0
        with ExitStack() as stack:
            files = {name: stack.enter_context((temporary_path / name).open("wb")) for name in _TYPES}

            def write(name: str, values: object) -> bytes:
                content = np.asarray(values, dtype=_TYPES[name]).tobytes()
                files[name].write(content)
                return content

            for row in rows:
                id = row.id.encode()
                term_end, id_end, count = term_end + len(row.term_ids), id_end + len(id), count + 1
                key = write("keys", row.key)
                write("term_offsets", term_end)
                write("id_offsets", id_end)
                write("languages", language_codes.setdefault(row.language, len(language_codes)))
                articles_by_language[row.language] += 1
                files["vectors"].write(row.vector)
                files["ids"].write(id)
                term_ids, frequencies = write("term_ids", row.term_ids), write("frequencies", row.frequencies)
                write("checksums", _checksum((key, id, row.language.encode(), row.vector, term_ids, frequencies)))
            pairs = np.array(list(document_frequencies), dtype=np.int64).reshape(-1, 2)
            by_term_id = np.zeros(int(pairs[:, 0].max(initial=-1)) + 1, dtype=np.int32)
            by_term_id[pairs[:, 0]] = pairs[:, 1]
            checksum = _counts_checksum(write("document_frequencies", by_term_id), articles_by_language)
        content = {"articles": dict(articles_by_language), "checksum": checksum}
        (temporary_path / LANGUAGES_FILE).write_text(json.dumps(content), encoding="utf-8")
    return DerivedFile.of(path, revision, count)


def open_forward_index(index_path: Path, file: DerivedFile, dimensions: int) -> "tuple[ForwardIndex | None, str]":
    """Open a forward index; return None and the reason if it is invalid, see `DerivedFile.invalid_reason`."""
    if reason := file.invalid_reason(index_path, read=False):  # each article has a checksum
        return None, reason
    try:
        forward_index = ForwardIndex(index_path / file.name, dimensions)
    except (OSError, ValueError, KeyError, TypeError):  # of a file, or of its content
        return None, DAMAGED
    return (forward_index, "") if len(forward_index) == file.count else (None, DAMAGED)


class ForwardIndex:
    """The forward index as of one revision. Articles are addressed by row, their position in the order of keys.

    Args:
        path: the folder.
        dimensions: of the vectors.

    Raises:
        OSError, ValueError: a file is missing, or its content is invalid.

    Attributes:
        dimensions: of the vectors.
        document_frequencies: by term id: int32, shape (terms,).
        languages: names, by the codes that `language_codes` returns.
        articles_by_language: the number of articles in each language.
    """

    def __init__(self, path: Path, dimensions: int) -> None:
        arrays = {name: read_array(path / name, kind) for name, kind in _TYPES.items()}
        self._keys, self._ids, self._id_offsets = arrays["keys"], arrays["ids"], arrays["id_offsets"]
        self._term_ids, self._term_offsets = arrays["term_ids"], arrays["term_offsets"]
        self._frequencies, self._language_codes = arrays["frequencies"], arrays["languages"]
        self._checksums = arrays["checksums"]
        self._vectors = arrays["vectors"].reshape(-1, dimensions)
        self.dimensions, self.document_frequencies = dimensions, arrays["document_frequencies"]
        content = json.loads((path / LANGUAGES_FILE).read_text(encoding="utf-8"))
        self.articles_by_language: dict[str, int] = content["articles"]
        if not isinstance(self.articles_by_language, dict) or not all(
            isinstance(count, int) for count in self.articles_by_language.values()
        ):
            raise ValueError("its languages have no article counts")
        self.languages = list(self.articles_by_language)
        self._encoded_languages = [str.encode(name) for name in self.languages]
        n = len(self._keys)
        by_article = (self._vectors, self._term_offsets, self._language_codes, self._id_offsets, self._checksums)
        if {len(array) for array in by_article} != {n}:
            raise ValueError("its arrays differ in length")
        if n and (self._term_offsets[-1] != len(self._term_ids) or self._id_offsets[-1] != len(self._ids)):
            raise ValueError("its offsets do not fit its arrays")
        if _counts_checksum(self.document_frequencies, self.articles_by_language) != content["checksum"]:
            raise ValueError("the checksum of its counts is wrong")
        self._arrays = tuple(arrays.values())
        self._is_checked = np.zeros(n, dtype=np.bool_)  # one check per process is enough

    def __len__(self) -> int:
        """Return the number of articles."""
        return len(self._keys)

    def is_cut_short(self) -> bool:
        """Return whether a file became shorter than its mapping."""
        return is_cut_short(*self._arrays)

    def keys(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the keys of articles: int64, shape (n,)."""
        return self._keys[rows].astype(np.int64)

    def rows(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of keys; -1 for keys that are not in the index: int64, shape (n,)."""
        if not len(self._keys):
            return np.full(len(keys), -1, dtype=np.int64)
        rows = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[rows] == keys, rows, -1)

    def first_damaged_row(self, rows: NDArray[np.int64]) -> int | None:
        """Check checksums, offsets and norms of articles; return the first damaged row, or None."""
        unchecked = rows[~self._is_checked[rows]]
        if not len(unchecked):
            return None
        with np.errstate(invalid="ignore", over="ignore"):  # damaged numbers may not be finite
            norms = np.linalg.norm(self.vectors(unchecked), axis=1)
        # A static model returns a zero vector for a text without known tokens.
        has_wrong_norm = ~((np.abs(norms - 1) < MAX_NORM_ERROR) | (norms == 0))
        for row, wrong in zip(unchecked.tolist(), has_wrong_norm.tolist(), strict=True):
            if wrong or not self._is_intact(row):
                return int(row)
            self._is_checked[row] = True
        return None

    def _is_intact(self, row: int) -> bool:
        start, end = self._term_offsets[row - 1] if row else 0, self._term_offsets[row]
        id_start, id_end = self._id_offsets[row - 1] if row else 0, self._id_offsets[row]
        if not (0 <= start <= end <= len(self._term_ids) and 0 <= id_start <= id_end <= len(self._ids)):
            return False
        term_ids, frequencies = self._term_ids[start:end], self._frequencies[start:end]
        id, code = self._ids[id_start:id_end], self._language_codes[row]
        if code >= len(self.languages) or term_ids.max(initial=0) >= max(len(self.document_frequencies), 1):
            return False
        values = (self._keys[row], id, self._encoded_languages[code], self._vectors[row], term_ids, frequencies)
        if not frequencies.all() or _checksum(values) != self._checksums[row]:
            return False
        try:
            id.tobytes().decode()
        except UnicodeDecodeError:
            return False
        return True

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the ids of articles."""
        starts, ends = self._starts(self._id_offsets, rows), self._id_offsets[rows]
        bounds = zip(starts.tolist(), ends.tolist(), strict=True)
        return [self._ids[start:end].tobytes().decode() for start, end in bounds]

    def language_codes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the languages of articles, as positions in `languages`: int64, shape (n,)."""
        return self._language_codes[rows].astype(np.int64)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of articles: float32, shape (n, dimensions)."""
        return _to_float32(np.take(self._vectors, rows, axis=0))

    def terms(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of terms of each article, and the ids and frequencies of all: int64."""
        starts, ends = self._starts(self._term_offsets, rows), self._term_offsets[rows]
        lengths = ends - starts
        new_starts = np.cumsum(lengths) - lengths
        positions = np.arange(int(lengths.sum())) + np.repeat(starts - new_starts, lengths)
        return lengths, self._term_ids[positions].astype(np.int64), self._frequencies[positions].astype(np.int64)

    def weighted_terms(self) -> Iterator[WeightedTerms]:
        """Yield all articles with their weighted terms, in the order of ids, in batches."""
        ids = self.ids(np.arange(len(self)))
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
        collection_sizes = np.bincount(self._language_codes)
        term_ends = np.cumsum(self._term_offsets[order] - self._starts(self._term_offsets, order))
        stop = 0
        while stop < len(order):
            start, max_end = stop, (term_ends[stop - 1] if stop else 0) + MAX_WEIGHTED_TERMS
            stop = min(start + MAX_WEIGHTED_ARTICLES, int(np.searchsorted(term_ends, max_end, side="right")))
            stop = max(stop, start + 1)
            rows = order[start:stop]
            lengths, term_ids, frequencies = self.terms(rows)
            document_frequencies = np.ones(len(term_ids), dtype=np.int64)  # of damaged ids; exact scoring reports them
            is_known = term_ids < len(self.document_frequencies)
            document_frequencies[is_known] = self.document_frequencies[term_ids[is_known]]
            weights = tfidf.tfidf_impacts(
                frequencies.astype(np.float64),
                document_frequencies,
                collection_sizes[self._language_codes[rows]],
                np.repeat(np.arange(len(rows)), lengths),
                len(rows),
            )
            yield WeightedTerms(self.keys(rows), lengths, term_ids, weights)

    @staticmethod
    def _starts(ends: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(rows > 0, ends[rows - 1], 0)


def _to_float32(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Convert vectors with FAISS, which is five times as fast as NumPy."""
    quantizer = _faiss.ScalarQuantizer(halves.shape[1], faiss.ScalarQuantizer.QT_fp16)
    vectors: NDArray[np.float32] = quantizer.decode(halves.view(np.uint8))
    return vectors


def _counts_checksum(document_frequencies: object, articles_by_language: Mapping[str, int]) -> int:
    """Return the CRC-32 of the document frequencies and the article counts of languages."""
    return _checksum((document_frequencies, json.dumps(articles_by_language).encode()))


def _checksum(buffers: Iterable[object]) -> int:
    """Return the CRC-32 of buffers, one after the other."""
    checksum = 0
    for buffer in buffers:
        checksum = zlib.crc32(buffer, checksum)  # type: ignore[arg-type]  # anything with the buffer protocol
    return checksum
