"""Exports of blogging services that are folders or texts: Substack, Medium, Movable Type."""

import pytest

from recommender.errors import SourceError
from recommender.sources import Source
from recommender.sources.record import NO_ID

HEADER = "post_id,post_date,is_published,email_sent_at,inbox_sent_at,type,audience,title,subtitle,podcast_url\n"


def substack(folder, *, header=HEADER):
    (folder / "posts").mkdir()
    rows = [
        "71.salt-pans,2023-03-05T09:30:00.000Z,true,,,newsletter,everyone,Salt pans,On salt,",
        "72.sea-walls,2023-03-07T09:30:00.000Z,true,,,newsletter,only_paid,Sea walls,,",
        "73.secret,,false,,,newsletter,everyone,Secret,,",
        "74.gone,2023-03-09T09:30:00.000Z,true,,,newsletter,everyone,Gone,,",
    ]
    (folder / "posts.csv").write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
    for name, html in {
        "71.salt-pans": "<h2>Where</h2><p>They lie <a href='https://salt.example/p/sea-walls'>behind walls</a>.</p>",
        "72.sea-walls": "Plain, then <p>a paragraph.</p><div class='subscription-widget-wrap'><p>Thank you!</p>"
        "<form><input type='email'></form></div><p class='button-wrapper'><a href='/share'>Share</a></p>",
        "73.secret": "<p>Nobody may read this.</p>",
    }.items():
        (folder / "posts" / f"{name}.html").write_text(html, encoding="utf-8")


@pytest.mark.parametrize("name", ["", "posts.csv"])
def test_substack_joins_its_table_and_its_pages(tmp_path, name):
    substack(tmp_path)
    first, second, draft, without_page = Source(tmp_path / name)
    article = first.article
    assert (article.id, article.title, article.url) == ("71.salt-pans", "Salt pans", "/p/salt-pans")
    assert (article.published.isoformat()[:10], article.metadata["excerpt"]) == ("2023-03-05", "On salt")
    assert article.text == "Where\n\nThey lie behind walls."
    assert article.links == ("https://salt.example/p/sea-walls",)
    assert second.article.text == "Plain, then\n\na paragraph."
    assert second.article.metadata["audience"] == "only_paid"
    assert (draft.id, draft.excluded) == ("73.secret", "unpublished")
    assert (without_page.article.title, without_page.article.text) == ("Gone", "")


def test_a_mapping_of_substacks_columns_wins(tmp_path):
    substack(tmp_path)
    fields = {"published": "post_date", "id": "post_id", "url": "https://salt.example/p/{post_id}"}
    first, *_ = Source(tmp_path / "posts.csv", fields=fields)
    assert first.article.url == "https://salt.example/p/71.salt-pans"


def test_the_ids_of_older_exports_of_substack_lack_the_slug(tmp_path):
    substack(tmp_path)
    table = tmp_path / "posts.csv"
    table.write_text(table.read_text().replace("71.salt-pans", "71"))
    first, *_ = Source(tmp_path)
    assert (first.article.id, first.article.url) == ("71", "/p/salt-pans")
    assert first.article.text.startswith("Where")


def test_another_table_of_that_name_is_no_export_of_substack(tmp_path):
    (tmp_path / "posts.csv").write_text("id,title\n1,A\n")
    (tmp_path / "a.md").write_text("# B\n\nText.")
    assert [entry.article.title for entry in Source(tmp_path)] == ["B"]
    assert [entry.article.title for entry in Source(tmp_path / "posts.csv")] == ["A"]


@pytest.mark.parametrize(
    ("table", "is_cut"),
    [
        ("id,title,text\n1,A,x\n2,B", True),
        ("id,title,text\n1,A,x\n2,B\n", False),
        ("id,title,text\n1,A,x\n2,B,y", False),
    ],
)
def test_a_table_whose_last_row_lacks_cells_and_its_end_may_be_cut_short(tmp_path, table, is_cut):
    (tmp_path / "a.csv").write_text(table)
    entries = list(Source(tmp_path / "a.csv"))
    assert [entry.article.id for entry in entries if entry.article] == ["1", "2"]
    assert any(entry.unknown for entry in entries) == is_cut


MEDIUM = """<!DOCTYPE html><html><head><title>Sea walls</title><style>* {{ font-family: Georgia }}</style></head><body>
<article class="h-entry"><header><h1 class="p-name">Sea walls</h1></header>
<section data-field="subtitle" class="p-summary">How they hold.</section>
<section data-field="body" class="e-content"><section class="section"><div class="section-content">
<h3 class="graf graf--h3 graf--title">Sea walls</h3><p>They hold the <a href="/@ida/tide-77">tide</a>.</p>
<pre>code</pre></div></section></section><footer>{footer}
<p>Exported from <a href="https://medium.com">Medium</a> on May 1, 2023.</p></footer></article></body></html>"""
PUBLISHED = """<p>By <a href="https://medium.com/@ida" class="p-author h-card">Ida</a> on <a href="https://medium.com/p/9">
<time class="dt-published" datetime="2016-01-02T10:00:00.000Z">January 2, 2016</time></a>.</p>
<p><a href="https://medium.com/@ida/sea-walls-9" class="p-canonical">Canonical link</a></p>"""


def test_a_page_of_medium(tmp_path):
    (tmp_path / "2016-01-02_Sea-walls-9.html").write_text(MEDIUM.format(footer=PUBLISHED))
    (tmp_path / "draft_Sea-walls-8.html").write_text(MEDIUM.format(footer=""))
    first, draft = Source(tmp_path)
    article = first.article
    assert (article.title, article.text) == ("Sea walls", "They hold the tide.")
    assert (article.url, article.published.year) == ("https://medium.com/@ida/sea-walls-9", 2016)
    assert (article.metadata["author"], article.metadata["excerpt"]) == ("Ida", "How they hold.")
    assert article.links == ("https://medium.com/@ida/tide-77",)
    assert draft.excluded == "unpublished"


def test_the_authors_own_data_in_an_export_of_medium_are_not_read(tmp_path):
    for folder in ("posts", "ips", "sessions", "claps"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.html").write_text(MEDIUM.format(footer=PUBLISHED).replace("9", folder))
    (tmp_path / "README.html").write_text("<html><body><p>This is your archive, and it has all that you wrote.</p>")
    (only,) = Source(tmp_path)
    assert only.article.url == "https://medium.com/@ida/sea-walls-posts"


def entry(number, status="Publish", filter="0", body="<p>The tide came in.</p>", more=""):
    return (
        f"AUTHOR: Ida\nTITLE: Tide {number}\nBASENAME: tide_{number}\nSTATUS: {status}\nALLOW COMMENTS: 1\n"
        f"CONVERT BREAKS: {filter}\nPRIMARY CATEGORY: Sea\nCATEGORY: Sea\nCATEGORY: Walls\n{more}"
        f'DATE: 04/0{number}/2008 03:31:05 PM\nTAGS: "sea wall",tide\n-----\nBODY:\n{body}\n-----\nEXTENDED BODY:\n'
        f"More: STATUS: x\n-----\nEXCERPT:\nIn short.\n-----\nKEYWORDS:\n\n-----\nCOMMENT:\nAUTHOR: Jo\n"
        f"DATE: 01/01/2009 10:00:00 AM\nNice post.\n-----\n--------\n"
    )


def test_movable_type(tmp_path):
    export = entry(1) + entry(2, "Draft") + entry(3, more="UNIQUE URL: https://sea.example/tide.html\n")
    (tmp_path / "export.txt").write_text(export)
    first, draft, third = Source(tmp_path / "export.txt")
    article = first.article
    assert (article.id, article.title, article.section) == ("tide_1", "Tide 1", "Sea")
    assert article.published.isoformat() == "2008-04-01T15:31:05+00:00"
    assert article.text == "The tide came in.\n\nMore: STATUS: x"
    assert (article.tags, article.metadata["excerpt"]) == (("sea wall", "tide"), "In short.")
    assert (draft.id, draft.excluded) == ("tide_2", "unpublished")
    assert third.article.url == "https://sea.example/tide.html"


@pytest.mark.parametrize(
    ("text_filter", "body"),
    [("__default__", "One.\n\nTwo <b>bold</b>."), ("1", "One.\n\nTwo bold."), ("markdown", "One.\n\nTwo **bold**."),
     ("richtext", "<p>One.</p><p>Two bold.</p>")],
)  # fmt: skip
def test_the_text_filter_of_movable_type(tmp_path, text_filter, body):
    (tmp_path / "export.txt").write_text(entry(1, filter=text_filter, body=body))
    (first,) = Source(tmp_path / "export.txt")
    assert first.article.text.startswith("One.\n\nTwo bold.")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "euc-jp", "shift_jis"])
def test_an_export_of_movable_type_in_an_older_encoding(tmp_path, encoding):
    body = (
        "<p>海の壁は町を守る。潮が満ちてくると、番人が水門を閉める。嵐の夜には、みんなで石を運び、夜明けまで歌をうたった。"
        "子どもたちは、それをお祭りだと思っていたらしい。いまでは、コンクリートの堤防がその役目を果たしている。</p>"
    )
    (tmp_path / "export.txt").write_bytes(entry(1, body=body).replace("Tide 1", "海の壁").encode(encoding))
    (first,) = Source(tmp_path / "export.txt")
    assert first.article.title == "海の壁"


def test_an_export_of_movable_type_that_is_cut_short_is_reported(tmp_path):
    (tmp_path / "export.txt").write_text((entry(1) + entry(2))[:-60])
    first, cut = Source(tmp_path / "export.txt")
    assert first.article.id == "tide_1"
    assert cut.failed
    assert NO_ID not in cut.problems


def test_other_texts_are_no_export_of_movable_type(tmp_path):
    (tmp_path / "a.txt").write_text("TITLE: A page\n\nThe tide came in over the wall, and nobody saw it.\n")
    (first,) = Source(tmp_path / "a.txt")
    assert "AUTHOR" not in first.article.metadata


@pytest.mark.parametrize("name", ["export.zip", "feed.xml.gz", "Takeout.TGZ"])
def test_a_packed_export_must_be_unpacked(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match="Unpack it"):
        Source(tmp_path / name)
