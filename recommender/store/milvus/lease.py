"""The right to write to an index on Milvus: a document that says who has it, and is renewed while it is held."""

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

SECONDS = 90.0  # after which a lease that is not renewed has lapsed
RENEWED_EVERY = 20.0
WAIT_SECONDS = 5.0  # how long a second writer waits for the first
ASKED_EVERY = 0.5
_given_up: set[str] = set()  # what this process held, and may not have been able to say so


class Lease:
    """A lease that is held until it is ended. Whoever wrote it last has it, since Milvus cannot compare and set.

    Clocks of machines that write to one index must agree to within a minute.

    Args:
        documents: of the index.
        name: what messages call the index.

    Raises:
        IndexLockedError: another process holds it.
    """

    NAME = "writer"

    def __init__(self, documents: Documents, name: str) -> None:
        self._documents, self._name = documents, name
        self._token = uuid4().hex
        self._since = time.time()
        from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed  # noqa: PLC0415

        Retrying(
            stop=stop_after_delay(WAIT_SECONDS),
            wait=wait_fixed(ASKED_EVERY),
            retry=retry_if_exception_type(IndexLockedError),
            reraise=True,
        )(self._refuse_if_held)
        self._put()
        try:
            self.check()
        except RecommenderError:
            _given_up.add(self._token)
            raise
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def _refuse_if_held(self) -> None:
        holder = self._holder()
        if holder and not self._lapsed(holder):
            raise self._locked(holder)

    def _holder(self) -> dict[str, Any] | None:
        text = self._documents.get([self.NAME]).get(self.NAME)
        with contextlib.suppress(ValueError, TypeError, KeyError, OverflowError):
            found = json.loads(text or "")
            return {"token": str(found["token"]), "host": str(found["host"]), "process": int(found["process"]),
                    "since": float(found["since"]), "renewed": float(found["renewed"])}  # fmt: skip
        return None

    @staticmethod
    def _lapsed(holder: dict[str, Any]) -> bool:
        if abs(time.time() - holder["renewed"]) > SECONDS or holder["token"] in _given_up:
            return True
        return holder["host"] == _host() and not _alive(holder["process"])

    def _locked(self, holder: dict[str, Any]) -> IndexLockedError:
        since = datetime.fromtimestamp(holder["since"]).astimezone()
        return IndexLockedError(
            f"The index {self._name} is being written by the process {holder['process']} on "
            f"{clean_text(holder['host'])[:60]!r} since {since:%Y-%m-%d %H:%M:%S}. Try again when it has finished; if "
            f"it was killed, in {SECONDS:.0f} seconds."
        )

    def _put(self) -> None:
        lease = {
            "token": self._token,
            "host": _host(),
            "process": os.getpid(),
            "since": self._since,
            "renewed": time.time(),
        }
        self._documents.put({self.NAME: json.dumps(lease)})

    def check(self) -> None:
        """Raise IndexLockedError if it lapsed and another process took it."""
        holder = self._holder()
        if holder is None:
            raise IndexLockedError(
                f"The right to write to the index {self._name} lapsed while this process was held up, and another "
                f"process wrote since. Run the same command again; what was acknowledged is kept."
            )
        if holder["token"] != self._token:
            raise self._locked(holder)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_EVERY):
            with contextlib.suppress(RecommenderError):  # the writer itself finds that the server is away
                holder = self._holder()
                if holder is None or holder["token"] == self._token:
                    self._put()

    def end(self) -> None:
        """Give it up."""
        self._ended.set()
        self._thread.join()
        _given_up.add(self._token)
        with contextlib.suppress(RecommenderError):  # then it lapses
            holder = self._holder()
            if holder and holder["token"] == self._token:
                self._documents.delete([self.NAME])


def _host() -> str:
    """Return what tells this machine from others, and a container from another with the same name."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
