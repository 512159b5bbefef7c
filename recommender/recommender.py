"""Recommender: the one door to an index."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, Recommendation, clean_text
from recommender.errors import ArticleNotFoundError, IndexNotFoundError, ModelError, RecommenderError, SourceError
from recommender.ranking import block, scoring
from recommender.signals.dense import DEFAULT_MODEL, MAX_TOKENS, DenseEncoder, DenseModel
from recommender.sources import Source
from recommender.store import LocalStore, Store
from recommender.sync import BuildReport, Progress, Records, Sync

__all__ = ["BuildReport", "Progress", "Recommender"]

CANDIDATES = 50  # proposed for a block by the fast search, at least
SPARE = 16  # proposed beyond k, for those that turn out to be the article itself or the same one twice
CHUNK = 256  # blocks made at once by links()

OnProblem = Callable[[str], None]
OnProgress = Callable[[Progress], None]


class Recommender:
    """An index of articles that answers which of them belong together.

    Use it as a context manager, or call `close`. Threads may share one for reading; one process writes at a time.

    Args:
        index: the folder of the index. It is made by the first `build` or `add`.
        model: the model for a new index: `all-MiniLM-L6-v2` (the default), the path of a folder that holds a
            sentence-transformers model, or a name on the Hugging Face hub. For an index that exists: None, or
            the model it was made with.
        max_tokens: how many tokens of title and text the model reads, 1 or more; 128 for a new index. For an
            index that exists: None, or what it was made with.

    Every method raises IndexNotFoundError if there is no index (except `build` and `add`), IndexDamagedError,
    IndexFormatError or IndexPermissionError if it cannot be read, and ModelError if a model is needed that
    cannot be loaded or is another one than the index was made with.
    """

    def __init__(
        self,
        index: str | os.PathLike[str] = "index/default",
        *,
        model: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}; it must be 1 or more")
        if not os.fspath(index):
            raise IndexNotFoundError("The name of the index is empty. Name a folder with --index.")
        self.path = Path(index)
        self._model = model
        self._max_tokens = max_tokens
        self._store: Store = LocalStore(self.path)
        self._encoder: DenseEncoder | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let go of files and connections."""
        self._store.close()

    # Writing

    def build(
        self,
        *sources: str | os.PathLike[str] | Records,
        prune: bool = False,
        prune_limit: float = 10.0,
        limit: int | None = None,
        on_problem: OnProblem | None = None,
        on_progress: OnProgress | None = None,
    ) -> BuildReport:
        """Bring the index in line with a full export: embed new and changed articles, leave unchanged ones.

        What is embedded is committed batch by batch: a build that is cut off goes on from there when it is
        called again.

        Args:
            sources: files and folders of articles, or iterables of Articles or of records (`Article.from_record`).
            prune: remove the articles that came from these sources and that they no longer hold. Nothing is
                removed if a source is not fully known, or if too many would go; the report says why.
            prune_limit: how many of the articles from these sources may go, in percent.
            limit: read this many articles only.
            on_problem: called with a sentence for each input that was skipped or not fully used.
            on_progress: called after every batch.

        Returns:
            What was done.

        Raises:
            IndexLockedError: another process is writing.
            SourceError: no source could be read.
        """
        if not 0 <= prune_limit <= 100:
            raise ValueError(f"prune_limit is {prune_limit}; it is a share in percent, from 0 to 100")
        if prune and limit is not None:
            raise ValueError("prune needs the whole of the sources; leave out limit")
        sync = Sync(self._store, self._ready_encoder, on_problem=on_problem, on_progress=on_progress)
        return sync.build(sources, prune=prune, prune_limit=prune_limit, limit=limit)

    def add(
        self,
        *sources: str | os.PathLike[str] | Records,
        on_problem: OnProblem | None = None,
        on_progress: OnProgress | None = None,
    ) -> BuildReport:
        """Add or replace the articles of the sources, and remove none. For the arguments see `build`."""
        sync = Sync(self._store, self._ready_encoder, on_problem=on_problem, on_progress=on_progress)
        return sync.add(sources)

    def remove(self, *ids: str) -> list[str]:
        """Remove articles; return the ids of those that were there."""
        self._store.count()  # no index, nothing to lock
        with self._store.writing():
            known = self._store.stamps(ids)
            if known:
                self._store.write([], list(known))
                self._store.finish(built=False)
        return [id for id in ids if id in known]

    # Asking

    def related(self, article: str | Article, k: int = 3, *, articles: bool = False) -> list[Recommendation]:
        """Return the block of an article: its nearest neighbours, best first.

        Never the article itself, nor one with its url; of several with one url the best.

        Args:
            article: the id of an article of the index, or an Article, which need not be in it.
            k: how many, 1 or more; fewer come back where there are fewer.
            articles: put the whole article into each Recommendation.

        Raises:
            ArticleNotFoundError: no article of the index has this id.
        """
        if isinstance(article, Article):
            vector = self._vector_of(article)  # before the snapshot: loading a model takes seconds
            with self._store.snapshot():
                return self._blocks([(article.id, article.url, vector)], k, articles)[0]
        with self._store.snapshot():
            card = self._store.cards([article]).get(article)
            if card is None:
                raise ArticleNotFoundError(f"The index {self.path} holds no article with the id {article!r}.")
            vector = self._store.vectors([article])[article]
            return self._blocks([(article, card.url, vector)], k, articles)[0]

    def search(self, text: str, k: int = 10, *, articles: bool = False) -> list[Recommendation]:
        """Return the articles nearest to a free text, best first. For `k` and `articles` see `related`."""
        if not text.strip():
            raise RecommenderError("The text to search for is empty.")
        self._store.settings()  # no index, no model
        vector = self._ready_encoder().encode_query(clean_text(text))
        with self._store.snapshot():
            return self._blocks([(None, None, vector)], k, articles)[0]

    def links(self, k: int = 10) -> Iterator[tuple[str, list[Recommendation]]]:
        """Yield every article's id and block, in the order of the ids; each as `related` gives it."""
        ids = self._store.ids()
        while chunk := list(islice(ids, CHUNK)):
            with self._store.snapshot():
                cards, vectors = self._store.cards(chunk), self._store.vectors(chunk)
                queries = [(id, cards[id].url, vectors[id]) for id in chunk if id in cards]
                blocks = self._blocks(queries, k, articles=False)
            yield from zip((id for id, _, _ in queries), blocks, strict=True)

    def get(self, id: str) -> Article | None:
        """Return an article of the index; None if it holds none with this id."""
        return self._store.articles([id]).get(id)

    def read(self, path: str | os.PathLike[str]) -> Article:
        """Read the one article of a file, with the id that a build would give it; it is not added.

        Raises:
            SourceError: the file cannot be read, or holds no article or more than one.
        """
        path = Path(path)
        found: list[Article] = []
        problems: list[str] = []
        for entry in Source(path):
            found += [entry.article] if entry.article else []
            problems += entry.problems
            if len(found) > 1:
                raise SourceError(f"{path} holds more than one article; name a file that holds one.")
        if not found:
            raise SourceError(f"{path} holds no article: {'; '.join(problems) or 'it is empty'}.")
        if found[0].id == path.name:  # named after its file, and so perhaps by a path within a source of the index
            for folder in path.resolve().parents:
                if self._store.count([self._store.label(folder)]):
                    return replace(found[0], id=path.resolve().relative_to(folder).as_posix())
        return found[0]

    def __contains__(self, id: object) -> bool:
        """Tell whether the index holds an article with this id."""
        return isinstance(id, str) and id in self._store.stamps([id])

    def __len__(self) -> int:
        """Return the number of articles."""
        return self._store.count()

    def __iter__(self) -> Iterator[Article]:
        """Yield every Article, in the order of their ids."""
        ids = self._store.ids()
        while chunk := list(islice(ids, CHUNK)):
            articles = self._store.articles(chunk)
            yield from (articles[id] for id in chunk if id in articles)

    def info(self) -> dict[str, Any]:
        """Return what the index is: counts, model, settings, as `recommender info --json` prints them."""
        with self._store.snapshot():
            settings, facts = self._store.settings(), self._store.facts()
            model = settings["model"]
            return {
                "articles": self._store.count(),
                "model": model["name"],
                "model_hash": model["hash"],
                "dimensions": model["dimensions"],
                "max_tokens": model["max_tokens"],
                "format": facts["format"],
                "last_build": settings.get("last_build"),
                "languages": facts["languages"],
                "sections": facts["sections"],
                "editorial_links": facts["editorial_links"],
                "sources": facts["sources"],
                "bytes": facts["bytes"],
            }

    # Within

    def _blocks(
        self, queries: Sequence[tuple[str | None, str | None, NDArray[np.float32]]], k: int, articles: bool
    ) -> list[list[Recommendation]]:
        """Make the blocks of several queries, each an id, a url and a vector, in one snapshot."""
        if k < 1:
            raise ValueError(f"k is {k}; it must be 1 or more")
        total = self._store.count()
        blocks: list[list[Recommendation]] = [[] for _ in queries]
        rounds = [(list(range(len(queries))), max(CANDIDATES, k + SPARE), k + SPARE)] if queries and total else []
        while rounds:
            waiting, n, shown = rounds.pop()
            proposed = self._store.nearest(np.stack([queries[i][2] for i in waiting]), n)
            rankings = [
                scoring.ranked(found.ids, scoring.score(queries[i][2], found.vectors))
                for i, found in zip(waiting, proposed, strict=True)
            ]
            cards = self._store.cards(list({id for ranking in rankings for id, _ in ranking[:shown]}))
            for i, ranking in zip(waiting, rankings, strict=True):
                id, url, _ = queries[i]
                blocks[i] = block.assemble(ranking[:shown], cards, k, id=id, url=url)
                # Ask for more where copies took the places, or one that was not proposed may tie with the last.
                full = len(blocks[i]) == k and blocks[i][-1].score > ranking[-1][1]
                if not full and n < total:
                    rounds.append(([i], n * 4, n * 4))  # one at a time: many at once would hold much in memory
        if articles:
            whole = self._store.articles(list({link.id for links in blocks for link in links}))
            blocks = [[replace(link, article=whole[link.id]) for link in links] for links in blocks]
        return blocks

    def _vector_of(self, article: Article) -> NDArray[np.float32]:
        """Return the stored vector if the index holds this very content, else embed it."""
        stamp = self._store.stamps([article.id]).get(article.id)
        if stamp and stamp.content_hash == article.content_hash:
            return self._store.vectors([article.id])[article.id]
        vector: NDArray[np.float32] = self._ready_encoder().encode_articles([article])[0]
        return vector

    def _ready_encoder(self) -> DenseEncoder:
        """Return the encoder for this index; refuse one that the index was not made with."""
        stored = DenseModel(**self._store.settings()["model"]) if self._store.exists() else None
        if self._encoder is None:
            name = self._model or (stored.name if stored else DEFAULT_MODEL)
            tokens = self._max_tokens or (stored.max_tokens if stored else MAX_TOKENS)
            self._encoder = DenseEncoder(name, tokens)
        if stored and self._encoder.hash != stored.hash:
            asked = _model_text(self._encoder.name, self._encoder.max_tokens, self._encoder.hash)
            made = _model_text(stored.name, stored.max_tokens, stored.hash)
            raise ModelError(
                f"The index {self.path} was made with {made}, and this is {asked}. Vectors of two models cannot be "
                f"compared: use the first, or build an index of the second in another folder."
            )
        return self._encoder


def _model_text(name: str, max_tokens: int, hash: str) -> str:
    return f"the model {name} reading {max_tokens} tokens (hash {hash[:12]})"
