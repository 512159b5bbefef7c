import inspect
import pickle
import re
import shutil
import threading
from dataclasses import fields, replace

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recommender import (
    Article,
    ArticleNotFoundError,
    IndexNotFoundError,
    ModelError,
    PolicyError,
    Recommender,
    RecommenderError,
    Settings,
)
from recommender.article import as_id
from recommender.blocks import lookup
from recommender.indexing.sync import Sync
from recommender.publish import jsonl
from recommender.system import processes


def ids(block):
    return [link.id for link in block]


def test_related_articles_come_from_the_same_story(rec):
    assert sorted(ids(rec.related("dam-1", k=2))) == ["dam-2", "dam-3"]
    assert sorted(ids(rec.related("club-2", k=2))) == ["club-1", "club-3"]


def test_a_link_has_the_fields_that_a_page_displays(rec, articles):
    link = rec.related("dam-1", k=1, articles=True)[0]
    article = next(article for article in articles if article.id == link.id)
    assert (link.title, link.url, link.published, link.section) == (article.title, article.url, None, "dam")
    assert link.article == article
    assert 0 < link.score < 1
    assert rec.related("dam-1", k=1)[0].article is None


def test_blocks_are_best_first_and_end_with_the_archive(rec):
    block = rec.related("dam-1", k=100)
    assert len(block) == 5
    assert [link.score for link in block] == sorted((link.score for link in block), reverse=True)


def test_links_equal_related(rec):
    links = dict(rec.links(k=4))
    assert list(links) == sorted(links)
    assert len(links) == 6
    for id, block in links.items():
        assert block == rec.related(id, k=4)
        assert block[:3] == rec.related(id, k=3)


def test_a_block_never_contains_the_article_itself(rec, articles):
    revised = replace(articles[0], text="The government opened the gates of the river dam again.")
    assert articles[0].id not in ids(rec.related(revised, k=10))
    moved = replace(revised, id="other-id", url="http://EXAMPLE.org/dam-1/")
    assert articles[0].id not in ids(rec.related(moved, k=10))
    assert articles[0].id in ids(rec.related(replace(moved, url=None), k=10))


def test_a_block_never_contains_an_article_twice(rec, articles):
    rec.add([replace(articles[1], id=f"again-{i}") for i in range(80)])
    block = rec.related("dam-1", k=5, score_threshold=False)
    assert len(block) == 5
    assert len({link.url for link in block}) == 5
    assert dict(rec.links(k=5, score_threshold=False))["dam-1"] == block


@pytest.mark.slow
def test_ties_are_ordered_by_id(tmp_path):
    equal_articles = [Article(id=f"{i:03}", title="The same words", text="in every one") for i in range(150)]
    with Recommender(tmp_path / "a") as first, Recommender(tmp_path / "b") as second:
        first.build(equal_articles)
        second.build(equal_articles[::-1])
        expected = ["000", "001", "002", "003"]
        for rec in (first, second):
            assert ids(rec.related("149", k=4, drop_near_duplicates=False)) == expected
            assert ids(dict(rec.links(k=4, drop_near_duplicates=False))["149"]) == expected
            assert rec.related("149", k=4) == []  # all are near-duplicates of it


def test_related_accepts_an_article_that_is_not_in_the_index(rec):
    block = rec.related(Article(id="new", title="Club's players unpaid", text="The football club has no money."), k=3)
    assert {id.split("-")[0] for id in ids(block)} == {"club"}
    assert "new" not in rec


def test_search_ranks_articles_by_a_text(rec):
    assert ids(rec.search("agreement on a shared river", k=1)) == ["dam-3"]
    assert len(rec.search("football")) == 6
    with pytest.raises(RecommenderError, match="empty"):
        rec.search("  ")


def test_search_accepts_any_text(rec):
    assert len(rec.search("river \udcff dam", k=2)) == 2


def test_an_empty_index_name_is_refused():
    with pytest.raises(IndexNotFoundError, match="empty"):
        Recommender("")


def test_get_len_in_and_iteration_agree(rec, articles):
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


def test_an_index_can_have_one_article_or_none(tmp_path):
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
def test_every_call_without_an_index_raises_and_creates_none(tmp_path, ask):
    with Recommender(tmp_path / "none") as rec, pytest.raises(IndexNotFoundError):
        ask(rec)
    assert not (tmp_path / "none").exists()


def test_info_describes_the_index(rec):
    info = rec.info()
    assert (info["articles"], info["model"], info["dimensions"], info["max_tokens"]) == (
        6,
        "all-MiniLM-L6-v2",
        384,
        128,
    )
    assert (info["format"], info["languages"], info["sections"]) == (1, {"en": 6}, {"club": 3, "dam": 3})


def test_a_model_other_than_that_of_the_index_is_refused(rec, articles):
    with Recommender(rec.path, max_tokens=64) as other:
        for ask in (lambda: other.build(articles), lambda: other.add(articles), lambda: other.search("dam")):
            with pytest.raises(ModelError, match="128 tokens"):
                ask()
        assert other.related("dam-1") == rec.related("dam-1")  # needs no model
    with pytest.raises(ValueError, match="max_tokens"):
        Recommender(rec.path, max_tokens=0)


def test_an_open_reader_returns_articles_added_by_a_writer(rec):
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


def test_stored_vectors_equal_those_of_the_model_within_half_precision(rec, articles):
    from recommender.embedding.encoder import DenseEncoder
    from recommender.store import LocalStore

    vectors = DenseEncoder().encode_articles(articles)
    stored = LocalStore(rec.path).signals([article.id for article in articles])
    for article, vector in zip(articles, vectors, strict=True):
        np.testing.assert_allclose(stored.vectors[stored.ids.index(article.id)], vector, atol=1e-3)


def test_read_returns_the_id_that_a_build_gives(tmp_path):
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


def test_the_links_file_has_its_fixed_fields(rec, tmp_path):
    import io
    import json

    file = io.StringIO()
    assert jsonl.write(rec.links(k=2), file) == 6
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    for line, (id, block) in zip(lines, rec.links(k=2), strict=True):
        assert line == {"id": id, "related": [{"id": link.id, "score": round(link.score, 2)} for link in block]}


IDS_TAKEN = {
    "related": lambda rec, id: rec.related(id),
    "why_not": lambda rec, id: rec.why_not("dam-1", id),
    "get": lambda rec, id: rec.get(id),
    "in": lambda rec, id: id in rec,
    "id_of": lambda rec, id: rec.id_of(id),
    "pin": lambda rec, id: rec.pin("dam-1", id),
    "unpin": lambda rec, id: rec.unpin(id),
    "ban": lambda rec, id: rec.ban(id),
    "unban": lambda rec, id: rec.unban(id),
    "exclude": lambda rec, id: rec.related("dam-1", exclude=[id]),
    "remove": lambda rec, id: rec.remove(id),
}


@pytest.fixture
def numbered(tmp_path, articles):
    """Return a Recommender over six articles with numbers as ids."""
    with Recommender(tmp_path / "numbered") as rec:
        rec.build([{"id": number, "title": a.title, "text": a.text} for number, a in enumerate(articles, start=1)])
        yield rec


@pytest.mark.parametrize("first", [1, np.int64(1), " 1 "])
def test_whole_numbers_are_accepted_as_ids_everywhere(numbered, first):
    rec = numbered
    assert Article(id=1, title="a").id == "1"
    assert rec.related(first) == rec.related("1")
    assert rec.related("2", exclude=[first, 3]) == rec.related("2", exclude=["1", "3"])
    assert rec.related("2", exclude=(number for number in (first, 3))) == rec.related("2", exclude=["1", "3"])
    assert rec.related("2", exclude=np.array([1, 3])) == rec.related("2", exclude=["1", "3"])
    assert rec.related("2", exclude=first) == rec.related("2", exclude=["1"])
    assert rec.why_not(2, first) == rec.why_not("2", "1")
    assert rec.get(first).id == rec.id_of(first) == "1"
    assert first in rec
    assert 299 not in rec
    rec.pin(first, 2, np.int32(3))
    assert rec.policy.pins == {"1": ("2", "3")}
    rec.unpin(first, 2)
    assert rec.policy.pins == {"1": ("3",)}
    rec.ban(first, 4)
    rec.ban(5)
    assert (rec.policy.pairs, rec.policy.banned) == ({("1", "4")}, {"5"})
    rec.unban(4, first)
    rec.unban(5)
    assert (rec.policy.pairs, rec.policy.banned) == (set(), set())
    assert rec.remove(first, 299) == ["1"]
    assert first not in rec


@pytest.mark.parametrize("wrong", [True, np.bool_(True), 1.0, None, b"dam-2", ["dam-2"], {"id": "dam-2"}])
@pytest.mark.parametrize("ask", IDS_TAKEN.values(), ids=IDS_TAKEN)
def test_values_that_are_not_ids_raise_type_error_everywhere(rec, ask, wrong):
    before = rec.policy
    with pytest.raises(TypeError, match="An article's id is a str or an int"):
        ask(rec, wrong)
    assert rec.policy == before
    assert len(rec) == 6


@given(st.text(st.characters(exclude_categories=()), min_size=1).filter(as_id))
@example("a\udcff")
@example("\x00b ")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
def test_ids_are_normalised_alike_in_every_call(fake_vectors, tmp_path_factory, id):
    rec = Recommender(tmp_path_factory.getbasetemp() / "one article")
    rec.add([Article(id=id, title="An article")])
    assert rec.id_of(id) == rec.get(id).id == as_id(id)
    assert id in rec
    assert rec.related(id) == []
    rec.pin("other", id)
    assert rec.policy.pins == {"other": (as_id(id),)} or as_id(id) == "other"
    rec.unpin("other")
    assert rec.remove(id) == [as_id(id)]


@pytest.mark.parametrize("ask", IDS_TAKEN.values(), ids=IDS_TAKEN)
def test_articles_can_be_addressed_by_url_or_title(rec, articles, ask):
    for other in ("https://example.org/dam-2", "http://EXAMPLE.org/dam-2/#top", "Talks on the River Dam collapse"):
        if ask is IDS_TAKEN["remove"] and "//" not in other:
            assert rec.remove(other) == []
            continue
        rec.add(articles)
        rec.load_policy({})
        by_id = ask(rec, "dam-2")
        policy = rec.policy
        rec.add(articles)
        rec.load_policy({})
        assert ask(rec, other) == by_id
        assert rec.policy == policy


def test_ids_have_priority_over_urls_and_titles(rec, articles):
    rec.add([Article(id="Football club goes insolvent", title="Another"), Article(id="x", title="dam-1")])
    assert rec.get("Football club goes insolvent").title == "Another"
    assert rec.get("dam-1").title == articles[0].title


def test_an_ambiguous_name_is_refused_with_the_ids(rec, articles):
    rec.add([Article(id="again", title="River dam gates are SHUT"), Article(id="page", title="p", url="/page#a")])
    assert rec.id_of("River dam gates are shut") == "dam-1"  # verbatim
    for ask in (rec.related, rec.id_of, rec.pin, rec.ban, lambda name: rec.why_not("dam-3", name)):
        with pytest.raises(ArticleNotFoundError, match="'again', 'dam-1'"):
            ask("river dam gates are shut")
    assert "river dam gates are shut" not in rec
    assert rec.get("river dam gates are shut") is None
    rec.add([Article(id="page-b", title="p", url="/page#b")])
    assert rec.id_of("/page#b") == "page-b"
    with pytest.raises(ArticleNotFoundError, match="'page', 'page-b'"):
        rec.remove("/page")


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("club_1", "club-1"),
        ("dam-1.html", "dam-1"),
        ("football-club-goes-insolvant.html", "club-1"),
        ("river dam gates are shot", "dam-1"),
        ("treaty shared river", "dam-3"),
        ("https://example.org/fans-buy-stricken-club", "club-2"),
    ],
)
def test_an_unknown_name_is_refused_with_suggestions(rec, name, suggested):
    assert rec.suggest(name)[0].id == suggested
    with pytest.raises(ArticleNotFoundError, match=f"Did you mean '{suggested}'"):
        rec.related(name)
    with pytest.raises(ArticleNotFoundError, match="Did you mean"):
        rec.why_not("dam-1", name)


def test_suggestions_are_computed_when_the_message_is_read(rec, monkeypatch):
    calls = []
    suggestions = lookup.suggestions
    monkeypatch.setattr(lookup, "suggestions", lambda store, name: calls.append(name) or suggestions(store, name))
    with pytest.raises(ArticleNotFoundError) as error:
        rec.related("dam-9")
    assert calls == []
    assert "Did you mean 'dam-1'" in str(error.value)
    assert "Did you mean 'dam-1'" in str(error.value)
    assert calls == ["dam-9"]
    with pytest.raises(ArticleNotFoundError) as error, rec:
        rec.related("dam-8")
    assert calls == ["dam-9", "dam-8"]  # computed before the index was closed
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    with pytest.raises(ArticleNotFoundError) as error:
        rec.related("dam-7")
    shutil.rmtree(rec.path)
    assert str(error.value).endswith("such a url or title.")


def test_a_dissimilar_name_gets_no_suggestion(rec):
    for name in ("", "zzzzz", "😀", "9" * 10_000):
        assert rec.suggest(name) == []
        with pytest.raises(ArticleNotFoundError, match=r"such a url or title\.$"):
            rec.related(name)
        assert rec.get(name) is None
        assert name not in rec


@pytest.mark.parametrize(
    "ask",
    [
        lambda rec, **wrong: rec.related("dam-1", **wrong),
        lambda rec, **wrong: rec.search("dam", **wrong),
        lambda rec, **wrong: rec.links(**wrong),
        lambda rec, **wrong: rec.changed_links(rec.path / "state", **wrong),
        lambda rec, **wrong: rec.publish(rec.path / "out.jsonl", **wrong),
        lambda rec, **wrong: rec.why_not("dam-1", "dam-2", **wrong),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(rec, ask):
    for wrong, error in (
        ({"bogus": 1}, PolicyError),
        ({"k": 0}, ValueError),
        ({"k": "3"}, TypeError),
        ({"k": True}, TypeError),
        ({"exclude": [True]}, TypeError),
    ):
        with pytest.raises(error):
            ask(rec, **wrong)


def test_why_not_of_the_article_itself_gives_its_rank_by_score(rec):
    answer = rec.why_not("dam-1", "dam-1")
    assert (answer.rank, answer.position, answer.reason) == (1, None, "it is the article itself")
    assert sorted(rec.why_not("dam-1", id).rank for id in ("dam-2", "dam-3", "club-1", "club-2", "club-3")) == [
        1, 2, 3, 4, 5,
    ]  # fmt: skip


def test_removing_many_articles_does_not_compare_them(tmp_path, fake_vectors):
    compared = 0

    class Counted(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    with Recommender(tmp_path / "index") as rec:
        rec.build([Article(id=str(number), title=f"number {number}", text="words") for number in range(100)])
        sync = Sync(rec._store, rec._ready_encoder, on_problem=None, on_progress=None)
        assert len(sync.remove([Counted(number) for number in range(100)])) == 100
    assert compared < 2000


def test_the_version_equals_that_of_the_package():
    from importlib.metadata import version

    import recommender

    assert recommender.__version__ == version("recommender")
    assert "__version__" in dir(recommender)
    with pytest.raises(AttributeError):
        recommender.nothing  # noqa: B018


def test_a_repr_names_index_count_and_model_and_never_raises(rec, tmp_path, monkeypatch):
    expected = f"Recommender({str(rec.path)!r}, 6 articles, all-MiniLM-L6-v2)"
    assert repr(rec) == expected
    rec.close()
    assert repr(rec) == expected
    assert not [file.path for file in psutil.Process().open_files() if file.path.startswith(str(rec.path))]
    assert repr(Recommender(tmp_path / "none")) == f"Recommender({str(tmp_path / 'none')!r}, no index)"
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "index.sqlite").write_bytes(b"no database" * 1000)
    assert repr(Recommender(tmp_path / "damaged")).startswith("Recommender(")
    monkeypatch.setattr(type(rec._store), "count", lambda self: 1 / 0)
    assert "ZeroDivisionError" in repr(rec)


TAKES_OPTIONS = [
    Recommender.related,
    Recommender.why_not,
    Recommender.search,
    Recommender.links,
    Recommender.publish,
    Recommender.changed_links,
    Recommender.evaluate,
]


@pytest.mark.parametrize("method", [*TAKES_OPTIONS, Recommender.configure], ids=lambda method: method.__name__)
def test_signatures_list_options_by_name(method, rec):
    stored = {part.name for part in fields(Settings)}
    expected = stored if method == Recommender.configure else stored | {"exclude", "now", "as_of"}
    parameters = inspect.signature(getattr(rec, method.__name__)).parameters
    assert expected <= parameters.keys()
    assert not any(part.kind == part.VAR_KEYWORD for part in parameters.values())
    assert "self" not in parameters
    documented = re.findall(r"^ {4}(\w+): \S", inspect.getdoc(method).partition("Raises:")[0], re.MULTILINE)
    assert documented == list(parameters)


def test_every_option_in_a_signature_is_accepted(rec):
    signature = inspect.signature(rec.related)
    assert str(signature.parameters["diversity"]) == "diversity: float = ..."
    defaults = Settings().to_record()
    for name in signature.parameters.keys() & defaults.keys():
        assert rec.related("dam-1", **{name: defaults[name]}) == rec.related("dam-1")


def test_embeddings_equal_the_stored_vectors(rec, articles):
    ids, vectors = rec.embeddings()
    assert ids == sorted(article.id for article in articles)
    assert (vectors.shape, vectors.dtype) == ((6, 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    row = dict(zip(ids, vectors, strict=True))
    few, chosen = rec.embeddings(["dam-2", "https://example.org/club-1", "dam-2"])
    assert few == ["dam-2", "club-1", "dam-2"]
    np.testing.assert_array_equal(chosen, [row["dam-2"], row["club-1"], row["dam-2"]])
    assert rec.embeddings("dam-2")[0] == ["dam-2"]
    none, empty = rec.embeddings(id for id in ())
    assert (none, empty.shape) == ([], (0, 384))
    with pytest.raises(ArticleNotFoundError, match="'x', 'y'"):
        rec.embeddings(["x", "dam-2", "y"])


def test_embeddings_of_more_articles_than_one_chunk(tmp_path, fake_vectors):
    with Recommender(tmp_path / "index") as rec:
        rec.build([Article(id=str(number), title=f"number {number}", text="words") for number in range(600)])
        ids, vectors = rec.embeddings()
        assert ids == sorted(map(str, range(600)))
        for id in ("0", "42", "599"):
            np.testing.assert_array_equal(rec.embeddings([id])[1][0], vectors[ids.index(id)])


def test_encode_equals_the_encoding_of_articles_and_queries(rec, articles):
    encoded = rec.encode(f"{article.title}. {article.text}" for article in articles)
    assert (encoded.shape, encoded.dtype) == ((6, 384), np.float32)
    np.testing.assert_allclose(encoded, rec.embeddings(article.id for article in articles)[1], atol=2e-3)
    np.testing.assert_allclose(
        rec.encode(["a river"], query=True), rec._ready_encoder().encode_query("a river")[None], atol=1e-5
    )
    assert rec.encode([]).shape == (0, 384)
    for wrong in ("a river", [None], [b"a"], [1.5]):
        with pytest.raises(TypeError):
            rec.encode(wrong)


def test_search_accepts_several_texts(rec):
    texts = ["agreement on a shared river", "supporters buy shares", "a club without money", "dam"]
    result = rec.search(iter(texts), k=3, why=True, section="dam")
    assert len(result) == 4
    for text, results in zip(texts, result, strict=True):
        alone = rec.search(text, k=3, why=True, section="dam")
        assert ids(results) == ids(alone)
        assert [link.score for link in results] == pytest.approx([link.score for link in alone], abs=1e-3)
    assert rec.search([]) == []
    with pytest.raises(RecommenderError, match="empty"):
        rec.search(["river", " "])
    with pytest.raises(TypeError, match="NoneType"):
        rec.search(["river", None])


def test_min_score_leaves_out_links_with_lower_scores(rec):
    rec.pin("dam-1", "club-1")
    least = rec.related("dam-1", k=9, editorial="ignore")[1].score
    all_links = rec.related("dam-1", k=9, score_threshold=False)
    few = rec.related("dam-1", k=9, score_threshold=False, min_score=least)
    assert ids(few) == [link.id for link in all_links if link.score >= least or link.via == "pin"]
    assert 1 < len(few) < len(all_links)
    assert dict(rec.links(9, score_threshold=False, min_score=least))["dam-1"] == few
    plain = dict(rec.links(9, plain=True, min_score=least))
    assert all(link.score >= least for block in plain.values() for link in block)
    result = rec.search("river dam", k=9)
    assert rec.search("river dam", k=9, min_score=result[1].score) == [
        link for link in result if link.score >= result[1].score
    ]
    answer = rec.why_not("dam-1", "club-2", 9, score_threshold=False, min_score=0.99)
    assert "below the minimum score 0.99" in answer.reason
    rec.configure(min_score=1.0)
    assert ids(rec.related("dam-1", k=9)) == ["club-1"]
    assert len(rec.related("dam-1", k=9, fill="recent", min_score=1.0)) == 1  # none has a date
    for wrong in (2, -0.1, "much", True):
        with pytest.raises(PolicyError, match="min_score"):
            rec.related("dam-1", min_score=wrong)


@pytest.mark.parametrize(
    "ask",
    [
        lambda rec, n_jobs: rec.build([], n_jobs=n_jobs),
        lambda rec, n_jobs: rec.add([], n_jobs=n_jobs),
        lambda rec, n_jobs: rec.links(n_jobs=n_jobs),
        lambda rec, n_jobs: rec.publish(rec.path / "x.jsonl", n_jobs=n_jobs),
        lambda rec, n_jobs: rec.changed_links(rec.path / "x", n_jobs=n_jobs),
        lambda rec, n_jobs: rec.evaluate(n_jobs=n_jobs),
    ],
)
def test_an_invalid_number_of_processes_is_refused_at_the_call(rec, ask):
    for wrong, error in ((0, ValueError), (1.5, TypeError), (True, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="n_jobs"):
            ask(rec, wrong)


def test_processes_are_counted_as_joblib_counts(monkeypatch):
    monkeypatch.setattr(processes, "core_count", lambda: 4)
    counted = {n_jobs: processes.worker_count(n_jobs) for n_jobs in (None, 1, 2, 9, -1, -2, -4, -9)}
    assert counted == {None: 4, 1: 1, 2: 2, 9: 9, -1: 4, -2: 3, -4: 1, -9: 1}


@pytest.mark.slow
def test_the_number_of_processes_does_not_change_results(tmp_path, fake_vectors, monkeypatch):
    calls = []
    start = processes.process_pool
    monkeypatch.setattr(processes, "core_count", lambda: 2)
    monkeypatch.setattr(processes, "process_pool", lambda n_jobs: calls.append(n_jobs) or start(n_jobs))
    for module in ("blocks.batch", "ranking.hubness", "system.processes"):
        monkeypatch.setattr(f"recommender.{module}.MIN_ARTICLES_FOR_PROCESSES", 50)
    articles = [
        Article(id=f"{n:03}", title=f"number {n}", text=f"words{n % 9} {n}", related=(f"{(n + 9) % 120:03}",))
        for n in range(120)
    ]
    alone, shared = Recommender(tmp_path / "alone"), Recommender(tmp_path / "shared")
    alone.build(articles, n_jobs=1)
    first = list(alone.links(3, n_jobs=1)), alone.evaluate(blocks=True, n_jobs=1)
    assert calls == []
    shared.build(articles, n_jobs=2)
    assert set(calls) == {2}
    assert (list(shared.links(3, n_jobs=2)), shared.evaluate(blocks=True, n_jobs=2)) == first
    assert len(calls) >= 4


def test_a_recommender_is_pickled_as_its_index(rec):
    rec.search("dam")  # with a model loaded, and a connection open
    again = pickle.loads(pickle.dumps(rec))
    assert again is not rec
    assert again is pickle.loads(pickle.dumps(rec))
    assert pickle.loads(pickle.dumps(rec.related))("dam-1") == rec.related("dam-1")
    with pytest.raises(ModelError, match="64 tokens"):
        pickle.loads(pickle.dumps(Recommender(rec.path, max_tokens=64))).search("dam")
    again.close()
