"""A Recommender of the shared index of the handbook, for reading and for writing."""

import shutil

import pytest
from handbook import handbook

from recommender import Recommender


@pytest.fixture(autouse=True)
def _fake_vectors(fake_vectors):
    """Use vectors of the text's hash in all these tests."""


@pytest.fixture(scope="session")
def learned_index(tmp_path_factory, fake_vectors_context):
    """Return the folder of an index of `handbook` with a learned ranking; copy it before writing."""
    pytest.importorskip("lightgbm")
    path = tmp_path_factory.mktemp("learned") / "index"
    with fake_vectors_context(), Recommender(path) as rec:
        rec.build(handbook())
        assert rec.learn().adopted
    return path


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
