"""The interface of a store, and the values that it takes and returns."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary
from recommender.errors import IndexDamagedError
from recommender.filters import Condition

ARRAY_TYPES = ("i4", "i8", "u1", "u4", "u8", "f4", "f8")  # of the arrays of `Store.put_arrays`; little-endian
_NAME = re.compile("[a-z][a-z0-9_]*")
_NAME_OF_ARRAYS = re.compile("[a-z_]+")


@dataclass(frozen=True, slots=True)
class Guarantees:
    """Guarantees that differ between stores.

    Attributes:
        atomic: the effect of a `write` that is cut off: "batch", all of the batch or nothing; "article", each article
            in its old or its new state, with document frequencies that the next build corrects.
        processes: whether several processes may read at once.
        arrays: who reads the arrays of `put_arrays`: "all", or "instance", only the store object that stored them.
    """

    atomic: Literal["batch", "article"]
    processes: bool
    arrays: Literal["all", "instance"]


@dataclass(frozen=True, slots=True)
class ContentHashes:
    """Hashes by which an article from a source is compared with the stored one.

    Attributes:
        content_hash: `Article.content_hash` of the stored article.
        record_hash: `Article.record_hash` of the stored article.
        source: the label of its source.
    """

    content_hash: bytes
    record_hash: bytes
    source: str


@dataclass(frozen=True, slots=True)
class Upsert:
    """One article to add or replace.

    Attributes:
        article: the article.
        source: the label of its source.
        vector: float32, shape (dimensions,); None keeps the stored one, if the content is unchanged.
        terms: its terms and their frequencies, 1 to 65535.
        language: of the terms, an ISO 639 code or "und".
        assumed: whether the language is the archive's dominant one, since neither source nor text shows another.
    """

    article: Article
    source: str
    vector: NDArray[np.float32] | None
    terms: Mapping[str, int]
    language: str
    assumed: bool


@dataclass(frozen=True, slots=True)
class Signals:
    """The input of exact scoring for n articles, whose terms are concatenated, article by article.

    Attributes:
        ids: of the articles.
        languages: of the articles.
        vectors: float32, shape (n, dimensions).
        collection_sizes: the number of articles in each one's language: int64, shape (n,).
        hubness: the mean score of each to its 10 nearest: float64, shape (n,). Where it is unknown, the mean over all
            articles, or 0.
        rows: the article of each term, 0 to n - 1, ascending: int64, shape (terms,).
        term_ids: ascending within an article: int64, shape (terms,).
        frequencies: of each term in its article: int64, shape (terms,).
        document_frequencies: the number of articles of the language with each term: int64, shape (terms,).
        keys: the store's numbers of the articles, 1 or more: int64, shape (n,); empty if the store has none.
    """

    ids: list[str]
    languages: list[str]
    vectors: NDArray[np.float32]
    collection_sizes: NDArray[np.int64]
    hubness: NDArray[np.float64]
    rows: NDArray[np.int64]
    term_ids: NDArray[np.int64]
    frequencies: NDArray[np.int64]
    document_frequencies: NDArray[np.int64]
    keys: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class CandidateQuery:
    """A query for candidate retrieval.

    Attributes:
        vector: L2-normalised: float32, shape (dimensions,).
        term_ids: of the query's heaviest terms: int64, shape (t,).
        weights: of these terms, above 0: float64, shape (t,).
        condition: that candidates have to meet.
        key: of the query article if it is stored, see `Signals`; else None.
    """

    vector: NDArray[np.float32]
    term_ids: NDArray[np.int64]
    weights: NDArray[np.float64]
    condition: Condition
    key: int | None = None


class Store(ABC):
    """An index in one place.

    Every store guarantees: a batch is durable when `write` returns, and its writer sees it; writing the same batch
    again changes nothing; an article is read as it was written, checked, and never in part. `guarantees` has those
    that differ between stores.

    Reads raise IndexNotFoundError, IndexDamagedError, IndexFormatError, IndexPermissionError or IndexUnavailableError;
    writes also IndexLockedError.

    Attributes:
        name: of the index in messages: its folder, or its address without a password.
        guarantees: of this store.
    """

    name: str
    guarantees: Guarantees

    @abstractmethod
    def exists(self) -> bool:
        """Return whether there is an index; False if its first write was cut off."""

    @abstractmethod
    def close(self) -> None:
        """Close files and connections. The next use of the store opens them again."""

    @abstractmethod
    def source_label(self, source: Path) -> str:
        """Return the label of a source in this index, which does not depend on the working directory."""

    # Reading

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """Hold one state for the reads inside. Snapshots nest; hold one for a query, not for minutes."""

    def compute_slot(self) -> AbstractContextManager[None]:
        """Hold the right to compute a block, in stores whose threads slow one another down."""
        return nullcontext()

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the settings as passed to `create` and `put_setting`, and `last_build`."""

    @abstractmethod
    def count(self, sources: Iterable[str] | None = None) -> int:
        """Return the number of articles, of all or of some sources."""

    @abstractmethod
    def ids(self, sources: Iterable[str] | None = None, after: str = "") -> Iterator[str]:
        """Yield the ids of articles that sort after `after`, of all or of some sources, in their order as text.

        Reads page by page: an article that is removed meanwhile may or may not be among them.
        """

    def ids_in_cluster_order(self) -> list[str] | None:
        """Return the ids of all articles in an order in which neighbours are close; None if there is no such order.

        Queries in this order share candidates, which are then read once.
        """
        return None

    @abstractmethod
    def content_hashes(self, ids: Sequence[str]) -> dict[str, ContentHashes]:
        """Return the hashes of the stored articles among `ids`, by id."""

    @abstractmethod
    def articles(self, ids: Sequence[str]) -> dict[str, Article]:
        """Return the stored articles among `ids`, by id."""

    def texts(self, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return title and text of the stored articles among `ids`, by id."""
        return {id: (article.title, article.text) for id, article in self.articles(ids).items()}

    @abstractmethod
    def summaries(self, ids: Sequence[str]) -> dict[str, ArticleSummary]:
        """Return the summaries of the stored articles among `ids`, by id. Callers share them."""

    @abstractmethod
    def signals(self, ids: Sequence[str]) -> Signals:
        """Return the signals of the stored articles among `ids`, in any order."""

    @abstractmethod
    def retrieve_candidates(self, queries: Sequence[CandidateQuery], n: int) -> tuple[Signals, list[NDArray[np.int64]]]:
        """Return candidates for each query: of the articles that its condition admits, `n` by vector and `n` by terms.

        All admitted articles are candidates if there are fewer than `n`; fewer than `n` are retrieved by terms if fewer
        share one.

        Args:
            queries: the queries.
            n: 1 or more.

        Returns:
            The signals of all candidates, and the rows of each query's candidates in them: int64, distinct, in any
            order.
        """

    @abstractmethod
    def languages(self) -> dict[str, tuple[int, int]]:
        """Return for each language the number of articles, and of these whose language is assumed."""

    @abstractmethod
    def lookup_terms(self, language: str, terms: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return id and document frequency of the stored terms among `terms`, by term."""

    @abstractmethod
    def ids_with_assumed_language(self, language: str) -> list[str]:
        """Return the ids of the articles whose assumed language is another than this."""

    @abstractmethod
    def stale_hubness_ids(self) -> list[str]:
        """Return the ids of the articles whose hubness is unknown, in their order; of all if a full pass is due.

        In a full pass they are in the order of `ids_in_cluster_order`, if there is one.
        """

    @abstractmethod
    def upserts(self, ids: Sequence[str]) -> list[Upsert]:
        """Return the stored articles among `ids` as they were passed to `write`, with their vectors, in any order."""

    @abstractmethod
    def links(self, kind: Literal["related", "links"], ids: Sequence[str] | None = None) -> dict[str, list[str]]:
        """Return by id the ids that an article's links of one kind resolve to, in order; only articles that have any.

        Args:
            kind: "related", the editorial links, or "links", those in the body.
            ids: of the linking articles; None for all.
        """

    @abstractmethod
    def backlinks(self, ids: Sequence[str]) -> list[str]:
        """Return the ids of the articles with a link of either kind that may resolve to one of `ids`."""

    @abstractmethod
    def resolve_targets(self, targets: Sequence[str]) -> list[str | None]:
        """Return the id that each link target, an id, url or title, resolves to; None if to no article."""

    @abstractmethod
    def ids_by_url_or_title(self, name: str, n: int) -> list[str]:
        """Return the ids of at most `n` articles with this url or, if there are none, with this title; sorted."""

    @abstractmethod
    def filter_ids(self, ids: Sequence[str], condition: Condition) -> set[str]:
        """Return the ids among `ids` of the articles that a condition admits."""

    @abstractmethod
    def count_matching(self, condition: Condition) -> int:
        """Return the number of articles that a condition admits."""

    @abstractmethod
    def most_recent(self, condition: Condition, n: int) -> list[str]:
        """Return the ids of the `n` admitted articles with the latest dates, the latest first; ties by id."""

    @abstractmethod
    def published_between(self, after: int, before: int) -> list[str]:
        """Return the ids of articles published after `after` and not after `before`, in seconds since 1970."""

    @abstractmethod
    def terms(self, term_ids: Sequence[int]) -> dict[int, str]:
        """Return terms by their ids."""

    @abstractmethod
    def revision(self) -> tuple[str, int, int]:
        """Return the index's own id, the number of its last write, and the revision of the last full hubness pass."""

    @abstractmethod
    def ids_changed_after(self, revision: int) -> list[str]:
        """Return the ids of the articles that were added or replaced after a revision, in their order."""

    @abstractmethod
    def model_files(self) -> dict[str, bytes]:
        """Return the stored files of the model, by name, as passed to `create`."""

    @abstractmethod
    def document(self, name: str) -> str | None:
        """Return a text as last stored by `put_document`, the same object until it changes; None if there is none.

        Raises IndexDamagedError if its checksum is wrong.
        """

    @abstractmethod
    def document_names(self) -> list[str]:
        """Return the names of the stored documents, sorted."""

    @abstractmethod
    def arrays(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return arrays as last stored by `put_arrays`, read-only, the same object until they are replaced.

        They are derived data, which the caller computes again: None if there are none, or if they are missing or
        damaged. Articles may have changed since; an array can contain the revision that they were computed from. An
        untrusted index may contain any array names, lengths and values, of `ARRAY_TYPES`.
        """

    @abstractmethod
    def policy(self) -> dict[str, Any]:
        """Return the policy as last stored by `edit_policy`; empty at first."""

    @abstractmethod
    def statistics(self) -> dict[str, Any]:
        """Return counts for display: articles by section and source, editorial links, bytes where known."""

    # Writing

    @abstractmethod
    def edit_policy(self, edit: Callable[[dict[str, Any]], dict[str, Any]], *, anew: bool = False) -> None:
        """Replace the policy by the result of `edit`, atomically; keep it if `edit` raises. Needs no `write_lock`.

        Args:
            edit: takes the stored policy and returns the new one.
            anew: pass an empty policy to `edit`, without reading the stored one.
        """

    @abstractmethod
    def write_lock(self) -> AbstractContextManager[None]:
        """Hold the lock of the only writer. The other write methods need it."""

    @abstractmethod
    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None = None) -> None:
        """Set the settings and model files of a new index, which comes to exist with the first `write`."""

    @abstractmethod
    def write(self, upserts: Sequence[Upsert], removals: Sequence[str] = ()) -> None:
        """Add, replace and remove articles as one batch. Removals that are not stored are ignored.

        The hubness of added and replaced articles becomes unknown.
        """

    @abstractmethod
    def finish(self, *, built: bool) -> None:
        """Update the search structures if too much has changed; then a full hubness pass is due.

        Args:
            built: whether a build ended, which is recorded as `last_build`.
        """

    @abstractmethod
    def verify(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """Read everything that is stored and yield a sentence for each problem: the damage, and what to do.

        Args:
            on_progress: called with the number of articles that were read, and of all.
        """

    @abstractmethod
    def repair(self) -> None:
        """Recompute derived data from the articles; `finish` builds invalid search structures again."""

    @abstractmethod
    def put_hubness(self, values: Mapping[str, float], *, last: bool) -> None:
        """Store the hubness of articles, by id; `last` ends the pass over `stale_hubness_ids`."""

    @contextmanager
    def caching_neighbours(self, n: int) -> Iterator[Callable[[Mapping[int, NDArray[np.int64]]], None]]:
        """Yield a function that caches candidates during a full hubness pass; some stores ignore them.

        It takes by the key of an article (see `Signals`) the keys of its candidates, the best first.

        Args:
            n: the number of candidates by each signal, the article itself included, in its own language.
        """
        yield lambda neighbours: None

    @abstractmethod
    def put_setting(self, name: str, value: object) -> None:
        """Set a setting to a value that JSON can represent."""

    @abstractmethod
    def put_document(self, name: str, text: str | None) -> None:
        """Store a text durably, in place of an earlier one; None removes it.

        Args:
            name: of lower-case letters, digits and underscores.
            text: any text.
        """

    @abstractmethod
    def put_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]] | None) -> None:
        """Replace the arrays of a name, atomically; None removes them.

        Args:
            name: of lower-case letters and underscores.
            arrays: at least one, one-dimensional, of `ARRAY_TYPES`; by names of lower-case letters, digits and
                underscores.
        """


def is_document_name(name: str) -> bool:
    """Return whether a name is one that `Store.put_document` takes."""
    return bool(_NAME.fullmatch(name))


def check_arrays(name: str, arrays: Mapping[str, NDArray[Any]] | None) -> None:
    """Raise ValueError for arguments that `Store.put_arrays` does not take."""
    if not _NAME_OF_ARRAYS.fullmatch(name):
        raise ValueError(f"{name!r} is no name of arrays")
    if arrays is not None and not arrays:
        raise ValueError(f"there is no array to store as {name!r}")
    for array_name, array in (arrays or {}).items():
        if not _NAME.fullmatch(array_name) or array.ndim != 1 or array.dtype.str[1:] not in ARRAY_TYPES:
            raise ValueError(f"the array {array_name!r} of {name!r} has an invalid name, shape or type")


def document_damaged_error(index_name: str, name: str) -> IndexDamagedError:
    """Return the error for a document whose checksum is wrong."""
    return IndexDamagedError(
        f"The document {name!r} in the index {index_name} is damaged: it is not what was written. Make it again with "
        f"`recommender learn`, or remove it with `recommender learn --forget`."
    )


def dominant_language(store: Store) -> str | None:
    """Return the language of most articles whose language is not assumed; None if there is none."""
    languages = store.languages() if store.exists() else {}
    counts = {name: articles - assumed for name, (articles, assumed) in languages.items() if articles > assumed}
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None
