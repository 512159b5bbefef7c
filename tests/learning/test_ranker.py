"""Blocks under a learned ranking: filters, settings and policy hold, and the content ranking stays available."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from handbook import DAY, rows_of

from recommender import Article, Recommender
from recommender.errors import PolicyError
from recommender.learning.learn import make_ranker
from recommender.ranking.query import CANDIDATES_PER_SIGNAL, stored_queries
from recommender.ranking.scorer import Scorer

QUERY = "/harbour/page-030"
OVERVIEW = "/harbour/overview"
PLAIN = {"editorial": "ignore", "diversity": 0.0, "drop_near_duplicates": False, "now": DAY}
ALL = {**PLAIN, "score_threshold": False, "min_score": 0.0}


def ids(block) -> list[str]:
    return [link.id for link in block]


@pytest.fixture(scope="session")
def content_index(tmp_path_factory, fake_vectors_context, learned_index):
    """Return the folder of the same index without a learned ranking."""
    path = tmp_path_factory.mktemp("content") / "index"
    with fake_vectors_context(), Recommender(learned_index) as rec:
        rec.copy_to(path)
        with Recommender(path) as copied:
            assert copied.forget_learned()
    return path


@pytest.fixture
def content(content_index):
    """Return a Recommender of the index without a learned ranking, for reading only."""
    with Recommender(content_index) as rec:
        yield rec


def test_links_follow_the_habit_and_content_does_not(learned):
    assert ids(learned.related(QUERY, **PLAIN))[0] == OVERVIEW
    assert OVERVIEW not in ids(learned.related(QUERY, ranking="content", **PLAIN))


def test_the_content_ranking_equals_that_of_an_index_without_a_learned_one(learned, content):
    for options in ({"now": DAY}, {"half_life": 30, "sections": "same", "editorial": "ignore"}):
        assert rows_of(learned.links(5, ranking="content", **options)) == rows_of(content.links(5, **options))
    assert rows_of(learned.links(5, plain=True)) == rows_of(content.links(5, plain=True))


def test_a_search_is_the_same_with_and_without_a_learned_ranking(learned, content):
    for options in ({}, {"section": "section1"}, {"half_life": 90}, {"why": True}):
        texts = ["topic3 page", "overview", "word5 word6"]
        assert learned.search(texts, 10, **options) == content.search(texts, 10, **options)


def test_a_learned_ranking_is_required_where_it_is_requested(learned, content):
    assert rows_of({"": learned.related(QUERY, ranking="learned")}) == rows_of({"": learned.related(QUERY)})
    with pytest.raises(PolicyError, match="no learned ranking"):
        content.related(QUERY, ranking="learned")


def test_a_stored_setting_chooses_the_ranking(learned_copy):
    expected = learned_copy.related(QUERY, ranking="content", now=DAY)
    assert learned_copy.related(QUERY, now=DAY) != expected
    learned_copy.configure(ranking="content")
    assert learned_copy.related(QUERY, now=DAY) == expected


def test_links_equal_the_blocks_of_single_articles(learned):
    blocks = dict(learned.links(4, now=DAY))
    for id in list(blocks)[::17]:
        assert ids(learned.related(id, 4, now=DAY)) == ids(blocks[id])
        assert learned.related(id, 4, now=DAY) == blocks[id]


@pytest.mark.parametrize(
    ("options", "longest"), [(PLAIN, 29), (ALL, 29), ({"now": DAY}, 29), ({"half_life": 90, "as_of": DAY, **ALL}, 20)]
)
def test_a_longer_block_begins_like_a_shorter_one(learned, options, longest):
    for id in (QUERY, "/market/page-101", OVERVIEW):
        blocks = [learned.related(id, k, **options) for k in (1, 3, 10, longest)]
        for shorter, longer in pairwise(blocks):
            assert longer[: len(shorter)] == shorter


def test_a_new_article_has_nearly_the_block_of_a_stored_one(learned):
    for id in (QUERY, "/market/page-101", "/theatre/page-200"):
        stored = learned.get(id)
        assert learned.related(stored, 5, **PLAIN) == learned.related(id, 5, **PLAIN)
        new = replace(stored, id=f"{id}-new", url=f"{stored.url}-new")
        block = learned.related(new, 6, **PLAIN)
        assert ids(block)[0] == f"/{id.split('/')[1]}/overview"
        others = [link for link in ids(block) if link != id]
        assert len(set(others[:4]) & set(ids(learned.related(id, 5, **PLAIN)))) >= 2


def test_the_links_of_a_new_article_do_not_change_its_scores(learned):
    stored = learned.get(QUERY)
    new = replace(stored, id="new", url="https://example.org/harbour/new")
    other = replace(new, related=(), links=("/market/page-101", "/quarry/overview"))
    assert learned.related(new, 10, **ALL) == learned.related(other, 10, **ALL)


def test_the_links_of_a_stored_article_do_not_change_its_scores(learned_copy):
    before = learned_copy.related(QUERY, 10, **ALL)
    learned_copy.add([replace(learned_copy.get(QUERY), related=(), links=("/market/page-101",))])
    after = learned_copy.related(QUERY, 10, **ALL)
    assert [(link.id, round(link.score, 6)) for link in after] == [(link.id, round(link.score, 6)) for link in before]


def test_a_new_article_without_any_known_word_has_a_block_or_none(learned):
    learned.related(Article(id="x", title="zzz", text="zzz qqq"), 5)
    assert learned.related(Article(id="x", title="zzz", text="zzz qqq"), 300, **ALL)


def test_scores_are_within_their_range_and_descend(learned):
    for _, block in learned.links(20, **ALL):
        scores = [link.score for link in block]
        assert all(0.0 <= score <= 1.0 for score in scores)
        assert scores == sorted(scores, reverse=True)


def test_two_random_articles_rarely_have_a_score_above_a_fifth(learned):
    store, generator = learned._store, np.random.default_rng(0)
    with store.snapshot():
        sample = generator.permutation(list(store.ids()))[:100].tolist()
        queries = list(stored_queries(store, sample[:60]).values())
        scorer, shares = Scorer(store.signals(sample)), {}
        for ranking in ("content", "learned"):
            ranker = make_ranker(store, ranking)
            ranker.prepare(queries, CANDIDATES_PER_SIGNAL)
            scores = []
            for query in queries:
                rows = np.array([row for row, id in enumerate(scorer.signals.ids) if id != query.id])
                scores += map(query.scale.display, ranker.scores(query, scorer, rows).tolist())
            shares[ranking] = np.mean(np.array(scores) > 0.2 + 1e-6)
    assert shares["learned"] == pytest.approx(shares["content"], abs=0.03)  # more are related: of one topic


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        ({"section": "section2"}, lambda link: link.section == "section2"),
        ({"sections": "same"}, lambda link: link.section == "section2"),
        ({"sections": "other"}, lambda link: link.section != "section2"),
        ({"tags": "tag3"}, lambda link: "tag3" in link.tags),
        ({"max_age": "40d"}, lambda link: link.published and link.published >= DAY - timedelta(days=40)),
        ({"not_newer": True}, lambda link: link.published is None or link.published <= DAY - timedelta(days=30)),
        ({"exclude": [OVERVIEW, "/harbour/page-102"]}, lambda link: link.id not in (OVERVIEW, "/harbour/page-102")),
        ({"min_score": 0.25}, lambda link: link.score >= 0.25),
        ({"now": DAY - timedelta(days=50)}, lambda link: not link.published or link.published < DAY - timedelta(49)),
    ],
)
def test_filters_hold(learned, options, holds):
    block = learned.related(QUERY, 100, **{**ALL, **options})
    assert block
    assert all(holds(link) for link in block)
    assert not all(holds(link) for link in learned.related(QUERY, 100, **ALL))


def test_only_editorial_links_are_in_a_block_if_required(learned):
    block = learned.related(QUERY, 10, editorial="only", now=DAY)
    assert ids(block) == list(learned.get(QUERY).related)
    assert {link.via for link in block} == {"editorial"}


def test_editorial_links_come_first_and_pins_before_them(learned_copy):
    editorial = list(learned_copy.get(QUERY).related)
    block = learned_copy.related(QUERY, 10, editorial="first", now=DAY)
    assert ids(block)[: len(editorial)] == editorial
    assert len(set(ids(block))) == len(block)
    learned_copy.pin(QUERY, "/market/page-101")
    block = learned_copy.related(QUERY, 10, editorial="first", now=DAY)
    assert ids(block)[:3] == ["/market/page-101", *editorial]
    assert [link.via for link in block][:3] == ["pin", "editorial", "editorial"]


def test_bans_and_rules_hold(learned_copy):
    assert OVERVIEW in ids(learned_copy.related(QUERY, 10, **PLAIN))
    learned_copy.ban(QUERY, OVERVIEW)
    assert OVERVIEW not in ids(learned_copy.related(QUERY, 10, **PLAIN))
    assert OVERVIEW in ids(learned_copy.related("/harbour/page-036", 10, **PLAIN))
    learned_copy.ban(OVERVIEW)
    assert OVERVIEW not in ids(learned_copy.related("/harbour/page-036", 10, **PLAIN))
    assert all(OVERVIEW not in ids(block) for _, block in learned_copy.links(10, now=DAY))


def test_near_duplicates_are_left_out(learned_copy):
    twin = replace(
        learned_copy.get("/harbour/page-102"), id="/harbour/twin", url="https://example.org/harbour/twin", related=()
    )
    learned_copy.add([twin])
    options = {**ALL, "drop_near_duplicates": True}
    assert {"/harbour/twin", "/harbour/page-102"} <= set(ids(learned_copy.related(QUERY, 300, **ALL)))
    assert len({"/harbour/twin", "/harbour/page-102"} & set(ids(learned_copy.related(QUERY, 300, **options)))) == 1
    assert "/harbour/page-102" not in ids(learned_copy.related("/harbour/twin", 300, **options))


def test_short_blocks_are_filled(learned):
    block = learned.related(QUERY, 10, min_score=0.25, fill="recent", now=DAY, editorial="ignore")
    assert len(block) == 10
    assert {link.via for link in block} == {"match", "fill"}
    filled = learned.related(QUERY, 10, min_score=0.25, fill="section", now=DAY, editorial="ignore")
    assert {link.section for link in filled if link.via == "fill"} == {"section2"}


def test_freshness_and_diversity_change_the_order_alone(learned):
    plain = learned.related(QUERY, 20, **ALL)
    diverse = learned.related(QUERY, 20, **{**ALL, "diversity": 0.7})
    assert set(ids(diverse)) == set(ids(plain))
    assert ids(diverse) != ids(plain)
    fresh = learned.related(QUERY, 200, **{**ALL, "half_life": 5, "as_of": DAY})
    scores = {link.id: link.score for link in learned.related(QUERY, 200, **ALL)}
    assert all(link.score == scores[link.id] for link in fresh if link.id in scores)


def test_reasons_add_up_to_the_raw_score(learned):
    for link in learned.related(QUERY, 5, why=True, **ALL):
        assert link.reasons.groups
        assert link.reasons.raw_score == pytest.approx(sum(link.reasons.groups.values()), abs=1e-6)
        why_not = learned.why_not(QUERY, link.id, 5, **ALL)
        assert why_not.score == pytest.approx(link.score, abs=1e-4)  # parts are rounded
        assert why_not.position is not None
    assert learned.related(QUERY, 1, why=True, ranking="content", **ALL)[0].reasons.groups == {}


def test_proposed_candidates_meet_the_conditions_too(learned_copy):
    assert learned_copy.related(QUERY, **PLAIN)[0].id == OVERVIEW
    learned_copy.add([replace(learned_copy.get(OVERVIEW), recommend=False)])
    assert all(OVERVIEW not in ids(block) for _, block in learned_copy.links(10, now=DAY))
