"""Articles on their way from a source to the store."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article
from recommender.indexing.analysis import Analysis
from recommender.sources import Entry


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One entry of a source, with what a Ray cluster computed for it.

    Attributes:
        source_number: position of its source among the sources of the build, from 0.
        bytes_read: how many bytes of the source have been read up to this entry.
        entry: the entry.
        is_new: whether the content of its article is not stored yet.
        vector: embedding of the article: float32, shape (dimensions,); None for stored content and without a cluster.
        analysis: terms and language of the article; None without a vector, or where the language was not detected.
    """

    source_number: int
    bytes_read: int
    entry: Entry
    is_new: bool = False
    vector: NDArray[np.float32] | None = None
    analysis: Analysis | None = None


@dataclass(frozen=True, slots=True)
class ArticleToWrite:
    """An article that the store does not hold in this version.

    Attributes:
        article: the article.
        source_label: the label of its source in the index.
        source_item: the entry that it comes from.
        needs_vector: whether its title or text differ from the stored ones.
    """

    article: Article
    source_label: str
    source_item: SourceItem
    needs_vector: bool
