"""The scale of an index: what raw scores pairs of articles drawn at random have, measured when it is built."""

import heapq
import zlib
from typing import Any

from recommender.ranking.matching import compare, stored_queries
from recommender.ranking.scoring import Scale
from recommender.store import Store

PAIRS, PAIRED = 4096, 512  # pairs, and the articles that they are made of
SAMPLE = 256  # of these, that a text to search for is compared with
MIN_ARTICLES = 50  # in fewer a random pair says little


def calibrate(store: Store) -> dict[str, Any] | None:
    """Return the mean and the deviation of the raw scores of random pairs, and the ids of a sample of the articles;
    None for a handful of articles.

    Articles are drawn by a checksum of their ids, so that most pairs stay the same when articles come and go.

    Args:
        store: the store; hold the right to write.
    """
    with store.snapshot():
        sample = heapq.nsmallest(PAIRED, store.ids(), key=_order)
        if len(sample) < MIN_ARTICLES:
            return None
        steps = range(1, min(PAIRS // len(sample), (len(sample) - 1) // 2) + 1)  # no pair twice
        queries = stored_queries(store, sample)
        sample = [id for id in sample if id in queries]  # a store without snapshots may have lost one meanwhile
        others = [[sample[(place + step) % len(sample)] for step in steps] for place in range(len(sample))]
        compared = compare(store, [queries[id] for id in sample], others)
    scale = Scale.estimate([score for scores in compared for score in scores.values()])
    return {"mean": scale.mean, "deviation": scale.deviation, "sample": sample[:SAMPLE]}


def _order(id: str) -> tuple[int, str]:
    return zlib.crc32(id.encode()), id
