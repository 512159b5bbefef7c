"""What `build` and `add` return and report."""

from collections import Counter
from dataclasses import dataclass, field

from recommender.learning.learn import LearnReport


@dataclass(slots=True)
class BuildReport:
    """The result of a build or an add.

    Attributes:
        added: articles that were new.
        changed: articles that were stored in another version.
        unchanged: articles that were stored in this version.
        removed: articles that were removed, by `prune` or because their source excludes them now.
        excluded: records that are no articles to publish, by reason: `{"unpublished": 2, "list page": 12}`.
        missing: stored articles of these sources that the sources no longer contain; None where that cannot be known,
            and for `add`.
        skipped: inputs that gave no article.
        embedded: vectors computed; a change of date, tags and the like needs none.
        seconds: duration.
        failed: one sentence for each source that could not be read to its end.
        refused: why `prune` removed nothing although it was requested; else empty.
        problems: one or two sentences for each kind of input that was skipped or used in part: the first problem, and
            the number of the others.
        learned: the result of training with `learn=True`; None if nothing was trained, because a learned ranking is
            up to date.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    missing: int | None = None
    skipped: int = 0
    embedded: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)
    refused: str = ""
    problems: list[str] = field(default_factory=list)
    learned: LearnReport | None = None

    @property
    def articles(self) -> int:
        """Number of articles read."""
        return self.added + self.changed + self.unchanged

    @property
    def rate(self) -> float:
        """Articles read per second."""
        return self.articles / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build, a copy or a verification has come.

    Attributes:
        done: bytes of the sources, or articles, that are finished.
        total: bytes of all sources, 0 if they are no files; or articles.
        articles: articles that are finished: embedded, or unchanged.
        embedded: vectors computed.
        stage: "reading": `done` and `total` count bytes; "folds", of the training of a ranking: folds; any other stage,
            such as "comparing": articles.
    """

    done: int
    total: int
    articles: int
    embedded: int
    stage: str = "reading"
