"""Brings an index of an earlier format up to date: in place, in one transaction, and without its sources."""

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recommender.errors import IndexFormatError
from recommender.store import database
from recommender.store.rows import NONE, lexical_checksum, put_rows, row_checksum, term_sum, vector_checksum

_Rows = Iterator[tuple[Any, ...]]
_SEARCH_FILES = ("dense", "terms", "signals")


def migrate(connection: sqlite3.Connection, place: Path) -> bool:
    """Bring an index up to date if its format is an earlier one; tell whether it was. Its search files are then gone.

    Args:
        connection: a writer's, outside a transaction.
        place: the index's folder, for messages.

    Raises:
        IndexFormatError: it is of no format that can be.
    """
    version = database.format_of(connection, place)
    if version is None or version == database.FORMAT:
        return False
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE type NOT IN ('table', 'index')").fetchone():
        raise IndexFormatError(f"{place} holds a database that is not an index of recommender. Name another folder.")
    connection.execute("PRAGMA cache_spill = ON")  # nobody can read it before it is done; and it may be large
    connection.execute("BEGIN IMMEDIATE")
    try:
        _from_4(connection)
        put_rows(connection)
        connection.execute(f"PRAGMA user_version = {database.FORMAT}")
        database.format_of(connection, place)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("PRAGMA cache_spill = OFF")
    return True


def _from_4(connection: sqlite3.Connection) -> None:
    """Give a checksum to the rows that had none, and to the columns that none covered."""
    tables: dict[str, Callable[[sqlite3.Connection], _Rows]] = {
        "settings": lambda c: (
            (*row, row_checksum(row))
            for row in c.execute("SELECT name, value FROM old_settings")
            if row[0] not in _SEARCH_FILES
        ),
        "languages": lambda c: (
            (*row, row_checksum(row)) for row in c.execute("SELECT language, articles, assumed FROM old_languages")
        ),
        "terms": lambda c: (
            (*row, term_sum(*row)) for row in c.execute("SELECT number, language, term, articles FROM old_terms")
        ),
        "links": lambda c: (
            (*row, row_checksum(row))
            for row in c.execute("SELECT key, kind, position, target, url_key, title_key FROM old_links")
        ),
        "removed": lambda c: ((*row, row_checksum(row)) for row in c.execute("SELECT key, change FROM old_removed")),
        "lexical": _lexical_from_4,
        "vectors": _vectors_from_4,
        "articles": _articles_from_4,
    }
    statements = [statement.strip() for statement in database.SCHEMA.split(";\n")]
    for table in tables:
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
        connection.execute(next(made for made in statements if made.startswith(f"CREATE TABLE {table} ")))
    for table, rows in tables.items():
        width = len(connection.execute(f"PRAGMA table_info({table})").fetchall())
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows(connection))
    for table in tables:
        connection.execute(f"DROP TABLE old_{table}")
        for made in statements:
            if made.startswith("CREATE INDEX") and f" ON {table} " in made:
                connection.execute(made)
    connection.execute("DELETE FROM removed")  # of search files that are not known any more


# What was damaged before gets a checksum that no row has: it is not to pass for whole.


def _articles_from_4(connection: sqlite3.Connection) -> _Rows:
    for *row, checksum, url_key, title_key, time, change in connection.execute("SELECT * FROM old_articles"):
        made = (*row, url_key, title_key, time, change)
        yield (*made, row_checksum(made) if row_checksum(row) == checksum else NONE)


def _vectors_from_4(connection: sqlite3.Connection) -> _Rows:
    rows = connection.execute(
        "SELECT v.key, v.vector, v.change, v.checksum, a.id, a.content_hash "
        "FROM old_vectors v JOIN old_articles a USING (key)"
    )
    for key, vector, change, checksum, id, content_hash in rows:
        plain = isinstance(vector, bytes) and isinstance(content_hash, bytes) and isinstance(id, str)
        whole = plain and zlib.crc32(vector, zlib.crc32(content_hash + id.encode())) == checksum
        yield key, vector, change, vector_checksum(id, content_hash, change, vector) if whole else NONE


def _lexical_from_4(connection: sqlite3.Connection) -> _Rows:
    rows = connection.execute(
        "SELECT l.key, l.language, l.assumed, l.terms, l.checksum, a.id, a.content_hash "
        "FROM old_lexical l JOIN old_articles a USING (key)"
    )
    for key, language, assumed, terms, checksum, id, content_hash in rows:
        plain = isinstance(terms, bytes) and isinstance(content_hash, bytes)
        whole = plain and zlib.crc32(terms, zlib.crc32(content_hash + f"{language} {id}".encode())) == checksum
        made = lexical_checksum(id, content_hash, language, assumed, terms) if whole else NONE
        yield key, language, assumed, terms, made
