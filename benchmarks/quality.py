"""What each step of the ranking is worth, against editorial links or judgements, beside the methods it has to beat.

    python benchmarks/quality.py [ARCHIVE] [--qrels FILE] [--index DIR] [--usual]

ARCHIVE is any source of `recommender build`; the default is the examples. The index is built in a temporary folder
unless --index names one of this archive. The truth are the archive's own editorial links, or a file of judgements.
--usual also ranks by what is usually built: the model's first 256 tokens, and BM25 (bm25s) with the whole article as
the query. All numbers are nDCG@10 with every article ranked among all, measured by `recommender.evaluation`.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measuring import EXAMPLES

from recommender import Recommender
from recommender.embedding.encoder import DenseEncoder
from recommender.evaluation import metrics, qrels
from recommender.evaluation.qrels import Judgements
from recommender.ranking.matching import rank_by
from recommender.ranking.query import stored_queries
from recommender.ranking.scoring import BOTH, Weights
from recommender.store import LocalStore

CHUNK = 256
STEPS = {
    "dense alone": Weights(1, 0, 0),
    "lexical alone": Weights(0, 1, 0),
    "sum": Weights(1, BOTH.lexical, 0),
    "sum less hubness: what is built": BOTH,
}
# What blocks do with the ranking; the source's own links left aside, which would be the answer.
BARE = {"editorial": "ignore", "drop_near_duplicates": False, "score_threshold": False, "diversity": 0.0}
SHAPES = {
    "as ranked": BARE,
    "near-duplicates left out": BARE | {"drop_near_duplicates": True},
    "score threshold": BARE | {"score_threshold": True},
    "diversity": {name: value for name, value in BARE.items() if name != "diversity"},
    "all three: the defaults": {"editorial": "ignore"},
}
NEARBY = {
    f"lexical {lexical:g}, hubness {hubness:g}": Weights(1, lexical, hubness)
    for lexical in (0.75, 1.0, 1.5, 2.0, 3.0)
    for hubness in (0.0, 0.15, 0.25, 0.4)
}


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--qrels", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--usual", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = options.index or Path(folder) / "index"
        if not options.index:
            with Recommender(index) as rec:
                rec.build(options.archive)
        store = LocalStore(index)
        judged = truth(store, options.qrels)
        print(f"{store.count():,} articles of {options.archive.name}, {len(judged):,} queries\n")
        rankings = ranked(store, judged, {**STEPS, **NEARBY})
        fusion = {
            id: fused(rankings["dense alone"][id], rankings["lexical alone"][id]) for id in rankings["dense alone"]
        }
        table = {name: rankings[name] for name in STEPS} | {"reciprocal rank fusion of the two": fusion}
        if options.usual:
            table["BM25 of the whole article (bm25s)"] = bm25(store, judged)
            table["dense alone, 256 tokens"] = dense_of(store, judged, 256)
        built = mean(judged, table["sum less hubness: what is built"])
        print(f"{'':36}{'nDCG@10':>9}{'built over it':>15}")
        for name, blocks in table.items():
            value = mean(judged, blocks)
            print(f"{name:36}{value:9.4f}{built / value if value else 0:15.3f}")
        print(f"\n{'blocks':36}{'nDCG@10':>9}{'of the ranking':>18}{'links':>9}{'ms a block':>13}")
        with Recommender(index) as rec:
            for name, options in SHAPES.items():
                start = time.perf_counter()
                blocks = shaped(rec, judged, options)
                took = 1000 * (time.perf_counter() - start) / max(len(blocks), 1)
                value, links = mean(judged, blocks), np.mean([len(block) for block in blocks.values()])
                print(f"{name:36}{value:9.4f}{value / built if built else 0:18.3f}{links:9.2f}{took:13.2f}")
        print(f"\n{'weights':36}{'nDCG@10':>9}{'of what is built':>18}")
        for name in NEARBY:
            value = mean(judged, rankings[name])
            print(f"{name:36}{value:9.4f}{value / built:18.3f}")
        store.close()


def truth(store: LocalStore, file: Path | None) -> Judgements:
    """Return the judgements of a file, or the archive's own editorial links."""
    if file:
        return qrels.read(file)
    return {id: dict.fromkeys(targets, 1) for id, targets in store.links("related").items()}


def ranked(store: LocalStore, judged: Judgements, methods: dict[str, Weights]) -> dict[str, dict[str, list[str]]]:
    """Rank the candidates of each query by each of the weights; the first 50."""
    blocks: dict[str, dict[str, list[str]]] = {name: {} for name in methods}
    for chunk in chunks(list(judged)):
        with store.snapshot():
            queries = list(stored_queries(store, chunk).values())
            scorer, rankings = rank_by(store, queries, 50, list(methods.values()))
        for name, of_method in zip(methods, rankings, strict=True):
            for query, ranking in zip(queries, of_method, strict=True):
                blocks[name][query.id or ""] = [id for id, _ in scorer.with_ids(ranking)[:50]]
    return blocks


def shaped(rec: Recommender, judged: Judgements, options: dict) -> dict[str, list[str]]:
    """Make the blocks of the queries."""
    return {id: [link.id for link in rec.related(id, 10, **options)] for id in judged if id in rec}


def fused(*rankings: list[str]) -> list[str]:
    """Fuse rankings by reciprocal ranks (Cormack et al. 2009), k = 60."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, id in enumerate(ranking, start=1):
            scores[id] = scores.get(id, 0.0) + 1 / (60 + rank)
    return sorted(scores, key=lambda id: (-scores[id], id))


def bm25(store: LocalStore, judged: Judgements) -> dict[str, list[str]]:
    """Rank by BM25, title and text of an article as the query, stop words out and stems as bm25s does it."""
    import bm25s
    import Stemmer

    ids = list(store.ids())
    texts = [f"{article.title}. {article.text}" for chunk in chunks(ids) for article in in_order(store, chunk)]
    tokens = bm25s.tokenize(texts, stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False)
    retriever = bm25s.BM25()
    retriever.index(tokens, show_progress=False)
    row_of = {id: number for number, id in enumerate(ids)}
    queries = [id for id in judged if id in row_of]
    query_tokens = bm25s.tokenize(
        [texts[row_of[id]] for id in queries],
        stopwords="en",
        stemmer=Stemmer.Stemmer("english"),
        show_progress=False,
        return_ids=False,
    )
    results, _ = retriever.retrieve(query_tokens, k=min(11, len(ids)), show_progress=False)
    return {
        id: [ids[number] for number in row if ids[number] != id][:10]
        for id, row in zip(queries, results.tolist(), strict=True)
    }


def dense_of(store: LocalStore, judged: Judgements, max_tokens: int) -> dict[str, list[str]]:
    """Rank by the cosine of the default model's vectors of so many tokens."""
    ids = list(store.ids())
    encoder = DenseEncoder(max_tokens=max_tokens)
    vectors = np.concatenate([encoder.encode_articles(list(in_order(store, chunk))) for chunk in chunks(ids)])
    row_of = {id: number for number, id in enumerate(ids)}
    blocks = {}
    for id in judged:
        if id in row_of:
            scores = vectors @ vectors[row_of[id]]
            blocks[id] = [ids[number] for number in np.argsort(-scores, kind="stable")[:11] if ids[number] != id][:10]
    return blocks


def in_order(store: LocalStore, ids: list[str]) -> Iterator:
    """Give the articles in the order of the ids."""
    articles = store.articles(ids)
    return (articles[id] for id in ids)


def chunks(ids: list[str]) -> Iterator[list[str]]:
    """Cut a list into parts."""
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


def mean(judged: Judgements, blocks: dict[str, list[str]]) -> float:
    """Return the mean nDCG@10."""
    return float(metrics.measure(judged, blocks)["nDCG@10"].mean())


if __name__ == "__main__":
    main()
