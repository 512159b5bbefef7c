"""Rich text of editors: the text and the links that readers see."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from variants import variants

from recommender.sources.markup import read_markup
from recommender.sources.rich_text import rich_text_html

LEXICAL = {
    "root": {
        "type": "root",
        "children": [
            {"type": "extended-heading", "tag": "h2", "children": [{"type": "extended-text", "text": "Bells & ropes"}]},
            {"type": "paragraph", "children": [
                {"type": "extended-text", "text": "Ring "},
                {"type": "link", "url": "/tower/", "children": [{"type": "extended-text", "text": "the tower"}]},
                {"type": "linebreak"}, {"type": "extended-text", "text": "at <noon>."}]},
            {"type": "list", "children": [{"type": "listitem", "children": [{"type": "text", "text": "One."}]}]},
            {"type": "codeblock", "code": "print(1)"},
            {"type": "markdown", "markdown": "A **card** with [a link](/card/)."},
            {"type": "html", "html": "<p>Raw.</p>"},
            {"type": "callout", "calloutText": "<b>Mind</b> the gap."},
            {"type": "bookmark", "url": "https://bells.example/peal/", "metadata": {"title": "A peal"}},
            {"type": "email", "html": "<p>For mail only.</p>"},
        ],
    }
}  # fmt: skip
MOBILEDOC = {
    "version": "0.3.1",
    "atoms": [["soft-return", "", {}]],
    "cards": [["markdown", {"markdown": "A **card**."}], ["html", {"html": "<p>Raw.</p>"}], ["image", {"src": "x"}]],
    "markups": [["a", ["href", "/tower/"]], ["em"]],
    "sections": [
        [1, "h2", [[0, [], 0, "Bells & ropes"]]],
        [1, "p", [[0, [], 0, "Ring "], [0, [0, 1], 2, "the tower"], [1, [], 0, 0], [0, [], 0, "at <noon>."]]],
        [3, "ul", [[[0, [], 0, "One."]], [[0, [], 0, "Two."]]]],
        [10, 0], [10, 1], [10, 2], [10, 9], [2, "i.png"],
    ],
}  # fmt: skip
PORTABLE = [
    {"_type": "block", "style": "h2", "children": [{"_type": "span", "text": "Bells & ropes"}]},
    {"_type": "block", "style": "normal", "markDefs": [{"_key": "k", "_type": "link", "href": "/tower/"}],
     "children": [{"_type": "span", "text": "Ring "}, {"_type": "span", "marks": ["em", "k"], "text": "the tower"}]},
    {"_type": "block", "listItem": "bullet", "children": [{"_type": "span", "text": "One."}]},
    {"_type": "image", "asset": {"_ref": "x"}},
]  # fmt: skip
STRAPI = [
    {"type": "heading", "level": 2, "children": [{"type": "text", "text": "Bells & ropes"}]},
    {"type": "paragraph", "children": [
        {"type": "text", "text": "Ring "},
        {"type": "link", "url": "/tower/", "children": [{"type": "text", "text": "the tower"}]}]},
    {"type": "list", "format": "unordered", "children": [
        {"type": "list-item", "children": [{"type": "text", "text": "One."}]}]},
]  # fmt: skip
TIPTAP = {
    "type": "doc",
    "content": [
        {"type": "heading", "attrs": {"level": 2}, "content": [{"type": "text", "text": "Bells & ropes"}]},
        {"type": "paragraph", "content": [
            {"type": "text", "text": "Ring "},
            {"type": "text", "marks": [{"type": "link", "attrs": {"href": "/tower/"}}], "text": "the tower"}]},
        {"type": "bulletList", "content": [
            {"type": "listItem", "content": [
                {"type": "paragraph", "content": [{"type": "text", "text": "One."}]}]}]},
    ],
}  # fmt: skip
CONTENTFUL = {
    "nodeType": "document",
    "content": [
        {"nodeType": "heading-2", "content": [{"nodeType": "text", "value": "Bells & ropes", "marks": []}]},
        {"nodeType": "paragraph", "content": [
            {"nodeType": "text", "value": "Ring ", "marks": []},
            {"nodeType": "hyperlink", "data": {"uri": "/tower/"}, "content": [
                {"nodeType": "text", "value": "the tower", "marks": []}]}]},
        {"nodeType": "unordered-list", "content": [
            {"nodeType": "list-item", "content": [
                {"nodeType": "paragraph", "content": [{"nodeType": "text", "value": "One."}]}]}]},
    ],
}  # fmt: skip
SLATE = [
    {"type": "h2", "children": [{"text": "Bells & ropes"}]},
    {"children": [{"text": "Ring "}, {"type": "link", "url": "/tower/", "children": [{"text": "the tower"}]}]},
    {"type": "ul", "children": [{"type": "li", "children": [{"text": "One."}]}]},
]
EDITOR_JS = {
    "time": 1, "version": "2.8",
    "blocks": [
        {"type": "header", "data": {"text": "Bells &amp; ropes", "level": 2}},
        {"type": "paragraph", "data": {"text": 'Ring <a href="/tower/">the tower</a>'}},
        {"type": "list", "data": {"items": ["One."]}},
        {"type": "code", "data": {"code": "print(1)"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("document", [PORTABLE, STRAPI, TIPTAP, CONTENTFUL, SLATE, EDITOR_JS])
@pytest.mark.parametrize("convert", [lambda value: value, json.dumps])
def test_headings_paragraphs_links_and_lists(document, convert):
    content = read_markup(rich_text_html(convert(document)))
    assert [line for line in content.text.splitlines() if line] == ["Bells & ropes", "Ring the tower", "One."]
    assert content.links == ("/tower/",)


def test_lexical_with_the_cards_of_ghost():
    content = read_markup(rich_text_html(json.dumps(LEXICAL)))
    assert [line for line in content.text.splitlines() if line] == [
        "Bells & ropes", "Ring the tower", "at <noon>.", "One.", "A card with a link.", "Raw.", "Mind the gap.",
        "A peal",
    ]  # fmt: skip
    assert content.links == ("/tower/", "/card/", "https://bells.example/peal/")


def test_mobiledoc():
    content = read_markup(rich_text_html(json.dumps(MOBILEDOC)))
    assert [line for line in content.text.splitlines() if line] == [
        "Bells & ropes", "Ring the tower", "at <noon>.", "One.", "Two.", "A card.", "Raw.",
    ]  # fmt: skip
    assert content.links == ("/tower/",)


@pytest.mark.parametrize(
    "value",
    [None, 7, "", "A text.", "{not json", '{"a": 1}', "[1, 2]", [], ["a", "b"], [{"name": "x"}], {}, {"text": "x"},
     {"blocks": [{"type": "p", "text": "x"}]}, "[" * 100_000, '{"a":' * 100_000],
)  # fmt: skip
def test_other_values_are_no_documents(value):
    assert rich_text_html(value) is None


NAMES = st.sampled_from(
    ["root", "type", "_type", "nodeType", "children", "content", "text", "value", "marks", "markDefs", "attrs", "data",
     "blocks", "items", "sections", "markups", "cards", "atoms", "style", "listItem", "level", "url", "metadata"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-2, 12) | st.sampled_from(
    ["doc", "document", "block", "text", "link", "h2", "list", "a", "markdown", "bookmark", "paragraph"]
)  # fmt: skip
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5))


@settings(max_examples=100)
@given(JSON)
def test_any_json_gives_html_or_none(value):
    assert isinstance(rich_text_html(value), str | None)


def test_a_document_of_any_depth_ends():
    node = {"type": "text", "text": "x"}
    for _ in range(5000):
        node = {"type": "paragraph", "children": [node]}
    assert isinstance(rich_text_html({"root": {"children": [node]}}), str)


DOCUMENTS = [LEXICAL, MOBILEDOC, PORTABLE, STRAPI, TIPTAP, CONTENTFUL, SLATE, EDITOR_JS]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_part_of_the_wrong_type_costs_only_itself(document):
    for changed in variants(document):
        assert isinstance(rich_text_html(changed), str | None)
