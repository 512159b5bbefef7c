"""What the lexical signal costs beside the dense one alone: time and memory of a build, of a query, on disk.

    python benchmarks/signals.py [ARCHIVE] [--limit N]

ARCHIVE is any source of `recommender build`; the default is the examples. Each step of a build is timed by itself, and
queries are asked in turns with both signals and by vectors alone, in one process. Memory is the peak of processes of
their own: one builds with the vectors of the first build at hand, so without a model, another asks; each once with both
signals and once without terms and hubness. (Linux only.)
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
from measuring import EXAMPLES, Clock, machine
from measuring import memory as held

from recommender import Article, Recommender
from recommender.embedding.encoder import DenseEncoder, DenseModel
from recommender.indexing import analysis, refresh
from recommender.ranking.matching import rank
from recommender.ranking.query import stored_queries
from recommender.ranking.scoring import BOTH
from recommender.sources import Source
from recommender.store import LocalStore
from recommender.text.language import detect_language

QUERIES = 500


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.archive, options.limit, *options.child)
        return
    clocks = {name: Clock() for name in ("embedding", "language", "terms", "storing", "search files", "hubness")}
    DenseEncoder.encode_articles = clocks["embedding"].around(DenseEncoder.encode_articles)
    analysis.language_of = clocks["language"].around(analysis.language_of)
    analysis.extract_terms = clocks["terms"].around(analysis.extract_terms)
    LocalStore.write = clocks["storing"].around(LocalStore.write)
    LocalStore.finish = clocks["search files"].around(LocalStore.finish)
    refresh.hubness.refresh = clocks["hubness"].around(refresh.hubness.refresh)
    DenseEncoder().encode_query("warm up")
    detect_language("warm up, and again warm up")
    articles = (entry.article for entry in Source(options.archive) if entry.article)
    with tempfile.TemporaryDirectory() as folder, Recommender(Path(folder) / "index") as rec:
        started = time.perf_counter()
        report = rec.build(islice(articles, options.limit))
        seconds = time.perf_counter() - started
        print(f"{report.added:,} articles of {options.archive.name}; {machine()}\n")
        print(f"{'build':24}{'seconds':>9}{'share':>8}")
        for name, clock in clocks.items():
            print(f"{name:24}{clock.seconds:9.1f}{clock.seconds / seconds:8.1%}")
        print(f"{'all':24}{seconds:9.1f}")
        added = sum(clocks[name].seconds for name in ("language", "terms", "hubness"))
        print(f"{'language, terms, hubness':24}{added:9.1f}{added / seconds:8.1%}\n")
        on_disk(rec.path)
        queries(LocalStore(rec.path))
        memory(options.archive, options.limit, rec.path)


def memory(archive: Path, limit: int | None, index: Path) -> None:
    """Print what processes of their own need."""
    print(f"\n{'without the model':24}{'build s':>9}{'build MB':>10}{'asking MB':>11}")
    for signals in ("dense", "both"):
        with tempfile.TemporaryDirectory() as folder:
            figures = []
            for task in ("build", "ask"):
                command = [sys.executable, __file__, str(archive), "--child", task, signals, f"{index}:{folder}"]
                command += ["--limit", str(limit)] if limit else []
                figures.append(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
            print(f"{signals:24}{figures[0]['seconds']:9.1f}{figures[0]['mb']:10.0f}{figures[1]['mb']:11.0f}")


def child(archive: Path, limit: int | None, task: str, signals: str, paths: str) -> None:
    """Build, or ask 200 queries, and print the time and the peak of memory as JSON."""
    first, folder = (Path(path) for path in paths.split(":"))
    started = time.perf_counter()
    if signals == "dense":
        analysis.extract_terms = lambda title, text, language: {}
        analysis.language_of = lambda title, text, tag: "en"
        refresh.hubness.refresh = lambda store, on_progress: None
    with Recommender(folder / "index") as rec:
        if task == "build":
            stored = LocalStore(first)

            def encode(self: DenseEncoder, articles: list[Article], on_done: object = None) -> np.ndarray:
                analysis = stored.signals([article.id for article in articles])
                row_of = {id: row for row, id in enumerate(analysis.ids)}
                return analysis.vectors[[row_of[article.id] for article in articles]]

            DenseEncoder.encode_articles = encode
            DenseEncoder.model = DenseModel(**stored.settings()["model"])
            rec.build(islice((entry.article for entry in Source(archive) if entry.article), limit))
        else:
            for article in islice(rec, 200):
                rec.related(article.id)
    print(json.dumps({"seconds": time.perf_counter() - started, "mb": held()["peak"]}))


def on_disk(index: Path) -> None:
    """Print the bytes of each signal."""
    import sqlite3

    connection = sqlite3.connect(index / "articles.sqlite")
    for name, query in {
        "vectors": "SELECT sum(length(vector)) FROM vectors",
        "terms of articles": "SELECT sum(length(terms)) FROM lexical",
        "names of terms": "SELECT sum(length(term)) + 12 * count(*) FROM terms",
    }.items():
        print(f"{name:24}{(connection.execute(query).fetchone()[0] or 0) / 1e6:9.1f} MB in the database")
    for pattern in ("vector_index-*", "inverted_index-*", "forward_index-*"):
        size = sum(
            path.stat().st_size
            for analysis in index.glob(pattern)
            for path in (analysis.rglob("*") if analysis.is_dir() else [analysis])
        )
        print(f"{pattern:24}{size / 1e6:9.1f} MB")


def queries(store: LocalStore) -> None:
    """Ask queries in turns, by vectors alone and by both signals."""
    ids = list(store.ids())
    sample = [ids[number] for number in np.random.default_rng(0).permutation(len(ids))[:QUERIES].tolist()]
    times: dict[str, list[float]] = {"dense alone": [], "both": []}
    for id in [*sample[:20], *sample]:  # the first twenty warm up
        started = time.perf_counter()
        with store.snapshot():
            vector = store.signals([id]).vectors[0]
            analysis, (rows,) = store.retrieve_candidates([_bare(vector)], 50)
            np.argsort(-(analysis.vectors[rows] @ vector))
        middle = time.perf_counter()
        with store.snapshot():
            rank(store, list(stored_queries(store, [id]).values()), 50, BOTH)
        times["dense alone"].append(1000 * (middle - started))
        times["both"].append(1000 * (time.perf_counter() - middle))
    print(f"\n{'a query':24}{'p50 ms':>9}{'p99 ms':>9}")
    for name, analysis in times.items():
        p50, p99 = np.percentile(analysis[20:], [50, 99])
        print(f"{name:24}{p50:9.2f}{p99:9.2f}")
    print(f"{'ratio of the medians':24}{np.median(times['both'][20:]) / np.median(times['dense alone'][20:]):9.2f}")


def _bare(vector: np.ndarray) -> object:
    from recommender.filters import Condition
    from recommender.store import CandidateQuery

    return CandidateQuery(vector, np.empty(0, dtype=np.int64), np.empty(0), Condition())


if __name__ == "__main__":
    main()
