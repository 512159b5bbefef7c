"""How an article becomes rows of the database, and is taken out again."""

import json
import math
import sqlite3
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary
from recommender.filters import facets
from recommender.store.base import Upsert
from recommender.store.local.database import countable, index_damaged_error
from recommender.text.clean import normalise_title
from recommender.text.urls import normalise_url

NONE = math.nan  # a checksum that equals no other
MOST_TERMS = 2**28  # an index of ten million articles has 2**24; what names a further one is damaged
MOST_DIMENSIONS = 65_536  # of a vector
MAX_COMMITS = 64  # that are listed; a reader that is further behind begins with empty caches
MAX_SPREAD = 1000.0  # of a model's cosines
MAX_SCALE = 100.0  # of the mean and the deviation of raw scores
COUNTED = 2_654_435_761  # what an article more adds to a term's sum
_HUBNESS = struct.Struct("<qd")
# Made once: checksums of rows are what reading titles spends most on. Bytes are written as hexadecimal digits.
_JSON = json.JSONEncoder(ensure_ascii=False, default=bytes.hex)


def row_checksum(values: Iterable[str | int | bytes | None]) -> int:
    """Return the CRC-32 of a row's values."""
    return zlib.crc32(_JSON.encode(list(values)).encode())


def vector_checksum(id: str, content_hash: bytes, change: int, blob: bytes) -> float:
    """Return the CRC-32 of a vector, which holds for this version of this article only; NONE of what is none."""
    if not (isinstance(content_hash, bytes) and isinstance(blob, bytes)):
        return NONE
    return zlib.crc32(blob, zlib.crc32(content_hash + f"{change} {id}".encode()))


def lexical_checksum(id: str, content_hash: bytes, language: str, assumed: bool, blob: bytes) -> float:
    """Return the CRC-32 of an article's terms, which hold for this version of this article only; NONE of none."""
    if not (isinstance(content_hash, bytes) and isinstance(blob, bytes) and isinstance(assumed, int)):
        return NONE
    return zlib.crc32(blob, zlib.crc32(content_hash + f"{language} {assumed:d} {id}".encode()))


def term_sum(number: int, language: str, term: str, articles: int) -> float:
    """Return what a term is checked by. It is linear in the count, so that it grows with it and need not be made anew:
    a count that was damaged before stays one that does not fit.
    """
    if not (isinstance(number, int) and isinstance(term, str) and isinstance(articles, int)):
        return NONE
    return zlib.crc32(f"{number} {language} {term}".encode()) + COUNTED * articles


def file_checksum(name: str, content: bytes) -> int:
    """Return the CRC-32 of a file that the index keeps."""
    return zlib.crc32(content, zlib.crc32(name.encode()))


def hubness_checksum(key: int, value: float) -> float:
    """Return the CRC-32 of a row of hubness."""
    try:
        return zlib.crc32(_HUBNESS.pack(key, value))
    except struct.error:  # they are no numbers
        return NONE


def pack_terms(numbers: Sequence[int], frequencies: Sequence[int]) -> bytes:
    """Return terms, by their numbers and with their frequencies, as they are stored."""
    order = np.argsort(given := np.array(numbers, dtype="<u4"))
    return given[order].tobytes() + np.array(frequencies, dtype="<u2")[order].tobytes()


def unpack_terms(blob: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of stored terms, ascending, and their frequencies; int64, shape (terms,) both."""
    count = len(blob) // 6
    numbers = np.frombuffer(blob, dtype="<u4", count=count)
    frequencies = np.frombuffer(blob, dtype="<u2", count=count, offset=4 * count)
    return numbers.astype(np.int64), frequencies.astype(np.int64)


def read_settings(connection: sqlite3.Connection, place: Path) -> dict[str, Any]:
    """Return all settings by name."""
    settings: dict[str, Any] = {}
    for name, value, checksum in connection.execute("SELECT name, value, checksum FROM settings"):
        if row_checksum((name, value)) != checksum:
            raise index_damaged_error(place, f"the setting {name!r}")
        try:
            settings[name] = json.loads(value)
        except (ValueError, TypeError, RecursionError) as error:
            raise index_damaged_error(place, f"the setting {name!r}") from error
    if settings and not _plausible(settings):
        raise index_damaged_error(place, "its settings")
    return settings


def _plausible(settings: Mapping[str, Any]) -> bool:
    """Tell whether settings are what this package writes, whoever wrote them."""
    model, hubness, scale = settings.get("model"), settings.get("hubness", {}), settings.get("scale")
    return (
        isinstance(model, dict)
        and set(model) <= {"name", "hash", "dimensions", "max_tokens", "languages", "spread"}
        and all(isinstance(model.get(name, ""), str) for name in ("name", "hash"))
        and all(isinstance(model.get(name, 1), int) and model.get(name, 1) > 0 for name in ("dimensions", "max_tokens"))
        and isinstance(model.get("spread", 1.0), float)
        and 1 <= model.get("spread", 1.0) < MAX_SPREAD
        and "dimensions" in model
        and model["dimensions"] < MOST_DIMENSIONS
        and isinstance(model.get("languages"), list | None)
        and all(isinstance(name, str) for name in model.get("languages") or ())
        and all(isinstance(settings.get(name), int) for name in ("change", "key"))
        and isinstance(settings.get("id"), str)
        and isinstance(hubness, dict)
        and isinstance(hubness.get("mean", 0.0), float)
        and math.isfinite(hubness.get("mean", 0.0))
        and (scale is None or _plausible_scale(scale))
        and isinstance(settings.get("commits"), list)
    )


def _plausible_scale(scale: object) -> bool:
    """Return whether a setting is a scale of display scores, whoever wrote it."""
    return (
        isinstance(scale, dict)
        and scale.keys() == {"mean", "deviation", "sample"}
        and all(isinstance(scale[name], float) and abs(scale[name]) < MAX_SCALE for name in ("mean", "deviation"))
        and scale["deviation"] > 0
        and isinstance(scale["sample"], list)
        and all(isinstance(id, str) for id in scale["sample"])
    )


def put_commit(connection: sqlite3.Connection) -> None:
    """Give the commit at hand a random id, the first of `commits`; at the end of every transaction.

    Readers cache what they read under this id: two indexes may have the same number of changes.
    """
    row = connection.execute("SELECT value FROM settings WHERE name = 'commits'").fetchone()
    earlier = json.loads(row[0])[: MAX_COMMITS - 1] if row else []
    put_setting(connection, "commits", [token_hex(8), *earlier])


def put_setting(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Set a setting to a value that JSON can hold."""
    row = (name, json.dumps(value))
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (*row, row_checksum(row)))


def checked_terms(rows: Iterable[tuple[Any, ...]], place: Path) -> Iterator[tuple[Any, ...]]:
    """Give rows of terms (number, language, term, articles) without their last column, which they are checked by."""
    for *row, checked in rows:
        if term_sum(*row) != checked:
            raise countable(place, f"the count of the term {row[2]!r}")
        yield tuple(row)


def read_languages(connection: sqlite3.Connection, place: Path) -> dict[str, tuple[int, int]]:
    """Return for each language how many articles are in it, and how many of those by assumption; the largest first."""
    rows = connection.execute("SELECT language, articles, assumed, checksum FROM languages ORDER BY 2 DESC, 1")
    found = {}
    for *row, checksum in rows:
        if row_checksum(row) != checksum or not (isinstance(row[1], int) and isinstance(row[2], int)):
            raise countable(place, "the counts of languages")
        found[row[0]] = (row[1], row[2])
    return found


def removed_after(connection: sqlite3.Connection, place: Path, change: int) -> list[int]:
    """Return the keys that were removed since a change."""
    rows = connection.execute("SELECT key, change, checksum FROM removed WHERE change > ?", (change,)).fetchall()
    if any(row_checksum(row[:2]) != row[2] or not isinstance(row[0], int) for row in rows):
        raise countable(place, "the list of what was removed")
    return [key for key, _, _ in rows]


def put_removed(connection: sqlite3.Connection, keys: Iterable[int], change: int) -> None:
    """Note keys as removed by a change."""
    rows = [(key, change) for key in keys]
    connection.executemany("INSERT INTO removed VALUES (?, ?, ?)", [(*row, row_checksum(row)) for row in rows])


def delete_articles(
    connection: sqlite3.Connection,
    keys: Iterable[int],
    tables: Sequence[str] = ("articles", "texts", "vectors", "lexical", "hubness", "links", "facets"),
) -> None:
    """Delete the rows of articles from these tables."""
    for table in tables:
        connection.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in keys])


def insert_article(
    connection: sqlite3.Connection, key: int, change: Upsert, number: int, signals: tuple[bytes, bytes] | None = None
) -> None:
    """Insert an article under a key that is free, as part of the change `number`.

    Its signals are its vector and its terms, packed; without them the rows that it has of these stay.
    """
    article = change.article
    content_hash = article.content_hash
    row = (
        key,
        article.id,
        article.title,
        article.url,
        article.published.isoformat() if article.published else None,
        article.section,
        _JSON.encode(article.tags),
        article.language,
        _JSON.encode(dict(article.metadata)),
        change.source,
        content_hash,
        article.record_hash,
        int(article.recommend),
        int(article.block),
        normalise_url(article.url) if article.url else None,
        normalise_title(article.title),
        seconds(article.published) if article.published else None,
        number,
    )
    places = ", ".join("?" * (len(row) + 1))
    connection.execute(f"INSERT INTO articles VALUES ({places})", (*row, row_checksum(row)))
    connection.execute("INSERT INTO texts VALUES (?, ?)", (key, article.text))
    if signals:
        vector, terms = signals
        connection.execute("INSERT INTO hubness VALUES (?, NULL, NULL)", (key,))
        connection.execute(
            "INSERT INTO vectors VALUES (?, ?, ?, ?)",
            (key, vector, number, vector_checksum(article.id, content_hash, number, vector)),
        )
        checksum = lexical_checksum(article.id, content_hash, change.language, change.assumed, terms)
        connection.execute(
            "INSERT INTO lexical VALUES (?, ?, ?, ?, ?)", (key, change.language, change.assumed, terms, checksum)
        )
    links: list[tuple[int | str | None, ...]] = [
        (key, kind, position, target, normalise_url(target), normalise_title(target))
        for kind, targets in (("related", article.related), ("links", article.links))
        for position, target in enumerate(targets)
    ]
    connection.executemany(
        "INSERT INTO links VALUES (?, ?, ?, ?, ?, ?, ?)", [(*row, row_checksum(row)) for row in links]
    )
    insert_facets(connection, key, article)


def insert_facets(connection: sqlite3.Connection, key: int, article: Article | ArticleSummary) -> None:
    """Insert what an article is filtered by."""
    connection.executemany(
        "INSERT INTO facets VALUES (?, ?, ?)", [(field, value, key) for field, value in sorted(facets(article))]
    )


def seconds(moment: datetime) -> int:
    """Return a date in whole seconds since 1970."""
    return math.floor(moment.timestamp())


def number_terms(connection: sqlite3.Connection, place: Path, changes: Iterable[Upsert]) -> dict[str, dict[str, int]]:
    """Return by language the number of each term of the changes; a new term gets the next one."""
    wanted: dict[str, set[str]] = {}
    for change in changes:
        wanted.setdefault(change.language, set()).update(change.terms)
    numbers: dict[str, dict[str, int]] = {}
    for language, terms in sorted(wanted.items()):
        known = connection.execute(
            "SELECT term, number FROM terms WHERE language = ? AND term IN (SELECT value FROM json_each(?))",
            (language, json.dumps(list(terms))),
        )
        numbers[language] = dict(known.fetchall())
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM terms").fetchone()
    if last >= MOST_TERMS:
        raise index_damaged_error(place, f"the number of the term {last}")
    for language, lookup_terms in numbers.items():
        fresh = {term: number for number, term in enumerate(sorted(wanted[language] - lookup_terms.keys()), last + 1)}
        last += len(fresh)
        connection.executemany(
            "INSERT INTO terms VALUES (?, ?, ?, ?, ?)",
            [(number, language, term, 0, term_sum(number, language, term, 0)) for term, number in fresh.items()],
        )
        lookup_terms.update(fresh)
    return numbers


class Counts:
    """What a batch adds to and takes from the counts of terms and languages."""

    def __init__(self) -> None:
        self._terms: Counter[int] = Counter()
        self._languages: Counter[tuple[str, bool]] = Counter()

    def add(self, language: str, assumed: bool, numbers: Iterable[int]) -> None:
        """Count an article that comes."""
        self._terms.update(numbers)
        self._languages[language, assumed] += 1

    def take(self, language: str, assumed: bool, numbers: Iterable[int]) -> None:
        """Count an article that goes."""
        self._terms.subtract(numbers)
        self._languages[language, assumed] -= 1

    def write(self, connection: sqlite3.Connection, place: Path) -> None:
        """Bring the tables up to date."""
        moved = sorted((number, by) for number, by in self._terms.items() if by)
        connection.executemany(
            f"UPDATE terms SET articles = articles + ?1, checked = checked + ?1 * {COUNTED} WHERE number = ?2",
            [(by, number) for number, by in moved],
        )
        connection.executemany(
            "DELETE FROM terms WHERE number = ? AND articles <= 0", [(number,) for number, by in moved if by < 0]
        )
        languages = read_languages(connection, place)
        for (language, assumed), by in self._languages.items():
            articles, by_assumption = languages.get(language, (0, 0))
            languages[language] = (articles + by, by_assumption + (by if assumed else 0))
        put_languages(connection, languages)

    def of_terms(self) -> Mapping[int, int]:
        """Return by term number in how many articles each stands."""
        return self._terms

    def of_languages(self) -> dict[str, tuple[int, int]]:
        """Return what `read_languages` does."""
        names = sorted({name for name, _ in self._languages})
        assumed = {name: self._languages[name, True] for name in names}
        return {name: (self._languages[name, False] + assumed[name], assumed[name]) for name in names}


def put_languages(connection: sqlite3.Connection, languages: Mapping[str, tuple[int, int]]) -> None:
    """Store the counts of languages, in place of those before."""
    rows = [(language, *counts) for language, counts in languages.items() if counts[0] > 0]
    connection.execute("DELETE FROM languages")
    connection.executemany("INSERT INTO languages VALUES (?, ?, ?, ?)", [(*row, row_checksum(row)) for row in rows])


def count(connection: sqlite3.Connection) -> Counts:
    """Count terms and languages from the rows of the articles."""
    counts = Counts()
    for language, assumed, blob in connection.execute("SELECT language, assumed, terms FROM lexical"):
        counts.add(language, bool(assumed), unpack_terms(blob)[0].tolist())
    return counts


def count_anew(connection: sqlite3.Connection) -> None:
    """Store the counts of terms and languages anew, from the rows of the articles."""
    counts = count(connection)
    of_terms = counts.of_terms()
    rows = connection.execute("SELECT number, language, term FROM terms").fetchall()
    made = []
    for number, language, term in rows:
        articles = of_terms.get(number, 0)
        made.append((articles, term_sum(number, language, term, articles), number))
    connection.executemany("UPDATE terms SET articles = ?, checked = ? WHERE number = ?", made)
    connection.execute("DELETE FROM terms WHERE articles = 0")
    put_languages(connection, counts.of_languages())
