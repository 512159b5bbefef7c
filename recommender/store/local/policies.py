"""The stored policy: one row, read and replaced as a whole."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recommender.errors import IndexDamagedError
from recommender.store.local.rows import row_checksum


def read_policy(connection: sqlite3.Connection, index_path: Path) -> dict[str, Any]:
    """Return the stored policy; empty if there is none.

    Raises:
        IndexDamagedError: its checksum or its type is wrong.
    """
    row = connection.execute("SELECT edits, document, checksum FROM policy").fetchone()
    if row is None:
        return {}
    try:
        document = json.loads(row[1]) if row_checksum(row[:2]) == row[2] else None
    except (ValueError, TypeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise IndexDamagedError(
            f"The settings, pins, bans and rules in the index {index_path} are damaged: they are not what was written. "
            f"Load them again with `recommender policy --load FILE`."
        )
    return document


def replace_policy(
    connection: sqlite3.Connection, index_path: Path, edit: Callable[[dict[str, Any]], dict[str, Any]], *, anew: bool
) -> None:
    """Replace the policy within a transaction, see `Store.edit_policy`."""
    row = connection.execute("SELECT edits FROM policy").fetchone()
    old = {} if anew else read_policy(connection, index_path)
    document = json.dumps(edit(old), ensure_ascii=False, sort_keys=True)
    edits = (row[0] if row and isinstance(row[0], int) else 0) + 1
    connection.execute(
        "INSERT OR REPLACE INTO policy VALUES (1, ?, ?, ?)", (edits, document, row_checksum((edits, document)))
    )
