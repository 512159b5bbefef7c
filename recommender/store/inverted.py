"""Search in the terms of a local index: a tantivy folder, derived from SQLite, and what has changed since it was made.

It proposes candidates and scores nothing for good: its BM25 counts are those of the day it was made, so the terms
carry the query's own weights as boosts, and exact scoring decides.
"""

import logging
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray

from recommender.files import making_folder, unused
from recommender.store.rows import removed_after
from recommender.store.searchfile import DAMAGED, FOREIGN, SearchFile
from recommender.store.vectors import errno_of

_log = logging.getLogger("recommender")
HEAP = 128_000_000  # bytes that tantivy gathers before it writes a segment
SMALL_HEAP = 15_000_000  # the least that it takes
LOCKS = (".tantivy-meta.lock", ".tantivy-writer.lock")

# Gives (key, term numbers, frequencies) of all rows after a change.
ReadTerms = Callable[[sqlite3.Connection, int], Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]]


def write_term_folder(
    folder: Path, change: int, rows: Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]
) -> SearchFile:
    """Write the terms to a tantivy index in a folder within `folder`, whole or not at all."""
    path = unused(folder / f"lexical-{change}")
    with making_folder(path) as beside:
        try:
            count = _add(tantivy.Index(_schema(), path=str(beside)), rows, HEAP)
        except ValueError as error:  # what tantivy makes of a full disk, or any other
            raise OSError(errno_of(error), str(error)) from error
        for part in beside.iterdir():
            if part.name in LOCKS:
                part.unlink()
            else:
                part.chmod(0o666 & ~_umask())  # tantivy makes two of its files for their owner only
    return SearchFile.of(path, change, count)


def open_term_folder(folder: Path, file: SearchFile, view: Path) -> tuple[tantivy.Searcher | None, str]:
    """Map a term folder; None, and why, if it is not to be used, see `SearchFile.fault`.

    It is opened through links in `view`, an empty folder of the caller's: tantivy writes a lock file to what it reads.
    """
    if fault := file.fault(folder):
        return None, fault
    try:
        for path in (folder / file.name).resolve().iterdir():
            (view / path.name).symlink_to(path)
        index = tantivy.Index.open(str(view))
        index.config_reader(reload_policy="manual", num_warmers=0)
        searcher = index.searcher()
    except (OSError, ValueError):  # tantivy raises ValueError for whatever it cannot read
        return None, DAMAGED
    return (searcher, "") if searcher.num_docs == file.count else (None, DAMAGED)


class TermSearch:
    """Finds the articles that share a query's terms: in the tantivy folder, and in what came after it.

    The folder is never changed: keys that were removed since are passed over, articles that were added stand in a
    second index in memory. Where the folder is missing or torn all of them do.
    """

    def __init__(self, folder: Path, read: ReadTerms) -> None:
        self._folder = folder
        self._read = read
        self._file: SearchFile | None = None
        self._change = -1  # up to which the search knows the database
        self._base: tantivy.Searcher | None = None
        self._delta: tantivy.Index | None = None
        self._masked: set[int] = set()
        self._schema = _schema()
        self._discard_view: Callable[[], object] = lambda: None

    def close(self) -> None:
        """Remove what stands outside the index's folder."""
        self._base = None
        self._discard_view()

    def update(self, connection: sqlite3.Connection, file: SearchFile | None, change: int) -> None:
        """Take up what has changed in the database, whose term folder and change number are given."""
        if file != self._file or self._change < 0:
            self._open(file)
        if change == self._change:
            return
        try:
            rows = self._read(connection, self._change)
            first = next(rows, None)
            if first:
                self._delta = self._delta or tantivy.Index(_schema())
                heap = HEAP if self._change == 0 else SMALL_HEAP
                _add(self._delta, _chain(first, rows), heap)
                self._delta.reload()
        except BaseException:
            self._change = -1  # some may stand in the delta already: begin anew
            raise
        self._masked.update(removed_after(connection, self._folder, self._change))
        self._change = change

    def search(
        self, numbers: NDArray[np.int64], weights: NDArray[np.float64], n: int, *, later: bool = False
    ) -> NDArray[np.int64]:
        """Return the keys of the `n` articles that BM25 puts first for these terms, in the folder and in the delta.

        Args:
            numbers: the terms' numbers, shape (t,).
            weights: how much each counts, above 0, shape (t,).
            n: 1 or more.
            later: only in the delta.

        Returns:
            Keys, int64: up to `n` from the folder and `n` from the delta; fewer where fewer articles hold a term.
        """
        if not len(numbers) or (later and self._delta is None):
            return np.empty(0, dtype=np.int64)
        schema = self._schema
        parts = [
            (
                tantivy.Occur.Should,
                tantivy.Query.boost_query(tantivy.Query.term_query(schema, "terms", str(number), "freq"), weight),
            )
            for number, weight in zip(numbers.tolist(), weights.tolist(), strict=True)
        ]
        query = tantivy.Query.boolean_query(parts)
        keys: list[int] = []
        for searcher in (None if later else self._base, self._delta.searcher() if self._delta else None):
            if searcher and searcher.num_docs:
                keys += self._found(searcher, query, n)
        return np.array(keys, dtype=np.int64)

    def _found(self, searcher: tantivy.Searcher, query: tantivy.Query, n: int) -> list[int]:
        asked = min(n, searcher.num_docs)
        while True:
            places = [place for _, place in searcher.search(query, asked, count=False).hits]
            keys = [int(key or 0) for key in searcher.fast_field_values("key", places)]
            live = [key for key in keys if key not in self._masked] if self._masked else keys
            if len(live) >= n or len(places) < asked:
                return live[:n]
            if asked == searcher.num_docs:
                return live[:n]
            asked = min(4 * asked, searcher.num_docs)

    def _open(self, file: SearchFile | None) -> None:
        self.close()
        if file:
            view = Path(tempfile.mkdtemp(prefix="recommender-"))
            self._discard_view = weakref.finalize(
                self, _discard, view
            )  # also at the end of a process that never closes
            self._base, fault = open_term_folder(self._folder, file, view)
            if fault:
                self.close()
            if fault and fault != FOREIGN:  # which is told of all of them at once
                _log.warning(
                    "The search folder %s is %s; all terms are searched without it, which is slower. "
                    "The next build makes it again.",
                    self._folder / file.name,
                    fault,
                )
        self._file = file
        self._change = file.change if file and self._base else 0
        self._delta = None
        self._masked = set()


def _add(index: tantivy.Index, rows: Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]], heap: int) -> int:
    """Add rows; return how many. One thread, so that the same rows give the same order."""
    writer = index.writer(heap, 1)
    count = 0
    for key, numbers, frequencies in rows:
        document = tantivy.Document()
        document.add_unsigned("key", key)
        document.add_text("terms", " ".join(np.repeat(numbers, frequencies).astype(str)))
        writer.add_document(document)
        count += 1
    writer.commit()
    writer.wait_merging_threads()
    return count


def _chain(
    first: tuple[int, NDArray[np.int64], NDArray[np.int64]],
    rest: Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]],
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    yield first
    yield from rest


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("key", stored=False, indexed=False, fast=True)
    builder.add_text_field("terms", stored=False, tokenizer_name="whitespace", index_option="freq")
    return builder.build()


def _discard(view: Path) -> None:
    """Remove a folder of links. A thread of tantivy's may put its lock file there once more meanwhile."""
    for _ in range(5):
        shutil.rmtree(view, ignore_errors=True)
        if not view.exists():
            return


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
