"""The search for the list of articles in a JSON file."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recommender.sources import Source

TEXT = "The ferry sailed at dawn with forty people on board. " * 6
ARTICLE = {"id": 7, "title": "Ferry", "text": TEXT, "url": "/ferry/", "published": "2026-03-05"}
STORIES = [ARTICLE | {"id": number} for number in range(3)]
LINKS = [{"id": number, "title": f"T {number}", "url": f"/{number}", "date": "2026-03-05"} for number in range(3)]
TAGS = [{"id": number, "name": f"t{number}", "slug": "t", "description": TEXT} for number in range(9)]
MENU = [{"title": f"M {number}", "url": f"/m{number}"} for number in range(9)]
COMMENTS = [{"id": number, "author": "Jo", "text": TEXT, "date": "2026-03-05"} for number in range(9)]
IMAGES = [{"url": f"/{number}.png", "title": "Ferry", "caption": TEXT} for number in range(9)]


def read(path, value, **options):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return list(Source(path, **options))


def ids(path, value, **options):
    return [entry.article.id if entry.article else None for entry in read(path, value, **options)]


@pytest.mark.parametrize(
    "value",
    [
        ARTICLE | {"tags": TAGS},
        {"tags": TAGS} | ARTICLE,
        ARTICLE | {"comments": COMMENTS, "images": IMAGES, "authors": [{"name": "Jo", "bio": TEXT, "url": "/jo/"}]},
        ARTICLE | {"comments": [comment | {"title": "Re"} for comment in COMMENTS]},
        {"related": STORIES} | ARTICLE,
        ARTICLE | {"relatedPosts": STORIES, "translations": STORIES},
        ARTICLE | {"more_like_this": STORIES},
        ARTICLE | {"previous": ARTICLE | {"id": 6}, "next": ARTICLE | {"id": 8}},
        {"article": ARTICLE | {"tags": TAGS}},
        {"data": {"post": ARTICLE | {"tags": {"nodes": TAGS}, "comments": {"nodes": COMMENTS}}}},
        {"id": 7, "title": "Ferry", "tags": TAGS},
        {"id": 7, "title": "Ferry", "text": "Short.", "blocks": [{"type": "p", "text": TEXT}]},
        {"id": 7, "title": "Ferry"},
    ],
)
def test_one_article_is_read_and_not_a_list_in_it(tmp_path, value):
    (entry,) = read(tmp_path / "a.json", value)
    assert (entry.article.id, entry.article.title) == ("7", "Ferry")


def test_one_article_without_an_id_is_called_by_its_file(tmp_path):
    assert ids(tmp_path / "a.json", {"title": "Ferry", "text": TEXT}) == ["a.json"]


@pytest.mark.parametrize(
    "value",
    [
        {"navigation": MENU, "stories": STORIES},
        {"navigation": {"items": MENU}, "stories": STORIES},
        {"menu": {"pages": MENU}, "articles": LINKS},
        {"navigation": MENU * 1000, "stories": STORIES},
        {"tags": TAGS, "comments": COMMENTS, "posts": LINKS},
        {"categories": TAGS * 200, "posts": STORIES},
        {"data": {"posts": STORIES}},
        {"data": {"posts": {"nodes": STORIES, "pageInfo": {"next": None}}}},
        {"meta": {"title": "Export", "total": 3}, "items": STORIES},
        {"title": "Site", "url": "/", "description": TEXT, "site": {"title": "Site", "pages": STORIES}},
        {"title": "Home", "content": "Welcome.", "url": "/", "posts": STORIES},
        {"featured": STORIES[:1], "articles": STORIES},
        {"relatedPosts": STORIES[:1], "latest": LINKS},
        {"navigation": [{"titel": "N", "link": "/n"}] * 3, "beitraege": STORIES},
        {"anything": STORIES, "tags": TAGS},
    ],
)
def test_the_list_of_articles_is_read_among_others(tmp_path, value):
    assert ids(tmp_path / "a.json", value) == ["0", "1", "2"]


names = st.sampled_from(["a", "meta", "tags", "links", "menu", "x1", "count", "next", "authors"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**70) | st.sampled_from(["", "x", "a b", TEXT]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=25)
@example(before={}, after={"links": {"meta": None, "next": True}}, name="p")
@given(st.dictionaries(names, values, max_size=4), st.dictionaries(names, values, max_size=4), st.sampled_from("pb"))
def test_the_list_of_articles_is_read_inside_any_wrapper(tmp_path_factory, before, after, name):
    path = tmp_path_factory.mktemp("json") / "a.json"
    name = {"p": "posts", "b": "beitraege"}[name]
    assert ids(path, before | {name: STORIES} | after) == ["0", "1", "2"]
    assert ids(path, before | {"data": {name: STORIES}} | after) == ["0", "1", "2"]
    assert ids(path, before | ARTICLE | after) == ["7"]


def test_the_field_names_of_the_source_decide(tmp_path):
    value = {"menu": MENU, "rows": [{"nr": 1, "doc": {"h": "Ferry", "b": "It sailed."}}]}
    (entry,) = read(tmp_path / "a.json", value, fields={"id": "nr", "title": "doc.h", "text": "doc.b"})
    assert (entry.article.id, entry.article.title, entry.article.text) == ("1", "Ferry", "It sailed.")
    value = {"data": {"id": "1", "attributes": {"title": "Ferry", "body": TEXT}}, "included": TAGS}
    (entry,) = read(tmp_path / "a.json", value, fields={"title": "attributes.title", "text": "attributes.body"})
    assert (entry.article.id, entry.article.title) == ("1", "Ferry")


def test_articles_by_their_keys_are_read(tmp_path):
    value = {"posts": {"3": STORIES[0], "x": {"title": "Ferry", "text": TEXT}, "total": 2}, "tags": TAGS}
    assert ids(tmp_path / "a.json", value) == ["0", "x"]


def test_a_json_file_of_lines_is_read_by_lines(tmp_path):
    lines = "".join(json.dumps(story) + "\n" for story in STORIES)
    assert ids(tmp_path / "a.json", lines) == ["0", "1", "2"]
    assert ids(tmp_path / "a.json", lines.replace("}\n", "}\r\n\r\n")) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "value",
    [
        {"name": "x", "version": "1", "description": TEXT},
        {"values": [1, 2, 3]},
        {"articles": []},
        {"navigation": {"title": "x"}, "theme": {"colour": "red"}},
    ],
)
def test_a_file_of_neither_is_reported(tmp_path, value):
    (entry,) = read(tmp_path / "a.json", value)
    assert "neither an article nor a list" in entry.problems[0]


def test_a_truncated_wrapped_list_yields_the_articles_before_the_cut(tmp_path):
    text = json.dumps({"beitraege": STORIES, "tags": TAGS})
    *articles, cut = read(tmp_path / "a.json", text[: text.index('"id": 2')])
    assert [entry.article.id for entry in articles] == ["0", "1"]
    assert cut.failed


@pytest.mark.parametrize("text", ["[" * 30_000, '{"a":' * 30_000, '{"items":[{"a":' + '{"a":[' * 30_000])
def test_deeply_nested_values_take_no_memory(tmp_path, text):
    (entry,) = read(tmp_path / "a.json", text)
    assert entry.failed
    assert "the file nests values more than" in entry.problems[0]


@pytest.mark.parametrize("value", [{"articles": STORIES}, ARTICLE | {"tags": TAGS}])
def test_a_document_on_one_line_may_come_from_standard_input(tmp_path, monkeypatch, value):
    (tmp_path / "a").write_text(json.dumps(value))
    with (tmp_path / "a").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        articles = [entry.article.id for entry in Source("-") if entry.article]
    assert articles == (["0", "1", "2"] if "articles" in value else ["7"])


@pytest.mark.parametrize("value", [{"id": 7, "deleted": True}, {"id": 7, "deleted": True, "tags": TAGS}])
def test_a_single_record_may_be_deleted(tmp_path, value):
    (entry,) = read(tmp_path / "a.json", value)
    assert (entry.id, entry.excluded) == ("7", "unpublished")


def test_numbers_of_more_than_64_bits_are_numbers(tmp_path):
    ids = [1, 2**64 + 1, 3]
    value = [{"id": id, "title": "Ferry", "size": 1.5, "deep": [{"a": 0.25}]} for id in ids]
    articles = [entry.article for entry in read(tmp_path / "a.json", value)]
    assert [article.id for article in articles] == ["1", "18446744073709551617", "3"]
    assert [dict(article.metadata) for article in articles] == [{"size": 1.5, "deep": [{"a": 0.25}]}] * 3
    (entry,) = read(tmp_path / "a.json", '{"items": [{"id": 1, "title": "Ferry", "size": 1e400}]}')
    assert entry.article.metadata["size"] is None
