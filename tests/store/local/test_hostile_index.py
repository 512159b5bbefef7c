"""An index from an untrusted source: nothing in it is executed, and any content ends in an answer or an error."""

import contextlib
import json
import math
import shutil
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender import ArticleNotFoundError, IndexDamagedError, IndexFormatError, Recommender, RecommenderError
from recommender.store.local.derived_file import DERIVED_FILES, DerivedFile
from recommender.store.local.rows import row_checksum


def execute(rec: Recommender, *statements: str) -> None:
    rec.close()
    execute_in(rec.path, *statements)


def execute_in(folder: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / "articles.sqlite", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def block(rec: Recommender, id: str = "dam-1") -> list[tuple[str, float]]:
    return [(link.id, round(link.score, 3)) for link in rec.related(id)]


def test_a_copied_index_uses_its_derived_files_without_a_warning_or_a_write(rec, tmp_path, caplog):
    expected = block(rec)
    rec.close()
    copied = tmp_path / "elsewhere"
    shutil.copytree(rec.path, copied)
    execute_in(copied, "DELETE FROM vectors", "DELETE FROM lexical WHERE key < 3")  # no query reads these
    for path in [copied, *copied.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(copied.rglob("*"))
    with Recommender(copied) as served:
        assert block(served) == expected
    assert caplog.text == ""
    assert sorted(copied.rglob("*")) == before
    for path in [copied, *copied.rglob("*")]:
        path.chmod(0o755)


@pytest.fixture(scope="module")
def complete_index(tmp_path_factory):
    """The folder of an index of 60 articles with every kind of derived file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recommender.store.local.vector_index.MAX_EXHAUSTIVE_ARTICLES", 10)
        patch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 10)
        with Recommender(tmp_path_factory.mktemp("complete") / "index") as rec:
            rec.build(
                [{"id": f"{n:02}", "title": f"title {n}", "text": f"of {n % 7} and {n % 5} words"} for n in range(60)]
            )
    assert {path.name.split("-")[0] for path in rec.path.iterdir()} >= set(DERIVED_FILES)
    return rec.path


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_derived_files_of_any_content_end_in_an_answer_or_an_error(
    complete_index, tmp_path_factory, fake_vectors, data
):
    """Digests and checksums can be forged."""
    hostile = tmp_path_factory.mktemp("hostile") / "index"
    shutil.copytree(complete_index, hostile)
    files = sorted(path for path in hostile.rglob("*") if path.is_file() and path.name != "articles.sqlite")
    file = data.draw(st.sampled_from([path for path in files if path.name != "writer.lock"]))
    content = bytearray(file.read_bytes())
    kind = data.draw(st.sampled_from(["cut", "bytes", "all ones", "infinite", "longer"]))
    if kind == "cut":
        content = content[: data.draw(st.integers(0, len(content)))]
    elif kind == "bytes":
        for _ in range(data.draw(st.integers(1, 8))):
            start = data.draw(st.integers(0, len(content)))
            content[start : start + 4] = data.draw(st.binary(min_size=4, max_size=4))
    elif kind == "all ones":
        content = bytearray(b"\xff" * len(content))
    elif kind == "infinite":
        content = bytearray(np.full(len(content) // 2, np.inf, dtype=np.float16).tobytes())
    else:
        content *= 2
    file.write_bytes(content)
    with contextlib.closing(sqlite3.connect(hostile / "articles.sqlite", isolation_level=None)) as connection:
        for name, value in connection.execute("SELECT name, value FROM settings").fetchall():
            if name in DERIVED_FILES:
                stored = json.loads(value)
                described = DerivedFile.of(hostile / stored["name"], stored["revision"], stored["count"])
                row = (name, json.dumps(asdict(described)))
                connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (*row, row_checksum(row)))
    with Recommender(hostile) as rec:
        for query in (lambda: rec.related("07", 5), lambda: rec.related("30", 5), lambda: list(rec.verify())):
            try:
                query()
            except RecommenderError as error:
                assert str(error).endswith(".")


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
    for query in (
        lambda: rec.related("dam-1"),
        lambda: rec.add([{"id": "x", "title": "X"}]),
        lambda: list(rec.verify()),
    ):
        with pytest.raises(IndexFormatError, match="not an index"):
            query()


def test_a_view_in_place_of_a_table_is_refused(rec):
    execute(rec, "ALTER TABLE texts RENAME TO old", "CREATE VIEW texts AS SELECT key, upper(text) text FROM old")
    with pytest.raises(IndexFormatError, match="not an index"):
        rec.related("dam-1")


SETTINGS = [
    ("model", {"dimensions": 10**12}),
    ("model", {"dimensions": "384"}),
    ("model", []),
    ("model", {"dimensions": 384, "name": "x", "hash": "y", "max_tokens": 1, "run": "this"}),
    ("hubness", 7),
    ("model", {"dimensions": 384, "name": "x", "hash": "y", "max_tokens": 1, "spread": 0.0}),
    ("scale", "low"),
    ("scale", {"mean": 0.0, "deviation": 0.1}),
    ("scale", {"mean": 0.0, "deviation": 0.0, "sample": []}),
    ("scale", {"mean": float("nan"), "deviation": 0.1, "sample": []}),
    ("scale", {"mean": 0.0, "deviation": 0.1, "sample": [1]}),
    ("revision", "many"),
    ("vector_index", {"name": "../../etc/passwd", "revision": 1, "count": 1, "size": 1, "digest": ""}),
    ("vector_index", {"name": "x"}),
    ("forward_index", "x"),
]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_settings_of_any_type_end_in_an_answer_or_an_error(rec, name, value):
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
def test_values_of_any_type_in_a_row_end_in_an_answer_or_an_error(rec, column, value):
    rec.close()
    connection = sqlite3.connect(rec.path / "articles.sqlite", isolation_level=None)
    try:
        connection.execute(f"UPDATE articles SET {column} = {value} WHERE id = 'dam-2'")
    except sqlite3.IntegrityError:  # the schema rejects the value
        connection.close()
        return
    *row, _ = connection.execute("SELECT * FROM articles WHERE id = 'dam-2'").fetchone()
    connection.execute("UPDATE articles SET checksum = ? WHERE id = 'dam-2'", (row_checksum(row),))
    connection.close()
    for query in (lambda: rec.related("dam-1"), lambda: rec.get("dam-2"), lambda: list(rec.verify()), rec.info):
        try:
            query()
        except RecommenderError as error:
            assert str(error).endswith(".")


def without_index(rec: Recommender, name: str, statement: str) -> None:
    """Execute a statement without updating an index of the database."""
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


@pytest.mark.parametrize(
    ("index", "statement"),
    [
        ("facets_key", "DELETE FROM facets WHERE field = 'section' AND key = 3"),
        ("articles_title", "UPDATE articles SET title_key = 'elsewhere' WHERE key = 3"),
        ("articles_url", "UPDATE articles SET url_key = 'elsewhere' WHERE key = 3"),
        ("articles_time", "UPDATE articles SET time = 0 WHERE key = 3"),
        ("articles_not_recommended", "UPDATE articles SET recommend = 0 WHERE key = 3"),
        ("lexical_language", "UPDATE lexical SET language = 'de' WHERE key = 3"),
    ],
)
def test_verify_detects_an_index_of_the_database_that_disagrees_with_its_table(rec, index, statement):
    """Reads trust these indexes."""
    without_index(rec, index, statement)
    assert list(rec.verify())


def test_verify_detects_a_filter_value_that_the_article_does_not_have(rec):
    execute(rec, "UPDATE facets SET value = 'club' WHERE field = 'section' AND value = 'dam'")
    assert any("stored filter values" in problem for problem in rec.verify())
    assert list(rec.verify(repair=True)) == []
    assert {link.section for link in rec.related("club-1", section="club", score_threshold=False)} == {"club"}


def test_an_unknown_id_scans_no_table(tmp_path, fake_vectors):
    with Recommender(tmp_path / "index") as rec:
        rec.build([{"id": f"{n}", "title": f"title {n}", "text": "words"} for n in range(10)])
        with rec._store._session() as session:
            plan = session.connection.execute("EXPLAIN QUERY PLAN SELECT a.id FROM articles a WHERE a.id IN ('x')")
            assert all("SCAN" not in row[-1] for row in plan)
        assert rec.get("x") is None
        with pytest.raises(ArticleNotFoundError):
            rec.related("x")


@pytest.mark.parametrize("kind", ["related", "links"])
def test_a_missing_link_row_is_detected(rec, articles, kind):
    rec.add([replace(articles[0], **{kind: ("club-1", "club-2")})])
    rec.related("dam-1")
    execute(rec, "DELETE FROM links WHERE target = 'club-1'")
    with pytest.raises(IndexDamagedError, match="'dam-1'"):
        rec.related("dam-1")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE terms SET document_frequency = document_frequency + 64 WHERE term_id = 1", "counts of 1 terms"),
        ("UPDATE languages SET articles = articles + 8", "counts of languages"),
        ("INSERT INTO removed VALUES (1, 1, 0)", "list of what was removed"),
        ("UPDATE hubness SET value = value + 1 WHERE key = 1", "hubness"),
        ("DELETE FROM facets WHERE key = 1", "stored filter values"),
        ("INSERT INTO texts VALUES (99, 'of no article')", "belong to no article"),
    ],
)
def test_damaged_derived_data_is_detected_and_repaired(rec, statement, words):
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
        ("UPDATE vectors SET revision = 9 WHERE key = 1", "'dam-1'"),
        ("UPDATE lexical SET language = 'de' WHERE key = 1", "'dam-1'"),
        ("DELETE FROM vectors WHERE key = 1", "'dam-1' has no row in vectors"),
        ("UPDATE settings SET value = '77' WHERE name = 'revision'", "setting 'revision'"),
    ],
)
def test_verify_reports_damaged_articles_and_settings(rec, statement, words):
    execute(rec, statement)
    try:
        problems = list(rec.verify())
    except IndexDamagedError as error:
        problems = [str(error)]
    assert any(words in problem for problem in problems)


def test_a_journal_that_names_another_file_does_not_delete_it(rec, tmp_path):
    from recommender.store.local.database import _JOURNAL_MAGIC

    rec.close()
    victim = tmp_path / "precious.txt"
    victim.write_text("x")
    name = str(victim).encode()
    name_checksum = sum(name).to_bytes(4, "big")
    header = _JOURNAL_MAGIC + (0).to_bytes(4, "big") + bytes(8) + (512).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    page = (0x40000000 // 4096 + 1).to_bytes(4, "big")
    tail = page + name + len(name).to_bytes(4, "big") + name_checksum + _JOURNAL_MAGIC
    journal = rec.path / "articles.sqlite-journal"
    journal.write_bytes(header.ljust(512, b"\0") + tail)
    for write in (lambda: rec.related("dam-1"), lambda: rec.remove("dam-1"), lambda: rec.pin("dam-1", "dam-2")):
        with pytest.raises(IndexFormatError, match="not a journal of recommender"):
            write()
    assert victim.exists()


@pytest.mark.parametrize("table", ["languages", "removed"])
def test_missing_rows_are_detected_and_repaired(rec, monkeypatch, table):
    monkeypatch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 0)
    monkeypatch.setattr("recommender.store.local.writer.STALE_SHARE", 1.0)
    rec.remove("club-3")
    expected = [id for id, _ in block(rec)]
    execute(rec, f"DELETE FROM {table}")
    assert list(rec.verify())
    assert list(rec.verify(repair=True)) == []
    assert [id for id, _ in block(rec)] == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "text"])
def test_a_hubness_that_is_not_finite_is_ignored(rec, value):
    from recommender.store.local.rows import hubness_checksum

    rec.close()
    with contextlib.closing(sqlite3.connect(rec.path / "articles.sqlite", isolation_level=None)) as connection:
        for (key,) in connection.execute("SELECT key FROM hubness").fetchall():
            checksum = hubness_checksum(key, value)
            row = (value, -1 if isinstance(value, str) else checksum, key)
            connection.execute("UPDATE hubness SET value = ?, checksum = ? WHERE key = ?", row)
    assert all(math.isfinite(link.score) for link in rec.related("dam-1", 5))


@pytest.mark.parametrize("content", [np.nan, np.inf, 0.5])
def test_a_vector_that_is_not_of_unit_length_is_refused(rec, content):
    from recommender.store.local.rows import vector_checksum

    rec.close()
    blob = np.full(384, content, dtype="<f2").tobytes()
    with contextlib.closing(sqlite3.connect(rec.path / "articles.sqlite", isolation_level=None)) as connection:
        row = connection.execute(
            "SELECT a.content_hash, v.revision FROM articles a JOIN vectors v USING (key) WHERE key = 1"
        )
        checksum = vector_checksum("dam-1", *row.fetchone(), blob)
        connection.execute("UPDATE vectors SET vector = ?, checksum = ? WHERE key = 1", (blob, checksum))
    for folder in rec.path.glob("forward_index-*"):
        shutil.rmtree(folder)
    with pytest.raises(IndexDamagedError, match="'dam-1'"):
        rec.related("dam-1")


def test_a_missing_index_of_articles_that_are_not_recommended_is_refused(tmp_path):
    with Recommender(tmp_path / "index") as rec:
        texts = {"a": "river dam gates", "b": "river dam talks", "c": "river dam treaty"}
        rec.build([{"id": id, "title": text, "text": text, "recommend": id != "b"} for id, text in texts.items()])
        execute(rec, "PRAGMA writable_schema = ON", "DELETE FROM sqlite_schema WHERE name = 'articles_not_recommended'")
        with pytest.raises(IndexFormatError):
            rec.related("a")


def test_a_damaged_count_is_not_copied_into_the_next_derived_files(rec):
    execute(rec, "UPDATE terms SET document_frequency = document_frequency + 40 WHERE term_id % 3 = 0")
    with pytest.raises(IndexDamagedError, match="verify --repair"):
        rec.add([{"id": "new", "title": "New", "text": "Nothing of it was known."}])
    assert list(rec.verify(repair=True)) == []
    assert "new" in rec


@pytest.mark.parametrize("table", ["lexical", "vectors", "texts", "hubness"])
def test_an_article_without_one_of_its_rows_can_be_removed(rec, table):
    execute(rec, f"DELETE FROM {table} WHERE key = 1")
    assert rec.remove("dam-1") == ["dam-1"]
    assert "dam-1" not in rec
    rec.verify(repair=True)
    assert list(rec.verify()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE terms SET document_frequency = '' WHERE term_id = 1",
        "UPDATE terms SET term = x'ff' WHERE term_id = 1",
        "UPDATE lexical SET assumed = '' WHERE key = 1",
        "UPDATE hubness SET value = 'x' WHERE key = 1",
        "UPDATE policy SET edits = ''",
        "UPDATE policy SET document = 'nope'",
        "UPDATE articles SET id = x'00' WHERE key = 1",
        "UPDATE languages SET articles = 'x'",
        "UPDATE vectors SET vector = 'text' WHERE key = 1",
        "UPDATE links SET target = 7",
        "UPDATE removed SET key = 'x'",
    ],
)
def test_a_value_of_another_type_ends_in_an_answer_or_an_error(rec, statement):
    rec.pin("dam-1", "club-1")
    with contextlib.suppress(sqlite3.IntegrityError):  # the schema rejects some values
        execute(rec, statement)
    for query in (
        lambda: rec.related("dam-1"),
        lambda: dict(rec.links(3)),
        lambda: rec.search("river dam"),
        lambda: list(rec.verify()),
        lambda: rec.add([{"id": "new", "title": "New", "text": "Something else"}]),
        lambda: list(rec.verify(repair=True)),
        lambda: rec.pin("dam-2", "club-1"),
    ):
        try:
            query()
        except RecommenderError as error:
            assert str(error).endswith(".")
