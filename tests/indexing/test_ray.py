"""A build on a Ray cluster gives what a build without one does. One cluster of two cores serves all tests here."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from recommender import Article, Recommender, RecommenderError, Source
from recommender.cli.main import main
from recommender.indexing import ray_cluster as cluster_module
from recommender.store import LocalStore

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
pytest.importorskip("ray.data", reason="the extra 'ray' is not installed")


@pytest.fixture(scope="module")
def cluster():
    """A cluster that this process is connected to, as "auto" finds it."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def archive(tmp_path_factory, root) -> list[Path]:
    """Some of the examples, and a file with all that can be wrong with one: 120 articles, in several chunks."""
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
    records[30] = {"id": "d", "title": "A draft", "text": "Not to be seen yet.", "status": "draft"}
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
    """Build; return the report without its time, and what was told."""
    problems: list[str] = []
    with Recommender(index) as rec:
        report = rec.build(*sources, on_problem=problems.append, **options)
    report.seconds = 0.0
    return report, problems


def state(index: Path):
    """Return all of an index but its vectors, and these."""
    store = LocalStore(index)
    ids = list(store.ids())
    signals = store.signals(ids)
    names = store.terms([int(number) for number in set(signals.term_ids.tolist())])
    terms: list[dict[str, int]] = [{} for _ in signals.ids]
    for row, number, frequency in zip(signals.rows, signals.term_ids, signals.frequencies, strict=True):
        terms[row][names[int(number)]] = int(frequency)
    rows = {id: (terms[place], signals.languages[place]) for place, id in enumerate(signals.ids)}
    vectors = {id: signals.vectors[place] for place, id in enumerate(signals.ids)}
    sources = {id: Path(stamp.source).name for id, stamp in store.content_hashes(ids).items()}
    values = store.articles(ids), rows, sources, store.settings()["model"]
    store.close()
    return values, vectors


def assert_equal(first: Path, second: Path) -> None:
    (whole, vectors), (theirs, other_vectors) = state(first), state(second)
    assert whole == theirs
    assert all(np.allclose(vectors[id], other_vectors[id], atol=1e-3) for id in vectors)


def test_a_cluster_gives_the_same_index_report_and_problems(cluster, archive, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    progress = []
    expected = built(here, *archive)
    assert built(there, *archive, ray="auto", on_progress=progress.append) == expected
    assert_equal(here, there)
    reading = [step for step in progress if step.stage == "reading"]
    assert reading[-1].done == reading[-1].total > 0
    assert [step.done for step in reading] == sorted(step.done for step in reading)

    # What is stored is not embedded again; what has changed is, and a date alone does not count as that.
    with archive[1].open("a", encoding="utf-8") as file:
        file.write('\n{"id": "n120", "title": "One more", "text": "It came later."}')
    assert built(there, *archive, ray="auto") == built(here, *archive)
    assert_equal(here, there)


def test_a_worker_that_is_killed_costs_nothing_and_a_limit_is_kept(cluster, tmp_path, monkeypatch):
    articles = [
        Article(id=str(i), title=f"Bill {i}", text=f"The council passed bill {i}. " + "It was long debated. " * 4)
        for i in range(300)
    ]
    expected = built(tmp_path / "here", articles, limit=250)
    monkeypatch.setattr(cluster_module, "_Model", killing_model(tmp_path))
    assert built(tmp_path / "there", iter(articles), limit=250, ray="auto") == expected
    assert (tmp_path / "killed").exists()
    assert_equal(tmp_path / "here", tmp_path / "there")


def killing_model(folder: Path):
    """Return a class of models: the second task that embeds kills its process, once.

    It is defined here, so that Ray gives it to its workers by value.
    """

    class Killing(cluster_module._Model):
        def __reduce__(self):
            return loaded, (self.name, self.max_tokens, self.files, self.hash)

    def loaded(*parts):
        if "_embed" in ray.get_runtime_context().get_task_name():
            with contextlib.suppress(FileExistsError):
                (folder / "embedding").touch(exist_ok=False)
                return Killing(*parts)  # the first goes on, so that some of the work is done
            with contextlib.suppress(FileExistsError):
                (folder / "killed").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return Killing(*parts)

    return Killing


def test_a_source_that_the_machines_do_not_see_is_told(cluster, tmp_path):
    file = tmp_path / "gone.jsonl"
    file.write_text('{"id": "a", "title": "A"}')
    source = Source(file)
    file.unlink()
    with pytest.raises(RecommenderError, match=r"does not see .*gone\.jsonl.*storage that all machines"):
        built(tmp_path / "index", source, ray="auto")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:6379"])
def test_a_cluster_that_cannot_be_reached_is_told(address, archive, tmp_path):
    with pytest.raises(RecommenderError, match=f"No Ray cluster can be joined at '{address}'.*ray start --head"):
        built(tmp_path / "index", *archive, ray=address)


def test_of_all_who_tell_of_something_ray_alone_is_silenced_and_for_a_time():
    of_ray, of_both, of_root = (logging.StreamHandler() for _ in range(3))
    placed = [("ray", of_ray), ("ray", of_both), ("", of_both), ("", of_root)]
    for name, handler in placed:
        logging.getLogger(name).addHandler(handler)
    try:
        with pytest.raises(ZeroDivisionError), cluster_module._silent():
            assert [handler.level for handler in (of_ray, of_both, of_root)] == [logging.CRITICAL, 0, 0]
            raise ZeroDivisionError
        assert [handler.level for handler in (of_ray, of_both, of_root)] == [0, 0, 0]
    finally:
        for name, handler in placed:
            logging.getLogger(name).removeHandler(handler)


def test_what_is_no_address_is_wrong_usage(archive, tmp_path):
    for address in ("somewhere", "ray://127.0.0.1:10001"):
        result = CliRunner().invoke(main, ["build", *map(str, archive), "--index", str(tmp_path), "--ray", address])
        assert result.exit_code == 2
        assert address in result.output
        with pytest.raises(ValueError, match=address):
            built(tmp_path / "index", *archive, ray=address)


def test_without_the_extra_it_says_what_to_install(archive, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecommenderError, match=r"pip install 'recommender\[ray\]'"):
        built(tmp_path / "index", *archive, ray="local")


def test_ray_is_not_imported_unless_asked_for():
    code = "import sys, recommender.cli; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
