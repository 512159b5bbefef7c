"""A folder of fragments, one file an article; a manifest says which file is whose, and so which files are ours."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recommender.article import Recommendation
from recommender.errors import RecommenderError
from recommender.publish.keyed_blocks import MAX_REPORTED, KeyedBlocks
from recommender.system.files import create_folder, remove_path, sync_folder

MANIFEST = "related-files.json"
SPOOL = ".related-files.tmp"  # a folder within: what is new is written there first
MADE_BY = "recommender links --format html"

SYNCING = 8  # files at a time that are brought to the disk: a file system does that for many almost as fast as for one
AHEAD = 256  # files that wait for it

_SAFE = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")  # no "--", which is before a hash only
_OURS = re.compile(r"[a-z0-9_-]{1,150}\.html")
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d")  # by Windows, whatever the ending
_LONGEST = 100  # characters of an id that names its file
_SLUG = 60


@dataclass(slots=True)
class Counts:
    """What was done: files written, left as they were, and removed; blocks that are not there for another's file."""

    written: int = 0
    unchanged: int = 0
    removed: int = 0
    barred: int = 0


def file_name(id: str) -> str:
    """Return the name of an article's file: one that every file system takes, and another for every id.

    An id of lower-case letters, digits and single hyphens or underscores is its name; another gets a hash.
    """
    if len(id) <= _LONGEST and _SAFE.fullmatch(id) and not _RESERVED.fullmatch(id):
        return f"{id}.html"
    ascii = unicodedata.normalize("NFKD", re.sub(r"^\w+://", "", id[:1000])).encode("ascii", "ignore").decode()
    slug = "-".join(re.findall("[a-z0-9]+", ascii.lower()))[:_SLUG].strip("-") or "article"
    return f"{slug}--{hashlib.blake2b(id.encode(), digest_size=10).hexdigest()}.html"


def write(
    entries: KeyedBlocks, folder: Path, render: Callable[[list[Recommendation]], str], on_problem: Callable[[str], None]
) -> Counts:
    """Write a file for every entry, remove those of articles that are gone, and touch no other.

    All is made beside first, and put in place when it is whole. The manifest names old and new files while that is
    done: cut off, the next run knows which are ours.

    Args:
        entries: what to write.
        folder: where to; made if it is not there.
        render: returns a block as HTML.
        on_problem: called with a sentence for each block that is not written.

    Raises:
        RecommenderError: another run is writing there, or the manifest is none of ours.
        OSError: something cannot be read or written.
    """
    create_folder(folder)
    with _alone(folder):
        before = _read(folder / MANIFEST)
        ours = {*before["files"].values(), *before["leaving"]}
        spool = folder / SPOOL
        remove_path(spool)
        spool.mkdir()
        try:
            files, counts, changed = _made(entries, folder, ours, render, on_problem)
            gone = sorted(name for name in ours - set(files.values()) if _is_file(folder / name))
            counts.removed = len(gone)
            if changed or gone:
                _put_manifest(folder, files, gone)
                for name in changed:
                    (spool / name).replace(folder / name)
                sync_folder(folder)
                for name in gone:
                    (folder / name).unlink(missing_ok=True)
                sync_folder(folder)
            if gone or before != {"files": files, "leaving": []} or not (folder / MANIFEST).exists():
                _put_manifest(folder, files, [])
        finally:
            remove_path(spool)
    return counts


def _made(
    entries: KeyedBlocks,
    folder: Path,
    ours: set[str],
    render: Callable[[list[Recommendation]], str],
    on_problem: Callable[[str], None],
) -> tuple[dict[str, str], Counts, list[str]]:
    """Write what is new or differs into the spool; return names by key, counts, and the names of what was written."""
    files: dict[str, str] = {}
    counts = Counts()
    changed: list[str] = []
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(SYNCING) as pool:
        for key, card, block in entries:
            name = file_name(card.id)
            content = render(block).encode()
            path = folder / name
            if _is_file(path) and path.stat().st_size == len(content) and path.read_bytes() == content:
                counts.unchanged += 1
            elif os.path.lexists(path) and not (name in ours and _is_file(path)):
                counts.barred += 1
                if counts.barred <= MAX_REPORTED:
                    on_problem(
                        f"The block of {card.id!r} is not written: {path} is there already and is no file that "
                        f"{MANIFEST} names. Move it away, or write the blocks to another folder."
                    )
                continue
            else:
                waiting.append(pool.submit(_put_synced, folder / SPOOL / name, content))
                changed.append(name)
                if len(waiting) > AHEAD:
                    waiting.popleft().result()
            files[key] = name
        for future in waiting:
            future.result()
    if counts.barred > MAX_REPORTED:
        on_problem(f"... and {counts.barred - MAX_REPORTED:,} more blocks that are not written for the same reason.")
    counts.written = len(changed)
    return files, counts, changed


def _put_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs from writing to a folder; a lock on the folder itself, which leaves no file there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecommenderError(
                f"Another run is writing to {folder}; run the command again when it has finished."
            ) from error
        except OSError:  # some network file systems lock no folders
            pass
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any]:
    """Return what a manifest names, without what can be no file of ours."""
    if not os.path.lexists(path):
        return {"files": {}, "leaving": []}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["made by"] != MADE_BY:
            raise ValueError
        files = {str(key): name for key, name in found["files"].items() if _OURS.fullmatch(name)}
        return {"files": files, "leaving": [name for name in found["leaving"] if _OURS.fullmatch(name)]}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecommenderError(
            f"{path} is not a manifest that `{MADE_BY}` wrote, so it cannot be told which files may be replaced. "
            f"Write the blocks to another folder, or remove it if all files there may stay as they are."
        ) from error


def _put_manifest(folder: Path, files: dict[str, str], leaving: list[str]) -> None:
    record = {"made by": MADE_BY, "files": files, "leaving": leaving}
    _put_synced(folder / SPOOL / MANIFEST, (json.dumps(record, ensure_ascii=False, indent=0) + "\n").encode())
    (folder / SPOOL / MANIFEST).replace(folder / MANIFEST)
    sync_folder(folder)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
