"""Broken and hostile records: each is reported, and all others are read."""

import gzip
import json
import os
import tracemalloc
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender import Recommender
from recommender.cli.main import main
from recommender.sources import Source
from recommender.sources.entry import MAX_ARTICLE_BYTES


def lines(path: Path, *records: object) -> Path:
    path.write_bytes(b"\n".join(r if isinstance(r, bytes) else json.dumps(r).encode() for r in records) + b"\n")
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".txt"])
def test_an_article_without_end_is_passed_over_without_being_read_into_memory(tmp_path, ending):
    file = tmp_path / f"export{ending}"
    long = b"x" * 2**20
    with gzip.open(file, "wb", compresslevel=1) if ending.endswith(".gz") else file.open("wb") as out:
        for _ in range(3 * MAX_ARTICLE_BYTES // len(long)):
            out.write(long)
        if ending != ".txt":
            out.write(b'\n{"id": "after", "title": "What comes after it"}\n')
    tracemalloc.start()
    entries = list(Source(file))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "longer than 32 MB" in entries[0].problems[0]
    assert [entry.article.id for entry in entries[1:]] == ([] if ending == ".txt" else ["after"])
    assert peak < 3 * MAX_ARTICLE_BYTES


@pytest.mark.parametrize("content", [b"\n", b"x"])
def test_a_file_that_unpacks_to_far_more_than_articles_do_is_read_no_further(tmp_path, monkeypatch, content):
    monkeypatch.setattr("recommender.sources.jsonl.GZIP_CHECK_BYTES", 2**18)
    file = tmp_path / "bomb.jsonl.gz"
    with gzip.open(file, "wb") as out:
        out.write(b'{"id": "a", "title": "An article"}\n')
        out.write(content * 2**22)
    article, *_, bomb = Source(file)
    assert article.article.id == "a"
    assert bomb.failed
    assert "300 times its size" in bomb.problems[0]
    assert file.stat().st_size < 2**14


NESTED = b'{"id": "deep", "title": "x", "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
ODD = [
    (NESTED, "not JSON that can be read"),
    (b'{"id": "deep", "title": "x", "more": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", "not JSON"),
    (b'{"id": "n", "title": "x", "more": 1' + b"0" * 5000 + b"}", "not JSON that can be read"),
    (b'{"id": "n", "title": "x", "more": NaN}', "not JSON"),
    (b'{"id": "n", "title": "x", "more": -Infinity}', "not JSON"),
    (b'{"id": "n", "title": "x\xff"}', "not UTF-8"),
    (b"\x00" * 100, "not JSON"),
    (b'{"id": "", "title": "x"}', "neither an id nor a url"),
    (b'{"id": "\\u0000", "title": "x"}', "id"),
    (b'{"id": "n", "title": "", "text": " "}', "neither a title nor a text"),
    (b'{"id": "n", "title": {"a": 1}}', "neither a title nor a text"),
    (b'[{"id": "n", "title": "x"}]', "not a JSON object"),
    (b'"text"', "not a JSON object"),
    (b"7", "not a JSON object"),
]


@pytest.mark.parametrize(("line", "words"), ODD)
def test_a_line_that_is_no_article_is_reported_by_number_and_skipped(tmp_path, line, words):
    file = lines(tmp_path / "a.jsonl", {"id": "before", "title": "Before"}, line, {"id": "after", "title": "After"})
    before, odd, after = Source(file)
    assert (before.article.id, after.article.id, odd.article) == ("before", "after", None)
    assert odd.where == f"{file}:2"
    assert words in " ".join(odd.problems)


STRANGE = {
    "surrogate": "\ud83d lone",
    "null": "a\x00b",
    "right to left": "\u202eevil\u202c \u05d0\u05d1\u05d2",
    "zero width": "\u200bwo\u200drd\u2060",
    "escape": "\x1b[31mred\x1b[0m \x9b31m",
    "combining": "e" + "\u0301" * 1000,
    "one character": "x",
    "emoji": "👩‍👩‍👧‍👦" * 50,
    "no words": "!!! ??? ...",
    "one long word": "w" * 100_000,
}
PATHS = [
    "../../x",
    "/etc/passwd",
    "a/../b",
    "C:\\x",
    ".",
    "..",
    "a\nb",
    "con",
    "%2e%2e%2f",
    "a" * 5000,
    "A",
    "a",
    "-rf",
]


@pytest.fixture
def strange(tmp_path, fake_vectors):
    """Return the folder of an index of strange texts under strange ids."""
    records = [
        {"id": name, "title": text, "text": f"{text} and words that others share"} for name, text in STRANGE.items()
    ]
    records += [
        {"id": id, "title": f"The article {n}", "text": "words that others share"} for n, id in enumerate(PATHS)
    ]
    file = lines(tmp_path / "strange.jsonl", *records)
    code, output = run("build", file, "--index", tmp_path / "index")
    assert code == 0, output
    return tmp_path / "index"


def test_strange_texts_and_ids_are_stored_queried_and_removed(strange, tmp_path):
    before = {path for path in tmp_path.rglob("*") if strange not in path.parents}
    with Recommender(strange) as rec:
        assert {article.id for article in rec} == {*STRANGE, *PATHS}
        for id in (*STRANGE, *PATHS):
            assert rec.get(id).id == id
            rec.related(id, score_threshold=False)
        assert len(dict(rec.links(3))) == len(rec)
        rec.pin("A", "a", "../../x")
        assert [link.id for link in rec.related("A")][:2] == ["a", "../../x"]
        assert list(rec.verify()) == []
        assert rec.remove(*PATHS) == PATHS
    assert {path for path in tmp_path.rglob("*") if strange not in path.parents} == before


def test_nothing_of_an_article_reaches_the_terminal_but_characters(strange, tmp_path):
    for id in (*STRANGE, "a\nb"):
        code, output = run("related", "--index", strange, "--why", "--", id)
        assert code == 0
        assert not [char for char in output if unicodedata.category(char)[0] == "C" and char != "\n"], output
        code, output = run("related", "--index", strange, "--json", "--", id)
        assert not [char for char in output if unicodedata.category(char)[0] == "C" and char != "\n"], output
        assert json.loads(output)["id"] == id
    code, output = run("links", "--index", strange)
    assert not [char for char in output if unicodedata.category(char)[0] == "C" and char != "\n"], output
    blocks = [json.loads(line) for line in output.splitlines() if line.startswith("{")]  # else it is a sentence
    assert {block["id"] for block in blocks} == {*STRANGE, *PATHS}


def test_an_article_of_a_million_words_is_one_among_others(tmp_path, fake_vectors):
    words = " ".join(f"word{n % 5000}" for n in range(1_000_000))
    file = lines(
        tmp_path / "a.jsonl", {"id": "long", "title": "Long", "text": words}, {"id": "short", "title": "word1"}
    )
    assert run("build", file, "--index", tmp_path / "index")[0] == 0
    with Recommender(tmp_path / "index") as rec:
        assert len(rec.get("long").text) == len(words)
        assert [link.id for link in rec.related("short", 1)] == ["long"]


def test_one_article_has_an_empty_block(tmp_path, fake_vectors):
    file = lines(tmp_path / "a.jsonl", {"id": "only", "title": "The only one"})
    assert run("build", file, "--index", tmp_path / "index")[0] == 0
    code, output = run("related", "only", "--index", tmp_path / "index", "--json")
    assert (code, json.loads(output)) == (0, {"id": "only", "related": []})


def test_links_in_circles_and_pipes_in_a_folder_are_passed_over(tmp_path, fake_vectors):
    folder = tmp_path / "news"
    (folder / "inner").mkdir(parents=True)
    lines(folder / "a.jsonl", {"id": "a", "title": "An article"})
    (folder / "inner" / "up").symlink_to(folder)
    (folder / "loop.jsonl").symlink_to(folder / "loop.jsonl")
    (folder / "gone.jsonl").symlink_to(folder / "nothing.jsonl")
    os.mkfifo(folder / "pipe.jsonl")
    code, output = run("build", folder, "--index", tmp_path / "index")
    assert code == 0, output
    assert "1 added" in output
    code, output = run("build", folder / "pipe.jsonl", "--index", tmp_path / "index")
    assert code == 1
    assert "neither a file nor a folder" in output


def test_a_file_that_vanishes_while_a_folder_is_read_is_reported(tmp_path):
    folder = tmp_path / "news"
    folder.mkdir()
    for name in "abc":
        lines(folder / f"{name}.jsonl", {"id": name, "title": f"Article {name}"})
    entries = iter(Source(folder))
    assert next(entries).article.id == "a"
    (folder / "b.jsonl").unlink()
    vanished, last = entries
    assert vanished.failed
    assert "cannot be read" in vanished.problems[0]
    assert last.article.id == "c"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["id", "title", "text", "url", "published", "section", "tags", "language", "related", "links", "recommend",
          "block", "metadata", "status", "draft", "deleted"]  # fmt: skip
records = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), json_values, max_size=8)
line = st.binary(max_size=60) | records.map(lambda record: json.dumps(record).encode())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(line, max_size=6))
def test_a_build_of_any_file_ends_with_counts_or_a_sentence(tmp_path_factory, fake_vectors, content):
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.jsonl").write_bytes(b"\n".join(content))
    code, output = run("build", folder / "a.jsonl", "--index", folder / "index")
    assert code in (0, 1)
    assert "Traceback" not in output
    if code == 0:
        with Recommender(folder / "index") as rec:
            for article in rec:
                rec.related(article.id)
            assert list(rec.verify()) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_any_page_is_an_article_or_reported(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("any") / "page.txt"
    file.write_bytes(content)
    (entry,) = Source(file)
    assert entry.article or entry.problems or entry.excluded


def test_a_page_of_dates_is_not_read_for_days(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr("recommender.sources.pagetext.parse_date", read.append)
    lines = [f"{number} smarch 2021" for number in range(2000)]
    (tmp_path / "page.txt").write_text("\n".join([*lines, "It was said. It was done.", *lines]))
    (entry,) = Source(tmp_path / "page.txt")
    assert entry.article
    assert len(set(read)) == len(read) <= 60


def test_pages_and_feeds_of_an_odd_shape(tmp_path):
    text = "<p>Words of an article that are many enough to be one, we think.</p>"
    for number, odd in enumerate(("\x01", "&#1;", "&#xFFFE;", "\ufffe", "&#xD800;", "&#0;")):
        (tmp_path / f"{number}.html").write_text(f"{odd}{text}{odd}<div class=related><a href=b>b</a></div>{odd}{text}")
    (tmp_path / "a.xml").write_text(
        "<rss version='2.0'><channel><item><title>A</title><links a='2.0'm></channel></rss>"
    )
    for source in (tmp_path, tmp_path / "a.xml"):
        for entry in Source(source):
            assert entry.article or entry.problems
            assert "\x01" not in str(entry)
