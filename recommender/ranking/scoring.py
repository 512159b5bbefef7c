"""The scoring formula: raw scores from signals, display scores from raw scores, the score threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DECIMALS = 6  # of a raw score; beyond them sums depend on the order of addition
DISPLAY_MIDPOINT, DISPLAY_STEEPNESS = 0.74, 3.4  # of the map from standardised to display scores
RANDOM_MEAN, RANDOM_DEVIATION = -0.05, 0.14  # of the standardised scores of random pairs
LOW_QUANTILES = 0.05, 0.25  # of random pairs, from which mean and deviation are estimated
LOW_NORMAL_QUANTILES = -1.6449, -0.6745  # the same quantiles of a standard normal distribution
DEVIATION_RANGE = 0.7, 1.25  # of an estimate, in units of RANDOM_DEVIATION
THRESHOLD_DEVIATIONS = 3.25  # of the score threshold above the mean of random pairs
MAX_THRESHOLD = 0.5  # of raw scores; for archives in which most articles are related


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight of each signal in a raw score.

    Attributes:
        dense: of the cosine of the embeddings.
        lexical: of the cosine of the tf-idf vectors.
        hubness: of the candidate's hubness, which is subtracted.
    """

    dense: float = 1.0
    lexical: float = 1.5
    hubness: float = 0.25


BOTH = Weights()
DENSE = Weights(lexical=0.0, hubness=0.0)
LEXICAL = Weights(dense=0.0, hubness=0.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """The distribution of the raw scores of unrelated pairs, by which raw scores are standardised for display.

    The defaults were measured on a large archive; archives that are too small to measure their own use them.

    Attributes:
        mean: the mean raw score.
        deviation: the standard deviation, above 0.
    """

    mean: float = RANDOM_MEAN
    deviation: float = RANDOM_DEVIATION

    @classmethod
    def estimate(cls, scores: Sequence[float] | NDArray[np.float64]) -> "Scale":
        """Estimate the scale from the raw scores of random pairs, one or more.

        Two low quantiles of a normal distribution determine it, because in an archive of few subjects many random pairs
        are related and have high scores.
        """
        low, high = np.quantile(np.asarray(scores, dtype=np.float64), LOW_QUANTILES).tolist()
        deviation = (high - low) / (LOW_NORMAL_QUANTILES[1] - LOW_NORMAL_QUANTILES[0])
        mean = high - LOW_NORMAL_QUANTILES[1] * deviation
        smallest, largest = (factor * RANDOM_DEVIATION for factor in DEVIATION_RANGE)
        return cls(round(mean, DECIMALS), round(min(max(deviation, smallest), largest), DECIMALS))

    @property
    def score_threshold(self) -> float:
        """The minimum raw score of a link, which few random pairs reach: mean + 3.25 deviations, at most 0.5."""
        return round(min(self.mean + THRESHOLD_DEVIATIONS * self.deviation, MAX_THRESHOLD), DECIMALS)

    def display(self, raw_score: float) -> float:
        """Return the display score, from 0 to 1, comparable between archives and monotonic in the raw score.

        x^3.4 / (x^3.4 + 0.74^3.4) for a standardised score x above 0, and 0 below.
        """
        standardised = RANDOM_MEAN + (raw_score - self.mean) * (RANDOM_DEVIATION / self.deviation)
        power: float = max(standardised, 0.0) ** DISPLAY_STEEPNESS
        return float(power / (power + DISPLAY_MIDPOINT**DISPLAY_STEEPNESS))

    def raw_score(self, display_score: float) -> float:
        """Return the raw score with this display score, above 0 and below 1."""
        standardised: float = DISPLAY_MIDPOINT * (display_score / (1.0 - display_score)) ** (1.0 / DISPLAY_STEEPNESS)
        return self.mean + (standardised - RANDOM_MEAN) * (self.deviation / RANDOM_DEVIATION)


DEFAULT_SCALE = Scale()
DEFAULT_TEXT_SCALE = Scale(mean=-0.06, deviation=0.1)  # of text queries in a small archive


def rescale_cosines(cosines: NDArray[Any], spread: float) -> NDArray[Any]:
    """Return 1 - spread · (1 - cosine): cosines of any model in the default model's range.

    Args:
        cosines: any shape, from -1 to 1.
        spread: the factor for 1 - cosine, measured per model; 1 for the default model.
    """
    return cosines if spread == 1.0 else 1.0 - spread * (1.0 - cosines)


def cosines(query: NDArray[np.float32], vectors: NDArray[np.float32], spread: float = 1.0) -> NDArray[np.float64]:
    """Return the cosine of the query and each vector, rescaled: float64, shape (n,), at most 1.

    Args:
        query: shape (dimensions,), L2-normalised.
        vectors: shape (n, dimensions), L2-normalised.
        spread: see `rescale_cosines`.
    """
    products: NDArray[np.float64] = np.einsum("ij,j->i", vectors.astype(np.float64), query.astype(np.float64))
    return rescale_cosines(np.clip(products, -1.0, 1.0), spread)


def expected_lexical(dense: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean lexical cosine of pairs of one language that have this dense cosine: 0.85 · dense².

    It replaces the lexical cosine of two articles without a common language, so that their scores are comparable with
    all others.
    """
    lexical: NDArray[np.float64] = 0.85 * np.clip(dense, 0.0, 1.0) ** 2
    return lexical


def score(
    dense: NDArray[np.float64],
    lexical: NDArray[np.float64],
    comparable: NDArray[np.bool_],
    hubness: NDArray[np.float64],
    weights: Weights,
) -> NDArray[np.float64]:
    """Return the raw scores of a query's candidates: the weighted sum of the signals minus the hubness.

    The hubness correction is that of CSLS (Conneau et al. 2018), on the candidate's side only and damped.

    Args:
        dense: cosines of the embeddings, shape (n,).
        lexical: cosines of the tf-idf vectors, shape (n,).
        comparable: whether query and candidate have terms of one language, shape (n,).
        hubness: the candidates' mean raw scores to their nearest neighbours, shape (n,).
        weights: the weight of each signal.

    Returns:
        float64, shape (n,), rounded to six decimals; of no fixed range.
    """
    lexical = np.where(comparable, lexical, expected_lexical(dense))
    raw_scores = weights.dense * dense + weights.lexical * lexical - weights.hubness * hubness
    rounded: NDArray[np.float64] = np.round(raw_scores, DECIMALS) + 0.0  # no -0
    return rounded


def in_order(scores: NDArray[np.float64], order_of_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order of candidates, best first: int64, shape (n,).

    Args:
        scores: the candidates' raw scores, shape (n,).
        order_of_ids: the rank of each candidate's id, ascending, which decides between equal scores; shape (n,).
    """
    return np.lexsort((order_of_ids, -scores))
