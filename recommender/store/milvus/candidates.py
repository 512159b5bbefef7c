"""Candidate retrieval on Milvus, by vectors and by terms, and the signals of articles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.store.base import CandidateQuery, Signals
from recommender.store.milvus.articles import ArticleReader
from recommender.store.milvus.batch import article_count
from recommender.store.milvus.filter_expression import filter_expression
from recommender.store.milvus.rows import StoredArticle, primary_key
from recommender.store.milvus.schema import ARTICLES, HUBNESS, TERM_VECTORS, UNKNOWN_ROUND
from recommender.store.milvus.state import IndexState
from recommender.store.milvus.term_vectors import (
    hashed_vector,
    inverse_document_frequencies,
    select_query_terms,
    sparse_vector,
)

# Search widths of HNSW, IVF and DiskANN indexes; each ignores those of the others.
SEARCH_PARAMETERS = {"ef": 200, "nprobe": 64, "search_list": 200}
MAX_HITS = 16_384  # of a search in Milvus


class CandidateSearch:
    """Retrieves candidates and signals of articles.

    Args:
        state: the state of the index.
        reader: reads the articles.
    """

    def __init__(self, state: IndexState, reader: ArticleReader) -> None:
        self._state, self._reader = state, reader

    def signals(self, stored: Sequence[StoredArticle]) -> Signals:
        """Return the signals of articles, in their order."""
        settings, dictionary = self._state.settings(), self._state.dictionary
        no_terms = np.empty(0, dtype=np.int64)
        rows = np.repeat(np.arange(len(stored), dtype=np.int64), [len(article.term_hashes) for article in stored])
        term_ids = dictionary.ids(np.concatenate([no_terms, *(article.term_hashes for article in stored)]))
        frequencies = np.concatenate([no_terms, *(article.frequencies for article in stored)])
        order = np.lexsort((term_ids, rows))
        term_ids, frequencies = term_ids[order], frequencies[order]
        sizes = {language: articles for language, (articles, _) in settings["languages"].items()}
        collection_sizes = np.array([sizes.get(article.language, 0) for article in stored], dtype=np.int64)
        return Signals(
            ids=[article.id for article in stored],
            languages=[article.language for article in stored],
            vectors=np.array([article.vector for article in stored], dtype=np.float32).reshape(
                len(stored), settings["model"]["dimensions"]
            ),
            collection_sizes=collection_sizes,
            hubness=self._hubness([article.pk for article in stored], settings),
            rows=rows,
            term_ids=term_ids,
            frequencies=frequencies,
            # The two are written at different moments, and no term is in more articles than there are.
            document_frequencies=np.minimum(dictionary.document_frequencies(term_ids), collection_sizes[rows]),
        )

    def _hubness(self, keys: Sequence[str], settings: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the hubness of articles, in the order of the keys; the mean where it is unknown."""
        positions = {key: position for position, key in enumerate(keys)}
        hubness = np.full(len(keys), settings["mean_hubness"])
        for row in self._state.connection.rows_by_key(HUBNESS, keys, ["hubness", "round"]):
            if row["round"] != UNKNOWN_ROUND:
                hubness[positions[row["pk"]]] = row["hubness"]
        return hubness

    def retrieve(self, queries: Sequence[CandidateQuery], n: int) -> tuple[Signals, list[NDArray[np.int64]]]:
        """Retrieve candidates; see `Store.retrieve_candidates`. Milvus evaluates the conditions."""
        settings = self._state.settings()
        groups: dict[tuple[str, int], list[int]] = {}  # queries that one search can answer
        for position, query in enumerate(queries):
            where = filter_expression(query.condition, exclude=False)
            groups.setdefault((where, len(query.condition.exclude)), []).append(position)
        keys_of_queries: list[list[str]] = [[] for _ in queries]
        for (where, excluded), positions in groups.items():
            limit = min(n + excluded, MAX_HITS)
            keys_of_group = self._search(settings, [queries[position] for position in positions], where, limit)
            for position, keys in zip(positions, keys_of_group, strict=True):
                excluded_keys = {primary_key(id) for id in queries[position].condition.exclude}
                keys_of_queries[position] = [key for key in keys if key not in excluded_keys]
        stored = self._reader.stored(sorted({key for keys in keys_of_queries for key in keys}))
        signals = self.signals([*stored.values()])
        rows = {key: row for row, key in enumerate(stored)}
        # Articles that were removed between the search and the read of their rows are left out.
        return signals, [
            np.array([rows[key] for key in keys if key in rows], dtype=np.int64) for keys in keys_of_queries
        ]

    def _search(
        self, settings: Mapping[str, Any], queries: Sequence[CandidateQuery], where: str, limit: int
    ) -> list[list[str]]:
        """Return for each query the primary keys of the nearest articles by vector and by terms, each once."""
        connection, dictionary = self._state.connection, self._state.dictionary
        widened = {name: max(SEARCH_PARAMETERS[name], limit) for name in ("ef", "search_list")}
        parameters = SEARCH_PARAMETERS | widened
        vectors = [query.vector for query in queries]
        keys_of_queries = connection.search(ARTICLES, "vector", vectors, where, limit, parameters)
        with_terms = [position for position, query in enumerate(queries) if len(query.term_ids)]
        if not with_terms:
            return keys_of_queries
        articles = article_count(settings)
        is_sparse = settings["term_vectors"] == "sparse"
        term_vectors: list[Any] = []
        for query in (queries[position] for position in with_terms):
            frequencies = dictionary.document_frequencies(query.term_ids)
            selected = select_query_terms(frequencies)
            hashes, weights = dictionary.hashes(query.term_ids[selected]), query.weights[selected]
            if is_sparse:
                idf = inverse_document_frequencies(frequencies[selected], articles)
                term_vectors.append(sparse_vector(hashes, weights * idf))
            else:
                term_vectors.append(hashed_vector(hashes, weights))
        collection, parameters = (ARTICLES, {}) if is_sparse else (TERM_VECTORS, parameters)
        by_terms = connection.search(collection, "term_vector", term_vectors, where, limit, parameters)
        for position, keys in zip(with_terms, by_terms, strict=True):
            keys_of_queries[position] = list(dict.fromkeys([*keys_of_queries[position], *keys]))
        return keys_of_queries
