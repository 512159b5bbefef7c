"""Recommender: the one door to an index."""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary, Recommendation, as_id
from recommender.blocks import lookup
from recommender.blocks.batch import map_articles
from recommender.blocks.builder import BlockBuilder, WhyNot, check_length
from recommender.blocks.changes import ChangedLinks
from recommender.blocks.eligibility import (
    PLAIN_SETTINGS,
    SEARCH_SETTINGS,
    Eligibility,
    QueryArticle,
    stored_query_articles,
)
from recommender.blocks.policy import FILTERS, Options, Policy, Rule, Settings, moment
from recommender.blocks.policy_effect import PolicyEffect, policy_effect
from recommender.blocks.signatures import lists_options, lists_settings
from recommender.embedding.encoder import DEFAULT_MODEL, DenseEncoder, DenseModel
from recommender.errors import (
    ArticleNotFoundError,
    IndexDamagedError,
    IndexFormatError,
    IndexNotFoundError,
    ModelError,
    PolicyError,
    RecommenderError,
    SourceError,
)
from recommender.evaluation import qrels as judgements
from recommender.evaluation.evaluate import Evaluation, evaluate
from recommender.filters import Condition, as_where
from recommender.indexing.copy import CopyReport, copy
from recommender.indexing.feed import Input, stored_fields
from recommender.indexing.ray_cluster import check_address
from recommender.indexing.report import BuildReport, Progress
from recommender.indexing.sync import Sync
from recommender.publish.site import Out, PublishReport, publish
from recommender.publish.site import output_format as asked_form
from recommender.ranking.matching import (
    MAX_CHUNK_QUERIES,
    MIN_CHUNK_QUERIES,
    display_scale,
    new_query,
    stored_queries,
    with_text_scale,
)
from recommender.sources import Source
from recommender.sources.record import MAPPABLE
from recommender.store import Store, open_store
from recommender.store.base import dominant_language
from recommender.system.load_once import load_lock
from recommender.system.processes import check_n_jobs
from recommender.text.clean import clean_text
from recommender.text.language import language_of
from recommender.text.terms import extract_terms
from recommender.text.urls import normalise_url

__all__ = ["BuildReport", "Evaluation", "Progress", "Recommender"]


MAX_ENTRIES_OF_ONE = 1000  # that a file of one article may have, all but one without an article
NO_THRESHOLD = -math.inf  # in a small archive, or where a build was cut off before it was found
_PREVIOUS = "previous"  # of the stored policy: the policy before its last change

OnProblem = Callable[[str], None]
OnProgress = Callable[[Progress], None]


class Recommender:
    """An index of articles that answers which of them belong together.

    Use it as a context manager, or call `close`. Threads may share one for reading; one process writes at a time.

    Args:
        index: the folder of the index; or one on a Milvus server, `milvus://HOST:PORT/NAME`, or in a Milvus Lite
            database, `PATH.db`: docs/scale.md. It is made by the first `build` or `add`.
        model: the model for a new index: `all-MiniLM-L6-v2`, the path of a folder that holds a
            sentence-transformers model, or a name on the Hugging Face hub; with `static:` before it a static model
            that is distilled from it, with `int8:` it computes in 8-bit integers; `static` or `int8` alone for that
            of the first. None for the first. For an index that exists: None, or the model it was made with.
        max_tokens: how many tokens of title and text the model reads, 1 or more; for a new index 128, or 512 of a
            static model. For an index that exists: None, or what it was made with.

    Every method raises IndexNotFoundError if there is no index (except `build` and `add`), IndexDamagedError,
    IndexFormatError or IndexPermissionError if it cannot be read, and ModelError if a model is needed that
    cannot be loaded or is another one than the index was made with.

    Example:
        >>> with Recommender("index/examples") as rec:
        ...     rec.related("culture/picture-framer-charged.txt", k=1)[0].title
        'Police Follow Ferry Tickets in Hunt for Missing Painting'
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
        self._model = model
        self._max_tokens = max_tokens
        self._store: Store = open_store(index)
        self.path = Path(self._store.name)
        self._encoder: DenseEncoder | None = None
        self._policy: tuple[dict[str, Any], Policy] | None = None  # of this record
        self._closed = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __repr__(self) -> str:
        """Return the index, how many articles it holds, and its model; never raises."""
        try:
            with self._store.snapshot():
                facts = f"{self._store.count():,} articles, {self._store.settings()['model']['name']}"
            if self._closed:
                self._store.close()
        except IndexNotFoundError:
            facts = "no index"
        except Exception as error:  # a debugger shows it too
            facts = type(error).__name__
        return f"Recommender({self._store.name!r}, {facts})"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        if isinstance(error, ArticleNotFoundError):
            str(error)  # looks for similar articles while the index is open
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the index, model and token limit: another process opens the index for itself, once."""
        return _opened, (self._store.name, self._model, self._max_tokens)

    def close(self) -> None:
        """Let go of files and connections."""
        self._store.close()
        self._closed = True

    def warm_up(self) -> None:
        """Load what the first `search` would: the model, which is fetched and converted if it has to be, and the index.

        In a server, call it in every process that answers: what is loaded before a fork is loaded anew after it.
        """
        self._ready_encoder().encode_query("a text")
        if self._store.exists():
            self.search("a text", k=1)

    # Writing

    def build(
        self,
        *sources: Input,
        prune: bool = False,
        prune_limit: float = 10.0,
        limit: int | None = None,
        fields: Mapping[str, str] | None = None,
        id_field: str | None = None,
        ray: str | None = None,
        n_jobs: int | None = None,
        on_problem: OnProblem | None = None,
        on_progress: OnProgress | None = None,
    ) -> BuildReport:
        """Bring the index in line with a full export: embed new and changed articles, leave unchanged ones.

        What is embedded is committed batch by batch: a build that is cut off goes on from there when it is
        called again.

        Args:
            sources: files, folders and URLs of articles; a `Source`, where more is to be said of it; iterables of
                Articles or of records (`Article.from_record`); or DataFrames of pandas or Polars, one article a row,
                whose columns are the fields, and the levels of the index that have a name. None, NaN and NaT are
                missing values.
            prune: remove the articles that came from these sources and that they no longer hold. Nothing is
                removed if a source is not fully known, or if too many would go; the report says why.
            prune_limit: how many of the articles from these sources may go, in percent; it holds too for those that
                the sources say are drafts, unpublished or deleted now, which go without `prune`.
            limit: read this many articles only.
            fields: for names of Article or "status", the names that the sources have for them, as `--map` of the
                command: `{"title": "headline", "text": "body.html", "url": "/news/{slug}"}`. An index remembers them
                for files, folders, URLs and databases; None for those that it remembers.
            id_field: the field that holds the id; the same as `fields={"id": ...}`.
            ray: the Ray cluster that reads and embeds, for the same result sooner: "auto" for the one that this machine
                belongs to, "local" for this machine alone, or "HOST:PORT". All its machines must see the sources; the
                index is written by this process alone. docs/ray.md says more.
            n_jobs: how many processes find terms, languages and neighbours at most: None and -1 for one a core, 1 for
                this process alone. Small archives take no more than this one, and the model computes on every core.
            on_problem: called with a sentence for each kind of input that was skipped or not fully used: the first
                at once, how many others there were at the end. None for a SourceWarning for each kind.
            on_progress: called after every batch.

        Returns:
            What was done; `problems` are the sentences about what was not.

        Raises:
            IndexLockedError: another process is writing.
            SourceError: no source could be read, or no article was taken from any; with the first reasons.
            ValueError: `ray` is no address, or other arguments do not go together.
            RecommenderError: Ray is not installed, or the cluster cannot be reached, or lacks something.
        """
        check_n_jobs(n_jobs)
        if ray is not None:
            check_address(ray)
        if not 0 <= prune_limit <= 100:
            raise ValueError(f"prune_limit is {prune_limit}; it is a share in percent, from 0 to 100")
        if prune and limit is not None:
            raise ValueError("prune needs the whole of the sources; leave out limit")
        sync = Sync(
            self._store,
            self._ready_encoder,
            on_problem=on_problem,
            on_progress=on_progress,
            ray=ray,
            n_jobs=n_jobs,
            fields=_mapping(fields, id_field),
        )
        return sync.build(sources, prune=prune, prune_limit=prune_limit, limit=limit)

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
        """Add or replace the articles of the sources, and remove those that they name as deleted or unpublished.

        For the arguments see `build`.
        """
        check_n_jobs(n_jobs)
        if ray is not None:
            check_address(ray)
        sync = Sync(
            self._store,
            self._ready_encoder,
            on_problem=on_problem,
            on_progress=on_progress,
            ray=ray,
            n_jobs=n_jobs,
            fields=_mapping(fields, id_field),
        )
        return sync.add(sources)

    def remove(self, *ids: str | int) -> list[str]:
        """Remove articles, named by their ids or urls; return the ids of those that were there.

        A title names none here: that of another article may be an id which was removed before.

        Raises:
            ArticleNotFoundError: several articles have this url, and none has it for an id.
        """
        names = list(dict.fromkeys(as_id(id) for id in ids))
        with self._store.snapshot():  # no index, nothing to lock
            stored = self._store.content_hashes(names)
            urls = (name for name in names if name not in stored and normalise_url(name))
            by_url = {name: lookup.resolve(self._store, name) for name in urls}
        known = [id for name in names if (id := by_url.get(name, name))]
        return Sync(self._store, self._ready_encoder, on_problem=None, on_progress=None).remove(known)

    def verify(self, *, repair: bool = False, on_progress: OnProgress | None = None) -> Iterator[str]:
        """Read the whole index, compare all that is in it, and yield a sentence for each thing that is wrong.

        Args:
            repair: first make again what can be made from the articles, search files among it, and bring an index of an
                earlier format up to date.
            on_progress: called now and then.

        Raises:
            IndexLockedError: another process is writing, and `repair` was asked for.
        """
        told = on_progress or (lambda progress: None)
        if repair:
            with contextlib.suppress(IndexFormatError, IndexDamagedError):  # which is what is to be mended
                self._store.count()  # no index, nothing to make
            Sync(self._store, self._ready_encoder, on_problem=None, on_progress=told).repair()
        return self._store.verify(lambda done, total: told(Progress(done, total, done, 0, "verifying")))

    def copy_to(self, index: str | os.PathLike[str], *, on_progress: OnProgress | None = None) -> CopyReport:
        """Copy the index to another place: a folder, a Milvus server, a Milvus Lite database; back again too.

        Nothing is embedded again. At the end the two are compared by count and checksum. Cut off, it goes on where it
        was when it is called again; called again later, it brings what has changed.

        Args:
            index: where to, as for Recommender: a place that holds no index, or an earlier copy of this one.
            on_progress: called now and then.

        Raises:
            RecommenderError: there is another index, this one was changed meanwhile, or the copy is not the same.
            IndexLockedError: another process is writing there.
        """
        told = on_progress or (lambda progress: None)
        target = open_store(index)
        if Path(target.name).resolve() == self.path.resolve():
            raise RecommenderError(f"The index {target.name} cannot be copied to itself; name another place.")
        try:
            return copy(self._store, target, lambda done, total, stage: told(Progress(done, total, done, 0, stage)))
        finally:
            target.close()

    # Asking

    @lists_options
    def related(
        self,
        article: str | int | Article,
        k: int = 3,
        *,
        why: bool = False,
        articles: bool = False,
        **options: Unpack[Options],
    ) -> list[Recommendation]:
        """Return the block of an article: the links that stand under it, in their order.

        What people put there comes first: pins, then the source's own links. The others are those that fit it best by
        meaning and by the words they share, without copies and misfits, varied. Never the article itself, nor one
        that is banned, ruled out, or dated in the future.

        Args:
            article: an article of the index, by its id, or by its url or title where only one has it; or an Article,
                which need not be in the index.
            k: how many, 1 or more; fewer come back where there are fewer.
            why: put the reasons into each Recommendation.
            articles: put the whole article into each Recommendation.
            options: settings of this block, which override those stored with the index.

        Raises:
            ArticleNotFoundError: no article of the index has this id, url or title, or several have it.
            PolicyError: an option is not one, or cannot have this value.
            TypeError: an id is neither a str nor an int.
        """
        article = article if isinstance(article, Article) else as_id(article)
        vector = self._vector_of(article) if isinstance(article, Article) else None  # loading a model takes seconds
        with self._store.compute_slot(), self._store.snapshot():
            blocks = self._blocks(options)
            return self._made(blocks, [self._subject(article, vector)], k, why=why, articles=articles)[0]

    @lists_options
    def why_not(self, article: str | int | Article, other: str | int, k: int = 3, **options: Unpack[Options]) -> WhyNot:
        """Say why an article of the index is not in the block of another, or where it is in it.

        Args:
            article: what the block stands under, see `related`.
            other: the article that one would expect in it, by id, url or title.
            k: how long the block is.
            options: see `related`.
        """
        article, other = article if isinstance(article, Article) else as_id(article), as_id(other)
        vector = self._vector_of(article) if isinstance(article, Article) else None
        with self._store.compute_slot(), self._store.snapshot():
            id = lookup.resolve(self._store, other)
            if id is None:
                raise lookup.not_found(self._store, [other])
            return self._blocks(options).why_not(self._subject(article, vector), id, k)

    @overload
    def search(  # type: ignore[overload-overlap]  # a str is an Iterable[str] too
        self, text: str, k: int = 10, *, why: bool = False, articles: bool = False, **options: Unpack[Options]
    ) -> list[Recommendation]: ...

    @overload
    def search(
        self, text: Iterable[str], k: int = 10, *, why: bool = False, articles: bool = False, **options: Unpack[Options]
    ) -> list[list[Recommendation]]: ...

    @lists_options
    def search(
        self,
        text: str | Iterable[str],
        k: int = 10,
        *,
        why: bool = False,
        articles: bool = False,
        **options: Unpack[Options],
    ) -> list[Recommendation] | list[list[Recommendation]]:
        """Return the articles that fit a free text best, best first; of any language, if none is named.

        No copies, nothing that is banned or never recommended; no pins, no floor, and none of the settings that are
        stored for blocks.

        Args:
            text: the text; or several, for a list of what is returned of each, which takes less time than one by one.
            k: how many, 1 or more; fewer come back where there are fewer.
            why: put the reasons into each Recommendation.
            articles: put the whole article into each Recommendation.
            options: filters and settings of this search.

        Raises:
            RecommenderError: a text is empty.
            PolicyError: an option is not one, or cannot have this value.
        """
        check_length(k)
        texts = _texts([text] if isinstance(text, str) else text)
        if any(not one.strip() for one in texts):
            raise RecommenderError("The text to search for is empty.")
        if not texts:
            return []
        with self._store.snapshot():  # no index, no model
            blocks = self._blocks(options, first=SEARCH_SETTINGS)
        vectors = self._ready_encoder().encode_texts(texts, query=True)
        results: list[list[Recommendation]] = []
        for start in range(0, len(texts), MIN_CHUNK_QUERIES):  # other threads wait for their turn
            with self._store.compute_slot(), self._store.snapshot():
                part = zip(
                    texts[start : start + MIN_CHUNK_QUERIES], vectors[start : start + MIN_CHUNK_QUERIES], strict=True
                )
                subjects = [self._text_subject(one, vector) for one, vector in part]
                results += self._made(blocks, subjects, k, why=why, articles=articles)
        return results[0] if isinstance(text, str) else results

    @lists_options
    def links(
        self, k: int = 10, *, plain: bool = False, n_jobs: int | None = None, **options: Unpack[Options]
    ) -> Iterator[tuple[str, list[Recommendation]]]:
        """Yield every article's id and block, in the order of the ids; each as `related` gives it.

        Beyond 10,000 articles all are made before the first is given, in an order in which near ones stand together.
        They wait in memory, and past 32 MB in a temporary file, see docs/publishing.md.

        Args:
            k: how many, 1 or more.
            plain: the ranking as it was scored: no pins or own links, nothing left out but the article itself and
                what is banned, ruled out or withheld; none of the settings that are stored.
            n_jobs: how many processes share the work at most: None and -1 for one a core, 1 for this process alone.
            options: see `related`.
        """
        return ((id, block) for id, (_, block) in self._all_blocks(k, options, plain=plain, n_jobs=n_jobs))

    @lists_options
    def publish(
        self,
        out: Out,
        format: str | None = None,
        *,
        key: str | None = None,
        fields: Sequence[str] = (),
        heading: str | None = None,
        template: str | os.PathLike[str] | None = None,
        k: int = 10,
        plain: bool = False,
        n_jobs: int | None = None,
        on_problem: OnProblem | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        **options: Unpack[Options],
    ) -> PublishReport:
        """Write every article's block for a site, as `recommender links` does; docs/publishing.md has the formats.

            rec.publish("_data/related.json", "eleventy", k=3)

        A file is written whole or not at all, and not touched if it holds the same already; of a folder only the
        files that differ are, and those of articles that are gone are removed.

        Args:
            out: the file, or for "html" the folder; or what is open for writing text, with `newline=""`.
            format: "jsonl", "json", "csv", "parquet", "hugo", "jekyll", "eleventy" or "html"; None for what the
                ending of `out` says.
            key: what "json" and "html" call an article by: its "id", its "url", or the "path" of it.
            fields: further fields of each link: of its metadata, or "tags". Not for "jsonl", whose shape is fixed.
            heading: what stands above a block of "html"; None for "Related".
            template: the file of a Jinja2 template for "html"; None for the one that the package has.
            k: how many links, 1 or more.
            plain: see `links`.
            n_jobs: see `links`.
            on_problem: called with a sentence for each block that is left out.
            on_progress: called with how many blocks are made, of how many; they may be written later.
            options: see `related`.

        Raises:
            ValueError: the arguments do not go together.
            RecommenderError: it cannot be written, pyarrow is missing, the template is not one or fails, or no article
                has such a key.
        """
        form = asked_form(out, format, key, fields, heading, template)
        blocks = (made for _, made in self._all_blocks(k, options, plain=plain, n_jobs=n_jobs, on_progress=on_progress))
        return publish(blocks, form, on_problem or (lambda problem: None))

    @lists_options
    def changed_links(
        self,
        state: str | os.PathLike[str],
        k: int = 10,
        *,
        full: bool = False,
        n_jobs: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        **options: Unpack[Options],
    ) -> ChangedLinks:
        """Return the blocks that differ from those of the last time, which a file remembers.

            with rec.changed_links("blocks.state") as changes:
                for id, block in changes.blocks: ...
                for id in changes.deleted: ...

        The state is stored when the context ends without an error. Blocks of new and changed articles are made anew,
        and of those that list them or now would; docs/blocks.md says how that differs from a full pass.

        Args:
            state: the file that remembers; made if it is not there.
            k: how many links, 1 or more.
            full: make every block anew.
            n_jobs: see `links`.
            on_progress: called with how many blocks are made, of how many; they may be given later.
            options: see `related`.
        """
        check_length(k)
        check_n_jobs(n_jobs)
        with self._store.snapshot():
            frame = self._blocks(options).frame
        return ChangedLinks(self._store, Path(state), frame, k, full=full, n_jobs=n_jobs, on_progress=on_progress)

    def get(self, id: str | int) -> Article | None:
        """Return an article of the index by its id, or by its url or title where only one has it; None for none."""
        id = as_id(id)
        with self._store.snapshot():
            article = self._store.articles([id]).get(id)
            if article is None and len(ids := lookup.matches(self._store, id)) == 1:
                article = self._store.articles(ids).get(ids[0])
        return article

    def id_of(self, name: str | int) -> str | None:
        """Return the id of the article that has this id, url or title; None if none has.

        Raises:
            ArticleNotFoundError: several articles have this url or title.
        """
        with self._store.snapshot():
            return lookup.resolve(self._store, as_id(name))

    def suggest(self, name: str, n: int = lookup.MAX_SUGGESTIONS) -> list[ArticleSummary]:
        """Return up to `n` articles whose id, title or url is like a name that no article has, the best first."""
        return lookup.suggestions(self._store, as_id(name), n)

    def embeddings(self, ids: Iterable[str | int] | None = None) -> tuple[list[str], NDArray[np.float32]]:
        """Return the ids of articles and their embeddings: float32, shape (n, dimensions), L2-normalised.

        Args:
            ids: the articles, by id, url or title, in the order of the rows; None for all, in the order of their ids.

        Raises:
            ArticleNotFoundError: the index does not hold all of them.
        """
        if ids is None:
            wanted = list(self._store.ids())
        else:
            names = _names(ids)
            with self._store.snapshot():
                stored = self._store.content_hashes(names)
                meant = {name: name if name in stored else lookup.resolve(self._store, name) for name in set(names)}
                if missing := [name for name in names if meant[name] is None]:
                    raise lookup.not_found(self._store, missing)
            wanted = [id for name in names if (id := meant[name])]
        vectors = np.zeros((len(wanted), self._store.settings()["model"]["dimensions"]), dtype=np.float32)
        there = np.ones(len(wanted), dtype=np.bool_)
        for start in range(0, len(wanted), MAX_CHUNK_QUERIES):
            part = wanted[start : start + MAX_CHUNK_QUERIES]
            signals = self._store.signals(list(dict.fromkeys(part)))
            row_of = {id: row for row, id in enumerate(signals.ids)}
            for row, id in enumerate(part, start):
                there[row] = id in row_of  # or it was removed meanwhile
                if there[row]:
                    vectors[row] = signals.vectors[row_of[id]]
        return [id for id, held in zip(wanted, there.tolist(), strict=True) if held], vectors[there]

    def encode(self, texts: Iterable[str], *, query: bool = False) -> NDArray[np.float32]:
        """Return the embeddings of texts by the index's model: float32, shape (n, dimensions), L2-normalised.

        Args:
            texts: the texts; a model reads `max_tokens` of each. Articles are embedded as "title. text".
            query: embed as `search` does; some models have another prompt for queries than for articles.
        """
        if isinstance(texts, str):
            raise TypeError("texts is a str; pass a list of them")
        return self._ready_encoder().encode_texts(_texts(texts), query=query)

    def read(self, path: str | os.PathLike[str]) -> Article:
        """Read the one article of a file, with the id that a build would give it; it is not added.

        Its fields have the names that the index remembers for the file or a folder that it lies in; or else for
        another source, if the record has some of these names.

        Raises:
            SourceError: the file cannot be read, or holds no article or more than one.
        """
        path = Path(path)
        found: list[Article] = []
        problems: list[str] = []
        for fields in self._mappings_for(path):
            entries = list(islice(Source(path, fields=fields), MAX_ENTRIES_OF_ONE))
            found = [entry.article for entry in entries if entry.article]
            problems = [problem for entry in entries for problem in entry.problems]
            if found and any(len(entry.absent) < len(fields) for entry in entries):
                break
        if len(found) > 1:
            raise SourceError(f"{path} holds more than one article; name a file that holds one.")
        if not found:
            raise SourceError(f"{path} holds no article: {'; '.join(problems) or 'it is empty'}.")
        if found[0].id == path.name:  # named after its file, and so perhaps by a path within a source of the index
            for folder in path.resolve().parents:
                if self._store.count([self._store.source_label(folder)]):
                    return replace(found[0], id=path.resolve().relative_to(folder).as_posix())
        return found[0]

    def _mappings_for(self, path: Path) -> list[dict[str, str]]:
        """Return the mappings of fields to try on a file, the likeliest first, and none at last."""
        mappings = stored_fields(self._store)
        own = [mappings.pop(label, {}) for label in map(self._store.source_label, (path, *path.resolve().parents))]
        return [fields for fields in (*own, *mappings.values()) if fields] + [{}]

    def __contains__(self, id: object) -> bool:
        """Tell whether the index holds an article with this id, or just one with this url or title."""
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
        """Return what the index is: counts, model, settings, as `recommender info --json` prints them."""
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
                "policy": self.policy.to_record(),
                "settings": self.policy.settings.to_record(),
                "bytes": facts["bytes"],
            }

    def matching(self, where: Mapping[str, Any]) -> int:
        """Return how many articles have the value, or one of the values, in each of the fields."""
        return self._store.count_matching(Condition(where=as_where(where)))

    @lists_options
    def evaluate(
        self,
        qrels: str | os.PathLike[str] | Mapping[Any, Any] | Any | None = None,
        *,
        k: int = 10,
        blocks: bool = False,
        n_jobs: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        **options: Unpack[Options],
    ) -> Evaluation:
        """Measure the ranking, by each signal alone and by both, against links that people chose.

        Every article is ranked, plain (see `links`), and the first ten links are measured. Without anything to measure
        against, only how the archive is used is.

        Args:
            qrels: relevance judgements: a file in the format of TREC; a mapping of queries to the grades of articles,
                or to the ids of relevant articles; or a DataFrame (pandas, Polars) with the columns query, article and
                relevance. None for the archive's editorial links.
            k: how many links of each block count in how the archive is used, 1 or more.
            blocks: measure the blocks as shaped too, as one method more. The articles' own editorial links are left out
                of them where they are measured against these.
            n_jobs: how many processes share the work at most: None and -1 for one a core, 1 for this process alone.
            on_progress: called with how many articles are ranked, of how many.
            options: settings of these blocks, which override those stored with the index; any implies `blocks`.

        Raises:
            SourceError: the file cannot be read, or a judgement is not one.
            RecommenderError: no query is an article of the index, or it is empty.
        """
        check_length(k)
        check_n_jobs(n_jobs)
        with self._store.snapshot():  # no index, no file to read
            frame = self._blocks(options).frame if blocks or options else None
        truth = str(qrels) if isinstance(qrels, str | os.PathLike) else "relevance judgements"
        given = judgements.collect(qrels) if qrels is not None else None
        progress = on_progress or (lambda done, total: None)
        return evaluate(self._store, given, truth, progress, k=k, frame=frame, n_jobs=n_jobs)

    # The editor's hand

    @property
    def policy(self) -> Policy:
        """The settings, pins, bans and rules of the index."""
        record = self._store.policy()
        if self._policy is None or self._policy[0] is not record:
            self._policy = (record, Policy.from_record(_without_previous(record)))
        return self._policy[1]

    def preview_policy(self, policy: Policy | Mapping[str, Any], k: int = 3) -> PolicyEffect:
        """Compare the blocks under another policy with those under the present one; nothing is stored.

            rec.preview_policy(replace(rec.policy, settings=Settings(max_age="12m"))).empty

        Blocks of more than 200 articles are estimated from a sample: it takes a few seconds at any size.

        Raises:
            PolicyError: it is not a policy.
        """
        made = policy if isinstance(policy, Policy) else Policy.from_record(policy)
        with self._store.snapshot():
            frame = self._blocks({}).frame
        return policy_effect(self._store, frame, replace(frame, policy=made, settings=made.settings), k)

    def load_policy(self, policy: Policy | Mapping[str, Any]) -> None:
        """Put settings, pins, bans and rules in the place of all that there are.

        Like every change of the policy this is one step, it is durable when the call returns, works while a build
        runs, and outlives the articles that it names.

        Raises:
            PolicyError: it is not a policy.
        """
        record = (policy if isinstance(policy, Policy) else Policy.from_record(policy)).to_record()
        Policy.from_record(record)
        try:
            self._store.edit_policy(lambda stored: _changed(stored, record))
        except IndexDamagedError:  # of the policy itself, perhaps, which needs not be read to be replaced
            self._store.edit_policy(lambda stored: record, anew=True)

    def undo_policy(self) -> Policy:
        """Take back the last change of settings, pins, bans or rules, and return the policy; again, to redo it.

        Raises:
            PolicyError: there was no change.
        """

        def undone(stored: dict[str, Any]) -> dict[str, Any]:
            if _PREVIOUS not in stored:
                raise PolicyError("There is no change of the policy to take back.")
            return _changed(stored, Policy.from_record(stored[_PREVIOUS]).to_record())

        self._store.edit_policy(undone)
        return self.policy

    @lists_settings
    def configure(self, **options: Unpack[Options]) -> Settings:
        """Change settings of the blocks that are stored with the index, and return all.

        Args:
            options: the settings to change.

        Raises:
            PolicyError: there is no such setting, or it cannot have this value.
        """
        self._edit(lambda policy: replace(policy, settings=policy.settings.updated(options)))
        return self.policy.settings

    def pin(self, id: str | int, *links: str | int) -> None:
        """Pin links under an article: they stand first, in this order, before those that are pinned there already.

        Articles are named by their ids, urls or titles, here and in `unpin`, `ban` and `unban`; a name that no article
        has is taken for the id of one to come.

        Raises:
            ArticleNotFoundError: several articles have this url or title.
            PolicyError: an id is empty, or an article would be pinned under itself.
        """
        own, *others = self._ids([id, *links])
        self._edit(lambda policy: policy.with_pins(own, others))

    def unpin(self, id: str | int, *links: str | int) -> None:
        """Take pins from under an article; all, if none is named."""
        own, *others = self._ids([id, *links])
        self._edit(lambda policy: policy.without_pins(own, others))

    def ban(self, id: str | int, other: str | int | None = None) -> None:
        """Ban an article from all blocks; with `other`, ban each of the two from the other's block."""
        ids = self._ids([id] if other is None else [id, other])
        self._edit(lambda policy: policy.with_ban(*ids))

    def unban(self, id: str | int, other: str | int | None = None) -> None:
        """Take back a ban."""
        ids = self._ids([id] if other is None else [id, other])
        self._edit(lambda policy: policy.without_ban(*ids))

    def set_rule(self, rule: Rule | Mapping[str, Any]) -> None:
        """Set a rule, in the place of one with its name.

        Raises:
            PolicyError: it is not a rule.
        """
        made = rule if isinstance(rule, Rule) else Rule.from_record(rule)
        self._edit(lambda policy: policy.with_rule(made))

    def remove_rule(self, name: str) -> None:
        """Remove a rule.

        Raises:
            PolicyError: there is none with this name.
        """
        if name not in {rule.name for rule in self.policy.rules}:
            raise PolicyError(f"There is no rule {name!r}.")
        self._edit(lambda policy: policy.without_rule(name))

    # Within

    def _ids(self, names: Iterable[object]) -> list[str]:
        """Return the ids of the articles that are named by id, url or title; a name that no article has as it is."""
        cleaned = [as_id(name) for name in names]
        with self._store.snapshot():
            return [lookup.resolve(self._store, name) or name for name in cleaned]

    def _edit(self, edit: Callable[[Policy], Policy]) -> None:
        def edited(stored: dict[str, Any]) -> dict[str, Any]:
            record = edit(Policy.from_record(_without_previous(stored))).to_record()
            Policy.from_record(record)
            return _changed(stored, record)

        self._store.edit_policy(edited)

    def _all_blocks(
        self,
        k: int,
        options: Options,
        *,
        plain: bool,
        n_jobs: int | None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[tuple[str, tuple[ArticleSummary, list[Recommendation]]]]:
        """Return an iterator over every article's id, and its card and block, in the order of the ids.

        Wrong options raise here, and not only when the first is asked for.
        """
        if plain and (odd := [name for name in options if name not in FILTERS]):
            raise PolicyError(f"A plain ranking is not shaped: leave out {', '.join(odd)}, or plain.")
        check_length(k)
        check_n_jobs(n_jobs)
        options.setdefault("now", datetime.now(UTC))  # one for all
        with self._store.snapshot():
            frame = self._blocks(options, first=PLAIN_SETTINGS if plain else None, plain=plain).frame
        return map_articles(
            self._store, partial(_linked, self._store, frame, k), on_progress=on_progress, n_jobs=n_jobs
        )

    def _blocks(self, options: Options, *, first: Settings | None = None, plain: bool = False) -> BlockBuilder:
        """Return what makes blocks with these options; on the settings that are stored, or on `first`."""
        policy = self.policy
        given: dict[str, Any] = dict(options)
        now, as_of, exclude = (given.pop(name, None) for name in ("now", "as_of", "exclude"))
        frame = Eligibility(
            policy=policy,
            settings=(first or policy.settings).updated(given),
            score_threshold=display_scale(self._store).score_threshold
            if self._store.settings().get("scale")
            else NO_THRESHOLD,
            now=moment(now, "now") if now else datetime.now(UTC),
            as_of=moment(as_of, "as_of") if as_of else None,
            exclude=self._excluded(exclude),
            plain=plain,
        )
        return BlockBuilder(self._store, frame)

    def _excluded(self, names: Any) -> frozenset[str]:
        """Return the ids of articles that are not wanted, which may be named by their urls or titles too."""
        cleaned = [] if names is None else list(dict.fromkeys(_names(names)))
        meant = self._store.resolve_targets(cleaned) if cleaned else []
        return frozenset(id for id in (*cleaned, *meant) if id)

    def _made(
        self, blocks: BlockBuilder, subjects: Sequence[QueryArticle], k: int, *, why: bool, articles: bool
    ) -> list[list[Recommendation]]:
        made = blocks.build(subjects, k, why=why)
        if articles:
            whole = self._store.articles(list({link.id for links in made for link in links}))
            made = [[replace(link, article=whole.get(link.id)) for link in links] for links in made]
        return made

    def _text_subject(self, text: str, vector: NDArray[np.float32]) -> QueryArticle:
        """Return a text to search for, within a snapshot."""
        terms = {language: extract_terms("", text, language) for language in self._store.languages()}
        return QueryArticle(with_text_scale(self._store, new_query(self._store, vector, terms, None)))

    def _subject(self, article: str | Article, vector: NDArray[np.float32] | None) -> QueryArticle:
        """Return what a block is made for, within a snapshot: an article as it is stored, or as though it were."""
        if not isinstance(article, Article):
            subjects = stored_query_articles(self._store, [article])
            if not subjects and (id := lookup.resolve(self._store, article)):
                subjects = stored_query_articles(self._store, [id])
            if not subjects:
                raise lookup.not_found(self._store, [article])
            return subjects[0]
        own = (
            language_of(article.title, article.text, article.language)
            or dominant_language(self._store)
            or next(iter(self._store.languages()), "und")
        )
        query = stored_queries(self._store, [article.id])[article.id] if self._holds(article) else None
        if vector is not None and (query is None or (query.languages and own not in query.languages)):
            terms = {own: extract_terms(article.title, article.text, own)}
            query = replace(new_query(self._store, vector, terms, own), id=article.id)
        if query is None:
            raise ValueError("an article that is not stored needs a vector")
        editorial, linked = (
            tuple(id for id in self._store.resolve_targets(targets) if id is not None)
            for targets in (article.related, article.links)
        )
        return QueryArticle(query, article.summary, (article.title, article.text), editorial, linked)

    def _vector_of(self, article: Article) -> NDArray[np.float32]:
        """Return the stored vector if the index holds this very content, else embed it."""
        with self._store.snapshot():
            if self._holds(article):
                stored: NDArray[np.float32] = self._store.signals([article.id]).vectors[0]
                return stored
        vector: NDArray[np.float32] = self._ready_encoder().encode_articles([article])[0]
        return vector

    def _holds(self, article: Article) -> bool:
        stamp = self._store.content_hashes([article.id]).get(article.id)
        return stamp is not None and stamp.content_hash == article.content_hash

    def _ready_encoder(self) -> DenseEncoder:
        """Return the encoder for this index; refuse one that the index was not made with."""
        stored = DenseModel(**self._store.settings()["model"]) if self._store.exists() else None
        with load_lock():
            if self._encoder is None:
                name = self._model or (stored.name if stored else DEFAULT_MODEL)
                tokens = self._max_tokens or (stored.max_tokens if stored else None)
                self._encoder = DenseEncoder(name, tokens, self._store.model_files() if stored else None)
        if stored and self._encoder.hash != stored.hash:
            asked = _model_text(self._encoder.name, self._encoder.max_tokens, self._encoder.hash)
            made = _model_text(stored.name, stored.max_tokens, stored.hash)
            raise ModelError(
                f"The index {self._store.name} was made with {made}, and this is {asked}. Vectors of two models "
                f"cannot be compared: use the first, or build an index of the second elsewhere."
            )
        return self._encoder


@lru_cache(maxsize=2)
def _opened(index: str, model: str | None, max_tokens: int | None) -> Recommender:
    return Recommender(index, model=model, max_tokens=max_tokens)


def _without_previous(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of the policy that a store holds."""
    return {name: part for name, part in stored.items() if name != _PREVIOUS}


def _changed(stored: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return what a store is to hold for another policy: that, and the one before it."""
    before = _without_previous(stored)
    return stored if record == before else {**record, _PREVIOUS: before}


def _names(names: Any) -> list[str]:
    """Return the names of articles that were passed in, one or several, cleaned as ids are."""
    single = not isinstance(names, Iterable) or isinstance(names, str | bytes | Mapping)
    return [as_id(name) for name in ([names] if single else names)]


def _texts(texts: Iterable[str]) -> list[str]:
    """Return the texts as a list that can be stored and embedded."""
    found = list(texts)
    for text in found:
        if not isinstance(text, str):
            raise TypeError(f"A text is a str; {text!r:.80} is of type {type(text).__name__}.")
    return [clean_text(text) for text in found]


def _linked(
    store: Store, frame: Eligibility, k: int, ids: Sequence[str]
) -> list[tuple[str, tuple[ArticleSummary, list[Recommendation]]]]:
    """Return the ids of stored articles, and their cards and blocks."""
    with store.snapshot():
        subjects = stored_query_articles(store, ids)
        made = BlockBuilder(store, frame).build(subjects, k)
    cards = [subject.article for subject in subjects]
    return [(card.id, (card, block)) for card, block in zip(cards, made, strict=True) if card]


def _mapping(fields: Mapping[str, str] | None, id_field: str | None) -> dict[str, str] | None:
    """Return the mapping of fields that two arguments describe; None if neither is given.

    Raises:
        ValueError: a name of it is no field of an article.
    """
    if fields is None and id_field is None:
        return None
    mapping = dict(fields or {}) | ({"id": id_field} if id_field else {})
    if unknown := [name for name in mapping if name not in MAPPABLE]:
        raise ValueError(f"{unknown[0]!r} is no field of an article; these are {', '.join(MAPPABLE)}")
    return mapping


def _model_text(name: str, max_tokens: int, hash: str) -> str:
    return f"the model {name} reading {max_tokens} tokens (hash {hash[:12]})"
