"""The cached candidates of every article, as the last pass over the whole archive retrieved them."""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recommender.store.local.derived_file import DAMAGED, DerivedFile, read_array
from recommender.store.local.forward_index import ForwardIndex
from recommender.system.files import replacing

KEPT = 64  # of an article's candidates, the best
_HEAD = np.dtype([("n", "<u4"), ("kept", "<u4")])
# Where the candidates stand in the signal file, counted from 1, the best first, then 0; and a CRC-32 of that.
_ROW = np.dtype([("near", "<u4", KEPT), ("sum", "<u4")])

Keep = Callable[[Mapping[int, NDArray[np.int64]]], None]


@contextmanager
def writing_neighbours(path: Path, signals: ForwardIndex, n: int) -> Iterator[Keep]:
    """Write a file at `path`, whole or not at all; give what takes the candidates of articles, by their keys.

    Args:
        path: where there is nothing yet.
        signals: the signal file in whose order its rows stand. What is not in it is left out.
        n: how many were looked for by each signal, the article itself counted.
    """
    with replacing(path) as beside, beside.open("wb") as file:
        file.write(np.array([(n, KEPT)], dtype=_HEAD).tobytes())
        file.truncate(_HEAD.itemsize + len(signals) * _ROW.itemsize)

        def keep(found: Mapping[int, NDArray[np.int64]]) -> None:
            rows = signals.rows(np.array(list(found), dtype=np.int64))
            for row, keys in zip(rows.tolist(), found.values(), strict=True):
                if row >= 0:
                    near = signals.rows(keys)
                    near = near[near >= 0][:KEPT]
                    made = np.zeros((), dtype=_ROW)
                    made["near"][: len(near)] = near + 1
                    made["sum"] = _sum(row, made["near"])
                    os.pwrite(file.fileno(), made.tobytes(), _HEAD.itemsize + row * _ROW.itemsize)

        yield keep


def open_neighbours(folder: Path, file: DerivedFile) -> "tuple[CachedNeighbours | None, str]":
    """Open a file; None, and why, if it cannot be used, see `DerivedFile.invalid_reason`."""
    if reason := file.invalid_reason(folder, read=False):  # each row has a checksum
        return None, reason
    try:
        return CachedNeighbours(folder / file.name, file.count), ""
    except (OSError, ValueError):
        return None, DAMAGED


class CachedNeighbours:
    """The cached candidates of the articles of a forward index.

    Args:
        path: the file.
        count: the number of articles.

    Raises:
        OSError, ValueError: the file is missing, or its length does not fit the number of articles.

    Attributes:
        n: how many candidates each signal was asked for, the article itself counted.
        content: the bytes of the file.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.content = read_array(path, "u1")
        head = np.frombuffer(self.content, dtype=_HEAD, count=1)[0]
        self._rows = np.frombuffer(self.content, dtype=_ROW, offset=_HEAD.itemsize)
        self.n = int(head["n"])
        if head["kept"] != KEPT or len(self._rows) != count:
            raise ValueError("it is of another length")

    def of(self, row: int) -> NDArray[np.int64] | None:
        """Return the rows of an article's candidates, the best first; None if they are unknown or damaged."""
        near = self._rows[row]["near"]
        if _sum(row, near) != self._rows[row]["sum"]:
            return None
        rows = near[near > 0].astype(np.int64) - 1
        return rows if rows.max(initial=-1) < len(self._rows) else None


def _sum(row: int, near: NDArray[np.uint32]) -> int:
    return zlib.crc32(near.tobytes(), row)
