"""How fast an index is built, from a file of articles to the finished index, against what people build today.

    python benchmarks/build.py [ARCHIVE] [--limit N] [--usual N] [--models MODEL ...]

ARCHIVE is any source of `recommender build`; the default is the examples. Every way is a process of its own, imports
included, and all run one after the other: half of the articles by the usual script (usual.py: sentence-transformers in
float32, 256 tokens, IndexFlatIP), all of them by `recommender build` in each profile, the other half by the usual
script, so that a change in the machine's speed meets all; with `--usual N` only of the first N articles, since its rate
does not depend on how many there are. Where txtai is installed, up to 1,024 articles are given to
it. The ceiling is what embedding alone would take, with nothing read, compared or stored. The converted models stand in
the cache before anything is timed. Beside it stands how many operations that is, and how many the processor does in a
product of two large float32 matrices, and the cosine of the int8 vectors to those of the default model. At last the
steps of a build are timed in one process, where a large build finds languages and terms in others; they overlap.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from measuring import COMMAND, EXAMPLES, Clock, as_one_file, machine
from tokenizers import Tokenizer

from recommender import Article, Recommender
from recommender.embedding.encoder import DEFAULT_MODEL, DenseEncoder
from recommender.indexing import analysis, refresh
from recommender.sources import Source
from recommender.store import LocalStore
from recommender.system import processes

OF_TXTAI = 1024  # articles: it takes as long as the usual script
TXTAI = """
import json, sys
from txtai import Embeddings
articles = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")][:int(sys.argv[4])]
embeddings = Embeddings(path=sys.argv[3], content=True, hybrid=True)
embeddings.index((str(n), f"{a.get('title') or ''}. {a.get('text') or ''}", None) for n, a in enumerate(articles))
embeddings.save(sys.argv[2])
"""


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--limit", type=int, help="use this many articles only")
    parser.add_argument("--usual", type=int, help="give the usual script this many articles only")
    parser.add_argument("--models", nargs="+", default=[DEFAULT_MODEL, "int8", "static"], help="what is built with")
    parser.add_argument("--steps", nargs=2, metavar=("MODEL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps:
        steps(options.archive, *options.steps)
        return
    usual = [sys.executable, str(Path(__file__).with_name("usual.py")), "build"]
    with tempfile.TemporaryDirectory() as name:
        folder, file, subset = Path(name), Path(name) / "archive.jsonl", Path(name) / "some.jsonl"
        count = as_one_file(options.archive, options.limit, file)
        few = as_one_file(file, options.usual, subset)
        print(f"{count:,} articles of {options.archive.name}; {machine()}\n")
        encoders = {model: DenseEncoder(model) for model in options.models}
        for encoder in encoders.values():
            encoder.encode_query("put the converted model into the cache")

        source = ["--model", str(DenseEncoder().folder)]
        seconds = timed([*usual, subset, folder / "u", *source, "--part", "0/2"])
        times = {"the usual script": (few, seconds)}
        for model in encoders:
            command = [sys.executable, *COMMAND, "build", file, "--index", folder / model, "--model", model]
            times[f"recommender build --model {model}"] = (count, timed(command))
        times["the usual script"] = (few, seconds + timed([*usual, subset, folder / "u", *source, "--part", "1/2"]))
        if find_spec("txtai"):
            most = min(few, OF_TXTAI)
            command = [sys.executable, "-c", TXTAI, file, folder / "txtai", DenseEncoder().folder, most]
            times[f"txtai, hybrid ({most:,} articles)"] = (most, timed(command))
        articles = [entry.article for entry in Source(file) if entry.article]
        vectors = {}
        for model, encoder in encoders.items():
            started = time.perf_counter()
            vectors[model] = encoder.encode_articles(articles)
            times[f"ceiling: embedding alone, {model}"] = (count, time.perf_counter() - started)

        print(f"{'':52}{'seconds':>9}{'articles/s':>12}{'ratio':>8}")
        bare = few / times["the usual script"][1]
        for way, (done, took) in times.items():
            print(f"{way:52}{took:9.1f}{done / took:12.1f}{done / took / bare:8.2f}")
        if DEFAULT_MODEL in encoders:
            took = times[f"ceiling: embedding alone, {DEFAULT_MODEL}"][1]
            done, peak = operations(encoders[DEFAULT_MODEL], articles) / took / 1e9, product()
            print(f"\nembedding alone: {done:.0f} GFLOPS, a product of float32 matrices: {peak:.0f}; {done / peak:.0%}")
        if {DEFAULT_MODEL, "int8"} <= encoders.keys():
            cosines = (vectors["int8"] * vectors[DEFAULT_MODEL]).sum(axis=1)
            print(f"cosine of int8 to {DEFAULT_MODEL}: mean {cosines.mean():.5f}, least {cosines.min():.5f}")
        for model in encoders:
            command = [sys.executable, __file__, file, "--steps", model, folder / f"{model}-steps"]
            print(f"\n{'steps of a build in one process, ' + model:52}{'seconds':>9}{'of all':>12}")
            seconds = json.loads(
                subprocess.run([*map(str, command)], capture_output=True, check=True, text=True).stdout
            )
            for step, took in seconds.items():
                print(f"{step:52}{took:9.1f}{took / seconds['all, after imports']:12.0%}")


def operations(encoder: DenseEncoder, articles: Sequence[Article]) -> float:
    """Return how many additions and multiplications a BERT needs for the articles, without padding."""
    config = json.loads((encoder.folder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(encoder.max_tokens)
    texts = [f"{article.title}. {article.text}" for article in articles]
    tokens = np.array([len(encoding) for encoding in tokenizer.encode_batch_fast(texts)], dtype=np.float64)
    width, inner = config["hidden_size"], config["intermediate_size"]
    layer = 2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * tokens**2 * width
    return float(config["num_hidden_layers"] * layer.sum())


def product(size: int = 2048, times: int = 20) -> float:
    """Return how many billion operations a second a product of float32 matrices does."""
    a, b = np.random.default_rng(0).random((2, size, size), dtype=np.float32)
    took = []
    for _ in range(times):
        started = time.perf_counter()
        a @ b
        took.append(time.perf_counter() - started)
    return 2 * size**3 / float(np.median(took)) / 1e9


def timed(command: list[object]) -> float:
    """Run a process to its end; return how long it took, in seconds."""
    started = time.perf_counter()
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    return time.perf_counter() - started


def steps(archive: Path, model: str, folder: str) -> None:
    """Build, and print how long each step took, as JSON."""
    names = (
        "reading",
        "embedding, beside the others",
        "language",
        "terms",
        "storing",
        "search files",
        "hubness",
        "calibration",
    )
    clocks = {name: Clock() for name in names}
    each = Source.__iter__

    def read(self: Source) -> object:
        entries = each(self)
        while True:
            with clocks["reading"].running():
                entry = next(entries, None)
            if entry is None:
                return
            yield entry

    Source.__iter__ = read
    processes.MIN_ARTICLES_FOR_PROCESSES = sys.maxsize  # other processes could not be looked into
    embedding = clocks["embedding, beside the others"]
    DenseEncoder.encode_articles = embedding.around(DenseEncoder.encode_articles)
    analysis.language_of = clocks["language"].around(analysis.language_of)
    analysis.extract_terms = clocks["terms"].around(analysis.extract_terms)
    LocalStore.write = clocks["storing"].around(LocalStore.write)
    LocalStore.finish = clocks["search files"].around(LocalStore.finish)
    refresh.hubness.refresh = clocks["hubness"].around(refresh.hubness.refresh)
    refresh.calibration.calibrate = clocks["calibration"].around(refresh.calibration.calibrate)
    with Recommender(folder, model=model) as rec:
        started = time.perf_counter()
        rec.build(archive)
        whole = time.perf_counter() - started
    print(json.dumps({name: clock.seconds for name, clock in clocks.items()} | {"all, after imports": whole}))


if __name__ == "__main__":
    main()
