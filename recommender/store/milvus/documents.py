"""Texts of any length, by name, in rows of a collection: what Milvus keeps is no longer than 65,535 bytes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from recommender.store.milvus.engine import Engine

COLLECTION = "documents"
PART = 60_000  # bytes of UTF-8 that one row holds, at most


class Documents:
    """The documents of an index.

    Args:
        engine: the connection.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self) -> None:
        """Make the collection."""
        from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - only where Milvus is used

        schema = MilvusClient.create_schema(auto_id=False, description=self._engine.mark(COLLECTION))
        schema.add_field("pk", DataType.VARCHAR, max_length=512, is_primary=True)
        schema.add_field("data", DataType.VARCHAR, max_length=65_535)
        schema.add_field("parts", DataType.INT64)
        self._engine.create(COLLECTION, schema, no_vectors(schema))

    def get(self, names: Sequence[str]) -> dict[str, str]:
        """Return those of the documents that are there, by name."""
        firsts = {
            row["pk"].rpartition("/")[0]: (row["data"], row["parts"])
            for row in self._engine.by_key(COLLECTION, "pk", [f"{name}/0" for name in names], ["data", "parts"])
        }
        rest = [f"{name}/{part}" for name, (_, parts) in firsts.items() for part in range(1, parts)]
        more = {row["pk"]: row["data"] for row in self._engine.by_key(COLLECTION, "pk", rest, ["data"])}
        found = {}
        for name, (data, parts) in firsts.items():
            pieces = [data, *(more.get(f"{name}/{part}") for part in range(1, parts))]
            if None not in pieces:
                found[name] = "".join(pieces)
        return found

    def put(self, documents: Mapping[str, str]) -> None:
        """Add or replace documents. Names have letters, digits and slashes."""
        self._engine.upsert(COLLECTION, [row for name, text in documents.items() for row in _rows(name, text)])

    def delete(self, names: Iterable[str]) -> None:
        """Remove documents; those that are not there are passed over."""
        firsts = [f"{name}/0" for name in names]
        rows = self._engine.by_key(COLLECTION, "pk", firsts, ["parts"])
        keys = [f"{row['pk'][:-1]}{part}" for row in rows for part in range(row["parts"])]
        self._engine.delete(COLLECTION, "pk", keys)

    def names(self) -> Iterator[str]:
        """Yield the names of all documents."""
        for page in self._engine.pages(COLLECTION, "", []):
            for row in page:
                name, _, part = row["pk"].rpartition("/")
                if part == "0":
                    yield name


def no_vectors(schema: Any) -> Any:
    """Give a collection the vector that Milvus wants each to have, and return its index."""
    from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - only where Milvus is used

    schema.add_field("nothing", DataType.FLOAT_VECTOR, dim=2)
    index = MilvusClient.prepare_index_params()
    index.add_index("nothing", index_type="FLAT", metric_type="IP")
    return index


def _rows(name: str, text: str) -> list[dict[str, object]]:
    pieces, start = list[str](), 0
    encoded = text.encode()
    while start < len(encoded) or not pieces:
        end = min(start + PART, len(encoded))
        while end < len(encoded) and encoded[end] & 0xC0 == 0x80:  # not within a character
            end -= 1
        pieces.append(encoded[start:end].decode())
        start = end
    return [
        {"pk": f"{name}/{part}", "data": piece, "parts": len(pieces), "nothing": [0.0, 0.0]}
        for part, piece in enumerate(pieces)
    ]
