import numpy as np
import pytest
from handbook import handbook

from recommender import PolicyError, Recommender
from recommender.evaluation import metrics
from recommender.learning import learn, training

pytest.importorskip("lightgbm")

AS_RANKED = {"blocks": True, "score_threshold": False, "diversity": 0.0, "drop_near_duplicates": False}


@pytest.fixture
def linked_at_random(tmp_path, fake_vectors, monkeypatch):
    """Return a Recommender of articles with random links, and a learned ranking that was adopted by force."""
    with Recommender(tmp_path / "index") as rec:
        rec.build(handbook(150, links="random"))
        monkeypatch.setattr(learn, "bootstrap_interval", lambda values: (1.0, 1.0))
        assert rec.learn().adopted
        yield rec


def gain(evaluation, method):
    """Return the 95 % confidence interval of the difference in nDCG@10 between a method and the content ranking."""
    values = {name: {} for name in evaluation.methods}
    for row in evaluation.per_query:
        values[row["method"]][row["query"]] = row["nDCG@10"]
    differences = [values[method][query] - value for query, value in values["both"].items()]
    return training.bootstrap_interval(np.array(differences))


def test_a_learned_ranking_gains_where_the_links_follow_a_habit(linked_by_habit):
    evaluation = linked_by_habit.evaluate(**AS_RANKED)
    assert list(evaluation.methods) == ["dense", "lexical", "both", "learned", "blocks"]
    assert gain(evaluation, "learned")[0] > 0.1
    assert gain(evaluation, "blocks")[0] > 0.1


def test_a_learned_ranking_gains_nothing_from_random_links(linked_at_random):
    evaluation = linked_at_random.evaluate(**AS_RANKED)
    for method in ("learned", "blocks"):
        low, high = gain(evaluation, method)
        assert low <= 0.0
        assert high < 0.05


def test_judgements_of_articles_without_links_are_evaluated(linked_by_habit):
    judgements = {"/harbour/overview": ["/harbour/page-000", "/gone"], "/gone": ["/harbour/page-000"]}
    evaluation = linked_by_habit.evaluate(judgements)
    assert (evaluation.queries, evaluation.missing) == (2, 1)
    rows = {row["query"]: row for row in evaluation.per_query if row["method"] == "learned"}
    assert rows.keys() == judgements.keys()
    assert rows["/gone"]["nDCG@10"] == 0.0
    (block,) = evaluation.best
    assert (block.id, len(block.links)) == ("/harbour/overview", 10)


def test_the_content_ranking_leaves_out_the_learned_method(linked_by_habit):
    evaluation = linked_by_habit.evaluate(ranking="content")
    assert list(evaluation.methods) == ["dense", "lexical", "both"]
    evaluation = linked_by_habit.evaluate(ranking="content", blocks=True)
    assert list(evaluation.methods) == ["dense", "lexical", "both", "blocks"]


def test_the_learned_ranking_cannot_be_required_where_there_is_none(tmp_path, fake_vectors):
    with Recommender(tmp_path / "index") as rec:
        rec.build(handbook()[:20])
        with pytest.raises(PolicyError, match="no learned ranking"):
            rec.evaluate(ranking="learned")


def test_the_usage_of_the_archive_is_that_of_the_ranking_in_use(linked_by_habit):
    evaluation = linked_by_habit.evaluate(k=3)
    blocks = {id: [link.id for link in block] for id, block in linked_by_habit.links(3, plain=True, ranking="learned")}
    assert evaluation.methods["learned"].usage == metrics.usage(list(blocks), blocks, 3)
