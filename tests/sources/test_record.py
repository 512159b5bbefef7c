import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.sources.record import json_value, record_entry
from recommender.sources.status import publication_status
from recommender.text.clean import clean_text
from recommender.text.urls import web_url


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "draft"},
        {"status": "Pending Review"},
        {"post_status": "trash"},
        {"_status": "draft"},
        {"moderation_state": "archived"},
        {"status": 0},
        {"status": "0"},
        {"status": False},
        {"state": -2},
        {"status": "private"},
        {"draft": True},
        {"draft": "yes"},
        {"deleted": True},
        {"deleted_at": "2026-03-05T10:00:00Z"},
        {"deletedAt": "2026-03-05 10:00:00"},
        {"deleted_at": 1772704800},
        {"deleted_at": "03/04/2021"},
        {"discarded_at": datetime(2026, 3, 5, tzinfo=UTC)},
        {"deleted": "2026-03-05"},
        {"metadata": {"deleted_at": "2026-03-05"}},
        {"visible": False},
        {"is_visible": "false"},
        {"isVisible": 0},
        {"public": False},
        {"_deleted": 1},
        {"is_deleted": "true"},
        {"published": False},
        {"is_published": False},
        {"enabled": 0},
        {"status": "future"},
        {"status": "future", "published": True},
        {"status": "scheduled", "published": "tomorrow at nine"},
        {"metadata": {"status": "draft"}},
        {"status": "scheduled"},
    ],
)
def test_values_of_unpublished_records_in_content_management_systems(fields):
    entry = record_entry("x:1", {"id": "a", "title": "T", **fields})
    assert entry.excluded
    assert entry.article is None
    assert entry.id == "a"
    assert next(iter(fields.get("metadata", fields))) in entry.problems[0]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"status": "publish"},
        {"status": "Published"},
        {"status": 1},
        {"status": True},
        {"status": "live"},
        {"status": None},
        {"status": "corrected"},
        {"state": "CA"},
        {"draft": False},
        {"draft": "false"},
        {"deleted": None},
        {"deleted_at": None},
        {"deletedAt": ""},
        {"deleted_at": 0},
        {"deleted_at": "0000-00-00 00:00:00"},
        {"deleted_at": "0001-01-01T00:00:00Z"},
        {"deleted_at": "never"},
        {"visible": True},
        {"is_visible": 1},
        {"visible": "from the harbour"},
        {"published": True},
        {"published": "2026-03-05"},
        {"status": "future", "published": "2126-03-05"},
        {"hidden": "in plain sight"},
        {"live": False},
        {"archived": True},
    ],
)
def test_values_of_published_records_in_content_management_systems(fields):
    entry = record_entry("x:1", {"id": "a", "title": "T", **fields})
    assert not entry.excluded
    assert entry.article.id == "a"


def test_a_deleted_record_needs_no_title():
    assert record_entry("x:1", {"id": "a", "deleted": True}).excluded
    assert record_entry("x:1", {"url": "https://x.org/a", "deleted": True}).id == "https://x.org/a"
    assert not record_entry("x:1", {"id": "a"}).excluded


def test_an_archive_s_own_fields_named_block_or_recommend_stay_metadata():
    article = record_entry("x:1", {"id": "a", "title": "T", "block": "sidebar", "recommend": ["b"]}).article
    assert (article.block, article.recommend) == (True, True)
    assert article.metadata == {"block": "sidebar", "recommend": ["b"]}
    article = record_entry("x:1", {"id": "a", "title": "T", "block": "no", "recommend": 0}).article
    assert (article.block, article.recommend, article.metadata) == (False, False, {})


def test_unpublished_records_have_a_reason():
    assert publication_status({"status": "Draft"}).clause == "its status is 'Draft'"
    assert publication_status({}).excluded == ""


@pytest.mark.parametrize(
    "text",
    [
        "std::vector<int> and <P> and a <br> in Markdown",
        "# H\n\n| a<br>b |\n\n<p>One piece of HTML.</p>\n",
        "1 < 2 > 0",
        "&c;",
    ],
)
def test_text_that_is_not_html_stays_as_it_is(text):
    assert record_entry("here", {"id": "a", "title": "T", "text": text}).article.text == text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<p>It <b>sail</b>ed &amp; sank.</p>", "It sailed & sank."),
        ("Lead.<p>One.</p><p>Two.</p><pre>code</pre>", "Lead.\n\nOne.\n\nTwo."),
        ("<!-- x --><div>One.</div>", "One."),
        ("Fish &amp; chips &#8212; cheap", "Fish & chips — cheap"),
    ],
)
def test_text_that_is_html_becomes_plain(text, plain):
    assert record_entry("here", {"id": "a", "title": "T", "text": text}).article.text == plain


def test_links_of_html_are_read_unless_the_record_has_links():
    text = "<p>See <a href='../b'>b</a>.</p><h3>Related</h3><ul><li><a href='/c'>c</a></ul>"
    article = record_entry("here", {"url": "https://x.org/a/", "title": "T", "text": text}).article
    assert (article.links, article.related) == (("https://x.org/b",), ("https://x.org/c",))
    assert record_entry("here", {"id": "a", "title": "T", "text": text, "links": ["x"]}).article.links == ("x",)


def test_short_fields_have_no_markup():
    record = {
        "id": "a",
        "title": "The <em>Sea</em> &amp; <b>I</b>&nbsp;",
        "tags": ["R&amp;D", "a<b"],
        "section": "Q&amp;A",
    }
    article = record_entry("here", record).article
    assert (article.title, article.tags, article.section) == ("The Sea & I", ("R&D", "a<b"), "Q&A")


def test_other_names_of_fields():
    record = {"nr": 7, "url": "https://x.org/a", "text": {"body": "Words."}, "headline": "T", "other": 1}
    article = record_entry("here", record, fields={"id": "nr", "title": "headline", "text": "text.body"}).article
    assert (article.id, article.title, article.text, dict(article.metadata)) == ("7", "T", "Words.", {"other": 1})
    article = record_entry("here", {"id": 1, "url": "https://x.org/a", "title": "T"}, fields={"id": "url"}).article
    assert article.id == article.url == "https://x.org/a"
    article = record_entry("here", {"id": 1, "title": "T"}, fields={"id": "nr", "title": "headline"}).article
    assert (article.id, article.title) == ("1", "T")


def test_names_of_fields_in_any_case():
    record = {"ID": 7, "Title": "T", "TEXT": "Words.", "Published": "2026-03-05", "Author": "A", "section": "S"}
    article = record_entry("here", record).article
    assert (article.id, article.title, article.text, article.section) == ("7", "T", "Words.", "S")
    assert article.published.date().isoformat() == "2026-03-05"
    assert dict(article.metadata) == {"Author": "A"}
    article = record_entry("here", {"id": 1, "title": "exact", "Title": "other"}).article
    assert (article.title, dict(article.metadata)) == ("exact", {"Title": "other"})


def test_a_mapping_ignores_the_case_of_names():
    record = {"_ID": {"$OID": "65f0"}, "Headline": "T", "Data": {"Body": "Words."}}
    entry = record_entry("here", record, fields={"id": "_id.$oid", "title": "headline", "text": "data.body"})
    assert (entry.article.id, entry.article.title, entry.article.text) == ("65f0", "T", "Words.")
    assert entry.absent == ()
    assert record_entry("here", record, fields={"id": "_id.$oid", "title": "headlines"}).absent == ("headlines",)


def test_a_record_without_an_id_lists_the_names_of_its_fields():
    entry = record_entry("here", {"_id": {"$oid": "65f0"}, "headline": "T", "tags": ["a"], "empty": {}})
    assert entry.problems == ("it has neither an id nor a url",)
    assert entry.names == ("_id.$oid", "headline", "tags", "empty")


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("/artikel/{slug}", "/artikel/die-f%C3%A4hre"),
        ("https://x.org/{path}", "https://x.org/2026/pier"),
        ("https://x.org/{ path.x}", None),
        ("/{data.nr}.html", "/7.html"),
        ("/{nr}?from={section}", "/7?from=Q%26A%3F"),
        ("/{Slug}/", "/die-f%C3%A4hre/"),
        ("/{escaped}", "/caf%C3%A9"),
        ("/{percent}", "/100%25"),
        ("/{slug}/{gone}", None),
        ("/{empty}", None),
        ("{link}", "https://x.org/a?b=c"),
    ],
)
def test_a_template_builds_the_url(template, url):
    record = {
        "id": "a",
        "title": "T",
        "slug": "die-fähre",
        "path": "/2026/pier",
        "data": {"nr": 7.0},
        "nr": 7,
        "section": "Q&A?",
        "escaped": "caf%C3%A9",
        "percent": "100%",
        "empty": " ",
        "link": "https://x.org/a?b=c",
    }
    entry = record_entry("here", record, fields={"url": template})
    assert entry.article.url == url
    assert (f"its url was left empty, since it lacks a value for {template!r}" in entry.problems) == (url is None)
    assert entry.article.metadata.get("slug") == "die-fähre"


@given(st.text(min_size=1).filter(lambda text: clean_text(text).strip()))
def test_a_url_of_a_template_is_one_and_holds_the_value(value):
    url = record_entry("here", {"id": "a", "title": "T", "slug": value}, fields={"url": "/x-{slug}"}).article.url
    assert web_url(url) == url
    assert url.isascii()
    if "%" not in value:
        assert unquote(url) == f"/x-{value.strip()}"


def test_a_template_of_other_fields_is_text():
    record = {"nr": 7, "headline": "Ferry & pier", "kicker": "News"}
    article = record_entry("here", record, fields={"id": "post-{nr}", "title": "{kicker}: {headline}"}).article
    assert (article.id, article.title) == ("post-7", "News: Ferry & pier")


@pytest.mark.parametrize(
    "fields",
    [
        {"Status": "Entwurf"},
        {"STATUS": "DRAFT"},
        {"Statut": "Brouillon"},
        {"estado": "Borrador"},
        {"stato": "bozza"},
        {"status": "concept"},
        {"status": "Rascunho"},
        {"status": "Pas de", "Entwurf": "ja"},
        {"status": "Nicht veröffentlicht"},
        {"status": "no publicado"},
        {"Statut": "À relire"},
        {"状态": "草稿"},
        {"ステータス": "下書き"},
        {"Статус": "Черновик"},
        {"Status": "Geplant"},
        {"isDraft": True},
        {"Is Draft": "yes"},
        {"isPublished": False},
        {"Veröffentlicht": "nein"},
        {"publié": "non"},
        {"brouillon": "oui"},
        {"attributes": {"status": False}},
        {"Metadata": {"Draft": "true"}},
    ],
)
def test_drafts_in_any_case_and_in_other_languages(fields):
    entry = record_entry("here", {"id": "a", "title": "T", **fields})
    assert entry.excluded, entry


@pytest.mark.parametrize(
    "fields",
    [
        {"Status": "Veröffentlicht"},
        {"statut": "Publié"},
        {"Estado": "Publicado"},
        {"Status": "gepubliceerd"},
        {"Published": "Yes"},
        {"Veröffentlicht": "ja"},
        {"Veröffentlicht": "2026-03-05"},
        {"Entwurf": "nein"},
        {"state": "Bavaria"},
        {"concept": "the sea"},
        {"status": ""},
    ],
)
def test_published_articles_in_any_case_and_in_other_languages(fields):
    entry = record_entry("here", {"id": "a", "title": "T", **fields})
    assert (entry.excluded, entry.problems) == ("", ())
    assert entry.article is not None


def test_a_status_that_is_unknown_is_reported():
    entry = record_entry("here", {"id": "a", "title": "T", "Status": "corrected"})
    assert entry.article.id == "a"
    assert entry.problems == ("its Status “corrected” is unknown and counts as published",)


def test_a_status_can_be_mapped():
    assert record_entry("here", {"id": "a", "title": "T", "Freigabe": "nein"}, fields={"status": "Freigabe"}).excluded
    assert record_entry("here", {"id": "a", "title": "T", "Freigabe": "ja"}, fields={"status": "freigabe"}).article


@pytest.mark.parametrize(("id", "text"), [(7, "7"), (7.0, "7"), (2.5, "2.5"), ("007", "007")])
def test_numeric_ids(id, text):
    assert record_entry("here", {"id": id, "title": "T"}).article.id == text


def test_plain_values():
    record = {
        "none": [None, float("nan"), float("inf"), np.float32("nan"), pd.NaT, pd.NA, np.datetime64("NaT"), b"x"],
        "numpy": [np.int64(7), np.bool_(True), np.str_("a"), np.float32(1.5), np.array([[1, 2]])],
        "dates": [
            date(2026, 3, 5),
            datetime(2026, 3, 5, 7, tzinfo=UTC),
            pd.Timestamp("2026-03-05"),
            np.datetime64("2026-03-05T07:00:00.000000001"),
        ],
        "sets": [{"b", "a"}, frozenset({2, 1}), ("x",)],
        "others": [Decimal("7"), Decimal("NaN"), Path("a"), pd.Series(["s"])],
        7: {"deep": pd.array([1, None], dtype="Int64")},
    }
    assert json_value(record) == {
        "none": [None] * 8,
        "numpy": [7, True, "a", 1.5, [[1, 2]]],
        "dates": ["2026-03-05", "2026-03-05T07:00:00+00:00", "2026-03-05T00:00:00", "2026-03-05T07:00:00"],
        "sets": [["a", "b"], [1, 2], ["x"]],
        "others": ["7", None, "a", ["s"]],
        "7": {"deep": [1, None]},
    }
    json.dumps(json_value(record))
