import pytest

from recommender import Recommender
from recommender.learning import training


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    monkeypatch.setattr(training, "N_TREES", 30)  # instead of 150, which take longer


@pytest.fixture
def linked_by_habit(trained):
    """Return a Recommender of articles that link by habit, with a learned ranking."""
    with Recommender(trained[0]) as rec:
        yield rec
