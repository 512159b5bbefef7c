"""One JSON object, an article a line: `"key": [{"id": "b", "title": "...", ...}, ...]`.

It is YAML too, which is what Jekyll reads JSON as.
"""

import json
import unicodedata
from typing import TextIO

from recommender.publish.keyed_blocks import KeyedBlocks


def write(entries: KeyedBlocks, file: TextIO) -> None:
    """Write entries, one at a time."""
    before = "{\n"
    for key, _, block in entries:
        file.write(before + _dumped(key) + ": " + _dumped([entries.record(link) for link in block]))
        before = ",\n"
    file.write("\n}\n" if before == ",\n" else "{}\n")


def _dumped(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    """Return a character as it may stand in JSON, in YAML and on a terminal."""
    # What lies beyond U+FFFF is two escapes in JSON, which YAML does not put together.
    if char.isprintable() or char > "\uffff" or unicodedata.category(char) == "Zs":
        return char
    return f"\\u{ord(char):04x}"
