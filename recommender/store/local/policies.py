"""The policy of a local index: one row, read and replaced as a whole."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recommender.errors import IndexDamagedError
from recommender.store.local.rows import row_checksum


def read_policy(connection: sqlite3.Connection, place: Path) -> dict[str, Any]:
    """Return the stored policy; empty if there is none.

    Raises:
        IndexDamagedError: it is not what was written.
    """
    row = connection.execute("SELECT number, document, checksum FROM policy").fetchone()
    if row is None:
        return {}
    try:
        document = json.loads(row[1]) if row_checksum(row[:2]) == row[2] else None
    except (ValueError, TypeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise IndexDamagedError(
            f"The settings, pins, bans and rules in the index {place} are damaged: they are not what was written. Load "
            f"them again with `recommender policy --load FILE`."
        )
    return document


def replace_policy(
    connection: sqlite3.Connection, place: Path, edit: Callable[[dict[str, Any]], dict[str, Any]], *, anew: bool
) -> None:
    """Replace the policy by what `edit` makes of it; see `Store.edit_policy`. Within a transaction."""
    row = connection.execute("SELECT number FROM policy").fetchone()
    old = {} if anew else read_policy(connection, place)
    document = json.dumps(edit(old), ensure_ascii=False, sort_keys=True)
    number = (row[0] if row and isinstance(row[0], int) else 0) + 1
    connection.execute(
        "INSERT OR REPLACE INTO policy VALUES (1, ?, ?, ?)", (number, document, row_checksum((number, document)))
    )
