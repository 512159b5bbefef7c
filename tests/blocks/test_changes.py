"""`links --changed`: its output, applied to the earlier output, equals that of a full pass."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recommender import Article, Recommender, RecommenderError

DAY = datetime(2026, 6, 1, tzinfo=UTC)


def changes(rec, state, k=5, **options):
    options.setdefault("now", DAY)
    with rec.changed_links(state, k, **options) as changed:
        blocks = dict(changed.blocks)
    return blocks, changed


def as_rows(blocks):
    return {id: [(link.id, round(link.score, 2), link.via) for link in block] for id, block in blocks.items()}


@pytest.fixture
def state(tmp_path):
    return tmp_path / "blocks.state"


@pytest.fixture
def small_is_large(monkeypatch):
    """Let derived files be stale in an index of any size."""
    monkeypatch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 10)
    monkeypatch.setattr("recommender.store.local.writer.STALE_SHARE", 0.5)


def stories(numbers):
    return [
        Article(
            id=f"{n:03}",
            title=f"topic{n % 20} story {n}",
            text=f"topic{n % 20} " + " ".join(f"word{(n * 7 + m * m) % 90}" for m in range(9)),
            published=DAY - timedelta(days=n),
            language="en",
            section=f"s{n % 3}",
        )
        for n in numbers
    ]


@pytest.fixture(scope="module")
def many_index(tmp_path_factory, fake_vectors_context):
    """Return the folder of an index of 600 articles that the tests copy."""
    path = tmp_path_factory.mktemp("many") / "index"
    with fake_vectors_context(), pytest.MonkeyPatch.context() as patch, Recommender(path) as rec:
        patch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 10)
        rec.build(stories(range(600)))
    return path


@pytest.fixture
def many(tmp_path, many_index, fake_vectors, small_is_large):
    shutil.copytree(many_index, tmp_path / "many")
    with Recommender(tmp_path / "many") as rec:
        yield rec


def test_the_first_run_returns_every_block_and_the_next_none(rec, state):
    blocks, changed = changes(rec, state)
    assert as_rows(blocks) == as_rows(dict(rec.links(5, now=DAY)))
    assert "no earlier run" in changed.full
    blocks, changed = changes(rec, state)
    assert (blocks, changed.deleted, changed.full, changed.rebuilt) == ({}, [], "", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"max_age": "40y"}, {"diversity": 0.0, "score_threshold": False}, {"fill": "recent"}]
)
def test_earlier_blocks_updated_by_changed_ones_equal_a_full_pass(many, state, options):
    published = as_rows(changes(many, state, **options)[0])
    for step in range(8):
        many.add(stories(range(600 + 5 * step, 605 + 5 * step)))
        many.remove(f"{step:03}")
        many.add([replace(many.get(f"{50 + step:03}"), text=f"topic{step} and quite other words{step}")])
        today = DAY + timedelta(days=step)
        blocks, changed = changes(many, state, now=today, **options)
        assert changed.full == ""
        assert changed.rebuilt < len(many)
        published |= as_rows(blocks)
        for id in changed.deleted:
            del published[id]
        now = as_rows(dict(many.links(5, now=today, **options)))
        assert published.keys() == now.keys()
        assert sum(published[id] != now[id] for id in now) <= 0.002 * len(now)
    blocks, changed = changes(many, state, now=today, full=True, **options)
    assert "requested" in changed.full
    assert published | as_rows(blocks) == now
    assert changed.written == len(blocks) == sum(published[id] != now[id] for id in now)


def test_blocks_with_removed_articles_are_rebuilt(many, state):
    blocks, _ = changes(many, state)
    removed_id = next(iter(blocks.values()))[0].id
    listing = {id for id, block in blocks.items() if removed_id in [link.id for link in block]}
    many.remove(removed_id)
    after, changed = changes(many, state)
    assert changed.deleted == [removed_id]
    assert changed.full == ""
    assert set(after) >= listing - {removed_id}
    assert all(removed_id not in [link.id for link in block] for block in after.values())


def test_pins_bans_and_dates_rebuild_the_blocks_they_concern(many, state):
    before, _ = changes(many, state)
    many.pin("010", "011")
    listed = before["020"][0].id
    many.ban(listed)
    many.ban("030", before["030"][0].id)
    after, changed = changes(many, state)
    assert changed.full == ""
    assert after["010"][0].via == "pin"
    assert {"010", "020", "030"} <= set(after)
    assert as_rows(dict(many.links(5, now=DAY))) == as_rows(before | after)
    many.unban(listed)
    again, changed = changes(many, state)
    assert "020" in again
    # An article with a future date appears on that day.
    many.add([replace(many.get("040"), id="new", published=DAY + timedelta(days=1), url=None)])
    quiet, _ = changes(many, state)
    assert all("new" not in [link.id for link in block] for block in quiet.values())
    due, changed = changes(many, state, now=DAY + timedelta(days=2), drop_near_duplicates=True)
    assert changed.full == ""
    assert any("new" in [link.id for link in block] for block in due.values())


def test_blocks_with_pins_and_editorial_links_to_a_new_article_are_rebuilt(many, state):
    many.add([replace(many.get("060"), related=("Long awaited",))])
    many.pin("061", "late")
    changes(many, state)
    many.add([Article(id="late", title="Long awaited", text="quite another matter altogether", language="en")])
    after, changed = changes(many, state)
    assert changed.full == ""
    assert after["060"][0].id == after["061"][0].id == "late"


def test_articles_that_pass_the_maximum_age_leave_their_blocks(many, state):
    options = {"max_age": "100d", "score_threshold": False}
    published = as_rows(changes(many, state, **options)[0])
    later, changed = changes(many, state, now=DAY + timedelta(days=1), **options)
    assert changed.full == ""
    assert all("100" not in [link.id for link in block] for block in later.values())
    assert published | as_rows(later) == as_rows(dict(many.links(5, now=DAY + timedelta(days=1), **options)))


@pytest.mark.parametrize(
    "change",
    [
        lambda rec: rec.configure(diversity=0.5),
        lambda rec: rec.set_rule({"name": "r", "where": {"section": "s1"}, "never_recommended": True}),
    ],
)
def test_changed_settings_and_rules_cause_a_full_pass(many, state, change):
    changes(many, state)
    change(many)
    _, changed = changes(many, state)
    assert "settings or rules" in changed.full
    assert changed.rebuilt == len(many)


def test_another_k_another_index_and_new_derived_files_cause_a_full_pass(many, state, rec):
    changes(many, state)
    assert "settings" in changes(many, state, k=3)[1].full
    assert "another one" in changes(rec, state, k=3)[1].full
    changes(rec, state, k=3)
    rec.add([{"id": "new", "title": "Dam leaks"}])  # the derived files of a small index are always rebuilt
    assert "derived files" in changes(rec, state, k=3)[1].full


def test_a_failed_run_does_not_change_the_state(rec, state):
    with pytest.raises(OSError, match="disk"), rec.changed_links(state, 3, now=DAY) as changed:
        next(changed.blocks)
        raise OSError("disk")
    assert not state.exists()
    changes(rec, state, k=3)
    content = state.read_bytes()
    rec.remove("dam-1")
    with pytest.raises(OSError, match="disk"), rec.changed_links(state, 3, now=DAY) as changed:
        next(changed.blocks)
        raise OSError("disk")
    assert state.read_bytes() == content
    assert changes(rec, state, k=3)[1].deleted == ["dam-1"]


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to look like a file", b"SQLite format 3\x00"]
)
def test_another_file_is_refused_as_state_and_not_changed(rec, state, content):
    state.write_bytes(content)
    with pytest.raises(RecommenderError, match=r"blocks\.state"):
        changes(rec, state)
    assert state.read_bytes() == content


def test_a_database_of_another_program_is_refused_as_state_and_not_changed(rec, state):
    import sqlite3

    with sqlite3.connect(state) as other:
        other.execute("CREATE TABLE precious (x)")
    with pytest.raises(RecommenderError, match="not a state"):
        changes(rec, state)
    assert sqlite3.connect(state).execute("SELECT count(*) FROM precious").fetchone() == (0,)


def test_any_new_article_can_enter_a_block_with_too_few_candidates(many, state):
    rare = {"where": {"kind": "rare"}, "score_threshold": False}
    many.add([replace(many.get(f"{n:03}"), metadata={"kind": "rare"}) for n in (1, 2)])
    published = as_rows(changes(many, state, **rare)[0])
    many.add([replace(many.get("399"), metadata={"kind": "rare"})])  # no new text, no new vector
    published |= as_rows(changes(many, state, **rare)[0])
    assert published == as_rows(dict(many.links(5, now=DAY, **rare)))


def test_a_short_block_is_filled_by_a_later_article(many, state):
    filled = {"fill": "section", "sections": "same"}
    many.add([replace(many.get("001"), section="alone")])
    changes(many, state, **filled)
    many.add([replace(many.get("400"), section="alone")])
    after, _ = changes(many, state, **filled)
    assert [link.id for link in after["001"]] == ["400"]


def test_an_incompletely_read_run_does_not_change_the_state(rec, state):
    with rec.changed_links(state, 3, now=DAY) as changed:
        next(changed.blocks)
    assert changes(rec, state, k=3)[1].rebuilt == 6


def test_the_folder_of_a_state_is_created(rec, tmp_path):
    changes(rec, tmp_path / "new" / "folder" / "state")
    assert (tmp_path / "new" / "folder" / "state").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(RecommenderError, match="file is not a folder"):
        changes(rec, tmp_path / "file" / "state")
