"""A store in a folder: SQLite holds the articles; derived files make search fast."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary
from recommender.errors import IndexNotFoundError
from recommender.filters import Condition
from recommender.store.base import CandidateQuery, ContentHashes, Guarantees, Signals, Store, Upsert
from recommender.store.local import database, filter_sql, links
from recommender.store.local.database import DATABASE, LIST
from recommender.store.local.derived_file import DERIVED_FILES, derived_file
from recommender.store.local.neighbours import Keep
from recommender.store.local.policies import replace_policy
from recommender.store.local.rows import checked_terms, file_checksum, put_commit
from recommender.store.local.signal_reader import NO_CHANGE, distinct
from recommender.store.local.snapshots import Session, Snapshots
from recommender.store.local.vector_index import in_list_order
from recommender.store.local.verify import Verification
from recommender.store.local.writer import Writer
from recommender.text.clean import clean_text

PAGE = 1024  # rows read at once where all are read


class LocalStore(Store):
    """The store at a folder. Threads may share one for reading, and so may a forked process.

    Args:
        path: the folder; made by the first write.
    """

    guarantees = Guarantees(atomic="batch", snapshots=True, processes=True)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = str(path)
        self._file = self.path / DATABASE
        self._snapshots = Snapshots(self.path)
        self._writer = Writer(self.path)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the place alone: another process opens it for itself, once."""
        return _opened, (self.path,)

    # Opening and closing

    def exists(self) -> bool:
        """See Store."""
        try:
            with self._snapshots.open(wait=False):
                return True
        except IndexNotFoundError:
            return False

    def source_label(self, source: Path) -> str:
        """See Store. Relative to the index, so that both can be moved, or checked out, together."""
        try:
            return clean_text(Path(os.path.relpath(source.resolve(), self.path.resolve())).as_posix())
        except ValueError:  # another drive
            return clean_text(source.resolve().as_posix())

    def close(self) -> None:
        """See Store."""
        self._snapshots.close()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """See Store."""
        with self._snapshots.open():
            yield

    def compute_slot(self) -> contextlib.AbstractContextManager[None]:
        """See Store."""
        return self._snapshots.turns.take()

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        with self._snapshots.open() as session, database.translate_errors(self.path):
            yield session

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._session() as session:
            yield session.connection

    # Reading

    def settings(self) -> dict[str, Any]:
        """See Store."""
        with self._session() as session:
            return {
                name: value
                for name, value in session.revision.settings.items()
                if name not in ("id", "change", "key", "commits", *DERIVED_FILES, "hubness")
            }

    def count(self, sources: Iterable[str] | None = None) -> int:
        """See Store."""
        where, values = _from(sources)
        with self._session() as session:
            if sources is None:  # known without counting
                return sum(articles for articles, _ in session.revision.languages(session.connection).values())
            (count,) = session.connection.execute(f"SELECT count(*) FROM articles a WHERE {where}", values).fetchone()
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
                    raise database.index_damaged_error(self.path, f"the id {id!r}")
                yield id
            if len(page) < PAGE:
                return
            (last,) = page[-1]

    def ids_in_cluster_order(self) -> list[str] | None:
        """See Store."""
        with self._session() as session:
            connection = session.connection
            keys = [key for (key,) in connection.execute("SELECT key FROM articles ORDER BY key")]
            file = derived_file(session.revision.settings, "dense")
            order = in_list_order(self.path, file, np.array(keys, dtype=np.int64))
            if order is None:
                return None
            ids = [id for (id,) in connection.execute("SELECT id FROM articles ORDER BY key")]
            if odd := [id for id in ids if not isinstance(id, str)]:
                raise database.index_damaged_error(self.path, f"the id {odd[0]!r}")
            return [ids[position] for position in order.tolist()]

    def content_hashes(self, ids: Sequence[str]) -> dict[str, ContentHashes]:
        """See Store."""
        with self._session() as session:
            return session.revision.articles.content_hashes(session.connection, ids)

    def articles(self, ids: Sequence[str]) -> dict[str, Article]:
        """See Store."""
        with self._session() as session:
            return session.revision.articles.articles(session.connection, ids)

    def texts(self, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See Store."""
        with self._session() as session:
            return session.revision.articles.texts(session.connection, ids)

    def summaries(self, ids: Sequence[str]) -> dict[str, ArticleSummary]:
        """See Store."""
        with self._session() as session:
            return session.revision.articles.summaries(session.connection, ids)

    def signals(self, ids: Sequence[str]) -> Signals:
        """See Store."""
        with self._session() as session:
            rows = session.connection.execute(f"SELECT a.key FROM articles a WHERE a.id IN {LIST}", (json.dumps(ids),))
            keys = np.array([key for (key,) in rows], dtype=np.int64)
            signals, stored = session.revision.signals(session.connection).read(session.connection, keys)
            if len(stored) != len(keys):
                raise database.index_damaged_error(self.path, "the list of its vectors and terms")
            return signals

    def retrieve_candidates(self, probes: Sequence[CandidateQuery], n: int) -> tuple[Signals, list[NDArray[np.int64]]]:
        """See Store."""
        with self._session() as session:
            return session.revision.candidates(session.connection).retrieve_candidates(session.connection, probes, n)

    def languages(self) -> dict[str, tuple[int, int]]:
        """See Store."""
        with self._session() as session:
            return dict(session.revision.languages(session.connection))

    def lookup_terms(self, language: str, terms: Iterable[str]) -> dict[str, tuple[int, int]]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT number, language, term, articles, checked FROM terms WHERE language = ? AND term IN {LIST}",
                (language, json.dumps(list(terms))),
            )
            return {row[2]: (row[0], row[3]) for row in checked_terms(rows, self.path)}

    def ids_with_assumed_language(self, language: str) -> list[str]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT a.id FROM lexical l JOIN articles a USING (key) WHERE l.assumed AND l.language != ? "
                "ORDER BY +a.id",
                (language,),
            )
            return [id for (id,) in rows]

    def stale_hubness_ids(self) -> list[str]:
        """See Store."""
        with self._session() as session:
            settings = session.revision.settings
            if settings.get("hubness", {}).get("change") != settings.get("signals", {}).get("change"):
                return self.ids_in_cluster_order() or list(self.ids())
            rows = session.connection.execute(
                "SELECT a.id FROM hubness h JOIN articles a USING (key) WHERE h.value IS NULL ORDER BY +a.id"
            )
            return [id for (id,) in rows]

    def upserts(self, ids: Sequence[str]) -> list[Upsert]:
        """See Store."""
        with self._reading() as connection:
            articles, stamps, signals = self.articles(ids), self.content_hashes(ids), self.signals(ids)
            assumed = dict(
                connection.execute(
                    f"SELECT a.id, l.assumed FROM lexical l JOIN articles a USING (key) WHERE a.id IN {LIST}",
                    (json.dumps(ids),),
                ).fetchall()
            )
            names: dict[int, str] = {}
            numbers = distinct(signals.term_ids).tolist()
            for start in range(0, len(numbers), PAGE):
                names |= self.terms(numbers[start : start + PAGE])
            ends = np.searchsorted(signals.rows, np.arange(len(signals.ids) + 1)).tolist()
            found = []
            for row, id in enumerate(signals.ids):
                part = slice(ends[row], ends[row + 1])
                pairs = zip(signals.term_ids[part].tolist(), signals.frequencies[part].tolist(), strict=True)
                terms = {names[number]: frequency for number, frequency in pairs}
                language, vector = signals.languages[row], signals.vectors[row]
                found.append(Upsert(articles[id], stamps[id].source, vector, terms, language, bool(assumed[id])))
            return found

    def links(self, kind: Literal["related", "links"], ids: Sequence[str] | None = None) -> dict[str, list[str]]:
        """See Store."""
        with self._reading() as connection:
            return links.of_articles(connection, self.path, kind, ids)

    def backlinks(self, ids: Sequence[str]) -> list[str]:
        """See Store."""
        with self._reading() as connection:
            return links.backlinks(connection, ids)

    def resolve_targets(self, targets: Sequence[str]) -> list[str | None]:
        """See Store."""
        with self._reading() as connection:
            return links.find(connection, targets)

    def ids_by_url_or_title(self, name: str, n: int) -> list[str]:
        """See Store."""
        with self._reading() as connection:
            return links.named(connection, name, n)

    def filter_ids(self, ids: Sequence[str], condition: Condition) -> set[str]:
        """See Store."""
        with self._reading() as connection:
            rows = connection.execute(f"SELECT key, id FROM articles WHERE id IN {LIST}", (json.dumps(list(ids)),))
            id_of = dict(rows.fetchall())
            return {id_of[key] for key in filter_sql.check(connection, condition, id_of)}

    def count_matching(self, condition: Condition) -> int:
        """See Store."""
        clause, values = filter_sql.sql(condition, search=True)
        with self._reading() as connection:
            (count,) = connection.execute(f"SELECT count(*) {filter_sql.FROM} WHERE {clause}", values).fetchone()
            return int(count)

    def most_recent(self, condition: Condition, n: int) -> list[str]:
        """See Store."""
        clause, values = filter_sql.sql(condition, search=False)
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT a.id {filter_sql.FROM} WHERE a.time IS NOT NULL AND {clause} "
                f"ORDER BY a.time DESC, a.id LIMIT ?",
                (*values, n),
            )
            return [id for (id,) in rows]

    def published_between(self, after: int, before: int) -> list[str]:
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
            return {row[0]: row[2] for row in checked_terms(rows, self.path)}

    def revision(self) -> tuple[str, int, int]:
        """See Store."""
        with self._session() as session:
            settings = session.revision.settings
            return settings["id"], settings["change"], settings.get("hubness", {}).get("change", NO_CHANGE)

    def ids_changed_after(self, change: int) -> list[str]:
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
                raise database.index_damaged_error(self.path, "the model")
        return {name: content for name, content, _ in rows}

    def policy(self) -> dict[str, Any]:
        """See Store."""
        with self._session() as session:
            return session.revision.policy(session.connection)

    def edit_policy(self, edit: Callable[[dict[str, Any]], dict[str, Any]], *, anew: bool = False) -> None:
        """See Store."""
        with self.snapshot():  # no index, nothing to write
            pass
        with database.translate_errors(self.path), contextlib.closing(database.open_writer(self._file)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                replace_policy(connection, self.path, edit, anew=anew)
                put_commit(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def statistics(self) -> dict[str, Any]:
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

    # Writing

    @contextlib.contextmanager
    def write_lock(self) -> Iterator[None]:
        """See Store."""
        with self._writer.writing():
            yield

    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None = None) -> None:
        """See Store."""
        self._writer.create(settings, model_files)

    def write(self, changes: Sequence[Upsert], removals: Sequence[str] = ()) -> None:
        """See Store."""
        self._writer.write(changes, removals)

    def put_hubness(self, values: Mapping[str, float], *, last: bool) -> None:
        """See Store."""
        self._writer.put_hubness(values, last=last)

    @contextlib.contextmanager
    def caching_neighbours(self, n: int) -> Iterator[Keep]:
        """See Store."""
        with self._writer.caching_neighbours(n) as keep:
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
