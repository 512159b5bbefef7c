"""Selection: from ranked candidates to a block without near-duplicates and low scores, diversified."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommender.article import ArticleSummary
from recommender.ranking.scoring import rescale_cosines

POOL_SIZE = 20  # candidates to diversify; the same for every k, so that a longer block begins like a shorter one


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """An article that may appear in a block.

    Attributes:
        summary: its summary.
        vector: its embedding, L2-normalised: float32, shape (dimensions,).
        term_ids: ascending: int64, shape (t,).
        raw_score: its raw score.
        relevance: its display score times its freshness, from 0 to 1.
    """

    summary: ArticleSummary
    vector: NDArray[np.float32]
    term_ids: NDArray[np.int64]
    raw_score: float
    relevance: float


@dataclass(frozen=True, slots=True)
class Selection:
    """The candidates that remain, and the exclusion reasons of the others.

    Attributes:
        candidates: the remaining candidates, best first.
        exclusion_reasons: by article id.
        is_full: whether as many remain as were needed.
    """

    candidates: list[Candidate]
    exclusion_reasons: dict[str, str]
    is_full: bool


@dataclass(slots=True)
class Draft:
    """A block under construction, with all that explains it.

    Attributes:
        curated: pinned and editorial links, which stand first.
        via: by article id how a link came into the block, see `Recommendation.via`.
        links: the block.
        candidates: the candidates that it was selected from, best first.
        exclusion_reasons: of the candidates that were left out, by article id.
        pool: the ids of the candidates and of their near-duplicates.
        is_full: whether there were as many candidates as are needed.
        min_relevance: the relevance that one more article needs to become a candidate.
        no_block_reason: why the article has no block; empty if it has one.
    """

    curated: list[Candidate] = field(default_factory=list)
    via: dict[str, str] = field(default_factory=dict)
    links: list[Candidate] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    exclusion_reasons: dict[str, str] = field(default_factory=dict)
    pool: set[str] = field(default_factory=set)
    is_full: bool = False
    min_relevance: float = 0.0
    no_block_reason: str = ""


# Returns those of some candidates that are near-duplicates of one, in their order.
NearDuplicatesOf = Callable[[Candidate, Sequence[Candidate]], list[Candidate]]
# Returns why a raw score is too low for a link; an empty text if it is not.
LowScoreReason = Callable[[float], str]


def freshness(days: float, half_life: float) -> float:
    """Return the factor on the relevance of a link of this age: 0.5 ** (days / half_life), from 0 to 1.

    Args:
        days: the age; a negative age counts as 0.
        half_life: the age at which the factor is 0.5, in days, above 0.
    """
    return float(0.5 ** (max(days, 0.0) / half_life))


def by_relevance(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return candidates by relevance, best first; ties by raw score, then by id."""
    return sorted(candidates, key=lambda candidate: (-candidate.relevance, -candidate.raw_score, candidate.summary.id))


def select(
    candidates: Iterable[Candidate],
    n: int,
    *,
    article: Candidate | None,
    before: Sequence[Candidate] = (),
    near_duplicates_of: NearDuplicatesOf | None,
    low_score_reason: LowScoreReason | None,
) -> Selection:
    """Return the first `n` candidates without near-duplicates and low scores.

    Of near-duplicates the newest remains, at the position of the best.

    Args:
        candidates: best first.
        n: how many are needed.
        article: the query article; None for a text.
        before: links that stand in the block already.
        near_duplicates_of: finds near-duplicates; None to keep them.
        low_score_reason: checks a raw score; None to accept every score.
    """
    selected: list[Candidate] = []
    reasons: dict[str, str] = {}
    ids_before = {link.summary.id for link in before}
    for candidate in candidates:
        id = candidate.summary.id
        if len(selected) >= n:
            return Selection(selected, reasons, is_full=True)
        if id in ids_before:
            continue
        if low_score_reason and (reason := low_score_reason(candidate.raw_score)):
            reasons[id] = reason
            continue
        if article and near_duplicates_of and near_duplicates_of(candidate, [article]):
            reasons[id] = "it is a near-duplicate of the article itself"
            continue
        duplicates = near_duplicates_of(candidate, [*before, *selected]) if near_duplicates_of else []
        if not duplicates:
            selected.append(candidate)
            continue
        is_newest = all(_published(candidate) > _published(duplicate) for duplicate in duplicates)
        if not is_newest or any(duplicate in before for duplicate in duplicates):
            reasons[id] = f"it is a near-duplicate of {duplicates[0].summary.id!r}, which is in the block"
            continue
        selected[selected.index(duplicates[0])] = candidate
        reasons |= {
            duplicate.summary.id: f"it is a near-duplicate of {id!r}, which is newer" for duplicate in duplicates
        }
        selected = [link for link in selected if link not in duplicates]
    return Selection(selected, reasons, is_full=len(selected) >= n)


def diversify(candidates: Sequence[Candidate], diversity: float, k: int, spread: float = 1.0) -> list[Candidate]:
    """Return the first `k` candidates by maximal marginal relevance (MMR; Carbonell & Goldstein 1998).

    The first 20 candidates are reordered, the others follow. The next link is always the candidate with the highest
    (1 - diversity) · relevance - diversity · (cosine to the nearest link before it), so diversity is 1 - lambda of MMR.

    Args:
        candidates: best first.
        diversity: from 0, which keeps the order, to 1.
        k: how many to return, 0 or more.
        spread: of the model's cosines, see `rescale_cosines`.
    """
    pool = list(candidates[:POOL_SIZE])
    if not diversity or len(pool) < 3:
        return list(candidates[:k])
    vectors = np.stack([candidate.vector for candidate in pool])
    similarities = np.clip(rescale_cosines(vectors @ vectors.T, spread), 0.0, 1.0)
    relevance = (1.0 - diversity) * np.array([candidate.relevance for candidate in pool])
    max_similarity = np.zeros(len(pool))  # of each candidate to the links before
    order: list[int] = []
    for _ in pool[:k]:
        order.append(int(np.argmax(relevance - diversity * max_similarity)))  # of equal ones the first
        relevance[order[-1]] = -np.inf
        np.maximum(max_similarity, similarities[order[-1]], out=max_similarity)
    return [*(pool[position] for position in order), *candidates[POOL_SIZE:k]]


def _published(candidate: Candidate) -> float:
    """Return when a candidate was published, in seconds; without a date it is older than all others."""
    return candidate.summary.published.timestamp() if candidate.summary.published else -np.inf
