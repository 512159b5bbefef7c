"""Filter conditions on articles of a local index, in SQL: on articles as `a` joined with lexical as `l`."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from recommender.filters import Condition
from recommender.store.local.database import LIST
from recommender.store.local.rows import read_languages

KEPT = 64  # conditions whose articles are remembered
FEW = 1000  # articles; where a condition admits so few, all of them are candidates
FROM = "FROM articles a JOIN lexical l USING (key)"
_HAS = "EXISTS (SELECT 1 FROM facets f INDEXED BY facets_key WHERE f.field = ? AND f.value IN {list} AND f.key = a.key)"


def sql(condition: Condition, *, search: bool) -> tuple[str, list[object]]:
    """Return a condition as SQL, and the values for it.

    Args:
        condition: the condition.
        search: whether the statement looks articles up through an index, and does not check articles named by key.
    """
    parts, values = ["true"], list[object]()
    if condition.language is not None:
        # The plus keeps SQLite from being led by the language, in which most articles are.
        parts.append("l.language = ?" if search else "+l.language = ?")
        values.append(condition.language)
    for position, (field, of_field) in enumerate(condition.where):
        if search and not position:
            parts.append(f"a.key IN (SELECT key FROM facets WHERE field = ? AND value IN {LIST})")
        else:
            parts.append(_HAS.format(list=LIST))
        values += [field, json.dumps(of_field)]
    for where in condition.without:
        parts.append(f"NOT ({' AND '.join(_HAS.format(list=LIST) for _ in where)})")
        for field, of_field in where:
            values += [field, json.dumps(of_field)]
    time = "a.time" if search else "+a.time"
    for operator, limit in ((">=", condition.after), ("<=", condition.before)):
        if limit is not None:
            parts.append(f"{time} {operator} ?")
            values.append(limit)
    if condition.published_by is not None:
        parts.append("(a.time IS NULL OR +a.time <= ?)")
        values.append(condition.published_by)
    if condition.recommendable:
        parts.append("a.recommend")
    if condition.exclude:
        parts.append(f"a.id NOT IN {LIST}")
        values.append(json.dumps(sorted(condition.exclude)))
    return " AND ".join(parts), values


def check(connection: sqlite3.Connection, condition: Condition, keys: Iterable[int]) -> set[int]:
    """Return those of the keys whose articles a condition admits."""
    clause, values = sql(condition, search=False)
    rows = connection.execute(
        f"SELECT a.key {FROM} WHERE a.key IN {LIST} AND {clause}", (json.dumps(list(keys)), *values)
    )
    return {key for (key,) in rows}


class Admission:
    """Which conditions admit few articles, or all, as of one revision. Threads may share it.

    Args:
        connection: to the database, within a snapshot of the revision.
        place: the index's folder, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, place: Path) -> None:
        self._languages = frozenset(read_languages(connection, place))
        (self._last,) = connection.execute("SELECT max(time) FROM articles WHERE time IS NOT NULL").fetchone()
        (self._held_back,) = connection.execute("SELECT EXISTS (SELECT 1 FROM articles WHERE NOT recommend)").fetchone()
        self._few: dict[Condition, frozenset[int] | None] = {}

    def needed(self, condition: Condition) -> Condition | None:
        """Return a condition without what all articles meet; None if nothing is left."""
        if condition.language is not None and self._languages == {condition.language}:
            condition = replace(condition, language=None)
        if condition.published_by is not None and (self._last is None or self._last <= condition.published_by):
            condition = replace(condition, published_by=None)
        if condition.recommendable and not self._held_back:
            condition = replace(condition, recommendable=False)
        return condition if condition != _NOTHING else None

    def few(self, connection: sqlite3.Connection, condition: Condition) -> frozenset[int] | None:
        """Return the keys of all articles that a condition admits; None if they are more than a few."""
        remembered = self._few  # another thread may begin a new one
        if condition not in remembered:
            clause, values = sql(condition, search=True)
            rows = connection.execute(f"SELECT a.key {FROM} WHERE {clause} LIMIT {FEW + 1}", values).fetchall()
            admitted = frozenset(key for (key,) in rows) if len(rows) <= FEW else None
            if len(remembered) >= KEPT:
                remembered = self._few = {}
            remembered[condition] = admitted
        return remembered[condition]


_NOTHING = Condition()
