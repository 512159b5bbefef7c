"""Rankings: candidates, both signals, hubness, languages."""

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender import Article, Recommender
from recommender.ranking.hubness import NEIGHBOURS
from recommender.ranking.matching import compare, rank
from recommender.ranking.query import new_query, stored_queries
from recommender.ranking.scoring import BOTH, DENSE, LEXICAL, Weights, expected_lexical
from recommender.store import LocalStore
from recommender.text.terms import extract_terms

PLAIN = Weights(hubness=0.0)
few_examples = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_article(number: int, version: int = 0) -> Article:
    """Return an article whose words depend on its number; their frequencies have a Pareto distribution."""
    draw = random.Random(1000 * number + version)
    words = [f"word{int(draw.paretovariate(0.6))}" for _ in range(40)]
    return Article(
        id=f"{number:04}",
        title=" ".join(words[:4]),
        text=f"topic{draw.randrange(12)} " + " ".join(words),
        language="en",
    )


def blocks(rec, k=5):
    return {id: [(link.id, link.score) for link in block] for id, block in rec.links(k, plain=True)}


def overlap(first, second):
    shared = [len({id for id, _ in first[key]} & {id for id, _ in second[key]}) / len(first[key]) for key in first]
    return sum(shared) / len(shared)


@pytest.fixture
def index(tmp_path, fake_vectors):
    """Return a Recommender over 120 generated articles."""
    with Recommender(tmp_path / "made") as rec:
        rec.build([make_article(number) for number in range(120)])
        yield rec


def churn(rec, seed, operations=1000, numbers=240):
    """Add, replace and remove articles at random; return the remaining ones."""
    draw, remaining = random.Random(seed), {}
    for _ in range(operations // 50):
        adds, removes = {}, set()
        for _ in range(50):
            number = draw.randrange(numbers)
            if draw.random() < 0.6:
                adds[number] = make_article(number, draw.randrange(3))
            else:
                removes.add(number)
        rec.add(adds.values())
        remaining |= adds
        rec.remove(*(f"{number:04}" for number in removes))
        remaining = {number: article for number, article in remaining.items() if number not in removes}
    return list(remaining.values())


@pytest.mark.slow
def test_blocks_after_a_thousand_changes_equal_those_of_a_fresh_build(tmp_path, fake_vectors):
    with Recommender(tmp_path / "lived") as lived, Recommender(tmp_path / "fresh") as fresh:
        remaining = churn(lived, seed=1)
        fresh.build(remaining)
        assert len(remaining) > 100
        assert blocks(lived) == blocks(fresh)


@pytest.mark.slow
@pytest.mark.parametrize(("lag", "min_overlap"), [(0.05, 0.98), (0.5, 0.95)])
def test_blocks_from_stale_derived_files_stay_close_to_those_of_a_fresh_build(
    tmp_path, fake_vectors, monkeypatch, lag, min_overlap
):
    monkeypatch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 0)
    monkeypatch.setattr("recommender.store.local.writer.STALE_SHARE", lag)
    with Recommender(tmp_path / "lived") as lived, Recommender(tmp_path / "fresh") as fresh:
        remaining = churn(lived, seed=2, operations=500)
        fresh.build(remaining)
        assert overlap(blocks(lived), blocks(fresh)) >= min_overlap


@pytest.mark.slow
@few_examples
@given(st.randoms(use_true_random=False), st.integers(0, 10**6))
def test_the_order_of_an_archive_does_not_matter(tmp_path_factory, fake_vectors, draw, first):
    articles = [make_article(number) for number in range(first, first + 60)]
    shuffled = draw.sample(articles, len(articles))
    home = tmp_path_factory.mktemp("orders")
    with Recommender(home / "ordered") as ordered, Recommender(home / "other") as shuffled_index:
        ordered.build(articles)
        shuffled_index.build(shuffled)
        assert blocks(ordered) == blocks(shuffled_index)


@pytest.mark.slow
@few_examples
@given(st.sets(st.integers(0, 119), min_size=1, max_size=30))
def test_removed_articles_leave_all_blocks_and_return_when_added_again(index, numbers):
    before = blocks(index)
    ids = {f"{number:04}" for number in numbers}
    index.remove(*ids)
    after = blocks(index)
    assert not ids & after.keys()
    assert not ids & {id for block in after.values() for id, _ in block}
    index.add([make_article(number) for number in numbers])
    assert blocks(index) == before


@few_examples
@given(st.sets(st.integers(0, 119), min_size=1, max_size=30))
def test_adding_the_same_article_twice_changes_nothing(index, numbers):
    before = blocks(index)
    index.add([make_article(number) for number in numbers])
    assert blocks(index) == before


def test_scores_are_from_0_to_1_in_descending_order(index):
    for block in blocks(index, k=200).values():
        scores = [score for _, score in block]
        assert scores == sorted(scores, reverse=True)
        assert 0 <= scores[-1] <= scores[0] <= 1
        assert len(block) == 119


@pytest.mark.slow
def test_a_new_article_is_ranked_as_if_it_were_stored(index):
    store = LocalStore(index.path)
    for number in range(500, 510):
        article = make_article(number)
        vector = index._ready_encoder().encode_articles([article])[0].astype(np.float16).astype(np.float32)
        terms = {"en": extract_terms(article.title, article.text, "en")}
        with store.snapshot():
            (before,) = rank(store, [new_query(store, vector, terms, language="en")], 200, PLAIN)
        index.add([article])
        with store.snapshot():
            (after,) = rank(store, list(stored_queries(store, [article.id]).values()), 200, PLAIN)
        assert before == after
        index.remove(article.id)


def test_hubness_is_the_mean_score_to_the_nearest_neighbours_and_is_subtracted(index):
    store = LocalStore(index.path)
    with store.snapshot():
        ids = list(store.ids())
        queries = list(stored_queries(store, ids).values())
        everything = compare(store, queries, [ids] * len(ids), PLAIN)
        signals = store.signals(ids)
        hubness = dict(zip(signals.ids, signals.hubness, strict=True))
        for query, scores in zip(queries, everything, strict=True):
            nearest = sorted((score for id, score in scores.items() if id != query.id), reverse=True)[:NEIGHBOURS]
            assert hubness[query.id] == pytest.approx(np.mean(nearest), abs=1e-6)
        (block,) = rank(store, queries[:1], 200, BOTH)
        for id, score in block:
            assert score == pytest.approx(everything[0][id] - BOTH.hubness * hubness[id], abs=2e-6)


def hubness_of(store):
    signals = store.signals(list(store.ids()))
    return dict(zip(signals.ids, signals.hubness.tolist(), strict=True))


@pytest.mark.parametrize("how", ["add", "replace", "remove"])
def test_scores_of_other_articles_stay_between_two_full_passes(index, monkeypatch, how):
    monkeypatch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 0)
    index.build([make_article(number) for number in range(120)])
    changed = make_article(7)
    before, of_all = hubness_of(LocalStore(index.path)), blocks(index, k=150)
    if how == "replace":
        index.add([Article(id=changed.id, title="other words", text="topic99 entirely other words", language="en")])
    elif how == "remove":
        index.remove(changed.id)
    else:
        index.add([Article(id="copy", title=changed.title, text=changed.text, language="en")])
    after = hubness_of(LocalStore(index.path))
    assert {id: after[id] for id in before if id != changed.id} == {id: before[id] for id in before if id != changed.id}
    for id, block in blocks(index, k=150).items():
        if id not in (changed.id, "copy"):
            other_links = [link for link in block if link[0] not in (changed.id, "copy")]
            assert other_links == [link for link in of_all[id] if link[0] != changed.id]


def test_candidates_are_retrieved_by_both_signals(index):
    store = LocalStore(index.path)
    with store.snapshot():
        ids = list(store.ids())
        query = list(stored_queries(store, ids[:1]).values())
        for weights in (DENSE, LEXICAL):
            scores = compare(store, query, [ids], weights)[0]
            best = sorted((id for id in ids if id != ids[0]), key=lambda id: (-scores[id], id))[:3]
            assert [id for id, _ in rank(store, query, 20, weights)[0]][:3] == best


def test_articles_without_known_terms_have_blocks_by_embedding(index):
    wordless = Article(id="w", title="?!", text="topic3", language="en")
    unseen = Article(id="u", title="zyx", text="topic4 zyxw", language="en")
    index.add([wordless])
    for article in (wordless, unseen):
        block = index.related(article, k=5, articles=True, score_threshold=False)
        assert len(block) == 5
        assert all(0 <= link.score <= 1 for link in block)


# Texts with their translations. Their vectors are generated: similar for a text and its translation.
PARALLEL = {
    "dam": (
        "The government shut the gates of the river dam despite protests from the villages below.",
        "Die Regierung hat trotz der Proteste der Dörfer darunter die Tore des Staudamms am Fluss geschlossen.",
    ),
    "water": (
        "Water from the dam will be shared between the two countries under a treaty signed in spring.",
        "Das Wasser des Staudamms wird nach einem Vertrag vom Frühjahr zwischen den beiden Ländern geteilt.",
    ),
    "club": (
        "The football club could not pay its players and was declared insolvent by the court.",
        "Der Fußballverein konnte seine Spieler nicht bezahlen und wurde vom Gericht für insolvent erklärt.",
    ),
    "match": (
        "The rescued football club won its opening match at home in front of a full stadium.",
        "Der gerettete Fußballverein gewann sein erstes Spiel zu Hause vor vollem Stadion.",
    ),
}


@pytest.fixture
def bilingual(tmp_path, monkeypatch):
    from recommender.embedding.encoder import DenseEncoder

    def encode(self, articles, on_done=None):
        draw = {name: np.random.default_rng(seed).normal(size=384) for seed, name in enumerate(PARALLEL)}
        draw["water"] += 0.5 * draw["dam"]
        draw["match"] += 0.5 * draw["club"]
        make_article = []
        for article in articles:
            name, language = article.id.split("-")
            make_article.append(draw[name] + 0.3 * np.random.default_rng(len(language + article.text)).normal(size=384))
        return (np.array(make_article) / np.linalg.norm(make_article, axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr(DenseEncoder, "encode_articles", encode)
    articles = [
        Article(id=f"{name}-{language}", title=text[:20], text=text)
        for name, texts in PARALLEL.items()
        for language, text in zip(("en", "de"), texts, strict=True)
    ]
    with Recommender(tmp_path / "bilingual") as rec:
        rec.build(articles)
        yield rec


def test_blocks_stay_in_the_language_of_the_article_by_default(bilingual):
    assert bilingual.info()["languages"] == {"de": 4, "en": 4}
    for id, block in bilingual.links(k=8):
        assert len(block) == 3
        assert {link.id[-3:] for link in block} == {id[-3:]}
    assert bilingual.related("dam-en", k=1)[0].id == "water-en"
    assert bilingual.related("dam-en", k=1, language="any")[0].id == "dam-de"
    assert {link.id for link in bilingual.related("dam-en", k=9, language="de")} == {f"{name}-de" for name in PARALLEL}
    assert [link.id for link in bilingual.related("dam-en", k=2, language="de-AT")] == ["dam-de", "water-de"]
    assert bilingual.related("dam-en", language="fr") == []


def test_scores_across_languages_are_comparable_with_scores_within_one(bilingual):
    store = LocalStore(bilingual.path)
    with store.snapshot():
        query = list(stored_queries(store, ["dam-en"]).values())
        ids = ["dam-de", "water-de", "club-de"]
        dense = compare(store, query, [ids], DENSE)[0]
        both = compare(store, query, [ids], PLAIN)[0]
        for id in ids:
            expected = dense[id] + 1.5 * expected_lexical(np.array([dense[id]]))[0]
            assert both[id] == pytest.approx(expected, abs=1e-5)
    assert bilingual.related("dam-en", k=1, language="any")[0].score > 0.8
    assert next(link for link in bilingual.related("dam-en", k=8, language="any") if link.id == "club-de").score < 0.2
