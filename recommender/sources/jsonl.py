"""Reader of JSON Lines, plain or gzipped: one article per line."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NoReturn

from recommender.sources import cms
from recommender.sources.entry import EMPTY_FILE, MAX_ARTICLE_BYTES, STRAY_BYTES, Entry, File, encoding_of

CHUNK_BYTES = 2**20  # read at a time of a line that is too long
MAX_GZIP_RATIO = 300  # unpacked size / packed size
GZIP_CHECK_BYTES = 2**24  # unpacked between two checks of the ratio


class _BombError(Exception):
    """A gzipped file unpacks to more than MAX_GZIP_RATIO times its size."""


def read(file: File) -> Iterator[Entry]:
    """Yield an Entry for each line of a file that is not blank, and one for each problem with the file.

    A record with neither id nor url is skipped: a line number is no id, as it may change.
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
                    problem = f"the line is longer than {MAX_ARTICLE_BYTES // 2**20} MB, and was skipped"
                    yield Entry(f"{file.name}:{number}", problems=(problem,), unknown=True)
                elif line.strip():
                    yield _entry(f"{file.name}:{number}", line, file.fields)
                file.on_bytes_read(raw.tell() - position)
                position = raw.tell()
        if not number:
            yield Entry(file.name, problems=(EMPTY_FILE,), unknown=True)
    except _BombError:
        size = f"more than {MAX_GZIP_RATIO} times its size"
        problem = f"the file unpacks to {size}, as only a decompression bomb does; the rest was skipped"
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
    """Yield the lines of a file; None for a line of more than MAX_ARTICLE_BYTES, which is read in chunks.

    Raises:
        _BombError: the file unpacks to more than MAX_GZIP_RATIO times its size.
    """
    size, next_check = 0, GZIP_CHECK_BYTES
    line = file.readline(MAX_ARTICLE_BYTES)
    while line:
        yield line if len(line) < MAX_ARTICLE_BYTES or line.endswith(b"\n") else None
        while True:  # read to the end of the line
            size += len(line)
            if size >= next_check:
                if size > MAX_GZIP_RATIO * packed.tell():
                    raise _BombError
                next_check = size + GZIP_CHECK_BYTES
            if len(line) < min(MAX_ARTICLE_BYTES, CHUNK_BYTES) or line.endswith(b"\n"):
                break
            line = file.readline(CHUNK_BYTES)
        line = file.readline(MAX_ARTICLE_BYTES)


def _entry(where: str, line: bytes, fields: Mapping[str, str]) -> Entry:
    """Return the Entry of a line; without an article if the line is not a JSON object."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if encoding_of(line) != "utf-8-sig":
            return Entry(where, problems=(f"the line is not UTF-8 (byte {error.start})",), unknown=True)
        text = line.decode("utf-8-sig", errors=STRAY_BYTES)
    try:
        value: Any = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else "; the file seems to be cut short"
        listed = "; if the file is one JSON list, end its name in .json" if text.strip() in "[]" else ""
        problem = f"the line is not JSON ({error.msg}, column {error.colno}){cut}{listed}"
        return Entry(where, problems=(problem,), unknown=True)
    except (ValueError, RecursionError) as error:
        return Entry(where, problems=(f"the line is not JSON that can be read ({error})",), unknown=True)
    if not isinstance(value, dict):
        hint = (
            "; write one object per line, or, if the file is one JSON list, end its name in .json"
            if isinstance(value, list)
            else ""
        )
        return Entry(where, problems=(f"the line is not a JSON object{hint}",), unknown=True)
    return cms.record_entry(where, value, mapping=fields)


def _no_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's parser accepts."""
    raise ValueError(f"{name} is not a JSON value")
