"""Behaviour that all subcommands share: help, streams, colours, Ctrl-C."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from recommender import Article, Recommender
from recommender.cli.main import main

FULL = Path("/dev/full")


def run(*arguments, **options):
    return CliRunner(charset=options.pop("charset", "utf-8")).invoke(main, [*map(str, arguments)], **options)


def spawn(*arguments, **options):
    """Run the command in a new process."""
    command = [sys.executable, "-m", "recommender", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **options)


@pytest.mark.parametrize("name", main.commands)
def test_every_subcommand_has_examples_that_parse(name):
    command = main.commands[name]
    help_text = run(name, "--help").stdout
    assert command.examples
    for example in command.examples:
        assert f"  recommender {example}\n" in help_text
        words = shlex.split(example.partition(" > ")[0])
        assert words[0] == name
        command.make_context(name, words[1:])
    assert all(f"  recommender {example}\n" in run("--help").stdout for example in main.examples)


def test_every_subcommand_stands_in_one_section_of_the_help():
    names = [name for section in main.sections.values() for name in section]
    assert sorted(names) == sorted(main.commands)
    help_text = run("--help").stdout
    assert (
        help_text.index("Build an index:")
        < help_text.index("  build ")
        < help_text.index("  related ")
        < help_text.index("  pin ")
    )
    assert "Others" not in help_text
    assert "..." not in help_text.partition("Build an index:")[2]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["biuld", "x"], "'build'"), (["serach", "x"], "'search'"), (["info", "--jsn"], "'--json'")],
)
def test_typos_are_answered_with_suggestions(arguments, meant):
    result = run(*arguments)
    assert result.exit_code == 2
    assert f"Did you mean {meant}?" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--index", "x", "info"], "goes after the subcommand"),
        (["settings", "max-age", "12m"], "Did you mean --max-age 12m?"),
        (["settings", "half_life", "3"], "Did you mean --half-life 3?"),
        (["info", "."], "To name the index, write --index ."),
        (["info", "nowhere"], "There is an argument too many: 'nowhere'.\n"),
    ],
)
def test_arguments_in_the_wrong_place_are_answered_with_the_right_one(arguments, words):
    result = run(*arguments)
    assert (result.exit_code, words in result.stderr) == (2, True)


def test_help_is_a_subcommand_too():
    assert run("help").stdout == run("--help").stdout
    assert run("help", "build").stdout == run("build", "--help").stdout
    assert run("help", "nonsense").exit_code == 2


def test_several_ids_in_one_call(rec):
    result = run("related", "dam-1", "nowhere", "dam-2", "--json", "-k", 2, "--index", rec.path)
    assert result.exit_code == 1
    first, missing, last = json.loads(result.stdout)
    assert [first["id"], len(first["related"]), last["id"], len(last["related"])] == ["dam-1", 2, "dam-2", 2]
    assert (missing["id"], missing["related"]) == ("nowhere", [])
    assert result.stderr == f"Error: {missing['error']}\n"
    result = run("related", "nowhere", "dam-1", "dam-2", "-k", 1, "--index", rec.path)
    titles = ["River dam gates are shut", "Talks on the river dam collapse"]
    assert [line for line in result.stdout.splitlines() if line in titles] == titles
    assert result.stdout.startswith(titles[0])
    assert result.exit_code == 1
    assert run("related", "dam-1", "dam-2", "--why-not", "club-1", "--index", rec.path).exit_code == 2


def test_a_text_to_search_for_needs_no_quotes(rec):
    loose = run("search", "river", "dam", "-k", 2, "gates", "--json", "--index", rec.path)
    assert json.loads(loose.stdout)["query"] == "river dam gates"
    assert loose.stdout == run("search", "river dam gates", "-k", 2, "--json", "--index", rec.path).stdout


def test_the_package_runs_as_a_module():
    assert spawn("--version", stdout=subprocess.PIPE).stdout.startswith("recommender, version ")


@pytest.mark.parametrize("arguments", [["info"], ["related", "dam-1"], ["links"], ["search", "--help"]])
@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_standard_output_is_reported_in_a_sentence(rec, arguments):
    with FULL.open("w") as full:
        done = spawn(*arguments, "--index", rec.path, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "Error: Standard output cannot be written: No space left on device.\n"


def test_a_closed_pipe_is_no_error(rec):
    end, start = os.pipe()
    os.close(end)
    done = spawn("links", "--index", rec.path, stdout=start)
    os.close(start)
    assert (done.returncode, done.stderr) == (1, "")


INTERRUPTED_AT = """
import os, signal, sys
from importlib.abc import MetaPathFinder

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background is started without
module = sys.argv.pop(1)

class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from recommender.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["recommender.cli.main", "click", "numpy", "recommender.store.local.store"])
def test_an_interrupt_during_the_imports_ends_the_command_silently(rec, module):
    command = [sys.executable, "-c", INTERRUPTED_AT, module, "related", "dam-1", "--index", str(rec.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(rec, monkeypatch, variable, value):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1m" in run("related", "dam-1", "--index", rec.path, color=True).stdout
    monkeypatch.setenv(variable, value)
    assert "\x1b" not in run("related", "dam-1", "--index", rec.path, color=True).stdout


def test_text_that_a_terminal_cannot_show_is_printed_as_escapes(tmp_path):
    with Recommender(tmp_path / "index") as rec:
        rec.build([Article(id="é", title="Überfälle – “now” 𝄞", text="x"), Article(id="b", title="Überfall", text="x")])
    result = run("related", "b", "--index", tmp_path / "index", charset="latin-1")
    assert result.exit_code == 0
    assert "Überfälle \\u2013 \\u201cnow\\u201d \\U0001d11e" in result.stdout
    for arguments in (["related", "b", "--json"], ["search", "fall", "--json"], ["links"]):
        lines = run(*arguments, "--index", tmp_path / "index", charset="latin-1").stdout_bytes.splitlines()
        assert "é" in str([json.loads(line) for line in lines])


def test_an_internal_error_is_a_sentence_and_its_traceback_is_shown_on_request(rec, monkeypatch):
    def fail(self):
        raise ValueError("of no use")

    monkeypatch.setattr(Recommender, "info", fail)
    result = run("info", "--index", rec.path)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ValueError: of no use. This is a fault in recommender")
    assert 'raise ValueError("of no use")' in run("info", "--index", rec.path, "--verbose").stderr


def test_errors_under_json_are_json_too(rec):
    result = run("related", "nowhere", "--json", "--index", rec.path)
    assert result.exit_code == 1
    assert "no article with the id 'nowhere'" in json.loads(result.stdout)["error"]
    assert result.stderr.startswith("Error: ")
    result = run("info", "--json", "--index", rec.path.parent / "none")
    assert "There is no index at" in json.loads(result.stdout)["error"]


@pytest.mark.parametrize("option_position", ["before", "after"])
def test_quiet_prints_errors_only(tmp_path, option_position):
    source = tmp_path / "export.jsonl"
    source.write_text('{"id": "a", "title": "A"}\n{"title": 1}\n')
    arguments = ["build", source, "--index", tmp_path / "index"]
    result = run(*(["-q", *arguments] if option_position == "before" else [*arguments, "-q"]))
    assert (result.exit_code, result.output) == (0, "")
    assert run("related", "a", "-q", "--index", tmp_path / "index").stdout.startswith("A\n")
    assert run("related", "b", "-q", "--index", tmp_path / "index").stderr.startswith("Error: ")
