"""A writer and readers at the same time, each in its own process."""

import json
import os
import signal
import subprocess
import sys

import pytest

from recommender import IndexLockedError
from recommender.store.local import writer

SETUP = """
import json, sys, warnings
sys.path.insert(0, {torture!r})
from parts import stand_in
from recommender import Recommender
stand_in()
index = sys.argv[1]

def articles(version):
    return [
        {{"id": f"{{i:02}}", "title": f"{{version}} title {{i}}", "text": f"words of {{i % 4}} " * 9, "language": "en"}}
        for i in range(40)
    ]
"""

WRITER = """
with Recommender(index) as rec:
    for version in range(1, 13):
        rec.build(articles(version))
        print(version, flush=True)
"""

# Reads until the last version appears, and prints the versions that it read, in their order, and the warnings.
READER = """
import logging
warned = []
handler = logging.Handler()
handler.emit = lambda record: warned.append(record.getMessage())
logging.getLogger("recommender").addHandler(handler)
versions_read = []
with Recommender(index) as rec:
    print("ready", flush=True)
    while not versions_read or max(versions_read[-1]) < 12:
        block = rec.related("07", 8, drop_near_duplicates=False, score_threshold=False)
        assert len(block) == 8, block
        versions_read.append(sorted({int(link.title.split()[0]) for link in block}))
print(json.dumps([versions_read, warned]))
"""

HOLDER = """
with rec_store.write_lock():
    print("held", flush=True)
    sys.stdin.readline()
"""


def start(root, code: str, index) -> subprocess.Popen:
    setup = SETUP.format(torture=str(root / "tests" / "torture"))
    return subprocess.Popen(
        [sys.executable, "-c", setup + code, index], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_readers_see_only_committed_states_during_writes(root, tmp_path):
    index = tmp_path / "index"
    first = start(root, "with Recommender(index) as rec:\n    rec.build(articles(0))", index)
    assert first.wait() == 0
    readers = [start(root, READER, index) for _ in range(2)]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    writer = start(root, WRITER, index)
    assert [int(line) for line in writer.stdout] == list(range(1, 13))
    for reader in readers:
        versions_read, warned = json.loads(reader.communicate()[0])
        assert warned == []
        assert all(len(versions) == 1 for versions in versions_read), "a block of two states"
        assert versions_read == sorted(versions_read), "an older state after a newer one"
        assert reader.returncode == 0


@pytest.fixture
def holder(root, rec):
    """Start a process that writes to the index."""
    code = "from recommender.store import LocalStore\nrec_store = LocalStore(index)\n" + HOLDER
    process = start(root, code, rec.path)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_gets_the_process_and_start_time_of_the_first(rec, holder, monkeypatch):
    monkeypatch.setattr(writer, "LOCK_SECONDS", 0.01)
    with pytest.raises(IndexLockedError, match=rf"by the process {holder.pid} since 2\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d"):
        rec.add([{"id": "new", "title": "New"}])
    assert [link.id for link in rec.related("dam-1")]  # a reader does not wait
    rec.pin("dam-1", "club-1")  # nor does an editor


def test_the_lock_of_a_dead_process_is_released(rec, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert rec.add([{"id": "new", "title": "New"}]).added == 1
