from dataclasses import replace

import pytest
from click.testing import CliRunner

from recommender import Article, IndexNotFoundError, Recommender, RecommenderError
from recommender.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture
def built(rec, articles):
    """An index with a near-duplicate, editorial links, a pin and a setting."""
    rec.build([*articles, Article("copy", articles[0].title, articles[0].text, related=("dam-3", "club-1"))])
    rec.pin("dam-1", "club-3")
    rec.configure(diversity=0.5)
    return rec


def have_same_links(first: Recommender, second: Recommender) -> bool:
    return list(first.links(5)) == list(second.links(5))


@pytest.mark.parametrize("name", ["copied", "copied.db"])
def test_a_copy_and_its_copy_have_the_same_links(built, tmp_path, name):
    report = built.copy_to(tmp_path / name)
    with Recommender(tmp_path / name) as target:
        again = target.copy_to(tmp_path / "back")
        assert list(target) == list(built)
        assert target.policy == built.policy
        assert list(target.verify()) == []
        assert have_same_links(target, built)
        assert target.info() | {"last_build": "", "bytes": 0, "format": 0} == built.info() | {
            "last_build": "",
            "bytes": 0,
            "format": 0,
        }
        built.remove("copy")
        assert "copy" in target
    with Recommender(tmp_path / "back") as back:
        assert have_same_links(back, target)
    assert (report.articles, report.written, again.checksum) == (7, 7, report.checksum)


def test_copying_again_transfers_the_changes(built, tmp_path):
    first = built.copy_to(tmp_path / "copy")
    assert built.copy_to(tmp_path / "copy").written == 0
    built.add([Article("new", "New treaty on the river", "The countries signed another treaty.")])
    built.remove("club-2")
    built.ban("club-1")
    second = built.copy_to(tmp_path / "copy")
    assert (second.written, second.removed, second.articles) == (1, 1, 7)
    assert second.checksum != first.checksum
    with Recommender(tmp_path / "copy") as target:
        assert have_same_links(target, built)


def test_an_interrupted_copy_continues(built, tmp_path, monkeypatch):
    monkeypatch.setattr("recommender.indexing.copy.PAGE_ARTICLES", 2)

    def stop(progress):
        if progress.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built.copy_to(tmp_path / "copy.db", on_progress=stop)
    assert built.copy_to(tmp_path / "copy.db").written == 3
    with Recommender(tmp_path / "copy.db") as target:
        assert have_same_links(target, built)


def test_a_copy_of_a_copy_can_be_updated(built, tmp_path):
    built.copy_to(tmp_path / "first.db")
    with Recommender(tmp_path / "first.db") as first:
        first.copy_to(tmp_path / "second")
        first.remove("club-2")
        report = first.copy_to(tmp_path / "second")
        assert (report.articles, report.written, report.removed) == (6, 0, 1)


@pytest.mark.parametrize("name", ["copy", "copy.db"])
def test_a_changed_copy_is_not_overwritten(built, tmp_path, name):
    built.copy_to(tmp_path / name)
    for change in (
        lambda target: target.add([Article("new", "New treaty on the river", "The countries signed another treaty.")]),
        lambda target: target.remove("new"),
        lambda target: target.ban("club-1"),
    ):
        with Recommender(tmp_path / name) as target:
            change(target)
        with pytest.raises(RecommenderError, match="was changed since it was copied"):
            built.copy_to(tmp_path / name)


def test_changed_terms_are_copied(built, tmp_path):
    """A new dominant language of the archive changes only the terms of articles with an assumed language."""
    built.copy_to(tmp_path / "copy.db")
    store = built._store
    upserts = [replace(upsert, vector=None, terms={"other": 1}) for upsert in store.upserts(["dam-1"])]
    with store.write_lock():
        store.write(upserts)
        store.finish(built=False)
    assert built.copy_to(tmp_path / "copy.db").written == 1


def test_a_copy_onto_another_index_or_itself_is_refused(built, tmp_path, articles):
    with Recommender(tmp_path / "other") as other:
        other.build(articles[:2])
    with pytest.raises(RecommenderError, match="no copy of"):
        built.copy_to(tmp_path / "other")
    for path in (built.path, built.path / ".." / built.path.name):
        with pytest.raises(RecommenderError, match="to itself"):
            built.copy_to(path)
    with pytest.raises(IndexNotFoundError, match="empty"):
        built.copy_to("")
    with pytest.raises(IndexNotFoundError), Recommender(tmp_path / "none") as none:
        none.copy_to(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_copy_that_differs_is_reported(built, tmp_path, monkeypatch):
    monkeypatch.setattr("recommender.indexing.copy._checksum", lambda store, *arguments: (7, store.name))
    with pytest.raises(RecommenderError, match="The copy is not the same"):
        built.copy_to(tmp_path / "copy")


def test_a_source_that_changes_meanwhile_is_reported(built, tmp_path):
    def change(progress):
        if progress.stage == "copying":
            built.remove("club-2")

    with pytest.raises(RecommenderError, match="was changed while it was copied"):
        built.copy_to(tmp_path / "copy", on_progress=change)
    assert built.copy_to(tmp_path / "copy").articles == 6


def test_the_copy_command_prints_count_and_checksum(built, tmp_path):
    result = CliRunner().invoke(main, ["copy", str(built.path), str(tmp_path / "copy")])
    assert result.exit_code == 0
    assert result.output.startswith("7 articles in both, checksum ")
    result = CliRunner().invoke(main, ["copy", str(tmp_path / "none"), str(tmp_path / "copy")])
    assert result.exit_code == 1
    assert "There is no index at" in result.output
