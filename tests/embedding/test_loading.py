"""Models are loaded once for all threads and work in forked processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from recommender import Article, Recommender
from recommender.embedding import encoder, openvino
from recommender.embedding.encoder import DenseEncoder
from recommender.system.load_once import load_lock, load_once

THREADS = 8
HANG_SECONDS = 300  # reached only by a test that hangs


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The path of a small index."""
    path = tmp_path_factory.mktemp("loading") / "index"
    with Recommender(path) as rec:
        rec.build(Article(id=f"a{number}", title=f"The river dam {number}") for number in range(8))
    return path


def at_once(call):
    """Return the results of a call in several threads that begin together."""
    begin = threading.Barrier(THREADS)

    def wait_and_call(_):
        begin.wait()
        return call()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(wait_and_call, range(THREADS)))


def test_load_once_computes_a_value_once_for_all_threads():
    calls = []

    class Owner:
        @load_once
        def value(self):
            """A value."""
            calls.append(threading.get_ident())
            return object()

    owner = Owner()
    assert len({id(value) for value in at_once(lambda: owner.value)}) == len(calls) == 1
    assert Owner.value.__doc__ == "A value."
    assert Owner().value is not owner.value


def test_load_once_tries_again_after_an_error():
    class Owner:
        tries = 0

        @load_once
        def value(self):
            self.tries += 1
            if self.tries == 1:
                raise OSError
            return self.tries

    owner = Owner()
    with pytest.raises(OSError):
        owner.value  # noqa: B018
    assert owner.value == 2


@pytest.mark.parametrize("shared", [True, False])
def test_the_first_searches_of_many_threads_load_the_model_once(index, monkeypatch, shared):
    loaded, compiled = [], []
    load, compile_uncached = openvino.OpenVinoModel.__init__, openvino.OpenVinoModel._compile_uncached
    monkeypatch.setattr(openvino, "_recent", {})
    monkeypatch.setattr(
        openvino.OpenVinoModel, "__init__", lambda self, *args: (loaded.append(1), load(self, *args))[1]
    )
    monkeypatch.setattr(
        openvino.OpenVinoModel,
        "_compile_uncached",
        lambda self, hint: (compiled.append(hint), compile_uncached(self, hint))[1],
    )
    with Recommender(index) as rec:

        def search():
            if shared:
                return [link.id for link in rec.search("river dam", k=3)]
            with Recommender(index) as another:
                return [link.id for link in another.search("river dam", k=3)]

        answers = at_once(search)
    assert answers.count(answers[0]) == THREADS
    assert (loaded, compiled) == ([1], ["LATENCY"])


def test_warm_up_loads_the_model_for_searches(index, monkeypatch):
    monkeypatch.setattr(openvino, "_recent", {})
    with Recommender(index) as rec:
        rec.warm_up()
        monkeypatch.setattr(encoder, "openvino_model", None)
        monkeypatch.setattr(openvino.OpenVinoModel, "_compile_uncached", None)
        assert len(rec.search("river dam", k=3)) == 3


def test_warm_up_without_an_index_creates_none(tmp_path):
    with Recommender(tmp_path / "none") as rec:
        rec.warm_up()
        assert not (tmp_path / "none").exists()


FORK = multiprocessing.get_context("fork")


def in_child(function, *args):
    """Return the result of a function in a forked child."""
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=lambda: sender.send(function(*args)))
    process.start()
    sender.close()  # so that the death of the child ends the wait
    try:
        assert receiver.poll(HANG_SECONDS), "the child hangs"
        return receiver.recv()
    finally:
        process.kill()
        process.join()


@pytest.mark.slow
def test_a_forked_child_encodes_like_its_parent():
    encoder, static = DenseEncoder(), DenseEncoder("static")  # the parent loads the static one after the child
    texts = [f"the river dam {number}" for number in range(70)]
    expected = encoder.encode_texts(texts)
    np.testing.assert_allclose(in_child(encoder.encode_texts, texts), expected, atol=1e-5)
    np.testing.assert_allclose(in_child(encoder.encode_query, texts[0]), expected[0], atol=1e-5)
    np.testing.assert_allclose(in_child(in_child, encoder.encode_texts, texts), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(texts), expected, atol=1e-5)
    vectors = in_child(static.encode_texts, texts)
    np.testing.assert_allclose(vectors, static.encode_texts(texts), atol=1e-5)
    np.testing.assert_allclose(vectors, in_child(static.encode_texts, texts), atol=1e-5)


def test_a_forked_child_loads_another_model():
    encoder, texts = DenseEncoder(), ["river dam", "club"]
    expected = encoder.encode_texts(texts)

    def load():
        openvino._recent.clear()
        return DenseEncoder().encode_texts(texts)

    np.testing.assert_allclose(in_child(load), expected, atol=1e-5)


def test_threads_of_a_forked_child_encode():
    encoder = DenseEncoder()
    expected = encoder.encode_query("the river dam")
    for vector in in_child(at_once, lambda: encoder.encode_query("the river dam")):
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_a_forked_child_encodes_with_pytorch():
    torch_model, texts = DenseEncoder()._torch_model, ["river dam", "club"]
    expected = torch_model.encode(texts, query=False)
    vectors = in_child(lambda: torch_model.encode(texts, query=False))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_a_child_that_is_forked_during_encoding_encodes():
    encoder, stopped = DenseEncoder(), threading.Event()

    def encode_repeatedly():
        while not stopped.is_set():
            encoder.encode_texts([f"the river dam {number}" for number in range(20)])

    thread = threading.Thread(target=encode_repeatedly)
    thread.start()
    try:
        assert in_child(encoder.encode_query, "the river dam").shape == (384,)
    finally:
        stopped.set()
        thread.join()


RECOMMENDERS = []  # inherited by the processes of a pool


def search_in_pool(text):
    return [link.id for link in RECOMMENDERS[-1].search(text, k=3)]


def related_in_pool(id):
    return [link.id for link in RECOMMENDERS[-1].related(id, k=3)]


def build_in_pool(path):
    with Recommender(path) as rec:
        return rec.build([Article(id=f"b{number}", title=f"The club won {number} times") for number in range(40)]).added


def test_a_recommender_works_in_a_pool_of_forked_processes(index, tmp_path):
    with Recommender(index) as rec:
        RECOMMENDERS.append(rec)
        searched, related = ([link.id for link in block] for block in (rec.search("dam 3", k=3), rec.related("a3", 3)))
        with FORK.Pool(2) as pool:
            assert pool.map_async(search_in_pool, ["dam 3"] * 4).get(HANG_SECONDS) == [searched] * 4
            assert pool.map_async(related_in_pool, ["a3"] * 4).get(HANG_SECONDS) == [related] * 4
            assert pool.apply_async(build_in_pool, [tmp_path / "new"]).get(HANG_SECONDS) == 40


def test_the_load_lock_is_free_in_a_forked_child():
    locked, released = threading.Event(), threading.Event()

    def hold():
        with load_lock():
            locked.set()
            released.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(HANG_SECONDS)
        with load_lock():
            os._exit(7)
    released.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.slow
def test_a_forked_child_that_does_not_encode_exits(index):
    code = f"""if True:
        import os, sys
        from recommender import Recommender
        rec = Recommender({str(index)!r})
        rec.search("river dam")
        child = os.fork()
        if child == 0:
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]  # Python 3.12 warns of fork with threads
    run = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=True)
    assert (run.stdout, run.stderr) == ("7\n", "")
