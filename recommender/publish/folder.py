"""A folder of HTML fragments, one file per article, with a manifest that lists the files by article."""

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
SPOOL = ".related-files.tmp"  # a subfolder that new files are written to first
MADE_BY = "recommender links --format html"

SYNC_THREADS = 8  # a file system syncs many files to disk almost as fast as one
MAX_PENDING_FILES = 256  # that wait for a sync

_SAFE_ID = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")  # no "--", which precedes a hash
_FILE_NAME = re.compile(r"[a-z0-9_-]{1,150}\.html")
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d")  # names that Windows reserves, with any ending
MAX_ID_CHARS = 100  # of an id that is used as a file name
MAX_SLUG_CHARS = 60


@dataclass(slots=True)
class Counts:
    """Numbers of files written, unchanged and removed, and of blocks that a foreign file blocked."""

    written: int = 0
    unchanged: int = 0
    removed: int = 0
    blocked: int = 0


def file_name(id: str) -> str:
    """Return the name of an article's file: valid in every file system, and unique.

    An id of lower-case letters, digits and single hyphens or underscores is the name; another one gets a hash.
    """
    if len(id) <= MAX_ID_CHARS and _SAFE_ID.fullmatch(id) and not _RESERVED.fullmatch(id):
        return f"{id}.html"
    ascii = unicodedata.normalize("NFKD", re.sub(r"^\w+://", "", id[:1000])).encode("ascii", "ignore").decode()
    slug = "-".join(re.findall("[a-z0-9]+", ascii.lower()))[:MAX_SLUG_CHARS].strip("-") or "article"
    return f"{slug}--{hashlib.blake2b(id.encode(), digest_size=10).hexdigest()}.html"


def write(
    blocks: KeyedBlocks, folder: Path, render: Callable[[list[Recommendation]], str], on_problem: Callable[[str], None]
) -> Counts:
    """Write a file for every block, remove the files of articles that are gone, and touch no other file.

    All files are written to a subfolder first and then moved. Meanwhile the manifest lists old and new files, so that
    after an interruption the next run can replace them.

    Args:
        blocks: the blocks.
        folder: the folder; created if it does not exist.
        render: returns a block as HTML.
        on_problem: called with a sentence for each block that is not written.

    Raises:
        RecommenderError: another run is writing there, or the manifest has another format.
        OSError: a file cannot be read or written.
    """
    create_folder(folder)
    with _exclusive_lock(folder):
        manifest = _read_manifest(folder / MANIFEST)
        listed = {*manifest["files"].values(), *manifest["leaving"]}
        spool = folder / SPOOL
        remove_path(spool)
        spool.mkdir()
        try:
            files, counts, changed = _write_spool(blocks, folder, listed, render, on_problem)
            orphaned_files = sorted(name for name in listed - set(files.values()) if _is_file(folder / name))
            counts.removed = len(orphaned_files)
            if changed or orphaned_files:
                _put_manifest(folder, files, orphaned_files)
                for name in changed:
                    (spool / name).replace(folder / name)
                sync_folder(folder)
                for name in orphaned_files:
                    (folder / name).unlink(missing_ok=True)
                sync_folder(folder)
            if orphaned_files or manifest != {"files": files, "leaving": []} or not (folder / MANIFEST).exists():
                _put_manifest(folder, files, [])
        finally:
            remove_path(spool)
    return counts


def _write_spool(
    blocks: KeyedBlocks,
    folder: Path,
    listed: set[str],
    render: Callable[[list[Recommendation]], str],
    on_problem: Callable[[str], None],
) -> tuple[dict[str, str], Counts, list[str]]:
    """Write new and changed files to the spool; return file names by key, counts, and the names of written files."""
    files: dict[str, str] = {}
    counts = Counts()
    changed: list[str] = []
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(SYNC_THREADS) as pool:
        for key, article, block in blocks:
            name = file_name(article.id)
            content = render(block).encode()
            path = folder / name
            if _is_file(path) and path.stat().st_size == len(content) and path.read_bytes() == content:
                counts.unchanged += 1
            elif os.path.lexists(path) and not (name in listed and _is_file(path)):
                counts.blocked += 1
                if counts.blocked <= MAX_REPORTED:
                    on_problem(
                        f"The block of {article.id!r} is not written: {path} is there already and is not listed in "
                        f"{MANIFEST}. Move it away, or write the blocks to another folder."
                    )
                continue
            else:
                pending.append(pool.submit(_put_synced, folder / SPOOL / name, content))
                changed.append(name)
                if len(pending) > MAX_PENDING_FILES:
                    pending.popleft().result()
            files[key] = name
        for future in pending:
            future.result()
    if counts.blocked > MAX_REPORTED:
        on_problem(f"... and {counts.blocked - MAX_REPORTED:,} more blocks that are not written for the same reason.")
    counts.written = len(changed)
    return files, counts, changed


def _put_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Lock a folder against other runs; the lock is on the folder itself and leaves no file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecommenderError(
                f"Another run is writing to {folder}; run the command again when it has finished."
            ) from error
        except OSError:  # some network file systems cannot lock folders
            pass
        yield
    finally:
        os.close(descriptor)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Return the files that a manifest lists, without names that `file_name` cannot return."""
    if not os.path.lexists(path):
        return {"files": {}, "leaving": []}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["made by"] != MADE_BY:
            raise ValueError
        files = {str(key): name for key, name in record["files"].items() if _FILE_NAME.fullmatch(name)}
        return {"files": files, "leaving": [name for name in record["leaving"] if _FILE_NAME.fullmatch(name)]}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecommenderError(
            f"{path} is not a manifest that `{MADE_BY}` wrote, so it is unknown which files may be replaced. "
            f"Write the blocks to another folder, or remove it if all files there may stay as they are."
        ) from error


def _put_manifest(folder: Path, files: dict[str, str], leaving: list[str]) -> None:
    record = {"made by": MADE_BY, "files": files, "leaving": leaving}
    _put_synced(folder / SPOOL / MANIFEST, (json.dumps(record, ensure_ascii=False, indent=0) + "\n").encode())
    (folder / SPOOL / MANIFEST).replace(folder / MANIFEST)
    sync_folder(folder)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
