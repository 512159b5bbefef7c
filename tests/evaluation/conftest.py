import pytest
from handbook import handbook

from recommender import Recommender
from recommender.learning import training

N_ARTICLES = 150  # besides the overviews
N_TREES = 30  # instead of 150, which take longer


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    monkeypatch.setattr(training, "N_TREES", N_TREES)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, fake_vectors_context):
    """Return a Recommender of articles that link by habit, with a learned ranking, and the report of its training."""
    pytest.importorskip("lightgbm")
    with fake_vectors_context(), Recommender(tmp_path_factory.mktemp("trained") / "index") as rec:
        rec.build(handbook(N_ARTICLES))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "N_TREES", N_TREES)
            report = rec.learn()
        assert report.adopted, report.reason
        yield rec, report


@pytest.fixture
def linked_by_habit(trained):
    """Return the Recommender of articles that link by habit."""
    return trained[0]
