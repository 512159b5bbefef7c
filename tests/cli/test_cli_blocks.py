"""Subcommands for blocks and their policy."""

import json

import pytest
import yaml
from click.testing import CliRunner

from recommender import Recommender
from recommender.cli.main import main


@pytest.fixture
def run(rec):
    def call(*arguments, code=0):
        result = CliRunner().invoke(main, [*map(str, arguments), "--index", str(rec.path)])
        assert result.exit_code == code, result.output
        return result

    return call


def related(run, *arguments):
    return [link["id"] for link in json.loads(run("related", "dam-1", "--json", *arguments).stdout)["related"]]


def test_pins_and_bans(run):
    result = run("pin", "dam-1", "club-3", "nowhere")
    assert "club-3, nowhere" in result.stdout
    assert "'nowhere' now" in result.stderr
    link = json.loads(run("related", "dam-1", "--json").stdout)["related"][0]
    assert (link["id"], link["via"]) == ("club-3", "pin")
    assert "pinned" in run("related", "dam-1").stdout
    run("ban", "dam-1", "club-3")
    assert "club-3" not in related(run, "-k", 9)
    assert "no such ban" in run("unban", "club-3", code=1).stderr
    run("unban", "club-3", "dam-1")
    assert related(run)[0] == "club-3"
    assert "not pinned there" in run("unpin", "dam-1", "dam-2", code=1).stderr
    run("unpin", "dam-1", "club-3")
    run("unpin", "dam-1")
    assert "no pins" in run("unpin", "dam-1", code=1).stderr
    run("ban", "dam-2")
    assert "dam-2" not in related(run, "-k", 9)
    assert "itself" in run("ban", "dam-1", "dam-1", code=1).stderr


def test_articles_are_addressed_by_url_and_title(run):
    url, title = "https://example.org/dam-1", "River dam gates are shut"
    assert "Pinned under dam-1: club-3, dam-2." in run("pin", url, "club-3", "Talks on the river dam collapse").stdout
    for name in (url, title):
        assert json.loads(run("related", name, "--json").stdout)["id"] == "dam-1"
        output = run("related", name).stdout
        assert output.startswith(title)
        assert "dam-1" in output.splitlines()[1]
    assert (
        "club-1 and dam-1 never appear in each other's block." in run("ban", "Football club goes insolvent", url).stdout
    )
    run("unban", url, "https://example.org/club-1")
    assert "Pinned under dam-1: club-3." in run("unpin", url, "dam-2").stdout
    message = run("pin", "dam-1", "football-club-wins").stderr
    assert "holds no article with the id 'football-club-wins' now" in message
    assert "Did you mean 'club-3' (Football club wins first match)" in message
    assert "Did you mean 'dam-1'" in run("related", "river-dam-gates", code=1).stderr
    assert run("remove", url, "dam-2").stdout == "2 removed.\n"
    message = run("remove", "Football club wins first match", code=1)
    assert message.stdout == "0 removed.\n"
    assert "Did you mean 'club-3'" in message.stderr


def test_a_pin_without_effect_is_reported(run):
    run("ban", "club-3")
    result = run("pin", "dam-1", "club-3", "club-2")
    assert result.stderr == "Note: 'club-3' does not show in the block of 'dam-1': it is banned from all blocks.\n"
    assert result.stdout == "Pinned under dam-1: club-3, club-2.\n"
    assert run("pin", "dam-1", "dam-2", "-q").output == ""
    assert run("pin", "\udcff", "\x1b[2J").stdout == "Pinned under \ufffd: [2J.\n"
    assert "policy \ufffd.yaml" in run("policy", "--load", "policy \udcff.yaml", code=1).stderr


def test_rules(run):
    output = run(
        "rule", "apart", "--where", "section=dam", "--never-with", "section=club", "--never-with", "section=x"
    ).stdout
    assert output.splitlines()[:2] == [
        "The rule apart applies to 3 articles of the index.",
        "They and 3 articles never appear in each other's block.",
    ]
    assert {id[:3] for id in related(run, "-k", 9)} == {"dam"}
    rules = yaml.safe_load(run("rule").stdout)
    assert rules == [{"name": "apart", "where": {"section": "dam"}, "never_with": {"section": ["club", "x"]}}]
    assert "what the rule does" in run("rule", "x", "--where", "a=b", code=2).stderr
    assert "--where" in run("rule", "x", "--no-block", code=2).stderr
    assert "FIELD=VALUE" in run("rule", "x", "--where", "a", code=2).stderr
    assert "NAME" in run("rule", "--no-block", "--where", "a=b", code=2).stderr
    run("rule", "apart", "--remove")
    assert run("rule").stdout == "[]\n"
    assert "no rule" in run("rule", "apart", "--remove", code=1).stderr


def test_settings_are_shown_stored_overridden_and_unset(run, rec):
    assert "diversity  0.1\n" in run("settings").stdout
    output = run(
        "settings",
        "--section",
        "club",
        "--max-age",
        "12m",
        "--keep-near-duplicates",
        "--where",
        "a=1",
        "--half-life",
        30,
    ).stdout
    for line in (
        "section  club  (set)",
        "max_age  12m  (set)",
        "drop_near_duplicates  no  (set)",
        "where  a = 1  (set)",
        "half_life  30  (set)",
    ):
        assert line in output
    with Recommender(rec.path) as again:
        assert again.policy.settings.max_age == "12m"
    output = run("settings", "--unset", "max-age", "--unset", "where", "--unset", "half_life").stdout
    assert "max_age  none\n" in output
    assert {id[:4] for id in related(run)} == {"club"}
    assert {id[:3] for id in related(run, "--section", "dam")} == {"dam"}
    assert "no block setting" in run("settings", "--unset", "colour", code=1).stderr
    for name in ("--exclude", "--now", "--as-of"):
        assert "No such option" in run("settings", name, "a", code=2).stderr
    assert 'section ["club"]' in run("info").stdout
    assert json.loads(run("info", "--json").stdout)["settings"]["section"] == ["club"]


def test_stored_filters_can_be_taken_off_for_a_call(run):
    run(
        "settings", "--section", "none", "--tag", "none", "--where", "a=b", "--before", "1999-01-01", "--language", "de"
    )
    assert related(run) == []
    off = ("--section", "", "--tag", "", "--where", "", "--before", "none", "--language", "own")
    assert len(related(run, *off)) == 3
    run("settings", *off)
    assert len(related(run)) == 3


def test_invalid_numbers_and_unknown_settings_are_reported(run, rec):
    assert related(run, "--max-age", "3000y") != []
    rec.add([{"id": "old", "title": "River of old", "published": "0001-01-01T00:00:00+00:00"}])
    assert run("related", "old", "--max-age", "12m", "--age-from", "article").exit_code == 0
    for name in ("changed", "age", "updated"):
        assert "no block setting" in run("settings", "--unset", name, code=1).stderr
    assert "club-1" in run("pin", " dam-1 ", " club-1").stdout
    assert related(run)[0] == "club-1"


def test_max_age_and_half_life_can_be_taken_off_for_a_call(run):
    run("settings", "--max-age", "1d", "--half-life", 3)
    assert related(run) == []
    assert len(related(run, "--max-age", "none", "--half-life", "none")) == 3
    assert "must be a number" in run("related", "dam-1", "--half-life", "soon", code=1).stderr
    assert "12m" in run("related", "dam-1", "--max-age", "soon", code=1).stderr


def test_the_policy_as_a_file_that_can_be_versioned(run, tmp_path):
    run("pin", "dam-1", "club-3")
    run("ban", "dam-2")
    run("settings", "--diversity", "0.3")
    run("rule", "quiet", "--where", "section=club", "--no-block")
    file = tmp_path / "policy.yaml"
    file.write_text(run("policy").stdout)
    run("policy", "--load", tmp_path / "none.yaml", code=1)
    for empty in ("", "\n  \n", "# settings\n", "null"):
        (tmp_path / "empty.yaml").write_text(empty)
        assert "is empty" in run("policy", "--load", tmp_path / "empty.yaml", code=1).stderr
    (tmp_path / "empty.yaml").write_text("{}")
    run("policy", "--load", tmp_path / "empty.yaml")
    assert related(run, "-k", 1) != ["club-3"]
    assert "1 pin, 1 ban, 1 rule" in run("policy", "--load", file).stdout
    assert run("policy").stdout == file.read_text()
    assert related(run, "-k", 1) == ["club-3"]
    for content in ("pins: [", "rules: [{name: x}]", "- a", "pins: {a: {b: c}}"):
        (tmp_path / "bad.yaml").write_text(content)
        assert "bad.yaml" in run("policy", "--load", tmp_path / "bad.yaml", code=1).stderr
        assert run("policy").stdout == file.read_text()


def test_the_last_change_of_the_policy_can_be_taken_back(run, tmp_path):
    assert "no change" in run("policy", "--undo", code=1).stderr
    run("pin", "dam-1", "club-3")
    run("pin", "dam-1", "club-3")  # which changes nothing, and so is no change to take back
    before = run("policy").stdout
    (tmp_path / "defaults.yaml").write_text("{}")
    assert "dam-1" in run("policy", "--load", tmp_path / "defaults.yaml", "--dry-run").stdout
    assert run("policy").stdout == before
    run("policy", "--load", tmp_path / "defaults.yaml")
    after = run("policy").stdout
    assert "pins: {}" in after
    assert "1 pin" in run("policy", "--undo").stdout
    assert run("policy").stdout == before
    run("policy", "--undo")
    assert run("policy").stdout == after
    run("policy", "--undo", "--load", tmp_path / "defaults.yaml", code=2)
    run("policy", "--dry-run", code=2)


def test_a_change_that_empties_blocks_is_reported(run):
    output = run("settings", "--section", "Dam", "--dry-run")
    assert "6 of 6 blocks would change; 6 would be empty (now 0); for example club-1" in output.stdout
    assert output.stderr == "Nothing was stored.\n"
    assert len(related(run)) == 3
    output = run("settings", "--section", "Dam").stdout
    assert "6 of 6 blocks change; 6 are empty (before 0); for example club-1, club-2" in output
    assert "None of 6 blocks changes; 6 are empty (before 6)." in run("settings", "--max-age", "12m").stdout
    record = json.loads(run("settings", "--unset", "section", "--unset", "max-age", "--json").stdout)
    assert record["settings"]["section"] == []
    assert record["effect"]["empty_before"] == 6
    assert record["effect"]["empty"] == 0
    output = run("rule", "quiet", "--where", "section=club", "--no-block", "--dry-run").stdout
    assert "3 of 6 blocks would change; 3 would be empty" in output
    assert run("rule", "--json").stdout == "[]\n"
    assert "are case-sensitive" in run("rule", "x", "--where", "Section=club", "--no-block", "--dry-run").stdout
    run("rule", "quiet", "--where", "section=club", "--no-block")
    assert "0 are empty (before 3)" in run("rule", "quiet", "--remove").stdout
    assert "section  any\n" in run("settings").stdout
    assert run("settings", "--diversity", "0.3", "--quiet").output == ""
    run("settings", "--dry-run", code=2)


def test_why_and_why_not(run):
    output = run("related", "dam-1", "--why").stdout
    assert "= meaning" in output
    assert "words: " in output
    assert "reasons" in json.loads(run("related", "dam-1", "--why", "--json").stdout)["related"][0]
    assert "= meaning" in run("search", "river dam", "--why").stdout
    output = run("related", "dam-1", "-k", 1, "--why-not", "club-1").stdout
    assert "club-1 is not in the block of 1: 1 other comes before it" in output
    assert "of all articles by score alone" in output
    answer = json.loads(run("related", "dam-1", "--why-not", "dam-2", "-k", 5, "--json").stdout)["why_not"]
    assert answer["position"] in (1, 2)
    assert "no article with the id 'x'" in run("related", "dam-1", "--why-not", "x", code=1).stderr


def test_filters_and_their_mistakes(run):
    assert related(run, "--exclude", "dam-2", "--exclude", "dam-3", "--section", "dam") == []
    assert "no article of the index has section Dam; case counts" in run("related", "dam-1", "--section", "Dam").stdout
    assert "case counts, but dam" in run("related", "dam-1", "--section", "DAM").stdout
    assert "meets the options" in run("related", "dam-1", "--before", "1999-01-01").stdout
    assert "no article of the index has section none" in run("search", "river", "--section", "none").stdout
    assert "no article meets" in run("search", "river", "--before", "1999-01-01").stdout
    assert "no date" in run("related", "dam-1", "--after", "someday", code=1).stderr
    assert "0<=x<=1" in run("related", "dam-1", "--diversity", 2, code=2).stderr


def test_a_stored_setting_that_excludes_all_articles_is_reported(run):
    run("settings", "--section", "none")
    assert "has section none, which `recommender settings` sets" in run("related", "dam-1").stdout
    run("settings", "--unset", "section", "--max-age", "1d")
    assert "no article meets the settings that are stored" in run("related", "dam-1").stdout
    run("settings", "--unset", "max-age")
    run("rule", "quiet", "--where", "section=dam", "--no-block")
    assert "or the article has no block" in run("related", "dam-1").stdout


def test_changed_links(run, tmp_path, rec):
    state, out = tmp_path / "state", tmp_path / "out.jsonl"
    output = run("links", "--changed", state, "--out", out, "-k", 2).stdout
    assert "Full pass (there is no earlier run): 6 blocks rebuilt, 6 of them differ" in output
    assert "6 lines written" in output
    full = out.read_text()
    rec.pin("dam-1", "club-1")
    rec.remove("club-3")
    run("links", "--changed", state, "--out", out, "-k", 2)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines[-1] == {"id": "club-3", "deleted": True}
    assert next(line for line in lines if line["id"] == "dam-1")["related"][0] == {
        "id": "club-1",
        "score": pytest.approx(0, abs=1),
        "via": "pin",
    }
    assert "0 lines" in run("links", "--changed", state, "--out", out, "-k", 2).stdout
    assert "as requested" in run("links", "--changed", state, "--full", "--out", out, "-k", 2).stdout
    assert run("links", "--changed", state, "-k", 2).stdout == ""
    run("links", "--full", code=2)
    assert "the same file" in run("links", "--changed", out, "--out", out, code=2).stderr
    run("links", "--plain", "--changed", state, code=2)
    assert run("links", "-k", 2).stdout != full


def test_unpublished_records_are_counted(run, tmp_path):
    delta = tmp_path / "delta.jsonl"
    delta.write_text('{"id": "dam-1", "deleted": true}\n{"id": "n", "title": "New", "status": "draft"}\n')
    output = run("add", delta).stdout
    assert "1 removed, 2 left out (unpublished 2)" in output
    assert "no article with the id 'dam-1'" in run("related", "dam-1", code=1).stderr
