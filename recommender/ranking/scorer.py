"""The scorer: raw scores of articles for a query, and what each score is made of."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommender.ranking import scoring
from recommender.ranking.query import Query, term_weights
from recommender.ranking.scoring import BOTH, Weights
from recommender.store import Signals, Store
from recommender.text import tfidf


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates of a query, best first, ties by id.

    Attributes:
        rows: their rows in the signals of the scorer: int64, shape (n,).
        scores: their raw scores: float64, shape (n,).
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoreBreakdown:
    """The parts of a raw score.

    Attributes:
        raw_score: the sum of the three parts.
        dense: the part of the vectors.
        lexical: the part of the terms.
        hubness: the hubness correction, 0 or less.
        terms: the shared terms, the strongest first, each with its share of `lexical`.
        groups: under a learned ranking what each group of features adds to the raw score; empty otherwise.
    """

    raw_score: float
    dense: float
    lexical: float
    hubness: float
    terms: tuple[tuple[str, float], ...]
    groups: Mapping[str, float] = field(default_factory=dict)


class Scorer:
    """Scores articles for queries.

    Args:
        signals: the signals of the articles. A row below is a row of these.
    """

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self._weights = term_weights(signals)
        self._offsets = np.searchsorted(signals.rows, np.arange(len(signals.ids) + 1))
        self._language_names = sorted(set(signals.languages))
        codes = {name: code for code, name in enumerate(self._language_names)}
        self._languages = np.array([codes[name] for name in signals.languages], dtype=np.int64)
        self._has_terms = np.bincount(signals.rows, self._weights, minlength=len(signals.ids)) > 0
        self._positions = _zeroed_positions(int(signals.term_ids.max(initial=0)) + 1)

    def extended(self, signals: Signals) -> "Scorer":
        """Return a scorer of these articles and of others, whose rows follow."""
        first, other, n = self.signals, Scorer(signals), len(self.signals.ids)
        names = sorted({*self._language_names, *other._language_names})
        codes = {name: code for code, name in enumerate(names)}
        scorer = object.__new__(Scorer)
        scorer.signals = Signals(
            ids=[*first.ids, *signals.ids],
            languages=[*first.languages, *signals.languages],
            rows=np.concatenate([first.rows, signals.rows + n]),
            **{
                name: np.concatenate([getattr(first, name), getattr(signals, name)])
                for name in (
                    "vectors",
                    "collection_sizes",
                    "hubness",
                    "term_ids",
                    "frequencies",
                    "document_frequencies",
                    "keys",
                )
            },
        )
        scorer._weights = np.concatenate([self._weights, other._weights])
        scorer._offsets = np.concatenate([self._offsets, other._offsets[1:] + self._offsets[-1]])
        scorer._language_names = names
        scorer._languages = np.array([codes[name] for name in scorer.signals.languages], dtype=np.int64)
        scorer._has_terms = np.concatenate([self._has_terms, other._has_terms])
        scorer._positions = _zeroed_positions(int(scorer.signals.term_ids.max(initial=0)) + 1)
        return scorer

    def n_terms(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of distinct terms of the articles at `rows`: int64, shape (n,)."""
        return self._offsets[rows + 1] - self._offsets[rows]

    def with_ids(self, ranking: Ranking) -> list[tuple[str, float]]:
        """Return the candidates' ids with their raw scores."""
        ids = [self.signals.ids[row] for row in ranking.rows.tolist()]
        return list(zip(ids, ranking.scores.tolist(), strict=True))

    def term_ids(self, row: int) -> NDArray[np.int64]:
        """Return the term ids of the article at `row`, ascending."""
        return self.signals.term_ids[self._offsets[row] : self._offsets[row + 1]]

    def scores(self, query: Query, rows: NDArray[np.int64], methods: Sequence[Weights]) -> list[NDArray[np.float64]]:
        """Return the raw scores of the articles at `rows` for each of the weightings: float64, shape (n,)."""
        dense, lexical, comparable = self.cosines(query, rows)
        return [scoring.score(dense, lexical, comparable, self.signals.hubness[rows], weights) for weights in methods]

    def cosines(
        self, query: Query, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return the dense and the lexical cosine of the articles at `rows`, and which of them are comparable."""
        dense = scoring.cosines(query.vector, self.signals.vectors[rows], query.cosine_spread)
        return dense, *self.lexical_cosines(query, rows)

    def shared_terms(self, query: Query, row: int) -> list[tuple[int, float]]:
        """Return the ids of the terms that the article at `row` shares with the query, and what each contributes.

        The strongest first. The contributions add up to the lexical cosine. Empty where the two are not comparable.
        """
        (products, terms, _), (comparable,) = self._products(query, np.array([row]))
        if not comparable:
            return []
        pairs = zip(self.signals.term_ids[terms].tolist(), products.tolist(), strict=True)
        return sorted((pair for pair in pairs if pair[1] > 0), key=lambda pair: (-pair[1], pair[0]))

    def lexical_cosines(self, query: Query, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the lexical cosines of the query with the articles at `rows`, and which of them are comparable.

        An article is comparable if both have weighted terms of its language.
        """
        (products, _, row_of_product), comparable = self._products(query, rows)
        return np.clip(np.bincount(row_of_product, products, minlength=len(rows)), 0.0, 1.0), comparable

    def _products(
        self, query: Query, rows: NDArray[np.int64]
    ) -> tuple[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]:
        """Return the products of weights of the shared terms, their indices in the signals and in `rows`; and which of
        the articles are comparable.
        """
        starts, lengths = self._offsets[rows], self._offsets[rows + 1] - self._offsets[rows]
        ends = np.cumsum(lengths)
        terms = np.arange(int(lengths.sum())) - np.repeat(ends - lengths - starts, lengths)
        is_indexed = query.term_ids < len(self._positions)
        query_ids = query.term_ids[is_indexed]
        try:
            self._positions[query_ids] = np.arange(1, len(query_ids) + 1)
            query_positions = self._positions[self.signals.term_ids[terms]]
        finally:
            self._positions[query_ids] = 0
        shared = np.flatnonzero(query_positions > 0)
        has_terms, weights = self._has_terms[rows], self._weights[terms[shared]]
        of_query_language = self._of_query_language(query, rows)
        if not query.is_stored:  # weighted as if the index had one more article, with the query's terms
            row_of_term = np.repeat(np.arange(len(rows)), lengths)
            all_weights = tfidf.tfidf_weights(
                self.signals.frequencies[terms].astype(np.float64),
                self.signals.document_frequencies[terms] + (query_positions > 0),
                self.signals.collection_sizes[rows] + of_query_language.astype(np.int64),
                row_of_term,
                len(rows),
            )
            has_terms = np.bincount(row_of_term, all_weights, minlength=len(rows)) > 0
            weights = all_weights[shared]
        products = query.weights[is_indexed][query_positions[shared] - 1] * weights
        return (products, terms[shared], np.searchsorted(ends, shared, side="right")), has_terms & of_query_language

    def _of_query_language(self, query: Query, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the articles are in a language in which the query has terms."""
        languages = np.array([name in query.languages for name in self._language_names], dtype=np.bool_)
        return languages[self._languages[rows]]


def explain(store: Store, query: Query, ids: Sequence[str]) -> dict[str, ScoreBreakdown]:
    """Return the parts of the raw scores of articles, by id.

    Args:
        store: the store; hold a snapshot of it.
        query: the query that the articles are scored for.
        ids: the articles; those that the store does not contain are left out.
    """
    scorer = Scorer(store.signals(ids))
    rows = np.arange(len(scorer.signals.ids))
    parts = [Weights(BOTH.dense, 0, 0), Weights(0, BOTH.lexical, 0), Weights(0, 0, BOTH.hubness), BOTH]
    dense, lexical, hubness, raw_scores = (scores.tolist() for scores in scorer.scores(query, rows, parts))
    breakdowns = {}
    for row, id in enumerate(scorer.signals.ids):
        shared = scorer.shared_terms(query, row)
        names = store.terms([term_id for term_id, _ in shared])
        terms = tuple((names[term_id], round(BOTH.lexical * part, scoring.DECIMALS)) for term_id, part in shared)
        breakdowns[id] = ScoreBreakdown(raw_scores[row], dense[row], lexical[row], hubness[row], terms)
    return breakdowns


_thread_local = threading.local()


def _zeroed_positions(size: int) -> NDArray[np.int32]:
    """Return a thread-local zeroed array indexed by term id, of `size` or more elements.

    Users restore the zeros: clearing an array of all terms of an archive takes longer than scoring a query.
    """
    positions: NDArray[np.int32] = getattr(_thread_local, "positions", np.empty(0, dtype=np.int32))
    if len(positions) < size:
        positions = _thread_local.positions = np.zeros(size, dtype=np.int32)
    return positions
