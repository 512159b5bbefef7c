"""The user's cache of derived models: converted, quantised and distilled ones."""

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
    """Return the folder and the settings of a derived model, from the cache or created now.

    The cache is `$RECOMMENDER_CACHE`, or the user's cache folder; if it cannot be written, the model is created for
    this process alone, with a warning. A model whose files fail their checksums is created again.

    Args:
        name: the name of its folder, unique to the model.
        make: writes the model's files into an empty folder and returns its settings, as JSON values.
        task: a description of the work, for the message that it takes a while.
    """
    folder = cache_folder() / name
    settings = _settings(folder)
    if settings is None:
        if folder.exists():
            _log.warning("The cached model in %s is damaged and is made again.", folder)
        _log.warning("%s; this takes up to a minute, once. `recommender prepare` does it ahead.", task)
        try:
            settings = _create(folder, make)
        except OSError as error:
            _log.warning(
                "The model is made for this process alone, which takes a while each time: %s cannot be written "
                "(%s). Name a folder that can in $RECOMMENDER_CACHE.",
                folder.parent,
                error.strerror or error,
            )
            folder = Path(tempfile.mkdtemp(prefix="recommender-")) / name
            atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
            settings = _create(folder, make)
    return folder, settings


def _settings(folder: Path) -> dict[str, Any] | None:
    """Return the settings of a cached model; None if it is missing or damaged."""
    try:
        settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        checksum = settings.pop("crc32")
        # CRC-32 takes 40 ms for 90 MB, a third of the time of a cryptographic hash on most processors.
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
    with file.open("rb") as stream:
        while part := stream.read(READ_BYTES):
            crc = zlib.crc32(part, crc)
    return crc


def _create(folder: Path, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Create the folder of a model atomically; return its settings."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        settings = make(temporary)
        settings["files"] = {path.name: _file_checksum(path) for path in temporary.iterdir() if path.name != SETTINGS}
        record = settings | {"crc32": _checksum(settings)}
        (temporary / SETTINGS).write_text(json.dumps(record, indent=1), encoding="utf-8")
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)  # a damaged model
        try:
            temporary.rename(folder)
        except OSError:
            if _settings(folder) is None:  # otherwise another process created it first
                raise
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return settings
