import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender import Article, IndexDamagedError, IndexFormatError, IndexLockedError, IndexNotFoundError
from recommender.filters import Condition
from recommender.store import CandidateQuery, LocalStore, Upsert
from recommender.store.local.derived_file import derived_file
from recommender.store.local.forward_index import ForwardIndex
from recommender.store.local.rows import read_settings
from recommender.store.local.vector_index import open_vector_index

DIMENSIONS = 8
SETTINGS = {"model": {"name": "made up", "hash": "0", "dimensions": DIMENSIONS, "max_tokens": 1}}


@cache
def vector(number: int) -> np.ndarray:
    made = np.random.default_rng(number).normal(size=DIMENSIONS).astype(np.float32)
    return (made / np.linalg.norm(made)).astype(np.float16).astype(np.float32)


def change(id: str, number: int = 0, **fields) -> Upsert:
    article = Article(id=id, **{"title": f"title {number}", "text": f"text {number}", **fields})
    return Upsert(article, "source", vector(number), words(number), "en", False)


def words(number: int) -> dict[str, int]:
    """One term that all articles have, one of a tenth of them, and one of this article alone."""
    return {"all": 1, f"tenth {number % 10}": 2, f"own {number}": 1}


def probe(query: np.ndarray, language: str | None = None) -> CandidateQuery:
    return CandidateQuery(query, np.empty(0, dtype=np.int64), np.empty(0), Condition(language=language))


def proposed(store: LocalStore, *probes: CandidateQuery, n: int = 10) -> list[set[str]]:
    signals, rows = store.retrieve_candidates(probes, n)
    return [{signals.ids[row] for row in own} for own in rows]


def with_term(store: LocalStore, term: str, n: int = 10) -> set[str]:
    """The articles proposed for a term, by a vector that proposes as many others as it must."""
    known = store.lookup_terms("en", [term])
    if not known:
        return set()
    number = np.array([known[term][0]])
    signals, (rows,) = store.retrieve_candidates([CandidateQuery(vector(0), number, np.array([1.0]), Condition())], n)
    holding = set(signals.rows[signals.term_ids == number[0]].tolist())
    return {signals.ids[row] for row in rows if row in holding}


def execute(store: LocalStore, statement: str) -> None:
    connection = sqlite3.connect(store.path / "articles.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


def fill(store: LocalStore, changes=(), removals=(), built=True) -> None:
    with store.write_lock():
        if not store.exists():
            store.create(SETTINGS)
        store.write(list(changes), list(removals))
        store.finish(built=built)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let a few articles be enough for changes to stand beside the search files."""
    monkeypatch.setattr("recommender.store.local.writer.SMALL", 10)


@pytest.fixture
def store(tmp_path):
    store = LocalStore(tmp_path / "index")
    yield store
    store.close()


def nearest_ids(store: LocalStore, query: np.ndarray, n: int) -> list[str]:
    signals, (rows,) = store.retrieve_candidates([probe(query)], n)
    order = rows[np.argsort(-(signals.vectors[rows] @ query), kind="stable")]
    return [signals.ids[row] for row in order]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 50), max_size=6),
            st.lists(st.sampled_from("abcdefgh"), max_size=3),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_after_any_writes_search_finds_just_what_is_stored(tmp_path_factory, batches):
    path = tmp_path_factory.mktemp("any") / "index"
    store, reader, truth = LocalStore(path), LocalStore(path), {}
    for adds, removals, finished in batches:
        gone = [id for id in removals if id not in adds]
        with store.write_lock():
            if not store.exists():
                store.create(SETTINGS)
            store.write([change(id, number) for id, number in adds.items()], gone)
            if finished:
                store.finish(built=True)
        truth = {id: number for id, number in (truth | adds).items() if id not in gone}
        for one in (reader, LocalStore(path)):  # one that saw every step, one that opens here
            for number in set(truth.values()):
                found, _ = one.retrieve_candidates([probe(vector(number))], 100)
                assert sorted(found.ids) == sorted(truth)
                for id, stored in zip(found.ids, found.vectors, strict=True):
                    np.testing.assert_array_equal(stored, vector(truth[id]))
                for term in words(number):
                    holding = {id for id, other in truth.items() if term in words(other)}
                    assert with_term(one, term, 100) == holding
                    assert one.lookup_terms("en", [term])[term][1] == len(holding)
            assert one.count() == len(truth) == sum(count for count, _ in one.languages().values())
            one.close()


def test_small_changes_stand_beside_the_search_file_and_large_ones_make_a_new_one(store):
    fill(store, [change(f"{i:03}", i) for i in range(100)])
    (first,) = store.path.glob("signals-*")
    fill(store, [change("new", 500)])
    assert [first] == list(store.path.glob("signals-*"))
    assert nearest_ids(store, vector(500), 1) == ["new"]
    fill(store, [change(f"n{i}", 600 + i) for i in range(20)])
    (second,) = store.path.glob("signals-*")
    assert second != first


@pytest.fixture(params=["large", "very large"])
def inverted(request, store, monkeypatch):
    """A store of 2,000 articles whose search file is the one of large archives."""
    monkeypatch.setattr("recommender.store.local.vector_index.EXACT", 1000)
    monkeypatch.setattr("recommender.store.local.vector_index.MANY", 1000 if request.param == "very large" else 10**6)
    fill(store, [change(f"{number:04}", number) for number in range(2000)])
    (folder,) = store.path.glob("dense-*")
    assert ((folder / "rotation").stat().st_size > 0) == (request.param == "very large")
    return store


def nearest_of(numbers: range, query: np.ndarray) -> set[str]:
    """The ten nearest by comparing all."""
    scores = np.stack([vector(number) for number in numbers]) @ query
    return {f"{numbers[place]:04}" for place in np.argsort(-scores)[:10].tolist()}


@pytest.mark.parametrize(("numbers", "recall"), [(range(3, 2000, 10), 0.98), (range(5000, 5200), 0.95)])
def test_an_inverted_file_finds_what_comparing_all_does(inverted, numbers, recall):
    """That holds for vectors of the archive, on which it is measured; for others a little less."""
    queries = [vector(number) for number in numbers]
    wanted = [nearest_of(range(2000), query) for query in queries]
    at_once = proposed(inverted, *(probe(query) for query in queries), n=50)
    one_by_one = [proposed(inverted, probe(query), n=50)[0] for query in queries]
    for found in (at_once, one_by_one):
        assert np.mean([len(ten & ids) / 10 for ten, ids in zip(wanted, found, strict=True)]) >= recall


def test_as_many_as_are_wanted_come_out_of_few_lists(store, monkeypatch):
    """Fewer would mean that there are no more, and a filter would be met by too few."""
    monkeypatch.setattr("recommender.store.local.vector_index.EXACT", 1000)
    monkeypatch.setattr("recommender.store.local.vector_index.AIM", 0.0)  # the fewest lists that are ever looked into
    fill(store, [change(f"{number:04}", number) for number in range(2000)])
    assert len(proposed(store, probe(vector(7)), n=100)[0]) == 100


def test_beside_an_inverted_file_what_comes_and_goes_is_known_at_once(inverted):
    (folder,) = inverted.path.glob("dense-*")
    fill(inverted, [change("new", 9000)], ["0007"], built=False)
    assert list(inverted.path.glob("dense-*")) == [folder]
    assert nearest_ids(inverted, vector(9000), 1) == ["new"]
    assert "0007" not in proposed(inverted, probe(vector(7)), n=50)[0]
    assert len(proposed(inverted, probe(vector(7)), n=50)[0]) == 50


def test_a_round_over_all_goes_by_the_lists_of_an_inverted_file(inverted):
    """Near ones are compared with the same articles, which are then read once for many."""
    with sqlite3.connect(inverted.path / "articles.sqlite") as connection:
        file = derived_file(read_settings(connection, inverted.path), "dense")
    connection.close()
    index, _ = open_vector_index(inverted.path, file, DIMENSIONS)
    order = inverted.stale_hubness_ids()
    vectors = np.stack([vector(int(id)) for id in order])
    if isinstance(index, faiss.IndexPreTransform):
        vectors = faiss.downcast_VectorTransform(index.chain.at(0)).apply(vectors)
    parted = faiss.extract_index_ivf(index)
    lists = parted.quantizer.search(vectors, 1)[1][:, 0].tolist()
    assert sorted(order) == [f"{number:04}" for number in range(2000)]
    assert sum(one != other for one, other in pairwise(lists)) < 2 * parted.nlist


def test_an_id_that_is_no_text_is_told_by_that_order_too(inverted):
    execute(inverted, "UPDATE articles SET id = x'00' WHERE id = '1999'")
    with pytest.raises(IndexDamagedError, match="the id b'"):
        inverted.ids_in_cluster_order()


def test_a_condition_is_met_from_an_inverted_file_too(inverted, monkeypatch):
    monkeypatch.setattr("recommender.store.local.filter_sql.FEW", 0)  # so that the searches have to widen
    fields = {f"{number:04}": {"section": "rare"} for number in range(0, 2000, 100)}
    fill(inverted, [change(id, int(id), **of_it) for id, of_it in fields.items()], built=False)
    condition = Condition(where=(("section", ("rare",)),))
    assert proposed(inverted, replace(probe(vector(3)), condition=condition), n=30) == [set(fields)]


def test_removed_articles_take_no_place_among_the_candidates(store, monkeypatch):
    monkeypatch.setattr("recommender.store.local.writer.STALE_SHARE", 0.9)
    fill(store, [change(f"{i:02}", i) for i in range(40)])
    fill(store, removals=[f"{i:02}" for i in range(20)])
    number = np.array([store.lookup_terms("en", ["all"])["all"][0]])
    nearest, by_term = probe(vector(1)), CandidateQuery(vector(1), number, np.ones(1), Condition())
    assert len(proposed(store, nearest, n=5)[0]) == 5
    assert len(proposed(store, by_term, n=5)[0] - proposed(store, nearest, n=5)[0]) > 0
    with store._session() as session:
        assert len(session.revision.candidates(session.connection)._terms.search(number, np.ones(1), 5)) == 5


def test_a_first_write_that_fails_leaves_no_index(store):
    with pytest.raises(ValueError, match="new"), store.write_lock():
        store.create(SETTINGS)
        store.write([Upsert(Article(id="new", title="t"), "s", None, {}, "en", False)])
    assert not store.exists()
    assert not store.path.exists()


def test_reading_leaves_no_file_and_changes_none(store):
    fill(store, [change("a", 1), change("b", 2)])

    def state():
        return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in store.path.rglob("*")}

    before = state()
    with store.snapshot():
        assert with_term(store, "all") == {"a", "b"}
        during = set(store.path.rglob("*"))
    store.close()
    assert during == set(before)
    assert state() == before


# Run as a process of its own: imports as the user of the tests, then gives up the right to write.
AS_ANOTHER_USER = """
import json, logging, os, sys
import numpy as np
from recommender.filters import Condition
from recommender.store import CandidateQuery, LocalStore
path = sys.argv[1]
told = []
logging.getLogger("recommender").addFilter(lambda record: told.append(record.getMessage()))
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
assert not os.access(path, os.W_OK) and not os.access(path + "/articles.sqlite", os.W_OK)
store = LocalStore(path)
def ask():
    (number, _) = store.lookup_terms("en", ["all"])["all"]
    vector = np.eye(8, dtype=np.float32)[0]
    query = CandidateQuery(vector, np.array([number]), np.ones(1), Condition())
    signals, _ = store.retrieve_candidates([query], 99)
    print(json.dumps([sorted(store.ids()), sorted(signals.ids), told]), flush=True)
ask()
sys.stdin.readline()
ask()
"""


@pytest.fixture
def foreign():
    """A folder that another user may enter but not write to, what starts a reader there, what gives rights back."""
    folder = tempfile.TemporaryDirectory()  # tmp_path lies in a folder that others may not enter
    Path(folder.name).chmod(0o755)
    home = Path(folder.name) / "index"
    readers = []

    def start() -> subprocess.Popen:
        if os.getuid() != 0:
            for path in (*home.rglob("*"), home):
                path.chmod(0o555 if path.is_dir() else 0o444)
        reader = subprocess.Popen(
            [sys.executable, "-c", AS_ANOTHER_USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        readers.append(reader)
        return reader

    def writable() -> None:
        for path in (home, *home.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    yield home, start, writable
    for reader in readers:
        reader.kill()
        reader.communicate()
    writable()
    folder.cleanup()


def test_another_user_reads_with_and_without_a_live_writer(foreign):
    home, start, writable = foreign
    store = LocalStore(home)
    fill(store, [change("a", 1), change("b", 2)])
    files = sorted(path.name for path in home.iterdir())

    reader = start()
    ids, found, told = json.loads(reader.stdout.readline())
    assert ids == sorted(found) == ["a", "b"]
    assert told == []  # no search file that could not be opened
    assert sorted(path.name for path in home.iterdir()) == files

    writable()
    with store.write_lock():
        store.write([change("c", 3)])
        connection = store._writer._connection()
        connection.execute("BEGIN IMMEDIATE")  # a writer in the middle of its next batch
        connection.execute("DELETE FROM articles")
        reader.stdin.write("\n")
        reader.stdin.flush()
        ids, found, _ = json.loads(reader.stdout.readline())
        assert ids == found == ["a", "b", "c"]
        late = start()
        assert json.loads(late.stdout.readline())[0] == ["a", "b", "c"]
        writable()
        connection.execute("ROLLBACK")


KILLED_WITHIN_COMMIT = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1] + "/articles.sqlite", isolation_level=None)
connection.execute("PRAGMA cache_size = 2")  # spills pages into the file before the commit, as a commit does
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE articles SET title = title || 'torn'")
connection.execute("UPDATE vectors SET vector = zeroblob(16)")
connection.execute("UPDATE texts SET text = text || hex(zeroblob(20000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_commit_that_was_killed_is_undone_for_readers_without_rights(foreign, caplog):
    home, start, writable = foreign
    store = LocalStore(home)
    fill(store, [change(f"{i:02}", i) for i in range(60)])
    killed = subprocess.run([sys.executable, "-c", KILLED_WITHIN_COMMIT, str(home)], check=False)
    assert killed.returncode == -signal.SIGKILL
    journal = home / "articles.sqlite-journal"
    assert journal.stat().st_size > 0

    reader = start()
    ids, _, _ = json.loads(reader.stdout.readline())
    assert ids == [f"{i:02}" for i in range(60)]
    writable()
    assert journal.exists()

    assert store.articles(["07"])["07"].title == "title 7"  # by the owner: reading does not write either
    assert "cut off" in caplog.text
    assert journal.exists()
    fill(store, [change("new", 99)])
    assert not journal.exists()
    assert store.count() == 61
    reader.stdin.write("\n")
    reader.stdin.flush()
    assert "new" in json.loads(reader.stdout.readline())[0]


def test_a_second_writer_is_told(store, monkeypatch):
    fill(store, [change("a", 1)])
    monkeypatch.setattr("recommender.store.local.writer.LOCK_SECONDS", 0.01)
    with (
        store.write_lock(),
        pytest.raises(IndexLockedError, match=f"by the process {os.getpid()} since 20"),
        LocalStore(store.path).write_lock(),
    ):
        pass
    fill(store, [change("b", 2)])


@pytest.mark.parametrize("kind", ["terms", "signals"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage", "empty"])
def test_a_search_file_that_is_damaged_is_passed_over_and_made_again(store, caplog, kind, damage):
    fill(store, [change(f"{i:02}", i) for i in range(40)])
    (file,) = store.path.glob({"terms": "lexical-*/places", "signals": "signals-*/ends"}[kind])
    whole = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes({"truncated": whole[:-100], "garbage": os.urandom(len(whole)), "empty": b""}[damage])
    reader = LocalStore(store.path)
    assert nearest_ids(reader, vector(7), 1) == ["07"]
    assert with_term(reader, "tenth 7") == {"07", "17", "27", "37"}
    assert "is missing" in caplog.text or "is damaged" in caplog.text
    reader.close()
    fill(store)
    caplog.clear()
    reader = LocalStore(store.path)
    assert nearest_ids(reader, vector(7), 1) == ["07"]
    assert with_term(reader, "tenth 7") == {"07", "17", "27", "37"}
    assert caplog.text == ""
    reader.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE articles SET title = 'other' WHERE id = 'a'",
        "UPDATE articles SET url = 'https://evil.example' WHERE id = 'a'",
        "UPDATE texts SET text = 'other' WHERE key = 1",
        "UPDATE links SET target = 'other' WHERE key = 1",
    ],
)
def test_a_damaged_row_is_found_when_it_is_read_and_can_be_removed(store, statement):
    fill(store, [change("a", 1, related=("b",)), change("b", 2)])
    execute(store, statement)
    with pytest.raises(IndexDamagedError, match="'a'"):
        store.articles(["a"]), store.summaries(["a"])
    if "articles SET title" in statement or "texts" in statement:
        with pytest.raises(IndexDamagedError, match="'a'"):
            store.texts(["a"])
    fill(store, removals=["a"])
    assert list(store.ids()) == ["b"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vectors SET vector = (SELECT vector FROM vectors WHERE key = 2) WHERE key = 1",
        "UPDATE lexical SET terms = (SELECT terms FROM lexical WHERE key = 2) WHERE key = 1",
        "UPDATE lexical SET language = 'de' WHERE key = 1",
    ],
)
def test_a_damaged_signal_gives_no_other_answer_and_is_found_when_it_is_read(store, statement):
    fill(store, [change("a", 1, related=("b",)), change("b", 2)])
    before = store.signals(["a"])
    execute(store, statement)
    after = store.signals(["a"])  # of the search files, which are whole
    np.testing.assert_array_equal(after.vectors, before.vectors)
    assert (after.languages, after.term_ids.tolist()) == (before.languages, before.term_ids.tolist())
    with pytest.raises(IndexDamagedError, match="'a'"):  # they are made of what is stored, and only of what is whole
        fill(store, [change("c", 3)])
    (folder,) = store.path.glob("signals-*")
    shutil.rmtree(folder)
    with pytest.raises(IndexDamagedError, match="'a'"):
        LocalStore(store.path).signals(["a"])
    fill(store, removals=["a"])
    assert list(store.ids()) == ["b", "c"]
    np.testing.assert_array_equal(store.signals(["b"]).vectors, vector(2)[None])


def test_a_damaged_vector_is_not_taken_over_into_a_new_version(store):
    fill(store, [change("a", 1), change("b", 2)])
    execute(store, "UPDATE vectors SET vector = (SELECT vector FROM vectors WHERE key = 2) WHERE key = 1")
    newer = change("a", 1, related=("b",))
    with pytest.raises(IndexDamagedError, match="'a'"):
        fill(store, [replace(newer, vector=None, terms={"other": 1})])


@pytest.mark.parametrize(
    "part", ["vectors", "numbers", "frequencies", "ids", "keys", "ends", "sums", "idends", "counts"]
)
def test_a_flipped_bit_in_the_signals_changes_no_answer(store, caplog, part):
    fill(store, [change(f"{i:02}", i) for i in range(40)])
    before = store.signals([f"{i:02}" for i in range(40)])
    expected = dict(zip(before.ids, before.vectors.tolist(), strict=True))
    (file,) = store.path.glob(f"signals-*/{part}")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x04
    file.write_bytes(content)
    found = LocalStore(store.path).signals(list(expected))
    assert dict(zip(found.ids, found.vectors.tolist(), strict=True)) == expected
    assert sorted(found.document_frequencies.tolist()) == sorted(before.document_frequencies.tolist())
    assert "damaged" in caplog.text or part == "keys"  # an article that is not found there is read elsewhere
    terms = dict(zip(before.ids, np.split(before.term_ids, np.flatnonzero(np.diff(before.rows)) + 1), strict=True))
    read = dict(zip(found.ids, np.split(found.term_ids, np.flatnonzero(np.diff(found.rows)) + 1), strict=True))
    assert {id: numbers.tolist() for id, numbers in read.items()} == {id: own.tolist() for id, own in terms.items()}


def test_a_database_that_is_none_is_told(store):
    fill(store, [change("a", 1)])
    (store.path / "articles.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(IndexDamagedError, match="Build it anew"):
        LocalStore(store.path).count()


def test_other_databases_and_newer_formats_are_refused(store):
    fill(store, [change("a", 1)])
    connection = sqlite3.connect(store.path / "articles.sqlite")
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(IndexFormatError, match="format 99"):
        store.count()
    connection.execute("PRAGMA application_id = 7")
    with pytest.raises(IndexFormatError, match="not an index"):
        store.count()
    connection.close()


@pytest.mark.parametrize("kind", ["missing", "folder", "file"])
def test_no_index_is_told(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "index" / "mine"
    place.parent.mkdir()
    if kind == "folder":
        place.mkdir()
    if kind == "file":
        place.write_text("x")
    with pytest.raises(IndexNotFoundError, match=r"mine") as told:
        LocalStore(place).count()
    assert "examples" not in str(told.value)
    fill(LocalStore(place.parent / "examples"), [change("a", 1)])
    with pytest.raises(IndexNotFoundError) as told:
        LocalStore(place).count()
    assert ("--index index/examples" in str(told.value)) == (kind != "file")


def test_writing_touches_no_file_of_others(store):
    store.path.mkdir()
    (store.path / ".precious.tmp").write_text("x")
    fill(store, [change("a", 1)])
    assert (store.path / ".precious.tmp").exists()


def test_terms_are_counted_as_they_were_when_the_search_files_were_made(store):
    def count(id: str, term: str, language: str = "en") -> tuple[int, int]:
        signals = store.signals([id])
        number = store.lookup_terms(language, [term])[term][0]
        return int(signals.document_frequencies[signals.term_ids == number][0]), int(signals.collection_sizes[0])

    alone = replace(change("alone", 60), terms={"all": 1, "rare": 1})
    fill(store, [*(change(f"{i:02}", i) for i in range(100)), alone])
    assert (count("00", "all"), count("alone", "rare")) == ((101, 101), (1, 101))
    fill(store, [change("new", 50)], removals=["01"], built=False)
    assert (count("00", "all"), count("new", "all")) == ((101, 101), (101, 101))
    for number in range(3):  # what came to be shared since counts as shared by two
        fill(store, [replace(change(f"more{number}", 70), terms={"rare": 1, "fresh": 1})], built=False)
        assert count("alone", "rare") == (2, 101)
        assert count("more0", "fresh") == (min(number + 1, 2), 101)
    fill(store, removals=["more0", "more1", "more2"], built=False)
    assert count("alone", "rare") == (1, 101)
    german = [replace(change(f"de{i}", 80 + i), language="de", terms={"alle": 1}) for i in range(3)]
    fill(store, german[:1], built=False)
    fill(store, german[1:], built=False)
    assert count("de0", "alle", "de") == (3, 3)  # a language that was not there yet
    fill(store, removals=["de0", "de1", "de2"], built=False)
    fill(store, [replace(change("other", 70), terms={"rare": 1})], removals=[f"{i:02}" for i in range(10, 40)])
    assert (count("00", "all"), count("alone", "rare")) == ((71, 72), (2, 72))


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage", "empty"])
def test_damaged_lists_are_passed_over_and_made_again(inverted, caplog, damage):
    (file,) = inverted.path.glob("dense-*/codes")
    whole = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes({"truncated": whole[:-100], "garbage": os.urandom(len(whole)), "empty": b""}[damage])
    reader = LocalStore(inverted.path)
    assert "0007" in proposed(reader, probe(vector(7)), n=50)[0]
    assert "is missing" in caplog.text or "is damaged" in caplog.text
    reader.close()
    fill(inverted)
    caplog.clear()
    assert "0007" in proposed(reader, probe(vector(7)), n=50)[0]
    assert caplog.text == ""
    reader.close()


def test_a_search_that_failed_halfway_begins_anew(store, monkeypatch):
    monkeypatch.setattr("recommender.store.local.signal_reader.PAGE", 3)
    fill(store, [change(f"{i:03}", i) for i in range(100)])
    fill(store, [change(f"n{i}", 200 + i) for i in range(5)])
    connection = sqlite3.connect(store.path / "articles.sqlite")
    (good,) = connection.execute("SELECT vector FROM vectors WHERE key = 105").fetchone()
    for blob in (b"bad", good):
        connection.execute("UPDATE vectors SET vector = ? WHERE key = 105", (blob,))
        connection.commit()
        if blob == b"bad":
            for _ in range(3):
                with pytest.raises(IndexDamagedError):
                    nearest_ids(store, vector(200), 9)
    connection.close()
    found = nearest_ids(store, vector(200), 9)
    assert len(set(found)) == 9


def test_cards_that_were_read_are_read_anew_after_a_write(store):
    fill(store, [change("a", 1), change("b", 2)])
    reader = LocalStore(store.path)
    for each in (store, reader):
        assert (each.summaries(["a", "b"])["a"].title, list(each.summaries(["b", "zz", "a"]))) == (
            "title 1",
            ["b", "a"],
        )
    fill(store, [change("a", 1, title="other")], removals=["b"])
    for each in (store, reader):
        assert {id: card.title for id, card in each.summaries(["a", "b"]).items()} == {"a": "other"}
    reader.close()


def test_few_and_small_cards_stay_in_memory(store, monkeypatch):
    monkeypatch.setattr("recommender.store.local.articles.CARDS", 3)
    monkeypatch.setattr("recommender.store.local.articles.SMALL_CARD", 20)
    ids = [f"{n}" for n in range(8)]
    fill(store, [change(id, n, metadata={"x": "y" * 5 * n}) for n, id in enumerate(ids)])
    for some in (ids, ids[:2], ids[1:3], ids[::-1], ids[5:]):
        found = store.summaries(some)
        assert {id: len(card.metadata["x"]) for id, card in found.items()} == {id: 5 * int(id) for id in some}
        with store._session() as session:
            kept = session.revision.articles._cards
        assert len(kept) <= 3 and all(len(card.metadata["x"]) < 20 for card in kept.values())


def test_an_index_made_anew_in_the_same_place_is_seen(store):
    fill(store, [change("a", 1)])
    assert nearest_ids(store, vector(1), 1) == ["a"]
    shutil.rmtree(store.path)
    fill(LocalStore(store.path), [change("b", 2)])
    assert nearest_ids(store, vector(1), 5) == ["b"]


def test_a_source_has_the_same_label_from_any_directory(store, tmp_path, monkeypatch):
    (tmp_path / "news").mkdir()
    monkeypatch.chdir(tmp_path)
    assert store.source_label(Path("news")) == store.source_label(tmp_path / "news") == "../news"
    monkeypatch.chdir(tmp_path / "news")
    assert store.source_label(Path()) == "../news"


def test_a_condition_is_met_by_as_many_candidates_as_without_one(store, monkeypatch):
    """The searches widen until enough is wanted; where few are wanted all of them are proposed."""
    fields = [
        {"metadata": {"half": number % 2, "tenth": number % 10}, "recommend": number != 4} for number in range(60)
    ]
    fill(store, [change(f"{number:02}", number, **of_it) for number, of_it in enumerate(fields)])
    for few in (0, 1000):
        monkeypatch.setattr("recommender.store.local.filter_sql.FEW", few)
        store.close()
        for where, wanted in (
            ((("half", ("0",)),), {f"{n:02}" for n in range(0, 60, 2)}),
            ((("tenth", ("3", "4")),), {f"{n:02}" for n in range(60) if n % 10 in (3, 4)}),
            ((("half", ("0",)), ("tenth", ("3",))), set()),
        ):
            condition = Condition(where=where, recommendable=True, exclude=frozenset({"10", "14"}))
            wanted -= {"04", "10", "14"}
            (found,) = proposed(store, replace(probe(vector(7)), condition=condition), n=8)
            assert found <= wanted
            assert len(found) >= min(8, len(wanted))
            assert store.count_matching(condition) == len(wanted)
            assert store.filter_ids(sorted(wanted | {"04", "10", "01"}), condition) == wanted


def test_terms_weigh_the_same_from_the_signals_and_from_the_database(store):
    fill(store, [replace(change(f"{i:02}", i), language="de" if i % 3 else "en") for i in range(40)])
    (folder,) = store.path.glob("signals-*")
    with store._session() as session:
        parts = list(session.revision.signals(session.connection).weighed_after(session.connection, 0))
    mapped = list(ForwardIndex(folder, DIMENSIONS).weighed())
    for name in ("keys", "lengths", "term_ids", "weights"):
        ours, theirs = (np.concatenate([getattr(part, name) for part in some]) for some in (parts, mapped))
        assert np.array_equal(ours, theirs), name
    assert len(set(mapped[0].weights.tolist())) > 2
