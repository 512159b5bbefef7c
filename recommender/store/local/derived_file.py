"""Derived files: search structures built from the database, each with the revision that it was built at and a digest.

The digest detects damage. It does not make a file trustworthy, since whoever made the file may have made the digest:
every length and offset is checked before an array is used, and FAISS parses no file.
"""

import hashlib
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# The setting that names each derived file, and how the file's name begins.
DERIVED_FILES = {"dense": "dense", "postings": "lexical", "signals": "signals", "near": "near"}
MISSING, DAMAGED = "missing", "damaged"
MAX_LOADED_BYTES = 2**26  # of an array that is read into memory; larger ones are mapped, see `read_array`
_NAME = re.compile(r"[a-z]+-[0-9]+(-[0-9]+)?")


@dataclass(frozen=True, slots=True)
class DerivedFile:
    """A derived file, or folder of files, as the table of settings names it.

    Attributes:
        name: its name within the index's folder.
        change: the revision that it was built at.
        count: how many articles it holds.
        size: its size in bytes.
        digest: SHA-256 of its content, as hexadecimal digits.
    """

    name: str
    change: int
    count: int
    size: int
    digest: str

    @classmethod
    def of(cls, path: Path, change: int, count: int) -> Self:
        """Describe the file that was just written at `path`."""
        return cls(path.name, change, count, _size(path), _digest(path))

    def invalid_reason(self, folder: Path, *, read: bool = True) -> str:
        """Return why the file cannot be used, MISSING or DAMAGED; an empty text if it can.

        Args:
            folder: the index's folder.
            read: whether to compare the digest, which reads the whole file; rows with a checksum each need no digest.
        """
        path = folder / self.name
        try:
            state = _state(path)
            if _verified.get(path) == (self, state):  # by this process, and not touched since
                return ""
            if _size(path) != self.size or (read and _digest(path) != self.digest):
                return DAMAGED
        except FileNotFoundError:
            return MISSING
        except OSError:
            return DAMAGED
        if read:
            _verified[path] = self, state
        return ""


def derived_file(settings: Mapping[str, Any], name: str) -> DerivedFile | None:
    """Return the derived file that a setting names; None if there is none."""
    try:
        file = DerivedFile(**settings[name])
    except (KeyError, TypeError):
        return None
    numbers = (file.change, file.count, file.size)
    valid = isinstance(file.name, str) and _NAME.fullmatch(file.name) and isinstance(file.digest, str)
    return file if valid and all(isinstance(number, int) for number in numbers) else None


def read_array(path: Path, kind: str) -> NDArray[Any]:
    """Return the array of a file: read into memory, or mapped if it is larger than `MAX_LOADED_BYTES`.

    A mapped file that is cut short ends the process with SIGBUS when the missing part is read, see `is_cut_short`.

    Raises:
        OSError: it cannot be read.
        ValueError: its size is no multiple of that of a number.
    """
    if path.stat().st_size <= MAX_LOADED_BYTES:
        return np.frombuffer(path.read_bytes(), dtype=kind)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=kind)


def is_cut_short(*arrays: NDArray[Any]) -> bool:
    """Return whether the file of a mapped array is shorter by now than it was."""
    maps = (base for array in arrays if isinstance(base := _buffer(array), mmap.mmap))
    return any(mapping.size() < len(mapping) for mapping in maps)


def _buffer(array: Any) -> Any:
    """Return the object that an array views the memory of."""
    while isinstance(array, np.ndarray | memoryview):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return array


_verified: dict[Path, tuple[DerivedFile, tuple[object, ...]]] = {}


def _state(path: Path) -> tuple[object, ...]:
    """Return what changes when somebody writes to a file, or to those in a folder."""
    parts = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [part.stat() for part in parts]
    return tuple((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(part.stat().st_size for part in path.iterdir())


def _digest(path: Path) -> str:
    """Return SHA-256 of a file; of a folder that of the names, sizes and digests of its files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = (f"{part.name} {part.stat().st_size} {_digest(part)}\n" for part in sorted(path.iterdir()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
