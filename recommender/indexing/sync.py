"""Bring an index in line with its sources: which articles are new, changed or gone."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from recommender.article import Article
from recommender.embedding.encoder import DenseEncoder
from recommender.errors import IndexDamagedError, SourceError
from recommender.indexing import pipeline, ray_cluster
from recommender.indexing.feed import Feed, Input, open_feed, store_fields, stored_fields
from recommender.indexing.intake import Intake, OnProblem, warn
from recommender.indexing.item import ArticleToWrite, SourceItem
from recommender.indexing.pipeline import Pipeline, next_batch
from recommender.indexing.refresh import (
    foreign_language_warning,
    refresh_assumed_languages,
    refresh_scores,
    refresh_terms,
)
from recommender.indexing.report import BuildReport, Progress
from recommender.learning.learn import STALE_SHARE, changed_share, refresh_catalog, stored_model
from recommender.learning.learn import learn as learn_ranking
from recommender.sources import Entry
from recommender.store import Store

MAX_EXCLUDED = 10  # stored articles that a build may remove as excluded, whatever share they are


class Sync:
    """One run of build, add, remove or repair.

    Args:
        store: the index.
        encoder: called once, before anything is read; returns the encoder, or raises ModelError.
        on_problem: called with a sentence for the first problem of each kind and for the number of the others; None
            for warnings.
        on_progress: called after every batch.
        ray: address of the Ray cluster that reads and embeds; None for this process.
        n_jobs: how many processes share the work at most, see `processes.worker_count`.
        fields: field mapping of sources that have none of their own, see `Source`.
    """

    def __init__(
        self,
        store: Store,
        encoder: Callable[[], DenseEncoder],
        *,
        on_problem: OnProblem | None,
        on_progress: Callable[[Progress], None] | None,
        ray: str | None = None,
        n_jobs: int | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._get_encoder = encoder
        self._on_progress = on_progress or (lambda progress: None)
        self._ray = ray
        self._n_jobs = n_jobs
        self._fields = fields
        self._intake = Intake(on_problem)
        self._report = BuildReport()
        self._started = time.perf_counter()
        self._limit: int | None = None  # articles to read
        self._moved = 0  # articles that another source had given
        self._feeds: list[Feed] = []
        self._pipeline: Pipeline | None = None
        self._from_cluster = self._embedded_by_cluster = 0  # articles that have come and are not yet compared
        self._progress_at = self._progress_done = 0.0  # time and bytes of the last report of progress

    def build(
        self, inputs: Sequence[Input], *, prune: bool, prune_limit: float, limit: int | None, learn: bool
    ) -> BuildReport:
        """Read the inputs as full exports; see `Recommender.build`."""
        self._limit = limit
        with self._reporting(), self._store.write_lock():
            self._run(inputs)
            self._check_feeds(are_full=limit is None)
            self._remove_excluded(prune_limit)
            if limit is None:
                self._prune_missing(prune, prune_limit)
            self._finish(built=True, learn=learn)
            store_fields(self._store, self._feeds)
            if warning := foreign_language_warning(self._store):
                self._intake.problems.add(warning)
        return self._report

    def add(self, inputs: Sequence[Input]) -> BuildReport:
        """Read the inputs as deltas; see `Recommender.add`."""
        with self._reporting(), self._store.write_lock():
            self._run(inputs)
            self._check_feeds(are_full=False)
            self._remove_excluded(None)
            self._finish(built=False)
            store_fields(self._store, self._feeds)
        return self._report

    def remove(self, ids: Sequence[str]) -> list[str]:
        """Remove articles; return the ids of those that were stored, in the given order."""
        with self._store.write_lock():
            stored = self._store.content_hashes(ids)
            removed = [id for id in dict.fromkeys(ids) if id in stored]
            if removed:
                self._remove(removed)
                self._finish(built=False)
        return removed

    def repair(self) -> None:
        """Derive again everything that follows from the articles."""
        with self._store.write_lock():
            self._store.repair()
            with contextlib.suppress(IndexDamagedError):  # `verify` reports the remaining damage
                self._finish(built=False)

    # Reading and writing

    def _run(self, inputs: Sequence[Input]) -> None:
        """Read all inputs, and store the articles that are new or changed.

        Raises:
            SourceError: no input could be opened.
        """
        encoder = self._get_encoder()
        refresh_terms(self._store)
        self._open_feeds(inputs)
        self._pipeline = Pipeline(self._store, encoder, self._expected_articles, self._show_progress, self._n_jobs)
        with self._pipeline as writing, self._items(encoder) as items:
            while batch := list(next_batch(islice(items, self._articles_left()), lambda item: item.entry.article)):
                articles = [(article, item) for item in batch if (article := self._accept_entry(item))]
                self._from_cluster = self._embedded_by_cluster = 0
                to_write = self._diff(articles[: self._articles_left()])
                is_excluded = self._intake.seen_ids.is_excluded  # a later record may withdraw an earlier one
                writing.withdraw(is_excluded)
                writing.put(item for item in to_write if not is_excluded(item.article.id))
                self._show_progress()
                if self._articles_left() == 0:
                    break
            writing.finish()
        self._report.embedded = writing.embedded
        self._show_progress()
        if self._moved:
            self._intake.problems.note(
                f"{self._moved:,} articles were known from another source by the same id; they belong to this one now. "
                f"If they are other articles, give them other ids."
            )

    def _open_feeds(self, inputs: Sequence[Input]) -> None:
        for value in inputs:
            try:
                self._feeds.append(open_feed(self._store, value, self._fields, self._intake))
            except SourceError as error:
                self._report.failed.append(str(error))
        if not self._feeds:
            raise SourceError(" ".join(self._report.failed) or "No source was named.")
        for failure in self._report.failed:
            self._intake.problems.add(failure)

    def _articles_left(self) -> int | None:
        """Return how many articles may still be read; None without a limit."""
        return None if self._limit is None else self._limit - self._report.articles

    @contextlib.contextmanager
    def _items(self, encoder: DenseEncoder) -> Iterator[Iterator[SourceItem]]:
        """Provide the entries of all feeds, read by this process or by a Ray cluster, which also embeds."""
        if self._ray is None:
            yield (SourceItem(number, 0, entry) for number, feed in enumerate(self._feeds) for entry in feed.entries)
            return
        encoder.model  # noqa: B018 - a model that cannot be loaded is reported before the cluster is asked
        sources = [feed.source or feed.entries for feed in self._feeds]
        with ray_cluster.read_on_ray(self._ray, sources, self._store, encoder) as items:
            yield self._count_from_cluster(items)

    def _count_from_cluster(self, items: Iterator[SourceItem]) -> Iterator[SourceItem]:
        for item in items:
            if source := self._feeds[item.source_number].source:
                source.bytes_read = item.bytes_read
            self._from_cluster += item.entry.article is not None
            self._embedded_by_cluster += item.vector is not None
            if time.perf_counter() - self._progress_at >= pipeline.PROGRESS_SECONDS:
                self._show_progress()
            yield item
        for feed in self._feeds:
            if feed.source:
                feed.source.bytes_read = feed.source.total_bytes

    def _accept_entry(self, item: SourceItem) -> Article | None:
        """Return the article of an entry, unless its id was read before; report problems."""
        entry: Entry = item.entry
        if entry.failed:
            self._report.failed.append(f"{entry.where}: {entry.problems[0]}.")
        article = self._intake.take(self._feeds[item.source_number].intake, entry)
        if entry.excluded:
            self._report.excluded[entry.excluded] += 1
        self._report.skipped += article is None and not entry.excluded
        return article

    def _diff(self, articles: Sequence[tuple[Article, SourceItem]]) -> list[ArticleToWrite]:
        """Count new, changed and unchanged articles, and return those to write."""
        to_write = []
        ids = [article.id for article, _ in articles]
        stored_hashes = self._store.content_hashes(ids) if self._store.exists() else {}
        for article, item in articles:
            feed, stored = self._feeds[item.source_number], stored_hashes.get(article.id)
            if stored is None:
                self._report.added += 1
                to_write.append(ArticleToWrite(article, feed.label, item, needs_vector=True))
                continue
            feed.stored += 1
            is_changed, has_moved = stored.record_hash != article.record_hash, stored.source != feed.label
            self._report.changed += is_changed
            self._report.unchanged += not is_changed
            self._moved += has_moved
            if is_changed or has_moved:
                needs_vector = stored.content_hash != article.content_hash
                to_write.append(ArticleToWrite(article, feed.label, item, needs_vector))
        return to_write

    # After reading

    def _check_feeds(self, *, are_full: bool) -> None:
        """Report problems of whole sources and of field mappings.

        Args:
            are_full: whether the sources should contain whole archives.

        Raises:
            SourceError: no article was taken from any of them.
        """
        known_names = {name for mapping in stored_fields(self._store).values() for name in mapping.values()}
        for feed in self._feeds:
            if (absent := feed.intake.absent(known_names)) and self._limit is None:
                self._fail(absent)
            elif are_full and (absent := feed.intake.absent()):
                self._intake.problems.add(absent)
            if failure := feed.intake.failure():
                self._fail(failure)
            elif are_full and not feed.intake.with_id and not feed.intake.cut_short:
                self._fail(f"{feed.name} holds no article.")
            elif not feed.stored and (hint := feed.intake.hint()):
                self._intake.problems.add(hint)
        if self._report.articles or (self._report.excluded and self._store.exists()):
            return
        if self._report.failed:
            raise SourceError(" ".join(self._report.failed))
        if not self._store.exists():
            counts = ", ".join(f"{reason} {count:,}" for reason, count in self._report.excluded.most_common())
            left_out = f" ({counts}; `recommender read` prints why)" if counts else ""
            raise SourceError(
                f"None of the sources held an article{left_out}, so there is nothing to make an index of."
            )

    def _fail(self, sentence: str) -> None:
        """Report that a source failed; to a Python program as a warning too."""
        self._report.failed.append(sentence)
        if self._intake.problems.collected:
            self._intake.problems.add(sentence)

    def _remove_excluded(self, limit: float | None) -> None:
        """Remove stored articles that their sources exclude now.

        Args:
            limit: which share of the articles of these sources may go, in percent; None for all, since a delta names
                its deletions one by one.
        """
        labels = {feed.label for feed in self._feeds}
        stored = {
            id: hashes
            for page in self._intake.seen_ids.excluded_pages()
            for id, hashes in self._store.content_hashes(page).items()
        }
        elsewhere = sum(hashes.source not in labels for hashes in stored.values())
        share = 100 * len(stored) / (self._store.count(labels) + elsewhere) if stored else 0.0
        if limit is not None and share > limit and len(stored) > MAX_EXCLUDED:
            self._report.refused = (
                f"Nothing was removed: {len(stored):,} articles, {share:.1f} % of those from these sources, are not "
                f"published any more (by their status, draft, published and the like) or are list pages, and the limit "
                f"is {limit:g} %. `recommender read` prints the reasons. If they are right, raise the limit with "
                f"--prune-limit, or give the sources to `recommender add`."
            )
            return
        self._remove(list(stored))
        self._report.removed += len(stored)

    def _prune_missing(self, prune: bool, prune_limit: float) -> None:
        """Count the stored articles that the sources no longer contain; remove them if requested and safe.

        Args:
            prune: whether to remove them.
            prune_limit: which share of the articles of these sources may go, in percent.
        """
        labels = {feed.label for feed in self._feeds}
        doubts = [*self._report.failed, *(f"{feed.intake.doubt}." for feed in self._feeds if feed.intake.doubt)]
        if doubts:
            if prune:
                self._report.refused = f"Nothing was removed, since not all that the sources hold is known: {doubts[0]}"
            return
        if self._report.refused:
            return
        ids, missing = self._store.ids(labels), list[str]()
        while page := list(islice(ids, pipeline.BATCH_ARTICLES)):
            missing += self._intake.seen_ids.unseen(page)
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
        self._remove(missing)
        self._report.removed += len(missing)
        self._report.missing = 0

    def _remove(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), pipeline.BATCH_ARTICLES):
            self._store.write([], ids[start : start + pipeline.BATCH_ARTICLES])

    def _finish(self, *, built: bool, learn: bool = False) -> None:
        """Bring everything up to date that follows from all articles together."""
        if self._store.exists():
            refresh_assumed_languages(self._store)
        self._store.finish(built=built)
        if self._store.exists():
            try:
                refresh_scores(self._store, self._show_comparing, self._n_jobs)
            except IndexDamagedError as error:  # the articles are stored all the same
                self._intake.problems.add(f"{error} Until then blocks are ranked with the hubness that is known.")
            self._refresh_learned(learn=learn)
        self._report.seconds = time.perf_counter() - self._started

    def _refresh_learned(self, *, learn: bool) -> None:
        """Bring the catalog of a learned ranking up to date; if the ranking is out of date, train it again or warn.

        Args:
            learn: whether to train a ranking if there is none, or if it is out of date or damaged.
        """
        problem, is_missing = "", False
        try:
            refresh_catalog(self._store)
            is_missing = stored_model(self._store) is None
            share = changed_share(self._store)
        except IndexDamagedError as error:
            problem = str(error)
        else:
            if share > STALE_SHARE:
                problem = (
                    f"{100 * share:.0f} % of the links between articles have changed since the ranking was learned. "
                    f"Train it again with `recommender learn`."
                )
        if learn and (problem or is_missing):
            self._report.learned = learn_ranking(self._store, self._show_learning)
        if problem and not (self._report.learned and self._report.learned.adopted):
            self._intake.problems.add(problem)

    # Progress and problems

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """Report the number of problems; add the stored progress to an interrupt."""
        problems = self._intake.problems
        try:
            yield
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(self._stored_progress())
            raise
        finally:
            self._report.problems = problems.sentences()
            problems.close()
        if problems.collected:
            for problem in self._report.problems:
                warn(problem)

    def _stored_progress(self) -> str:
        """Return a sentence on the articles that an interrupted run has stored."""
        stored = self._pipeline.stored if self._pipeline else 0
        if stored:
            return f"{stored:,} articles of this run are stored; run the same command again to go on from there."
        return f"Nothing of this run was stored yet: articles are stored {pipeline.BATCH_ARTICLES} at a time."

    def _show_progress(self) -> None:
        """Report how far the sources are read, less the share of the articles that wait for their vectors."""
        self._progress_at = time.perf_counter()
        if self._pipeline is None:
            return
        unembedded, embedded = self._pipeline.waiting()
        read = self._report.articles + self._from_cluster
        ready = read - unembedded
        bytes_read, size = self._bytes_read()
        # Articles that wait may be longer or shorter than others: the bar never goes back.
        self._progress_done = max(self._progress_done, bytes_read * ready // max(read, 1))
        embedded += self._pipeline.embedded + self._embedded_by_cluster
        self._on_progress(Progress(int(self._progress_done), size, ready, embedded))

    def _show_comparing(self, done: int, total: int) -> None:
        self._on_progress(Progress(done, total, self._report.articles, self._report.embedded, "comparing"))

    def _show_learning(self, stage: str, done: int, total: int) -> None:
        self._on_progress(Progress(done, total, self._report.articles, self._report.embedded, stage))

    def _bytes_read(self) -> tuple[int, int]:
        """Return how many bytes of the sources have been read, and of how many."""
        return sum(feed.bytes_read for feed in self._feeds), sum(feed.size for feed in self._feeds)

    def _expected_articles(self) -> int:
        """Estimate the number of articles to write from the bytes read so far; 0 with a cluster."""
        if self._ray is not None:
            return 0
        bytes_read, size = self._bytes_read()
        written = self._report.added + self._report.changed
        expected = written * max(size, bytes_read) // bytes_read if bytes_read else written
        return min(expected, self._limit or expected)
