"""Named arrays: derived data of callers, each name's arrays in a folder of one file per array."""

import contextlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from recommender.store.base import ARRAY_TYPES
from recommender.store.local.derived_file import DAMAGED, DerivedFile, derived_file, is_cut_short, read_array
from recommender.system.files import atomic_folder, unused_path

# The setting that describes the folders, by the name of the arrays, and the stem of the folders' names.
ARRAYS = "arrays"
_FILE_NAME = re.compile(rf"([a-z0-9_]+)\.({'|'.join(ARRAY_TYPES)})")
_log = logging.getLogger("recommender")


def write_arrays(index_path: Path, revision: int, name: str, arrays: Mapping[str, NDArray[Any]]) -> DerivedFile:
    """Write a folder of arrays, each in a file that is named after the array and its type.

    Args:
        index_path: the index's folder.
        revision: of the index.
        name: of the arrays, checked by `check_arrays` as they are.
        arrays: one-dimensional, of `ARRAY_TYPES`.
    """
    path = unused_path(index_path / f"{ARRAYS}_{name}-{revision}")
    with atomic_folder(path) as folder:
        for array_name, array in arrays.items():
            kind = array.dtype.str[1:]
            (folder / f"{array_name}.{kind}").write_bytes(array.astype(f"<{kind}", copy=False).tobytes())
    return DerivedFile.of(path, revision, len(next(iter(arrays.values()), ())))


def array_files(settings: Mapping[str, Any]) -> dict[str, DerivedFile]:
    """Return the folders that the setting describes, by the name of their arrays; invalid descriptions are left out."""
    descriptions = settings.get(ARRAYS)
    if not isinstance(descriptions, dict):
        return {}
    files = {name: derived_file(descriptions, name) for name in descriptions}
    return {name: file for name, file in files.items() if file}


def open_arrays(index_path: Path, file: DerivedFile) -> tuple[dict[str, NDArray[Any]] | None, str]:
    """Open a folder of arrays; return None and the reason if it is invalid, see `DerivedFile.invalid_reason`."""
    if reason := file.invalid_reason(index_path):
        return None, reason
    try:
        arrays = {}
        for path in (index_path / file.name).iterdir():
            match = _FILE_NAME.fullmatch(path.name)
            if not match:
                return None, DAMAGED
            arrays[match[1]] = read_array(path, f"<{match[2]}")
    except (OSError, ValueError):
        return None, DAMAGED
    return arrays, ""


class ArrayCache:
    """The arrays of a revision. Threads share it.

    Args:
        index_path: the index's folder.
        settings: of the revision.
        before: the cache of an earlier revision, whose unchanged arrays are carried over; None to begin with none.
    """

    def __init__(self, index_path: Path, settings: Mapping[str, Any], before: "ArrayCache | None") -> None:
        self._index_path, self._files = index_path, array_files(settings)
        self._arrays: dict[DerivedFile, dict[str, NDArray[Any]] | None] = {}
        if before and not before.is_cut_short():
            files = set(self._files.values())
            self._arrays = {file: arrays for file, arrays in before._arrays.copy().items() if file in files}

    def get(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of a name, see `Store.arrays`; the same object each time."""
        file = self._files.get(name)
        if file is None:
            return None
        with contextlib.suppress(KeyError):
            return self._arrays[file]
        arrays, reason = open_arrays(self._index_path, file)
        if reason:
            _log.warning("The folder %s is %s, and is not used.", self._index_path / file.name, reason)
        return self._arrays.setdefault(file, arrays)  # another thread may have opened it meanwhile

    def is_cut_short(self) -> bool:
        """Return whether a file became shorter than its mapping."""
        return any(is_cut_short(*arrays.values()) for arrays in self._arrays.copy().values() if arrays)
