"""Reading a local store as another user, without write permission."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from synthetic import (
    fill,
    upsert,
)

from recommender.store import LocalStore

pytestmark = pytest.mark.usefixtures("small_exact_limit")


# Run in a process of its own, which imports as the tests' user, and then drops write permission.
READ_AS_OTHER_USER = """
import json, logging, os, sys
import numpy as np
from recommender.filters import Condition
from recommender.store import CandidateQuery, LocalStore
path = sys.argv[1]
warnings = []
logging.getLogger("recommender").addFilter(lambda record: warnings.append(record.getMessage()))
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
assert not os.access(path, os.W_OK) and not os.access(path + "/articles.sqlite", os.W_OK)
store = LocalStore(path)
def query():
    (term_id, _) = store.lookup_terms("en", ["all"])["all"]
    vector = np.eye(8, dtype=np.float32)[0]
    candidate_query = CandidateQuery(vector, np.array([term_id]), np.ones(1), Condition())
    signals, _ = store.retrieve_candidates([candidate_query], 99)
    print(json.dumps([sorted(store.ids()), sorted(signals.ids), warnings]), flush=True)
query()
sys.stdin.readline()
query()
"""


@pytest.fixture
def other_user():
    """A folder without write permission, a function that starts a reader, and one that restores permissions."""
    folder = tempfile.TemporaryDirectory()  # other users may not enter the parent of tmp_path
    Path(folder.name).chmod(0o755)
    index_path = Path(folder.name) / "index"
    readers = []

    def start() -> subprocess.Popen:
        if os.getuid() != 0:
            for path in (*index_path.rglob("*"), index_path):
                path.chmod(0o555 if path.is_dir() else 0o444)
        reader = subprocess.Popen(
            [sys.executable, "-c", READ_AS_OTHER_USER, str(index_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        readers.append(reader)
        return reader

    def restore() -> None:
        for path in (index_path, *index_path.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    yield index_path, start, restore
    for reader in readers:
        reader.kill()
        reader.communicate()
    restore()
    folder.cleanup()


def test_another_user_reads_with_and_without_a_live_writer(other_user):
    index_path, start, restore = other_user
    store = LocalStore(index_path)
    fill(store, [upsert("a", 1), upsert("b", 2)])
    files = sorted(path.name for path in index_path.iterdir())

    reader = start()
    ids, candidates, warnings = json.loads(reader.stdout.readline())
    assert ids == sorted(candidates) == ["a", "b"]
    assert warnings == []
    assert sorted(path.name for path in index_path.iterdir()) == files

    restore()
    with store.write_lock():
        store.write([upsert("c", 3)])
        connection = store._writer._connection()
        connection.execute("BEGIN IMMEDIATE")  # the next batch is being written
        connection.execute("DELETE FROM articles")
        reader.stdin.write("\n")
        reader.stdin.flush()
        ids, candidates, _ = json.loads(reader.stdout.readline())
        assert ids == candidates == ["a", "b", "c"]
        late = start()
        assert json.loads(late.stdout.readline())[0] == ["a", "b", "c"]
        restore()
        connection.execute("ROLLBACK")


KILLED_WITHIN_COMMIT = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1] + "/articles.sqlite", isolation_level=None)
connection.execute("PRAGMA cache_size = 2")  # spills pages into the file before the commit, as a commit does
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE articles SET title = title || 'torn'")
connection.execute("UPDATE vectors SET vector = zeroblob(16)")
connection.execute("UPDATE texts SET text = text || hex(zeroblob(20000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_readers_without_write_permission_roll_back_a_killed_commit(other_user, caplog):
    index_path, start, restore = other_user
    store = LocalStore(index_path)
    fill(store, [upsert(f"{i:02}", i) for i in range(60)])
    killed = subprocess.run([sys.executable, "-c", KILLED_WITHIN_COMMIT, str(index_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    journal = index_path / "articles.sqlite-journal"
    assert journal.stat().st_size > 0

    reader = start()
    ids, _, _ = json.loads(reader.stdout.readline())
    assert ids == [f"{i:02}" for i in range(60)]
    restore()
    assert journal.exists()

    assert store.articles(["07"])["07"].title == "title 7"  # read by the owner, which rolls back no journal either
    assert "cut off" in caplog.text
    assert journal.exists()
    fill(store, [upsert("new", 99)])
    assert not journal.exists()
    assert store.count() == 61
    reader.stdin.write("\n")
    reader.stdin.flush()
    assert "new" in json.loads(reader.stdout.readline())[0]
