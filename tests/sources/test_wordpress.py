"""WordPress exports that are damaged, protected, or written by plugins and page builders."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.sources import Source

HEAD = (
    '<?xml version="1.0" encoding="UTF-8" ?>\n<rss version="2.0" xmlns:wp="http://wordpress.org/export/1.2/" '
    'xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    "<channel><title>Alm</title><language>de-AT</language><wp:wxr_version>1.2</wp:wxr_version>"
)
END = "</channel></rss>\n"


def item(number, *, title="Almabtrieb", body="<p>Die Kühe kommen ins Tal.</p>", kind="post", more=""):
    return (
        f"<item><title>{title} {number}</title><link>https://alm.example/{number}/</link>"
        f"<content:encoded><![CDATA[{body}]]></content:encoded><wp:post_id>{number}</wp:post_id>"
        f"<wp:post_date_gmt>2020-09-0{number} 08:00:00</wp:post_date_gmt><wp:status>publish</wp:status>"
        f"<wp:post_type>{kind}</wp:post_type>{more}</item>\n"
    )


def read(folder, content):
    path = folder / "export.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(Source(path))


def meta(name, value):
    pair = f"<wp:meta_key>{name}</wp:meta_key><wp:meta_value><![CDATA[{value}]]></wp:meta_value>"
    return f"<wp:postmeta>{pair}</wp:postmeta>"


@pytest.mark.parametrize(
    "second",
    [
        item(2, body="<p>Heu\x0b und Gras.</p>"),
        item(2, body="<p>Heu\x00 und Gras.</p>"),
        item(2, title="Heu &nbsp; &Uuml;ber Gras"),
        item(2, title="Heu & Gras"),
        item(2, title="Heu &#x1b; Gras"),
        item(2, body="<p>if (a[b[0]]>1) mähen</p>"),
        item(2, body="<p>if (a[b[0]]></p> mähen"),
        item(2, more=meta("raw", "\x01\x02")),
        item(2, body="<p>Ein Feed: <code><item><title>x</title></item></code></p>"),
        item(2, title="Heu <b>und Gras"),
        item(2).encode().replace(b"Almabtrieb", b"Alm\xfcberblick"),
    ],
)
def test_damage_costs_at_most_the_damaged_item(tmp_path, second):
    second = second if isinstance(second, bytes) else second.encode()
    content = HEAD.encode() + item(1).encode() + second + item(3).encode() + item(4).encode() + END.encode()
    entries = read(tmp_path, content)
    ids = [entry.article.id for entry in entries if entry.article]
    assert [id for id in ids if id != "2"] == ["1", "3", "4"]
    assert "2" in ids or any(entry.unknown and "item 2" in entry.where for entry in entries)
    assert all(entry.article.language == "de-AT" for entry in entries if entry.article)
    assert not any(entry.failed for entry in entries)


def test_characters_that_xml_forbids_are_dropped_and_the_rest_is_kept(tmp_path):
    body = "<p>if (a[b[0]]>1) mähe\x0bn; Heu &amp; Gras</p>"
    second, third = read(tmp_path, HEAD + item(2, title="Heu &nbsp;& Gras", body=body) + item(3) + END)
    assert second.article.text == "if (a[b[0]]>1) mähen; Heu & Gras"
    assert second.article.title == "Heu \u00a0& Gras 2"
    assert "damaged" in second.problems[0]
    assert third.problems == ()


@pytest.mark.parametrize(
    "before", ["\n\n", " ", "\ufeff\n", "<br />\n<b>Notice</b>: x in /srv/a.php on line 3<br />\n"]
)
def test_lines_before_the_document_are_ignored(tmp_path, before):
    entries = read(tmp_path, before + HEAD + item(1) + item(2) + END)
    assert [entry.article.id for entry in entries] == ["1", "2"]
    assert all(entry.problems == () and not entry.unknown for entry in entries)


def test_messages_of_php_between_items_are_ignored(tmp_path):
    entries = read(tmp_path, HEAD + item(1) + "<br />\n<b>Warning</b>: x & y<br>\n" + item(2) + END)
    assert [entry.article.id for entry in entries] == ["1", "2"]
    assert not any(entry.unknown for entry in entries)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8, 0.97])
def test_an_export_that_is_cut_short_has_failed(tmp_path, keep):
    whole = HEAD + item(1) + item(2) + END
    *items, cut = read(tmp_path, whole[: int(len(whole) * keep)])
    assert cut.failed
    assert cut.unknown
    assert all(entry.article for entry in items)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=3))
def test_any_bytes_anywhere_cost_at_most_two_items(tmp_path_factory, position, junk):
    content = (HEAD + "".join(item(number) for number in range(1, 7)) + END).encode()
    position %= len(content)
    content = content[:position] + junk + content[position:]
    entries = read(tmp_path_factory.getbasetemp(), content)
    ids = {entry.article.id for entry in entries if entry.article}
    if position > len(HEAD):
        assert len(ids & {str(number) for number in range(1, 7)}) >= 4


def test_items_may_be_longer_than_a_part_that_is_read(tmp_path):
    long = "<p>Heu.</p><!-- " + "Die Kühe kommen ins Tal. " * 60_000 + "-->"
    entries = read(tmp_path, "\n" + HEAD + item(1, body=long) + item(2, title="A & B", body=long) + item(3) + END)
    assert [entry.article.id for entry in entries] == ["1", "2", "3"]


def test_a_post_with_a_password_is_left_out(tmp_path):
    secret = item(2, body="<p>Der Lohn.</p>", more="<wp:post_password><![CDATA[heu]]></wp:post_password>")
    public = item(1, more="<wp:post_password><![CDATA[]]></wp:post_password>")
    first, second = read(tmp_path, HEAD + public + secret + END)
    assert first.article.id == "1"
    assert (second.id, second.excluded) == ("2", "private")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("attachment", "attachment"), ("nav_menu_item", "settings"), ("elementor_library", "template"),
     ("acf-field-group", "settings"), ("wp_template", "template")],
)  # fmt: skip
def test_what_is_no_page_is_left_out_with_the_reason(tmp_path, kind, reason):
    (entry,) = read(tmp_path, HEAD + item(1, kind=kind) + END)
    assert (entry.id, entry.excluded, entry.article) == ("1", reason, None)


def test_custom_fields_and_those_of_yoast_become_metadata(tmp_path):
    more = "".join(
        meta(name, value)
        for name, value in {
            "height": "1840", "_height": "field_5f", "_yoast_wpseo_metadesc": "Kühe im Tal", "_edit_lock": "159:1",
            "layout": 'a:1:{i:0;s:1:"x";}', "status": "draft", "hidden": "1", "title": "Other",
        }.items()
    )  # fmt: skip
    more += '<category domain="region" nicename="tirol"><![CDATA[Tirol]]></category>'
    (entry,) = read(tmp_path, HEAD + item(1, more=more) + END)
    assert entry.article.title == "Almabtrieb 1"
    assert {"height": "1840", "_yoast_wpseo_metadesc": "Kühe im Tal", "region": ["Tirol"]}.items() <= dict(
        entry.article.metadata
    ).items()
    assert not {"_height", "_edit_lock", "layout", "hidden"} & entry.article.metadata.keys()


def test_the_text_may_lie_in_custom_fields(tmp_path):
    prose = "Im Herbst kommen die Kühe mit Kränzen ins Tal, und das ganze Dorf steht an der Straße und schaut zu. " * 2
    more = meta("rows_0_text", f"<p>{prose}</p>") + meta("layout", '{"rows": [1, 2]}' * 20) + meta("_data", prose)
    first, second = read(tmp_path, HEAD + item(1, body="", more=more) + item(2, more=more) + END)
    assert first.article.text == prose.strip()
    assert second.article.text == "Die Kühe kommen ins Tal."


def test_the_language_of_a_post_is_that_of_polylang(tmp_path):
    more = '<category domain="language" nicename="it"><![CDATA[Italiano]]></category>'
    first, second = read(tmp_path, HEAD + item(1, more=more) + item(2) + END)
    assert (first.article.language, second.article.language) == ("it", "de-AT")
    assert "Italiano" not in first.article.tags


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('[vc_row][vc_column width="1/2"][vc_column_text]Heu.[/vc_column_text][/vc_column][/vc_row]', "Heu."),
        ('[et_pb_section fb_built="1" _builder_version="4.9" title="a > b"][et_pb_text]Heu.[/et_pb_text]'
         "[/et_pb_section]", "Heu."),
        ('[fusion_text columns="" rule_size=""]Heu.[/fusion_text]', "Heu."),
        ("[av_hr]Heu.", "Heu."),
        ("[vc_raw_html]JTNDcCUzRUhldSUzQyUyRnAlM0U=[/vc_raw_html]Heu.", "Heu."),
        ('[code lang="php"]echo 1;[/code]Heu.', "Heu."),
        ("[dropcap]H[/dropcap]eu.", "Heu."),
        ('[button url="https://x.example/?a[]=1"]Heu.[/button]', "Heu."),
        ('[quote author=“Resi”]Heu.[/quote]', "Heu."),
        ("Heu [1] und Gras [sic], [Anm. d. Red.] [citation needed].", "Heu [1] und Gras [sic], [Anm. d. Red.] "
         "[citation needed]."),
        ("Schreib [[vc_row]] für Zeilen.", "Schreib [vc_row] für Zeilen."),
        ("<!-- wp:shortcode -->[wetter]<!-- /wp:shortcode --><!-- wp:paragraph --><p>Heu.</p><!-- /wp:paragraph -->",
         "Heu."),
    ],
)  # fmt: skip
def test_short_codes_are_no_text(tmp_path, body, text):
    (entry,) = read(tmp_path, HEAD + item(1, body=body) + END)
    assert entry.article.text == text
