"""What a store does: keeps articles with their vectors, and proposes candidates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary
from recommender.filters import Condition


@dataclass(frozen=True, slots=True)
class Guarantees:
    """What one store promises and another does not.

    Attributes:
        atomic: what a `write` that is cut off leaves: "batch", all of it or nothing; "article", each article of it in
            its old or its new state, and counts of terms that the next build makes right.
        snapshots: whether all reads within one snapshot see one state; else all that is read of one article does.
        processes: whether several processes may read at once.
    """

    atomic: Literal["batch", "article"]
    snapshots: bool
    processes: bool


@dataclass(frozen=True, slots=True)
class ContentHashes:
    """What tells whether an article that was read is the one that is stored.

    Attributes:
        content_hash: `Article.content_hash` of the stored article.
        record_hash: `Article.record_hash` of the stored article.
        source: the label of the source that it came from.
    """

    content_hash: bytes
    record_hash: bytes
    source: str


@dataclass(frozen=True, slots=True)
class Upsert:
    """One article to add or replace.

    Attributes:
        article: the article.
        source: the label of the source that it comes from.
        vector: float32, shape (dimensions,); None keeps the stored one, for an article whose content is stored.
        terms: its terms and their frequencies, 1 to 65535.
        language: the language that the terms belong to, an ISO 639 code or "und".
        assumed: whether that is the archive's dominant language, taken because nothing tells the article's own.
    """

    article: Article
    source: str
    vector: NDArray[np.float32] | None
    terms: Mapping[str, int]
    language: str
    assumed: bool


@dataclass(frozen=True, slots=True)
class Signals:
    """What exact scoring needs of some articles. Terms of all stand one after the other, article by article.

    Attributes:
        ids: the articles' ids, n of them.
        languages: their languages.
        vectors: float32, shape (n, dimensions).
        totals: how many articles are in each one's language: int64, shape (n,).
        hubness: the mean score of each to its 10 nearest: float64, shape (n,). Where it is not known yet the mean
            of all, 0 if none is.
        rows: which article each term belongs to, 0 to n - 1 in ascending order: int64, shape (terms,).
        numbers: the terms' numbers, ascending within an article: int64, shape (terms,).
        frequencies: how often each stands in its article: int64, shape (terms,).
        articles: in how many articles of the language each stands: int64, shape (terms,).
        keys: the store's own numbers of the articles, 1 or more: int64, shape (n,); empty if it has no use for them.
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
    """What candidates are looked up by.

    Attributes:
        vector: the query's vector, L2-normalised: float32, shape (dimensions,).
        numbers: the numbers of the query's strongest terms: int64, shape (t,).
        weights: how much each of them counts, above 0: float64, shape (t,).
        condition: which articles may be candidates.
        key: the number of the stored article that it is the query of, see `Signals`; None for any other query.
    """

    vector: NDArray[np.float32]
    term_ids: NDArray[np.int64]
    weights: NDArray[np.float64]
    condition: Condition
    key: int | None = None


class Store(ABC):
    """An index at one place.

    What every store promises: a batch given to `write` is durable when the call returns, and seen by whoever wrote it;
    written again, it changes nothing; an article that is read is one that was written, never half of it, and was
    checked to be so. What further promises one store makes and another does not, `promises` says.

    Reads raise IndexNotFoundError, IndexDamagedError, IndexFormatError, IndexPermissionError or IndexUnavailableError;
    writes also IndexLockedError.

    Attributes:
        name: what messages call the index: its folder or its address, without any password.
        promises: what this store promises beyond that.
    """

    name: str
    guarantees: Guarantees

    @abstractmethod
    def exists(self) -> bool:
        """Tell whether there is an index; False too where its first write was cut off."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections. A closed store opens again when it is next used."""

    @abstractmethod
    def source_label(self, source: Path) -> str:
        """Return the name under which a source is known to this index, the same from any directory."""

    # Reading

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """Hold one state for the reads inside. Snapshots nest, and are held for a query, not for minutes."""

    def compute_slot(self) -> AbstractContextManager[None]:
        """Hold the right to compute a block, where threads that compute at once would slow one another down."""
        return nullcontext()

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what the index was made with, as given to `create`, and `last_build`."""

    @abstractmethod
    def count(self, sources: Iterable[str] | None = None) -> int:
        """Return the number of articles: of all, or of those from the sources named."""

    @abstractmethod
    def ids(self, sources: Iterable[str] | None = None, after: str = "") -> Iterator[str]:
        """Yield the ids of all articles, or of those from the sources named, in their order as text.

        Only those that sort after `after`. Reads page by page: an article that is removed meanwhile may or may not be
        among them.
        """

    def ids_in_cluster_order(self) -> list[str] | None:
        """Return the ids of all articles in an order in which near ones stand together; None if it knows none.

        What they are compared with is then read once for many.
        """
        return None

    @abstractmethod
    def content_hashes(self, ids: Sequence[str]) -> dict[str, ContentHashes]:
        """Return the stamps of those of the articles that are stored."""

    @abstractmethod
    def articles(self, ids: Sequence[str]) -> dict[str, Article]:
        """Return those of the articles that are stored, by id."""

    def texts(self, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return title and text of those of the articles that are stored, by id."""
        return {id: (article.title, article.text) for id, article in self.articles(ids).items()}

    @abstractmethod
    def summaries(self, ids: Sequence[str]) -> dict[str, ArticleSummary]:
        """Return the cards of those of the articles that are stored, by id; others may get the same ones."""

    @abstractmethod
    def signals(self, ids: Sequence[str]) -> Signals:
        """Return the signals of those of the articles that are stored, in no promised order."""

    @abstractmethod
    def retrieve_candidates(self, queries: Sequence[CandidateQuery], n: int) -> tuple[Signals, list[NDArray[np.int64]]]:
        """Propose candidates for each probe: of the articles that it wants the `n` nearest by vector, and `n` by terms.

        Where it wants fewer than `n` all of them are proposed; where fewer hold a term of it, fewer are by terms.

        Args:
            probes: the queries.
            n: 1 or more.

        Returns:
            The signals of all candidates, and for each probe which of them are its own: int64, positions among
            the ids, each at most once, in no promised order.
        """

    @abstractmethod
    def languages(self) -> dict[str, tuple[int, int]]:
        """Return for each language how many articles are in it, and how many of those by assumption."""

    @abstractmethod
    def lookup_terms(self, language: str, terms: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return for those of the terms that stand in an article their number and in how many they do."""

    @abstractmethod
    def ids_with_assumed_language(self, language: str) -> list[str]:
        """Return the ids of the articles that are taken to be in another language than this by assumption."""

    @abstractmethod
    def stale_hubness_ids(self) -> list[str]:
        """Return the ids of the articles whose hubness is not known, in their order; all if all are due again.

        All of them come as `ids_in_cluster_order` gives them, if it does.
        """

    @abstractmethod
    def upserts(self, ids: Sequence[str]) -> list[Upsert]:
        """Return those of the articles that are stored as they were given to `write`, with their vectors, in no
        promised order.
        """

    @abstractmethod
    def links(self, kind: Literal["related", "links"], ids: Sequence[str] | None = None) -> dict[str, list[str]]:
        """Return for each article that has links of this kind to articles of the index the ids of those, in order.

        Args:
            kind: "related", the editorial links, or "links", those in the body.
            ids: the articles; None for all.
        """

    @abstractmethod
    def backlinks(self, ids: Sequence[str]) -> list[str]:
        """Return the articles that have a link of either kind which may mean one of these."""

    @abstractmethod
    def resolve_targets(self, targets: Sequence[str]) -> list[str | None]:
        """Return for each target of a link, an id, url or title, the id of the article that it means; None for none."""

    @abstractmethod
    def ids_by_url_or_title(self, name: str, n: int) -> list[str]:
        """Return the ids of at most `n` articles with this url or, where none has it, this title; in their order."""

    @abstractmethod
    def filter_ids(self, ids: Sequence[str], condition: Condition) -> set[str]:
        """Return those of the articles that a condition wants."""

    @abstractmethod
    def count_matching(self, condition: Condition) -> int:
        """Return how many articles a condition wants."""

    @abstractmethod
    def most_recent(self, condition: Condition, n: int) -> list[str]:
        """Return the `n` articles published last of those wanted, the last one first; ties by id."""

    @abstractmethod
    def published_between(self, after: int, before: int) -> list[str]:
        """Return the articles published later than `after` and no later than `before`, in seconds since 1970."""

    @abstractmethod
    def terms(self, numbers: Sequence[int]) -> dict[int, str]:
        """Return terms by their numbers."""

    @abstractmethod
    def revision(self) -> tuple[str, int, int]:
        """Return what tells this index from others, the number of its last change, and that of the change at which
        everything that follows from all articles together was made anew last.
        """

    @abstractmethod
    def ids_changed_after(self, change: int) -> list[str]:
        """Return the articles that were added or replaced after a change, by its number; in the order of their ids."""

    @abstractmethod
    def model_files(self) -> dict[str, bytes]:
        """Return the files of the model that the index keeps, by name, as given to `create`."""

    @abstractmethod
    def policy(self) -> dict[str, Any]:
        """Return what was put with `edit_policy` last, as JSON has it; empty at first."""

    @abstractmethod
    def statistics(self) -> dict[str, Any]:
        """Return counts for people to read: articles by section and source, editorial links, bytes if known."""

    # Writing

    @abstractmethod
    def edit_policy(self, edit: Callable[[dict[str, Any]], dict[str, Any]], *, anew: bool = False) -> None:
        """Replace the policy by what `edit` makes of it, as one step. Does not need the right to write: it is short.

        It stays as it is if `edit` raises. With `anew` what is stored is not read, and `edit` is given nothing.
        """

    @abstractmethod
    def write_lock(self) -> AbstractContextManager[None]:
        """Hold the right to write: one writer at a time. The other write methods are called inside."""

    @abstractmethod
    def create(self, settings: Mapping[str, Any], model_files: Mapping[str, bytes] | None = None) -> None:
        """Set what a new index is made with, and keeps of its model. It comes to exist with the first `write`."""

    @abstractmethod
    def write(self, changes: Sequence[Upsert], removals: Sequence[str] = ()) -> None:
        """Add or replace and remove articles, as one batch. Ids to remove that are not stored are passed over.

        The hubness of articles that are added or replaced is not known from then on.
        """

    @abstractmethod
    def finish(self, *, built: bool) -> None:
        """Bring the search files up to date where they have fallen behind too far; `built` notes that a build ended.

        Once they are made anew, the hubness of all articles is due again.
        """

    @abstractmethod
    def verify(self, on_progress: Callable[[int, int], None]) -> Iterator[str]:
        """Read everything that is stored and yield a sentence for each thing that is wrong, and what to do about it.

        Args:
            on_progress: called with how many articles are done, of how many.
        """

    @abstractmethod
    def repair(self) -> None:
        """Make again what can be made from the articles; `finish` does so with search files that are not whole."""

    @abstractmethod
    def put_hubness(self, values: Mapping[str, float], *, last: bool) -> None:
        """Store the hubness of articles, by id; `last` ends the round that `stale_hubness_ids` began."""

    @contextmanager
    def caching_neighbours(self, n: int) -> Iterator[Callable[[Mapping[int, NDArray[np.int64]]], None]]:
        """Give what takes the candidates of articles, in a round over all, so that they need not be looked up again.

        It takes by the key of an article the keys (see `Signals`) of what `retrieve_candidates` returned for it, the
        best first; a store may have no use for it.

        Args:
            n: how many by each signal they were looked for, the article itself counted, in its own language.
        """
        yield lambda found: None

    @abstractmethod
    def put_setting(self, name: str, value: object) -> None:
        """Set one of the settings, to what JSON can hold."""


def dominant_language(store: Store) -> str | None:
    """Return the language that most articles are known to be in; None if there is none."""
    languages = store.languages() if store.exists() else {}
    told = {name: articles - assumed for name, (articles, assumed) in languages.items() if articles > assumed}
    return min(told, key=lambda name: (-told[name], name)) if told else None
