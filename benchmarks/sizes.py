"""What each step costs from a thousand articles to millions: storing, search files, opening, asking, changing, passes.

    python benchmarks/sizes.py [--articles 1000 10000 100000] [--folder DIR] [--chart FILE.svg] [--sample N]

The articles come from generated.py: texts, terms and vectors from a seed, without a model. Each step is a process of
its own, and its figures are kept in the folder: a step that has been done is not done again, so a run that was cut off
goes on. The default folder is temporary. A million articles take a bit over an hour and 8 GB of disk. (Linux only.)

Asking is `Recommender.related` of articles drawn at random, the whole path: candidates by vectors and by terms, exact
scores, shaping, titles. Beside it are FAISS alone with all vectors in memory, compared exactly, and the search file
alone. Recall is that of the search file: how many of the ten nearest by exact comparison are among the candidates;
links are those of blocks made with exact candidates that the blocks hold. --sample makes both passes over so many
articles only where there are more than 10,000, and prints what all would take, going on as in its second half; the
hubness of the others is drawn from theirs. Without it the passes are made in full.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import generated
import numpy as np
from measuring import machine, memory

from recommender import Article, Recommender
from recommender.embedding.encoder import DenseEncoder, DenseModel
from recommender.ranking import hubness
from recommender.ranking.hubness import COMMIT_ARTICLES
from recommender.ranking.query import CANDIDATES_PER_SIGNAL, MAX_CHUNK_QUERIES
from recommender.store import LocalStore, Upsert
from recommender.store.local.candidates import CandidateSearch
from recommender.store.local.vector_index import VectorSearch
from recommender.system.faiss_blas import faiss
from recommender.system.processes import parallel_map
from recommender.text.terms import TERM_SETTINGS

MODEL = DenseModel("generated", "0" * 32, generated.DIMENSIONS, 128, ["en"])
QUERY_COUNT = 1000  # queries
COMPARED = 200  # of them beside exact comparison
BATCH = 512
STEPS = ("store", "files", "hubness", "ask", "change", "links")


def main() -> None:
    """Run the steps that are not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--chart", type=Path)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        (n,) = options.articles
        started = time.perf_counter()
        step_figures = globals()[f"do_{options.step}"](n, options.folder / str(n), options.sample)
        print(json.dumps({"seconds": time.perf_counter() - started, **step_figures, **memory()}))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        figures = {n: run(n, folder, options.sample) for n in options.articles}
    print(f"{machine()}\n")
    table = rows(figures)
    print(f"{'':44}" + "".join(f"{n:>14,}" for n in figures))
    for name, values in table.items():
        print(f"{name:44}" + "".join(f"{value:>14,.{2 if value < 100 else 0}f}" for value in values))
    if options.chart:
        chart(options.chart, list(figures), table)


def run(n: int, folder: Path, sample: int | None) -> dict[str, dict[str, float]]:
    """Do each step of a size that is not done yet; return the figures of all."""
    file = folder / str(n) / "figures.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    figures = json.loads(file.read_text()) if file.exists() else {}
    for step in STEPS:
        if step not in figures:
            command = [sys.executable, __file__, "--articles", str(n), "--folder", str(folder), "--step", step]
            command += ["--sample", str(sample)] if sample else []
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            figures[step] = json.loads(done.stdout.splitlines()[-1])
            file.write_text(json.dumps(figures, indent=1))
            print(f"{n:,}: {step} {figures[step]['seconds']:,.1f} s", file=sys.stderr, flush=True)
    return figures


def do_store(n: int, index: Path, sample: int | None) -> dict[str, float]:
    """Store all articles with their vectors and terms."""
    seconds = 0.0
    store = LocalStore(index / "index")
    with closing(store), store.write_lock():
        store.create({"model": asdict(MODEL), "lexical": TERM_SETTINGS})
        remaining = changes(n)
        while batch := list(islice(remaining, BATCH)):
            started = time.perf_counter()
            store.write(batch)
            seconds += time.perf_counter() - started
    return {"storing": seconds}


def changes(n: int) -> Iterator[Upsert]:
    """Give all articles as they are stored."""
    articles = generated.articles(n)
    for terms, vectors in zip(generated.terms(n), generated.vectors(n), strict=True):
        for row, vector in enumerate(vectors):
            part = slice(terms.starts[row], terms.starts[row + 1])
            pairs = zip(terms.numbers[part].tolist(), terms.counts[part].tolist(), strict=True)
            frequencies = {generated.word(rank): count for rank, count in pairs}
            yield Upsert(next(articles), "generated", vector, frequencies, "en", False)


def do_files(n: int, index: Path, sample: int | None) -> dict[str, float]:
    """Make the search files."""
    store = LocalStore(index / "index")
    with closing(store), store.write_lock():
        started = time.perf_counter()
        store.finish(built=True)
        seconds = time.perf_counter() - started
    sizes = {
        name: sum(path.stat().st_size for path in (index / "index").rglob("*") if path.match(pattern)) / 1e6
        for name, pattern in {
            "database": "articles.sqlite",
            "dense": "vector_index-*",
            "lexical": "inverted_index-*/*",
            "signals": "forward_index-*/*",
        }.items()
    }
    return {"making": seconds, **sizes}


def do_hubness(n: int, index: Path, sample: int | None) -> dict[str, float]:
    """Find the hubness of all articles, or the candidates alone of some and of those that will be asked for."""
    with closing(LocalStore(index / "index")) as store, store.write_lock():
        if sample and sample < n and (near_first := store.ids_in_cluster_order()):
            with store.caching_neighbours(hubness.CANDIDATES) as keep:
                computed: dict[str, float] = {}
                times = [(0, time.perf_counter())]
                ids = near_first[:sample]
                estimate = partial(hubness.estimate_hubness, store)
                for values, near in parallel_map(estimate, chunked(ids), use_processes=True):
                    keep(near)
                    computed |= values
                    times.append((len(computed), time.perf_counter()))
                seconds = of_all(times, n)
                remaining = [f"g{number:08d}" for number in query_numbers(n).tolist()]
                for values, near in parallel_map(
                    partial(hubness.estimate_hubness, store), chunked(remaining), use_processes=True
                ):
                    keep(near)
                    computed |= values
            # The others get those of the sample, so that a change finds as many of them near.
            values_again = cycle(computed.values())
            ids = list(store.ids())
            for start in range(0, n, COMMIT_ARTICLES):
                part = ids[start : start + COMMIT_ARTICLES]
                store.put_hubness({id: computed.get(id) or next(values_again) for id in part}, last=part[-1] == ids[-1])
        else:
            started = time.perf_counter()
            hubness.refresh(store, lambda done, total: None)
            seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    near_file = sum(path.stat().st_size for path in (index / "index").glob("neighbours-*")) / 1e6
    return {"pass": seconds, "a process": peak, "near": near_file}


def of_all(times: list[tuple[int, float]], n: int) -> float:
    """Return how long a pass over all takes, by one over some: how many were done, and when.

    It goes on as in the second half. In the first processes start, and most articles are read, and so checked, for the
    first time.
    """
    begun, (half, middle), (done, end) = times[0][1], times[(len(times) - 1) // 2], times[-1]
    return middle - begun + (end - middle) * (n - half) / (done - half)


def chunked(ids: list[str]) -> list[list[str]]:
    """Split ids into the chunks of a pass."""
    return [ids[start : start + MAX_CHUNK_QUERIES] for start in range(0, len(ids), MAX_CHUNK_QUERIES)]


def query_numbers(n: int) -> np.ndarray:
    """Return the numbers of the query articles, drawn at random."""
    return np.random.default_rng(1).choice(n, size=min(n, QUERY_COUNT), replace=False)


def do_ask(n: int, index: Path, sample: int | None) -> dict[str, float]:
    """Time queries to the index, and to FAISS alone."""
    draw = query_numbers(n)
    ids = [f"g{number:08d}" for number in draw.tolist()]
    started = time.perf_counter()
    with Recommender(index / "index") as rec:
        rec.related(ids[-1])
        opening = time.perf_counter() - started
        figures = {"opening": opening}
        for turn in ("first ", "", "searched "):  # an article is checked, and its pages mapped, when it is first read
            if turn == "searched ":  # as an article is that the index does not hold, whose candidates are not kept
                neighbours, candidates(rec)._neighbours = candidates(rec)._neighbours, None
            times = []
            for id in ids:
                started = time.perf_counter()
                rec.related(id)
                times.append(1000 * (time.perf_counter() - started))
            figures |= {f"{turn}p50": np.median(times), f"{turn}p99": np.percentile(times, 99)}
        candidates(rec)._neighbours = neighbours
        figures |= {f"serving {name}": value for name, value in memory().items() if name != "peak"}
        blocks = [[link.id for link in rec.related(id, 10)] for id in ids[:COMPARED]]
        figures |= against_exact(n, rec, draw[:COMPARED], ids[:COMPARED], blocks)
    return figures


def candidates(rec: Recommender) -> CandidateSearch:
    """Return the candidate search of the index."""
    with rec._store._session() as session:
        return session.revision.candidates(session.connection)


def against_exact(
    n: int, rec: Recommender, draw: np.ndarray, ids: list[str], blocks: list[list[str]]
) -> dict[str, float]:
    """Compare with FAISS alone, all vectors in memory."""
    flat, started = faiss.IndexFlatIP(generated.DIMENSIONS), time.perf_counter()
    for vectors in generated.vectors(n):
        flat.add(vectors.astype(np.float16).astype(np.float32))
    faiss.omp_set_num_threads(1)
    search: VectorSearch = candidates(rec)._vectors
    exact, approximate, times = [], [], {"flat": [], "file": []}
    for number in draw.tolist():
        query = flat.reconstruct(number)[None]
        started = time.perf_counter()
        exact.append(flat.search(query, CANDIDATES_PER_SIGNAL)[1][0] + 1)  # keys begin at 1
        middle = time.perf_counter()
        approximate.append(search.search(query, CANDIDATES_PER_SIGNAL)[0])
        times["flat"].append(1000 * (middle - started))
        times["file"].append(1000 * (time.perf_counter() - middle))
    recall = np.mean([np.isin(best[:10], near).mean() for best, near in zip(exact, approximate, strict=True)])
    answers = {
        query.tobytes(): keys for query, keys in zip((flat.reconstruct(int(i)) for i in draw), exact, strict=True)
    }

    def exactly(queries: np.ndarray, k: int, *, only_later: bool = False) -> list[np.ndarray]:
        return [
            answers[query.tobytes()]
            if k <= CANDIDATES_PER_SIGNAL and query.tobytes() in answers
            else flat.search(query[None], min(k, n))[1][0] + 1
            for query in queries
        ]

    search.search = exactly  # type: ignore[method-assign]
    candidates(rec)._neighbours = None
    expected = [[link.id for link in rec.related(id, 10)] for id in ids]
    links = sum(len(block) for block in expected)
    share = sum(len(set(block) & set(other)) for block, other in zip(blocks, expected, strict=True)) / max(links, 1)
    return {"flat": np.median(times["flat"]), "file": np.median(times["file"]), "recall": recall, "links": share}


def do_change(n: int, index: Path, sample: int | None) -> dict[str, float]:
    """Add an article as a server would, ask for it, and remove it."""
    article = next(generated.articles(1, start=n))
    article = Article(id="new", title=article.title, text=article.text)
    vector = next(generated.vectors(1, start=n))
    DenseEncoder.encode_articles = lambda self, articles, on_done=None: vector[: len(articles)]
    DenseEncoder.hash = MODEL.hash
    DenseEncoder.model = MODEL
    with Recommender(index / "index") as rec:
        rec.related("g00000000")
        figures: dict[str, float] = {}
        write = LocalStore.write

        def timed_write(store: LocalStore, *batch: object, **options: object) -> None:
            write(store, *batch, **options)
            figures.setdefault("findable", 1000 * (time.perf_counter() - started))

        LocalStore.write = timed_write
        for turn in range(3):  # the first warms up; the last counts
            figures.pop("findable", None)
            started = time.perf_counter()
            rec.add([article])
            figures["adding"] = 1000 * (time.perf_counter() - started)
            started = time.perf_counter()
            assert rec.related("new"), turn
            figures["asking for it"] = 1000 * (time.perf_counter() - started)
            started = time.perf_counter()
            rec.remove("new")
            figures["removing"] = 1000 * (time.perf_counter() - started)
    return figures


def do_links(n: int, index: Path, sample: int | None) -> dict[str, float]:
    """Write all blocks of ten, or those of the articles that the pass takes first."""
    times = [(0, time.perf_counter())]
    with Recommender(index / "index") as rec, (index / "links.jsonl").open("w", newline="") as out:
        if sample and (near := rec._store.ids_in_cluster_order()):
            rec._store.ids_in_cluster_order = lambda: near[:sample]
        written = rec.publish(out, "jsonl", on_progress=lambda done, _: times.append((done, time.perf_counter())))
    giving = time.perf_counter() - times[-1][1]  # what waited in the temporary file
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"pass": of_all(times, n) + giving * n / written.blocks, "giving": giving, "a process": peak}


def rows(figures: dict[int, dict[str, dict[str, float]]]) -> dict[str, list[float]]:
    """Return the rows of the table."""
    targets = {
        "storing, s": ("store", "storing"),
        "search files, s": ("files", "making"),
        "hubness of all, s": ("hubness", "pass"),
        "links -k 10 of all, s": ("links", "pass"),
        "opening and the first answer, s": ("ask", "opening"),
        "related, p50 ms": ("ask", "p50"),
        "related, p99 ms": ("ask", "p99"),
        "related for the first time, p50 ms": ("ask", "first p50"),
        "related for the first time, p99 ms": ("ask", "first p99"),
        "related with both searches, p50 ms": ("ask", "searched p50"),
        "related with both searches, p99 ms": ("ask", "searched p99"),
        "FAISS alone, all vectors compared, p50 ms": ("ask", "flat"),
        "the search file alone, p50 ms": ("ask", "file"),
        "recall@10 of the search file": ("ask", "recall"),
        "links that exact candidates give too": ("ask", "links"),
        "serving, anonymous MB": ("ask", "serving anonymous"),
        "serving, mapped MB": ("ask", "serving mapped"),
        "adding an article: durable and findable, ms": ("change", "findable"),
        "and the hubness of those near it, ms": ("change", "adding"),
        "asking for it, ms": ("change", "asking for it"),
        "removing it, ms": ("change", "removing"),
        "storing, peak MB": ("store", "peak"),
        "search files, peak MB": ("files", "peak"),
        "database, MB": ("files", "database"),
        "FAISS file, MB": ("files", "dense"),
        "inverted file, MB": ("files", "lexical"),
        "signals, MB": ("files", "signals"),
        "kept candidates, MB": ("hubness", "near"),
    }
    return {name: [of_size[step][part] for of_size in figures.values()] for name, (step, part) in targets.items()}


def chart(file: Path, sizes: list[int], table: dict[str, list[float]]) -> None:
    """Draw what grows, both axes logarithmic."""
    import pygal

    labels = {
        "hubness of all, s": 1.0,
        "links -k 10 of all, s": 1.0,
        "storing, s": 1.0,
        "search files, s": 1.0,
        "related with both searches, p50 ms": 1e-3,
        "related with both searches, p99 ms": 1e-3,
        "FAISS alone, all vectors compared, p50 ms": 1e-3,
        "related, p99 ms": 1e-3,
        "related, p50 ms": 1e-3,
        "the search file alone, p50 ms": 1e-3,
    }
    drawn = pygal.Line(
        title="What each step costs, in seconds, by the number of articles",
        logarithmic=True,
        width=900,
        height=560,
        legend_at_bottom=True,
        legend_at_bottom_columns=2,
        js=[],
    )
    drawn.x_labels = [f"{size:,}" for size in sizes]
    for name, scale in labels.items():
        drawn.add(name.replace(" ms", "").replace(", s", ""), [scale * value for value in table[name]])
    drawn.render_to_file(str(file))


if __name__ == "__main__":
    main()
