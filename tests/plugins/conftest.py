"""What the model was asked for."""

import pytest

import recommender.plugins.mkdocs  # noqa: F401 - loggers made after Pelican is imported say nothing twice
from recommender.embedding.encoder import DenseEncoder


@pytest.fixture
def embedded(monkeypatch):
    """The ids of what was embedded, to be cleared between two builds."""
    ids = []
    real = DenseEncoder.encode_articles

    def encode(self, articles, *args, **kwargs):
        ids.extend(article.id for article in articles)
        return real(self, articles, *args, **kwargs)

    monkeypatch.setattr(DenseEncoder, "encode_articles", encode)
    return ids
