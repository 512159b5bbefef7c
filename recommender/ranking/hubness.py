"""Hubness: the mean raw score of each article to its own nearest neighbours, kept up to date in the store."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recommender.ranking.matching import rank_by
from recommender.ranking.query import CANDIDATES_PER_SIGNAL, chunk_size, stored_queries
from recommender.ranking.scoring import Weights
from recommender.store import Store
from recommender.system.processes import MIN_ARTICLES_FOR_PROCESSES, parallel_map

NEIGHBOURS = 10  # whose mean raw score is an article's hubness
COMMIT_ARTICLES = 4096  # a commit waits for all readers, so several chunks share one
CANDIDATES = CANDIDATES_PER_SIGNAL + 1  # an article is a candidate of its own query
UNCORRECTED = Weights(hubness=0.0)


def refresh(store: Store, on_progress: Callable[[int, int], None], n_jobs: int | None = None) -> bool:
    """Compute the hubness of the articles without one: of new articles, or of all.

    Between two passes over the whole archive, which are due when the store rebuilds its derived files, the hubness of
    other articles stays as it is, as document frequencies do; so blocks without a new neighbour stay the same.

    Args:
        store: the store; hold the right to write.
        on_progress: called with the number of articles done and the total.
        n_jobs: how many processes at most, see `processes.worker_count`.

    Returns:
        Whether it was a pass over the whole archive.
    """
    stale_ids = store.stale_hubness_ids()
    full_pass = bool(stale_ids) and len(stale_ids) == store.count()
    size = chunk_size(store)
    chunks = [stale_ids[start : start + size] for start in range(0, len(stale_ids), size)]
    done, uncommitted = 0, dict[str, float]()
    in_parallel = store.guarantees.processes and len(stale_ids) >= MIN_ARTICLES_FOR_PROCESSES
    with store.caching_neighbours(CANDIDATES) if full_pass else nullcontext(lambda neighbours: None) as cache:
        estimates = parallel_map(partial(estimate_hubness, store), chunks, use_processes=in_parallel, n_jobs=n_jobs)
        for hubness, neighbours in estimates:
            done, uncommitted = min(done + size, len(stale_ids)), uncommitted | hubness
            cache(neighbours)
            if len(uncommitted) >= COMMIT_ARTICLES or done == len(stale_ids):
                store.put_hubness(uncommitted, last=done == len(stale_ids))
                uncommitted = {}
            on_progress(done, len(stale_ids))
    return full_pass


def estimate_hubness(store: Store, ids: Sequence[str]) -> tuple[dict[str, float], dict[int, NDArray[np.int64]]]:
    """Return the hubness of articles, by id; and by key the keys of their candidates, best first."""
    with store.snapshot():
        queries = list(stored_queries(store, ids).values())
        scorer, (rankings,) = rank_by(store, queries, CANDIDATES, [UNCORRECTED])
    hubness, neighbours = {}, {}
    for query, ranking in zip(queries, rankings, strict=True):
        scores = ranking.scores[:NEIGHBOURS].tolist()
        hubness[query.id or ""] = round(sum(scores) / len(scores), 6) if scores else 0.0
        if query.key is not None:
            neighbours[query.key] = scorer.signals.keys[ranking.rows]
    return hubness, neighbours
