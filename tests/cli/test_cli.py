import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from recommender import Article, Recommender
from recommender.cli.main import main


def run(*arguments, **options):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)


@pytest.fixture
def export(tmp_path, articles):
    path = tmp_path / "export.jsonl"
    path.write_text("".join(json.dumps(article.to_record()) + "\n" for article in articles))
    return path


@pytest.fixture
def index(rec):
    """The folder of the index of the six articles."""
    return rec.path


def test_build_add_remove_and_their_closing_lines(tmp_path, export):
    index = tmp_path / "index"
    built = run("build", export, "--index", index)
    assert (built.exit_code, built.stderr) == (0, "")
    assert built.stdout.startswith(
        "6 added, 0 changed, 0 unchanged, 0 removed, 0 no longer in the sources, 0 skipped; 6 embedded;"
    )
    delta = tmp_path / "delta.jsonl"
    delta.write_text('{"id": "new", "title": "New"}\n')
    assert run("add", delta, "--index", index).stdout.startswith(
        "1 added, 0 changed, 0 unchanged, 0 skipped; 1 embedded;"
    )
    removed = run("remove", "new", "zz", "--index", index)
    assert (removed.exit_code, removed.stdout) == (1, "1 removed.\n")
    assert "'zz'" in removed.stderr
    assert run("build", export, "--index", index).stdout.startswith("0 added, 0 changed, 6 unchanged")


def test_prepare_loads_the_model_of_the_index_or_the_one_named(tmp_path, index):
    result = run("prepare", "--index", index)
    assert (result.exit_code, result.stdout.split(".")[0]) == (0, "The model is ready")
    for existing in (index, tmp_path / "none"):
        result = run("prepare", "--index", existing, "--model", "./no-such-model")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "There is no model folder at" in result.stderr


def test_related_prints_a_block(index):
    result = run("related", "dam-1", "--index", index, "-k", 2)
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[0] == "River dam gates are shut"
    assert {"1. Talks on the river dam collapse", "2. Treaty on shared river signed"} <= set(lines)


def test_json_shapes(index):
    related = json.loads(run("related", "dam-1", "--index", index, "--json").stdout)
    assert list(related) == ["id", "related"]
    assert related["id"] == "dam-1"
    assert len(related["related"]) == 3
    assert all(list(link) == ["id", "score", "title", "url", "published"] for link in related["related"])
    output = json.loads(run("search", "river", "--index", index, "--json").stdout)
    assert list(output) == ["query", "results"]
    assert output["query"] == "river"
    assert len(output["results"]) == 6
    info = json.loads(run("info", "--index", index, "--json").stdout)
    assert {"articles", "model", "dimensions", "format", "last_build", "languages"} <= set(info)
    assert (info["articles"], info["dimensions"], info["format"]) == (6, 384, 1)


def test_links_file(index, tmp_path):
    out = tmp_path / "links.jsonl"
    assert run("links", "--index", index, "-k", 2, "--out", out).exit_code == 0
    printed = run("links", "--index", index, "-k", 2)
    assert out.read_text() == printed.stdout
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["club-1", "club-2", "club-3", "dam-1", "dam-2", "dam-3"]
    assert all(list(link) == ["id", "score"] for line in lines for link in line["related"])
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []
    (tmp_path / "file").touch()
    assert "cannot be written" in run("links", "--index", index, "--out", tmp_path / "file" / "x").stderr


def test_links_go_through_a_symbolic_link_and_into_a_device(index, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert run("links", "--index", index, "--out", tmp_path / "link").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text().count("\n") == 6
    assert run("links", "--index", index, "--out", "/dev/null").exit_code == 0
    assert not Path("/dev/null").is_file()


def test_related_to_a_file(index, tmp_path):
    page = tmp_path / "page.txt"
    page.write_text("Players of the Club Unpaid\n\nThe football club did not pay its players this month.\n")
    result = run("related", "--file", page, "--index", index, "--json")
    answer = json.loads(result.stdout)
    assert answer["id"] == "page.txt"
    assert {link["id"].split("-")[0] for link in answer["related"]} == {"club"}


def test_index_comes_from_the_environment(index, tmp_path, monkeypatch):
    monkeypatch.setenv("RECOMMENDER_INDEX", str(index))
    assert json.loads(run("info", "--json").stdout)["articles"] == 6
    monkeypatch.delenv("RECOMMENDER_INDEX")
    monkeypatch.chdir(tmp_path)
    assert f"There is no index at {tmp_path / 'index' / 'default'} (it does not exist)" in run("info").stderr


def test_a_missing_index_is_reported_with_an_index_nearby(index, monkeypatch):
    assert f"ask one that is there: --index {index}" in run("info", "--index", index.parent).stderr
    monkeypatch.chdir(index.parent)
    assert "recommender build SOURCE`, or name another with --index." in run("info").stderr
    assert "recommender build SOURCE --index other`" in run("info", "--index", "other").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["related"],
        ["related", "a", "--file", "b"],
        ["related", "a", "-k", "0"],
        ["search"],
        ["build"],
        ["build", "x", "--prune", "--limit", "3"],
        ["build", "x", "--prune", "--prune-limit", "nan"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["related", "zz"], "no article with the id 'zz'"),
        (["related", "--file", "missing.txt"], "does not exist"),
        (["search", " "], "empty"),
        (["build", "x" * 300 + ".jsonl"], "cannot be read"),
        (["build", "missing"], "does not exist"),
        (["build", "{export}", "--max-tokens", "64"], "cannot be compared"),
        (["build", "{empty}"], "holds no articles"),
        (["build", "{cut}", "--prune"], "Nothing was removed"),
    ],
)
def test_a_request_that_cannot_be_met_exits_with_1_and_a_sentence(index, tmp_path, export, arguments, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.jsonl").write_text(export.read_text()[:-30])
    names = {"export": export, "empty": tmp_path / "empty", "cut": tmp_path / "cut.jsonl"}
    result = run(*(argument.format(**names) for argument in arguments), "--index", index)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ")


def test_control_characters_of_an_article_do_not_reach_the_terminal(tmp_path):
    evil = "Title \x1b[31mred\x1b]0;owned\x07 \u202eback\u200b"
    with Recommender(tmp_path / "index") as rec:
        rec.build([Article(id="a\x1b[2J", title=evil, text="x"), Article(id="b", title=evil + "!", text="x")])
    for arguments in (["related", "b"], ["search", "title"], ["info"]):
        output = run(*arguments, "--index", tmp_path / "index").output
        assert not set(output) & {"\x1b", "\x07", "\u202e", "\u200b"}


def test_each_kind_of_problem_is_reported_once_with_a_count(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"id": "a", "title": "A"}\n' + '{"headline": "B", "body": "C", "nr": 7}\n' * 150 + "no\n" * 2)
    result = run("build", path, "--index", tmp_path / "index")
    assert "152 skipped" in result.stdout
    first, second, other_lines, other = result.stderr.splitlines()
    assert "its fields are headline, body, nr" in first.lower()
    assert first.endswith("--id-field nr --map title=headline,text=body")
    assert f"{path}:152: the line is not JSON" in second
    assert other_lines.startswith(f"… and 149 more ({path}:3, {path}:4, {path}:5, …)")
    assert other.startswith(f"… and 1 more ({path}:153)")


# What follows is run as a user runs it: in a process of its own.


def test_a_command_that_needs_no_model_imports_none(index):
    code = (
        "import sys; from recommender.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'sentence_transformers', 'transformers', 'sklearn', 'dateparser'} & set(sys.modules)\n"
        "heavy |= {'numpy.ma', 'importlib.metadata'} & set(sys.modules) if 'related' in sys.argv else set()\n"
        "heavy |= {'numpy', 'sqlite3', 'recommender.article'} & set(sys.modules) if '--help' in sys.argv else set()\n"
        "assert not heavy, heavy"
    )
    for arguments in (["related", "dam-1"], ["info"], ["remove", "dam-2"], ["related", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, "--index", str(index)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["remove", "dam-1"], ["add", "{export}"], ["pin", "dam-1", "club-1"], ["settings", "--diversity", "0.3", "-q"]],
)
def test_missing_rights_are_reported_in_one_sentence(rec, export, arguments):
    # In a folder of its own: another run of pytest may close the parent of the usual one meanwhile.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = folder / "index"
        shutil.copytree(rec.path, index)
        shutil.copy(export, folder)
        folder.chmod(0o755)
        if os.getuid() == 0:  # root may write anywhere, so give that up in the process
            start = (
                # Packages that are imported later may be readable for root only.
                "import os, encodings.utf_8_sig, filelock, tqdm;"
                "import recommender.cli.main, recommender.recommender, recommender.sources.jsonl;"
                "os.setgroups([]); os.setgid(65534); os.setuid(65534); recommender.cli.main.main()"
            )
            command = [sys.executable, "-c", start]
        else:
            index.chmod(0o555)
            (index / "articles.sqlite").chmod(0o444)
            command = [sys.executable, "-m", "recommender"]
        command += [argument.format(export=folder / export.name) for argument in arguments]
        done = subprocess.run([*command, "--index", index], capture_output=True, text=True, check=False)
        index.chmod(0o755)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: You have no right to change the index {index}. Run the command as the user who owns it, or change its "
        f"rights.\n"
    )


STOPS_ITSELF = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background is started without
from recommender.cli.main import main
from recommender.indexing import pipeline, sync

how = signal.Signals[sys.argv.pop(1)]
pipeline.BATCH_ARTICLES = 10
show = sync.Sync._show_progress

def show_and_stop(self):
    show(self)
    if self._pipeline.embedded == 30:
        os.kill(os.getpid(), how)

sync.Sync._show_progress = show_and_stop
main()
"""


@pytest.mark.parametrize(
    ("how", "status"), [("SIGINT", 130), pytest.param("SIGTERM", -15, marks=pytest.mark.slow), ("SIGKILL", -9)]
)
def test_a_stopped_build_keeps_committed_articles_and_can_be_continued(tmp_path, how, status):
    path, index = tmp_path / "export.jsonl", tmp_path / "index"
    path.write_text("".join(json.dumps({"id": str(i), "title": f"Title {i}"}) + "\n" for i in range(60)))
    stopped = subprocess.run(
        [sys.executable, "-c", STOPS_ITSELF, how, "build", path, "--index", index],
        capture_output=True,
        text=True,
        check=False,
    )
    assert stopped.returncode == status
    assert "Traceback" not in stopped.stderr
    stored_count = json.loads(run("info", "--index", index, "--json").stdout)["articles"]
    if how == "SIGINT":
        assert f"{stored_count} articles of this run are stored; run the same command again" in stopped.stderr
    assert stored_count in (20, 30)
    assert (
        f"{60 - stored_count} added, 0 changed, {stored_count} unchanged" in run("build", path, "--index", index).stdout
    )
    assert {file.name.split("-")[0] for file in index.iterdir()} == {
        "articles.sqlite",
        "inverted_index",
        "forward_index",
        "writer.lock",
    }


WAITS = """
import os, shutil, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from recommender.cli.main import main
from recommender.indexing import pipeline
from recommender.sources import jsonl

pipeline.BATCH_ARTICLES = 10
number = int(sys.argv.pop(1))

def waiting(function, number):
    calls = iter(range(number + 1))
    def called(*arguments):
        if next(calls) == number:
            os.write(1, b"waiting\\n")
            while True:
                signal.sigtimedwait([signal.SIGTERM], 0.1)  # `pause` would miss a signal that came just before it
        return function(*arguments)
    return called

jsonl._entry = waiting(jsonl._entry, number)
shutil.copyfileobj = waiting(shutil.copyfileobj, 0)
main()
"""


@pytest.mark.parametrize(("source", "read", "stored"), [("-", 0, 0), ("export.jsonl", 5, 0), ("export.jsonl", 45, 30)])
def test_an_interrupted_build_states_what_is_stored(tmp_path, source, read, stored):
    articles = "".join(json.dumps({"id": str(i), "title": f"Title {i}"}) + "\n" for i in range(60))
    (tmp_path / "export.jsonl").write_text(articles)
    index = tmp_path / "index"
    command = [sys.executable, "-c", WAITS, str(read), "build", source, "--index", index]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True
    ) as build:
        assert build.stdout.readline() == "waiting\n"
        build.send_signal(signal.SIGINT)
        _, errors = build.communicate()
    assert build.returncode == 130
    assert "Traceback" not in errors
    if stored:
        assert f"Interrupted. {stored} articles of this run are stored; run the same command again" in errors
        assert json.loads(run("info", "--index", index, "--json").stdout)["articles"] == stored
    else:
        assert "Interrupted. Nothing of this run was stored yet: articles are stored 10 at a time." in errors
        assert run("info", "--index", index).exit_code == 1


@pytest.mark.parametrize("arguments", [["--version"], ["info", "--index", "nowhere"], ["no-such-command"]])
def test_the_command_does_not_change_the_logging_of_the_calling_program(arguments, monkeypatch):
    logger, handlers = logging.getLogger("recommender"), [logging.NullHandler()]
    monkeypatch.setattr(logger, "handlers", handlers)
    monkeypatch.setattr(logger, "propagate", True)
    run(*arguments)
    assert (logger.handlers, logger.propagate) == (handlers, True)
    assert len(handlers) == 1
