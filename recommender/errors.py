"""The errors of this package. Each message is a sentence that says what was wrong, where, and what to do."""

from collections.abc import Callable
from contextlib import suppress

__all__ = [
    "ArticleError",
    "ArticleNotFoundError",
    "IndexDamagedError",
    "IndexFormatError",
    "IndexLockedError",
    "IndexNotFoundError",
    "IndexPermissionError",
    "IndexUnavailableError",
    "ModelError",
    "PolicyError",
    "RecommenderError",
    "SourceError",
    "SourceWarning",
]


class RecommenderError(Exception):
    """The base of every error that this package raises on purpose."""


class ArticleError(RecommenderError):
    """What was given cannot be an article: it has no id, or neither a title nor a text."""


class SourceError(RecommenderError):
    """A source cannot be read: it is not there, of no known kind, or holds nothing to read."""


class SourceWarning(UserWarning):
    """Records of a source were skipped, or not all of their fields could be used."""


class IndexNotFoundError(RecommenderError):
    """There is no index at the place that was named."""


class ArticleNotFoundError(RecommenderError):
    """The index holds no article with the id that was asked for.

    Args:
        message: the sentence.
        question: returns a question that follows it, which articles may be meant. Called when the message is first
            shown: looking for them takes longer than a miss may.
    """

    def __init__(self, message: str, question: Callable[[], str] | None = None) -> None:
        super().__init__(message)
        self._question = question

    def __str__(self) -> str:
        """Return the sentence and the question."""
        question, self._question = self._question, None
        with suppress(RecommenderError):  # the index may be gone
            self.args = (f"{self.args[0]} {question() if question else ''}".strip(),)
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the message."""
        return ArticleNotFoundError, (str(self),)


class ModelError(RecommenderError):
    """A model cannot be loaded, or is not the one that the index was made with."""


class PolicyError(RecommenderError):
    """A setting, pin, ban or rule is not one that can be kept."""


class IndexLockedError(RecommenderError):
    """Another process is writing to the index."""


class IndexPermissionError(RecommenderError):
    """The operating system does not allow this user to read or write the index."""


class IndexUnavailableError(RecommenderError):
    """The server that holds the index cannot be reached, or does not do what it is asked."""


class IndexDamagedError(RecommenderError):
    """What the index holds is not what was written to it."""


class IndexFormatError(RecommenderError):
    """The index was written in a format that this version cannot read."""
