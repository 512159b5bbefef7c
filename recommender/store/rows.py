"""How an article becomes rows of the database, and is taken out again."""

import json
import math
import sqlite3
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.article import facets, normalise_title, normalise_url
from recommender.store.base import Change

_JSON = json.JSONEncoder(ensure_ascii=False)  # made once: checksums of rows are what reading titles spends most on


def row_checksum(values: Sequence[str | int | bytes | None]) -> int:
    """Return the CRC-32 of a row's values."""
    plain = [value.hex() if isinstance(value, bytes) else value for value in values]
    return zlib.crc32(_JSON.encode(plain).encode())


def vector_checksum(id: str, content_hash: bytes, blob: bytes) -> int:
    """Return the CRC-32 of a vector, which holds for this version of this article only."""
    return zlib.crc32(blob, zlib.crc32(content_hash + id.encode()))


def lexical_checksum(id: str, content_hash: bytes, language: str, blob: bytes) -> int:
    """Return the CRC-32 of an article's terms, which hold for this version of this article only."""
    return zlib.crc32(blob, zlib.crc32(content_hash + f"{language} {id}".encode()))


def file_checksum(name: str, content: bytes) -> int:
    """Return the CRC-32 of a file that the index keeps."""
    return zlib.crc32(content, zlib.crc32(name.encode()))


def hubness_checksum(key: int, value: float, reach: float) -> int:
    """Return the CRC-32 of a row of hubness."""
    return zlib.crc32(struct.pack("<qdd", key, value, reach))


def pack_terms(frequencies: Mapping[int, int]) -> bytes:
    """Return terms, by their numbers, as they are stored."""
    numbers = sorted(frequencies)
    counts = [frequencies[number] for number in numbers]
    return np.array(numbers, dtype="<u4").tobytes() + np.array(counts, dtype="<u2").tobytes()


def unpack_terms(blob: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of stored terms, ascending, and their frequencies; int64, shape (terms,) both."""
    count = len(blob) // 6
    numbers = np.frombuffer(blob, dtype="<u4", count=count)
    frequencies = np.frombuffer(blob, dtype="<u2", count=count, offset=4 * count)
    return numbers.astype(np.int64), frequencies.astype(np.int64)


def read_settings(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return all settings by name."""
    return {name: json.loads(value) for name, value in connection.execute("SELECT name, value FROM settings")}


def put_setting(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Set a setting to a value that JSON can hold."""
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))


def delete_articles(
    connection: sqlite3.Connection,
    keys: Iterable[int],
    tables: Sequence[str] = ("articles", "texts", "vectors", "lexical", "hubness", "links", "facets"),
) -> None:
    """Delete the rows of articles from these tables."""
    for table in tables:
        connection.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in keys])


def insert_article(connection: sqlite3.Connection, key: int, change: Change, vector: bytes | None, number: int) -> None:
    """Insert an article under a key that is free, as part of the change `number`; without vector its row stays."""
    article = change.article
    content_hash = article.content_hash
    row = (
        key,
        article.id,
        article.title,
        article.url,
        article.published.isoformat() if article.published else None,
        article.section,
        json.dumps(article.tags, ensure_ascii=False),
        article.language,
        json.dumps(dict(article.metadata), ensure_ascii=False),
        change.source,
        content_hash,
        article.record_hash,
        int(article.recommend),
        int(article.block),
    )
    keys = (normalise_url(article.url) if article.url else None, normalise_title(article.title))
    time = seconds(article.published) if article.published else None
    places = ", ".join("?" * (len(row) + 5))
    connection.execute(f"INSERT INTO articles VALUES ({places})", (*row, row_checksum(row), *keys, time, number))
    connection.execute("INSERT INTO texts VALUES (?, ?)", (key, article.text))
    if vector is not None:
        connection.execute("INSERT INTO hubness VALUES (?, NULL, NULL, NULL)", (key,))
        connection.execute(
            "INSERT INTO vectors VALUES (?, ?, ?, ?)",
            (key, vector, number, vector_checksum(article.id, content_hash, vector)),
        )
    links = [
        (key, kind, position, target, normalise_url(target), normalise_title(target))
        for kind, targets in (("related", article.related), ("links", article.links))
        for position, target in enumerate(targets)
    ]
    connection.executemany("INSERT INTO links VALUES (?, ?, ?, ?, ?, ?)", links)
    connection.executemany(
        "INSERT INTO facets VALUES (?, ?, ?)", [(field, value, key) for field, value in sorted(facets(article))]
    )


def seconds(moment: datetime) -> int:
    """Return a date in whole seconds since 1970."""
    return math.floor(moment.timestamp())


def number_terms(connection: sqlite3.Connection, changes: Iterable[Change]) -> dict[tuple[str, str], int]:
    """Return the number of each (language, term) of the changes; a new term gets the next one."""
    wanted: dict[str, set[str]] = {}
    for change in changes:
        wanted.setdefault(change.language, set()).update(change.terms)
    numbers: dict[tuple[str, str], int] = {}
    for language, terms in sorted(wanted.items()):
        known = connection.execute(
            "SELECT term, number FROM terms WHERE language = ? AND term IN (SELECT value FROM json_each(?))",
            (language, json.dumps(list(terms))),
        )
        numbers.update({(language, term): number for term, number in known})
    new = sorted({(language, term) for language, terms in wanted.items() for term in terms} - numbers.keys())
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM terms").fetchone()
    fresh = [(number, language, term) for number, (language, term) in enumerate(new, start=last + 1)]
    connection.executemany("INSERT INTO terms VALUES (?, ?, ?, 0)", fresh)
    numbers.update({(language, term): number for number, language, term in fresh})
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

    def write(self, connection: sqlite3.Connection) -> None:
        """Bring the tables up to date."""
        moved = sorted((number, by) for number, by in self._terms.items() if by)
        connection.executemany(
            "UPDATE terms SET articles = max(articles + ?, 0) WHERE number = ?", [(by, number) for number, by in moved]
        )
        connection.executemany(
            "DELETE FROM terms WHERE number = ? AND articles = 0", [(number,) for number, by in moved if by < 0]
        )
        for (language, assumed), by in self._languages.items():
            connection.execute(
                "INSERT INTO languages VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE "
                "SET articles = articles + ?2, assumed = assumed + ?3",
                (language, by, by if assumed else 0),
            )
        connection.execute("DELETE FROM languages WHERE articles = 0")


def count_anew(connection: sqlite3.Connection) -> None:
    """Count terms and languages from the rows of the articles."""
    counts = Counts()
    for language, assumed, blob in connection.execute("SELECT language, assumed, terms FROM lexical"):
        counts.add(language, assumed, unpack_terms(blob)[0].tolist())
    connection.execute("UPDATE terms SET articles = 0")
    connection.execute("DELETE FROM languages")
    counts.write(connection)
    connection.execute("DELETE FROM terms WHERE articles = 0")
