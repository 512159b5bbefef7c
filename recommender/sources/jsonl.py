"""JSON Lines, plain or gzipped: one article a line, with the field names of Article."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NoReturn

from recommender.sources import record
from recommender.sources.entry import EMPTY_FILE, MAX_ARTICLE_BYTES, Entry, File

PIECE = 2**20  # bytes of a line that is too long, read at once
_LISTED = "write one object a line, or let the name of a file that is one JSON list end in .json"
BOMB_RATIO, BOMB_BYTES = 300, 2**24  # a gzip file that unpacks to more, and that from so many bytes on, is a bomb


class _BombError(Exception):
    """A file unpacks to far more than articles do."""


def read(file: File) -> Iterator[Entry]:
    """Read the articles of a file.

    A line that is no article costs that line alone. A record with neither id nor url is one of them: the number
    of its line would not stay the same, and the file's name stands for many articles.
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
        problem = (
            f"the file unpacks to more than {BOMB_RATIO} times its size, as no articles do; reading it was stopped here"
        )
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
    """Give the lines of a file; None for one that is too long, which is never in memory as a whole.

    Raises:
        _BombError: it unpacks to far more than articles do.
    """
    size, next_look = 0, BOMB_BYTES
    line = file.readline(MAX_ARTICLE_BYTES)
    while line:
        yield line if len(line) < MAX_ARTICLE_BYTES or line.endswith(b"\n") else None
        while True:  # to the end of this line, if it is too long
            size += len(line)
            if size >= next_look:
                if size > BOMB_RATIO * packed.tell():
                    raise _BombError
                next_look = size + BOMB_BYTES
            if len(line) < min(MAX_ARTICLE_BYTES, PIECE) or line.endswith(b"\n"):
                break
            line = file.readline(PIECE)
        line = file.readline(MAX_ARTICLE_BYTES)


def _entry(where: str, line: bytes, fields: Mapping[str, str]) -> Entry:
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Entry(where, problems=(f"the line is not UTF-8 (byte {error.start})",), unknown=True)
    try:
        found: Any = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else "; the file seems to be cut short"
        listed = (
            "; this seems to be one JSON list, which a file that ends in .json may be" if text.strip() in "[]" else ""
        )
        problem = f"the line is not JSON ({error.msg}, column {error.colno}){cut}{listed}"
        return Entry(where, problems=(problem,), unknown=True)
    except (ValueError, RecursionError) as error:
        return Entry(where, problems=(f"the line is not JSON that can be read ({error})",), unknown=True)
    if not isinstance(found, dict):
        hint = (
            "; write one object a line, or end the name of a file that is one list in .json"
            if isinstance(found, list)
            else ""
        )
        return Entry(where, problems=(f"the line is not a JSON object{hint}",), unknown=True)
    return record.record_entry(where, found, fields=fields)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
