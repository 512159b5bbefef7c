"""Links between the articles of a local index: which article the target of a link means."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from recommender.store.local.database import LIST, article_damaged_error
from recommender.store.local.rows import row_checksum
from recommender.text.clean import normalise_title
from recommender.text.urls import normalise_url

# The article that a link means: by id, by url, by title; of several the first by id, never itself.
_TARGET = """coalesce(
    (SELECT t.key FROM articles t WHERE t.id = l.target AND t.key != l.key),
    (SELECT t.key FROM articles t WHERE t.url_key = l.url_key AND t.key != l.key ORDER BY t.id LIMIT 1),
    (SELECT t.key FROM articles t WHERE t.title_key = l.title_key AND t.key != l.key ORDER BY t.id LIMIT 1))"""
_ROW = "l.key, l.kind, l.position, l.target, l.url_key, l.title_key, l.checksum"
_NO_ARTICLE = -1


def of_articles(
    connection: sqlite3.Connection, place: Path, kind: str, ids: Sequence[str] | None
) -> dict[str, list[str]]:
    """See Store.links.

    Args:
        connection: to the database.
        place: the index's folder.
        kind: of the links.
        ids: of the articles whose links they are; None for all.
    """
    some = "" if ids is None else f" AND l.key IN (SELECT key FROM articles WHERE id IN {LIST})"
    rows = connection.execute(
        f"SELECT a.id, t.id, {_ROW} FROM (SELECT l.*, {_TARGET} meant FROM links l WHERE l.kind = ?{some}) l "
        "JOIN articles a ON a.key = l.key JOIN articles t ON t.key = l.meant ORDER BY a.id, l.position",
        (kind, *([] if ids is None else [json.dumps(list(ids))])),
    )
    links: dict[str, dict[str, None]] = {}
    for id, target, *row, checksum in rows:
        if row_checksum(row) != checksum:
            raise article_damaged_error(place, id)
        links.setdefault(id, {})[target] = None  # two links may lead to one article
    return {id: list(targets) for id, targets in links.items()}


def backlinks(connection: sqlite3.Connection, ids: Sequence[str]) -> list[str]:
    """See Store.backlinks."""
    rows = connection.execute(
        f"WITH t AS MATERIALIZED (SELECT id, url_key, title_key FROM articles WHERE id IN {LIST}) "
        "SELECT DISTINCT a.id FROM links l JOIN articles a USING (key) WHERE l.target IN (SELECT id FROM t) "
        "OR l.url_key IN (SELECT url_key FROM t) OR l.title_key IN (SELECT title_key FROM t) ORDER BY 1",
        (json.dumps(list(ids)),),
    )
    return [id for (id,) in rows]


def find(connection: sqlite3.Connection, targets: Sequence[str]) -> list[str | None]:
    """See Store.find."""
    keys = [(_NO_ARTICLE, target, normalise_url(target), normalise_title(target)) for target in targets]
    rows = connection.execute(
        f"SELECT (SELECT id FROM articles WHERE key = {_TARGET}) FROM (SELECT value ->> 0 key, value ->> 1 target, "
        f"value ->> 2 url_key, value ->> 3 title_key FROM json_each(?)) l",
        (json.dumps(keys),),
    )
    return [id for (id,) in rows]


def named(connection: sqlite3.Connection, name: str, n: int) -> list[str]:
    """See Store.named."""
    for column, key in (("url_key", normalise_url(name)), ("title_key", normalise_title(name))):
        query = f"SELECT id FROM articles WHERE {column} = ? LIMIT ?"  # sorting many of one title takes time
        if ids := [id for (id,) in connection.execute(query, (key, n))]:
            return sorted(ids)
    return []


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many editorial links there are, and how many of them lead to an article of the index."""
    total, matched = connection.execute(
        f"SELECT count(*), count({_TARGET}) FROM links l WHERE l.kind = 'related'"
    ).fetchone()
    return {"total": total, "matched": matched}
