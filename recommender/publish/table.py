"""CSV, one row per link, for spreadsheets: with a byte order mark, and texts escaped that look like formulas."""

import csv
from typing import Any, TextIO

from recommender.publish.keyed_blocks import FIELDS, KeyedBlocks, as_text, utc
from recommender.text.clean import clean_text

ARTICLE_COLUMNS = ("article_id", "article_url", "position")
COLUMNS = (*ARTICLE_COLUMNS, *FIELDS)
_FORMULA_SIGNS = tuple("=+-@＝＋－＠")
_LEADING_SPACE = ("\t", "\r", "\n")


def write(blocks: KeyedBlocks, file: TextIO) -> None:
    """Write blocks.

    Args:
        blocks: the blocks.
        file: a text file, opened with newline="".
    """
    file.write("\ufeff")
    rows = csv.writer(file)
    rows.writerow([*COLUMNS, *map(_cell, blocks.fields)])
    for _, article, block in blocks:
        for position, link in enumerate(block, start=1):
            record = blocks.record(link)
            # In UTC, in a form that spreadsheets recognise as a date.
            date = utc(link.published)
            record["published"] = date.replace(tzinfo=None).isoformat(" ", "seconds") if date else None
            rows.writerow([_cell(article.id), _cell(article.url), position, *map(_cell, record.values())])


def _cell(value: Any) -> Any:
    """Return a value as a cell; a text that looks like a formula gets a leading apostrophe."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    text = clean_text(as_text(value))
    return f"'{text}" if text[:1] in _LEADING_SPACE or text.lstrip()[:1] in _FORMULA_SIGNS else text
