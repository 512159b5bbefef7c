"""Indexes of earlier formats, each as the version that wrote it left it: `tests/formats/N`."""

import shutil
import sqlite3

import pytest

from recommender import IndexFormatError, Recommender
from recommender.store import database

PINNED = ["club-3", "dam-3", "dam-2"]  # the block of dam-1: a pin, an own link, and the best of the others


@pytest.fixture(params=range(database.OLDEST, database.FORMAT))
def old(request, root, tmp_path):
    shutil.copytree(root / "tests" / "formats" / str(request.param), tmp_path / "index")
    return tmp_path / "index"


def test_there_is_one_of_each_earlier_format(root):
    formats = {int(path.name) for path in (root / "tests" / "formats").iterdir()}
    assert formats == set(range(database.OLDEST, database.FORMAT))


def test_a_reader_says_how_to_go_on(old):
    before = (old / "articles.sqlite").read_bytes()
    with Recommender(old) as rec, pytest.raises(IndexFormatError, match="verify --repair"):
        rec.related("dam-1")
    assert (old / "articles.sqlite").read_bytes() == before


def test_repair_brings_it_up_to_date_with_all_that_is_in_it(old):
    with Recommender(old) as rec:
        assert list(rec.verify(repair=True)) == []
        assert rec.info()["format"] == database.FORMAT
        assert len(rec) == 6
        assert [link.id for link in rec.related("dam-1", 3, max_age=None)] == PINNED
        assert rec.get("dam-1").related == ("dam-3", "no such article")
        assert rec.get("club-1").metadata == {"author": "A. Writer"}
        assert rec.policy.to_record()["settings"] == {"max_age": "10y"}
        assert rec.search("a treaty on water", 1)[0].id == "dam-3"


def test_the_next_add_brings_it_up_to_date_and_embeds_nothing_again(old):
    with Recommender(old) as rec:
        articles = [{"id": "new", "title": "Dam gates opened", "text": "The gates of the river dam were opened again."}]
        report = rec.add(articles)
        assert (report.added, report.embedded, len(rec)) == (1, 1, 7)
        assert list(rec.verify()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE articles SET title = 'other' WHERE id = 'dam-2'",
        "UPDATE vectors SET vector = zeroblob(768) WHERE key = (SELECT key FROM articles WHERE id = 'dam-2')",
        "UPDATE lexical SET terms = zeroblob(6) WHERE key = (SELECT key FROM articles WHERE id = 'dam-2')",
    ],
)
def test_what_was_damaged_before_does_not_pass_for_whole_afterwards(old, statement):
    with sqlite3.connect(old / "articles.sqlite") as connection:
        connection.execute(statement)
    connection.close()
    with Recommender(old) as rec:
        assert any("'dam-2'" in problem for problem in rec.verify(repair=True))
