import threading
from dataclasses import replace

import numpy as np
import pytest

from recommender import (
    Article,
    ArticleNotFoundError,
    IndexNotFoundError,
    ModelError,
    Recommender,
    RecommenderError,
)
from recommender.publish import jsonl


def ids(block):
    return [link.id for link in block]


def test_related_articles_come_from_the_same_story(rec):
    assert sorted(ids(rec.related("dam-1", k=2))) == ["dam-2", "dam-3"]
    assert sorted(ids(rec.related("club-2", k=2))) == ["club-1", "club-3"]


def test_a_link_carries_what_a_page_shows(rec, articles):
    link = rec.related("dam-1", k=1, articles=True)[0]
    article = next(article for article in articles if article.id == link.id)
    assert (link.title, link.url, link.published, link.section) == (article.title, article.url, None, "dam")
    assert link.article == article
    assert 0 < link.score < 1
    assert rec.related("dam-1", k=1)[0].article is None


def test_blocks_are_best_first_and_as_long_as_there_are_articles(rec):
    block = rec.related("dam-1", k=100)
    assert len(block) == 5
    assert [link.score for link in block] == sorted((link.score for link in block), reverse=True)


def test_links_are_what_related_gives(rec):
    links = dict(rec.links(k=4))
    assert list(links) == sorted(links)
    assert len(links) == 6
    for id, block in links.items():
        assert block == rec.related(id, k=4)
        assert block[:3] == rec.related(id, k=3)


def test_never_the_article_itself_by_id_or_by_url(rec, articles):
    revised = replace(articles[0], text="The government opened the gates of the river dam again.")
    assert articles[0].id not in ids(rec.related(revised, k=10))
    moved = replace(revised, id="other-id", url="http://EXAMPLE.org/dam-1/")
    assert articles[0].id not in ids(rec.related(moved, k=10))
    assert articles[0].id in ids(rec.related(replace(moved, url=None), k=10))


def test_never_the_same_article_twice(rec, articles):
    rec.add([replace(articles[1], id=f"again-{i}") for i in range(80)])
    block = rec.related("dam-1", k=5, floor=False)
    assert len(block) == 5
    assert len({link.url for link in block}) == 5
    assert dict(rec.links(k=5, floor=False))["dam-1"] == block


def test_ties_go_by_id_however_many_there_are(tmp_path):
    same = [Article(id=f"{i:03}", title="The same words", text="in every one") for i in range(150)]
    with Recommender(tmp_path / "a") as one, Recommender(tmp_path / "b") as two:
        one.build(same)
        two.build(same[::-1])
        expected = ["000", "001", "002", "003"]
        for rec in (one, two):
            assert ids(rec.related("149", k=4, copies=False)) == expected
            assert ids(dict(rec.links(k=4, copies=False))["149"]) == expected
            assert rec.related("149", k=4) == []  # all are copies of it


def test_an_article_that_is_not_in_the_index(rec):
    block = rec.related(Article(id="new", title="Club's players unpaid", text="The football club has no money."), k=3)
    assert {id.split("-")[0] for id in ids(block)} == {"club"}
    assert "new" not in rec


def test_search_by_text(rec):
    assert ids(rec.search("agreement on a shared river", k=1)) == ["dam-3"]
    assert len(rec.search("football")) == 6
    with pytest.raises(RecommenderError, match="empty"):
        rec.search("  ")


def test_odd_text_to_search_for_is_no_error(rec):
    assert len(rec.search("river \udcff dam", k=2)) == 2


def test_an_index_without_a_name_is_told():
    with pytest.raises(IndexNotFoundError, match="empty"):
        Recommender("")


def test_get_len_in_and_iteration(rec, articles):
    assert len(rec) == 6
    assert rec.get("dam-1") == articles[0]
    assert rec.get("nothing") is None
    assert "dam-1" in rec
    assert "nothing" not in rec
    assert 5 not in rec
    assert list(rec) == sorted(articles, key=lambda article: article.id)


def test_articles_may_be_removed_while_iterating(rec):
    for article in rec:
        if article.id.startswith("club"):
            assert rec.remove(article.id) == [article.id]
    assert [article.id for article in rec] == ["dam-1", "dam-2", "dam-3"]


def test_removed_articles_are_in_no_block(rec):
    assert rec.remove("dam-2", "nothing") == ["dam-2"]
    assert all("dam-2" not in ids(block) for _, block in rec.links(k=10))
    assert len(rec) == 5
    with pytest.raises(ArticleNotFoundError, match="dam-2"):
        rec.related("dam-2")


def test_an_index_of_one_and_one_that_became_empty(tmp_path):
    with Recommender(tmp_path / "one") as rec:
        rec.add([{"id": "only", "title": "Alone"}])
        assert rec.related("only") == []
        assert dict(rec.links()) == {"only": []}
        rec.remove("only")
        assert len(rec) == 0
        assert rec.search("anything") == []
        assert dict(rec.links()) == {}
        rec.add([{"id": "b", "title": "Back"}])
        assert ids(rec.search("back")) == ["b"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda rec: rec.related("a"),
        lambda rec: rec.related(Article(id="a", title="t")),
        lambda rec: rec.search("a"),
        lambda rec: list(rec.links()),
        lambda rec: rec.get("a"),
        lambda rec: rec.remove("a"),
        lambda rec: rec.info(),
        len,
        list,
    ],
)
def test_no_index_is_told_by_every_call_and_none_is_made(tmp_path, ask):
    with Recommender(tmp_path / "none") as rec, pytest.raises(IndexNotFoundError):
        ask(rec)
    assert not (tmp_path / "none").exists()


def test_info(rec):
    info = rec.info()
    assert (info["articles"], info["model"], info["dimensions"], info["max_tokens"]) == (
        6,
        "all-MiniLM-L6-v2",
        384,
        128,
    )
    assert (info["format"], info["languages"], info["sections"]) == (5, {"en": 6}, {"club": 3, "dam": 3})


def test_another_model_is_refused(rec, articles):
    with Recommender(rec.path, max_tokens=64) as other:
        for ask in (lambda: other.build(articles), lambda: other.add(articles), lambda: other.search("dam")):
            with pytest.raises(ModelError, match="128 tokens"):
                ask()
        assert other.related("dam-1") == rec.related("dam-1")  # needs no model
    with pytest.raises(ValueError, match="max_tokens"):
        Recommender(rec.path, max_tokens=0)


def test_a_reader_sees_what_a_writer_adds(rec):
    with Recommender(rec.path) as reader:
        assert len(reader.related("dam-1", k=10)) == 5
        rec.add([{"id": "dam-4", "title": "Dam leaks", "text": "Water seeps beneath the river dam."}])
        assert "dam-4" in ids(reader.related("dam-1", k=10))
        rec.remove("dam-4")
        assert "dam-4" not in ids(reader.related("dam-1", k=10))


def test_threads_share_a_recommender(rec):
    expected = dict(rec.links(k=3))
    wrong = []

    def ask(id):
        wrong.extend(id for _ in range(20) if rec.related(id, k=3) != expected[id])

    threads = [threading.Thread(target=ask, args=(id,)) for id in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_stored_vectors_are_the_model_s_within_half_precision(rec, articles):
    from recommender.signals.dense import DenseEncoder
    from recommender.store import LocalStore

    vectors = DenseEncoder().encode_articles(articles)
    stored = LocalStore(rec.path).signals([article.id for article in articles])
    for article, vector in zip(articles, vectors, strict=True):
        np.testing.assert_allclose(stored.vectors[stored.ids.index(article.id)], vector, atol=1e-3)


def test_reading_one_file_gives_the_id_that_a_build_gives(tmp_path):
    page = "A Headline for the Page\n\nSome words stand here in a sentence.\n"
    (tmp_path / "news" / "world").mkdir(parents=True)
    (tmp_path / "news" / "world" / "a.txt").write_text(page)
    (tmp_path / "elsewhere.txt").write_text(page)
    with Recommender(tmp_path / "index") as rec:
        rec.build(tmp_path / "news")
        assert rec.read(tmp_path / "news" / "world" / "a.txt").id == "world/a.txt"
        assert rec.read(tmp_path / "elsewhere.txt").id == "elsewhere.txt"
        (tmp_path / "two.jsonl").write_text('{"id": "1", "title": "a"}\n{"id": "2", "title": "b"}\n')
        with pytest.raises(RecommenderError, match="more than one"):
            rec.read(tmp_path / "two.jsonl")
        (tmp_path / "none.jsonl").write_text("{}\n")
        with pytest.raises(RecommenderError, match="neither an id"):
            rec.read(tmp_path / "none.jsonl")


def test_the_links_file_has_its_fixed_shape(rec, tmp_path):
    import io
    import json

    file = io.StringIO()
    assert jsonl.write(rec.links(k=2), file) == 6
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    for line, (id, block) in zip(lines, rec.links(k=2), strict=True):
        assert line == {"id": id, "related": [{"id": link.id, "score": round(link.score, 2)} for link in block]}
