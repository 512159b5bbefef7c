"""How an article becomes rows of the database, and is taken out again."""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from recommender.article import normalise_title, normalise_url
from recommender.store.base import Change


def row_checksum(values: Sequence[str | int | bytes | None]) -> int:
    """Return the CRC-32 of a row's values."""
    plain = [value.hex() if isinstance(value, bytes) else value for value in values]
    return zlib.crc32(json.dumps(plain, ensure_ascii=False).encode())


def vector_checksum(id: str, content_hash: bytes, blob: bytes) -> int:
    """Return the CRC-32 of a vector, which holds for this version of this article only."""
    return zlib.crc32(blob, zlib.crc32(content_hash + id.encode()))


def read_settings(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return all settings by name."""
    return {name: json.loads(value) for name, value in connection.execute("SELECT name, value FROM settings")}


def put_setting(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Set a setting to a value that JSON can hold."""
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))


def delete_articles(
    connection: sqlite3.Connection,
    keys: Iterable[int],
    tables: Sequence[str] = ("articles", "texts", "vectors", "links"),
) -> None:
    """Delete the rows of articles from these tables."""
    for table in tables:
        connection.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in keys])


def insert_article(connection: sqlite3.Connection, key: int, change: Change, number: int) -> None:
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
    )
    keys = (normalise_url(article.url) if article.url else None, normalise_title(article.title))
    connection.execute(
        "INSERT INTO articles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, *keys, row_checksum(row)),
    )
    connection.execute("INSERT INTO texts VALUES (?, ?)", (key, article.text))
    if change.vector is not None:
        blob = change.vector.astype("<f2").tobytes()
        connection.execute(
            "INSERT INTO vectors VALUES (?, ?, ?, ?)",
            (key, blob, number, vector_checksum(article.id, content_hash, blob)),
        )
    for position, target in enumerate(article.related):
        link = (key, position, target, normalise_url(target), normalise_title(target))
        connection.execute("INSERT INTO links VALUES (?, ?, ?, ?, ?)", link)
