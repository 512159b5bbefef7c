"""JSON Lines, plain or gzipped: one article a line, with the field names of Article."""

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from recommender.sources import record
from recommender.sources.entry import Entry


def read(path: Path, id: str, count: Callable[[int], None]) -> Iterator[Entry]:
    """Read the articles of a file; see `recommender.sources.READERS` for the arguments.

    A line that is no article costs that line alone. A record with neither id nor url is one of them: the number
    of its line would not stay the same, and the file's name stands for many articles.
    """
    number = 0
    try:
        with path.open("rb") as raw:
            lines: BinaryIO | io.BufferedReader = raw
            if path.name.lower().endswith(".gz"):
                lines = io.BufferedReader(gzip.GzipFile(fileobj=raw))
            position = 0
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _entry(f"{path}:{number}", line)
                count(raw.tell() - position)
                position = raw.tell()
        if not number:
            yield Entry(str(path), problems=("the file is empty",), unknown=True)
    except EOFError:
        problem = "the file is cut short: the end of its gzip stream is missing"
        yield Entry(f"{path}:{number + 1}", problems=(problem,), unknown=True, failed=True)
    except (gzip.BadGzipFile, zlib.error) as error:
        problem = f"the file is not gzip, or is damaged from here on ({error})"
        yield Entry(f"{path}:{number + 1}", problems=(problem,), unknown=True, failed=True)
    except OSError as error:
        problem = f"the file cannot be read ({error.strerror or error})"
        yield Entry(str(path), problems=(problem,), unknown=True, failed=True)


def _entry(where: str, line: bytes) -> Entry:
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Entry(where, problems=(f"the line is not UTF-8 (byte {error.start})",), unknown=True)
    try:
        found: Any = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else "; the file seems to be cut short"
        listed = "; this seems to be one JSON list, write one object a line instead" if text.strip() in "[]" else ""
        problem = f"the line is not JSON ({error.msg}, column {error.colno}){cut}{listed}"
        return Entry(where, problems=(problem,), unknown=True)
    except (ValueError, RecursionError) as error:
        return Entry(where, problems=(f"the line is not JSON that can be read ({error})",), unknown=True)
    if not isinstance(found, dict):
        hint = "; write one object a line instead of a list of them" if isinstance(found, list) else ""
        return Entry(where, problems=(f"the line is not a JSON object{hint}",), unknown=True)
    return record.entry(where, found)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
