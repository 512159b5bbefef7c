"""What 10 million, 100 million and a billion articles take, reckoned from what was measured, and a small simulation.

    python benchmarks/scale.py [ARCHIVE] [--articles N ...] [--rate R] [--gpu-rate R] [--load Q ...]
    python benchmarks/scale.py --measure N ...

Bytes an article are measured on ARCHIVE (the examples, if none is named): its rows as the store on Milvus makes them,
with a vector of the default model. Everything else is arithmetic on constants that are printed with where they come
from, but for the number of nodes: a queue is simulated, in which each question is asked of all shards of one replica,
takes as long as the slowest, and waits where a core is not free. --measure
times FAISS's HNSW, which is Milvus's too, on so many generated vectors (generated.py), one core.
"""

import argparse
import heapq
import math
import time
from itertools import islice
from pathlib import Path

import numpy as np
from measuring import EXAMPLES

from recommender.sources import Source
from recommender.store import Upsert
from recommender.store.milvus import rows, term_vectors
from recommender.text.language import language_of
from recommender.text.terms import extract_terms

DIMENSIONS = 384
SIZES = (10_000_000, 100_000_000, 1_000_000_000)
LOADS = (100, 10_000)  # questions a second

# Constants, each with its source.
CPU_RATE = 25.0  # articles a second and core: benchmarks/build.py, half of what two cores of an AVX-512 server do
GPU_FLOPS, GPU_USED = 121e12, 0.30  # float16 of an NVIDIA L4 by its data sheet, and a share of it that is a guess
ARTICLE_FLOPS = 2 * 10.7e6 * 128 + 4 * 6 * 128 * 128 * 384  # of all-MiniLM-L6-v2: its layers' weights, and attention
HNSW_M = 16  # links of a vector on the lowest level are 2 M of 4 bytes (Malkov and Yashunin 2018; hnswlib's layout)
NODE_MEMORY, NODE_CORES = 128e9, 16  # of a query node: a choice
USABLE = 0.7  # of its memory, for what is loaded: Milvus keeps room for growing segments and compaction; a choice
SHARD = 50_000_000  # articles of a shard's vectors that one node searches; a choice
SEARCH_MS = {20_000: 0.64, 200_000: 1.68}  # of one core, HNSW with ef 200: --measure
TERMS_MS = 1.5  # of one core, candidates by terms among a million, as tantivy found them (1.4 to 1.9)
OWN_MS = 5.0  # of our own work beside it: docs/explanation/speed.md
SPREAD = 0.5  # standard deviation of the logarithm of a search's time
WRITTEN = 350.0  # articles a second that one writer gives to a server: benchmarks/stores.py
TARGET_MS = 50.0  # that 99 of 100 questions are to be answered in


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--limit", type=int, default=2000, help="articles that are measured")
    parser.add_argument("--articles", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rate", type=float, default=CPU_RATE, help="articles that one core embeds in a second")
    parser.add_argument("--gpu-rate", type=float, default=GPU_FLOPS * GPU_USED / ARTICLE_FLOPS)
    parser.add_argument("--load", type=int, nargs="+", default=LOADS)
    parser.add_argument("--measure", type=int, nargs="+", metavar="N")
    options = parser.parse_args()
    if options.measure:
        for n in options.measure:
            print(f"{n:>12,} vectors: {measured(n):.2f} ms", flush=True)
        return
    parts = bytes_of(options.archive, options.limit)
    print(f"Bytes an article on Milvus, measured on {options.archive.name}:")
    for name, size in parts.items():
        print(f"  {name:44}{size:>10,.0f}")
    other_bytes = sum(size for name, size in parts.items() if name not in ("vector", "text"))
    hot = parts["terms, as they are searched"] + parts["filters and keys"]
    indexes = {
        f"HNSW, M = {HNSW_M}": 4 * DIMENSIONS + 8 * HNSW_M,
        "IVF, SQ8": DIMENSIONS + 8,
        "IVF, RaBitQ, refined from SQ8": DIMENSIONS / 8 + 8 + DIMENSIONS + 8,
        "DiskANN (a fifth in memory)": 0.2 * 4 * DIMENSIONS,
    }
    print("\nReckoned:")
    header = "".join(f"{n:>18,}" for n in options.articles)
    print(f"{'articles':46}{header}")
    show("stored: vectors, terms, records, GB", [n * (parts["vector"] + other_bytes) / 1e9 for n in options.articles])
    show("stored: texts, GB", [n * parts["text"] / 1e9 for n in options.articles])
    for name, size in indexes.items():
        show(f"memory: {name}, and terms, GB", [n * (size + hot) / 1e9 for n in options.articles])
    for name, size in indexes.items():
        counts = [nodes(n * (size + hot)) for n in options.articles]
        show(f"nodes of {NODE_MEMORY / 1e9:.0f} GB for that: {name}", counts, digits=0)
    show(f"embedding, hours of a core ({options.rate:.0f}/s)", [n / options.rate / 3600 for n in options.articles])
    show(
        f"embedding, hours of a GPU ({options.gpu_rate:,.0f}/s)",
        [n / options.gpu_rate / 3600 for n in options.articles],
    )
    show(f"storing by one writer, hours ({WRITTEN:.0f}/s)", [n / WRITTEN / 3600 for n in options.articles])
    show("a day's 1 % of changes, hours of that writer", [n / 100 / WRITTEN / 3600 for n in options.articles])
    passes = [n * (search_ms(min(n, SHARD)) * max(n / SHARD, 1) + TERMS_MS) / 3.6e6 for n in options.articles]
    show("hubness of all, hours of a core", passes)
    for load in options.load:
        load_replicas = [replicas(n, load) for n in options.articles]
        show(
            f"cores for {load:,} questions a second, p99 in {TARGET_MS:.0f} ms",
            [copies * NODE_CORES for copies, _ in load_replicas],
            0,
        )
        show("   p99 then, ms, simulated", [p99 for _, p99 in load_replicas])


def show(name: str, values: list[float], digits: int = 1) -> None:
    """Print a row."""
    print(f"{name:46}" + "".join(f"{value:>18,.{digits}f}" for value in values))


def bytes_of(archive: Path, limit: int) -> dict[str, float]:
    """Return what each part of an article takes, in bytes, the mean over an archive."""
    searched, scored = "terms, as they are searched", "terms, as they are scored"
    sizes = dict.fromkeys(("vector", searched, scored, "record", "filters and keys", "text"), 0.0)
    draw, count = np.random.default_rng(0), 0
    for article in islice((entry.article for entry in Source(archive) if entry.article), limit):
        language = language_of(article.title, article.text, article.language) or "en"
        terms = extract_terms(article.title, article.text, language)
        vector = draw.normal(size=DIMENSIONS).astype(np.float32)
        frequencies_by_hash = {rows.term_hash(language, term): frequency for term, frequency in terms.items()}
        row = rows.encode_row(Upsert(article, "source", vector, terms, language, False), vector, frequencies_by_hash, 1)
        term_hashes, frequencies = rows.decode_terms(row["terms"])
        weights = term_vectors.saturated_frequencies(frequencies, 100.0)
        sizes["vector"] += row["vector"].nbytes
        sizes[searched] += 8 * len(term_vectors.sparse_vector(term_hashes, weights))
        sizes[scored] += len(row["terms"])
        sizes["record"] += len(row["record"])
        sizes["filters and keys"] += len(row["pk"]) + 8 * (len(row["facet_hashes"]) + len(row["link_hashes"]) + 8) + 96
        sizes["text"] += len(article.text.encode())
        count += 1
    return {name: size / count for name, size in sizes.items()}


def nodes(memory: float) -> int:
    """Return how many nodes hold so many bytes."""
    return max(math.ceil(memory / (NODE_MEMORY * USABLE)), 1)


def search_ms(n: float) -> float:
    """Return how long one core searches among so many vectors: as the logarithm of their number grows."""
    (small, first), (large, second) = sorted(SEARCH_MS.items())
    return first + (second - first) * math.log(n / small) / math.log(large / small)


def measured(n: int) -> float:
    """Return the median of how long one core searches an HNSW of so many generated vectors, in milliseconds."""
    import faiss
    import generated

    index = faiss.IndexHNSWFlat(DIMENSIONS, HNSW_M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 200, 200
    for vectors in generated.vectors(n):
        index.add(vectors)
    faiss.omp_set_num_threads(1)
    queries = next(generated.vectors(512, start=n))
    times = []
    for vector in queries:
        started = time.perf_counter()
        index.search(vector[None], 50)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def replicas(n: int, load: int) -> tuple[int, float]:
    """Return how many nodes answer a load in time, and the p99 then: one more until a simulation of them does."""
    shards = max(math.ceil(n / SHARD), 1)
    each = search_ms(n / shards) + TERMS_MS
    copies = max(math.ceil(load * each / 1000 / NODE_CORES), 1)
    while True:
        p99 = simulate(shards, copies, load, each)
        if p99 <= TARGET_MS or copies > 1000:
            return copies * shards, p99
        copies += 1


def simulate(shards: int, copies: int, load: int, each: float, questions: int = 20_000) -> float:
    """Return the p99 in milliseconds of questions that arrive at random, are asked of all shards, and wait for a core.

    Args:
        shards: parts of the archive, each on a node.
        copies: of every shard.
        load: questions a second.
        each: milliseconds that a core searches in one shard, the median.
        questions: how many are simulated.
    """
    draw = np.random.default_rng(0)
    arrivals = np.cumsum(draw.exponential(1000 / load, size=questions))
    times = each * np.exp(SPREAD * draw.normal(size=(questions, shards)))
    free = [[[0.0] * NODE_CORES for _ in range(copies)] for _ in range(shards)]  # when each core is, a heap each
    answered = np.empty(questions)
    for question, arrival in enumerate(arrivals.tolist()):
        slowest = 0.0
        for shard in range(shards):
            cores = min(free[shard], key=lambda heap: heap[0])
            start = max(heapq.heappop(cores), arrival)
            heapq.heappush(cores, start + times[question, shard])
            slowest = max(slowest, start + times[question, shard])
        answered[question] = slowest - arrival + OWN_MS
    return float(np.percentile(answered, 99))


if __name__ == "__main__":
    main()
