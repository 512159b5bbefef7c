"""Snapshots of the database for many threads: a pool of connections, and the caches of each revision."""

import contextlib
import os
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recommender.errors import IndexNotFoundError
from recommender.store.local import database
from recommender.store.local.arrays import ArrayCache
from recommender.store.local.articles import ArticleReader
from recommender.store.local.candidates import CandidateSearch
from recommender.store.local.database import DATABASE
from recommender.store.local.documents import read_document
from recommender.store.local.policies import read_policy
from recommender.store.local.rows import read_languages, read_settings
from recommender.store.local.signal_reader import SignalReader
from recommender.store.local.turns import Turns

MAX_ATTEMPTS = 5  # to open a database that a writer is rolling back
WAIT_SECONDS = 2.0  # for an index that existed before, and is being replaced
WAIT_STEP_SECONDS = 0.02
MAX_IDLE_CONNECTIONS = 32


class Revision:
    """A committed state of the index, and the caches of its readers. Threads share it.

    Args:
        index_path: the index's folder.
        settings: of this state.
        before: an earlier state, whose caches are carried over; None to begin with empty ones.
    """

    def __init__(self, index_path: Path, settings: dict[str, Any], before: "Revision | None") -> None:
        self._index_path, self.settings = index_path, settings
        self.commit: str = settings["commits"][0]
        self.articles = ArticleReader(index_path)
        self._lock = threading.Lock()
        self._languages: dict[str, tuple[int, int]] | None = None
        self._policy: dict[str, Any] | None = None
        self._signals: SignalReader | None = None
        self._candidates: CandidateSearch | None = None
        # A restored backup has another history, to which no cache applies.
        inherits = before is not None and before.commit in settings["commits"]
        self._earlier_signals = before.last_signals if before and inherits else SignalReader(index_path)
        self._earlier_candidates = before.last_candidates if before and inherits else None
        self.arrays: ArrayCache = ArrayCache(index_path, settings, before.arrays if before and inherits else None)
        self._documents: dict[str, str | None] = {}
        self._earlier_documents = before.last_documents if before and inherits else {}

    @property
    def last_signals(self) -> SignalReader:
        """The signals of this revision, or of an earlier one if no thread has read these."""
        return self._signals or self._earlier_signals

    @property
    def last_candidates(self) -> CandidateSearch | None:
        """The candidate search of this revision, or of an earlier one if no thread has used it."""
        return self._candidates or self._earlier_candidates

    @property
    def last_documents(self) -> dict[str, str | None]:
        """The documents that were read from this revision or from earlier ones."""
        return {**self._earlier_documents, **self._documents}

    def signals(self, connection: sqlite3.Connection) -> SignalReader:
        """Return the reader of signals."""
        if self._signals is None:
            with self._lock:
                if self._signals is None:
                    self._signals = self._earlier_signals.updated(connection, self.settings)
        return self._signals

    def candidates(self, connection: sqlite3.Connection) -> CandidateSearch:
        """Return the candidate search."""
        if self._candidates is None:
            signals = self.signals(connection)
            with self._lock:
                if self._candidates is None:
                    earlier = self._earlier_candidates or CandidateSearch(
                        self._index_path, self.settings["model"]["dimensions"]
                    )
                    self._candidates = earlier.updated(connection, self.settings, signals)
                    self._earlier_candidates = None
        return self._candidates

    def languages(self, connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
        """Return the counts of languages, see `Store.languages`."""
        if self._languages is None:
            self._languages = read_languages(connection, self._index_path)
        return self._languages

    def policy(self, connection: sqlite3.Connection) -> dict[str, Any]:
        """Return the policy, see `Store.policy`."""
        if self._policy is None:
            self._policy = read_policy(connection, self._index_path)
        return self._policy

    def document(self, connection: sqlite3.Connection, name: str) -> str | None:
        """Return a document, see `Store.document`."""
        if name not in self._documents:
            text, earlier = read_document(connection, self._index_path, name), self._earlier_documents.get(name)
            # Callers cache by identity; another thread may have read it meanwhile.
            self._documents.setdefault(name, earlier if text == earlier else text)
        return self._documents[name]

    def is_cut_short(self) -> bool:
        """Return whether a file became shorter than its mapping: reading it would end the process with SIGBUS."""
        parts = (self._signals, self._candidates, self.arrays)
        return any(part is not None and part.is_cut_short() for part in parts)


@dataclass(slots=True)
class Session:
    """A connection, and the revision of its snapshot.

    Attributes:
        connection: to the database.
        state: the database file's inode, size and times when the connection was opened.
        generation: of the pool that it belongs to.
        copy: the folder of a copy that is read in place of the database, see `database.open_rolled_back_copy`.
        version: SQLite's data version at the last snapshot.
        current: the revision; None before the first snapshot.
    """

    connection: sqlite3.Connection
    state: tuple[object, ...] | None
    generation: int
    copy: Path | None = None
    version: int | None = None
    current: Revision | None = None

    @property
    def revision(self) -> Revision:
        """The revision of the snapshot."""
        if self.current is None:
            raise RuntimeError("no snapshot is open")
        return self.current

    def close(self) -> None:
        """Close the connection, and remove the copy."""
        self.connection.close()
        if self.copy:
            shutil.rmtree(self.copy, ignore_errors=True)


class Snapshots:
    """Opens snapshots of the index in a folder, each on a connection of its own; threads do not wait for one another.

    Args:
        index_path: the index's folder.
    """

    def __init__(self, index_path: Path) -> None:
        self._index_path, self._file = index_path, index_path / DATABASE
        self._reset()
        _instances.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._local = threading.local()
        self._idle: list[Session] = []
        self._latest: Revision | None = None
        self._generation = 0
        self.turns = Turns()

    def close(self) -> None:
        """Close all connections; an open snapshot closes its own when it ends."""
        with self._lock:
            self._generation += 1
            idle, self._idle, self._latest = self._idle, [], None
        for session in idle:
            session.close()

    @contextlib.contextmanager
    def open(self, *, wait: bool = True) -> Iterator[Session]:
        """Hold a snapshot of the last commit; a nested call returns the same session.

        Args:
            wait: whether to wait for an index that existed before and cannot be opened now.

        Raises:
            IndexNotFoundError, IndexFormatError, IndexDamagedError, IndexPermissionError: there is no readable index.
        """
        if session := getattr(self._local, "session", None):
            yield session
            return
        session = self._start_with_retries(wait)
        self._local.session = session
        try:
            yield session
        finally:
            self._local.session = None
            with contextlib.suppress(sqlite3.Error):  # a reader has nothing to lose
                if session.connection.in_transaction:
                    session.connection.execute("COMMIT")
            self._put_back(session)

    def _start_with_retries(self, wait: bool) -> Session:
        """Return a session with a read transaction on the last commit; wait for an index that is being replaced."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                with database.translate_errors(self._index_path):
                    return self._start_session()
            except IndexNotFoundError:
                if not wait or self._latest is None:
                    raise
                if time.monotonic() >= deadline:
                    self._latest = None
                    raise
            time.sleep(WAIT_STEP_SECONDS)

    def _start_session(self) -> Session:
        session = self._take_idle()
        for attempt in range(MAX_ATTEMPTS):
            if session is None:
                session = self._open_session()
            try:
                _begin(session.connection)
                self._read_revision(session)
                return session
            except sqlite3.OperationalError as error:
                session.close()
                # Without write permission SQLite cannot read the journal of a killed writer.
                has_hot_journal = error.sqlite_errorname in ("SQLITE_READONLY_ROLLBACK", "SQLITE_CANTOPEN")
                if session.copy or not has_hot_journal or attempt == MAX_ATTEMPTS - 1:
                    raise
                copy = database.open_rolled_back_copy(self._file)
                session = Session(copy[0], _state(self._file), self._generation, copy[1]) if copy else None
            except BaseException:
                session.close()
                raise
        raise RuntimeError("the last attempt returns or raises")

    def _take_idle(self) -> Session | None:
        """Return an idle session whose database file is unchanged; None if there is none."""
        while True:
            with self._lock:
                session = self._idle.pop() if self._idle else None
            if session is None:
                return None
            # A writer has since rolled back the database itself.
            is_copy_outdated = session.copy and not database.journal_path(self._file).exists()
            if session.state == _state(self._file) and not is_copy_outdated:
                return session
            # SQLite would reuse its page cache if the new file has the same change counter.
            session.close()

    def _put_back(self, session: Session) -> None:
        with self._lock:
            if session.generation == self._generation and len(self._idle) < MAX_IDLE_CONNECTIONS:
                self._idle.append(session)
                return
        session.close()

    def _open_session(self) -> Session:
        if not self._file.is_file():
            raise database.index_not_found_error(self._index_path)
        state = _state(self._file)
        return Session(database.open_reader(self._file), state, self._generation)

    def _read_revision(self, session: Session) -> None:
        (version,) = session.connection.execute("PRAGMA data_version").fetchone()
        if version != session.version:
            if session.version is None:
                if not database.is_written(session.connection, self._index_path):
                    raise database.index_not_found_error(self._index_path)
                # This reads the schema, so it must follow the roll-back after a killed writer.
                session.connection.execute(f"PRAGMA cache_size = -{database.PAGE_CACHE_KB}")
            session.current = self._shared_revision(read_settings(session.connection, self._index_path))
            session.version = version
        elif session.revision.is_cut_short():
            with self._lock:
                session.current = self._latest = Revision(self._index_path, session.revision.settings, None)

    def _shared_revision(self, settings: Mapping[str, Any]) -> Revision:
        """Return the revision with these settings that all threads share."""
        with self._lock:
            latest = self._latest
            if latest and latest.commit == settings["commits"][0] and not latest.is_cut_short():
                return latest
            revision = Revision(self._index_path, dict(settings), latest)
            # Another thread may have opened a later snapshot meanwhile.
            if latest is None or revision.commit not in latest.settings["commits"][1:]:
                self._latest = revision
            return revision


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # takes the lock
    except sqlite3.Error:
        connection.execute("ROLLBACK")
        raise


def _state(file: Path) -> tuple[object, ...] | None:
    """Return inode, size and times of a file, which differ after a write or replacement; None if it is missing."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


_instances: "weakref.WeakSet[Snapshots]" = weakref.WeakSet()
_abandoned: list[object] = []


def _abandon_connections() -> None:
    """Drop the parent's connections in a forked process: SQLite forbids to use or close them there."""
    for snapshots in _instances:
        _abandoned.append((snapshots._idle, snapshots._local))
        snapshots._reset()


os.register_at_fork(after_in_child=_abandon_connections)
