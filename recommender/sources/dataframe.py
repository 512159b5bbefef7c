"""Rows of DataFrames as records: of pandas, Polars, and whatever gives Arrow data; none of them is imported."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeGuard


class DataFrame(Protocol):
    """A table in memory; a DataFrame of pandas or Polars, a Table of pyarrow, or the like."""

    @property
    def columns(self) -> Any:
        """The columns, or their names."""


def is_dataframe(value: object) -> TypeGuard[DataFrame]:
    """Return whether `rows` can read it. A single column (a Series) is none."""
    if hasattr(value, "itertuples") or hasattr(value, "iter_rows") or hasattr(value, "collect_schema"):
        return True
    return hasattr(value, "__arrow_c_stream__") and not hasattr(value, "to_list")


def columns(frame: Any) -> list[str]:
    """Return the names of the fields of its rows: its columns and those levels of its index that have a name."""
    if hasattr(frame, "itertuples"):
        return [*_named_levels(frame), *map(str, frame.columns)]
    if hasattr(frame, "collect_schema"):
        return list(frame.collect_schema().names())
    return list(frame.column_names if hasattr(frame, "column_names") else frame.columns)


def rows(frame: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each row the expression that selects it, and the row as a mapping."""
    names = columns(frame)
    if hasattr(frame, "itertuples"):
        levels = _named_levels(frame)
        indexed = frame.reset_index(level=levels) if levels else frame
        values = indexed.itertuples(index=False, name=None)
        yield from ((f"df.iloc[{number}]", dict(zip(names, row, strict=True))) for number, row in enumerate(values))
    elif hasattr(frame, "iter_rows") or hasattr(frame, "collect"):
        collected = frame if hasattr(frame, "iter_rows") else frame.collect()
        for number, row in enumerate(collected.iter_rows()):
            yield f"df.row({number})", dict(zip(names, row, strict=True))
    else:
        import pyarrow  # noqa: PLC0415 - an extra, and installed where such a table comes from

        reader = pyarrow.RecordBatchReader.from_stream(frame)
        rows = (row for batch in reader for row in batch.to_pylist())
        yield from ((f"row {number}", row) for number, row in enumerate(rows))


def _named_levels(frame: Any) -> list[str]:
    """Return the names of the levels of its index that are no columns too; one without a name only counts rows."""
    return [name for name in frame.index.names if name is not None and name not in frame.columns]
