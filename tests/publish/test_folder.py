import json
import os
import re
import shutil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sample_blocks import a_link, blocks, card, contents

from recommender import RecommenderError
from recommender.publish.folder import MANIFEST, file_name
from recommender.publish.site import output_format, publish

IDS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1),
    st.text("aAbB-_./ é", min_size=1, max_size=6),
    st.sampled_from(
        ["a", "A", "con", "CON", "nul", "com1", "aux", "..", "../../x", "/etc/passwd", "https://e.org/a?b"]
    ),
    st.sampled_from(["é", "e\u0301", "straße", "strasse", "İ", "i̇", "x" * 10_000, "x" * 10_001, "a--b", "index"]),
)
RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))}


@given(st.sets(IDS, min_size=1, max_size=8))
def test_names_of_files_are_safe_and_no_two_are_the_same(ids):
    names = {id: file_name(id) for id in ids}
    for id, name in names.items():
        assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,120}\.html", name)
        assert name.removesuffix(".html") not in RESERVED
        assert file_name(id) == name
    assert len({name.casefold() for name in names.values()}) == len(ids)


@given(IDS)
@example("a")
def test_a_name_with_a_hash_is_no_id_that_keeps_its_own(id):
    name = file_name(id).removesuffix(".html")
    assert file_name(name) == f"{name}.html" if name == id else file_name(name) != f"{name}.html"


def test_file_names_are_readable():
    assert file_name("dam-1") == "dam-1.html"
    assert file_name("2026_dam") == "2026_dam.html"
    assert file_name("posts/Über den Damm.md").startswith("posts-uber-den-damm-md--")
    assert file_name("https://example.org/a/b").startswith("example-org-a-b--")
    assert file_name("中文").startswith("article--")


def write(folder, blocks_to_write, **options):
    problems = []
    return publish(blocks_to_write, output_format(folder, "html", **options), problems.append), problems


def test_one_file_an_article_and_a_manifest(tmp_path):
    report, problems = write(tmp_path / "out", blocks("a", "B", "../../x"))
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["files"]["a"] == "a.html"
    assert sorted(contents(tmp_path / "out")) == sorted([MANIFEST, *manifest["files"].values()])
    assert 'href="/B/"' in (tmp_path / "out" / "a.html").read_text()
    assert (report.blocks, report.written, report.unchanged, report.removed, problems) == (3, 3, 0, 0, [])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_block_is_an_empty_file(tmp_path):
    write(tmp_path, [(card("a"), [])])
    assert (tmp_path / "a.html").read_bytes() == b""


def test_only_changed_files_are_written_and_files_of_removed_articles_are_deleted(tmp_path):
    write(tmp_path, blocks("a", "b", "c", "d"))
    stood = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    report, _ = write(tmp_path, blocks("a", "b", "c", "d"))
    assert (report.written, report.unchanged, report.removed) == (0, 4, 0)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stood
    changed = blocks("a", "b", "c")
    report, _ = write(tmp_path, changed)
    assert (report.written, report.unchanged, report.removed) == (2, 1, 1)  # the first has the same links as before
    assert (tmp_path / "a.html").stat().st_mtime_ns == stood["a.html"]
    assert sorted(contents(tmp_path)) == ["a.html", "b.html", "c.html", MANIFEST]
    assert report.sentence() == f"3 blocks in {tmp_path}: 2 files written, 1 unchanged, 1 removed."


def test_files_of_other_programs_are_neither_replaced_nor_removed(tmp_path):
    (tmp_path / "a.html").write_text("mine")
    (tmp_path / "other.html").write_text("mine")
    (tmp_path / "c.html").mkdir()
    (tmp_path / "d.html").symlink_to("other.html")
    report, problems = write(tmp_path, blocks("a", "b", "c", "d"))
    assert (report.blocks, report.written, report.blocked) == (1, 1, 3)
    assert [problem[:30] for problem in problems] == [f"The block of '{id}' is not written"[:30] for id in "acd"]
    assert "3 articles whose file is someone else's" in report.sentence()
    assert list(json.loads((tmp_path / MANIFEST).read_text())["files"]) == ["b"]
    write(tmp_path, blocks("z"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.html",
        "c.html",
        "d.html",
        "other.html",
        MANIFEST,
        "z.html",
    ]
    assert (tmp_path / "a.html").read_text() == (tmp_path / "other.html").read_text() == "mine"
    assert (tmp_path / "d.html").is_symlink()


def test_a_written_file_that_became_a_link_is_not_replaced(tmp_path):
    write(tmp_path, blocks("a", "b"))
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "a.html").unlink()
    (tmp_path / "a.html").symlink_to("precious")
    write(tmp_path, blocks("a", "b", word="New"))
    write(tmp_path, blocks("b"))
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "a.html").is_symlink()


@pytest.mark.parametrize("name", ["../outside.html", "/etc/hosts", "sub/x.html", "..", "x.txt", 3, None, "a.html\n"])
def test_a_manifest_from_elsewhere_removes_nothing_outside(tmp_path, name):
    folder = tmp_path / "out"
    write(folder, blocks("a"))
    for precious in (tmp_path / "outside.html", folder / "x.txt"):
        precious.write_text("mine")
    (folder / "sub").mkdir()
    (folder / "sub" / "x.html").write_text("mine")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["gone"] = name
    (folder / MANIFEST).write_text(json.dumps(manifest))
    try:
        write(folder, blocks("a"))
    except RecommenderError as error:
        assert "is not a manifest" in str(error)
    assert (tmp_path / "outside.html").read_text() == (folder / "x.txt").read_text() == "mine"
    assert (folder / "sub" / "x.html").read_text() == "mine"


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"made by": "x", "files": {}, "leaving": []}', "\ud800", '{"name": "My Site", "icons": []}'],
)
def test_another_file_with_the_name_of_the_manifest_is_an_error(tmp_path, text):
    (tmp_path / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RecommenderError, match="is not a manifest"):
        write(tmp_path, blocks("a"))
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_without_a_manifest_files_with_the_same_content_count_as_written(tmp_path):
    write(tmp_path, blocks("a", "b"))
    (tmp_path / MANIFEST).unlink()
    report, problems = write(tmp_path, blocks("a", "b"))
    assert (report.unchanged, report.blocked, problems) == (2, 0, [])
    assert json.loads((tmp_path / MANIFEST).read_text())["files"] == {"a": "a.html", "b": "b.html"}


def test_two_runs_at_a_time(tmp_path):
    def blocks_during_a_run():
        yield from blocks("a", "b")
        with pytest.raises(RecommenderError, match="Another run is writing to"):
            write(tmp_path, blocks("z"))

    report, _ = write(tmp_path, blocks_during_a_run())
    assert report.written == 2
    assert sorted(contents(tmp_path)) == ["a.html", "b.html", MANIFEST]


def test_an_error_while_blocks_are_computed_changes_no_file(tmp_path):
    write(tmp_path, blocks("a", "b"))
    before = contents(tmp_path)

    def failing_blocks():
        yield from blocks("a", "c", word="New")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(tmp_path, failing_blocks())
    assert contents(tmp_path) == before


def test_a_killed_run_leaves_old_or_new_files_and_the_next_run_recognises_them(tmp_path, killed):
    old, new = blocks("a", "b", "c", "gone"), blocks("a", "b", "c", "new", word="New")
    write(tmp_path / "old", old)
    write(tmp_path / "new", old)
    write(tmp_path / "new", new)
    states = [contents(tmp_path / name) for name in ("old", "new")]
    n, whole = 0, False
    while not whole:
        n += 1
        folder = tmp_path / f"cut-{n}"
        shutil.copytree(tmp_path / "old", folder)
        (folder / "mine.html").write_text("mine")
        whole = killed(lambda folder=folder: write(folder, new), folder, n)
        manifest = json.loads((folder / MANIFEST).read_text())
        listed_names = {*manifest["files"].values(), *manifest["leaving"]}
        for path in folder.glob("*.html"):
            if path.name != "mine.html":
                assert path.read_bytes() in [state.get(path.name) for state in states]
                assert path.name in listed_names
        write(folder, new)
        assert contents(folder) == states[1] | {"mine.html": b"mine"}
    assert n > 15  # of so many deeds it is made


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecommenderError, match="file is not a folder"):
        write(tmp_path / "file" / "out", blocks("a"))
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("root may write everywhere")
    with pytest.raises(RecommenderError, match="cannot be written"):
        write(folder, blocks("a"))


def test_the_key_of_the_manifest_can_be_the_url(tmp_path):
    ring = [
        (card("a", url="/same/"), [a_link("x")]),
        (card("b", url="/same/"), [a_link("y")]),
        (card("c"), [a_link("z")]),
    ]
    report, problems = write(tmp_path, ring, key="url")
    assert json.loads((tmp_path / MANIFEST).read_text())["files"] == {"/same/": "a.html"}
    assert problems == ["The block of 'b' is left out: 'a' has the same url, '/same/'."]
    assert report.sentence().endswith("Left out: 1 article without a url, 1 article with the url of another.")
