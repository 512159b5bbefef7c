"""Fixtures of the tests of stores."""

import pytest


@pytest.fixture
def small_exact_limit(monkeypatch):
    """Treat stores of more than 10 articles as large: their search structures outlive small changes."""
    monkeypatch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 10)
    monkeypatch.setattr("recommender.store.milvus.writer.SMALL_ARCHIVE_ARTICLES", 10)
