"""The way of articles into a store, in batches: one is embedded while another is stored."""

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
from recommender.indexing.ray_cluster import SourceItem
from recommender.store import Store, Upsert
from recommender.system import processes
from recommender.text.terms import TERM_SETTINGS

Given = TypeVar("Given")

BATCH = 512  # articles committed at once; what a kill can cost
LONG = 2**23  # characters of their texts and other fields, past which a batch has fewer
AHEAD = 1  # batches that are embedded while another is stored
PIECES = 4  # that a batch is cut into for each core, where other processes read it
SMALL_MODEL = 2**26  # bytes of a static model, up to which every process may have its own
SHOWN_EVERY = 0.5  # seconds between two reports of progress
UNDETERMINED = "und"  # ISO 639-2 for a language that is not known


@dataclass(frozen=True, slots=True)
class Item:
    """An article to be written: with its source's label, as it came, and whether it needs a vector."""

    article: Article
    label: str
    made: SourceItem
    new: bool


@dataclass(slots=True)
class _Batch:
    """Articles that are committed together."""

    items: list[Item]
    new: list[str] = field(default_factory=list)  # ids of those that do, and that no cluster has made one for
    vectors: "Future[NDArray[np.float32]] | None" = None
    done: int = 0  # of them
    found: "list[Future[list[Analysis]]]" = field(default_factory=list)  # in all texts, if other processes read them


class Pipeline:
    """Embeds and stores articles; a context manager, which stops soon at an error.

    Args:
        store: where they go; hold the right to write.
        encoder: what embeds.
        expected: tells about how many articles there are to be written, from how far the sources are read; 0 if this
            process is to do all.
        on_progress: called now and then.
        n_jobs: how many processes find terms and languages at most, see `parallel.workers`.

    Attributes:
        embedded: vectors that are stored.
        stored: articles that are stored.
    """

    def __init__(
        self,
        store: Store,
        encoder: DenseEncoder,
        expected: Callable[[], int],
        on_progress: Callable[[], None],
        n_jobs: int | None = None,
    ) -> None:
        self._store, self._encoder = store, encoder
        self._expected, self._on_progress = expected, on_progress
        self._n_jobs = n_jobs
        self._pending: list[Item] = []
        self._under_way: list[_Batch] = []  # being embedded, or waiting for it
        self._pool = ThreadPoolExecutor(1)  # embeds while this thread reads and stores
        self._stopped = threading.Event()
        self._processes: Executor | None = None
        self.embedded = self.stored = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let go of the thread; at an error what is under way is given up."""
        if kind:
            self._stopped.set()
            for piece in [piece for batch in self._under_way for piece in batch.found]:
                piece.cancel()
            if self._processes and issubclass(kind, KeyboardInterrupt):
                processes.kill(self._processes)
        self._pool.shutdown()

    def put(self, items: Iterable[Item]) -> None:
        """Queue articles, which may take storing others that wait; keep back what makes no whole batch."""
        self._pending += items
        while self._fits() < len(self._pending) or len(self._pending) == BATCH:
            self._submit()

    def withdraw(self, unwanted: Callable[[str], bool]) -> None:
        """Drop articles, told by their ids, that wait for a batch."""
        self._pending = [item for item in self._pending if not unwanted(item.article.id)]

    def finish(self) -> None:
        """Store all that waits."""
        while self._pending:
            self._submit()
        while self._under_way:
            self._land()

    def waiting(self) -> tuple[int, int]:
        """Return how many articles wait for this process to embed them, and how many that wait have a vector."""
        waiting = [*self._pending, *(item for batch in self._under_way for item in batch.items)]
        here = sum(item.made.vector is None for item in waiting)
        done = sum(batch.done for batch in self._under_way)
        return here - done, len(waiting) - here + done

    def _fits(self) -> int:
        """Return how many of those that are queued make a batch."""
        return sum(1 for _ in up_to_batch(self._pending, lambda item: item.article))

    def _submit(self) -> None:
        """Have the next of what is queued embedded, and store what was so before it."""
        fits = self._fits()
        items, self._pending = self._pending[:fits], self._pending[fits:]
        others = self._others()  # they get ready while the model is loaded
        if not self._store.exists():
            self._encoder.model  # noqa: B018 - what loads it is not for two threads at once
        batch = _Batch(items)
        self._under_way.append(batch)
        lacking = [(item.article, item.new and item.made.vector is None) for item in items]
        batch.new = [article.id for article, new in lacking if new]

        def on_done(done: int) -> None:
            batch.done = done
            if self._stopped.is_set():
                raise CancelledError

        elsewhere = False
        if others and self._store.exists():
            elsewhere = self._embeds_elsewhere()
            model = DenseModel(**self._store.settings()["model"]) if elsewhere else None
            dominant = presumed_language(self._store)
            finder = Analyzer(dominant, (model, self._store.model_files) if model else None)
            size = -(-len(lacking) // (PIECES * processes.workers(self._n_jobs)))
            for start in range(0, len(lacking), size):
                batch.found.append(processes.submit(others, finder, lacking[start : start + size]))
        if batch.new and not elsewhere:
            new = [article for article, is_new in lacking if is_new]
            batch.vectors = self._pool.submit(self._encoder.encode_articles, new, on_done)
        while len(self._under_way) > AHEAD:
            self._land()

    def _others(self) -> Executor | None:
        """Return the processes that share the work, if there is enough to write for it to pay to start them."""
        workers = processes.workers(self._n_jobs)
        if not self._processes and workers > 1 and self._expected() >= processes.MANY:
            self._processes = processes.processes(self._n_jobs)
            for _ in range(workers):
                processes.submit(self._processes, warm_up, None)
        return self._processes

    def _embeds_elsewhere(self) -> bool:
        """Tell whether other processes can embed too: each of them takes the model from the index."""
        small = self._encoder.static and sum(map(len, self._encoder.files.values())) <= SMALL_MODEL
        return small and self._store.guarantees.processes

    def _land(self) -> None:
        """Commit the first batch that is under way, once it has its vectors."""
        batch = self._under_way[0]
        parts: list[Future[Any]] = [*batch.found, *([batch.vectors] if batch.vectors else [])]
        while waiting := wait(parts, SHOWN_EVERY).not_done:
            if not batch.vectors:
                batch.done = len(batch.new) * (len(parts) - len(waiting)) // len(parts)
            self._on_progress()
        vectors = dict(zip(batch.new, batch.vectors.result(), strict=True)) if batch.vectors else {}
        if not self._store.exists():
            settings = {"model": asdict(self._encoder.model), "lexical": TERM_SETTINGS}
            self._store.create(settings, self._encoder.files)
        stored = self._store.exists()
        told = presumed_language(self._store) if stored else _only_language(self._encoder.model)
        changes = []
        found = [of_it for piece in batch.found for of_it in processes.result(piece)]
        for item, of_it in zip(batch.items, found or (_of_cluster(item, told) for item in batch.items), strict=True):
            changes.append(change(item.article, item.label, vectors.get(item.article.id), told, of_it))
        self._store.write(changes)
        self.stored += len(changes)
        self.embedded += sum(change.vector is not None for change in changes)
        self._under_way.pop(0)


def dominant_language(store: Store) -> str | None:
    """Return the language that most articles are known to be in; None if there is none."""
    languages = store.languages() if store.exists() else {}
    told = {name: articles - assumed for name, (articles, assumed) in languages.items() if articles > assumed}
    return min(told, key=lambda name: (-told[name], name)) if told else None


def presumed_language(store: Store) -> str:
    """Return the language of articles that do not tell theirs, by what an index holds so far, or else by its model."""
    if found := dominant_language(store):
        return found
    return _only_language(DenseModel(**store.settings()["model"]))


def _only_language(model: DenseModel) -> str:
    """Return the language of a model that knows just one, for an archive none of whose articles tells its own."""
    return model.languages[0] if model.languages and len(model.languages) == 1 else UNDETERMINED


def change(
    article: Article, source: str, vector: NDArray[np.float32] | None, dominant: str, found: Analysis | None = None
) -> Upsert:
    """Return what is to be stored of an article, its terms in its own language or else in the dominant one.

    What was found already may be in the one that was dominant then, which is seen to when all articles are stored.
    """
    found = found or analyze(article, dominant)
    vector = found.vector if vector is None else vector
    return Upsert(article, source, vector, found.terms, found.language, found.assumed)


def up_to_batch(items: Iterable[Given], article: Callable[[Given], Article | None]) -> Iterator[Given]:
    """Give the first items, as many as make a batch: BATCH of them, or so many that they are long together."""
    size = 0
    for item in islice(items, BATCH):
        yield item
        if found := article(item):
            size += (
                len(found.title)
                + len(found.text)
                + len(repr(found.metadata))
                + sum(map(len, (*found.tags, *found.related, *found.links)))
            )
        if size >= LONG:
            return


def _of_cluster(item: Item, dominant: str) -> Analysis | None:
    """Return what a cluster found in an article's text, if it was read there."""
    made = item.made
    if made.vector is None:
        return None
    return replace(made.found or analyze(item.article, dominant), vector=made.vector if item.new else None)
