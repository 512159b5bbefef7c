"""Sources of articles: one module for each kind of archive; each reader yields entries."""

from recommender.sources.entry import Entry
from recommender.sources.source import Source

__all__ = ["Entry", "Source"]
