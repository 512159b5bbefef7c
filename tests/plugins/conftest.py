"""Fixtures of the plugin tests."""

import pytest

import recommender.plugins.mkdocs  # noqa: F401 - loggers created after Pelican is imported drop repeated messages
from recommender.embedding.encoder import DenseEncoder


@pytest.fixture
def embedded(monkeypatch):
    """Return the ids of the embedded articles, to be cleared between two builds."""
    ids = []
    real = DenseEncoder.encode_articles

    def encode(self, articles, *args, **kwargs):
        ids.extend(article.id for article in articles)
        return real(self, articles, *args, **kwargs)

    monkeypatch.setattr(DenseEncoder, "encode_articles", encode)
    return ids
