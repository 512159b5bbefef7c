"""From a query to its ranking: the store proposes candidates, the signals of each are compared, the sum decides."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from recommender.filters import Condition
from recommender.ranking import scoring
from recommender.ranking.scoring import BOTH, DEFAULT_SCALE, DEFAULT_TEXT_SCALE, Scale, Weights
from recommender.store import CandidateQuery, Signals, Store
from recommender.text import tfidf
from recommender.text.terms import strongest_terms

CANDIDATES_PER_SIGNAL = 50  # that each signal proposes
MAX_CHUNK_QUERIES, MIN_CHUNK_QUERIES = 256, 8  # queries that are compared at once
TERMS_AT_ONCE = 2_500_000  # of all their candidates, about; with what is made of each, 50 bytes
SAMPLE = 64  # articles that tell how many terms one has
NEIGHBOURS = 10  # nearest articles that an article's hubness is the mean score to


@dataclass(frozen=True, slots=True)
class Query:
    """What articles are compared with.

    Attributes:
        vector: L2-normalised, float32, shape (dimensions,).
        language: its article's own; None for a text, which is read in all of them.
        condition: which articles may be candidates.
        numbers: the numbers of its terms, ascending: int64, shape (t,).
        weights: the terms' weights: float64, shape (t,).
        spoken: the languages that it has weighed terms of.
        stored: whether it is counted in the store's counts. One that is not is compared as though it were.
        spread: of the model that the vectors are of, see `cosine_range`.
        scale: what its raw scores are displayed by.
        id: its article's id, if it has one.
        key: its article's number in the store, see `Signals`, if it is stored and has one.
    """

    vector: NDArray[np.float32]
    language: str | None
    condition: Condition
    term_ids: NDArray[np.int64]
    weights: NDArray[np.float64]
    languages: frozenset[str]
    is_stored: bool
    cosine_spread: float = 1.0
    scale: Scale = DEFAULT_SCALE
    id: str | None = None
    key: int | None = None


def chunk_size(store: Store) -> int:
    """Return how many queries to compare at once: fewer where articles are long, or memory would grow with them."""
    signals = store.signals(list(islice(store.ids(), SAMPLE)))
    terms = len(signals.term_ids) / max(len(signals.ids), 1)
    return max(
        min(MAX_CHUNK_QUERIES, int(TERMS_AT_ONCE / (2 * CANDIDATES_PER_SIGNAL * max(terms, 1.0)))), MIN_CHUNK_QUERIES
    )


def cosine_spread(store: Store) -> float:
    """Return the spread of the model of an index, see `cosine_range`."""
    return float(store.settings()["model"].get("spread", 1.0))


def display_scale(store: Store) -> Scale:
    """Return the scale of an index; the default one of a small archive, or where a build was cut off before its end."""
    measured = store.settings().get("scale")
    return Scale(measured["mean"], measured["deviation"]) if measured else DEFAULT_SCALE


def with_text_scale(store: Store, query: Query) -> Query:
    """Return the query of a text with the scale of its raw scores with a sample of the index.

    A text of a few words has lower scores than an article, with those that fit it as with all others.

    Args:
        store: the store; hold a snapshot of it.
        query: the query.
    """
    measured = store.settings().get("scale")
    (scores,) = compare(store, [query], [measured["sample"]]) if measured else ({},)
    return replace(query, scale=Scale.estimate(list(scores.values())) if scores else DEFAULT_TEXT_SCALE)


def stored_queries(store: Store, ids: Sequence[str]) -> dict[str, Query]:
    """Return queries for those of the articles that the store holds, by id; candidates are in each one's language."""
    signals = store.signals(ids)
    weighed = _weigh(signals)
    ends = np.searchsorted(signals.rows, np.arange(len(signals.ids) + 1))
    keys = signals.keys.tolist() or [None] * len(signals.ids)
    spread, scale = cosine_spread(store), display_scale(store)
    queries = {}
    for row, (id, key) in enumerate(zip(signals.ids, keys, strict=True)):
        part = slice(ends[row], ends[row + 1])
        own = signals.languages[row]
        queries[id] = Query(
            vector=signals.vectors[row],
            language=own,
            condition=Condition(language=own),
            term_ids=signals.term_ids[part],
            weights=weighed[part],
            languages=frozenset({own} if weighed[part].any() else ()),
            is_stored=True,
            cosine_spread=spread,
            scale=scale,
            id=id,
            key=key,
        )
    return queries


def new_query(
    store: Store, vector: NDArray[np.float32], terms: Mapping[str, Mapping[str, int]], language: str | None
) -> Query:
    """Return the query of an article or a text that the store does not hold, as though it did.

    Args:
        store: the store.
        vector: its vector.
        terms: by language its terms and how often each stands in it.
        language: its language, which candidates are in; None for any.
    """
    sizes = store.languages()
    numbers: list[int] = []
    weights: list[float] = []
    spoken = set()
    for spoken_language, frequencies in terms.items():
        known = store.lookup_terms(spoken_language, frequencies)
        if not known:
            continue
        total = sizes.get(spoken_language, (0, 0))[0] + 1
        weighed = tfidf.tfidf_weights(
            np.array([frequencies[term] for term in known], dtype=np.float64),
            np.array([count + 1 for _, count in known.values()], dtype=np.int64),
            np.array([total], dtype=np.int64),
            np.zeros(len(known), dtype=np.int64),
            1,
        )
        numbers += [number for number, _ in known.values()]
        weights += weighed.tolist()
        spoken.add(spoken_language)
    order = np.argsort(np.array(numbers, dtype=np.int64))
    return Query(
        vector=vector,
        language=language,
        condition=Condition(language=language),
        term_ids=np.array(numbers, dtype=np.int64)[order],
        weights=np.array(weights, dtype=np.float64)[order],
        languages=frozenset(spoken),
        is_stored=False,
        cosine_spread=cosine_spread(store),
        scale=display_scale(store),
    )


def rank(store: Store, queries: Sequence[Query], n: int, weights: Weights = BOTH) -> list[list[tuple[str, float]]]:
    """Return for each query its candidates with their exact scores, best first, ties by id; never itself.

    Args:
        store: the store; hold a snapshot of it.
        queries: the queries.
        n: how many candidates each signal proposes, 1 or more.
        weights: what each signal counts.
    """
    found, (rankings,) = rank_by(store, queries, n, [weights])
    return [found.with_ids(ranking) for ranking in rankings]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates of a query, best first, ties by id.

    Attributes:
        rows: which of the articles they are whose signals were compared: int64, shape (n,).
        scores: their exact scores: float64, shape (n,).
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def rank_by(
    store: Store, queries: Sequence[Query], n: int, methods: Sequence[Weights]
) -> tuple["Scorer", list[list[Ranking]]]:
    """Return all candidates with their signals, and for each of the weights the rankings; see `rank`."""
    probes = []
    for query in queries:
        strongest = strongest_terms(query.weights)
        probes.append(
            CandidateQuery(
                query.vector, query.term_ids[strongest], query.weights[strongest], query.condition, query.key
            )
        )
    signals, own_rows = store.retrieve_candidates(probes, n)
    comparing = Scorer(signals)
    place = np.empty(len(signals.ids), dtype=np.int64)  # of each among all by id, for ties
    place[sorted(range(len(signals.ids)), key=signals.ids.__getitem__)] = np.arange(len(signals.ids))
    row_of = {id: row for row, id in enumerate(signals.ids)}
    rankings: list[list[Ranking]] = [[] for _ in methods]
    for query, proposed in zip(queries, own_rows, strict=True):
        own = row_of.get(query.id) if query.id else None
        rows = proposed if own is None else proposed[proposed != own]
        for ranking, exact in zip(rankings, comparing.scores(query, rows, methods), strict=True):
            order = scoring.in_order(exact, place[rows])
            ranking.append(Ranking(rows[order], exact[order]))
    return comparing, rankings


def compare(
    store: Store, queries: Sequence[Query], others: Sequence[Sequence[str]], weights: Weights = BOTH
) -> list[dict[str, float]]:
    """Return for each query the exact scores of the articles named, by id; of those that the store holds.

    Args:
        store: the store; hold a snapshot of it.
        queries: the queries.
        others: for each query the ids of the articles to compare it with.
        weights: what each signal counts.
    """
    comparing = Scorer(store.signals(sorted({id for ids in others for id in ids})))
    row_of = {id: row for row, id in enumerate(comparing.signals.ids)}
    found = []
    for query, ids in zip(queries, others, strict=True):
        rows = np.array([row_of[id] for id in ids if id in row_of], dtype=np.int64)
        (scores,) = comparing.scores(query, rows, [weights])
        found.append(dict(zip((comparing.signals.ids[row] for row in rows.tolist()), scores.tolist(), strict=True)))
    return found


def compare_pairs(store: Store, pairs: Iterable[tuple[str, str]]) -> Iterator[float]:
    """Yield the exact scores of pairs of articles, the first of each as the query; never of one with itself.

    Opens snapshots of its own, so that an article that is removed meanwhile is passed over.
    """
    rest = iter(pair for pair in pairs if pair[0] != pair[1])
    while chunk := list(islice(rest, MAX_CHUNK_QUERIES)):
        with store.snapshot():
            queries = stored_queries(store, [one for one, _ in chunk])
            asked = [(queries[one], [other]) for one, other in chunk if one in queries]
            found = compare(store, [query for query, _ in asked], [others for _, others in asked])
        yield from (score for of_query in found for score in of_query.values())


@dataclass(frozen=True, slots=True)
class ScoreBreakdown:
    """What an exact score is made of.

    Attributes:
        exact: the score: the sum of the three.
        dense: from the vectors.
        lexical: from the terms.
        hubness: what is taken off, 0 or less.
        terms: the terms that both have, the strongest first, each with its share of `lexical`.
    """

    raw_score: float
    dense: float
    lexical: float
    hubness: float
    terms: tuple[tuple[str, float], ...]


def explain(store: Store, query: Query, ids: Sequence[str]) -> dict[str, ScoreBreakdown]:
    """Return what the scores of articles are made of, by id; of those that the store holds.

    Args:
        store: the store; hold a snapshot of it.
        query: what they are compared with.
        ids: the articles.
    """
    comparing = Scorer(store.signals(ids))
    rows = np.arange(len(comparing.signals.ids))
    only = [Weights(BOTH.dense, 0, 0), Weights(0, BOTH.lexical, 0), Weights(0, 0, BOTH.hubness), BOTH]
    dense, words, hubness, exact = (scores.tolist() for scores in comparing.scores(query, rows, only))
    found = {}
    for row, id in enumerate(comparing.signals.ids):
        shared = comparing.shared_terms(query, row)
        names = store.terms([number for number, _ in shared])
        strong = tuple((names[number], round(BOTH.lexical * by, scoring.DECIMALS)) for number, by in shared)
        found[id] = ScoreBreakdown(exact[row], dense[row], words[row], hubness[row], strong)
    return found


class Scorer:
    """Compares queries with articles, whose signals are given."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self._weighed = _weigh(signals)
        self._starts = np.searchsorted(signals.rows, np.arange(len(signals.ids) + 1))
        self._names = sorted(set(signals.languages))
        codes = {name: code for code, name in enumerate(self._names)}
        self._languages = np.array([codes[name] for name in signals.languages], dtype=np.int64)
        self._spoken = np.bincount(signals.rows, self._weighed, minlength=len(signals.ids)) > 0
        self._places = _places(int(signals.term_ids.max(initial=0)) + 1)

    def with_ids(self, ranking: Ranking) -> list[tuple[str, float]]:
        """Return the candidates' ids with their scores."""
        ids = [self.signals.ids[row] for row in ranking.rows.tolist()]
        return list(zip(ids, ranking.scores.tolist(), strict=True))

    def terms(self, row: int) -> NDArray[np.int64]:
        """Return the numbers of the terms of the article at `row`, ascending."""
        return self.signals.term_ids[self._starts[row] : self._starts[row + 1]]

    def scores(self, query: Query, rows: NDArray[np.int64], methods: Sequence[Weights]) -> list[NDArray[np.float64]]:
        """Return the exact scores of the articles at `rows`, by each of the weights."""
        dense = scoring.cosines(query.vector, self.signals.vectors[rows], query.cosine_spread)
        words, comparable = self.lexical_cosines(query, rows)
        return [scoring.score(dense, words, comparable, self.signals.hubness[rows], weights) for weights in methods]

    def shared_terms(self, query: Query, row: int) -> list[tuple[int, float]]:
        """Return the numbers of the terms that the article at `row` shares with the query, and what each gives.

        The strongest first; together they are the lexical cosine. None where the two cannot be compared.
        """
        (products, terms, _), (comparable,) = self._products(query, np.array([row]))
        if not comparable:
            return []
        pairs = zip(self.signals.term_ids[terms].tolist(), products.tolist(), strict=True)
        return sorted((pair for pair in pairs if pair[1] > 0), key=lambda pair: (-pair[1], pair[0]))

    def lexical_cosines(self, query: Query, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the lexical cosines of the query and the articles at `rows`, and which of them can be compared."""
        (products, _, place), comparable = self._products(query, rows)
        return np.clip(np.bincount(place, products, minlength=len(rows)), 0.0, 1.0), comparable

    def _products(
        self, query: Query, rows: NDArray[np.int64]
    ) -> tuple[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]:
        """Return what each term gives that the query shares with articles at `rows`, where it stands, and whose it is;
        and which of the articles can be compared.
        """
        starts, lengths = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        ends = np.cumsum(lengths)
        terms = np.arange(int(lengths.sum())) - np.repeat(ends - lengths - starts, lengths)
        numbers = self.signals.term_ids[terms]
        known = query.term_ids < len(self._places)
        own = query.term_ids[known]
        try:
            self._places[own] = np.arange(1, len(own) + 1)
            of_query = self._places[numbers]
        finally:
            self._places[own] = 0
        shared = np.flatnonzero(of_query > 0)
        places = np.searchsorted(ends, shared, side="right")
        spoken, weighed = self._spoken[rows], self._weighed[terms[shared]]
        if not query.is_stored:  # as though it were: one article more, with its terms
            place = np.repeat(np.arange(len(rows)), lengths)
            speaks = self._speak(query)[self._languages[rows]].astype(np.int64)
            all_weighed = tfidf.tfidf_weights(
                self.signals.frequencies[terms].astype(np.float64),
                self.signals.document_frequencies[terms] + (of_query > 0),
                self.signals.collection_sizes[rows] + speaks,
                place,
                len(rows),
            )
            spoken, weighed = np.bincount(place, all_weighed, minlength=len(rows)) > 0, all_weighed[shared]
        products = query.weights[known][of_query[shared] - 1] * weighed
        comparable = spoken & self._speak(query)[self._languages[rows]]
        return (products, terms[shared], places), comparable

    def _speak(self, query: Query) -> NDArray[np.bool_]:
        """Return in which of the languages the query has terms."""
        return np.array([name in query.languages for name in self._names], dtype=np.bool_)


_kept = threading.local()


def _places(size: int) -> NDArray[np.int32]:
    """Return one place for every number below `size`, all 0, where the terms of the query at hand are looked up.

    It is this thread's, and given out again: clearing one for every term of an archive takes longer than to compare.
    """
    places: NDArray[np.int32] = getattr(_kept, "places", np.empty(0, dtype=np.int32))
    if len(places) < size:
        places = _kept.places = np.zeros(size, dtype=np.int32)
    return places


def _weigh(signals: Signals) -> NDArray[np.float64]:
    return tfidf.tfidf_weights(
        signals.frequencies.astype(np.float64),
        signals.document_frequencies,
        signals.collection_sizes,
        signals.rows,
        len(signals.ids),
    )
