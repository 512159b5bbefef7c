"""Exact scoring: which of the candidates fit best. docs/ranking.md has the formula and what it was chosen by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DECIMALS = 6  # sums differ beyond them with the order of adding; the same input must give the same order
MIDDLE, STEEPNESS = 0.74, 3.4  # of the map of standardised scores to display scores, see docs/ranking.md
RANDOM_MEAN, RANDOM_DEVIATION = -0.05, 0.14  # of the standardised scores of random pairs
LOW_QUANTILES = 0.05, 0.25  # of random pairs, from which mean and deviation are estimated
LOW_DEVIATES = -1.6449, -0.6745  # the same quantiles of a standard normal distribution
DEVIATIONS = 0.7, 1.25  # that an estimate may have, in RANDOM_DEVIATION
THRESHOLD_DEVIATIONS = 3.25  # above the mean of random pairs
MAX_THRESHOLD = 0.5  # what scores more is a link, also in an archive most of which is alike


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


@dataclass(frozen=True, slots=True)
class Scale:
    """The distribution of the raw scores of random pairs, by which raw scores are standardised and displayed.

    The defaults are those of a large archive, for archives that are too small to measure them.

    Attributes:
        mean: of the raw scores of unrelated pairs.
        deviation: their standard deviation, above 0.
    """

    mean: float = RANDOM_MEAN
    deviation: float = RANDOM_DEVIATION

    @classmethod
    def estimate(cls, scores: Sequence[float] | NDArray[np.float64]) -> "Scale":
        """Return the distribution of which random pairs' raw scores are a sample, one or more.

        Estimated from two low quantiles, as of a normal distribution: in an archive of few subjects many random pairs
        are related, and have the higher scores.
        """
        low, high = np.quantile(np.asarray(scores, dtype=np.float64), LOW_QUANTILES).tolist()
        deviation = (high - low) / (LOW_DEVIATES[1] - LOW_DEVIATES[0])
        mean = high - LOW_DEVIATES[1] * deviation
        least, most = (factor * RANDOM_DEVIATION for factor in DEVIATIONS)
        return cls(round(mean, DECIMALS), round(min(max(deviation, least), most), DECIMALS))

    @property
    def score_threshold(self) -> float:
        """The least raw score of a link: what hardly any random pair has."""
        return round(min(self.mean + THRESHOLD_DEVIATIONS * self.deviation, MAX_THRESHOLD), DECIMALS)

    def display(self, raw: float) -> float:
        """Return the display score, from 0 to 1: it means the same in every archive and never falls as `raw` rises.

        x^3.4 / (x^3.4 + 0.74^3.4) for a standardised score x above 0, and 0 below.
        """
        standardised = RANDOM_MEAN + (raw - self.mean) * (RANDOM_DEVIATION / self.deviation)
        above: float = max(standardised, 0.0) ** STEEPNESS
        return float(above / (above + MIDDLE**STEEPNESS))


DEFAULT_SCALE = Scale()
DEFAULT_TEXT_SCALE = Scale(mean=-0.06, deviation=0.1)  # of a text and random articles, in a small archive


def cosines(query: NDArray[np.float32], vectors: NDArray[np.float32], spread: float = 1.0) -> NDArray[np.float64]:
    """Return the cosine of the query and each vector; float64, shape (n,), from -1 to 1 with a spread of 1.

    Args:
        query: shape (dimensions,), L2-normalised.
        vectors: shape (n, dimensions), L2-normalised.
        spread: the factor for 1 - cosine that gives a model the default model's range of cosines.
    """
    products: NDArray[np.float64] = np.einsum("ij,j->i", vectors.astype(np.float64), query.astype(np.float64))
    return 1.0 - spread * (1.0 - np.clip(products, -1.0, 1.0)) if spread != 1.0 else np.clip(products, -1.0, 1.0)


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


def in_order(scores: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order of candidates, best first: int64, shape (n,).

    Args:
        scores: their exact scores, shape (n,).
        places: where each stands by its id, which decides between equal scores, shape (n,).
    """
    return np.lexsort((places, -scores))
