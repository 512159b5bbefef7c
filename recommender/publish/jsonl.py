"""JSON Lines: one line an article, `{"id": "a", "related": [{"id": "b", "score": 0.83}, ...]}`."""

import json
from collections.abc import Iterable
from typing import TextIO

from recommender.article import Recommendation


def write(blocks: Iterable[tuple[str, list[Recommendation]]], file: TextIO) -> int:
    """Write the blocks, scores with two decimals, in the order given; return how many there were."""
    count = 0
    for id, block in blocks:
        related = [{"id": link.id, "score": round(link.score, 2)} for link in block]
        file.write(json.dumps({"id": id, "related": related}, ensure_ascii=False) + "\n")
        count += 1
    return count
