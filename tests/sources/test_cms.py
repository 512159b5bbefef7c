"""Exports of Ghost, and records of Drupal, Strapi, Sanity and WordPress's REST API, without a mapping."""

import json

import pytest
from variants import variants

from recommender.sources import Source, cms

BODY = "<p>The bells of the abbey were cast in Ghent.</p>"
TEXT = "The bells of the abbey were cast in Ghent."


def read(folder, value, name="export.json", **options):
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return list(Source(folder / name, **options))


def ghost_post(number, **fields):
    defaults = {"status": "published", "type": "post", "visibility": "public", "html": BODY}
    named = {
        "id": f"g{number}",
        "slug": f"s{number}",
        "title": f"T{number}",
        "published_at": "2024-02-01T07:00:00.000Z",
    }
    return named | defaults | fields


def lexical(text):
    return json.dumps({"root": {"children": [{"type": "paragraph", "children": [{"type": "text", "text": text}]}]}})


def mobiledoc(text):
    return json.dumps({"version": "0.3.1", "markups": [], "sections": [[1, "p", [[0, [], 0, text]]]]})


POSTS = [
    ghost_post(1),
    ghost_post(2, html=None, lexical=lexical(TEXT)),
    ghost_post(3, html=None, mobiledoc=mobiledoc(TEXT)),
    ghost_post(4, status="sent"),
    ghost_post(5),
    ghost_post(6, visibility="paid"),
    ghost_post(7, status="draft", published_at=None),
    ghost_post(8, type=None, page=1),
]
TABLES = {
    "posts": POSTS,
    "posts_meta": [{"post_id": "g5", "email_only": 1}, {"post_id": "g1", "email_only": 0}],
    "tags": [{"id": "t1", "name": "Bells"}],
    "posts_tags": [{"post_id": "g1", "tag_id": "t1", "sort_order": 0}],
}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tables: {"db": [{"meta": {"version": "5.1"}, "data": tables}]},
        lambda tables: {"data": tables, "meta": {"version": "2.0"}},
        lambda tables: tables,
    ],
)
def test_a_ghost_export_with_or_without_db(tmp_path, wrap):
    entries = {entry.id or entry.article.id: entry for entry in read(tmp_path, wrap(TABLES))}
    assert [id for id, entry in entries.items() if entry.article] == ["g1", "g2", "g3", "g6", "g8"]
    assert {entry.article.text for entry in entries.values() if entry.article} == {TEXT}
    assert entries["g1"].article.url == "/s1/"
    assert entries["g1"].article.published.year == 2024
    assert entries["g1"].article.tags == ("Bells",)
    assert entries["g6"].article.metadata["visibility"] == "paid"
    assert [entries[id].excluded for id in ("g4", "g5", "g7")] == ["email only", "email only", "unpublished"]


def test_an_answer_of_ghosts_api_contains_its_tags_and_addresses(tmp_path):
    post = ghost_post(1, url="https://abbey.example/s1/", uuid="u", tags=[{"name": "Bells"}, {"name": "#hidden"}])
    (entry,) = read(tmp_path, {"posts": [post], "meta": {}})
    assert (entry.article.url, entry.article.tags) == ("https://abbey.example/s1/", ("Bells",))


def test_drupals_json_api(tmp_path):
    def node(number, status, alias):
        attributes = {
            "drupal_internal__nid": number, "status": status, "title": f"T{number}", "langcode": "nl",
            "created": "2021-03-05T10:00:00+00:00", "path": {"alias": alias}, "body": {"value": "x", "processed": BODY},
        }  # fmt: skip
        return {"type": "node--article", "id": f"u{number}", "attributes": attributes}

    value = {
        "jsonapi": {"version": "1.0"},
        "data": [node(1, True, "/bells"), node(2, False, "/x"), node(3, True, None)],
    }
    first, second, third = read(tmp_path, value)
    assert (first.article.id, first.article.title, first.article.url) == ("u1", "T1", "/bells")
    assert (first.article.text, first.article.language, first.article.published.year) == (TEXT, "nl", 2021)
    assert (second.id, second.excluded) == ("u2", "unpublished")
    assert third.article.url == "/node/3"


@pytest.mark.parametrize("nested", [True, False])
def test_strapi(tmp_path, nested):
    def entry(number, published, **fields):
        values = {"title": f"T{number}", "slug": f"s{number}", "publishedAt": published, "locale": "nl", **fields}
        return {"id": number, "attributes": values} if nested else {"id": number, "documentId": f"d{number}", **values}

    blocks = [{"type": "paragraph", "children": [{"type": "text", "text": TEXT}]}]
    category = {"data": {"id": 1, "attributes": {"name": "Bells"}}} if nested else {"id": 1, "name": "Bells"}
    rows = [
        entry(1, "2021-03-05T10:00:00.000Z", body="The **bells**, cast in [Ghent](/ghent/).", category=category),
        entry(2, None, body="Not yet."),
        entry(3, "2021-03-06T10:00:00.000Z", content=blocks),
    ]
    value = {"data": rows, "meta": {"pagination": {"page": 1}}}
    first, second, third = read(
        tmp_path, value, fields={"url": "/news/{attributes.slug}" if nested else "/news/{slug}"}
    )
    assert (first.article.text, first.article.links) == ("The bells, cast in Ghent.", ("/ghent/",))
    assert (first.article.url, first.article.section, first.article.language) == ("/news/s1", "Bells", "nl")
    assert second.excluded == "unpublished"
    assert third.article.text == TEXT


@pytest.mark.parametrize("name", ["data.ndjson", "data.json"])
def test_sanity(tmp_path, name):
    block = {"_type": "block", "style": "normal", "children": [{"_type": "span", "text": TEXT}]}
    slug = {"_type": "slug", "current": "bells"}
    documents = [
        {"_id": "p1", "_type": "post", "title": "T", "slug": slug, "publishedAt": "2021-03-05T10:00:00Z",
         "body": [block], "categories": [{"title": "Abbey"}]},
        {"_id": "drafts.p2", "_type": "post", "title": "Draft", "body": [block]},
        {"_id": "c1", "_type": "category", "title": "Abbey"},
        {"_id": "image-1", "_type": "sanity.imageAsset", "originalFilename": "x.png"},
    ]  # fmt: skip
    value = "\n".join(map(json.dumps, documents)) if name.endswith("ndjson") else documents
    first, *others = read(tmp_path, value, name, fields={"url": "/{slug.current}/"})
    assert (first.article.id, first.article.url, first.article.text) == ("p1", "/bells/", TEXT)
    assert (first.article.section, first.article.published.year) == ("Abbey", 2021)
    assert [entry.excluded for entry in others] == ["unpublished", "category", "sanity.imageAsset"]


def test_the_rest_api_of_wordpress(tmp_path):
    def post(number, **fields):
        return {
            "id": number, "date_gmt": "2021-03-05T10:00:00", "link": f"https://abbey.example/{number}/", "tags": [3],
            "status": "publish", "title": {"rendered": "Bells &#8211; old"}, "categories": [1],
            "content": {"rendered": BODY, "protected": False},
        } | fields  # fmt: skip

    terms = [[{"taxonomy": "category", "name": "Abbey"}], [{"taxonomy": "post_tag", "name": "Bells"}]]
    rows = [post(1), post(2, _embedded={"wp:term": terms}), post(3, content={"rendered": "", "protected": True})]
    first, second, third = read(tmp_path, rows)
    assert (first.article.title, first.article.text, first.article.tags) == ("Bells – old", TEXT, ())
    assert first.article.url == "https://abbey.example/1/"
    assert (second.article.tags, second.article.section) == (("Bells",), "Abbey")
    assert third.excluded == "private"


def test_a_mapping_wins(tmp_path):
    attributes = {"title": "T", "headline": "H", "publishedAt": "2021-03-05", "body": "x"}
    (entry,) = read(tmp_path, {"data": [{"id": 1, "attributes": attributes}]}, fields={"title": "attributes.headline"})
    assert entry.article.title == "H"


def test_rich_text_in_any_json_is_text(tmp_path):
    document = {"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": TEXT}]}]}
    for number, text in enumerate([document, json.dumps(document)]):
        (entry,) = read(tmp_path, [{"id": "1", "title": "T", "text": text}], f"{number}.json")
        assert entry.article.text == TEXT


@pytest.mark.parametrize(
    ("rest", "has_more"),
    [
        ({"links": {"next": {"href": "https://abbey.example/jsonapi?page=2"}}}, True),
        ({"links": {"next": "https://abbey.example/jsonapi?page=2"}}, True),
        ({"links": {"self": "x", "next": None}}, False),
        ({"meta": {"pagination": {"page": 1, "pageSize": 25, "pageCount": 4, "total": 90}}}, True),
        ({"meta": {"pagination": {"page": 4, "pageSize": 25, "pageCount": 4, "total": 90}}}, False),
        ({"meta": {"pagination": {"page": 1, "pages": 2, "next": 2}}}, True),
        ({"next_url": "https://abbey.example/feed?page=2"}, True),
        ({"meta": 7, "links": []}, False),
    ],
)
def test_one_page_of_an_answer_may_lack_articles(tmp_path, rest, has_more):
    first, *others = read(tmp_path, {"data": [{"id": 1, "title": "T", "text": "x"}], **rest})
    assert first.article
    assert [entry.unknown for entry in others] == [True] * has_more


@pytest.mark.parametrize("cut", [False, True])
def test_relative_links_of_json_feed_are_resolved(tmp_path, cut):
    item = {"id": "1", "url": "/bells", "title": "T", "content_html": "<p>See <a href='/ghent'>Ghent</a>.</p>"}
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "home_page_url": "https://abbey.example/",
        "items": [item] * 2,
    }
    text = json.dumps(feed)
    first, *_ = read(tmp_path, text[:-30] if cut else text)
    assert first.article.url == "https://abbey.example/bells"
    assert first.article.links == ("https://abbey.example/ghent",)


RECORDS = [
    {"type": "node--a", "id": "u", "attributes": {
        "drupal_internal__nid": 1, "title": "T", "path": {"alias": "/a"}, "body": {"value": "x", "processed": "y"}}},
    {"id": 1, "attributes": {
        "title": "T", "publishedAt": "2021-03-05", "body": "x", "category": {"data": {"attributes": {"name": "n"}}}}},
    {"_id": "p1", "_type": "post", "title": "T", "body": [{"_type": "block", "children": []}], "categories": [{}]},
    {"id": 1, "title": {"rendered": "B"}, "content": {"rendered": "x"}, "excerpt": {"rendered": "e"},
     "_embedded": {"wp:term": [[{"taxonomy": "category", "name": "A"}]]}},
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS)
def test_a_field_of_the_wrong_type_costs_at_most_the_record(record):
    for changed in variants(record):
        assert cms.record_entry("where", changed, mapping={}).where == "where"


def test_a_table_of_ghost_of_the_wrong_type_costs_at_most_itself(tmp_path):
    tables = {"posts": POSTS[:1], "tags": [{"id": "t1", "name": "Bells"}], "posts_tags": TABLES["posts_tags"] * 2}
    for changed in variants({"data": tables}):
        assert read(tmp_path, changed)


@pytest.mark.parametrize(
    "export",
    [
        {"posts": [ghost_post(1, tags=5), ghost_post(2)]},
        {"items": [{"id": id, "title": "Bells", "content_html": BODY, "authors": 5} for id in "ab"]},
    ],
)
def test_a_list_of_the_wrong_type_costs_only_itself(tmp_path, export):
    assert [entry.article.text for entry in read(tmp_path, export)] == [TEXT, TEXT]
