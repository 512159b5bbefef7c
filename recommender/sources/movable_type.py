"""Reader for the export format of Movable Type, which TypePad, Hatena Blog and others write too.

https://movabletype.org/documentation/appendices/import-export-format.html
"""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from recommender.sources import record
from recommender.sources.entry import ENCODING_SAMPLE_BYTES, MAX_ARTICLE_BYTES, Entry, File, encoding_of
from recommender.sources.rich_text import markdown_html
from recommender.sources.short_codes import paragraphs

_FIELD = re.compile(r"([A-Z][A-Z ]{1,30}):\s?(.*)")
_PART = re.compile(r"(BODY|EXTENDED BODY|EXCERPT|KEYWORDS|COMMENT|PING):\s*")
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:[A-Z][A-Z ]{1,30}:[^\n]*\r?\n)+-----\r?\n(?:BODY|COMMENT|EXCERPT):")
_END_OF_PART, _END_OF_ENTRY = "-----", "--------"
_TAG = re.compile(r'"([^"]+)"|([^,]+)')
_DATE_FORMATS = ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M")  # the order is fixed


def is_export(path: Path) -> bool:
    """Return whether a text file is an export of Movable Type: fields, a line of dashes, and a body."""
    try:
        with path.open("rb") as file:
            return bool(_BEGINNING.match(file.read(2**14)))
    except OSError:
        return False


def read(file: File) -> Iterator[Entry]:
    """Stream the entries of an export; the text is the body with its continuation."""
    try:
        with file.path.open("rb") as raw:
            encoding = encoding_of(raw.read(ENCODING_SAMPLE_BYTES))
        with file.path.open(encoding=encoding, errors="replace") as text:
            for number, lines in enumerate(_entries(text), start=1):
                where = f"{file.name}: entry {number}"
                file.on_bytes_read(sum(map(len, lines)))
                if lines[-1] != _END_OF_ENTRY:
                    problem = "the export is cut short: the end of its last entry is missing"
                    yield Entry(where, problems=(problem,), unknown=True, failed=True)
                elif sum(map(len, lines)) > MAX_ARTICLE_BYTES:
                    yield Entry(where, problems=("the entry is too long, and was skipped",), unknown=True)
                else:
                    yield record.record_entry(where, _record(lines), fields=file.fields)
    except OSError as error:
        yield file.unreadable_entry(error)


def _entries(text: IO[str]) -> Iterator[list[str]]:
    """Yield the lines of each entry; the last one is the end mark, except in a file that is cut short."""
    lines: list[str] = []
    for line in text:
        lines.append(line.rstrip("\r\n"))
        if lines[-1].rstrip() == _END_OF_ENTRY:
            lines[-1] = _END_OF_ENTRY
            yield lines
            lines = []
    if any(line.strip() for line in lines):
        yield lines


def _record(lines: list[str]) -> dict[str, Any]:
    """Return the record of an entry. Its id is its address, else its base name, else its date and title."""
    values: dict[str, list[str]] = {}
    parts: dict[str, str] = {}
    name = ""
    part: list[str] = []
    for line in lines:
        if line.rstrip() in (_END_OF_PART, _END_OF_ENTRY):
            if name:
                parts.setdefault(name, "\n".join(part).strip("\n"))
            name, part = "", []
        elif name:
            part.append(line)
        elif match := _PART.fullmatch(line):
            name = match[1]
        elif match := _FIELD.fullmatch(line):
            values.setdefault(match[1], []).append(match[2].strip())
    single = {name: items[0] for name, items in values.items() if items[0]}
    body = "\n\n".join(filter(None, (parts.get("BODY"), parts.get("EXTENDED BODY"))))
    tags = [quoted or plain.strip() for quoted, plain in _TAG.findall(single.get("TAGS", ""))]
    tags += [word.strip() for word in re.split(r"[,\n]", parts.get("KEYWORDS", ""))]
    categories = values.get("CATEGORY", [])
    url = single.get("UNIQUE URL") or single.get("PERMALINK")
    date = single.get("DATE", "")
    fields = {
        "id": url or single.get("BASENAME") or " ".join(filter(None, (date, single.get("TITLE")))),
        "url": url,
        "title": single.get("TITLE"),
        "text": _html(body, single.get("CONVERT BREAKS", "")),
        "published": _date(date),
        "section": single.get("PRIMARY CATEGORY") or next(iter(categories), None),
        "tags": [tag for tag in dict.fromkeys(tags) if tag],
        "categories": categories,
        "author": single.get("AUTHOR"),
        "status": single.get("STATUS"),
        "slug": single.get("BASENAME"),
        "excerpt": parts.get("EXCERPT"),
        "image": single.get("IMAGE"),
    }
    return {name: value for name, value in fields.items() if value}


def _html(body: str, text_filter: str) -> str:
    """Return a body as HTML, by the name of its text filter: 0 for HTML, "markdown", else lines are broken."""
    if text_filter.startswith("markdown"):
        return f"<div>{markdown_html(body)}</div>"
    return f"<div>{body if text_filter in ('0', 'richtext') else paragraphs(body)}</div>"


def _date(text: str) -> datetime | str:
    """Return a date, which is written month first; the text itself if it is none."""
    for form in _DATE_FORMATS:
        try:
            return datetime.strptime(text, form)  # it has no time zone
        except ValueError:
            continue
    return text
