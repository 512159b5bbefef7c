"""One JSON object, an article a line: `"key": [{"id": "b", "title": "...", ...}, ...]`.

The file is also valid YAML, as which Jekyll reads JSON.
"""

import json
import unicodedata
from typing import TextIO

from recommender.publish.keyed_blocks import KeyedBlocks


def write(blocks: KeyedBlocks, file: TextIO) -> None:
    """Write blocks one at a time."""
    separator = "{\n"
    for key, _, block in blocks:
        file.write(separator + _to_json(key) + ": " + _to_json([blocks.record(link) for link in block]))
        separator = ",\n"
    file.write("\n}\n" if separator == ",\n" else "{}\n")


def _to_json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(char: str) -> str:
    """Return a character in a form that is valid in JSON and YAML and harmless on a terminal."""
    # Beyond U+FFFF, JSON needs two escapes, which YAML does not combine.
    if char.isprintable() or char > "\uffff" or unicodedata.category(char) == "Zs":
        return char
    return f"\\u{ord(char):04x}"
