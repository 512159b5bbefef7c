"""Search files: which belong to an index, whether they are whole, and whether this machine made them.

A search file is mapped, and parsed by FAISS or taken as it is, which trusts what stands in it. So it is read only if
it is byte for byte what was written, and was written by one who knows this machine's key: a checksum alone would be
written along by whoever sends a file that is not what it seems.
"""

import contextlib
import hashlib
import hmac
import mmap
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import platformdirs
from numpy.typing import NDArray

from recommender.files import replacing

# By setting, how their names begin.
SEARCH_FILES = {"dense": "dense", "postings": "lexical", "signals": "signals", "near": "near"}
MISSING, DAMAGED, FOREIGN = "missing", "damaged", "not made on this machine"
KEY = "RECOMMENDER_KEY"  # machines with the same one take one another's search files
MACHINE_ID = Path("/etc/machine-id")  # drawn at random when a system was installed; see machine-id(5)
KEY_FILE = "key"  # where there is none of that


@dataclass(frozen=True, slots=True)
class SearchFile:
    """Which search file, or folder, belongs to the database, as it stands in the table of settings.

    Attributes:
        name: its name within the index's folder.
        change: the change number that it was made at.
        count: how many articles it holds.
        size: its bytes.
        digest: SHA-256 of its content.
        seal: HMAC-SHA256 of name and digest, with the key of the machine that made it.
    """

    name: str
    change: int
    count: int
    size: int
    digest: str
    seal: str

    @classmethod
    def of(cls, path: Path, change: int, count: int) -> Self:
        """Describe what was just written at `path`."""
        digest = _digest(path)
        return cls(path.name, change, count, _size(path), digest, _seal(path.name, digest))

    def fault(self, folder: Path, *, read: bool = True) -> str:
        """Say why the file in `folder` is not to be used: MISSING, DAMAGED or FOREIGN; an empty text if it is.

        Args:
            folder: the index's.
            read: whether to read it through; not for what is checked piece by piece as it is used.
        """
        if not hmac.compare_digest(self.seal.encode(), _seal(self.name, self.digest).encode()):
            return FOREIGN  # before anything of it is looked at, its name too
        path = folder / self.name
        try:
            state = _state(path)
            if _whole.get(path) == (self, state):  # read before by this process, and not touched since
                return ""
            if _size(path) != self.size or (read and _digest(path) != self.digest):
                return DAMAGED
        except FileNotFoundError:
            return MISSING
        except OSError:
            return DAMAGED
        if read:
            _whole[path] = self, state
        return ""


def search_file(settings: Mapping[str, Any], name: str) -> SearchFile | None:
    """Return the search file that the settings name; None if there is none yet."""
    try:
        file = SearchFile(**settings[name])
    except (KeyError, TypeError):
        return None
    texts, numbers = (file.name, file.digest, file.seal), (file.change, file.count, file.size)
    plain = all(isinstance(text, str) and text.isascii() for text in texts)
    return file if plain and all(isinstance(number, int) for number in numbers) else None


def mapped(path: Path, kind: str) -> NDArray[Any]:
    """Map a file that holds one array of numbers of one type."""
    if not path.stat().st_size:  # which cannot be mapped
        return np.empty(0, dtype=kind)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=kind)


_whole: dict[Path, tuple[SearchFile, tuple[object, ...]]] = {}


def _state(path: Path) -> tuple[object, ...]:
    """Return what changes when somebody writes to a file, or to those in a folder."""
    parts = sorted(path.iterdir()) if path.is_dir() else [path]
    found = [part.stat() for part in parts]
    return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in found)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(part.stat().st_size for part in path.iterdir())


def _digest(path: Path) -> str:
    """Return SHA-256 of a file; of a folder that of the names, sizes and digests of what is in it."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    listed = (f"{part.name} {part.stat().st_size} {_digest(part)}\n" for part in sorted(path.iterdir()))
    return hashlib.sha256("".join(listed).encode()).hexdigest()


def _seal(name: str, digest: str) -> str:
    return hmac.new(_key(), f"{name} {digest}".encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    """Return what the search files of this machine are sealed with."""
    given = os.environ.get(KEY)
    return given.encode() if given else _machine_key()


@lru_cache(maxsize=1)
def _machine_key() -> bytes:
    """Return the machine's id; else a key that is drawn once for this user, or for this process if it is not kept."""
    with contextlib.suppress(OSError):
        if (found := MACHINE_ID.read_bytes().strip()) and found != b"uninitialized":  # as images have it
            return b"recommender " + found  # the id itself is not to be given to others, see machine-id(5)
    file, key = Path(platformdirs.user_data_dir("recommender")) / KEY_FILE, secrets.token_bytes(32)
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        if not (file.is_file() and file.stat().st_size):
            with replacing(file) as beside:
                os.close(os.open(beside, os.O_WRONLY | os.O_CREAT, 0o600))
                beside.write_bytes(key)
        return file.read_bytes()  # perhaps that of a process that was at it at the same time
    return key
