"""Tables, one article a row: CSV and TSV, with the names of the fields in the first row."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from recommender.sources import record
from recommender.sources.entry import LONGEST, Entry, File, encoding_of

_SAMPLE = 2**18  # bytes that the encoding and the delimiter are guessed from
_DELIMITERS = ",;\t|"
_LISTS = ("tags", "related", "links")
_SEPARATORS = {"tags": ",", "related": "|", "links": "|"}


def read(file: File) -> Iterator[Entry]:
    """Read the articles of a file."""
    csv.field_size_limit(LONGEST)
    row = 0
    try:
        with file.path.open("rb") as raw:
            sample = raw.read(_SAMPLE)
            raw.seek(0)
            if not sample.strip():
                yield Entry(file.name, problems=("the file is empty",), unknown=True)
                return
            encoding = encoding_of(sample)
            text = io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="")
            lines = csv.reader(text, delimiter=_delimiter(sample.decode(encoding, errors="replace"), file), strict=True)
            names = [name.strip() for name in next(lines)]
            position = 0
            while True:
                try:
                    values = next(lines)
                except StopIteration:
                    return
                except csv.Error as error:
                    problem = f"the row cannot be read ({error})"
                    yield Entry(f"{file.name}:{lines.line_num}", problems=(problem,), unknown=True)
                    continue
                row = lines.line_num
                file.count(raw.tell() - position)
                position = raw.tell()
                if any(values):
                    yield _entry(f"{file.name}:{row}", names, values, file.fields)
    except OSError as error:
        yield file.unread(error)
    except (csv.Error, StopIteration) as error:
        problem = f"the file is not a table that can be read ({error})"
        yield Entry(f"{file.name}:{row + 1}", problems=(problem,), unknown=True, failed=True)


def _delimiter(sample: str, file: File) -> str:
    if file.path.name.lower().endswith((".tsv", ".tab")):
        return "\t"
    head = next(csv.reader(io.StringIO(sample)), [""])
    first = sample[: sample.find("\n")] if len(head) < 2 else ",".join(head)  # the names of fields need no quotes
    return max(_DELIMITERS, key=lambda delimiter: (first.count(delimiter), -_DELIMITERS.index(delimiter)))


def _entry(where: str, names: list[str], values: list[str], fields: Mapping[str, str]) -> Entry:
    if len(values) > len(names) and any(values[len(names) :]):
        problem = f"the row has {len(values)} cells, and the first row names {len(names)} fields"
        return Entry(where, problems=(problem,), unknown=True)
    found = {name: value for name, value in zip(names, values, strict=False) if name and value}
    return record.entry(where, lists(record.renamed(found, fields)))


def lists(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of a table with its lists, which stand in one cell, taken apart: as JSON, or at , or |."""
    record = dict(found)
    for name in _LISTS:
        value = record.get(name)
        if not isinstance(value, str):
            continue
        try:
            parts = json.loads(value) if value.lstrip().startswith("[") else None
        except ValueError:
            parts = None
        record[name] = parts if isinstance(parts, list) else [part.strip() for part in value.split(_SEPARATORS[name])]
    return record
