"""Files that are replaced whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

import platformdirs

from recommender.errors import RecommenderError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; at the end, sync it and put it in the place of `path`.

    A reader of `path` finds the old content or the new, also after a loss of power. If the block raises, `path`
    stays as it was and the other file is removed.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """Do as `replacing` does, with a folder of files, where there is none yet."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    discard(beside)
    try:
        beside.mkdir()
        yield beside
        for part in beside.iterdir():
            with part.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(beside)
        beside.rename(path)
        sync_folder(path.parent)
    finally:
        discard(beside)


def cache_folder() -> Path:
    """Return where what can be made or fetched again is kept: `$RECOMMENDER_CACHE`, or the user's cache."""
    given = os.environ.get("RECOMMENDER_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("recommender"))


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, so that they are there after a loss of power too."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def make_parent(path: Path) -> None:
    """Make the folder that a file is to be written in.

    Raises:
        RecommenderError: it cannot be made.
    """
    try:
        make_folder(path.resolve().parent)
    except FileExistsError as error:
        raise RecommenderError(f"{path} cannot be written: {error.filename} is not a folder.") from error
    except OSError as error:
        raise RecommenderError(f"{path} cannot be written: {error.filename}: {error.strerror}.") from error


def unused(path: Path) -> Path:
    """Return `path`, or if there is something already the first like it with a number at which there is nothing."""
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return next(name for name in chain([path], names) if not os.path.lexists(name))


def discard(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames and removals within `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
