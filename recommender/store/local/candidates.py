"""Candidate retrieval in a local index: vector search and term search, and the filter conditions of a query."""

import copy
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.filters import Condition
from recommender.store.base import CandidateQuery, Signals
from recommender.store.local.derived_file import DAMAGED, DerivedFile, derived_file, is_cut_short
from recommender.store.local.filter_sql import Admission, check
from recommender.store.local.inverted_index import TermSearch
from recommender.store.local.neighbours import CachedNeighbours, open_neighbours
from recommender.store.local.signal_reader import SignalReader, distinct
from recommender.store.local.vector_index import VectorSearch

_NO_KEYS = np.empty(0, dtype=np.int64)
AT_ONCE = 65_536  # keys that are found before their articles are checked
LOST = 5  # one in so many candidates that were found before may be gone or unwanted by now; else they are found anew
EXCLUDED = 8  # ids that a probe may exclude for them to be used
_log = logging.getLogger("recommender")


class CandidateSearch:
    """Proposes candidates as of one revision: both searches widen until enough of their articles are eligible.

    Where a condition admits only a few articles of the index, all of those are candidates. Threads may share it.

    Args:
        place: the index's folder.
        dimensions: of the vectors.
    """

    def __init__(self, place: Path, dimensions: int) -> None:
        self._place = place
        self._vectors = VectorSearch(place, dimensions)
        self._terms = TermSearch(place)
        self._signals: SignalReader
        self._admission: Admission
        self._near_file: DerivedFile | None = None
        self._near: CachedNeighbours | None = None

    def updated(
        self, connection: sqlite3.Connection, settings: Mapping[str, Any], signals: SignalReader
    ) -> "CandidateSearch":
        """Return the search as of a later revision, within a snapshot of it whose settings are passed.

        Args:
            connection: to the database.
            settings: of the revision.
            signals: its signals.
        """
        new = copy.copy(self)
        change, forward = settings["change"], signals.forward
        new._signals = signals
        new._vectors = self._vectors.updated(
            connection, derived_file(settings, "dense"), forward, change, signals.vectors_after
        )
        new._terms = self._terms.updated(connection, derived_file(settings, "postings"), change, signals.weighed_after)
        new._admission = Admission(connection, self._place)
        file = derived_file(settings, "near")
        if not forward[0] or (file and file.change != forward[0].change):
            file = None  # it names articles by their rows in another forward index
        if file != self._near_file or (self._near and is_cut_short(self._near.content)):
            new._near, reason = open_neighbours(self._place, file) if file else (None, "")
            if file and reason == DAMAGED:
                _log.warning("The search file %s is damaged; queries are slower without it.", self._place / file.name)
            new._near_file = file
        return new

    def is_cut_short(self) -> bool:
        """Return whether one of the mapped files is shorter by now than it was."""
        return self._terms.is_cut_short() or (self._near is not None and is_cut_short(self._near.content))

    def retrieve_candidates(
        self, connection: sqlite3.Connection, probes: Sequence[CandidateQuery], n: int
    ) -> tuple[Signals, list[NDArray[np.int64]]]:
        """See Store."""
        found = [_NO_KEYS for _ in probes]
        rest = self._recall(connection, probes, n, found)
        waiting = [(rest, n)] if rest else []
        while waiting:
            places, width = waiting.pop()
            short = self._search(connection, probes, places, width, n, found)
            most = max(AT_ONCE // (4 * width), 1)
            waiting += [(short[start : start + most], 4 * width) for start in range(0, len(short), most)]
        everything = distinct(np.concatenate([_NO_KEYS, *found]))
        signals, read = self._signals.read(connection, everything)
        order = np.argsort(read)
        row_of_id = {id: row for row, id in enumerate(signals.ids)} if any(p.condition.exclude for p in probes) else {}
        rows = []
        for keys, probe in zip(found, probes, strict=True):
            stored = keys[np.isin(keys, read)] if len(read) < len(everything) else keys
            own = order[np.searchsorted(read, stored, sorter=order)]
            unwanted = [row_of_id[id] for id in probe.condition.exclude if id in row_of_id]
            # One by one up to a few: `np.isin` takes as long as a dozen.
            for row in unwanted[:EXCLUDED]:
                own = own[own != row]
            rows.append(own[~np.isin(own, unwanted)] if len(unwanted) > EXCLUDED else own)
        return signals, rows

    def _recall(
        self,
        connection: sqlite3.Connection,
        probes: Sequence[CandidateQuery],
        n: int,
        found: list[NDArray[np.int64]],
    ) -> list[int]:
        """Put what was found for stored articles before into `found`, and what came since; return the other probes."""
        near, mapped = self._near, self._signals.forward[1]
        if near is None or mapped is None or near.n < n:
            return list(range(len(probes)))
        rows = mapped.rows(np.array([probe.key or 0 for probe in probes], dtype=np.int64))
        languages = mapped.language_of(rows).tolist()
        known: dict[int, NDArray[np.int64]] = {}
        for place, (probe, row, language) in enumerate(zip(probes, rows.tolist(), languages, strict=True)):
            own = row >= 0 and mapped.languages[language] == probe.condition.language
            if own and len(probe.condition.exclude) <= EXCLUDED and (of_it := near.of(row)) is not None:
                known[place] = mapped.keys(of_it)
        if not known:
            return list(range(len(probes)))
        later = self._vectors.search(np.stack([probes[place].vector for place in known]), n, later=True)
        groups: dict[Condition, list[int]] = {}
        left = dict(known)
        for place, by_vector in zip(known, later, strict=True):
            probe = probes[place]
            if len(self._vectors.removed):
                left[place] = known[place][~np.isin(known[place], self._vectors.removed)]
            by_terms = self._terms.search(probe.term_ids, probe.weights, n, later=True)
            found[place] = np.concatenate([left[place], by_vector, by_terms])
            if len(found[place]) > len(left[place]):
                found[place] = distinct(found[place])
            condition = self._admission.needed(_of_any(probe.condition))
            if condition is not None:
                groups.setdefault(condition, []).append(place)
        for condition, places in groups.items():
            proposed = distinct(np.concatenate([found[place] for place in places]))
            admitted = np.array(sorted(check(connection, condition, proposed.tolist())), dtype=np.int64)
            for place in places:
                found[place], left[place] = (keys[np.isin(keys, admitted)] for keys in (found[place], left[place]))
        lost = [place for place, keys in known.items() if LOST * (len(keys) - len(left[place])) > len(keys)]
        return sorted({*range(len(probes))} - known.keys() | set(lost))

    def _search(
        self,
        connection: sqlite3.Connection,
        probes: Sequence[CandidateQuery],
        places: list[int],
        width: int,
        n: int,
        found: list[NDArray[np.int64]],
    ) -> list[int]:
        """Search so wide for some of the probes, into `found`; return those for which it was not wide enough."""
        # What a probe excludes is looked up by id, at the end.
        excluded = [len(probes[place].condition.exclude) for place in places]
        vectors = np.stack([probes[place].vector for place in places])
        near = self._vectors.search(vectors, width + max(excluded))
        groups: dict[Condition, list[tuple[int, int, NDArray[np.int64], NDArray[np.int64]]]] = {}
        for place, more, keys in zip(places, excluded, near, strict=True):
            probe = probes[place]
            by_vector = keys[: width + more]
            by_terms = self._terms.search(probe.term_ids, probe.weights, width + more)
            condition = self._admission.needed(_of_any(probe.condition))
            if condition is None:
                found[place] = distinct(np.concatenate([by_vector, by_terms]))
            else:
                groups.setdefault(condition, []).append((place, more, by_vector, by_terms))
        short: list[int] = []
        for condition, members in groups.items():
            proposed = distinct(np.concatenate([keys for _, _, *both in members for keys in both]))
            admitted = check(connection, condition, proposed.tolist())
            for place, more, by_vector, by_terms in members:
                wanted, of_terms = (
                    np.array([key for key in keys.tolist() if key in admitted], dtype=np.int64)
                    for keys in (by_vector, by_terms)
                )
                found[place] = distinct(np.concatenate([wanted, of_terms]))
                need = n + more
                if len(by_vector) < width + more or (
                    len(wanted) >= need and (len(by_terms) < width + more or len(of_terms) >= need)
                ):
                    continue  # enough, or nothing more is kept
                few = self._admission.few(connection, condition)
                if few is None:
                    short.append(place)
                else:
                    found[place] = np.array(sorted(few), dtype=np.int64)
        return short


def _of_any(condition: Condition) -> Condition:
    """Return a condition without the ids that it excludes."""
    return replace(condition, exclude=frozenset()) if condition.exclude else condition
