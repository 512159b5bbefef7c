import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.ranking import scoring
from recommender.ranking.scoring import BOTH, DENSE, LEXICAL, Scale, Weights

numbers = st.floats(-1, 1)


def score(dense, lexical, comparable, hubness, weights=BOTH):
    return scoring.score(np.array(dense), np.array(lexical), np.array(comparable), np.array(hubness), weights).tolist()


def test_cosines():
    vectors = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], dtype=np.float32)
    cosines = scoring.cosines(np.array([1, 0], dtype=np.float32), vectors)
    np.testing.assert_allclose(cosines, [1, 0, -1, 0.6], atol=1e-6)


def test_the_raw_score_is_the_weighted_sum_minus_the_hubness():
    assert score([0.5, 0.2], [0.4, 0.0], [True, True], [1.0, 0.0], Weights(1, 2, 0.25)) == [1.05, 0.2]
    assert score([0.5], [0.4], [True], [1.0], DENSE) == [0.5]
    assert score([0.5], [0.4], [True], [1.0], LEXICAL) == [0.6]


def test_the_expected_lexical_cosine_replaces_that_of_incomparable_pairs():
    usual = scoring.expected_lexical(np.array([0.5])).tolist()[0]
    assert score([0.5], [0.0], [False], [0.0]) == score([0.5], [usual], [True], [0.0])
    ladder = scoring.expected_lexical(np.linspace(-1, 1, 50))
    assert ladder.min() == 0
    assert ladder.max() < 1
    assert (np.diff(ladder) >= 0).all()


@given(st.lists(st.tuples(numbers, st.floats(0, 1), st.booleans(), st.floats(-0.5, 2.5)), min_size=1))
def test_display_scores_are_from_0_to_1(rows):
    for exact in score(*zip(*rows, strict=True)):
        assert 0 <= Scale().display(exact) <= 1


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_display_scores_are_monotonic(first, second):
    low, high = sorted((first, second))
    assert Scale().display(low) <= Scale().display(high)


def test_display_scores_have_fixed_values():
    """Scores of an index are compared with thresholds, so the map must not change unnoticed."""
    assert [Scale().display(exact) for exact in (-1.0, 0.0, 0.74)] == [0.0, 0.0, 0.5]
    assert Scale().display(0.49) == pytest.approx(0.197, abs=1e-3)
    assert Scale().display(1.43) == pytest.approx(0.904, abs=1e-3)


scales = st.builds(Scale, st.floats(-1, 1), st.floats(0.05, 0.5))


@given(scales, st.floats(-5, 5), st.floats(-5, 5))
def test_display_scores_are_monotonic_from_0_to_1_on_every_scale(scale, first, second):
    low, high = sorted((first, second))
    assert 0 <= scale.display(low) <= scale.display(high) <= 1


@given(scales, st.floats(-3, 20))
def test_equal_standardised_scores_have_equal_display_scores_on_every_scale(scale, deviations):
    default = Scale()
    expected = default.display(default.mean + deviations * default.deviation)
    assert scale.display(scale.mean + deviations * scale.deviation) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("related", [0.0, 0.1, 0.3])
def test_related_pairs_do_not_distort_the_estimated_scale(related):
    draw = np.random.default_rng(0)
    scores = draw.normal(0.3, 0.12, 2000)
    scores[: int(related * 2000)] += 0.8
    scale = Scale.estimate(scores)
    assert scale.mean == pytest.approx(0.3, abs=0.06)
    assert scale.deviation == pytest.approx(0.12, abs=0.03)


@pytest.mark.parametrize("scores", [[0.0], [0.5] * 60, [-1.0, 2.0]])
def test_a_degenerate_sample_gives_a_valid_scale(scores):
    scale = Scale.estimate(scores)
    assert 0 < scale.deviation < 0.25
    assert scale.score_threshold <= scoring.MAX_THRESHOLD


def test_a_spread_rescales_cosines_below_1():
    vectors = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    cosines = scoring.cosines(np.array([1, 0], dtype=np.float32), vectors, 2.0)
    np.testing.assert_allclose(cosines, [1.0, 0.2], atol=1e-6)


@given(st.lists(st.tuples(st.text(min_size=1), st.sampled_from([0.1, 0.5, 0.9])), unique_by=lambda pair: pair[0]))
def test_order_depends_only_on_score_and_id(pairs):
    expected = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    order_of_id = {id: number for number, id in enumerate(sorted(id for id, _ in pairs))}
    for shuffled in (pairs, pairs[::-1]):
        order = scoring.in_order(
            np.array([score for _, score in shuffled]), np.array([order_of_id[id] for id, _ in shuffled])
        )
        assert [shuffled[row] for row in order] == expected
