"""The addresses of published blocks: base URL, template, and what the closing line counts."""

import csv
import io
import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sample_blocks import DAY, a_link, card

from recommender import Article, Recommender
from recommender.cli.main import main
from recommender.publish.addresses import Addresses, join_base
from recommender.publish.site import output_format, publish

SEGMENT = st.text(st.sampled_from("ab-%C3é"), min_size=1, max_size=5).filter(lambda text: "%" not in text)
PATH = st.lists(SEGMENT, max_size=3).map(lambda parts: "/" + "".join(f"{part}/" for part in parts))


def write(blocks, out, format, **options):
    return publish(blocks, output_format(out, format, **options), lambda problem: None)


@pytest.mark.parametrize(
    ("base", "url", "expected"),
    [
        ("/blog/", "/dam/", "/blog/dam/"),
        ("/blog", "/dam/", "/blog/dam/"),
        ("/blog/", "/blog/dam/", "/blog/dam/"),
        ("/blog/", "/blogs/dam/", "/blog/blogs/dam/"),
        ("/blog/", "/", "/blog/"),
        ("/blog/", "/blog", "/blog"),
        ("/blog/", "dam.html", "/blog/dam.html"),
        ("https://example.org", "/dam/", "https://example.org/dam/"),
        ("https://example.org/", "/dam/", "https://example.org/dam/"),
        ("https://example.org/blog/", "/dam/?p=1#top", "https://example.org/blog/dam/?p=1#top"),
        ("https://example.org/blog/", "/blog/dam/", "https://example.org/blog/dam/"),
        ("https://example.org/blog/", "https://other.example/dam/", "https://other.example/dam/"),
    ],
)
def test_a_base_url_is_joined(base, url, expected):
    assert join_base(base, url) == expected


@given(PATH, PATH, st.sampled_from(["", "https://example.org"]))
def test_a_base_url_is_joined_once(folder, path, host):
    joined = join_base(host + folder, path)
    assert joined.startswith(host + folder.rstrip("/"))
    assert join_base(folder, joined) == joined


@pytest.mark.parametrize("format", ["json", "csv", "html", "hugo"])
def test_links_lead_into_the_folder_of_the_site(tmp_path, format):
    out = tmp_path / ("out" if format == "html" else "out.txt")
    links = [a_link("b", url="/b/"), a_link("c", url="https://other.example/c/")]
    write([(card("a", url="/a/"), links)], out, format, base_url="https://example.org/blog/")
    written = out.read_text() if out.is_file() else (out / "a.html").read_text()
    assert "https://example.org/blog/b/" in written
    assert "https://other.example/c/" in written
    assert '"/b/' not in written
    if format == "hugo":  # .RelPermalink contains the folder
        assert list(json.loads(written)) == ["/blog/a/"]
    if format == "csv":
        (row, _) = csv.DictReader(io.StringIO(written[1:], newline=""))
        assert row["article_url"] == "https://example.org/blog/a/"


@pytest.mark.parametrize("format", ["jekyll", "eleventy"])
@pytest.mark.parametrize("url", ["/b/", "/blog/b/"])
def test_keys_of_jekyll_and_eleventy_contain_the_folder_of_the_site(tmp_path, format, url):
    out = tmp_path / "related.json"
    write([(card("a", url=url), [a_link("c", url=url.replace("b/", "c/"))])], out, format, base_url="/blog/")
    (key, (link,)), *_ = json.loads(out.read_text()).items()
    assert (key, link["url"]) == ("/blog/b/", "/blog/c/")


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("/news/{slug}/", "/news/dam-breaks/"),
        ("https://example.org{path}?from=related", "https://example.org/posts/b/?from=related"),
        ("/{year}/{month}/{day}/{slug}.html", "/2026/01/01/dam-breaks.html"),
        ("/{section}/{id}", "/City%20news/b"),
        ("/{cms.number}/", "/7/"),
        ("/{missing}/", None),
        ("{path}", "/posts/b/"),
        ("{id}", ValueError),
        ("/news/slug/", ValueError),
    ],
)
def test_a_template_makes_addresses_of_fields(tmp_path, template, url):
    link = a_link(
        "b",
        url="/posts/b/",
        published=DAY,
        section="City news",
        metadata={"slug": "dam-breaks", "cms": {"number": 7.0}},
    )
    if url is ValueError:
        with pytest.raises(ValueError, match="is no template of an address"):
            Addresses(template=template)
        return
    assert Addresses(template=template).addressed(link).url == url
    based = Addresses("/blog/", template).addressed(link).url
    assert based == (f"/blog{url}" if url and url.startswith("/") else url)


@pytest.mark.parametrize(
    "base", ["blog", "//example.org", "ftp://example.org", "/a?b", "https://", "javascript:x", "/{x}/"]
)
def test_a_wrong_base_url_is_refused(base):
    with pytest.raises(ValueError, match="is no base URL; write /blog/"):
        Addresses(base)


@given(st.text(max_size=20))
def test_no_template_leads_off_the_site(slug):
    link = a_link("x", url="/b/", metadata={"slug": slug})
    url = Addresses("/blog/", "/{slug}/").addressed(link).url
    assert url is None or (url.startswith("/") and not url.startswith(("//", "/\\")))


def test_the_closing_line_counts_links_that_lead_nowhere_new(tmp_path):
    blocks = [
        (card("a", url="/a/"), [a_link("b", url="/b/"), a_link("b2", url="http://x.example/b"), a_link("n")]),
        (card("c", url="/c/"), [a_link("d", url="/b"), a_link("e", url="/b/#top"), a_link("f", url="/c")]),
        (card("g", url="/g/"), []),
    ]
    report = write(blocks, tmp_path / "x.json", "json")
    assert (report.links, report.linked, report.repeated, report.empty, report.has_faults) == (6, 5, 2, 1, True)
    assert report.sentence() == (
        f"3 blocks written to {tmp_path}/x.json; 1 is empty; 1 link has no address; 2 links repeat the address of "
        f"another link of the block or of its page."
    )
    report = write([(card("a"), [a_link("b"), a_link("c")])], tmp_path / "y.json", "json")
    assert report.sentence().endswith("y.json; no link has an address.")
    report = write(blocks[:1], tmp_path / "z.json", "json", url_template="/x/{id}/")
    assert report.sentence() == f"1 block written to {tmp_path}/z.json."
    assert not report.has_faults


def test_a_site_in_a_folder_of_its_host(tmp_path):
    with Recommender(tmp_path / "index") as rec:
        rec.build(
            Article(
                f"{name}.md",
                f"Mending the river dam, part {name}",
                f"The gates of the river dam are {name}.",
                f"/{name}/",
            )
            for name in ("open", "shut")
        )
    command = [
        "links",
        "--index",
        str(tmp_path / "index"),
        "--no-score-threshold",
        "--keep-near-duplicates",
        "--format",
        "html",
    ]
    result = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "html"), "--base-url", "/blog/"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert 'href="/blog/' in "".join(path.read_text() for path in (tmp_path / "html").glob("*.html"))
    result = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "html"), "--base-url", "blog"])
    assert result.exit_code == 2
    assert "is no base URL" in result.stderr
    result = CliRunner().invoke(main, ["links", "--index", str(tmp_path / "index"), "--base-url", "/blog/"])
    assert result.exit_code == 2
    assert "JSON Lines contain no addresses" in result.stderr
