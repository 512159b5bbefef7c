"""A Recommender of the shared index of the handbook, for reading and for writing."""

import shutil

import pytest

from recommender import Recommender


@pytest.fixture(autouse=True)
def _fake_vectors(fake_vectors):
    """Use vectors of the text's hash in all these tests."""


@pytest.fixture
def learned_index(trained):
    """Return the folder of the index with a learned ranking; copy it before writing."""
    return trained[0]


@pytest.fixture
def learned(learned_index):
    """Return a Recommender of the shared index with a learned ranking, for reading only."""
    with Recommender(learned_index) as rec:
        yield rec


@pytest.fixture
def learned_copy(learned_index, tmp_path):
    """Return a Recommender of a copy of the index with a learned ranking."""
    shutil.copytree(learned_index, tmp_path / "learned")
    with Recommender(tmp_path / "learned") as rec:
        yield rec
