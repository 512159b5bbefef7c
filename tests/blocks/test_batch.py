"""Batches: all blocks of an archive, computed by several processes cluster by cluster, in the order of the ids."""

import re
import subprocess
import sys
import tempfile

import pytest

from recommender import Article, Recommender, RecommenderError
from recommender.blocks.batch import map_articles

NO_ROOM = r"cannot be written to the temporary folder .* name another one in \$TMPDIR"

COUNT = 600


@pytest.fixture(scope="module")
def rec(tmp_path_factory, fake_vectors_context):
    """Return an index with an approximate vector index, which has clusters."""
    articles = [
        Article(
            id=f"{number:03}",
            title=f"topic{number % 20} story {number}",
            text=f"topic{number % 20} " + " ".join(f"word{(number * 7 + m * m) % 90}" for m in range(9)),
            language="en",
        )
        for number in range(COUNT)
    ]
    with fake_vectors_context(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("recommender.store.local.vector_index.MAX_EXHAUSTIVE_ARTICLES", 100)
        with Recommender(tmp_path_factory.mktemp("index") / "index") as rec:
            rec.build(articles)
            yield rec


@pytest.fixture(autouse=True)
def many(monkeypatch):
    monkeypatch.setattr("recommender.blocks.batch.MIN_ARTICLES_FOR_PROCESSES", COUNT)


@pytest.mark.slow
@pytest.mark.parametrize("in_memory", [2**25, 1])
def test_links_of_a_large_archive_are_in_id_order_and_equal_related(rec, monkeypatch, in_memory):
    monkeypatch.setattr("recommender.blocks.batch.MAX_MEMORY_BYTES", in_memory)
    clustered_ids = rec._store.ids_in_cluster_order()
    assert sorted(clustered_ids) == list(rec._store.ids()) != clustered_ids
    links = list(rec.links(3))
    assert [id for id, _ in links] == [f"{number:03}" for number in range(COUNT)]
    assert links == [(id, rec.related(id, 3)) for id, _ in links]


def test_a_removed_article_has_no_block(rec, monkeypatch):
    """The article is removed after the pass has begun."""
    clustered_ids = rec._store.ids_in_cluster_order()
    monkeypatch.setattr(type(rec._store), "ids_in_cluster_order", lambda self: [*clustered_ids, "gone"])
    assert [id for id, _ in rec.links(3)] == sorted(clustered_ids)


def test_progress_counts_all_blocks_before_the_first_is_yielded(rec, tmp_path, monkeypatch):
    monkeypatch.setattr("recommender.ranking.query.MAX_CHUNK_QUERIES", 100)
    reports = []
    with rec.changed_links(tmp_path / "state", 3, on_progress=lambda *done: reports.append(done)) as changes:
        next(changes.blocks)
        assert reports == [(done, COUNT) for done in range(100, COUNT + 1, 100)]


def test_map_articles_keeps_the_order_of_given_ids(rec):
    ids = ["030", "020", "010"]
    assert list(map_articles(rec._store, lambda chunk: [(id, id * 2) for id in chunk], ids)) == [
        (id, id * 2) for id in ids
    ]
    assert list(map_articles(rec._store, lambda chunk: [(id, id * 2) for id in chunk], [])) == []


def test_a_missing_temporary_folder_raises_an_error(rec, tmp_path, monkeypatch):
    monkeypatch.setattr("recommender.blocks.batch.MAX_MEMORY_BYTES", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(RecommenderError, match=NO_ROOM):
        next(rec.links(3))


@pytest.mark.parametrize("limit", [30_000, 3_000])
def test_a_full_temporary_folder_raises_an_error(limit):
    """The first limit is reached when the memory buffer is written, the second before."""
    program = (
        "import resource; from recommender import RecommenderError\n"
        "from recommender.blocks import batch; batch.MAX_MEMORY_BYTES = 1\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try: list(batch._sort_by_id((str(n), bytes(1000)) for n in range(31)))\n"
        "except RecommenderError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.search(NO_ROOM, done.stdout)
