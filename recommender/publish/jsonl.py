"""JSON Lines: one line an article, `{"id": "a", "related": [{"id": "b", "score": 0.83}, ...]}`.

A link that is in the block for another reason than its score has "via": "pin", "editorial" or "fill".
"""

import json
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from recommender.article import Recommendation


def write(blocks: Iterable[tuple[str, "list[Recommendation]"]], file: TextIO, deleted: Iterable[str] = ()) -> int:
    """Write blocks in their order, scores with two decimals; return the number of lines.

    Args:
        blocks: pairs of an article's id and its block.
        file: a file that is open for writing.
        deleted: ids of removed articles: `{"id": "a", "deleted": true}` each.
    """
    count = 0
    for id, block in blocks:
        file.write(json_line({"id": id, "related": [link_record(link) for link in block]}) + "\n")
        count += 1
    for id in deleted:
        file.write(json_line({"id": id, "deleted": True}) + "\n")
        count += 1
    return count


def json_line(value: object) -> str:
    """Return a value as JSON on one line in UTF-8, with escapes for characters that control a terminal."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(json.dumps(char)[1:-1] if _is_control(char) else char for char in text)


def _is_control(char: str) -> bool:
    return char > "~" and unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")


def link_record(link: "Recommendation") -> dict[str, object]:
    """Return a link as a JSON object of a line."""
    return {"id": link.id, "score": round(link.score, 2), **({"via": link.via} if link.via != "match" else {})}
