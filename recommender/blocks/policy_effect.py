"""Policy effect: how many blocks of an index change, and how many are empty, under another policy."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from recommender.blocks.builder import BlockBuilder
from recommender.blocks.eligibility import Eligibility
from recommender.blocks.policy import Policy
from recommender.blocks.query_article import stored_query_articles
from recommender.filters import Condition, Where, matches
from recommender.store import CandidateQuery, Store

MAX_COMPARED = 200  # articles whose blocks are built under both policies; for more, the effect is estimated
MAX_SECONDS = 3.0  # for the comparison; half of it for drawing the sample
MAX_EXAMPLES = 5
CHUNK_SIZE = 16  # articles between two checks of the time limit


@dataclass(frozen=True, slots=True)
class PolicyEffect:
    """How the blocks of an index differ under another policy.

    Attributes:
        articles: the number of articles in the index.
        compared: the number of blocks that were built under both policies. If it is smaller than `articles`, the
            numbers below are estimates.
        changed: the number of blocks with other links, or with the same in another order.
        empty: the number of empty blocks under the other policy.
        empty_before: the number of empty blocks under the present policy.
        examples: ids of a few articles whose blocks become empty, or else change.
    """

    articles: int
    compared: int
    changed: int
    empty: int
    empty_before: int
    examples: tuple[str, ...]

    def sentence(self, *, would: bool = False) -> str:
        """Return the effect as a sentence; with `would`, as that of a change that is not stored."""
        estimated = self.compared < self.articles

        def about(count: int) -> str:
            return f"about {count:,}" if estimated and count else f"{count:,}"

        total = f"{self.articles:,} block{'' if self.articles == 1 else 's'}"
        if self.changed:
            text = f"{about(self.changed)} of {total} {'would change' if would else 'change'}"
        else:
            text = f"none of {total} {'would change' if would else 'changes'}"
        if estimated:
            text += f", estimated from {self.compared:,}"
        if self.empty or self.empty_before:
            verb = "would be" if would else "is" if self.empty == 1 else "are"
            text += f"; {about(self.empty)} {verb} empty ({'now' if would else 'before'} {about(self.empty_before)})"
        text = text[0].upper() + text[1:]
        return f"{text}; for example {', '.join(self.examples)}." if self.examples else f"{text}."


@dataclass(slots=True)
class _Counts:
    compared: int = 0
    changed: int = 0
    empty: int = 0
    empty_before: int = 0
    emptied_ids: list[str] = field(default_factory=list)
    changed_ids: list[str] = field(default_factory=list)


def policy_effect(store: Store, before: Eligibility, after: Eligibility, k: int) -> PolicyEffect:
    """Compare the blocks of `k` links under two policies.

    A large index is estimated from a sample: articles that a changed rule or pin concerns, and others drawn at random.
    It takes a few seconds at any size.

    Args:
        store: the store.
        before: the eligibility under the present policy.
        after: the eligibility under the other policy.
        k: the length of the blocks.
    """
    total = store.count()
    if before.policy == after.policy or not total:
        return PolicyEffect(total, total, 0, 0, 0, ())
    if total <= MAX_COMPARED:
        groups = [(list(store.ids()), total)]
    else:
        filters, edited_ids = _changed_parts(before.policy, after.policy)
        with store.snapshot():
            pinned_ids = set(store.summaries(sorted(edited_ids)))
            concerned_ids = _concerned_ids(store, filters, pinned_ids)
            filter_sizes = [store.count_matching(Condition(where=where)) for where in filters]
            summaries = store.summaries(_random_ids(store, MAX_COMPARED - len(concerned_ids)))
        other_ids = [
            id
            for id, summary in summaries.items()
            if id not in pinned_ids and not any(matches(where, summary) for where in filters)
        ]
        size = max(len(concerned_ids), min(sum(filter_sizes) + len(pinned_ids), total))
        groups = [(concerned_ids, size), (other_ids, total - size)]
    counts_by_group = [(_compare(store, before, after, ids, k), size) for ids, size in groups if ids]

    def estimate(name: str) -> int:
        return round(math.fsum(getattr(counts, name) / counts.compared * size for counts, size in counts_by_group))

    emptied_ids, changed_ids = (
        [id for counts, _ in counts_by_group for id in getattr(counts, name)] for name in ("emptied_ids", "changed_ids")
    )
    return PolicyEffect(
        articles=total,
        compared=sum(counts.compared for counts, _ in counts_by_group),
        changed=estimate("changed"),
        empty=estimate("empty"),
        empty_before=estimate("empty_before"),
        examples=tuple((emptied_ids or changed_ids)[:MAX_EXAMPLES]),
    )


def _compare(store: Store, before: Eligibility, after: Eligibility, ids: Sequence[str], k: int) -> _Counts:
    """Build the blocks of articles under both policies until the time limit, and count the differences."""
    counts = _Counts()
    builders = [BlockBuilder(store, eligibility) for eligibility in (before, after)]
    remaining, end = iter(ids), time.monotonic() + MAX_SECONDS
    while chunk := list(islice(remaining, CHUNK_SIZE)):
        with store.snapshot():
            query_articles = stored_query_articles(store, chunk)
            old_blocks, new_blocks = (
                [[link.id for link in block] for block in builder.build(query_articles, k)] for builder in builders
            )
        for query_article, old, new in zip(query_articles, old_blocks, new_blocks, strict=True):
            counts.compared += 1
            counts.changed += old != new
            counts.empty += not new
            counts.empty_before += not old
            id = query_article.query.id or ""
            if old and not new:
                counts.emptied_ids.append(id)
            elif old != new:
                counts.changed_ids.append(id)
        if time.monotonic() > end:
            break
    return counts


def _changed_parts(before: Policy, after: Policy) -> tuple[list[Where], set[str]]:
    """Return the filters of the rules that differ, and the articles whose pins or mutual bans differ."""
    rules = set(before.rules) ^ set(after.rules)
    filters = {where for rule in rules for where in (rule.where, rule.never_with) if where}
    pinned = {id for id in {**before.pins, **after.pins} if before.pins.get(id) != after.pins.get(id)}
    return sorted(filters), pinned | {id for pair in before.pairs ^ after.pairs for id in pair}


def _concerned_ids(store: Store, filters: Sequence[Where], pinned_ids: set[str]) -> list[str]:
    """Return articles that the changed rules or pins concern, at most half as many as are compared."""
    concerned_ids = dict.fromkeys(sorted(pinned_ids))
    sample = store.signals(list(islice(store.ids(), 1)))
    if filters and sample.ids:
        no_terms = np.empty(0, dtype=np.int64)
        queries = [
            CandidateQuery(sample.vectors[0], no_terms, no_terms.astype(np.float64), Condition(where=where))
            for where in filters
        ]
        signals, rows_by_query = store.retrieve_candidates(queries, max(MAX_COMPARED // 2 // len(queries), 1))
        concerned_ids |= dict.fromkeys(signals.ids[row] for rows in rows_by_query for row in rows.tolist())
    return list(concerned_ids)[: MAX_COMPARED // 2]


def _random_ids(store: Store, n: int) -> list[str]:
    """Draw articles at random with a fixed seed (reservoir sampling), from those listed within the time limit."""
    generator = random.Random(0)  # noqa: S311 - a sample, no secret
    sample: list[str] = []
    end = time.monotonic() + MAX_SECONDS / 2
    for number, id in enumerate(store.ids()):
        if number < n:
            sample.append(id)
        elif (index := generator.randrange(number + 1)) < n:
            sample[index] = id
        if number % 1024 == 0 and time.monotonic() > end:
            break
    generator.shuffle(sample)
    return sample
