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
    found = scoring.cosines(np.array([1, 0], dtype=np.float32), vectors)
    np.testing.assert_allclose(found, [1, 0, -1, 0.6], atol=1e-6)


def test_the_score_is_the_weighed_sum_less_the_hubness():
    assert score([0.5, 0.2], [0.4, 0.0], [True, True], [1.0, 0.0], Weights(1, 2, 0.25)) == [1.05, 0.2]
    assert score([0.5], [0.4], [True], [1.0], DENSE) == [0.5]
    assert score([0.5], [0.4], [True], [1.0], LEXICAL) == [0.6]


def test_without_common_words_the_usual_lexical_cosine_stands_in():
    usual = scoring.usual_lexical(np.array([0.5])).tolist()[0]
    assert score([0.5], [0.0], [False], [0.0]) == score([0.5], [usual], [True], [0.0])
    ladder = scoring.usual_lexical(np.linspace(-1, 1, 50))
    assert ladder.min() == 0
    assert ladder.max() < 1
    assert (np.diff(ladder) >= 0).all()


@given(st.lists(st.tuples(numbers, st.floats(0, 1), st.booleans(), st.floats(-0.5, 2.5)), min_size=1))
def test_scores_shown_stay_within_0_and_1(rows):
    for exact in score(*zip(*rows, strict=True)):
        assert 0 <= Scale().display(exact) <= 1


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_the_map_to_scores_shown_never_turns_an_order_round(one, other):
    low, high = sorted((one, other))
    assert Scale().display(low) <= Scale().display(high)


def test_the_map_is_fixed():
    """Scores of an index are compared with thresholds, so the map may not move unnoticed."""
    assert [Scale().display(exact) for exact in (-1.0, 0.0, 0.74)] == [0.0, 0.0, 0.5]
    assert Scale().display(0.49) == pytest.approx(0.197, abs=1e-3)
    assert Scale().display(1.43) == pytest.approx(0.904, abs=1e-3)


scales = st.builds(Scale, st.floats(-1, 1), st.floats(0.05, 0.5))


@given(scales, st.floats(-5, 5), st.floats(-5, 5))
def test_on_every_scale_display_scores_are_from_0_to_1_and_never_turn_an_order_round(scale, one, other):
    low, high = sorted((one, other))
    assert 0 <= scale.display(low) <= scale.display(high) <= 1


@given(scales, st.floats(-3, 20))
def test_as_many_deviations_above_random_pairs_are_the_same_display_score_on_every_scale(scale, deviations):
    default = Scale()
    expected = default.display(default.mean + deviations * default.deviation)
    assert scale.display(scale.mean + deviations * scale.deviation) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("related", [0.0, 0.1, 0.3])
def test_the_scale_is_that_of_the_unrelated_among_random_pairs(related):
    draw = np.random.default_rng(0)
    scores = draw.normal(0.3, 0.12, 2000)
    scores[: int(related * 2000)] += 0.8
    scale = Scale.estimate(scores)
    assert scale.mean == pytest.approx(0.3, abs=0.06)
    assert scale.deviation == pytest.approx(0.12, abs=0.03)


@pytest.mark.parametrize("scores", [[0.0], [0.5] * 60, [-1.0, 2.0]])
def test_a_sample_that_says_little_gives_a_scale_all_the_same(scores):
    scale = Scale.estimate(scores)
    assert 0 < scale.deviation < 0.25
    assert scale.score_threshold <= scoring.MAX_THRESHOLD


def test_a_spread_widens_cosines_and_leaves_those_of_equal_vectors():
    vectors = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    cosines = scoring.cosines(np.array([1, 0], dtype=np.float32), vectors, 2.0)
    np.testing.assert_allclose(cosines, [1.0, 0.2], atol=1e-6)


@given(st.lists(st.tuples(st.text(min_size=1), st.sampled_from([0.1, 0.5, 0.9])), unique_by=lambda pair: pair[0]))
def test_order_depends_on_score_and_id_alone(pairs):
    expected = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    place = {id: number for number, id in enumerate(sorted(id for id, _ in pairs))}
    for shuffled in (pairs, pairs[::-1]):
        order = scoring.in_order(
            np.array([score for _, score in shuffled]), np.array([place[id] for id, _ in shuffled])
        )
        assert [shuffled[row] for row in order] == expected
