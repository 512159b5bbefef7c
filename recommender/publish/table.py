"""CSV, one row a link, for spreadsheets: marked as UTF-8, and with no text that they would take for a formula."""

import csv
from typing import Any, TextIO

from recommender.publish.keyed_blocks import FIELDS, KeyedBlocks, as_text, utc
from recommender.text.clean import clean_text

ARTICLE = ("article_id", "article_url", "position")  # columns before those of the link
COLUMNS = (*ARTICLE, *FIELDS)
_FORMULA = tuple("=+-@＝＋－＠")
_AHEAD = ("\t", "\r", "\n")


def write(entries: KeyedBlocks, file: TextIO) -> None:
    """Write entries.

    Args:
        entries: what to write.
        file: opened with newline="".
    """
    file.write("\ufeff")
    rows = csv.writer(file)
    rows.writerow([*COLUMNS, *map(_cell, entries.fields)])
    for _, card, block in entries:
        for position, link in enumerate(block, start=1):
            record = entries.record(link)
            # In UTC, and as a spreadsheet knows a date when it sees one.
            date = utc(link.published)
            record["published"] = date.replace(tzinfo=None).isoformat(" ", "seconds") if date else None
            rows.writerow([_cell(card.id), _cell(card.url), position, *map(_cell, record.values())])


def _cell(value: Any) -> Any:
    """Return a value as a cell: texts with an apostrophe before what a spreadsheet would take for a formula."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    text = clean_text(as_text(value))
    return f"'{text}" if text[:1] in _AHEAD or text.lstrip()[:1] in _FORMULA else text
