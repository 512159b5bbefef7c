import os

import pytest

from recommender import SourceError
from recommender.sources import Source

PAGE = "A headline of five words\n\nA paragraph of more than four words.\n"


def ids(source):
    return [entry.article.id for entry in source if entry.article]


def test_ids_are_paths_relative_to_the_source_from_any_directory(tmp_path, monkeypatch):
    (tmp_path / "news" / "world").mkdir(parents=True)
    (tmp_path / "news" / "world" / "b.txt").write_text(PAGE)
    (tmp_path / "news" / "a.txt").write_text(PAGE)
    expected = ["a.txt", "world/b.txt"]
    assert ids(Source(tmp_path / "news")) == expected
    monkeypatch.chdir(tmp_path)
    assert ids(Source("news")) == ids(Source("./news/")) == expected
    monkeypatch.chdir(tmp_path / "news")
    assert ids(Source(".")) == expected
    assert ids(Source("world/b.txt")) == ["b.txt"]


def test_folders_are_searched_for_known_kinds(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "x.jsonl").write_text('{"id": "1", "title": "t"}\n')
    (tmp_path / "sub" / "y.TXT").write_text(PAGE)
    for other in (".hidden.txt", ".git/c.txt", "picture.png"):
        (tmp_path / other).write_text(PAGE)
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    assert ids(Source(tmp_path)) == ["sub/y.TXT", "1"]


@pytest.mark.parametrize(
    ("name", "words"), [("missing", "does not exist"), ("empty", "holds no articles"), ("a.pdf", "not supported")]
)
def test_invalid_sources_are_reported(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(SourceError, match=words):
        Source(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("example.org/feed.xml", "https://example.org/feed.xml"),
        ("www.example.org", "https://www.example.org"),
        ("blog.example.de:8080/", "https://blog.example.de:8080/"),
        ("https:/example.org/a", "https://example.org/a"),
        ("http//example.org", "https://example.org"),
        ("localhost:8000/feed", "https://localhost:8000/feed"),
        ("missing.jsonl", ""),
        ("notes.md", ""),
        ("content/missing", ""),
        ("feed.xml", ""),
        ("../v1.2/export.csv", ""),
    ],
)
def test_a_url_without_its_scheme_is_answered_with_the_whole_one(name, address):
    with pytest.raises(SourceError) as caught:
        Source(name)
    hint = f", or for a web page {address}" if address else ""
    assert str(caught.value) == f"{name} does not exist. Name a file or a folder of articles{hint}."


def test_an_empty_name_is_not_the_working_directory():
    with pytest.raises(SourceError, match="is empty"):
        Source("")


def test_a_misspelled_file_is_answered_with_one_like_it(tmp_path):
    (tmp_path / "content").mkdir()
    with pytest.raises(SourceError, match=f"Did you mean {tmp_path / 'content'}"):
        Source(tmp_path / "contnet")
    with pytest.raises(SourceError, match=r"folder of articles\.$"):
        Source(tmp_path / "none" / "contnet")


def test_files_of_kinds_that_cannot_be_read_are_counted_with_the_way_to_convert_them(tmp_path):
    for name in (
        "a.md",
        "b.docx",
        "c.docx",
        "d.pdf",
        "e.njk",
        "f.Rmd",
        "g.png",
        "Makefile",
        ".hidden.docx",
        "sub/h.adoc",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("# Text")
    source = Source(tmp_path)
    assert source.unsupported_files == {".docx": 2, ".pdf": 1, ".njk": 1, ".rmd": 1, ".adoc": 1}
    notes = "\n".join(source.notes())
    assert "1 .adoc, 2 .docx, which cannot be read. Convert them to Markdown, such as with `pandoc" in notes
    assert "1 .pdf, which cannot be read." in notes
    assert "1 .njk, which cannot be read. They are templates: read the built site." in notes
    assert Source(tmp_path, exclude=["*.docx"]).unsupported_files[".docx"] == 0


def test_a_folder_of_kinds_that_cannot_be_read_is_refused_with_advice(tmp_path):
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(SourceError, match=r"It holds 1 \.docx, which cannot be read\. Convert them"):
        Source(tmp_path)
    with pytest.raises(SourceError, match=r"a\.docx is not supported\. Convert them to Markdown"):
        Source(tmp_path / "a.docx")
