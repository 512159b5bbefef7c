"""The programs of docs/programs.md, run as a user runs them: scripts, and servers that are asked over HTTP."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import urllib.error
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from recommender import Recommender

SECONDS = 120  # that a program may take before its test fails


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs" / "programs.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(page, root, tmp_path_factory):
    """A folder with the programs, and the index of the examples where they expect one."""
    folder = tmp_path_factory.mktemp("programs")
    shutil.copytree(root / "index" / "examples", folder / "index" / "default")
    for name, code in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        (folder / name).write_text(code, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def rec(folder):
    with Recommender(folder / "index" / "default") as rec:
        yield rec


@pytest.fixture(scope="module")
def server(page, folder):
    """A context with the address of a server, started by the command of the page that begins so, at a free port."""

    @contextlib.contextmanager
    def run(start):
        (command,) = re.findall(rf"^    ({re.escape(start)}.*)$", page, re.MULTILINE)
        arguments = [sys.executable, "-m", *command.replace("8000", "0").split()]
        with subprocess.Popen(arguments, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
            try:
                log = []
                for line in process.stderr:
                    log.append(line)
                    if address := re.search(r"http://127\.0\.0\.1:\d+", line):
                        yield address[0]
                        return
                pytest.fail("".join(log))
            finally:
                process.terminate()
                try:
                    process.communicate(timeout=SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()

    return run


def script(folder, name):
    """Return what a script prints, by the first words of each line."""
    result = subprocess.run(
        [sys.executable, name], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def ask(address, **query):
    with urlopen(f"{address}/?{urlencode(query)}", timeout=SECONDS) as answer:
        return json.load(answer)


def line(name, block):
    return " ".join([name, *(link.id for link in block)])


@pytest.mark.parametrize("name", ["threads.py", "processes.py"])
def test_threads_and_processes(folder, rec, name):
    assert script(folder, name) == [line(article.id, rec.related(article.id)) for article in rec]


def test_asyncio(folder, rec):
    lines = script(folder, "asynchronous.py")
    texts = ["who pays when customer data is stolen", "a fire in the hills", "the theft of a painting"]
    assert lines == [line(text, block) for text, block in zip(texts, rec.search(texts, 3), strict=True)]


def test_uvicorn(server, rec):
    with server("uvicorn asgi:app") as address:
        for text in ("who pays when customer data is stolen", "a fire in the hills"):
            assert [link["id"] for link in ask(address, q=text)] == [link.id for link in rec.search(text, 3)]


@pytest.mark.parametrize("command", ["gunicorn wsgi:app --workers 2"])
def test_gunicorn(server, rec, command):
    first = next(iter(rec))
    with server(command) as address:
        for name in (first.id, first.title):
            for _ in range(8):  # more than one worker answers
                assert [link["id"] for link in ask(address, article=name)] == [
                    link.id for link in rec.related(first.id)
                ]
        with pytest.raises(urllib.error.HTTPError) as error:
            ask(address, article="nothing")
        assert error.value.code == 404
