import gzip
import json
from dataclasses import replace

import pytest

from recommender import Article, BuildReport, Progress, Recommender, SourceError
from recommender.indexing import pipeline


def counts(report: BuildReport) -> tuple[int, ...]:
    return report.added, report.changed, report.unchanged, report.removed, report.embedded


def write(path, articles, end=""):
    path.write_text("".join(json.dumps(article.to_record()) + "\n" for article in articles) + end)
    return path


@pytest.fixture
def export(tmp_path, articles):
    """A file of 40 articles."""
    more = [Article(id=f"n{i:02}", title=f"Number {i}", text=f"Words of article {i}.") for i in range(34)]
    return write(tmp_path / "export.jsonl", articles + more), articles + more


@pytest.fixture
def rec(tmp_path):
    with Recommender(tmp_path / "index") as rec:
        yield rec


def test_a_second_build_embeds_nothing_and_one_change_embeds_one(rec, export):
    path, articles = export
    assert counts(rec.build(path)) == (40, 0, 0, 0, 40)
    assert counts(rec.build(path)) == (0, 0, 40, 0, 0)
    articles[3] = replace(articles[3], text="Other words.")
    write(path, articles)
    assert counts(rec.build(path)) == (0, 1, 39, 0, 1)
    assert rec.get(articles[3].id) == articles[3]


def test_other_fields_change_without_embedding(rec, export):
    path, articles = export
    rec.build(path)
    articles[0] = replace(articles[0], tags=("new",), url="https://example.org/moved", related=("dam-2",))
    write(path, articles)
    assert counts(rec.build(path)) == (0, 1, 39, 0, 0)
    assert rec.get("dam-1") == articles[0]
    assert rec.related("dam-2", k=1)[0].url == "https://example.org/moved"


def test_prune_removes_articles_missing_from_the_source(rec, export):
    path, articles = export
    rec.build(path)
    write(path, articles[:38])
    report = rec.build(path)
    assert (report.missing, report.removed, len(rec)) == (2, 0, 40)
    report = rec.build(path, prune=True)
    assert (report.missing, report.removed, len(rec)) == (0, 2, 38)
    assert report.refused == ""


def test_prune_leaves_articles_of_other_sources(rec, export, tmp_path):
    path, articles = export
    rec.build(path)
    rec.build(write(tmp_path / "other.jsonl", [Article(id="other", title="Other")]))
    rec.add([Article(id="by hand", title="By hand")])
    write(path, articles[:39])
    assert rec.build(path, prune=True).removed == 1
    assert "other" in rec
    assert "by hand" in rec


def test_an_article_that_moved_to_another_source_belongs_to_it(rec, export, tmp_path):
    path, articles = export
    rec.build(path)
    second = write(tmp_path / "second.jsonl", articles[:5])
    assert counts(rec.build(second)) == (0, 0, 5, 0, 0)
    write(path, articles[5:])
    assert rec.build(path, prune=True).removed == 0
    assert "dam-1" in rec


def test_prune_refuses_more_than_its_limit(rec, export):
    path, articles = export
    rec.build(path)
    write(path, articles[:35])
    report = rec.build(path, prune=True)
    assert "12.5 %" in report.refused
    assert (report.missing, report.removed, len(rec)) == (5, 0, 40)
    assert rec.build(path, prune=True, prune_limit=12.5).removed == 5


def test_prune_refuses_a_source_that_is_not_fully_known(rec, export, tmp_path):
    path, _ = export
    rec.build(path)
    original_content = path.read_bytes()
    second = tmp_path / "second.jsonl"
    for content, reason in (
        (original_content[:-20], "cut short"),
        (original_content[:-200] + b"\nnot json\n", "is not JSON"),
        (original_content + b'{"title": "lost its id"}\n', "neither an id nor a url"),
        (original_content + b"[]\n", "not a JSON object"),
    ):
        path.write_bytes(content)
        report = rec.build(path, prune=True)
        assert reason in report.refused
        assert (report.removed, report.missing, len(rec)) == (0, None, 40)
    path.write_bytes(b"")
    with pytest.raises(SourceError, match="holds no article"):
        rec.build(path, prune=True)
    assert len(rec) == 40
    path.write_bytes(original_content)
    report = rec.build(path, second, prune=True)
    assert "does not exist" in report.refused
    assert report.failed


def test_prune_refuses_a_truncated_gzip(tmp_path, rec, export):
    path, _ = export
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    rec.build(packed)
    packed.write_bytes(packed.read_bytes()[:-30])
    report = rec.build(packed, prune=True, prune_limit=100)
    assert "cut short" in report.refused
    assert report.failed
    assert len(rec) == 40


def test_a_record_that_became_bad_is_not_pruned(rec, export):
    path, articles = export
    rec.build(path)
    write(path, articles[1:], end=json.dumps({"id": articles[0].id, "title": None}) + "\n")
    report = rec.build(path, prune=True)
    assert (report.skipped, report.removed, report.missing) == (1, 0, 0)
    assert articles[0].id in rec


@pytest.mark.parametrize("source", [5, None, True, b"archive.jsonl"])
def test_a_value_that_is_no_source_is_refused_in_a_sentence(rec, source):
    for method in (rec.build, rec.add):
        with pytest.raises(TypeError, match=r"A source is a file, folder or URL.* is of type \w+\."):
            method(source)


def test_prune_and_limit_exclude_one_another(rec, export):
    with pytest.raises(ValueError, match="limit"):
        rec.build(export[0], prune=True, limit=3)
    report = rec.build(export[0], limit=3)
    assert (report.added, report.missing, len(rec)) == (3, None, 3)


def test_an_empty_file_in_a_folder_stops_the_prune(rec, tmp_path, articles):
    (tmp_path / "news").mkdir()
    write(tmp_path / "news" / "a.jsonl", articles)
    write(tmp_path / "news" / "b.jsonl", [Article(id="b", title="B")])
    rec.build(tmp_path / "news")
    (tmp_path / "news" / "b.jsonl").write_text("")
    report = rec.build(tmp_path / "news", prune=True, prune_limit=100)
    assert "b.jsonl: the file is empty" in report.refused
    assert "b" in rec


@pytest.mark.parametrize("record", [{"id": " k1 "}, {"id": "k1", "title": ""}, {"url": "k1"}])
def test_a_bad_record_keeps_its_article_however_its_id_is_written(rec, export, record):
    path, articles = export
    write(path, [*articles, Article(id="k1", title="K")])
    rec.build(path)
    write(path, articles, end=json.dumps(record) + "\n")
    assert rec.build(path, prune=True).removed == 0
    assert "k1" in rec


def test_an_invalid_record_does_not_replace_a_valid_one(rec, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a"}\n{"id": "a", "title": "Good"}\n')
    report = rec.build(path)
    assert (report.added, report.skipped) == (1, 1)


@pytest.mark.parametrize("limit", [float("nan"), -1, 101])
def test_a_prune_limit_that_is_no_share_is_refused(rec, export, limit):
    with pytest.raises(ValueError, match="percent"):
        rec.build(export[0], prune=True, prune_limit=limit)


def test_articles_that_change_their_source_are_reported(rec, tmp_path):
    problems = []
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text(f"A Headline of Page {name}\n\nSome words stand here in {name}.\n")
        rec.build(tmp_path / name, on_problem=problems.append)
    (problem,) = problems
    assert "1 articles were known from another source" in problem


def test_misuse_from_python_is_reported(rec):
    with pytest.raises(TypeError, match="list"):
        rec.add({"id": "a", "title": "A"})
    problems = []
    with pytest.raises(SourceError):
        rec.build(["examples", None], on_problem=problems.append)
    assert "type str" in problems[0]


def test_an_id_of_two_sources_is_reported_and_the_first_is_taken(rec, tmp_path, articles):
    first = write(tmp_path / "first.jsonl", articles[:2])
    second = write(tmp_path / "second.jsonl", [replace(articles[0], title="Another"), articles[2]])
    problems = []
    report = rec.build(first, second, on_problem=problems.append)
    assert (report.added, report.skipped) == (3, 1)
    assert rec.get("dam-1").title == articles[0].title
    (problem,) = problems
    assert f"{first}:1" in problem
    assert f"{second}:1" in problem
    assert "'dam-1'" in problem


def test_every_problem_is_reported_with_its_location(rec, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"id": "a", "title": "A", "published": "soon"}\nnot json\n{"id": "b"}\n')
    problems = []
    report = rec.build(path, on_problem=problems.append)
    assert (report.added, report.skipped) == (1, 2)
    assert [f"{path}:{line}" in problem for line, problem in enumerate(problems, start=1)] == [True] * 3
    assert "'soon'" in problems[0]
    assert "'b'" in problems[2]


def test_a_missing_source_does_not_stop_the_others(rec, export, tmp_path):
    report = rec.build(tmp_path / "missing", export[0])
    assert report.added == 40
    assert "does not exist" in report.failed[0]
    with pytest.raises(SourceError, match="does not exist"):
        rec.build(tmp_path / "missing")


def test_sources_without_an_article_make_no_index(rec, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(SourceError, match="holds no article"):
        rec.build(empty)
    assert not rec.path.exists()


def test_add_replaces_and_removes_nothing(rec, export, tmp_path):
    path, articles = export
    rec.build(path)
    last_build = rec.info()["last_build"]
    delta = write(tmp_path / "delta.jsonl", [replace(articles[0], title="New title"), Article(id="new", title="New")])
    report = rec.add(delta)
    assert counts(report) == (1, 1, 0, 0, 2)
    assert report.missing is None
    assert len(rec) == 41
    assert rec.info()["last_build"] == last_build


@pytest.mark.parametrize("deleted", [{"deleted": True}, {"status": "Entwurf"}])
def test_a_delta_of_another_name_may_delete_many(rec, export, tmp_path, deleted):
    path, articles = export
    rec.build(path)
    delta = tmp_path / "delta.jsonl"
    delta.write_text("".join(json.dumps({"id": article.id, **deleted}) + "\n" for article in articles[:12]))
    report = rec.add(delta)
    assert (report.removed, report.refused, len(rec)) == (12, "", 28)


def test_a_build_of_another_name_refuses_many_drafts_with_a_share_of_all_that_it_names(rec, export, tmp_path):
    path, articles = export
    rec.build(path)
    other = write(tmp_path / "other.jsonl", articles[12:])
    with other.open("a") as file:
        file.writelines(json.dumps({"id": article.id, "status": "draft"}) + "\n" for article in articles[:12])
    report = rec.build(other)
    assert "12 articles, 30.0 % of those" in report.refused
    assert (report.removed, len(rec)) == (0, 40)
    assert rec.build(other, prune_limit=30).removed == 12


def test_records_and_articles_may_be_passed_in(rec, articles):
    problems = []
    report = rec.build([articles[0], {"id": 7, "title": "Seven"}, {"title": "no id"}], on_problem=problems.append)
    assert (report.added, report.skipped) == (2, 1)
    assert "article 3" in problems[0]
    assert rec.get("7").title == "Seven"


def test_a_build_that_is_cut_off_keeps_its_batches_and_goes_on(rec, export, monkeypatch):
    monkeypatch.setattr(pipeline, "BATCH_ARTICLES", 10)
    path, articles = export

    def stop(progress: Progress) -> None:
        if progress.embedded >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rec.build(path, on_progress=stop)
    stored = len(rec)
    assert 0 < stored < 40
    assert rec.info()["last_build"] is None
    assert len(rec.related(articles[0].id, k=100)) == stored - 1
    report = rec.build(path)
    assert counts(report) == (40 - stored, 0, stored, 0, 40 - stored)


def test_progress_grows_to_the_whole(rec, export, monkeypatch):
    monkeypatch.setattr(pipeline, "BATCH_ARTICLES", 7)
    reports, compared = [], []
    rec.build(export[0], on_progress=lambda p: (reports if p.stage == "reading" else compared).append(p))
    assert (compared[-1].done, compared[-1].total) == (40, 40)
    assert [p.done for p in reports] == sorted(p.done for p in reports)
    assert (reports[-1].done, reports[-1].articles, reports[-1].embedded) == (reports[-1].total, 40, 40)
    assert reports[-1].total == export[0].stat().st_size
    assert len(reports) >= 40 / 7


@pytest.mark.parametrize("field", ["text", "tags", "metadata"])
def test_long_articles_are_committed_in_smaller_batches(rec, monkeypatch, fake_vectors, field):
    monkeypatch.setattr("recommender.indexing.pipeline.MAX_BATCH_CHARS", 1000)
    values = {"text": "word " * 100, "tags": [f"tag{n:04}" for n in range(80)], "metadata": {"more": "x" * 500}}
    sizes = []
    write = type(rec._store).write
    monkeypatch.setattr(
        type(rec._store),
        "write",
        lambda self, changes, *arguments, **more: (
            sizes.append(len(changes)) or write(self, changes, *arguments, **more)
        ),
    )
    rec.add([{"id": f"long{n}", "title": f"Title {n}", field: values[field]} for n in range(9)])
    assert max(sizes) == 2
    assert len(rec) == 9


def test_an_article_marked_as_unpublished_is_not_indexed(rec):
    flagged, _ = Article.from_record({"id": "b", "title": "Not yet", "published": False})
    report = rec.build([Article("a", "There"), flagged])
    assert (report.added, report.excluded.total()) == (1, 1)
    assert "b" not in rec
