"""Selection: near-duplicates, low scores, diversity and freshness."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.article import ArticleSummary
from recommender.blocks import selection
from recommender.blocks.selection import Candidate

NO_TERMS = np.empty(0, dtype=np.int64)
EAST, NORTH = np.array([1, 0], dtype=np.float32), np.array([0, 1], dtype=np.float32)


def candidate(id, relevance=0.5, vector=EAST, day=None):
    published = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) if day is not None else None
    return Candidate(ArticleSummary(id, id.upper(), None, published), vector, NO_TERMS, relevance, relevance)


def with_same_first_letter(candidate, among):
    return [other for other in among if candidate.summary.id[0] == other.summary.id[0]]


def ids_of(candidates):
    return [candidate.summary.id for candidate in candidates]


def select(candidates, n=9, **options):
    defaults = {"article": None, "near_duplicates_of": with_same_first_letter, "low_score_reason": None}
    result = selection.select(candidates, n, **{**defaults, **options})
    return ids_of(result.candidates), result


def test_the_newest_near_duplicate_remains_at_the_position_of_the_best():
    candidates = [
        candidate("a1", day=1),
        candidate("b1"),
        candidate("a3", day=3),
        candidate("a2", day=2),
        candidate("c1"),
    ]
    ids, result = select(candidates)
    assert ids == ["a3", "b1", "c1"]
    assert "a3" in result.exclusion_reasons["a1"]
    assert "a3" in result.exclusion_reasons["a2"]


def test_a_newer_near_duplicate_of_the_article_or_of_an_earlier_link_is_left_out():
    ids, result = select(
        [candidate("a2", day=9), candidate("b2", day=9), candidate("c1")],
        article=candidate("a1", day=1),
        before=[candidate("b1", day=1)],
    )
    assert ids == ["c1"]
    assert "the article itself" in result.exclusion_reasons["a2"]
    assert "b1" in result.exclusion_reasons["b2"]


def test_a_near_duplicate_of_two_links_replaces_them_only_if_newer_than_both():
    def with_next_id(candidate, among):  # 2 is a near-duplicate of 1 and of 3, which are none of each other
        return [other for other in among if abs(int(candidate.summary.id) - int(other.summary.id)) == 1]

    candidates = [candidate("1", day=5), candidate("3", day=1)]
    assert select([*candidates, candidate("2", day=3)], near_duplicates_of=with_next_id)[0] == ["1", "3"]
    assert select([*candidates, candidate("2", day=9)], near_duplicates_of=with_next_id)[0] == ["2"]


def test_the_best_near_duplicate_remains_without_dates():
    assert select([candidate("a2"), candidate("a1")])[0] == ["a2"]


def test_near_duplicates_can_be_kept():
    assert select([candidate("a1"), candidate("a2")], near_duplicates_of=None)[0] == ["a1", "a2"]


def test_low_scores_are_left_out():
    ids, result = select(
        [candidate("a", 0.9), candidate("b", 0.4), candidate("c", 0.39)],
        low_score_reason=lambda raw_score: "too low" if raw_score < 0.4 else "",
    )
    assert ids == ["a", "b"]
    assert result.exclusion_reasons == {"c": "too low"}


def test_selection_stops_at_n_and_reports_whether_it_is_full():
    candidates = [candidate(letter) for letter in "abcd"]
    ids, result = select(candidates, 2)
    assert (ids, result.is_full) == (["a", "b"], True)
    assert not select(candidates, 5)[1].is_full
    assert select(candidates, 4)[1].is_full


@given(
    st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.integers(0, 5) | st.none()), unique_by=lambda x: x[0])
)
def test_no_two_near_duplicates_remain(pairs):
    ids, _ = select([candidate(id, day=day) for id, day in pairs], 99)
    assert len({id[0] for id in ids}) == len(ids) == len({id[0] for id, _ in pairs})


def test_diversity_ranks_another_subject_before_more_of_the_same():
    candidates = [candidate("a", 0.9), candidate("b", 0.8), candidate("c", 0.75, NORTH)]
    assert ids_of(selection.diversify(candidates, 0.3, 3)) == ["a", "c", "b"]
    assert ids_of(selection.diversify(candidates, 0.0, 3)) == ["a", "b", "c"]
    assert ids_of(selection.diversify(candidates, 0.01, 3)) == ["a", "b", "c"]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 999)), max_size=40), st.floats(0, 1))
def test_diversity_keeps_all_candidates_and_the_best_first(rows, diversity):
    candidates = selection.by_relevance(
        candidate(f"{number:02}", relevance, np.random.default_rng(seed).normal(size=2).astype(np.float32))
        for number, (relevance, seed) in enumerate(rows)
    )
    order = selection.diversify(candidates, diversity, len(candidates))
    assert selection.diversify(candidates, diversity, 5) == order[:5]
    assert sorted(ids_of(order)) == sorted(ids_of(candidates))
    assert order[selection.POOL_SIZE :] == candidates[selection.POOL_SIZE :]
    if diversity < 1 and candidates:
        assert order[0].relevance == candidates[0].relevance


@pytest.mark.parametrize(("days", "factor"), [(0, 1.0), (30, 0.5), (60, 0.25), (-5, 1.0)])
def test_freshness_is_halved_after_a_half_life(days, factor):
    assert selection.freshness(days, 30) == factor


def test_equal_relevance_is_ordered_by_raw_score_and_id():
    tied = [
        Candidate(ArticleSummary(id, id), EAST, NO_TERMS, raw_score, 0.5)
        for id, raw_score in (("b", 1), ("a", 1), ("c", 2))
    ]
    assert ids_of(selection.by_relevance(tied)) == ["c", "a", "b"]
