"""One article of a file, read with the field mappings that an index remembers."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

from recommender.article import Article
from recommender.errors import SourceError
from recommender.indexing.feed import stored_fields
from recommender.sources import Source
from recommender.store import Store

MAX_ENTRIES = 1000  # of a file of one article; all others have no article


def read_article(store: Store, path: Path) -> Article:
    """Read the one article of a file, with the id that a build would give it.

    Its fields have the names that the index remembers for the file or a folder around it; or else for another source,
    if the record has some of these names.

    Raises:
        SourceError: the file cannot be read, or contains no article or several.
    """
    articles: list[Article] = []
    problems: list[str] = []
    for fields in _candidate_mappings(store, path):
        entries = list(islice(Source(path, fields=fields), MAX_ENTRIES))
        articles = [entry.article for entry in entries if entry.article]
        problems = [problem for entry in entries for problem in entry.problems]
        if articles and any(len(entry.absent) < len(fields) for entry in entries):
            break
    if len(articles) > 1:
        raise SourceError(f"{path} holds more than one article; name a file that holds one.")
    if not articles:
        raise SourceError(f"{path} holds no article: {'; '.join(problems) or 'it is empty'}.")
    (article,) = articles
    if article.id == path.name:  # the id is the file's name: in a source folder it is the path within the folder
        for folder in path.resolve().parents:
            if store.count([store.source_label(folder)]):
                return replace(article, id=path.resolve().relative_to(folder).as_posix())
    return article


def _candidate_mappings(store: Store, path: Path) -> list[dict[str, str]]:
    """Return the field mappings to try on a file, the likeliest first, and at last an empty one."""
    mappings = stored_fields(store)
    labels = map(store.source_label, (path, *path.resolve().parents))
    of_path = [mappings.pop(label, {}) for label in labels]
    return [fields for fields in (*of_path, *mappings.values()) if fields] + [{}]
