"""Snapshots in threads and forked processes, and an index that is replaced during reads."""

import multiprocessing
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recommender import ArticleNotFoundError, IndexNotFoundError, Recommender, RecommenderError
from recommender.store.local import snapshots
from recommender.store.local.turns import Turns

TIMEOUT_SECONDS = 120  # after which a hanging thread or process fails the test


@pytest.fixture
def rec(tmp_path, fake_vectors):
    """A Recommender over an index of 60 articles."""
    with Recommender(tmp_path / "index") as rec:
        rec.build(articles())
        yield rec


def articles(version: str = "first") -> list[dict[str, str]]:
    return [
        {"id": f"{n:02}", "title": f"{version} title {n}", "text": f"subject{n % 6} of {n % 5}", "language": "en"}
        for n in range(60)
    ]


def related_ids(rec: Recommender, id: str = "07") -> list[str]:
    return [link.id for link in rec.related(id, 5)]


def overwrite(source: Path, target: Path) -> None:
    """Copy a folder over another one, file by file, as `cp -r source/. target/` does: files keep their inodes."""
    for path in sorted(source.rglob("*")):
        copied = target / path.relative_to(source)
        copied.mkdir(exist_ok=True) if path.is_dir() else shutil.copyfile(path, copied)


def test_a_thread_with_a_snapshot_does_not_block_others(rec):
    expected, is_held, is_done = related_ids(rec), threading.Event(), threading.Event()

    def hold() -> None:
        with rec._store.snapshot():
            related_ids(rec)
            is_held.set()
            assert is_done.wait(TIMEOUT_SECONDS)

    with ThreadPoolExecutor(9) as threads:
        holding = threads.submit(hold)
        assert is_held.wait(TIMEOUT_SECONDS)
        try:
            answers = [threads.submit(related_ids, rec).result(TIMEOUT_SECONDS) for _ in range(8)]
        finally:
            is_done.set()
        holding.result(TIMEOUT_SECONDS)
    assert answers == [expected] * 8


def test_each_block_is_of_one_state_while_another_store_writes(rec):
    stop, blocks = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            blocks.append(
                {
                    link.title.split()[0]
                    for link in rec.related("07", 8, drop_near_duplicates=False, score_threshold=False)
                }
            )

    with Recommender(rec.path) as writer, ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(4)]
        try:
            for version in ("second", "third", "fourth"):
                writer.build(articles(version))
        finally:
            stop.set()
        for reader in readers:
            reader.result(TIMEOUT_SECONDS)
    assert blocks
    assert all(len(versions) == 1 for versions in blocks), "a block of two states"
    assert {link.title.split()[0] for link in rec.related("07", 8)} == {"fourth"}


def test_a_snapshot_outlives_the_closing_of_its_store(rec):
    expected = related_ids(rec)
    with rec._store.snapshot(), ThreadPoolExecutor(1) as threads:
        threads.submit(rec.close).result(TIMEOUT_SECONDS)
        assert related_ids(rec) == expected
    assert related_ids(rec) == expected


def test_a_restored_backup_of_the_same_revision_is_read(rec, tmp_path):
    rec.close()
    backup = tmp_path / "backup"
    shutil.copytree(rec.path, backup)
    with Recommender(backup) as other:
        other.pin("07", "20")
        other.remove("30")
    rec.pin("07", "10")
    rec.remove("31")
    assert related_ids(rec)[0] == "10"
    assert "30" in rec
    overwrite(backup, rec.path)
    assert related_ids(rec)[0] == "20"
    assert "30" not in rec
    assert "31" in rec
    assert rec.get("31").title == "first title 31"
    assert "30" not in [
        link.id for id, block in rec.links(50, score_threshold=False, drop_near_duplicates=False) for link in block
    ]


@pytest.mark.parametrize("stem", ["forward_index", "inverted_index"])
def test_a_mapped_file_that_is_cut_short_changes_no_answer(rec, monkeypatch, stem, caplog):
    monkeypatch.setattr("recommender.store.local.derived_file.MAX_LOADED_BYTES", 0)
    rec.close()
    expected = related_ids(rec)
    (folder,) = rec.path.glob(f"{stem}-*")
    for file in folder.iterdir():
        with file.open("r+b") as opened:
            opened.truncate(0)
    assert related_ids(rec) == expected
    assert "damaged" in caplog.text


def test_a_reader_waits_for_an_index_that_is_being_replaced(rec, monkeypatch):
    monkeypatch.setattr(snapshots, "WAIT_SECONDS", TIMEOUT_SECONDS)
    expected, away = related_ids(rec), rec.path.with_name("away")
    rec.path.rename(away)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(related_ids, rec)
        away.rename(rec.path)
        assert waiting.result(TIMEOUT_SECONDS) == expected


def test_an_index_that_stays_missing_is_reported(rec, monkeypatch):
    monkeypatch.setattr(snapshots, "WAIT_SECONDS", 0.01)
    related_ids(rec)
    shutil.rmtree(rec.path)
    for _ in range(2):
        with pytest.raises(IndexNotFoundError, match="There is no index"):
            related_ids(rec)


def test_a_database_overwritten_with_noise_is_reported(rec):
    related_ids(rec)
    (rec.path / "articles.sqlite").write_bytes(b"noise" * 1000)
    with pytest.raises(RecommenderError):
        related_ids(rec)


def _related_ids_in_fork(id):
    return related_ids(_shared, id)


_shared: Recommender


def test_a_forked_process_gives_the_answers_of_its_parent(rec):
    global _shared  # noqa: PLW0603 - a forked process inherits it
    _shared = rec
    query_ids = [f"{n:02}" for n in range(20)]
    expected = [related_ids(rec, id) for id in query_ids]
    dict(rec.links(3))  # a batch starts FAISS's threads, which a forked process does not have
    with rec._store.snapshot(), multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_related_ids_in_fork, query_ids).get(TIMEOUT_SECONDS) == expected
    assert related_ids(rec) == expected[7]


def test_turns_are_taken_one_at_a_time_in_the_order_of_arrival():
    turns, order, ready = Turns(), [], threading.Semaphore(0)

    def compute(number: int) -> None:
        ready.release()
        with turns.take():
            order.append(number)
            assert turns._is_taken

    with ThreadPoolExecutor(8) as threads, turns.take():
        for number in range(8):
            waiting = len(turns._waiting)
            threads.submit(compute, number)
            assert ready.acquire(timeout=TIMEOUT_SECONDS)
            while len(turns._waiting) == waiting:  # until the thread waits
                pass
    assert order == list(range(8))
    assert not turns._is_taken


def test_a_failed_query_releases_its_turn(rec):
    with pytest.raises(ArticleNotFoundError):
        rec.related("no such id")
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(related_ids, rec).result(TIMEOUT_SECONDS) == related_ids(rec)


def test_an_idle_connection_holds_no_lock(rec):
    related_ids(rec)
    with sqlite3.connect(rec.path / "articles.sqlite", timeout=0) as connection:
        connection.execute("BEGIN EXCLUSIVE")
    connection.close()
