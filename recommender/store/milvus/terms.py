"""In how many articles each term stands: kept on the server, and remembered by whoever asks."""

import threading
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from recommender.store.milvus.documents import no_vectors
from recommender.store.milvus.engine import Engine
from recommender.store.milvus.rows import term_number

COLLECTION = "terms"
UNKNOWN = -1


class TermCounts:
    """The terms of an index.

    Outside they go by small numbers, which hold within this process; on the server by their hashes.

    Args:
        engine: the connection.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._version: object = None
        self._places: dict[int, int] = {}  # of each hash
        self._hashes = np.empty(0, dtype=np.int64)  # by place
        self._counts = np.empty(0, dtype=np.int64)

    def create(self) -> None:
        """Make the collection."""
        from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - only where Milvus is used

        schema = MilvusClient.create_schema(auto_id=False, description=self._engine.mark(COLLECTION))
        schema.add_field("pk", DataType.VARCHAR, max_length=16, is_primary=True)
        schema.add_field("language", DataType.VARCHAR, max_length=64)
        schema.add_field("term", DataType.VARCHAR, max_length=65_535)
        schema.add_field("articles", DataType.INT64)
        self._engine.create(COLLECTION, schema, no_vectors(schema))
        self.update(None)

    def update(self, version: object) -> None:
        """Forget the counts if they were made anew since; the version of the counts is given."""
        with self._lock:
            if version is None or version != self._version:
                self._counts = np.full(len(self._counts), UNKNOWN, dtype=np.int64)
                self._version = version

    def places(self, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the small numbers of terms by their hashes, which may stand there several times."""
        unique, where = np.unique(hashes, return_inverse=True)
        with self._lock:
            known = self._places
            new = [hash for hash in unique.tolist() if hash not in known]
            if new:
                known.update(zip(new, range(len(known), len(known) + len(new)), strict=True))
                self._hashes = np.concatenate([self._hashes, np.array(new, dtype=np.int64)])
                self._counts = np.concatenate([self._counts, np.full(len(new), UNKNOWN, dtype=np.int64)])
            small = np.array([known[hash] for hash in unique.tolist()], dtype=np.int64)
        return small[where]

    def hashes(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the hashes of terms by their small numbers."""
        return self._hashes[places]

    def counts(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return in how many articles each term stands, by its small number; 0 where no one has counted it yet."""
        with self._lock:
            counts, version = self._counts[places], self._version
        missing = np.unique(places[counts == UNKNOWN]) if len(places) else places
        if len(missing):
            keys = {
                _key(hash): place for hash, place in zip(self._hashes[missing].tolist(), missing.tolist(), strict=True)
            }
            found = dict.fromkeys(missing.tolist(), 0)
            for row in self._engine.by_key(COLLECTION, "pk", list(keys), ["articles"]):
                found[keys[row["pk"]]] = int(row["articles"])
            with self._lock:
                if version == self._version:
                    self._counts[list(found)] = list(found.values())
            unknown = counts == UNKNOWN
            counts[unknown] = [found[place] for place in places[unknown].tolist()]
        return counts

    def known(self, language: str, terms: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return for those of the terms that stand in an article their small number and in how many they do."""
        names = list(dict.fromkeys(terms))
        places = self.places(np.array([term_number(language, name) for name in names], dtype=np.int64))
        counted = zip(names, places.tolist(), self.counts(places).tolist(), strict=True)
        return {name: (place, count) for name, place, count in counted if count > 0}

    def names(self, places: Iterable[int]) -> dict[int, str]:
        """Return terms by their small numbers."""
        keys = {_key(int(self._hashes[place])): place for place in places}
        return {keys[row["pk"]]: row["term"] for row in self._engine.by_key(COLLECTION, "pk", list(keys), ["term"])}

    def names_of(self, hashes: Iterable[int]) -> dict[int, str]:
        """Return terms by their hashes."""
        keys = {_key(hash): hash for hash in hashes}
        return {keys[row["pk"]]: row["term"] for row in self._engine.by_key(COLLECTION, "pk", list(keys), ["term"])}

    def put(self, terms: Mapping[int, tuple[str, str, int]]) -> None:
        """Set in how many articles terms stand: by hash, the language, the term and the number of them."""
        rows = [
            {"pk": _key(hash), "language": language, "term": term, "articles": articles, "nothing": [0.0, 0.0]}
            for hash, (language, term, articles) in terms.items()
        ]
        for start in range(0, len(rows), 10_000):
            self._engine.upsert(COLLECTION, rows[start : start + 10_000])
        places = self.places(np.fromiter(terms, dtype=np.int64, count=len(terms)))
        with self._lock:
            self._counts[places] = [articles for _, _, articles in terms.values()]

    def recount(self, counted: Mapping[int, int]) -> int:
        """Set the counts of all terms to what was counted, by hash; return how many were others."""
        wrong: dict[int, tuple[str, str, int]] = {}
        total = 0
        for page in self._engine.pages(COLLECTION, "", ["language", "term", "articles"]):
            for row in page:
                hash = int(row["pk"], 16)
                if row["articles"] != counted.get(hash, 0):
                    wrong[hash] = (row["language"], row["term"], counted.get(hash, 0))
            if len(wrong) >= 10_000:
                self.put(wrong)
                total, wrong = total + len(wrong), {}
        self.put(wrong)
        return total + len(wrong)

    def miscounted(self, counted: Mapping[int, int]) -> int:
        """Return of how many terms the counts are not what was counted, by hash."""
        pages = self._engine.pages(COLLECTION, "", ["articles"])
        rest = dict(counted)
        wrong: int = sum(row["articles"] != rest.pop(int(row["pk"], 16), 0) for page in pages for row in page)
        return wrong + len(rest)


def _key(hash: int) -> str:
    return f"{hash:012x}"
