"""The floor of an index: the least exact score of a link, from what pairs of articles drawn at random have."""

import numpy as np

from recommender.matching import compare_pairs
from recommender.ranking.scoring import DECIMALS
from recommender.store import Store

PAIRS = 2000
LEAST = 50  # articles; in fewer a random pair says little
MOST = 0.5  # shown as 0.2; what scores more is a link, also in an archive most of which is alike
DEVIATIONS = 3.0  # above the median of random pairs
TO_DEVIATION = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution


def calibrate(store: Store) -> float | None:
    """Return the least exact score that tells a link from an article drawn at random; None for a handful of articles.

    The median of 2,000 random pairs plus three standard deviations. The deviation is taken from the median absolute
    deviation (Hampel 1974), since in a small archive many a random pair belongs together. The same archive gives the
    same.

    Args:
        store: the store; hold the right to write.
    """
    ids = list(store.ids())
    if len(ids) < LEAST:
        return None
    draw = np.random.default_rng(0)
    places = draw.integers(len(ids), size=(PAIRS, 2)).tolist()
    scores = list(compare_pairs(store, ((ids[one], ids[other]) for one, other in places)))
    middle = float(np.median(scores))
    deviation = TO_DEVIATION * float(np.median(np.abs(np.array(scores) - middle)))
    return round(min(middle + DEVIATIONS * deviation, MOST), DECIMALS)
