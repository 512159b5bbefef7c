from recommender.article import Card
from recommender.ranking import block, scoring


def card(id, url=None):
    return Card(id, id.upper(), url, None, None)


def test_neither_the_article_itself_nor_one_twice():
    cards = {c.id: c for c in (card("a", "https://x.org/a"), card("b", "https://x.org/b"), card("c"), card("d"))}
    cards["a2"] = card("a2", "http://x.org/a/")
    cards["b2"] = card("b2", "https://x.org/b#top")
    ranking = [(id, 1 - i / 10) for i, id in enumerate(("a", "a2", "b", "b2", "gone", "c", "d"))]
    links = block.assemble(ranking, cards, 2, id="a", url="https://x.org/a")
    assert [(link.id, link.score) for link in links] == [("b", scoring.shown(0.8)), ("c", scoring.shown(0.5))]
    plain = block.assemble(ranking, cards, 9, id="a", url="https://x.org/a", plain=True)
    assert [link.id for link in plain] == ["a2", "b", "b2", "c", "d"]
    assert [link.id for link in block.assemble(ranking, cards, 9, id=None, url=None)] == ["a", "b", "c", "d"]
