"""Reader of DataFrames of pandas and Polars and of Arrow tables; none of these libraries is imported at the start."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeGuard


class DataFrame(Protocol):
    """A table in memory: a DataFrame of pandas or Polars, a Table of pyarrow, or any object with an Arrow stream."""

    @property
    def columns(self) -> Any:
        """The columns, or their names."""


def is_dataframe(value: object) -> TypeGuard[DataFrame]:
    """Return whether `rows` can read a value; a single column (a Series) is not a DataFrame."""
    if hasattr(value, "itertuples") or hasattr(value, "iter_rows") or hasattr(value, "collect_schema"):
        return True
    return hasattr(value, "__arrow_c_stream__") and not hasattr(value, "to_list")


def columns(frame: Any) -> list[str]:
    """Return the field names of a DataFrame's rows: its columns and the named levels of its index."""
    if hasattr(frame, "itertuples"):
        return [*_named_levels(frame), *map(str, frame.columns)]
    if hasattr(frame, "collect_schema"):
        return list(frame.collect_schema().names())
    return list(frame.column_names if hasattr(frame, "column_names") else frame.columns)


def rows(frame: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each row an expression that selects it, such as `df.iloc[3]`, and its values by field name."""
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
        import pyarrow  # noqa: PLC0415 - an extra; whoever passes an Arrow table usually has it

        reader = pyarrow.RecordBatchReader.from_stream(frame)
        rows = (row for batch in reader for row in batch.to_pylist())
        yield from ((f"row {number}", row) for number, row in enumerate(rows))


def _named_levels(frame: Any) -> list[str]:
    """Return the names of the index levels that are not also columns; unnamed levels only count rows."""
    return [name for name in frame.index.names if name is not None and name not in frame.columns]
