"""Documents: texts of any length by name, in parts that fit a field of Milvus (65,535 bytes)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from recommender.store.milvus.connection import Connection

COLLECTION = "documents"
MAX_PART_BYTES = 60_000  # of UTF-8, in one row


class Documents:
    """The documents of an index.

    Args:
        connection: the connection to the index.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self) -> None:
        """Create the collection."""
        from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - only where Milvus is used

        schema = MilvusClient.create_schema(auto_id=False, description=self._connection.description(COLLECTION))
        schema.add_field("pk", DataType.VARCHAR, max_length=512, is_primary=True)
        schema.add_field("data", DataType.VARCHAR, max_length=65_535)
        schema.add_field("part_count", DataType.INT64)
        self._connection.create(COLLECTION, schema, add_unused_vector(schema))

    def get(self, names: Sequence[str]) -> dict[str, str]:
        """Return the existing documents by name."""
        first_parts = {
            row["pk"].rpartition("/")[0]: (row["data"], row["part_count"])
            for row in self._connection.rows_by_key(COLLECTION, [f"{name}/0" for name in names], ["data", "part_count"])
        }
        keys = [f"{name}/{part}" for name, (_, count) in first_parts.items() for part in range(1, count)]
        more_parts = {row["pk"]: row["data"] for row in self._connection.rows_by_key(COLLECTION, keys, ["data"])}
        documents = {}
        for name, (data, count) in first_parts.items():
            parts = [data, *(more_parts.get(f"{name}/{part}") for part in range(1, count))]
            if None not in parts:
                documents[name] = "".join(parts)
        return documents

    def put(self, documents: Mapping[str, str]) -> None:
        """Add or replace documents. Names contain only letters, digits and slashes."""
        self._connection.upsert(COLLECTION, [row for name, text in documents.items() for row in _rows(name, text)])

    def delete(self, names: Iterable[str]) -> None:
        """Delete documents; names that do not exist are ignored."""
        first_keys = [f"{name}/0" for name in names]
        rows = self._connection.rows_by_key(COLLECTION, first_keys, ["part_count"])
        keys = [f"{row['pk'][:-1]}{part}" for row in rows for part in range(row["part_count"])]
        self._connection.delete(COLLECTION, keys)

    def names(self) -> Iterator[str]:
        """Yield the names of all documents."""
        for page in self._connection.pages(COLLECTION, "", []):
            for row in page:
                name, _, part = row["pk"].rpartition("/")
                if part == "0":
                    yield name


def add_unused_vector(schema: Any) -> Any:
    """Add the vector field that Milvus requires of every collection to a schema; return its index parameters."""
    from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - only where Milvus is used

    schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # the fewest dimensions that Milvus accepts
    index = MilvusClient.prepare_index_params()
    index.add_index("unused", index_type="FLAT", metric_type="IP")
    return index


UNUSED_VECTOR = {"unused": [0.0, 0.0]}


def _rows(name: str, text: str) -> list[dict[str, object]]:
    """Return the rows of a document, split between characters."""
    parts, start = list[str](), 0
    encoded = text.encode()
    while start < len(encoded) or not parts:
        end = min(start + MAX_PART_BYTES, len(encoded))
        while end < len(encoded) and encoded[end] & 0xC0 == 0x80:  # a continuation byte of UTF-8
            end -= 1
        parts.append(encoded[start:end].decode())
        start = end
    return [
        {"pk": f"{name}/{number}", "data": part, "part_count": len(parts), **UNUSED_VECTOR}
        for number, part in enumerate(parts)
    ]
