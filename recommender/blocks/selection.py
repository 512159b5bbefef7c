"""From a ranking to a block: without copies and misfits, varied."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.article import ArticleSummary
from recommender.text.urls import normalise_url

POOL = 20  # of the best that variety chooses from; the same for every length, so that blocks begin alike


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """An article that may stand in a block.

    Attributes:
        card: what is shown of it.
        vector: its vector, L2-normalised: float32, shape (dimensions,).
        terms: the numbers of its terms, ascending: int64, shape (t,).
        exact: its exact score.
        relevance: what it is ordered by, from 0 to 1: its score as shown, less what it loses by its age.
        page: its url as `normalise_url` gives it.
    """

    summary: ArticleSummary
    vector: NDArray[np.float32]
    terms: NDArray[np.int64]
    raw_score: float
    relevance: float
    page: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What is left of the candidates, and why the others are not.

    Attributes:
        kept: those that are left, best first.
        dropped: by id why another was left out.
        full: whether there are as many as were needed.
    """

    kept: list[Candidate]
    dropped: dict[str, str]
    full: bool


# Gives those of some articles that an article is a copy of, in their order.
CopiesOf = Callable[[Candidate, Sequence[Candidate]], list[Candidate]]
# Returns why a link may not have an exact score; an empty text if it may.
Misfit = Callable[[float], str]


def freshness(days: float, half_life: float) -> float:
    """Return what is left of the relevance of a link after so many days: 0.5 ** (days / half_life), from 0 to 1.

    Args:
        days: its age; 0 is taken for one that is below 0.
        half_life: after how many days it counts half, more than 0.
    """
    return float(0.5 ** (max(days, 0.0) / half_life))


def by_relevance(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return candidates by relevance, those with the same by their exact scores, then by their ids."""
    return sorted(candidates, key=lambda one: (-one.relevance, -one.raw_score, one.summary.id))


def select(
    candidates: Iterable[Candidate],
    need: int,
    *,
    article: Candidate | None,
    before: Sequence[Candidate] = (),
    copies_of: CopiesOf | None,
    misfit: Misfit | None,
) -> Selection:
    """Leave out what is a copy or fits too badly, until enough are left.

    Of copies the newest stays, in the place of the best.

    Args:
        candidates: in their order.
        need: how many are needed.
        article: the article that the block stands under, if there is one.
        before: links that stand in the block already.
        copies_of: finds copies; None to leave them in.
        misfit: tells why an exact score is too low; None for any.
    """
    kept: list[Candidate] = []
    dropped: dict[str, str] = {}
    taken = {link.summary.id for link in before}
    for one in candidates:
        id = one.summary.id
        if len(kept) >= need:
            return Selection(kept, dropped, full=True)
        if id in taken:
            continue
        if misfit and (reason := misfit(one.raw_score)):
            dropped[id] = reason
            continue
        if article and copies_of and copies_of(one, [article]):
            dropped[id] = "it is a copy of the article itself"
            continue
        copies = copies_of(one, [*before, *kept]) if copies_of else []
        if copies:
            newer = all(_date(one) > _date(other) for other in copies) and not any(c in before for c in copies)
            if not newer:
                dropped[id] = f"it is a copy of {copies[0].summary.id!r}, which stands in the block"
                continue
            place = kept.index(copies[0])
            kept[place] = one
            for other in copies:
                dropped[other.summary.id] = f"it is a copy of {id!r}, which is newer"
            kept = [link for link in kept if link not in copies]
            continue
        kept.append(one)
    return Selection(kept, dropped, full=len(kept) >= need)


def too_low(exact: float, floor: float) -> str:
    """Say that a score is below the floor."""
    return f"it fits hardly better than an article drawn at random ({exact:.2f}, needed {floor:.2f})"


def same_page(one: Candidate, other: Candidate) -> bool:
    """Tell whether two candidates lead to the same page, see `same_url`."""
    return one.page is not None and one.page == other.page and same_url(one.summary, other.summary)


def same_url(one: ArticleSummary, other: ArticleSummary) -> bool:
    """Tell whether two cards lead to the same page; two places of one page, with other fragments, are two."""
    if not one.url or not other.url:
        return False
    address = normalise_url(one.url)
    if address is None or address != normalise_url(other.url):
        return False
    fragments = {one.url.partition("#")[2], other.url.partition("#")[2]} - {""}
    return len(fragments) < 2


def diversify(candidates: Sequence[Candidate], variety: float, k: int, spread: float = 1.0) -> list[Candidate]:
    """Return the first `k` of candidates by maximal marginal relevance (Carbonell & Goldstein 1998).

    It chooses from the first 20 of them; the others follow. The next one is always that with the highest
    (1 - variety) · relevance - variety · (its cosine to the nearest of those before it).

    Args:
        candidates: in their order.
        variety: from 0, which leaves the order, to 1.
        k: how many are wanted, 0 or more.
        spread: of the model that the vectors are of, see `cosine_range`.
    """
    pool = list(candidates[:POOL])
    if not variety or len(pool) < 3:
        return list(candidates[:k])
    vectors = np.stack([one.vector for one in pool])
    alike = np.clip(1.0 - spread * (1.0 - vectors @ vectors.T), 0.0, 1.0)
    worth = (1.0 - variety) * np.array([one.relevance for one in pool])
    nearest = np.zeros(len(pool))  # of each, how near it is to the nearest of those that are chosen
    chosen: list[int] = []
    for _ in pool[:k]:
        chosen.append(int(np.argmax(worth - variety * nearest)))  # of equal ones the first
        worth[chosen[-1]] = -np.inf
        np.maximum(nearest, alike[chosen[-1]], out=nearest)
    return [*(pool[place] for place in chosen), *candidates[POOL:k]]


def _date(one: Candidate) -> float:
    """Return when a candidate was published, in seconds; one without a date is older than all others."""
    return one.summary.published.timestamp() if one.summary.published else -np.inf
