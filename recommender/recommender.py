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
from recommender.evaluate import Evaluation, evaluate
from recommender.evaluation import qrels as judgements
from recommender.matching import Query, new_query, rank, stored_queries
from recommender.ranking import block
from recommender.ranking.scoring import BOTH, Weights
from recommender.signals import language as languages
from recommender.signals import lexical
from recommender.signals.dense import DEFAULT_MODEL, MAX_TOKENS, DenseEncoder, DenseModel
from recommender.sources import Source
from recommender.store import LocalStore, Store
from recommender.sync import BuildReport, Progress, Records, Sync, dominant_language

__all__ = ["BuildReport", "Evaluation", "Progress", "Recommender"]

CANDIDATES = 50  # proposed for a block by each signal, at least
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
        return Sync(self._store, self._ready_encoder, on_problem=None, on_progress=None).remove(ids)

    # Asking

    def related(
        self, article: str | Article, k: int = 3, *, language: str | None = None, articles: bool = False
    ) -> list[Recommendation]:
        """Return the block of an article: those that fit it best by meaning and by the words they share, best first.

        Never the article itself, nor one with its url; of several with one url the best.

        Args:
            article: the id of an article of the index, or an Article, which need not be in it.
            k: how many, 1 or more; fewer come back where there are fewer.
            language: the ISO 639 code of the language that they are in, or "any"; None for the article's own.
            articles: put the whole article into each Recommendation.

        Raises:
            ArticleNotFoundError: no article of the index has this id.
        """
        language = _code(language)
        if isinstance(article, Article):
            vector = self._vector_of(article)  # before the snapshot: loading a model takes seconds
            with self._store.snapshot():
                return self._blocks([self._query_of(article, vector, language)], k, articles=articles)[0]
        with self._store.snapshot():
            card = self._store.cards([article]).get(article)
            if card is None:
                raise ArticleNotFoundError(f"The index {self.path} holds no article with the id {article!r}.")
            stored = stored_queries(self._store, [article], language=language)[article]
            return self._blocks([replace(stored, url=card.url)], k, articles=articles)[0]

    def search(
        self, text: str, k: int = 10, *, language: str | None = None, articles: bool = False
    ) -> list[Recommendation]:
        """Return the articles that fit a free text best, best first; of any language, if none is named.

        For `k` and `articles` see `related`.
        """
        language = _code(language)
        text = clean_text(text)
        if not text.strip():
            raise RecommenderError("The text to search for is empty.")
        self._store.settings()  # no index, no model
        vector = self._ready_encoder().encode_query(text)
        with self._store.snapshot():
            terms = {name: lexical.terms("", text, name) for name in self._store.languages()}
            query = new_query(self._store, vector, terms, language=language)
            return self._blocks([query], k, articles=articles)[0]

    def links(
        self, k: int = 10, *, plain: bool = False, language: str | None = None
    ) -> Iterator[tuple[str, list[Recommendation]]]:
        """Yield every article's id and block, in the order of the ids; each as `related` gives it.

        Args:
            k: how many, 1 or more.
            plain: the ranking as it was scored, with nothing left out but the article itself.
            language: see `related`.
        """
        ids = self._store.ids()
        language = _code(language)
        while chunk := list(islice(ids, CHUNK)):
            with self._store.snapshot():
                cards, stored = self._store.cards(chunk), stored_queries(self._store, chunk, language=language)
                queries = [replace(stored[id], url=cards[id].url) for id in chunk if id in stored]
                blocks = self._blocks(queries, k, plain=plain)
            yield from zip((query.id or "" for query in queries), blocks, strict=True)

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
                "languages": {name: articles for name, (articles, _) in self._store.languages().items()},
                "sections": facts["sections"],
                "editorial_links": facts["editorial_links"],
                "sources": facts["sources"],
                "bytes": facts["bytes"],
            }

    def evaluate(
        self,
        qrels: str | os.PathLike[str] | None = None,
        *,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Evaluation:
        """Measure the ranking, by each signal alone and by both, against links that people chose.

        Every article is ranked, plain (see `links`), and the first ten links are measured.

        Args:
            qrels: a file of relevance judgements in the format of TREC; None for the archive's editorial links.
            on_progress: called with how many articles are ranked, of how many.

        Raises:
            SourceError: the file cannot be read.
            RecommenderError: there is nothing to measure against.
        """
        self._store.settings()  # no index, no file to read
        given = judgements.read(Path(qrels)) if qrels is not None else None
        truth = str(qrels) if qrels is not None else "editorial links"
        return evaluate(self._store, given, truth, on_progress or (lambda done, total: None))

    # Within

    def _blocks(
        self,
        queries: Sequence[Query],
        k: int,
        *,
        plain: bool = False,
        articles: bool = False,
        weights: Weights = BOTH,
    ) -> list[list[Recommendation]]:
        """Make the blocks of several queries in one snapshot."""
        if k < 1:
            raise ValueError(f"k is {k}; it must be 1 or more")
        sizes = {name: articles for name, (articles, _) in self._store.languages().items()}
        total = sum(sizes.values())
        blocks: list[list[Recommendation]] = [[] for _ in queries]
        first = min(max(CANDIDATES, k + SPARE), total)
        rounds = [(list(range(len(queries))), first, k + SPARE)] if queries and total else []
        while rounds:
            waiting, n, shown = rounds.pop()
            rankings = rank(self._store, [queries[i] for i in waiting], n, weights)
            cards = self._store.cards(list({id for ranking in rankings for id, _ in ranking[:shown]}))
            for i, ranking in zip(waiting, rankings, strict=True):
                query = queries[i]
                blocks[i] = block.assemble(ranking[:shown], cards, k, id=query.id, url=query.url, plain=plain)
                # Ask for more where copies took the places, or one that was not proposed may tie with the last.
                scores = dict(ranking)
                full = len(blocks[i]) == k and scores[blocks[i][-1].id] > ranking[-1][1]
                most = sizes.get(query.language, 0) if query.language else total
                if not full and n < most:
                    rounds.append(
                        ([i], min(n * 4, most), n * 4)
                    )  # one at a time: many at once would hold much in memory
        if articles:
            whole = self._store.articles(list({link.id for links in blocks for link in links}))
            blocks = [[replace(link, article=whole[link.id]) for link in links] for links in blocks]
        return blocks

    def _query_of(self, article: Article, vector: NDArray[np.float32], language: str | None) -> Query:
        """Return the query of an article, within a snapshot: as it is stored, or as though it were."""
        own = languages.spoken(article) or dominant_language(self._store) or next(iter(self._store.languages()), "und")
        if self._holds(article):
            stored = stored_queries(self._store, [article.id], language=language)[article.id]
            if not stored.spoken or own in stored.spoken:
                return replace(stored, url=article.url)
        terms = {own: lexical.terms(article.title, article.text, own)}
        made = new_query(self._store, vector, terms, language=language or own)
        return replace(made, id=article.id, url=article.url)

    def _vector_of(self, article: Article) -> NDArray[np.float32]:
        """Return the stored vector if the index holds this very content, else embed it."""
        with self._store.snapshot():
            if self._holds(article):
                stored: NDArray[np.float32] = self._store.signals([article.id]).vectors[0]
                return stored
        vector: NDArray[np.float32] = self._ready_encoder().encode_articles([article])[0]
        return vector

    def _holds(self, article: Article) -> bool:
        stamp = self._store.stamps([article.id]).get(article.id)
        return stamp is not None and stamp.content_hash == article.content_hash

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


def _code(language: str | None) -> str | None:
    """Return the code of a language that was asked for, or "any"."""
    if language is None or language == "any":
        return language
    if code := languages.standard(language):
        return code
    raise RecommenderError(f'{language!r} is no language. Give an ISO 639 code, for example "de", or "any".')


def _model_text(name: str, max_tokens: int, hash: str) -> str:
    return f"the model {name} reading {max_tokens} tokens (hash {hash[:12]})"
