"""A store in a folder: SQLite holds the truth; a FAISS file and a tantivy folder derived from it make search fast."""

import contextlib
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from recommender.article import Article, Card, clean_text, content_hash, web_url
from recommender.errors import (
    ArticleError,
    IndexDamagedError,
    IndexLockedError,
    IndexNotFoundError,
)
from recommender.files import discard, make_folder, unused
from recommender.store import conditions, database, links
from recommender.store.base import Change, Condition, Probe, Promises, Signals, Stamp, Store
from recommender.store.candidates import CandidateSearch
from recommender.store.database import LIST, damaged
from recommender.store.inverted import write_term_folder
from recommender.store.migration import migrate
from recommender.store.nearfile import Keep, writing_near_file
from recommender.store.reading import NO_CHANGE, SignalReader
from recommender.store.rows import (
    Counts,
    check_rows,
    count_anew,
    delete_articles,
    file_checksum,
    hubness_checksum,
    insert_article,
    lexical_checksum,
    number_terms,
    pack_terms,
    put_removed,
    put_rows,
    put_setting,
    read_languages,
    read_settings,
    row_checksum,
    term_sum,
    unpack_terms,
    vector_checksum,
)
from recommender.store.searchfile import SearchFile, search_file
from recommender.store.signalfile import SignalFile, open_signal_folder, write_signal_folder
from recommender.store.vectors import near_together, open_search_file, write_search_file
from recommender.store.verify import Verification, repair

DATABASE = "articles.sqlite"
LOCK = "writer.lock"
# By setting, how their names begin.
SEARCH_FILES = {"dense": "dense", "terms": "lexical", "signals": "signals", "near": "near"}
LOCK_SECONDS = 5.0  # how long a second writer waits for the first
STALE_SHARE = 0.05  # of the search files' articles; past it what has changed is worth new files
SMALL = 1000  # articles; up to so many the search files are always made anew, and nothing is approximate
ATTEMPTS = 5  # to open a database that a writer is just mending
PAGE = 1024  # rows read at once where all are read
CARDS = 16_384  # about, that stay in memory: a link stands in many blocks

_ROW = (
    "a.key, a.id, a.title, a.url, a.published, a.section, a.tags, a.language, a.metadata, a.source, a.content_hash, "
    "a.record_hash, a.recommend, a.block, a.url_key, a.title_key, a.time, a.change, a.checksum"
)
_parse = json.JSONDecoder().raw_decode


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
        self._cards: dict[str, Card] = {}
        self._cards_of: dict[str, Any] | None = None  # the settings that they hold with
        self._writer: sqlite3.Connection | None = None
        self._new_settings: dict[str, Any] | None = None
        self._new_files: dict[str, bytes] = {}

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
            self._signals, self._policy, self._counted = SignalReader(self.path), (0, {}), -1
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
                raise IndexNotFoundError(_not_found(self.path))
            (version,) = self._reader.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                if not database.is_written(self._reader, self.path):
                    raise IndexNotFoundError(_not_found(self.path))
                self._settings, self._languages, self._policy_read = None, None, False
                self._version = version
        except BaseException:
            self.close()  # and with it the transaction
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

    def _settings_of(self, connection: sqlite3.Connection) -> dict[str, Any]:
        """Return all settings as they are in the snapshot; the same object as long as nobody commits."""
        if self._settings is None:
            self._settings = read_settings(connection, self.path)
            if self._settings["change"] != self._counted:
                check_rows(connection, self.path, self._settings)
                self._counted = self._settings["change"]
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
            for (id,) in page:
                if not isinstance(id, str):
                    raise database.broken(self.path, f"the id {id!r}")
                yield id
            if len(page) < PAGE:
                return
            (last,) = page[-1]

    def stamps(self, ids: Sequence[str]) -> dict[str, Stamp]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT a.id, a.content_hash, a.record_hash, a.source FROM articles a WHERE a.id IN {LIST}",
                (json.dumps(ids),),
            )
            return {id: Stamp(content, record, source) for id, content, record, source in rows}

    def articles(self, ids: Sequence[str]) -> dict[str, Article]:
        """See Store."""
        with self._reading() as connection:
            wanted = (json.dumps(ids),)
            targets: dict[tuple[int, str], list[str]] = {}
            for key, kind, target in connection.execute(
                f"SELECT l.key, l.kind, l.target FROM links l JOIN articles a USING (key) WHERE a.id IN {LIST} "
                f"ORDER BY l.key, l.position",
                wanted,
            ):
                targets.setdefault((key, kind), []).append(target)
            rows = connection.execute(
                f"SELECT {_ROW}, x.text FROM articles a LEFT JOIN texts x USING (key) WHERE a.id IN {LIST}",
                wanted,
            )
            return {
                row[1]: self._article(row, *(targets.get((row[0], kind), []) for kind in ("related", "links")))
                for row in rows
            }

    def texts(self, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See Store. Read without the rest, which takes three times as long."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT a.id, a.title, x.text, a.content_hash FROM articles a LEFT JOIN texts x USING (key) "
                f"WHERE a.id IN {LIST}",
                (json.dumps(ids),),
            )
            return {id: self._text(id, *row) for id, *row in rows}

    def _text(self, id: str, title: Any, text: Any, stored: bytes) -> tuple[str, str]:
        if not (isinstance(title, str) and isinstance(text, str)) or content_hash(title, text) != stored:
            raise damaged(self.path, id)
        return title, text

    def cards(self, ids: Sequence[str]) -> dict[str, Card]:
        """See Store."""
        with self._reading() as connection:
            settings = self._settings_of(connection)
            if self._cards_of is not settings or len(self._cards) > CARDS:
                self._cards, self._cards_of = {}, settings
            found = {id: card for id in ids if (card := self._cards.get(id))}
            if missing := [id for id in ids if id not in found]:
                rows = connection.execute(
                    f"SELECT {_ROW} FROM articles a WHERE a.id IN {LIST}", (json.dumps(missing),)
                )
                read = {row[1]: self._card(row) for row in rows}
                self._cards |= read
                found |= read
            return found

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
            return {row[2]: (row[0], row[3]) for row in self._terms_checked(rows)}

    def _terms_checked(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        for *row, checked in rows:
            if term_sum(*row) != checked:
                raise database.countable(self.path, f"the count of the term {row[2]!r}")
            yield tuple(row)

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
                stored = connection.execute("SELECT key, id FROM articles ORDER BY key").fetchall()
                file, dimensions = search_file(settings, "dense"), settings["model"]["dimensions"]
                index = open_search_file(self.path, file, dimensions)[0] if file else None
                order = near_together(index, np.array([key for key, _ in stored], dtype=np.int64))
                return [stored[place][1] for place in order.tolist()]
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
            numbers = np.unique(signals.numbers).tolist()
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
            return links.of_articles(connection, self.path, kind, ids)

    def linking(self, ids: Sequence[str]) -> list[str]:
        """See Store."""
        with self._reading() as connection:
            return links.linking(connection, ids)

    def find(self, targets: Sequence[str]) -> list[str | None]:
        """See Store."""
        with self._reading() as connection:
            return links.find(connection, targets)

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
            rows = connection.execute(
                f"SELECT a.id {conditions.FROM} WHERE a.time IS NOT NULL AND {clause} "
                f"ORDER BY a.time DESC, a.id LIMIT ?",
                (*values, n),
            )
            return [id for (id,) in rows]

    def dated(self, after: int, before: int) -> list[str]:
        """See Store."""
        with self._reading() as connection:
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
            return {row[0]: row[2] for row in self._terms_checked(rows)}

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

    def _card(self, row: tuple[Any, ...]) -> Card:
        if row_checksum(row[:-1]) != row[-1]:
            raise damaged(self.path, row[1])
        _, id, title, url, published, section, tags, _, metadata, _, _, _, _, block, *_ = row
        try:
            # As it was written, so nothing stands around it; `loads` looks for spaces and takes twice as long.
            tags, metadata = tuple(_parse(tags)[0]), _parse(metadata)[0]
            if not (isinstance(metadata, dict) and all(isinstance(text, str) for text in (id, title, *tags))):
                raise TypeError
            url = web_url(url) if url else None
            return Card(id, title, url, _date(published), section, tags, metadata, block=bool(block))
        except (ValueError, TypeError, RecursionError) as error:
            raise damaged(self.path, id) from error

    def _article(self, row: tuple[Any, ...], related: list[str], body_links: list[str]) -> Article:
        _, id, title, url, published, section, tags, language, metadata, _, _, record_hash, *flags = row[:14]
        text = row[-1]
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
                links=tuple(body_links),
                recommend=bool(flags[0]),
                block=bool(flags[1]),
                metadata=json.loads(metadata),
            )
        except (ValueError, TypeError, RecursionError, ArticleError) as error:
            raise damaged(self.path, id) from error
        if article.record_hash != record_hash:
            raise damaged(self.path, id)
        return article if not article.url or web_url(article.url) else replace(article, url=None)

    def check_missing(self, id: str) -> None:
        """See Store. Articles are found by an index of their ids, which no checksum covers."""
        with self._reading() as connection:
            if connection.execute("SELECT 1 FROM articles NOT INDEXED WHERE id = ?", (id,)).fetchone():
                raise database.countable(self.path, "the index of ids")

    # Writing

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """See Store."""
        with database.told(self.path):
            made = not self.path.exists()
            if not made and not self.path.is_dir():
                raise IndexNotFoundError(_not_found(self.path))
            make_folder(self.path)
            lock = FileLock(self.path / LOCK, timeout=LOCK_SECONDS)
            try:
                lock.acquire()
            except Timeout as error:
                raise IndexLockedError(
                    f"The index {self.path} is being written by {_holder(self.path / LOCK)}. Try again when it has "
                    f"finished."
                ) from error
        try:
            _put_holder(self.path / LOCK)
            with database.told(self.path):
                upgraded = False
                if self._file.exists():
                    upgraded = migrate(self._connection(), self.path)
                self._tidy()
                if upgraded:
                    with contextlib.suppress(IndexDamagedError):  # which is told when it is read
                        self._refresh(self._connection(), thoroughly=False)
            yield
        finally:
            if self._writer:
                self._writer.close()
                self._writer = None
            if made and (self._new_settings or not self._file.exists()):  # nothing was written
                shutil.rmtree(self.path, ignore_errors=True)
            self._new_settings = None
            lock.release()

    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None = None) -> None:
        """See Store."""
        self._new_settings, self._new_files = dict(settings), dict(model_files or {})

    def write(self, changes: Sequence[Change], removals: Sequence[str] = (), touched: Sequence[str] = ()) -> None:
        """See Store."""
        with self._transaction() as connection:
            settings = read_settings(connection, self.path)
            number, next_key = settings["change"] + 1, settings["key"]
            ids = [change.article.id for change in changes]
            stored = {
                row[1]: row
                for row in connection.execute(
                    f"{_TERMS_AND_ASSUMED} WHERE a.id IN {LIST}", (json.dumps([*ids, *removals]),)
                )
            }
            counts, recount = Counts(), False
            numbers = number_terms(connection, self.path, changes)
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
                of_article = {numbers[change.language, term]: count for term, count in change.terms.items()}
                counts.add(change.language, change.assumed, list(of_article))
                terms = pack_terms(of_article)
                if change.vector is not None:
                    vector = change.vector.astype("<f2").tobytes()
                elif old is None:
                    raise ValueError(f"article {article.id!r} is new and needs a vector")
                else:
                    vector, came, checksum = connection.execute(
                        "SELECT vector, change, checksum FROM vectors WHERE key = ?", (old[0],)
                    ).fetchone() or (b"", 0, None)
                    if vector_checksum(article.id, old[2], came, vector) != checksum:
                        raise damaged(self.path, article.id)
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
                    insert_article(connection, old[0], change, None, number)
                    continue
                if old:  # a new key, since the search files know the old one by what it was
                    gone.append(old[0])
                    delete_articles(connection, [old[0]])
                key, next_key = next_key, next_key + 1
                insert_article(connection, key, change, vector, number)
                checksum = lexical_checksum(article.id, article.content_hash, change.language, change.assumed, terms)
                connection.execute(
                    "INSERT INTO lexical VALUES (?, ?, ?, ?, ?)",
                    (key, change.language, change.assumed, terms, checksum),
                )
            removed = [stored[id][0] for id in removals if id in stored]
            delete_articles(connection, removed)
            if recount:  # a damaged row does not say what to take off
                count_anew(connection)
            else:
                counts.write(connection, self.path)
            connection.execute(
                f"UPDATE hubness SET value = NULL WHERE key IN (SELECT key FROM articles WHERE id IN {LIST})",
                (json.dumps(list(touched)),),
            )
            put_removed(connection, sorted({*gone, *removed}), number)
            put_setting(connection, "change", number)
            put_setting(connection, "key", next_key)

    def put_hubness(self, values: Mapping[str, tuple[float, float]], *, last: bool) -> None:
        """See Store."""
        with self._transaction() as connection:
            keys = connection.execute(
                f"SELECT id, key FROM articles WHERE id IN {LIST}", (json.dumps(list(values)),)
            ).fetchall()
            connection.executemany(
                "INSERT OR REPLACE INTO hubness VALUES (?, ?, ?, ?)",
                [(key, *values[id], hubness_checksum(key, *values[id])) for id, key in keys],
            )
            settings = read_settings(connection, self.path)
            change = settings.get("dense", {}).get("change")
            if last and settings.get("hubness", {}).get("change") != change:  # the round was over all
                (mean,) = connection.execute("SELECT coalesce(avg(value), 0.0) FROM hubness").fetchone()
                put_setting(connection, "hubness", {"mean": round(mean, 6), "change": change})

    @contextlib.contextmanager
    def keeping_near(self, n: int) -> Iterator[Keep]:
        """See Store. Not in an index so small that its search files are made anew with every change."""
        with database.told(self.path):
            settings = read_settings(self._connection(), self.path)
            file, dimensions = search_file(settings, "signals"), settings["model"]["dimensions"]
            signals = open_signal_folder(self.path, file, dimensions)[0] if file and file.count > SMALL else None
            if not (file and signals):
                yield lambda found: None
                return
            path = unused(self.path / f"near-{file.change}")
            with writing_near_file(path, signals, n) as keep:
                yield keep
            with self._transaction() as connection:
                put_setting(connection, "near", asdict(SearchFile.of(path, file.change, file.count)))
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
        with database.told(self.path):
            self._refresh(self._connection(), thoroughly=built)

    def verify(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """See Store."""
        return Verification(self.path, self._reading, self.articles).problems(on_progress)

    def repair(self) -> None:
        """See Store."""
        with self._transaction() as connection:
            repair(connection, self.path, _ROW, self._card)

    def _refresh(self, writer: sqlite3.Connection, *, thoroughly: bool) -> None:
        """Make the search files again if one is not usable, or too much has changed since they were made.

        The signals, by far the largest, are read through only `thoroughly`.
        """
        settings = read_settings(writer, self.path)
        dense, terms, signals = (search_file(settings, name) for name in ("dense", "terms", "signals"))
        if (
            dense
            and terms
            and signals
            and not (signals.fault(self.path, read=thoroughly) or dense.fault(self.path) or terms.fault(self.path))
        ):
            (pending,) = writer.execute(
                "SELECT (SELECT count(*) FROM vectors WHERE change > :c) "
                "+ (SELECT count(*) FROM removed WHERE change > :c)",
                {"c": dense.change},
            ).fetchone()
            if pending <= (STALE_SHARE * dense.count if dense.count > SMALL else 0):
                return
        change = settings["change"]
        terms_rows = self._terms_checked(writer.execute("SELECT number, language, term, articles, checked FROM terms"))
        counts = [(row[0], row[3]) for row in terms_rows]
        dimensions = settings["model"]["dimensions"]
        rows = SignalReader(self.path, dimensions).all_rows(writer)
        signals = write_signal_folder(self.path, change, rows, counts)
        mapped = SignalFile(self.path / signals.name, dimensions)
        with ThreadPoolExecutor(1) as beside:
            waiting = beside.submit(write_search_file, self.path, change, mapped)
            terms = write_term_folder(self.path, change, mapped.articles())
            dense = waiting.result()
        with self._transaction() as connection:
            put_setting(connection, "dense", asdict(dense))
            put_setting(connection, "terms", asdict(terms))
            put_setting(connection, "signals", asdict(signals))
            connection.execute("DELETE FROM settings WHERE name = 'near'")  # which is of the signals before
            connection.execute("DELETE FROM removed WHERE change <= ?", (dense.change,))
        self._tidy()

    def _tidy(self) -> None:
        """Remove search files that are not used: those before the last ones, and what a killed writer left."""
        used = set()
        if self._file.exists() and database.is_written(self._connection(), self.path):
            settings = read_settings(self._connection(), self.path)
            used = {file.name for name in SEARCH_FILES if (file := search_file(settings, name))}
        for stem in SEARCH_FILES.values():
            for path in (*self.path.glob(f"{stem}-*"), *self.path.glob(f".{stem}-*.tmp")):
                if path.name not in used:
                    discard(path)

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
                    for name, value in {**self._new_settings, "id": uuid4().hex, "change": NO_CHANGE, "key": 1}.items():
                        put_setting(connection, name, value)
                    connection.executemany(
                        "INSERT INTO model_files VALUES (?, ?, ?)",
                        [(name, content, file_checksum(name, content)) for name, content in self._new_files.items()],
                    )
                yield connection
                put_rows(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._new_settings = None


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


@lru_cache(maxsize=2)
def _opened(path: Path) -> LocalStore:
    return LocalStore(path)


_TERMS_AND_ASSUMED = (
    "SELECT a.key, a.id, a.content_hash, l.language, l.terms, l.checksum, l.assumed FROM articles a "
    "LEFT JOIN lexical l USING (key)"
)


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
