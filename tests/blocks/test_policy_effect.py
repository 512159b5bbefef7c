import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from recommender import Article, Policy, Recommender, Rule, Settings
from recommender.blocks import policy_effect

SECTIONS = ("News", "Sport", "Opinion")


@pytest.fixture(scope="module")
def rec(tmp_path_factory, fake_vectors_context):
    """Return an index of 300 articles, more than are compared; their ids sort by section."""
    articles = [
        Article(
            id=f"{section}/{number}",
            title=f"{section} {number}",
            text=f"{section} story {number % 5} and {number}",
            section=section,
            published=datetime(2010 + number % 10, 1, 1, tzinfo=UTC),
            metadata={"kind": "advertorial"} if section == "Sport" and number < 4 else {},
        )
        for section in SECTIONS
        for number in range(100)
    ]
    with fake_vectors_context(), Recommender(tmp_path_factory.mktemp("effect") / "index") as rec:
        rec.build(articles)
        yield rec


@pytest.fixture(autouse=True)
def no_time_limit(monkeypatch):
    monkeypatch.setattr(policy_effect, "MAX_SECONDS", math.inf)


def count_effect(rec, policy, k=3):
    """Return the numbers of changed and of empty blocks, counted over all articles."""
    options = {name: getattr(policy.settings, name) for name in policy.settings.changed()}
    before = dict(rec.links(k))
    after = dict(rec.links(k, **options))
    return sum([a.id for a in after[id]] != [b.id for b in before[id]] for id in before), sum(
        not block for block in after.values()
    )


@pytest.mark.parametrize(
    "options", [{"section": "news"}, {"section": "News"}, {"sections": "other"}, {"max_age": "1d"}, {"fill": "recent"}]
)
def test_the_effect_of_settings_is_estimated_from_a_sample(rec, options):
    policy = Policy(settings=Settings().updated(options))
    changed, empty = count_effect(rec, policy)
    effect = rec.preview_policy(policy)
    assert (effect.articles, effect.compared) == (300, 200)
    assert effect.changed == pytest.approx(changed, abs=30)
    assert effect.empty == pytest.approx(empty, abs=15)
    assert rec.policy == Policy()


@pytest.mark.parametrize(
    ("rule", "changed", "empty"),
    [
        (Rule("paid", {"kind": "advertorial"}, no_block=True), 4, 4),
        (Rule("paid", {"kind": "gone"}, no_block=True), 0, 0),
        (Rule("sport", {"section": "Sport"}, no_block=True), 100, 100),
    ],
)
def test_a_sample_contains_the_articles_of_a_rule_about_few(rec, rule, changed, empty):
    effect = rec.preview_policy(Policy(rules=(rule,)))
    assert effect.compared <= 200
    assert (effect.changed, effect.empty, effect.empty_before) == (changed, empty, 0)
    assert len(effect.examples) == min(empty, 5)
    assert {id.partition("/")[0] for id in effect.examples} <= {"Sport"}


def test_a_sample_contains_pinned_and_banned_articles(rec):
    effect = rec.preview_policy(Policy(pins={"News/7": ("Sport/7",), "gone": ("News/1",)}))
    assert (effect.changed, effect.examples) == (1, ("News/7",))
    assert rec.preview_policy(rec.policy).changed == 0


def test_a_small_index_is_compared_completely(tmp_path, articles):
    with Recommender(tmp_path / "index") as rec:
        rec.build(articles)
        effect = rec.preview_policy({"settings": {"section": "dam"}, "rules": []})
        assert (effect.articles, effect.compared, effect.changed, effect.empty) == (6, 6, 6, 0)
        assert "estimated" not in effect.sentence()
        rec.remove(*[article.id for article in articles])
        assert rec.preview_policy(Policy(settings=Settings(section="x"))).sentence() == "None of 0 blocks changes."


def test_a_slow_index_is_compared_in_part(rec, monkeypatch):
    monkeypatch.setattr(policy_effect, "MAX_SECONDS", 0.0)
    effect = rec.preview_policy(replace(rec.policy, settings=Settings(section="none")))
    assert 0 < effect.compared < 200
    assert effect.sentence(would=True).startswith(
        f"About 300 of 300 blocks would change, estimated from {effect.compared}"
    )


def test_a_sample_is_drawn_from_every_store(index_path, articles, monkeypatch):
    monkeypatch.setattr(policy_effect, "MAX_COMPARED", 4)
    with Recommender(index_path) as rec:
        rec.build(articles)
        effect = rec.preview_policy(Policy(rules=(Rule("quiet", {"section": "club"}, no_block=True),)))
        assert (effect.articles, effect.changed, effect.empty) == (6, 3, 3)
        assert effect.compared <= 4
        assert rec.preview_policy(Policy(settings=Settings(section="none"))).empty == 6
