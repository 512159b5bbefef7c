import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommender.article import Card
from recommender.ranking import block, scoring


def card(id, url=None):
    return Card(id, id.upper(), url, None, None)


def test_scores_are_cosines_from_0_to_1():
    vectors = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], dtype=np.float32)
    assert scoring.score(np.array([1, 0], dtype=np.float32), vectors).tolist() == [1.0, 0.0, 0.0, 0.6]


@given(st.lists(st.tuples(st.text(min_size=1), st.sampled_from([0.1, 0.5, 0.9])), unique_by=lambda pair: pair[0]))
def test_order_depends_on_score_and_id_alone(pairs):
    ids, scores = [id for id, _ in pairs], np.array([score for _, score in pairs])
    ranking = scoring.ranked(ids, scores)
    backwards = scoring.ranked(ids[::-1], scores[::-1])
    assert ranking == backwards == sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def test_neither_the_article_itself_nor_one_twice():
    cards = {c.id: c for c in (card("a", "https://x.org/a"), card("b", "https://x.org/b"), card("c"), card("d"))}
    cards["a2"] = card("a2", "http://x.org/a/")
    cards["b2"] = card("b2", "https://x.org/b#top")
    ranking = [(id, 1 - i / 10) for i, id in enumerate(("a", "a2", "b", "b2", "gone", "c", "d"))]
    links = block.assemble(ranking, cards, 2, id="a", url="https://x.org/a")
    assert [(link.id, link.score) for link in links] == [("b", 0.8), ("c", 0.5)]
    assert [link.id for link in block.assemble(ranking, cards, 9, id=None, url=None)] == ["a", "b", "c", "d"]
