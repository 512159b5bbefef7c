"""Bringing an index in line with its sources: what is new, what has changed, what is gone."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, record_id
from recommender.errors import ArticleError, SourceError
from recommender.signals.dense import DenseEncoder
from recommender.sources import Entry, Source
from recommender.store import Change, Store

# Articles, or mappings as Article.from_record takes them.
Records = Iterable[Article | Mapping[str, Any]]

BATCH = 512  # articles committed at once; what a kill can cost
STEP = 64  # articles embedded between two reports of progress
IN_PYTHON = "(python)"  # the label of articles that were passed in and not read from a source


@dataclass(slots=True)
class BuildReport:
    """What a build or an add did.

    Attributes:
        added: articles that were new.
        changed: articles that were stored in another version.
        unchanged: articles that were stored as they are.
        removed: articles that were removed by `prune`.
        missing: articles of these sources that the sources no longer hold; None where that cannot be known, and
            for `add`.
        skipped: inputs that gave no article.
        embedded: vectors made; a change in date, tags and the like needs none.
        seconds: how long it took.
        failed: one sentence for each source that could not be read, or not to its end.
        refused: why `prune` removed nothing, if it was asked to and did not.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    missing: int | None = None
    skipped: int = 0
    embedded: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)
    refused: str = ""

    @property
    def articles(self) -> int:
        """How many articles were read."""
        return self.added + self.changed + self.unchanged

    @property
    def rate(self) -> float:
        """Articles read a second."""
        return self.articles / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build has come.

    Attributes:
        done: bytes of the sources that are dealt with.
        total: bytes of all sources; 0 if they are not files.
        articles: articles that are dealt with: embedded, or found unchanged.
        embedded: vectors made.
    """

    done: int
    total: int
    articles: int
    embedded: int


@dataclass(slots=True)
class _Feed:
    """One source, opened: its label in the index and its entries."""

    label: str
    name: str
    entries: Iterable[Entry]
    source: Source | None = None
    held: int = 0  # entries that held an article, good or not
    doubt: str = ""  # why not all of it is known

    def done(self) -> int:
        return self.source.done if self.source else 0

    def size(self) -> int:
        return self.source.size if self.source else 0


class Sync:
    """One run of build or add.

    Args:
        store: where the articles go.
        encoder: called once, before anything is read; gives the encoder or refuses.
        on_problem: called with a sentence for each input that was skipped or not fully used.
        on_progress: called after every batch.
    """

    def __init__(
        self,
        store: Store,
        encoder: Callable[[], DenseEncoder],
        *,
        on_problem: Callable[[str], None] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._store = store
        self._get_encoder = encoder
        self._tell = on_problem or (lambda problem: None)
        self._on_progress = on_progress or (lambda progress: None)
        self._seen: dict[str, str] = {}  # id: where it was read
        self._skipped: set[str] = set()  # ids of what was no article: their sources still hold them
        self._moved = 0
        self._pending: list[tuple[Article, str, bool]] = []  # article, label, whether it needs a vector
        self._report = BuildReport()
        self._feeds: list[_Feed] = []

    def build(
        self,
        sources: Sequence[str | os.PathLike[str] | Records],
        *,
        prune: bool,
        prune_limit: float,
        limit: int | None,
    ) -> BuildReport:
        """Read the sources as full exports; see `Recommender.build`."""
        with self._store.writing():
            feeds = self._run(sources, limit)
            if limit is None:
                self._settle(feeds, prune, prune_limit)
            self._store.finish(built=True)
        return self._report

    def add(self, sources: Sequence[str | os.PathLike[str] | Records]) -> BuildReport:
        """Read the sources as deltas; see `Recommender.add`."""
        with self._store.writing():
            self._run(sources, None)
            self._store.finish(built=False)
        return self._report

    def _run(self, sources: Sequence[str | os.PathLike[str] | Records], limit: int | None) -> list[_Feed]:
        started = time.perf_counter()
        self._encoder = self._get_encoder()
        feeds = [feed for source in sources if (feed := self._open(source))]
        if not feeds:
            raise SourceError(" ".join(self._report.failed) or "No source was named.")
        for failure in self._report.failed:
            self._tell(failure)
        self._feeds = feeds
        entries = ((feed, entry) for feed in feeds for entry in feed.entries)
        while batch := list(islice(entries, BATCH)):
            articles = [(feed.label, article) for feed, entry in batch if (article := self._take(feed, entry))]
            if limit is not None:
                articles = articles[: limit - self._report.articles]
            self._compare(articles)
            if len(self._pending) >= BATCH:
                self._flush()
            self._show_progress()
            if limit is not None and self._report.articles >= limit:
                break
        self._flush()
        self._show_progress()
        if self._moved:
            self._tell(
                f"{self._moved:,} articles were known from another source by the same id; they belong to this one now. "
                f"If they are other articles, give them other ids."
            )
        self._report.seconds = time.perf_counter() - started
        if not self._report.articles and not self._store.exists():
            raise SourceError("None of the sources held an article, so there is nothing to make an index of.")
        return feeds

    def _open(self, given: str | os.PathLike[str] | Records) -> _Feed | None:
        if isinstance(given, Mapping | Article):
            raise TypeError("one article was passed in; pass a list of them")
        if not isinstance(given, str | os.PathLike):
            return _Feed(IN_PYTHON, "the articles passed in", _entries(given))
        try:
            source = Source(given)
        except SourceError as error:
            self._report.failed.append(str(error))
            return None
        return _Feed(self._store.label(source.path), str(source.path), source, source)

    def _take(self, feed: _Feed, entry: Entry) -> Article | None:
        """Report what is wrong with an entry; return its article if it holds one that was not read before."""
        if entry.failed:
            self._report.failed.append(f"{entry.where}: {entry.problems[0]}.")
        if entry.unknown and not feed.doubt:
            feed.doubt = f"{entry.where}: {entry.problems[0]}"
        article = entry.article
        id = article.id if article else entry.id
        feed.held += bool(id)
        if article is None:
            self._report.skipped += 1
            self._skipped.add(id)
            self._tell(f"Skipped {entry.where}: {'; '.join(entry.problems)}.")
            return None
        if article.id in self._seen:
            self._report.skipped += 1
            self._tell(
                f"Skipped {entry.where}: the id {article.id!r} stands in {self._seen[article.id]} too; an id names one "
                f"article, and the first was taken."
            )
            return None
        self._seen[article.id] = entry.where
        if entry.problems:
            self._tell(f"{entry.where}: article {article.id!r} was taken, but {'; '.join(entry.problems)}.")
        return article

    def _compare(self, articles: list[tuple[str, Article]]) -> None:
        """Count what is new, changed and unchanged, and queue what has to be written."""
        stamps = self._store.stamps([article.id for _, article in articles]) if self._store.exists() else {}
        for label, article in articles:
            stamp = stamps.get(article.id)
            if stamp is None:
                self._report.added += 1
            elif stamp.record_hash == article.record_hash:
                self._report.unchanged += 1
            else:
                self._report.changed += 1
            if stamp and stamp.source != label:
                self._moved += 1
            new_content = stamp is None or stamp.content_hash != article.content_hash
            if new_content or stamp is None or stamp.record_hash != article.record_hash or stamp.source != label:
                self._pending.append((article, label, new_content))

    def _flush(self) -> None:
        """Embed and commit what is queued, in batches."""
        while self._pending:
            batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
            # Like lengths together: a model pads all texts that it reads at once to the longest.
            new = sorted((article for article, _, new_content in batch if new_content), key=lambda a: len(a.text))
            vectors: dict[str, NDArray[np.float32]] = {}
            for start in range(0, len(new), STEP):
                step = new[start : start + STEP]
                vectors.update(zip((article.id for article in step), self._encoder.encode_articles(step), strict=True))
                self._report.embedded += len(step)
                self._show_progress(len(batch) - len(vectors))
            if not self._store.exists():
                self._store.create({"model": asdict(self._encoder.model)})
            self._store.write([Change(article, label, vectors.get(article.id)) for article, label, _ in batch])

    def _show_progress(self, waiting: int = 0) -> None:
        """Report how far the sources are read, less the share of the articles that still wait for their vectors."""
        read = self._report.articles
        ready = read - waiting - len(self._pending)
        done, total = sum(feed.done() for feed in self._feeds), sum(feed.size() for feed in self._feeds)
        self._on_progress(Progress(done * ready // max(read, 1), total, ready, self._report.embedded))

    def _settle(self, feeds: list[_Feed], prune: bool, prune_limit: float) -> None:
        """Count what the sources no longer hold, and remove it if that is asked for and safe."""
        labels = {feed.label for feed in feeds}
        doubts = [*self._report.failed, *(f"{feed.doubt}." for feed in feeds if feed.doubt)]
        for feed in feeds:
            if not feed.held:
                doubts.append(f"{feed.name} holds no article.")
                self._tell(doubts[-1])
        if doubts:
            if prune:
                self._report.refused = f"Nothing was removed, since not all that the sources hold is known: {doubts[0]}"
            return
        missing = [id for id in self._store.ids(labels) if id not in self._seen and id not in self._skipped]
        self._report.missing = len(missing)
        if not prune or not missing:
            return
        share = 100 * len(missing) / self._store.count(labels)
        if not share <= prune_limit:
            self._report.refused = (
                f"Nothing was removed: {len(missing):,} articles, {share:.1f} % of those from these sources, would go, "
                f"and the limit is {prune_limit:g} %. If that is right, raise it with --prune-limit."
            )
            return
        for start in range(0, len(missing), BATCH):
            self._store.write([], missing[start : start + BATCH])
        self._report.removed = len(missing)
        self._report.missing = 0


def _entries(records: Records) -> Iterator[Entry]:
    for number, record in enumerate(records, start=1):
        where = f"article {number}"
        if isinstance(record, Article):
            yield Entry(where, record)
            continue
        if not isinstance(record, Mapping):
            problem = f"it is of type {type(record).__name__}, neither an Article nor a mapping of its fields"
            yield Entry(where, problems=(problem,), unknown=True)
            continue
        try:
            article, notes = Article.from_record(record)
        except ArticleError as error:
            id = record_id(record)
            yield Entry(where, id=id, problems=(str(error).rstrip("."),), unknown=not id)
        else:
            yield Entry(where, article, problems=tuple(notes))
