"""What articles are proposed by that share a query's terms: a sparse vector each, or where there are none a short one.

Milvus has sparse vectors since 2.4. A server before that gets the same weights folded into a dense vector by signed
feature hashing (Weinberger et al. 2009), which keeps inner products but for noise.
"""

import numpy as np
from numpy.typing import NDArray

SATURATION, LENGTH = 1.2, 0.75  # k1 and b of BM25 (Robertson and Zaragoza 2009)
MOST_INDEX = 2**32 - 2  # of a sparse vector in Milvus
FOLDED = 512  # numbers of a dense one
MOST_LOOKED_UP, LEAST_LOOKED_UP = 100_000, 3  # articles in which a query's terms stand; terms that are taken even so
_SPREAD = 0x9E3779B97F4A7C15  # an odd number, so that all bits of a hash decide the place


def saturated(frequencies: NDArray[np.int64], average: float) -> NDArray[np.float64]:
    """Return what BM25 makes of an article's term frequencies, without the terms' rarity; shape (t,).

    Args:
        frequencies: how often each of its terms stands in it, shape (t,).
        average: how many words an article has.
    """
    length = 1 - LENGTH + LENGTH * float(frequencies.sum()) / max(average, 1.0)
    made: NDArray[np.float64] = frequencies * (SATURATION + 1) / (frequencies + SATURATION * length)
    return made


def rarity(articles: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    """Return BM25's ln(1 + (N - df + 1/2) / (df + 1/2)) of terms that stand in so many articles of `total`."""
    df = np.minimum(articles, total)
    made: NDArray[np.float64] = np.log(1 + (total - df + 0.5) / (df + 0.5))
    return made


def looked_up(articles: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell of a query's terms which candidates are looked up by: the rarest that together stand in 100,000 articles or
    fewer, but three at least, so that asking costs no more in an archive of millions.

    Args:
        articles: in how many articles each stands, shape (t,).
    """
    rarest = np.argsort(articles, kind="stable")
    wanted = np.cumsum(articles[rarest]) <= MOST_LOOKED_UP
    wanted[:LEAST_LOOKED_UP] = True
    found = np.zeros(len(articles), dtype=np.bool_)
    found[rarest[wanted]] = True
    return found


def sparse(hashes: NDArray[np.int64], weights: NDArray[np.float64]) -> dict[int, float]:
    """Return the sparse vector of weighed terms; never an empty one, which Milvus refuses."""
    found: dict[int, float] = {}
    for index, weight in zip((hashes % MOST_INDEX).tolist(), weights.tolist(), strict=True):
        if weight > 0:
            found[index] = found.get(index, 0.0) + weight
    return found or {MOST_INDEX: 1e-6}


def folded(hashes: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the dense vector of weighed terms: float32, shape (FOLDED,), L2-normalised."""
    mixed = hashes.astype(np.uint64) * np.uint64(_SPREAD)
    places = (mixed >> np.uint64(40)).astype(np.int64) % FOLDED
    signs = np.where((mixed >> np.uint64(63)) > 0, 1.0, -1.0)
    made = np.bincount(places, weights * signs, minlength=FOLDED)
    norm = float(np.linalg.norm(made)) or 1.0
    return (made / norm).astype(np.float32)
