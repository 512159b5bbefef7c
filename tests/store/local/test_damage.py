"""Damaged rows and files of a local store are detected."""

import os
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from synthetic import fill, ids_with_term, nearest_ids, upsert, vector

from recommender import IndexDamagedError, IndexFormatError
from recommender.store import LocalStore

pytestmark = pytest.mark.usefixtures("small_exact_limit")


def execute(store: LocalStore, statement: str) -> None:
    connection = sqlite3.connect(store.path / "articles.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("pattern", ["inverted_index-*/positions", "forward_index-*/term_offsets"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage", "empty"])
def test_a_damaged_derived_file_is_skipped_and_rebuilt(store, caplog, pattern, damage):
    fill(store, [upsert(f"{i:02}", i) for i in range(40)])
    (file,) = store.path.glob(pattern)
    content = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes({"truncated": content[:-100], "garbage": os.urandom(len(content)), "empty": b""}[damage])
    reader = LocalStore(store.path)
    assert nearest_ids(reader, vector(7), 1) == ["07"]
    assert ids_with_term(reader, "tenth 7") == {"07", "17", "27", "37"}
    assert "is missing" in caplog.text or "is damaged" in caplog.text
    reader.close()
    fill(store)
    caplog.clear()
    reader = LocalStore(store.path)
    assert nearest_ids(reader, vector(7), 1) == ["07"]
    assert ids_with_term(reader, "tenth 7") == {"07", "17", "27", "37"}
    assert caplog.text == ""
    reader.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE articles SET title = 'other' WHERE id = 'a'",
        "UPDATE articles SET url = 'https://evil.example' WHERE id = 'a'",
        "UPDATE texts SET text = 'other' WHERE key = 1",
        "UPDATE links SET target = 'other' WHERE key = 1",
    ],
)
def test_a_damaged_article_is_detected_and_can_be_removed(store, statement):
    fill(store, [upsert("a", 1, related=("b",)), upsert("b", 2)])
    execute(store, statement)
    with pytest.raises(IndexDamagedError, match="'a'"):
        store.articles(["a"]), store.summaries(["a"])
    if "articles SET title" in statement or "texts" in statement:
        with pytest.raises(IndexDamagedError, match="'a'"):
            store.texts(["a"])
    fill(store, removals=["a"])
    assert list(store.ids()) == ["b"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vectors SET vector = (SELECT vector FROM vectors WHERE key = 2) WHERE key = 1",
        "UPDATE lexical SET terms = (SELECT terms FROM lexical WHERE key = 2) WHERE key = 1",
        "UPDATE lexical SET language = 'de' WHERE key = 1",
    ],
)
def test_a_damaged_signal_is_detected_when_it_is_read(store, statement):
    fill(store, [upsert("a", 1, related=("b",)), upsert("b", 2)])
    before = store.signals(["a"])
    execute(store, statement)
    after = store.signals(["a"])  # from the derived files, which are intact
    np.testing.assert_array_equal(after.vectors, before.vectors)
    assert (after.languages, after.term_ids.tolist()) == (before.languages, before.term_ids.tolist())
    with pytest.raises(IndexDamagedError, match="'a'"):  # derived files are built from intact rows only
        fill(store, [upsert("c", 3)])
    (folder,) = store.path.glob("forward_index-*")
    shutil.rmtree(folder)
    with pytest.raises(IndexDamagedError, match="'a'"):
        LocalStore(store.path).signals(["a"])
    fill(store, removals=["a"])
    assert list(store.ids()) == ["b", "c"]
    np.testing.assert_array_equal(store.signals(["b"]).vectors, vector(2)[None])


def test_a_damaged_vector_is_not_copied_into_a_new_version(store):
    fill(store, [upsert("a", 1), upsert("b", 2)])
    execute(store, "UPDATE vectors SET vector = (SELECT vector FROM vectors WHERE key = 2) WHERE key = 1")
    newer = upsert("a", 1, related=("b",))
    with pytest.raises(IndexDamagedError, match="'a'"):
        fill(store, [replace(newer, vector=None, terms={"other": 1})])


@pytest.mark.parametrize(
    "part",
    [
        "vectors",
        "term_ids",
        "term_offsets",
        "frequencies",
        "ids",
        "id_offsets",
        "keys",
        "checksums",
        "document_frequencies",
    ],
)
def test_a_flipped_bit_in_the_forward_index_changes_no_signal(store, caplog, part):
    fill(store, [upsert(f"{i:02}", i) for i in range(40)])
    before = store.signals([f"{i:02}" for i in range(40)])
    expected = dict(zip(before.ids, before.vectors.tolist(), strict=True))
    (file,) = store.path.glob(f"forward_index-*/{part}")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x04
    file.write_bytes(content)
    after = LocalStore(store.path).signals(list(expected))
    assert dict(zip(after.ids, after.vectors.tolist(), strict=True)) == expected
    assert sorted(after.document_frequencies.tolist()) == sorted(before.document_frequencies.tolist())
    assert "damaged" in caplog.text or part == "keys"  # an article missing there is read from the database
    terms_before = dict(
        zip(before.ids, np.split(before.term_ids, np.flatnonzero(np.diff(before.rows)) + 1), strict=True)
    )
    terms_after = dict(zip(after.ids, np.split(after.term_ids, np.flatnonzero(np.diff(after.rows)) + 1), strict=True))
    assert terms_after.keys() == terms_before.keys()
    assert all(np.array_equal(terms_after[id], terms_before[id]) for id in terms_before)


def test_a_file_that_is_not_a_database_is_reported(store):
    fill(store, [upsert("a", 1)])
    (store.path / "articles.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(IndexDamagedError, match="Build it anew"):
        LocalStore(store.path).count()


def test_other_databases_and_newer_formats_are_refused(store):
    fill(store, [upsert("a", 1)])
    connection = sqlite3.connect(store.path / "articles.sqlite")
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(IndexFormatError, match="format 99"):
        store.count()
    connection.execute("PRAGMA application_id = 7")
    with pytest.raises(IndexFormatError, match="not an index"):
        store.count()
    connection.close()
