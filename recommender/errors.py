"""The errors of this package; each message is a sentence on what is wrong, where, and what to do."""

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
    """A record cannot become an article: it has no id, or neither a title nor a text."""


class SourceError(RecommenderError):
    """A source cannot be read: it does not exist, has an unknown format, or is empty."""


class SourceWarning(UserWarning):
    """Records of a source were skipped, or not all of their fields could be used."""


class IndexNotFoundError(RecommenderError):
    """There is no index at this path or address."""


class ArticleNotFoundError(RecommenderError):
    """The index contains no article with this id, url or title.

    Args:
        message: the sentence.
        question: returns a question that suggests similar articles. Called when the message is first read, since the
            search for them is slower than a miss may be.
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
    """A model cannot be loaded, or differs from the index's model."""


class PolicyError(RecommenderError):
    """A setting, pin, ban or rule is invalid."""


class IndexLockedError(RecommenderError):
    """Another process is writing to the index."""


class IndexPermissionError(RecommenderError):
    """The operating system does not allow this user to read or write the index."""


class IndexUnavailableError(RecommenderError):
    """The index's server cannot be reached, or refuses a request."""


class IndexDamagedError(RecommenderError):
    """The content of the index differs from what was written to it."""


class IndexFormatError(RecommenderError):
    """The index was written in a format that this version cannot read."""
