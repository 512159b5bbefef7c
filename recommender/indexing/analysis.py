"""Analysis of an article's text: its language, its terms and, by a static model, its embedding."""

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
    """The analysis of an article's text.

    Attributes:
        language: the ISO 639 code of its language, detected or assumed.
        assumed: whether the language is assumed.
        terms: its terms and their frequencies, see `extract_terms`.
        vector: its embedding: float32, shape (dimensions,); None if it was not requested.
    """

    language: str
    assumed: bool
    terms: Mapping[str, int]
    vector: NDArray[np.float32] | None = None


def analyze(article: Article, presumed_language: str, vector: NDArray[np.float32] | None = None) -> Analysis:
    """Return language and terms of an article.

    Args:
        article: the article.
        presumed_language: the language to assume if neither its source nor its text gives one.
        vector: its embedding, to be returned with them.
    """
    detected = language_of(article.title, article.text, article.language)
    language = detected or presumed_language
    return Analysis(language, detected is None, extract_terms(article.title, article.text, language), vector)


def analyze_if_language_known(article: Article) -> Analysis | None:
    """Return language and terms of an article; None if neither its source nor its text gives a language."""
    language = language_of(article.title, article.text, article.language)
    return Analysis(language, False, extract_terms(article.title, article.text, language)) if language else None


@dataclass(frozen=True, slots=True)
class Analyzer:
    """Analyzes many articles; can be pickled for another process.

    Args:
        presumed_language: see `analyze`.
        static_model: the static model that embeds, and a function that returns its files; None not to embed.
    """

    presumed_language: str
    static_model: tuple[DenseModel, Callable[[], Mapping[str, bytes]]] | None = None

    def __call__(self, articles: Sequence[tuple[Article, bool]]) -> list[Analysis]:
        """Analyze articles, each paired with whether it needs a vector."""
        to_embed = [article for article, needs_vector in articles if needs_vector]
        vectors = iter(_encoder(*self.static_model).encode_articles(to_embed) if self.static_model and to_embed else ())
        return [
            analyze(article, self.presumed_language, next(vectors, None) if needs_vector else None)
            for article, needs_vector in articles
        ]


def warm_up(_: object = None) -> None:
    """Load in this process the stemmers and the language detector."""
    analyze(Article("a", "a text"), "en")


_encoders: dict[str, DenseEncoder] = {}  # the last encoder of this process, by its hash


def _encoder(model: DenseModel, files: Callable[[], Mapping[str, bytes]]) -> DenseEncoder:
    if model.hash not in _encoders:
        _encoders.clear()
        _encoders[model.hash] = DenseEncoder(model.name, model.max_tokens, files())
    return _encoders[model.hash]
