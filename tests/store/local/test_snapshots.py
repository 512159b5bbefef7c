"""Snapshots that threads and forked processes hold, and an index that is replaced under a reader."""

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

PATIENCE_SECONDS = 120  # after which a thread or process that hangs fails the test


@pytest.fixture
def rec(tmp_path, given_vectors):
    """A Recommender over an index of 60 articles."""
    with Recommender(tmp_path / "index") as rec:
        rec.build(articles())
        yield rec


def articles(version: str = "first") -> list[dict[str, str]]:
    return [
        {"id": f"{n:02}", "title": f"{version} title {n}", "text": f"subject{n % 6} of {n % 5}", "language": "en"}
        for n in range(60)
    ]


def ids(rec: Recommender, id: str = "07") -> list[str]:
    return [link.id for link in rec.related(id, 5)]


def overwrite(source: Path, target: Path) -> None:
    """Copy a folder over another one, file by file, as `cp -r source/. target/` does: files keep their inodes."""
    for path in sorted(source.rglob("*")):
        copied = target / path.relative_to(source)
        copied.mkdir(exist_ok=True) if path.is_dir() else shutil.copyfile(path, copied)


def test_a_thread_that_holds_a_snapshot_keeps_no_other_from_reading(rec):
    expected, held, done = ids(rec), threading.Event(), threading.Event()

    def hold() -> None:
        with rec._store.snapshot():
            ids(rec)
            held.set()
            assert done.wait(PATIENCE_SECONDS)

    with ThreadPoolExecutor(9) as threads:
        holding = threads.submit(hold)
        assert held.wait(PATIENCE_SECONDS)
        try:
            answers = [threads.submit(ids, rec).result(PATIENCE_SECONDS) for _ in range(8)]
        finally:
            done.set()
        holding.result(PATIENCE_SECONDS)
    assert answers == [expected] * 8


def test_threads_see_one_state_each_while_another_store_writes(rec):
    stop, blocks = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            blocks.append({link.title.split()[0] for link in rec.related("07", 8, copies=False, floor=False)})

    with Recommender(rec.path) as writer, ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(4)]
        try:
            for version in ("second", "third", "fourth"):
                writer.build(articles(version))
        finally:
            stop.set()
        for reader in readers:
            reader.result(PATIENCE_SECONDS)
    assert blocks
    assert all(len(versions) == 1 for versions in blocks), "a block of two states"
    assert {link.title.split()[0] for link in rec.related("07", 8)} == {"fourth"}


def test_a_snapshot_outlives_the_closing_of_its_store_by_another_thread(rec):
    expected = ids(rec)
    with rec._store.snapshot(), ThreadPoolExecutor(1) as threads:
        threads.submit(rec.close).result(PATIENCE_SECONDS)
        assert ids(rec) == expected
    assert ids(rec) == expected


def test_a_backup_with_the_same_number_of_changes_is_seen_when_it_is_restored_in_place(rec, tmp_path):
    rec.close()
    backup = tmp_path / "backup"
    shutil.copytree(rec.path, backup)
    with Recommender(backup) as other:
        other.pin("07", "20")
        other.remove("30")
    rec.pin("07", "10")
    rec.remove("31")
    assert ids(rec)[0] == "10"
    assert "30" in rec
    overwrite(backup, rec.path)
    assert ids(rec)[0] == "20"
    assert "30" not in rec
    assert "31" in rec
    assert rec.get("31").title == "first title 31"
    assert "30" not in [link.id for id, block in rec.links(50, floor=False, copies=False) for link in block]


@pytest.mark.parametrize("stem", ["signals", "lexical"])
def test_a_mapped_file_that_is_cut_short_ends_in_the_same_answer(rec, monkeypatch, stem, caplog):
    monkeypatch.setattr("recommender.store.local.derived_file.MAX_LOADED_BYTES", 0)
    rec.close()
    expected = ids(rec)
    (folder,) = rec.path.glob(f"{stem}-*")
    for file in folder.iterdir():
        with file.open("r+b") as opened:
            opened.truncate(0)
    assert ids(rec) == expected
    assert "damaged" in caplog.text


def test_a_reader_waits_for_an_index_that_is_being_replaced(rec, monkeypatch):
    monkeypatch.setattr(snapshots, "WAIT_SECONDS", PATIENCE_SECONDS)
    expected, away = ids(rec), rec.path.with_name("away")
    rec.path.rename(away)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(ids, rec)
        away.rename(rec.path)
        assert waiting.result(PATIENCE_SECONDS) == expected


def test_an_index_that_stays_away_ends_in_a_sentence(rec, monkeypatch):
    monkeypatch.setattr(snapshots, "WAIT_SECONDS", 0.01)
    ids(rec)
    shutil.rmtree(rec.path)
    for _ in range(2):
        with pytest.raises(IndexNotFoundError, match="There is no index"):
            ids(rec)


def test_a_database_that_is_overwritten_with_noise_ends_in_a_sentence(rec):
    ids(rec)
    (rec.path / "articles.sqlite").write_bytes(b"noise" * 1000)
    with pytest.raises(RecommenderError):
        ids(rec)


def _answers(path_and_id):
    return ids(_shared, path_and_id)


_shared: Recommender


def test_a_forked_process_answers_as_its_parent_does(rec):
    global _shared  # noqa: PLW0603 - a forked process inherits it
    _shared = rec
    wanted = [f"{n:02}" for n in range(20)]
    expected = [ids(rec, id) for id in wanted]
    dict(rec.links(3))  # many queries at once: FAISS starts threads, which a forked process does not have
    with rec._store.snapshot(), multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_answers, wanted).get(PATIENCE_SECONDS) == expected
    assert ids(rec) == expected[7]


def test_turns_are_taken_one_at_a_time_in_the_order_of_arrival():
    turns, order, ready = Turns(), [], threading.Semaphore(0)

    def compute(number: int) -> None:
        ready.release()
        with turns.take():
            order.append(number)
            assert turns._taken

    with ThreadPoolExecutor(8) as threads, turns.take():
        for number in range(8):
            waiting = len(turns._waiting)
            threads.submit(compute, number)
            assert ready.acquire(timeout=PATIENCE_SECONDS)
            while len(turns._waiting) == waiting:  # it is about to wait
                pass
    assert order == list(range(8))
    assert not turns._taken


def test_a_query_that_fails_hands_its_turn_over(rec):
    with pytest.raises(ArticleNotFoundError):
        rec.related("no such id")
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(ids, rec).result(PATIENCE_SECONDS) == ids(rec)


def test_an_idle_connection_leaves_no_lock(rec):
    ids(rec)
    with sqlite3.connect(rec.path / "articles.sqlite", timeout=0) as connection:
        connection.execute("BEGIN EXCLUSIVE")
    connection.close()
