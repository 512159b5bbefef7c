"""Blocks of a whole archive: made by several processes, near articles together, and given in the order of the ids."""

import tempfile

import pytest

from recommender import Article, Recommender, RecommenderError

COUNT = 600


@pytest.fixture(scope="module")
def rec(tmp_path_factory, with_given_vectors):
    """Return an index whose articles came in another order than that of their ids."""
    numbers = [number * 7 % COUNT for number in range(COUNT)]
    articles = [
        Article(
            id=f"{number:03}",
            title=f"topic{number % 20} story {number}",
            text=f"topic{number % 20} " + " ".join(f"word{(number * 7 + m * m) % 90}" for m in range(9)),
            language="en",
        )
        for number in numbers
    ]
    with with_given_vectors(), Recommender(tmp_path_factory.mktemp("index") / "index") as rec:
        rec.build(articles)
        yield rec


@pytest.fixture(autouse=True)
def many(monkeypatch):
    monkeypatch.setattr("recommender.sweep.MANY", COUNT)


@pytest.mark.parametrize("in_memory", [2**25, 1])
def test_links_of_many_come_by_id_as_related_gives_each(rec, monkeypatch, in_memory):
    monkeypatch.setattr("recommender.sweep.IN_MEMORY", in_memory)
    assert rec._store.near_together() != list(rec._store.ids())
    found = list(rec.links(3))
    assert [id for id, _ in found] == [f"{number:03}" for number in range(COUNT)]
    assert found == [(id, rec.related(id, 3)) for id, _ in found]


def test_progress_comes_while_blocks_are_made(rec, tmp_path, monkeypatch):
    monkeypatch.setattr("recommender.matching.CHUNK", 100)
    seen = []
    with rec.changed_links(tmp_path / "state", 3, on_progress=lambda *done: seen.append(done)) as changes:
        next(changes.blocks)
        assert seen == [(done, COUNT) for done in range(100, COUNT + 1, 100)]


def test_no_room_for_what_waits_is_told(rec, tmp_path, monkeypatch):
    monkeypatch.setattr("recommender.sweep.IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(RecommenderError, match=r"cannot wait in the temporary folder .* name another one in \$TMPDIR"):
        next(rec.links(3))
