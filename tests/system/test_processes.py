import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recommender.system import processes

BLOCKS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from recommender.system.processes import parallel_map

def block(pipe):
    with open(pipe, "w") as file:
        file.write("working")
    while True:
        signal.sigtimedwait([signal.SIGTERM], 0.1)  # `pause` would miss a signal that came just before it

try:
    list(parallel_map(block, [sys.argv[1]] * 2, worth_it=True))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_ends_processes_that_are_working(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKS, pipe], start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as process:
        with pipe.open() as file:
            assert file.read().startswith("working")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()  # which would wait for the processes for ever
    assert (process.returncode, errors) == (130, "")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads what Linux tells of a process")
def test_ctrl_c_is_blocked_in_processes_from_their_start():
    executor = processes.processes()
    made = processes.submit(executor, abs, -1)
    for process in executor._processes:
        blocked = re.search(r"SigBlk:\s*(\w+)", Path(f"/proc/{process}/status").read_text())
        assert int(blocked[1], 16) & 1 << (signal.SIGINT - 1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert processes.result(made) == 1
