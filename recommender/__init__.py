"""Related-article links for an archive of articles. Start with `Recommender`."""

from recommender.article import Article, Recommendation
from recommender.errors import (
    ArticleError,
    ArticleNotFoundError,
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    IndexPermissionError,
    ModelError,
    RecommenderError,
    SourceError,
)
from recommender.recommender import BuildReport, Evaluation, Progress, Recommender

__all__ = [
    "Article",
    "ArticleError",
    "ArticleNotFoundError",
    "BuildReport",
    "Evaluation",
    "IndexDamagedError",
    "IndexFormatError",
    "IndexLockedError",
    "IndexNotFoundError",
    "IndexPermissionError",
    "ModelError",
    "Progress",
    "Recommendation",
    "Recommender",
    "RecommenderError",
    "SourceError",
]
