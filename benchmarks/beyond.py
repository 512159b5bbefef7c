"""The searches at ten million articles, without a database and a model: what holds, and what breaks first.

    python benchmarks/beyond.py [--articles 10000000] [--folder DIR] [--minutes 30]

Vectors and terms come from generated.py, for as many articles as are made within --minutes. From them the three search
files of an index are made, and both searches asked as a block asks them, of articles drawn at random: by vectors, with
the exact comparison of what is found, and by terms. Each step is a process of its own, and its figures are kept in the
folder: a run that was cut off goes on. Ten million take about an hour and a half and 14 GB of disk. (Linux only.)

What is left out is SQLite, whose part in a query does not grow: it looks up by number what was found. sizes.py has it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import generated
import numpy as np
from measuring import machine, memory

from recommender.ranking.query import CANDIDATES_PER_SIGNAL
from recommender.store.local.derived_file import DerivedFile
from recommender.store.local.forward_index import ForwardIndex, Row, open_forward_index, write_forward_index
from recommender.store.local.inverted_index import TermSearch, write_inverted_index
from recommender.store.local.vector_index import CHUNK, VectorSearch, write_vector_index
from recommender.system.faiss_blas import faiss
from recommender.text import tfidf
from recommender.text.terms import strongest_terms

STEPS = ("signals", "vectors", "terms", "ask")
QUERY_COUNT, EXACT_QUERY_COUNT = 500, 100  # queries, and those also compared exactly
COUNTED = 2**24  # terms of a further rank stand in one article only, as good as always


def main() -> None:
    """Run the steps that are not done yet, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        started = time.perf_counter()
        step_figures = globals()[f"do_{options.step}"](options.folder, options)
        print(json.dumps({**step_figures, "seconds": time.perf_counter() - started, **memory()}))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "figures.json"
        figures = json.loads(file.read_text()) if file.exists() else {}
        for step in STEPS:
            if step not in figures:
                command = [sys.executable, __file__, "--articles", str(options.articles), "--folder", str(folder)]
                command += ["--minutes", str(options.minutes), "--step", step]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                figures[step] = json.loads(done.stdout.splitlines()[-1])
                file.write_text(json.dumps(figures, indent=1))
    print(f"{machine()}\n")
    for step in STEPS:
        for name, value in figures[step].items():
            print(f"{step:10}{name:40}{value:>16,.{3 if value < 100 else 0}f}")


def do_signals(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Make vectors and terms, for as long as there is time, and write the mapped files that exact scoring reads."""
    counts = np.zeros(COUNTED, dtype=np.int64)
    ends = time.monotonic() + 60 * options.minutes

    def rows() -> Iterator[Row]:
        articles = zip(generated.terms(options.articles), generated.vectors(options.articles), strict=True)
        for terms, vectors in articles:
            np.add.at(counts, terms.numbers[terms.numbers < COUNTED], 1)
            halves = vectors.astype("<f2")
            for row, half in enumerate(halves):
                key = terms.first + row + 1
                part = slice(terms.starts[row], terms.starts[row + 1])
                yield Row(key, f"g{key - 1:08d}", "en", half.tobytes(), terms.numbers[part], terms.counts[part])
            if time.monotonic() > ends:
                return

    def counted() -> Iterator[tuple[int, int]]:
        numbers = np.flatnonzero(counts)
        yield from zip(numbers.tolist(), counts[numbers].tolist(), strict=True)

    return keep(folder, "signals", write_forward_index(folder, 1, rows(), counted()))


def do_vectors(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Make the approximate lists, and measure how many of them a search has to read."""
    return keep(folder, "vectors", write_vector_index(folder, 1, signals_of(folder)))


def do_terms(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Make the inverted file."""
    return keep(folder, "terms", write_inverted_index(folder, 1, signals_of(folder).weighted_terms()))


def do_ask(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Open the search files and ask both searches."""
    started = time.perf_counter()
    signals = signals_of(folder)
    nothing, forward = Empty(), (kept_file(folder, "signals"), signals)
    vectors = VectorSearch(folder, generated.DIMENSIONS).updated(
        nothing, kept_file(folder, "vectors"), forward, 1, lambda *_: iter(())
    )
    terms = TermSearch(folder).updated(nothing, kept_file(folder, "terms"), 1, lambda *_: iter(()))
    figures = {"opening, s": time.perf_counter() - started}
    rows = np.random.default_rng(1).choice(len(signals), QUERY_COUNT, replace=False)
    queries = [query(signals, row) for row in rows.tolist()]
    faiss.omp_set_num_threads(1)
    for turn in ("for the first time, ", ""):
        by_vectors, by_terms = [], []
        for vector, numbers, weights in queries:
            started = time.perf_counter()
            vectors.search(vector, CANDIDATES_PER_SIGNAL)
            middle = time.perf_counter()
            terms.search(numbers, weights, CANDIDATES_PER_SIGNAL)
            by_vectors.append(1000 * (middle - started))
            by_terms.append(1000 * (time.perf_counter() - middle))
        for name, times in {"by vectors": by_vectors, "by terms": by_terms}.items():
            figures |= {f"{name}, {turn}p{part} ms": np.percentile(times, part) for part in (50, 99)}
    figures |= {f"serving, {name} MB": value for name, value in memory().items() if name != "peak"}
    query_vectors = np.concatenate([vector for vector, _, _ in queries[:EXACT_QUERY_COUNT]])
    exact = nearest(signals, query_vectors)
    nearest_keys = [vectors.search(vector[None], CANDIDATES_PER_SIGNAL)[0] for vector in query_vectors]
    recall = np.mean([np.isin(best, near).mean() for best, near in zip(exact, nearest_keys, strict=True)])
    return figures | {"recall@10 by vectors": float(recall)}


def query(signals: ForwardIndex, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an article's vector, and the terms that its candidates are searched by, with their weights."""
    rows = np.array([row])
    _, numbers, frequencies = signals.terms(rows)
    all_counts = signals.document_frequencies
    counts = np.where(numbers < len(all_counts), all_counts[np.minimum(numbers, len(all_counts) - 1)], 1)
    total = np.array([len(signals)])
    weights = tfidf.tfidf_weights(frequencies.astype(float), counts, total, np.zeros(len(numbers), dtype=np.int64), 1)
    strongest = strongest_terms(weights)
    return signals.vectors(rows), numbers[strongest], weights[strongest]


def nearest(signals: ForwardIndex, queries: np.ndarray) -> np.ndarray:
    """Return the keys of the ten nearest articles of each query, by comparing all."""
    best = faiss.ResultHeap(len(queries), 10, keep_max=True)
    for start in range(0, len(signals), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(signals)))
        scores, positions = faiss.knn(queries, signals.vectors(rows), 10, metric=faiss.METRIC_INNER_PRODUCT)
        best.add_result(scores, signals.keys(rows)[positions])
    best.finalize()
    return best.I


def signals_of(folder: Path) -> ForwardIndex:
    """Open the mapped files."""
    forward_index, fault = open_forward_index(folder, kept_file(folder, "signals"), generated.DIMENSIONS)
    assert forward_index, fault
    return forward_index


def keep(folder: Path, name: str, file: DerivedFile | None) -> dict[str, float]:
    """Keep which file a step made, for the steps after it; return its size."""
    assert file
    (folder / f"{name}.json").write_text(json.dumps(asdict(file)))
    return {"articles": file.count, "MB": file.size / 1e6}


def kept_file(folder: Path, name: str) -> DerivedFile:
    """Return the file that a step made."""
    return DerivedFile(**json.loads((folder / f"{name}.json").read_text()))


class Empty:
    """A database in which nothing has changed since the search files were made."""

    def execute(self, *_: object) -> "Empty":
        """Find nothing."""
        return self

    def fetchall(self) -> list[object]:
        """Give nothing."""
        return []

    def __iter__(self) -> Iterator[object]:
        """Give nothing."""
        return iter(())


if __name__ == "__main__":
    main()
