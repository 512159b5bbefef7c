"""What a build has read so far, by id: kept on disk, so that memory does not grow with the archive."""

import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from itertools import islice

from recommender.errors import RecommenderError
from recommender.text.clean import clean_text

PAGE = 1024

SKIPPED, TAKEN, UNPUBLISHED = range(3)  # what became of an id; a later kind goes before an earlier one
CACHE = 32_768  # KiB of it that stay in memory


class SeenIds:
    """The ids that were read, where each stood first, and what became of it. A database that ends with the process."""

    def __init__(self) -> None:
        # Threads read sources and store in turns, never at once. An empty name: a temporary file.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)  # Python 3.13 warns of a connection that is left open
        self._database.execute(f"PRAGMA cache_size = -{CACHE}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, place TEXT, kind INTEGER) WITHOUT ROWID")

    def put(self, id: str, place: str, kind: int) -> str:
        """Note what became of an id; return where it stood before, if it was more than skipped there, or nothing."""
        id = clean_text(id)
        before = self._database.execute("SELECT place, kind FROM seen WHERE id = ?", (id,)).fetchone()
        first = before[0] if before and before[1] != SKIPPED else ""
        if before is None or kind > before[1]:
            row = (id, first or clean_text(place), kind)
            try:
                self._database.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", row)
            except sqlite3.Error as error:
                raise RecommenderError(
                    f"What was read cannot be noted in the temporary folder ({error}). Make room there, or name "
                    f"another one in $TMPDIR, and run the same command again."
                ) from error
        return str(first)

    def unpublished(self, id: str) -> bool:
        """Tell whether the sources say that an article is not published."""
        query = "SELECT EXISTS (SELECT 1 FROM seen WHERE id = ? AND kind = ?)"
        return bool(self._database.execute(query, (id, UNPUBLISHED)).fetchone()[0])

    def all_unpublished(self) -> Iterator[list[str]]:
        """Yield the ids of what is not published, in pages."""
        rows = self._database.execute("SELECT id FROM seen WHERE kind = ? ORDER BY id", (UNPUBLISHED,))
        while page := [id for (id,) in islice(rows, PAGE)]:
            yield page

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Return those of the ids that were not read at all."""
        query = "SELECT 1 FROM seen WHERE id = ?"
        return [id for id in ids if not self._database.execute(query, (id,)).fetchone()]
