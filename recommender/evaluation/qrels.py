"""Relevance judgements, as TREC writes them."""

import gzip
import zlib
from pathlib import Path

from recommender.errors import SourceError

# For each query what was judged, and its grade: 0 not relevant, 1 and more relevant.
Judgements = dict[str, dict[str, int]]


MAX_GRADE = 20  # the gain of a grade doubles with each


def read(path: Path) -> Judgements:
    """Read a qrels file: query, 0, article, grade in a line, separated by tabs or else by spaces; `.gz` is unpacked.

    Raises:
        SourceError: it cannot be read, or a line of it is no judgement.
    """
    judgements: Judgements = {}
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as lines
        ):
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                parts = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
                try:
                    query, _, article, grade = parts
                    judgements.setdefault(query, {})[article] = _grade(grade)
                except ValueError as error:
                    raise SourceError(
                        f"{path}, line {number} is no relevance judgement: {line.strip()[:80]!r}. A line is query, 0, "
                        f"article and grade, separated by tabs; a grade is a whole number, {MAX_GRADE} at most."
                    ) from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SourceError(f"The judgements {path} cannot be read: {error}.") from error
    if not judgements:
        raise SourceError(f"The file {path} holds no relevance judgement.")
    return judgements


def _grade(text: str) -> int:
    grade = int(text) if len(text) < 10 else MAX_GRADE + 1
    if grade > MAX_GRADE:
        raise ValueError(text)
    return grade
