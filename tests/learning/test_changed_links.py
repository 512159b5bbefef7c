"""`links --changed` under a learned ranking: with the earlier blocks, it equals a full pass."""

from dataclasses import replace
from datetime import timedelta

import pytest
from handbook import DAY, handbook

LINKS = 4


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch):
    """Let derived files outlive small changes in an index of any size."""
    monkeypatch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 10)
    monkeypatch.setattr("recommender.store.local.writer.STALE_SHARE", 0.5)


@pytest.fixture
def state(tmp_path):
    return tmp_path / "blocks.state"


def changes(rec, state, **options):
    options.setdefault("now", DAY)
    with rec.changed_links(state, LINKS, n_jobs=1, **options) as changed:
        blocks = dict(changed.blocks)
    return rounded(blocks), changed


def rounded(blocks):
    return {id: [(link.id, round(link.score, 2), link.via) for link in block] for id, block in blocks.items()}


def all_links(rec, **options):
    return rounded(dict(rec.links(LINKS, n_jobs=1, **{"now": DAY, **options})))


def relink(rec) -> None:
    """Let the articles of one folder link elsewhere; their texts stay the same."""
    rec.add([replace(item, related=("/market/page-101",)) for item in handbook() if item.id.startswith("/quarry/")])


CHANGES = {
    "links of articles": relink,
    "a removed hub": lambda rec: rec.remove("/harbour/overview"),
    "a forgotten ranking": lambda rec: rec.forget_learned(),
}


@pytest.mark.parametrize(
    "change", ["links of articles", *(pytest.param(name, marks=pytest.mark.slow) for name in [*CHANGES][1:])]
)
def test_earlier_blocks_updated_by_changed_ones_equal_a_full_pass(learned_copy, state, change):
    published, changed = changes(learned_copy, state)
    assert "no earlier run" in changed.full
    nothing, changed = changes(learned_copy, state)
    assert (nothing, changed.full, changed.rebuilt) == ({}, "", 0)
    CHANGES[change](learned_copy)
    blocks, changed = changes(learned_copy, state)
    assert ("was trained" if change == "a forgotten ranking" else "links or bans have changed") in changed.full
    for id in changed.deleted:
        del published[id]
    assert blocks
    assert published | blocks == all_links(learned_copy)
    assert len(blocks) == changed.written <= changed.rebuilt
    nothing, changed = changes(learned_copy, state)
    assert (nothing, changed.full) == ({}, "")


@pytest.mark.slow
def test_an_article_that_comes_of_age_causes_a_full_pass(learned_copy, state):
    before = {"now": DAY - timedelta(days=3, hours=1)}
    published, _ = changes(learned_copy, state, **before)
    blocks, changed = changes(learned_copy, state)
    assert "learned ranking" in changed.full
    assert published | blocks == all_links(learned_copy)


def test_a_ban_causes_a_full_pass_and_a_pin_rebuilds_its_block_alone(learned_copy, state):
    published, _ = changes(learned_copy, state)
    learned_copy.ban("/railway/overview")
    blocks, changed = changes(learned_copy, state)
    assert "learned ranking" in changed.full
    published |= blocks
    learned_copy.pin("/harbour/page-030", "/market/page-101")
    blocks, changed = changes(learned_copy, state)
    assert (set(blocks), changed.full) == ({"/harbour/page-030"}, "")
    assert published | blocks == all_links(learned_copy)


@pytest.mark.slow
def test_an_adopted_and_a_newly_learned_ranking_cause_a_full_pass(learned_copy, state):
    store = learned_copy._store
    document, arrays = store.document("learned_ranking"), store.arrays("learned_catalog")
    learned_copy.forget_learned()
    published, _ = changes(learned_copy, state)
    for text in (document, document.replace('"seconds": ', '"seconds": 1')):
        with store.write_lock():
            store.put_document("learned_ranking", text)
            store.put_arrays("learned_catalog", arrays)
        blocks, changed = changes(learned_copy, state)
        assert "learned ranking" in changed.full
        published |= blocks
        assert published == all_links(learned_copy)


@pytest.mark.slow
def test_the_content_ranking_still_rebuilds_some_blocks_only(learned_copy, state):
    published, _ = changes(learned_copy, state, ranking="content")
    learned_copy.add([replace(learned_copy.get("/quarry/page-004"), related=("/market/page-101",))])
    blocks, changed = changes(learned_copy, state, ranking="content")
    assert changed.full == ""
    assert 0 < changed.rebuilt < len(learned_copy)
    assert published | blocks == all_links(learned_copy, ranking="content")
    _, changed = changes(learned_copy, state)
    assert "settings" in changed.full
