import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.text.terms import LATIN, MAX_QUERY_TERMS, extract_terms, strongest_terms


def terms(title="", text="", language="en"):
    return extract_terms(title, text, language)


def test_words_are_lower_case_stems_without_stop_words_and_the_title_counts_three_times():
    assert terms("The Running Dogs", "A dog runs with 12 dogs. X!") == {"run": 4, "dog": 5, "12": 1}


def test_a_title_that_the_text_begins_with_is_counted_once():
    assert terms("River dams", "River dams shut") == {"river": 3, "dam": 3, "shut": 1}


@pytest.mark.parametrize(
    ("title", "text", "language", "expected"),
    [
        ("Car", "Carbon is hot", "en", {"car": 3, "carbon": 1, "hot": 1}),
        ("Car", "Car-sharing", "en", {"car": 3, "share": 1}),
        ("Car!", "Car!bon", "en", {"car": 3, "bon": 1}),
        ("Dam 1", "Dam 15", "xx", {"dam": 4, "15": 1}),
        ("my", "my_name", "xx", {"my": 3, "my_name": 1}),
        ("Cafe\u0301", "Cafe\u0301teria", "en", {"café": 3, "caféteria": 1}),
        ("cafe", "cafe\u0301s", "xx", {"cafe": 3, "cafés": 1}),
        ("किता", "किताब", "xx", {"किता": 3, "किताब": 1}),
        ("می", "می\u200cخواهم", "xx", {"می": 3, "می\u200cخواهم": 1}),
        ("東京", "東京都", "ja", {"東京": 4, "京都": 1}),
        ("東京。", "東京。大阪", "ja", {"東京": 3, "大阪": 1}),
    ],
)
def test_a_title_that_ends_within_a_word_of_the_text_is_not_cut_off(title, text, language, expected):
    assert terms(title, text, language) == expected


@given(st.text("ab_1é -.", min_size=1, max_size=4), st.text("ab_1é -.\u0301", max_size=6))
def test_a_text_has_no_terms_but_its_own_and_those_of_the_title(title, text):
    assert (
        terms(title, title + text, "xx").keys() <= terms(title, "", "xx").keys() | terms("", title + text, "xx").keys()
    )


def test_very_long_words_are_truncated():
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


def test_the_strongest_terms_are_the_heaviest_and_never_weightless():
    positions = strongest_terms(np.array([0.1, 0.0, 0.9, 0.3] + [0.2] * 40))
    assert positions[:2].tolist() == [2, 3]
    assert len(positions) == MAX_QUERY_TERMS
    assert strongest_terms(np.zeros(3)).tolist() == []


def test_in_latin_script_words_are_found_faster_and_are_the_same(monkeypatch):
    latin = [chr(code) for code in range(0x2100) if LATIN.fullmatch(chr(code))]
    text = " ".join(f"a{character}b {character}{other}c" for character in latin for other in "é’2")
    quickly = extract_terms("", text, "xx")
    monkeypatch.setattr("recommender.text.terms.LATIN", re.compile("never"))
    assert quickly == extract_terms("", text, "xx")
    assert len(quickly) > 500
