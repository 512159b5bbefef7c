"""Ask an index from 1, 2, 8 and 20 threads, alone and while another process adds articles.

    python benchmarks/threads.py [--index INDEX] [--threads 1 2 8 20] [--seconds 6]

Each thread asks `related` for one article after the other. With so many threads in a closed loop a query waits for
those ahead of it: by Little's law the mean time is threads divided by throughput. So the threads also ask at random
moments, at 60 % of the rate of one thread. At the end: how long a query takes while another thread holds a snapshot,
and how long an unknown id takes.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from recommender import Recommender

QUERY_COUNT = 2000  # query articles, drawn at random
WARM_UP = 300
HELD_SECONDS = 0.9
SHARE = 0.6  # of the rate of one thread
WRITER = """
import sys, itertools
from recommender import Recommender
with Recommender(sys.argv[1]) as rec:
    for n in itertools.count():
        rec.add([{"id": f"added {n}", "title": f"Added article {n}", "text": f"Article {n}, which was added."}])
        print(n, flush=True)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, default=Path("index/examples"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 8, 20])
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        shutil.copytree(options.index, index)
        with Recommender(index) as rec:
            ids = [article.id for article in rec] if len(rec) < QUERY_COUNT else list(rec._store.ids())
            ids = random.Random(1).sample(ids, min(QUERY_COUNT, len(ids)))
            print(f"{len(rec):,} articles; {options.seconds:g} s each")
            for id in ids[:WARM_UP]:
                rec.related(id)
            rate = table(rec, ids, options)
            print(f"at {SHARE:.0%} of the rate of one thread, at random moments")
            ask(rec, ids, max(options.threads), options.seconds, SHARE * rate)
            with subprocess.Popen([sys.executable, "-c", WRITER, str(index)], stdout=subprocess.PIPE) as writer:
                assert writer.stdout
                writer.stdout.readline()
                print("while another process adds articles, one by one")
                table(rec, ids, options)
                writer.kill()
            edges(rec, ids)


def table(rec: Recommender, ids: list[str], options: argparse.Namespace) -> float:
    """Ask from each number of threads; return the rate of the first."""
    rates = [ask(rec, ids, threads, options.seconds) for threads in options.threads]
    return rates[0]


def ask(rec: Recommender, ids: list[str], threads: int, seconds: float, rate: float | None = None) -> float:
    """Ask from so many threads, at their own pace or at `rate` queries a second; print and return the rate."""
    times: list[list[float]] = [[] for _ in range(threads)]
    errors: list[str] = []
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        draw = random.Random(number)
        while time.perf_counter() < end:
            started = time.perf_counter()
            try:
                rec.related(draw.choice(ids))
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")
            times[number].append(1000 * (time.perf_counter() - started))
            if rate:
                time.sleep(draw.expovariate(rate / threads))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    every = np.concatenate([np.array(part) for part in times])
    reached = len(every) / (time.perf_counter() - started)
    p50, p99 = np.percentile(every, [50, 99])
    print(
        f"{threads:>4} threads {reached:>8.1f}/s   p50 {p50:>7.2f} ms   p99 {p99:>7.2f} ms   "
        f"{len(errors)} errors {errors[:1] or ''}",
        flush=True,
    )
    return reached


def edges(rec: Recommender, ids: list[str]) -> None:
    """Ask while another thread holds a snapshot, and for ids that there are not."""
    is_held, is_done = threading.Event(), threading.Event()

    def hold() -> None:
        with rec._store.snapshot():
            is_held.set()
            is_done.wait(HELD_SECONDS)

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait()
    started = time.perf_counter()
    rec.related(ids[0])
    print(f"while another thread holds a snapshot: {1000 * (time.perf_counter() - started):.1f} ms")
    is_done.set()
    holder.join()
    for name, look_up in (("get", rec.get), ("in", rec.__contains__)):
        times = []
        for number in range(200):
            started = time.perf_counter()
            look_up(f"no such id {number}")
            times.append(1000 * (time.perf_counter() - started))
        print(f"an unknown id, {name}: p50 {np.median(times):.2f} ms")


if __name__ == "__main__":
    main()
