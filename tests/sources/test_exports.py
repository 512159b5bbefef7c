"""Exports of many articles: JSON lists, JSON Feed, Ghost, WordPress, feeds, CSV, Parquet, databases."""

import json
import sqlite3
from datetime import UTC, datetime

import pyarrow
import pyarrow.parquet
import pytest

from recommender import SourceError
from recommender.sources import Source

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
TEXT = "The ferry sailed at dawn."


def read(path, **options):
    return list(Source(path, **options))


def articles(path, **options):
    return [entry.article for entry in read(path, **options) if entry.article]


def dump(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"n": 2, "data": {"articles": rows}}])
def test_json_lists(tmp_path, wrap):
    rows = [{"id": 1, "title": "A", "fields": {"body": TEXT}}, 7, {"id": 2, "title": "B"}]
    first, odd, second = read(dump(tmp_path / "a.json", wrap(rows)), fields={"text": "fields.body"})
    assert (first.article.id, first.article.text, second.article.id) == ("1", TEXT, "2")
    assert (odd.where.rpartition("/")[2], odd.unknown) == ("a.json: record 2", True)


def test_truncated_json_yields_the_articles_before_the_cut(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"id": "1", "title": "A"}, {"id": "2", "title": "B"}])[:-10])
    first, cut = read(tmp_path / "a.json")
    assert first.article.id == "1"
    assert cut.failed
    assert cut.unknown
    assert "record 2" in cut.where


@pytest.mark.parametrize("text", ['{"name": "x", "version": 1}', "", "[1, 2", "{" * 100_000, "\x00\xff", '"x"', "[]"])
def test_other_json_is_reported(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert not articles(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["a.json", "feed.xml"])
def test_an_empty_file_is_reported_as_empty(tmp_path, name):
    (tmp_path / name).touch()
    (entry,) = read(tmp_path / name)
    assert (entry.problems, entry.failed) == (("the file is empty",), True)


def test_a_section_that_is_an_object_is_its_name(tmp_path):
    rows = [{"id": "1", "title": "A", "category": {"id": 7, "name": "Sea"}}, {"id": "2", "title": "B", "category": {}}]
    with_name, without_name = read(dump(tmp_path / "a.json", rows), fields={"section": "category"})
    assert (with_name.article.section, with_name.problems) == ("Sea", ())
    assert without_name.article.section is None
    assert "its section is an object" in without_name.problems[0]


def test_json_feed(tmp_path):
    item = {
        "id": "9", "url": "https://x.org/9", "title": "A", "content_html": f"<p>{TEXT}</p>", "tags": ["sea"],
        "date_published": "2026-03-05T12:00:00Z", "image": "https://x.org/i.png", "authors": [{"name": "Jo"}],
    }  # fmt: skip
    feed = {"version": "https://jsonfeed.org/version/1.1", "title": "F", "language": "de", "items": [item]}
    (article,) = articles(dump(tmp_path / "feed.json", feed))
    assert (article.id, article.url, article.title, article.text) == ("9", "https://x.org/9", "A", TEXT)
    assert (article.published, article.language, article.tags) == (NOON, "de", ("sea",))
    assert dict(article.metadata) == {"image": "https://x.org/i.png", "author": "Jo"}


def test_ghost(tmp_path):
    posts = [
        {"id": "p1", "slug": "a", "title": "A", "html": f"<p>{TEXT} <a href='__GHOST_URL__/b/'>b</a></p>",
         "type": "post", "status": "published", "published_at": "2026-03-05T12:00:00.000Z",
         "feature_image": "__GHOST_URL__/i.png"},
        {"id": "p2", "slug": "b", "title": "B", "html": "<p>x</p>", "status": "draft", "type": "post"},
    ]  # fmt: skip
    tags = [{"id": "t1", "name": "Sea"}, {"id": "t2", "name": "Port"}, {"id": "t3", "name": "#internal"}]
    post_tags = [
        {"post_id": "p1", "tag_id": tag, "sort_order": order} for tag, order in (("t2", 1), ("t1", 0), ("t3", 2))
    ]
    data = {"posts": posts, "tags": tags, "posts_tags": post_tags}
    first, draft = read(dump(tmp_path / "g.json", {"db": [{"meta": {"version": "5.0"}, "data": data}]}))
    article = first.article
    assert (article.id, article.url, article.title, article.published) == ("p1", "/a/", "A", NOON)
    assert (article.tags, article.section, article.links) == (("Sea", "Port"), "Sea", ("/b/",))
    assert article.metadata["image"] == "/i.png"
    assert (draft.id, draft.excluded) == ("p2", "unpublished")


WXR = """<?xml version="1.0" encoding="UTF-8"?>%s
<rss version="2.0" xmlns:excerpt="http://wordpress.org/export/1.2/excerpt/"
 xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:wp="http://wordpress.org/export/1.2/"><channel><title>S</title><language>en-US</language>
<item><title>A &amp; B</title><link>https://x.org/a/</link><dc:creator>jo</dc:creator>
<content:encoded><![CDATA[<!-- wp:paragraph --><p>The ferry &amp; the pier.</p><!-- /wp:paragraph -->
[gallery ids="1,2"]<h2>Related posts</h2><ul><li><a href="https://x.org/b/">B</a></li></ul>%s]]></content:encoded>
<excerpt:encoded><![CDATA[In short.]]></excerpt:encoded><wp:post_id>7</wp:post_id>
<wp:post_date_gmt>2026-03-05 12:00:00</wp:post_date_gmt><wp:post_name>a</wp:post_name><wp:status>publish</wp:status>
<wp:post_type>post</wp:post_type><category domain="category" nicename="city">City</category>
<category domain="post_tag" nicename="sea">Sea</category>
<wp:postmeta><wp:meta_key>_thumbnail_id</wp:meta_key><wp:meta_value>9</wp:meta_value></wp:postmeta></item>
<item><title>D</title><wp:post_id>8</wp:post_id><wp:status>draft</wp:status><wp:post_type>post</wp:post_type></item>
<item><title>i</title><wp:post_id>9</wp:post_id><wp:post_type>attachment</wp:post_type><wp:status>inherit</wp:status>
<wp:attachment_url>https://x.org/i.jpg</wp:attachment_url></item></channel></rss>"""


def test_wordpress(tmp_path):
    (tmp_path / "w.xml").write_text(WXR % ("", ""))
    first, draft, image = read(tmp_path / "w.xml")
    article = first.article
    assert (article.id, article.url, article.title) == ("7", "https://x.org/a/", "A & B")
    assert article.text == "The ferry & the pier."
    assert (article.published, article.section, article.tags, article.language) == (NOON, "City", ("Sea",), "en-US")
    assert article.related == ("https://x.org/b/",)
    assert {"author": "jo", "excerpt": "In short.", "image": "https://x.org/i.jpg"}.items() <= article.metadata.items()
    assert (draft.id, draft.excluded) == ("8", "unpublished")
    assert (image.id, image.excluded) == ("9", "attachment")


@pytest.mark.parametrize("date", ["", "<wp:post_date>0000-00-00 00:00:00</wp:post_date>"])
def test_a_wordpress_post_without_a_date_of_its_own_has_that_of_the_feed(tmp_path, date):
    (tmp_path / "wp.xml").write_text(
        '<rss xmlns:wp="http://wordpress.org/export/1.2/"><channel><wp:wxr_version>1.2</wp:wxr_version><item>'
        f"<title>A</title><pubDate>Thu, 05 Mar 2026 12:00:00 +0000</pubDate><wp:post_id>1</wp:post_id>{date}"
        "<wp:post_type>post</wp:post_type><wp:status>publish</wp:status></item></channel></rss>"
    )
    (entry,) = read(tmp_path / "wp.xml")
    assert (entry.article.published, entry.problems) == (NOON, ())


def test_wordpress_follows_no_entities(tmp_path):
    (tmp_path / "secret.txt").write_text("the secret")
    outside = f'<!DOCTYPE rss [<!ENTITY x SYSTEM "file://{tmp_path}/secret.txt">]>'
    (tmp_path / "w.xml").write_text((WXR % (outside, "")).replace("A &amp; B", "A &x; B"))
    assert all("secret" not in str(entry) for entry in read(tmp_path / "w.xml"))
    many = "".join(f'<!ENTITY x{i} "{f"&x{i - 1};" * 10}">' for i in range(1, 12))
    (tmp_path / "w.xml").write_text(
        (WXR % (f'<!DOCTYPE rss [<!ENTITY x0 "xx">{many}]>', "")).replace("A &amp;", "&x11;")
    )
    assert all(len(str(entry)) < 10_000 for entry in read(tmp_path / "w.xml"))


def test_wordpress_that_is_cut_short(tmp_path):
    whole = WXR % ("", "")
    (tmp_path / "w.xml").write_text(whole[: whole.index("<item><title>D")])
    first, cut = read(tmp_path / "w.xml")
    assert "cut short" in cut.problems[0]
    assert first.article.id == "7"
    assert cut.failed
    assert cut.unknown


RSS = """<?xml version="1.0"?><rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel>
<title>F</title><language>de</language><item><title>A &amp;amp; B</title><link>https://x.org/a</link><guid>g1</guid>
<pubDate>Thu, 05 Mar 2026 12:00:00 GMT</pubDate><category>Sea</category><description>In short.</description>
<content:encoded><![CDATA[<p>The <b>ferry</b> sailed at dawn.</p>]]></content:encoded></item></channel></rss>"""
ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xml:lang="de"><title>F</title><entry>
<title>A &amp; B</title><link href="https://x.org/a"/><id>g1</id><published>2026-03-05T12:00:00Z</published>
<category term="Sea"/><summary>In short.</summary>
<content type="html">&lt;p&gt;The ferry sailed at dawn.&lt;/p&gt;</content></entry></feed>"""


@pytest.mark.parametrize(("name", "feed"), [("a.xml", RSS), ("a.rss", RSS), ("a.atom", ATOM), ("b.xml", ATOM)])
def test_feeds(tmp_path, name, feed):
    (tmp_path / name).write_text(feed)
    (article,) = articles(tmp_path / name)
    assert (article.id, article.url, article.title, article.text) == ("g1", "https://x.org/a", "A & B", TEXT)
    assert (article.published, article.tags, article.language) == (NOON, ("Sea",), "de")
    assert article.metadata["excerpt"] == "In short."


@pytest.mark.parametrize("text", ["", "<x/>", "no feed", "<rss", RSS[:300]])
def test_files_that_are_no_feed_are_reported(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    entries = read(tmp_path / "a.xml")
    assert entries[-1].unknown
    assert entries[-1].failed == (len(entries) == 1)


@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv"), ("|", "a.csv")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables(tmp_path, delimiter, name, encoding):
    rows = [
        ["id", "headline", "body", "tags", "related", "views"],
        ["1", "Straße", '"Über ""uns"""\n' + "Die Fähre fährt früh über den Fluß. " * 9, '"sea, port"', "2", "5"],
        ["2", "B", "x", '"[""a"", ""b""]"', '"1"', ""],
    ]
    rows[1][2] = '"Über ""uns"" ' + "und die Fähre, die früh über den Fluß fährt. " * 9 + '\nZwei"'
    (tmp_path / name).write_bytes("\r\n".join(delimiter.join(row) for row in rows).encode(encoding))
    first, second = articles(tmp_path / name, fields={"title": "headline", "text": "body"})
    assert first.title == "Straße"
    assert first.text.startswith('Über "uns"')
    assert first.text.endswith("\nZwei")
    assert (first.tags, first.related, first.metadata["views"]) == (("sea", "port"), ("2",), "5")
    assert second.tags == ("a", "b")
    assert "views" not in second.metadata


def test_rows_that_do_not_fit_cost_themselves_alone(tmp_path):
    (tmp_path / "a.csv").write_text("id,title\n1,A\n2,B,more\n,\n3\n4,D\n")
    entries = read(tmp_path / "a.csv")
    assert [entry.article.id for entry in entries if entry.article] == ["1", "4"]
    assert [entry.where.rpartition(":")[2] for entry in entries if not entry.article] == ["3", "5"]


def test_an_entry_lists_the_columns_of_its_table(tmp_path):
    (tmp_path / "a.csv").write_text("id,headline,body\n1,,\n")
    (entry,) = read(tmp_path / "a.csv")
    assert entry.names == ("id", "headline", "body")


def test_a_table_must_have_the_columns_of_a_mapping(tmp_path):
    table = pyarrow.table({"Nr": [1], "Headline": ["A"], "extra": [{"body": "B"}]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("Nr;Headline;extra\n1;A;\n")
    with sqlite3.connect(tmp_path / "cms.db") as database:
        database.execute("CREATE TABLE posts (Nr INTEGER, Headline TEXT, extra TEXT)")
        database.execute("INSERT INTO posts VALUES (1, 'A', NULL)")
    database.close()
    for name, options in {
        tmp_path / "a.parquet": {},
        tmp_path / "a.csv": {},
        f"sqlite:///{tmp_path}/cms.db": {"query": "SELECT * FROM posts"},
    }.items():
        fields = {"id": "nr", "title": "HEADLINE", "text": "extra.body", "url": "/{nr}"}
        (article,) = articles(name, fields=fields, **options)
        assert (article.id, article.title, article.url) == ("1", "A", "/1")
        (entry,) = read(name, fields={"id": "nr", "title": "headlin", "url": "/{slug}"}, **options)
        assert entry.failed
        assert entry.problems == ("it has no field 'headlin' and no field 'slug'; its fields are Nr, Headline, extra",)


def test_in_a_folder_the_tables_may_differ(tmp_path):
    (tmp_path / "a.csv").write_text("id,headline\n1,A\n")
    (tmp_path / "b.csv").write_text("id,title\n2,B\n")
    archive = articles(tmp_path, fields={"title": "headline"}, include=["*.csv"])
    assert [article.title for article in archive] == ["A", "B"]


def test_parquet(tmp_path):
    table = pyarrow.table(
        {"id": [1, 2], "title": ["A", "B"], "text": [TEXT, None], "published": [NOON, None], "tags": [["sea"], None]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    first, second = articles(tmp_path / "a.parquet")
    assert (first.id, first.text, first.published, first.tags) == ("1", TEXT, NOON, ("sea",))
    assert (second.id, second.text, second.published) == ("2", "", None)
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-30])
    (entry,) = read(tmp_path / "b.parquet")
    assert entry.failed


def test_databases(tmp_path):
    with sqlite3.connect(tmp_path / "cms.db") as database:
        database.execute("CREATE TABLE posts (nr INTEGER, headline TEXT, body TEXT, day TEXT)")
        database.execute(
            "INSERT INTO posts VALUES (1, 'A', '<p>The ferry sailed at dawn.</p>', '2026-03-05T12:00:00Z')"
        )
    database.close()
    url, query = (
        f"sqlite:///{tmp_path}/cms.db",
        "SELECT nr AS id, headline AS title, body AS text, day AS published FROM posts",
    )
    (article,) = articles(url, query=query)
    assert (article.id, article.title, article.text, article.published) == ("1", "A", TEXT, NOON)
    (wrong,) = read(url, query="SELECT * FROM nothing")
    assert wrong.failed
    assert "nothing" in wrong.problems[0]
    with pytest.raises(SourceError, match="--query"):
        Source(url)
    with pytest.raises(SourceError, match="is not one"):
        Source(tmp_path / "x.csv", query=query)
    secret = Source("postgresql://jo:hush@localhost/x", query=query)
    assert "hush" not in secret.name
    assert all("hush" not in str(entry) for entry in secret)


def test_a_record_that_holds_too_much_costs_itself_alone(tmp_path):
    deep: object = "x"
    for _ in range(100):
        deep = [deep]
    first, odd, last = read(
        dump(tmp_path / "a.json", [{"id": 1, "title": "A"}, {"id": 2, "m": deep}, {"id": 3, "title": "C"}])
    )
    assert (first.article.id, last.article.id) == ("1", "3")
    assert "too deep" in odd.problems[0]


@pytest.mark.parametrize("date", ["03/04/2021", "Tue 3/4/21", "03-04-2021", "03-04-21", "soon"])
@pytest.mark.parametrize("feed", [RSS, ATOM])
def test_a_date_of_a_feed_that_has_no_one_reading_is_reported(tmp_path, feed, date):
    for written in ("Thu, 05 Mar 2026 12:00:00 GMT", "2026-03-05T12:00:00Z"):
        feed = feed.replace(written, date)
    (tmp_path / "a.xml").write_text(feed)
    (entry,) = read(tmp_path / "a.xml")
    assert entry.article.published is None
    assert repr(date) in entry.problems[0]


@pytest.mark.parametrize(
    "date", ["05 Mar 2026 12:00 GMT", "Thu, 5 Mar 26 07:00:00 EST", "2026-03-05 12:00", "05.03.2026 12:00"]
)
def test_dates_of_feeds_are_read_as_people_write_them(tmp_path, date):
    (tmp_path / "a.xml").write_text(RSS.replace("Thu, 05 Mar 2026 12:00:00 GMT", date))
    (article,) = articles(tmp_path / "a.xml")
    assert article.published == NOON


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("First.\n\nSecond.", "First.\n\nSecond."),
        ("First.\r\n\r\nSecond.", "First.\n\nSecond."),
        ("First.\n\n<pre>code\n\ncode</pre>\n\nSecond.", "First.\n\nSecond."),
        ("First.\n\n<picture><img src='i.png'></picture>\n\nSecond.", "First.\n\nSecond."),
        ("<p>First.</p>\n\nSecond.\n\nThird.", "First.\n\nSecond.\n\nThird."),
        ("First.\n\n<ul>\n\n<li>a</li>\n\n<li>b</li>\n\n</ul>\n\nSecond.", "First.\na\nb\n\nSecond."),
        ("<blockquote>First.\n\nSecond.</blockquote>\n\nThird.", "First.\n\nSecond.\n\nThird."),
        ("<!-- wp:code -->\n<p>First,\n\ngoes on.</p>\n<!-- /wp:code -->", "First, goes on."),
        ("Write [[gallery]] for [gallery ids='1'] pictures.", "Write [gallery] for pictures."),
    ],
)
def test_blank_lines_of_a_wordpress_post_are_paragraphs_as_wordpress_shows_them(tmp_path, content, text):
    before, _, after = (WXR % ("", "")).partition("<!-- wp:paragraph")
    (tmp_path / "w.xml").write_text(before + content + after[after.index("]]>") :])
    assert next(iter(articles(tmp_path / "w.xml"))).text == text


def test_a_list_after_a_line_such_as_read_more_is_about_related_articles(tmp_path):
    before, _, after = (WXR % ("", "")).partition("<!-- wp:paragraph")
    content = "First.\n\n<strong>Read more:</strong>\n\n<ul><li><a href='/b/'>B</a></li></ul>\n\nLast."
    (tmp_path / "w.xml").write_text(before + content + after[after.index("]]>") :])
    (article,) = articles(tmp_path / "w.xml")
    assert (article.text, article.related) == ("First.\n\nLast.", ("https://x.org/b/",))


def test_a_table_of_a_database_has_empty_cells_and_links(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "id,title,text,url,section,tags\n1,Planks,They buy oak.,NULL,NULL,\\N\n"
        '2,<h1>Nails &amp; <em>rope</em></h1>,They buy nails.,"<a href=""/nails?a=1&amp;b=2"">view</a>",Works,\n'
        "3,<p>Storm</p>,Boats.,#,,\n"
    )
    articles = [entry.article for entry in Source(path)]
    assert [(item.title, item.url, item.section, item.tags) for item in articles] == [
        ("Planks", None, None, ()),
        ("Nails & rope", "/nails?a=1&b=2", "Works", ()),
        ("Storm", None, None, ()),
    ]


def test_a_feed_has_time_zones_by_name_and_addresses_in_its_ids(tmp_path):
    item = "<item><title>{}</title>{}<pubDate>{}</pubDate><description>They buy oak for it.</description></item>"
    dated = "<link></link><guid>https://example.org/planks</guid>"
    path = tmp_path / "feed.xml"
    path.write_text(
        "<rss version='2.0'><channel><title>Notes</title><link>https://example.org/</link>"
        + item.format("Planks", dated, "Fri, 05 Mar 2021 23:30:00 JST")
        + item.format("Nails", "<link>https://example.org/nails</link>", "Mon, 30 Nov -0001 00:00:00 +0000")
        + "</channel></rss>"
    )
    planks, nails = (entry.article for entry in Source(path))
    assert planks.url == "https://example.org/planks"
    assert planks.published.isoformat() == "2021-03-05T14:30:00+00:00"
    assert (nails.url, nails.published) == ("https://example.org/nails", None)
