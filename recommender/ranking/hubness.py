"""Keeping up what the hubness term needs: each article's mean score to its own nearest."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recommender.ranking.matching import CANDIDATES_PER_SIGNAL, NEIGHBOURS, chunk_size, rank_by, stored_queries
from recommender.ranking.scoring import Weights
from recommender.store import Store
from recommender.system.processes import MIN_ARTICLES_FOR_PROCESSES, parallel_map

STORED_AT_ONCE = 4096
LOOKED_FOR = CANDIDATES_PER_SIGNAL + 1  # an article is found too when its candidates are looked for
PLAIN = Weights(hubness=0.0)


def refresh(store: Store, on_progress: Callable[[int, int], None], n_jobs: int | None = None) -> bool:
    """Compute the hubness of the articles that have none: of those that came, or of all.

    Between two rounds over the whole archive, which are due when the store makes its search files anew, the hubness of
    the others stays as it was, as the counts of terms do: so do the blocks that nothing new has come near.

    Args:
        store: the store; hold the right to write.
        on_progress: called with how many articles are done, of how many.
        n_jobs: how many processes at most, see `processes.worker_count`.

    Returns:
        Whether it was a round over the whole archive.
    """
    due = store.stale_hubness_ids()
    whole = bool(due) and len(due) == store.count()
    size = chunk_size(store)
    chunks = [due[start : start + size] for start in range(0, len(due), size)]
    done, values = 0, dict[str, float]()
    many = store.guarantees.processes and len(due) >= MIN_ARTICLES_FOR_PROCESSES
    with store.caching_neighbours(LOOKED_FOR) if whole else nullcontext(lambda found: None) as keep:
        for found, near in parallel_map(partial(estimate_hubness, store), chunks, use_processes=many, n_jobs=n_jobs):
            done, values = min(done + size, len(due)), values | found
            keep(near)
            if len(values) >= STORED_AT_ONCE or done == len(due):  # a commit waits for all who read
                store.put_hubness(values, last=done == len(due))
                values = {}
            on_progress(done, len(due))
    return whole


def estimate_hubness(store: Store, ids: Sequence[str]) -> tuple[dict[str, float], dict[int, NDArray[np.int64]]]:
    """Return the hubness of articles, by id; and by key their candidates' keys, best first."""
    with store.snapshot():
        queries = list(stored_queries(store, ids).values())
        comparing, (rankings,) = rank_by(store, queries, LOOKED_FOR, [PLAIN])
    values, numbers = {}, {}
    for query, ranking in zip(queries, rankings, strict=True):
        near = ranking.scores[:NEIGHBOURS].tolist()
        values[query.id or ""] = round(sum(near) / len(near), 6) if near else 0.0
        if query.key is not None:
            numbers[query.key] = comparing.signals.keys[ranking.rows]
    return values, numbers
