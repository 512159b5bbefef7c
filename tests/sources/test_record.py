import pytest

from recommender.sources.record import entry, unpublished


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
def test_what_cmss_write_of_a_record_that_is_not_published(fields):
    found = entry("x:1", {"id": "a", "title": "T", **fields})
    assert found.unpublished
    assert found.article is None
    assert found.id == "a"
    assert next(iter(fields.get("metadata", fields))) in found.problems[0]


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
        {"published": True},
        {"published": "2026-03-05"},
        {"status": "future", "published": "2126-03-05"},
        {"hidden": "in plain sight"},
        {"live": False},
        {"archived": True},
    ],
)
def test_what_they_write_of_one_that_is(fields):
    found = entry("x:1", {"id": "a", "title": "T", **fields})
    assert not found.unpublished
    assert found.article.id == "a"


def test_a_deleted_record_needs_no_title():
    assert entry("x:1", {"id": "a", "deleted": True}).unpublished
    assert entry("x:1", {"url": "https://x.org/a", "deleted": True}).id == "https://x.org/a"
    assert not entry("x:1", {"id": "a"}).unpublished


def test_an_archive_s_own_fields_named_block_or_recommend_stay_metadata():
    article = entry("x:1", {"id": "a", "title": "T", "block": "sidebar", "recommend": ["b"]}).article
    assert (article.block, article.recommend) == (True, True)
    assert article.metadata == {"block": "sidebar", "recommend": ["b"]}
    article = entry("x:1", {"id": "a", "title": "T", "block": "no", "recommend": 0}).article
    assert (article.block, article.recommend, article.metadata) == (False, False, {})


def test_unpublished_says_why():
    assert unpublished({"status": "Draft"}) == "its status is 'Draft'"
    assert unpublished({}) == ""


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
    assert entry("here", {"id": "a", "title": "T", "text": text}).article.text == text


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
    assert entry("here", {"id": "a", "title": "T", "text": text}).article.text == plain


def test_links_of_html_are_kept_unless_the_record_has_its_own():
    text = "<p>See <a href='../b'>b</a>.</p><h3>Related</h3><ul><li><a href='/c'>c</a></ul>"
    found = entry("here", {"url": "https://x.org/a/", "title": "T", "text": text}).article
    assert (found.links, found.related) == (("https://x.org/b",), ("https://x.org/c",))
    assert entry("here", {"id": "a", "title": "T", "text": text, "links": ["x"]}).article.links == ("x",)


def test_short_fields_have_no_markup():
    given = {
        "id": "a",
        "title": "The <em>Sea</em> &amp; <b>I</b>&nbsp;",
        "tags": ["R&amp;D", "a<b"],
        "section": "Q&amp;A",
    }
    found = entry("here", given).article
    assert (found.title, found.tags, found.section) == ("The Sea & I", ("R&D", "a<b"), "Q&A")


def test_other_names_of_fields():
    given = {"nr": 7, "url": "https://x.org/a", "text": {"body": "Words."}, "headline": "T", "other": 1}
    found = entry("here", given, fields={"id": "nr", "title": "headline", "text": "text.body"}).article
    assert (found.id, found.title, found.text, dict(found.metadata)) == ("7", "T", "Words.", {"other": 1})
    found = entry("here", {"id": 1, "url": "https://x.org/a", "title": "T"}, fields={"id": "url"}).article
    assert found.id == found.url == "https://x.org/a"
    found = entry("here", {"id": 1, "title": "T"}, fields={"id": "nr", "title": "headline"}).article
    assert (found.id, found.title) == ("1", "T")
