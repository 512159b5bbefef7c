import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.signals import lexical


def terms(title="", text="", language="en"):
    return lexical.terms(title, text, language)


def test_words_are_lower_case_stems_without_stop_words_and_the_title_counts_three_times():
    assert terms("The Running Dogs", "A dog runs with 12 dogs. X!") == {"run": 4, "dog": 5, "12": 1}


def test_a_title_that_the_text_begins_with_is_counted_once():
    assert terms("River dams", "River dams shut") == {"river": 3, "dam": 3, "shut": 1}


def test_words_without_end_are_cut():
    assert list(terms("", "z" * 100_000)) == ["z" * 64]


def test_identifiers_stay_whole():
    assert terms("", "thread _beginthread_ex") == {"thread": 1, "_beginthread_ex": 1}


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "Die Häuser und das Haus", {"haus": 2}),
        ("fr", "les maisons et la maison", {"maison": 2}),
        ("ru", "книги и книга", {"книг": 2}),
        ("hi", "किताबें किताब", {"किताब": 2}),
        ("tr", "kitaplar kitap", {"kitap": 2}),
        ("ko", "한국어 문서", {"한국어": 1, "문서": 1}),
        ("xx", "Zuo zuos", {"zuo": 1, "zuos": 1}),  # no stems for it
    ],
)
def test_stems_and_stop_words_of_the_language(language, text, expected):
    assert terms("", text, language) == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("zh", "中国经济", {"中国": 1, "国经": 1, "经济": 1}),
        ("ja", "東京タワー", {"東京": 1, "京タ": 1, "タワ": 1, "ワー": 1}),
        ("th", "ภาษา", {"ภาษ": 1, "าษา": 1}),
        ("km", "ភាសា", {"ភាស": 1, "ាសា": 1}),
        ("zh", "读 Python 写", {"读": 1, "python": 1, "写": 1}),
    ],
)
def test_scripts_without_spaces_give_pairs_or_triples_of_characters(language, text, expected):
    assert terms("", text, language) == expected


@pytest.mark.parametrize("text", ["", "   ", "?!", "a b c"])
def test_a_text_without_words_has_no_terms(text):
    assert terms("", text) == {}


@given(st.text(), st.text(), st.sampled_from(["en", "de", "zh", "th", "xx", "und"]))
def test_any_text_gives_frequencies_that_can_be_stored(title, text, language):
    assert all(term and 1 <= count <= 65535 for term, count in terms(title, text, language).items())


def weights(frequencies, articles, total):
    n = len(frequencies)
    return lexical.weights(
        np.array(frequencies, dtype=float), np.array(articles), np.array([total]), np.zeros(n, dtype=np.int64), 1
    )


def test_weights_grow_with_frequency_and_rarity_and_have_length_1():
    found = weights([1, 4, 1], [10, 10, 2], 100)
    assert found[1] == pytest.approx(2 * found[0])
    assert found[2] == pytest.approx(found[0] * (np.log(101 / 2) / np.log(101 / 10)) ** 0.85)
    assert found @ found == pytest.approx(1)


def test_a_term_of_one_article_weighs_nothing_and_an_article_may_have_no_other():
    assert weights([5, 1], [1, 3], 10).tolist() == [0, 1]
    assert weights([5], [1], 10).tolist() == [0]
    assert weights([], [], 10).tolist() == []


def test_in_a_handful_of_articles_a_term_of_all_still_weighs():
    assert weights([1], [2], 2).tolist() == [1]


def test_the_strongest_terms_are_the_heaviest_and_never_weightless():
    weighed = np.array([0.1, 0.0, 0.9, 0.3] + [0.2] * 30)
    few = np.full(len(weighed), 2)
    found = lexical.strongest(weighed, few)
    assert found[:2].tolist() == [2, 3]
    assert len(found) == lexical.STRONGEST
    assert lexical.strongest(np.zeros(3), few[:3]).tolist() == []


def test_terms_of_many_articles_are_left_out_where_there_are_enough_others():
    weighed = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert lexical.strongest(weighed, np.array([90_000, 10, 20_000, 30, 40])).tolist() == [1, 2, 3, 4]
    assert lexical.strongest(weighed, np.full(5, 10**6)).tolist() == [0, 1, 2]
