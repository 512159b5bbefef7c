"""Queries: an article of the index, a new article or a text in the form that articles are scored against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from recommender.article import ArticleSummary
from recommender.filters import Condition
from recommender.ranking.scoring import DEFAULT_SCALE, Scale
from recommender.store import Signals, Store
from recommender.text import tfidf

CANDIDATES_PER_SIGNAL = 50  # retrieved by vectors, and as many by terms
MAX_CHUNK_QUERIES, MIN_CHUNK_QUERIES = 256, 8  # queries that are scored at once
MAX_CHUNK_TERMS = 2_500_000  # of all candidates of a chunk, approximately; each takes about 50 bytes
SAMPLE_ARTICLES = 64  # from which the mean number of terms is estimated


@dataclass(frozen=True, slots=True)
class Query:
    """The signals of a text that articles are scored against.

    Attributes:
        vector: L2-normalised, float32, shape (dimensions,).
        language: the language of its article; None for a text, which is analysed in every language of the index.
        condition: which articles may be candidates.
        term_ids: ascending: int64, shape (t,).
        weights: the terms' weights: float64, shape (t,).
        languages: the languages in which it has terms with a weight above 0.
        is_stored: whether the document frequencies of the store count it. Any other query is scored as if they did.
        cosine_spread: the factor for 1 - cosine, see `scoring.rescale_cosines`.
        scale: the scale of its raw scores, for display.
        id: the id of its article; None for a text.
        key: the store's number of its article, see `Signals`; None if it is not stored or the store has no numbers.
        article: its article, if the store need not contain it; None for a stored article and for a text.
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
    article: ArticleSummary | None = None


def chunk_size(store: Store) -> int:
    """Return how many queries to score at once: fewer where articles are long, so that memory stays bounded."""
    signals = store.signals(list(islice(store.ids(), SAMPLE_ARTICLES)))
    mean_terms = len(signals.term_ids) / max(len(signals.ids), 1)
    size = int(MAX_CHUNK_TERMS / (2 * CANDIDATES_PER_SIGNAL * max(mean_terms, 1.0)))
    return max(min(MAX_CHUNK_QUERIES, size), MIN_CHUNK_QUERIES)


def display_scale(store: Store) -> Scale:
    """Return the measured scale of an index; the default scale of a small archive and of an unfinished build."""
    measured = store.settings().get("scale")
    return Scale(measured["mean"], measured["deviation"]) if measured else DEFAULT_SCALE


def stored_queries(store: Store, ids: Sequence[str]) -> dict[str, Query]:
    """Return the queries of stored articles by id, with candidates in each article's language.

    Args:
        store: the store; hold a snapshot of it.
        ids: the articles; those that the store does not contain are left out.
    """
    signals = store.signals(ids)
    weights = term_weights(signals)
    offsets = np.searchsorted(signals.rows, np.arange(len(signals.ids) + 1))
    keys = signals.keys.tolist() or [None] * len(signals.ids)
    spread, scale = _cosine_spread(store), display_scale(store)
    queries = {}
    for row, (id, key) in enumerate(zip(signals.ids, keys, strict=True)):
        terms = slice(offsets[row], offsets[row + 1])
        language = signals.languages[row]
        queries[id] = Query(
            vector=signals.vectors[row],
            language=language,
            condition=Condition(language=language),
            term_ids=signals.term_ids[terms],
            weights=weights[terms],
            languages=frozenset({language} if weights[terms].any() else ()),
            is_stored=True,
            cosine_spread=spread,
            scale=scale,
            id=id,
            key=key,
        )
    return queries


def new_query(
    store: Store,
    vector: NDArray[np.float32],
    terms: Mapping[str, Mapping[str, int]],
    language: str | None,
    id: str | None = None,
) -> Query:
    """Return the query of a text that the store does not contain, weighted as if it did.

    Args:
        store: the store; hold a snapshot of it.
        vector: L2-normalised, float32, shape (dimensions,).
        terms: by language the terms and their frequencies.
        language: the language of the candidates; None for any.
        id: the id of its article; None for a text.
    """
    collection_sizes = store.languages()
    term_ids: list[int] = []
    weights: list[float] = []
    languages = set()
    for term_language, frequencies in terms.items():
        known_terms = store.lookup_terms(term_language, frequencies)
        if not known_terms:
            continue
        collection_size = collection_sizes.get(term_language, (0, 0))[0] + 1
        term_ids += [term_id for term_id, _ in known_terms.values()]
        weights += tfidf.tfidf_weights(
            np.array([frequencies[term] for term in known_terms], dtype=np.float64),
            np.array([document_frequency + 1 for _, document_frequency in known_terms.values()], dtype=np.int64),
            np.array([collection_size], dtype=np.int64),
            np.zeros(len(known_terms), dtype=np.int64),
            1,
        ).tolist()
        languages.add(term_language)
    order = np.argsort(np.array(term_ids, dtype=np.int64))
    return Query(
        vector=vector,
        language=language,
        condition=Condition(language=language),
        term_ids=np.array(term_ids, dtype=np.int64)[order],
        weights=np.array(weights, dtype=np.float64)[order],
        languages=frozenset(languages),
        is_stored=False,
        cosine_spread=_cosine_spread(store),
        scale=display_scale(store),
        id=id,
    )


def term_weights(signals: Signals) -> NDArray[np.float64]:
    """Return the tf-idf weight of every term of some articles: float64, shape (terms,)."""
    return tfidf.tfidf_weights(
        signals.frequencies.astype(np.float64),
        signals.document_frequencies,
        signals.collection_sizes,
        signals.rows,
        len(signals.ids),
    )


def _cosine_spread(store: Store) -> float:
    """Return the spread of the index's model, measured when the index was created."""
    return float(store.settings()["model"].get("spread", 1.0))
