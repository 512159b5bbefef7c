"""Rankers: what a block ranks its candidates by, the content ranking or a learned one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recommender.filters import Condition
from recommender.learning.catalog import ArticleFields, Catalog, article_fields
from recommender.learning.features import GROUPS, ContentSignals, QueryContext, feature_matrix, group_columns
from recommender.learning.model import RankingModel
from recommender.ranking import scoring
from recommender.ranking.matching import id_order, rank_by, retrieve
from recommender.ranking.query import CANDIDATES_PER_SIGNAL, Query
from recommender.ranking.scorer import Ranking, Scorer
from recommender.ranking.scoring import BOTH
from recommender.store import Store
from recommender.text.terms import extract_terms


class Ranker(Protocol):
    """Ranks the candidates of queries by raw scores. Every call needs a snapshot of the store."""

    def prepare(self, queries: Sequence[Query], n: int) -> None:
        """Retrieve `n` candidates by each signal for queries that are passed to the other methods next."""

    def rank(self, queries: Sequence[Query], n: int) -> tuple[Scorer, list[Ranking]]:
        """Return the scorer of all candidates, and the ranking of each query, best first, ties by id.

        Args:
            queries: the queries.
            n: how many candidates to retrieve by each signal, 1 or more.
        """

    def scores(self, query: Query, scorer: Scorer, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the raw scores of the articles at some rows of a scorer: float64, shape (n,)."""

    def contributions(self, query: Query, ids: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return by article what each group of features adds to its raw score; empty for the content ranking."""


class ContentRanker:
    """Ranks by content, see `recommender.ranking`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def prepare(self, queries: Sequence[Query], n: int) -> None:
        """See Ranker; nothing to do."""

    def rank(self, queries: Sequence[Query], n: int) -> tuple[Scorer, list[Ranking]]:
        """See Ranker."""
        scorer, (rankings,) = rank_by(self._store, queries, n, [BOTH])
        return scorer, rankings

    def scores(self, query: Query, scorer: Scorer, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See Ranker."""
        (scores,) = scorer.scores(query, rows, [BOTH])
        return scores

    def contributions(self, query: Query, ids: Sequence[str]) -> dict[str, dict[str, float]]:
        """See Ranker."""
        return {}


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A query with its candidates by content, the best first.

    Attributes:
        query: the query.
        rows: of the candidates in the scorer: int64, shape (n,).
        signals: of the candidates.
        catalog_rows: of the candidates in the catalog, -1 where it has none: int64, shape (n,).
        fields: of the query's article.
        row: of the query's article in the catalog; -1 if it has none.
    """

    query: Query
    rows: NDArray[np.int64]
    signals: ContentSignals
    catalog_rows: NDArray[np.int64]
    fields: ArticleFields
    row: int

    def context(self, catalog: Catalog, *, is_new: bool = False) -> QueryContext:
        """Return the context of the query; see `QueryContext.of`."""
        return QueryContext.of(
            catalog, self.fields, self.row, self.query.term_ids, self.signals, self.catalog_rows, is_new=is_new
        )


class LearnedRanker:
    """Ranks by a learned ranking, with candidates by content and candidates proposed by links.

    Args:
        store: the store.
        model: the ranking model.
        catalog: the catalog of the index.
    """

    def __init__(self, store: Store, model: RankingModel, catalog: Catalog) -> None:
        self._store, self._model, self._catalog = store, model, catalog
        self._batch: tuple[int, Scorer] | None = (
            None  # the number of candidates of the prepared queries, and their scorer
        )
        self._prepared: dict[int, tuple[PreparedQuery, QueryContext]] = {}  # by the identity of the query

    def prepare(self, queries: Sequence[Query], n: int) -> None:
        """See Ranker."""
        scorer, prepared = prepare(self._store, self._catalog, queries, CANDIDATES_PER_SIGNAL)
        contexts = [item.context(self._catalog) for item in prepared]  # as in training, so that no score depends on `n`
        if n != CANDIDATES_PER_SIGNAL:
            scorer, prepared = prepare(self._store, self._catalog, queries, n)
        self._batch = n, scorer
        self._prepared = {id(item.query): (item, context) for item, context in zip(prepared, contexts, strict=True)}

    def rank(self, queries: Sequence[Query], n: int) -> tuple[Scorer, list[Ranking]]:
        """See Ranker."""
        if self._batch is None or self._batch[0] != n or not all(map(self._is_prepared, queries)):
            self.prepare(queries, n)
        assert self._batch is not None  # noqa: S101
        scorer, batch = self._batch[1], [self._prepared[id(query)] for query in queries]
        proposed = [(item.query, self._catalog.ids(context.proposed())) for item, context in batch]
        scorer, extra_rows = add_articles(self._store, scorer, proposed)
        catalog_rows = self._catalog.rows(scorer.signals.ids)
        order_of_ids = id_order(scorer.signals.ids)
        rankings = []
        for (item, context), proposed_rows in zip(batch, extra_rows, strict=True):
            extra = np.setdiff1d(proposed_rows, item.rows, assume_unique=True)
            rows = np.concatenate([item.rows, extra])
            signals = item.signals.with_others(content_signals(item.query, scorer, extra))
            scores = self._scores(context, catalog_rows[rows], signals)
            order = scoring.in_order(scores, order_of_ids[rows])
            rankings.append(Ranking(rows[order], scores[order]))
        return scorer, rankings

    def scores(self, query: Query, scorer: Scorer, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See Ranker."""
        catalog_rows = self._catalog.rows([scorer.signals.ids[row] for row in rows.tolist()])
        return self._scores(self._context(query), catalog_rows, content_signals(query, scorer, rows))

    def contributions(self, query: Query, ids: Sequence[str]) -> dict[str, dict[str, float]]:
        """See Ranker."""
        context, scorer = self._context(query), Scorer(self._store.signals(ids))
        signals = content_signals(query, scorer, np.arange(len(scorer.signals.ids)))
        matrix = feature_matrix(self._catalog, context, self._catalog.rows(scorer.signals.ids), signals)
        columns = list(group_columns().values())
        parts_of = {}
        for id, features in zip(scorer.signals.ids, matrix, strict=True):
            parts = self._model.contributions(features, columns)
            parts_of[id] = dict(zip(("base", *GROUPS), parts, strict=True))
        return parts_of

    def _is_prepared(self, query: Query) -> bool:
        return id(query) in self._prepared and self._prepared[id(query)][0].query is query

    def _context(self, query: Query) -> QueryContext:
        if not self._is_prepared(query):
            self.prepare([query], CANDIDATES_PER_SIGNAL)
        return self._prepared[id(query)][1]

    def _scores(self, context: QueryContext, rows: NDArray[np.int64], signals: ContentSignals) -> NDArray[np.float64]:
        return self._model.raw_scores(feature_matrix(self._catalog, context, rows, signals))


def prepare(store: Store, catalog: Catalog, queries: Sequence[Query], n: int) -> tuple[Scorer, list[PreparedQuery]]:
    """Retrieve the candidates by content of queries, and their signals.

    Args:
        store: the store; hold a snapshot of it.
        catalog: the catalog of the index.
        queries: the queries.
        n: how many candidates to retrieve by each signal, 1 or more.
    """
    scorer, rows_by_query = retrieve(store, queries, n)
    catalog_rows = catalog.rows(scorer.signals.ids)
    order_of_ids = id_order(scorer.signals.ids)
    query_rows = catalog.rows([query.id or "" for query in queries])
    prepared = []
    for query, retrieved, query_row in zip(queries, rows_by_query, query_rows.tolist(), strict=True):
        signals = content_signals(query, scorer, retrieved)
        order = scoring.in_order(signals.score, order_of_ids[retrieved])
        rows, row = retrieved[order], query_row if query.id else -1
        fields = catalog.fields(row) if row >= 0 and query.article is None else _query_fields(store, query)
        prepared.append(PreparedQuery(query, rows, signals.at(order), catalog_rows[rows], fields, row))
    return scorer, prepared


def content_signals(query: Query, scorer: Scorer, rows: NDArray[np.int64]) -> ContentSignals:
    """Return the content signals of a query and the articles at some rows of a scorer."""
    dense, lexical, comparable = scorer.cosines(query, rows)
    hubness = scorer.signals.hubness[rows]
    return ContentSignals(
        dense=dense,
        lexical=np.where(comparable, lexical, scoring.expected_lexical(dense)),
        hubness=hubness,
        score=scoring.score(dense, lexical, comparable, hubness, BOTH),
        n_terms=scorer.n_terms(rows).astype(np.float64),
        same_language=np.array(
            [scorer.signals.languages[row] == query.language for row in rows.tolist()], dtype=np.bool_
        ),
    )


def add_articles(
    store: Store, scorer: Scorer, ids_by_query: Sequence[tuple[Query, Sequence[str]]]
) -> tuple[Scorer, list[NDArray[np.int64]]]:
    """Return a scorer that also has some articles of each query, and their rows: of those that its condition admits."""
    row_of = {id: row for row, id in enumerate(scorer.signals.ids)}
    ids_by_condition: dict[Condition, set[str]] = {}
    for query, ids in ids_by_query:
        ids_by_condition.setdefault(replace(query.condition, exclude=frozenset()), set()).update(ids)
    admitted = {
        condition: store.filter_ids(sorted(ids), condition) if ids else set()
        for condition, ids in ids_by_condition.items()
    }
    missing = sorted({id for ids in admitted.values() for id in ids} - row_of.keys())
    if missing:
        scorer = scorer.extended(store.signals(missing))
        row_of = {id: row for row, id in enumerate(scorer.signals.ids)}
    rows_by_query = []
    for query, ids in ids_by_query:
        eligible = admitted[replace(query.condition, exclude=frozenset())] - query.condition.exclude - {query.id}
        rows_by_query.append(np.array([row_of[id] for id in ids if id in eligible and id in row_of], dtype=np.int64))
    return scorer, rows_by_query


def _query_fields(store: Store, query: Query) -> ArticleFields:
    """Return the fields of an article that the catalog does not contain; empty ones for a text."""
    if query.article is None:
        summary = store.summaries([query.id]).get(query.id) if query.id else None
    else:
        summary = query.article
    if summary is None:
        empty = np.empty(0, dtype=np.int64)
        return ArticleFields(empty, empty, 0, empty, empty, np.nan)
    language = query.language or "und"
    stored = store.lookup_terms(language, extract_terms(summary.title, "", language))
    return article_fields(summary, {number for number, _ in stored.values()})
