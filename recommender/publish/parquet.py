"""Parquet, one row per link, written one row group at a time."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recommender.errors import RecommenderError
from recommender.publish.keyed_blocks import KeyedBlocks, as_text, utc
from recommender.publish.table import COLUMNS
from recommender.text.clean import clean_text

ROW_GROUP_ROWS = 50_000


def check() -> None:
    """Raise RecommenderError if pyarrow is not installed."""
    if not find_spec("pyarrow"):
        raise RecommenderError("Parquet needs pyarrow, which is not installed: pip install 'recommender[parquet]'.")


def write(blocks: KeyedBlocks, path: Path) -> None:
    """Write blocks to a file."""
    check()
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    types = {"position": pa.int32(), "published": pa.timestamp("us", tz="UTC"), "score": pa.float64()}
    field_types = {name: pa.list_(pa.string()) if name == "tags" else pa.string() for name in blocks.fields}
    schema = pa.schema([(name, (types | field_types).get(name, pa.string())) for name in (*COLUMNS, *blocks.fields)])
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, schema) as writer:
        for _, article, block in blocks:
            for position, link in enumerate(block, start=1):
                record = blocks.record(link) | {"published": utc(link.published)}
                for name in blocks.fields:
                    if name != "tags" and record[name] is not None:
                        record[name] = clean_text(as_text(record[name]))
                rows.append({"article_id": article.id, "article_url": article.url, "position": position, **record})
            if len(rows) >= ROW_GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
