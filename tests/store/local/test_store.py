"""Writing, reading and updating a local store."""

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from synthetic import (
    DIMENSIONS,
    SETTINGS,
    candidate_ids,
    fill,
    ids_with_term,
    nearest_ids,
    terms,
    upsert,
    vector,
    vector_query,
    write_batches,
)

from recommender import Article, IndexDamagedError, IndexNotFoundError
from recommender.filters import Condition
from recommender.store import CandidateQuery, LocalStore, Upsert
from recommender.store.local.forward_index import ForwardIndex

pytestmark = pytest.mark.usefixtures("small_exact_limit")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(write_batches(8))
def test_candidates_are_the_stored_articles_after_any_writes(tmp_path_factory, batches):
    path = tmp_path_factory.mktemp("any") / "index"
    store, reader, truth = LocalStore(path), LocalStore(path), {}
    for adds, removals, finished in batches:
        removed = [id for id in removals if id not in adds]
        with store.write_lock():
            if not store.exists():
                store.create(SETTINGS)
            store.write([upsert(id, number) for id, number in adds.items()], removed)
            if finished:
                store.finish(built=True)
        truth = {id: number for id, number in (truth | adds).items() if id not in removed}
        for current in (reader, LocalStore(path)):  # one that read every state, one that opens now
            for number in set(truth.values()):
                signals, _ = current.retrieve_candidates([vector_query(vector(number))], 100)
                assert sorted(signals.ids) == sorted(truth)
                for id, stored in zip(signals.ids, signals.vectors, strict=True):
                    np.testing.assert_array_equal(stored, vector(truth[id]))
                for term in terms(number):
                    ids = {id for id, other in truth.items() if term in terms(other)}
                    assert ids_with_term(current, term, 100) == ids
                    assert current.lookup_terms("en", [term])[term][1] == len(ids)
            assert current.count() == len(truth) == sum(count for count, _ in current.languages().values())
            current.close()


def test_only_large_changes_rebuild_the_forward_index(store):
    fill(store, [upsert(f"{i:03}", i) for i in range(100)])
    (first,) = store.path.glob("forward_index-*")
    fill(store, [upsert("new", 500)])
    assert [first] == list(store.path.glob("forward_index-*"))
    assert nearest_ids(store, vector(500), 1) == ["new"]
    fill(store, [upsert(f"n{i}", 600 + i) for i in range(20)])
    (second,) = store.path.glob("forward_index-*")
    assert second != first


def test_removed_articles_do_not_reduce_the_number_of_candidates(store, monkeypatch):
    monkeypatch.setattr("recommender.store.local.writer.STALE_SHARE", 0.9)
    fill(store, [upsert(f"{i:02}", i) for i in range(40)])
    fill(store, removals=[f"{i:02}" for i in range(20)])
    term_id = np.array([store.lookup_terms("en", ["all"])["all"][0]])
    nearest, by_term = vector_query(vector(1)), CandidateQuery(vector(1), term_id, np.ones(1), Condition())
    assert len(candidate_ids(store, nearest, n=5)[0]) == 5
    assert len(candidate_ids(store, by_term, n=5)[0] - candidate_ids(store, nearest, n=5)[0]) > 0
    with store._session() as session:
        assert len(session.revision.candidates(session.connection)._terms.search(term_id, np.ones(1), 5)) == 5


def test_a_first_write_that_fails_leaves_no_index(store):
    with pytest.raises(ValueError, match="new"), store.write_lock():
        store.create(SETTINGS)
        store.write([Upsert(Article(id="new", title="t"), "s", None, {}, "en", False)])
    assert not store.exists()
    assert not store.path.exists()


def test_reading_creates_and_changes_no_file(store):
    fill(store, [upsert("a", 1), upsert("b", 2)])

    def state():
        return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in store.path.rglob("*")}

    before = state()
    with store.snapshot():
        assert ids_with_term(store, "all") == {"a", "b"}
        during = set(store.path.rglob("*"))
    store.close()
    assert during == set(before)
    assert state() == before


@pytest.mark.parametrize("kind", ["missing", "folder", "file"])
def test_a_missing_index_is_reported_with_an_index_nearby(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    index_path = tmp_path / "index" / "mine"
    index_path.parent.mkdir()
    if kind == "folder":
        index_path.mkdir()
    if kind == "file":
        index_path.write_text("x")
    with pytest.raises(IndexNotFoundError, match=r"mine") as error:
        LocalStore(index_path).count()
    assert "examples" not in str(error.value)
    fill(LocalStore(index_path.parent / "examples"), [upsert("a", 1)])
    with pytest.raises(IndexNotFoundError) as error:
        LocalStore(index_path).count()
    assert ("--index index/examples" in str(error.value)) == (kind != "file")


def test_writing_keeps_foreign_files(store):
    store.path.mkdir()
    (store.path / ".precious.tmp").write_text("x")
    fill(store, [upsert("a", 1)])
    assert (store.path / ".precious.tmp").exists()


def test_term_counts_are_frozen_at_the_forward_index(store):
    def count(id: str, term: str, language: str = "en") -> tuple[int, int]:
        signals = store.signals([id])
        term_id = store.lookup_terms(language, [term])[term][0]
        return int(signals.document_frequencies[signals.term_ids == term_id][0]), int(signals.collection_sizes[0])

    alone = replace(upsert("alone", 60), terms={"all": 1, "rare": 1})
    fill(store, [*(upsert(f"{i:02}", i) for i in range(100)), alone])
    assert (count("00", "all"), count("alone", "rare")) == ((101, 101), (1, 101))
    fill(store, [upsert("new", 50)], removals=["01"], built=False)
    assert (count("00", "all"), count("new", "all")) == ((101, 101), (101, 101))
    for number in range(3):  # a term shared only later counts as in two articles
        fill(store, [replace(upsert(f"more{number}", 70), terms={"rare": 1, "fresh": 1})], built=False)
        assert count("alone", "rare") == (2, 101)
        assert count("more0", "fresh") == (min(number + 1, 2), 101)
    fill(store, removals=["more0", "more1", "more2"], built=False)
    assert count("alone", "rare") == (1, 101)
    german = [replace(upsert(f"de{i}", 80 + i), language="de", terms={"alle": 1}) for i in range(3)]
    fill(store, german[:1], built=False)
    fill(store, german[1:], built=False)
    assert count("de0", "alle", "de") == (3, 3)  # a new language
    fill(store, removals=["de0", "de1", "de2"], built=False)
    fill(store, [replace(upsert("other", 70), terms={"rare": 1})], removals=[f"{i:02}" for i in range(10, 40)])
    assert (count("00", "all"), count("alone", "rare")) == ((71, 72), (2, 72))


def test_term_weights_from_the_forward_index_and_the_database_are_equal(store):
    fill(store, [replace(upsert(f"{i:02}", i), language="de" if i % 3 else "en") for i in range(40)])
    (folder,) = store.path.glob("forward_index-*")
    with store._session() as session:
        from_database = list(session.revision.signals(session.connection).weighted_terms_after(session.connection, 0))
    from_index = list(ForwardIndex(folder, DIMENSIONS).weighted_terms())
    for name in ("keys", "lengths", "term_ids", "weights"):
        arrays = [np.concatenate([getattr(part, name) for part in parts]) for parts in (from_database, from_index)]
        assert np.array_equal(*arrays), name
    assert len(set(from_index[0].weights.tolist())) > 2


def test_a_search_starts_over_after_a_failure(store, monkeypatch):
    monkeypatch.setattr("recommender.store.local.signal_reader.PAGE_ROWS", 3)
    fill(store, [upsert(f"{i:03}", i) for i in range(100)])
    fill(store, [upsert(f"n{i}", 200 + i) for i in range(5)])
    connection = sqlite3.connect(store.path / "articles.sqlite")
    (good,) = connection.execute("SELECT vector FROM vectors WHERE key = 105").fetchone()
    for blob in (b"bad", good):
        connection.execute("UPDATE vectors SET vector = ? WHERE key = 105", (blob,))
        connection.commit()
        if blob == b"bad":
            for _ in range(3):
                with pytest.raises(IndexDamagedError):
                    nearest_ids(store, vector(200), 9)
    connection.close()
    assert len(set(nearest_ids(store, vector(200), 9))) == 9


def test_cached_summaries_are_updated_after_a_write(store):
    fill(store, [upsert("a", 1), upsert("b", 2)])
    reader = LocalStore(store.path)
    for current in (store, reader):
        assert (current.summaries(["a", "b"])["a"].title, list(current.summaries(["b", "zz", "a"]))) == (
            "title 1",
            ["b", "a"],
        )
    fill(store, [upsert("a", 1, title="other")], removals=["b"])
    for current in (store, reader):
        assert {id: summary.title for id, summary in current.summaries(["a", "b"]).items()} == {"a": "other"}
    reader.close()


def test_the_cache_of_summaries_is_limited(store, monkeypatch):
    monkeypatch.setattr("recommender.store.local.articles.MAX_CACHED_SUMMARIES", 3)
    monkeypatch.setattr("recommender.store.local.articles.MAX_CACHED_METADATA_CHARS", 20)
    ids = [f"{n}" for n in range(8)]
    fill(store, [upsert(id, n, metadata={"x": "y" * 5 * n}) for n, id in enumerate(ids)])
    for part in (ids, ids[:2], ids[1:3], ids[::-1], ids[5:]):
        summaries = store.summaries(part)
        assert {id: len(summary.metadata["x"]) for id, summary in summaries.items()} == {id: 5 * int(id) for id in part}
        with store._session() as session:
            cache = session.revision.articles._summaries
        assert len(cache) <= 3
        assert all(len(summary.metadata["x"]) < 20 for summary in cache.values())


def test_an_index_replaced_in_the_same_folder_is_read(store):
    fill(store, [upsert("a", 1)])
    assert nearest_ids(store, vector(1), 1) == ["a"]
    shutil.rmtree(store.path)
    fill(LocalStore(store.path), [upsert("b", 2)])
    assert nearest_ids(store, vector(1), 5) == ["b"]


def test_a_source_label_does_not_depend_on_the_working_directory(store, tmp_path, monkeypatch):
    (tmp_path / "news").mkdir()
    monkeypatch.chdir(tmp_path)
    assert store.source_label(Path("news")) == store.source_label(tmp_path / "news") == "../news"
    monkeypatch.chdir(tmp_path / "news")
    assert store.source_label(Path()) == "../news"


def test_a_condition_does_not_reduce_the_number_of_candidates(store, monkeypatch):
    """The searches widen until they have enough; if few articles are admitted, all are candidates."""
    fields = [
        {"metadata": {"half": number % 2, "tenth": number % 10}, "recommend": number != 4} for number in range(60)
    ]
    fill(store, [upsert(f"{number:02}", number, **values) for number, values in enumerate(fields)])
    for limit in (0, 1000):
        monkeypatch.setattr("recommender.store.local.filter_sql.MAX_EXHAUSTIVE_ARTICLES", limit)
        store.close()
        for where, expected in (
            ((("half", ("0",)),), {f"{n:02}" for n in range(0, 60, 2)}),
            ((("tenth", ("3", "4")),), {f"{n:02}" for n in range(60) if n % 10 in (3, 4)}),
            ((("half", ("0",)), ("tenth", ("3",))), set()),
        ):
            condition = Condition(where=where, recommendable=True, exclude=frozenset({"10", "14"}))
            expected -= {"04", "10", "14"}
            (candidates,) = candidate_ids(store, replace(vector_query(vector(7)), condition=condition), n=8)
            assert candidates <= expected
            assert len(candidates) >= min(8, len(expected))
            assert store.count_matching(condition) == len(expected)
            assert store.filter_ids(sorted(expected | {"04", "10", "01"}), condition) == expected
