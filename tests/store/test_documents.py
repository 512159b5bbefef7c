"""Documents and arrays of callers in every store."""

import numpy as np
import pytest
from synthetic import fill, upsert

from recommender import IndexDamagedError
from recommender.indexing.copy import copy
from recommender.store import open_store

LONG_TEXT = "tree\n" * 30_000 + "Bäume 😀"  # several parts on Milvus


@pytest.fixture
def store(index_path):
    """A store of two articles."""
    store = open_store(index_path)
    fill(store, [upsert("a", 1, related=("b",)), upsert("b", 2)])
    yield store
    store.close()


def put(store, document=None, arrays=None) -> None:
    with store.write_lock():
        if document:
            store.put_document(*document)
        if arrays:
            store.put_arrays(*arrays)


def edges() -> dict[str, np.ndarray]:
    return {
        "revision": np.array([3], dtype=np.int64),
        "targets": np.arange(7, dtype=np.uint32),
        "weights": np.array([0.5, np.nan], dtype=np.float32),
        "none": np.empty(0, dtype=np.float64),
    }


def assert_equal_arrays(arrays, expected) -> None:
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_a_document_is_stored_replaced_and_removed(store, index_path):
    assert (store.document("learned"), store.document_names()) == (None, [])
    put(store, document=("learned", LONG_TEXT))
    put(store, document=("other_1", ""))
    assert (store.document("learned"), store.document("other_1")) == (LONG_TEXT, "")
    assert store.document_names() == ["learned", "other_1"]
    store.close()
    reader = open_store(index_path)
    assert reader.document("learned") == LONG_TEXT
    reader.close()
    put(store, document=("learned", "shorter"))
    assert store.document("learned") == "shorter"
    put(store, document=("learned", None))
    assert (store.document("learned"), store.document_names()) == (None, ["other_1"])
    put(store, document=("learned", None))
    assert list(store.verify(lambda done, total: None)) == []


def test_documents_are_apart_from_settings_and_model_files(store):
    settings, files = store.settings(), store.model_files()
    put(store, ("learned", "text"), ("graph", edges()))
    assert (store.settings(), store.model_files()) == (settings, files)


def test_a_document_and_arrays_are_the_same_objects_until_they_change(store):
    put(store, ("learned", LONG_TEXT), ("graph", edges()))
    text, arrays = store.document("learned"), store.arrays("graph")
    store.edit_policy(lambda policy: {"bans": ["a"]})
    fill(store, [upsert("c", 3)])
    assert store.document("learned") is text
    assert store.arrays("graph") is arrays
    put(store, ("learned", "other"), ("graph", edges()))
    assert store.document("learned") == "other"
    assert store.arrays("graph") is not arrays


def test_arrays_are_stored_replaced_and_removed(store):
    assert store.arrays("graph") is None
    put(store, arrays=("graph", edges()))
    put(store, arrays=("places", {"positions": np.arange(3)}))
    assert_equal_arrays(store.arrays("graph"), edges())
    with pytest.raises(ValueError, match="read-only"):
        store.arrays("graph")["targets"][0] = 1
    first = store.arrays("graph")
    put(store, arrays=("graph", {"targets": np.arange(5, dtype=np.uint8)}))
    assert_equal_arrays(store.arrays("graph"), {"targets": np.arange(5, dtype=np.uint8)})
    assert_equal_arrays(first, edges())
    put(store, arrays=("graph", None))
    assert store.arrays("graph") is None
    assert_equal_arrays(store.arrays("places"), {"positions": np.arange(3)})


@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("../up", edges()),
        ("graph", {}),
        ("graph", {"../up": np.arange(3)}),
        ("graph", {"matrix": np.zeros((2, 2))}),
        ("graph", {"objects": np.array([{}])}),
        ("graph", {"flags": np.zeros(3, dtype=bool)}),
    ],
)
def test_arrays_of_other_names_shapes_and_types_are_refused(store, name, arrays):
    put(store, arrays=("graph", edges()))
    with pytest.raises(ValueError, match=r"name|no array"):
        put(store, arrays=(name, arrays))
    assert_equal_arrays(store.arrays("graph"), edges())


@pytest.mark.parametrize("name", ["", "a/b", "A", "a\n", "ü"])
def test_a_document_of_another_name_is_refused(store, name):
    with pytest.raises(ValueError, match="name of a document"):
        put(store, document=(name, "text"))


def test_documents_and_arrays_survive_builds_and_repairs(store):
    put(store, ("learned", LONG_TEXT), ("graph", edges()))
    fill(store, [upsert(f"{n}", n) for n in range(30)], ["a"])
    with store.write_lock():
        store.repair()
        store.finish(built=True)
    assert list(store.verify(lambda done, total: None)) == []
    assert store.document("learned") == LONG_TEXT
    assert_equal_arrays(store.arrays("graph"), edges())


def test_a_copy_contains_the_documents(store, tmp_path):
    target = open_store(tmp_path / "copy")
    put(store, ("learned", LONG_TEXT), ("graph", edges()))
    copy(store, target, lambda *progress: None)
    assert target.document("learned") == LONG_TEXT
    assert target.arrays("graph") is None
    put(store, document=("learned", None))
    put(store, document=("other", "text"))
    copy(store, target, lambda *progress: None)
    assert target.document_names() == ["other"]
    put(target, document=("other", "changed"))
    with pytest.raises(Exception, match="was changed since it was copied"):
        copy(store, target, lambda *progress: None)
    target.close()


def test_a_damaged_document_is_detected_and_can_be_replaced(store):
    put(store, document=("learned", LONG_TEXT))
    store.close()
    damage_document(store)
    for _ in range(2):
        with pytest.raises(IndexDamagedError, match=r"'learned'.*recommender learn"):
            store.document("learned")
    assert ["'learned'" in problem for problem in store.verify(lambda done, total: None)] == [True]
    put(store, document=("learned", LONG_TEXT))
    assert store.document("learned") == LONG_TEXT
    assert list(store.verify(lambda done, total: None)) == []


def damage_document(store) -> None:
    """Replace a letter of the stored document."""
    if store.guarantees.atomic == "article":  # Milvus
        store._state._documents.clear()
        connection = store._connection
        pages = connection.pages("documents", 'pk like "document/%"', ["data", "part_count", "unused"])
        row = next(row for page in pages for row in page)
        connection.upsert("documents", [{**row, "data": row["data"].replace("e", "o", 1)}])
    else:
        import contextlib
        import sqlite3

        with contextlib.closing(sqlite3.connect(store.path / "articles.sqlite", isolation_level=None)) as connection:
            connection.execute("UPDATE model_files SET content = CAST(replace(content, 'e', 'o') AS BLOB)")
