"""The text of pages with different layouts."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.sources import Source
from recommender.sources.pagetext import is_page_text, page_record, text_record

BODY = (
    "A ground offensive will be launched in the coming days to take back the northern city, officials said on Tuesday, "
    "and thousands of soldiers are on their way."
)


def test_page_with_section_links_and_tags_but_no_headline():
    record = page_record(f"""23:39 GMT17 May 2021
Listen Live
    Middle East
    Get short URL

    {BODY}

    “It is no secret,” one of them said.


    Ministers Send Flight Safety Plan to the Capital
    Is the Truce Over Before It Began?
    Air Force Says It Hit Forty Targets
    airstrike, ground offensive, Ahmed Ali, Northland, army
    Community standardsDiscussion
""")
    assert record == {
        "title": "",
        "section": "Middle East",
        "text": f"{BODY}\n\n“It is no secret,” one of them said.",
        "published": None,  # the clock above is the time of the copy
        "url": None,
        "related": [
            "Ministers Send Flight Safety Plan to the Capital",
            "Is the Truce Over Before It Began?",
            "Air Force Says It Hit Forty Targets",
        ],
        "tags": ["airstrike", "ground offensive", "Ahmed Ali", "Northland", "army"],
    }


def test_page_with_masthead_navigation_standfirst_and_links_in_the_body():
    record = page_record(f"""The Daily Harbour
Monday, 23 November 2026
Home
World
Sport
    World
    Ministers Agree on Fishing Quotas After Night of Talks
    Officials say deal will hold for three years
    Published: 21 November 2026, 08:15 GMT
    Last updated: 22 November 2026

    {BODY}

    Advertisement

    © Northwire / A. B.

    What happens next

    The council must still approve the text.

    Read more: Cod Stocks Fall to Lowest Level in Decades
    Fishermen said they would protest.

    Related articles
    Herring Prices Double Before the Feast
    Who Owns the Sea?
    Tags: fishing, cod
    Most read
    Ten Best Recipes for Leftover Turkey This Winter
    All rights reserved. No part of this page may be copied without our permission.
""")
    assert record["title"] == "Ministers Agree on Fishing Quotas After Night of Talks"
    assert record["section"] == "World"
    assert record["published"] == datetime(2026, 11, 21, 8, 15, tzinfo=UTC)
    assert record["text"].split("\n\n") == [
        BODY,
        "The council must still approve the text.",
        "Fishermen said they would protest.",
    ]
    assert record["related"] == [
        "Cod Stocks Fall to Lowest Level in Decades",
        "Herring Prices Double Before the Feast",
        "Who Owns the Sea?",
    ]
    assert record["tags"] == ["fishing", "cod"]


@pytest.mark.parametrize(
    "line",
    [
        "12 May 2026",
        "May 12, 2026",
        "Published 12 May 2026",
        "00:00 12.05.2026(updated 16:05 13.05.2026)",
        "By Jane Doe | May 12, 2026",
        "Tuesday, 12 May 2026, 0:00 GMT",
        "12. Mai 2026",
    ],
)
def test_date_line_below_the_headline(line):
    record = page_record(f"Harbour Bridge Reopens After Two Years\n{line}\n\n{BODY}\n")
    assert record["title"] == "Harbour Bridge Reopens After Two Years"
    assert record["published"] == datetime(2026, 5, 12, tzinfo=UTC)
    assert record["text"] == BODY
    assert record["section"] == ""


def test_byline_is_kept_as_author_and_not_as_text():
    record = page_record(f"Sport\nUnited Win the Cup Again\nBy Jane Doe\n\n{BODY}\n")
    assert (record["author"], record["section"], record["text"]) == ("Jane Doe", "Sport", BODY)


def test_breadcrumbs_name_the_section():
    assert page_record(f"Home > World > Europe\nStorm Floods Towns on Coast\n\n{BODY}")["section"] == "Europe"


def test_headline_may_ask():
    record = page_record(f"Opinion\nWho Won the Debate?\n3 May 2026\n\n{BODY}\n\nIt was long. It was loud.\n")
    assert (record["title"], record["section"]) == ("Who Won the Debate?", "Opinion")
    assert record["text"].endswith("It was loud.")


def test_comments_below_are_not_the_article():
    record = page_record(
        f"United Beat Rovers in Cup Final\n\n{BODY}\n\nIt rained.\n\nCity Sign Striker for Record Fee\n"
        f"football, United, cup\nComments (2)\nfan99\n{BODY} I was there.\n"
    )
    assert record["text"] == f"{BODY}\n\nIt rained."
    assert record["related"] == ["City Sign Striker for Record Fee"]
    assert record["tags"] == ["football", "United", "cup"]


def test_wrapped_paragraphs_are_joined():
    record = page_record(
        "Council Closes the Old Hall\n\n"
        "The council voted on Tuesday to close the old market hall, which\n"
        "has stood on the square since 1871, and to build a new one with\n"
        "flats above it. The vote was eleven to nine.\n"
    )
    assert record["text"].startswith("The council voted on Tuesday to close the old market hall, which has stood")
    assert "\n" not in record["text"]


def test_lists_in_the_body_stay():
    record = page_record(
        f"Things to Know About Phones\n\n{BODY}\n\nIt has:\n\n- A larger screen\n- A battery\n\n{BODY}"
    )
    assert record["text"].split("\n\n") == [BODY, "It has:", "- A larger screen", "- A battery", BODY]
    assert record["related"] == []


def test_other_languages_and_scripts():
    record = page_record("""国际
叙利亚军队准备夺回阿勒颇
2021年5月17日

据两名地区高级官员透露，叙利亚军队与伊朗部队将在未来几天内对阿勒颇发动地面进攻，俄罗斯将提供空中支援。

官员说，这场战役的准备工作已经就绪。

俄罗斯向华盛顿提交叙利亚飞行安全建议
叙利亚，俄罗斯，伊朗，阿勒颇
""")
    assert (record["section"], record["title"]) == ("国际", "叙利亚军队准备夺回阿勒颇")
    assert record["published"] == datetime(2021, 5, 17, tzinfo=UTC)
    assert record["text"].count("\n\n") == 1
    assert record["related"] == ["俄罗斯向华盛顿提交叙利亚飞行安全建议"]
    assert record["tags"] == ["叙利亚", "俄罗斯", "伊朗", "阿勒颇"]


def test_a_page_without_sentences_keeps_its_lines():
    assert page_record("Groceries\n\nmilk\neggs\nShare\n")["text"] == "Groceries\nmilk\neggs"


def test_lines_that_hold_nothing_visible_are_no_lines():
    record = page_record(
        "A Headline of Five Words\n\nThe paragraph begins here and goes\n\u200b\non to its end here.\n"
    )
    assert record["title"] == "A Headline of Five Words"


def test_long_and_repetitive_pages_are_read_in_good_time():
    page_record("Watch live " * 200 + "foo\n" + "Comments latest news share this article " * 100)
    record = page_record("A Headline of Five Words\n\n" + f"{BODY}\n\n" * 5000)
    assert record["text"].count(BODY) == 5000


def test_an_empty_page_and_one_that_is_not_utf8_are_skipped(tmp_path):
    (tmp_path / "a.txt").write_text("\n \n")
    (tmp_path / "b.txt").write_bytes(b"one\ntwo \xff\n")
    first, second = Source(tmp_path)
    assert (first.article, first.id) == (None, "a.txt")
    assert second.where == f"{tmp_path / 'b.txt'}:2"
    assert "UTF-8" in second.problems[0]


def test_plain_text_is_a_title_line_and_the_text():
    text = "How to prune an apple tree\n\nYou need:\n\nloppers\na saw\n\n1. Wait.\n2. Cut.\n\nSee also: pears\n"
    assert text_record(text) == {"title": "How to prune an apple tree", "text": text.partition("\n\n")[2].strip()}


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("Notes\n\nShort line\n", {"title": "Notes", "text": "Short line"}),
        ("Notes\r\n=====\r\n\r\nHome\r\n", {"title": "Notes", "text": "Home"}),
        ("Notes", {"title": "Notes", "text": ""}),
        (
            "Notes on frost\n12 May 2026\n\nIt froze",
            {"title": "Notes on frost", "published": datetime(2026, 5, 12, tzinfo=UTC), "text": "It froze"},
        ),
        ("Notes\nBy Jane Doe\n\nIt froze", {"title": "Notes", "author": "Jane Doe", "text": "It froze"}),
        (f"{BODY * 2}\n\nMore.", {"title": "", "text": f"{BODY * 2}\n\nMore."}),
    ],
)
def test_plain_text_with_a_date_a_byline_or_no_title(text, record):
    assert text_record(text) == record


def test_a_text_that_begins_with_a_wrapped_paragraph_has_no_title():
    text = (
        "The council voted on Tuesday to close the old market hall, which\n"
        "has stood on the square since 1871, and to build a new one with\n"
        "flats above it. The vote was eleven to nine."
    )
    assert text_record(text) == {"title": "", "text": text}


@pytest.mark.parametrize(
    "text",
    [
        f"23:39 GMT17 May 2021\nListen Live\n    Middle East\n    Get short URL\n\n    {BODY}\n",
        f"Sport\nUnited Win the Cup Again\nBy Jane Doe\n\n{BODY}\n",
        f"Ferry Fares Rise\n12 May 2026\nShare\n\n{BODY}\n",
        f"Ferry Fares Rise\n\n{BODY}\n\nRelated articles\nBridge Opens\nTags: ferry, bridge\n",
    ],
)
def test_text_with_dates_furniture_or_tags_is_page_text(text):
    assert is_page_text(text)
    assert text_record(text) == page_record(text)


LINES = st.text(max_size=60) | st.sampled_from([BODY, "Share", "Related:", "Tags: a, b", "12 May 2026", "", "Comments"])


@given(st.lists(LINES).map("\n".join))
def test_any_text_gives_a_record_with_nothing_in_two_places(text):
    text_record(text)
    record = page_record(text)
    body = record["text"].split("\n\n")
    assert not set(body) & set(record.get("tags", []))
    assert BODY not in record.get("related", []) or text.count(BODY) > body.count(BODY)
