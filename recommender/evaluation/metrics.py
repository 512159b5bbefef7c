"""How good blocks are, and how evenly they use the archive."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommender.evaluation.qrels import Judgements

MEASURES = {"nDCG@10": "ndcg_cut_10", "MRR": "recip_rank", "P@5": "P_5", "recall@10": "recall_10"}  # trec_eval's names
DEPTH = 10  # links of a block that are measured
RESAMPLES = 2000
MAX_NAMED = 20  # of the most, and of the least, recommended articles that are named


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
    """How blocks use the archive.

    Attributes:
        coverage: the share of the articles that stand in some block, from 0 to 1.
        gini: the Gini coefficient of how often each article is recommended: 0 all as often, towards 1 few always.
        most: the 20 most recommended articles, each with how often.
        least: the 20 least recommended of those that some block holds, each with how often.
        never: the articles that no block holds.
        shares: for each hundredth of the articles, the least recommended first, which share of all links leads to
            them and those before: 101 numbers from 0 to 1 (the Lorenz curve).
    """

    coverage: float
    gini: float
    most: list[tuple[str, int]]
    least: list[tuple[str, int]]
    never: list[str]
    shares: list[float] = field(repr=False)


def measure(judgements: Judgements, blocks: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.float64]]:
    """Return for each of the measures its value for each query, in the order of `judgements`.

    By trec_eval. The gain of a grade is 2^grade - 1 (Burges et al. 2005). A query without a block counts as zero.

    Args:
        judgements: the grades of articles, by query.
        blocks: the ids of each query's links, best first; the first ten count.
    """
    import pytrec_eval  # noqa: PLC0415 - brings scipy

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
    found = pytrec_eval.RelevanceEvaluator(gains, {"ndcg_cut.10", "recip_rank", "P.5", "recall.10"}).evaluate(run)
    return {
        name: np.array([found.get(query, {}).get(measure, 0.0) for query in judgements], dtype=np.float64)
        for name, measure in MEASURES.items()
    }


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Return the mean of one value a query, shape (queries,), with its confidence interval; the same on every run."""
    from scipy.stats import bootstrap  # noqa: PLC0415 - slow to import

    mean = float(values.mean())
    if values.min() == values.max():  # one query, or all alike: nothing to resample
        return Estimate(mean, mean, mean)
    interval = bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, batch=100, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high))


def usage(ids: Sequence[str], blocks: Mapping[str, Sequence[str]], k: int = DEPTH) -> Usage:
    """Return how the blocks of an archive use its articles.

    Args:
        ids: all articles, one or more.
        blocks: the ids of each one's links.
        k: how many links of a block count.
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
        most=sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_NAMED],
        least=sorted(counts.items(), key=lambda pair: (pair[1], pair[0]))[:MAX_NAMED],
        never=[id for id in ids if not counts[id]],
        shares=[round(float(share), 4) for share in shares],
    )
