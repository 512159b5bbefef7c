"""Trees in NumPy: the outputs of LightGBM, Shapley values, and hostile records."""

import json
from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.learning.trees import MAX_DEPTH, Trees

lightgbm = pytest.importorskip("lightgbm")

N_FEATURES = 5


def train(seed: int, *, n: int = 120, leaves: int = 8, rounds: int = 6, integers: bool = False):
    """Return a booster of random data and its matrix."""
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(n, N_FEATURES))
    if integers:
        matrix = np.round(2 * matrix)
    target = matrix[:, 0] + np.sign(matrix[:, 1]) * matrix[:, 2] + generator.normal(size=n) / 10
    parameters = {"num_leaves": leaves, "min_data_in_leaf": 2, "verbose": -1, "num_threads": 1, "seed": seed}
    return lightgbm.train(parameters, lightgbm.Dataset(matrix, target), rounds), matrix


@pytest.fixture(scope="module")
def trees() -> Trees:
    booster, _ = train(3)
    return Trees.from_lightgbm(booster.dump_model())


def record(**changes):
    """Return the record of a tree with two splits, on columns 0 and 1."""
    return {
        "roots": [0],
        "features": [0, 0, 1, 0, 0],
        "thresholds": [0.5, 0.0, -1.0, 0.0, 0.0],
        "left": [1, 1, 3, 3, 4],
        "right": [2, 1, 4, 3, 4],
        "values": [0.0, 1.0, 0.0, 5.0, -3.0],
        "covers": [10.0, 4.0, 6.0, 2.0, 4.0],
        **changes,
    }


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), leaves=st.integers(2, 31), integers=st.booleans())
def test_outputs_are_those_of_lightgbm(seed, leaves, integers):
    booster, matrix = train(seed, leaves=leaves, integers=integers)
    trees = Trees.from_lightgbm(booster.dump_model())
    others = np.random.default_rng(seed + 1).normal(size=(50, N_FEATURES)) * 3
    for rows in (matrix, others, np.zeros((3, N_FEATURES)), np.full((2, N_FEATURES), 1e300)):
        np.testing.assert_allclose(trees.predict(rows), booster.predict(rows), rtol=1e-9, atol=1e-9)


def test_no_trees_and_single_leaves_have_outputs(trees):
    matrix = np.zeros((4, N_FEATURES))
    empty = Trees.from_lightgbm({"tree_info": []})
    np.testing.assert_array_equal(empty.predict(matrix), np.zeros(4))
    mean, parts = empty.group_contributions(matrix[0], [[0, 1], [2, 3, 4]])
    assert (mean, parts.tolist()) == (0.0, [0.0, 0.0])
    leaf = Trees.from_lightgbm({"tree_info": [{"tree_structure": {"leaf_value": 2.5}}]})
    np.testing.assert_array_equal(leaf.predict(matrix), np.full(4, 2.5))
    assert leaf.group_contributions(matrix[0], [list(range(N_FEATURES))])[0] == 2.5
    assert Trees.from_record(empty.to_record(), N_FEATURES).predict(matrix).tolist() == [0.0] * 4
    assert trees.predict(np.empty((0, N_FEATURES))).shape == (0,)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), groups=st.integers(1, 4))
def test_contributions_add_up_to_the_output(seed, groups):
    booster, matrix = train(seed)
    trees = Trees.from_lightgbm(booster.dump_model())
    columns = [list(range(group, N_FEATURES, groups)) for group in range(groups)]
    for row in matrix[:3]:
        mean, parts = trees.group_contributions(row, columns)
        np.testing.assert_allclose(mean + parts.sum(), trees.predict(row[None])[0], rtol=1e-9)


def test_contributions_of_single_features_are_those_of_lightgbm():
    booster, matrix = train(5)
    trees = Trees.from_lightgbm(booster.dump_model())
    for row, expected in zip(matrix[:10], booster.predict(matrix[:10], pred_contrib=True), strict=True):
        mean, parts = trees.group_contributions(row, [[column] for column in range(N_FEATURES)])
        np.testing.assert_allclose([*parts, mean], expected, rtol=1e-6, atol=1e-6)


def expected_output(node: int, row, known: set[int], tree: Trees) -> float:
    """Return the output at a node with some columns known, by recursion."""
    left, right = int(tree.left[node]), int(tree.right[node])
    if left == node:
        return float(tree.values[node])
    if (column := int(tree.features[node])) in known:
        return expected_output(left if row[column] <= tree.thresholds[node] else right, row, known, tree)
    covers = tree.covers[left], tree.covers[right]
    outputs = [expected_output(child, row, known, tree) for child in (left, right)]
    return float(np.average(outputs, weights=covers))


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_contributions_are_the_shapley_values_of_groups(seed):
    booster, matrix = train(seed, leaves=6, rounds=2)
    trees = Trees.from_lightgbm(booster.dump_model())
    groups = [[0, 3], [1], [2, 4]]
    row = matrix[seed % len(matrix)]
    expected = np.zeros(len(groups))
    for order in permutations(range(len(groups))):
        known: set[int] = set()
        for group in order:
            before = sum(expected_output(root, row, known, trees) for root in trees.roots.tolist())
            known |= set(groups[group])
            after = sum(expected_output(root, row, known, trees) for root in trees.roots.tolist())
            expected[group] += (after - before) / factorial(len(groups))
    mean, parts = trees.group_contributions(row, groups)
    np.testing.assert_allclose(parts, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mean, sum(expected_output(root, row, set(), trees) for root in trees.roots.tolist()))


def test_too_many_groups_are_rejected(trees):
    with pytest.raises(ValueError, match="at most 10"):
        trees.group_contributions(np.zeros(11), [[column] for column in range(11)])


def test_a_record_survives_json(trees):
    copy = Trees.from_record(json.loads(json.dumps(trees.to_record())), N_FEATURES)
    matrix = np.random.default_rng(0).normal(size=(200, N_FEATURES))
    np.testing.assert_array_equal(copy.predict(matrix), trees.predict(matrix))
    groups = [[0, 1], [2, 3, 4]]
    np.testing.assert_array_equal(
        copy.group_contributions(matrix[0], groups)[1], trees.group_contributions(matrix[0], groups)[1]
    )


def test_a_tree_by_hand_has_its_outputs():
    tree = Trees.from_record(record(), 2)
    assert tree.predict(np.array([[0.5, 9.0], [0.6, -1.0], [0.6, -0.9]])).tolist() == [1.0, 5.0, -3.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"left": [0, 1, 3, 3, 4]},  # the root is its own child
        {"left": [1, 1, 0, 3, 4]},  # a cycle
        {"left": [1, 1, 1, 3, 4]},  # two parents
        {"left": [1, 1, 4, 3, 4]},  # the same child twice
        {"left": [5, 1, 3, 3, 4]},
        {"left": [-1, 1, 3, 3, 4]},
        {"left": [1, 1, 3, 3]},
        {"left": [[1, 1, 3, 3, 4]]},
        {"left": [[1], [1], [3], [3], [4]]},
        {"left": 1},
        {"left": "1,1"},
        {"left": None},
        {"left": {"0": 1}},
        {"left": [1, 1, [3], 3, 4]},
        {"left": [1, 1, 10**30, 3, 4]},
        {"right": [2, 2, 4, 3, 4]},  # a leaf on one side only
        {"right": [2, 1, 4, 3, 3]},
        {"roots": []},
        {"roots": [0, 0]},
        {"roots": [0, 1]},
        {"roots": [2]},
        {"roots": [5]},
        {"roots": [-1]},
        {"roots": 0},
        {"roots": [[0]]},
        {"features": [2, 0, 1, 0, 0]},
        {"features": [-1, 0, 1, 0, 0]},
        {"features": []},
        {"features": [float("nan"), 0, 1, 0, 0]},
        {"thresholds": [float("nan"), 0.0, -1.0, 0.0, 0.0]},
        {"thresholds": [float("inf"), 0.0, -1.0, 0.0, 0.0]},
        {"thresholds": [None, 0.0, -1.0, 0.0, 0.0]},
        {"thresholds": ["x", 0.0, -1.0, 0.0, 0.0]},
        {"values": [0.0, float("nan"), 0.0, 5.0, -3.0]},
        {"values": [0.0, 1e308, 0.0, 1e308, -3.0]},
        {"values": [0.0, 1.0, 0.0, 5.0]},
        {"covers": [10.0, 0.0, 6.0, 2.0, 4.0]},
        {"covers": [10.0, -4.0, 6.0, 2.0, 4.0]},
        {"covers": [10.0, float("inf"), 6.0, 2.0, 4.0]},
        {name: [] for name in record() if name != "roots"},
        {  # 40 levels of two parents each: 2**40 paths
            "features": [0] * 41,
            "left": [*range(1, 41), 40],
            "right": [*range(1, 41), 40],
            **{name: [1.0] * 41 for name in ("thresholds", "values", "covers")},
        },
        {  # deeper than MAX_DEPTH
            "features": [0] * (2 * MAX_DEPTH + 3),
            "left": [n + 1 if n % 2 == 0 and n < 2 * MAX_DEPTH + 2 else n for n in range(2 * MAX_DEPTH + 3)],
            "right": [n + 2 if n % 2 == 0 and n < 2 * MAX_DEPTH + 2 else n for n in range(2 * MAX_DEPTH + 3)],
            **{name: [1.0] * (2 * MAX_DEPTH + 3) for name in ("thresholds", "values", "covers")},
        },
    ],
)
def test_a_hostile_record_is_rejected(changes):
    with pytest.raises(ValueError, match="tree"):
        Trees.from_record(record(**changes), 2)


@pytest.mark.parametrize("missing", record())
def test_a_record_without_a_part_is_rejected(missing):
    with pytest.raises(ValueError, match=missing):
        Trees.from_record({name: values for name, values in record().items() if name != missing}, 2)


@pytest.mark.parametrize("hostile", [[], None, "trees", 3])
def test_a_record_that_is_no_mapping_is_rejected(hostile):
    with pytest.raises(ValueError, match="trees"):
        Trees.from_record(hostile, 2)


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {
            name: st.lists(st.integers(-1, 6), max_size=7)
            for name in ("roots", "features", "left", "right", "thresholds", "values", "covers")
        }
    )
)
def test_any_record_is_rejected_or_has_finite_outputs(hostile):
    try:
        trees = Trees.from_record(hostile, 2)
    except ValueError:
        return
    matrix = np.zeros((2, 2))
    assert np.isfinite(trees.predict(matrix)).all()
    mean, parts = trees.group_contributions(matrix[0], [[0], [1]])
    np.testing.assert_allclose(mean + parts.sum(), trees.predict(matrix)[0])
