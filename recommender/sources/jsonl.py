"""JSON Lines, plain or gzipped: one article a line, with the field names of Article."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NoReturn

from recommender.sources import record
from recommender.sources.entry import EMPTY_FILE, MAX_ARTICLE_BYTES, Entry, File

CHUNK_BYTES = 2**20  # of a line that is too long
MAX_GZIP_RATIO = 300  # of the unpacked size to the packed one
GZIP_CHECK_BYTES = 2**24  # unpacked between two checks of the ratio


class _BombError(Exception):
    """A file unpacks to more than 300 times its size."""


def read(file: File) -> Iterator[Entry]:
    """Read the articles of a file.

    A line that is no article is skipped. So is a record with neither id nor url: its line number may change.
    """
    number = 0
    try:
        with file.path.open("rb") as raw:
            lines: BinaryIO | io.BufferedReader = raw
            if file.path.name.lower().endswith(".gz"):
                lines = io.BufferedReader(gzip.GzipFile(fileobj=raw))
            position = 0
            for number, line in enumerate(_lines(lines, raw), start=1):
                if line is None:
                    problem = f"the line is longer than {MAX_ARTICLE_BYTES // 2**20} MB, and was passed over"
                    yield Entry(f"{file.name}:{number}", problems=(problem,), unknown=True)
                elif line.strip():
                    yield _entry(f"{file.name}:{number}", line, file.fields)
                file.on_bytes_read(raw.tell() - position)
                position = raw.tell()
        if not number:
            yield Entry(file.name, problems=(EMPTY_FILE,), unknown=True)
    except _BombError:
        size = f"more than {MAX_GZIP_RATIO} times its size"
        problem = f"the file unpacks to {size}, as no articles do; reading it was stopped here"
        yield Entry(f"{file.name}:{number + 1}", problems=(problem,), unknown=True, failed=True)
    except EOFError:
        problem = "the file is cut short: the end of its gzip stream is missing"
        yield Entry(f"{file.name}:{number + 1}", problems=(problem,), unknown=True, failed=True)
    except (gzip.BadGzipFile, zlib.error) as error:
        problem = f"the file is not gzip, or is damaged from here on ({error})"
        yield Entry(f"{file.name}:{number + 1}", problems=(problem,), unknown=True, failed=True)
    except OSError as error:
        yield file.unreadable_entry(error)


def _lines(file: BinaryIO | io.BufferedReader, packed: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines of a file; None for a line that is too long, which is read in chunks.

    Raises:
        _BombError: the file unpacks to more than 300 times its size.
    """
    size, next_look = 0, GZIP_CHECK_BYTES
    line = file.readline(MAX_ARTICLE_BYTES)
    while line:
        yield line if len(line) < MAX_ARTICLE_BYTES or line.endswith(b"\n") else None
        while True:  # to the end of a line that is too long
            size += len(line)
            if size >= next_look:
                if size > MAX_GZIP_RATIO * packed.tell():
                    raise _BombError
                next_look = size + GZIP_CHECK_BYTES
            if len(line) < min(MAX_ARTICLE_BYTES, CHUNK_BYTES) or line.endswith(b"\n"):
                break
            line = file.readline(CHUNK_BYTES)
        line = file.readline(MAX_ARTICLE_BYTES)


def _entry(where: str, line: bytes, fields: Mapping[str, str]) -> Entry:
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Entry(where, problems=(f"the line is not UTF-8 (byte {error.start})",), unknown=True)
    try:
        value: Any = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else "; the file seems to be cut short"
        listed = (
            "; this seems to be one JSON list, which a file that ends in .json may be" if text.strip() in "[]" else ""
        )
        problem = f"the line is not JSON ({error.msg}, column {error.colno}){cut}{listed}"
        return Entry(where, problems=(problem,), unknown=True)
    except (ValueError, RecursionError) as error:
        return Entry(where, problems=(f"the line is not JSON that can be read ({error})",), unknown=True)
    if not isinstance(value, dict):
        hint = (
            "; write one object a line, or end the name of a file that is one list in .json"
            if isinstance(value, list)
            else ""
        )
        return Entry(where, problems=(f"the line is not a JSON object{hint}",), unknown=True)
    return record.record_entry(where, value, fields=fields)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
