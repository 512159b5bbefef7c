import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recommender.system import processes

HANGING_WORKERS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from recommender.system.processes import parallel_map

def hang(pipe):
    with open(pipe, "w") as file:
        file.write("working")
    while True:
        signal.sigtimedwait([signal.SIGTERM], 0.1)  # `pause` would miss a signal that came just before

try:
    list(parallel_map(hang, [sys.argv[1]] * 2, use_processes=True))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_ends_working_processes(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(
        [sys.executable, "-c", HANGING_WORKERS, pipe], start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as process:
        with pipe.open() as file:
            assert file.read().startswith("working")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()  # hangs if a worker remains
    assert (process.returncode, errors) == (130, "")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_workers_start_with_ctrl_c_blocked():
    executor = processes.process_pool()
    future = processes.submit(executor, abs, -1)
    for process in executor._processes:
        blocked = re.search(r"SigBlk:\s*(\w+)", Path(f"/proc/{process}/status").read_text())
        assert int(blocked[1], 16) & 1 << (signal.SIGINT - 1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert processes.result(future) == 1
