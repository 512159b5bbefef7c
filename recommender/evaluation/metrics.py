"""Metrics: the quality of rankings, and how evenly blocks use the archive."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommender.evaluation.qrels import Judgements

MEASURES = {"nDCG@10": "ndcg_cut_10", "MRR": "recip_rank", "P@5": "P_5", "recall@10": "recall_10"}  # trec_eval's names
DEPTH = 10  # links of a block that count in the measures
BOOTSTRAP_RESAMPLES = 2000
MAX_LISTED = 20  # of the most, and of the least, recommended articles


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries.

    Attributes:
        mean: the mean.
        low: the lower end of its 95 % confidence interval (percentile bootstrap over queries, 2,000 resamples).
        high: the upper end.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Usage:
    """How evenly blocks use the archive.

    Attributes:
        coverage: the share of the articles that appear in a block, from 0 to 1.
        gini: the Gini coefficient of the number of blocks of each article: 0 if all are equal, close to 1 if a few
            articles appear in most blocks.
        most: the 20 most recommended articles, each with its number of blocks.
        least: the 20 least recommended articles that appear in a block, each with its number of blocks.
        never: the articles that appear in no block.
        shares: the Lorenz curve: the share of all links that lead to the 0 %, 1 %, ... 100 % least recommended
            articles: 101 numbers from 0 to 1.
    """

    coverage: float
    gini: float
    most: list[tuple[str, int]]
    least: list[tuple[str, int]]
    never: list[str]
    shares: list[float] = field(repr=False)


def measure(judgements: Judgements, blocks: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.float64]]:
    """Return by measure the values of all queries, in the order of `judgements`: float64, shape (queries,).

    Computed by trec_eval. The gain of a grade is 2^grade - 1 (Burges et al. 2005). A query without a block counts as 0.

    Args:
        judgements: the grades of articles, by query.
        blocks: the ids of each query's links, best first; the first ten count.
    """
    import pytrec_eval  # noqa: PLC0415 - imports scipy

    gains = {
        query: {article: 2 ** max(grade, 0) - 1 for article, grade in grades.items()}
        for query, grades in judgements.items()
    }
    # trec_eval sorts by score, so ranks become scores.
    run = {
        query: {article: float(-rank) for rank, article in enumerate(blocks[query][:DEPTH])}
        for query in judgements
        if blocks.get(query)
    }
    values = pytrec_eval.RelevanceEvaluator(gains, {"ndcg_cut.10", "recip_rank", "P.5", "recall.10"}).evaluate(run)
    return {
        name: np.array([values.get(query, {}).get(measure, 0.0) for query in judgements], dtype=np.float64)
        for name, measure in MEASURES.items()
    }


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Return the mean of the values of all queries, shape (queries,), with its confidence interval; deterministic."""
    from scipy.stats import bootstrap  # noqa: PLC0415 - slow to import

    mean = float(values.mean())
    if values.min() == values.max():  # nothing to resample
        return Estimate(mean, mean, mean)
    interval = bootstrap(
        (values,),
        np.mean,
        n_resamples=BOOTSTRAP_RESAMPLES,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high))


def usage(ids: Sequence[str], blocks: Mapping[str, Sequence[str]], k: int = DEPTH) -> Usage:
    """Return how evenly the blocks of an archive use its articles.

    Args:
        ids: all articles, one or more.
        blocks: the ids of the links by article.
        k: the number of links of a block that count.
    """
    counts = Counter(link for links in blocks.values() for link in links[:k])
    ascending = np.sort(np.array([counts[id] for id in ids], dtype=np.float64))
    total, n = ascending.sum(), len(ids)
    ranks = np.arange(1, n + 1)
    # Gini as half the relative mean difference, from the sorted values.
    gini = float((2 * ranks - n - 1) @ ascending / (n * total)) if total else 0.0
    curve = np.concatenate([[0.0], np.cumsum(ascending) / (total or 1.0)])
    shares = np.interp(np.linspace(0, n, 101), np.arange(n + 1), curve)
    return Usage(
        coverage=sum(counts[id] > 0 for id in ids) / n,
        gini=gini,
        most=sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_LISTED],
        least=sorted(counts.items(), key=lambda pair: (pair[1], pair[0]))[:MAX_LISTED],
        never=[id for id in ids if not counts[id]],
        shares=[round(float(share), 4) for share in shares],
    )
