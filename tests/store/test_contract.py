"""The guarantees of every store: the folder, Milvus Lite, and a Milvus server if one is named."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from synthetic import (
    SETTINGS,
    candidate_ids,
    fill,
    ids_with_term,
    nearest_ids,
    terms,
    upsert,
    vector,
    vector_query,
    write_batches,
)

from recommender import Article, IndexLockedError, IndexNotFoundError
from recommender.filters import Condition
from recommender.store import CandidateQuery, Upsert, open_store

pytestmark = pytest.mark.usefixtures("small_exact_limit")

ODD_IDS = [
    "a/../b",
    "новости",
    "q\"uo'te",
    "back\\slash",
    "new\nline",
    "tab\there",
    "\x01",
    "%_",
    "{x}",
    "😀",
    "A",
    "a",
    "~",
]


@pytest.fixture
def store(index_path):
    store = open_store(index_path)
    yield store
    store.close()


def test_a_written_article_is_read_back(store):
    article = Article(
        id="a/b ü",
        title="T",
        text="x\ny",
        url="https://x.org/a",
        published=datetime(2021, 5, 17, tzinfo=UTC),
        section="S",
        tags=("t", "u"),
        language="en",
        related=("b", "Some title", "https://x.org/c"),
        recommend=False,
        block=False,
        metadata={"k": [1, {"v": None}], "large": 2**70, "float": 0.1},
    )
    fill(store, [Upsert(article, "s", vector(1), {"t": 3}, "en", False), upsert("b", 2)])
    assert store.articles(["a/b ü", "zz"]) == {"a/b ü": article}
    assert store.texts(["a/b ü", "zz"]) == {"a/b ü": ("T", "x\ny")}
    summary = store.summaries(["a/b ü"])["a/b ü"]
    assert (summary.url, summary.metadata, summary.block) == ("https://x.org/a", dict(article.metadata), False)
    signals = store.signals(["a/b ü", "zz"])
    assert (signals.ids, signals.languages, signals.collection_sizes.tolist()) == (["a/b ü"], ["en"], [2])
    np.testing.assert_array_equal(signals.vectors, vector(1)[None])
    assert (signals.rows.tolist(), signals.frequencies.tolist(), signals.document_frequencies.tolist()) == (
        [0],
        [3],
        [1],
    )
    assert (list(store.ids()), list(store.ids(["s"]))) == (["a/b ü", "b"], ["a/b ü"])
    assert (store.count(), store.count(["source"]), store.count(["none"])) == (2, 1, 0)
    assert store.settings()["model"] == SETTINGS["model"]
    assert datetime.fromisoformat(store.settings()["last_build"]).tzinfo
    assert store.upserts(["a/b ü"]) == [SameUpsert(Upsert(article, "s", vector(1), {"t": 3}, "en", False))]
    assert list(store.verify(lambda done, total: None)) == []


class SameUpsert:
    """Equal to an upsert with the same content; arrays do not compare with one result."""

    def __init__(self, upsert: Upsert) -> None:
        self.upsert = upsert

    __hash__ = None

    def __eq__(self, other) -> bool:
        return replace(self.upsert, vector=None) == replace(other, vector=None) and np.array_equal(
            self.upsert.vector, other.vector
        )


def test_ids_of_any_characters_are_stored_in_order(store):
    fill(store, [upsert(id, number) for number, id in enumerate(ODD_IDS)])
    ids = [article.article.id for article in store.upserts(ODD_IDS)]
    assert sorted(ids) == list(store.ids()) == sorted(ODD_IDS)
    assert nearest_ids(store, vector(1), 1) == ["новости"]
    fill(store, removals=ODD_IDS[:6])
    assert set(store.content_hashes(ODD_IDS)) == set(ODD_IDS[6:])


def test_a_very_long_article_is_stored_in_full(store):
    text, many_terms = "wörter " * 40_000, {f"term {number}": number % 7 + 1 for number in range(9000)}
    long = Article("long", "T", text, related=tuple(f"link {n}" for n in range(3000)), metadata={"k": "x" * 90_000})
    fill(store, [Upsert(long, "s", vector(1), many_terms, "en", False), upsert("b", 2)])
    assert store.articles(["long"])["long"] == long
    assert store.upserts(["long"]) == [SameUpsert(Upsert(long, "s", vector(1), many_terms, "en", False))]
    fill(store, [upsert("long", 3)])
    assert store.articles(["long"])["long"].text == "text 3"
    assert list(store.verify(lambda done, total: None)) == []


def test_an_upsert_without_a_vector_keeps_the_stored_one(store):
    fill(store, [upsert("a", 1)])
    tagged = Article(id="a", title="title 1", text="text 1", tags=("new",))
    fill(store, [Upsert(tagged, "other", None, terms(1), "en", False)])
    assert store.articles(["a"])["a"].tags == ("new",)
    assert list(store.ids(["other"])) == ["a"]
    np.testing.assert_array_equal(store.signals(["a"]).vectors, vector(1)[None])
    assert nearest_ids(store, vector(1), 1) == ["a"]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(write_batches(5))
def test_candidates_are_the_stored_articles_after_any_writes(shared, batches):
    truth: dict[str, int] = {}
    if shared.exists():
        fill(shared, removals=list(shared.ids()))
    for adds, removals, finished in batches:
        removed = [id for id in removals if id not in adds]
        with shared.write_lock():
            if not shared.exists():
                shared.create(SETTINGS)
            shared.write([upsert(id, number) for id, number in adds.items()], removed)
            shared.write([upsert(id, number) for id, number in adds.items()], removed)  # repeated: no effect
            if finished:
                shared.finish(built=True)
        truth = {id: number for id, number in (truth | adds).items() if id not in removed}
        assert list(shared.ids()) == sorted(truth)
        assert shared.count() == len(truth) == sum(count for count, _ in shared.languages().values())
        for number in set(truth.values()):
            signals, _ = shared.retrieve_candidates([vector_query(vector(number))], 100)
            assert sorted(signals.ids) == sorted(truth)
            for id, stored in zip(signals.ids, signals.vectors, strict=True):
                np.testing.assert_array_equal(stored, vector(truth[id]))
            for term in terms(number):
                ids = {id for id, other in truth.items() if term in terms(other)}
                assert ids_with_term(shared, term, 100) == ids
                assert shared.lookup_terms("en", [term])[term][1] == len(ids)
    fill(shared)
    assert list(shared.verify(lambda done, total: None)) == []


def test_the_nearest_are_retrieved_also_among_later_articles(store):
    fill(store, [upsert(f"{i:03}", i) for i in range(300)])
    fill(store, [upsert(f"{i:03}", i) for i in range(300, 310)], ["005"], built=False)
    all_vectors = np.stack([vector(i) for i in range(310)])
    for query in (vector(5), vector(7), vector(305), vector(1000)):
        scores = all_vectors @ query
        scores[5] = -2
        assert nearest_ids(store, query, 10) == [f"{i:03}" for i in np.argsort(-scores, kind="stable")[:10]]


def test_candidates_by_terms_share_the_rare_ones(store):
    fill(store, [upsert(f"{i:02}", i) for i in range(60)])
    ids_and_counts = store.lookup_terms("en", ["all", "own 17"])
    term_ids = np.array([ids_and_counts["all"][0], ids_and_counts["own 17"][0]])
    query = CandidateQuery(-vector(17), np.sort(term_ids), np.ones(2), Condition())
    assert "17" in candidate_ids(store, query, n=5)[0]
    assert store.terms(term_ids.tolist()) == {ids_and_counts["all"][0]: "all", ids_and_counts["own 17"][0]: "own 17"}


def test_candidates_have_the_language_of_the_condition(store):
    german = [
        Upsert(Article(id=f"de{i}", title="t"), "s", vector(i), {"all": 1}, "de", False)
        for i in range(30, 40)
    ]  # fmt: skip
    fill(store, [*(upsert(f"en{i}", i) for i in range(30)), *german])
    fill(store, [upsert("en30", 100)], ["en3", "de33"], built=False)
    both, english, other, none = candidate_ids(
        store,
        vector_query(vector(5)),
        vector_query(vector(5), language="en"),
        vector_query(vector(5), language="de"),
        vector_query(vector(5), language="xx"),
        n=100,
    )
    assert english == {f"en{i}" for i in range(31)} - {"en3"}
    assert other == {f"de{i}" for i in range(30, 40)} - {"de33"}
    assert both == english | other
    assert none == set()
    assert store.languages() == {"en": (30, 0), "de": (9, 0)}


def test_terms_belong_to_a_language_and_are_counted(store):
    fill(
        store,
        [
            Upsert(Article(id="a", title="t"), "s", vector(1), {"die": 2, "x": 1}, "en", False),
            Upsert(Article(id="b", title="t"), "s", vector(2), {"die": 5}, "de", False),
            Upsert(Article(id="c", title="t"), "s", vector(3), {"die": 1}, "de", True),
        ],
    )
    assert store.lookup_terms("de", ["die", "x"])["die"][1] == 2
    assert store.lookup_terms("en", ["die", "x"])["die"][1] == 1
    assert store.languages() == {"de": (2, 1), "en": (1, 0)}
    assert (store.ids_with_assumed_language("en"), store.ids_with_assumed_language("de")) == (["c"], [])
    fill(store, [Upsert(Article(id="c", title="t"), "s", None, {"y": 1}, "en", True)], ["b"])
    assert store.languages() == {"en": (2, 1)}
    assert store.lookup_terms("de", ["die"]) == {}
    np.testing.assert_array_equal(store.signals(["c"]).vectors, vector(3)[None])
    assert ids_with_term(store, "y") == {"c"}


def test_hubness_is_stored_until_the_article_changes_or_a_full_pass_is_due(store):
    fill(store, [upsert(f"{i:02}", i) for i in range(20)])
    assert len(store.stale_hubness_ids()) == 20
    with store.write_lock():
        store.put_hubness({f"{i:02}": 0.25 for i in range(12)}, last=False)
        store.put_hubness({f"{i:02}": 0.5 for i in range(12, 20)}, last=True)
    assert store.stale_hubness_ids() == []
    signals = store.signals(["03", "15"])
    assert dict(zip(signals.ids, signals.hubness, strict=True)) == {"03": 0.25, "15": 0.5}
    with store.write_lock():
        store.write([upsert("04", 99)])
    assert store.stale_hubness_ids() == ["04"]
    assert store.signals(["04"]).hubness[0] == 0.35  # the mean of the last round
    fill(store, [upsert(f"n{i}", i) for i in range(100, 110)], built=False)  # a third more: a new round
    assert len(store.stale_hubness_ids()) == 30


def test_a_failed_batch_changes_nothing(store):
    fill(store, [upsert("a", 1)])
    bad = Upsert(Article(id="new", title="t"), "s", None, {}, "en", False)  # new, and without a vector
    with pytest.raises(ValueError, match="new"), store.write_lock():
        store.write([upsert("b", 2), bad], ["a"])
    assert list(store.ids()) == ["a"]
    assert nearest_ids(store, vector(2), 5) == ["a"]


def test_an_index_exists_after_its_first_write(store):
    with pytest.raises(IndexNotFoundError, match="recommender build SOURCE --index"):
        store.count()
    with pytest.raises(ValueError, match="new"), store.write_lock():
        store.create(SETTINGS)
        store.write([Upsert(Article(id="new", title="t"), "s", None, {}, "en", False)])
    assert not store.exists()
    with pytest.raises(IndexNotFoundError):
        store.signals(["a"])


def test_a_second_writer_gets_an_error_that_names_the_first(store, index_path, monkeypatch):
    fill(store, [upsert("a", 1)])
    monkeypatch.setattr("recommender.store.local.writer.LOCK_SECONDS", 0.01)
    monkeypatch.setattr("recommender.store.milvus.lease.WAIT_SECONDS", 0.01)
    with (
        store.write_lock(),
        pytest.raises(IndexLockedError, match="is being written by the process"),
        open_store(index_path).write_lock(),
    ):
        pass
    fill(store, [upsert("b", 2)])
    assert store.count() == 2


def test_threads_share_a_store_for_reading(store):
    fill(store, [upsert(f"{i:03}", i) for i in range(80)])
    wrong_numbers = []

    def query(start: int) -> None:
        for i in range(start, start + 10):
            with store.snapshot():
                if (
                    nearest_ids(store, vector(i), 1) != [f"{i:03}"]
                    or store.summaries([f"{i:03}"])[f"{i:03}"].block is False
                ):
                    wrong_numbers.append(i)

    threads = [threading.Thread(target=query, args=(start,)) for start in range(0, 80, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong_numbers == []


def test_editorial_links_resolve_by_id_url_and_title_also_to_later_articles(store):
    fill(store, [upsert("a", 1, related=("b", "http://X.org/c/", "The “Third” TITLE", "nowhere", "a"))])
    assert store.statistics()["editorial_links"] == {"total": 5, "matched": 0}
    fill(store, [upsert("b", 2), upsert("c", 3, url="https://x.org/c"), upsert("d", 4, title="the third title")])
    assert store.statistics()["editorial_links"] == {"total": 5, "matched": 3}
    assert store.links("related") == {"a": ["b", "c", "d"]}
    fill(store, removals=["c"])
    assert store.statistics()["editorial_links"] == {"total": 5, "matched": 2}


def test_backlinks_are_resolved_by_id_url_and_title(store):
    fill(
        store,
        [
            upsert("a", 1, url="https://x.org/a", title="The title"),
            upsert("b", 2, related=("a",)),
            upsert("c", 3, related=("http://X.org/a/",)),
            upsert("d", 4, links=("the TITLE!",)),
            upsert("e", 5, related=("another",)),
        ],
    )
    assert store.backlinks(["a"]) == ["b", "c", "d"]
    assert store.links("related") == {"b": ["a"], "c": ["a"]}
    assert store.links("links", ["d", "e"]) == {"d": ["a"]}
    assert store.resolve_targets(["a", "https://x.org/a#top", "The Title", "none"]) == ["a", "a", "a", None]


def test_ids_are_looked_up_by_url_or_title(store):
    fill(
        store,
        [
            upsert("b", 1, url="https://x.org/a", title="One title"),
            upsert("a", 2, url="http://X.org/a/#top", title="Two"),
            upsert("c", 3, title="one  TITLE!"),
            upsert("d", 4, title="https://x.org/a"),
        ],
    )
    assert store.ids_by_url_or_title("https://x.org/a", 9) == ["a", "b"]
    assert store.ids_by_url_or_title("https://x.org/a", 1) in (["a"], ["b"])
    assert store.ids_by_url_or_title("One Title", 9) == ["b", "c"]
    assert store.ids_by_url_or_title("two", 9) == ["a"]
    assert [store.ids_by_url_or_title(name, 9) for name in ("a", "none", "", "/a", "\n")] == [[], [], [], [], []]
    assert list(store.ids(after="b")) == ["c", "d"]
    assert list(store.ids(["source"], after="bb")) == ["c", "d"]


def test_a_condition_does_not_reduce_the_number_of_candidates(store):
    def day(number: int) -> dict:
        return {"published": datetime(2020, 1, 1 + number // 2, tzinfo=UTC)} if number % 3 else {}

    def time(number: int) -> int:
        return int(datetime(2020, 1, 1 + number // 2, tzinfo=UTC).timestamp())

    fields = [
        {"metadata": {"half": n % 2, "tenth": n % 10}, "recommend": n != 4, "section": "s" if n < 9 else None, **day(n)}
        for n in range(60)
    ]
    fill(store, [upsert(f"{number:02}", number, **values) for number, values in enumerate(fields)])
    numbers_with_date = {n for n in range(60) if n % 3}
    for fields_of_condition, numbers in (
        ({"where": (("half", ("0",)),)}, set(range(0, 60, 2))),
        ({"where": (("tenth", ("3", "4")),)}, {n for n in range(60) if n % 10 in (3, 4)}),
        ({"where": (("half", ("0",)), ("tenth", ("3",)))}, set()),
        ({"where": (("section", ("s",)),)}, set(range(9))),
        ({"without": ((("half", ("0",)), ("tenth", ("2",))), (("section", ("s",)),))},
         {n for n in range(9, 60) if n % 10 != 2}),
        ({"after": time(20)}, {n for n in numbers_with_date if n >= 20}),
        ({"before": time(20)}, {n for n in numbers_with_date if n <= 21}),
        ({"published_by": time(20)}, {n for n in range(60) if n not in numbers_with_date or n <= 21}),
    ):  # fmt: skip
        condition = Condition(recommendable=True, exclude=frozenset({"10", "14"}), **fields_of_condition)
        expected = {f"{n:02}" for n in numbers - {4, 10, 14}}
        (candidates,) = candidate_ids(store, replace(vector_query(vector(7)), condition=condition), n=8)
        assert candidates <= expected
        assert len(candidates) >= min(8, len(expected))
        assert store.count_matching(condition) == len(expected)
        assert store.filter_ids(sorted(expected | {"04", "10"}), condition) == expected
    assert store.most_recent(Condition(recommendable=True, exclude=frozenset({"59"})), 3) == ["58", "56", "55"]
    assert store.published_between(time(2) - 1, time(4)) == ["02", "04", "05"]


def test_a_policy_is_stored_and_replaced(store):
    fill(store, [upsert("a", 1)])
    assert store.policy() == {}
    store.edit_policy(lambda old: {**old, "pins": {"a": ["b" * 70_000]}})
    store.edit_policy(lambda old: {**old, "bans": ["ü"]})
    assert store.policy() == {"pins": {"a": ["b" * 70_000]}, "bans": ["ü"]}
    with pytest.raises(ZeroDivisionError):
        store.edit_policy(lambda old: 1 / 0)
    assert store.policy()["bans"] == ["ü"]
    store.edit_policy(lambda old: {"old": old}, anew=True)
    assert store.policy() == {"old": {}}


def test_model_files_and_settings_are_stored(store):
    content = bytes(range(256)) * 800
    with store.write_lock():
        store.create(SETTINGS, {"model.safetensors": content, "empty": b""})
        store.write([upsert("a", 1)])
        store.put_setting("scale", {"mean": 0.25, "deviation": 0.5, "sample": ["a"]})
    assert store.model_files() == {"model.safetensors": content, "empty": b""}
    assert store.settings()["scale"] == {"mean": 0.25, "deviation": 0.5, "sample": ["a"]}


def test_ids_changed_after_a_revision(store):
    fill(store, [upsert("a", 1), upsert("b", 2)])
    name, then, _ = store.revision()
    fill(store, [upsert("b", 3), upsert("c", 4)])
    assert store.ids_changed_after(then) == ["b", "c"]
    assert store.revision()[0] == name
    assert store.revision()[1] > then
    assert store.ids_changed_after(store.revision()[1]) == []


def test_the_next_write_repairs_one_that_was_cut_off(store, monkeypatch):
    """After any number of its steps: each batch, or article of it, is stored or not, and counts become right."""
    fill(store, [upsert(f"{n}", n) for n in range(12)])
    for step in range(1, 7):
        with pytest.raises(CutError), store.write_lock(), CutAfter(store, step, monkeypatch):
            store.write([upsert("3", 100 + step), upsert(f"new {step}", 200 + step)], ["5"] if step == 3 else [])
            store.finish(built=True)
            raise CutError
        stored = store.articles([f"new {step}"])
        if store.guarantees.atomic == "batch":
            assert (f"new {step}" in stored) == (store.articles(["3"])["3"].title == f"title {100 + step}")
        fill(store, [upsert("3", 100 + step), upsert(f"new {step}", 200 + step)], ["5"] if step == 3 else [])
        assert store.articles([f"new {step}"])[f"new {step}"].text == f"text {200 + step}"
        assert list(store.verify(lambda done, total: None)) == []
    assert store.count() == 12 - 1 + 6


class CutError(Exception):
    """Raised to cut off a write."""


class CutAfter:
    """Raises CutError after a number of the store's own steps: SQLite statements, or requests to Milvus."""

    def __init__(self, store, step: int, monkeypatch) -> None:
        self._store, self._steps_left, self._monkeypatch = store, step, monkeypatch

    def __enter__(self) -> None:
        def limited(function):
            def call(*arguments, **options):
                if self._steps_left == 0:
                    raise CutError
                self._steps_left -= 1
                return function(*arguments, **options)

            return call

        if self._store.guarantees.atomic == "article":  # Milvus
            connection = self._store._connection
            for name in ("upsert", "delete"):
                self._monkeypatch.setattr(connection, name, limited(getattr(connection, name)))
        else:
            from recommender.store.local import writer

            for name in ("insert_article", "delete_articles", "put_removed", "put_setting"):
                self._monkeypatch.setattr(writer, name, limited(getattr(writer, name)))

    def __exit__(self, *error) -> None:
        self._monkeypatch.undo()
