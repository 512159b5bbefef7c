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


def candidate(id, relevance=0.5, vector=EAST, day=None, url=None):
    published = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) if day is not None else None
    return Candidate(ArticleSummary(id, id.upper(), url, published), vector, NO_TERMS, relevance, relevance)


def by_letter(one, among):
    """Copies have ids that begin with the same letter."""
    return [other for other in among if one.summary.id[0] == other.summary.id[0]]


def select(candidates, need=9, **options):
    chosen = selection.select(candidates, need, **{"article": None, "copies_of": by_letter, "misfit": None, **options})
    return [one.summary.id for one in chosen.kept], chosen


def test_of_copies_the_newest_stays_in_the_place_of_the_best():
    given = [candidate("a1", day=1), candidate("b1"), candidate("a3", day=3), candidate("a2", day=2), candidate("c1")]
    ids, selection = select(given)
    assert ids == ["a3", "b1", "c1"]
    assert "a3" in selection.dropped["a1"]
    assert "a3" in selection.dropped["a2"]


def test_a_copy_of_the_article_itself_or_of_a_link_that_stands_already_is_left_out_however_new():
    ids, selection = select(
        [candidate("a2", day=9), candidate("b2", day=9), candidate("c1")],
        article=candidate("a1", day=1),
        before=[candidate("b1", day=1)],
    )
    assert ids == ["c1"]
    assert "the article itself" in selection.dropped["a2"]
    assert "b1" in selection.dropped["b2"]


def test_a_copy_of_two_takes_their_place_only_if_it_is_newer_than_both():
    def next_to(one, among):  # 2 is a copy of 1 and of 3, which are none of each other
        return [other for other in among if abs(int(one.summary.id) - int(other.summary.id)) == 1]

    given = [candidate("1", day=5), candidate("3", day=1)]
    assert select([*given, candidate("2", day=3)], copies_of=next_to)[0] == ["1", "3"]
    assert select([*given, candidate("2", day=9)], copies_of=next_to)[0] == ["2"]


def test_without_dates_the_best_of_the_copies_stays():
    assert select([candidate("a2"), candidate("a1")])[0] == ["a2"]


def test_copies_may_be_left_in():
    assert select([candidate("a1"), candidate("a2")], copies_of=None)[0] == ["a1", "a2"]


def test_what_fits_too_badly_is_left_out():
    ids, selection = select(
        [candidate("a", 0.9), candidate("b", 0.4), candidate("c", 0.39)],
        misfit=lambda exact: "too low" if exact < 0.4 else "",
    )
    assert ids == ["a", "b"]
    assert selection.dropped == {"c": "too low"}


def test_no_more_than_needed_and_whether_there_were_enough():
    given = [candidate(letter) for letter in "abcd"]
    ids, selection = select(given, 2)
    assert (ids, selection.full) == (["a", "b"], True)
    assert not select(given, 5)[1].full
    assert select(given, 4)[1].full


@given(
    st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.integers(0, 5) | st.none()), unique_by=lambda x: x[0])
)
def test_no_two_copies_are_ever_left(pairs):
    kept = select([candidate(id, day=day) for id, day in pairs], 99)[1].kept
    assert len({one.summary.id[0] for one in kept}) == len(kept) == len({id[0] for id, _ in pairs})


def test_two_urls_of_one_page():
    assert selection.same_url(
        ArticleSummary("a", "A", "https://x.org/a"), ArticleSummary("b", "B", "http://X.org/a/#top")
    )
    assert not selection.same_url(
        ArticleSummary("a", "A", "https://x.org/a"), ArticleSummary("b", "B", "https://x.org/b")
    )
    assert not selection.same_url(ArticleSummary("a", "A"), ArticleSummary("b", "B"))
    assert not selection.same_url(
        ArticleSummary("a", "A", "https://x.org/a#one"), ArticleSummary("b", "B", "https://x.org/a#two")
    )


def test_variety_puts_another_subject_before_more_of_the_same():
    alike = [candidate("a", 0.9), candidate("b", 0.8), candidate("c", 0.75, NORTH)]
    assert [one.summary.id for one in selection.diversify(alike, 0.3, 3)] == ["a", "c", "b"]
    assert [one.summary.id for one in selection.diversify(alike, 0.0, 3)] == ["a", "b", "c"]
    assert [one.summary.id for one in selection.diversify(alike, 0.01, 3)] == ["a", "b", "c"]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 999)), max_size=40), st.floats(0, 1))
def test_variety_loses_and_adds_nothing_and_begins_with_the_best(rows, variety):
    given = selection.by_relevance(
        candidate(f"{place:02}", relevance, np.random.default_rng(seed).normal(size=2).astype(np.float32))
        for place, (relevance, seed) in enumerate(rows)
    )
    order = selection.diversify(given, variety, len(given))
    assert selection.diversify(given, variety, 5) == order[:5]
    assert sorted(one.summary.id for one in order) == sorted(one.summary.id for one in given)
    assert [one.summary.id for one in order[selection.POOL :]] == [one.summary.id for one in given[selection.POOL :]]
    if variety < 1 and given:
        assert order[0].relevance == given[0].relevance


@pytest.mark.parametrize(("days", "left"), [(0, 1.0), (30, 0.5), (60, 0.25), (-5, 1.0)])
def test_a_link_counts_half_after_its_half_life(days, left):
    assert selection.freshness(days, 30) == left


def test_ties_go_by_exact_score_and_id():
    tied = [
        Candidate(ArticleSummary(id, id), EAST, NO_TERMS, exact, 0.5) for id, exact in (("b", 1), ("a", 1), ("c", 2))
    ]
    assert [one.summary.id for one in selection.by_relevance(tied)] == ["c", "a", "b"]
