"""Candidates of a local index: both searches, and what a probe wants of them."""

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.store.base import Condition, Probe, Signals
from recommender.store.conditions import Admission, check
from recommender.store.database import countable
from recommender.store.inverted import TermSearch
from recommender.store.nearfile import NearFile, open_near_file
from recommender.store.reading import SignalReader, distinct
from recommender.store.searchfile import DAMAGED, SearchFile, search_file
from recommender.store.vectors import VectorSearch

_NO_KEYS = np.empty(0, dtype=np.int64)
BOTH_AT_ONCE = 250_000  # articles past which a single query is searched by vectors and by terms at the same time
AT_ONCE = 65_536  # keys that are found before their articles are checked
LOST = 5  # one in so many candidates that were found before may be gone or unwanted by now; else they are found anew
EXCLUDED = 8  # ids that a probe may exclude for them to be used
_log = logging.getLogger("recommender")


class CandidateSearch:
    """Proposes candidates within a snapshot: both searches widen until enough of what they find is wanted.

    Where a probe wants only a few articles of the index, all of those are its candidates.

    Args:
        place: the index's folder.
        dimensions: of the vectors.
        signals: reads what the searches have to know.
    """

    def __init__(self, place: Path, dimensions: int, signals: SignalReader) -> None:
        self._place, self._signals = place, signals
        self._vectors = VectorSearch(place, dimensions, signals.vectors_after, signals.vectors_of)
        self._terms = TermSearch(place, signals.weighed_after)
        self._admission = Admission(place)
        self._near_file: SearchFile | None = None
        self._near: NearFile | None = None
        self._beside = ThreadPoolExecutor(1)  # starts its thread when it is first used

    def close(self) -> None:
        """Let go of files."""
        self._beside.shutdown()

    def _update(self, connection: sqlite3.Connection, settings: Mapping[str, Any]) -> None:
        """Take up what has changed in the database."""
        change = settings["change"]
        self._signals.update(connection, settings)
        self._vectors.update(connection, search_file(settings, "dense"), change)
        self._terms.update(connection, search_file(settings, "postings"), change)
        self._admission.update(connection, change)
        file, signals = search_file(settings, "near"), search_file(settings, "signals")
        if not signals or (file and file.change != signals.change):
            file = None  # it names articles by where they stood in other signals
        if file != self._near_file:
            self._near, fault = open_near_file(self._place, file) if file else (None, "")
            if file and fault == DAMAGED:
                _log.warning("The search file %s is damaged; asking is slower without it.", self._place / file.name)
            self._near_file = file

    def propose(
        self, connection: sqlite3.Connection, settings: Mapping[str, Any], probes: Sequence[Probe], n: int
    ) -> tuple[Signals, list[NDArray[np.int64]]]:
        """See Store; the settings are those of the snapshot."""
        self._update(connection, settings)
        found = [_NO_KEYS for _ in probes]
        rest = self._recall(connection, probes, n, found)
        waiting = [(rest, n)] if rest else []
        while waiting:
            places, width = waiting.pop()
            short = self._search(connection, probes, places, width, n, found)
            most = max(AT_ONCE // (4 * width), 1)
            waiting += [(short[start : start + most], 4 * width) for start in range(0, len(short), most)]
        everything = distinct(np.concatenate([_NO_KEYS, *found]))
        signals, read = self._signals.read(connection, settings, everything)
        order = np.argsort(read)
        row_of_id = {id: row for row, id in enumerate(signals.ids)} if any(p.condition.exclude for p in probes) else {}
        codes: dict[str | None, int] = {}
        languages = np.array([codes.setdefault(name, len(codes)) for name in signals.languages], dtype=np.int64)
        rows = []
        for keys, probe in zip(found, probes, strict=True):
            stored = keys[np.isin(keys, read)] if len(read) < len(everything) else keys
            own = order[np.searchsorted(read, stored, sorter=order)]
            language = probe.condition.language
            if language is not None and (languages[own] != codes.get(language, -1)).any():
                raise countable(self._place, "the language of an article, as it is searched by,")
            unwanted = [row_of_id[id] for id in probe.condition.exclude if id in row_of_id]
            # One by one up to a few: `np.isin` takes as long as a dozen.
            for row in unwanted[:EXCLUDED]:
                own = own[own != row]
            rows.append(own[~np.isin(own, unwanted)] if len(unwanted) > EXCLUDED else own)
        return signals, rows

    def _recall(
        self,
        connection: sqlite3.Connection,
        probes: Sequence[Probe],
        n: int,
        found: list[NDArray[np.int64]],
    ) -> list[int]:
        """Put what was found for stored articles before into `found`, and what came since; return the other probes."""
        near, mapped = self._near, self._signals.mapped
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
            if len(self._vectors.masked):
                left[place] = known[place][~np.isin(known[place], self._vectors.masked)]
            by_terms = self._terms.search(probe.numbers, probe.weights, n, later=True)
            found[place] = np.concatenate([left[place], by_vector, by_terms])
            if len(found[place]) > len(left[place]):
                found[place] = distinct(found[place])
            condition = self._admission.needed(_of_any(probe.condition))
            if condition is not None:
                groups.setdefault(condition, []).append(place)
        for condition, places in groups.items():
            proposed = distinct(np.concatenate([found[place] for place in places]))
            admitted = np.array(sorted(check(connection, self._place, condition, proposed.tolist())), dtype=np.int64)
            for place in places:
                found[place], left[place] = (keys[np.isin(keys, admitted)] for keys in (found[place], left[place]))
        lost = [place for place, keys in known.items() if LOST * (len(keys) - len(left[place])) > len(keys)]
        return sorted({*range(len(probes))} - known.keys() | set(lost))

    def _search(
        self,
        connection: sqlite3.Connection,
        probes: Sequence[Probe],
        places: list[int],
        width: int,
        n: int,
        found: list[NDArray[np.int64]],
    ) -> list[int]:
        """Search so wide for some of the probes, into `found`; return those for which it was not wide enough."""
        # What a probe excludes is looked up by id, at the end.
        excluded = [len(probes[place].condition.exclude) for place in places]
        vectors = np.stack([probes[place].vector for place in places])
        alone = probes[places[0]] if len(places) == 1 and self._vectors.count > BOTH_AT_ONCE else None
        beside = (
            self._beside.submit(self._terms.search, alone.numbers, alone.weights, width + excluded[0])
            if alone
            else None
        )
        near = self._vectors.search(vectors, width + max(excluded))
        groups: dict[Condition, list[tuple[int, int, NDArray[np.int64], NDArray[np.int64]]]] = {}
        for place, more, keys in zip(places, excluded, near, strict=True):
            probe = probes[place]
            by_vector = keys[: width + more]
            by_terms = beside.result() if beside else self._terms.search(probe.numbers, probe.weights, width + more)
            condition = self._admission.needed(_of_any(probe.condition))
            if condition is None:
                found[place] = distinct(np.concatenate([by_vector, by_terms]))
            else:
                groups.setdefault(condition, []).append((place, more, by_vector, by_terms))
        short: list[int] = []
        for condition, members in groups.items():
            proposed = distinct(np.concatenate([keys for _, _, *both in members for keys in both]))
            admitted = check(connection, self._place, condition, proposed.tolist())
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
