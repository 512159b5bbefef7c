"""The effect of another policy on the blocks of an index: how many change, and how many are empty."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from recommender.blocks.builder import BlockBuilder
from recommender.blocks.eligibility import Eligibility, stored_query_articles
from recommender.blocks.policy import Policy
from recommender.filters import Condition, Where, matches
from recommender.store import CandidateQuery, Store

MAX_COMPARED = 200  # articles whose blocks are made twice; a larger index is estimated from a sample of so many
MAX_SECONDS = 3.0  # for comparing; and half of it for drawing the sample
EXAMPLES = 5
_CHUNK = 16  # articles between two looks at the clock


@dataclass(frozen=True, slots=True)
class PolicyEffect:
    """How the blocks of an index differ under another policy.

    Attributes:
        articles: how many articles the index has.
        compared: of how many of them the block was made under both policies; the counts below are estimates for all
            articles if it is fewer.
        changed: how many blocks have other links, or the same in another order.
        empty: how many blocks are empty under the other policy.
        empty_before: how many are empty under the present one.
        examples: a few articles whose blocks become empty, or else change.
    """

    articles: int
    compared: int
    changed: int
    empty: int
    empty_before: int
    examples: tuple[str, ...]

    def sentence(self, *, would: bool = False) -> str:
        """Return it as a sentence for people; with `would`, of a change that is not stored."""
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

    Of a large index a sample is compared: articles that a changed rule or pin names, and others drawn at random. It
    takes a few seconds at any size.

    Args:
        store: the store.
        before: what holds for blocks now.
        after: what holds for them under the other policy.
        k: how long the blocks are.
    """
    total = store.count()
    if before.policy == after.policy or not total:
        return PolicyEffect(total, total, 0, 0, 0, ())
    if total <= MAX_COMPARED:
        groups = [(list(store.ids()), total)]
    else:
        filters, ids = _changed_parts(before.policy, after.policy)
        with store.snapshot():
            pinned = set(store.summaries(sorted(ids)))
            named = _named(store, filters, pinned)
            sizes = [store.count_matching(Condition(where=where)) for where in filters]
            drawn = _random_ids(store, MAX_COMPARED - len(named))
            cards = store.summaries(drawn)
        others = [
            id for id, card in cards.items() if id not in pinned and not any(matches(where, card) for where in filters)
        ]
        size = max(len(named), min(sum(sizes) + len(pinned), total))
        groups = [(named, size), (others, total - size)]
    made = [(_compared(store, before, after, ids, k), size) for ids, size in groups if ids]

    def estimate(name: str) -> int:
        return round(math.fsum(getattr(counts, name) / counts.compared * size for counts, size in made))

    emptied, changed = (
        [id for counts, _ in made for id in getattr(counts, name)] for name in ("emptied_ids", "changed_ids")
    )
    return PolicyEffect(
        articles=total,
        compared=sum(counts.compared for counts, _ in made),
        changed=estimate("changed"),
        empty=estimate("empty"),
        empty_before=estimate("empty_before"),
        examples=tuple((emptied or changed)[:EXAMPLES]),
    )


def _compared(store: Store, before: Eligibility, after: Eligibility, ids: Sequence[str], k: int) -> _Counts:
    """Make the blocks of articles under both policies, as far as the time allows."""
    counts = _Counts()
    makers = [BlockBuilder(store, frame) for frame in (before, after)]
    rest, end = iter(ids), time.monotonic() + MAX_SECONDS
    while chunk := list(islice(rest, _CHUNK)):
        with store.snapshot():
            subjects = stored_query_articles(store, chunk)
            old, new = ([[link.id for link in block] for block in maker.build(subjects, k)] for maker in makers)
        for subject, was, now in zip(subjects, old, new, strict=True):
            counts.compared += 1
            counts.changed += was != now
            counts.empty += not now
            counts.empty_before += not was
            id = subject.query.id or ""
            if was and not now:
                counts.emptied_ids.append(id)
            elif was != now:
                counts.changed_ids.append(id)
        if time.monotonic() > end:
            break
    return counts


def _changed_parts(before: Policy, after: Policy) -> tuple[list[Where], set[str]]:
    """Return the filters of the rules that differ, and the articles whose pins or bans of a pair do."""
    rules = set(before.rules) ^ set(after.rules)
    filters = {where for rule in rules for where in (rule.where, rule.never_with) if where}
    pinned = {id for id in {**before.pins, **after.pins} if before.pins.get(id) != after.pins.get(id)}
    return sorted(filters), pinned | {id for pair in before.pairs ^ after.pairs for id in pair}


def _named(store: Store, filters: Sequence[Where], pinned: set[str]) -> list[str]:
    """Return articles that changed rules or pins name, at most half as many as are compared."""
    ids = dict.fromkeys(sorted(pinned))
    some = store.signals(list(islice(store.ids(), 1)))
    if filters and some.ids:
        none = np.empty(0, dtype=np.int64)
        probes = [
            CandidateQuery(some.vectors[0], none, none.astype(np.float64), Condition(where=where)) for where in filters
        ]
        signals, rows = store.retrieve_candidates(probes, max(MAX_COMPARED // 2 // len(probes), 1))
        ids |= dict.fromkeys(signals.ids[row] for part in rows for row in part.tolist())
    return list(ids)[: MAX_COMPARED // 2]


def _random_ids(store: Store, n: int) -> list[str]:
    """Draw articles at random, the same each time; of an index that takes long to list from the part listed in time."""
    generator = random.Random(0)  # noqa: S311 - a sample, no secret
    sample: list[str] = []
    end = time.monotonic() + MAX_SECONDS / 2
    for number, id in enumerate(store.ids()):
        if number < n:
            sample.append(id)
        elif (place := generator.randrange(number + 1)) < n:
            sample[place] = id
        if number % 1024 == 0 and time.monotonic() > end:
            break
    generator.shuffle(sample)
    return sample
