"""Reads a local index through, compares everything in it with everything else, and makes again what can be."""

import contextlib
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from recommender.article import Article
from recommender.errors import IndexDamagedError
from recommender.filters import facets
from recommender.store.local.articles import ROW, ArticleReader
from recommender.store.local.database import LIST, article_damaged_error, index_damaged_error
from recommender.store.local.derived_file import DERIVED_FILES, derived_file
from recommender.store.local.forward_index import open_forward_index
from recommender.store.local.policies import read_policy
from recommender.store.local.rows import (
    count_anew,
    file_checksum,
    hubness_checksum,
    insert_facets,
    read_languages,
    read_settings,
    removed_after,
    row_checksum,
    term_sum,
)
from recommender.store.local.signal_reader import SignalReader
from recommender.store.local.vector_index import needs_lists

_log = logging.getLogger("recommender")
PAGE = 1024  # articles looked at within one snapshot: a writer does not wait for more
OF_ARTICLES = ("texts", "vectors", "lexical", "hubness")  # one row for each article
CHECKED = (
    "settings",
    "model_files",
    "policy",
    "articles",
    *OF_ARTICLES,
    "terms",
    "languages",
    "links",
    "facets",
    "removed",
)
REPAIR = "`recommender verify --repair` makes it again."
REBUILD = "Remove it with `recommender remove`, then build again from its source."
NEAR = "near"  # a search file that need not be there

# Opens a snapshot and gives its connection.
Reading = Callable[[], AbstractContextManager[sqlite3.Connection]]


class Verification:
    """Finds what is wrong with an index. What a writer changes meanwhile is not counted as wrong.

    Args:
        place: the index's folder.
        reading: opens a snapshot.
        articles: reads articles by their ids, whole; raises IndexDamagedError.
    """

    def __init__(self, place: Path, reading: Reading, articles: Callable[[Sequence[str]], dict[str, Article]]) -> None:
        self._place, self._reading, self._articles = place, reading, articles
        self._terms: Counter[int] = Counter()
        self._languages: Counter[tuple[str, int]] = Counter()

    def problems(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """Yield a sentence for each thing that is wrong.

        Args:
            on_progress: called with how many articles are done, of how many.
        """
        with self._reading() as connection:
            settings = read_settings(connection, self._place)
            self._dimensions = settings["model"]["dimensions"]
            (total,) = connection.execute("SELECT count(*) FROM articles").fetchone()
        for table in CHECKED:
            with self._reading() as connection:
                rows = connection.execute(f"PRAGMA integrity_check({table})").fetchall()
            yield from (f"The table {table} of the database: {row}." for (row,) in rows if row != "ok")
        last, done = 0, 0
        while True:
            with self._reading() as connection:
                page = connection.execute(
                    f"SELECT * FROM articles WHERE key > ? ORDER BY key LIMIT {PAGE}", (last,)
                ).fetchall()
                found = list(self._of_articles(connection, page))
            yield from found  # outside the snapshot, for which a writer would wait
            done += len(page)
            on_progress(min(done, total), total)
            if len(page) < PAGE:
                break
            last = page[-1][0]
        with self._reading() as connection:
            found = list(self._of_tables(connection, changed=read_settings(connection, self._place) != settings))
        yield from found
        with self._reading() as connection:
            found = list(self._of_search_files(connection))
        yield from found

    def _of_articles(self, connection: sqlite3.Connection, page: list[tuple[Any, ...]]) -> Iterator[str]:
        keys = json.dumps([row[0] for row in page])
        known = {
            table: {key for (key,) in connection.execute(f"SELECT key FROM {table} WHERE key IN {LIST}", (keys,))}
            for table in OF_ARTICLES
        }
        filters: dict[int, set[tuple[str, str]]] = {}
        for key, field, value in connection.execute(
            f"SELECT key, field, value FROM facets WHERE key IN {LIST}", (keys,)
        ):
            filters.setdefault(key, set()).add((field, value))
        wrong_links = {
            row[0]
            for *row, checksum in connection.execute(
                f"SELECT key, kind, position, target, url_key, title_key, checksum FROM links WHERE key IN {LIST}",
                (keys,),
            )
            if row_checksum(row) != checksum
        }
        wrong_hubness = {
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
        whole: list[tuple[int, str]] = []
        for key, id, *row, checksum in page:
            if row_checksum((key, id, *row)) != checksum or key in wrong_links:
                yield str(article_damaged_error(self._place, id))
            elif missing := [table for table in OF_ARTICLES if key not in known[table]]:
                yield f"Article {id!r} has no row in {' and '.join(missing)}. {REBUILD}"
            else:
                whole.append((key, id))
        try:
            yield from self._of_whole(connection, whole, filters, wrong_hubness)
        except IndexDamagedError:  # one by one, to tell which
            for one in whole:
                try:
                    yield from self._of_whole(connection, [one], filters, wrong_hubness)
                except IndexDamagedError as error:
                    yield str(error)

    def _of_whole(
        self,
        connection: sqlite3.Connection,
        rows: list[tuple[int, str]],
        filters: dict[int, set[tuple[str, str]]],
        wrong_hubness: set[int],
    ) -> Iterator[str]:
        """Read articles, by key and id, in full. Raises IndexDamagedError before it yields anything."""
        numbers = SignalReader(self._place, self._dimensions).check(connection, [key for key, _ in rows])
        articles = self._articles([id for _, id in rows])
        for of_article in numbers:
            self._terms.update(of_article.tolist())
        for key, id in rows:
            if id in articles and facets(articles[id]) != filters.get(key, set()):
                yield f"What article {id!r} is filtered by is not what it says. {REPAIR}"
            if key in wrong_hubness:
                yield f"The hubness of article {id!r} is damaged, and passed over. {REPAIR}"

    def _of_tables(self, connection: sqlite3.Connection, *, changed: bool) -> Iterator[str]:
        for table in (*OF_ARTICLES, "links", "facets"):
            query = f"SELECT count(*) FROM {table} WHERE key NOT IN (SELECT key FROM articles)"
            (count,) = connection.execute(query).fetchone()
            if count:
                yield f"The table {table} has {count:,} rows that belong to no article. {REPAIR}"
        wrong = miscounted = 0
        for number, language, term, articles, checked in connection.execute("SELECT * FROM terms"):
            wrong += term_sum(number, language, term, articles) != checked
            miscounted += articles != self._terms[number]
        if wrong or (miscounted and not changed):
            yield f"The counts of {max(wrong, miscounted):,} terms are not right. {REPAIR}"
        for name, content, checksum in connection.execute("SELECT name, content, checksum FROM model_files"):
            if file_checksum(name, content) != checksum:
                yield str(index_damaged_error(self._place, f"the file {name} of its model"))
        for check in (
            lambda: read_policy(connection, self._place),
            lambda: read_languages(connection, self._place),
            lambda: removed_after(connection, self._place, -1),
        ):
            try:
                check()
            except IndexDamagedError as error:
                yield str(error)
        rows = connection.execute("SELECT language, articles, assumed FROM languages").fetchall()
        counted = {(name, self._languages[name, 0], self._languages[name, 1]) for name, _ in self._languages}
        if set(rows) != counted and not changed:
            yield f"The counts of languages are not right. {REPAIR}"
        if changed:
            _log.warning("The index was changed meanwhile, so that counts were not compared. Run it again for these.")

    def _of_search_files(self, connection: sqlite3.Connection) -> Iterator[str]:
        settings = read_settings(connection, self._place)
        signals = derived_file(settings, "signals")
        optional = {NEAR} if signals and needs_lists(signals.count, self._dimensions) else {NEAR, "dense"}
        for name in DERIVED_FILES:
            file = derived_file(settings, name)
            if file is None:
                if name not in optional:
                    yield f"There is no search file for {name} yet. {REPAIR}"
            elif reason := file.invalid_reason(self._place):
                yield f"The search file {file.name} is {reason}. {REPAIR}"
        if _unnoted(connection, self._place, settings):
            yield f"The list of what was removed is not whole. {REPAIR}"


def _unnoted(connection: sqlite3.Connection, place: Path, settings: dict[str, Any]) -> bool:
    """Tell whether the search files hold articles that are gone, and not noted as removed since."""
    file = derived_file(settings, "signals")
    mapped = open_forward_index(place, file, settings["model"]["dimensions"])[0] if file else None
    if not mapped:
        return False
    known = (key for table in ("vectors", "removed") for (key,) in connection.execute(f"SELECT key FROM {table}"))
    return bool(np.setdiff1d(mapped.keys(np.arange(len(mapped))), np.fromiter(known, dtype=np.int64)).size)


def repair(connection: sqlite3.Connection, place: Path) -> None:
    """Make again, within a transaction, what follows from the articles; search files that are not whole are forgotten.

    Args:
        connection: a writer's.
        place: the index's folder.
    """
    connection.execute("REINDEX")
    count_anew(connection)
    for table in (*OF_ARTICLES, "links", "facets"):
        connection.execute(f"DELETE FROM {table} WHERE key NOT IN (SELECT key FROM articles)")
    connection.execute("DELETE FROM facets")
    reader = ArticleReader(place)
    for row in connection.execute(f"SELECT {ROW} FROM articles a"):
        with contextlib.suppress(IndexDamagedError):  # which is told, and can be removed
            insert_facets(connection, row[0], reader.card(row))
    for key, value, checksum in connection.execute("SELECT key, value, checksum FROM hubness").fetchall():
        if value is not None and hubness_checksum(key, value) != checksum:
            connection.execute("UPDATE hubness SET value = NULL WHERE key = ?", (key,))
    settings = read_settings(connection, place)
    try:
        removed_after(connection, place, 0)
        known = not _unnoted(connection, place, settings)
    except IndexDamagedError:  # what is removed is not known, but only search files need it
        connection.execute("DELETE FROM removed")
        known = False
    for name in DERIVED_FILES:
        file = derived_file(settings, name)
        if not (known and file and not file.invalid_reason(place)):
            connection.execute("DELETE FROM settings WHERE name = ?", (name,))
