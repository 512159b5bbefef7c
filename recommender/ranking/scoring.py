"""Exact scoring: which of the candidates fit best."""

import numpy as np
from numpy.typing import NDArray

DECIMALS = 6  # float32 sums differ beyond them with the order of adding; the same input must give the same order


def score(query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of the query and each vector; below 0 counts as 0.

    Args:
        query: shape (dimensions,), L2-normalised.
        vectors: shape (n, dimensions), L2-normalised.

    Returns:
        float64, shape (n,), from 0 to 1.
    """
    cosines = np.einsum("ij,j->i", vectors.astype(np.float64), query.astype(np.float64))
    rounded: NDArray[np.float64] = np.clip(np.round(cosines, DECIMALS), 0.0, 1.0)
    return rounded


def ranked(ids: list[str], scores: NDArray[np.float64]) -> list[tuple[str, float]]:
    """Return ids with their scores, best first; ties by id."""
    return sorted(zip(ids, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
