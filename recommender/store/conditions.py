"""Which articles of a local index a condition wants; in SQL, on articles as `a` joined with lexical as `l`."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from recommender.errors import IndexDamagedError
from recommender.store.base import Condition, Where
from recommender.store.database import LIST, broken, countable, damaged
from recommender.store.rows import read_languages, row_checksum

KEPT = 64  # conditions whose articles are remembered
FEW = 1000  # articles; where a condition wants so few, all of them are candidates
SCANNED = 50_000  # articles; of so many the filters are read through by article, once a change and value
FROM = "FROM articles a JOIN lexical l USING (key)"
# What articles are filtered by stands twice in the database: by value, and by article.
_BY_VALUE, _BY_ARTICLE = "sqlite_autoindex_facets_1", "facets_key"
# A date stands twice in its row; one that SQLite cannot read says nothing, and parts of a second are rounded.
_DATED = "((a.time IS NULL) = (a.published IS NULL) AND coalesce(abs(strftime('%s', a.published) - a.time) <= 1, true))"


def sql(condition: Condition, *, search: bool, copy: bool = False) -> tuple[str, list[object]]:
    """Return a condition as SQL, and the values for it.

    Args:
        condition: the condition.
        search: whether it is to find articles, led by an index, and not to check some that are given by their keys.
        copy: whether to look everything up at the other of the two places at which it stands.
    """
    parts, values = ["true"], list[object]()
    if condition.language is not None:
        # The plus keeps SQLite from being led by the language, in which most articles are.
        language = "l.language = ?" if search else "+l.language = ?"
        in_index = "EXISTS (SELECT 1 FROM lexical x INDEXED BY lexical_language WHERE x.language = ? AND x.key = a.key)"
        parts.append(in_index if copy else language)
        values.append(condition.language)
    for place, (field, of_field) in enumerate(condition.where):
        if search and not place:  # see Admission.few for the copy
            parts.append(f"a.key IN ({_listed(_BY_VALUE)})")
        else:
            parts.append(_has(copy))
        values += [field, json.dumps(of_field)]
    for where in condition.without:
        clause, of_clause = _all(where, copy)
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
        held_back = (
            "EXISTS (SELECT 1 FROM articles x INDEXED BY articles_held_back WHERE x.key = a.key AND NOT x.recommend)"
        )
        parts.append(f"NOT {held_back}" if copy else "a.recommend")
    if condition.exclude:
        parts.append(f"a.id NOT IN {LIST}")
        values.append(json.dumps(sorted(condition.exclude)))
    return " AND ".join(parts), values


def _all(where: Where, copy: bool) -> tuple[str, list[object]]:
    values: list[object] = []
    for field, of_field in where:
        values += [field, json.dumps(of_field)]
    return " AND ".join(_has(copy) for _ in where), values


def _listed(by: str) -> str:
    return f"SELECT key FROM facets INDEXED BY {by} WHERE field = ? AND value IN {LIST}"


def _has(copy: bool) -> str:
    by = _BY_VALUE if copy else _BY_ARTICLE
    return f"EXISTS (SELECT 1 FROM facets f INDEXED BY {by} WHERE f.field = ? AND f.value IN {LIST} AND f.key = a.key)"


def check(connection: sqlite3.Connection, place: Path, condition: Condition, keys: Iterable[int]) -> set[int]:
    """Return those of the keys whose articles a condition wants; whoever shows one holds its card against it.

    Raises:
        IndexDamagedError: an article is missing, or is not wanted by one of the two places at which it stands what the
            condition is about, and wanted by the other.
    """

    def found(among: set[int], clause: str, values: list[object]) -> set[int]:
        rows = connection.execute(
            f"SELECT a.key {FROM} WHERE a.key IN {LIST} AND {clause}", (json.dumps(list(among)), *values)
        )
        return {key for (key,) in rows}

    wanted = set(keys)
    admitted = found(wanted, *sql(condition, search=False))
    dropped = wanted - admitted
    copy, values = sql(condition, search=False, copy=True)
    by_date = (condition.after, condition.before, condition.published_by) != (None, None, None)
    refused = (
        found(dropped, f"({copy}) IS NOT TRUE AND {_DATED if by_date else 'true'}", values) if dropped else dropped
    )
    if odd := dropped - refused:
        raise _odd(connection, place, odd)
    return admitted


def _odd(connection: sqlite3.Connection, place: Path, keys: set[int]) -> IndexDamagedError:
    """Return the error for articles that are missing, or not wanted alike at the two places."""
    rows = connection.execute(f"SELECT * FROM articles WHERE key IN {LIST}", (json.dumps(sorted(keys)),)).fetchall()
    for row in rows:
        if row_checksum(row[:-1]) != row[-1]:
            return damaged(place, row[1])
    return countable(place, "what articles are filtered by") if rows else broken(place, "the list of its articles")


def check_dates(connection: sqlite3.Connection, place: Path) -> None:
    """Check that the index of dates, by which articles are found from the newest on, is what their rows say.

    Raises:
        IndexDamagedError: it is not.
    """
    select = "SELECT time, id, key FROM articles {} WHERE time IS NOT NULL"
    listed = connection.execute(f"{select.format('INDEXED BY articles_time')} ORDER BY time, id").fetchall()
    stored = connection.execute(select.format("NOT INDEXED")).fetchall()
    try:
        whole = set(listed) == set(stored) and all(one < other for one, other in pairwise(listed))
    except TypeError:  # a time that is no number any more
        whole = False
    if not whole:
        raise countable(place, "the index of dates")


class Admission:
    """Knows which conditions want few articles, or all; what was found stays in memory until the next change."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._articles = 0
        self._change = -1
        self._languages: frozenset[str] = frozenset()
        self._last: int | None = None  # the latest date
        self._held_back = False  # whether an article is not to be recommended
        self._few: dict[Condition, frozenset[int] | None] = {}
        self._same: set[tuple[str, tuple[str, ...]]] = set()  # a field and values that were compared
        self._dates_checked = False

    def update(self, connection: sqlite3.Connection, change: int) -> None:
        """Take up what has changed in the database, whose change number is given."""
        if change == self._change:
            return
        languages = read_languages(connection, self._place)
        self._languages, self._articles = frozenset(languages), sum(articles for articles, _ in languages.values())
        (self._last,) = connection.execute("SELECT max(time) FROM articles WHERE time IS NOT NULL").fetchone()
        (self._held_back,) = connection.execute("SELECT EXISTS (SELECT 1 FROM articles WHERE NOT recommend)").fetchone()
        self._few, self._same, self._dates_checked = {}, set(), False
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

    def few(self, connection: sqlite3.Connection, condition: Condition) -> set[int] | None:
        """Return the keys of all articles that a condition wants; None if they are more than a few."""
        if condition not in self._few:
            if len(self._few) >= KEPT:
                self._few, self._same = {}, set()
            clause, values = sql(condition, search=True)
            select = f"SELECT a.key {FROM} WHERE"
            rows = connection.execute(f"{select} {clause} LIMIT {FEW + 1}", values).fetchall()
            if len(rows) <= FEW:
                by_date = (condition.after, condition.before) != (None, None)
                if by_date and not self._dates_checked and self._articles <= SCANNED:
                    check_dates(connection, self._place)
                    self._dates_checked = True
                copy, of_copy = sql(condition, search=True, copy=True)
                again = set(connection.execute(f"{select} {copy} LIMIT {FEW + 1}", of_copy))
                if again != set(rows) or not self._whole(connection, condition):
                    raise countable(self._place, "what articles are filtered by")
            self._few[condition] = frozenset(key for (key,) in rows) if len(rows) <= FEW else None
        found = self._few[condition]
        return None if found is None else set(found)

    def _whole(self, connection: sqlite3.Connection, condition: Condition) -> bool:
        """Tell whether the articles that a condition's first field leads to are the same at both places."""
        if not condition.where or self._articles > SCANNED or condition.where[0] in self._same:
            return True
        field, values = condition.where[0]
        one, other = (
            connection.execute(_listed(by), (field, json.dumps(values))).fetchall() for by in (_BY_VALUE, _BY_ARTICLE)
        )
        if set(one) != set(other):
            return False
        self._same.add(condition.where[0])
        return True


_NOTHING = Condition()
