"""Parquet, one row a link; what is in memory is one row group."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recommender.errors import RecommenderError
from recommender.publish.keyed_blocks import KeyedBlocks, as_text, utc
from recommender.publish.table import COLUMNS
from recommender.text.clean import clean_text

ROWS = 50_000  # of a row group


def check() -> None:
    """Raise RecommenderError if what writes Parquet is not installed."""
    if not find_spec("pyarrow"):
        raise RecommenderError("Parquet needs pyarrow, which is not installed: pip install 'recommender[parquet]'.")


def write(entries: KeyedBlocks, path: Path) -> None:
    """Write entries to a file."""
    check()
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    types = {"position": pa.int32(), "published": pa.timestamp("us", tz="UTC"), "score": pa.float64()}
    further = {name: pa.list_(pa.string()) if name == "tags" else pa.string() for name in entries.fields}
    schema = pa.schema([(name, (types | further).get(name, pa.string())) for name in (*COLUMNS, *entries.fields)])
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, schema) as writer:
        for _, card, block in entries:
            for position, link in enumerate(block, start=1):
                record = entries.record(link) | {"published": utc(link.published)}
                for name in entries.fields:
                    if name != "tags" and record[name] is not None:
                        record[name] = clean_text(as_text(record[name]))
                rows.append({"article_id": card.id, "article_url": card.url, "position": position, **record})
            if len(rows) >= ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
