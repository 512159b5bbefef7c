"""A lock for computing threads, granted in the order of their arrival."""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator


class Turns:
    """A fair lock under which one thread at a time computes a block.

    CPython runs one thread at a time, and each read of a row may cost a thread the interpreter for 5 ms: 20 threads
    that compute at once answer half as many queries as one thread, see benchmarks/threads.py.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Wait for this thread's turn and hold it; not reentrant."""
        with self._lock:
            gate = threading.Lock() if self._is_taken else None
            if gate:
                gate.acquire()
                self._waiting.append(gate)
            self._is_taken = True
        if gate:
            gate.acquire()  # the thread with the turn before this one releases it
        try:
            yield
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.popleft().release()
                else:
                    self._is_taken = False
