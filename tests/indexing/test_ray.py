"""A build on a Ray cluster gives the same index as one without. One cluster of two cores serves all tests here."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from recommender import Article, Recommender, RecommenderError, Source
from recommender.cli.main import main
from recommender.indexing import ray_cluster
from recommender.store import LocalStore

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
pytest.importorskip("ray.data", reason="the extra 'ray' is not installed")


@pytest.fixture(scope="module")
def cluster():
    """A cluster that this process is connected to, for the address "auto"."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def archive(tmp_path_factory, root) -> list[Path]:
    """Some of the examples, and a file of 120 records with all kinds of problems, in several chunks."""
    file = tmp_path_factory.mktemp("archive") / "export.jsonl"
    records = [
        {
            "id": f"n{i}",
            "title": f"Notice {i}",
            "text": f"The office of district {i} is closed on day {i}.",
            "tags": [i],
        }
        for i in range(120)
    ]
    records[20] = {"id": "n7", "title": "Another seven", "text": "An id that stands twice."}
    records[30] = {"id": "d", "title": "A draft", "text": "An unpublished text.", "status": "draft"}
    records[40] = {"title": "Neither id nor url", "text": "Nobody could name it."}
    records[50] = {
        "id": "fr",
        "title": "Le maire répond",
        "text": "Le maire a répondu hier soir aux questions de la presse.",
    }
    records[110] = {"id": "n3", "title": "Notice 3", "text": "Withdrawn.", "deleted": True}
    lines = [json.dumps(record) for record in records]
    lines[60] = "this is no JSON"
    file.write_text("\n".join(lines), encoding="utf-8")
    return [root / "examples" / "culture", file]


def built(index: Path, *sources, **options):
    """Build; return the report without its time, and the reported problems."""
    problems: list[str] = []
    with Recommender(index) as rec:
        report = rec.build(*sources, on_problem=problems.append, **options)
    report.seconds = 0.0
    return report, problems


def contents(index: Path):
    """Return the contents of an index without the vectors, and the vectors by id."""
    store = LocalStore(index)
    ids = list(store.ids())
    signals = store.signals(ids)
    names = store.terms([int(number) for number in set(signals.term_ids.tolist())])
    terms: list[dict[str, int]] = [{} for _ in signals.ids]
    for row, number, frequency in zip(signals.rows, signals.term_ids, signals.frequencies, strict=True):
        terms[row][names[int(number)]] = int(frequency)
    rows = {id: (terms[position], signals.languages[position]) for position, id in enumerate(signals.ids)}
    vectors = {id: signals.vectors[position] for position, id in enumerate(signals.ids)}
    sources = {id: Path(stamp.source).name for id, stamp in store.content_hashes(ids).items()}
    articles, model = store.articles(ids), store.settings()["model"]
    store.close()
    return (articles, rows, sources, model), vectors


def assert_equal(first: Path, second: Path) -> None:
    (first_contents, first_vectors), (second_contents, second_vectors) = contents(first), contents(second)
    assert first_contents == second_contents
    assert all(np.allclose(vector, second_vectors[id], atol=1e-3) for id, vector in first_vectors.items())


def test_a_cluster_gives_the_same_index_report_and_problems(cluster, archive, tmp_path):
    local, remote = tmp_path / "local", tmp_path / "cluster"
    progress = []
    expected = built(local, *archive)
    assert built(remote, *archive, ray="auto", on_progress=progress.append) == expected
    assert_equal(local, remote)
    reading = [step for step in progress if step.stage == "reading"]
    assert reading[-1].done == reading[-1].total > 0
    assert [step.done for step in reading] == sorted(step.done for step in reading)

    # A second build embeds the new article alone.
    with archive[1].open("a", encoding="utf-8") as file:
        file.write('\n{"id": "n120", "title": "One more", "text": "It came later."}')
    assert built(remote, *archive, ray="auto") == built(local, *archive)
    assert_equal(local, remote)


def test_a_killed_worker_loses_nothing_and_the_limit_holds(cluster, tmp_path, monkeypatch):
    articles = [
        Article(id=str(i), title=f"Bill {i}", text=f"The council passed bill {i}. " + "It was long debated. " * 4)
        for i in range(300)
    ]
    expected = built(tmp_path / "local", articles, limit=250)
    monkeypatch.setattr(ray_cluster, "_Model", killing_model(tmp_path))
    assert built(tmp_path / "cluster", iter(articles), limit=250, ray="auto") == expected
    assert (tmp_path / "killed").exists()
    assert_equal(tmp_path / "local", tmp_path / "cluster")


def killing_model(folder: Path):
    """Return a class of models: the second embedding task kills its process, once.

    It is defined in a function, so that Ray pickles it by value for its workers.
    """

    class KillingModel(ray_cluster._Model):
        def __reduce__(self):
            return load, (self.name, self.max_tokens, self.files, self.hash)

    def load(*fields):
        if "_embed" in ray.get_runtime_context().get_task_name():
            with contextlib.suppress(FileExistsError):
                (folder / "embedding").touch(exist_ok=False)
                return KillingModel(*fields)  # the first task succeeds
            with contextlib.suppress(FileExistsError):
                (folder / "killed").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return KillingModel(*fields)

    return KillingModel


def test_a_server_that_is_no_cluster_is_reported(monkeypatch, archive, tmp_path):
    monkeypatch.setattr(ray_cluster, "STATUS_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RecommenderError, match=f"No Ray cluster can be joined at '{address}'.*does not answer"):
            built(tmp_path / "index", *archive, ray=address)


def test_a_source_that_a_machine_lacks_is_reported(cluster, tmp_path):
    file = tmp_path / "gone.jsonl"
    file.write_text('{"id": "a", "title": "A"}')
    source = Source(file)
    file.unlink()
    with pytest.raises(RecommenderError, match=r"does not see .*gone\.jsonl.*storage that all machines"):
        built(tmp_path / "index", source, ray="auto")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:6379"])
def test_an_unreachable_cluster_is_reported(address, archive, tmp_path):
    with pytest.raises(RecommenderError, match=f"No Ray cluster can be joined at '{address}'.*ray start --head"):
        built(tmp_path / "index", *archive, ray=address)


def test_only_handlers_of_ray_are_silenced_temporarily():
    of_ray, of_both, of_root = (logging.StreamHandler() for _ in range(3))
    placed = [("ray", of_ray), ("ray", of_both), ("", of_both), ("", of_root)]
    for name, handler in placed:
        logging.getLogger(name).addHandler(handler)
    try:
        with pytest.raises(ZeroDivisionError), ray_cluster._silence_logs():
            assert [handler.level for handler in (of_ray, of_both, of_root)] == [logging.CRITICAL, 0, 0]
            raise ZeroDivisionError
        assert [handler.level for handler in (of_ray, of_both, of_root)] == [0, 0, 0]
    finally:
        for name, handler in placed:
            logging.getLogger(name).removeHandler(handler)


def test_an_invalid_address_is_wrong_usage(archive, tmp_path):
    for address in ("somewhere", "ray://127.0.0.1:10001"):
        result = CliRunner().invoke(main, ["build", *map(str, archive), "--index", str(tmp_path), "--ray", address])
        assert result.exit_code == 2
        assert address in result.output
        with pytest.raises(ValueError, match=address):
            built(tmp_path / "index", *archive, ray=address)


def test_without_ray_the_error_names_the_extra(archive, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecommenderError, match=r"pip install 'recommender\[ray\]'"):
        built(tmp_path / "index", *archive, ray="local")


def test_ray_is_imported_only_for_a_cluster():
    code = "import sys, recommender.cli; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
