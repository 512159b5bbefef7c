"""Measuring the ranking of an index against editorial links or judgements."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from recommender.article import Article
from recommender.blocks.batch import map_articles
from recommender.blocks.builder import BlockBuilder
from recommender.blocks.eligibility import Eligibility, stored_query_articles
from recommender.errors import RecommenderError
from recommender.evaluation import metrics
from recommender.evaluation.metrics import DEPTH, Estimate, Usage
from recommender.evaluation.qrels import Judgements
from recommender.ranking.matching import CANDIDATES_PER_SIGNAL, compare_pairs, display_scale, rank_by, stored_queries
from recommender.ranking.scoring import BOTH, DENSE, LEXICAL
from recommender.store import Store

METHODS = {"dense": DENSE, "lexical": LEXICAL, "both": BOTH}
PAIRS = 3000  # of each kind, at most, whose scores are shown
SHINGLE = 5  # words
NEAR_COPY = 0.8  # Jaccard similarity of the shingles of two articles from which on they are near copies
SHOWN_BLOCKS = 8  # of the best, and of the worst


@dataclass(frozen=True, slots=True)
class Method:
    """How one way of ranking did.

    Attributes:
        measures: "nDCG@10", "MRR", "P@5" and "recall@10", over the queries; empty if there are none.
        usage: how its blocks use the archive.
    """

    measures: dict[str, Estimate]
    usage: Usage


@dataclass(frozen=True, slots=True)
class JudgedBlock:
    """The block of one query, to look at.

    Attributes:
        id: the article that it stands under.
        ndcg: its nDCG@10.
        links: the ids of its links with their scores and whether they were judged relevant.
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
        truth: what was measured against; empty if there was nothing.
        articles: how many articles the index holds.
        queries: how many queries were measured.
        missing: how many of them are no articles of the index; they count as zero.
        k: how many links of each block count in `Method.usage`.
        methods: "dense", "lexical" and "both"; also "blocks" where blocks were made.
        per_query: the measures of each query by each method, as records with the keys "query", "method" and the names
            of the measures: `pandas.DataFrame(evaluation.per_query)`.
        scores: the scores of pairs of articles, by kind: "near copies", "judged" and "random pairs".
        best: the blocks of the last method with the highest nDCG@10.
        worst: those with the lowest.
        titles: the titles of all articles that are named here.
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
        """Return all of it as JSON has it."""
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
    frame: Eligibility | None = None,
    n_jobs: int | None = None,
) -> Evaluation:
    """Rank every article in each of the ways and measure the rankings.

    Args:
        store: the store.
        judgements: grades by query; None for the archive's editorial links, if it has any.
        truth: the name of the judgements; unused for editorial links.
        on_progress: called with how many articles are ranked, of how many.
        k: how many links of each block count in how the archive is used.
        frame: the settings of blocks, which are measured as a method more; None for none. Against editorial links the
            articles' own are left out of what is measured, and not of how the archive is used.
        n_jobs: how many processes at most, see `processes.worker_count`.

    Raises:
        RecommenderError: no query is an article of the index, or the index is empty.
    """
    ids = list(store.ids())
    if not ids:
        raise RecommenderError(f"The index {store.name} holds no articles, so there is nothing to measure.")
    editorial = judgements is None
    if judgements is None:
        judgements = {id: dict.fromkeys(targets, 1) for id, targets in store.links("related").items()}
        truth = "editorial links" if judgements else ""
    known = set(ids)
    if judgements and not known & judgements.keys():
        raise RecommenderError(
            f"None of the {len(judgements):,} queries in {truth} is an article of the index; are they of this archive?"
        )
    depth = max(DEPTH, k)
    frames = [frame] if frame else []
    if frame and editorial and judgements and frame.settings.editorial != "ignore":
        frames.append(replace(frame, settings=replace(frame.settings, editorial="ignore")))
    passes, done = 1 + len(frames), 0

    def advanced(ranked: int, total: int) -> None:
        on_progress(done * total + ranked, passes * total)

    rankings: dict[str, Rankings] = {name: {} for name in METHODS}
    for id, ranked in map_articles(store, partial(_ranked, store, depth), on_progress=advanced, n_jobs=n_jobs):
        for name, links in zip(METHODS, ranked, strict=True):
            rankings[name][id] = links
    shown_blocks: Rankings = {}
    for made_with in frames:
        done += 1
        blocks = map_articles(store, partial(_shaped, store, made_with, depth), on_progress=advanced, n_jobs=n_jobs)
        rankings["blocks"] = dict(blocks)
        shown_blocks = shown_blocks or rankings["blocks"]

    methods: dict[str, Method] = {}
    per_query: list[dict[str, Any]] = []
    for name, blocks_of in rankings.items():
        order = {id: [link for link, _ in links] for id, links in blocks_of.items()}
        values = metrics.measure(judgements, order) if judgements else {}
        columns = {measure: found.tolist() for measure, found in values.items()}
        for place, query in enumerate(judgements):
            per_query.append({"query": query, "method": name, **{key: found[place] for key, found in columns.items()}})
        used = {id: [link for link, _ in links] for id, links in shown_blocks.items()} if name == "blocks" else order
        estimates = {measure: metrics.estimate(found) for measure, found in values.items()}
        methods[name] = Method(estimates, metrics.usage(ids, used, k))
    last = list(rankings)[-1]
    ndcg = {row["query"]: row["nDCG@10"] for row in per_query if row["method"] == last}
    by_value = sorted((query for query in ndcg if query in known), key=lambda query: (-ndcg[query], query))
    judged = [_judged(query, ndcg[query], judgements, rankings[last]) for query in by_value]
    best = judged[: min(SHOWN_BLOCKS, (len(judged) + 1) // 2)]
    worst = judged[len(best) :][-SHOWN_BLOCKS:][::-1]
    named = {id for method in methods.values() for id, _ in (*method.usage.most, *method.usage.least)}
    named |= {id for method in methods.values() for id in method.usage.never[: SHOWN_BLOCKS * 10]}
    for block in (*best, *worst):
        named |= {block.id, *block.missed, *(id for id, _, _ in block.links)}
    return Evaluation(
        truth=truth,
        articles=len(ids),
        queries=len(judgements),
        missing=len(judgements.keys() - known),
        k=k,
        methods=methods,
        per_query=per_query,
        scores=_scores(store, ids, judgements, rankings["both"]),
        best=best,
        worst=worst,
        titles={id: card.title for id, card in store.summaries(sorted(named)).items()},
    )


def _ranked(store: Store, depth: int, ids: Sequence[str]) -> list[tuple[str, list[list[tuple[str, float]]]]]:
    """Return the ids of stored articles, and for each its first links by each of the methods, with display scores."""
    with store.snapshot():
        queries = list(stored_queries(store, ids).values())
        found, by_method = rank_by(store, queries, max(CANDIDATES_PER_SIGNAL, depth), list(METHODS.values()))
    return [
        (
            query.id or "",
            [
                [(link, query.scale.display(exact)) for link, exact in found.with_ids(ranking)[:depth]]
                for ranking in rankings
            ],
        )
        for query, *rankings in zip(queries, *by_method, strict=True)
    ]


def _shaped(
    store: Store, frame: Eligibility, depth: int, ids: Sequence[str]
) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return the ids of stored articles, and the links of each one's block with their display scores."""
    with store.snapshot():
        subjects = stored_query_articles(store, ids)
        made = BlockBuilder(store, frame).build(subjects, depth)
    return [
        (subject.query.id or "", [(link.id, link.score) for link in block])
        for subject, block in zip(subjects, made, strict=True)
    ]


def _judged(id: str, value: float, judgements: Judgements, blocks: Rankings) -> JudgedBlock:
    relevant = [article for article, grade in judgements[id].items() if grade > 0]
    links = [(link, round(score, 4), link in relevant) for link, score in blocks.get(id, [])[:DEPTH]]
    found = {link for link, _, _ in links}
    return JudgedBlock(id, round(value, 4), links, [article for article in relevant if article not in found])


def _scores(store: Store, ids: Sequence[str], judgements: Judgements, blocks: Rankings) -> dict[str, list[float]]:
    """Return the scores of three kinds of pairs, drawn the same way on every run."""
    draw = np.random.default_rng(0)
    some = [ids[place] for place in draw.permutation(len(ids))[:PAIRS].tolist()]
    random = [(id, ids[place]) for id, place in zip(some, draw.integers(len(ids), size=len(some)), strict=True)]
    relevant = [(query, id) for query, grades in judgements.items() for id, grade in grades.items() if grade > 0]
    judged = [relevant[place] for place in draw.permutation(len(relevant))[:PAIRS].tolist()]
    nearest = ((id, blocks[id][0][0]) for id in some if blocks.get(id))
    return {
        "near copies": _pair_scores(store, (pair for pair in nearest if _near_copies(store, *pair))),
        "judged": _pair_scores(store, judged),
        "random pairs": _pair_scores(store, random),
    }


def _near_copies(store: Store, one: str, other: str) -> bool:
    articles = store.articles([one, other])
    if len(articles) < 2:  # removed meanwhile
        return False
    first, second = (_shingles(article) for article in articles.values())
    return len(first & second) >= NEAR_COPY * len(first | second)


def _shingles(article: Article) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", f"{article.title} {article.text}".lower())
    return {tuple(words[start : start + SHINGLE]) for start in range(max(len(words) - SHINGLE + 1, 1))}


def _pair_scores(store: Store, pairs: Iterable[tuple[str, str]]) -> list[float]:
    display = display_scale(store).display
    return [round(display(score), 4) for score in compare_pairs(store, pairs)]
