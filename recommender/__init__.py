"""Related-article links for an archive of articles. Start with `Recommender`."""

from recommender.article import Article, Reasons, Recommendation
from recommender.blocks import WhyNot
from recommender.changes import ChangedLinks
from recommender.copying import CopyReport
from recommender.errors import (
    ArticleError,
    ArticleNotFoundError,
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    IndexPermissionError,
    IndexUnavailableError,
    ModelError,
    PolicyError,
    RecommenderError,
    SourceError,
)
from recommender.policy import Policy, Rule, Settings
from recommender.publish.site import Published
from recommender.recommender import BuildReport, Evaluation, Progress, Recommender
from recommender.sources import Source

__all__ = [
    "Article",
    "ArticleError",
    "ArticleNotFoundError",
    "BuildReport",
    "ChangedLinks",
    "CopyReport",
    "Evaluation",
    "IndexDamagedError",
    "IndexFormatError",
    "IndexLockedError",
    "IndexNotFoundError",
    "IndexPermissionError",
    "IndexUnavailableError",
    "ModelError",
    "Policy",
    "PolicyError",
    "Progress",
    "Published",
    "Reasons",
    "Recommendation",
    "Recommender",
    "RecommenderError",
    "Rule",
    "Settings",
    "Source",
    "SourceError",
    "WhyNot",
]
