"""Rows of the database: packing, checksums, inserting, deleting and counting."""

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
from recommender.store.local.database import LIST, derived_data_damaged_error, index_damaged_error
from recommender.text.clean import normalise_title
from recommender.text.urls import normalise_url

INVALID_CHECKSUM = math.nan  # unequal to every checksum, itself included
MAX_TERM_ID = 2**28  # exclusive; an index of ten million articles has 2**24 terms, so a larger id is damage
MAX_DIMENSIONS = 65_536  # exclusive
MAX_COMMITS = 64  # listed in the settings; a reader that is further behind starts with empty caches
MAX_COSINE_SPREAD = 1000.0
MAX_SCALE = 100.0  # mean and deviation of raw scores
DOCUMENT_FREQUENCY_STEP = 2_654_435_761  # added to a term's checksum per article
ARTICLE_TABLES = ("articles", "texts", "vectors", "lexical", "hubness", "links", "facets")
_HUBNESS = struct.Struct("<qd")
# One encoder for all rows: checksums take most of the time of reading summaries. Bytes become hexadecimal digits.
_JSON = json.JSONEncoder(ensure_ascii=False, default=bytes.hex)


def row_checksum(values: Iterable[str | int | bytes | None]) -> int:
    """Return the CRC-32 of a row's values."""
    return zlib.crc32(_JSON.encode(list(values)).encode())


def vector_checksum(id: str, content_hash: bytes, revision: int, blob: bytes) -> float:
    """Return the CRC-32 that binds a vector to one version of one article; `INVALID_CHECKSUM` for wrong types."""
    if not (isinstance(content_hash, bytes) and isinstance(blob, bytes)):
        return INVALID_CHECKSUM
    return zlib.crc32(blob, zlib.crc32(content_hash + f"{revision} {id}".encode()))


def lexical_checksum(id: str, content_hash: bytes, language: str, assumed: bool, blob: bytes) -> float:
    """Return the CRC-32 that binds terms to one version of one article; `INVALID_CHECKSUM` for wrong types."""
    if not (isinstance(content_hash, bytes) and isinstance(blob, bytes) and isinstance(assumed, int)):
        return INVALID_CHECKSUM
    return zlib.crc32(blob, zlib.crc32(content_hash + f"{language} {assumed:d} {id}".encode()))


def term_checksum(term_id: int, language: str, term: str, document_frequency: int) -> float:
    """Return the checksum of a term, linear in its document frequency; `INVALID_CHECKSUM` for wrong types.

    An update adds to both, so a document frequency that was damaged before the update stays detectable.
    """
    if not (isinstance(term_id, int) and isinstance(term, str) and isinstance(document_frequency, int)):
        return INVALID_CHECKSUM
    return zlib.crc32(f"{term_id} {language} {term}".encode()) + DOCUMENT_FREQUENCY_STEP * document_frequency


def file_checksum(name: str, content: bytes) -> float:
    """Return the CRC-32 of a model file or document; `INVALID_CHECKSUM` for wrong types."""
    if not (isinstance(name, str) and isinstance(content, bytes)):
        return INVALID_CHECKSUM
    return zlib.crc32(content, zlib.crc32(name.encode()))


def hubness_checksum(key: int, value: float) -> float:
    """Return the CRC-32 of a row of hubness; `INVALID_CHECKSUM` for wrong types."""
    try:
        return zlib.crc32(_HUBNESS.pack(key, value))
    except struct.error:
        return INVALID_CHECKSUM


def pack_terms(term_ids: Sequence[int], frequencies: Sequence[int]) -> bytes:
    """Return terms in their stored form: uint32 ids, ascending, then uint16 frequencies."""
    ids = np.array(term_ids, dtype="<u4")
    order = np.argsort(ids)
    return ids[order].tobytes() + np.array(frequencies, dtype="<u2")[order].tobytes()


def unpack_terms(blob: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids of stored terms, ascending, and their frequencies: int64, shape (terms,) both."""
    count = len(blob) // 6
    term_ids = np.frombuffer(blob, dtype="<u4", count=count)
    frequencies = np.frombuffer(blob, dtype="<u2", count=count, offset=4 * count)
    return term_ids.astype(np.int64), frequencies.astype(np.int64)


def read_settings(connection: sqlite3.Connection, index_path: Path) -> dict[str, Any]:
    """Return all settings by name.

    Raises:
        IndexDamagedError: a checksum or a value is wrong.
    """
    settings: dict[str, Any] = {}
    for name, value, checksum in connection.execute("SELECT name, value, checksum FROM settings"):
        if row_checksum((name, value)) != checksum:
            raise index_damaged_error(index_path, f"the setting {name!r}")
        try:
            settings[name] = json.loads(value)
        except (ValueError, TypeError, RecursionError) as error:
            raise index_damaged_error(index_path, f"the setting {name!r}") from error
    if settings and not _are_valid_settings(settings):
        raise index_damaged_error(index_path, "its settings")
    return settings


def _are_valid_settings(settings: Mapping[str, Any]) -> bool:
    """Return whether settings have the types and ranges that this package writes: anyone can forge a checksum."""
    model, hubness, scale = settings.get("model"), settings.get("hubness", {}), settings.get("scale")
    return (
        isinstance(model, dict)
        and set(model) <= {"name", "hash", "dimensions", "max_tokens", "languages", "spread"}
        and all(isinstance(model.get(name, ""), str) for name in ("name", "hash"))
        and all(isinstance(model.get(name, 1), int) and model.get(name, 1) > 0 for name in ("dimensions", "max_tokens"))
        and isinstance(model.get("spread", 1.0), float)
        and 1 <= model.get("spread", 1.0) < MAX_COSINE_SPREAD
        and "dimensions" in model
        and model["dimensions"] < MAX_DIMENSIONS
        and isinstance(model.get("languages"), list | None)
        and all(isinstance(name, str) for name in model.get("languages") or ())
        and all(isinstance(settings.get(name), int) for name in ("revision", "next_key"))
        and isinstance(settings.get("id"), str)
        and isinstance(hubness, dict)
        and isinstance(hubness.get("mean", 0.0), float)
        and math.isfinite(hubness.get("mean", 0.0))
        and (scale is None or _is_valid_scale(scale))
        and isinstance(settings.get("commits"), list)
    )


def _is_valid_scale(scale: object) -> bool:
    """Return whether a setting is a scale of display scores."""
    return (
        isinstance(scale, dict)
        and scale.keys() == {"mean", "deviation", "sample"}
        and all(isinstance(scale[name], float) and abs(scale[name]) < MAX_SCALE for name in ("mean", "deviation"))
        and scale["deviation"] > 0
        and isinstance(scale["sample"], list)
        and all(isinstance(id, str) for id in scale["sample"])
    )


def put_commit(connection: sqlite3.Connection) -> None:
    """Prepend a random id to the setting `commits`; call it at the end of every transaction.

    Readers key their caches by this id, since two indexes may have the same revision number.
    """
    row = connection.execute("SELECT value FROM settings WHERE name = 'commits'").fetchone()
    earlier = json.loads(row[0])[: MAX_COMMITS - 1] if row else []
    put_setting(connection, "commits", [token_hex(8), *earlier])


def put_setting(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Set a setting to a value that JSON can represent."""
    row = (name, json.dumps(value))
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (*row, row_checksum(row)))


def checked_terms(rows: Iterable[tuple[Any, ...]], index_path: Path) -> Iterator[tuple[Any, ...]]:
    """Yield rows (term_id, language, term, document_frequency), whose last column, the checksum, is verified.

    Raises:
        IndexDamagedError: a checksum is wrong.
    """
    for *row, checksum in rows:
        if term_checksum(*row) != checksum:
            raise derived_data_damaged_error(index_path, f"the count of the term {row[2]!r}")
        yield tuple(row)


def read_languages(connection: sqlite3.Connection, index_path: Path) -> dict[str, tuple[int, int]]:
    """Return for each language the number of articles, and of these whose language is assumed; the largest first.

    Raises:
        IndexDamagedError: a checksum is wrong.
    """
    rows = connection.execute("SELECT language, articles, assumed, checksum FROM languages ORDER BY 2 DESC, 1")
    languages = {}
    for *row, checksum in rows:
        if row_checksum(row) != checksum or not (isinstance(row[1], int) and isinstance(row[2], int)):
            raise derived_data_damaged_error(index_path, "the counts of languages")
        languages[row[0]] = (row[1], row[2])
    return languages


def removed_after(connection: sqlite3.Connection, index_path: Path, revision: int) -> list[int]:
    """Return the keys that were removed after a revision.

    Raises:
        IndexDamagedError: a checksum is wrong.
    """
    rows = connection.execute("SELECT key, revision, checksum FROM removed WHERE revision > ?", (revision,)).fetchall()
    if any(row_checksum(row[:2]) != row[2] or not isinstance(row[0], int) for row in rows):
        raise derived_data_damaged_error(index_path, "the list of what was removed")
    return [key for key, _, _ in rows]


def put_removed(connection: sqlite3.Connection, keys: Iterable[int], revision: int) -> None:
    """Record keys as removed by a revision."""
    rows = [(key, revision) for key in keys]
    connection.executemany("INSERT INTO removed VALUES (?, ?, ?)", [(*row, row_checksum(row)) for row in rows])


def delete_articles(
    connection: sqlite3.Connection, keys: Iterable[int], tables: Sequence[str] = ARTICLE_TABLES
) -> None:
    """Delete the rows of articles from tables."""
    for table in tables:
        connection.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in keys])


def insert_article(
    connection: sqlite3.Connection, key: int, upsert: Upsert, revision: int, signals: tuple[bytes, bytes] | None = None
) -> None:
    """Insert an article under a free key.

    Args:
        connection: a writer's.
        key: the key.
        upsert: the article.
        revision: that the article is part of.
        signals: its vector and its terms, packed; None keeps the stored rows of both, and of hubness.
    """
    article = upsert.article
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
        upsert.source,
        content_hash,
        article.record_hash,
        int(article.recommend),
        int(article.block),
        normalise_url(article.url) if article.url else None,
        normalise_title(article.title),
        epoch_seconds(article.published) if article.published else None,
        revision,
    )
    placeholders = ", ".join("?" * (len(row) + 1))
    connection.execute(f"INSERT INTO articles VALUES ({placeholders})", (*row, row_checksum(row)))
    connection.execute("INSERT INTO texts VALUES (?, ?)", (key, article.text))
    if signals:
        vector, terms = signals
        connection.execute("INSERT INTO hubness VALUES (?, NULL, NULL)", (key,))
        connection.execute(
            "INSERT INTO vectors VALUES (?, ?, ?, ?)",
            (key, vector, revision, vector_checksum(article.id, content_hash, revision, vector)),
        )
        checksum = lexical_checksum(article.id, content_hash, upsert.language, upsert.assumed, terms)
        connection.execute(
            "INSERT INTO lexical VALUES (?, ?, ?, ?, ?)", (key, upsert.language, upsert.assumed, terms, checksum)
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
    """Insert the filter values of an article."""
    connection.executemany(
        "INSERT INTO facets VALUES (?, ?, ?)", [(field, value, key) for field, value in sorted(facets(article))]
    )


def epoch_seconds(moment: datetime) -> int:
    """Return a date in whole seconds since 1970."""
    return math.floor(moment.timestamp())


def assign_term_ids(
    connection: sqlite3.Connection, index_path: Path, upserts: Iterable[Upsert]
) -> dict[str, dict[str, int]]:
    """Return by language the id of each term of some articles; insert new terms with the next ids.

    Raises:
        IndexDamagedError: a stored term id is too large.
    """
    terms_by_language: dict[str, set[str]] = {}
    for upsert in upserts:
        terms_by_language.setdefault(upsert.language, set()).update(upsert.terms)
    term_ids: dict[str, dict[str, int]] = {}
    for language, terms in sorted(terms_by_language.items()):
        stored = connection.execute(
            f"SELECT term, term_id FROM terms WHERE language = ? AND term IN {LIST}",
            (language, json.dumps(list(terms))),
        )
        term_ids[language] = dict(stored.fetchall())
    (last,) = connection.execute("SELECT coalesce(max(term_id), 0) FROM terms").fetchone()
    if last >= MAX_TERM_ID:
        raise index_damaged_error(index_path, f"the number of the term {last}")
    for language, ids in term_ids.items():
        new_ids = {term: id for id, term in enumerate(sorted(terms_by_language[language] - ids.keys()), last + 1)}
        last += len(new_ids)
        connection.executemany(
            "INSERT INTO terms VALUES (?, ?, ?, ?, ?)",
            [(id, language, term, 0, term_checksum(id, language, term, 0)) for term, id in new_ids.items()],
        )
        ids.update(new_ids)
    return term_ids


class CountChanges:
    """Differences to add to the document frequencies of terms and to the article counts of languages."""

    def __init__(self) -> None:
        self._terms: Counter[int] = Counter()
        self._languages: Counter[tuple[str, bool]] = Counter()

    def add(self, language: str, assumed: bool, term_ids: Iterable[int]) -> None:
        """Count an article that is added."""
        self._terms.update(term_ids)
        self._languages[language, assumed] += 1

    def subtract(self, language: str, assumed: bool, term_ids: Iterable[int]) -> None:
        """Count an article that is removed."""
        self._terms.subtract(term_ids)
        self._languages[language, assumed] -= 1

    def write(self, connection: sqlite3.Connection, index_path: Path) -> None:
        """Add the differences to the stored counts."""
        changes = sorted((term_id, change) for term_id, change in self._terms.items() if change)
        connection.executemany(
            "UPDATE terms SET document_frequency = document_frequency + ?1, "
            f"checksum = checksum + ?1 * {DOCUMENT_FREQUENCY_STEP} WHERE term_id = ?2",
            [(change, term_id) for term_id, change in changes],
        )
        connection.executemany(
            "DELETE FROM terms WHERE term_id = ? AND document_frequency <= 0",
            [(term_id,) for term_id, change in changes if change < 0],
        )
        languages = read_languages(connection, index_path)
        for (language, is_assumed), change in self._languages.items():
            articles, assumed = languages.get(language, (0, 0))
            languages[language] = (articles + change, assumed + (change if is_assumed else 0))
        put_languages(connection, languages)

    def document_frequencies(self) -> Mapping[int, int]:
        """Return the document frequency of each term, by term id, counted from zero."""
        return self._terms

    def languages(self) -> dict[str, tuple[int, int]]:
        """Return the counts of each language, as `read_languages` does, counted from zero."""
        names = sorted({name for name, _ in self._languages})
        assumed = {name: self._languages[name, True] for name in names}
        return {name: (self._languages[name, False] + assumed[name], assumed[name]) for name in names}


def put_languages(connection: sqlite3.Connection, languages: Mapping[str, tuple[int, int]]) -> None:
    """Replace the stored counts of languages."""
    rows = [(language, *counts) for language, counts in languages.items() if counts[0] > 0]
    connection.execute("DELETE FROM languages")
    connection.executemany("INSERT INTO languages VALUES (?, ?, ?, ?)", [(*row, row_checksum(row)) for row in rows])


def recount(connection: sqlite3.Connection) -> None:
    """Recompute the document frequencies and the counts of languages from the articles' terms."""
    counts = CountChanges()
    for language, assumed, blob in connection.execute("SELECT language, assumed, terms FROM lexical"):
        counts.add(language, bool(assumed), unpack_terms(blob)[0].tolist())
    frequencies = counts.document_frequencies()
    rows = []
    for term_id, language, term in connection.execute("SELECT term_id, language, term FROM terms"):
        frequency = frequencies.get(term_id, 0)
        rows.append((frequency, term_checksum(term_id, language, term, frequency), term_id))
    connection.executemany("UPDATE terms SET document_frequency = ?, checksum = ? WHERE term_id = ?", rows)
    connection.execute("DELETE FROM terms WHERE document_frequency = 0")
    put_languages(connection, counts.languages())
