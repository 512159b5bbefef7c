"""`recommender learn`, `build --learn`, and `info` and `--why` under a learned ranking."""

import json
import random
import re
import shutil
import sys

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from recommender import LearnReport, Reasons, Recommender
from recommender.cli.main import main
from recommender.cli.output import print_reasons
from recommender.indexing import sync

SECTIONS = ("harbour", "orchard", "railway", "theatre", "quarry")
TAGS = ("repairs", "visitors", "wages", "weather")
WORDS = (
    *("morning", "bridge", "council", "letter", "garden", "engine", "ticket", "winter", "season", "market"),
    *("village", "worker", "price", "supper", "ladder", "window", "station", "stone", "apple", "sailor"),
    *("actor", "costume", "timber", "signal", "captain", "harvest", "ballast", "curtain", "crane", "basket"),
)
PAIR = ("harbour/0", "harbour/overview")  # an article, and one that it links to


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def related(index, *arguments):
    """Return the output of `related` for an article, without its editorial links."""
    return run("related", PAIR[0], "--index", index, "--editorial", "ignore", *arguments)


def linked_archive(links_of=lambda section, tag: [f"{section}/overview", f"{tag}/overview"], n=16):
    """Return records whose links follow a habit that their words do not show: to the overviews of section and tag."""
    words = random.Random(1)
    articles = [
        {"id": f"{name}/overview", "title": f"All about {name}", "text": " ".join(words.sample(WORDS, 8))}
        for name in (*SECTIONS, *TAGS)
    ]
    for section in SECTIONS:
        for number in range(n):
            tag = TAGS[number % len(TAGS)]
            articles.append(
                {
                    "id": f"{section}/{number}",
                    "title": " ".join(words.sample(WORDS, 4)),
                    "text": " ".join(words.sample(WORDS, 12)) + f" {section}",
                    "section": section,
                    "tags": [tag],
                    "related": links_of(section, tag),
                }
            )
    return articles


def relinked_archive():
    """Return the same articles, of which each links to one overview only."""
    return linked_archive(lambda section, tag: [f"{tag}/overview"])


def refused_report():
    return LearnReport(
        adopted=False,
        reason="The two figures are equal.",
        links=160,
        articles=80,
        kinds=("related",),
        tested=80,
        before={"ndcg@10": 0.5},
        after={"ndcg@10": 0.5},
        gain=(-0.01, 0.01),
        after_old={"ndcg@10": 0.5},
    )


def write_lines(path, articles):
    path.write_text("".join(json.dumps(article) + "\n" for article in articles))
    return path


@pytest.fixture(scope="session")
def learned_index(tmp_path_factory, fake_vectors_context):
    """Return the folder of an index with a learned ranking, and the result of `learn`; only to be read."""
    index = tmp_path_factory.mktemp("learned") / "index"
    with fake_vectors_context(), Recommender(index) as rec:
        rec.build(linked_archive())
    return index, run("learn", "--index", index)


@pytest.fixture
def own_index(learned_index, tmp_path, fake_vectors):
    """Return a copy of the index with a learned ranking, to be changed."""
    return shutil.copytree(learned_index[0], tmp_path / "index")


@pytest.fixture
def index_with(tmp_path, fake_vectors):
    """Return a function that builds an index of articles without a learned ranking."""

    def build(articles):
        with Recommender(tmp_path / "index") as rec:
            rec.build(articles)
        return tmp_path / "index"

    return build


def test_learn_prints_the_figures_before_and_after_and_the_next_step(learned_index):
    result = learned_index[1]
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Adopted: nDCG@10 differs by +0.")
    assert "nDCG@10 of 80 held-out articles" in result.stdout
    for name in ("new articles", "old articles"):
        before, after = re.search(rf"{name}.* (0\.\d+)  +(\d\.\d+)\n", result.stdout).groups()
        assert float(before) < 0.2
        assert float(after) > 0.5
    assert "Learned from 160 editorial links of 80 articles in " in result.stdout
    assert "`recommender related ID --why`; `--ranking content`" in result.stdout


def test_learn_as_json_is_the_report(own_index, monkeypatch):
    monkeypatch.setattr(Recommender, "learn", lambda self, on_progress: refused_report())
    result = run("learn", "--index", own_index, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    record = json.loads(result.stdout)
    assert (record["adopted"], record["links"], record["kinds"]) == (False, 160, ["related"])
    assert (record["before"], record["after"]) == ({"ndcg@10": 0.5}, {"ndcg@10": 0.5})


def test_status_shows_what_was_learned_and_how_many_links_have_changed(learned_index):
    index = learned_index[0]
    status = run("learn", "--status", "--index", index)
    assert status.exit_code == 0
    assert re.match(r"Learned on \d+ \w+ \d{4} from 160 editorial links of 80 articles\.\n", status.stdout)
    assert "nDCG@10 of 80 held-out articles" in status.stdout
    assert status.stdout.endswith("0 % of the links have changed since.\n")
    record = json.loads(run("learn", "--status", "--json", "--index", index).stdout)
    assert (record["adopted"], record["links"], record["changed"]) == (True, 160, 0.0)
    assert record["after"]["ndcg@10"] > record["before"]["ndcg@10"]
    with Recommender(index) as rec:
        assert rec.learned == record


def test_status_without_a_learned_ranking(rec):
    status = run("learn", "--status", "--index", rec.path)
    assert (status.exit_code, status.stderr) == (0, "")
    assert status.stdout.startswith("There is no learned ranking")
    assert json.loads(run("learn", "--status", "--json", "--index", rec.path).stdout) == {"adopted": False}


def test_forget_restores_the_content_ranking_once(own_index):
    by_content = related(own_index, "--ranking", "content", "--json").stdout
    assert related(own_index, "--json").stdout != by_content
    assert run("learn", "--forget", "--index", own_index).stdout.startswith("The learned ranking is removed")
    assert related(own_index, "--json").stdout == by_content
    again = run("learn", "--forget", "--index", own_index)
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr.startswith("Error: There is no learned ranking to remove")


def test_status_and_forget_exclude_each_other(learned_index):
    assert run("learn", "--status", "--forget", "--index", learned_index[0]).exit_code == 2


def test_too_few_links_exit_with_1_and_the_number_needed(rec):
    result = run("learn", "--index", rec.path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: The archive has 0 editorial links and 0 links in its texts")
    assert "60 are needed" in result.stderr
    as_json = run("learn", "--index", rec.path, "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["adopted"]) == (1, False)


def test_random_links_are_not_adopted_and_the_index_stays_as_it_is(index_with):
    draw = random.Random(2)
    ids = [f"{section}/{number}" for section in SECTIONS for number in range(16)]
    index = index_with(linked_archive(lambda section, tag: draw.sample(ids, 2)))
    before = related(index, "--json").stdout
    result = run("learn", "--index", index)
    assert result.exit_code == 0
    assert re.match(r"Not adopted: nDCG@10 differs by .* with 95 % confidence; \+0.01 is needed\.\n", result.stdout)
    assert result.stdout.endswith("Blocks are ranked by content as before.\n")
    assert related(index, "--json").stdout == before
    assert run("learn", "--status", "--index", index).stdout.startswith("There is no learned ranking")


def test_an_earlier_ranking_stays_where_a_later_one_is_not_adopted(own_index, monkeypatch):
    monkeypatch.setattr(Recommender, "learn", lambda self, on_progress: refused_report())
    assert re.search(r"The ranking learned on .* stays in use", run("learn", "--index", own_index).stdout)


def test_learn_names_a_stored_setting_that_keeps_blocks_from_using_it(own_index, monkeypatch):
    with Recommender(own_index) as rec:
        rec.configure(ranking="content")
        facts = {name: value for name, value in rec.learned.items() if name != "changed"}
    monkeypatch.setattr(Recommender, "learn", lambda self, on_progress: LearnReport(**facts))
    assert "`recommender settings --unset ranking`" in run("learn", "--index", own_index).stdout


def test_without_lightgbm_learn_and_build_name_the_extra_at_once(tmp_path, rec, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    export = write_lines(tmp_path / "export.jsonl", linked_archive())
    for arguments in (["learn", "--index", rec.path], ["build", export, "--learn", "--index", tmp_path / "new"]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "pip install 'recommender[learn]'" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_lightgbm_that_cannot_be_loaded_is_reported_with_the_missing_library(tmp_path, rec, monkeypatch):
    (tmp_path / "lightgbm.py").write_text('raise OSError("libgomp.so.1: cannot open shared object file")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lightgbm", raising=False)
    result = run("learn", "--index", rec.path)
    assert result.exit_code == 1
    assert "LightGBM cannot be loaded: libgomp.so.1: cannot open shared object file. If OpenMP" in result.stderr


def test_info_shows_the_learned_ranking(learned_index, rec):
    index = learned_index[0]
    (line,) = [line for line in run("info", "--index", index).stdout.splitlines() if "learned ranking" in line]
    assert re.search(
        r"nDCG@10 0\.\d{3}, 0\.\d{3} by content; from 160 editorial links of 80 articles; \d+ \w+ \d+$", line
    )
    assert json.loads(run("info", "--index", index, "--json").stdout)["learned"]["links"] == 160
    assert " learned ranking  none\n" in run("info", "--index", rec.path).stdout
    assert json.loads(run("info", "--index", rec.path, "--json").stdout)["learned"] is None


def test_build_trains_again_if_many_links_have_changed(own_index):
    with Recommender(own_index) as rec:
        trained = rec.learned["trained"], rec.learned["links"]
        assert rec.build(linked_archive(), learn=True).learned is None
        problems = []
        assert rec.build(relinked_archive(), on_problem=problems.append).learned is None
        (problem,) = problems
        assert re.match(r"\d\d % of the links between articles have changed since the ranking was learned\. ", problem)
        assert (rec.learned["trained"], rec.learned["links"]) == trained
        assert rec.learned["changed"] > 0.2
        assert "The ranking is out of date" in run("learn", "--status", "--index", own_index).stdout
        problems.clear()
        report = rec.build(relinked_archive(), learn=True, on_problem=problems.append)
        assert (report.learned.adopted, report.learned.links, problems) == (True, 80, [])
        assert (rec.learned["links"], rec.learned["changed"]) == (80, 0.0)


def test_build_with_learn_prints_the_outcome(tmp_path, fake_vectors, monkeypatch):
    export = write_lines(tmp_path / "export.jsonl", linked_archive())
    stages = []

    def learn(store, on_progress):
        on_progress("folds", 1, 5)
        stages.append("folds")
        return refused_report()

    monkeypatch.setattr(sync, "learn_ranking", learn)
    result = run("build", export, "--index", tmp_path / "index", "--learn")
    assert (result.exit_code, stages) == (0, ["folds"])
    assert result.stdout.endswith("Learned ranking not adopted: The two figures are equal.\n")
    assert "Learned ranking" not in run("build", export, "--index", tmp_path / "index").stdout


def test_an_outdated_ranking_that_cannot_be_replaced_is_reported(own_index, monkeypatch):
    monkeypatch.setattr(sync, "learn_ranking", lambda store, on_progress: refused_report())
    problems = []
    with Recommender(own_index) as rec:
        assert not rec.build(relinked_archive(), learn=True, on_problem=problems.append).learned.adopted
    assert "have changed since the ranking was learned" in problems[0]


def _sum_and_parts(line):
    total, parts = line.strip().split(" = ")
    return float(total), [float(part.rpartition(" ")[2]) for part in parts.split(", ")]


def test_why_shows_parts_that_add_up_to_the_score_in_words_of_an_editor(learned_index):
    index = learned_index[0]
    lines = [line for line in related(index, "--why").stdout.splitlines() if " = " in line]
    assert len(lines) == 3
    for line in lines:
        total, (base, *parts) = _sum_and_parts(line)
        assert re.match(r" +-?\d\.\d\d = an average candidate -?\d\.\d\d, ", line)
        assert total == pytest.approx(base + sum(parts))
        assert [abs(part) for part in parts] == sorted((abs(part) for part in parts), reverse=True)
        assert 0 not in parts
    assert "how often articles like this one link there +" in lines[0]
    assert "near to everything" not in related(index, "--why").stdout
    assert "near to everything" in related(index, "--why", "--ranking", "content").stdout


def test_why_as_json_has_groups_that_add_up_to_the_raw_score(learned_index):
    index = learned_index[0]
    links = json.loads(related(index, "--why", "--json").stdout)["related"]
    for link in links:
        reasons = link["reasons"]
        assert reasons["raw_score"] == pytest.approx(sum(reasons["groups"].values()), abs=1e-6)
    assert [link["id"] for link in links] == [
        link["id"] for link in json.loads(related(index, "--json").stdout)["related"]
    ]
    (link,) = json.loads(related(index, "--why", "--json", "--ranking", "content", "-k", 1).stdout)["related"]
    assert link["reasons"]["groups"] == {}


def test_why_not_shows_the_same_parts_as_why(learned_index):
    index = learned_index[0]
    answer = related(index, "--why-not", PAIR[1], "-k", 3).stdout
    assert answer.startswith(f"{PAIR[1]} is in the block of 3: it is number ")
    (line,) = [line for line in answer.splitlines() if " = " in line]
    assert line in related(index, "--why").stdout.splitlines()
    record = json.loads(related(index, "--why-not", PAIR[1], "--json").stdout)["why_not"]
    assert record["reasons"]["groups"]["links"] > 0


@given(st.lists(st.floats(-3, 3, allow_nan=False).map(lambda part: round(part, 6)), min_size=8, max_size=8))
@example([0.004] * 8)
@example([0.285, 0.83, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
@example([0.0] * 8)
def test_printed_parts_add_up_to_the_printed_score_for_any_parts(parts):
    names = ("base", "meaning", "words", "meaning and words", "links", "place", "age", "popularity")
    groups = dict(zip(names, parts, strict=True))
    reasons = Reasons(round(sum(parts), 6), 0.0, 0.0, 0.0, (), (), None, groups)
    with CliRunner().isolation() as (output, *_):
        print_reasons(reasons)
        (line,) = output.getvalue().decode().splitlines()
    total, printed = _sum_and_parts(line)
    assert total == pytest.approx(sum(printed), abs=1e-9)
    assert total == pytest.approx(reasons.raw_score, abs=0.00501)
    assert 0 not in printed[1:]


def test_a_damaged_ranking_is_reported_and_replaced_by_build_with_learn_or_removed_by_forget(own_index):
    with Recommender(own_index) as rec, rec._store.write_lock():
        rec._store.put_document("learned_ranking", "{}")
    assert run("related", PAIR[0], "--index", own_index).exit_code == 0  # by content
    for arguments in (["related", PAIR[0], "--ranking", "learned"], ["learn", "--status"]):
        result = run(*arguments, "--index", own_index)
        assert result.exit_code == 1
        assert "Run `recommender learn` again, or remove it with `recommender learn --forget`." in result.stderr
    copy = shutil.copytree(own_index, own_index.parent / "copy")
    assert run("learn", "--forget", "--index", copy).exit_code == 0
    assert run("related", PAIR[0], "--index", copy).exit_code == 0
    problems = []
    with Recommender(own_index) as rec:
        rec.build(linked_archive(), on_problem=problems.append)
        assert "cannot be used" in problems.pop()
        assert rec.build(linked_archive(), learn=True, on_problem=problems.append).learned.adopted
        assert (rec.learned["links"], problems) == (160, [])
