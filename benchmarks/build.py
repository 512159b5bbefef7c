"""How fast an index is built, against the bare model over the same texts in the same process.

    python benchmarks/build.py [ARCHIVE] [--limit N]

ARCHIVE is any source of `recommender build`; the default is the examples. In turns, some articles are read,
embedded and stored by a build, and the same texts are given to SentenceTransformer.encode alone, so that a change
in the machine's speed meets both. The model is loaded before.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from recommender import Article, Recommender
from recommender.signals.dense import MAX_TOKENS, DenseEncoder
from recommender.sources import Source

TURN = 2048  # articles in a turn
EXAMPLES = Path(__file__).parent.parent / "examples"


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--limit", type=int, help="use this many articles only")
    options = parser.parse_args()

    encoder = DenseEncoder()
    encoder.encode_query("warm up")
    bare = SentenceTransformer(str(encoder.folder), device="cpu")
    bare.max_seq_length = MAX_TOKENS
    bare.encode(["warm up"])
    bare_seconds = 0.0

    def turns() -> Iterator[Article]:
        nonlocal bare_seconds
        articles = islice((entry.article for entry in Source(options.archive) if entry.article), options.limit)
        while turn := list(islice(articles, TURN)):
            yield from turn
            started = time.perf_counter()
            texts = [f"{article.title}. {article.text}" for article in turn]
            bare.encode(texts, normalize_embeddings=True, show_progress_bar=False)
            bare_seconds += time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder, Recommender(Path(folder) / "index") as rec:
        started = time.perf_counter()
        report = rec.build(turns())
        seconds = time.perf_counter() - started - bare_seconds

    ours, alone = report.added / seconds, report.added / bare_seconds
    print(f"{report.added:,} articles of {options.archive.name}, first {MAX_TOKENS} tokens")
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}\n")
    print(f"{'':32}{'seconds':>9}{'articles/s':>12}")
    print(f"{'bare SentenceTransformer.encode':32}{bare_seconds:9.1f}{alone:12.1f}")
    print(f"{'build: read, embed, store, index':32}{seconds:9.1f}{ours:12.1f}")
    print(f"{'ratio':32}{'':9}{ours / alone:12.2f}")


if __name__ == "__main__":
    main()
