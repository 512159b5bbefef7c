"""The methods of `Recommender` that write an index: build, add, remove, verify and copy."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from recommender.article import as_id
from recommender.blocks import lookup
from recommender.embedding.encoder import DenseEncoder
from recommender.errors import IndexDamagedError, IndexFormatError, RecommenderError
from recommender.indexing.copy import CopyReport, copy
from recommender.indexing.feed import Input
from recommender.indexing.intake import OnProblem
from recommender.indexing.ray_cluster import check_address
from recommender.indexing.report import BuildReport, Progress
from recommender.indexing.sync import Sync
from recommender.learning import learn
from recommender.learning.training import import_lightgbm
from recommender.sources.record import MAPPABLE
from recommender.store import Store, open_store
from recommender.system.processes import check_n_jobs
from recommender.text.urls import normalise_url

OnProgress = Callable[[Progress], None]


class IndexWriter:
    """Builds, changes, verifies and copies an index."""

    path: Path
    _store: Store

    def _ready_encoder(self) -> DenseEncoder:
        raise NotImplementedError

    def build(
        self,
        *sources: Input,
        prune: bool = False,
        prune_limit: float = 10.0,
        limit: int | None = None,
        learn: bool = False,
        fields: Mapping[str, str] | None = None,
        id_field: str | None = None,
        ray: str | None = None,
        n_jobs: int | None = None,
        on_problem: OnProblem | None = None,
        on_progress: OnProgress | None = None,
    ) -> BuildReport:
        """Synchronise the index with a full export: embed new and changed articles, keep unchanged ones.

        Articles are committed in batches, so an interrupted build continues where it stopped when it is called again.

        Args:
            sources: files, folders and URLs of articles; `Source` objects, for sources with options; iterables of
                Articles or of records (`Article.from_record`); or DataFrames (pandas, Polars) with an article per row,
                whose columns and named index levels are the fields. None, NaN and NaT are missing values.
            prune: remove the articles that came from these sources and are not in them any more. Nothing is removed if
                a source was not read completely, or if more than `prune_limit` would go; the report says why.
            prune_limit: the share of the articles from these sources that may be removed, in percent; it also limits
                the removal, without `prune`, of articles that their sources exclude now.
            limit: the maximum number of articles to read.
            learn: train a ranking at the end, as `learn` does, if the index has none or more than 20 % of the links
                have changed since it was trained; `report.learned` is the result.
            fields: the names in the sources of fields of Article or of "status", as `--map` of the command:
                `{"title": "headline", "text": "body.html", "url": "/news/{slug}"}`. An index remembers them for files,
                folders, URLs and databases; None for the remembered ones.
            id_field: the field with the id; the same as `fields={"id": ...}`.
            ray: the Ray cluster that reads and embeds, with the same result: "auto" for the cluster of this machine,
                "local" for this machine alone, or "HOST:PORT". All its machines must see the sources; only this process
                writes the index. See docs/how-to/ray.md.
            n_jobs: the maximum number of processes for terms, languages and neighbours: None and -1 for one per core,
                1 for this process alone. Small archives use this process alone, and the model uses every core.
            on_problem: called with a sentence for each kind of problem: at the first input that was skipped or only
                partly used, and at the end with the number of others. None for a SourceWarning for each kind.
            on_progress: called after every batch.

        Returns:
            What was done; its `problems` are the sentences about what was not.

        Raises:
            IndexLockedError: another process is writing.
            SourceError: no source could be read, or none contained a usable article; with the first reasons.
            ValueError: `ray` is not an address, or the arguments contradict each other.
            RecommenderError: Ray is not installed, or the cluster cannot be reached or used; or LightGBM is not
                installed, with `learn`.
        """
        if not 0 <= prune_limit <= 100:
            raise ValueError(f"prune_limit is {prune_limit}; it is a share in percent, from 0 to 100")
        if prune and limit is not None:
            raise ValueError("prune needs the whole of the sources; leave out limit")
        if learn:
            import_lightgbm()  # fails before the articles are embedded
        sync = self._sync(ray, n_jobs, _mapping(fields, id_field), on_problem, on_progress)
        return sync.build(sources, prune=prune, prune_limit=prune_limit, limit=limit, learn=learn)

    def add(
        self,
        *sources: Input,
        fields: Mapping[str, str] | None = None,
        id_field: str | None = None,
        ray: str | None = None,
        n_jobs: int | None = None,
        on_problem: OnProblem | None = None,
        on_progress: OnProgress | None = None,
    ) -> BuildReport:
        """Add or replace the articles of the sources; remove those that the sources mark as deleted or unpublished.

        See `build` for the arguments.
        """
        return self._sync(ray, n_jobs, _mapping(fields, id_field), on_problem, on_progress).add(sources)

    def _sync(
        self,
        ray: str | None,
        n_jobs: int | None,
        fields: Mapping[str, str] | None,
        on_problem: OnProblem | None,
        on_progress: OnProgress | None,
    ) -> Sync:
        """Return a run of build or add, with its arguments checked."""
        check_n_jobs(n_jobs)
        if ray is not None:
            check_address(ray)
        return Sync(
            self._store,
            self._ready_encoder,
            on_problem=on_problem,
            on_progress=on_progress,
            ray=ray,
            n_jobs=n_jobs,
            fields=fields,
        )

    def remove(self, *ids: str | int) -> list[str]:
        """Remove articles by id or url, and return the ids of those that were in the index.

        Titles are not accepted, because the title of one article may be the former id of another.

        Raises:
            ArticleNotFoundError: several articles have this url, and none has it as its id.
        """
        names = list(dict.fromkeys(as_id(id) for id in ids))
        with self._store.snapshot():  # fails without an index, before the lock
            stored = self._store.content_hashes(names)
            urls = (name for name in names if name not in stored and normalise_url(name))
            by_url = {name: lookup.resolve(self._store, name) for name in urls}
        known_ids = [id for name in names if (id := by_url.get(name, name))]
        return Sync(self._store, self._ready_encoder, on_problem=None, on_progress=None).remove(known_ids)

    def verify(self, *, repair: bool = False, on_progress: OnProgress | None = None) -> Iterator[str]:
        """Read and cross-check the whole index, and yield a sentence for each fault.

        Args:
            repair: first rebuild everything that follows from the articles, such as the derived files.
            on_progress: called at intervals.

        Raises:
            IndexLockedError: another process is writing; with `repair` only.
        """
        report = on_progress or (lambda progress: None)
        if repair:
            with contextlib.suppress(IndexFormatError, IndexDamagedError):  # to be repaired
                self._store.count()  # raises without an index
            Sync(self._store, self._ready_encoder, on_problem=None, on_progress=report).repair()
        return self._problems(lambda done, total: report(Progress(done, total, done, 0, "verifying")))

    def _problems(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        yield from self._store.verify(on_progress)
        yield from learn.problems(self._store)

    def copy_to(self, index: str | os.PathLike[str], *, on_progress: OnProgress | None = None) -> CopyReport:
        """Copy the index to or from a folder, a Milvus server or a Milvus Lite database.

        Nothing is embedded again. At the end the two are compared by count and checksum. An interrupted copy continues
        when it is called again; a later call copies only changes.

        Args:
            index: the target, as for Recommender: no index, or an earlier copy of this one.
            on_progress: called at intervals.

        Raises:
            RecommenderError: the target is another index, this index was changed meanwhile, or the copy differs.
            IndexLockedError: another process is writing the target.
        """
        report = on_progress or (lambda progress: None)
        target = open_store(index)
        if Path(target.name).resolve() == self.path.resolve():
            raise RecommenderError(f"The index {target.name} cannot be copied to itself; name another place.")
        try:
            return copy(self._store, target, lambda done, total, stage: report(Progress(done, total, done, 0, stage)))
        finally:
            target.close()


def _mapping(fields: Mapping[str, str] | None, id_field: str | None) -> dict[str, str] | None:
    """Return the field mapping of two arguments; None if both are None.

    Raises:
        ValueError: a key is not a field of an article.
    """
    if fields is None and id_field is None:
        return None
    mapping = dict(fields or {}) | ({"id": id_field} if id_field else {})
    if unknown := [name for name in mapping if name not in MAPPABLE]:
        raise ValueError(f"{unknown[0]!r} is no field of an article; these are {', '.join(MAPPABLE)}")
    return mapping
