"""Cached neighbours: the candidates of every article, stored by the last hubness pass over the whole archive."""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recommender.store.local.derived_file import DAMAGED, DerivedFile, read_array
from recommender.store.local.forward_index import ForwardIndex
from recommender.system.files import atomic_write

MAX_NEIGHBOURS = 64  # stored per article, the best
_HEADER = np.dtype([("n", "<u4"), ("max_neighbours", "<u4")])
# Rows of the neighbours in the forward index plus 1, the best first, padded with 0; and their CRC-32.
_RECORD = np.dtype([("neighbours", "<u4", MAX_NEIGHBOURS), ("checksum", "<u4")])

PutNeighbours = Callable[[Mapping[int, NDArray[np.int64]]], None]


@contextmanager
def writing_neighbours(path: Path, forward_index: ForwardIndex, n: int) -> Iterator[PutNeighbours]:
    """Write a file atomically; yield a function that takes neighbours' keys by the key of their article.

    Args:
        path: of the file, which must not exist.
        forward_index: whose rows the file refers to; keys that are not in it are left out.
        n: the number of candidates that each signal was searched for, the article itself included.
    """
    with atomic_write(path) as temporary_path, temporary_path.open("wb") as file:
        file.write(np.array([(n, MAX_NEIGHBOURS)], dtype=_HEADER).tobytes())
        file.truncate(_HEADER.itemsize + len(forward_index) * _RECORD.itemsize)

        def put(keys_by_article: Mapping[int, NDArray[np.int64]]) -> None:
            article_rows = forward_index.rows(np.array(list(keys_by_article), dtype=np.int64))
            for article_row, keys in zip(article_rows.tolist(), keys_by_article.values(), strict=True):
                if article_row >= 0:
                    rows = forward_index.rows(keys)
                    rows = rows[rows >= 0][:MAX_NEIGHBOURS]
                    record = np.zeros((), dtype=_RECORD)
                    record["neighbours"][: len(rows)] = rows + 1
                    record["checksum"] = _checksum(article_row, record["neighbours"])
                    os.pwrite(file.fileno(), record.tobytes(), _HEADER.itemsize + article_row * _RECORD.itemsize)

        yield put


def open_neighbours(index_path: Path, file: DerivedFile) -> "tuple[CachedNeighbours | None, str]":
    """Open a file; return None and the reason if it is invalid, see `DerivedFile.invalid_reason`."""
    if reason := file.invalid_reason(index_path, read=False):  # each record has a checksum
        return None, reason
    try:
        return CachedNeighbours(index_path / file.name, file.count), ""
    except (OSError, ValueError):
        return None, DAMAGED


class CachedNeighbours:
    """The cached neighbours of the articles of a forward index.

    Args:
        path: the file.
        count: the number of articles.

    Raises:
        OSError, ValueError: the file is missing, or its length does not fit the number of articles.

    Attributes:
        n: the number of candidates that each signal was searched for, the article itself included.
        content: the bytes of the file.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.content = read_array(path, "u1")
        header = np.frombuffer(self.content, dtype=_HEADER, count=1)[0]
        self._records = np.frombuffer(self.content, dtype=_RECORD, offset=_HEADER.itemsize)
        self.n = int(header["n"])
        if header["max_neighbours"] != MAX_NEIGHBOURS or len(self._records) != count:
            raise ValueError("the length of the file does not fit the number of articles")

    def rows(self, row: int) -> NDArray[np.int64] | None:
        """Return the rows of an article's neighbours, the best first; None if they are unknown or damaged."""
        neighbours = self._records[row]["neighbours"]
        if _checksum(row, neighbours) != self._records[row]["checksum"]:
            return None
        rows = neighbours[neighbours > 0].astype(np.int64) - 1
        return rows if rows.max(initial=-1) < len(self._records) else None


def _checksum(row: int, neighbours: NDArray[np.uint32]) -> int:
    return zlib.crc32(neighbours.tobytes(), row)
