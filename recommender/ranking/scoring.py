"""Exact scoring: which of the candidates fit best. docs/ranking.md has the formula and what it was chosen by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DECIMALS = 6  # sums differ beyond them with the order of adding; the same input must give the same order
MIDDLE, STEEPNESS = 0.74, 3.4  # of the map of exact scores to those shown; docs/ranking.md shows what it gives


@dataclass(frozen=True, slots=True)
class Weights:
    """What each part counts in a score.

    Attributes:
        dense: of the cosine of the vectors.
        lexical: of the cosine of the weighed terms.
        hubness: of the candidate's mean score to its own nearest, which is taken off.
    """

    dense: float = 1.0
    lexical: float = 1.5
    hubness: float = 0.25


BOTH = Weights()
DENSE = Weights(lexical=0.0, hubness=0.0)
LEXICAL = Weights(dense=0.0, hubness=0.0)


def cosines(query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of the query and each vector; float64, shape (n,), from -1 to 1.

    Args:
        query: shape (dimensions,), L2-normalised.
        vectors: shape (n, dimensions), L2-normalised.
    """
    found: NDArray[np.float64] = np.einsum("ij,j->i", vectors.astype(np.float64), query.astype(np.float64))
    return np.clip(found, -1.0, 1.0)


def usual_lexical(dense: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lexical cosine that pairs of one language with this dense cosine have on the average.

    It stands in where two articles share no language and so no words, and puts such a pair on the scale of the
    others.
    """
    found: NDArray[np.float64] = 0.85 * np.clip(dense, 0.0, 1.0) ** 2
    return found


def score(
    dense: NDArray[np.float64],
    lexical: NDArray[np.float64],
    comparable: NDArray[np.bool_],
    hubness: NDArray[np.float64],
    weights: Weights,
) -> NDArray[np.float64]:
    """Return the exact scores of a query's candidates: the weighed sum of the signals, less the hubness.

    The hubness term is that of CSLS (Conneau et al. 2018), on the candidate's side only and damped: what is near
    to everything is not near to the query in particular.

    Args:
        dense: cosines of the vectors, shape (n,).
        lexical: cosines of the weighed terms, shape (n,).
        comparable: whether query and candidate have terms of one language, shape (n,).
        hubness: the candidates' mean scores to their nearest, shape (n,).
        weights: what each counts.

    Returns:
        float64, shape (n,), rounded to six decimals; of no fixed range.
    """
    words = np.where(comparable, lexical, usual_lexical(dense))
    exact = weights.dense * dense + weights.lexical * words - weights.hubness * hubness
    rounded: NDArray[np.float64] = np.round(exact, DECIMALS) + 0.0  # no -0
    return rounded


def shown(exact: float) -> float:
    """Return an exact score on the scale from 0 to 1 that people see: the same map for every query and archive.

    x^3.4 / (x^3.4 + 0.74^3.4) for a score x above 0, and 0 below; it never falls where the exact score rises.
    """
    above: float = max(exact, 0.0) ** STEEPNESS
    return float(above / (above + MIDDLE**STEEPNESS))


def in_order(scores: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order of candidates, best first: int64, shape (n,).

    Args:
        scores: their exact scores, shape (n,).
        places: where each stands by its id, which decides between equal scores, shape (n,).
    """
    return np.lexsort((places, -scores))
