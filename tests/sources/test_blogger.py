"""Backups of Blogger, and feeds with relative links or damage."""

import pytest

from recommender.sources import Source, feed

KIND = (
    "<category scheme='http://schemas.google.com/g/2005#kind' term='http://schemas.google.com/blogger/2008/kind#%s'/>"
)
BACKUP = """<?xml version='1.0' encoding='UTF-8'?>
<feed xmlns='http://www.w3.org/2005/Atom' xmlns:app='http://purl.org/atom/app#'><id>tag:blogger.com,1999:blog-9</id>
<title type='text'>Beehives</title><generator version='7.00' uri='http://www.blogger.com'>Blogger</generator>%s</feed>"""
TAKEOUT = """<?xml version='1.0' encoding='utf-8'?>
<feed xmlns='http://www.w3.org/2005/Atom' xmlns:blogger='http://schemas.google.com/blogger/2018'>
<id>tag:blogger.com,1999:blog-9</id><title>Beehives</title>%s</feed>"""


def backup_entry(number, kind, more=""):
    return (
        f"<entry><id>tag:blogger.com,1999:blog-9.{kind}-{number}</id><published>2012-05-0{number}T10:00:00Z</published>"
        f"{KIND % kind}<title type='text'>Swarm {number}</title><content type='html'>&lt;p&gt;Bees.&lt;/p&gt;</content>"
        f"{more}<link rel='alternate' href='http://bees.example/2012/05/{number}.html'/></entry>"
    )


def takeout_entry(number, kind="POST", status="LIVE", filename="/2012/05/swarm.html"):
    return (
        f"<entry><id>tag:blogger.com,1999:blog-9.post-{number}</id><blogger:type>{kind}</blogger:type>"
        f"<blogger:status>{status}</blogger:status><author><name>Ida</name><blogger:type>BLOGGER</blogger:type></author>"
        f"<title>Swarm</title><content type='html'>&lt;p&gt;Bees.&lt;/p&gt;</content><blogger:metaDescription>On bees"
        f"</blogger:metaDescription><published>2012-05-01T10:00:00Z</published><category term='bees'/>"
        f"<blogger:filename>{filename}</blogger:filename><link/></entry>"
    )


def read(folder, content, name="feed.xml"):
    (folder / name).write_text(content, encoding="utf-8")
    return list(Source(folder / name))


def test_a_backup_has_posts_and_pages_and_the_rest_is_left_out(tmp_path):
    draft = "<app:control><app:draft>yes</app:draft></app:control>"
    label = "<category scheme='http://www.blogger.com/atom/ns#' term='bees'/>"
    entries = read(
        tmp_path,
        BACKUP
        % "".join(
            [
                backup_entry(1, "template"), backup_entry(2, "settings"), backup_entry(3, "post", label),
                backup_entry(4, "post", draft), backup_entry(5, "comment"), backup_entry(6, "page"),
            ]
        ),
    )  # fmt: skip
    assert [entry.excluded for entry in entries] == ["template", "settings", "", "unpublished", "comment", ""]
    post, page = (entry.article for entry in entries if entry.article)
    assert (post.url, post.tags) == ("http://bees.example/2012/05/3.html", ("bees",))
    assert (page.title, page.tags) == ("Swarm 6", ())


@pytest.mark.parametrize("name", ["feed.atom", "feed.xml"])
def test_a_backup_of_takeout(tmp_path, name):
    entries = read(
        tmp_path,
        TAKEOUT
        % "".join(
            [
                takeout_entry(1), takeout_entry(2, status="DRAFT", filename=""),
                takeout_entry(3, "COMMENT"), takeout_entry(4, status="SOFT_TRASHED"), takeout_entry(5, "PAGE"),
            ]
        ),
        name,
    )  # fmt: skip
    assert [entry.excluded for entry in entries] == ["", "unpublished", "comment", "unpublished", ""]
    article = entries[0].article
    assert (article.url, article.tags, article.metadata["author"]) == ("/2012/05/swarm.html", ("bees",), "Ida")
    assert article.metadata["excerpt"] == "On bees"


RSS = "<rss version='2.0'><channel><title>B</title><link>https://bees.example/blog/</link>%s</channel></rss>"
ITEM = "<item><title>%s</title><link>%s</link><guid isPermaLink='false'>%s</guid></item>"


@pytest.mark.parametrize(
    ("link", "url"),
    [("/a/", "https://bees.example/a/"), ("a.html", "https://bees.example/blog/a.html"),
     ("//bees.example/a", "https://bees.example/a"), ("https://other.example/a", "https://other.example/a")],
)  # fmt: skip
def test_a_relative_link_of_a_feed_is_resolved_against_its_site(tmp_path, link, url):
    (entry,) = read(tmp_path, RSS % (ITEM % ("A", link, "g")))
    assert entry.article.url == url


@pytest.mark.parametrize("before", ["\n\n", "\ufeff\n", "<br />\n<b>Notice</b>: x in /srv/a.php on line 3<br />\n"])
def test_lines_before_a_feed_are_ignored(tmp_path, before):
    (entry,) = read(tmp_path, f'{before}<?xml version="1.0"?>{RSS % (ITEM % ("A", "/a/", "g"))}')
    assert (entry.article.title, entry.problems, entry.unknown) == ("A", (), False)


@pytest.mark.parametrize("title", ["Bees & wasps", "Bees \x0b& wasps", "Bees&nbsp;& wasps"])
def test_a_feed_with_a_bad_character_is_read_whole(tmp_path, title):
    first, second = read(tmp_path, RSS % (ITEM % (title, "/a/?x=1&y=2", "g") + ITEM % ("B", "/b/", "h")))
    assert first.article.title.split() == ["Bees", "&", "wasps"]
    assert first.article.url == "https://bees.example/a/?x=1&y=2"
    assert second.article.title == "B"
    assert not first.unknown


def test_a_feed_may_use_prefixes_that_it_does_not_declare(tmp_path):
    body = "<content:encoded><![CDATA[<p>The bees swarm in May.</p>]]></content:encoded><dc:creator>Ida</dc:creator>"
    (entry,) = read(tmp_path, RSS % f"<item><title>A</title><guid>g</guid>{body}<x:y>z</x:y></item>")
    assert (entry.article.text, entry.article.metadata["author"]) == ("The bees swarm in May.", "Ida")
    assert not entry.unknown


def test_a_feed_that_is_cut_short_is_reported(tmp_path):
    """The item that is cut is left out: the rest of it would be taken for a whole article."""
    item, cut = read(tmp_path, (RSS % (ITEM % ("A", "/a/", "g") + ITEM % ("B", "/b/", "h")))[:-40])
    assert item.article.title == "A"
    assert cut.unknown


def test_a_long_feed_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(feed, "MAX_PART_BYTES", 1000)
    whole = BACKUP % "".join(backup_entry(number, "post") for number in range(1, 10))
    entries = read(tmp_path, whole)
    assert [entry.article.title for entry in entries] == [f"Swarm {number}" for number in range(1, 10)]
    assert [entry.where.rpartition(" ")[2] for entry in entries] == [str(number) for number in range(1, 10)]
    *others, cut = read(tmp_path, whole[:-100])
    assert [entry.article.title for entry in others] == [f"Swarm {number}" for number in range(1, 9)]
    assert cut.unknown


def test_one_page_of_a_feed_may_lack_articles(tmp_path):
    link = "<link rel='next' href='https://bees.example/feed?page=2'/>"
    *items, page = read(tmp_path, BACKUP % (link + backup_entry(1, "post")))
    assert items[0].article
    assert page.unknown
    assert not page.failed


@pytest.mark.parametrize("kind", ["published", "updated"])
@pytest.mark.parametrize("date", ["yesterday", "2021-02-30T00:00:00Z", "0000-00-00T00:00:00Z"])
def test_a_date_of_a_feed_that_cannot_be_read_is_reported(tmp_path, kind, date):
    entry = f"<entry><id>a</id><title>Bees</title><{kind}>{date}</{kind}></entry>"
    (entry,) = read(tmp_path, TAKEOUT % entry)
    assert entry.article.published is None
    assert date in entry.problems[0]
