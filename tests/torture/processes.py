"""Forks of a process with all modules loaded, recorded by the shim."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path


def under_the_shim() -> bool:
    """Return whether the shim was loaded before the C library."""
    return "torture" in os.environ.get("LD_PRELOAD", "")


def again_under_the_shim() -> int:
    """Run this program so; return its exit status."""
    with tempfile.TemporaryDirectory() as name:
        library, source = Path(name, "torture.so"), Path(__file__).parent / "shim.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode


def arm(index: Path, *, kill_at: int = 0, fail_at: int = 0, error: int = 0, log: Path | None = None) -> None:
    """Let the shim record the steps in a folder from now on."""
    paths = [os.fsencode(path.resolve()) if path else None for path in (index, log)]
    SHIM.torture_arm(paths[0], ctypes.c_long(kill_at), ctypes.c_long(fail_at), error, paths[1])


def in_a_process(do: Callable[[], str | None], *, killed: bool = False) -> str:
    """Call a function in a fork of this process; return its result, or a description of how the process ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            try:
                said = do() or ""
            except BaseException as error:  # whatever it is, it is the finding
                said = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            SHIM.torture_arm(None, ctypes.c_long(0), ctypes.c_long(0), 0, None)
            os.write(writer, said.encode()[:60_000])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, errors="replace") as lines:
        said = lines.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and not (killed and os.WTERMSIG(status) == signal.SIGKILL):
        return f"it died of {signal.Signals(os.WTERMSIG(status)).name}"
    return said


class _Shim:
    """The library that was loaded before the C library; found when it is first used."""

    def __getattr__(self, name: str) -> object:
        return getattr(ctypes.CDLL(os.environ["LD_PRELOAD"]), name)


SHIM = _Shim()
