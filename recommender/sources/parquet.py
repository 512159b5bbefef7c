"""Reader for Parquet files, one article per row."""

from collections.abc import Iterator

from recommender.errors import SourceError
from recommender.sources import record
from recommender.sources.entry import Entry, File

_BATCH_ROWS = 256  # in memory at once


def read(file: File) -> Iterator[Entry]:
    """Stream the articles of a file.

    Raises:
        SourceError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise SourceError(
            f"To read the Parquet file {file.name}, install pyarrow: pip install 'recommender[parquet]'"
        ) from error
    row = 0
    try:
        with pyarrow.parquet.ParquetFile(file.path) as table:
            names = tuple(table.schema_arrow.names)
            if file.strict and (problem := record.missing_columns(names, file.fields)):
                yield Entry(file.name, problems=(problem,), unknown=True, failed=True)
                return
            rows = max(table.metadata.num_rows, 1)
            size = file.path.stat().st_size
            reported_bytes = 0
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                for record_values in batch.to_pylist():
                    row += 1
                    where = f"{file.name}: row {row}"
                    try:
                        plain = {
                            name: value for name, value in record.json_value(record_values).items() if value is not None
                        }
                    except ValueError as error:
                        yield Entry(where, problems=(str(error),), unknown=True)
                        continue
                    yield record.record_entry(where, plain, fields=file.fields, columns=names)
                file.on_bytes_read(size * row // rows - reported_bytes)
                reported_bytes = size * row // rows
    except (pyarrow.ArrowException, ValueError) as error:
        problem = f"the file is not Parquet, or is damaged from here on ({' '.join(str(error).split())[:200]})"
        yield Entry(f"{file.name}: row {row + 1}", problems=(problem,), unknown=True, failed=True)
    except OSError as error:
        yield file.unreadable_entry(error)
