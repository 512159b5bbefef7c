"""Functions that the plugins share."""

import pytest

from recommender.errors import RecommenderError
from recommender.plugins.pages import heading_in

TEXTS = {"fr": "Voir aussi", "en": "Related", "de": "Mehr", "pt-BR": "Leia mais", "zh_Hant": "相關文章"}


@pytest.mark.parametrize(
    ("language", "key"),
    [
        ("en", "en"), ("en-US", "en"), ("en_US", "en"), ("EN-us", "en"), ("de-Latn-AT", "de"), ("pt-BR", "pt-BR"),
        ("pt", "pt-BR"), ("pt_PT", "pt-BR"), ("zh-TW", "zh_Hant"), ("gsw", "de"),
        ("it", "fr"), ("", "fr"), (None, "fr"), (False, "fr"), (["en"], "fr"), ("plain English", "fr"), ("-", "fr"),
    ],
)  # fmt: skip
def test_a_page_has_the_heading_of_the_nearest_language_or_else_the_first(language, key):
    assert heading_in(TEXTS, language) == TEXTS[key]


def test_one_heading_serves_all_languages():
    assert heading_in("More", "de") == "More"
    assert heading_in({}, "de") == "Related"


@pytest.mark.parametrize("heading", [None, 3, ["More"], {"en": None}, {False: "Mer"}])
def test_a_heading_that_is_no_text_is_an_error_with_the_form_to_write(heading):
    with pytest.raises(RecommenderError, match="texts by language"):
        heading_in(heading, "en")
