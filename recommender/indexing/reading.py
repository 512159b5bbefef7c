"""The methods of `Recommender` that read what an index contains: articles, embeddings and counts."""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary, as_id
from recommender.blocks import lookup
from recommender.blocks.policy import Policy
from recommender.filters import Condition, as_where
from recommender.indexing.read_article import read_article
from recommender.learning.learn import usable_model
from recommender.ranking.query import MAX_CHUNK_QUERIES
from recommender.store import Store


class IndexReader:
    """Reads the articles, embeddings and counts of an index."""

    _store: Store

    @property
    def policy(self) -> Policy:
        """The policy of the index, see `PolicyEditor`."""
        raise NotImplementedError

    def get(self, id: str | int) -> Article | None:
        """Return an article by its id, or by its url or title if no other article has it; None if there is none."""
        name = as_id(id)
        with self._store.snapshot():
            article = self._store.articles([name]).get(name)
            if article is None and len(ids := lookup.matches(self._store, name)) == 1:
                article = self._store.articles(ids).get(ids[0])
        return article

    def id_of(self, name: str | int) -> str | None:
        """Return the id of the article with this id, url or title; None if no article has it.

        Raises:
            ArticleNotFoundError: several articles have this url or title.
        """
        with self._store.snapshot():
            return lookup.resolve(self._store, as_id(name))

    def suggest(self, name: str, n: int = lookup.MAX_SUGGESTIONS) -> list[ArticleSummary]:
        """Return up to `n` articles whose id, title or url is similar to a mistyped name, the most similar first."""
        return lookup.suggestions(self._store, as_id(name), n)

    def embeddings(self, ids: Iterable[str | int] | None = None) -> tuple[list[str], NDArray[np.float32]]:
        """Return the ids of articles and their embeddings: float32, shape (n, dimensions), L2-normalised.

        Args:
            ids: the articles, by id, url or title, in the order of the rows; None for all, in the order of their ids.

        Raises:
            ArticleNotFoundError: the index does not contain all of them.
        """
        return lookup.stored_embeddings(self._store, ids)

    def read(self, path: str | os.PathLike[str]) -> Article:
        """Read the one article of a file, with the id that a build would give it, without adding it.

        Its fields have the names that the index remembers for the file or a folder around it; or else for another
        source, if the record has some of these names.

        Raises:
            SourceError: the file cannot be read, or contains no article or several.
        """
        return read_article(self._store, Path(path))

    def __contains__(self, id: object) -> bool:
        """Return whether the index contains an article with this id, or exactly one with this url or title."""
        name = as_id(id.id if isinstance(id, Article) else id)
        with self._store.snapshot():
            return len(lookup.matches(self._store, name)) == 1

    def __len__(self) -> int:
        """Return the number of articles."""
        return self._store.count()

    def __iter__(self) -> Iterator[Article]:
        """Yield every Article, in the order of their ids."""
        ids = self._store.ids()
        while chunk := list(islice(ids, MAX_CHUNK_QUERIES)):
            articles = self._store.articles(chunk)
            yield from (articles[id] for id in chunk if id in articles)

    def info(self) -> dict[str, Any]:
        """Return counts, model, policy and settings of the index, as `recommender info --json` prints them."""
        with self._store.snapshot():
            settings, facts = self._store.settings(), self._store.statistics()
            model = settings["model"]
            return {
                "articles": self._store.count(),
                "model": model["name"],
                "model_hash": model["hash"],
                "dimensions": model["dimensions"],
                "max_tokens": model["max_tokens"],
                "format": facts["format"],
                "last_build": settings.get("last_build"),
                "languages": {name: articles for name, (articles, _) in self._store.languages().items()},
                "sections": facts["sections"],
                "editorial_links": facts["editorial_links"],
                "sources": facts["sources"],
                "learned": learned.facts if (learned := usable_model(self._store)) else None,
                "policy": self.policy.to_record(),
                "settings": self.policy.settings.to_record(),
                "bytes": facts["bytes"],
            }

    def matching(self, where: Mapping[str, Any]) -> int:
        """Return the number of articles that have the value, or one of the values, in each of the fields."""
        return self._store.count_matching(Condition(where=as_where(where)))
