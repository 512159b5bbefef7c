"""Relevance judgements (qrels): from TREC files, mappings and DataFrames."""

import gzip
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recommender.article import as_id
from recommender.errors import SourceError

# Grades of articles by query: 0 is not relevant, 1 and more relevant.
Judgements = dict[str, dict[str, int]]


MAX_GRADE = 20  # the gain doubles with each grade
# Accepted names of a DataFrame's columns, in any case.
QUERY_COLUMNS = ("query", "query_id", "qid")
ARTICLE_COLUMNS = ("article", "article_id", "doc", "doc_id", "docid", "docno", "document")
GRADE_COLUMNS = ("relevance", "rel", "grade", "label")


def collect(qrels: Any) -> Judgements:
    """Return the judgements of a file, a mapping or a DataFrame.

    Args:
        qrels: the path of a file, see `read`; a mapping of queries to the grades of articles by id, or to the ids of
            relevant articles; or a DataFrame (pandas, Polars) with columns for query, article and, unless all are
            relevant, relevance.

    Raises:
        SourceError: the file cannot be read, or a judgement is not valid.
        TypeError: `qrels` has another type.
    """
    if isinstance(qrels, str | os.PathLike):
        return read(Path(qrels))
    judgements: Judgements = {}
    for number, (query, article, grade) in enumerate(_rows(qrels), start=1):
        try:
            judgements.setdefault(as_id(query), {})[as_id(article)] = _whole_grade(grade)
        except (TypeError, ValueError, OverflowError) as error:
            raise SourceError(
                f"Relevance judgement {number} is not one: query {query!r}, article {article!r}, relevance {grade!r}. "
                f"Ids are texts or whole numbers; a grade is a whole number, {MAX_GRADE} at most."
            ) from error
    if not judgements:
        raise SourceError("There is no relevance judgement in what was passed as qrels.")
    return judgements


def _rows(qrels: Any) -> Iterable[tuple[Any, Any, Any]]:
    """Yield query, article and grade of each judgement."""
    if isinstance(qrels, Mapping):
        for query, grades in qrels.items():
            if isinstance(grades, Mapping):
                yield from ((query, article, grade) for article, grade in grades.items())
            else:
                several = isinstance(grades, Iterable) and not isinstance(grades, str)
                yield from ((query, article, 1) for article in (grades if several else [grades]))
        return
    names = {str(name).casefold(): name for name in getattr(qrels, "columns", ())}
    if not names or not hasattr(qrels, "__getitem__"):
        raise TypeError(
            f"qrels are of type {type(qrels).__name__}; give a path, a mapping of queries to articles, or a DataFrame"
        )
    columns: list[list[Any]] = []
    for accepted in (QUERY_COLUMNS, ARTICLE_COLUMNS, GRADE_COLUMNS):
        name = next((names[name] for name in accepted if name in names), None)
        if name is None and accepted is not GRADE_COLUMNS:
            raise SourceError(
                f"The qrels have no column for the {accepted[0]}, only {', '.join(map(str, names.values()))}. Name it "
                f"{' or '.join(accepted)}."
            )
        columns.append([1] * len(columns[0]) if name is None else list(qrels[name]))
    yield from zip(*columns, strict=True)


def _whole_grade(grade: Any) -> int:
    whole = int(grade)
    if isinstance(grade, str) or whole != grade or whole > MAX_GRADE:
        raise ValueError(grade)
    return whole


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
                    judgements.setdefault(as_id(query), {})[as_id(article)] = _grade(grade)
                except ValueError as error:
                    raise SourceError(
                        f"{path}, line {number} is no relevance judgement: {line.strip()[:80]!r}. A line is query, 0, "
                        f"article and grade, separated by tabs; a grade is a whole number, {MAX_GRADE} at most."
                    ) from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"The judgements {path} cannot be read: {reason}.") from error
    if not judgements:
        raise SourceError(f"The file {path} holds no relevance judgement.")
    return judgements


def _grade(text: str) -> int:
    grade = int(text) if len(text) < 10 else MAX_GRADE + 1
    if grade > MAX_GRADE:
        raise ValueError(text)
    return grade
