"""A store in a folder: SQLite holds the truth, a FAISS file derived from it makes search fast."""

import contextlib
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from recommender.article import Article, Card, clean_text
from recommender.errors import (
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
)
from recommender.store import database
from recommender.store.base import Candidates, Change, Stamp, Store
from recommender.store.rows import (
    delete_articles,
    insert_article,
    put_setting,
    read_settings,
    row_checksum,
    vector_checksum,
)
from recommender.store.vectors import CHUNK, SearchFile, VectorSearch, open_search_file, write_search_file

DATABASE = "articles.sqlite"
LOCK = "writer.lock"
LOCK_SECONDS = 5.0  # how long a second writer waits for the first
STALE_SHARE = 0.05  # of the search file's vectors; past it what has changed is worth a new file
ATTEMPTS = 5  # to open a database that a writer is just mending
PAGE = 1024  # rows read at once where all are read
NO_CHANGE = 0

_CARD = "a.key, a.id, a.title, a.url, a.published, a.section"
_ROW = f"{_CARD}, a.tags, a.language, a.metadata, a.source, a.content_hash, a.record_hash, a.checksum"
# The article that an editorial link means: by id, by url, by title; of several the first by id, never itself.
_TARGET = """coalesce(
    (SELECT t.key FROM articles t WHERE t.id = l.target AND t.key != l.key),
    (SELECT t.key FROM articles t WHERE t.url_key = l.url_key AND t.key != l.key ORDER BY t.id LIMIT 1),
    (SELECT t.key FROM articles t WHERE t.title_key = l.title_key AND t.key != l.key ORDER BY t.id LIMIT 1))"""


class LocalStore(Store):
    """The store at a folder. Threads may share one for reading.

    Args:
        path: the folder; made by the first write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = self.path / DATABASE
        self._lock = threading.RLock()
        self._depth = 0
        self._reader: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._copy: Path | None = None  # the folder of a copy that is read instead, see open_rolled_back_copy
        self._search: VectorSearch | None = None
        self._writer: sqlite3.Connection | None = None
        self._new_settings: dict[str, Any] | None = None

    # Opening and closing

    def exists(self) -> bool:
        """See Store."""
        try:
            with self.snapshot():
                return True
        except IndexNotFoundError:
            return False

    def label(self, source: Path) -> str:
        """See Store. Relative to the index, so that both can be moved, or checked out, together."""
        try:
            return clean_text(Path(os.path.relpath(source.resolve(), self.path.resolve())).as_posix())
        except ValueError:  # another drive
            return clean_text(source.resolve().as_posix())

    def close(self) -> None:
        """See Store."""
        with self._lock:
            self._search = None
            if self._reader:
                self._reader.close()
                self._reader = None
            if self._copy:
                shutil.rmtree(self._copy, ignore_errors=True)
                self._copy = None

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """See Store."""
        with self._lock:
            if self._depth:
                yield
                return
            with database.told(self.path):
                connection = self._begin()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if connection.in_transaction:
                    connection.execute("COMMIT")

    def _begin(self) -> sqlite3.Connection:
        """Start a read transaction on the state that was committed last."""
        if self._copy and not database.journal_of(self._file).exists():
            self.close()  # a writer has been here since
        inode = self._file.stat().st_ino if self._file.is_file() else None
        if inode != self._inode:
            self.close()  # the index was made anew in the same place
            self._inode = inode
        for attempt in range(ATTEMPTS):
            if self._reader is None:
                self._reader = self._open()
            try:
                self._start(self._reader)
                break
            except sqlite3.OperationalError as error:
                # Without write rights SQLite cannot even look into the journal that the killed writer left.
                hot = error.sqlite_errorname in ("SQLITE_READONLY_ROLLBACK", "SQLITE_CANTOPEN")
                if self._copy or not hot or attempt == ATTEMPTS - 1:
                    raise
                self.close()
                if copied := database.open_rolled_back_copy(self._file):
                    self._reader, self._copy = copied
        try:
            if not self._reader or not database.is_written(self._reader, self.path):
                raise IndexNotFoundError(_not_found(self.path))
        except (IndexNotFoundError, IndexFormatError):
            self.close()
            raise
        return self._reader

    def _open(self) -> sqlite3.Connection:
        if not self._file.is_file():
            raise IndexNotFoundError(_not_found(self.path))
        return database.open_reader(self._file)

    @staticmethod
    def _start(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # takes the lock
        except sqlite3.Error:
            connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self.snapshot(), database.told(self.path):
            yield self._reader  # type: ignore[misc]  # a snapshot opens it

    # Reading

    def settings(self) -> dict[str, Any]:
        """See Store."""
        with self._reading() as connection:
            return {
                name: value
                for name, value in read_settings(connection).items()
                if name not in ("change", "key", "dense")
            }

    def count(self, sources: Iterable[str] | None = None) -> int:
        """See Store."""
        where, values = _from(sources)
        with self._reading() as connection:
            (count,) = connection.execute(f"SELECT count(*) FROM articles a WHERE {where}", values).fetchone()
            return int(count)

    def ids(self, sources: Iterable[str] | None = None) -> Iterator[str]:
        """See Store."""
        where, values = _from(sources)
        last = ""
        while True:
            with self._reading() as connection:
                page = connection.execute(
                    f"SELECT a.id FROM articles a WHERE a.id > ? AND {where} ORDER BY a.id LIMIT {PAGE}",
                    (last, *values),
                ).fetchall()
            yield from (id for (id,) in page)
            if len(page) < PAGE:
                return
            (last,) = page[-1]

    def stamps(self, ids: Sequence[str]) -> dict[str, Stamp]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT a.id, a.content_hash, a.record_hash, a.source FROM articles a WHERE a.id IN {_LIST}",
                (json.dumps(ids),),
            )
            return {id: Stamp(content, record, source) for id, content, record, source in rows}

    def articles(self, ids: Sequence[str]) -> dict[str, Article]:
        """See Store."""
        with self._reading() as connection:
            wanted = (json.dumps(ids),)
            links: dict[int, list[str]] = {}
            for key, target in connection.execute(
                f"SELECT l.key, l.target FROM links l JOIN articles a USING (key) WHERE a.id IN {_LIST} "
                f"ORDER BY l.key, l.position",
                wanted,
            ):
                links.setdefault(key, []).append(target)
            rows = connection.execute(
                f"SELECT {_ROW}, x.text FROM articles a JOIN texts x USING (key) WHERE a.id IN {_LIST}",
                wanted,
            )
            return {row[1]: self._article(row, links.get(row[0], [])) for row in rows}

    def cards(self, ids: Sequence[str]) -> dict[str, Card]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(f"SELECT {_ROW} FROM articles a WHERE a.id IN {_LIST}", (json.dumps(ids),))
            return {row[1]: self._card(row) for row in rows}

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(f"{_VECTORS} WHERE a.id IN {_LIST}", (json.dumps(ids),))
            return {row[1]: self._vector(row) for row in rows}

    def nearest(self, queries: NDArray[np.float32], n: int) -> list[Candidates]:
        """See Store."""
        with self._reading() as connection:
            settings = read_settings(connection)
            if self._search is None:
                self._search = VectorSearch(self.path, settings["model"]["dimensions"], self._vectors_after)
            self._search.update(connection, _search_file(settings), settings["change"])
            found = self._search.search(queries, n)
            keys = np.unique(np.concatenate(found)).tolist()
            rows = {
                row[0]: (row[1], self._vector(row))
                for row in connection.execute(f"{_VECTORS} WHERE a.key IN {_LIST}", (json.dumps(keys),))
            }
            candidates = []
            for row in found:
                known = [rows[key] for key in row.tolist() if key in rows]
                vectors = np.array([vector for _, vector in known], dtype=np.float32)
                candidates.append(Candidates([id for id, _ in known], vectors.reshape(len(known), queries.shape[1])))
            return candidates

    def facts(self) -> dict[str, Any]:
        """See Store."""
        with self._reading() as connection:

            def counted(column: str) -> dict[str, int]:
                return dict(
                    connection.execute(
                        f"SELECT coalesce({column}, 'unknown') name, count(*) FROM articles "
                        f"GROUP BY name ORDER BY 2 DESC, 1"
                    ).fetchall()
                )

            links, matched = connection.execute(f"SELECT count(*), count({_TARGET}) FROM links l").fetchone()
            return {
                "languages": counted("language"),
                "sections": counted("section"),
                "sources": counted("source"),
                "editorial_links": {"total": links, "matched": matched},
                "bytes": sum(file.stat().st_size for file in self.path.iterdir() if file.is_file()),
                "format": database.FORMAT,
            }

    def _card(self, row: tuple[Any, ...]) -> Card:
        if row_checksum(row[:12]) != row[12]:
            raise self._damaged(row[1])
        return Card(row[1], row[2], row[3], _date(row[4]), row[5])

    def _article(self, row: tuple[Any, ...], related: list[str]) -> Article:
        _, id, title, url, published, section, tags, language, metadata, _, _, record_hash, _, text = row
        try:
            article = Article(
                id=id,
                title=title,
                text=text,
                url=url,
                published=_date(published),
                section=section,
                tags=tuple(json.loads(tags)),
                language=language,
                related=tuple(related),
                metadata=json.loads(metadata),
            )
        except (ValueError, TypeError) as error:
            raise self._damaged(id) from error
        if article.record_hash != record_hash:
            raise self._damaged(id)
        return article

    def _vector(self, row: tuple[Any, ...]) -> NDArray[np.float32]:
        _, id, content_hash, blob, checksum = row
        if vector_checksum(id, content_hash, blob) != checksum:
            raise self._damaged(id)
        return np.frombuffer(blob, dtype="<f2").astype(np.float32)

    def _damaged(self, id: str) -> IndexDamagedError:
        return IndexDamagedError(
            f"Article {id!r} in the index {self.path} is damaged: it is not what was written. Remove the article with "
            f"`recommender remove`, then build again from its source."
        )

    def _vectors_after(
        self, connection: sqlite3.Connection, change: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Give the vectors that changes after `change` brought, in chunks."""
        order = "v.key" if change == NO_CHANGE else "v.change"
        rows = connection.execute(f"{_VECTORS} WHERE v.change > ? ORDER BY {order}", (change,))
        while page := rows.fetchmany(CHUNK):
            keys = np.array([row[0] for row in page], dtype=np.int64)
            yield keys, np.array([self._vector(row) for row in page], dtype=np.float32)

    # Writing

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """See Store."""
        with database.told(self.path):
            made = not self.path.exists()
            if not made and not self.path.is_dir():
                raise IndexNotFoundError(_not_found(self.path))
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK, timeout=LOCK_SECONDS)
            try:
                lock.acquire()
            except Timeout as error:
                raise IndexLockedError(
                    f"Another process is writing to the index {self.path} (it holds {lock.lock_file}). Try again when "
                    f"it has finished."
                ) from error
        try:
            with database.told(self.path):
                for leftover in self.path.glob(".dense-*.tmp"):  # of a writer that was killed
                    leftover.unlink(missing_ok=True)
            yield
        finally:
            if self._writer:
                self._writer.close()
                self._writer = None
            if made and (self._new_settings or not self._file.exists()):  # nothing was written
                shutil.rmtree(self.path, ignore_errors=True)
            self._new_settings = None
            lock.release()

    def create(self, settings: Mapping[str, Any]) -> None:
        """See Store."""
        self._new_settings = dict(settings)

    def write(self, changes: Sequence[Change], removals: Sequence[str] = ()) -> None:
        """See Store."""
        with self._transaction() as connection:
            settings = read_settings(connection)
            number, next_key = settings["change"] + 1, settings["key"]
            stored = dict(
                connection.execute(
                    f"SELECT a.id, a.key FROM articles a WHERE a.id IN {_LIST}",
                    (json.dumps([change.article.id for change in changes] + list(removals)),),
                ).fetchall()
            )
            gone = {stored[id] for id in removals if id in stored}
            for change in changes:
                key = stored.get(change.article.id)
                if change.vector is None:
                    if key is None:
                        raise ValueError(f"article {change.article.id!r} is new and needs a vector")
                    delete_articles(connection, [key], ("articles", "texts", "links"))
                else:
                    if key is not None:
                        gone.add(key)
                        delete_articles(connection, [key])
                    key, next_key = next_key, next_key + 1
                insert_article(connection, key, change, number)
            delete_articles(connection, gone)
            connection.executemany("INSERT INTO removed VALUES (?, ?)", [(key, number) for key in sorted(gone)])
            put_setting(connection, "change", number)
            put_setting(connection, "key", next_key)

    def finish(self, *, built: bool) -> None:
        """See Store."""
        if self._new_settings or not self._file.exists():  # nothing was written, so there is nothing to finish
            return
        if built:
            with self._transaction() as connection:
                put_setting(connection, "last_build", datetime.now(UTC).isoformat(timespec="seconds"))
        with database.told(self.path):
            self._refresh(self._connection())

    def _refresh(self, writer: sqlite3.Connection) -> None:
        """Make the search file again if it is not usable, or too much has changed since it was made."""
        settings = read_settings(writer)
        file, dimensions = _search_file(settings), settings["model"]["dimensions"]
        if file and open_search_file(self.path, file, dimensions):
            (pending,) = writer.execute(
                "SELECT (SELECT count(*) FROM vectors WHERE change > :c) "
                "+ (SELECT count(*) FROM removed WHERE change > :c)",
                {"c": file.change},
            ).fetchone()
            if pending <= STALE_SHARE * file.count:
                return
        rows = self._vectors_after(writer, NO_CHANGE)
        file = write_search_file(self.path, settings["change"], dimensions, rows)
        with self._transaction() as connection:
            put_setting(connection, "dense", asdict(file))
            connection.execute("DELETE FROM removed WHERE change <= ?", (file.change,))
        for other in self.path.glob("dense-*.faiss"):
            if other.name != file.name:
                other.unlink(missing_ok=True)

    def _connection(self) -> sqlite3.Connection:
        if self._writer is None:
            self._writer = database.open_writer(self._file)
        return self._writer

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with database.told(self.path):
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                if not database.is_written(connection, self.path):
                    if self._new_settings is None:
                        raise IndexNotFoundError(_not_found(self.path))
                    for statement in database.SCHEMA.split(";\n"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
                    connection.execute(f"PRAGMA user_version = {database.FORMAT}")
                    for name, value in {**self._new_settings, "change": NO_CHANGE, "key": 1}.items():
                        put_setting(connection, name, value)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._new_settings = None


_LIST = "(SELECT value FROM json_each(?))"
_VECTORS = "SELECT a.key, a.id, a.content_hash, v.vector, v.checksum FROM vectors v JOIN articles a USING (key)"


def _search_file(settings: dict[str, Any]) -> SearchFile | None:
    return SearchFile(**settings["dense"]) if "dense" in settings else None


def _from(sources: Iterable[str] | None) -> tuple[str, tuple[str, ...]]:
    if sources is None:
        return "true", ()
    return f"a.source IN {_LIST}", (json.dumps(list(sources)),)


def _date(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _not_found(path: Path) -> str:
    if path.exists() and not path.is_dir():
        return f"{path} is a file, and an index is a folder. Name a folder with --index."
    what = "holds no index" if path.is_dir() else "does not exist"
    ready = next(
        (place for place in (Path("index/examples"), path.parent / "examples") if (place / DATABASE).is_file()),
        None,
    )
    hint = f", or ask the one that is ready: --index {ready}" if ready else ""
    return f"There is no index at {path} (it {what}). Make one with `recommender build SOURCE --index {path}`{hint}."
