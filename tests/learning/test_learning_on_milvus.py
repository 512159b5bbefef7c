"""A learned ranking of an index on Milvus."""

from dataclasses import replace

import pytest
from handbook import DAY, handbook, rows_of

from recommender import Recommender
from recommender.learning import learn

pytestmark = pytest.mark.slow
QUERY = "/harbour/page-030"


@pytest.fixture
def copied(milvus_index, learned_index):
    """Return a Recommender of a copy on Milvus of the index with a learned ranking."""
    with Recommender(learned_index) as rec:
        rec.copy_to(milvus_index)
    with Recommender(milvus_index) as rec:
        yield rec


@pytest.fixture
def catalog_reads(monkeypatch):
    """Return a list of whether each catalog that is read from now on is read from an earlier one."""
    reads = []

    def read_catalog(store, kinds, previous=None):
        reads.append(previous is not None)
        return read(store, kinds, previous)

    read = learn.read_catalog
    monkeypatch.setattr(learn, "read_catalog", read_catalog)
    return reads


def test_blocks_of_a_copy_are_those_of_the_original(copied, learned_index):
    with Recommender(learned_index) as rec:
        blocks = [rec.related(id, 5, editorial="ignore", now=DAY) for id in (QUERY, "/market/page-101")]
    for id, block in zip((QUERY, "/market/page-101"), blocks, strict=True):
        others = copied.related(id, 5, editorial="ignore", now=DAY)
        assert [link.id for link in others] == [link.id for link in block]
        assert [link.score for link in others] == pytest.approx([link.score for link in block], abs=0.02)
    assert dict(copied.links(5, editorial="ignore", now=DAY))[QUERY] == copied.related(
        QUERY, 5, editorial="ignore", now=DAY
    )


def test_the_catalog_is_read_once_until_another_process_writes(copied, milvus_index, catalog_reads):
    copied.related(QUERY)
    copied.related(QUERY)
    dict(copied.links(3))
    assert catalog_reads == [False]
    if milvus_index.endswith(".db"):  # one process at a time, so the same one writes
        copied.add([replace(copied.get(QUERY), id="/harbour/new", url=None)])
    else:
        with Recommender(milvus_index) as other:
            other.add([replace(copied.get(QUERY), id="/harbour/new", url=None)])
    catalog_reads.clear()
    expected = rows_of(copied.links(3))
    assert expected["/harbour/new"]
    assert len(catalog_reads) <= 1
    copied._store.put_arrays(learn.CATALOG, None)
    learn._catalogs.clear()
    assert rows_of(copied.links(3)) == expected


def test_a_ranking_is_learned_on_milvus(milvus_index):
    with Recommender(milvus_index) as rec:
        rec.build(handbook())
        assert rec.learn().adopted
        assert rec.learned["changed"] == 0.0
        assert rec.related(QUERY, editorial="ignore", now=DAY)[0].id == "/harbour/overview"
        assert not list(rec.verify())
        assert rec.forget_learned()
        assert rec.related(QUERY, editorial="ignore", now=DAY)[0].id != "/harbour/overview"
