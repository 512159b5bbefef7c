"""Verification of an index on Milvus: every article is read, and counts and filters are compared with it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recommender.errors import IndexDamagedError
from recommender.store.base import Upsert
from recommender.store.milvus.articles import ArticleReader
from recommender.store.milvus.rows import StoredArticle, document_names, encode_row
from recommender.store.milvus.schema import ARTICLES, HUBNESS
from recommender.store.milvus.state import IndexState, caller_document

# Fields that filters use, all derived from the article.
FILTER_FIELDS = (
    *("published", "recommend", "section", "related_count", "source_hash"),
    *("url_hash", "title_hash", "facet_hashes", "link_hashes"),
)
PAGE_ROWS = 500
REPAIR_ADVICE = "`recommender verify --repair` makes it again."


@dataclass(slots=True)
class ArticleCounts:
    """Counts over all articles.

    Attributes:
        document_frequencies: the number of articles that contain each term, by term hash.
        languages: the number of articles and of those with an assumed language, by language.
        words: the number of words of all articles.
    """

    document_frequencies: Counter[int] = field(default_factory=Counter)
    languages: dict[str, list[int]] = field(default_factory=dict)
    words: int = 0

    def add(self, stored: StoredArticle) -> None:
        """Count an article."""
        self.document_frequencies.update(stored.term_hashes.tolist())
        self.words += int(stored.frequencies.sum())
        counts = self.languages.setdefault(stored.language, [0, 0])
        counts[0] += 1
        counts[1] += stored.assumed


class Verification:
    """One verification of an index.

    Args:
        state: the state of the index.
        reader: reads the articles.
        index_documents: the names of documents that do not belong to articles.
    """

    def __init__(self, state: IndexState, reader: ArticleReader, index_documents: frozenset[str]) -> None:
        self._state, self._reader = state, reader
        self._counts, self._document_names = ArticleCounts(), set(index_documents)

    def problems(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """Yield a sentence for each problem. Changes by a concurrent writer are no problems.

        Args:
            on_progress: called with the number of articles done and of all.
        """
        connection, dictionary = self._state.connection, self._state.dictionary
        settings = self._state.settings()
        total, done = connection.count(ARTICLES, ""), 0
        keys: set[str] = set()
        for page in connection.pages(ARTICLES, "", FILTER_FIELDS, size=PAGE_ROWS):
            yield from self._article_problems(
                {row["pk"]: [_as_list(row[name]) for name in FILTER_FIELDS] for row in page}
            )
            keys.update(row["pk"] for row in page)
            done += len(page)
            on_progress(min(done, total), total)
        newest = self._state.settings()
        if (newest["revision"], newest["dirty"]) != (settings["revision"], settings["dirty"]):
            return  # a writer was active, so the rest would compare two states
        for name, version in self._state.document_versions().items():
            self._document_names.add(caller_document(name, version))
            try:
                self._state.document(name)
            except IndexDamagedError as error:
                yield str(error)
        if settings["dirty"]:
            yield (
                f"A writer is active, or was interrupted, so that counts may be wrong. The next build makes "
                f"them right; or {REPAIR_ADVICE}"
            )
        else:
            if wrong := dictionary.count_wrong(self._counts.document_frequencies):
                yield f"The counts of {wrong:,} terms are not right. {REPAIR_ADVICE}"
            if {name: list(counts) for name, counts in settings["languages"].items()} != self._counts.languages:
                yield f"The counts of languages are not right. {REPAIR_ADVICE}"
        hubness_keys = {row["pk"] for page in connection.pages(HUBNESS, "", []) for row in page}
        if different := len(keys ^ hubness_keys):
            yield f"{different:,} rows of hubness are missing, or belong to no article. {REPAIR_ADVICE}"
        if orphans := sum(name not in self._document_names for name in self._state.documents.names()):
            yield f"{orphans:,} documents belong to no article. {REPAIR_ADVICE}"

    def _article_problems(self, filters: Mapping[str, list[Any]]) -> Iterator[str]:
        """Read articles in full and compare the stored values of FILTER_FIELDS, given by primary key."""
        try:
            stored = self._reader.stored([*filters])
            articles = self._reader.articles([row.id for row in stored.values()])
        except IndexDamagedError as error:
            if len(filters) == 1:
                yield str(error)
            else:  # one by one, to find the damaged ones
                for pk, values in filters.items():
                    yield from self._article_problems({pk: values})
            return
        for pk, row in stored.items():
            self._counts.add(row)
            self._document_names.update(document_names(row))
            if row.id not in articles:  # removed meanwhile
                continue
            upsert = Upsert(articles[row.id], row.source, None, {}, row.language, row.assumed)
            expected = encode_row(upsert, row.vector, {}, 0)
            if [expected[name] for name in FILTER_FIELDS] != filters[pk]:
                yield (
                    f"The filter values of article {row.id!r} differ from the article. Remove it with `recommender "
                    f"remove`, then build again from its source."
                )


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
