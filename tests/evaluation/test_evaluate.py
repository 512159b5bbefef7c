import importlib
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from recommender import PolicyError, Recommender, RecommenderError, SourceError
from recommender.cli.main import main
from recommender.evaluation import metrics, qrels

ids = st.sampled_from([f"a {i}" for i in range(30)])
judgements = st.dictionaries(ids, st.dictionaries(ids, st.integers(0, 3), min_size=1), min_size=1, max_size=8)
blocks = st.dictionaries(ids, st.lists(ids, unique=True, max_size=14), max_size=12)


def ndcg(grades, links):
    def gain(values):
        return sum((2**value - 1) / math.log2(rank + 2) for rank, value in enumerate(values[:10]))

    ideal = gain(sorted(grades.values(), reverse=True))
    return gain([grades.get(link, 0) for link in links]) / ideal if ideal else 0.0


@given(judgements, blocks)
def test_measures_agree_with_their_definitions(judged, sample_blocks):
    evaluation = metrics.measure(judged, sample_blocks)
    for index, (query, grades) in enumerate(judged.items()):
        links = sample_blocks.get(query, [])[:10]
        hits = [grades.get(link, 0) > 0 for link in links]
        relevant = sum(grade > 0 for grade in grades.values())
        assert evaluation["nDCG@10"][index] == pytest.approx(ndcg(grades, links))
        assert evaluation["MRR"][index] == pytest.approx(1 / (hits.index(True) + 1) if True in hits else 0)
        assert evaluation["P@5"][index] == pytest.approx(sum(hits[:5]) / 5)
        assert evaluation["recall@10"][index] == pytest.approx(sum(hits) / relevant if relevant else 0)


def test_a_confidence_interval_contains_the_mean_and_narrows_with_more_queries():
    values = np.random.default_rng(1).random(400)
    few, many = metrics.estimate(values[:40]), metrics.estimate(values)
    for evaluation in (few, many):
        assert evaluation.low < evaluation.mean < evaluation.high
    assert many.high - many.low < few.high - few.low
    assert metrics.estimate(values) == many
    alone = metrics.estimate(np.array([0.5]))
    assert (alone.mean, alone.low, alone.high) == (0.5, 0.5, 0.5)


def test_the_repr_of_usage_omits_the_lorenz_curve():
    assert len(repr(metrics.usage(["a", "b"], {"a": ["b"], "b": ["a"]}))) < 200


def test_usage_measures_coverage_and_evenness():
    even = metrics.usage(["a", "b", "c"], {"a": ["b"], "b": ["c"], "c": ["a"]})
    assert (even.coverage, even.gini, even.never) == (1.0, 0.0, [])
    first = metrics.usage(["a", "b", "c", "d"], {"a": ["b"], "b": [], "c": ["b"], "d": ["b"]})
    assert (first.coverage, first.gini, first.never) == (0.25, 0.75, ["a", "c", "d"])
    assert first.most == [("b", 3)]
    assert (first.shares[0], first.shares[75], first.shares[100]) == (0.0, 0.0, 1.0)


@pytest.fixture
def linked(tmp_path, articles):
    """Return a Recommender over six articles, four of them with editorial links."""
    links = {"dam-1": ("dam-2", "https://example.org/dam-3"), "dam-2": ("dam-1",), "club-1": ("club-2", "nowhere"),
             "club-3": ("dam-3",)}  # fmt: skip
    with Recommender(tmp_path / "linked") as rec:
        rec.build([replace(article, related=links.get(article.id, ())) for article in articles])
        yield rec


def test_evaluation_against_editorial_links(linked):
    evaluation = linked.evaluate()
    assert (evaluation.articles, evaluation.queries, evaluation.missing, evaluation.truth) == (
        6,
        4,
        0,
        "editorial links",
    )
    assert list(evaluation.methods) == ["dense", "lexical", "both"]
    block = {id: [link.id for link in links] for id, links in linked.links(10, plain=True)}
    grades = {"dam-1": {"dam-2": 1, "dam-3": 1}, "dam-2": {"dam-1": 1}, "club-1": {"club-2": 1}, "club-3": {"dam-3": 1}}
    expected = sum(ndcg(grades[query], block[query]) for query in grades) / 4
    assert evaluation.methods["both"].measures["nDCG@10"].mean == pytest.approx(expected)
    assert evaluation.worst[0].id == "club-3"
    assert len(evaluation.scores["judged"]) == 5


def test_rankings_do_not_use_editorial_links(linked, articles, tmp_path):
    qrels_file = tmp_path / "truth.tsv"
    qrels_file.write_text("dam-1\t0\tdam-2\t1\nclub-3\t0\tdam-3\t2\ngone\t0\tdam-1\t1\n")
    with Recommender(tmp_path / "bare") as bare:
        bare.build(articles)
        assert dict(bare.links(10, plain=True)) == dict(linked.links(10, plain=True))
        assert dict(bare.links(10)) == dict(linked.links(10, editorial="ignore"))
        with_links, without = linked.evaluate(qrels_file), bare.evaluate(qrels_file)
    assert with_links == without
    assert (without.queries, without.missing) == (3, 1)
    ndcgs = [ndcg({"dam-2": 1}, [link.id for link in linked.related("dam-1", k=10, editorial="ignore")]),
             ndcg({"dam-3": 2}, [link.id for link in linked.related("club-3", k=10, editorial="ignore")])]  # fmt: skip
    assert without.methods["both"].measures["nDCG@10"].mean == pytest.approx(sum(ndcgs) / 3)


def test_usage_is_measured_without_judgements(rec, tmp_path):
    evaluation = rec.evaluate(k=1)
    assert (evaluation.articles, evaluation.queries, evaluation.truth, evaluation.per_query, evaluation.best) == (
        6,
        0,
        "",
        [],
        [],
    )
    usage = evaluation.methods["both"].usage
    first = [block[0].id for _, block in rec.links(1, plain=True)]
    assert dict(usage.most) == {id: first.count(id) for id in first}
    assert usage.least == sorted(usage.most, key=lambda pair: (pair[1], pair[0]))
    assert set(usage.never) == {article.id for article in rec} - set(first)
    page = tmp_path / "page.html"
    output = run("evaluate", "--index", rec.path, "-k", 1, "--report", page)
    assert output.exit_code == 0
    assert "6 articles; no editorial links to measure against" in output.stdout
    for heading in ("most recommended, both", "least recommended, both", "never recommended, both"):
        assert heading in output.stdout
    html = page.read_text()
    assert html.count("data:image/svg+xml") == 2
    assert "the least recommended" in html
    assert "nDCG" not in html


def test_an_empty_index_cannot_be_evaluated(rec):
    rec.remove(*[article.id for article in rec])
    with pytest.raises(RecommenderError, match="no articles"):
        rec.evaluate()


def test_blocks_are_evaluated_as_one_more_method(linked):
    plain = linked.evaluate()
    assert list(plain.methods) == ["dense", "lexical", "both"]
    linked.ban("dam-2")
    evaluation = linked.evaluate(blocks=True, k=2)
    assert list(evaluation.methods) == ["dense", "lexical", "both", "blocks"]
    assert evaluation.methods["both"].measures == plain.methods["both"].measures
    as_shown = {id: [link.id for link in block] for id, block in linked.links(2)}
    assert evaluation.methods["blocks"].usage == metrics.usage(list(as_shown), as_shown, 2)
    assert "dam-2" in evaluation.methods["blocks"].usage.never
    # Editorial links are left out of blocks that are measured against them.
    ranked = {id: [link.id for link in block] for id, block in linked.links(10, editorial="ignore")}
    judged = {id: dict.fromkeys(links, 1) for id, links in linked._store.links("related").items()}
    expected = metrics.measure(judged, ranked)["nDCG@10"]
    assert evaluation.methods["blocks"].measures["nDCG@10"].mean == pytest.approx(expected.mean())
    assert evaluation.best[0].ndcg == pytest.approx(expected.max(), abs=1e-4)
    none = linked.evaluate(min_score=1.0)  # any option implies blocks
    assert none.methods["blocks"].measures["recall@10"].mean == 0.0
    # Editorial links stay in blocks that are measured against judgements.
    first = linked.evaluate({"club-3": ["dam-3"]}, blocks=True, diversity=0.0)
    assert first.methods["blocks"].measures["MRR"].mean == 1.0
    with pytest.raises(PolicyError, match="bogus"):
        linked.evaluate(bogus=1)


def test_the_evaluation_contains_the_measures_of_every_query(linked):
    evaluation = linked.evaluate(blocks=True)
    assert [(row["query"], row["method"]) for row in evaluation.per_query[:5]] == [
        ("club-1", "dense"), ("club-3", "dense"), ("dam-1", "dense"), ("dam-2", "dense"), ("club-1", "lexical"),
    ]  # fmt: skip
    for name, method in evaluation.methods.items():
        rows = [row for row in evaluation.per_query if row["method"] == name]
        assert len(rows) == evaluation.queries
        for measure, estimate in method.measures.items():
            assert sum(row[measure] for row in rows) / len(rows) == pytest.approx(estimate.mean)


QRELS = {"1": {"2": 2, "3": 0}, "2": {"1": 1}}
TABLE = {"query": ["1", "1", "2"], "doc": ["2", "3", "1"], "relevance": [2, 0, 1]}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_judgements_can_be_a_data_frame(library):
    frame = importlib.import_module(library).DataFrame
    assert qrels.collect(frame(TABLE)) == QRELS
    assert qrels.collect(frame({"QID": [1, 1, 2], "docno": [2, 3, 1], "Label": [2.0, 0.0, 1.0]})) == QRELS
    assert qrels.collect(frame({"query_id": ["1"], "article": ["2"]})) == {"1": {"2": 1}}
    with pytest.raises(SourceError, match="no column for the article, only query, other"):
        qrels.collect(frame({"query": ["1"], "other": ["2"]}))
    with pytest.raises(SourceError, match="judgement 2 is not one"):
        qrels.collect(frame({"query": ["1", "1"], "doc": ["2", "3"], "rel": [1.0, float("nan")]}))
    with pytest.raises(SourceError, match="no relevance judgement"):
        qrels.collect(frame({"query": [], "doc": []}))


def test_judgements_can_be_a_mapping(linked, tmp_path):
    assert qrels.collect({1: {2: 2, 3: False}, 2: [1]}) == QRELS
    assert qrels.collect({"1": "2", "3": {"4", "5"}}) == {"1": {"2": 1}, "3": {"4": 1, "5": 1}}
    for wrong in (
        {"a": {"b": "1"}},
        {"a": {"b": 1.5}},
        {"a": {"b": 99}},
        {"a": [None]},
        {"a": {"b": float("inf")}},
        {},
    ):
        with pytest.raises(SourceError, match="judgement"):
            qrels.collect(wrong)
    for wrong in (5, [("a", "b")], object()):
        with pytest.raises(TypeError, match="qrels are of type"):
            linked.evaluate(wrong)
    file = tmp_path / "q.tsv"
    file.write_text("dam-1\t0\tdam-2\t1\n")
    of_file, of_mapping = linked.evaluate(file), linked.evaluate({"dam-1": ["dam-2"]})
    assert (of_file.truth, of_mapping.truth) == (str(file), "relevance judgements")
    assert replace(of_file, truth="") == replace(of_mapping, truth="")


def test_queries_that_are_not_articles_are_reported(rec, tmp_path):
    second = tmp_path / "other.tsv"
    second.write_text("x 0 y 1\n")
    with pytest.raises(RecommenderError, match=r"None of the 1 queries"):
        rec.evaluate(second)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\t0\tb\n", "line 1"),
        (b"a\t0\tb\t1\nx\t0\tc\tmany\n", "line 2"),
        (b"a 0 b 99999999999999999999\n", "line 1"),
        (b"", "no relevance"),
        (b"\xff\xfe", "read"),
    ],
)
def test_errors_in_judgements_name_the_line(tmp_path, content, message):
    (tmp_path / "bad.tsv").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        qrels.read(tmp_path / "bad.tsv")


def test_judgements_can_be_gzipped_and_ids_can_contain_spaces(tmp_path):
    import gzip

    (tmp_path / "q.tsv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfa b\t0\tc d\t2\n\n"))
    assert qrels.read(tmp_path / "q.tsv.gz") == {"a b": {"c d": 2}}
    with pytest.raises(SourceError, match="read"):
        qrels.read(tmp_path / "none.tsv")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_evaluates_blocks_with_options(linked):
    record = json.loads(run("evaluate", "--index", linked.path, "--min-score", "1", "--json").stdout)
    assert record["methods"]["blocks"]["measures"]["recall@10"]["mean"] == 0.0
    output = run("evaluate", "--index", linked.path, "--blocks", "-k", "2", "--jobs", "1").stdout
    assert "in the first 2 links" in output
    assert "most recommended, blocks" in output
    assert run("evaluate", "--index", linked.path, "--jobs", "0").exit_code == 2


def test_the_command_prints_a_table_json_and_a_report(linked, tmp_path):
    table = run("evaluate", "--index", linked.path)
    assert table.exit_code == 0
    lines = table.stdout.splitlines()
    assert lines[0] == "6 articles; 4 queries; against editorial links"
    mean = linked.evaluate().methods["both"].measures["nDCG@10"].mean
    assert any(line.startswith("both") and f"{mean:.4f}" in line for line in lines)
    record = json.loads(run("evaluate", "--index", linked.path, "--json").stdout)
    assert record["methods"]["both"]["measures"]["nDCG@10"]["mean"] == mean
    page = tmp_path / "page.html"
    assert f"The report is in {page}." in run("evaluate", "--index", linked.path, "--report", page).stdout
    html = page.read_text()
    assert f"{mean:.4f}" in html
    assert html.count("data:image/svg+xml") == 3
    assert "River dam gates are shut" in html
    assert re.findall(r"""(?:src|href)=["'](?!data:)|<script|@import|url\(""", html) == []  # nothing to fetch


def test_titles_are_escaped_in_the_report(tmp_path):
    with Recommender(tmp_path / "index") as rec:
        rec.build(
            [{"id": f"<b>{i}", "title": "<script>alert(1)</script> same words", "related": ["<b>1"]} for i in range(3)]
        )
    page = tmp_path / "page.html"
    assert run("evaluate", "--index", tmp_path / "index", "--report", page).exit_code == 0
    assert "<script" not in page.read_text()
    assert "<b>" not in page.read_text()


def test_an_article_can_be_removed_during_an_evaluation(linked, monkeypatch):
    from recommender.evaluation import evaluate as evaluate_module

    scores = evaluate_module._scores_by_kind

    def removing(store, *arguments):
        with Recommender(linked.path) as second:
            second.remove("dam-2", "club-1")
        return scores(store, *arguments)

    monkeypatch.setattr(evaluate_module, "_scores_by_kind", removing)
    evaluation = linked.evaluate()
    assert (evaluation.articles, evaluation.queries) == (6, 4)


def test_a_report_makes_its_folder_and_a_file_in_the_way_is_reported_before_the_ranking(linked, tmp_path):
    page = tmp_path / "new" / "x.html"
    assert run("evaluate", "--index", linked.path, "--report", page).exit_code == 0
    assert page.is_file()
    result = run("evaluate", "--index", linked.path, "--report", page / "x.html")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{page / 'x.html'} cannot be written: {page} is not a folder." in result.stderr


def test_judgements_that_cannot_be_read_are_reported_without_an_error_number(linked, tmp_path):
    result = run("evaluate", "--index", linked.path, "--qrels", tmp_path / "none.tsv")
    assert result.exit_code == 1
    assert f"The judgements {tmp_path / 'none.tsv'} cannot be read: No such file or directory." in result.stderr


def test_an_empty_list_has_no_heading(linked):
    usage = linked.evaluate(k=6).methods["both"].usage
    printed = run("evaluate", "--index", linked.path, "-k", "6").stdout
    assert not usage.never
    assert "most recommended" in printed
    assert "never recommended" not in printed


def test_missing_report_packages_are_reported_before_the_evaluation(linked, monkeypatch, tmp_path):
    monkeypatch.setattr("recommender.evaluation.report.find_spec", lambda name: None)
    result = run("evaluate", "--index", linked.path, "--report", tmp_path / "x.html")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "recommender[report]" in result.stderr
