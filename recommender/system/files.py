"""Files and folders that are replaced atomically and durably, and the cache folder."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

import platformdirs

from recommender.errors import RecommenderError


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; at the end, sync the file written there and rename it to `path`.

    A reader of `path` reads the old content or the new, also after a power failure. If the block raises, `path`
    is unchanged and the temporary file is removed.
    """
    temporary_path = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary_path
        with temporary_path.open("rb") as file:
            os.fsync(file.fileno())
        temporary_path.replace(path)
        sync_folder(path.parent)
    finally:
        temporary_path.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which must not exist; at the end, sync its files and rename it."""
    temporary_path = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    remove_path(temporary_path)
    try:
        temporary_path.mkdir()
        yield temporary_path
        for child in temporary_path.iterdir():
            with child.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(temporary_path)
        temporary_path.rename(path)
        sync_folder(path.parent)
    finally:
        remove_path(temporary_path)


def cache_folder() -> Path:
    """Return the folder of reproducible files: `$RECOMMENDER_CACHE`, or the user's cache."""
    from_environment = os.environ.get("RECOMMENDER_CACHE")
    return Path(from_environment) if from_environment else Path(platformdirs.user_cache_dir("recommender"))


def create_folder(path: Path) -> None:
    """Create a folder and its parents durably: they exist after a power failure too."""
    if not path.is_dir():
        create_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def create_parent(path: Path) -> None:
    """Create the parent folder of a file.

    Raises:
        RecommenderError: the folder cannot be created.
    """
    try:
        create_folder(path.resolve().parent)
    except FileExistsError as error:
        raise RecommenderError(f"{path} cannot be written: {error.filename} is not a folder.") from error
    except OSError as error:
        raise RecommenderError(f"{path} cannot be written: {error.filename}: {error.strerror}.") from error


def unused_path(path: Path) -> Path:
    """Return `path`, or if it exists the first of `path`-2, `path`-3, ... that does not."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return next(candidate for candidate in chain([path], numbered) if not os.path.lexists(candidate))


def remove_path(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames and removals within a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
