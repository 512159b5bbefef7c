"""Candidates of a local index: both searches, and what a probe wants of them."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recommender.store.base import Condition, Probe, Signals
from recommender.store.conditions import Admission
from recommender.store.inverted import TermSearch
from recommender.store.reading import SignalReader
from recommender.store.vectors import SearchFile, VectorSearch

AT_ONCE = 65_536  # keys that are found before their articles are checked


class CandidateSearch:
    """Proposes candidates within a snapshot: both searches widen until enough of what they find is wanted.

    Where a probe wants only a few articles of the index, all of those are its candidates.

    Args:
        place: the index's folder.
        dimensions: of the vectors.
        signals: reads what the searches have to know.
    """

    def __init__(self, place: Path, dimensions: int, signals: SignalReader) -> None:
        self._signals = signals
        self._vectors = VectorSearch(place, dimensions, signals.vectors_after)
        self._terms = TermSearch(place, signals.terms_after)
        self._admission = Admission()

    def close(self) -> None:
        """Let go of files."""
        self._terms.close()

    def update(
        self, connection: sqlite3.Connection, dense: SearchFile | None, terms: SearchFile | None, change: int
    ) -> None:
        """Take up what has changed in the database, whose search files and change number are given."""
        self._vectors.update(connection, dense, change)
        self._terms.update(connection, terms, change)
        self._admission.update(connection, change)

    def propose(
        self, connection: sqlite3.Connection, probes: Sequence[Probe], n: int
    ) -> tuple[Signals, list[NDArray[np.int64]]]:
        """See Store."""
        found: list[set[int]] = [set() for _ in probes]
        waiting = [(list(range(len(probes))), n)] if probes else []
        while waiting:
            places, width = waiting.pop()
            short = self._search(connection, probes, places, width, n, found)
            most = max(AT_ONCE // (4 * width), 1)
            waiting += [(short[start : start + most], 4 * width) for start in range(0, len(short), most)]
        signals, row_of = self._signals.read(connection, sorted({key for keys in found for key in keys}))
        rows = []
        for keys, probe in zip(found, probes, strict=True):
            own = (row_of[key] for key in keys if key in row_of)
            wanted = sorted(row for row in own if signals.ids[row] not in probe.condition.exclude)
            rows.append(np.array(wanted, dtype=np.int64))
        return signals, rows

    def _search(
        self,
        connection: sqlite3.Connection,
        probes: Sequence[Probe],
        places: list[int],
        width: int,
        n: int,
        found: list[set[int]],
    ) -> list[int]:
        """Search so wide for some of the probes, into `found`; return those for which it was not wide enough."""
        # What a probe excludes is looked up by id, at the end.
        excluded = [len(probes[place].condition.exclude) for place in places]
        near = self._vectors.search(np.stack([probes[place].vector for place in places]), width + max(excluded))
        groups: dict[Condition | None, list[tuple[int, int, list[int], list[int]]]] = {}
        for place, more, keys in zip(places, excluded, near, strict=True):
            probe = probes[place]
            by_terms = self._terms.search(probe.numbers, probe.weights, width + more)
            condition = self._admission.needed(replace(probe.condition, exclude=frozenset()))
            groups.setdefault(condition, []).append((place, more, keys[: width + more].tolist(), by_terms))
        short: list[int] = []
        for condition, members in groups.items():
            proposed = {key for _, _, by_vector, by_terms in members for key in (*by_vector, *by_terms)}
            admitted = proposed if condition is None else self._admission.check(connection, condition, proposed)
            for place, more, by_vector, by_terms in members:
                found[place] = {key for key in (*by_vector, *by_terms) if key in admitted}
                if condition is None or _enough(by_vector, by_terms, admitted, width + more, n + more):
                    continue
                few = self._admission.few(connection, condition)
                if few is None:
                    short.append(place)
                else:
                    found[place] = few
        return short


def _enough(by_vector: list[int], by_terms: list[int], admitted: set[int], width: int, need: int) -> bool:
    """Tell whether enough of what was found is wanted, or nothing more can be found."""
    if len(by_vector) < width:
        return True
    wanted = sum(key in admitted for key in by_vector)
    return wanted >= need and (len(by_terms) < width or sum(key in admitted for key in by_terms) >= need)
