"""A store in a folder: SQLite holds the truth; a FAISS file and an inverted file derived from it make search fast."""

import contextlib
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, Card, clean_text
from recommender.errors import IndexDamagedError, IndexNotFoundError
from recommender.store import conditions, database, links
from recommender.store.articles import ArticleReader
from recommender.store.base import Change, Condition, Probe, Promises, Signals, Stamp, Store
from recommender.store.candidates import CandidateSearch
from recommender.store.database import DATABASE, LIST
from recommender.store.nearfile import Keep
from recommender.store.reading import NO_CHANGE, SignalReader, distinct
from recommender.store.rows import (
    check_rows,
    checked_terms,
    file_checksum,
    put_rows,
    read_languages,
    read_settings,
    row_checksum,
)
from recommender.store.searchfile import SEARCH_FILES, search_file
from recommender.store.vectors import near_together, open_search_file
from recommender.store.verify import Verification
from recommender.store.writer import Writer

ATTEMPTS = 5  # to open a database that a writer is just mending
PAGE = 1024  # rows read at once where all are read


class LocalStore(Store):
    """The store at a folder. Threads may share one for reading.

    Args:
        path: the folder; made by the first write.
    """

    promises = Promises(atomic="batch", snapshots=True, processes=True)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = str(path)
        self._file = self.path / DATABASE
        self._lock = threading.RLock()
        self._depth = 0
        self._reader: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._copy: Path | None = None  # the folder of a copy that is read instead, see open_rolled_back_copy
        self._candidates: CandidateSearch | None = None
        self._signals = SignalReader(self.path)
        # What was read holds until SQLite tells that somebody has committed.
        self._version: int | None = None  # which it tells it by
        self._policy: tuple[int, dict[str, Any]] = (0, {})  # its number, and what it is
        self._policy_read = False
        self._settings: dict[str, Any] | None = None
        self._languages: dict[str, tuple[int, int]] | None = None
        self._counted = -1  # the change at which rows were counted last
        self._absent: set[links.Link] = set()  # those that mean no article
        self._absent_of: dict[str, Any] | None = None  # the settings that this holds with
        self._dated: dict[str, Any] | None = None  # the settings with which the order of dates was checked
        self._articles = ArticleReader(self.path)
        self._writer = Writer(self.path)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the place alone: another process opens it for itself, once."""
        return _opened, (self.path,)

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
            self._signals, self._articles = SignalReader(self.path), ArticleReader(self.path)
            self._policy, self._counted = (0, {}), -1
            if self._candidates:
                self._candidates.close()
                self._candidates = None
            if self._reader:
                self._reader.close()
                self._reader = None
            self._version = None
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
                with contextlib.suppress(sqlite3.Error):  # nothing was written, so nothing is lost
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
            if not self._reader:
                raise IndexNotFoundError(database.not_found(self.path))
            (version,) = self._reader.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                if not database.is_written(self._reader, self.path):
                    raise IndexNotFoundError(database.not_found(self.path))
                # It reads the schema, so not before what a killed writer left is dealt with.
                self._reader.execute(f"PRAGMA cache_size = -{database.CACHE_KB}")
                self._settings, self._languages, self._policy_read = None, None, False
                self._version = version
        except BaseException:
            self.close()  # and with it the transaction
            raise
        return self._reader

    def _open(self) -> sqlite3.Connection:
        if not self._file.is_file():
            raise IndexNotFoundError(database.not_found(self.path))
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

    def _settings_of(self, connection: sqlite3.Connection) -> dict[str, Any]:
        """Return all settings as they are in the snapshot; the same object as long as nobody commits."""
        if self._settings is None:
            settings = read_settings(connection, self.path)
            if settings["change"] != self._counted:
                check_rows(connection, self.path, settings)
                self._counted = settings["change"]
            self._settings = settings
        return self._settings

    def settings(self) -> dict[str, Any]:
        """See Store."""
        with self._reading() as connection:
            return {
                name: value
                for name, value in self._settings_of(connection).items()
                if name not in ("id", "change", "key", *SEARCH_FILES, "hubness", "rows")
            }

    def count(self, sources: Iterable[str] | None = None) -> int:
        """See Store."""
        where, values = _from(sources)
        with self._reading() as connection:
            if sources is None:  # known without counting
                return sum(articles for articles, _ in self._languages_of(connection).values())
            (count,) = connection.execute(f"SELECT count(*) FROM articles a WHERE {where}", values).fetchone()
            return int(count)

    def ids(self, sources: Iterable[str] | None = None, after: str = "") -> Iterator[str]:
        """See Store."""
        where, values = _from(sources)
        last = after
        while True:
            with self._reading() as connection:
                page = connection.execute(
                    f"SELECT a.id FROM articles a WHERE a.id > ? AND {where} ORDER BY a.id LIMIT {PAGE}",
                    (last, *values),
                ).fetchall()
            for (id,) in page:
                if not isinstance(id, str):
                    raise database.broken(self.path, f"the id {id!r}")
                yield id
            if len(page) < PAGE:
                return
            (last,) = page[-1]

    def near_together(self) -> list[str] | None:
        """See Store."""
        with self._reading() as connection:
            settings = self._settings_of(connection)
            file = search_file(settings, "dense")
            index = open_search_file(self.path, file, settings["model"]["dimensions"])[0] if file else None
            keys = [key for (key,) in connection.execute("SELECT key FROM articles ORDER BY key")]
            order = near_together(index, np.array(keys, dtype=np.int64))
            if order is None:
                return None
            ids = [id for (id,) in connection.execute("SELECT id FROM articles ORDER BY key")]
            if odd := [id for id in ids if not isinstance(id, str)]:
                raise database.broken(self.path, f"the id {odd[0]!r}")
            return [ids[place] for place in order.tolist()]

    def stamps(self, ids: Sequence[str]) -> dict[str, Stamp]:
        """See Store."""
        with self._reading() as connection:
            return self._articles.stamps(connection, ids)

    def articles(self, ids: Sequence[str]) -> dict[str, Article]:
        """See Store."""
        with self._reading() as connection:
            return self._articles.articles(connection, ids)

    def texts(self, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See Store."""
        with self._reading() as connection:
            return self._articles.texts(connection, ids)

    def cards(self, ids: Sequence[str]) -> dict[str, Card]:
        """See Store."""
        with self._reading() as connection:
            return self._articles.cards(connection, self._settings_of(connection), ids)

    def signals(self, ids: Sequence[str]) -> Signals:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(f"SELECT a.key FROM articles a WHERE a.id IN {LIST}", (json.dumps(ids),))
            keys = np.array([key for (key,) in rows], dtype=np.int64)
            signals, found = self._signals.read(connection, self._settings_of(connection), keys)
            if len(found) != len(keys):
                raise database.broken(self.path, "the list of its vectors and terms")
            return signals

    def propose(self, probes: Sequence[Probe], n: int) -> tuple[Signals, list[NDArray[np.int64]]]:
        """See Store."""
        with self._reading() as connection:
            settings = self._settings_of(connection)
            if self._candidates is None:
                self._candidates = CandidateSearch(self.path, settings["model"]["dimensions"], self._signals)
            return self._candidates.propose(connection, settings, probes, n)

    def languages(self) -> dict[str, tuple[int, int]]:
        """See Store."""
        with self._reading() as connection:
            return dict(self._languages_of(connection))

    def _languages_of(self, connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
        if self._languages is None:
            self._languages = read_languages(connection, self.path)
        return self._languages

    def known_terms(self, language: str, terms: Iterable[str]) -> dict[str, tuple[int, int]]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT number, language, term, articles, checked FROM terms WHERE language = ? AND term IN {LIST}",
                (language, json.dumps(list(terms))),
            )
            return {row[2]: (row[0], row[3]) for row in checked_terms(rows, self.path)}

    def assuming(self, language: str) -> list[str]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT a.id FROM lexical l JOIN articles a USING (key) WHERE l.assumed AND l.language != ? "
                "ORDER BY +a.id",
                (language,),
            )
            return [id for (id,) in rows]

    def without_hubness(self) -> list[str]:
        """See Store."""
        with self._reading() as connection:
            settings = self._settings_of(connection)
            if settings.get("hubness", {}).get("change") != settings.get("dense", {}).get("change"):
                return self.near_together() or list(self.ids())
            rows = connection.execute(
                "SELECT a.id FROM hubness h JOIN articles a USING (key) WHERE h.value IS NULL ORDER BY +a.id"
            )
            return [id for (id,) in rows]

    def changes(self, ids: Sequence[str]) -> list[Change]:
        """See Store."""
        with self._reading() as connection:
            articles, stamps, signals = self.articles(ids), self.stamps(ids), self.signals(ids)
            assumed = dict(
                connection.execute(
                    f"SELECT a.id, l.assumed FROM lexical l JOIN articles a USING (key) WHERE a.id IN {LIST}",
                    (json.dumps(ids),),
                ).fetchall()
            )
            names: dict[int, str] = {}
            numbers = distinct(signals.numbers).tolist()
            for start in range(0, len(numbers), PAGE):
                names |= self.terms(numbers[start : start + PAGE])
            ends = np.searchsorted(signals.rows, np.arange(len(signals.ids) + 1)).tolist()
            found = []
            for row, id in enumerate(signals.ids):
                part = slice(ends[row], ends[row + 1])
                pairs = zip(signals.numbers[part].tolist(), signals.frequencies[part].tolist(), strict=True)
                terms = {names[number]: frequency for number, frequency in pairs}
                language, vector = signals.languages[row], signals.vectors[row]
                found.append(Change(articles[id], stamps[id].source, vector, terms, language, bool(assumed[id])))
            return found

    def links(self, kind: Literal["related", "links"], ids: Sequence[str] | None = None) -> dict[str, list[str]]:
        """See Store."""
        with self._reading() as connection:
            settings = self._settings_of(connection)
            if self._absent_of is not settings:
                self._absent, self._absent_of = set(), settings
            # A link in the body that is lost lets a block repeat it; one of the editor's would be missing.
            looked_for = kind == "related" and self.count() <= conditions.SCANNED
            return links.of_articles(connection, self.path, kind, ids, self._absent if looked_for else None)

    def linking(self, ids: Sequence[str]) -> list[str]:
        """See Store."""
        with self._reading() as connection:
            return links.linking(connection, ids)

    def find(self, targets: Sequence[str]) -> list[str | None]:
        """See Store."""
        with self._reading() as connection:
            return links.find(connection, targets)

    def named(self, name: str, n: int) -> list[str]:
        """See Store."""
        with self._reading() as connection:
            return links.named(connection, name, n)

    def admitted(self, ids: Sequence[str], condition: Condition) -> set[str]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(f"SELECT key, id FROM articles WHERE id IN {LIST}", (json.dumps(list(ids)),))
            id_of = dict(rows.fetchall())
            return {id_of[key] for key in conditions.check(connection, self.path, condition, id_of)}

    def matching(self, condition: Condition) -> int:
        """See Store."""
        clause, values = conditions.sql(condition, search=True)
        with self._reading() as connection:
            (count,) = connection.execute(f"SELECT count(*) {conditions.FROM} WHERE {clause}", values).fetchone()
            return int(count)

    def recent(self, condition: Condition, n: int) -> list[str]:
        """See Store."""
        clause, values = conditions.sql(condition, search=False)
        with self._reading() as connection:
            self._check_dates(connection)
            rows = connection.execute(
                f"SELECT a.id {conditions.FROM} WHERE a.time IS NOT NULL AND {clause} "
                f"ORDER BY a.time DESC, a.id LIMIT ?",
                (*values, n),
            )
            return [id for (id,) in rows]

    def _check_dates(self, connection: sqlite3.Connection) -> None:
        settings = self._settings_of(connection)
        if self._dated is not settings and self.count() <= conditions.SCANNED:
            conditions.check_dates(connection, self.path)
        self._dated = settings

    def dated(self, after: int, before: int) -> list[str]:
        """See Store."""
        with self._reading() as connection:
            self._check_dates(connection)
            rows = connection.execute(
                "SELECT id FROM articles WHERE time > ? AND time <= ? ORDER BY id", (after, before)
            )
            return [id for (id,) in rows]

    def terms(self, numbers: Sequence[int]) -> dict[int, str]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT number, language, term, articles, checked FROM terms WHERE number IN {LIST}",
                (json.dumps(list(numbers)),),
            )
            return {row[0]: row[2] for row in checked_terms(rows, self.path)}

    def revision(self) -> tuple[str, int, int]:
        """See Store."""
        with self._reading() as connection:
            settings = self._settings_of(connection)
            return settings["id"], settings["change"], settings.get("hubness", {}).get("change", NO_CHANGE)

    def changed_after(self, change: int) -> list[str]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute("SELECT id FROM articles WHERE change > ? ORDER BY id", (change,))
            return [id for (id,) in rows]

    def model_files(self) -> dict[str, bytes]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute("SELECT name, content, checksum FROM model_files").fetchall()
        for name, content, checksum in rows:
            if file_checksum(name, content) != checksum:
                raise database.broken(self.path, "the model")
        return {name: content for name, content, _ in rows}

    def policy(self) -> dict[str, Any]:
        """See Store."""
        with self._reading() as connection:
            if self._policy_read:
                return self._policy[1]
            row = connection.execute("SELECT number FROM policy").fetchone()
            if (row[0] if row else 0) != self._settings_of(connection)["rows"].get("policy"):
                raise self._damaged_policy()
            if row is None:
                self._policy = (0, {})
            elif row[0] != self._policy[0]:
                row = connection.execute("SELECT number, document, checksum FROM policy").fetchone()
                self._policy = (row[0], self._policy_of(row))
            self._policy_read = True
            return self._policy[1]

    def _policy_of(self, row: tuple[Any, ...]) -> dict[str, Any]:
        try:
            document = json.loads(row[1]) if row_checksum(row[:2]) == row[2] else None
        except (ValueError, TypeError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self._damaged_policy()
        return document

    def _damaged_policy(self) -> IndexDamagedError:
        return IndexDamagedError(
            f"The settings, pins, bans and rules in the index {self.path} are damaged: they are not what was written. "
            f"Load them again with `recommender policy --load FILE`."
        )

    def edit_policy(self, edit: Callable[[dict[str, Any]], dict[str, Any]], *, anew: bool = False) -> None:
        """See Store."""
        with self.snapshot():  # no index, nothing to write
            pass
        with database.told(self.path), contextlib.closing(database.open_writer(self._file)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                row = connection.execute("SELECT number, document, checksum FROM policy").fetchone()
                noted = read_settings(connection, self.path)["rows"].get("policy")
                if not anew and (row[0] if row else 0) != noted:
                    raise self._damaged_policy()
                old = self._policy_of(row) if row and not anew else {}
                document = json.dumps(edit(old), ensure_ascii=False, sort_keys=True)
                number = (
                    max(row[0] if row and isinstance(row[0], int) else 0, noted if isinstance(noted, int) else 0) + 1
                )
                connection.execute(
                    "INSERT OR REPLACE INTO policy VALUES (1, ?, ?, ?)",
                    (number, document, row_checksum((number, document))),
                )
                put_rows(connection, policy=True)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

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

            return {
                "sections": counted("section"),
                "sources": counted("source"),
                "editorial_links": links.counts(connection),
                "bytes": _bytes(self.path),
                "format": database.FORMAT,
            }

    def check_missing(self, id: str) -> None:
        """See Store. Articles are found by an index of their ids, which no checksum covers."""
        with self._reading() as connection:
            if connection.execute("SELECT 1 FROM articles NOT INDEXED WHERE id = ?", (id,)).fetchone():
                raise database.countable(self.path, "the index of ids")

    # Writing

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """See Store."""
        with self._writer.writing():
            yield

    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None = None) -> None:
        """See Store."""
        self._writer.create(settings, model_files)

    def write(self, changes: Sequence[Change], removals: Sequence[str] = (), touched: Sequence[str] = ()) -> None:
        """See Store."""
        self._writer.write(changes, removals, touched)

    def put_hubness(self, values: Mapping[str, tuple[float, float]], *, last: bool) -> None:
        """See Store."""
        self._writer.put_hubness(values, last=last)

    @contextlib.contextmanager
    def keeping_near(self, n: int) -> Iterator[Keep]:
        """See Store."""
        with self._writer.keeping_near(n) as keep:
            yield keep

    def put_setting(self, name: str, value: object) -> None:
        """See Store."""
        self._writer.put_setting(name, value)

    def finish(self, *, built: bool) -> None:
        """See Store."""
        self._writer.finish(built=built)

    def verify(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """See Store."""
        return Verification(self.path, self._reading, self.articles).problems(on_progress)

    def repair(self) -> None:
        """See Store."""
        self._writer.repair()


@lru_cache(maxsize=2)
def _opened(path: Path) -> LocalStore:
    return LocalStore(path)


def _from(sources: Iterable[str] | None) -> tuple[str, tuple[str, ...]]:
    if sources is None:
        return "true", ()
    return f"a.source IN {LIST}", (json.dumps(list(sources)),)


def _bytes(folder: Path) -> int:
    """Return the size of all files in a folder; a writer may take some away meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
