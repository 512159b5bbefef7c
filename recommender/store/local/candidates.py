"""Candidate retrieval: vector search, term search and cached neighbours, under a query's filter condition."""

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
from recommender.store.local.derived_file import (
    DAMAGED,
    INVERTED_INDEX,
    NEIGHBOURS,
    VECTOR_INDEX,
    DerivedFile,
    derived_file,
    is_cut_short,
)
from recommender.store.local.filter_sql import Selectivity, filter_keys
from recommender.store.local.inverted_index import TermSearch
from recommender.store.local.neighbours import CachedNeighbours, open_neighbours
from recommender.store.local.signal_reader import SignalReader, distinct
from recommender.store.local.vector_index import VectorSearch

_NO_KEYS = np.empty(0, dtype=np.int64)
MAX_UNFILTERED_KEYS = 65_536  # retrieved for several queries before their condition is checked
MAX_LOST_SHARE = 1 / 5  # of cached neighbours that were removed or are not admitted; above it a query is searched
MAX_LOOKUP_EXCLUSIONS = 8  # ids that a query may exclude to use cached neighbours
_log = logging.getLogger("recommender")


class CandidateSearch:
    """Retrieves candidates as of one revision: both searches widen until enough of their articles are admitted.

    If a condition admits only a few articles, all of them are candidates. Threads may share it.

    Args:
        index_path: the index's folder.
        dimensions: of the vectors.
    """

    def __init__(self, index_path: Path, dimensions: int) -> None:
        self._index_path = index_path
        self._vectors = VectorSearch(index_path, dimensions)
        self._terms = TermSearch(index_path)
        self._signals: SignalReader
        self._selectivity: Selectivity
        self._neighbours_file: DerivedFile | None = None
        self._neighbours: CachedNeighbours | None = None

    def updated(
        self, connection: sqlite3.Connection, settings: Mapping[str, Any], signals: SignalReader
    ) -> "CandidateSearch":
        """Return the search as of a later revision.

        Args:
            connection: to the database, within a snapshot of the revision.
            settings: of the revision.
            signals: of the revision.
        """
        new = copy.copy(self)
        revision, forward = settings["revision"], signals.forward
        new._signals = signals
        new._vectors = self._vectors.updated(
            connection, derived_file(settings, VECTOR_INDEX), forward, revision, signals.vectors_after
        )
        new._terms = self._terms.updated(
            connection, derived_file(settings, INVERTED_INDEX), revision, signals.weighted_terms_after
        )
        new._selectivity = Selectivity(connection, self._index_path)
        file = derived_file(settings, NEIGHBOURS)
        if not forward[0] or (file and file.revision != forward[0].revision):
            file = None  # it refers to rows of another forward index
        if file != self._neighbours_file or (self._neighbours and is_cut_short(self._neighbours.content)):
            new._neighbours, reason = open_neighbours(self._index_path, file) if file else (None, "")
            if file and reason == DAMAGED:
                path = self._index_path / file.name
                _log.warning("The search file %s is damaged; queries are slower without it.", path)
            new._neighbours_file = file
        return new

    def is_cut_short(self) -> bool:
        """Return whether a mapped file became shorter than its mapping."""
        return self._terms.is_cut_short() or (self._neighbours is not None and is_cut_short(self._neighbours.content))

    def retrieve_candidates(
        self, connection: sqlite3.Connection, queries: Sequence[CandidateQuery], n: int
    ) -> tuple[Signals, list[NDArray[np.int64]]]:
        """Return the signals of all candidates and their rows by query, see `Store.retrieve_candidates`."""
        candidates = [_NO_KEYS for _ in queries]
        uncached = self._use_cached_neighbours(connection, queries, n, candidates)
        pending = [(uncached, n)] if uncached else []
        while pending:
            positions, width = pending.pop()
            short = self._search(connection, queries, positions, width, n, candidates)
            chunk = max(MAX_UNFILTERED_KEYS // (4 * width), 1)
            pending += [(short[start : start + chunk], 4 * width) for start in range(0, len(short), chunk)]
        all_keys = distinct(np.concatenate([_NO_KEYS, *candidates]))
        signals, stored_keys = self._signals.read(connection, all_keys)
        order = np.argsort(stored_keys)
        has_exclusions = any(query.condition.exclude for query in queries)
        row_of_id = {id: row for row, id in enumerate(signals.ids)} if has_exclusions else {}
        rows_by_query = []
        for keys, query in zip(candidates, queries, strict=True):
            stored = keys[np.isin(keys, stored_keys)] if len(stored_keys) < len(all_keys) else keys
            rows = order[np.searchsorted(stored_keys, stored, sorter=order)]
            excluded = [row_of_id[id] for id in query.condition.exclude if id in row_of_id]
            # `np.isin` takes as long as a dozen comparisons.
            for row in excluded[:MAX_LOOKUP_EXCLUSIONS]:
                rows = rows[rows != row]
            rows_by_query.append(rows[~np.isin(rows, excluded)] if len(excluded) > MAX_LOOKUP_EXCLUSIONS else rows)
        return signals, rows_by_query

    def _use_cached_neighbours(
        self,
        connection: sqlite3.Connection,
        queries: Sequence[CandidateQuery],
        n: int,
        candidates: list[NDArray[np.int64]],
    ) -> list[int]:
        """Put the cached neighbours of stored query articles, and later articles, into `candidates`.

        Returns:
            The positions of the queries that have to be searched.
        """
        neighbours, forward_index = self._neighbours, self._signals.forward[1]
        if neighbours is None or forward_index is None or neighbours.n < n:
            return list(range(len(queries)))
        rows = forward_index.rows(np.array([query.key or 0 for query in queries], dtype=np.int64))
        codes = forward_index.language_codes(rows).tolist()
        cached: dict[int, NDArray[np.int64]] = {}  # keys by position
        for position, (query, row, code) in enumerate(zip(queries, rows.tolist(), codes, strict=True)):
            condition = query.condition
            if (
                row >= 0
                and forward_index.languages[code] == condition.language
                and len(condition.exclude) <= MAX_LOOKUP_EXCLUSIONS
                and (neighbour_rows := neighbours.rows(row)) is not None
            ):
                cached[position] = forward_index.keys(neighbour_rows)
        if not cached:
            return list(range(len(queries)))
        vectors = np.stack([queries[position].vector for position in cached])
        later = self._vectors.search(vectors, n, only_later=True)
        positions_by_condition: dict[Condition, list[int]] = {}
        remaining = dict(cached)
        for position, by_vector in zip(cached, later, strict=True):
            query = queries[position]
            if len(self._vectors.removed):
                remaining[position] = cached[position][~np.isin(cached[position], self._vectors.removed)]
            by_terms = self._terms.search(query.term_ids, query.weights, n, only_later=True)
            candidates[position] = np.concatenate([remaining[position], by_vector, by_terms])
            if len(candidates[position]) > len(remaining[position]):
                candidates[position] = distinct(candidates[position])
            restriction = self._selectivity.simplified(_without_exclusions(query.condition))
            if restriction is not None:
                positions_by_condition.setdefault(restriction, []).append(position)
        for restriction, positions in positions_by_condition.items():
            keys = distinct(np.concatenate([candidates[position] for position in positions]))
            admitted = np.array(sorted(filter_keys(connection, restriction, keys.tolist())), dtype=np.int64)
            for position in positions:
                candidates[position] = candidates[position][np.isin(candidates[position], admitted)]
                remaining[position] = remaining[position][np.isin(remaining[position], admitted)]
        lost = {
            position
            for position, keys in cached.items()
            if len(keys) - len(remaining[position]) > MAX_LOST_SHARE * len(keys)
        }
        return sorted((set(range(len(queries))) - cached.keys()) | lost)

    def _search(
        self,
        connection: sqlite3.Connection,
        queries: Sequence[CandidateQuery],
        positions: list[int],
        width: int,
        n: int,
        candidates: list[NDArray[np.int64]],
    ) -> list[int]:
        """Put the results of both searches, `width` each, into `candidates`, for the queries at some positions.

        Returns:
            The positions of the queries that need a wider search.
        """
        # Exclusions are ids, which are looked up at the end; until then each may take the place of a candidate.
        exclusions = [len(queries[position].condition.exclude) for position in positions]
        vectors = np.stack([queries[position].vector for position in positions])
        nearest = self._vectors.search(vectors, width + max(exclusions))
        groups: dict[Condition, list[tuple[int, int, NDArray[np.int64], NDArray[np.int64]]]] = {}
        for position, extra, keys in zip(positions, exclusions, nearest, strict=True):
            query = queries[position]
            by_vector = keys[: width + extra]
            by_terms = self._terms.search(query.term_ids, query.weights, width + extra)
            restriction = self._selectivity.simplified(_without_exclusions(query.condition))
            if restriction is None:
                candidates[position] = distinct(np.concatenate([by_vector, by_terms]))
            else:
                groups.setdefault(restriction, []).append((position, extra, by_vector, by_terms))
        short: list[int] = []
        for restriction, members in groups.items():
            all_keys = distinct(np.concatenate([keys for _, _, *results in members for keys in results]))
            admitted = filter_keys(connection, restriction, all_keys.tolist())
            for position, extra, by_vector, by_terms in members:
                admitted_by_vector, admitted_by_terms = (
                    np.array([key for key in keys.tolist() if key in admitted], dtype=np.int64)
                    for keys in (by_vector, by_terms)
                )
                candidates[position] = distinct(np.concatenate([admitted_by_vector, admitted_by_terms]))
                needed = n + extra
                if len(by_vector) < width + extra or (
                    len(admitted_by_vector) >= needed
                    and (len(by_terms) < width + extra or len(admitted_by_terms) >= needed)
                ):
                    continue  # enough, or the searches have no more
                all_admitted = self._selectivity.all_keys_if_few(connection, restriction)
                if all_admitted is None:
                    short.append(position)
                else:
                    candidates[position] = np.array(sorted(all_admitted), dtype=np.int64)
        return short


def _without_exclusions(condition: Condition) -> Condition:
    return replace(condition, exclude=frozenset()) if condition.exclude else condition
