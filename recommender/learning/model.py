"""The ranking model: trees, the calibration of their output, and how it was measured; stored as JSON text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recommender.errors import IndexDamagedError
from recommender.learning.catalog import LinkKind
from recommender.learning.features import FEATURES
from recommender.learning.trees import Trees
from recommender.ranking.scoring import DECIMALS

FORMAT = 1
LINK_KINDS: tuple[LinkKind, ...] = ("related", "links")
MAX_LEVEL = 1e6  # of outputs and raw scores, whose usual range is -20 to 20
MIN_SLOPE = 0.001  # of the calibration everywhere, so that it stays strictly ascending
TAIL_SLOPE = 0.01  # of the calibration beyond its last knots


@dataclass(frozen=True, slots=True)
class RankingModel:
    """A ranking model that was adopted.

    Attributes:
        trees: the ensemble; its output orders the candidates of a query.
        outputs: knots of the calibration, outputs of the trees, ascending: float64, shape (knots,).
        raw_levels: the raw score at each knot, ascending: float64, shape (knots,).
        kinds: the kinds of links that it was trained on.
        facts: when and on how many links it was trained, and its measured gain, as `learn --json` prints them.
        sketch: the smallest hashes of its links, by which changes are estimated.
    """

    trees: Trees
    outputs: NDArray[np.float64]
    raw_levels: NDArray[np.float64]
    kinds: tuple[LinkKind, ...]
    facts: Mapping[str, Any]
    sketch: tuple[int, ...]

    def raw_scores(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the raw scores of the candidates with these features: float64, shape (n,), rounded."""
        rounded: NDArray[np.float64] = np.round(self._calibrated(self.trees.predict(matrix)), DECIMALS) + 0.0
        return rounded

    def contributions(self, features: NDArray[np.float64], columns: Sequence[Sequence[int]]) -> list[float]:
        """Return the raw score of an average pair, and what each group of features adds to it for one pair.

        The sum is the pair's raw score. The contributions to the output of the trees (`Trees.group_contributions`) are
        scaled by one factor, since the calibration is monotonic.

        Args:
            features: of the pair, shape (features,).
            columns: the columns of each group.
        """
        mean, parts = self.trees.group_contributions(features, columns)
        base, raw = self._calibrated(np.array([mean, mean + parts.sum()])).tolist()
        total = float(parts.sum())
        factor = (raw - base) / total if abs(total) > 1e-9 else 0.0
        return [round(base, DECIMALS), *(round(factor * part, DECIMALS) for part in parts.tolist())]

    def to_text(self) -> str:
        """Return the model as JSON."""
        return json.dumps(
            {
                "format": FORMAT,
                "features": FEATURES,
                "kinds": self.kinds,
                "facts": self.facts,
                "outputs": self.outputs.tolist(),
                "raw_levels": self.raw_levels.tolist(),
                "sketch": self.sketch,
                "trees": self.trees.to_record(),
            }
        )

    @classmethod
    def from_text(cls, text: str, index: str) -> Self:
        """Return the model of `to_text`.

        Args:
            text: the JSON.
            index: the name of the index, for the error.

        Raises:
            IndexDamagedError: it is not a model, or has other features than this version computes.
        """
        try:
            record = json.loads(text)
            if record["format"] != FORMAT or record["features"] != list(FEATURES):
                raise ValueError("it was trained by another version, on other features")
            outputs = np.array(record["outputs"], dtype=np.float64)
            raw_levels = np.array(record["raw_levels"], dtype=np.float64)
            if not (
                len(outputs) == len(raw_levels) >= 2
                and (np.abs([outputs, raw_levels]) <= MAX_LEVEL).all()
                and (np.diff(outputs) > 0).all()
                and (np.diff(raw_levels) >= 0).all()
            ):
                raise ValueError("its calibration is not ascending")
            kinds = tuple(kind for kind in LINK_KINDS if kind in record["kinds"])
            if not kinds:
                raise ValueError("it was trained on no kind of links")
            trees = Trees.from_record(record["trees"], len(FEATURES))
            return cls(trees, outputs, raw_levels, kinds, dict(record["facts"]), tuple(map(int, record["sketch"])))
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise IndexDamagedError(
                f"The learned ranking of the index {index} cannot be used: {error}. Run `recommender learn` again, or "
                f"remove it with `recommender learn --forget`."
            ) from error

    def _calibrated(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        below = np.minimum(outputs - self.outputs[0], 0.0)
        above = np.maximum(outputs - self.outputs[-1], 0.0)
        calibrated: NDArray[np.float64] = np.interp(outputs, self.outputs, self.raw_levels)
        calibrated += TAIL_SLOPE * (below + above) + MIN_SLOPE * (outputs - self.outputs[0])
        return calibrated


def calibrate(
    outputs: NDArray[np.float64], raw_scores: NDArray[np.float64], knots: int = 65
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the knots of the monotonic map that gives outputs the distribution of raw scores (quantile mapping).

    Args:
        outputs: of the trees for some pairs, shape (n,).
        raw_scores: content raw scores of the same pairs, shape (n,).
        knots: at most so many.

    Returns:
        Outputs, strictly ascending, and raw scores, ascending: float64, shape (knots,), two or more.
    """
    shares = np.sin(np.linspace(0.0, np.pi / 2, knots))  # denser towards the best pairs
    x, y = np.quantile(outputs, shares), np.quantile(raw_scores, shares)
    x, first = np.unique(np.round(x, 9), return_index=True)
    y = y[first]
    if len(x) < 2:
        return np.array([x[0] - 1.0, x[0] + 1.0]), np.array([float(raw_scores.min()), float(raw_scores.max())])
    return x, np.maximum.accumulate(y)


def lower(
    outputs: NDArray[np.float64], raw_levels: NDArray[np.float64], output: float, raw_score: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return knots that give an output at most this raw score; above it raw scores rise to the same maximum.

    Args:
        outputs: knots of a calibration, ascending: shape (knots,).
        raw_levels: the raw score at each knot, ascending: shape (knots,).
        output: the output.
        raw_score: the largest raw score that it may have.
    """
    level, highest = float(np.interp(output, outputs, raw_levels)), float(raw_levels[-1])
    if level <= raw_score or highest <= level:
        return outputs, raw_levels
    lowest = min(float(raw_levels[0]), raw_score)
    below = lowest + (raw_levels - raw_levels[0]) * ((raw_score - lowest) / max(level - float(raw_levels[0]), 1e-9))
    above = raw_score + (raw_levels - level) * ((highest - raw_score) / (highest - level))
    levels = np.where(outputs < output, np.minimum(below, raw_score), np.maximum(above, raw_score))
    at = int(np.searchsorted(outputs, output))
    if outputs[min(at, len(outputs) - 1)] != output:
        outputs, levels = np.insert(outputs, at, output), np.insert(levels, at, raw_score)
    return outputs, np.maximum.accumulate(levels)
