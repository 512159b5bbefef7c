"""Reader for CSV and TSV, one article per row; the first row contains the names of the fields."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping

from recommender.sources import record
from recommender.sources.entry import (
    EMPTY_FILE,
    ENCODING_SAMPLE_BYTES,
    MAX_ARTICLE_BYTES,
    STRAY_BYTES,
    Entry,
    File,
    encoding_of,
)

_NULLS = {"NULL", "null", "\\N", "None", "nan", "NaN", "#N/A"}  # of databases, pandas and spreadsheets
_DELIMITERS = ",;\t|"
_SEPARATOR_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?[ \t]*[\r\n]", re.I)  # written for Excel above the names


def read(file: File, complete: Callable[[dict[str, str]], dict[str, str]] | None = None) -> Iterator[Entry]:
    """Stream the articles of a file; a malformed row costs only itself.

    Args:
        file: the table.
        complete: returns further fields of a row, given its cells by name.
    """
    csv.field_size_limit(MAX_ARTICLE_BYTES)
    row = 0
    try:
        with file.path.open("rb") as raw:
            sample = raw.read(ENCODING_SAMPLE_BYTES)
            raw.seek(0)
            if not sample.strip():
                yield Entry(file.name, problems=(EMPTY_FILE,), unknown=True)
                return
            encoding = encoding_of(sample)
            text = io.TextIOWrapper(raw, encoding=encoding, errors=STRAY_BYTES, newline="")
            beginning = sample.decode(encoding, errors="replace")
            if separator := _SEPARATOR_LINE.match(beginning):
                text.readline()
            delimiter = separator[1] if separator else _delimiter(beginning, file)
            lines = csv.reader(text, delimiter=delimiter, strict=True)
            names = tuple(name.strip() for name in next(lines))
            if file.strict and (problem := record.missing_columns(filter(None, names), file.fields)):
                yield Entry(file.name, problems=(problem,), unknown=True, failed=True)
                return
            position = 0
            values: list[str] = []
            while True:
                try:
                    values = next(lines)
                except StopIteration:
                    if 0 < len(values) < len(names) and not _ends_with_line_break(file):
                        problem = "the last row lacks cells and its line has no end, so the file may be cut short"
                        yield Entry(f"{file.name}:{row}", problems=(problem,), unknown=True)
                    return
                except csv.Error as error:
                    problem = f"the row cannot be read ({error})"
                    yield Entry(f"{file.name}:{lines.line_num}", problems=(problem,), unknown=True)
                    continue
                row = lines.line_num
                file.on_bytes_read(raw.tell() - position)
                position = raw.tell()
                if any(values):
                    yield _entry(f"{file.name}:{row}", names, values, file.fields, complete)
    except OSError as error:
        yield file.unreadable_entry(error)
    except (csv.Error, StopIteration) as error:
        problem = f"the file cannot be read as a table ({error})"
        yield Entry(f"{file.name}:{row + 1}", problems=(problem,), unknown=True, failed=True)


def _delimiter(sample: str, file: File) -> str:
    """Return a tab for TSV, else the most frequent delimiter of the first row."""
    if file.path.name.lower().endswith((".tsv", ".tab")):
        return "\t"
    head = next(csv.reader(io.StringIO(sample, newline="")), [""])
    # A quoted name may contain a line break, which the raw line ends at.
    header = re.split(r"[\r\n]", sample, maxsplit=1)[0] if len(head) < 2 else ",".join(head)
    return max(_DELIMITERS, key=lambda delimiter: (header.count(delimiter), -_DELIMITERS.index(delimiter)))


def _ends_with_line_break(file: File) -> bool:
    with file.path.open("rb") as raw:
        raw.seek(-1, 2)
        return raw.read(1) in (b"\n", b"\r", b"\0")  # in UTF-16 a zero may follow


def _entry(
    where: str,
    names: tuple[str, ...],
    values: list[str],
    fields: Mapping[str, str],
    complete: Callable[[dict[str, str]], dict[str, str]] | None,
) -> Entry:
    if len(values) > len(names) and any(values[len(names) :]):
        problem = f"the row has {len(values)} cells, but the first row names {len(names)} fields"
        return Entry(where, problems=(problem,), unknown=True)
    record_fields = {
        name: value for name, value in zip(names, values, strict=False) if name and value and value not in _NULLS
    }
    if complete:
        record_fields |= complete(record_fields)
    return record.record_entry(where, record_fields, fields=fields, columns=names)
