"""Output formats, read with the libraries that their users read them with."""

import csv
import importlib.util
import io
import json
import os
import shutil
from datetime import UTC, datetime, timedelta, timezone

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sample_blocks import DAY, a_link, blocks, card, contents

from recommender import Article, Recommender, RecommenderError
from recommender.cli.main import main
from recommender.publish.site import FORMATS, output_format, publish

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
VALUE = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT | st.lists(TEXT, max_size=2)
LINK = st.builds(
    a_link,
    TEXT.filter(bool),
    title=TEXT,
    url=st.none() | TEXT,
    section=st.none() | TEXT,
    published=st.none()
    | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-9))])),
    metadata=st.dictionaries(st.sampled_from(["image", "excerpt"]), VALUE),
)
FIELDS = ("id", "title", "url", "published", "section", "score", "via")


def put(blocks_to_write, out, *arguments, **options):
    problems = []
    return publish(blocks_to_write, output_format(out, *arguments, **options), problems.append), problems


def text_of(blocks_to_write, format, **options):
    out = io.StringIO(newline="")
    put(blocks_to_write, out, format, **options)
    return out.getvalue()


@given(st.lists(LINK, max_size=3), TEXT.filter(bool))
def test_json_round_trips_and_is_valid_yaml(links, id):
    text = text_of([(card(id), links), (card(id + "2"), [])], "json", fields=["image"])
    links_by_id = json.loads(text)
    assert list(links_by_id) == [id, id + "2"]
    assert [list(link) for link in links_by_id[id]] == [[*FIELDS, "image"]] * len(links)
    for record, link in zip(links_by_id[id], links, strict=True):
        assert (record["id"], record["title"], record["url"], record["section"]) == (
            link.id, link.title, link.url, link.section,
        )  # fmt: skip
        assert record["image"] == link.metadata.get("image")
        assert (datetime.fromisoformat(record["published"]) if record["published"] else None) == link.published
    assert yaml.load(text, yaml.CSafeLoader) == links_by_id
    assert text.count("\n") == 4


def test_composed_emoji_are_valid_yaml():
    title = "\U0001f3f4\U000e0067\U000e0062\U000e007f \u200d \u2028 \x85 \ufeff \uffff \ue000 \xa0"
    text = text_of([(card("a"), [a_link("b", title=title)])], "json")
    assert yaml.load(text, yaml.CSafeLoader)["a"][0]["title"] == json.loads(text)["a"][0]["title"] == title


@given(st.lists(LINK, min_size=1, max_size=3), TEXT.filter(bool))
def test_csv_is_one_row_a_link_and_no_text_is_a_formula(links, id):
    text = text_of([(card(id, url="=1"), links), (card("empty"), [])], "csv", fields=["image", "excerpt"])
    assert text.startswith("\ufeffarticle_id,article_url,position,id,")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert len(rows) == len(links)
    for position, (row, link) in enumerate(zip(rows, links, strict=True), start=1):
        assert (row["position"], row["score"], row["via"]) == (str(position), "0.5", "match")
        assert row["article_url"] == "'=1"
        for name, value in (
            ("article_id", id),
            ("id", link.id),
            ("title", link.title),
            ("section", link.section or ""),
        ):
            assert row[name] in (value, f"'{value}")
        for name, cell in row.items():
            number = isinstance(link.metadata.get(name), int)
            assert number or cell.lstrip()[:1] not in tuple("=+-@")
            assert cell[:1] not in ("\t", "\r", "\n")


@pytest.mark.parametrize(
    ("title", "cell"),
    [("=1+1", "'=1+1"), ("-5 %", "'-5 %"), ("@home", "'@home"), ("+1", "'+1"), (" =1", "' =1"), ("＝1", "'＝1"),
     ("\tx", "'\tx"), ("a=1", "a=1"), ("Fine, \"so\"\nit is", 'Fine, "so"\nit is'), ("'quoted'", "'quoted'"), ("", "")],
)  # fmt: skip
def test_cells_of_csv_that_look_like_formulas_are_quoted(title, cell):
    text = text_of([(card("a"), [a_link("b", title=title)])], "csv")
    (row,) = csv.DictReader(io.StringIO(text[1:], newline=""))
    assert row["title"] == cell


def test_dates_in_csv_are_utc_in_the_format_of_spreadsheets():
    far = datetime(2026, 3, 5, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    first = datetime.min.replace(tzinfo=timezone(timedelta(hours=2)))
    text = text_of([(card("a"), [a_link("b", published=far), a_link("c", published=first), a_link("d")])], "csv")
    rows = csv.DictReader(io.StringIO(text[1:], newline=""))
    assert [row["published"] for row in rows] == ["2026-03-04 23:00:00", "0001-01-01 00:00:00", ""]


@given(st.lists(LINK, max_size=3))
def test_parquet_has_types(tmp_path_factory, links):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path_factory.mktemp("parquet") / "links.parquet"
    put([(card("a", url="/a/"), links)], path, fields=["image", "tags"])
    table = parquet.read_table(path)
    assert {name: str(table.schema.field(name).type) for name in ("position", "published", "score", "title")} == {
        "position": "int32", "published": "timestamp[us, tz=UTC]", "score": "double", "title": "string",
    }  # fmt: skip
    assert str(table.schema.field("tags").type).startswith("list<")
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == [link.id for link in links]
    assert [row["position"] for row in rows] == list(range(1, len(links) + 1))
    for row, link in zip(rows, links, strict=True):
        image = link.metadata.get("image")
        assert row["image"] == (
            image if image is None or isinstance(image, str) else json.dumps(image, ensure_ascii=False)
        )
        assert row["title"] == link.title


def test_parquet_in_more_than_one_row_group(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("recommender.publish.parquet.ROW_GROUP_ROWS", 4)
    put(blocks(*"abcdefg"), tmp_path / "links.parquet")
    table = parquet.ParquetFile(tmp_path / "links.parquet")
    assert table.num_row_groups == 4
    assert table.read().num_rows == 14


def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr("recommender.publish.parquet.find_spec", lambda name: None if name == "pyarrow" else real(name))
    with pytest.raises(RecommenderError, match=r"pip install 'recommender\[parquet\]'"):
        put(iter(()), tmp_path / "links.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["hugo", "jekyll", "eleventy"])
def test_generators_find_a_page_by_its_path(format):
    blocks_to_write = [
        (card("a", url="https://example.org/caf%C3%A9/"), [a_link("b", url="/b/"), a_link("posts/c.md")]),
        (card("posts/c.md"), []),  # its address is unknown
    ]
    links_by_path = json.loads(text_of(blocks_to_write, format))
    assert list(links_by_path) == ["/café/" if format == "eleventy" else "/caf%C3%A9/"]
    assert [link["url"] for link in next(iter(links_by_path.values()))] == ["/b/", None]


def test_keys_of_json(tmp_path):
    blocks_to_write = [
        (card("a", url="https://example.org/x/"), [a_link("b", url="/posts/b/")]),
        (card("b", url="http://example.org/x/?"), []),
        (card("c"), []),
    ]
    assert list(json.loads(text_of(blocks_to_write, "json"))) == ["a", "b", "c"]
    assert list(json.loads(text_of(blocks_to_write, "json", key="url"))) == [
        "https://example.org/x/",
        "http://example.org/x/?",
    ]
    links_by_path = json.loads(text_of(blocks_to_write, "json", key="path"))
    assert list(links_by_path) == ["/x/"]
    assert links_by_path["/x/"][0]["url"] == "/posts/b/"
    report, problems = put(blocks_to_write, tmp_path / "x.json", key="path")
    assert problems == ["The block of 'b' is left out: 'a' has the same path, '/x/'."]
    assert report.sentence() == (
        f"1 block written to {tmp_path}/x.json. Left out: 1 article without a path, 1 article with the path of another."
    )


def test_many_blocks_with_the_same_key_are_reported_with_a_count(tmp_path):
    blocks_to_write = [(card(f"{n:02}", url="/"), []) for n in range(50)]
    report, problems = put(blocks_to_write, tmp_path / "x.json", key="url")
    assert (report.blocks, report.duplicate_keys, len(problems)) == (1, 49, 11)
    assert problems[-1] == "... and 39 more blocks that are left out for the same reason."


def test_where_no_article_has_the_key_nothing_is_replaced(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("good")
    with pytest.raises(RecommenderError, match=r"^No article has a url, so no block"):
        put([(card("a"), []), (card("b"), [])], path, key="url")
    with pytest.raises(RecommenderError, match="with --map url="):
        put([(card("a"), [])], tmp_path / "html", "html", key="path")
    assert path.read_text() == "good"
    put([], path, key="url")
    assert path.read_text() == "{}\n"


def test_fields_that_no_link_has_are_reported(tmp_path):
    blocks_to_write = [(card("a"), [a_link("b", metadata={"image": 0}, tags=("x",))])]
    _, problems = put(blocks_to_write, tmp_path / "x.json", fields=["image", "imgae", "tags", "title", "image"])
    assert problems == ["No link has the field 'imgae'."]
    assert json.loads((tmp_path / "x.json").read_text())["a"][0]["tags"] == ["x"]
    assert put([(card("a"), [])], tmp_path / "x.json", fields=["image"])[1] == []


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.parquet"])
def test_a_file_is_touched_only_if_it_differs(tmp_path, name):
    path = tmp_path / name
    report, _ = put(blocks("a", "b"), path)
    assert (report.written, report.unchanged) == (1, 0)
    assert report.sentence() == f"2 blocks written to {path}."
    os.utime(path, ns=(1, 1))
    report, _ = put(blocks("a", "b"), path)
    assert (report.written, report.unchanged) == (0, 1)
    assert report.sentence() == f"2 blocks, unchanged: {path} holds them already."
    assert path.stat().st_mtime_ns == 1
    assert put(blocks("a", "b", "c"), path)[0].written == 1
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.parquet"])
def test_a_killed_run_leaves_the_old_or_the_new_file(tmp_path, killed, name):
    old, new = tmp_path / "old" / name, tmp_path / "new" / name
    for path, last in ((old, "z"), (new, "c")):
        path.parent.mkdir()
        put(blocks("a", "b", last), path)
    states = {old.read_bytes(), new.read_bytes()}
    assert len(states) == 2
    n, whole = 0, False
    while not whole:
        n += 1
        folder = tmp_path / f"cut-{n}"
        shutil.copytree(tmp_path / "old", folder)
        whole = killed(lambda folder=folder: put(blocks("a", "b", "c"), folder / name), folder, n)
        assert (folder / name).read_bytes() in states
    assert (folder / name).read_bytes() == new.read_bytes()
    assert n > 3


def test_an_error_while_blocks_are_computed_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("good")

    def failing_blocks():
        yield from blocks("a", "b")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        put(failing_blocks(), path)
    assert contents(tmp_path) == {"x.json": b"good"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("x.xml",), "The ending .xml of x.xml stands for no format; name one of jsonl, json,"),
        (("x", "xml"), "There is no format 'xml'; these are jsonl, json,"),
        ((io.StringIO(), "html"), "The format html needs a folder to write to."),
        ((io.StringIO(), "parquet"), "The format parquet needs a file to write to."),
        (("x.csv", None, "path"), "A key can be chosen for json and html, and not for csv; leave it out."),
        (("x", "hugo", "path"), "A key can be chosen for json and html, and not for hugo; leave it out."),
        (("x.json", None, "slug"), "'slug' is no key; these are id, url, path."),
        (("x", None, None, ["image"]), "JSON Lines contain ids and scores only; choose another format for"),
        (("x.csv", None, None, ["position"]), "The field 'position' cannot be a column"),
        (("x.json", None, None, (), "More"), "A heading belongs to html, and the format is json; leave it out."),
        (("x.json", None, None, (), None, "t"), "A template belongs to html, and the format is json; leave it out."),
        ((".",), ". is a folder; name a file, or the format html, which writes a folder of files."),
        ((".", "json"), ". is a folder; name a file in it."),
        ((__file__, "html"), "is a file; name a folder for the files of html."),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_together_are_reported(arguments, sentence):
    with pytest.raises(ValueError) as error:
        output_format(*arguments)
    assert sentence in str(error.value)


def test_the_format_follows_from_the_ending(tmp_path):
    names = ("x.jsonl", "x.JSON", "x.csv", "x.parquet", "x", "/dev/null")
    assert [output_format(name).format for name in names] == ["jsonl", "json", "csv", "parquet", "jsonl", "jsonl"]
    assert output_format(io.StringIO()).format == "jsonl"


# With a real index


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("format", FORMATS)
def test_python_and_the_command_write_the_same(rec, tmp_path, format):
    python, command = tmp_path / "python", tmp_path / "command"
    progress = []
    report = rec.publish(python, format, k=2, section="dam", on_progress=lambda *done: progress.append(done))
    arguments = ("links", "--index", rec.path, "-k", 2, "--section", "dam", "--format", format)
    result = run(*arguments, "--out", command)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == report.sentence().replace(str(python), str(command)) + "\n"
    assert progress == [(6, 6)]
    if format == "html":
        assert contents(python) == contents(command)
        assert len(contents(python)) == 7
    else:
        assert python.read_bytes() == command.read_bytes()
    if format not in ("html", "parquet"):
        assert run(*arguments).stdout_bytes == python.read_bytes()


def test_the_links_are_those_of_the_blocks(rec, tmp_path):
    rec.add([Article(id="dam-4", title="Dam of the river is shut", text="The river dam.", published=DAY, section="dam",
                     metadata={"image": "/dam.png"})])  # fmt: skip
    rec.publish(tmp_path / "related.json", k=3, fields=["image"])
    links_by_id = json.loads((tmp_path / "related.json").read_text())
    assert list(links_by_id) == [article.id for article in rec]
    for id, links in rec.links(3):
        assert [(record["id"], record["score"], record["title"], record["url"], record["section"], record["image"])
                for record in links_by_id[id]] == [
            (link.id, round(link.score, 2), link.title, link.url, link.section, link.metadata.get("image"))
            for link in links
        ]  # fmt: skip
    assert links_by_id["dam-1"]
    assert any(record["published"] == "2026-01-01T00:00:00+00:00" for links in links_by_id.values() for record in links)


def test_html_of_an_index(rec, tmp_path):
    out = tmp_path / "out"
    template = tmp_path / "t.html"
    template.write_text("{{ heading }}:{% for link in links %} {{ link.id }} {{ link.image }}{% endfor %}")
    result = run("links", "--index", rec.path, "-k", 1, "--format", "html", "--out", out, "--template", template,
                 "--heading", "Mehr", "--fields", "image")  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "No link has the field 'image'.\n")
    ((query_id, (link,)),) = [block for block in rec.links(1) if block[0] == "dam-1"]
    assert (out / f"{query_id}.html").read_text() == f"Mehr: {link.id} "
    rec.remove("dam-1")
    result = run("links", "--index", rec.path, "-k", 1, "--format", "html", "--out", out, "--template", template)
    assert "1 removed." in result.stdout
    assert not (out / "dam-1.html").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--format", "html"], "The format html needs a folder"),
        (["--out", "x.xml"], "stands for no format"),
        (["--format", "json", "--changed", "state"], "--changed writes JSON Lines, and not json; leave it out."),
        (["--format", "csv", "--key", "path"], "A key can be chosen for json and html"),
        (["--fields", "image"], "JSON Lines contain ids and scores only"),
    ],
)
def test_wrong_usage_of_the_command(rec, options, sentence):
    result = run("links", "--index", rec.path, *options)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


def test_changed_goes_on_writing_json_lines(rec, tmp_path):
    out = tmp_path / "delta.jsonl"
    result = run("links", "--index", rec.path, "--changed", tmp_path / "state", "--out", out)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, f"6 lines written to {out}.")
    result = run("links", "--index", rec.path, "--changed", tmp_path / "state", "--out", out)
    assert result.stdout.splitlines()[-1] == f"0 lines written to {out}."
    assert out.read_text() == ""


def test_a_missing_template_or_folder_is_reported_before_any_work(rec, tmp_path):
    result = run("links", "--index", rec.path, "--format", "html", "--out", tmp_path / "o", "--template", "no.html")
    assert (result.exit_code, result.stderr) == (1, "Error: There is no template no.html.\n")
    assert not (tmp_path / "o").exists()
    (tmp_path / "file").touch()
    result = run("links", "--index", rec.path, "--out", tmp_path / "file" / "x.json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("x.json cannot be written: {} is not a folder.\n".format(tmp_path / "file"))


@pytest.mark.parametrize(("name", "format"), [("x.json", "json"), ("x.csv", "csv"), ("pages", "html")])
def test_the_folder_of_a_file_is_made(rec, tmp_path, name, format):
    out = tmp_path / "new" / "folder" / name
    assert run("links", "--index", rec.path, "--out", out, "--format", format).exit_code == 0
    assert out.exists()


def test_empty_blocks_are_counted(rec, tmp_path):
    result = run("links", "--index", rec.path, "--section", "none", "--out", tmp_path / "x.json")
    assert "6 blocks written" in result.stdout
    assert "; 6 are empty." in result.stdout
    assert "--why-not" in result.stderr
    result = run("links", "--index", rec.path, "--section", "none")
    assert result.stderr.startswith("6 blocks written; 6 are empty.")
    assert len(result.stdout.splitlines()) == 6
    result = run("links", "--index", rec.path, "--section", "none", "--changed", tmp_path / "state")
    assert "6 of them differ, 6 of which are empty" in result.stderr
    assert run("links", "--index", rec.path).stderr == ""
    rec.set_rule({"name": "x", "where": {"section": "club"}, "no_block": True})
    assert run("links", "--index", rec.path, "-q").stderr == ""
    assert rec.publish(tmp_path / "y.json").empty == 3


@pytest.mark.parametrize("format", ["json", "csv", "html", "hugo"])
def test_no_file_links_to_another_site_in_disguise(tmp_path, format):
    urls = [
        "//evil.example/a",
        "/\\evil.example",
        "\u200bjavascript:evil",
        "https:evil.example",
        "https://x@evil.example/",
    ]
    articles = [
        Article(str(number), f"River dam {number}", "Its gates are shut.", url) for number, url in enumerate(urls)
    ]
    out = tmp_path / ("out" if format == "html" else "out.json")
    with Recommender(tmp_path / "index") as rec:
        rec.build([*articles, Article("good", "River dam", "Its gates are open.", "/good/")])
        assert {link.url for link in rec.related("good", 5, drop_near_duplicates=False, score_threshold=False)} == {
            None
        }
        rec.publish(out, format, drop_near_duplicates=False, score_threshold=False)
    written = "".join(path.read_text() for path in ([out] if out.is_file() else out.glob("*.html")))
    assert "/good/" in written
    assert "evil" not in written
