from datetime import UTC, datetime

from recommender.sources import Source

TEXT = (
    "<p>The ferry sailed at dawn with forty people on board, and half of the town stood on the pier to see it go.</p>"
)
PAGE = """<!doctype html><html lang="de-AT"><head><title>Ferry sails at dawn | The Pier</title>
<link rel="canonical" href="https://x.org/city/ferry.html"><meta property="og:image" content="https://x.org/i.jpg">
<meta property="article:published_time" content="2026-03-05T10:00:00+01:00"><meta name="author" content="Jo Marsh">
<meta name="description" content="In short."><meta property="article:section" content="City">
<meta name="keywords" content="sea, port"></head><body>
<nav><a href="/">Home</a><a href="/sport/">Sport</a></nav><article><h1>Ferry sails at dawn</h1>TEXT
<pre><code>secret = 1</code></pre><p>More, with <a href="../harbour.html">a link to the harbour</a> in it.</p>
TEXT
<table><tr><td>Ships</td><td>Two</td></tr></table></article>
<aside class="article-related"><h3>Related</h3><a href="/city/pier.html">Pier</a></aside>
<nav class="related" data-recommender><ul><li><a href="/ours.html">Ours</a></li></ul></nav>
<div class="related" role="navigation" aria-label="related navigation"><a href="next.html">next</a></div>
<footer>Imprint and terms of use.</footer></body></html>""".replace("TEXT", TEXT)


def test_a_page_gives_every_field(tmp_path):
    (tmp_path / "ferry.html").write_text(PAGE)
    (entry,) = Source(tmp_path)
    article = entry.article
    assert article.id == article.url == "https://x.org/city/ferry.html"
    assert article.title == "Ferry sails at dawn"
    assert article.published == datetime(2026, 3, 5, 9, tzinfo=UTC)
    assert (article.language, article.section, article.tags) == ("de-AT", "City", ("sea", "port"))
    assert article.metadata["image"] == "https://x.org/i.jpg"
    assert article.metadata["excerpt"] == "In short."
    assert article.text.startswith("The ferry sailed at dawn")
    assert "Ships" in article.text
    for word in ("secret", "Home", "Imprint", "|", "[", "Ours", "Pier"):
        assert word not in article.text
    # Not the block that this package wrote, nor the links to the page before and after.
    assert article.related == ("https://x.org/city/pier.html",)
    assert article.links == ("https://x.org/harbour.html",)


def test_pages_without_a_url_have_the_path_of_their_file(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/b/index.html", "a/c.html"):
        (tmp_path / name).write_text(
            f"<html><body><h1>T {name}</h1>{TEXT}{TEXT}<p><a href='../x/'>x x x</a></p></body>"
        )
    by_id = {entry.article.id: entry.article for entry in Source(tmp_path)}
    assert {id: article.url for id, article in by_id.items()} == {"a/b/index.html": "/a/b/", "a/c.html": "/a/c.html"}


def test_a_day_that_the_text_mentions_is_not_the_date_of_the_page(tmp_path):
    (tmp_path / "a.html").write_text(
        f"<html><body><h1>Old ships</h1>{TEXT * 5}<p>It was built on 1998-11-29.</p></body>"
    )
    (tmp_path / "b.html").write_text(f"<html><body><h1>Old ships</h1><p>2026-03-05</p>{TEXT * 5}</body>")
    first, second = Source(tmp_path)
    assert first.article.published is None
    assert second.article.published == datetime(2026, 3, 5, tzinfo=UTC)


def test_files_without_an_article_are_reported(tmp_path):
    (tmp_path / "menu.html").write_text("<html><body><script>menu()</script></body></html>")
    (tmp_path / "void.html").write_bytes(b"\x00")
    (tmp_path / "deep.html").write_text("<div>" * 50_000 + "x")
    for entry in Source(tmp_path):
        assert "no article" in entry.problems[0]
        assert entry.id


def test_the_encoding_that_a_page_declares(tmp_path):
    text = "<p>Паром отошёл от причала на рассвете, и половина города стояла на берегу и смотрела ему вслед.</p>" * 3
    page = f"<html><head><meta charset='windows-1251'><title>Паром</title></head><body>{text}</body></html>"
    (tmp_path / "a.html").write_bytes(page.encode("cp1251"))
    (entry,) = Source(tmp_path)
    assert "Паром отошёл" in entry.article.text


def test_a_date_of_a_page_that_has_two_readings_is_left_out(tmp_path):
    for name, line in (
        ("a", "03/04/2021"),
        ("b", "Published on 03-04-2021"),
        ("c", "13/04/2021"),
        ("d", "3 April 2021"),
    ):
        (tmp_path / f"{name}.html").write_text(f"<html><body><h1>Old ships</h1><p class='date'>{line}</p>{TEXT * 5}")
    dates = [entry.article.published for entry in Source(tmp_path)]
    assert dates == [None, None, datetime(2021, 4, 13, tzinfo=UTC), datetime(2021, 4, 3, tzinfo=UTC)]


def test_links_are_relative_to_the_base_of_the_page(tmp_path):
    links = f"{TEXT} See <a href='storm.html'>storm</a>, <a href='/imprint.html'>imprint</a>, <a href='#top'>top</a>."
    for name, base in (("a", "https://x.org/news/"), ("b", "/news/")):
        (tmp_path / f"{name}.html").write_text(
            f"<html><head><base href='{base}'></head><body><h1>T</h1>{TEXT}<p>{links}</p></body></html>"
        )
    first, second = Source(tmp_path)
    assert first.article.links == ("https://x.org/news/storm.html", "https://x.org/imprint.html")
    assert second.article.links == ("/news/storm.html", "/imprint.html")


def test_an_index_file_as_the_canonical_page_of_every_page_is_a_mistake(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.html").write_text(
            f"<html><head><link rel='canonical' href='https://x.org/index.html'></head><body><h1>{name}</h1>{TEXT}</body>"
        )
    assert [entry.article.id for entry in Source(tmp_path)] == ["a.html", "b.html"]


def test_the_date_in_json_ld_is_that_of_the_article(tmp_path):
    site = '{"@type": "WebSite", "datePublished": "2001-01-01"}'
    post = '{"@type": ["BlogPosting", "Thing"], "datePublished": "2026-03-05T09:00:00Z"}'
    for name, data in {"a": f'{{"@graph": [{site}, {post}]}}', "b": f"[{site}, {post}]", "c": post, "d": "{"}.items():
        script = f'<script type="application/ld+json">{data}</script>'
        (tmp_path / f"{name}.html").write_text(f"<html><head>{script}</head><body><h1>T</h1>{TEXT * 3}</body></html>")
    dates = [entry.article.published for entry in Source(tmp_path)]
    assert dates == [datetime(2026, 3, 5, 9, tzinfo=UTC)] * 3 + [None]
