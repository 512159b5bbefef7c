"""`links --changed`: what it writes, applied to what was written before, is what a full pass writes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recommender import Article, Recommender, RecommenderError

DAY = datetime(2026, 6, 1, tzinfo=UTC)


def changes(rec, state, k=5, **options):
    options.setdefault("now", DAY)
    with rec.changed_links(state, k, **options) as found:
        blocks = dict(found.blocks)
    return blocks, found


def shown(blocks):
    return {id: [(link.id, round(link.score, 2), link.via) for link in block] for id, block in blocks.items()}


@pytest.fixture
def state(tmp_path):
    return tmp_path / "blocks.state"


@pytest.fixture
def small_is_large(monkeypatch):
    """Search files may lag behind in an index of any size."""
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


@pytest.fixture
def many(tmp_path, with_given_vectors, small_is_large):
    with with_given_vectors(), Recommender(tmp_path / "many") as rec:
        rec.build(stories(range(600)))
        yield rec


def test_the_first_time_everything_is_written_and_then_nothing(rec, state):
    blocks, found = changes(rec, state)
    assert shown(blocks) == shown(dict(rec.links(5, now=DAY)))
    assert "no last time" in found.full
    blocks, found = changes(rec, state)
    assert (blocks, found.deleted, found.full, found.made) == ({}, [], "", 0)


@pytest.mark.parametrize("options", [{}, {"max_age": "40y"}, {"variety": 0.0, "floor": False}, {"fill": "recent"}])
def test_what_was_written_plus_what_changed_is_a_full_pass(many, state, options):
    published = shown(changes(many, state, **options)[0])
    for step in range(8):
        many.add(stories(range(600 + 5 * step, 605 + 5 * step)))
        many.remove(f"{step:03}")
        many.add([replace(many.get(f"{50 + step:03}"), text=f"topic{step} and quite other words{step}")])
        today = DAY + timedelta(days=step)
        blocks, found = changes(many, state, now=today, **options)
        assert found.full == ""
        assert found.made < len(many)
        published |= shown(blocks)
        for id in found.deleted:
            del published[id]
        now = shown(dict(many.links(5, now=today, **options)))
        assert published.keys() == now.keys()
        assert sum(published[id] != now[id] for id in now) <= 0.002 * len(now)
    blocks, found = changes(many, state, now=today, full=True, **options)
    assert "asked for" in found.full
    assert published | shown(blocks) == now
    assert found.written == len(blocks) == sum(published[id] != now[id] for id in now)


def test_blocks_that_list_what_is_gone_are_made_anew(many, state):
    blocks, _ = changes(many, state)
    gone = next(iter(blocks.values()))[0].id
    listing = {id for id, block in blocks.items() if gone in [link.id for link in block]}
    many.remove(gone)
    after, found = changes(many, state)
    assert found.deleted == [gone]
    assert found.full == ""
    assert set(after) >= listing - {gone}
    assert all(gone not in [link.id for link in block] for block in after.values())


def test_pins_bans_and_dates_reach_the_blocks_that_they_are_about(many, state):
    before, _ = changes(many, state)
    many.pin("010", "011")
    listed = before["020"][0].id
    many.ban(listed)
    many.ban("030", before["030"][0].id)
    after, found = changes(many, state)
    assert found.full == ""
    assert after["010"][0].via == "pin"
    assert {"010", "020", "030"} <= set(after)
    assert shown(dict(many.links(5, now=DAY))) == shown(before | after)
    many.unban(listed)
    again, found = changes(many, state)
    assert "020" in again
    # An article of the future is found when its day comes.
    many.add([replace(many.get("040"), id="new", published=DAY + timedelta(days=1), url=None)])
    quiet, _ = changes(many, state)
    assert all("new" not in [link.id for link in block] for block in quiet.values())
    due, found = changes(many, state, now=DAY + timedelta(days=2), copies=True)
    assert found.full == ""
    assert any("new" in [link.id for link in block] for block in due.values())


def test_pins_and_editorial_links_to_an_article_that_comes_later(many, state):
    many.add([replace(many.get("060"), related=("Long awaited",))])
    many.pin("061", "late")
    changes(many, state)
    many.add([Article(id="late", title="Long awaited", text="quite another matter altogether", language="en")])
    after, found = changes(many, state)
    assert found.full == ""
    assert after["060"][0].id == after["061"][0].id == "late"


def test_articles_that_grow_too_old_from_one_day_to_the_next_go(many, state):
    options = {"max_age": "100d", "floor": False}
    published = shown(changes(many, state, **options)[0])
    later, found = changes(many, state, now=DAY + timedelta(days=1), **options)
    assert found.full == ""
    assert all("100" not in [link.id for link in block] for block in later.values())
    assert published | shown(later) == shown(dict(many.links(5, now=DAY + timedelta(days=1), **options)))


@pytest.mark.parametrize(
    "change",
    [
        lambda rec: rec.configure(variety=0.5),
        lambda rec: rec.set_rule({"name": "r", "where": {"section": "s1"}, "never_recommended": True}),
    ],
)
def test_settings_and_rules_make_everything_anew(many, state, change):
    changes(many, state)
    change(many)
    _, found = changes(many, state)
    assert "settings or rules" in found.full
    assert found.made == len(many)


def test_another_length_another_index_and_new_search_files_make_everything_anew(many, state, rec):
    changes(many, state)
    assert "settings" in changes(many, state, k=3)[1].full
    assert "another one" in changes(rec, state, k=3)[1].full
    changes(rec, state, k=3)
    rec.add([{"id": "new", "title": "Dam leaks"}])  # so small an index is always made anew
    assert "search files" in changes(rec, state, k=3)[1].full


def test_a_run_that_fails_leaves_the_state_as_it_was(rec, state):
    with pytest.raises(OSError, match="disk"), rec.changed_links(state, 3, now=DAY) as found:
        next(found.blocks)
        raise OSError("disk")
    assert not state.exists()
    changes(rec, state, k=3)
    kept = state.read_bytes()
    rec.remove("dam-1")
    with pytest.raises(OSError, match="disk"), rec.changed_links(state, 3, now=DAY) as found:
        next(found.blocks)
        raise OSError("disk")
    assert state.read_bytes() == kept
    assert changes(rec, state, k=3)[1].deleted == ["dam-1"]


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to look like a file", b"SQLite format 3\x00"]
)
def test_another_file_in_the_place_of_the_state_is_told_and_kept(rec, state, content):
    state.write_bytes(content)
    with pytest.raises(RecommenderError, match=r"blocks\.state"):
        changes(rec, state)
    assert state.read_bytes() == content


def test_another_program_s_database_is_told_and_kept(rec, state):
    import sqlite3

    with sqlite3.connect(state) as other:
        other.execute("CREATE TABLE precious (x)")
    with pytest.raises(RecommenderError, match="not a state"):
        changes(rec, state)
    assert sqlite3.connect(state).execute("SELECT count(*) FROM precious").fetchone() == (0,)


def test_a_block_with_little_to_choose_from_is_reached_from_anywhere(many, state):
    rare = {"where": {"kind": "rare"}, "floor": False}
    many.add([replace(many.get(f"{n:03}"), metadata={"kind": "rare"}) for n in (1, 2)])
    published = shown(changes(many, state, **rare)[0])
    many.add([replace(many.get("399"), metadata={"kind": "rare"})])  # no new text, no new vector
    published |= shown(changes(many, state, **rare)[0])
    assert published == shown(dict(many.links(5, now=DAY, **rare)))


def test_a_block_that_had_nothing_to_be_filled_with_is_filled_later(many, state):
    filled = {"fill": "section", "sections": "same"}
    many.add([replace(many.get("001"), section="alone")])
    changes(many, state, **filled)
    many.add([replace(many.get("400"), section="alone")])
    after, _ = changes(many, state, **filled)
    assert [link.id for link in after["001"]] == ["400"]


def test_a_run_of_which_not_all_was_read_leaves_the_state_as_it_was(rec, state):
    with rec.changed_links(state, 3, now=DAY) as found:
        next(found.blocks)
    assert changes(rec, state, k=3)[1].made == 6


def test_the_folder_of_a_state_is_made(rec, tmp_path):
    changes(rec, tmp_path / "new" / "folder" / "state")
    assert (tmp_path / "new" / "folder" / "state").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(RecommenderError, match="file is not a folder"):
        changes(rec, tmp_path / "file" / "state")
