"""Reads an index on Milvus through and compares all that is in it; counts anew what follows from its articles."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recommender.article import Article
from recommender.errors import IndexDamagedError
from recommender.store.base import Upsert
from recommender.store.milvus.documents import Documents
from recommender.store.milvus.engine import Engine
from recommender.store.milvus.rows import Stored, documents_of, pack
from recommender.store.milvus.schema import ARTICLES, NEARNESS
from recommender.store.milvus.terms import TermCounts

# What an article is found by, all of which follows from it.
FILTERS = ("time", "recommend", "section", "editorial", "origin", "url_key", "title_key", "facets", "targets")
AT_ONCE = 500  # articles that are read at once
REPAIR = "`recommender verify --repair` makes it again."


@dataclass(slots=True)
class Tally:
    """What is counted in all articles.

    Attributes:
        terms: in how many each term stands, by its hash.
        languages: how many are in each language, and how many of those by assumption.
        length: how many words all have.
    """

    terms: Counter[int] = field(default_factory=Counter)
    languages: dict[str, list[int]] = field(default_factory=dict)
    length: int = 0

    def add(self, stored: Stored) -> None:
        """Count an article."""
        self.terms.update(stored.numbers.tolist())
        self.length += int(stored.frequencies.sum())
        of_language = self.languages.setdefault(stored.language, [0, 0])
        of_language[0] += 1
        of_language[1] += stored.assumed


class Verification:
    """Finds what is wrong with an index.

    Args:
        engine: the connection.
        documents: the index's documents.
        terms: its counts of terms.
        settings: reads its settings.
        stored: reads articles by their primary keys; raises IndexDamagedError.
        articles: reads articles whole, by their ids; raises IndexDamagedError.
        own: the names of documents that belong to the index and to no article.
    """

    def __init__(
        self,
        engine: Engine,
        documents: Documents,
        terms: TermCounts,
        settings: Callable[[], Mapping[str, Any]],
        stored: Callable[[Sequence[str]], dict[str, Stored]],
        articles: Callable[[Sequence[str]], dict[str, Article]],
        own: frozenset[str],
    ) -> None:
        self._engine, self._documents, self._terms = engine, documents, terms
        self._settings, self._stored, self._articles = settings, stored, articles
        self._tally, self._names = Tally(), set(own)

    def problems(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """Yield a sentence for each thing that is wrong. What a writer changes meanwhile is not counted as wrong.

        Args:
            on_progress: called with how many articles are done, of how many.
        """
        settings = self._settings()
        total, done = self._engine.count(ARTICLES, ""), 0
        keys: set[str] = set()
        for page in self._engine.pages(ARTICLES, "", FILTERS, size=AT_ONCE):
            yield from self._of_articles({row["pk"]: [_plain(row[name]) for name in FILTERS] for row in page})
            keys.update(row["pk"] for row in page)
            done += len(page)
            on_progress(min(done, total), total)
        now = self._settings()
        if (now["change"], now["dirty"]) != (settings["change"], settings["dirty"]):
            return  # a writer was here meanwhile: what is compared below is of two states
        if settings["dirty"]:
            yield (
                f"A writer is at work, or was cut off, so that counts may be off. The next build makes them right; or "
                f"{REPAIR}"
            )
        else:
            if wrong := self._terms.miscounted(self._tally.terms):
                yield f"The counts of {wrong:,} terms are not right. {REPAIR}"
            if {name: list(of_it) for name, of_it in settings["languages"].items()} != self._tally.languages:
                yield f"The counts of languages are not right. {REPAIR}"
        known = {row["pk"] for page in self._engine.pages(NEARNESS, "", []) for row in page}
        if lost := len(keys ^ known):
            yield f"{lost:,} rows of hubness are missing, or belong to no article. {REPAIR}"
        if orphans := sum(name not in self._names for name in self._documents.names()):
            yield f"{orphans:,} documents belong to no article. {REPAIR}"

    def _of_articles(self, filters: Mapping[str, list[Any]]) -> Iterator[str]:
        """Read articles in full, by primary keys, each with what its row is filtered by."""
        try:
            stored = self._stored([*filters])
            whole = self._articles([one.id for one in stored.values()])
        except IndexDamagedError as error:
            if len(filters) == 1:
                yield str(error)
            else:  # one by one, to tell which
                for pk, of_row in filters.items():
                    yield from self._of_articles({pk: of_row})
            return
        for pk, one in stored.items():
            self._tally.add(one)
            self._names.update(documents_of(one))
            if one.id not in whole:  # removed meanwhile
                continue
            made = pack(Upsert(whole[one.id], one.source, None, {}, one.language, one.assumed), one.vector, {}, 0)
            if [made[name] for name in FILTERS] != filters[pk]:
                yield (
                    f"What article {one.id!r} is filtered by is not what it says. Remove it with `recommender remove`, "
                    f"then build again from its source."
                )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
