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
from recommender.learning.learn import current_catalog, make_held_out_ranker, make_ranker, usable_model
from recommender.learning.model import RankingModel
from recommender.learning.ranker import Ranker
from recommender.learning.training import cross_fit_trees, sample_linked
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
        methods: "dense", "lexical" and "both"; "learned" if the index has a learned ranking; "blocks" if blocks were
            evaluated.
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
    learned: bool = True,
    n_jobs: int | None = None,
) -> Evaluation:
    """Rank every article by each method and measure the rankings.

    The measures of a learned ranking, and of blocks that it ranks, are cross-fitted: the queries are divided into five
    folds, and those of a fold are ranked by trees trained without the links from and to them, which no feature contains
    either. How the archive is used is measured with the ranking as it was adopted.

    Args:
        store: the store.
        judgements: grades by query; None for the archive's editorial links, if it has any.
        truth: the name of the judgements; unused for editorial links.
        on_progress: called with the number of articles ranked and the total.
        k: the number of links of each block that count in the usage of the archive.
        eligibility: that of blocks, which are evaluated as one more method; None for none. Against editorial links,
            blocks are measured without their own, and their usage is measured with them.
        learned: whether to evaluate the learned ranking, if there is one.
        n_jobs: the maximum number of processes, see `processes.worker_count`.

    Raises:
        RecommenderError: LightGBM, which trains the trees of the folds, is not installed; no query is an article of the
            index, or the index is empty.
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
    with store.snapshot():
        model = usable_model(store) if learned else None
    rankings, used_rankings = _rankings(
        store,
        ids,
        [id for id in ids if id in judgements],
        max(DEPTH, k),
        eligibility,
        model,
        on_progress,
        n_jobs,
        without_editorial=is_editorial,
    )
    methods: dict[str, Method] = {}
    per_query: list[dict[str, Any]] = []
    for name, ranking in rankings.items():
        links = _without_scores(ranking)
        values = metrics.measure(judgements, links) if judgements else {}
        columns = {measure: column.tolist() for measure, column in values.items()}
        for row, query in enumerate(judgements):
            per_query.append({"query": query, "method": name, **{key: column[row] for key, column in columns.items()}})
        estimates = {measure: metrics.estimate(column) for measure, column in values.items()}
        methods[name] = Method(estimates, metrics.usage(ids, _without_scores(used_rankings[name]), k))
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


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """Articles that a model has not seen the links of.

    Attributes:
        ids: the articles.
        model: with trees that were trained without the links from and to them.
    """

    ids: tuple[str, ...]
    model: RankingModel


def _rankings(
    store: Store,
    ids: Sequence[str],
    judged_ids: Sequence[str],
    depth: int,
    eligibility: Eligibility | None,
    model: RankingModel | None,
    on_progress: Callable[[int, int], None],
    n_jobs: int | None,
    *,
    without_editorial: bool,
) -> tuple[dict[str, Rankings], dict[str, Rankings]]:
    """Return by method the rankings of the judged articles, at least, and the rankings of all articles in use.

    Args:
        store: the store.
        ids: all articles.
        judged_ids: the queries among them.
        depth: the length of the rankings.
        eligibility: that of blocks; None for no method "blocks".
        model: the learned ranking; None for no method "learned".
        on_progress: called with the number of articles ranked, by any method, and the total.
        n_jobs: the maximum number of processes.
        without_editorial: whether the blocks of judged articles leave out editorial links.
    """
    judged_eligibility = eligibility
    if eligibility and without_editorial and eligibility.settings.editorial != "ignore":
        judged_eligibility = replace(eligibility, settings=replace(eligibility.settings, editorial="ignore"))
    cross_fitted_blocks = bool(model and judged_ids and eligibility)
    judged_blocks = bool(judged_ids) and judged_eligibility is not eligibility and not cross_fitted_blocks
    training_ids: list[str] = []
    if model and judged_ids:
        with store.snapshot():
            catalog = current_catalog(store, model)
        training_ids = sample_linked(catalog)
    total = len(ids) * (1 + bool(model) + bool(eligibility)) + 2 * len(training_ids)
    total += len(judged_ids) * (bool(model) + cross_fitted_blocks + judged_blocks)
    done = 0

    def run(function: Callable[[Sequence[str]], list[tuple[str, Any]]], of: Sequence[str] | None = None) -> Any:
        nonlocal done
        start, done = done, done + len(ids if of is None else of)
        return map_articles(store, function, of, lambda ranked, _: on_progress(start + ranked, total), n_jobs)

    used: dict[str, Rankings] = {name: {} for name in METHODS}
    for id, by_method in run(partial(_rank_chunk, store, depth)):
        for name, links in zip(METHODS, by_method, strict=True):
            used[name][id] = links
    judged = dict(used)
    if model:
        used["learned"] = dict(run(partial(_rank_learned_chunk, store, None, depth)))
    if eligibility:
        used["blocks"] = dict(run(partial(_build_chunk, store, eligibility, None, depth)))
    if not judged_ids:
        return used, used
    if model:
        judged["learned"] = {}
        start, done = done, done + 2 * len(training_ids)

        def report(stage: str, part: int, parts: int) -> None:  # half is retrieving candidates, half is training
            share = part / max(parts, 1) + (stage == "folds")
            on_progress(start + int(share * len(training_ids)), total)

        folds = cross_fit_trees(store, catalog, training_ids, judged_ids, report, n_jobs)
        for fold_ids, trees in folds:
            held_out = _HeldOut(tuple(fold_ids), replace(model, trees=trees))
            judged["learned"].update(run(partial(_rank_learned_chunk, store, held_out, depth), fold_ids))
            if judged_eligibility:
                build = partial(_build_chunk, store, judged_eligibility, held_out, depth)
                judged.setdefault("blocks", {}).update(run(build, fold_ids))
    elif judged_blocks and judged_eligibility:
        judged["blocks"] = dict(run(partial(_build_chunk, store, judged_eligibility, None, depth), judged_ids))
    elif eligibility:
        judged["blocks"] = used["blocks"]
    return judged, used


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


def _rank_learned_chunk(
    store: Store, held_out: _HeldOut | None, depth: int, ids: Sequence[str]
) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return the ids of stored articles, and the first links of each by the learned ranking, with display scores.

    Args:
        store: the store.
        held_out: the articles without their links, and their model; None for the model in use.
        depth: the length of the rankings.
        ids: the articles.
    """
    with store.snapshot():
        queries = list(stored_queries(store, ids).values())
        scorer, rankings = _learned_ranker(store, held_out).rank(queries, max(CANDIDATES_PER_SIGNAL, depth))
    return [
        (
            query.id or "",
            [(link, query.scale.display(raw_score)) for link, raw_score in scorer.with_ids(ranking)[:depth]],
        )
        for query, ranking in zip(queries, rankings, strict=True)
    ]


def _learned_ranker(store: Store, held_out: _HeldOut | None) -> Ranker:
    return make_held_out_ranker(store, held_out.model, held_out.ids) if held_out else make_ranker(store, "learned")


def _build_chunk(
    store: Store, eligibility: Eligibility, held_out: _HeldOut | None, depth: int, ids: Sequence[str]
) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return the ids of stored articles, and the links of each one's block with their display scores.

    Args:
        store: the store.
        eligibility: that of the blocks.
        held_out: the articles without their links, and their model; None for the ranking in use.
        depth: the length of the blocks.
        ids: the articles.
    """
    with store.snapshot():
        query_articles = stored_query_articles(store, ids)
        ranker = _learned_ranker(store, held_out) if held_out else None
        blocks = BlockBuilder(store, eligibility, ranker).build(query_articles, depth)
    return [
        (query_article.query.id or "", [(link.id, link.score) for link in block])
        for query_article, block in zip(query_articles, blocks, strict=True)
    ]


def _without_scores(rankings: Rankings) -> dict[str, list[str]]:
    return {id: [link for link, _ in scored] for id, scored in rankings.items()}


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
