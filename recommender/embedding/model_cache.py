"""Models that were made here once, kept in the user's cache: converted ones, and static ones."""

import atexit
import json
import logging
import os
import shutil
import tempfile
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recommender.system.files import cache_folder, sync_folder

SETTINGS = "settings.json"
READ_BYTES = 2**20
_log = logging.getLogger("recommender")


def cached_model(name: str, make: Callable[[Path], dict[str, Any]], task: str) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a model, from the cache or made now, and its settings.

    The cache is `$RECOMMENDER_CACHE`, or the user's; where it cannot be written, the model is made for this process
    alone, with a warning. A model whose files have another checksum than when they were written is made again.

    Args:
        name: of the folder; tells the model from all others.
        make: writes the model's files into an empty folder and returns its settings, which JSON can hold.
        task: what making it does, for the message that it takes a while.
    """
    folder = cache_folder() / name
    settings = _settings(folder)
    if settings is None:
        if folder.exists():
            _log.warning("The cached model in %s is damaged and is made again.", folder)
        _log.warning("%s; this takes up to a minute, once. `recommender prepare` does it ahead.", task)
        try:
            settings = _made(folder, make)
        except OSError as error:
            _log.warning(
                "The model is made for this process alone, which takes a while each time: %s cannot be written "
                "(%s). Name a folder that can in $RECOMMENDER_CACHE.",
                folder.parent,
                error.strerror or error,
            )
            folder = Path(tempfile.mkdtemp(prefix="recommender-")) / name
            atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
            settings = _made(folder, make)
    return folder, settings


def _settings(folder: Path) -> dict[str, Any] | None:
    """Return the settings of a model; None if it is not there as it was written."""
    try:
        settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        checksum = settings.pop("crc32")
        # Of 90 MB this takes 40 ms, a third of what a cryptographic hash does on most processors.
        if checksum != _checksum(settings) or any(
            _file_checksum(folder / name) != crc for name, crc in settings["files"].items()
        ):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return settings


def _checksum(settings: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(settings, sort_keys=True).encode())


def _file_checksum(file: Path) -> int:
    crc = 0
    with file.open("rb") as opened:
        while part := opened.read(READ_BYTES):
            crc = zlib.crc32(part, crc)
    return crc


def _made(folder: Path, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Make a model's folder, whole or not at all; return its settings."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    beside.mkdir()
    try:
        settings = make(beside)
        settings["files"] = {path.name: _file_checksum(path) for path in beside.iterdir() if path.name != SETTINGS}
        written = settings | {"crc32": _checksum(settings)}
        (beside / SETTINGS).write_text(json.dumps(written, indent=1), encoding="utf-8")
        for path in beside.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        try:
            beside.rename(folder)
        except OSError:
            if _settings(folder) is None:  # else another process was first
                raise
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return settings
