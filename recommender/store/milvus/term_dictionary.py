"""The term dictionary: document frequencies of terms, stored on the server and cached in the process."""

import threading
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from recommender.store.milvus.connection import Connection
from recommender.store.milvus.documents import UNUSED_VECTOR, add_unused_vector
from recommender.store.milvus.rows import term_hash

COLLECTION = "terms"
UNKNOWN = -1  # a document frequency that is not cached
MAX_BATCH_TERMS = 10_000  # written at once


class TermDictionary:
    """The terms of an index.

    On the server, terms are identified by their hashes (see `term_hash`); callers use term ids, small numbers that are
    valid within this process. Thread-safe.

    Args:
        connection: the connection to the index.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._version: object = None
        self._ids_by_hash: dict[int, int] = {}
        self._hashes = np.empty(0, dtype=np.int64)  # by term id
        self._frequencies = np.empty(0, dtype=np.int64)  # document frequencies by term id

    def create(self) -> None:
        """Create the collection."""
        from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - only where Milvus is used

        schema = MilvusClient.create_schema(auto_id=False, description=self._connection.description(COLLECTION))
        schema.add_field("pk", DataType.VARCHAR, max_length=16, is_primary=True)
        schema.add_field("language", DataType.VARCHAR, max_length=64)
        schema.add_field("term", DataType.VARCHAR, max_length=65_535)
        schema.add_field("document_frequency", DataType.INT64)
        self._connection.create(COLLECTION, schema, add_unused_vector(schema))
        self.set_version(None)

    def set_version(self, version: object) -> None:
        """Clear the cached document frequencies if the version of the stored ones has changed; None clears them."""
        with self._lock:
            if version is None or version != self._version:
                self._frequencies = np.full(len(self._frequencies), UNKNOWN, dtype=np.int64)
                self._version = version

    def ids(self, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return term ids by hash, int64, shape (len(hashes),); unknown hashes get new ids."""
        unique, inverse = np.unique(hashes, return_inverse=True)
        with self._lock:
            ids_by_hash = self._ids_by_hash
            new = [hash for hash in unique.tolist() if hash not in ids_by_hash]
            if new:
                ids_by_hash.update(zip(new, range(len(ids_by_hash), len(ids_by_hash) + len(new)), strict=True))
                self._hashes = np.concatenate([self._hashes, np.array(new, dtype=np.int64)])
                self._frequencies = np.concatenate([self._frequencies, np.full(len(new), UNKNOWN, dtype=np.int64)])
            unique_ids = np.array([ids_by_hash[hash] for hash in unique.tolist()], dtype=np.int64)
        return unique_ids[inverse]

    def hashes(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the hashes of terms by term id."""
        return self._hashes[ids]

    def document_frequencies(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of articles that contain each term, by term id; 0 for terms that are not stored."""
        with self._lock:
            frequencies, version = self._frequencies[ids], self._version
        missing = np.unique(ids[frequencies == UNKNOWN]) if len(ids) else ids
        if len(missing):
            ids_by_key = {
                _key(hash): id for hash, id in zip(self._hashes[missing].tolist(), missing.tolist(), strict=True)
            }
            stored = dict.fromkeys(missing.tolist(), 0)
            for row in self._connection.rows_by_key(COLLECTION, list(ids_by_key), ["document_frequency"]):
                stored[ids_by_key[row["pk"]]] = int(row["document_frequency"])
            with self._lock:
                if version == self._version:
                    self._frequencies[list(stored)] = list(stored.values())
            unknown = frequencies == UNKNOWN
            frequencies[unknown] = [stored[id] for id in ids[unknown].tolist()]
        return frequencies

    def look_up(self, language: str, terms: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return the term id and the document frequency of each term that some article contains."""
        names = list(dict.fromkeys(terms))
        ids = self.ids(np.array([term_hash(language, name) for name in names], dtype=np.int64))
        rows = zip(names, ids.tolist(), self.document_frequencies(ids).tolist(), strict=True)
        return {name: (id, frequency) for name, id, frequency in rows if frequency > 0}

    def terms(self, ids: Iterable[int]) -> dict[int, str]:
        """Return terms by term id."""
        ids_by_key = {_key(int(self._hashes[id])): id for id in ids}
        return {ids_by_key[key]: term for key, term in self._terms_by_key(list(ids_by_key)).items()}

    def terms_by_hash(self, hashes: Iterable[int]) -> dict[int, str]:
        """Return terms by hash."""
        return {int(key, 16): term for key, term in self._terms_by_key([_key(hash) for hash in hashes]).items()}

    def _terms_by_key(self, keys: list[str]) -> dict[str, str]:
        return {row["pk"]: row["term"] for row in self._connection.rows_by_key(COLLECTION, keys, ["term"])}

    def put(self, terms: Mapping[int, tuple[str, str, int]]) -> None:
        """Store language, term and document frequency of terms by hash."""
        rows = [
            {"pk": _key(hash), "language": language, "term": term, "document_frequency": frequency, **UNUSED_VECTOR}
            for hash, (language, term, frequency) in terms.items()
        ]
        for start in range(0, len(rows), MAX_BATCH_TERMS):
            self._connection.upsert(COLLECTION, rows[start : start + MAX_BATCH_TERMS])
        ids = self.ids(np.fromiter(terms, dtype=np.int64, count=len(terms)))
        with self._lock:
            self._frequencies[ids] = [frequency for _, _, frequency in terms.values()]

    def correct(self, frequencies: Mapping[int, int]) -> None:
        """Replace all stored document frequencies that differ from the counted ones, by hash."""
        wrong: dict[int, tuple[str, str, int]] = {}
        for page in self._connection.pages(COLLECTION, "", ["language", "term", "document_frequency"]):
            for row in page:
                hash = int(row["pk"], 16)
                if row["document_frequency"] != frequencies.get(hash, 0):
                    wrong[hash] = (row["language"], row["term"], frequencies.get(hash, 0))
            if len(wrong) >= MAX_BATCH_TERMS:
                self.put(wrong)
                wrong = {}
        self.put(wrong)

    def count_wrong(self, frequencies: Mapping[int, int]) -> int:
        """Return the number of terms whose stored document frequency differs from the counted one, by hash."""
        uncompared = dict(frequencies)
        wrong = 0
        for page in self._connection.pages(COLLECTION, "", ["document_frequency"]):
            wrong += sum(row["document_frequency"] != uncompared.pop(int(row["pk"], 16), 0) for row in page)
        return wrong + len(uncompared)


def _key(hash: int) -> str:
    return f"{hash:012x}"
