"""`recommender read` and the options for sources."""

import io
import json
from datetime import UTC

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender import Article, Recommender, Source
from recommender.cli.main import main
from recommender.cli.read import article_record
from recommender.publish.jsonl import json_line
from recommender.sources.jsonl import _entry


def run(*arguments, stdin=None):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def folder(tmp_path):
    for name, text in {
        "news/a.md": "---\ntitle: Ferry\ndate: 2026-03-05\n---\nThe ferry sailed. [b](b.md)\n",
        "news/b.md": "# Pier\n\nThe pier stands.\n",
        "drafts/c.md": "---\ndraft: true\n---\nNot yet.\n",
        "LICENSE.txt": "You may.\n",
        "data.json": "[]",
    }.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "site"


def test_read_lists_articles_that_would_be_indexed_and_skipped(folder):
    result = run("read", folder)
    assert result.exit_code == 0
    assert "Ferry\n  news/a.md /news/a/\n  2026-03-05 · news · 4 words · 0 related, 1 links\n" in result.stdout
    assert (
        "2 articles, 1 left out (unpublished 1), 0 skipped. With text 2, url 2, published 1, section 2" in result.stdout
    )
    assert "drafts/c.md: its draft is True" in result.stderr
    assert "1 .json, 1 .txt files were passed over" in result.stderr


def test_read_prints_the_json_lines_that_build_reads(folder, tmp_path):
    result = run("read", folder, "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["id"] for line in lines] == ["news/a.md", "news/b.md"]
    (tmp_path / "a.jsonl").write_text(result.stdout)
    direct = [entry.article for entry in Source(folder) if entry.article]
    assert [entry.article for entry in Source(tmp_path / "a.jsonl")] == direct


_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<&"), max_size=20)


@given(
    st.builds(
        Article,
        id=_TEXTS.filter(str.strip).map(lambda text: "x" + text),
        title=_TEXTS.map(lambda text: "x" + text),
        text=_TEXTS,
        published=st.none() | st.datetimes(timezones=st.just(UTC)),
        section=st.none() | _TEXTS,
        tags=st.lists(_TEXTS),
        related=st.lists(_TEXTS),
        recommend=st.booleans(),
        metadata=st.dictionaries(
            _TEXTS.map(lambda name: "m" + name), st.none() | st.integers() | _TEXTS | st.lists(_TEXTS)
        ),
    )
)
@settings(max_examples=200)
def test_the_output_of_read_is_read_as_the_same_article(article):
    entry = _entry("here", json_line(article_record(article)).encode(), {})
    assert entry.article == article


def test_limit(folder):
    assert len(run("read", folder, "--json", "--limit", 1).stdout.splitlines()) == 1


def test_names_of_fields(tmp_path):
    (tmp_path / "a.csv").write_text("nr,headline,body_html\n7,Ferry,<p>It <b>sailed</b>.</p>\n")
    result = run("read", tmp_path / "a.csv", "--map", "title=headline,text=body_html", "--id-field", "nr", "--json")
    assert json.loads(result.stdout) == {"id": "7", "title": "Ferry", "text": "It sailed."}


@pytest.mark.parametrize("mapping", ["headline", "=x", "titel=headline"])
def test_an_invalid_map_is_wrong_usage(tmp_path, mapping):
    (tmp_path / "a.csv").write_text("id,title\n1,A\n")
    result = run("read", tmp_path / "a.csv", "--map", mapping)
    assert result.exit_code == 2
    assert mapping.split("=")[0] in result.stderr


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--include", "news"], ["news/a.md", "news/b.md"]),
        (["--include", "*.txt"], ["LICENSE.txt"]),
        (["--include", "news/b.*"], ["news/b.md"]),
        (["--exclude", "b.md"], ["news/a.md"]),
        (["--exclude", "news", "--include", "*.md"], []),
    ],
)
def test_patterns(folder, options, ids):
    lines = run("read", folder, "--json", *options).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "1", "title": "A"}\n{"id": "2", "title": "B"}\n',
        '[{"id": "1", "title": "A"}, {"id": "2", "title": "B"}]',
        '{\n"articles": [{"id": "1", "title": "A"}, {"id": "2", "title": "B"}]}',
        "id,title\n1,A\n2,B\n",
        "<rss version='2.0'><channel><item><guid>1</guid><title>A</title></item>"
        "<item><guid>2</guid><title>B</title></item></channel></rss>",
    ],
)
def test_standard_input(text):
    lines = run("read", "-", "--json", stdin=text).stdout.splitlines()
    assert [(line["id"], line["title"]) for line in map(json.loads, lines)] == [("1", "A"), ("2", "B")]


def test_one_article_on_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"---\ntitle: Ferry\n---\nIt sailed.\n")))
    (entry,) = Source("-")
    assert (entry.article.title, entry.article.text) == ("Ferry", "It sailed.")


def test_build_takes_the_same_sources(folder, tmp_path):
    index = tmp_path / "index"
    result = run("build", folder, "--index", index, "--exclude", "b.md")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("1 added")
    assert "were passed over" in result.stderr
    run("build", "-", "--index", index, stdin='{"id": "x", "title": "X"}\n')
    with Recommender(index) as rec:
        assert {article.id for article in rec} == {"news/a.md", "x"}
        assert rec.build(Source(folder)).added == 1


def test_unreadable_files_are_reported_in_a_sentence(tmp_path):
    result = run("read", tmp_path / "none.csv")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not exist" in result.stderr
    (tmp_path / "a.csv").write_text("id,headline\n1,A\n")
    result = run("read", tmp_path / "a.csv")
    assert result.exit_code == 1
    assert "Its fields are id, headline. Name those of an article: --map title=headline\n" in result.stderr
    assert "No article could be taken" in result.stderr


def test_read_counts_what_a_person_has_to_check(tmp_path):
    text = "The ferry sailed at dawn, and half of the town stood on the pier to see it go with the tide."
    records = [
        {"id": "a", "title": "Ferry", "text": text, "url": "/a/", "published": "2024-05-03"},
        {"id": "b", "title": "ferry", "text": text, "url": "/a/", "published": "1728-05-03"},
        {"id": "c", "title": "Empty", "text": "", "published": "2999-01-01"},
        {
            "id": "d",
            "title": "",
            "text": "Das Schiff fuhr am Morgen, und die Stadt stand am Ufer und sah ihm nach.",
        },
        {"id": "e", "title": "Draft", "status": "draft"},
    ]
    source = tmp_path / "export.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    result = run("read", source, "--report", tmp_path / "out" / "archive.html")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for line in (
        "kinds .jsonl 4",
        "languages en 2, unknown 1, de 1",
        "left out unpublished 1",
        "1 no date (d)",
        "2 no address (c, d)",
        "1 hardly any text (c)",
        "1 date before 1990 (b)",
        "1 date in the future (c)",
        "1 title of another article (b)",
        "1 text of another article (b)",
        "1 address of another article (b)",
    ):
        assert line in lines
    page = (tmp_path / "out" / "archive.html").read_text()
    assert "export.jsonl:5" in page
    assert "<h3>Ferry</h3>" in page


def test_a_report_shows_markup_of_articles_as_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "<b>", "title": "<script>alert(1)</script>", "text": "x"}\n')
    run("read", tmp_path / "a.jsonl", "--report", tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_read_counts_list_pages_of_a_built_site_and_prints_the_signs(tmp_path):
    entries = "".join(f"<h2><a href='/posts/{n}/'>Post {n}</a></h2><p>The beginning of post {n}.</p>" for n in range(5))
    post = "<h1>Post</h1><p>" + "The whole post, with many words about the ferry. " * 9 + "</p>"
    for name, body in {"index.html": entries, "page/2/index.html": entries, "posts/1/index.html": post}.items():
        path = tmp_path / "public" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<html><head><title>{name}</title></head><body><main>{body}</main></body></html>")
    result = run("read", tmp_path / "public")
    assert "1 articles, 2 left out (list page 2), 0 skipped." in result.stdout
    assert (
        "index.html: it is a list page: the address of a home page, the title of the site, 'index.html', 5 entries"
        in result.stderr
    )


def test_a_source_of_left_out_pages_alone_is_refused_with_the_reasons(tmp_path):
    robots = "<meta name='robots' content='noindex'>"
    for name in "ab":
        (tmp_path / f"{name}.html").write_text(f"<html><head>{robots}</head><body><h1>A</h1><p>Text.</p></body></html>")
    result = run("read", tmp_path)
    assert result.exit_code == 1
    assert "None of the sources held an article: 2 left out (noindex 2)." in result.stderr
    result = run("build", tmp_path, "--index", tmp_path / "index")
    assert result.exit_code == 1
    assert "None of the sources held an article (noindex 2; `recommender read` prints why)" in result.stderr
