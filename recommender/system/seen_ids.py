"""The ids that a build or an export has read, on disk, so that memory does not grow with the archive."""

import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from itertools import islice

from recommender.errors import RecommenderError
from recommender.text.clean import clean_text

PAGE_ROWS = 1024
CACHE_KB = 32_768
SKIPPED, ACCEPTED, EXCLUDED = range(3)  # statuses of an id; a later one replaces an earlier one


class SeenIds:
    """Ids with the location of their first record and their status, in a temporary database."""

    def __init__(self) -> None:
        # Threads take turns, so one connection is enough. An empty name means a temporary file.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)  # Python 3.13 warns of an unclosed connection
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, location TEXT, status INTEGER) WITHOUT ROWID")

    def record(self, id: str, location: str, status: int) -> str:
        """Record the status of an id; return the location of its first record that was not skipped, or "".

        Raises:
            RecommenderError: the temporary folder is full.
        """
        id = clean_text(id)
        previous = self._database.execute("SELECT location, status FROM seen WHERE id = ?", (id,)).fetchone()
        first_location = previous[0] if previous and previous[1] != SKIPPED else ""
        if previous is None or status > previous[1]:
            row = (id, first_location or clean_text(location), status)
            try:
                self._database.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", row)
            except sqlite3.Error as error:
                raise RecommenderError(
                    f"What was read cannot be noted in the temporary folder ({error}). Make room there, or name "
                    f"another one in $TMPDIR, and run the same command again."
                ) from error
        return str(first_location)

    def is_excluded(self, id: str) -> bool:
        """Return whether a record of an id excludes it from the index."""
        query = "SELECT EXISTS (SELECT 1 FROM seen WHERE id = ? AND status = ?)"
        return bool(self._database.execute(query, (id, EXCLUDED)).fetchone()[0])

    def excluded_pages(self) -> Iterator[list[str]]:
        """Yield the excluded ids, sorted, in pages."""
        rows = self._database.execute("SELECT id FROM seen WHERE status = ? ORDER BY id", (EXCLUDED,))
        while page := [id for (id,) in islice(rows, PAGE_ROWS)]:
            yield page

    def unseen(self, ids: Sequence[str]) -> list[str]:
        """Return the ids among `ids` without a record."""
        query = "SELECT 1 FROM seen WHERE id = ?"
        return [id for id in ids if not self._database.execute(query, (id,)).fetchone()]
