"""Rankings: retrieve the candidates of queries and score them; score given pairs of articles."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from recommender.ranking import scoring
from recommender.ranking.query import MAX_CHUNK_QUERIES, Query, stored_queries
from recommender.ranking.scorer import Ranking, Scorer
from recommender.ranking.scoring import BOTH, DEFAULT_TEXT_SCALE, Scale, Weights
from recommender.store import CandidateQuery, Store
from recommender.text.terms import strongest_terms


def rank(store: Store, queries: Sequence[Query], n: int, weights: Weights = BOTH) -> list[list[tuple[str, float]]]:
    """Return for each query its candidates with their raw scores, best first, ties by id; never the query's article.

    Args:
        store: the store; hold a snapshot of it.
        queries: the queries.
        n: how many candidates to retrieve by each signal, 1 or more.
        weights: the weight of each signal.
    """
    scorer, (rankings,) = rank_by(store, queries, n, [weights])
    return [scorer.with_ids(ranking) for ranking in rankings]


def rank_by(
    store: Store, queries: Sequence[Query], n: int, methods: Sequence[Weights]
) -> tuple[Scorer, list[list[Ranking]]]:
    """Return the scorer of all candidates, and for each weighting the rankings of the queries; see `rank`."""
    scorer, candidate_rows = retrieve(store, queries, n)
    order_of_ids = id_order(scorer.signals.ids)
    rankings: list[list[Ranking]] = [[] for _ in methods]
    for query, rows in zip(queries, candidate_rows, strict=True):
        for ranking, scores in zip(rankings, scorer.scores(query, rows, methods), strict=True):
            order = scoring.in_order(scores, order_of_ids[rows])
            ranking.append(Ranking(rows[order], scores[order]))
    return scorer, rankings


def retrieve(store: Store, queries: Sequence[Query], n: int) -> tuple[Scorer, list[NDArray[np.int64]]]:
    """Return the scorer of all candidates, and the rows of each query's in it, without its own article; see `rank`."""
    candidate_queries = []
    for query in queries:
        strongest = strongest_terms(query.weights)
        candidate_queries.append(
            CandidateQuery(
                query.vector, query.term_ids[strongest], query.weights[strongest], query.condition, query.key
            )
        )
    signals, candidate_rows = store.retrieve_candidates(candidate_queries, n)
    row_of = {id: row for row, id in enumerate(signals.ids)}
    rows_by_query = []
    for query, retrieved in zip(queries, candidate_rows, strict=True):
        query_row = row_of.get(query.id) if query.id else None
        rows_by_query.append(retrieved if query_row is None else retrieved[retrieved != query_row])
    return Scorer(signals), rows_by_query


def id_order(ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the rank of each id in ascending order, which decides between equal scores: int64, shape (n,)."""
    order = np.empty(len(ids), dtype=np.int64)
    order[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    return order


def compare(
    store: Store, queries: Sequence[Query], candidate_ids: Sequence[Sequence[str]], weights: Weights = BOTH
) -> list[dict[str, float]]:
    """Return the raw scores of given articles, by id, for each query.

    Args:
        store: the store; hold a snapshot of it.
        queries: the queries.
        candidate_ids: the ids of the articles, for each query; ids that the store does not contain are ignored.
        weights: the weight of each signal.
    """
    scorer = Scorer(store.signals(sorted({id for ids in candidate_ids for id in ids})))
    row_of = {id: row for row, id in enumerate(scorer.signals.ids)}
    scores_by_query = []
    for query, ids in zip(queries, candidate_ids, strict=True):
        rows = np.array([row_of[id] for id in ids if id in row_of], dtype=np.int64)
        (scores,) = scorer.scores(query, rows, [weights])
        scores_by_query.append(
            dict(zip((scorer.signals.ids[row] for row in rows.tolist()), scores.tolist(), strict=True))
        )
    return scores_by_query


def compare_pairs(store: Store, pairs: Iterable[tuple[str, str]]) -> Iterator[float]:
    """Yield the raw scores of pairs of articles, the first of each as the query.

    Pairs of an article with itself are left out. Opens a snapshot for every chunk, so pairs of an article that is
    removed meanwhile are left out too.
    """
    remaining = iter(pair for pair in pairs if pair[0] != pair[1])
    while chunk := list(islice(remaining, MAX_CHUNK_QUERIES)):
        with store.snapshot():
            queries = stored_queries(store, [query_id for query_id, _ in chunk])
            stored_pairs = [(queries[query_id], [other]) for query_id, other in chunk if query_id in queries]
            scores_by_query = compare(store, [query for query, _ in stored_pairs], [ids for _, ids in stored_pairs])
        yield from (score for scores in scores_by_query for score in scores.values())


def with_text_scale(store: Store, query: Query) -> Query:
    """Return the query of a text with the scale of its own raw scores, measured on a sample of the index.

    A text of a few words has lower raw scores than an article, with related and unrelated articles alike.

    Args:
        store: the store; hold a snapshot of it.
        query: the query.
    """
    measured = store.settings().get("scale")
    (scores,) = compare(store, [query], [measured["sample"]]) if measured else ({},)
    return replace(query, scale=Scale.estimate(list(scores.values())) if scores else DEFAULT_TEXT_SCALE)
