"""How fast each store is, side by side: the folder, Milvus Lite, and a Milvus server.

    python benchmarks/stores.py [--articles N ...] [--server HOST:PORT] [--only STORE ...] [--seconds S]

The same generated articles (generated.py; no model) are written to each store in batches, then asked for their related
articles one after the other, and by eight threads at once: the whole path, candidates by vectors and by terms, exact
scores, copies, variety, titles. Hubness is left out, which changes what is found and not how long it takes. Without
--server the server is left out. Asking a store takes up to --seconds.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
from measuring import machine
from sizes import BATCH, MODEL, changes

from recommender import Recommender
from recommender.store import open_store
from recommender.text.terms import TERM_SETTINGS

QUERY_COUNT = 300  # query articles, drawn at random
THREADS = 8
NAME = "recommender_benchmark"
STORES = ("folder", "lite", "server")


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, nargs="+", default=[20_000])
    parser.add_argument("--server", metavar="HOST:PORT")
    parser.add_argument("--only", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    print(f"{machine()}\n")
    print(f"{'':20}{'articles':>10}{'written/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'asked/s':>10}{'by 8/s':>10}")
    for n in options.articles:
        first: list[float] = []
        for kind in options.only:
            if kind == "server" and not options.server:
                continue
            with temporary_index(kind, options.server) as index:
                figures = measured(index, n, options.seconds)
            first = first or figures
            ratios = " ".join(f"{figure / base:.2f}" for figure, base in zip(figures, first, strict=True))
            cells = "".join(
                f"{figure:>{width},.1f}" for figure, width in zip(figures, (12, 10, 10, 10, 10), strict=True)
            )
            print(f"{kind:20}{n:>10,}{cells}   ratios to the first: {ratios}", flush=True)


@contextmanager
def temporary_index(kind: str, server: str | None) -> Iterator[str]:
    """Yield the path or address of an index, and remove the index afterwards."""
    if kind == "server":
        from pymilvus import MilvusClient

        yield f"milvus://{server}/{NAME}"
        client = MilvusClient(f"http://{server}")
        for collection in client.list_collections():
            if collection == NAME or collection.startswith(f"{NAME}_"):
                client.drop_collection(collection)
        client.close()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield str(Path(folder) / ("index.db" if kind == "lite" else "index"))


def measured(index: str, n: int, seconds: float) -> list[float]:
    """Return articles written a second, p50 and p99 of asking in milliseconds, and articles asked for a second."""
    writing = 0.0
    with closing(open_store(index)) as store, store.write_lock():
        store.create({"model": asdict(MODEL), "lexical": TERM_SETTINGS})
        remaining = changes(n)
        while batch := list(islice(remaining, BATCH)):
            started = time.perf_counter()
            store.write(batch)
            writing += time.perf_counter() - started
        started = time.perf_counter()
        store.finish(built=True)
        writing += time.perf_counter() - started
    ids = [f"g{number:08}" for number in np.random.default_rng(0).permutation(n)[: 2 * QUERY_COUNT].tolist()]
    with Recommender(index) as rec:
        for id in ids[:5]:
            rec.related(id)
        times = []
        for id in ids[5:QUERY_COUNT]:
            started = time.perf_counter()
            rec.related(id)
            times.append(time.perf_counter() - started)
            if sum(times) > seconds:
                break
        many = ids[QUERY_COUNT : QUERY_COUNT + len(times)]
        started = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(rec.related, many))
        at_once = len(many) / (time.perf_counter() - started)
    milliseconds = 1000 * np.array(times)
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return [n / writing, float(p50), float(p99), len(times) / sum(times), at_once]


if __name__ == "__main__":
    main()
