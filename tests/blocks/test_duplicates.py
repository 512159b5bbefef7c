"""Near-duplicates within a block."""

import pytest

from recommender.article import ArticleSummary
from recommender.blocks.duplicates import same_page


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("https://x.org/a", "http://X.org/a/#top", True),
        ("https://x.org/a", "https://x.org/b", False),
        (None, None, False),
        ("https://x.org/a#one", "https://x.org/a#two", False),
    ],
)
def test_two_urls_of_one_page_are_recognised(first, second, expected):
    assert same_page(ArticleSummary("a", "A", first), ArticleSummary("b", "B", second)) is expected
