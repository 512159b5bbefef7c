"""Calibration: measure the raw scores of random pairs of articles, from which display scores follow."""

import heapq
import zlib
from typing import Any

from recommender.ranking.matching import compare
from recommender.ranking.query import stored_queries
from recommender.ranking.scoring import Scale
from recommender.store import Store

MAX_PAIRS = 4096  # whose raw scores are measured
MAX_PAIRED_ARTICLES = 512  # of which the pairs are made
TEXT_SAMPLE_SIZE = 256  # of the paired articles, for measuring the scale of a text query
MIN_ARTICLES = 50  # fewer have too few unrelated pairs


def calibrate(store: Store) -> dict[str, Any] | None:
    """Return mean and deviation of the raw scores of random pairs, and the ids of a sample of articles.

    Returns None for an archive of fewer than 50 articles. Articles are drawn by a checksum of their ids, so that most
    pairs stay the same when articles are added and removed.

    Args:
        store: the store; hold the right to write.
    """
    with store.snapshot():
        sample = heapq.nsmallest(MAX_PAIRED_ARTICLES, store.ids(), key=_checksum)
        if len(sample) < MIN_ARTICLES:
            return None
        steps = range(1, min(MAX_PAIRS // len(sample), (len(sample) - 1) // 2) + 1)  # no pair twice
        queries = stored_queries(store, sample)
        sample = [id for id in sample if id in queries]  # a store without snapshots may have removed one meanwhile
        partners = [[sample[(row + step) % len(sample)] for step in steps] for row in range(len(sample))]
        scores_by_query = compare(store, [queries[id] for id in sample], partners)
    scale = Scale.estimate([score for scores in scores_by_query for score in scores.values()])
    return {"mean": scale.mean, "deviation": scale.deviation, "sample": sample[:TEXT_SAMPLE_SIZE]}


def _checksum(id: str) -> tuple[int, str]:
    return zlib.crc32(id.encode()), id
