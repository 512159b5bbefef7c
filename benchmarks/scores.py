"""Display scores by kind of pair, beside those on the fixed scale of an archive too small to measure its own.

    python benchmarks/scores.py --index DIR [--searches 300]

A search is for the first sentence of an article's text: that article is its right hit, other articles drawn at random
are wrong ones.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from recommender import Recommender
from recommender.ranking.matching import compare, compare_pairs, rank, with_text_scale
from recommender.ranking.query import display_scale, new_query, stored_queries
from recommender.ranking.scoring import DEFAULT_SCALE, Scale
from recommender.store import open_store
from recommender.text.terms import extract_terms

PAIRS = 3000  # of each kind
BLOCKS = 256  # articles whose best link is looked at


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, default=Path("index/examples"))
    parser.add_argument("--searches", type=int, default=300)
    options = parser.parse_args()
    store, draw = open_store(options.index), np.random.default_rng(0)
    with store.snapshot():
        ids = list(store.ids())
        scale = display_scale(store)
        editorial = [(id, link) for id, links in store.links("related").items() for link in links if link in ids]
        editorial = [editorial[row] for row in draw.permutation(len(editorial))[:PAIRS].tolist()]
        random = [(ids[a], ids[b]) for a, b in draw.integers(len(ids), size=(PAIRS, 2)).tolist()]
        sample = [ids[row] for row in draw.permutation(len(ids))[:BLOCKS].tolist()]
        best = [links[0][1] for links in rank(store, list(stored_queries(store, sample).values()), 50) if links]
    print(f"{options.index}: {len(ids):,} articles, {scale}, threshold {scale.display(scale.score_threshold):.2f}\n")
    print(f"{'':20}{'number':>8}{'5 %':>8}{'median':>8}{'95 %':>8}{'99 %':>8}   median, 99 % on the fixed scale")
    row("random pairs", [(raw, scale) for raw in compare_pairs(store, random)])
    row("editorial links", [(raw, scale) for raw in compare_pairs(store, editorial)])
    row("best links", [(raw, scale) for raw in best])
    drawn = [ids[number] for number in draw.permutation(len(ids))[: options.searches].tolist()]
    right, wrong = searches(options.index, drawn)
    row("searches: right hit", right)
    row("searches: others", wrong)


def searches(index: Path, ids: list[str]) -> tuple[list[tuple[float, Scale]], list[tuple[float, Scale]]]:
    """Return the raw scores, with the scale that each is displayed on, of right hits and of other articles."""
    store, draw = open_store(index), np.random.default_rng(1)
    with store.snapshot():
        texts = {id: re.split(r"(?<=[.!?])\s", article.text.strip())[0] for id, article in store.articles(ids).items()}
        texts = {id: text for id, text in texts.items() if text.strip()}
        with Recommender(index) as rec:
            vectors = rec.encode(list(texts.values()))
        right, wrong = [], []
        for (id, text), vector in zip(texts.items(), vectors, strict=True):
            terms = {language: extract_terms("", text, language) for language in store.languages()}
            query = with_text_scale(store, new_query(store, vector, terms, None))
            other_ids = [other for other in draw.permutation(ids)[:10].tolist() if other != id]
            (scores,) = compare(store, [query], [[id, *other_ids]])
            right.append((scores[id], query.scale))
            wrong += [(scores[other], query.scale) for other in other_ids]
    return right, wrong


def row(name: str, scores: list[tuple[float, Scale]]) -> None:
    """Print quantiles of display scores."""
    if not scores:
        print(f"{name:20}{0:8}")
        return
    display = np.quantile([scale.display(raw) for raw, scale in scores], [0.05, 0.5, 0.95, 0.99])
    fixed = np.quantile([DEFAULT_SCALE.display(raw) for raw, _ in scores], [0.5, 0.99])
    columns = "".join(f"{value:8.2f}" for value in display)
    print(f"{name:20}{len(scores):8,}{columns}   {fixed[0]:6.2f}, {fixed[1]:.2f}")


if __name__ == "__main__":
    main()
