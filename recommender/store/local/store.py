"""The store in a folder: reads from snapshots of the database, and writes through `Writer`."""

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
from recommender.store.local.arrays import ARRAYS
from recommender.store.local.database import DATABASE, LIST
from recommender.store.local.derived_file import DERIVED_FILES, FORWARD_INDEX, VECTOR_INDEX, derived_file
from recommender.store.local.documents import MODEL_FILES, document_names
from recommender.store.local.neighbours import PutNeighbours
from recommender.store.local.policies import replace_policy
from recommender.store.local.rows import checked_terms, file_checksum, put_commit
from recommender.store.local.signal_reader import NO_REVISION, distinct
from recommender.store.local.snapshots import Session, Snapshots
from recommender.store.local.vector_index import in_list_order
from recommender.store.local.verify import Verification
from recommender.store.local.writer import Writer
from recommender.text.clean import clean_text

PAGE_ROWS = 1024


class LocalStore(Store):
    """The store in a folder. Threads and forked processes may share an instance for reading.

    Args:
        path: the folder; the first write creates it.
    """

    guarantees = Guarantees(atomic="batch", processes=True, arrays="all")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = str(path)
        self._file = self.path / DATABASE
        self._snapshots = Snapshots(self.path)
        self._writer = Writer(self.path)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the path only; another process opens its own instance, once."""
        return _open_cached, (self.path,)

    # Opening and closing

    def exists(self) -> bool:
        """See Store."""
        try:
            with self._snapshots.open(wait=False):
                return True
        except IndexNotFoundError:
            return False

    def source_label(self, source: Path) -> str:
        """See Store. The label is relative to the index, so that both can be moved or checked out together."""
        try:
            return clean_text(Path(os.path.relpath(source.resolve(), self.path.resolve())).as_posix())
        except ValueError:  # on another drive
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
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._session() as session:
            yield session.connection

    # Reading

    def settings(self) -> dict[str, Any]:
        """See Store."""
        with self._session() as session:
            return {
                name: value
                for name, value in session.revision.settings.items()
                if name not in ("id", "revision", "next_key", "commits", *DERIVED_FILES, ARRAYS, "hubness")
            }

    def count(self, sources: Iterable[str] | None = None) -> int:
        """See Store."""
        condition, parameters = _source_condition(sources)
        with self._session() as session:
            if sources is None:  # stored, so no scan is needed
                return sum(articles for articles, _ in session.revision.languages(session.connection).values())
            (count,) = session.connection.execute(
                f"SELECT count(*) FROM articles a WHERE {condition}", parameters
            ).fetchone()
            return int(count)

    def ids(self, sources: Iterable[str] | None = None, after: str = "") -> Iterator[str]:
        """See Store."""
        condition, parameters = _source_condition(sources)
        last = after
        while True:
            with self._connection() as connection:
                page = connection.execute(
                    f"SELECT a.id FROM articles a WHERE a.id > ? AND {condition} ORDER BY a.id LIMIT {PAGE_ROWS}",
                    (last, *parameters),
                ).fetchall()
            for (id,) in page:
                if not isinstance(id, str):
                    raise database.index_damaged_error(self.path, f"the id {id!r}")
                yield id
            if len(page) < PAGE_ROWS:
                return
            (last,) = page[-1]

    def ids_in_cluster_order(self) -> list[str] | None:
        """See Store."""
        with self._session() as session:
            connection = session.connection
            keys = [key for (key,) in connection.execute("SELECT key FROM articles ORDER BY key")]
            file = derived_file(session.revision.settings, VECTOR_INDEX)
            order = in_list_order(self.path, file, np.array(keys, dtype=np.int64))
            if order is None:
                return None
            ids = [id for (id,) in connection.execute("SELECT id FROM articles ORDER BY key")]
            if invalid := [id for id in ids if not isinstance(id, str)]:
                raise database.index_damaged_error(self.path, f"the id {invalid[0]!r}")
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
            signals, stored_keys = session.revision.signals(session.connection).read(session.connection, keys)
            if len(stored_keys) != len(keys):
                raise database.index_damaged_error(self.path, "the list of its vectors and terms")
            return signals

    def retrieve_candidates(self, queries: Sequence[CandidateQuery], n: int) -> tuple[Signals, list[NDArray[np.int64]]]:
        """See Store."""
        with self._session() as session:
            search = session.revision.candidates(session.connection)
            return search.retrieve_candidates(session.connection, queries, n)

    def languages(self) -> dict[str, tuple[int, int]]:
        """See Store."""
        with self._session() as session:
            return dict(session.revision.languages(session.connection))

    def lookup_terms(self, language: str, terms: Iterable[str]) -> dict[str, tuple[int, int]]:
        """See Store."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT term_id, language, term, document_frequency, checksum FROM terms "
                f"WHERE language = ? AND term IN {LIST}",
                (language, json.dumps(list(terms))),
            )
            return {row[2]: (row[0], row[3]) for row in checked_terms(rows, self.path)}

    def ids_with_assumed_language(self, language: str) -> list[str]:
        """See Store."""
        with self._connection() as connection:
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
            if settings.get("hubness", {}).get("revision") != settings.get(FORWARD_INDEX, {}).get("revision"):
                return self.ids_in_cluster_order() or list(self.ids())
            rows = session.connection.execute(
                "SELECT a.id FROM hubness h JOIN articles a USING (key) WHERE h.value IS NULL ORDER BY +a.id"
            )
            return [id for (id,) in rows]

    def upserts(self, ids: Sequence[str]) -> list[Upsert]:
        """See Store."""
        with self._connection() as connection:
            articles, hashes, signals = self.articles(ids), self.content_hashes(ids), self.signals(ids)
            assumed = dict(
                connection.execute(
                    f"SELECT a.id, l.assumed FROM lexical l JOIN articles a USING (key) WHERE a.id IN {LIST}",
                    (json.dumps(ids),),
                ).fetchall()
            )
            term_of_id: dict[int, str] = {}
            term_ids = distinct(signals.term_ids).tolist()
            for start in range(0, len(term_ids), PAGE_ROWS):
                term_of_id |= self.terms(term_ids[start : start + PAGE_ROWS])
            offsets = np.searchsorted(signals.rows, np.arange(len(signals.ids) + 1)).tolist()
            upserts = []
            for row, id in enumerate(signals.ids):
                part = slice(offsets[row], offsets[row + 1])
                pairs = zip(signals.term_ids[part].tolist(), signals.frequencies[part].tolist(), strict=True)
                terms = {term_of_id[term_id]: frequency for term_id, frequency in pairs}
                language, vector = signals.languages[row], signals.vectors[row]
                upserts.append(Upsert(articles[id], hashes[id].source, vector, terms, language, bool(assumed[id])))
            return upserts

    def links(self, kind: Literal["related", "links"], ids: Sequence[str] | None = None) -> dict[str, list[str]]:
        """See Store."""
        with self._connection() as connection:
            return links.resolved_links(connection, self.path, kind, ids)

    def backlinks(self, ids: Sequence[str]) -> list[str]:
        """See Store."""
        with self._connection() as connection:
            return links.backlinks(connection, ids)

    def resolve_targets(self, targets: Sequence[str]) -> list[str | None]:
        """See Store."""
        with self._connection() as connection:
            return links.resolve_targets(connection, targets)

    def ids_by_url_or_title(self, name: str, n: int) -> list[str]:
        """See Store."""
        with self._connection() as connection:
            return links.ids_by_url_or_title(connection, name, n)

    def filter_ids(self, ids: Sequence[str], condition: Condition) -> set[str]:
        """See Store."""
        with self._connection() as connection:
            rows = connection.execute(f"SELECT key, id FROM articles WHERE id IN {LIST}", (json.dumps(list(ids)),))
            id_of = dict(rows.fetchall())
            return {id_of[key] for key in filter_sql.filter_keys(connection, condition, id_of)}

    def count_matching(self, condition: Condition) -> int:
        """See Store."""
        clause, parameters = filter_sql.where_clause(condition, search=True)
        with self._connection() as connection:
            (count,) = connection.execute(f"SELECT count(*) {filter_sql.FROM} WHERE {clause}", parameters).fetchone()
            return int(count)

    def most_recent(self, condition: Condition, n: int) -> list[str]:
        """See Store."""
        clause, parameters = filter_sql.where_clause(condition, search=False)
        with self._connection() as connection:
            rows = connection.execute(
                f"SELECT a.id {filter_sql.FROM} WHERE a.time IS NOT NULL AND {clause} "
                f"ORDER BY a.time DESC, a.id LIMIT ?",
                (*parameters, n),
            )
            return [id for (id,) in rows]

    def published_between(self, after: int, before: int) -> list[str]:
        """See Store."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id FROM articles WHERE time > ? AND time <= ? ORDER BY id", (after, before)
            )
            return [id for (id,) in rows]

    def terms(self, term_ids: Sequence[int]) -> dict[int, str]:
        """See Store."""
        with self._connection() as connection:
            rows = connection.execute(
                f"SELECT term_id, language, term, document_frequency, checksum FROM terms WHERE term_id IN {LIST}",
                (json.dumps(list(term_ids)),),
            )
            return {row[0]: row[2] for row in checked_terms(rows, self.path)}

    def revision(self) -> tuple[str, int, int]:
        """See Store."""
        with self._session() as session:
            settings = session.revision.settings
            hubness_revision = settings.get("hubness", {}).get("revision", NO_REVISION)
            return settings["id"], settings["revision"], hubness_revision

    def ids_changed_after(self, revision: int) -> list[str]:
        """See Store."""
        with self._connection() as connection:
            rows = connection.execute("SELECT id FROM articles WHERE revision > ? ORDER BY id", (revision,))
            return [id for (id,) in rows]

    def model_files(self) -> dict[str, bytes]:
        """See Store."""
        with self._connection() as connection:
            rows = connection.execute(MODEL_FILES).fetchall()
        for name, content, checksum in rows:
            if file_checksum(name, content) != checksum:
                raise database.index_damaged_error(self.path, "the model")
        return {name: content for name, content, _ in rows}

    def document(self, name: str) -> str | None:
        """See Store."""
        with self._session() as session:
            return session.revision.document(session.connection, name)

    def document_names(self) -> list[str]:
        """See Store."""
        with self._connection() as connection:
            return document_names(connection)

    def arrays(self, name: str) -> dict[str, NDArray[Any]] | None:
        """See Store."""
        with self._session() as session:
            return session.revision.arrays.get(name)

    def policy(self) -> dict[str, Any]:
        """See Store."""
        with self._session() as session:
            return session.revision.policy(session.connection)

    def edit_policy(self, edit: Callable[[dict[str, Any]], dict[str, Any]], *, anew: bool = False) -> None:
        """See Store."""
        with self.snapshot():  # raises if there is no index
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
        with self._connection() as connection:

            def count_by(column: str) -> dict[str, int]:
                return dict(
                    connection.execute(
                        f"SELECT coalesce({column}, 'unknown') name, count(*) FROM articles "
                        f"GROUP BY name ORDER BY 2 DESC, 1"
                    ).fetchall()
                )

            return {
                "sections": count_by("section"),
                "sources": count_by("source"),
                "editorial_links": links.count_editorial_links(connection),
                "bytes": _folder_bytes(self.path),
                "format": database.FORMAT,
            }

    # Writing

    @contextlib.contextmanager
    def write_lock(self) -> Iterator[None]:
        """See Store."""
        with self._writer.write_lock():
            yield

    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None = None) -> None:
        """See Store."""
        self._writer.create(settings, model_files)

    def write(self, upserts: Sequence[Upsert], removals: Sequence[str] = ()) -> None:
        """See Store."""
        self._writer.write(upserts, removals)

    def put_hubness(self, values: Mapping[str, float], *, last: bool) -> None:
        """See Store."""
        self._writer.put_hubness(values, last=last)

    @contextlib.contextmanager
    def caching_neighbours(self, n: int) -> Iterator[PutNeighbours]:
        """See Store."""
        with self._writer.caching_neighbours(n) as put:
            yield put

    def put_setting(self, name: str, value: object) -> None:
        """See Store."""
        self._writer.put_setting(name, value)

    def put_document(self, name: str, text: str | None) -> None:
        """See Store."""
        self._writer.put_document(name, text)

    def put_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]] | None) -> None:
        """See Store."""
        self._writer.put_arrays(name, arrays)

    def finish(self, *, built: bool) -> None:
        """See Store."""
        self._writer.finish(built=built)

    def verify(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """See Store."""
        return Verification(self.path, self._connection, self.articles).problems(on_progress)

    def repair(self) -> None:
        """See Store."""
        self._writer.repair()


@lru_cache(maxsize=2)
def _open_cached(path: Path) -> LocalStore:
    return LocalStore(path)


def _source_condition(sources: Iterable[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return a condition on articles `a` in SQL, and its parameters."""
    if sources is None:
        return "true", ()
    return f"a.source IN {LIST}", (json.dumps(list(sources)),)


def _folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder, in bytes; a writer may remove some meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
