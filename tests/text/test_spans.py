import re

from hypothesis import given
from hypothesis import strategies as st

from recommender.text.spans import without_spans

ENDS = {"a": re.compile("/a"), "b": re.compile("/b")}


def without(text: str, replacement: str = "") -> str:
    return without_spans(text, re.compile("<([ab])"), lambda start: ENDS[start[1]], replacement)


@given(st.lists(st.sampled_from(["<a", "<b", "/a", "/b", "x"]), max_size=20).map("".join))
def test_spans_are_those_of_one_lazy_pattern(text):
    assert without(text, ".") == re.sub(r"<([ab]).*?/\1", ".", text)


def test_many_starts_without_an_end_take_linear_time():
    text = "/a/b" + "<a<b" * 250_000
    assert without(text) == text
