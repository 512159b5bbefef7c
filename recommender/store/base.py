"""What a store does: keeps articles with their vectors, and proposes candidates."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, Card


@dataclass(frozen=True, slots=True)
class Stamp:
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
class Change:
    """One article to add or replace.

    Attributes:
        article: the article.
        source: the label of the source that it comes from.
        vector: float32, shape (dimensions,); None keeps the stored one, for an article whose content is stored.
    """

    article: Article
    source: str
    vector: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Candidates:
    """Articles that a fast search proposes for one query, in no promised order.

    Attributes:
        ids: their ids.
        vectors: their stored vectors, for exact scoring: float32, shape (len(ids), dimensions).
    """

    ids: list[str]
    vectors: NDArray[np.float32]


class Store(ABC):
    """An index at one place.

    What every store promises: a batch given to `write` is stored whole or not at all, and is durable when the
    call returns; all reads within one `snapshot` see one state, the last that was committed before it; whatever
    is read was checked to be what was written.

    Reads raise IndexNotFoundError, IndexDamagedError, IndexFormatError or IndexPermissionError; writes also
    IndexLockedError.
    """

    @abstractmethod
    def exists(self) -> bool:
        """Tell whether there is an index; False too where its first write was cut off."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections. A closed store opens again when it is next used."""

    @abstractmethod
    def label(self, source: Path) -> str:
        """Return the name under which a source is known to this index, the same from any directory."""

    # Reading

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """Hold one state for the reads inside. Snapshots nest, and are held for a query, not for minutes."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what the index was made with, as given to `create`, and `last_build`."""

    @abstractmethod
    def count(self, sources: Iterable[str] | None = None) -> int:
        """Return the number of articles: of all, or of those from the sources named."""

    @abstractmethod
    def ids(self, sources: Iterable[str] | None = None) -> Iterator[str]:
        """Yield the ids of all articles, or of those from the sources named, in their order as text.

        Reads page by page: an article that is removed meanwhile may or may not be among them.
        """

    @abstractmethod
    def stamps(self, ids: Sequence[str]) -> dict[str, Stamp]:
        """Return the stamps of those of the articles that are stored."""

    @abstractmethod
    def articles(self, ids: Sequence[str]) -> dict[str, Article]:
        """Return those of the articles that are stored, by id."""

    @abstractmethod
    def cards(self, ids: Sequence[str]) -> dict[str, Card]:
        """Return the cards of those of the articles that are stored, by id."""

    @abstractmethod
    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of those of the articles that are stored, by id: float32, shape (dimensions,)."""

    @abstractmethod
    def nearest(self, queries: NDArray[np.float32], n: int) -> list[Candidates]:
        """Return for each query the `n` articles of the largest inner product, or all if there are fewer.

        Args:
            queries: float32, shape (number of queries, dimensions), L2-normalised.
            n: 1 or more.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return counts for people to read: articles by language and section, editorial links, bytes."""

    # Writing

    @abstractmethod
    def writing(self) -> AbstractContextManager[None]:
        """Hold the right to write: one writer at a time. The other write methods are called inside."""

    @abstractmethod
    def create(self, settings: Mapping[str, Any]) -> None:
        """Set what a new index is made with. It comes to exist with the first `write`."""

    @abstractmethod
    def write(self, changes: Sequence[Change], removals: Sequence[str] = ()) -> None:
        """Add or replace and remove articles, as one batch. Ids to remove that are not stored are passed over."""

    @abstractmethod
    def finish(self, *, built: bool) -> None:
        """Bring the search files up to date where they have fallen behind too far; `built` notes that a build ended."""
