"""What is found in an article's text: its language, its terms and, by a static model, its vector."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article
from recommender.embedding.encoder import DenseEncoder, DenseModel
from recommender.text.language import language_of
from recommender.text.terms import extract_terms


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is found in an article's text.

    Attributes:
        language: an ISO 639 code, its own, or else the one that it is taken to be in.
        assumed: whether it does not tell its own.
        terms: its terms in that language, see `extract_terms`.
        vector: float32, shape (dimensions,), if it was asked for.
    """

    language: str
    assumed: bool
    terms: Mapping[str, int]
    vector: NDArray[np.float32] | None = None


def analyze(article: Article, dominant: str, vector: NDArray[np.float32] | None = None) -> Analysis:
    """Find the language and the terms of an article.

    Args:
        article: the article.
        dominant: the language that it is taken to be in if it does not tell its own.
        vector: what is to stand beside them.
    """
    own = language_of(article.title, article.text, article.language)
    language = own or dominant
    return Analysis(language, own is None, extract_terms(article.title, article.text, language), vector)


def find_own(article: Article) -> Analysis | None:
    """Find the language and the terms of an article; None if it does not tell its language."""
    own = language_of(article.title, article.text, article.language)
    return Analysis(own, False, extract_terms(article.title, article.text, own)) if own else None


@dataclass(frozen=True, slots=True)
class Analyzer:
    """Finds what is in the texts of many articles; can be given to another process.

    Args:
        dominant: see `find`.
        static: the static model that makes the vectors, and what gives its files; None where others make them.
    """

    dominant: str
    static: tuple[DenseModel, Callable[[], Mapping[str, bytes]]] | None = None

    def __call__(self, articles: Sequence[tuple[Article, bool]]) -> list[Analysis]:
        """Find what is in some articles, each with whether it needs a vector."""
        wanted = [article for article, new in articles if new] if self.static else []
        vectors = iter(_encoder(*self.static).encode_articles(wanted) if self.static and wanted else ())
        return [analyze(article, self.dominant, next(vectors, None) if new else None) for article, new in articles]


def warm_up(_: object = None) -> None:
    """Load what finding takes, in a process that is to do it later."""
    analyze(Article("a", "a text"), "en")


_encoders: dict[str, DenseEncoder] = {}  # of this process, by hash: the last one


def _encoder(model: DenseModel, files: Callable[[], Mapping[str, bytes]]) -> DenseEncoder:
    if model.hash not in _encoders:
        _encoders.clear()
        _encoders[model.hash] = DenseEncoder(model.name, model.max_tokens, files())
    return _encoders[model.hash]
