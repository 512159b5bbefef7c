"""The connection to Milvus: its collections, calls with a time limit, and its errors as this package's errors."""

import contextlib
import importlib.util
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recommender.errors import IndexLockedError, IndexNotFoundError, IndexPermissionError, IndexUnavailableError
from recommender.store.milvus.address import TOKEN_VARIABLE, Address

CONNECT_SECONDS = 10.0
CALL_SECONDS = 60.0  # calls are retried for so long: a server that restarts is back by then
CREATE_SECONDS = 120.0  # to create and load a collection
DELETION_SECONDS = 10.0  # after which reads with the consistency "Bounded", of 5 seconds, include a deletion
PAGE_ROWS = 1000
MAX_UPSERT_BYTES = 8_000_000  # in one call; a server refuses 64 MB
MAX_EXPRESSION_KEYS = 1000  # in one filter expression
# Substrings of messages that mean "server unavailable"; there are many codes for it.
UNAVAILABLE_MESSAGES = (
    "fail connecting",
    "unavailable",
    "not ready",
    "not loaded",
    "no available shard",
    "channel not",
    "not available",
    "closed channel",
)
FORBIDDEN_MESSAGES = ("unauthenticated", "auth check", "authentication", "permission", "privilege")
COLLECTION_NOT_FOUND, DATABASE_NOT_FOUND = 100, 800  # codes of Milvus
# A field of each of our collections: Milvus Lite has no descriptions by which to recognise them.
MARKER_FIELDS = {
    "": "record_hash",
    "term_vectors": "term_vector",
    "hubness": "hubness",
    "terms": "document_frequency",
    "documents": "part_count",
}
Row = dict[str, Any]
_lite_connections: Counter[str] = Counter()  # open connections of this process by the path of the Lite database
# The consistency that includes the last write of this process, and the time of it, by URI, database and collection.
_last_writes: dict[tuple[str, str, str], tuple[str, float]] = {}


class Connection:
    """The collections of one index. Thread-safe.

    Args:
        address: the address of the index.

    Attributes:
        has_sparse_vectors: whether the server supports sparse vectors; set on connecting.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._client: Any = None
        self._refreshed: set[str] | None = None  # collections whose newest state the writer has read; None: no writer
        self._loaded: set[str] = set()
        self._was_connected = False
        self.has_sparse_vectors = True

    # Calls and errors

    def _call(self, method: str, collection: str, *, seconds: float | None = None, **options: Any) -> Any:
        """Call a method of MilvusClient on a collection, and retry while the server is unavailable.

        Every method called here is idempotent.
        """
        seconds = seconds or CALL_SECONDS
        return self._retry(
            lambda client, name: getattr(client, method)(name, timeout=seconds, **options),
            collection,
            seconds,
            load=method in ("query", "search"),
        )

    def _retry(self, call: Callable[[Any, str], Any], collection: str, seconds: float, *, load: bool) -> Any:
        """Return the result of a call with the client and the full name of a collection; retry it for `seconds`."""
        import grpc  # noqa: PLC0415 - only where Milvus is used
        from pymilvus.exceptions import MilvusException  # noqa: PLC0415
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential  # noqa: PLC0415

        attempts = Retrying(
            stop=stop_after_delay(seconds),
            wait=wait_exponential(0.2, max=3.0),
            retry=retry_if_exception(self._is_temporary),
            before_sleep=self._disconnect_before_retry,
            reraise=True,
        )
        try:
            return attempts(
                lambda: call(self._loaded_client(collection) if load else self.client, self.full_name(collection))
            )
        except MilvusException as error:
            raise self._translate(error.code, str(error.message)) from error
        except grpc.RpcError as error:  # pymilvus does not translate all of them
            raise self._translate(None, f"{error.code().name.lower()} {error.details()}") from error

    def _loaded_client(self, collection: str) -> Any:
        """Return the client after loading a collection, which a restarted server may have released."""
        client = self.client
        if collection not in self._loaded:
            client.load_collection(self.full_name(collection), timeout=CREATE_SECONDS)
            self._loaded.add(collection)
        return client

    def _disconnect_before_retry(self, state: object) -> None:
        self._disconnect()

    def _is_temporary(self, error: BaseException) -> bool:
        """Return whether an error means that a server which answered before is restarting."""
        text = str(error).lower()
        unavailable = any(message in text for message in UNAVAILABLE_MESSAGES)
        return self._was_connected and not self._address.lite and unavailable

    def _translate(self, code: int | None, message: str) -> Exception:
        """Return this package's error for an error of Milvus, without the token."""
        name, text = self._address.display, " ".join(message.split())
        for secret in (self._address.token, self._address.token.partition(":")[2]):
            text = text.replace(secret, "…") if secret else text
        lowered = text.lower()
        if code in (COLLECTION_NOT_FOUND, DATABASE_NOT_FOUND) or "can't find collection" in lowered:
            return self.not_found()
        if "collection not found" in lowered:
            return self.not_found()
        if any(message in lowered for message in FORBIDDEN_MESSAGES):
            return IndexPermissionError(
                f"Milvus does not let this user into {name}: {text[:200]}. Give user and password in the address, or "
                f"in ${TOKEN_VARIABLE}."
            )
        if any(resource in lowered for resource in ("quota", "no space", "memory")):
            return IndexUnavailableError(
                f"Milvus has no room for more in {name}: {text[:200]}. Acknowledged articles are kept; run the same "
                f"command again when there is room."
            )
        return IndexUnavailableError(
            f"The index {name} cannot be reached, or Milvus refuses the request: {text[:300]}. Acknowledged articles "
            f"are kept; run the same command again when the server is back."
        )

    def not_found(self) -> IndexNotFoundError:
        """Return the error for an index that does not exist."""
        name = self._address.display
        return IndexNotFoundError(
            f"There is no index at {name}. Make one with `recommender build SOURCE --index {name}`."
        )

    # Connecting

    @property
    def client(self) -> Any:
        """The connected MilvusClient."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        if importlib.util.find_spec("pymilvus") is None:
            raise IndexUnavailableError(
                f"The index {self._address.display} is on Milvus, which needs pymilvus. Install it with "
                f"`pip install 'recommender[milvus]'`."
            )
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)  # it logs tracebacks of the errors it raises
        if self._address.lite:
            for name in ("milvus_lite", "grpc"):  # the server in this process logs methods that it does not support
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        from pymilvus import MilvusClient  # noqa: PLC0415 - only where Milvus is used
        from pymilvus.exceptions import MilvusException  # noqa: PLC0415

        address = self._address
        if address.lite:
            _lite_connections[address.uri] += 1
        try:
            client = MilvusClient(
                address.uri, token=address.token, db_name=address.database, timeout=CONNECT_SECONDS, dedicated=True
            )
            version = "" if address.lite else client.get_server_version(timeout=CONNECT_SECONDS)
        except MilvusException as error:
            if address.lite:
                _release_lite(address.uri)
                raise self._lite_error(error) from error
            raise
        self.has_sparse_vectors = _is_at_least_2_4(version)
        self._was_connected = True
        return client

    def _lite_error(self, error: Exception) -> Exception:
        """Return the error for a Lite database that cannot be opened."""
        name = self._address.display
        if importlib.util.find_spec("milvus_lite") is None:
            return IndexUnavailableError(
                f"The index {name} is a Milvus Lite database, which needs milvus-lite. Install it with "
                f"`pip install 'recommender[milvus]'`."
            )
        from milvus_lite import DataDirLockedError, MilvusLite  # noqa: PLC0415 - to find the cause

        try:
            MilvusLite(self._address.uri).close()
        except DataDirLockedError:
            return IndexLockedError(
                f"The index {name} is open in another process, and a Milvus Lite database serves one at a time. Try "
                f"again when that has finished, or move to a server with `recommender copy`."
            )
        except (OSError, ValueError, RuntimeError) as cause:
            return IndexUnavailableError(f"The Milvus Lite database {name} cannot be opened: {cause}.")
        return self._translate(None, str(error))

    def close(self) -> None:
        """Close the connection, and a Lite database with it, so that another process can open it."""
        if self._disconnect() and self._address.lite:
            _release_lite(self._address.uri)

    def _disconnect(self) -> bool:
        """Close the client; return whether there was one."""
        with self._lock:
            client, self._client = self._client, None
            self._loaded.clear()
        if client:
            with contextlib.suppress(Exception):  # the connection may be broken
                client.close()
        return client is not None

    # Collections

    def full_name(self, collection: str) -> str:
        """Return the name of a collection on the server; "" is the collection of articles."""
        return f"{self._address.name}_{collection}" if collection else self._address.name

    def exists(self, collection: str) -> bool:
        """Return whether a collection exists, without creating a Lite database."""
        if self._address.lite and not Path(self._address.uri).exists():
            return False
        return bool(self._call("has_collection", collection))

    def is_own(self, collection: str) -> bool:
        """Return whether an existing collection was created by this package."""
        description = self._call("describe_collection", collection)
        field_names = {field["name"] for field in description["fields"]}
        return MARKER_FIELDS[collection] in field_names and (
            self._address.lite or description["description"] == self.description(collection)
        )

    def description(self, collection: str) -> str:
        """Return the description of a collection."""
        return f"recommender index {self._address.name}: {collection or 'articles'}"

    def drop(self, collection: str) -> None:
        """Drop a collection, if it exists."""
        self._call("drop_collection", collection)

    def create(self, collection: str, schema: Any, index: Any) -> None:
        """Create and load a collection; a writer reads its own writes."""
        self._call(
            "create_collection",
            collection,
            seconds=CREATE_SECONDS,
            schema=schema,
            index_params=index,
            consistency_level="Session",
        )

    def flush(self, collection: str) -> None:
        """Have the server seal and index the rows of a collection."""
        self._call("flush", collection, seconds=CREATE_SECONDS)

    # Reading

    @contextlib.contextmanager
    def reading_newest(self) -> Iterator[None]:
        """Have the next read of each collection return all writes of all processes."""
        previous, self._refreshed = self._refreshed, set()
        try:
            yield
        finally:
            self._refreshed = previous

    def _consistency(self, collection: str) -> str:
        """Return the consistency of a read: a writer sees all writes, other readers those older than seconds."""
        if self._refreshed is not None and collection not in self._refreshed:
            self._refreshed.add(collection)
            return "Strong"
        level, written = _last_writes.get(self._write_key(collection), ("Bounded", 0.0))
        return "Bounded" if level == "Strong" and time.monotonic() - written > DELETION_SECONDS else level

    def _write_key(self, collection: str) -> tuple[str, str, str]:
        return self._address.uri, self._address.database, self.full_name(collection)

    def query(self, collection: str, where: str, fields: Sequence[str]) -> list[Row]:
        """Return the rows that match a filter expression."""
        consistency = self._consistency(collection)
        rows = self._call("query", collection, filter=where, output_fields=list(fields), consistency_level=consistency)
        return list(rows)

    def rows_by_key(
        self, collection: str, keys: Sequence[str], fields: Sequence[str], batch_size: int = MAX_EXPRESSION_KEYS
    ) -> Iterator[Row]:
        """Yield the rows with these primary keys, which contain only letters, digits, slashes, hyphens and tildes."""
        for start in range(0, len(keys), batch_size):
            yield from self.query(collection, f"pk in {key_list(keys[start : start + batch_size])}", fields)

    def pages(self, collection: str, where: str, fields: Sequence[str], size: int = PAGE_ROWS) -> Iterator[list[Row]]:
        """Yield the rows that match a filter expression in pages, in the order of their primary keys."""
        self.count(collection, 'pk == ""')  # waits for the consistency that an iterator ignores
        iterator: Any = None
        last_key = ""

        def next_page(client: Any, name: str) -> list[Row]:
            nonlocal iterator
            if iterator is None:
                iterator = client.query_iterator(
                    name,
                    batch_size=size,
                    filter=f'pk > "{last_key}"' + (f" and ({where})" if where else ""),
                    output_fields=["pk", *fields],
                    timeout=CALL_SECONDS,
                    # With this option a server of 2.3 leaves out rows that it has not sealed yet.
                    reduce_stop_for_best=self.has_sparse_vectors,
                )
            try:
                return list(iterator.next())
            except Exception:  # a retry begins after the last page
                iterator = None
                raise

        while True:
            page = self._retry(next_page, collection, CALL_SECONDS, load=True)
            if page:
                last_key = page[-1]["pk"]
                yield page
            if len(page) < size:
                return

    def count(self, collection: str, where: str) -> int:
        """Return the number of rows that match a filter expression."""
        return int(self.query(collection, where, ["count(*)"])[0]["count(*)"])

    def search(
        self, collection: str, field: str, vectors: Sequence[Any], where: str, n: int, parameters: Mapping[str, Any]
    ) -> list[list[str]]:
        """Return for each vector the primary keys of the `n` rows with the largest inner products."""
        hits_of_vectors = self._call(
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
        # A server of 2.3 calls the primary key "id".
        return [[hit["pk"] if "pk" in hit else hit["id"] for hit in hits] for hits in hits_of_vectors]

    # Writing

    def upsert(self, collection: str, rows: Sequence[Row]) -> None:
        """Add or replace rows by their primary keys."""
        batch: list[Row] = []
        batch_bytes = 0
        for row in rows:
            row_bytes = sum(
                len(value) * (8 if isinstance(value, list | dict) else 1)
                for value in row.values()
                if hasattr(value, "__len__")
            )
            if batch and batch_bytes + row_bytes > MAX_UPSERT_BYTES:
                self._upsert_batch(collection, batch)
                batch, batch_bytes = [], 0
            batch.append(row)
            batch_bytes += row_bytes
        if batch:
            self._upsert_batch(collection, batch)

    def _upsert_batch(self, collection: str, rows: list[Row]) -> None:
        self._call("upsert", collection, data=rows)
        _last_writes[self._write_key(collection)] = "Session", time.monotonic()

    def delete(self, collection: str, keys: Sequence[str]) -> None:
        """Delete rows by their primary keys."""
        for start in range(0, len(keys), MAX_EXPRESSION_KEYS):
            self._call("delete", collection, filter=f"pk in {key_list(keys[start : start + MAX_EXPRESSION_KEYS])}")
            # A server of 2.3 does not report the time of a deletion, so that a session would not include it.
            level = "Session" if self.has_sparse_vectors else "Strong"
            _last_writes[self._write_key(collection)] = level, time.monotonic()


def key_list(keys: Sequence[str]) -> str:
    """Return primary keys as a list in a filter expression."""
    return "[" + ", ".join(f'"{key}"' for key in keys) + "]"


def _release_lite(path: str) -> None:
    """Close a Lite database with its last connection in this process, so that another process can open it."""
    _lite_connections[path] -= 1
    if not _lite_connections[path]:
        from milvus_lite import server_manager_instance  # noqa: PLC0415 - only where Milvus is used

        server_manager_instance.release_server(path)


def _is_at_least_2_4(version: str) -> bool:
    """Return whether a server has sparse vectors by its version; one without a number counts as new."""
    match = re.search(r"(\d+)\.(\d+)", version)
    return match is None or (int(match[1]), int(match[2])) >= (2, 4)
