"""The lease of a writer: a document that names the process with the right to write, renewed while it writes."""

import contextlib
import json
import os
import socket
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from recommender.errors import IndexLockedError, RecommenderError
from recommender.store.milvus.documents import Documents
from recommender.text.clean import clean_text

LEASE_SECONDS = 90.0  # a lease that is not renewed expires
RENEWAL_SECONDS = 20.0
WAIT_SECONDS = 5.0  # a second writer waits for the first
POLL_SECONDS = 0.5
_released_tokens: set[str] = set()  # of this process; their documents may remain if the server was unavailable


class Lease:
    """The right to write to an index, from construction to `release`. The last process to write its name has it.

    Milvus has no compare-and-set. Clocks of machines that write to one index must agree to within a minute.

    Args:
        documents: the documents of the index.
        name: the name of the index in messages.

    Raises:
        IndexLockedError: another process has the lease.
    """

    DOCUMENT = "writer"

    def __init__(self, documents: Documents, name: str) -> None:
        self._documents, self._name = documents, name
        self._token = uuid4().hex
        self._since = time.time()
        from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed  # noqa: PLC0415

        Retrying(
            stop=stop_after_delay(WAIT_SECONDS),
            wait=wait_fixed(POLL_SECONDS),
            retry=retry_if_exception_type(IndexLockedError),
            reraise=True,
        )(self._raise_if_leased)
        self._write()
        try:
            self.check()
        except RecommenderError:
            _released_tokens.add(self._token)
            raise
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def _raise_if_leased(self) -> None:
        holder = self._holder()
        if holder and not self._has_expired(holder):
            raise self._locked_error(holder)

    def _holder(self) -> dict[str, Any] | None:
        """Return the contents of the lease document; None if there is none."""
        text = self._documents.get([self.DOCUMENT]).get(self.DOCUMENT)
        with contextlib.suppress(ValueError, TypeError, KeyError, OverflowError):
            values = json.loads(text or "")
            types = {"token": str, "host": str, "process": int, "since": float, "renewed": float}
            return {name: convert(values[name]) for name, convert in types.items()}
        return None

    @staticmethod
    def _has_expired(holder: dict[str, Any]) -> bool:
        if abs(time.time() - holder["renewed"]) > LEASE_SECONDS or holder["token"] in _released_tokens:
            return True
        return holder["host"] == _host() and not _is_running(holder["process"])

    def _locked_error(self, holder: dict[str, Any]) -> IndexLockedError:
        since = datetime.fromtimestamp(holder["since"]).astimezone()
        return IndexLockedError(
            f"The index {self._name} is being written by the process {holder['process']} on "
            f"{clean_text(holder['host'])[:60]!r} since {since:%Y-%m-%d %H:%M:%S}. Try again when it has finished; if "
            f"it was killed, in {LEASE_SECONDS:.0f} seconds."
        )

    def _write(self) -> None:
        lease = {
            "token": self._token,
            "host": _host(),
            "process": os.getpid(),
            "since": self._since,
            "renewed": time.time(),
        }
        self._documents.put({self.DOCUMENT: json.dumps(lease)})

    def check(self) -> None:
        """Raise IndexLockedError if the lease expired and another process took it."""
        holder = self._holder()
        if holder is None:
            raise IndexLockedError(
                f"The right to write to the index {self._name} expired while this process was suspended, and another "
                f"process wrote since. Run the same command again; acknowledged articles are kept."
            )
        if holder["token"] != self._token:
            raise self._locked_error(holder)

    def _renew(self) -> None:
        while not self._released.wait(RENEWAL_SECONDS):
            with contextlib.suppress(RecommenderError):  # the writer itself reports an unavailable server
                holder = self._holder()
                if holder is None or holder["token"] == self._token:
                    self._write()

    def release(self) -> None:
        """Release the lease."""
        self._released.set()
        self._thread.join()
        _released_tokens.add(self._token)
        with contextlib.suppress(RecommenderError):  # then it expires
            holder = self._holder()
            if holder and holder["token"] == self._token:
                self._documents.delete([self.DOCUMENT])


def _host() -> str:
    """Return a name of this machine, distinct for containers with the same host name."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
