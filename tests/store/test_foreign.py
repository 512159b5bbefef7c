"""An index that somebody else made is data, and nothing in it is run or trusted to be well-formed."""

import contextlib
import json
import re
import shutil
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from recommender import Article, IndexDamagedError, IndexFormatError, Recommender, RecommenderError
from recommender.store import Condition, Probe, links, searchfile


def execute(rec: Recommender, *statements: str) -> None:
    rec.close()
    connection = sqlite3.connect(rec.path / "articles.sqlite", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def block(rec: Recommender, id: str = "dam-1") -> list[tuple[str, float]]:
    return [(link.id, round(link.score, 3)) for link in rec.related(id)]


def test_search_files_of_another_machine_are_not_opened_and_made_again_by_the_next_writer(
    rec, monkeypatch, tmp_path, articles
):
    expected = block(rec)
    rec.close()
    shutil.copytree(rec.path, tmp_path / "elsewhere")
    monkeypatch.setenv(searchfile.KEY, "another machine")
    opened = []
    monkeypatch.setattr(
        "recommender.store.vectors.faiss.read_index", lambda path, flags: opened.append(path) or pytest.fail("opened")
    )
    with Recommender(tmp_path / "elsewhere") as foreign:
        assert block(foreign) == expected
        assert [problem for problem in foreign.verify() if "not made on this machine" in problem]
        monkeypatch.undo()
        monkeypatch.setenv(searchfile.KEY, "another machine")
        assert list(foreign.verify(repair=True)) == []
        assert block(foreign) == expected


def test_a_large_index_of_another_machine_says_why_it_is_slow(rec, monkeypatch, caplog):
    rec.close()
    monkeypatch.setenv(searchfile.KEY, "another machine")
    monkeypatch.setattr("recommender.store.reading.FEW", 5)
    with Recommender(rec.path) as foreign:
        block(foreign)
    (record,) = caplog.records
    assert "verify --repair" in record.getMessage()


def test_machines_with_the_same_key_share_search_files(tmp_path, articles, monkeypatch):
    monkeypatch.setenv(searchfile.KEY, "ours")
    with Recommender(tmp_path / "index") as rec:
        rec.build(articles)
        assert list(rec.verify()) == []
    monkeypatch.setattr(searchfile, "MACHINE_ID", tmp_path / "none")
    with Recommender(tmp_path / "index") as rec:
        assert list(rec.verify()) == []


def test_without_a_machine_id_a_key_is_drawn_once_for_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr(searchfile, "MACHINE_ID", tmp_path / "none")
    monkeypatch.setattr(searchfile.platformdirs, "user_data_dir", lambda name: str(tmp_path / "data"))
    drawn = searchfile._machine_key.__wrapped__()
    assert len(drawn) == 32
    assert searchfile._machine_key.__wrapped__() == drawn
    assert (tmp_path / "data" / "key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER UPDATE ON settings BEGIN DELETE FROM articles; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE more (x)",
        "DROP INDEX articles_time",
    ],
)
def test_a_database_with_more_or_less_than_the_tables_of_an_index_is_refused(rec, statement):
    execute(rec, statement)
    for ask in (lambda: rec.related("dam-1"), lambda: rec.add([{"id": "x", "title": "X"}]), lambda: list(rec.verify())):
        with pytest.raises(IndexFormatError, match="not an index"):
            ask()


def test_a_table_in_place_of_which_a_view_stands_is_refused(rec):
    execute(rec, "ALTER TABLE texts RENAME TO old", "CREATE VIEW texts AS SELECT key, upper(text) text FROM old")
    with pytest.raises(IndexFormatError, match="not an index"):
        rec.related("dam-1")


SETTINGS = [
    ("model", {"dimensions": 10**12}),
    ("model", {"dimensions": "384"}),
    ("model", []),
    ("model", {"dimensions": 384, "name": "x", "hash": "y", "max_tokens": 1, "run": "this"}),
    ("hubness", 7),
    ("floor", "low"),
    ("change", "many"),
    ("dense", {"name": "../../etc/passwd", "change": 1, "count": 1, "size": 1, "digest": "", "seal": ""}),
    ("dense", {"name": "x"}),
    ("signals", "x"),
]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_settings_of_any_kind_end_in_an_answer_or_a_sentence(rec, name, value):
    from recommender.store.rows import row_checksum

    expected = block(rec)
    rec.close()
    with sqlite3.connect(rec.path / "articles.sqlite") as connection:
        row = (name, json.dumps(value))
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (*row, row_checksum(row)))
    connection.close()
    try:
        assert block(rec) == expected
        list(rec.verify())
    except RecommenderError as error:
        assert str(error).endswith(".")


@pytest.mark.parametrize("value", ["NULL", "7", "x'00ff'", "'not JSON'", f"'{'[' * 100_000}'"])
@pytest.mark.parametrize("column", ["title", "tags", "metadata", "published", "url", "content_hash"])
def test_values_of_any_kind_in_a_row_end_in_a_sentence(rec, column, value):
    from recommender.store.rows import row_checksum

    rec.close()
    connection = sqlite3.connect(rec.path / "articles.sqlite", isolation_level=None)
    try:
        connection.execute(f"UPDATE articles SET {column} = {value} WHERE id = 'dam-2'")
    except sqlite3.IntegrityError:  # a schema that is ours does not let it in
        connection.close()
        return
    *row, _ = connection.execute("SELECT * FROM articles WHERE id = 'dam-2'").fetchone()
    connection.execute("UPDATE articles SET checksum = ? WHERE id = 'dam-2'", (row_checksum(row),))
    connection.close()
    for ask in (lambda: rec.related("dam-1"), lambda: rec.get("dam-2"), lambda: list(rec.verify()), rec.info):
        try:
            ask()
        except RecommenderError as error:
            assert str(error).endswith(".")


def test_a_filter_that_was_damaged_admits_nothing_that_it_should_not(rec):
    execute(rec, "UPDATE facets SET value = 'club' WHERE field = 'section' AND value = 'dam'")
    with pytest.raises(IndexDamagedError, match="verify --repair"):
        rec.related("club-1", section="club", floor=False)
    assert list(rec.verify(repair=True)) == []
    assert {link.section for link in rec.related("club-1", section="club", floor=False)} == {"club"}


def without_index(rec: Recommender, name: str, statement: str) -> None:
    """Execute what an index does not come to know of."""
    rec.close()
    file = rec.path / "articles.sqlite"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        row = connection.execute("SELECT * FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_schema WHERE name = ?", (name,))
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(statement)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row)


@pytest.mark.parametrize("place", ["by value", "by article"])
def test_a_filter_that_is_gone_at_one_of_its_places_leaves_no_link_out_unseen(rec, place):
    asked = {"section": "dam", "floor": False}
    expected = [link.id for link in rec.related("dam-1", **asked)]
    lost = "SELECT 'section', 'dam', key FROM articles WHERE id = 'dam-3'"
    if place == "by article":
        execute(rec, f"DELETE FROM facets WHERE (field, value, key) IN ({lost})")
        without_index(rec, "facets_key", f"INSERT INTO facets {lost}")
    else:
        without_index(rec, "facets_key", f"DELETE FROM facets WHERE (field, value, key) IN ({lost})")
    if place == "by article":
        with pytest.raises(IndexDamagedError, match="verify --repair"):
            rec.related("dam-1", **asked)
    else:  # where candidates are not looked up
        assert [link.id for link in rec.related("dam-1", **asked)] == expected
    assert list(rec.verify())
    assert list(rec.verify(repair=True)) == []
    assert [link.id for link in rec.related("dam-1", **asked)] == expected


@pytest.mark.parametrize("place", ["by value", "by article"])
def test_so_does_one_of_the_few_that_a_condition_wants_which_no_search_proposes(rec, place):
    def asked() -> list[str]:
        near = rec._store.signals(["dam-1"])
        nothing = np.empty(0, dtype=np.int64)
        probe = Probe(near.vectors[0], nothing, nothing.astype(float), Condition(where=(("section", ("club",)),)))
        signals, ((*rows,),) = rec._store.propose([probe], 1)
        return [signals.ids[row] for row in rows]

    assert sorted(asked()) == ["club-1", "club-2", "club-3"]
    lost = "SELECT 'section', 'club', key FROM articles WHERE id = 'club-3'"
    if place == "by article":
        execute(rec, f"DELETE FROM facets WHERE (field, value, key) IN ({lost})")
        without_index(rec, "facets_key", f"INSERT INTO facets {lost}")
    else:
        without_index(rec, "facets_key", f"DELETE FROM facets WHERE (field, value, key) IN ({lost})")
    with pytest.raises(IndexDamagedError, match="verify --repair"):
        asked()


def test_a_date_that_is_filtered_by_and_is_not_that_of_the_article_is_told(rec, articles):
    rec.add([replace(article, published=datetime(2026, 1, 1, tzinfo=UTC)) for article in articles])
    asked = {"after": "2025-12-01", "floor": False, "now": datetime(2026, 2, 1, tzinfo=UTC)}
    assert "dam-2" in [link.id for link in rec.related("dam-1", **asked)]
    execute(rec, "UPDATE articles SET time = time - 67108864 WHERE id = 'dam-2'")
    with pytest.raises(IndexDamagedError, match="'dam-2'"):
        rec.related("dam-1", **asked)


@pytest.mark.parametrize("ask", [Recommender.related, Recommender.get], ids=["related", "get"])
def test_an_article_is_not_said_to_be_missing_because_the_index_of_ids_is_damaged(rec, articles, tmp_path, ask):
    """The id stands in the article's row and in the index by which it is found; each is damaged in turn."""
    rec.add([replace(articles[0], id="zz-unmistakable")])
    rec.close()
    whole = (rec.path / "articles.sqlite").read_bytes()
    places = [found.start() for found in re.finditer(b"zz-unmistakable", whole)]
    told = 0
    for number, place in enumerate(places):
        copied = tmp_path / f"copy {number}"
        shutil.copytree(rec.path, copied)
        (copied / "articles.sqlite").write_bytes(whole[:place] + b"a" + whole[place + 1 :])
        with Recommender(copied) as damaged:
            try:
                ask(damaged, "zz-unmistakable")
            except IndexDamagedError:
                told += 1
    assert told


@pytest.mark.parametrize("kind", ["related", "links"])
def test_an_own_link_that_is_gone_is_missed(rec, articles, kind):
    rec.add([replace(articles[0], **{kind: ("club-1", "club-2")})])
    rec.related("dam-1")
    execute(rec, "DELETE FROM links WHERE target = 'club-1'")
    with pytest.raises(IndexDamagedError, match="'dam-1'"):
        rec.related("dam-1")


@pytest.mark.parametrize(
    ("target", "column"),
    [("Football club goes insolvent", "title_key"), ("https://example.org/club-1", "url_key")],
)
def test_an_own_link_is_not_said_to_lead_nowhere_because_what_it_is_found_by_is_damaged(rec, articles, target, column):
    own = replace(articles[0], related=(target, "Of no article", articles[0].title, articles[0].id))
    rec.add([own])
    assert [link.id for link in rec.related("dam-1") if link.via == "editorial"] == ["club-1"]
    store = rec._store
    with store.snapshot():
        (before,) = store._reader.execute(f"SELECT {column} FROM articles WHERE id = 'club-1'").fetchone()
    execute(rec, f"UPDATE articles SET {column} = 'elsewhere' WHERE id = 'club-1'")  # as its index says from now on
    index = {"title_key": "articles_title", "url_key": "articles_url"}[column]
    without_index(rec, index, f"UPDATE articles SET {column} = '{before}' WHERE id = 'club-1'")
    for _ in range(2):
        with pytest.raises(IndexDamagedError, match="verify --repair"):
            rec.related("dam-1")
    assert [link.id for link in rec.related("club-2", 1)]  # which has no own links
    assert list(rec.verify(repair=True)) == []
    assert [link.id for link in rec.related("dam-1") if link.via == "editorial"] == ["club-1"]


def test_rows_are_looked_through_once_for_a_link_that_leads_nowhere(rec, articles, monkeypatch):
    rec.add([replace(articles[0], related=("Of no article", "club-1"))])
    looked = []
    there = links._there
    monkeypatch.setattr(links, "_there", lambda connection, missed: looked.append(missed) or there(connection, missed))
    for _ in range(3):
        assert [link.id for link in rec.related("dam-1") if link.via == "editorial"] == ["club-1"]
    assert [[link[1] for link in missed] for missed in looked] == [["Of no article"]]
    rec.add([Article(id="now", title="Of no article", text="It is there by now.")])
    assert [link.id for link in rec.related("dam-1") if link.via == "editorial"] == ["now", "club-1"]


@pytest.mark.parametrize("ask", ["filter", "fill", "changed"])
def test_the_newest_are_not_passed_over_because_the_index_of_dates_is_damaged(rec, articles, ask):
    day = datetime(2026, 1, 1, tzinfo=UTC)
    rec.add([replace(article, published=day + timedelta(days=n)) for n, article in enumerate(articles)])

    def asked() -> list[str]:
        if ask == "fill":
            now = datetime(2026, 2, 1, tzinfo=UTC)
            return [link.id for link in rec.related("dam-1", fill="recent", section="dam", now=now)]
        if ask == "changed":
            return rec._store.dated(int(day.timestamp()), int((day + timedelta(days=3)).timestamp()))
        near = rec._store.signals(["dam-1"])
        nothing = np.empty(0, dtype=np.int64)
        condition = Condition(after=int(day.timestamp()) + 2 * 86400)  # so few that all of them are candidates
        signals, ((*rows,),) = rec._store.propose(
            [Probe(near.vectors[0], nothing, nothing.astype(float), condition)], 1
        )
        return sorted(signals.ids[row] for row in rows)

    expected = asked()
    assert "dam-3" in expected
    execute(rec, "UPDATE articles SET time = 0 WHERE id = 'dam-3'")  # as the index says from now on
    time = int((day + timedelta(days=2)).timestamp())
    without_index(rec, "articles_time", f"UPDATE articles SET time = {time} WHERE id = 'dam-3'")
    for _ in range(2):
        with pytest.raises(IndexDamagedError, match="verify --repair"):
            asked()
    assert list(rec.verify(repair=True)) == []
    assert asked() == expected


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE terms SET articles = articles + 64 WHERE number = 1", "counts of 1 terms"),
        ("UPDATE languages SET articles = articles + 8", "counts of languages"),
        ("INSERT INTO removed VALUES (1, 1, 0)", "list of what was removed"),
        ("UPDATE hubness SET value = value + 1 WHERE key = 1", "hubness"),
        ("DELETE FROM facets WHERE key = 1", "filtered by"),
        ("INSERT INTO texts VALUES (99, 'of nobody')", "belong to no article"),
    ],
)
def test_what_follows_from_the_articles_is_found_damaged_and_made_again(rec, statement, words):
    expected = block(rec)
    execute(rec, statement)
    assert any(words in problem for problem in rec.verify())
    assert list(rec.verify(repair=True)) == []
    assert block(rec) == expected


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE texts SET text = 'other' WHERE key = 1", "'dam-1'"),
        ("UPDATE articles SET url = 'https://evil.example' WHERE key = 1", "'dam-1'"),
        ("UPDATE vectors SET vector = zeroblob(768) WHERE key = 1", "'dam-1'"),
        ("UPDATE vectors SET change = 9 WHERE key = 1", "'dam-1'"),
        ("UPDATE lexical SET language = 'de' WHERE key = 1", "'dam-1'"),
        ("DELETE FROM vectors WHERE key = 1", "'dam-1' has no row in vectors"),
        ("UPDATE settings SET value = '77' WHERE name = 'change'", "setting 'change'"),
    ],
)
def test_damage_to_the_truth_is_told_by_verify(rec, statement, words):
    execute(rec, statement)
    try:
        problems = list(rec.verify())
    except IndexDamagedError as error:
        problems = [str(error)]
    assert any(words in problem for problem in problems)


def test_a_journal_that_names_another_file_does_not_have_it_deleted(rec, tmp_path):
    from recommender.store.database import _JOURNAL_MAGIC

    rec.close()
    victim = tmp_path / "precious.txt"
    victim.write_text("x")
    name = str(victim).encode()
    sum_of_name = sum(name).to_bytes(4, "big")
    header = _JOURNAL_MAGIC + (0).to_bytes(4, "big") + bytes(8) + (512).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    page = (0x40000000 // 4096 + 1).to_bytes(4, "big")
    tail = page + name + len(name).to_bytes(4, "big") + sum_of_name + _JOURNAL_MAGIC
    journal = rec.path / "articles.sqlite-journal"
    journal.write_bytes(header.ljust(512, b"\0") + tail)
    for write in (lambda: rec.related("dam-1"), lambda: rec.remove("dam-1"), lambda: rec.pin("dam-1", "dam-2")):
        with pytest.raises(IndexFormatError, match="not a journal of recommender"):
            write()
    assert victim.exists()


@pytest.mark.parametrize("table", ["policy", "languages", "removed", "settings"])
def test_rows_that_vanish_are_missed(rec, articles, monkeypatch, table):
    monkeypatch.setattr("recommender.store.writer.SMALL", 0)
    monkeypatch.setattr("recommender.store.writer.STALE_SHARE", 1.0)
    rec.pin("dam-1", "club-1")
    rec.remove("club-3")
    expected = [link.id for link in rec.related("dam-1")]
    execute(rec, f"DELETE FROM {table}" + (" WHERE name = 'floor'" if table == "settings" else ""))
    for _ in range(2):  # a server is asked again
        with pytest.raises(IndexDamagedError):
            block(rec)
    assert list(rec.verify())
    left = list(rec.verify(repair=True))
    if table == "policy":  # which stands nowhere else
        assert "policy --load" in left[0]
    else:
        assert left == []
        assert [link.id for link in rec.related("dam-1")] == expected


def test_pins_that_vanish_are_not_overwritten_but_can_be_loaded_again(rec):
    rec.pin("dam-1", "club-1")
    policy = rec.policy
    execute(rec, "DELETE FROM policy")
    with pytest.raises(IndexDamagedError, match="policy --load"):
        rec.pin("dam-1", "club-2")
    rec.load_policy(policy)
    assert rec.policy == policy
    assert list(rec.verify()) == []


def test_what_is_not_recommended_stays_so_when_its_index_is_damaged(tmp_path):
    with Recommender(tmp_path / "index") as rec:
        texts = {"a": "river dam gates", "b": "river dam talks", "c": "river dam treaty"}
        rec.build([{"id": id, "title": text, "text": text, "recommend": id != "b"} for id, text in texts.items()])
        execute(rec, "PRAGMA writable_schema = ON", "DELETE FROM sqlite_schema WHERE name = 'articles_held_back'")
        with pytest.raises(IndexFormatError):
            rec.related("a")


def test_an_article_that_is_searched_in_another_language_than_its_own_is_told(rec):
    rec.add([{"id": "de", "title": "Der Damm am Fluss", "text": "Die Tore des Damms am Fluss.", "language": "de"}])
    execute(rec, "UPDATE lexical SET language = 'en' WHERE language = 'de'")
    with pytest.raises(IndexDamagedError):
        rec.related("dam-1", floor=False, k=10)
    assert any("'de'" in problem for problem in rec.verify())


def test_a_damaged_count_does_not_go_into_the_next_search_file(rec):
    execute(rec, "UPDATE terms SET articles = articles + 40 WHERE number % 3 = 0")
    with pytest.raises(IndexDamagedError, match="verify --repair"):
        rec.add([{"id": "new", "title": "New", "text": "Nothing of it was known."}])
    assert list(rec.verify(repair=True)) == []
    assert "new" in rec


@pytest.mark.parametrize("table", ["lexical", "vectors", "texts", "hubness"])
def test_an_article_that_has_lost_a_part_can_be_removed(rec, table):
    execute(rec, f"DELETE FROM {table} WHERE key = 1")
    assert rec.remove("dam-1") == ["dam-1"]
    assert "dam-1" not in rec
    rec.verify(repair=True)
    assert list(rec.verify()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE terms SET articles = '' WHERE number = 1",
        "UPDATE terms SET term = x'ff' WHERE number = 1",
        "UPDATE lexical SET assumed = '' WHERE key = 1",
        "UPDATE hubness SET value = 'x' WHERE key = 1",
        "UPDATE policy SET number = ''",
        "UPDATE policy SET document = 'nope'",
        "UPDATE articles SET id = x'00' WHERE key = 1",
        "UPDATE languages SET articles = 'x'",
        "UPDATE vectors SET vector = 'text' WHERE key = 1",
        "UPDATE links SET target = 7",
        "UPDATE removed SET key = 'x'",
    ],
)
def test_a_value_that_became_another_type_ends_in_a_sentence(rec, statement):
    rec.pin("dam-1", "club-1")
    with contextlib.suppress(sqlite3.IntegrityError):  # what the schema itself does not let in
        execute(rec, statement)
    for ask in (
        lambda: rec.related("dam-1"),
        lambda: dict(rec.links(3)),
        lambda: rec.search("river dam"),
        lambda: list(rec.verify()),
        lambda: rec.add([{"id": "new", "title": "New", "text": "Something else"}]),
        lambda: list(rec.verify(repair=True)),
        lambda: rec.pin("dam-2", "club-1"),
    ):
        try:
            ask()
        except RecommenderError as error:
            assert str(error).endswith(".")
