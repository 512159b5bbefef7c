"""Tree ensembles as arrays: prediction, and exact Shapley values of groups of features.

LightGBM trains the trees; applying them needs NumPy only, so an index with a learned ranking can be served without
LightGBM, whose import takes seconds, and no text from an index reaches a parser in C++.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

MAX_DEPTH = 24  # of a tree
MAX_VALUE = 1e12  # of a threshold, an output and a number of pairs, so that sums stay finite
MAX_GROUPS = 10  # for exact Shapley values: 2**10 sets of groups


@dataclass(frozen=True)  # no slots, for cached_property
class Trees:
    """An ensemble of regression trees, whose nodes are concatenated, tree by tree, each parent before its children.

    Attributes:
        roots: the node of each tree's root: int64, shape (trees,).
        features: of each node, the column that it tests: int64, shape (nodes,); 0 at a leaf.
        thresholds: of each node, the largest value that goes left: float64, shape (nodes,); infinity at a leaf.
        left: the node for values up to the threshold: int64, shape (nodes,); at a leaf the leaf itself.
        right: the node for larger values: int64, shape (nodes,); at a leaf the leaf itself.
        values: of each leaf, its output: float64, shape (nodes,).
        covers: the number of training pairs that reached each node, 1 or more: float64, shape (nodes,).
    """

    roots: NDArray[np.int64]
    features: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    values: NDArray[np.float64]
    covers: NDArray[np.float64]

    @classmethod
    def from_lightgbm(cls, dump: Mapping[str, Any]) -> Self:
        """Return the trees of `lightgbm.Booster.dump_model()`, of numeric features without missing values."""
        roots: list[int] = []
        nodes: list[tuple[int, float, int, int, float, float]] = []

        def add(node: Mapping[str, Any]) -> int:
            index = len(nodes)
            if "split_feature" not in node:
                nodes.append((0, np.inf, index, index, node["leaf_value"], max(node.get("leaf_count", 1), 1)))
                return index
            nodes.append((0, 0.0, 0, 0, 0.0, 0.0))
            left, right = add(node["left_child"]), add(node["right_child"])
            cover = max(node["internal_count"], 1)
            nodes[index] = (node["split_feature"], node["threshold"], left, right, 0.0, cover)
            return index

        for tree in dump["tree_info"]:
            roots.append(add(tree["tree_structure"]))
        columns = list(zip(*nodes, strict=True)) if nodes else [()] * 6
        features, left, right = (np.array(columns[position], dtype=np.int64) for position in (0, 2, 3))
        thresholds, values, covers = (np.array(columns[position], dtype=np.float64) for position in (1, 4, 5))
        return cls(np.array(roots, dtype=np.int64), features, thresholds, left, right, values, covers)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], n_features: int) -> Self:
        """Return the trees of `to_record`.

        Raises:
            ValueError: the record does not describe trees on `n_features` columns.
        """
        try:
            integers = [np.array(record[name], dtype=np.int64) for name in ("roots", "features", "left", "right")]
            floats = [np.array(record[name], dtype=np.float64) for name in ("thresholds", "values", "covers")]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"a part of the trees is missing or is no list of numbers ({error})") from error
        roots, features, left, right = integers
        thresholds, values, covers = floats
        arrays = [*integers, *floats]
        if any(array.ndim != 1 for array in arrays) or len({len(array) for array in arrays[1:]}) != 1:
            raise ValueError("the parts of the trees have different lengths")
        nodes = np.arange(len(features))
        is_leaf = (left == nodes) & (right == nodes)
        is_inner = (left > nodes) & (right > nodes)
        if (
            not all((np.abs(array) <= MAX_VALUE).all() for array in floats)  # false for NaN
            or not (is_leaf | is_inner).all()
            or not all(((array >= 0) & (array < len(nodes))).all() for array in (roots, left, right))
            or not ((features >= 0) & (features < n_features)).all()
            or not (covers > 0).all()
        ):
            raise ValueError("the nodes of the trees do not fit together")
        parents = np.bincount(np.concatenate([roots, left[is_inner], right[is_inner]]), minlength=len(nodes))
        if not (parents == 1).all():  # else the paths would outnumber the nodes by far
            raise ValueError("a node of the trees has several parents, or none")
        trees = cls(roots, features, np.where(is_leaf, np.inf, thresholds), left, right, values, covers)
        if trees._depth > MAX_DEPTH:
            raise ValueError(f"a tree has more than {MAX_DEPTH} levels")
        return trees

    def to_record(self) -> dict[str, Any]:
        """Return the trees as values for JSON."""
        return {
            "roots": self.roots.tolist(),
            "features": self.features.tolist(),
            "thresholds": np.where(np.isfinite(self.thresholds), self.thresholds, 0.0).tolist(),
            "left": self.left.tolist(),
            "right": self.right.tolist(),
            "values": self.values.tolist(),
            "covers": self.covers.tolist(),
        }

    def predict(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the trees' outputs for each row: float64, shape (n,).

        Args:
            matrix: shape (n, features), without NaN.
        """
        n, columns = matrix.shape
        cells = np.ascontiguousarray(matrix, dtype=np.float64).ravel()
        first_cell = np.repeat(np.arange(n) * columns, len(self.roots))
        nodes = np.tile(self.roots, n)
        for _ in range(self._depth):  # `take` is twice as fast as indexing with an array
            goes_right = cells.take(first_cell + self.features.take(nodes)) > self.thresholds.take(nodes)
            nodes = self._children.take(2 * nodes + goes_right)
        outputs: NDArray[np.float64] = self.values.take(nodes).reshape(n, len(self.roots)).sum(axis=1)
        return outputs

    def group_contributions(
        self, row: NDArray[np.float64], groups: Sequence[Sequence[int]]
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the mean output, and what each group of features adds to it for one row; the sum is the output.

        The contributions are Shapley values of the groups as players (Shapley 1953). The value of a set of groups is
        the expected output with their features known, over the training pairs that reached each node: the
        path-dependent value function of TreeSHAP (Lundberg et al. 2020), computed exactly for all sets.

        Args:
            row: shape (features,).
            groups: the columns of each group, at most ten groups; each column belongs to one.

        Returns:
            The mean output, and the contributions: float64, shape (groups,).
        """
        if len(groups) > MAX_GROUPS:
            raise ValueError(f"{len(groups)} groups; at most {MAX_GROUPS} are supported")
        group_of = np.zeros(len(row), dtype=np.int64)
        for group, columns in enumerate(groups):
            group_of[list(columns)] = group
        sets = np.arange(2 ** len(groups))
        is_leaf = self.left == np.arange(len(self.left))
        goes_left = row[self.features] <= self.thresholds
        left_share = np.where(is_leaf, 1.0, self.covers[self.left] / (self.covers[self.left] + self.covers[self.right]))
        weights = np.zeros((len(self.features), len(sets)))
        weights[self.roots] = 1.0
        for level in self._levels[:-1]:
            inner = level[~is_leaf[level]]
            is_known = (sets[None, :] >> group_of[self.features[inner]][:, None]) & 1
            to_left = np.where(is_known, goes_left[inner][:, None], left_share[inner][:, None])
            weights[self.left[inner]] = weights[inner] * to_left
            weights[self.right[inner]] = weights[inner] * (1.0 - to_left)
        outputs = self.values[is_leaf] @ weights[is_leaf]
        contributions = np.zeros(len(groups))
        for group in range(len(groups)):
            others = [other for other in range(len(groups)) if other != group]
            for size in range(len(groups)):
                weight = 1.0 / (len(groups) * comb(len(groups) - 1, size))
                for members in combinations(others, size):
                    subset = sum(1 << member for member in members)
                    contributions[group] += weight * (outputs[subset | 1 << group] - outputs[subset])
        return float(outputs[0]), contributions

    @cached_property
    def _children(self) -> NDArray[np.int64]:
        """The left and the right child of each node: int64, shape (2 · nodes,)."""
        return np.stack([self.left, self.right], axis=1).ravel()

    @cached_property
    def _levels(self) -> list[NDArray[np.int64]]:
        """The nodes at each depth, the roots first."""
        levels = [self.roots]
        nodes = np.arange(len(self.left))
        while len(inner := levels[-1][self.left[levels[-1]] != nodes[levels[-1]]]) and len(levels) <= MAX_DEPTH + 1:
            levels.append(np.concatenate([self.left[inner], self.right[inner]]))
        return levels

    @property
    def _depth(self) -> int:
        return len(self._levels) - 1
