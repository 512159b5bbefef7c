"""Large builds, where worker processes compute languages, terms and the vectors of a static model."""

import json
import os
from contextlib import nullcontext
from dataclasses import replace

import pytest

from recommender import Article, ModelError, Recommender, RecommenderError
from recommender.embedding.encoder import DenseEncoder
from recommender.indexing.analysis import Analyzer
from recommender.store.local import inverted_index
from recommender.system import processes

pytestmark = pytest.mark.slow

ENGLISH = "The government shut the gates of the river dam yesterday despite protests from the residents."
GERMAN = "Die Regierung hat gestern trotz der Proteste der Anwohner die Tore des Staudamms geschlossen."
COUNT, BATCH = 240, 40


@pytest.fixture(autouse=True)
def many(monkeypatch):
    """Treat small archives as large ones."""
    monkeypatch.setattr("recommender.indexing.pipeline.BATCH_ARTICLES", BATCH)
    monkeypatch.setattr(processes, "MIN_ARTICLES_FOR_PROCESSES", 100)
    monkeypatch.setattr(processes, "core_count", lambda: 2)


@pytest.fixture
def submitted_chunks(monkeypatch):
    """Record the chunks submitted to worker processes: number of articles, and whether workers embed them."""
    chunks, submit = [], processes.submit

    def record(executor, finder, piece):
        if piece is not None:  # None only starts the workers
            chunks.append((len(piece), finder.static_model is not None))
        return submit(executor, finder, piece)

    monkeypatch.setattr(processes, "submit", record)
    return chunks


def archive(start=0):
    """Return German articles first, then more English ones, and articles of no clear language."""
    return [
        Article(
            id=f"{number:03}",
            title=f"Number {number}",
            text=f"zvw{number % 11} häuser {number}" if number % 3 == 0 else f"{text} {number}",
        )
        for number in range(start, COUNT)
        for text in [GERMAN if number < 100 else ENGLISH]
    ]


def changed():
    """Return the archive with another text in every second article and a tag in the others."""
    return [
        replace(article, tags=("dam",)) if number % 2 else replace(article, text=f"{article.text} Once more.")
        for number, article in enumerate(archive())
    ]


def stored(rec):
    changes = {change.article.id: change for change in rec._store.upserts(list(rec._store.ids()))}
    return [
        (change.article, dict(change.terms), change.language, change.assumed, change.vector.tobytes())
        for _, change in sorted(changes.items())
    ]


def same_as_of_one_process(tmp_path, monkeypatch, model):
    """Build an archive with several processes, and check that the index equals that of one process."""
    with Recommender(tmp_path / "spread", model=model) as spread, Recommender(tmp_path / "one", model=model) as single:
        report = spread.build(archive())
        assert (report.added, report.embedded) == (COUNT, COUNT)
        report = spread.build(changed())
        assert (report.changed, report.embedded) == (COUNT, COUNT / 2)
        monkeypatch.setattr(processes, "core_count", lambda: 1)
        single.build(archive())
        single.build(changed())
        assert stored(spread) == stored(single)
        assert spread.info()["languages"] == single.info()["languages"]
        assert dict(spread.links(3)) == dict(single.links(3))


def test_a_large_build_gives_the_same_index(tmp_path, monkeypatch, fake_vectors, submitted_chunks):
    same_as_of_one_process(tmp_path, monkeypatch, None)
    # After the first two batches the archive counts as large.
    assert sum(count for count, _ in submitted_chunks) == 2 * (COUNT - 2 * BATCH)
    assert not any(embeds for _, embeds in submitted_chunks)


@pytest.mark.parametrize(("most", "embeds"), [(2**26, True), (2**10, False)])
def test_a_static_model_embeds_in_other_processes_too_unless_it_is_large(
    tmp_path, monkeypatch, submitted_chunks, most, embeds
):
    monkeypatch.setattr("recommender.indexing.pipeline.MAX_COPIED_MODEL_BYTES", most)
    same_as_of_one_process(tmp_path, monkeypatch, "static")
    assert {each for _, each in submitted_chunks} == {embeds}


def test_an_index_of_a_static_model_needs_no_other(tmp_path, monkeypatch, submitted_chunks):
    with Recommender(tmp_path / "index", model="static") as rec:
        rec.build(archive(start=200))

    def fail(encoder):
        raise ModelError("it is gone")

    monkeypatch.setattr(DenseEncoder, "folder", property(fail))
    with Recommender(tmp_path / "index") as rec:
        assert rec.add(archive()).embedded == 200
    assert {each for _, each in submitted_chunks} == {True}


@pytest.mark.parametrize("model", ["static", None])
def test_progress_grows_to_the_whole(tmp_path, monkeypatch, fake_vectors_context, model):
    reports = []
    with (
        fake_vectors_context() if model is None else nullcontext(),
        Recommender(tmp_path / "index", model=model) as rec,
    ):
        rec.build(archive(), on_progress=reports.append)
    reports = [progress for progress in reports if progress.stage == "reading"]
    assert [progress.articles for progress in reports] == sorted(progress.articles for progress in reports)
    assert (reports[-1].articles, reports[-1].embedded) == (COUNT, COUNT)


def test_a_limit_below_the_size_of_a_large_archive_starts_no_processes(tmp_path, fake_vectors, submitted_chunks):
    lines = tmp_path / "a.jsonl"
    lines.write_text("".join(json.dumps(article.to_record()) + "\n" for article in archive()))
    with Recommender(tmp_path / "index") as rec:
        rec.build(lines, limit=90)
        assert submitted_chunks == []
        rec.build(lines, limit=110)
    with Recommender(tmp_path / "other") as rec:
        rec.build(lines, limit=130)
    assert sum(count for count, _ in submitted_chunks) == 130 - 2 * BATCH  # two are read before the first is stored


def test_few_new_articles_start_no_processes(tmp_path, fake_vectors, submitted_chunks):
    with Recommender(tmp_path / "index") as rec:
        rec.build(archive(start=200))
        rec.build(archive(start=150))
    assert submitted_chunks == []


def test_a_killed_process_loses_only_uncommitted_articles(tmp_path, monkeypatch, fake_vectors):
    def dying(dominant, static):
        find, sign = Analyzer(dominant, static), tmp_path / "ended"

        def die_once(articles):
            if sign.exists():
                return find(articles)
            sign.touch()
            os._exit(1)

        return die_once

    with Recommender(tmp_path / "index") as rec:
        with monkeypatch.context() as patch:
            patch.setattr("recommender.indexing.pipeline.Analyzer", dying)
            with pytest.raises(RecommenderError, match="ended from outside"):
                rec.build(archive())
        stored = rec.info()["articles"]
        assert 0 < stored < COUNT
        report = rec.build(archive())
        assert (report.added, report.unchanged) == (COUNT - stored, stored)


@pytest.mark.parametrize("terms", [1, 60])
def test_terms_sorted_in_parts_give_the_same_file(tmp_path, monkeypatch, fake_vectors, terms):
    """Long articles take no more memory than many short ones."""

    def inverted_index_files(index_path):
        with Recommender(index_path) as rec:
            rec.build(archive())
        return {path.name: path.read_bytes() for path in next(index_path.glob("inverted_index-*")).iterdir()}

    whole = inverted_index_files(tmp_path / "whole")
    monkeypatch.setattr("recommender.store.local.forward_index.MAX_WEIGHTED_TERMS", terms)
    parts = []
    packed = inverted_index._sorted_postings
    monkeypatch.setattr(
        inverted_index, "_sorted_postings", lambda postings: parts.append(len(postings.term_ids)) or packed(postings)
    )
    assert inverted_index_files(tmp_path / "parts") == whole
    assert len(parts) > 1
    assert max(parts) <= max(terms, 20)  # one article at least
