"""Turns of threads that compute: one at a time, in the order of their arrival."""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator


class Turns:
    """Lets one thread at a time compute a block.

    Python runs one thread at a time anyway, and each read of a row is a chance to lose the interpreter for 5 ms: 20
    threads that compute at once answer half as many queries as one does, see benchmarks/threads.py.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Wait for the turn of this thread and hold it; does not nest."""
        with self._lock:
            ahead = threading.Lock() if self._taken else None
            if ahead:
                ahead.acquire()
                self._waiting.append(ahead)
            self._taken = True
        if ahead:
            ahead.acquire()  # until the thread before this one hands its turn over
        try:
            yield
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.popleft().release()
                else:
                    self._taken = False
