"""JSON Lines: one line an article, `{"id": "a", "related": [{"id": "b", "score": 0.83}, ...]}`.

A link that is there for another reason than its score has "via" besides: "pin", "editorial" or "fill".
"""

import json
import re
from collections.abc import Iterable
from typing import TextIO

from recommender.article import Recommendation

# What JSON leaves as it is of C0 and C1, and what hides text or turns its direction.
_STEERING = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def write(blocks: Iterable[tuple[str, list[Recommendation]]], file: TextIO, deleted: Iterable[str] = ()) -> int:
    """Write blocks, scores with two decimals, in the order given; return how many lines there are.

    Args:
        blocks: by id of the article.
        file: where to write.
        deleted: ids of articles that are gone: `{"id": "a", "deleted": true}` each.
    """
    count = 0
    for id, block in blocks:
        file.write(dumped({"id": id, "related": [link_record(link) for link in block]}) + "\n")
        count += 1
    for id in deleted:
        file.write(dumped({"id": id, "deleted": True}) + "\n")
        count += 1
    return count


def dumped(value: object) -> str:
    """Return a value as JSON on one line, its letters as they are, but no character that only steers a terminal."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def link_record(link: Recommendation) -> dict[str, object]:
    """Return a link as it stands in a line."""
    return {"id": link.id, "score": round(link.score, 2), **({"via": link.via} if link.via != "match" else {})}
