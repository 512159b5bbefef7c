"""Places where an index can be, and stores at them."""

from uuid import uuid4

import pytest

from recommender.store import open_store


def pytest_addoption(parser):
    parser.addoption("--milvus", metavar="HOST:PORT", help="also ask a Milvus server that runs there")


def pytest_generate_tests(metafunc):
    if "kind" in metafunc.fixturenames:
        server = ["server"] if metafunc.config.getoption("--milvus") else []
        metafunc.parametrize("kind", ["local", "lite", *server], scope="module")


@pytest.fixture
def place(kind, tmp_path, request):
    """Where a store of each kind is: nothing is there yet, and nothing stays."""
    yield from _place(kind, tmp_path, request)


@pytest.fixture(scope="module")
def shared(kind, tmp_path_factory, request):
    """A store of each kind that many examples share."""
    for place in _place(kind, tmp_path_factory.mktemp("shared"), request):
        store = open_store(place)
        yield store
        store.close()


def _place(kind, folder, request):
    if kind == "server":
        name = f"test_{uuid4().hex[:12]}"
        place = f"milvus://{request.config.getoption('--milvus')}/{name}"
        yield place
        from pymilvus import MilvusClient

        client = MilvusClient(f"http://{request.config.getoption('--milvus')}")
        for collection in client.list_collections():
            if collection == name or collection.startswith(f"{name}_"):
                client.drop_collection(collection)
        client.close()
    else:
        yield str(folder / ("index.db" if kind == "lite" else "index"))
