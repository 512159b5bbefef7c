"""Work on a whole archive spread over the processor's cores."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from itertools import islice
from numbers import Integral
from typing import TypeVar

from recommender.errors import RecommenderError

Given = TypeVar("Given")
Made = TypeVar("Made")

MANY = 4096  # articles from which on it pays to start processes, which takes a second
AHEAD = 2  # pieces a core that are given out before the first is taken back
_ENVIRONMENT = {
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e15",
    # glibc would give arrays of some megabytes back to the system each time, and fault their pages in anew.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),  # the most that all versions take
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
IDLE_SECONDS = 120  # after which a process that has nothing to do ends; a slow model embeds a batch so long


def cores() -> int:
    """Return how many cores this process may use."""
    from loky import cpu_count  # noqa: PLC0415 - only for much work

    return int(cpu_count())


def workers(n_jobs: int | None) -> int:
    """Return how many processes share the work: None for one a core, 1 for this process alone.

    Below 0 one a core and fewer, as joblib counts: -1 for one a core, -2 for one less.
    """
    check_jobs(n_jobs)
    if n_jobs is None:
        return cores()
    return int(n_jobs) if n_jobs > 0 else max(cores() + 1 + int(n_jobs), 1)


def check_jobs(n_jobs: int | None) -> None:
    """Raise TypeError or ValueError if it is no number of processes, see `workers`."""
    if n_jobs is None:
        return
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral):
        raise TypeError(f"n_jobs is {n_jobs!r}; it must be a whole number or None")
    if n_jobs == 0:
        raise ValueError("n_jobs is 0; it must be 1 or more, or below 0: -1 for one process a core")


def processes(n_jobs: int | None = None) -> Executor:
    """Return the processes that share the work; a thread has one set of them, which ends when it has been idle.

    loky's, since they start without running the caller's script again, and a lost one is told. It would take the pages
    of mapped search files for a leak and start a process anew at every 300 MB of them.
    """
    from loky import get_reusable_executor  # noqa: PLC0415 - only for much work

    executor: Executor = get_reusable_executor(
        max_workers=workers(n_jobs), timeout=IDLE_SECONDS, initializer=_as_helper, env=_ENVIRONMENT
    )
    return executor


def parallel_map(
    function: Callable[[Given], Made], pieces: Iterable[Given], *, worth_it: bool, n_jobs: int | None = None
) -> Iterator[Made]:
    """Yield what `function` makes of each piece, in their order; only a few pieces are ahead of what is taken.

    Args:
        function: can be pickled, as can what it takes and gives.
        pieces: what it is given.
        worth_it: whether there is so much that it pays to start processes.
        n_jobs: how many processes at most, see `workers`.
    """
    rest = iter(pieces)
    if not worth_it or workers(n_jobs) == 1:
        yield from map(function, rest)
        return
    executor = processes(n_jobs)
    waiting: deque[Future[Made]] = deque()
    try:
        for piece in islice(rest, AHEAD * workers(n_jobs)):
            waiting.append(submit(executor, function, piece))
        while waiting:
            yield result(waiting.popleft())
            for piece in islice(rest, 1):
                waiting.append(submit(executor, function, piece))
    except KeyboardInterrupt:
        kill(executor)
        raise
    finally:
        for future in waiting:
            future.cancel()


def kill(executor: Executor) -> None:
    """End the processes at once, whatever they are doing; the next call of `processes` starts others."""
    executor.shutdown(wait=False, kill_workers=True)  # type: ignore[call-arg] # an option of loky's


def submit(executor: Executor, function: Callable[[Given], Made], piece: Given) -> "Future[Made]":
    """Have one of the processes make something; see `spread`.

    Raises:
        RecommenderError: a process was ended from outside.
    """
    with _told(), _interrupts_blocked():
        return executor.submit(function, piece)


def result(made: "Future[Made]") -> Made:
    """Return what was `given_out`, once it is made.

    Raises:
        RecommenderError: a process was ended from outside.
    """
    with _told():
        return made.result()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell of a process that was ended."""
    try:
        yield
    except BrokenExecutor as error:
        raise RecommenderError(
            "A process that shared the work was ended from outside, most likely since there was no memory left. What "
            "was committed before is kept; run the same command again where there is more."
        ) from error


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C for this thread and the processes that it starts, until they ignore it themselves."""
    import signal  # noqa: PLC0415
    from multiprocessing import resource_tracker  # noqa: PLC0415

    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # in Python 3.11 its start ends the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _as_helper() -> None:
    """Make this process one that shares the work: on one core, of low priority, and deaf to the user's Ctrl-C."""
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415

    from recommender.system.faiss_blas import faiss  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that gave the work out deals with it
    faiss.omp_set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.nice(5)  # above all the process that takes back what it makes
