"""Links between articles of the database, and the articles that link targets resolve to."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from recommender.store.local.database import LIST, article_damaged_error
from recommender.store.local.rows import row_checksum
from recommender.text.clean import normalise_title
from recommender.text.urls import normalise_url

# The key of the article that link `l` resolves to: by id, by url, by title; the first by id, never the linking article.
_TARGET_KEY = """coalesce(
    (SELECT t.key FROM articles t WHERE t.id = l.target AND t.key != l.key),
    (SELECT t.key FROM articles t WHERE t.url_key = l.url_key AND t.key != l.key ORDER BY t.id LIMIT 1),
    (SELECT t.key FROM articles t WHERE t.title_key = l.title_key AND t.key != l.key ORDER BY t.id LIMIT 1))"""
_COLUMNS = "l.key, l.kind, l.position, l.target, l.url_key, l.title_key, l.checksum"
_NO_ARTICLE = -1


def resolved_links(
    connection: sqlite3.Connection, index_path: Path, kind: str, ids: Sequence[str] | None
) -> dict[str, list[str]]:
    """Return the ids that links resolve to, by the id of the linking article, see `Store.links`.

    Args:
        connection: to the database.
        index_path: the index's folder.
        kind: "related" or "links".
        ids: the linking articles; None for all.

    Raises:
        IndexDamagedError: the checksum of a link is wrong.
    """
    restriction = "" if ids is None else f" AND l.key IN (SELECT key FROM articles WHERE id IN {LIST})"
    rows = connection.execute(
        f"SELECT a.id, t.id, {_COLUMNS} "
        f"FROM (SELECT l.*, {_TARGET_KEY} target_key FROM links l WHERE l.kind = ?{restriction}) l "
        "JOIN articles a ON a.key = l.key JOIN articles t ON t.key = l.target_key ORDER BY a.id, l.position",
        (kind, *([] if ids is None else [json.dumps(list(ids))])),
    )
    links: dict[str, dict[str, None]] = {}
    for id, target, *row, checksum in rows:
        if row_checksum(row) != checksum:
            raise article_damaged_error(index_path, id)
        links.setdefault(id, {})[target] = None  # two links may resolve to one article
    return {id: list(targets) for id, targets in links.items()}


def backlinks(connection: sqlite3.Connection, ids: Sequence[str]) -> list[str]:
    """Return the ids of articles that may link to one of `ids`, see `Store.backlinks`."""
    rows = connection.execute(
        f"WITH t AS MATERIALIZED (SELECT id, url_key, title_key FROM articles WHERE id IN {LIST}) "
        "SELECT DISTINCT a.id FROM links l JOIN articles a USING (key) WHERE l.target IN (SELECT id FROM t) "
        "OR l.url_key IN (SELECT url_key FROM t) OR l.title_key IN (SELECT title_key FROM t) ORDER BY 1",
        (json.dumps(list(ids)),),
    )
    return [id for (id,) in rows]


def resolve_targets(connection: sqlite3.Connection, targets: Sequence[str]) -> list[str | None]:
    """Return the id that each target resolves to, see `Store.resolve_targets`."""
    links = [(_NO_ARTICLE, target, normalise_url(target), normalise_title(target)) for target in targets]
    rows = connection.execute(
        f"SELECT (SELECT id FROM articles WHERE key = {_TARGET_KEY}) FROM (SELECT value ->> 0 key, value ->> 1 target, "
        f"value ->> 2 url_key, value ->> 3 title_key FROM json_each(?)) l",
        (json.dumps(links),),
    )
    return [id for (id,) in rows]


def ids_by_url_or_title(connection: sqlite3.Connection, name: str, n: int) -> list[str]:
    """Return the ids of articles with a url or title, see `Store.ids_by_url_or_title`."""
    for column, key in (("url_key", normalise_url(name)), ("title_key", normalise_title(name))):
        query = f"SELECT id FROM articles WHERE {column} = ? LIMIT ?"  # ORDER BY is slow if many share a title
        if ids := [id for (id,) in connection.execute(query, (key, n))]:
            return sorted(ids)
    return []


def count_editorial_links(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of editorial links, `total`, and of those that resolve to an article, `matched`."""
    total, matched = connection.execute(
        f"SELECT count(*), count({_TARGET_KEY}) FROM links l WHERE l.kind = 'related'"
    ).fetchone()
    return {"total": total, "matched": matched}
