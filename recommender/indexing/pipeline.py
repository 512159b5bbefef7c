"""From articles to stored batches: one batch is embedded while the one before it is stored."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article
from recommender.embedding.encoder import DenseEncoder, DenseModel
from recommender.indexing.analysis import Analysis, Analyzer, analyze, warm_up
from recommender.indexing.item import ArticleToWrite
from recommender.store import Store, Upsert
from recommender.store.base import dominant_language
from recommender.system import processes
from recommender.text.terms import TERM_SETTINGS

T = TypeVar("T")

BATCH_ARTICLES = 512  # committed at once; a kill costs one batch
MAX_BATCH_CHARS = 2**23  # of texts and other fields; longer articles make smaller batches
BATCHES_AHEAD = 1  # batches that are embedded while another is stored
PIECES_PER_CORE = 4  # into which a batch is cut where other processes analyze it
MAX_COPIED_MODEL_BYTES = 2**26  # of a static model that every process may load for itself
PROGRESS_SECONDS = 0.5  # between two reports of progress
UNDETERMINED_LANGUAGE = "und"  # ISO 639-2


@dataclass(slots=True)
class _Batch:
    """Articles that are committed together.

    Attributes:
        items: the articles.
        ids_to_embed: ids of those that need a vector and have none from a cluster.
        vectors: the embeddings of these: float32, shape (n, dimensions); None where other processes embed.
        analyses: analyses of consecutive pieces of the batch, where other processes make them.
        embedded: how many of `ids_to_embed` have been embedded.
    """

    items: list[ArticleToWrite]
    ids_to_embed: list[str] = field(default_factory=list)
    vectors: "Future[NDArray[np.float32]] | None" = None
    analyses: "list[Future[list[Analysis]]]" = field(default_factory=list)
    embedded: int = 0


class Pipeline:
    """Embeds, analyzes and stores articles. A context manager; an error inside stops it soon.

    Args:
        store: the index; the caller holds its write lock.
        encoder: the embedding model.
        expected_articles: returns an estimate of the number of articles to write, from which on other processes are
            started; 0 for none.
        on_progress: called now and then while the pipeline waits.
        n_jobs: how many processes analyze at most, see `processes.worker_count`.

    Attributes:
        embedded: number of vectors stored.
        stored: number of articles stored.
    """

    def __init__(
        self,
        store: Store,
        encoder: DenseEncoder,
        expected_articles: Callable[[], int],
        on_progress: Callable[[], None],
        n_jobs: int | None = None,
    ) -> None:
        self._store, self._encoder = store, encoder
        self._expected_articles, self._on_progress = expected_articles, on_progress
        self._n_jobs = n_jobs
        self._queue: list[ArticleToWrite] = []
        self._batches: list[_Batch] = []  # submitted and not yet stored, the oldest first
        self._embedding_thread = ThreadPoolExecutor(1)  # beside this thread, which reads and stores
        self._stopped = threading.Event()
        self._executor: Executor | None = None
        self.embedded = self.stored = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop the thread; after an error, abandon the batches that are not stored."""
        if kind:
            self._stopped.set()
            for piece in [piece for batch in self._batches for piece in batch.analyses]:
                piece.cancel()
            if self._executor and issubclass(kind, KeyboardInterrupt):
                processes.kill_pool(self._executor)
        self._embedding_thread.shutdown()

    def put(self, items: Iterable[ArticleToWrite]) -> None:
        """Queue articles; submit every full batch, which may store an older one."""
        self._queue += items
        while self._next_batch_size() < len(self._queue) or len(self._queue) == BATCH_ARTICLES:
            self._submit()

    def withdraw(self, is_unwanted: Callable[[str], bool]) -> None:
        """Drop queued articles by id."""
        self._queue = [item for item in self._queue if not is_unwanted(item.article.id)]

    def finish(self) -> None:
        """Store all queued articles."""
        while self._queue:
            self._submit()
        while self._batches:
            self._store_oldest()

    def waiting(self) -> tuple[int, int]:
        """Return how many articles that are not stored yet lack a vector, and how many have one."""
        waiting = [*self._queue, *(item for batch in self._batches for item in batch.items)]
        to_embed = sum(item.source_item.vector is None for item in waiting)
        embedded = sum(batch.embedded for batch in self._batches)
        return to_embed - embedded, len(waiting) - to_embed + embedded

    def _next_batch_size(self) -> int:
        return sum(1 for _ in next_batch(self._queue, lambda item: item.article))

    def _submit(self) -> None:
        """Start to embed and analyze the next batch; store older ones."""
        size = self._next_batch_size()
        batch = _Batch(self._queue[:size])
        self._queue = self._queue[size:]
        executor = self._processes()  # they start while the model is loaded
        if not self._store.exists():
            self._encoder.model  # noqa: B018 - two threads must not load it at once
        self._batches.append(batch)
        articles = [(item.article, item.needs_vector and item.source_item.vector is None) for item in batch.items]
        batch.ids_to_embed = [article.id for article, to_embed in articles if to_embed]

        def on_done(embedded: int) -> None:
            batch.embedded = embedded
            if self._stopped.is_set():
                raise CancelledError

        processes_embed = False
        if executor and self._store.exists():
            processes_embed = self._processes_can_embed()
            model = DenseModel(**self._store.settings()["model"]) if processes_embed else None
            analyzer = Analyzer(presumed_language(self._store), (model, self._store.model_files) if model else None)
            piece = -(-len(articles) // (PIECES_PER_CORE * processes.worker_count(self._n_jobs)))
            for start in range(0, len(articles), piece):
                batch.analyses.append(processes.submit(executor, analyzer, articles[start : start + piece]))
        if batch.ids_to_embed and not processes_embed:
            to_embed = [article for article, needs_vector in articles if needs_vector]
            batch.vectors = self._embedding_thread.submit(self._encoder.encode_articles, to_embed, on_done)
        while len(self._batches) > BATCHES_AHEAD:
            self._store_oldest()

    def _processes(self) -> Executor | None:
        """Return the processes that analyze; None where starting them takes longer than they save."""
        workers = processes.worker_count(self._n_jobs)
        if not self._executor and workers > 1 and self._expected_articles() >= processes.MIN_ARTICLES_FOR_PROCESSES:
            self._executor = processes.process_pool(self._n_jobs)
            for _ in range(workers):
                processes.submit(self._executor, warm_up, None)
        return self._executor

    def _processes_can_embed(self) -> bool:
        """Return whether every process can load the model from the index and embed."""
        is_small = self._encoder.static and sum(map(len, self._encoder.files.values())) <= MAX_COPIED_MODEL_BYTES
        return is_small and self._store.guarantees.processes

    def _store_oldest(self) -> None:
        """Commit the oldest batch as soon as it is embedded and analyzed."""
        batch = self._batches[0]
        parts: list[Future[Any]] = [*batch.analyses, *([batch.vectors] if batch.vectors else [])]
        while waiting := wait(parts, PROGRESS_SECONDS).not_done:
            if not batch.vectors:
                batch.embedded = len(batch.ids_to_embed) * (len(parts) - len(waiting)) // len(parts)
            self._on_progress()
        vectors = dict(zip(batch.ids_to_embed, batch.vectors.result(), strict=True)) if batch.vectors else {}
        if not self._store.exists():
            settings = {"model": asdict(self._encoder.model), "lexical": TERM_SETTINGS}
            self._store.create(settings, self._encoder.files)
        language = presumed_language(self._store) if self._store.exists() else _only_language(self._encoder.model)
        analyses: list[Analysis | None] = [analysis for piece in batch.analyses for analysis in processes.result(piece)]
        upserts = [
            upsert(item.article, item.source_label, vectors.get(item.article.id), language, analysis)
            for item, analysis in zip(
                batch.items, analyses or (_cluster_analysis(item, language) for item in batch.items), strict=True
            )
        ]
        self._store.write(upserts)
        self.stored += len(upserts)
        self.embedded += sum(upsert.vector is not None for upsert in upserts)
        self._batches.pop(0)


def presumed_language(store: Store) -> str:
    """Return the language to assume for articles whose own is unknown: the dominant one of the index, else the model's.

    Returns:
        An ISO 639 code, or "und" where there is neither.
    """
    return dominant_language(store) or _only_language(DenseModel(**store.settings()["model"]))


def _only_language(model: DenseModel) -> str:
    """Return the language of a monolingual model; "und" for other models."""
    return model.languages[0] if model.languages and len(model.languages) == 1 else UNDETERMINED_LANGUAGE


def upsert(
    article: Article,
    source_label: str,
    vector: NDArray[np.float32] | None,
    presumed_language: str,
    analysis: Analysis | None = None,
) -> Upsert:
    """Return the stored form of an article.

    An analysis may assume the language that was dominant earlier; `refresh_assumed_languages` corrects it at the end.

    Args:
        article: the article.
        source_label: the label of its source.
        vector: its embedding: float32, shape (dimensions,); None for that of the analysis, or the stored one.
        presumed_language: the language to assume if its own is unknown.
        analysis: its terms and language; None to extract them here.
    """
    analysis = analysis or analyze(article, presumed_language)
    vector = analysis.vector if vector is None else vector
    return Upsert(article, source_label, vector, analysis.terms, analysis.language, analysis.assumed)


def next_batch(items: Iterable[T], article_of: Callable[[T], Article | None]) -> Iterator[T]:
    """Yield the items of the next batch: BATCH_ARTICLES, or fewer whose articles have MAX_BATCH_CHARS characters."""
    chars = 0
    for item in islice(items, BATCH_ARTICLES):
        yield item
        if article := article_of(item):
            chars += (
                len(article.title)
                + len(article.text)
                + len(repr(article.metadata))
                + sum(map(len, (*article.tags, *article.related, *article.links)))
            )
        if chars >= MAX_BATCH_CHARS:
            return


def _cluster_analysis(item: ArticleToWrite, presumed_language: str) -> Analysis | None:
    """Return the analysis and vector of an article that a Ray cluster embedded; None for other articles."""
    source_item = item.source_item
    if source_item.vector is None:
        return None
    analysis = source_item.analysis or analyze(item.article, presumed_language)
    return replace(analysis, vector=source_item.vector if item.needs_vector else None)
