"""Snapshots of a local index for many threads: a pool of connections, and what readers cache of each revision."""

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
from recommender.store.local.articles import ArticleReader
from recommender.store.local.candidates import CandidateSearch
from recommender.store.local.database import DATABASE
from recommender.store.local.policies import read_policy
from recommender.store.local.rows import read_languages, read_settings
from recommender.store.local.signal_reader import SignalReader
from recommender.store.local.turns import Turns

ATTEMPTS = 5  # to open a database that a writer is just repairing
WAIT_SECONDS = 2.0  # for an index that was there before, and is being replaced
WAIT_STEP_SECONDS = 0.02
MAX_IDLE = 32  # connections that wait for the next snapshot


class Revision:
    """A committed state of the index, and what readers have cached of it. Threads share it.

    Args:
        place: the index's folder.
        settings: of this state.
        before: an earlier state, of which the caches are carried on; None to begin with empty ones.
    """

    def __init__(self, place: Path, settings: dict[str, Any], before: "Revision | None") -> None:
        self._place, self.settings = place, settings
        self.commit: str = settings["commits"][0]
        self.articles = ArticleReader(place)
        self._lock = threading.Lock()
        self._languages: dict[str, tuple[int, int]] | None = None
        self._policy: dict[str, Any] | None = None
        self._signals: SignalReader | None = None
        self._candidates: CandidateSearch | None = None
        # A restored backup has another history, whose articles no cache knows.
        inherits = before is not None and before.commit in settings["commits"]
        self._earlier_signals = before.last_signals if before and inherits else SignalReader(place)
        self._earlier_candidates = before.last_candidates if before and inherits else None

    @property
    def last_signals(self) -> SignalReader:
        """The signals of this revision, or of an earlier one if nobody has read these."""
        return self._signals or self._earlier_signals

    @property
    def last_candidates(self) -> CandidateSearch | None:
        """The candidate search of this revision, or of an earlier one if nobody has used it."""
        return self._candidates or self._earlier_candidates

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
                        self._place, self.settings["model"]["dimensions"]
                    )
                    self._candidates = earlier.updated(connection, self.settings, signals)
                    self._earlier_candidates = None
        return self._candidates

    def languages(self, connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
        """Return the counts of languages, see `Store.languages`."""
        if self._languages is None:
            self._languages = read_languages(connection, self._place)
        return self._languages

    def policy(self, connection: sqlite3.Connection) -> dict[str, Any]:
        """Return the policy, see `Store.policy`."""
        if self._policy is None:
            self._policy = read_policy(connection, self._place)
        return self._policy

    def is_cut_short(self) -> bool:
        """Return whether a mapped file is shorter by now than it was: reading it would end the process."""
        return (self._signals is not None and self._signals.is_cut_short()) or (
            self._candidates is not None and self._candidates.is_cut_short()
        )


@dataclass(slots=True)
class Session:
    """A connection, and the revision that its snapshot is of.

    Attributes:
        connection: to the database.
        state: the database file's inode, size and times when the connection was opened.
        generation: of the pool that it belongs to.
        copy: the folder of a copy that is read instead of the database, see `database.open_rolled_back_copy`.
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
        """The revision that the snapshot is of."""
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
        place: the index's folder.
    """

    def __init__(self, place: Path) -> None:
        self._place, self._file = place, place / DATABASE
        self._begin_anew()
        _all.add(self)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._local = threading.local()
        self._idle: list[Session] = []
        self._latest: Revision | None = None
        self._generation = 0
        self.turns = Turns()

    def close(self) -> None:
        """Close all connections; those of open snapshots at their end."""
        with self._lock:
            self._generation += 1
            idle, self._idle, self._latest = self._idle, [], None
        for session in idle:
            session.close()

    @contextlib.contextmanager
    def open(self, *, wait: bool = True) -> Iterator[Session]:
        """Hold one state for the reads inside; nests.

        Args:
            wait: whether to wait for an index that was there before and cannot be opened now.

        Raises:
            IndexNotFoundError, IndexFormatError, IndexDamagedError, IndexPermissionError: there is no index that can be
                read.
        """
        if session := getattr(self._local, "session", None):
            yield session
            return
        session = self._begun(wait)
        self._local.session = session
        try:
            yield session
        finally:
            self._local.session = None
            with contextlib.suppress(sqlite3.Error):  # nothing was written, so nothing is lost
                if session.connection.in_transaction:
                    session.connection.execute("COMMIT")
            self._put_back(session)

    def _begun(self, wait: bool) -> Session:
        """Return a session with a read transaction on the last commit."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                with database.translate_errors(self._place):
                    return self._begin()
            except IndexNotFoundError:
                if not wait or self._latest is None:
                    raise
                if time.monotonic() >= deadline:
                    self._latest = None  # it is gone
                    raise
            time.sleep(WAIT_STEP_SECONDS)  # somebody may be replacing the index

    def _begin(self) -> Session:
        session = self._take()
        for attempt in range(ATTEMPTS):
            if session is None:
                session = self._opened()
            try:
                _start(session.connection)
                self._look_up_revision(session)
                return session
            except sqlite3.OperationalError as error:
                session.close()
                # Without write rights SQLite cannot even look into the journal that the killed writer left.
                hot = error.sqlite_errorname in ("SQLITE_READONLY_ROLLBACK", "SQLITE_CANTOPEN")
                if session.copy or not hot or attempt == ATTEMPTS - 1:
                    raise
                copied = database.open_rolled_back_copy(self._file)
                session = Session(copied[0], _state(self._file), self._generation, copied[1]) if copied else None
            except BaseException:
                session.close()
                raise
        raise RuntimeError("the last attempt returns or raises")

    def _take(self) -> Session | None:
        """Return an idle session that still fits the database file."""
        while True:
            with self._lock:
                session = self._idle.pop() if self._idle else None
            if session is None:
                return None
            rolled_back = session.copy and not database.journal_of(self._file).exists()  # a writer has been here since
            if session.state == _state(self._file) and not rolled_back:
                return session
            # SQLite would trust its page cache if the file was replaced by one with the same change counter.
            session.close()

    def _put_back(self, session: Session) -> None:
        with self._lock:
            if session.generation == self._generation and len(self._idle) < MAX_IDLE:
                self._idle.append(session)
                return
        session.close()

    def _opened(self) -> Session:
        if not self._file.is_file():
            raise IndexNotFoundError(database.index_not_found_error(self._place))
        state = _state(self._file)
        return Session(database.open_reader(self._file), state, self._generation)

    def _look_up_revision(self, session: Session) -> None:
        (version,) = session.connection.execute("PRAGMA data_version").fetchone()
        if version != session.version:
            if session.version is None:
                if not database.is_written(session.connection, self._place):
                    raise IndexNotFoundError(database.index_not_found_error(self._place))
                # It reads the schema, so not before what a killed writer left is dealt with.
                session.connection.execute(f"PRAGMA cache_size = -{database.CACHE_KB}")
            session.current = self._revision_of(read_settings(session.connection, self._place))
            session.version = version
        elif session.revision.is_cut_short():
            with self._lock:
                session.current = self._latest = Revision(self._place, session.revision.settings, None)

    def _revision_of(self, settings: Mapping[str, Any]) -> Revision:
        with self._lock:
            latest = self._latest
            if latest and latest.commit == settings["commits"][0] and not latest.is_cut_short():
                return latest
            revision = Revision(self._place, dict(settings), latest)
            if latest is None or revision.commit not in latest.settings["commits"][1:]:  # else this snapshot is older
                self._latest = revision
            return revision


def _start(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # takes the lock
    except sqlite3.Error:
        connection.execute("ROLLBACK")
        raise


def _state(file: Path) -> tuple[object, ...] | None:
    """Return what changes when somebody writes to a file or replaces it; None if there is none."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


_all: "weakref.WeakSet[Snapshots]" = weakref.WeakSet()
_abandoned: list[object] = []


def _abandon_connections() -> None:
    """Leave a forked process without its parent's connections: SQLite forbids to use or to close them there."""
    for snapshots in _all:
        _abandoned.append((snapshots._idle, snapshots._local))
        snapshots._begin_anew()


os.register_at_fork(after_in_child=_abandon_connections)
