"""Writes a local index: one at a time, each change whole or not at all; and the search files that follow from it."""

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from recommender.errors import IndexLockedError, IndexNotFoundError, ModelError
from recommender.store.base import Upsert
from recommender.store.local import database
from recommender.store.local.database import DATABASE, LIST, article_damaged_error
from recommender.store.local.derived_file import DERIVED_FILES, DerivedFile, derived_file
from recommender.store.local.forward_index import MAX_NORM_ERROR, ForwardIndex, open_forward_index, write_forward_index
from recommender.store.local.inverted_index import write_inverted_index
from recommender.store.local.neighbours import Keep, writing_neighbours
from recommender.store.local.rows import (
    Counts,
    checked_terms,
    count_anew,
    delete_articles,
    file_checksum,
    hubness_checksum,
    insert_article,
    lexical_checksum,
    number_terms,
    pack_terms,
    put_commit,
    put_removed,
    put_setting,
    read_settings,
    unpack_terms,
    vector_checksum,
)
from recommender.store.local.signal_reader import NO_CHANGE, SignalReader
from recommender.store.local.vector_index import needs_lists, write_vector_index
from recommender.store.local.verify import repair
from recommender.system.files import discard, make_folder, unused
from recommender.text.clean import clean_text

LOCK = "writer.lock"
LOCK_SECONDS = 5.0  # how long a second writer waits for the first
STALE_SHARE = 0.05  # of the search files' articles; past it what has changed is worth new files
SMALL = 1000  # articles; up to so many the search files are always made anew, and nothing is approximate

_TERMS_AND_ASSUMED = (
    "SELECT a.key, a.id, a.content_hash, l.language, l.terms, l.checksum, l.assumed FROM articles a "
    "LEFT JOIN lexical l USING (key)"
)


class Writer:
    """Writes the index in a folder. Its methods are those of Store, which says what they do.

    Args:
        place: the folder; made by the first write.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._file = place / DATABASE
        self._open: sqlite3.Connection | None = None
        self._new_settings: dict[str, Any] | None = None
        self._new_files: dict[str, bytes] = {}

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """See Store."""
        from filelock import FileLock, Timeout  # noqa: PLC0415 - 20 ms, and who reads needs none

        with database.translate_errors(self._place):
            made = not self._place.exists()
            if not made and not self._place.is_dir():
                raise IndexNotFoundError(database.index_not_found_error(self._place))
            make_folder(self._place)
            lock = FileLock(self._place / LOCK, timeout=LOCK_SECONDS)
            try:
                lock.acquire()
            except Timeout as error:
                raise IndexLockedError(
                    f"The index {self._place} is being written by {_holder(self._place / LOCK)}. Try again when it has "
                    f"finished."
                ) from error
        try:
            _put_holder(self._place / LOCK)
            with database.translate_errors(self._place):
                self._tidy()
            yield
        finally:
            if self._open:
                self._open.close()
                self._open = None
            if made and (self._new_settings or not self._file.exists()):  # nothing was written
                shutil.rmtree(self._place, ignore_errors=True)
            self._new_settings = None
            lock.release()

    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None = None) -> None:
        """See Store."""
        self._new_settings, self._new_files = dict(settings), dict(model_files or {})

    def write(self, changes: Sequence[Upsert], removals: Sequence[str] = ()) -> None:
        """See Store."""
        with self._transaction() as connection:
            settings = read_settings(connection, self._place)
            number, next_key = settings["change"] + 1, settings["key"]
            ids = [change.article.id for change in changes]
            stored = {
                row[1]: row
                for row in connection.execute(
                    f"{_TERMS_AND_ASSUMED} WHERE a.id IN {LIST}", (json.dumps([*ids, *removals]),)
                )
            }
            counts, recount = Counts(), False
            numbers = number_terms(connection, self._place, changes)
            gone: list[int] = []
            for id in dict.fromkeys([*(id for id in removals if id in stored), *(id for id in ids if id in stored)]):
                _, _, content_hash, language, blob, checksum, assumed = stored[id]
                whole = lexical_checksum(id, content_hash, language, assumed, blob) == checksum
                recount = recount or not whole
                if whole:
                    counts.take(language, assumed, unpack_terms(blob)[0].tolist())
            for change in changes:
                article = change.article
                old = stored.get(article.id)
                of_article = list(map(numbers[change.language].__getitem__, change.terms))
                counts.add(change.language, change.assumed, of_article)
                terms = pack_terms(of_article, list(change.terms.values()))
                if change.vector is not None:
                    vector = _packed(change.vector, article.id)
                elif old is None:
                    raise ValueError(f"article {article.id!r} is new and needs a vector")
                else:
                    vector, came, checksum = connection.execute(
                        "SELECT vector, change, checksum FROM vectors WHERE key = ?", (old[0],)
                    ).fetchone() or (b"", 0, None)
                    if vector_checksum(article.id, old[2], came, vector) != checksum:
                        raise article_damaged_error(self._place, article.id)
                if (
                    old
                    and change.vector is None
                    and (old[3], old[4], old[6])
                    == (
                        change.language,
                        terms,
                        change.assumed,
                    )
                ):
                    delete_articles(connection, [old[0]], ("articles", "texts", "links", "facets"))
                    insert_article(connection, old[0], change, number)
                    continue
                if old:  # a new key, since the search files know the old one by what it was
                    gone.append(old[0])
                    delete_articles(connection, [old[0]])
                key, next_key = next_key, next_key + 1
                insert_article(connection, key, change, number, (vector, terms))
            removed = [stored[id][0] for id in removals if id in stored]
            delete_articles(connection, removed)
            if recount:  # a damaged row does not say what to take off
                count_anew(connection)
            else:
                counts.write(connection, self._place)
            put_removed(connection, sorted({*gone, *removed}), number)
            put_setting(connection, "change", number)
            put_setting(connection, "key", next_key)

    def put_hubness(self, values: Mapping[str, float], *, last: bool) -> None:
        """See Store."""
        with self._transaction() as connection:
            keys = connection.execute(
                f"SELECT id, key FROM articles WHERE id IN {LIST}", (json.dumps(list(values)),)
            ).fetchall()
            connection.executemany(
                "INSERT OR REPLACE INTO hubness VALUES (?, ?, ?)",
                [(key, values[id], hubness_checksum(key, values[id])) for id, key in keys],
            )
            settings = read_settings(connection, self._place)
            change = settings.get("signals", {}).get("change")
            if last and settings.get("hubness", {}).get("change") != change:  # the round was over all
                (mean,) = connection.execute("SELECT coalesce(avg(value), 0.0) FROM hubness").fetchone()
                put_setting(connection, "hubness", {"mean": round(mean, 6), "change": change})

    @contextlib.contextmanager
    def caching_neighbours(self, n: int) -> Iterator[Keep]:
        """See Store. Not kept in an index so small that its search files are made anew with every change."""
        with database.translate_errors(self._place):
            settings = read_settings(self._connection(), self._place)
            file, dimensions = derived_file(settings, "signals"), settings["model"]["dimensions"]
            signals = open_forward_index(self._place, file, dimensions)[0] if file and file.count > SMALL else None
            if not (file and signals):
                yield lambda found: None
                return
            path = unused(self._place / f"near-{file.change}")
            with writing_neighbours(path, signals, n) as keep:
                yield keep
            with self._transaction() as connection:
                put_setting(connection, "near", asdict(DerivedFile.of(path, file.change, file.count)))
            self._tidy()

    def put_setting(self, name: str, value: object) -> None:
        """See Store."""
        with self._transaction() as connection:
            put_setting(connection, name, value)

    def finish(self, *, built: bool) -> None:
        """See Store."""
        if self._new_settings or not self._file.exists():  # nothing was written, so there is nothing to finish
            return
        if built:
            with self._transaction() as connection:
                put_setting(connection, "last_build", datetime.now(UTC).isoformat(timespec="seconds"))
        with database.translate_errors(self._place):
            self._refresh(self._connection(), thoroughly=built)

    def repair(self) -> None:
        """See Store."""
        with self._transaction() as connection:
            repair(connection, self._place)

    def _refresh(self, writer: sqlite3.Connection, *, thoroughly: bool) -> None:
        """Make the search files again if one is not usable, or too much has changed since they were made.

        The signals, by far the largest, are read through only `thoroughly`.
        """
        settings = read_settings(writer, self._place)
        files = [derived_file(settings, name) for name in ("signals", "postings", "dense")]
        dimensions = settings["model"]["dimensions"]
        signals = files[0]
        if signals and self._are_usable(signals, *files[1:], dimensions=dimensions, thoroughly=thoroughly):
            (pending,) = writer.execute(
                "SELECT (SELECT count(*) FROM vectors WHERE change > :c) "
                "+ (SELECT count(*) FROM removed WHERE change > :c)",
                {"c": signals.change},
            ).fetchone()
            if pending <= (STALE_SHARE * signals.count if signals.count > SMALL else 0):
                return
        change = settings["change"]
        terms_rows = checked_terms(
            writer.execute("SELECT number, language, term, articles, checked FROM terms"), self._place
        )
        counts = [(row[0], row[3]) for row in terms_rows]
        rows = SignalReader(self._place, dimensions).all_rows(writer)
        signals = write_forward_index(self._place, change, rows, counts)
        forward = ForwardIndex(self._place / signals.name, dimensions)
        with ThreadPoolExecutor(1) as beside:
            waiting = beside.submit(write_vector_index, self._place, change, forward)
            terms = write_inverted_index(self._place, change, forward.weighed())
            dense = waiting.result()
        with self._transaction() as connection:
            # The cached candidates name articles by their rows in the forward index before.
            connection.execute("DELETE FROM settings WHERE name IN ('near', 'dense')")
            for name, file in (("signals", signals), ("postings", terms), ("dense", dense)):
                if file:
                    put_setting(connection, name, asdict(file))
            connection.execute("DELETE FROM removed WHERE change <= ?", (change,))
        self._tidy()

    def _are_usable(
        self,
        signals: DerivedFile,
        terms: DerivedFile | None,
        dense: DerivedFile | None,
        *,
        dimensions: int,
        thoroughly: bool,
    ) -> bool:
        """Return whether forward index, inverted index and approximate lists are there and whole."""
        return (
            terms is not None
            and (dense is not None) == needs_lists(signals.count, dimensions)
            and not signals.invalid_reason(self._place, read=thoroughly)
            and not terms.invalid_reason(self._place)
            and not (dense and dense.invalid_reason(self._place))
        )

    def _tidy(self) -> None:
        """Remove search files that are not used: those before the last ones, and what a killed writer left."""
        used = set()
        if self._file.exists() and database.is_written(self._connection(), self._place):
            settings = read_settings(self._connection(), self._place)
            used = {file.name for name in DERIVED_FILES if (file := derived_file(settings, name))}
        for stem in DERIVED_FILES.values():
            for path in (*self._place.glob(f"{stem}-*"), *self._place.glob(f".{stem}-*.tmp")):
                if path.name not in used:
                    discard(path)

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            self._open = database.open_writer(self._file)
        return self._open

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with database.translate_errors(self._place):
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                if not database.is_written(connection, self._place):
                    if self._new_settings is None:
                        raise IndexNotFoundError(database.index_not_found_error(self._place))
                    for statement in database.SCHEMA.split(";\n"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
                    connection.execute(f"PRAGMA user_version = {database.FORMAT}")
                    for name, value in {
                        **self._new_settings,
                        "id": uuid4().hex,
                        "change": NO_CHANGE,
                        "key": 1,
                        "commits": [],
                    }.items():
                        put_setting(connection, name, value)
                    connection.executemany(
                        "INSERT INTO model_files VALUES (?, ?, ?)",
                        [(name, content, file_checksum(name, content)) for name, content in self._new_files.items()],
                    )
                yield connection
                put_commit(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._new_settings = None


def _packed(vector: NDArray[np.float32], id: str) -> bytes:
    """Return a vector as it is stored, float16.

    Raises:
        ModelError: it is not of unit length, and not all zeros.
    """
    norm = float(np.linalg.norm(vector))
    if norm and not abs(norm - 1) < MAX_NORM_ERROR:
        raise ModelError(
            f"The model made a vector of length {norm:g} for article {id!r}; it must be 1. Nothing of this batch was "
            f"written. Check the model, and clear its cache if it was converted."
        )
    return vector.astype("<f2").tobytes()


def _put_holder(lock: Path) -> None:
    """Note in a lock file that is held who holds it. It is told to others only, so a full disk does not matter."""
    with contextlib.suppress(OSError):
        lock.write_text(
            json.dumps({"process": os.getpid(), "since": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"})
        )


def _holder(lock: Path) -> str:
    """Say who holds a lock file."""
    try:
        found = json.loads(lock.read_text())
        return f"the process {int(found['process'])} since {clean_text(str(found['since']))[:30]}"
    except (OSError, ValueError, TypeError, KeyError):  # not written yet
        return "another process"
