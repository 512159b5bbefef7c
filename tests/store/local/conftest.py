"""Fixtures of the tests of the local store."""

import pytest

from recommender.store import LocalStore


@pytest.fixture
def store(tmp_path):
    """A store without an index."""
    store = LocalStore(tmp_path / "index")
    yield store
    store.close()
