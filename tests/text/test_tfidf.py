import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.text import tfidf


def weights(frequencies, articles, total):
    n = len(frequencies)
    return tfidf.tfidf_weights(
        np.array(frequencies, dtype=float), np.array(articles), np.array([total]), np.zeros(n, dtype=np.int64), 1
    )


def test_weights_grow_with_frequency_and_rarity_and_have_length_1():
    term_weights = weights([1, 4, 1], [10, 10, 2], 100)
    assert term_weights[1] == pytest.approx(2 * term_weights[0])
    assert term_weights[2] == pytest.approx(term_weights[0] * (np.log(101 / 2) / np.log(101 / 10)) ** 0.85)
    assert term_weights @ term_weights == pytest.approx(1)


def test_a_term_of_one_article_weighs_nothing_and_an_article_may_have_no_other():
    assert weights([5, 1], [1, 3], 10).tolist() == [0, 1]
    assert weights([5], [1], 10).tolist() == [0]
    assert weights([], [], 10).tolist() == []


def test_in_a_handful_of_articles_a_term_of_all_still_weighs():
    assert weights([1], [2], 2).tolist() == [1]


@given(st.integers(2, 60), st.lists(st.tuples(st.integers(1, 9), st.integers(1, 60)), min_size=1, max_size=90))
def test_batched_term_weights_equal_those_of_single_articles(total, terms):
    """Many terms are weighted with a table."""
    frequencies, articles = (np.array(each) for each in zip(*terms, strict=True))
    articles = np.minimum(articles, total)
    rows = np.sort(np.arange(len(terms)) % 7)
    n = int(rows.max()) + 1
    together = tfidf.tfidf_weights(frequencies.astype(float), articles, np.full(n, total), rows, n)
    other = tfidf.tfidf_weights(frequencies.astype(float), articles, np.append(np.full(n, total), 0), rows, n + 1)
    np.testing.assert_array_equal(together, other)


def impacts(frequencies, articles, total):
    n = len(frequencies)
    return tfidf.tfidf_impacts(
        np.array(frequencies, dtype=float), np.array(articles), np.array([total]), np.zeros(n, dtype=np.int64), 1
    )


def test_an_article_is_found_by_weighted_terms_and_by_a_term_of_its_own():
    frequencies, articles = [1, 4, 2, 7], [10, 10, 2, 1]
    assert impacts(frequencies, articles, 100)[:3] == pytest.approx(weights(frequencies, articles, 100)[:3])
    alone = impacts(frequencies, articles, 100)[3]
    assert alone == pytest.approx(min(impacts(frequencies, articles, 100)[2] * np.sqrt(7 / 2), 1))
    assert impacts([5, 1], [1, 1], 10).tolist() == [1, 1]  # and nothing else that counts
    assert impacts([3], [1], 1).tolist() == [0]
    assert impacts([], [], 10).tolist() == []
