from dataclasses import replace

import pytest
from click.testing import CliRunner

from recommender import Article, IndexNotFoundError, Recommender, RecommenderError
from recommender.cli.main import main


@pytest.fixture
def built(rec, articles):
    """An index with all that is kept beside the articles."""
    rec.build([*articles, Article("copy", articles[0].title, articles[0].text, related=("dam-3", "club-1"))])
    rec.pin("dam-1", "club-3")
    rec.configure(diversity=0.5)
    return rec


def same(first: Recommender, second: Recommender) -> bool:
    return list(first.links(5)) == list(second.links(5))


@pytest.mark.parametrize("name", ["copied", "copied.db"])
def test_a_copy_answers_the_same_and_so_does_its_copy(built, tmp_path, name):
    report = built.copy_to(tmp_path / name)
    with Recommender(tmp_path / name) as there:
        again = there.copy_to(tmp_path / "back")
        assert list(there) == list(built)
        assert there.policy == built.policy
        assert list(there.verify()) == []
        assert same(there, built)
        assert there.info() | {"last_build": "", "bytes": 0, "format": 0} == built.info() | {
            "last_build": "",
            "bytes": 0,
            "format": 0,
        }
        built.remove("copy")  # it is an index of its own
        assert "copy" in there
    with Recommender(tmp_path / "back") as back:
        assert same(back, there)
    assert (report.articles, report.written, again.checksum) == (7, 7, report.checksum)


def test_copying_again_brings_just_what_has_changed(built, tmp_path):
    first = built.copy_to(tmp_path / "there")
    assert built.copy_to(tmp_path / "there").written == 0
    built.add([Article("new", "New treaty on the river", "The countries signed another treaty.")])
    built.remove("club-2")
    built.ban("club-1")
    second = built.copy_to(tmp_path / "there")
    assert (second.written, second.removed, second.articles) == (1, 1, 7)
    assert second.checksum != first.checksum
    with Recommender(tmp_path / "there") as there:
        assert same(there, built)


def test_a_copy_that_was_cut_off_goes_on(built, tmp_path, monkeypatch):
    monkeypatch.setattr("recommender.indexing.copy.PAGE", 2)

    def stop(progress):
        if progress.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built.copy_to(tmp_path / "there.db", on_progress=stop)
    assert built.copy_to(tmp_path / "there.db").written == 3
    with Recommender(tmp_path / "there.db") as there:
        assert same(there, built)


def test_a_copy_of_a_copy_can_be_brought_up_to_date(built, tmp_path):
    built.copy_to(tmp_path / "first.db")
    with Recommender(tmp_path / "first.db") as first:
        first.copy_to(tmp_path / "second")
        first.remove("club-2")
        report = first.copy_to(tmp_path / "second")
        assert (report.articles, report.written, report.removed) == (6, 0, 1)


@pytest.mark.parametrize("name", ["there", "there.db"])
def test_a_copy_that_lives_on_its_own_is_not_undone(built, tmp_path, name):
    built.copy_to(tmp_path / name)
    for change in (
        lambda there: there.add([Article("new", "New treaty on the river", "The countries signed another treaty.")]),
        lambda there: there.remove("new"),
        lambda there: there.ban("club-1"),
    ):
        with Recommender(tmp_path / name) as there:
            change(there)
        with pytest.raises(RecommenderError, match="was changed since it was copied"):
            built.copy_to(tmp_path / name)


def test_terms_that_were_read_anew_are_copied_too(built, tmp_path):
    """Those of articles whose language is assumed change with the archive's dominant one, and nothing else does."""
    built.copy_to(tmp_path / "there.db")
    store = built._store
    changes = [replace(change, vector=None, terms={"other": 1}) for change in store.upserts(["dam-1"])]
    with store.write_lock():
        store.write(changes)
        store.finish(built=False)
    assert built.copy_to(tmp_path / "there.db").written == 1


def test_a_copy_is_refused_where_it_would_mix_or_lose(built, tmp_path, articles):
    with Recommender(tmp_path / "other") as other:
        other.build(articles[:2])
    with pytest.raises(RecommenderError, match="no copy of"):
        built.copy_to(tmp_path / "other")
    for target in (built.path, built.path / ".." / built.path.name):
        with pytest.raises(RecommenderError, match="to itself"):
            built.copy_to(target)
    with pytest.raises(IndexNotFoundError, match="empty"):
        built.copy_to("")
    with pytest.raises(IndexNotFoundError), Recommender(tmp_path / "none") as none:
        none.copy_to(tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_copy_that_differs_is_told(built, tmp_path, monkeypatch):
    monkeypatch.setattr("recommender.indexing.copy._sums", lambda store, *arguments: (7, store.name))
    with pytest.raises(RecommenderError, match="The copy is not the same"):
        built.copy_to(tmp_path / "there")


def test_a_source_that_changes_meanwhile_is_told(built, tmp_path):
    def change(progress):
        if progress.stage == "copying":
            built.remove("club-2")

    with pytest.raises(RecommenderError, match="was changed while it was copied"):
        built.copy_to(tmp_path / "there", on_progress=change)
    assert built.copy_to(tmp_path / "there").articles == 6


def test_the_command_copies(built, tmp_path):
    result = CliRunner().invoke(main, ["copy", str(built.path), str(tmp_path / "there")])
    assert result.exit_code == 0
    assert result.output.startswith("7 articles in both, checksum ")
    result = CliRunner().invoke(main, ["copy", str(tmp_path / "none"), str(tmp_path / "there")])
    assert result.exit_code == 1
    assert "There is no index at" in result.output
