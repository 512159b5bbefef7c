"""How long it takes from a cold process to the first answer, against what people build today.

    python benchmarks/start.py [ARCHIVE] [--index DIR] [--runs 7]

ARCHIVE is any source of `recommender build`; the default is the examples. --index names a built index instead. The
usual script (usual.py) is given the same vectors, so that only starting and asking are compared. Each command is a
process of its own, in turns; the median counts. At last it is shown which heavy modules each command imports.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
from measuring import COMMAND, EXAMPLES, machine

from recommender import Recommender
from recommender.embedding.encoder import DenseEncoder
from recommender.store import LocalStore

HEAVY = ("torch", "sentence_transformers", "transformers", "sklearn", "openvino", "faiss", "tokenizers")
TEXT = "prices rose again after the strike"


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        index = options.index or Path(name) / "index"
        with Recommender(index) as rec:
            if not options.index:
                rec.build(options.archive)
            info, article_id = rec.info(), next(iter(rec)).id
            rec.search(TEXT)  # the converted model stands in the cache from now on
        usual = Path(name) / "usual"
        as_usual(LocalStore(index), usual)
        script = [sys.executable, Path(__file__).with_name("usual.py")]
        ours = [sys.executable, *COMMAND]
        model = ["--model", DenseEncoder().folder]
        ways = {
            "related, the usual script": [*script, "related", article_id, usual],
            "related, recommender": [*ours, "related", article_id, "--index", index],
            "search, the usual script": [*script, "search", TEXT, usual, *model],
            "search, recommender": [*ours, "search", TEXT, "--index", index],
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.runs):
            for way, command in ways.items():
                started = time.perf_counter()
                subprocess.run([*map(str, command)], check=True, capture_output=True)
                times[way].append(time.perf_counter() - started)
        print(f"{info['articles']:,} articles, model {info['model']}; {machine()}\n")
        print(f"{'a cold process':36}{'median s':>10}{'least':>8}{'most':>8}")
        for way, took in times.items():
            print(f"{way:36}{np.median(took):10.2f}{min(took):8.2f}{max(took):8.2f}")
        for what in ("related", "search"):
            usual_seconds, ours_seconds = (
                np.median(times[f"{what}, {method}"]) for method in ("the usual script", "recommender")
            )
            print(f"{what}: the usual script takes {usual_seconds / ours_seconds:.1f} times as long")
        for way, command in ways.items():
            imports = subprocess.run(
                [command[0], "-X", "importtime", *map(str, command[1:])], capture_output=True, check=True
            )
            imported = {line.split("|")[-1].strip() for line in imports.stderr.decode().splitlines() if "|" in line}
            print(f"{way} imports {', '.join(module for module in HEAVY if module in imported) or 'none of them'}")


def as_usual(store: LocalStore, folder: Path) -> None:
    """Store the vectors of an index as the usual script does."""
    folder.mkdir()
    ids = list(store.ids())
    facts, index = [], None
    for start in range(0, len(ids), 1024):
        chunk = ids[start : start + 1024]
        cards, signals = store.summaries(chunk), store.signals(chunk)
        row_of = {id: row for row, id in enumerate(signals.ids)}
        vectors = signals.vectors[[row_of[id] for id in chunk]]
        index = index or faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        facts += [(id, cards[id].title) for id in chunk]
    faiss.write_index(index, str(folder / "vectors.faiss"))
    (folder / "articles.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
