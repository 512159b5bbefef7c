"""Writing an index: one writer at a time, each batch in one transaction, and the derived files after it."""

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

from recommender.errors import IndexLockedError, ModelError
from recommender.store.base import Upsert, check_arrays, is_document_name
from recommender.store.local import database
from recommender.store.local.arrays import ARRAYS, array_files, write_arrays
from recommender.store.local.database import DATABASE, LIST, article_damaged_error
from recommender.store.local.derived_file import (
    DERIVED_FILES,
    FORWARD_INDEX,
    INVERTED_INDEX,
    NEIGHBOURS,
    VECTOR_INDEX,
    DerivedFile,
    derived_file,
)
from recommender.store.local.documents import put_document
from recommender.store.local.forward_index import MAX_NORM_ERROR, ForwardIndex, open_forward_index, write_forward_index
from recommender.store.local.inverted_index import write_inverted_index
from recommender.store.local.neighbours import PutNeighbours, writing_neighbours
from recommender.store.local.rows import (
    CountChanges,
    assign_term_ids,
    checked_terms,
    delete_articles,
    file_checksum,
    hubness_checksum,
    insert_article,
    lexical_checksum,
    pack_terms,
    put_commit,
    put_removed,
    put_setting,
    read_settings,
    recount,
    unpack_terms,
    vector_checksum,
)
from recommender.store.local.signal_reader import NO_REVISION, SignalReader
from recommender.store.local.vector_index import needs_lists, write_vector_index
from recommender.store.local.verify import repair
from recommender.system.files import create_folder, remove_path, unused_path
from recommender.text.clean import clean_text

LOCK = "writer.lock"
LOCK_SECONDS = 5.0  # that a second writer waits for the first
STALE_SHARE = 0.05  # of articles changed since the derived files were built, above which they are built again
MAX_EXACT_ARTICLES = 1000  # up to here derived files are built again after every change, and no search is approximate

_STORED_TERMS = (
    "SELECT a.key, a.id, a.content_hash, l.language, l.terms, l.checksum, l.assumed FROM articles a "
    "LEFT JOIN lexical l USING (key)"
)


class Writer:
    """Writes the index in a folder. The public methods implement those of `Store`.

    Args:
        index_path: the folder; the first write creates it.
    """

    def __init__(self, index_path: Path) -> None:
        self._index_path = index_path
        self._file = index_path / DATABASE
        self._open_connection: sqlite3.Connection | None = None
        self._new_settings: dict[str, Any] | None = None
        self._new_files: dict[str, bytes] = {}

    @contextlib.contextmanager
    def write_lock(self) -> Iterator[None]:
        """See Store."""
        from filelock import FileLock, Timeout  # noqa: PLC0415 - takes 20 ms, and readers do not need it

        with database.translate_errors(self._index_path):
            is_new = not self._index_path.exists()
            if not is_new and not self._index_path.is_dir():
                raise database.index_not_found_error(self._index_path)
            create_folder(self._index_path)
            lock = FileLock(self._index_path / LOCK, timeout=LOCK_SECONDS)
            try:
                lock.acquire()
            except Timeout as error:
                raise IndexLockedError(
                    f"The index {self._index_path} is being written by {_lock_holder(self._index_path / LOCK)}. Try "
                    f"again when it has finished."
                ) from error
        try:
            _put_lock_holder(self._index_path / LOCK)
            with database.translate_errors(self._index_path):
                self._remove_unused_files()
            yield
        finally:
            if self._open_connection:
                self._open_connection.close()
                self._open_connection = None
            if is_new and (self._new_settings or not self._file.exists()):  # nothing was written
                shutil.rmtree(self._index_path, ignore_errors=True)
            self._new_settings = None
            lock.release()

    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None = None) -> None:
        """See Store."""
        self._new_settings, self._new_files = dict(settings), dict(model_files or {})

    def write(self, upserts: Sequence[Upsert], removals: Sequence[str] = ()) -> None:
        """See Store."""
        with self._transaction() as connection:
            settings = read_settings(connection, self._index_path)
            revision, next_key = settings["revision"] + 1, settings["next_key"]
            ids = [upsert.article.id for upsert in upserts]
            stored = {
                row[1]: row
                for row in connection.execute(f"{_STORED_TERMS} WHERE a.id IN {LIST}", (json.dumps([*ids, *removals]),))
            }
            counts, are_counts_damaged = CountChanges(), False
            term_ids = assign_term_ids(connection, self._index_path, upserts)
            replaced_keys: list[int] = []
            for id in dict.fromkeys(id for id in [*removals, *ids] if id in stored):
                _, _, content_hash, language, blob, checksum, assumed = stored[id]
                if lexical_checksum(id, content_hash, language, assumed, blob) == checksum:
                    counts.subtract(language, assumed, unpack_terms(blob)[0].tolist())
                else:
                    are_counts_damaged = True
            for upsert in upserts:
                article = upsert.article
                old = stored.get(article.id)
                article_term_ids = list(map(term_ids[upsert.language].__getitem__, upsert.terms))
                counts.add(upsert.language, upsert.assumed, article_term_ids)
                terms = pack_terms(article_term_ids, list(upsert.terms.values()))
                if upsert.vector is not None:
                    vector = _packed_vector(upsert.vector, article.id)
                elif old is None:
                    raise ValueError(f"article {article.id!r} is new and needs a vector")
                else:
                    vector = self._stored_vector(connection, article.id, key=old[0], content_hash=old[2])
                new_signals = (upsert.language, terms, upsert.assumed)
                if old and upsert.vector is None and (old[3], old[4], old[6]) == new_signals:
                    delete_articles(connection, [old[0]], ("articles", "texts", "links", "facets"))
                    insert_article(connection, old[0], upsert, revision)
                    continue
                if old:  # a new key, since derived files have the old signals under the old key
                    replaced_keys.append(old[0])
                    delete_articles(connection, [old[0]])
                key, next_key = next_key, next_key + 1
                insert_article(connection, key, upsert, revision, (vector, terms))
            removed_keys = [stored[id][0] for id in removals if id in stored]
            delete_articles(connection, removed_keys)
            if are_counts_damaged:  # the counts to subtract are unknown
                recount(connection)
            else:
                counts.write(connection, self._index_path)
            put_removed(connection, sorted({*replaced_keys, *removed_keys}), revision)
            put_setting(connection, "revision", revision)
            put_setting(connection, "next_key", next_key)

    def _stored_vector(self, connection: sqlite3.Connection, id: str, *, key: int, content_hash: bytes) -> bytes:
        """Return the stored vector of an article, checked."""
        vector, revision, checksum = connection.execute(
            "SELECT vector, revision, checksum FROM vectors WHERE key = ?", (key,)
        ).fetchone() or (b"", 0, None)
        if vector_checksum(id, content_hash, revision, vector) != checksum:
            raise article_damaged_error(self._index_path, id)
        return bytes(vector)

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
            settings = read_settings(connection, self._index_path)
            revision = settings.get(FORWARD_INDEX, {}).get("revision")
            if last and settings.get("hubness", {}).get("revision") != revision:  # the pass was over all articles
                (mean,) = connection.execute("SELECT coalesce(avg(value), 0.0) FROM hubness").fetchone()
                put_setting(connection, "hubness", {"mean": round(mean, 6), "revision": revision})

    @contextlib.contextmanager
    def caching_neighbours(self, n: int) -> Iterator[PutNeighbours]:
        """See Store. An index of up to `MAX_EXACT_ARTICLES` caches none: its derived files change with every write."""
        with database.translate_errors(self._index_path):
            settings = read_settings(self._connection(), self._index_path)
            file, dimensions = derived_file(settings, FORWARD_INDEX), settings["model"]["dimensions"]
            is_cached = file and file.count > MAX_EXACT_ARTICLES
            forward_index = open_forward_index(self._index_path, file, dimensions)[0] if file and is_cached else None
            if not (file and forward_index):
                yield lambda neighbours: None
                return
            path = unused_path(self._index_path / f"{NEIGHBOURS}-{file.revision}")
            with writing_neighbours(path, forward_index, n) as put:
                yield put
            with self._transaction() as connection:
                put_setting(connection, NEIGHBOURS, asdict(DerivedFile.of(path, file.revision, file.count)))
            self._remove_unused_files()

    def put_setting(self, name: str, value: object) -> None:
        """See Store."""
        with self._transaction() as connection:
            put_setting(connection, name, value)

    def put_document(self, name: str, text: str | None) -> None:
        """See Store."""
        if not is_document_name(name):
            raise ValueError(f"{name!r} is no name of a document")
        with self._transaction() as connection:
            put_document(connection, name, text)

    def put_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]] | None) -> None:
        """See Store."""
        check_arrays(name, arrays)
        with self._transaction() as connection:
            settings = read_settings(connection, self._index_path)
            files = array_files(settings)
            files.pop(name, None)
            if arrays is not None:
                files[name] = write_arrays(self._index_path, settings["revision"], name, arrays)
            put_setting(connection, ARRAYS, {array_name: asdict(file) for array_name, file in files.items()})
        self._remove_unused_files()

    def finish(self, *, built: bool) -> None:
        """See Store."""
        if self._new_settings or not self._file.exists():  # nothing was written
            return
        if built:
            with self._transaction() as connection:
                put_setting(connection, "last_build", datetime.now(UTC).isoformat(timespec="seconds"))
        with database.translate_errors(self._index_path):
            self._refresh_derived_files(self._connection(), check_digests=built)

    def repair(self) -> None:
        """See Store."""
        with self._transaction() as connection:
            repair(connection, self._index_path)

    def _refresh_derived_files(self, writer: sqlite3.Connection, *, check_digests: bool) -> None:
        """Build the derived files again if one is invalid, or too many articles changed since they were built.

        Args:
            writer: the connection.
            check_digests: whether to compare the digest of the forward index, by far the largest file.
        """
        settings = read_settings(writer, self._index_path)
        dimensions = settings["model"]["dimensions"]
        forward_file = derived_file(settings, FORWARD_INDEX)
        if forward_file and self._are_valid(settings, forward_file, check_digests=check_digests):
            (changed,) = writer.execute(
                "SELECT (SELECT count(*) FROM vectors WHERE revision > :r) "
                "+ (SELECT count(*) FROM removed WHERE revision > :r)",
                {"r": forward_file.revision},
            ).fetchone()
            if changed <= (STALE_SHARE * forward_file.count if forward_file.count > MAX_EXACT_ARTICLES else 0):
                return
        revision = settings["revision"]
        stored_terms = writer.execute("SELECT term_id, language, term, document_frequency, checksum FROM terms")
        document_frequencies = [(row[0], row[3]) for row in checked_terms(stored_terms, self._index_path)]
        rows = SignalReader(self._index_path, dimensions).all_rows(writer)
        forward_file = write_forward_index(self._index_path, revision, rows, document_frequencies)
        forward_index = ForwardIndex(self._index_path / forward_file.name, dimensions)
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(write_vector_index, self._index_path, revision, forward_index)
            inverted_file = write_inverted_index(self._index_path, revision, forward_index.weighted_terms())
            vector_file = future.result()
        with self._transaction() as connection:
            # The cached neighbours refer to rows of the previous forward index.
            connection.execute("DELETE FROM settings WHERE name IN (?, ?)", (NEIGHBOURS, VECTOR_INDEX))
            files = {FORWARD_INDEX: forward_file, INVERTED_INDEX: inverted_file, VECTOR_INDEX: vector_file}
            for name, file in files.items():
                if file:
                    put_setting(connection, name, asdict(file))
            connection.execute("DELETE FROM removed WHERE revision <= ?", (revision,))
        self._remove_unused_files()

    def _are_valid(self, settings: Mapping[str, Any], forward_file: DerivedFile, *, check_digests: bool) -> bool:
        """Return whether the forward index, the inverted index and the vector index exist and are valid."""
        inverted_file, vector_file = derived_file(settings, INVERTED_INDEX), derived_file(settings, VECTOR_INDEX)
        return (
            inverted_file is not None
            and (vector_file is not None) == needs_lists(forward_file.count, settings["model"]["dimensions"])
            and not forward_file.invalid_reason(self._index_path, read=check_digests)
            and not inverted_file.invalid_reason(self._index_path)
            and not (vector_file and vector_file.invalid_reason(self._index_path))
        )

    def _remove_unused_files(self) -> None:
        """Remove derived files that no setting names: replaced ones, and those of a killed writer."""
        names = set()
        if self._file.exists() and database.is_written(self._connection(), self._index_path):
            settings = read_settings(self._connection(), self._index_path)
            names = {file.name for name in DERIVED_FILES if (file := derived_file(settings, name))}
            names |= {file.name for file in array_files(settings).values()}
        for stem in (*DERIVED_FILES, f"{ARRAYS}_*"):
            for path in (*self._index_path.glob(f"{stem}-*"), *self._index_path.glob(f".{stem}-*.tmp")):
                if path.name not in names:
                    remove_path(path)

    def _connection(self) -> sqlite3.Connection:
        if self._open_connection is None:
            self._open_connection = database.open_writer(self._file)
        return self._open_connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold a write transaction, in which a new index is created first; commit at the end, roll back on errors."""
        with database.translate_errors(self._index_path):
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                if not database.is_written(connection, self._index_path):
                    if self._new_settings is None:
                        raise database.index_not_found_error(self._index_path)
                    self._create_tables(connection, self._new_settings)
                yield connection
                put_commit(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._new_settings = None

    def _create_tables(self, connection: sqlite3.Connection, new_settings: Mapping[str, Any]) -> None:
        for statement in database.SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {database.FORMAT}")
        initial = {"id": uuid4().hex, "revision": NO_REVISION, "next_key": 1, "commits": []}
        for name, value in {**new_settings, **initial}.items():
            put_setting(connection, name, value)
        connection.executemany(
            "INSERT INTO model_files VALUES (?, ?, ?)",
            [(name, content, file_checksum(name, content)) for name, content in self._new_files.items()],
        )


def _packed_vector(vector: NDArray[np.float32], id: str) -> bytes:
    """Return a vector in its stored form, float16.

    Raises:
        ModelError: its length is neither 1 nor 0.
    """
    norm = float(np.linalg.norm(vector))
    if norm and not abs(norm - 1) < MAX_NORM_ERROR:
        raise ModelError(
            f"The model made a vector of length {norm:g} for article {id!r}; it must be 1. Nothing of this batch was "
            f"written. Check the model, and clear its cache if it was converted."
        )
    return vector.astype("<f2").tobytes()


def _put_lock_holder(lock: Path) -> None:
    """Write this process and the time to a lock file, for the error of another writer; ignore a full disk."""
    with contextlib.suppress(OSError):
        lock.write_text(
            json.dumps({"process": os.getpid(), "since": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"})
        )


def _lock_holder(lock: Path) -> str:
    """Return a phrase that names the process in a lock file."""
    try:
        holder = json.loads(lock.read_text())
        return f"the process {int(holder['process'])} since {clean_text(str(holder['since']))[:30]}"
    except (OSError, ValueError, TypeError, KeyError):  # not written yet
        return "another process"
