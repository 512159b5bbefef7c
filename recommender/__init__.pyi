from .article import Article, Reasons, Recommendation
from .blocks.changes import ChangedLinks
from .blocks.explain import WhyNot
from .blocks.policy import Policy, Rule, Settings
from .blocks.policy_effect import PolicyEffect
from .errors import (
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
    SourceWarning,
)
from .indexing.copy import CopyReport
from .learning.learn import HeldOutBlock, LearnReport
from .publish.site import PublishReport
from .recommender import BuildReport, Evaluation, Progress, Recommender
from .sources import Source

__version__: str

__all__ = [
    "Article",
    "ArticleError",
    "ArticleNotFoundError",
    "BuildReport",
    "ChangedLinks",
    "CopyReport",
    "Evaluation",
    "HeldOutBlock",
    "IndexDamagedError",
    "IndexFormatError",
    "IndexLockedError",
    "IndexNotFoundError",
    "IndexPermissionError",
    "IndexUnavailableError",
    "LearnReport",
    "ModelError",
    "Policy",
    "PolicyEffect",
    "PolicyError",
    "Progress",
    "PublishReport",
    "Reasons",
    "Recommendation",
    "Recommender",
    "RecommenderError",
    "Rule",
    "Settings",
    "Source",
    "SourceError",
    "SourceWarning",
    "WhyNot",
]
