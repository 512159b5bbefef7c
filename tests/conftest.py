"""Fixtures of all tests. `recommender.embedding.encoder` caches the real model, so a session loads it once."""

import contextlib
import hashlib
import os
import socket
import subprocess
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest

from recommender import Article, Recommender

hypothesis.settings.register_profile("no timing limits", deadline=None)
hypothesis.settings.load_profile("no timing limits")

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser):
    parser.addoption(
        "--milvus",
        metavar="HOST:PORT",
        help="also test with the Milvus server at this address; `own` starts one for the tests (package milvus)",
    )


def pytest_generate_tests(metafunc):
    """Run a test with the fixture `store_kind` once for each store, with `milvus_kind` once for each Milvus store."""
    server = ["server"] if metafunc.config.getoption("--milvus") else []
    if "store_kind" in metafunc.fixturenames:
        lite = pytest.param("lite", marks=pytest.mark.slow)  # starts a process, which takes seconds
        metafunc.parametrize("store_kind", ["local", lite, *server], scope="module")
    if "milvus_kind" in metafunc.fixturenames:
        metafunc.parametrize("milvus_kind", ["lite", *server], scope="module")


class MilvusServer:
    """A real Milvus server: a running one, or one that the tests start and can kill."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self._server = address, None
        if address == "own":
            from milvus import MilvusServer

            with socket.socket() as free_socket:
                free_socket.bind(("127.0.0.1", 0))
                port = free_socket.getsockname()[1]
            self._server = MilvusServer(wait_for_started=True)
            self._server.set_base_dir(str(folder))
            self._server.listen_port = port
            self._server.config.configs.update(show_startup_banner=False)
            self.address = f"127.0.0.1:{port}"
            self.start()

    def start(self) -> None:
        """Start the server; again at the same ports, where the package would choose others until those are free."""
        if self._server.server_proc is None:
            self._server.start()
            return
        program = Path(self._server.get_milvus_executable_path())
        ports = {"METRICS_PORT": str(self._server.webservice_port)}
        folder = Path(self._server.config.base_data_dir)
        environment = {
            **os.environ,
            **ports,
            "DEPLOY_MODE": "STANDALONE",
            "MILVUS_RUN_DIR": str(folder / "run"),
            "LD_LIBRARY_PATH": str(program.parent),
        }
        with (folder / "logs" / "again.log").open("ab") as log:
            self._server.server_proc = subprocess.Popen(
                [program, "run", "standalone"], env=environment, cwd=folder, stdout=log, stderr=log
            )
        self._server.wait_started()

    def kill(self) -> None:
        if self._server is None:
            pytest.skip("only a server that the tests started can be killed; use --milvus own")
        self._server.server_proc.kill()
        self._server.server_proc.wait()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def drop(self, name: str) -> None:
        from pymilvus import MilvusClient

        client = MilvusClient(f"http://{self.address}")
        for collection in client.list_collections():
            if collection == name or collection.startswith(f"{name}_"):
                client.drop_collection(collection)
        client.close()


@pytest.fixture(scope="session")
def milvus_server(request, tmp_path_factory):
    """Return the server of the option --milvus."""
    server = MilvusServer(request.config.getoption("--milvus"), tmp_path_factory.mktemp("milvus"))
    yield server
    server.stop()


@contextlib.contextmanager
def new_index(kind: str, folder: Path, request):
    """Yield the path or address of an index that does not exist yet, and remove a collection afterwards."""
    if kind == "server":
        server, name = request.getfixturevalue("milvus_server"), f"test_{uuid4().hex[:12]}"
        yield f"milvus://{server.address}/{name}"
        server.drop(name)
    else:
        yield str(folder / ("index.db" if kind == "lite" else "index"))


@pytest.fixture
def index_path(store_kind, tmp_path, request):
    """Return the path or address of a new index, for each store."""
    with new_index(store_kind, tmp_path, request) as index_path:
        yield index_path


@pytest.fixture
def milvus_index(milvus_kind, tmp_path, request):
    """Return the path or address of a new index in Milvus."""
    with new_index(milvus_kind, tmp_path, request) as index_path:
        yield index_path


@pytest.fixture(scope="module")
def shared(store_kind, tmp_path_factory, request):
    """Return an open store, for each kind, that the tests of a module share."""
    from recommender.store import open_store

    with new_index(store_kind, tmp_path_factory.mktemp("shared"), request) as index_path:
        store = open_store(index_path)
        yield store
        store.close()


@pytest.fixture(scope="session", autouse=True)
def no_fsync():
    """Skip fsync: only tests/torture simulates a loss of power, in processes without this fixture."""
    from recommender.store.local import database

    opened = database.open_writer

    def open_writer(file: Path):
        connection = opened(file)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(database, "open_writer", open_writer)
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root folder of the checkout."""
    return ROOT


@pytest.fixture
def articles() -> list[Article]:
    """Return six articles on two subjects."""
    texts = {
        "dam-1": ("River dam gates are shut", "The government shut the gates of the river dam despite protests."),
        "dam-2": ("Talks on the river dam collapse", "Water talks between the two countries about the dam failed."),
        "dam-3": ("Treaty on shared river signed", "Both countries signed a treaty on the water of the shared river."),
        "club-1": ("Football club goes insolvent", "The football club could not pay its players and went insolvent."),
        "club-2": ("Fans buy stricken football club", "Supporters of the football club bought shares to rescue it."),
        "club-3": ("Football club wins first match", "The rescued football club won its opening match at home."),
    }
    return [
        Article(id=id, title=title, text=text, url=f"https://example.org/{id}", section=id.split("-")[0])
        for id, (title, text) in texts.items()
    ]


@pytest.fixture
def rec(tmp_path: Path, articles: list[Article]):
    """Return a Recommender with an index of `articles`."""
    with Recommender(tmp_path / "index") as rec:
        rec.build(articles)
        yield rec


@pytest.fixture
def fake_vectors(monkeypatch):
    """Replace the model: vectors are drawn from a hash of the text, and are similar if the first words are equal.

    For tests with many articles that do not depend on the model.
    """
    _patch_encoder(monkeypatch)


@pytest.fixture(scope="session")
def fake_vectors_context():
    """Return a context manager that does the same, for fixtures of a session or module."""

    @contextlib.contextmanager
    def patched():
        with pytest.MonkeyPatch.context() as patch:
            _patch_encoder(patch)
            yield

    return patched


def _patch_encoder(monkeypatch):
    import numpy as np

    from recommender.embedding.encoder import DenseEncoder

    def seeded(text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        return np.random.default_rng(seed).normal(size=384)

    def encode(self, articles, on_done=None):
        vectors = np.stack([seeded(a.text.split(" ")[0]) + 0.7 * seeded(a.title + a.text) for a in articles])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr(DenseEncoder, "encode_articles", encode)
