"""The connection to Milvus: its collections, calls with a time limit, and errors told as sentences."""

import contextlib
import importlib.util
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recommender.errors import IndexLockedError, IndexNotFoundError, IndexPermissionError, IndexUnavailableError
from recommender.store.milvus.address import TOKEN, Address

CONNECT_SECONDS = 10.0
CALL_SECONDS = 60.0  # for which pymilvus tries again: a server that restarts is back by then
CREATE_SECONDS = 120.0  # to make collections and load them
PAGE = 1000  # rows that are read at once
MOST_BYTES = 8_000_000  # of rows that are sent at once; a server refuses 64 MB
MOST_KEYS = 1000  # keys in one expression
CLOCK_SECONDS = 0.2  # that two clocks may drift apart while one writer runs
LOGICAL_BITS = 18  # of a time of the server; above them are milliseconds
READING = ("query", "search")
# What a server that is away, or is starting, is told of by; there are many codes for it.
AWAY = (
    "fail connecting",
    "unavailable",
    "not ready",
    "not loaded",
    "no available shard",
    "channel not",
    "not available",
    "closed channel",
)
REFUSED = ("unauthenticated", "auth check", "authentication", "permission", "privilege")
NOT_FOUND, NO_DATABASE = 100, 800  # codes of Milvus
# A field that each of our collections has and another would not, by which it is known where nothing describes it.
OWN_FIELDS = {"": "digest", "words": "words", "hubness": "round", "terms": "articles", "documents": "parts"}
Row = dict[str, Any]
_users: Counter[str] = Counter()  # how many connections this process has to each Lite database


class Engine:
    """Calls of one index. Threads may share it.

    Args:
        address: where the index is.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._client: Any = None
        self._fresh: set[str] | None = None  # collections that a writer has read the newest state of; None: no writer
        self._loaded: set[str] = set()
        self._clock = (0, 0.0)  # the last time that the server told, and when that was
        self._was_there = False  # whether the server has answered once
        self._handler: Any = None  # the connection within pymilvus
        self.sparse = True  # whether it has sparse vectors

    def _call(self, method: str, collection: str, *, seconds: float | None = None, **options: Any) -> Any:
        """Call a method of pymilvus on a collection; while the server is away, again and again for a while.

        All that is called gives the same when it is called again.
        """
        import grpc  # noqa: PLC0415 - only where Milvus is used
        from pymilvus.exceptions import MilvusException  # noqa: PLC0415
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential  # noqa: PLC0415

        seconds = seconds or CALL_SECONDS
        attempts = Retrying(
            stop=stop_after_delay(seconds),
            wait=wait_exponential(0.2, max=3.0),
            retry=retry_if_exception(self._may_come_back),
            before_sleep=self._before_trying_again,
            reraise=True,
        )
        try:
            return attempts(lambda: self._once(method, collection, seconds, options))
        except MilvusException as error:
            raise self._sentence(error.code, str(error.message)) from error
        except grpc.RpcError as error:  # which pymilvus lets through
            raise self._sentence(None, f"{error.code().name.lower()} {error.details()}") from error

    def _before_trying_again(self, state: object) -> None:
        self._disconnect()

    def _once(self, method: str, collection: str, seconds: float, options: dict[str, Any]) -> Any:
        client, name = self.client, self.full_name(collection)
        if method in READING and collection not in self._loaded:
            client.load_collection(name, timeout=CREATE_SECONDS)  # the server may have let go of it since
            self._loaded.add(collection)
        return getattr(client, method)(name, timeout=seconds, **options)

    def _may_come_back(self, error: BaseException) -> bool:
        """Tell whether an error is that of a server that was there and restarts, or is not quite up again."""
        text = str(error).lower()
        return self._was_there and not self._address.lite and any(sign in text for sign in AWAY)

    def _sentence(self, code: int | None, message: str) -> Exception:
        name, text = self._address.shown, " ".join(message.split())
        for secret in (self._address.token, self._address.token.partition(":")[2]):
            text = text.replace(secret, "…") if secret else text
        if code in (NOT_FOUND, NO_DATABASE) or "can't find collection" in text or "collection not found" in text:
            return self.not_found()
        if any(sign in text.lower() for sign in REFUSED):
            return IndexPermissionError(
                f"Milvus does not let this user into {name}: {text[:200]}. Give user and password in the address, or "
                f"in ${TOKEN}."
            )
        if "quota" in text.lower() or "no space" in text.lower() or "memory" in text.lower():
            return IndexUnavailableError(
                f"Milvus has no room for more in {name}: {text[:200]}. What was acknowledged is kept; run the same "
                f"command again when there is room."
            )
        return IndexUnavailableError(
            f"The index {name} cannot be reached, or Milvus refuses what it is asked: {text[:300]}. What was "
            f"acknowledged is kept; run the same command again when the server is back."
        )

    def not_found(self) -> IndexNotFoundError:
        """Return the error that there is no index."""
        name = self._address.shown
        return IndexNotFoundError(
            f"There is no index at {name}. Make one with `recommender build SOURCE --index {name}`."
        )

    @property
    def client(self) -> Any:
        """The client of pymilvus, connected."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        if importlib.util.find_spec("pymilvus") is None:
            raise IndexUnavailableError(
                f"The index {self._address.shown} is on Milvus, which needs pymilvus. Install it with "
                f"`pip install 'recommender[milvus]'`."
            )
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)  # it logs tracebacks of what it raises
        if self._address.lite:
            for name in ("milvus_lite", "grpc"):  # its server is in this process, and logs what it has no method for
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        from pymilvus import MilvusClient  # noqa: PLC0415 - only where Milvus is used
        from pymilvus.exceptions import MilvusException  # noqa: PLC0415

        address = self._address
        if address.lite:
            _users[address.uri] += 1
        try:
            client = MilvusClient(
                address.uri, token=address.token, db_name=address.database, timeout=CONNECT_SECONDS, dedicated=True
            )
            self.sparse = address.lite or _at_least_2_4(client.get_server_version(timeout=CONNECT_SECONDS))
        except MilvusException as error:
            if address.lite:
                _release(address.uri)
                raise self._lite_error(error) from error
            raise
        self._was_there, self._handler = True, client._handler
        return client

    def _lite_error(self, error: Exception) -> Exception:
        name = self._address.shown
        if importlib.util.find_spec("milvus_lite") is None:
            return IndexUnavailableError(
                f"The index {name} is a Milvus Lite database, which needs milvus-lite. Install it with "
                f"`pip install 'recommender[milvus]'`."
            )
        from milvus_lite import MilvusLite  # noqa: PLC0415 - only where it failed, to learn why
        from milvus_lite.exceptions import DataDirLockedError  # noqa: PLC0415

        try:
            MilvusLite(self._address.uri).close()
        except DataDirLockedError:
            return IndexLockedError(
                f"The index {name} is open in another process, and a Milvus Lite database serves one at a time. Try "
                f"again when that has finished, or move to a server with `recommender copy`."
            )
        except (OSError, ValueError, RuntimeError) as cause:
            return IndexUnavailableError(f"The Milvus Lite database {name} cannot be opened: {cause}.")
        return self._sentence(None, str(error))

    def close(self) -> None:
        """Let go of the connection; of a Lite database too, so that another process can open it."""
        if self._disconnect() and self._address.lite:
            _release(self._address.uri)

    def _disconnect(self) -> bool:
        with self._lock:
            client, self._client = self._client, None
            self._loaded.clear()
        if client:
            with contextlib.suppress(Exception):  # it may be gone already
                client.close()
        return client is not None

    @contextlib.contextmanager
    def newest(self) -> Iterator[None]:
        """Let the next read of each collection see all that anyone has written to it before."""
        before, self._fresh = self._fresh, set()
        try:
            yield
        finally:
            self._fresh = before

    def full_name(self, collection: str) -> str:
        """Return the name of one of the index's collections on the server; "" is that of the articles."""
        return f"{self._address.name}_{collection}" if collection else self._address.name

    def exists(self, collection: str) -> bool:
        """Tell whether a collection is there; a Lite database is not made for that."""
        if self._address.lite and not Path(self._address.uri).exists():
            return False
        return bool(self._call("has_collection", collection))

    def is_ours(self, collection: str) -> bool:
        """Tell whether a collection that is there was made by this package."""
        found = self._call("describe_collection", collection)
        fields = {field["name"] for field in found["fields"]}
        # Milvus Lite keeps no descriptions.
        return OWN_FIELDS[collection] in fields and (
            self._address.lite or found["description"] == self.mark(collection)
        )

    def mark(self, collection: str) -> str:
        """Return what a collection is described as."""
        return f"recommender index {self._address.name}: {collection or 'articles'}"

    def drop(self, collection: str) -> None:
        """Remove a collection, if it is there."""
        self._call("drop_collection", collection)

    def create(self, collection: str, schema: Any, index: Any) -> None:
        """Make a collection, and load it. Who writes to it reads what was written."""
        self._call(
            "create_collection",
            collection,
            seconds=CREATE_SECONDS,
            schema=schema,
            index_params=index,
            consistency_level="Session",
        )

    def _consistency(self, collection: str) -> str:
        """Return how fresh a read must be: a writer sees everything, a reader what is older than some seconds."""
        if self._fresh is not None and collection not in self._fresh:
            self._fresh.add(collection)
            return "Strong"
        return "Session" if self._written_at(collection) else "Bounded"

    def _written_at(self, collection: str) -> int:
        """Return the server's time of our last write to a collection, as pymilvus remembers it; 0 for none."""
        from pymilvus.client.ts_utils import get_collection_ts  # noqa: PLC0415 - only where Milvus is used

        name = self.full_name(collection)
        return int(get_collection_ts(name, self._server(), self._address.database) or 0)

    def _server(self) -> str:
        """Return what pymilvus calls the server where it remembers the times of writes."""
        return str(self._handler.server_address) if self._handler else ""

    def _note_deletion(self, collection: str) -> None:
        """Let the next read of a collection see a deletion, whose time a server of 2.3 does not tell.

        The server's time is reckoned from the last one that it told.
        """
        from pymilvus.client.ts_utils import update_collection_ts  # noqa: PLC0415 - only where Milvus is used

        told, when = self._clock
        if not told or self._written_at(collection) > told:
            return
        milliseconds = int(1000 * (time.monotonic() - when + CLOCK_SECONDS))
        then = told + (milliseconds << LOGICAL_BITS)
        update_collection_ts(self.full_name(collection), then, self._server(), self._address.database)

    def query(self, collection: str, where: str, fields: Sequence[str], limit: int | None = None) -> list[Row]:
        """Return the rows that an expression is true of."""
        options: dict[str, Any] = {} if limit is None else {"limit": limit}
        return list(
            self._call(
                "query",
                collection,
                filter=where,
                output_fields=list(fields),
                consistency_level=self._consistency(collection),
                **options,
            )
        )

    def by_key(
        self,
        collection: str,
        field: str,
        keys: Sequence[str | int],
        fields: Sequence[str],
        at_once: int = MOST_KEYS,
    ) -> Iterator[Row]:
        """Yield the rows whose field has one of the values: integers, or texts of letters, digits and slashes."""
        for start in range(0, len(keys), at_once):
            listed = ", ".join(
                f'"{key}"' if isinstance(key, str) else str(key) for key in keys[start : start + at_once]
            )
            yield from self.query(collection, f"{field} in [{listed}]", fields)

    def pages(self, collection: str, where: str, fields: Sequence[str], size: int = PAGE) -> Iterator[list[Row]]:
        """Yield all rows that an expression is true of, in the order of their primary keys, in pages."""
        self.count(collection, 'pk == ""')  # waits for as new a state as is wanted, which a page does not
        # Since 2.4 a server gives any rows for a limit without this; with it 2.3 leaves out what it has not sealed yet.
        best: dict[str, Any] = {"reduce_stop_for_best": "True"} if self.sparse else {}
        last = ""
        while True:
            after = f'pk > "{last}"' + (f" and ({where})" if where else "")
            page = list(
                self._call(
                    "query",
                    collection,
                    filter=after,
                    output_fields=["pk", *fields],
                    limit=size,
                    iterator="True",  # in the order of the keys
                    **best,
                )
            )
            if page:
                yield page
            if len(page) < size:
                return
            last = page[-1]["pk"]

    def count(self, collection: str, where: str) -> int:
        """Return how many rows an expression is true of."""
        return int(self.query(collection, where, ["count(*)"])[0]["count(*)"])

    def search(
        self, collection: str, field: str, vectors: Sequence[Any], where: str, n: int, parameters: Mapping[str, Any]
    ) -> list[list[str]]:
        """Return for each vector the primary keys of the `n` rows nearest to it by inner product."""
        found = self._call(
            "search",
            collection,
            data=list(vectors),
            anns_field=field,
            limit=n,
            filter=where,
            output_fields=["pk"],
            search_params={"metric_type": "IP", "params": dict(parameters)},
            consistency_level=self._consistency(collection),
        )
        # A server of 2.3 does not say what the primary key is called.
        return [[hit["pk"] if "pk" in hit else hit["id"] for hit in hits] for hits in found]

    def upsert(self, collection: str, rows: Sequence[Row]) -> None:
        """Add or replace rows by their primary keys."""
        piece: list[Row] = []
        size = 0
        for row in rows:
            more = sum(
                len(value) * (8 if isinstance(value, list | dict) else 1)
                for value in row.values()
                if hasattr(value, "__len__")
            )
            if piece and size + more > MOST_BYTES:
                self._send(collection, piece)
                piece, size = [], 0
            piece.append(row)
            size += more
        if piece:
            self._send(collection, piece)

    def _send(self, collection: str, rows: list[Row]) -> None:
        self._call("upsert", collection, data=rows)
        self._clock = (self._written_at(collection), time.monotonic())

    def delete(self, collection: str, field: str, keys: Sequence[str | int]) -> None:
        """Remove rows by the values of the primary key."""
        for start in range(0, len(keys), MOST_KEYS):
            listed = ", ".join(
                f'"{key}"' if isinstance(key, str) else str(key) for key in keys[start : start + MOST_KEYS]
            )
            self._call("delete", collection, filter=f"{field} in [{listed}]")
            self._note_deletion(collection)

    def flush(self, collection: str) -> None:
        """Let the server seal and index what it has of a collection."""
        self._call("flush", collection, seconds=CREATE_SECONDS)


def _release(file: str) -> None:
    """Close a Lite database that nobody in this process uses any more, so that another can open it."""
    _users[file] -= 1
    if not _users[file]:
        from milvus_lite.server_manager import server_manager_instance  # noqa: PLC0415 - only where Milvus is used

        server_manager_instance.release_server(file)


def _at_least_2_4(version: str) -> bool:
    """Tell whether a version of the server has sparse vectors; one that says nothing of the kind is a new one."""
    found = re.search(r"(\d+)\.(\d+)", version)
    return found is None or (int(found[1]), int(found[2])) >= (2, 4)
