"""Bringing an index in line with its sources: what is new, what has changed, what is gone."""

import contextlib
import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from recommender.article import Article
from recommender.embedding.encoder import DenseEncoder, DenseModel
from recommender.errors import IndexDamagedError, SourceError
from recommender.indexing import pipeline, ray_cluster
from recommender.indexing.intake import Intake, OnProblem, SourceIntake, warn
from recommender.indexing.pipeline import Item, Pipeline, change, presumed_language, up_to_batch
from recommender.indexing.ray_cluster import SourceItem
from recommender.ranking import calibration, hubness
from recommender.sources import Entry, Source, dataframe, record
from recommender.store import Store
from recommender.text.terms import TERM_SETTINGS

# Articles, or mappings as Article.from_record takes them.
Records = Iterable[Article | Mapping[str, Any]]
Given = str | os.PathLike[str] | Source | Records | dataframe.DataFrame

MAX_WITHDRAWN = 10  # articles that a build may take out as not published any more, whatever share they are
FOREIGN_SHARE = 0.05  # of the articles in languages that the model does not know, past which a build warns
# Models that know many languages, to name where the index's own does not; as their cards say.
WIDE_MODEL = "paraphrase-multilingual-MiniLM-L12-v2"
WIDE_MODEL_LANGUAGES = (
    "ar bg ca cs da de el en es et fa fi fr gl gu he hi hr hu hy id it ja ka ko ku lt lv mk mn mr ms my nb nl no pl "
    "pt ro ru sk sl sq sr sv th tr uk ur vi zh"
)
WIDEST_MODEL = "LaBSE"  # 109 languages
IN_PYTHON = "(python)"  # the label of articles that were passed in and not read from a source
FIELDS = "fields"  # the setting of an index with the mapping of fields of each source, by the label of the source


@dataclass(slots=True)
class BuildReport:
    """What a build or an add did.

    Attributes:
        added: articles that were new.
        changed: articles that were stored in another version.
        unchanged: articles that were stored as they are.
        removed: articles that were removed, by `prune` or because the source says that they are not published.
        unpublished: records that the sources say are drafts, unpublished or deleted.
        missing: articles of these sources that the sources no longer hold; None where that cannot be known, and
            for `add`.
        skipped: inputs that gave no article.
        embedded: vectors made; a change in date, tags and the like needs none.
        seconds: how long it took.
        failed: one sentence for each source that could not be read, or not to its end.
        refused: why `prune` removed nothing, if it was asked to and did not.
        problems: one or two sentences for each kind of input that was skipped or not fully used: the first, and the
            number of the others.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    unpublished: int = 0
    missing: int | None = None
    skipped: int = 0
    embedded: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)
    refused: str = ""
    problems: list[str] = field(default_factory=list)

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
        done: bytes of the sources that are dealt with, or articles.
        total: bytes of all sources, 0 if they are not files; or articles.
        articles: articles that are dealt with: embedded, or found unchanged.
        embedded: vectors made.
        stage: "reading", in which `done` and `total` are bytes, or "comparing", in which they are articles.
    """

    done: int
    total: int
    articles: int
    embedded: int
    stage: str = "reading"


@dataclass(slots=True)
class _Feed:
    """One source, opened: its label in the index and its entries."""

    label: str
    name: str
    entries: Iterable[Entry]
    intake: SourceIntake
    source: Source | None = None
    remembered: bool = False  # whether its mapping of fields is that of an earlier build
    stored: int = 0  # of its articles, before this run

    def done(self) -> int:
        return self.source.done if self.source else 0

    def size(self) -> int:
        return self.source.size if self.source else 0


class Sync:
    """One run of build or add.

    Args:
        store: where the articles go.
        encoder: called once, before anything is read; gives the encoder or refuses.
        on_problem: called with a sentence for each kind of input that was skipped or not fully used, and for the
            number of others of its kind; None for warnings.
        on_progress: called after every batch.
        ray: the address of the cluster that reads and embeds; None for this process.
        n_jobs: how many processes share the work at most, see `parallel.workers`.
        fields: the mapping of fields of sources that have none of their own, see `Source`.
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
        self._ray = ray
        self._n_jobs = n_jobs
        self._come = self._come_embedded = 0  # from a cluster, and not yet compared
        self._told_at = 0.0
        self._get_encoder = encoder
        self._fields = fields
        self._intake = Intake(on_problem)
        self._tell = self._intake.problems.add
        self._on_progress = on_progress or (lambda progress: None)
        self._shown = 0
        self._limit: int | None = None
        self._moved = 0
        self._report = BuildReport()
        self._started = time.perf_counter()
        self._feeds: list[_Feed] = []
        self._pipeline: Pipeline | None = None

    def build(
        self,
        sources: Sequence[Given],
        *,
        prune: bool,
        prune_limit: float,
        limit: int | None,
    ) -> BuildReport:
        """Read the sources as full exports; see `Recommender.build`."""
        self._limit = limit
        with self._reporting(), self._store.write_lock():
            feeds = self._run(sources, limit)
            self._check(feeds, full=limit is None)
            self._remove_unpublished(feeds, prune_limit)
            if limit is None:
                self._prune_missing(feeds, prune, prune_limit)
            self._finish(built=True)
            self._remember_fields(feeds)
            self._warn_of_languages()
        return self._report

    def add(self, sources: Sequence[Given]) -> BuildReport:
        """Read the sources as deltas; see `Recommender.add`."""
        with self._reporting(), self._store.write_lock():
            feeds = self._run(sources, None)
            self._check(feeds, full=False)
            self._remove_unpublished(feeds, None)
            self._finish(built=False)
            self._remember_fields(feeds)
        return self._report

    def remove(self, ids: Sequence[str]) -> list[str]:
        """Remove articles; return the ids of those that were there, in the order given."""
        with self._store.write_lock():
            stored = self._store.content_hashes(ids)
            known = [id for id in dict.fromkeys(ids) if id in stored]
            if known:
                self._remove(known)
                self._finish(built=False)
        return known

    def repair(self) -> None:
        """Make again what follows from the articles."""
        with self._store.write_lock():
            self._store.repair()
            with contextlib.suppress(IndexDamagedError):  # what is left is for `verify` to tell
                self._finish(built=False)

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """Report how many problems there were; add to an interruption what is stored."""
        problems = self._intake.problems
        try:
            yield
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(self._progress_kept())
            raise
        finally:
            self._report.problems = problems.sentences()
            problems.close()
        if problems.collected:
            for problem in self._report.problems:
                warn(problem)

    def _progress_kept(self) -> str:
        """Return a sentence on what an interrupted run has stored."""
        stored = self._pipeline.stored if self._pipeline else 0
        if stored:
            return f"{stored:,} articles of this run are stored; run the same command again to go on from there."
        return f"Nothing of this run was stored yet: articles are stored {pipeline.BATCH} at a time."

    def _run(self, sources: Sequence[Given], limit: int | None) -> list[_Feed]:
        self._encoder = self._get_encoder()
        if self._store.exists() and self._store.settings().get("lexical") != TERM_SETTINGS:
            self._read_again(list(self._store.ids()))
            self._store.put_setting("lexical", TERM_SETTINGS)
        feeds = [feed for source in sources if (feed := self._open(source))]
        if not feeds:
            raise SourceError(" ".join(self._report.failed) or "No source was named.")
        for failure in self._report.failed:
            self._tell(failure)
        self._feeds = feeds
        self._pipeline = Pipeline(self._store, self._encoder, self._expected, self._show_progress, self._n_jobs)
        with self._pipeline as writing, self._reading() as entries:
            while batch := list(up_to_batch(islice(entries, limit and limit - self._report.articles), _article_of)):
                taken = [
                    (article, feed, made) for feed, made in batch if (article := self._accept_entry(feed, made.entry))
                ]
                self._come = self._come_embedded = 0
                if limit is not None:
                    taken = taken[: limit - self._report.articles]
                lacking = self._diff(taken)
                unpublished = self._intake.seen.unpublished
                writing.withdraw(unpublished)
                writing.put(item for item in lacking if not unpublished(item.article.id))
                self._show_progress()
                if limit is not None and self._report.articles >= limit:
                    break
            writing.finish()
        self._report.embedded = writing.embedded
        self._show_progress()
        if self._moved:
            self._intake.problems.note(
                f"{self._moved:,} articles were known from another source by the same id; they belong to this one now. "
                f"If they are other articles, give them other ids."
            )
        return feeds

    def _check(self, feeds: Sequence[_Feed], *, full: bool) -> None:
        """Report what is wrong with sources as a whole, and with mappings of fields.

        Args:
            feeds: the sources, all read.
            full: whether they should hold whole archives.

        Raises:
            SourceError: no article was taken from any of them.
        """
        known = {name for mapping in self._remembered().values() for name in mapping.values()}
        for feed in feeds:
            if (absent := feed.intake.absent(known)) and self._limit is None:
                self._fail(absent)
            elif full and (absent := feed.intake.absent()):
                self._tell(absent)
            if failure := feed.intake.failure():
                self._fail(failure)
            elif full and not feed.intake.held and not feed.intake.cut_short:
                self._fail(f"{feed.name} holds no article.")
            elif not feed.stored and (hint := feed.intake.hint()):
                self._tell(hint)
        if self._report.articles or (self._report.unpublished and self._store.exists()):
            return
        if self._report.failed:
            raise SourceError(" ".join(self._report.failed))
        if not self._store.exists():
            raise SourceError("None of the sources held an article, so there is nothing to make an index of.")

    def _fail(self, sentence: str) -> None:
        """Report that a source failed, in Python as a warning too."""
        self._report.failed.append(sentence)
        if self._intake.problems.collected:
            self._tell(sentence)

    def _remembered(self) -> dict[str, dict[str, str]]:
        """Return the mappings of fields that the index remembers, by the label of their source."""
        return remembered_fields(self._store) if self._store.exists() else {}

    def _remember_fields(self, feeds: Sequence[_Feed]) -> None:
        """Store the mappings of fields that were given for sources with a name, and that fit."""
        if not self._store.exists():
            return
        before = self._remembered()
        known = {name for mapping in before.values() for name in mapping.values()}
        mappings = dict(before)
        for feed in feeds:
            fits = not feed.intake.absent(known) and not feed.intake.failure()
            if feed.source and feed.source.portable and not feed.remembered and fits:
                if feed.source.fields:
                    mappings[feed.label] = feed.source.fields
                elif feed.source.fields is not None:
                    mappings.pop(feed.label, None)
        if mappings != before:
            self._store.put_setting(FIELDS, mappings)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Iterator[tuple[_Feed, SourceItem]]]:
        """Give what is in the sources: read by this process, or read and embedded by a cluster."""
        feeds = self._feeds
        if self._ray is None:
            yield ((feed, SourceItem(number, 0, entry)) for number, feed in enumerate(feeds) for entry in feed.entries)
            return
        self._encoder.model  # noqa: B018 - a model that cannot be loaded is told before a cluster is asked
        sources = [feed.source or feed.entries for feed in feeds]
        with ray_cluster.read_on_ray(self._ray, sources, self._store, self._encoder) as coming:
            yield ((feeds[made.feed], made) for made in self._counted(coming))

    def _counted(self, coming: Iterator[SourceItem]) -> Iterator[SourceItem]:
        for made in coming:
            if source := self._feeds[made.feed].source:
                source.done = made.done
            self._come += made.entry.article is not None
            self._come_embedded += made.vector is not None
            if time.perf_counter() - self._told_at >= pipeline.SHOWN_EVERY:
                self._show_progress()
            yield made
        for feed in self._feeds:
            if feed.source:
                feed.source.done = feed.source.size

    def _open(self, given: Given) -> _Feed | None:
        if isinstance(given, Mapping | Article):
            raise TypeError("one article was passed in; pass a list of them")
        if not isinstance(given, str | os.PathLike | Source):
            fields = self._fields or {}
            name = "the DataFrame" if dataframe.is_dataframe(given) else "the articles passed in"
            return _Feed(IN_PYTHON, name, _entries(given, fields), SourceIntake(name, fields, in_python=True))
        try:
            source = copy.copy(given) if isinstance(given, Source) else Source(given)
        except SourceError as error:
            self._report.failed.append(str(error))
            return None
        if source.passed:
            others = ", ".join(f"{count:,} {kind}" for kind, count in source.passed.items())
            self._intake.problems.note(
                f"{source.name}: {others} files were passed over; take such files with --include."
            )
        label = self._store.source_label(source.path) if source.path else source.name
        if source.fields is None:
            source.fields = dict(self._fields) if self._fields is not None else None
        remembered = self._remembered().get(label, {}) if source.fields is None and source.portable else {}
        if remembered:
            source.fields, source.strict = remembered, False
        intake = SourceIntake(source.name, source.fields, in_python=self._intake.problems.collected)
        if remembered:
            self._intake.problems.note(
                f"{source.name} is read with {intake.option(remembered)}, as in the last build; other such options "
                f"replace these."
            )
        return _Feed(label, source.name, source, intake, source, remembered=bool(remembered))

    def _accept_entry(self, feed: _Feed, entry: Entry) -> Article | None:
        """Report what is wrong with an entry; return its article if it holds one that was not read before."""
        if entry.failed:
            self._report.failed.append(f"{entry.where}: {entry.problems[0]}.")
        article = self._intake.take(feed.intake, entry)
        self._report.unpublished += entry.unpublished
        self._report.skipped += article is None and not entry.unpublished
        return article

    def _diff(self, taken: list[tuple[Article, _Feed, SourceItem]]) -> list[Item]:
        """Count what is new, changed and unchanged, and return what has to be written."""
        lacking = []
        stamps = self._store.content_hashes([article.id for article, _, _ in taken]) if self._store.exists() else {}
        for article, feed, made in taken:
            label, stamp = feed.label, stamps.get(article.id)
            feed.stored += stamp is not None
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
                lacking.append(Item(article, label, made, new_content))
        return lacking

    def _remove_unpublished(self, feeds: list[_Feed], limit: float | None) -> None:
        """Remove stored articles that are not published any more.

        Args:
            feeds: the sources.
            limit: how many of the articles that came from these sources, or are named by them now, may go, in percent;
                None for all, as a delta names its deletions one by one.
        """
        labels = {feed.label for feed in feeds}
        stamps = [
            stamp for page in self._intake.seen.all_unpublished() for stamp in self._store.content_hashes(page).items()
        ]
        stored = [id for id, _ in stamps]
        elsewhere = sum(stamp.source not in labels for _, stamp in stamps)
        share = 100 * len(stored) / (self._store.count(labels) + elsewhere) if stored else 0.0
        if limit is not None and share > limit and len(stored) > MAX_WITHDRAWN:
            self._report.refused = (
                f"Nothing was removed: by their own fields (status, draft, published and the like) "
                f"{len(stored):,} articles, {share:.1f} % of those from these sources, are not published any "
                f"more, and the limit is {limit:g} %. If that is right, raise it with --prune-limit, or give them to "
                f"`recommender add`."
            )
            return
        self._remove(stored)
        self._report.removed += len(stored)

    def _remove(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), pipeline.BATCH):
            batch = ids[start : start + pipeline.BATCH]
            self._store.write([], batch)

    def _read_again(self, ids: Sequence[str]) -> None:
        """Take the terms of stored articles anew from their texts."""
        for start in range(0, len(ids), pipeline.BATCH):
            batch = ids[start : start + pipeline.BATCH]
            articles, stamps = self._store.articles(batch), self._store.content_hashes(batch)
            told = presumed_language(self._store)
            changes = [change(article, stamps[id].source, None, told) for id, article in articles.items()]
            self._store.write(changes)

    def _finish(self, *, built: bool) -> None:
        """Bring up to date what follows from all articles together."""
        if self._store.exists():
            self._read_again(self._store.ids_with_assumed_language(presumed_language(self._store)))
        self._store.finish(built=built)
        if self._store.exists():
            done = self._report.articles
            try:
                whole = hubness.refresh(
                    self._store,
                    lambda ready, total: self._on_progress(
                        Progress(ready, total, done, self._report.embedded, "comparing")
                    ),
                    self._n_jobs,
                )
                if whole or "scale" not in self._store.settings():
                    self._store.put_setting("scale", calibration.calibrate(self._store))
            except IndexDamagedError as error:  # all that was asked for is stored
                self._tell(f"{error} Until then blocks are ranked with the hubness that is known.")
        self._report.seconds = time.perf_counter() - self._started

    def _warn_of_languages(self) -> None:
        """Tell if many articles are in languages that the model does not know, and which model does."""
        model = DenseModel(**self._store.settings()["model"])
        counts = {
            name: articles for name, (articles, _) in self._store.languages().items() if name != pipeline.UNDETERMINED
        }
        foreign = {name: count for name, count in counts.items() if model.languages and name not in model.languages}
        total, unknown = self._store.count(), sum(foreign.values())
        if unknown > FOREIGN_SHARE * total:
            names = ", ".join(f"{name} {count:,}" for name, count in list(foreign.items())[:8])
            other = WIDE_MODEL if set(counts) <= set(WIDE_MODEL_LANGUAGES.split()) else WIDEST_MODEL
            self._tell(
                f"{unknown:,} of {total:,} articles ({100 * unknown / total:.0f} %) are in languages that the model "
                f"{model.name} does not know ({names}); their links follow from shared words more than from meaning. "
                f"Build the index anew with one that knows them: --model {other}."
            )

    def _show_progress(self) -> None:
        """Report how far the sources are read, less the share of the articles that still wait for their vectors."""
        self._told_at = time.perf_counter()
        if self._pipeline is None:
            return
        here, made = self._pipeline.waiting()
        read = self._report.articles + self._come
        ready = read - here
        done, total = self._read()
        self._shown = max(self._shown, done * ready // max(read, 1))  # what is read ahead may be long, or short
        embedded = self._pipeline.embedded + made + self._come_embedded
        self._on_progress(Progress(self._shown, total, ready, embedded))

    def _read(self) -> tuple[int, int]:
        """Return how many bytes of the sources are read, and of how many."""
        return sum(feed.done() for feed in self._feeds), sum(feed.size() for feed in self._feeds)

    def _expected(self) -> int:
        """Tell about how many articles there are to be written, by how far the sources are read; 0 with a cluster."""
        if self._ray is not None:
            return 0
        done, size = self._read()
        written = self._report.added + self._report.changed
        expected = written * max(size, done) // done if done else written
        return min(expected, self._limit or expected)

    def _prune_missing(self, feeds: list[_Feed], prune: bool, prune_limit: float) -> None:
        """Count what the sources no longer hold, and remove it if that is asked for and safe."""
        labels = {feed.label for feed in feeds}
        doubts = [*self._report.failed, *(f"{feed.intake.doubt}." for feed in feeds if feed.intake.doubt)]
        if doubts:
            if prune:
                self._report.refused = f"Nothing was removed, since not all that the sources hold is known: {doubts[0]}"
            return
        if self._report.refused:
            return
        ids, missing = self._store.ids(labels), list[str]()
        while page := list(islice(ids, pipeline.BATCH)):
            missing += self._intake.seen.missing(page)
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


def _article_of(item: tuple[_Feed, SourceItem]) -> Article | None:
    return item[1].entry.article


def _entries(records: Any, fields: Mapping[str, str]) -> Iterator[Entry]:
    """Read Records, or a DataFrame, that were passed in."""
    if dataframe.is_dataframe(records):
        names = tuple(dataframe.columns(records))
        if problem := record.missing_columns(names, fields):
            yield Entry("the DataFrame", problems=(problem,), unknown=True, failed=True)
            return
        for where, row in dataframe.rows(records):
            yield _entry(where, row, fields, names)
        return
    for number, given in enumerate(records, start=1):
        if dataframe.is_dataframe(given):  # such as the chunks of a large table
            yield from _entries(given, fields)
        else:
            yield _entry(f"article {number}", given, fields)


def _entry(where: str, given: object, fields: Mapping[str, str], columns: tuple[str, ...] | None = None) -> Entry:
    if isinstance(given, Article):
        date = {"published": given.published} if given.published else {}  # or else whether, in the metadata
        reason = record.unpublished({**given.metadata, **date})
        return Entry(where, id=given.id, problems=(reason,), unpublished=True) if reason else Entry(where, given)
    if not isinstance(given, Mapping):
        problem = f"it is of type {type(given).__name__}, neither an Article nor a mapping of its fields"
        return Entry(where, problems=(problem,), unknown=True)
    try:
        plain = record.plain(given)
    except ValueError as error:
        return Entry(where, problems=(str(error),), unknown=True)
    if columns is not None:
        plain = {name: value for name, value in plain.items() if value is not None}
    return record.entry(where, plain, fields=fields, columns=columns)


def remembered_fields(store: Store) -> dict[str, dict[str, str]]:
    """Return the mappings of fields that an index remembers, by the label of their source."""
    return dict(store.settings().get(FIELDS, {}))
