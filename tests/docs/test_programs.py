"""The programs of docs/how-to/use-in-a-program.md run as a user runs them: as scripts, and as HTTP servers."""

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

pytestmark = pytest.mark.slow

SECONDS = 300  # that a program may take before its test fails
TEXTS = ["who pays when customer data is stolen", "a fire in the hills", "the theft of a painting"]


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs" / "how-to" / "use-in-a-program.md").read_text(encoding="utf-8")


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
    def run(start, **changes):
        (command,) = re.findall(rf"^    ({re.escape(start)}.*)$", page, re.MULTILINE)
        for old, new in {"8000": "0", **changes}.items():
            command = command.replace(old, new)
        arguments = [sys.executable, "-m", *command.split()]
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


def test_threads(folder, rec):
    assert script(folder, "threads.py") == [line(article.id, rec.related(article.id)) for article in rec]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(folder, rec, method):
    code = (folder / "processes.py").read_text()
    (folder / f"{method}.py").write_text(code.replace('"fork"', f'"{method}"'))
    first, *lines = script(folder, f"{method}.py")
    assert first.split() == [link.id for link in rec.search("news of the day")]
    assert lines == [line(text, rec.search(text)) for text in TEXTS]


def test_asyncio(folder, rec):
    assert script(folder, "asynchronous.py") == [line(text, rec.search(text, 3)) for text in TEXTS]


def test_uvicorn(server, rec):
    with server("uvicorn asgi:app") as address:
        for text in TEXTS:
            assert [link["id"] for link in ask(address, q=text)] == [link.id for link in rec.search(text, 3)]


def test_gunicorn(server, rec):
    first = next(iter(rec))
    with server("gunicorn wsgi:app --workers 2") as address:
        for name in (first.id, first.title):
            for _ in range(8):  # more than one worker answers
                assert [link["id"] for link in ask(address, article=name)] == [
                    link.id for link in rec.related(first.id)
                ]
        with pytest.raises(urllib.error.HTTPError) as error:
            ask(address, article="nothing")
        assert error.value.code == 404


def test_gunicorn_after_a_search_in_the_process_that_forks(server, folder, rec):
    """As an application that warms up when it is imported does under --preload."""
    (folder / "preloaded.py").write_text((folder / "wsgi.py").read_text().replace("rec.related(", "rec.search("))
    with (folder / "preloaded.py").open("a") as file:
        file.write("\n\nrec.warm_up()\nrec.related(next(iter(rec)).id)\n")
    with server("gunicorn wsgi:app --workers 2", **{"wsgi:app": "preloaded:app --preload"}) as address:
        for text in TEXTS * 3:
            assert [link["id"] for link in ask(address, article=text)] == [link.id for link in rec.search(text)]
