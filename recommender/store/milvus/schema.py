"""The collections of an index, and what their rows hold."""

from typing import Any

from recommender.store.milvus.engine import Engine
from recommender.store.milvus.rows import MOST_VALUES
from recommender.store.milvus.words import FOLDED

ARTICLES, WORDS, NEARNESS = "", "words", "hubness"
COLLECTIONS = (ARTICLES, WORDS, NEARNESS, "terms", "documents")  # the last two have modules of their own


def create_collections(engine: Engine, dimensions: int, *, exact: bool) -> None:
    """Make the collections of articles, of what their words are searched by where that is apart, and of hubness.

    Args:
        engine: the connection.
        dimensions: of the articles' vectors.
        exact: whether vectors are all compared, and not found by an HNSW (Malkov and Yashunin 2018).
    """
    from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - only where Milvus is used

    dense = {"index_type": "FLAT"} if exact else {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}}
    schema = MilvusClient.create_schema(auto_id=False, description=engine.mark(NEARNESS))
    schema.add_field("pk", DataType.VARCHAR, max_length=65_535, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)  # hubness, 0: Milvus has no vectors of one number
    schema.add_field("round", DataType.INT64)
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="IP")
    engine.create(NEARNESS, schema, index)

    schema = MilvusClient.create_schema(auto_id=False, description=engine.mark(ARTICLES))
    _filter_fields(schema)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
    for name in ("content", "digest", "checksum"):
        schema.add_field(name, DataType.VARCHAR, max_length=32)
    for name in ("record", "terms", "source"):
        schema.add_field(name, DataType.VARCHAR, max_length=65_535)
    schema.add_field("section", DataType.VARCHAR, max_length=1000)
    schema.add_field("assumed", DataType.BOOL)
    for name in ("change", "editorial", "origin", "url_key", "title_key"):
        schema.add_field(name, DataType.INT64)
    schema.add_field("targets", DataType.ARRAY, element_type=DataType.INT64, max_capacity=MOST_VALUES)
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", metric_type="IP", **dense)
    if engine.sparse:
        schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
        index.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    engine.create(ARTICLES, schema, index)
    if not engine.sparse:
        schema = MilvusClient.create_schema(auto_id=False, description=engine.mark(WORDS))
        _filter_fields(schema)
        schema.add_field("words", DataType.FLOAT_VECTOR, dim=FOLDED)
        index = MilvusClient.prepare_index_params()
        index.add_index("words", metric_type="IP", **dense)
        engine.create(WORDS, schema, index)


def _filter_fields(schema: Any) -> None:
    """Add the fields that a condition is evaluated by."""
    from pymilvus import DataType  # noqa: PLC0415 - only where Milvus is used

    schema.add_field("pk", DataType.VARCHAR, max_length=65_535, is_primary=True)
    schema.add_field("language", DataType.VARCHAR, max_length=64)
    schema.add_field("time", DataType.INT64)
    schema.add_field("recommend", DataType.BOOL)
    schema.add_field("facets", DataType.ARRAY, element_type=DataType.INT64, max_capacity=MOST_VALUES)
