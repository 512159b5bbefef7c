"""Evaluation: measure the rankings of an index against editorial links or relevance judgements."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from recommender.blocks.batch import map_articles
from recommender.blocks.builder import BlockBuilder
from recommender.blocks.eligibility import Eligibility
from recommender.blocks.query_article import stored_query_articles
from recommender.errors import RecommenderError
from recommender.evaluation import metrics
from recommender.evaluation.metrics import DEPTH, Estimate, Usage
from recommender.evaluation.qrels import Judgements
from recommender.ranking.matching import compare_pairs, rank_by
from recommender.ranking.query import CANDIDATES_PER_SIGNAL, display_scale, stored_queries
from recommender.ranking.scoring import BOTH, DENSE, LEXICAL
from recommender.store import Store
from recommender.text import near_duplicates

METHODS = {"dense": DENSE, "lexical": LEXICAL, "both": BOTH}
MAX_PAIRS = 3000  # of each kind, whose scores are reported
MAX_EXAMPLE_BLOCKS = 8  # of the best, and of the worst
MAX_UNUSED_TITLES = 80  # of articles that no block contains


@dataclass(frozen=True, slots=True)
class Method:
    """The quality of one ranking method.

    Attributes:
        measures: "nDCG@10", "MRR", "P@5" and "recall@10", averaged over the queries; empty if there are none.
        usage: how its blocks use the archive.
    """

    measures: dict[str, Estimate]
    usage: Usage


@dataclass(frozen=True, slots=True)
class JudgedBlock:
    """The block of one query, as an example.

    Attributes:
        id: the query article.
        ndcg: its nDCG@10.
        links: the ids of its links with their display scores and whether they were judged relevant.
        missed: ids that were judged relevant and are not in it.
    """

    id: str
    ndcg: float
    links: list[tuple[str, float, bool]]
    missed: list[str]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        truth: the name of the judgements, or "editorial links"; empty without any.
        articles: the number of articles in the index.
        queries: the number of queries.
        missing: the number of queries that are not articles of the index; they count as zero.
        k: the number of links of each block that count in `Method.usage`.
        methods: "dense", "lexical" and "both"; also "blocks" if blocks were evaluated.
        per_query: the measures of each query by each method, as records with the keys "query", "method" and the names
            of the measures: `pandas.DataFrame(evaluation.per_query)`.
        scores: the display scores of pairs of articles, by kind: "near-duplicates", "judged" and "random pairs".
        best: the blocks of the last method with the highest nDCG@10.
        worst: the blocks of the last method with the lowest nDCG@10.
        titles: the titles of the articles above, by id.
    """

    truth: str
    articles: int
    queries: int
    missing: int
    k: int
    methods: dict[str, Method]
    per_query: list[dict[str, Any]]
    scores: dict[str, list[float]]
    best: list[JudgedBlock]
    worst: list[JudgedBlock]
    titles: dict[str, str]

    def to_record(self) -> dict[str, Any]:
        """Return the evaluation as values for JSON."""
        return asdict(self)


# The links of each article by id, best first, with their display scores.
Rankings = dict[str, list[tuple[str, float]]]


def evaluate(
    store: Store,
    judgements: Judgements | None,
    truth: str,
    on_progress: Callable[[int, int], None],
    *,
    k: int = DEPTH,
    eligibility: Eligibility | None = None,
    n_jobs: int | None = None,
) -> Evaluation:
    """Rank every article by each method and measure the rankings.

    Args:
        store: the store.
        judgements: grades by query; None for the archive's editorial links, if it has any.
        truth: the name of the judgements; unused for editorial links.
        on_progress: called with the number of articles ranked and the total.
        k: the number of links of each block that count in the usage of the archive.
        eligibility: that of blocks, which are evaluated as one more method; None for none. Against editorial links,
            blocks are measured without their own, and their usage is measured with them.
        n_jobs: the maximum number of processes, see `processes.worker_count`.

    Raises:
        RecommenderError: no query is an article of the index, or the index is empty.
    """
    ids = list(store.ids())
    if not ids:
        raise RecommenderError(f"The index {store.name} holds no articles, so there is nothing to measure.")
    is_editorial = judgements is None
    if judgements is None:
        judgements = {id: dict.fromkeys(targets, 1) for id, targets in store.links("related").items()}
        truth = "editorial links" if judgements else ""
    known_ids = set(ids)
    if judgements and not known_ids & judgements.keys():
        raise RecommenderError(
            f"None of the {len(judgements):,} queries in {truth} is an article of the index; are they of this archive?"
        )
    rankings, used_blocks = _rankings(
        store, max(DEPTH, k), eligibility, on_progress, n_jobs, without_editorial=is_editorial and bool(judgements)
    )
    methods: dict[str, Method] = {}
    per_query: list[dict[str, Any]] = []
    for name, ranking in rankings.items():
        links = {id: [link for link, _ in scored] for id, scored in ranking.items()}
        values = metrics.measure(judgements, links) if judgements else {}
        columns = {measure: column.tolist() for measure, column in values.items()}
        for row, query in enumerate(judgements):
            per_query.append({"query": query, "method": name, **{key: column[row] for key, column in columns.items()}})
        used = {id: [link for link, _ in scored] for id, scored in used_blocks.items()} if name == "blocks" else links
        estimates = {measure: metrics.estimate(column) for measure, column in values.items()}
        methods[name] = Method(estimates, metrics.usage(ids, used, k))
    last = list(rankings)[-1]
    ndcg = {row["query"]: row["nDCG@10"] for row in per_query if row["method"] == last}
    by_ndcg = sorted((query for query in ndcg if query in known_ids), key=lambda query: (-ndcg[query], query))
    judged = [_judged_block(query, ndcg[query], judgements, rankings[last]) for query in by_ndcg]
    best = judged[: min(MAX_EXAMPLE_BLOCKS, (len(judged) + 1) // 2)]
    worst = judged[len(best) :][-MAX_EXAMPLE_BLOCKS:][::-1]
    titled_ids = {id for method in methods.values() for id, _ in (*method.usage.most, *method.usage.least)}
    titled_ids |= {id for method in methods.values() for id in method.usage.never[:MAX_UNUSED_TITLES]}
    for block in (*best, *worst):
        titled_ids |= {block.id, *block.missed, *(id for id, _, _ in block.links)}
    return Evaluation(
        truth=truth,
        articles=len(ids),
        queries=len(judgements),
        missing=len(judgements.keys() - known_ids),
        k=k,
        methods=methods,
        per_query=per_query,
        scores=_scores_by_kind(store, ids, judgements, rankings["both"]),
        best=best,
        worst=worst,
        titles={id: summary.title for id, summary in store.summaries(sorted(titled_ids)).items()},
    )


def _rankings(
    store: Store,
    depth: int,
    eligibility: Eligibility | None,
    on_progress: Callable[[int, int], None],
    n_jobs: int | None,
    *,
    without_editorial: bool,
) -> tuple[dict[str, Rankings], Rankings]:
    """Return the rankings by method, and the blocks as they appear.

    Args:
        store: the store.
        depth: the length of the rankings.
        eligibility: that of blocks; None for no method "blocks".
        on_progress: called with the number of articles ranked and the total.
        n_jobs: the maximum number of processes.
        without_editorial: whether the method "blocks" leaves out editorial links.
    """
    passes = [eligibility] if eligibility else []
    if eligibility and without_editorial and eligibility.settings.editorial != "ignore":
        passes.append(replace(eligibility, settings=replace(eligibility.settings, editorial="ignore")))
    passes_done = 0

    def report(ranked: int, total: int) -> None:
        on_progress(passes_done * total + ranked, (1 + len(passes)) * total)

    rankings: dict[str, Rankings] = {name: {} for name in METHODS}
    for id, by_method in map_articles(store, partial(_rank_chunk, store, depth), on_progress=report, n_jobs=n_jobs):
        for name, links in zip(METHODS, by_method, strict=True):
            rankings[name][id] = links
    used_blocks: Rankings = {}
    for pass_eligibility in passes:
        passes_done += 1
        function = partial(_build_chunk, store, pass_eligibility, depth)
        rankings["blocks"] = dict(map_articles(store, function, on_progress=report, n_jobs=n_jobs))
        used_blocks = used_blocks or rankings["blocks"]
    return rankings, used_blocks


def _rank_chunk(store: Store, depth: int, ids: Sequence[str]) -> list[tuple[str, list[list[tuple[str, float]]]]]:
    """Return the ids of stored articles, and for each its first links by each method, with display scores."""
    with store.snapshot():
        queries = list(stored_queries(store, ids).values())
        scorer, by_method = rank_by(store, queries, max(CANDIDATES_PER_SIGNAL, depth), list(METHODS.values()))
    return [
        (
            query.id or "",
            [
                [(link, query.scale.display(raw_score)) for link, raw_score in scorer.with_ids(ranking)[:depth]]
                for ranking in rankings
            ],
        )
        for query, *rankings in zip(queries, *by_method, strict=True)
    ]


def _build_chunk(
    store: Store, eligibility: Eligibility, depth: int, ids: Sequence[str]
) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return the ids of stored articles, and the links of each one's block with their display scores."""
    with store.snapshot():
        query_articles = stored_query_articles(store, ids)
        blocks = BlockBuilder(store, eligibility).build(query_articles, depth)
    return [
        (query_article.query.id or "", [(link.id, link.score) for link in block])
        for query_article, block in zip(query_articles, blocks, strict=True)
    ]


def _judged_block(id: str, ndcg: float, judgements: Judgements, rankings: Rankings) -> JudgedBlock:
    relevant = [article for article, grade in judgements[id].items() if grade > 0]
    links = [(link, round(score, 4), link in relevant) for link, score in rankings.get(id, [])[:DEPTH]]
    link_ids = {link for link, _, _ in links}
    return JudgedBlock(id, round(ndcg, 4), links, [article for article in relevant if article not in link_ids])


def _scores_by_kind(
    store: Store, ids: Sequence[str], judgements: Judgements, rankings: Rankings
) -> dict[str, list[float]]:
    """Return the display scores of three kinds of pairs, drawn with a fixed seed."""
    draw = np.random.default_rng(0)
    sample = [ids[index] for index in draw.permutation(len(ids))[:MAX_PAIRS].tolist()]
    random = [(id, ids[index]) for id, index in zip(sample, draw.integers(len(ids), size=len(sample)), strict=True)]
    relevant = [(query, id) for query, grades in judgements.items() for id, grade in grades.items() if grade > 0]
    judged = [relevant[index] for index in draw.permutation(len(relevant))[:MAX_PAIRS].tolist()]
    nearest = ((id, rankings[id][0][0]) for id in sample if rankings.get(id))
    return {
        "near-duplicates": _pair_scores(store, (pair for pair in nearest if _are_near_duplicates(store, *pair))),
        "judged": _pair_scores(store, judged),
        "random pairs": _pair_scores(store, random),
    }


def _are_near_duplicates(store: Store, first: str, second: str) -> bool:
    texts = store.texts([first, second])
    if len(texts) < 2:  # one was removed meanwhile
        return False
    return near_duplicates.are_near_duplicates(
        *(near_duplicates.fingerprint(title, text) for title, text in texts.values())
    )


def _pair_scores(store: Store, pairs: Iterable[tuple[str, str]]) -> list[float]:
    display = display_scale(store).display
    return [round(display(score), 4) for score in compare_pairs(store, pairs)]
