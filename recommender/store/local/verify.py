"""Verifying an index: comparing everything stored with checksums and with one another, and repairing derived data."""

import contextlib
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recommender.article import Article
from recommender.errors import IndexDamagedError
from recommender.filters import facets
from recommender.store.local.arrays import ARRAYS, array_files
from recommender.store.local.articles import COLUMNS, ArticleReader
from recommender.store.local.database import LIST, article_damaged_error, index_damaged_error
from recommender.store.local.derived_file import (
    DERIVED_FILES,
    FORWARD_INDEX,
    NEIGHBOURS,
    VECTOR_INDEX,
    derived_file,
)
from recommender.store.local.documents import MODEL_FILES, document_names, read_document
from recommender.store.local.forward_index import open_forward_index
from recommender.store.local.policies import read_policy
from recommender.store.local.rows import (
    file_checksum,
    hubness_checksum,
    insert_facets,
    put_setting,
    read_languages,
    read_settings,
    recount,
    removed_after,
    row_checksum,
    term_checksum,
)
from recommender.store.local.signal_reader import SignalReader
from recommender.store.local.vector_index import needs_lists

_log = logging.getLogger("recommender")
PAGE_ARTICLES = 1024  # per snapshot, which a writer's commit waits for
TABLES_BY_ARTICLE = ("texts", "vectors", "lexical", "hubness")  # one row per article
TABLES = (
    "settings",
    "model_files",
    "policy",
    "articles",
    *TABLES_BY_ARTICLE,
    "terms",
    "languages",
    "links",
    "facets",
    "removed",
)
REPAIR = "`recommender verify --repair` makes it again."
REBUILD = "Remove it with `recommender remove`, then build again from its source."

# Opens a snapshot and yields its connection.
OpenSnapshot = Callable[[], AbstractContextManager[sqlite3.Connection]]


class Verification:
    """Finds damage in an index. Changes by a concurrent writer are not reported as damage.

    Args:
        index_path: the index's folder.
        open_snapshot: opens a snapshot.
        read_articles: returns articles by their ids; raises IndexDamagedError.
    """

    def __init__(
        self,
        index_path: Path,
        open_snapshot: OpenSnapshot,
        read_articles: Callable[[Sequence[str]], dict[str, Article]],
    ) -> None:
        self._index_path, self._open_snapshot, self._read_articles = index_path, open_snapshot, read_articles
        self._document_frequencies: Counter[int] = Counter()
        self._languages: Counter[tuple[str, int]] = Counter()  # with 0, all articles; with 1, those by assumption

    def problems(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """Yield a sentence for each problem.

        Args:
            on_progress: called with the number of articles that were read, and of all.
        """
        with self._open_snapshot() as connection:
            settings = read_settings(connection, self._index_path)
            self._dimensions = settings["model"]["dimensions"]
            (total,) = connection.execute("SELECT count(*) FROM articles").fetchone()
        for table in TABLES:
            with self._open_snapshot() as connection:
                rows = connection.execute(f"PRAGMA integrity_check({table})").fetchall()
            yield from (f"The table {table} of the database: {row}." for (row,) in rows if row != "ok")
        last_key, done = 0, 0
        while True:
            with self._open_snapshot() as connection:
                page = connection.execute(
                    f"SELECT * FROM articles WHERE key > ? ORDER BY key LIMIT {PAGE_ARTICLES}", (last_key,)
                ).fetchall()
                problems = list(self._article_problems(connection, page))
            yield from problems  # outside the snapshot, which a writer's commit would wait for
            done += len(page)
            on_progress(min(done, total), total)
            if len(page) < PAGE_ARTICLES:
                break
            last_key = page[-1][0]
        with self._open_snapshot() as connection:
            is_changed = read_settings(connection, self._index_path) != settings
            problems = list(self._table_problems(connection, is_changed=is_changed))
        yield from problems
        with self._open_snapshot() as connection:
            problems = list(self._derived_file_problems(connection))
        yield from problems

    def _article_problems(self, connection: sqlite3.Connection, page: list[tuple[Any, ...]]) -> Iterator[str]:
        """Yield the problems of some articles, given their rows of the table."""
        keys = json.dumps([row[0] for row in page])
        keys_of_table = {
            table: {key for (key,) in connection.execute(f"SELECT key FROM {table} WHERE key IN {LIST}", (keys,))}
            for table in TABLES_BY_ARTICLE
        }
        facets_of_key: dict[int, set[tuple[str, str]]] = {}
        for key, field, value in connection.execute(
            f"SELECT key, field, value FROM facets WHERE key IN {LIST}", (keys,)
        ):
            facets_of_key.setdefault(key, set()).add((field, value))
        keys_with_damaged_links = {
            row[0]
            for *row, checksum in connection.execute(
                f"SELECT key, kind, position, target, url_key, title_key, checksum FROM links WHERE key IN {LIST}",
                (keys,),
            )
            if row_checksum(row) != checksum
        }
        keys_with_damaged_hubness = {
            key
            for key, value, checksum in connection.execute(
                f"SELECT key, value, checksum FROM hubness WHERE key IN {LIST} AND value IS NOT NULL", (keys,)
            )
            if hubness_checksum(key, value) != checksum
        }
        for language, assumed in connection.execute(
            f"SELECT language, assumed FROM lexical WHERE key IN {LIST}", (keys,)
        ):
            self._languages[language, 0] += 1
            self._languages[language, 1] += 1 if assumed else 0
        intact: list[tuple[int, str]] = []
        for key, id, *row, checksum in page:
            if row_checksum((key, id, *row)) != checksum or key in keys_with_damaged_links:
                yield str(article_damaged_error(self._index_path, id))
            elif missing := [table for table in TABLES_BY_ARTICLE if key not in keys_of_table[table]]:
                yield f"Article {id!r} has no row in {' and '.join(missing)}. {REBUILD}"
            else:
                intact.append((key, id))
        try:
            yield from self._content_problems(connection, intact, facets_of_key, keys_with_damaged_hubness)
        except IndexDamagedError:  # read one by one to name the damaged articles
            for article in intact:
                try:
                    yield from self._content_problems(connection, [article], facets_of_key, keys_with_damaged_hubness)
                except IndexDamagedError as error:
                    yield str(error)

    def _content_problems(
        self,
        connection: sqlite3.Connection,
        articles: list[tuple[int, str]],
        facets_of_key: dict[int, set[tuple[str, str]]],
        keys_with_damaged_hubness: set[int],
    ) -> Iterator[str]:
        """Read articles, pairs of key and id, in full, and yield their problems.

        Raises:
            IndexDamagedError: an article is damaged; nothing was yielded.
        """
        reader = SignalReader(self._index_path, self._dimensions)
        term_ids = reader.checked_term_ids(connection, [key for key, _ in articles])
        article_of_id = self._read_articles([id for _, id in articles])
        for article_term_ids in term_ids:
            self._document_frequencies.update(article_term_ids.tolist())
        for key, id in articles:
            if id in article_of_id and facets(article_of_id[id]) != facets_of_key.get(key, set()):
                yield f"The stored filter values of article {id!r} differ from its fields. {REPAIR}"
            if key in keys_with_damaged_hubness:
                yield f"The hubness of article {id!r} is damaged, and passed over. {REPAIR}"

    def _table_problems(self, connection: sqlite3.Connection, *, is_changed: bool) -> Iterator[str]:
        """Yield the problems of the other tables; without comparing counts if a writer changed the index."""
        for table in (*TABLES_BY_ARTICLE, "links", "facets"):
            query = f"SELECT count(*) FROM {table} WHERE key NOT IN (SELECT key FROM articles)"
            (count,) = connection.execute(query).fetchone()
            if count:
                yield f"The table {table} has {count:,} rows that belong to no article. {REPAIR}"
        damaged = miscounted = 0
        for *row, checksum in connection.execute(
            "SELECT term_id, language, term, document_frequency, checksum FROM terms"
        ):
            damaged += term_checksum(*row) != checksum
            miscounted += row[3] != self._document_frequencies[row[0]]
        if damaged or (miscounted and not is_changed):
            yield f"The counts of {max(damaged, miscounted):,} terms are not right. {REPAIR}"
        for name, content, checksum in connection.execute(MODEL_FILES):
            if file_checksum(name, content) != checksum:
                yield str(index_damaged_error(self._index_path, f"the file {name} of its model"))
        checks: list[Callable[[], object]] = [
            *(partial(read_document, connection, self._index_path, name) for name in document_names(connection)),
            lambda: read_policy(connection, self._index_path),
            lambda: read_languages(connection, self._index_path),
            lambda: removed_after(connection, self._index_path, -1),
        ]
        for check in checks:
            try:
                check()
            except IndexDamagedError as error:
                yield str(error)
        rows = connection.execute("SELECT language, articles, assumed FROM languages").fetchall()
        counts = {(name, self._languages[name, 0], self._languages[name, 1]) for name, _ in self._languages}
        if set(rows) != counts and not is_changed:
            yield f"The counts of languages are not right. {REPAIR}"
        if is_changed:
            _log.warning("The index was changed meanwhile, so that counts were not compared. Run it again for these.")

    def _derived_file_problems(self, connection: sqlite3.Connection) -> Iterator[str]:
        settings = read_settings(connection, self._index_path)
        forward_file = derived_file(settings, FORWARD_INDEX)
        has_lists = forward_file and needs_lists(forward_file.count, self._dimensions)
        optional = {NEIGHBOURS} if has_lists else {NEIGHBOURS, VECTOR_INDEX}
        for name in DERIVED_FILES:
            file = derived_file(settings, name)
            if file is None:
                if name not in optional:
                    yield f"There is no search file {name} yet. {REPAIR}"
            elif reason := file.invalid_reason(self._index_path):
                yield f"The search file {file.name} is {reason}. {REPAIR}"
        for file in array_files(settings).values():
            if reason := file.invalid_reason(self._index_path):
                yield f"The folder {file.name} is {reason}. `recommender verify --repair` removes it."
        if _has_unrecorded_removals(connection, self._index_path, settings):
            yield f"The list of what was removed is not whole. {REPAIR}"


def _has_unrecorded_removals(connection: sqlite3.Connection, index_path: Path, settings: dict[str, Any]) -> bool:
    """Return whether the forward index has keys that are neither stored nor recorded as removed."""
    file = derived_file(settings, FORWARD_INDEX)
    forward_index = open_forward_index(index_path, file, settings["model"]["dimensions"])[0] if file else None
    if not forward_index:
        return False
    known_keys = (key for table in ("vectors", "removed") for (key,) in connection.execute(f"SELECT key FROM {table}"))
    keys = forward_index.keys(np.arange(len(forward_index)))
    return bool(np.setdiff1d(keys, np.fromiter(known_keys, dtype=np.int64)).size)


def repair(connection: sqlite3.Connection, index_path: Path) -> None:
    """Recompute derived data from the articles, within a transaction, and drop the settings of invalid derived files.

    Args:
        connection: a writer's.
        index_path: the index's folder.
    """
    connection.execute("REINDEX")
    recount(connection)
    for table in (*TABLES_BY_ARTICLE, "links", "facets"):
        connection.execute(f"DELETE FROM {table} WHERE key NOT IN (SELECT key FROM articles)")
    connection.execute("DELETE FROM facets")
    reader = ArticleReader(index_path)
    for row in connection.execute(f"SELECT {COLUMNS} FROM articles a"):
        with contextlib.suppress(IndexDamagedError):  # `problems` reports it, and the user can remove the article
            insert_facets(connection, row[0], reader.summary(row))
    for key, value, checksum in connection.execute("SELECT key, value, checksum FROM hubness").fetchall():
        if value is not None and hubness_checksum(key, value) != checksum:
            connection.execute("UPDATE hubness SET value = NULL WHERE key = ?", (key,))
    settings = read_settings(connection, index_path)
    try:
        removed_after(connection, index_path, 0)
        are_removals_known = not _has_unrecorded_removals(connection, index_path, settings)
    except IndexDamagedError:  # only derived files need the removals, and they are built again
        connection.execute("DELETE FROM removed")
        are_removals_known = False
    for name in DERIVED_FILES:
        file = derived_file(settings, name)
        if not (are_removals_known and file and not file.invalid_reason(index_path)):
            connection.execute("DELETE FROM settings WHERE name = ?", (name,))
    files = array_files(settings)
    valid = {name: file for name, file in files.items() if not file.invalid_reason(index_path)}
    if valid != files:
        put_setting(connection, ARRAYS, {name: asdict(file) for name, file in valid.items()})
