"""Synthetic articles, vectors and queries for the tests of stores."""

from functools import cache

import numpy as np
from hypothesis import strategies as st

from recommender import Article
from recommender.filters import Condition
from recommender.store import CandidateQuery, Store, Upsert

DIMENSIONS = 8
SETTINGS = {"model": {"name": "made up", "hash": "0", "dimensions": DIMENSIONS, "max_tokens": 1}}


@cache
def vector(number: int) -> np.ndarray:
    """Return a random unit vector that float16 represents exactly."""
    values = np.random.default_rng(number).normal(size=DIMENSIONS).astype(np.float32)
    return (values / np.linalg.norm(values)).astype(np.float16).astype(np.float32)


def terms(number: int) -> dict[str, int]:
    """Return one term of all articles, one of a tenth of them, and one of this article alone."""
    return {"all": 1, f"tenth {number % 10}": 2, f"own {number}": 1}


def upsert(id: str, number: int = 0, **fields) -> Upsert:
    """Return an article with the vector and terms of a number."""
    article = Article(id=id, **{"title": f"title {number}", "text": f"text {number}", **fields})
    return Upsert(article, "source", vector(number), terms(number), "en", False)


def fill(store: Store, upserts=(), removals=(), built=True) -> None:
    """Write a batch, to a new index if there is none, and finish."""
    with store.write_lock():
        if not store.exists():
            store.create(SETTINGS)
        store.write(list(upserts), list(removals))
        store.finish(built=built)


def vector_query(vector: np.ndarray, **condition) -> CandidateQuery:
    """Return a query without terms."""
    return CandidateQuery(vector, np.empty(0, dtype=np.int64), np.empty(0), Condition(**condition))


def candidate_ids(store: Store, *queries: CandidateQuery, n: int = 10) -> list[set[str]]:
    """Return the ids of the candidates of each query."""
    signals, rows_by_query = store.retrieve_candidates(queries, n)
    return [{signals.ids[row] for row in rows} for rows in rows_by_query]


def nearest_ids(store: Store, vector: np.ndarray, n: int) -> list[str]:
    """Return the ids of the `n` candidates nearest to a vector, the nearest first."""
    signals, (rows,) = store.retrieve_candidates([vector_query(vector)], n)
    order = rows[np.argsort(-(signals.vectors[rows] @ vector), kind="stable")]
    return [signals.ids[row] for row in order][:n]


def ids_with_term(store: Store, term: str, n: int = 10) -> set[str]:
    """Return the ids of the candidates for a term that have it; others are retrieved by vector."""
    term_entries = store.lookup_terms("en", [term])
    if not term_entries:
        return set()
    term_id = np.array([term_entries[term][0]])
    signals, (rows,) = store.retrieve_candidates([CandidateQuery(vector(0), term_id, np.array([1.0]), Condition())], n)
    rows_with_term = set(signals.rows[signals.term_ids == term_id[0]].tolist())
    return {signals.ids[row] for row in rows.tolist() if row in rows_with_term}


def write_batches(max_size):
    """A strategy of batches of writes: vector numbers of articles to add, ids to remove, whether `finish` follows."""
    ids = st.sampled_from("abcdefgh")
    batch = st.tuples(st.dictionaries(ids, st.integers(0, 50), max_size=6), st.lists(ids, max_size=3), st.booleans())
    return st.lists(batch, min_size=1, max_size=max_size)
