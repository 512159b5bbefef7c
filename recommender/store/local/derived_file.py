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

# Each is the name of the setting that describes the file, and the stem of the file's name.
FORWARD_INDEX = "forward_index"
INVERTED_INDEX = "inverted_index"
VECTOR_INDEX = "vector_index"
NEIGHBOURS = "neighbours"
DERIVED_FILES = (FORWARD_INDEX, INVERTED_INDEX, VECTOR_INDEX, NEIGHBOURS)
MISSING, DAMAGED = "missing", "damaged"
MAX_LOADED_BYTES = 2**26  # per array; larger ones are mapped, see `read_array`
_NAME = re.compile(r"[a-z_]+-[0-9]+(-[0-9]+)?")


@dataclass(frozen=True, slots=True)
class DerivedFile:
    """A derived file, or folder of files, as its setting describes it.

    Attributes:
        name: its name within the index's folder.
        revision: the revision that it was built at.
        count: the number of articles in it.
        size: its size in bytes.
        digest: SHA-256 of its content, as hexadecimal digits.
    """

    name: str
    revision: int
    count: int
    size: int
    digest: str

    @classmethod
    def of(cls, path: Path, revision: int, count: int) -> Self:
        """Describe the file that was just written at `path`."""
        return cls(path.name, revision, count, _size(path), _digest(path))

    def invalid_reason(self, index_path: Path, *, read: bool = True) -> str:
        """Return why the file cannot be used, MISSING or DAMAGED; an empty text if it can.

        Args:
            index_path: the index's folder.
            read: whether to compare the digest, which reads the whole file; unneeded where each row has a checksum.
        """
        path = index_path / self.name
        try:
            state = _state(path)
            if _verified.get(path) == (self, state):  # by this process, and unchanged since
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
    """Return the derived file that a setting describes; None if the setting is missing or invalid."""
    try:
        file = DerivedFile(**settings[name])
    except (KeyError, TypeError):
        return None
    numbers = (file.revision, file.count, file.size)
    valid = isinstance(file.name, str) and _NAME.fullmatch(file.name) and isinstance(file.digest, str)
    return file if valid and all(isinstance(number, int) for number in numbers) else None


def read_array(path: Path, kind: str) -> NDArray[Any]:
    """Return the array of a file: read into memory, or mapped if it is larger than `MAX_LOADED_BYTES`.

    A mapped file that is cut short ends the process with SIGBUS when the missing part is read, see `is_cut_short`.

    Raises:
        OSError: the file cannot be read.
        ValueError: its size is not a multiple of the item size.
    """
    if path.stat().st_size <= MAX_LOADED_BYTES:
        return np.frombuffer(path.read_bytes(), dtype=kind)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=kind)


def is_cut_short(*arrays: NDArray[Any]) -> bool:
    """Return whether the file of a mapped array became shorter than the mapping."""
    maps = (base for array in arrays if isinstance(base := _buffer(array), mmap.mmap))
    return any(mapping.size() < len(mapping) for mapping in maps)


def _buffer(array: Any) -> Any:
    """Return the object that owns an array's memory."""
    while isinstance(array, np.ndarray | memoryview):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return array


_verified: dict[Path, tuple[DerivedFile, tuple[object, ...]]] = {}


def _state(path: Path) -> tuple[object, ...]:
    """Return inode, sizes and times of a file, or of the files in a folder, which differ after a write."""
    parts = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [part.stat() for part in parts]
    return tuple((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(part.stat().st_size for part in path.iterdir())


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names, sizes and digests of a folder's files, as hexadecimal digits."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = (f"{part.name} {part.stat().st_size} {_digest(part)}\n" for part in sorted(path.iterdir()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
