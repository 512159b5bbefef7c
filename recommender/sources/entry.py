"""Entry: what every reader gives."""

from dataclasses import dataclass

from recommender.article import Article

LONGEST = 32 * 2**20  # bytes of one article in its source


@dataclass(frozen=True, slots=True)
class Entry:
    """One place of a source: an article, or why there is none.

    Attributes:
        where: file, and line where a file holds many articles: `export.jsonl:12`.
        article: the article, or None if it was skipped.
        id: of an article that was skipped, if it could be read: the article is still in its source.
        problems: one clause for each thing that was wrong: with an article, what was left out of it; without,
            why there is none.
        unknown: True if nobody can say which articles stood here: the file is cut short, damaged or not
            readable. A source with such an entry is not fully known.
        unpublished: True if the source says that this is a draft, unpublished or deleted: the index must not hold it.
        failed: True if the file could not be read to its end.
    """

    where: str
    article: Article | None = None
    id: str = ""
    problems: tuple[str, ...] = ()
    unknown: bool = False
    unpublished: bool = False
    failed: bool = False
