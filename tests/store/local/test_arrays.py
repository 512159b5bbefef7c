"""Named arrays of the local store: damage, hostile files, snapshots, and folders that are no longer used."""

import contextlib
import json
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import fill, upsert

from recommender.store import LocalStore
from recommender.store.base import ARRAY_TYPES
from recommender.store.local.derived_file import DerivedFile
from recommender.store.local.rows import row_checksum

TIMEOUT_SECONDS = 120


@pytest.fixture
def store(store):
    """A store of two articles with arrays."""
    fill(store, [upsert("a", 1), upsert("b", 2)])
    put(store, 1000)
    return store


def put(store: LocalStore, length: int) -> None:
    with store.write_lock():
        store.put_arrays("graph", {"targets": np.arange(length, dtype=np.uint32), "weights": np.ones(length)})


def folder(store: LocalStore):
    (path,) = store.path.glob("arrays_graph-*")
    return path


def put_settings(store: LocalStore, name: str, value: object) -> None:
    row = (name, json.dumps(value))
    with contextlib.closing(sqlite3.connect(store.path / "articles.sqlite", isolation_level=None)) as connection:
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (*row, row_checksum(row)))


@pytest.mark.parametrize("damage", ["missing", "no folder", "truncated", "a bit", "one more", "other type"])
def test_damaged_arrays_are_reported_once_and_can_be_replaced(store, caplog, damage):
    file = folder(store) / "targets.u4"
    content = bytearray(file.read_bytes())
    content[100] ^= 4
    if damage == "missing":
        file.unlink()
    elif damage == "no folder":
        shutil.rmtree(file.parent)
    elif damage == "one more":
        (file.parent / "more.u4").write_bytes(b"")
    elif damage == "other type":
        file.rename(file.with_name("targets.f4"))
    else:
        file.write_bytes(content if damage == "a bit" else content[:-100])
    reader = LocalStore(store.path)
    assert reader.arrays("graph") is None
    store.edit_policy(lambda policy: {"bans": ["a"]})
    assert reader.arrays("graph") is None
    assert len(caplog.records) == 1
    assert "arrays_graph-1 is " in caplog.text
    assert ["arrays_graph-1" in problem for problem in reader.verify(lambda done, total: None)] == [True]
    put(store, 10)
    assert len(reader.arrays("graph")["targets"]) == 10
    assert list(reader.verify(lambda done, total: None)) == []
    reader.close()


def test_a_repair_removes_damaged_arrays_only(store):
    with store.write_lock():
        store.put_arrays("places", {"positions": np.arange(3)})
    (folder(store) / "targets.u4").write_bytes(b"")
    with store.write_lock():
        store.repair()
    assert list(store.verify(lambda done, total: None)) == []
    assert store.arrays("graph") is None
    assert store.arrays("places")["positions"].tolist() == [0, 1, 2]


def test_a_snapshot_keeps_its_document_and_arrays_while_they_are_replaced(store):
    with store.write_lock():
        store.put_document("learned", "old")
    began = threading.Event()

    def replace() -> None:
        with writer.write_lock():
            began.set()
            writer.put_arrays("graph", {"targets": np.arange(3)})
            writer.put_document("learned", "new")

    with contextlib.closing(LocalStore(store.path)) as writer, ThreadPoolExecutor(1) as threads:
        with store.snapshot():
            replaced = threads.submit(replace)
            assert began.wait(TIMEOUT_SECONDS)
            assert store.document("learned") == "old"
            assert len(store.arrays("graph")["targets"]) == 1000
        replaced.result(TIMEOUT_SECONDS)
        assert store.document("learned") == "new"
        assert len(store.arrays("graph")["targets"]) == 3


def test_arrays_remain_readable_after_they_were_replaced(store, monkeypatch):
    monkeypatch.setattr("recommender.store.local.derived_file.MAX_LOADED_BYTES", 0)
    arrays = store.arrays("graph")
    put(store, 10)
    np.testing.assert_array_equal(arrays["targets"], np.arange(1000))


def test_mapped_arrays_that_are_cut_short_are_given_up(store, monkeypatch, caplog):
    monkeypatch.setattr("recommender.store.local.derived_file.MAX_LOADED_BYTES", 0)
    assert len(store.arrays("graph")["targets"]) == 1000
    with (folder(store) / "targets.u4").open("r+b") as file:
        file.truncate(0)
    assert store.arrays("graph") is None
    assert "is damaged" in caplog.text


def test_replaced_and_left_over_folders_are_removed(store):
    put(store, 10)
    put(store, 20)
    (store.path / "arrays_graph-99").mkdir()
    (store.path / ".arrays_graph-99.7.tmp").mkdir()
    fill(store, [upsert("c", 3)])
    assert len(list(store.path.glob("*arrays_graph*"))) == 1
    assert len(store.arrays("graph")["targets"]) == 20
    assert store.statistics()["bytes"] > sum(file.stat().st_size for file in folder(store).iterdir()) > 0
    with store.write_lock():
        store.put_arrays("graph", None)
    assert list(store.path.glob("*arrays_graph*")) == []


@pytest.mark.parametrize(
    "value",
    [
        "x",
        [],
        {"graph": 7},
        {"graph": {"name": "../../etc", "revision": 1, "count": 1, "size": 1, "digest": ""}},
        {"graph": {"name": "forward_index-1", "revision": 1, "count": 1, "size": 1, "digest": ""}},
        {"graph": {"name": "arrays_graph-1", "revision": 1, "count": 1, "size": "x", "digest": ""}},
        {"graph": {"name": "arrays_graph-1", "revision": 1, "count": 1, "size": 1, "digest": []}},
    ],
)
def test_a_description_of_any_type_gives_no_arrays(store, value):
    put_settings(store, "arrays", value)
    assert store.arrays("graph") is None
    put(store, 10)
    assert len(store.arrays("graph")["targets"]) == 10


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([*(f"targets.{kind}" for kind in ARRAY_TYPES), "targets", "x.O", ".u4", "a.b.u4"]),
    content=st.binary(max_size=40),
)
def test_files_of_any_name_and_content_give_arrays_of_the_known_types_or_none(tmp_path_factory, name, content):
    """Digests can be forged."""
    with contextlib.closing(LocalStore(tmp_path_factory.mktemp("hostile") / "index")) as store:
        fill(store, [upsert("a", 1)])
        put(store, 3)
        path = folder(store)
        (path / "targets.u4").unlink()
        (path / name).write_bytes(content)
        put_settings(store, "arrays", {"graph": asdict(DerivedFile.of(path, 1, 3))})
        arrays = store.arrays("graph")
        if arrays is not None:
            assert arrays.keys() == {"targets", "weights"}
            assert all(array.ndim == 1 and array.dtype.str[1:] in ARRAY_TYPES for array in arrays.values())
            assert arrays["targets"].tobytes() == content


@pytest.mark.parametrize("value", ["NULL", "7", "'text'", "x'ff'"])
def test_a_document_of_any_type_is_damaged(store, value):
    with store.write_lock():
        store.put_document("learned", "text")
    with contextlib.closing(sqlite3.connect(store.path / "articles.sqlite", isolation_level=None)) as connection:
        with contextlib.suppress(sqlite3.IntegrityError):  # the schema rejects NULL
            connection.execute(f"UPDATE model_files SET content = {value}")
        connection.execute("UPDATE model_files SET checksum = 7")
    with pytest.raises(Exception, match="'learned' in the index"):
        store.document("learned")
    assert len(list(store.verify(lambda done, total: None))) == 1
    with store.write_lock():
        store.put_document("learned", None)
    assert list(store.verify(lambda done, total: None)) == []
