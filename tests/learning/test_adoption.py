"""Learning: when a ranking is adopted, how long it lasts, and what damage does to it."""

import json
import logging
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from handbook import DAY, handbook, rows_of

from recommender import IndexDamagedError, Recommender
from recommender.learning.learn import CATALOG, LEARNED_RANKING, ranking_state
from recommender.learning.model import RankingModel, lower

QUERY = "/harbour/page-030"


def stored_state(rec):
    """Return everything of an index that a learned ranking could change."""
    store = rec._store
    documents = {name: store.document(name) for name in store.document_names()}
    return documents, store.arrays(CATALOG), store.revision(), rows_of(rec.links(5, now=DAY))


def put(rec, text=None, arrays=None) -> None:
    with rec._store.write_lock():
        if text is not None:
            rec._store.put_document(LEARNED_RANKING, text)
        if arrays is not None:
            rec._store.put_arrays(CATALOG, arrays)


def damaged(text: str, **changes) -> str:
    return json.dumps({**json.loads(text), **changes})


@pytest.fixture(scope="session")
def random_index(tmp_path_factory, fake_vectors_context):
    """Return the folder of an index whose links are random."""
    path = tmp_path_factory.mktemp("random") / "index"
    with fake_vectors_context(), Recommender(path) as rec:
        rec.build(handbook(120, links="random"))
    return path


def test_random_links_are_not_adopted_and_the_index_stays_the_same(random_index, tmp_path):
    shutil.copytree(random_index, tmp_path / "index")
    with Recommender(tmp_path / "index") as rec:
        before = stored_state(rec)
        report = rec.learn()
        assert not report.adopted
        assert report.tested > 100
        assert report.gain[0] <= 0 <= report.gain[1] + 0.02
        assert "confidence" in report.reason
        assert rec.learned is None
        assert stored_state(rec) == before
        assert before[:2] == ({}, None)


def test_few_links_are_not_learned_from(tmp_path, monkeypatch):
    monkeypatch.setattr("recommender.learning.learn.linked_articles", None)  # nothing is trained
    with Recommender(tmp_path / "index") as rec:
        articles = handbook(80, links="none")
        rec.build([replace(item, related=(articles[0].id,)) if n < 60 else item for n, item in enumerate(articles)])
        before = stored_state(rec)
        report = rec.learn()
        assert (report.adopted, report.links, report.tested) == (False, 59, 0)  # the first links to itself
        assert "59 editorial links" in report.reason
        assert "60 are needed" in report.reason
        assert stored_state(rec) == before


@pytest.mark.slow
def test_two_runs_learn_the_same(learned_copy):
    first, report = learned_copy._store.document(LEARNED_RANKING), learned_copy.learned
    again = learned_copy.learn()
    assert again.adopted
    records = [json.loads(text) for text in (first, learned_copy._store.document(LEARNED_RANKING))]
    for record in records:
        record["facts"] = {name: fact for name, fact in record["facts"].items() if name not in ("trained", "seconds")}
    assert records[0] == records[1]
    assert report["after"] == again.after


def test_the_report_states_the_gain(learned):
    facts = learned.learned
    assert facts["adopted"]
    assert (facts["kinds"], facts["changed"]) == (["related"], 0.0)
    assert facts["after"]["ndcg@10"] > facts["before"]["ndcg@10"] + 0.3
    assert 0 < facts["gain"][0] <= facts["gain"][1]
    assert learned.info()["learned"] == {name: fact for name, fact in facts.items() if name != "changed"}


def test_forgetting_gives_the_content_ranking_back(learned_copy):
    expected = rows_of(learned_copy.links(5, ranking="content", now=DAY))
    assert rows_of(learned_copy.links(5, now=DAY)) != expected
    assert learned_copy.forget_learned()
    assert not learned_copy.forget_learned()
    assert learned_copy.learned is None
    assert learned_copy.info()["learned"] is None
    assert learned_copy._store.arrays(CATALOG) is None
    assert rows_of(learned_copy.links(5, now=DAY)) == expected


def learned_block(rec) -> list[str]:
    return [link.id for link in rec.related(QUERY, 4, editorial="ignore", now=DAY)]


def test_a_learned_ranking_survives_changes_repair_and_a_copy(learned_copy, tmp_path):
    text = learned_copy._store.document(LEARNED_RANKING)
    new = replace(learned_copy.get(QUERY), id="/harbour/page-999", url="https://example.org/harbour/page-999")
    learned_copy.add([new])
    assert learned_block(learned_copy)[0] == "/harbour/overview"
    learned_copy.remove("/market/page-101")
    learned_copy.build(handbook())
    assert not list(learned_copy.verify(repair=True))
    assert learned_copy._store.document(LEARNED_RANKING) is not None
    learned_copy.copy_to(tmp_path / "copy")
    blocks = rows_of(learned_copy.links(5, now=DAY))
    with Recommender(tmp_path / "copy") as copied:
        assert copied._store.document(LEARNED_RANKING) == learned_copy._store.document(LEARNED_RANKING) == text
        assert copied._store.arrays(CATALOG) is not None
        assert rows_of(copied.links(5, now=DAY)) == blocks
        assert not list(copied.verify())
    assert learned_block(learned_copy)[0] == "/harbour/overview"


def test_the_catalog_is_up_to_date_after_every_write(learned_copy):
    def revisions():
        store = learned_copy._store
        with store.snapshot():
            return ranking_state(store)[1], store.revision()[1]

    new = replace(learned_copy.get(QUERY), id="/harbour/new", url=None, related=("/market/page-101",))
    for write in (
        lambda: learned_copy.add([new]),
        lambda: learned_copy.remove("/market/page-101"),
        lambda: learned_copy.build(handbook()),
        lambda: list(learned_copy.verify(repair=True)),
    ):
        write()
        assert len(set(revisions())) == 1
        assert learned_copy._store.arrays(CATALOG) is not None


@pytest.mark.slow
def test_blocks_stay_the_same_without_the_stored_catalog(learned_copy):
    expected = rows_of(learned_copy.links(5, now=DAY))
    put(learned_copy, arrays={"hostile": np.arange(3)})
    with Recommender(learned_copy.path) as rec:
        assert rows_of(rec.links(5, now=DAY)) == expected
    with learned_copy._store.write_lock():
        learned_copy._store.put_arrays(CATALOG, None)
    with Recommender(learned_copy.path) as rec:
        assert rows_of(rec.links(5, now=DAY)) == expected


def test_a_copy_over_an_earlier_one_reads_the_catalog_of_the_new_kinds(learned_copy, tmp_path):
    learned_copy.copy_to(tmp_path / "copy")
    model = json.loads(learned_copy._store.document(LEARNED_RANKING))
    put(learned_copy, text=json.dumps({**model, "kinds": ["links"]}))
    learned_copy.copy_to(tmp_path / "copy")
    with Recommender(tmp_path / "copy") as copied:
        assert len(copied._store.arrays(CATALOG)["link_targets"]) == 0  # there are no links in the texts


def test_the_share_of_changed_links_is_estimated(learned_copy):
    articles = {item.id: item for item in handbook()}
    assert learned_copy.learned["changed"] == 0.0
    some = [replace(item, related=()) for item in list(articles.values())[10:60]]
    learned_copy.add(some)
    share = learned_copy.learned["changed"]
    assert share == pytest.approx(sum(len(articles[item.id].related) for item in some) / 408, abs=0.02)
    report = learned_copy.add([replace(item, related=("/market/page-101",)) for item in articles.values()])
    assert learned_copy.learned["changed"] > 0.95
    assert any("links between articles have changed" in problem for problem in report.problems)
    report = learned_copy.build(list(articles.values()))
    assert learned_copy.learned["changed"] == 0.0
    assert not any("have changed" in problem for problem in report.problems)


DAMAGE = {
    "no JSON": lambda text: "no model",
    "an empty text": lambda text: "",
    "a list": lambda text: "[]",
    "deep nesting": lambda text: "[" * 100_000,
    "another format": lambda text: damaged(text, format=99),
    "other features": lambda text: damaged(text, features=["dense"]),
    "no trees": lambda text: damaged(text, trees=None),
    "trees without nodes": lambda text: damaged(text, trees={**json.loads(text)["trees"], "left": []}),
    "one level": lambda text: damaged(text, outputs=[0.0], raw_levels=[0.0]),
    "descending levels": lambda text: damaged(text, outputs=[0.0, 1.0], raw_levels=[1.0, 0.0]),
    "huge levels": lambda text: damaged(text, outputs=[0.0, 1.0], raw_levels=[-1e308, 1e308]),
    "no number": lambda text: damaged(text, outputs=[0.0, float("nan")], raw_levels=[0.0, 1.0]),
    "no kinds": lambda text: damaged(text, kinds=[]),
    "another kind": lambda text: damaged(text, kinds=["words"]),
    "kinds that are no list": lambda text: damaged(text, kinds=3),
    "facts that are no mapping": lambda text: damaged(text, facts=7),
    "a sketch of texts": lambda text: damaged(text, sketch=["x"]),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_model_is_named_with_what_to_do(learned_index, kind):
    with Recommender(learned_index) as rec:
        text = rec._store.document(LEARNED_RANKING)
    with pytest.raises(IndexDamagedError, match=r"recommender learn` again.*--forget"):
        RankingModel.from_text(DAMAGE[kind](text), "x")


def test_a_damaged_model_leaves_the_site_its_blocks(learned_copy, caplog):
    expected = rows_of(learned_copy.links(3, ranking="content", now=DAY))
    put(learned_copy, text="no model")
    with Recommender(learned_copy.path) as rec, caplog.at_level(logging.WARNING, logger="recommender"):
        assert rows_of(rec.links(3, now=DAY)) == expected
        assert [(link.id, link.score, link.via) for link in rec.related(QUERY, now=DAY)] == expected[QUERY]
        assert rec.info()["learned"] is None
        assert rec.search("topic3")
        assert len(caplog.records) == 1
        assert "recommender learn" in caplog.text
        assert "by content" in caplog.text
        with pytest.raises(IndexDamagedError, match="cannot be used"):
            rec.related(QUERY, ranking="learned")
        (problem,) = rec.verify()
        assert "cannot be used" in problem
        report = rec.add([replace(rec.get(QUERY), id="new", url=None)])
        assert any("cannot be used" in problem for problem in report.problems)
        assert rec.forget_learned()
        assert not list(rec.verify())


def test_a_model_with_a_wrong_checksum_is_reported_once_and_can_be_forgotten(learned_copy, caplog):
    expected = rows_of(learned_copy.links(3, ranking="content", now=DAY))
    path = learned_copy.path
    learned_copy.close()
    with closing(sqlite3.connect(path / "articles.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE model_files SET content = CAST(replace(content, 'e', 'o') AS BLOB)")
    with Recommender(path) as rec:
        assert rows_of(rec.links(3, now=DAY)) == expected
        problems = list(rec.verify())
        assert len(problems) == 1
        assert "learn --forget" in problems[0]
        assert len(caplog.records) == 1
        assert rec.forget_learned()
        assert not list(rec.verify())


@pytest.mark.slow
def test_a_new_learned_ranking_replaces_a_damaged_one(learned_copy):
    put(learned_copy, text="no model")
    assert learned_copy.learn().adopted
    assert learned_copy.learned["changed"] == 0.0
    assert not list(learned_copy.verify())


@pytest.fixture(scope="session")
def both_kinds(tmp_path_factory, fake_vectors_context):
    """Return a function that learns from two kinds of links, one of them random, and returns the report."""

    def learn_from(habitual: str):
        path = tmp_path_factory.mktemp("kinds") / "index"
        habit, drawn = (handbook(120, links=links) for links in ("habit", "random"))
        related, links = (habit, drawn) if habitual == "related" else (drawn, habit)
        with fake_vectors_context(), Recommender(path) as rec:
            rec.build([replace(one, links=other.related) for one, other in zip(related, links, strict=True)])
            return rec.learn()

    return learn_from


@pytest.mark.slow
def test_the_kind_of_links_with_the_best_held_out_figures_is_learned(both_kinds):
    report = both_kinds("related")
    assert report.adopted
    assert report.kinds == ("related",)


def test_levels_are_lowered_up_to_an_output_and_keep_their_maximum():
    outputs, levels = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.5, 0.6, 1.0])
    for output, level in ((-1.0, 0.2), (0.0, -0.5), (1.5, 0.3), (2.0, 0.7), (2.0, 0.1), (2.9, 0.2)):
        x, y = lower(outputs, levels, output, level)
        assert (np.diff(x) > 0).all()
        assert (np.diff(y) >= 0).all()
        assert np.interp(output, x, y) <= level + 1e-12 or level < levels[0]
        assert y[-1] == pytest.approx(levels[-1])
