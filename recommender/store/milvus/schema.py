"""The schemas of the collections of articles, term vectors and hubness."""

from typing import Any

from recommender.store.milvus.connection import Connection
from recommender.store.milvus.documents import COLLECTION as DOCUMENTS
from recommender.store.milvus.documents import add_unused_vector
from recommender.store.milvus.rows import MAX_ARRAY_VALUES
from recommender.store.milvus.term_dictionary import COLLECTION as TERMS
from recommender.store.milvus.term_vectors import HASHED_DIMENSIONS

ARTICLES, TERM_VECTORS, HUBNESS = "", "term_vectors", "hubness"
COLLECTIONS = (ARTICLES, TERM_VECTORS, HUBNESS, TERMS, DOCUMENTS)
UNKNOWN_ROUND = -1  # the round of an article whose hubness is unknown
MAX_CHARS = 65_535  # of a VARCHAR field in Milvus
SHARED_FIELDS = ("pk", "language", "published", "recommend", "facet_hashes")  # of ARTICLES and TERM_VECTORS


def create_collections(connection: Connection, dimensions: int, *, exact: bool) -> None:
    """Create the collections of articles, hubness and, for servers without sparse vectors, term vectors.

    Args:
        connection: the connection to the index.
        dimensions: the dimensions of the articles' vectors.
        exact: whether dense search compares all vectors, rather than use an HNSW (Malkov and Yashunin 2018).
    """
    from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - only where Milvus is used

    dense = {"index_type": "FLAT"} if exact else {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}}
    schema = MilvusClient.create_schema(auto_id=False, description=connection.description(HUBNESS))
    schema.add_field("pk", DataType.VARCHAR, max_length=MAX_CHARS, is_primary=True)
    schema.add_field("hubness", DataType.DOUBLE)
    schema.add_field("round", DataType.INT64)
    connection.create(HUBNESS, schema, add_unused_vector(schema))

    schema = MilvusClient.create_schema(auto_id=False, description=connection.description(ARTICLES))
    _add_shared_fields(schema)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
    for name in ("content_hash", "record_hash", "checksum"):
        schema.add_field(name, DataType.VARCHAR, max_length=32)
    for name in ("record", "terms", "source"):
        schema.add_field(name, DataType.VARCHAR, max_length=MAX_CHARS)
    schema.add_field("section", DataType.VARCHAR, max_length=1000)
    schema.add_field("assumed", DataType.BOOL)
    for name in ("revision", "related_count", "source_hash", "url_hash", "title_hash"):
        schema.add_field(name, DataType.INT64)
    schema.add_field("link_hashes", DataType.ARRAY, element_type=DataType.INT64, max_capacity=MAX_ARRAY_VALUES)
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", metric_type="IP", **dense)
    if connection.has_sparse_vectors:
        schema.add_field("term_vector", DataType.SPARSE_FLOAT_VECTOR)
        index.add_index("term_vector", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    connection.create(ARTICLES, schema, index)
    if not connection.has_sparse_vectors:
        schema = MilvusClient.create_schema(auto_id=False, description=connection.description(TERM_VECTORS))
        _add_shared_fields(schema)
        schema.add_field("term_vector", DataType.FLOAT_VECTOR, dim=HASHED_DIMENSIONS)
        index = MilvusClient.prepare_index_params()
        index.add_index("term_vector", metric_type="IP", **dense)
        connection.create(TERM_VECTORS, schema, index)


def _add_shared_fields(schema: Any) -> None:
    """Add SHARED_FIELDS, by which filters of candidates are evaluated."""
    from pymilvus import DataType  # noqa: PLC0415 - only where Milvus is used

    schema.add_field("pk", DataType.VARCHAR, max_length=MAX_CHARS, is_primary=True)
    schema.add_field("language", DataType.VARCHAR, max_length=64)
    schema.add_field("published", DataType.INT64)
    schema.add_field("recommend", DataType.BOOL)
    schema.add_field("facet_hashes", DataType.ARRAY, element_type=DataType.INT64, max_capacity=MAX_ARRAY_VALUES)
