"""Which articles of a local index a condition wants; in SQL, on articles as `a` joined with lexical as `l`."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace

from recommender.store.base import Condition, Where
from recommender.store.database import LIST

KEPT = 64  # conditions whose articles are remembered
FEW = 1000  # articles; where a condition wants so few, all of them are candidates
FROM = "FROM articles a JOIN lexical l USING (key)"


def sql(condition: Condition, *, search: bool) -> tuple[str, list[object]]:
    """Return a condition as SQL, and the values for it.

    Args:
        condition: the condition.
        search: whether it is to find articles, led by an index, and not to check some that are given by their keys.
    """
    parts, values = ["true"], list[object]()
    if condition.language is not None:
        # The plus keeps SQLite from being led by the language, in which most articles are.
        parts.append("l.language = ?" if search else "+l.language = ?")
        values.append(condition.language)
    for place, (field, of_field) in enumerate(condition.where):
        if search and not place:
            parts.append(f"a.key IN (SELECT key FROM facets WHERE field = ? AND value IN {LIST})")
        else:
            parts.append(_has())
        values += [field, json.dumps(of_field)]
    for where in condition.without:
        clause, of_clause = _all(where)
        parts.append(f"NOT ({clause})")
        values += of_clause
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


def _all(where: Where) -> tuple[str, list[object]]:
    values: list[object] = []
    for field, of_field in where:
        values += [field, json.dumps(of_field)]
    return " AND ".join(_has() for _ in where), values


def _has() -> str:
    return f"EXISTS (SELECT 1 FROM facets f WHERE f.field = ? AND f.value IN {LIST} AND f.key = a.key)"


class Admission:
    """Checks articles against conditions within a snapshot; what was found stays in memory until the next change."""

    def __init__(self) -> None:
        self._change = -1
        self._languages: frozenset[str] = frozenset()
        self._last: int | None = None  # the latest date
        self._held_back = False  # whether an article is not to be recommended
        self._few: dict[Condition, frozenset[int] | None] = {}

    def update(self, connection: sqlite3.Connection, change: int) -> None:
        """Take up what has changed in the database, whose change number is given."""
        if change == self._change:
            return
        self._languages = frozenset(name for (name,) in connection.execute("SELECT language FROM languages"))
        (self._last,) = connection.execute("SELECT max(time) FROM articles WHERE time IS NOT NULL").fetchone()
        (self._held_back,) = connection.execute("SELECT EXISTS (SELECT 1 FROM articles WHERE NOT recommend)").fetchone()
        self._few = {}
        self._change = change

    def needed(self, condition: Condition) -> Condition | None:
        """Return a condition without what all articles meet; None if nothing is left."""
        if condition.language is not None and self._languages == {condition.language}:
            condition = replace(condition, language=None)
        if condition.published_by is not None and (self._last is None or self._last <= condition.published_by):
            condition = replace(condition, published_by=None)
        if condition.recommendable and not self._held_back:
            condition = replace(condition, recommendable=False)
        return condition if condition != _NOTHING else None

    def check(self, connection: sqlite3.Connection, condition: Condition, keys: Iterable[int]) -> set[int]:
        """Return those of the keys whose articles a condition wants."""
        clause, values = sql(condition, search=False)
        rows = connection.execute(
            f"SELECT a.key {FROM} WHERE a.key IN {LIST} AND {clause}", (json.dumps(list(keys)), *values)
        )
        return {key for (key,) in rows}

    def few(self, connection: sqlite3.Connection, condition: Condition) -> set[int] | None:
        """Return the keys of all articles that a condition wants; None if they are more than a few."""
        if condition not in self._few:
            if len(self._few) >= KEPT:
                self._few = {}
            clause, values = sql(condition, search=True)
            rows = connection.execute(f"SELECT a.key {FROM} WHERE {clause} LIMIT {FEW + 1}", values).fetchall()
            self._few[condition] = frozenset(key for (key,) in rows) if len(rows) <= FEW else None
        found = self._few[condition]
        return None if found is None else set(found)


_NOTHING = Condition()
