"""An index that somebody else made is data, and nothing in it is run or trusted to be well-formed."""

import json
import shutil
import sqlite3

import pytest

from recommender import IndexDamagedError, IndexFormatError, Recommender, RecommenderError
from recommender.store import searchfile


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
