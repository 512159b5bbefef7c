"""Filter conditions as SQL, on articles as `a` joined with lexical as `l`."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from recommender.filters import Condition
from recommender.store.local.database import LIST
from recommender.store.local.rows import read_languages

MAX_CACHED_CONDITIONS = 64
MAX_EXHAUSTIVE_ARTICLES = 1000  # if a condition admits no more, all admitted articles are candidates
FROM = "FROM articles a JOIN lexical l USING (key)"
_HAS_FACET = (
    f"EXISTS (SELECT 1 FROM facets f INDEXED BY facets_key WHERE f.field = ? AND f.value IN {LIST} AND f.key = a.key)"
)


def where_clause(condition: Condition, *, search: bool) -> tuple[str, list[object]]:
    """Return the WHERE clause of a condition, and its parameters.

    Args:
        condition: the condition.
        search: whether the statement searches all articles, through SQLite's indexes, and does not check keys.
    """
    clauses, parameters = ["true"], list[object]()
    if condition.language is not None:
        # The plus keeps SQLite from the index on languages, of which one usually has most articles.
        clauses.append("l.language = ?" if search else "+l.language = ?")
        parameters.append(condition.language)
    for position, (field, values) in enumerate(condition.where):
        if search and not position:
            clauses.append(f"a.key IN (SELECT key FROM facets WHERE field = ? AND value IN {LIST})")
        else:
            clauses.append(_HAS_FACET)
        parameters += [field, json.dumps(values)]
    for where in condition.without:
        clauses.append(f"NOT ({' AND '.join(_HAS_FACET for _ in where)})")
        for field, values in where:
            parameters += [field, json.dumps(values)]
    time = "a.time" if search else "+a.time"
    for operator, limit in ((">=", condition.after), ("<=", condition.before)):
        if limit is not None:
            clauses.append(f"{time} {operator} ?")
            parameters.append(limit)
    if condition.published_by is not None:
        clauses.append("(a.time IS NULL OR +a.time <= ?)")
        parameters.append(condition.published_by)
    if condition.recommendable:
        clauses.append("a.recommend")
    if condition.exclude:
        clauses.append(f"a.id NOT IN {LIST}")
        parameters.append(json.dumps(sorted(condition.exclude)))
    return " AND ".join(clauses), parameters


def filter_keys(connection: sqlite3.Connection, condition: Condition, keys: Iterable[int]) -> set[int]:
    """Return the keys of the articles among `keys` that a condition admits."""
    clause, parameters = where_clause(condition, search=False)
    rows = connection.execute(
        f"SELECT a.key {FROM} WHERE a.key IN {LIST} AND {clause}", (json.dumps(list(keys)), *parameters)
    )
    return {key for (key,) in rows}


class Selectivity:
    """How many articles conditions admit, as of one revision: all, few or others. Threads may share it.

    Args:
        connection: to the database, within a snapshot of the revision.
        index_path: the index's folder, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, index_path: Path) -> None:
        self._languages = frozenset(read_languages(connection, index_path))
        (self._last_time,) = connection.execute("SELECT max(time) FROM articles WHERE time IS NOT NULL").fetchone()
        query = "SELECT EXISTS (SELECT 1 FROM articles WHERE NOT recommend)"
        (self._has_not_recommended,) = connection.execute(query).fetchone()
        self._admitted_keys: dict[Condition, frozenset[int] | None] = {}

    def simplified(self, condition: Condition) -> Condition | None:
        """Return a condition without the restrictions that all articles meet; None if no restriction is left."""
        if condition.language is not None and self._languages == {condition.language}:
            condition = replace(condition, language=None)
        if condition.published_by is not None and (
            self._last_time is None or self._last_time <= condition.published_by
        ):
            condition = replace(condition, published_by=None)
        if condition.recommendable and not self._has_not_recommended:
            condition = replace(condition, recommendable=False)
        return condition if condition != _NO_RESTRICTION else None

    def all_keys_if_few(self, connection: sqlite3.Connection, condition: Condition) -> frozenset[int] | None:
        """Return the keys of all admitted articles; None if there are more than `MAX_EXHAUSTIVE_ARTICLES`."""
        cache = self._admitted_keys  # another thread may replace the attribute
        if condition not in cache:
            clause, parameters = where_clause(condition, search=True)
            limit = MAX_EXHAUSTIVE_ARTICLES + 1
            rows = connection.execute(f"SELECT a.key {FROM} WHERE {clause} LIMIT {limit}", parameters).fetchall()
            admitted = frozenset(key for (key,) in rows) if len(rows) < limit else None
            if len(cache) >= MAX_CACHED_CONDITIONS:
                cache = self._admitted_keys = {}
            cache[condition] = admitted
        return cache[condition]


_NO_RESTRICTION = Condition()
