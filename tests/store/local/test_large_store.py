"""A local store with approximate lists of vectors."""

import os
import sqlite3
from dataclasses import replace
from itertools import pairwise

import faiss
import numpy as np
import pytest
from synthetic import DIMENSIONS, candidate_ids, fill, nearest_ids, upsert, vector, vector_query

from recommender import IndexDamagedError
from recommender.filters import Condition
from recommender.store import LocalStore
from recommender.store.local.derived_file import VECTOR_INDEX, derived_file
from recommender.store.local.rows import read_settings
from recommender.store.local.vector_index import open_vector_index

pytestmark = pytest.mark.usefixtures("small_exact_limit")


@pytest.fixture(params=["large", "very large"])
def large_store(request, store, monkeypatch):
    """A store of 2,000 articles with the approximate lists of large archives, or of very large ones."""
    monkeypatch.setattr("recommender.store.local.vector_index.MAX_EXHAUSTIVE_ARTICLES", 1000)
    monkeypatch.setattr(
        "recommender.store.local.vector_index.MIN_ROTATED_ARTICLES", 1000 if request.param == "very large" else 10**6
    )
    fill(store, [upsert(f"{number:04}", number) for number in range(2000)])
    (folder,) = store.path.glob("vector_index-*")
    assert ((folder / "rotation").stat().st_size > 0) == (request.param == "very large")
    return store


def ten_nearest(numbers: range, query: np.ndarray) -> set[str]:
    """Return the ids of the ten nearest articles by exact comparison."""
    scores = np.stack([vector(number) for number in numbers]) @ query
    return {f"{numbers[position]:04}" for position in np.argsort(-scores)[:10].tolist()}


@pytest.mark.parametrize(("numbers", "recall"), [(range(3, 2000, 10), 0.98), (range(5000, 5200), 0.95)])
def test_approximate_search_finds_the_nearest(large_store, numbers, recall):
    """Recall is tuned on vectors of the archive; it is a little lower for others."""
    queries = [vector(number) for number in numbers]
    expected = [ten_nearest(range(2000), query) for query in queries]
    at_once = candidate_ids(large_store, *(vector_query(query) for query in queries), n=50)
    one_by_one = [candidate_ids(large_store, vector_query(query), n=50)[0] for query in queries]
    for candidates in (at_once, one_by_one):
        assert np.mean([len(ten & ids) / 10 for ten, ids in zip(expected, candidates, strict=True)]) >= recall


def test_a_search_of_few_lists_returns_as_many_as_asked_for(store, monkeypatch):
    """Fewer would end the search too early for a filter."""
    monkeypatch.setattr("recommender.store.local.vector_index.MAX_EXHAUSTIVE_ARTICLES", 1000)
    monkeypatch.setattr(
        "recommender.store.local.vector_index.TARGET_RECALL", 0.0
    )  # the fewest lists that are ever looked into
    fill(store, [upsert(f"{number:04}", number) for number in range(2000)])
    assert len(candidate_ids(store, vector_query(vector(7)), n=100)[0]) == 100


def test_added_and_removed_articles_are_searched_without_new_lists(large_store):
    (folder,) = large_store.path.glob("vector_index-*")
    fill(large_store, [upsert("new", 9000)], ["0007"], built=False)
    assert list(large_store.path.glob("vector_index-*")) == [folder]
    assert nearest_ids(large_store, vector(9000), 1) == ["new"]
    assert "0007" not in candidate_ids(large_store, vector_query(vector(7)), n=50)[0]
    assert len(candidate_ids(large_store, vector_query(vector(7)), n=50)[0]) == 50


def test_a_full_hubness_pass_is_in_list_order(large_store):
    """Neighbours share candidates, which are then read once for many queries."""
    with sqlite3.connect(large_store.path / "articles.sqlite") as connection:
        file = derived_file(read_settings(connection, large_store.path), VECTOR_INDEX)
    connection.close()
    index, _ = open_vector_index(large_store.path, file, DIMENSIONS)
    order = large_store.stale_hubness_ids()
    vectors = np.stack([vector(int(id)) for id in order])
    if isinstance(index, faiss.IndexPreTransform):
        vectors = faiss.downcast_VectorTransform(index.chain.at(0)).apply(vectors)
    ivf = faiss.extract_index_ivf(index)
    lists = ivf.quantizer.search(vectors, 1)[1][:, 0].tolist()
    assert sorted(order) == [f"{number:04}" for number in range(2000)]
    assert sum(number != following for number, following in pairwise(lists)) < 2 * ivf.nlist


def test_list_order_reports_an_id_that_is_not_text(large_store):
    with sqlite3.connect(large_store.path / "articles.sqlite") as connection:
        connection.execute("UPDATE articles SET id = x'00' WHERE id = '1999'")
    connection.close()
    with pytest.raises(IndexDamagedError, match="the id b'"):
        large_store.ids_in_cluster_order()


def test_approximate_search_widens_for_a_condition(large_store, monkeypatch):
    monkeypatch.setattr(
        "recommender.store.local.filter_sql.MAX_EXHAUSTIVE_ARTICLES", 0
    )  # so that the searches have to widen
    fields = {f"{number:04}": {"section": "rare"} for number in range(0, 2000, 100)}
    fill(large_store, [upsert(id, int(id), **values) for id, values in fields.items()], built=False)
    condition = Condition(where=(("section", ("rare",)),))
    assert candidate_ids(large_store, replace(vector_query(vector(3)), condition=condition), n=30) == [set(fields)]


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage", "empty"])
def test_damaged_lists_are_skipped_and_rebuilt(large_store, caplog, damage):
    (file,) = large_store.path.glob("vector_index-*/codes")
    content = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes({"truncated": content[:-100], "garbage": os.urandom(len(content)), "empty": b""}[damage])
    reader = LocalStore(large_store.path)
    assert "0007" in candidate_ids(reader, vector_query(vector(7)), n=50)[0]
    assert "is missing" in caplog.text or "is damaged" in caplog.text
    reader.close()
    fill(large_store)
    caplog.clear()
    assert "0007" in candidate_ids(reader, vector_query(vector(7)), n=50)[0]
    assert caplog.text == ""
    reader.close()
