"""Worker processes that share the work on a whole archive."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from itertools import islice
from numbers import Integral
from typing import TypeVar

from recommender.errors import RecommenderError

Item = TypeVar("Item")
Result = TypeVar("Result")

MIN_ARTICLES_FOR_PROCESSES = 4096  # starting processes takes a second
ITEMS_PER_WORKER = 2  # submitted before the first result is taken
_ENVIRONMENT = {
    # loky takes the pages of mapped files for a leak, and would restart a process at every 300 MB of them.
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e15",
    # glibc would return arrays of some megabytes to the system each time, and fault their pages in again.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),  # the maximum in all versions
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
MAX_IDLE_SECONDS = 120  # after which a worker ends; a slow model takes as long to embed a batch


def core_count() -> int:
    """Return the number of cores that this process may use."""
    from loky import cpu_count  # noqa: PLC0415 - only for much work

    return int(cpu_count())


def worker_count(n_jobs: int | None) -> int:
    """Return the number of processes that share the work; 1 means this process alone.

    Args:
        n_jobs: the number; None or -1 for one per core, -2 for one less, and so on, as in joblib.
    """
    check_n_jobs(n_jobs)
    if n_jobs is None:
        return core_count()
    return int(n_jobs) if n_jobs > 0 else max(core_count() + 1 + int(n_jobs), 1)


def check_n_jobs(n_jobs: int | None) -> None:
    """Raise TypeError or ValueError if `n_jobs` is not a number of processes, see `worker_count`."""
    if n_jobs is None:
        return
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral):
        raise TypeError(f"n_jobs is {n_jobs!r}; it must be a whole number or None")
    if n_jobs == 0:
        raise ValueError("n_jobs is 0; it must be 1 or more, or below 0: -1 for one process a core")


def process_pool(n_jobs: int | None = None) -> Executor:
    """Return this thread's worker processes, started if there are none; they end after `MAX_IDLE_SECONDS`.

    They are loky's, which start without running the caller's script again, and report a process that was killed.
    """
    from loky import get_reusable_executor  # noqa: PLC0415 - only for much work

    executor: Executor = get_reusable_executor(
        max_workers=worker_count(n_jobs), timeout=MAX_IDLE_SECONDS, initializer=_set_up_worker, env=_ENVIRONMENT
    )
    return executor


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, use_processes: bool, n_jobs: int | None = None
) -> Iterator[Result]:
    """Yield the result of `function` for each item, in their order; take only a few items ahead of the results.

    Args:
        function: can be pickled, as can its items and results.
        items: its arguments.
        use_processes: whether there are enough items to start processes.
        n_jobs: how many processes at most, see `worker_count`.

    Raises:
        RecommenderError: a process was ended from outside.
    """
    remaining = iter(items)
    if not use_processes or worker_count(n_jobs) == 1:
        yield from map(function, remaining)
        return
    executor = process_pool(n_jobs)
    pending: deque[Future[Result]] = deque()
    try:
        for item in islice(remaining, ITEMS_PER_WORKER * worker_count(n_jobs)):
            pending.append(submit(executor, function, item))
        while pending:
            yield result(pending.popleft())
            for item in islice(remaining, 1):
                pending.append(submit(executor, function, item))
    except KeyboardInterrupt:
        kill_pool(executor)
        raise
    finally:
        for future in pending:
            future.cancel()


def kill_pool(executor: Executor) -> None:
    """Kill the worker processes; the next call of `process_pool` starts others."""
    executor.shutdown(wait=False, kill_workers=True)  # type: ignore[call-arg] # an option of loky's


def submit(executor: Executor, function: Callable[[Item], Result], item: Item) -> "Future[Result]":
    """Submit an item to the worker processes.

    Raises:
        RecommenderError: a process was ended from outside.
    """
    with _translate_pool_errors(), _block_interrupts():
        return executor.submit(function, item)


def result(future: "Future[Result]") -> Result:
    """Wait for the result of a submitted item.

    Raises:
        RecommenderError: a process was ended from outside.
    """
    with _translate_pool_errors():
        return future.result()


@contextlib.contextmanager
def _translate_pool_errors() -> Iterator[None]:
    try:
        yield
    except BrokenExecutor as error:
        raise RecommenderError(
            "A process that shared the work was ended from outside, most likely since there was no memory left. What "
            "was committed before is kept; run the same command again where there is more."
        ) from error


@contextlib.contextmanager
def _block_interrupts() -> Iterator[None]:
    """Block Ctrl-C in this thread, and so in the processes that it starts, until they ignore it themselves."""
    import signal  # noqa: PLC0415
    from multiprocessing import resource_tracker  # noqa: PLC0415

    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # in Python 3.11 its start would unblock the signal
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def _set_up_worker() -> None:
    """Restrict this process to one core at low priority, and ignore Ctrl-C, which the main process handles."""
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415

    from recommender.system.faiss_blas import faiss  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faiss.omp_set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.nice(5)  # the main process, which takes the results, goes first
