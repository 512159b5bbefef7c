"""Signals of a build apart from embeddings: languages, terms, hubness."""

import errno
import sqlite3

import pytest

from recommender import Article, Recommender, RecommenderError
from recommender.ranking import hubness as hubness_module
from recommender.store import LocalStore
from recommender.text.terms import TERM_SETTINGS

GERMAN = "Die Regierung hat gestern trotz der Proteste der Anwohner die Tore des Staudamms geschlossen. Nummer {}."
ENGLISH = "The government shut the gates of the river dam yesterday despite protests from the residents. Number {}."


def german(count, start=0):
    return [Article(id=f"de{i}", title=f"Staudamm {i}", text=GERMAN.format(i)) for i in range(start, start + count)]


def english(count):
    return [Article(id=f"en{i}", title=f"River dam {i}", text=ENGLISH.format(i)) for i in range(count)]


def links(rec):
    return dict(rec.links(5))


@pytest.fixture
def rec(tmp_path, fake_vectors):
    with Recommender(tmp_path / "index") as rec:
        yield rec


def test_a_build_warns_of_languages_that_the_model_does_not_support(rec):
    problems = []
    rec.build(english(19) + german(1), on_problem=problems.append)
    assert problems == []
    rec.build(english(19) + german(2), on_problem=problems.append)
    assert len(problems) == 1
    assert "2 of 21 articles (10 %)" in problems[0]
    assert "all-MiniLM-L6-v2 does not know (de 2)" in problems[0]
    assert "--model paraphrase-multilingual-MiniLM-L12-v2" in problems[0]


def test_articles_of_unclear_language_have_the_dominant_language(rec, tmp_path):
    silent = [Article(id=f"s{i}", title=f"Kxq {i}", text=f"zvw häuser {i}") for i in range(4)]
    rec.build(silent)
    assert rec.info()["languages"] == {"en": 4}  # the only language of the model
    rec.add(english(2))
    assert rec.info()["languages"] == {"en": 6}
    rec.add(german(3))
    assert rec.info()["languages"] == {"de": 7, "en": 2}
    with Recommender(tmp_path / "fresh") as fresh:
        fresh.build(german(3) + silent + english(2))
        assert links(rec) == links(fresh)
    store = LocalStore(rec.path)
    assert store.lookup_terms("de", ["haus"])["haus"][1] == 4  # stemmed as German
    assert store.lookup_terms("en", ["häuser"]) == {}
    rec.remove("de0", "de1", "de2")
    assert rec.info()["languages"] == {"en": 6}


def test_a_new_language_of_an_article_needs_no_new_vector(rec):
    articles = english(6)
    rec.build(articles)
    articles[0] = Article(id="en0", title=articles[0].title, text=articles[0].text, language="fr-CA")
    report = rec.build(articles)
    assert (report.changed, report.embedded) == (1, 0)
    assert rec.info()["languages"] == {"en": 5, "fr": 1}
    assert rec.related("en0") == []
    assert "en0" not in {link.id for _, block in rec.links(10) for link in block}
    assert len(rec.related("en0", k=10, language="any")) == 5


def test_other_rules_for_terms_make_a_build_read_the_texts_again(rec, monkeypatch):
    rec.build(english(5))
    store = LocalStore(rec.path)
    assert store.lookup_terms("en", ["river"])["river"][1] == 5
    monkeypatch.setattr("recommender.indexing.refresh.TERM_SETTINGS", {**TERM_SETTINGS, "version": 99})
    monkeypatch.setattr("recommender.indexing.analysis.extract_terms", lambda title, text, language: {"one": 1})
    report = rec.build(english(5))
    assert (report.unchanged, report.embedded) == (5, 0)
    assert store.lookup_terms("en", ["river", "one"])["one"][1] == 5
    assert store.lookup_terms("en", ["river"]) == {}
    assert store.settings()["lexical"]["version"] == 99


def test_hubness_missing_after_an_interrupted_build_is_computed_by_the_next(rec, monkeypatch):
    monkeypatch.setattr(hubness_module, "chunk_size", lambda store: 2)
    monkeypatch.setattr(hubness_module, "COMMIT_ARTICLES", 2)
    store, put, calls = LocalStore(rec.path), LocalStore.put_hubness, []

    def stops(self, values, *, last):
        calls.append(values)
        if len(calls) == 3:
            raise KeyboardInterrupt
        put(self, values, last=last)

    monkeypatch.setattr(LocalStore, "put_hubness", stops)
    with pytest.raises(KeyboardInterrupt):
        rec.build(english(10))
    assert len(store.stale_hubness_ids()) == 10
    assert len(rec.related("en0", k=9)) == 9
    monkeypatch.setattr(LocalStore, "put_hubness", put)
    rec.build(english(10))
    assert store.stale_hubness_ids() == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE vectors SET vector = zeroblob(768) WHERE key = (SELECT key FROM articles WHERE id = 'en5')",
        "UPDATE lexical SET terms = zeroblob(12) WHERE key = (SELECT key FROM articles WHERE id = 'en5')",
        "UPDATE hubness SET value = 7 WHERE key = (SELECT key FROM articles WHERE id = 'en5')",
    ],
)
def test_a_damaged_article_can_be_removed_and_blocks_no_other(rec, damage, monkeypatch, tmp_path):
    monkeypatch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 10)
    rec.build(english(60))
    connection = sqlite3.connect(rec.path / "articles.sqlite")
    connection.execute(damage)
    connection.commit()
    connection.close()
    rec.add([Article(id="new", title="River dam", text=ENGLISH.format("new"))])
    assert "new" in rec
    assert rec.remove("en7") == ["en7"]
    assert rec.remove("en5") == ["en5"]
    rec.build(english(60))
    with Recommender(tmp_path / "fresh") as fresh:
        fresh.build([Article(id="new", title="River dam", text=ENGLISH.format("new")), *english(60)])
        ours, theirs = LocalStore(rec.path), LocalStore(fresh.path)
        assert ours.languages() == theirs.languages()
        for term in ("river", "dam", "58"):
            assert ours.lookup_terms("en", [term])[term][1] == theirs.lookup_terms("en", [term])[term][1]
    assert ours.stale_hubness_ids() == []


def test_a_change_of_metadata_keeps_hubness(rec, monkeypatch):
    monkeypatch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 10)
    rec.build(english(60))
    requests = []
    monkeypatch.setattr(hubness_module, "estimate_hubness", lambda *arguments: requests.append(arguments))
    rec.add([Article(id="en3", title="River dam 3", text=ENGLISH.format(3), tags=("new",))])
    assert requests == []
    assert rec.get("en3").tags == ("new",)


def test_a_full_disk_is_reported(rec, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("recommender.store.local.writer.write_inverted_index", full)
    with pytest.raises(RecommenderError, match="no room left"):
        rec.build(english(3))
    monkeypatch.undo()
    assert "en1" in rec


def test_more_links_than_there_are_articles(rec):
    rec.build(english(5) + german(2))
    assert len(rec.related("en0", k=10**18)) == 4
    assert len(rec.related("en0", k=10**18, language="any")) == 6


def test_an_article_has_its_stated_language(rec):
    rec.build(english(5) + german(2))
    said = Article(id="en0", title="River dam 0", text=ENGLISH.format(0), language="de")
    assert {link.id for link in rec.related(said, k=9)} == {"de0", "de1"}
    assert len(rec.related(rec.get("en0"), k=9)) == 4


def test_free_text_is_read_in_every_language_of_the_index(rec, monkeypatch):
    from recommender.embedding.encoder import DenseEncoder

    rec.build(english(4) + german(4))
    monkeypatch.setattr(
        DenseEncoder, "encode_query", lambda self, text: rec._ready_encoder().encode_articles(english(1))[0]
    )
    links = rec.search("Tore, gates", k=8)
    assert {link.id[:2] for link in links} == {"en", "de"}
    assert {link.id[:2] for link in rec.search("Tore, gates", k=8, language="de")} == {"de"}
