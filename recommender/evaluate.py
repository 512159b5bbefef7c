"""Measuring the ranking of an index against editorial links or judgements."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recommender.article import Article
from recommender.errors import RecommenderError
from recommender.evaluation import metrics
from recommender.evaluation.metrics import DEPTH, Estimate, Usage
from recommender.evaluation.qrels import Judgements
from recommender.matching import CANDIDATES, chunk_of, compare_pairs, rank_by, stored_queries
from recommender.ranking.scoring import BOTH, DENSE, LEXICAL, shown
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
        measures: "nDCG@10", "MRR", "P@5" and "recall@10", over the queries.
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
    """What an evaluation found.

    Attributes:
        truth: what was measured against.
        articles: how many articles the index holds.
        queries: how many queries were measured.
        missing: how many of them are no articles of the index; they count as zero.
        methods: "dense", "lexical" and "both".
        scores: the scores of pairs of articles, by kind: "near copies", "judged" and "random pairs".
        best: the blocks of "both" with the highest nDCG@10.
        worst: those with the lowest.
        titles: the titles of all articles that are named here.
    """

    truth: str
    articles: int
    queries: int
    missing: int
    methods: dict[str, Method]
    scores: dict[str, list[float]]
    best: list[JudgedBlock]
    worst: list[JudgedBlock]
    titles: dict[str, str]

    def to_record(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return asdict(self)


def evaluate(
    store: Store, judgements: Judgements | None, truth: str, on_progress: Callable[[int, int], None]
) -> Evaluation:
    """Rank every article in each of the ways and measure the blocks.

    Args:
        store: the store.
        judgements: grades by query; None for the archive's editorial links.
        truth: what to call them.
        on_progress: called with how many articles are ranked, of how many.

    Raises:
        RecommenderError: there is nothing to measure against.
    """
    ids = list(store.ids())
    if judgements is None:
        judgements = {id: dict.fromkeys(targets, 1) for id, targets in store.links("related").items()}
        if not judgements:
            raise RecommenderError(
                "There is nothing to measure against: no article of the index has an editorial link (`related`) to "
                "another one. Give relevance judgements with --qrels."
            )
    known = set(ids)
    if not known & judgements.keys():
        raise RecommenderError(
            f"None of the {len(judgements):,} queries in {truth} is an article of the index; are they of this archive?"
        )
    rankings = _rank_all(store, ids, on_progress)
    methods, ndcg = {}, np.empty(0)
    for name, blocks in rankings.items():
        order = {id: [link for link, _ in links] for id, links in blocks.items()}
        values = metrics.measure(judgements, order)
        ndcg = values["nDCG@10"]  # of the last one, both
        estimates = {measure: metrics.estimate(found) for measure, found in values.items()}
        methods[name] = Method(estimates, metrics.usage(ids, order))
    by_value = sorted(
        (pair for pair in zip(judgements, ndcg.tolist(), strict=True) if pair[0] in known),
        key=lambda pair: (-pair[1], pair[0]),
    )
    judged = [_judged(id, value, judgements, rankings["both"]) for id, value in by_value]
    best = judged[: min(SHOWN_BLOCKS, (len(judged) + 1) // 2)]
    worst = judged[len(best) :][-SHOWN_BLOCKS:][::-1]
    named = {id for method in methods.values() for id, _ in method.usage.most}
    named |= {id for method in methods.values() for id in method.usage.never[: SHOWN_BLOCKS * 10]}
    for block in (*best, *worst):
        named |= {block.id, *block.missed, *(id for id, _, _ in block.links)}
    return Evaluation(
        truth=truth,
        articles=len(ids),
        queries=len(judgements),
        missing=len(judgements.keys() - known),
        methods=methods,
        scores=_scores(store, ids, judgements, rankings["both"]),
        best=best,
        worst=worst,
        titles={id: card.title for id, card in store.cards(sorted(named)).items()},
    )


Rankings = dict[str, dict[str, list[tuple[str, float]]]]


def _rank_all(store: Store, ids: Sequence[str], on_progress: Callable[[int, int], None]) -> Rankings:
    rankings: Rankings = {name: {} for name in METHODS}
    size = chunk_of(store)
    for start in range(0, len(ids), size):
        with store.snapshot():
            queries = list(stored_queries(store, ids[start : start + size]).values())
            found, by_method = rank_by(store, queries, CANDIDATES, list(METHODS.values()))
        for blocks, ranked in zip(rankings.values(), by_method, strict=True):
            for query, ranking in zip(queries, ranked, strict=True):
                blocks[query.id or ""] = found.named(ranking)[:DEPTH]
        on_progress(min(start + size, len(ids)), len(ids))
    return rankings


def _judged(id: str, value: float, judgements: Judgements, blocks: dict[str, list[tuple[str, float]]]) -> JudgedBlock:
    relevant = [article for article, grade in judgements[id].items() if grade > 0]
    links = [(link, round(shown(score), 4), link in relevant) for link, score in blocks.get(id, [])]
    found = {link for link, _, _ in links}
    return JudgedBlock(id, round(value, 4), links, [article for article in relevant if article not in found])


def _scores(
    store: Store, ids: Sequence[str], judgements: Judgements, blocks: dict[str, list[tuple[str, float]]]
) -> dict[str, list[float]]:
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
    return [round(shown(score), 4) for score in compare_pairs(store, pairs)]
