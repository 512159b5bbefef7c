"""Documents: texts of callers by name, in the table of model files under a prefix."""

import sqlite3
from pathlib import Path

from recommender.store.base import document_damaged_error, is_document_name
from recommender.store.local.rows import file_checksum

PREFIX = "document/"
MODEL_FILES = f"SELECT name, content, checksum FROM model_files WHERE substr(name, 1, {len(PREFIX)}) != '{PREFIX}'"


def document_names(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the stored documents, sorted; names that `put_document` does not take are left out."""
    rows = connection.execute(
        f"SELECT substr(name, {len(PREFIX) + 1}) FROM model_files WHERE substr(name, 1, {len(PREFIX)}) = ? ORDER BY 1",
        (PREFIX,),
    )
    return [name for (name,) in rows if is_document_name(name)]


def read_document(connection: sqlite3.Connection, index_path: Path, name: str) -> str | None:
    """Return a document; None if there is none.

    Raises:
        IndexDamagedError: its checksum or its encoding is wrong.
    """
    row = connection.execute(
        "SELECT content, checksum FROM model_files WHERE name = ?", (f"{PREFIX}{name}",)
    ).fetchone()
    if row is None:
        return None
    content, checksum = row
    try:
        if file_checksum(f"{PREFIX}{name}", content) != checksum:
            raise ValueError
        return str(content, "utf-8")
    except ValueError as error:
        raise document_damaged_error(str(index_path), name) from error


def put_document(connection: sqlite3.Connection, name: str, text: str | None) -> None:
    """Store a document within a transaction; None removes it."""
    stored_name = f"{PREFIX}{name}"
    if text is None:
        connection.execute("DELETE FROM model_files WHERE name = ?", (stored_name,))
        return
    content = text.encode()
    connection.execute(
        "INSERT OR REPLACE INTO model_files VALUES (?, ?, ?)",
        (stored_name, content, file_checksum(stored_name, content)),
    )
