"""Copying an index from one store to another, without embedding anything again."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from recommender.errors import IndexNotFoundError, RecommenderError
from recommender.store import Store, Upsert

PAGE = 256  # articles at once, which are few where they are long
COPIED = (
    "copied"  # the setting of a copy that says of which index it is one, and in what state it was when it was whole
)
OnProgress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did.

    Attributes:
        articles: how many the two indexes hold.
        written: articles that were written; the others were there already.
        removed: articles of the copy that the first index does not hold any more.
        checksum: over all articles with their vectors and terms, the same for both: 32 hexadecimal digits.
    """

    articles: int
    written: int
    removed: int
    checksum: str


def copy(source: Store, target: Store, on_progress: OnProgress) -> CopyReport:
    """Bring `target` in line with `source`, and compare the two.

    Cut off, it goes on where it was when it is run again; run again later, it brings what has changed.

    Args:
        source: the store that is copied.
        target: where to; with no index, or with an earlier copy of this one that was left as it is.
        on_progress: called with how many articles are done, of how many, and what is done.

    Raises:
        IndexNotFoundError: there is nothing to copy.
        RecommenderError: the target holds another index, or was changed since it was copied; or the two differ in the
            end.
    """
    own, before, _ = source.revision()
    _refuse(source, target, own)
    total = source.count()
    if not total:
        raise IndexNotFoundError(f"The index {source.name} holds no article, so there is nothing to copy.")
    written = removed = done = 0
    with target.write_lock():
        settings = {name: value for name, value in source.settings().items() if name not in ("last_build", COPIED)}
        if target.exists():
            target.put_setting(COPIED, {"from": own, "whole": None})
        else:
            target.create({**settings, COPIED: {"from": own, "whole": None}}, source.model_files())
        for page in _pages(source.ids()):
            there = _digests(target, page) if target.exists() else {}
            changes = [change for change in source.upserts(page) if there.get(change.article.id) != _digest(change)]
            if changes:
                target.write(changes)
            written, done = written + len(changes), done + len(page)
            on_progress(done, total, "copying")
        for page in _pages(target.ids()):
            if gone := sorted(set(page) - source.content_hashes(page).keys()):
                target.write([], gone)
                removed += len(gone)
        for name, value in settings.items():
            if target.settings().get(name) != value:
                target.put_setting(name, value)
        policy = source.policy()
        target.edit_policy(lambda old: policy, anew=True)
        target.finish(built=True)
        _copy_hubness(source, target)
        target.put_setting(COPIED, {"from": own, "whole": _state(target)})
    counts, sums = zip(*(_sums(store, total, on_progress) for store in (source, target)), strict=True)
    if source.revision()[1] != before:
        raise RecommenderError(
            f"The index {source.name} was changed while it was copied. What was copied is kept; run the same command "
            f"again, which brings the rest."
        )
    if counts[0] != counts[1] or sums[0] != sums[1]:
        raise RecommenderError(
            f"The copy is not the same: {counts[0]:,} articles with the checksum {sums[0]} in {source.name}, and "
            f"{counts[1]:,} with {sums[1]} in {target.name}. Verify both with `recommender verify`, and copy again."
        )
    return CopyReport(counts[0], written, removed, sums[0])


def _refuse(source: Store, target: Store, own: str) -> None:
    """Raise RecommenderError if copying would take the place of something else."""
    copied = target.settings().get(COPIED) if target.exists() else {"from": own, "whole": None}
    if not copied or copied["from"] != own:
        raise RecommenderError(
            f"There is an index at {target.name} that is no copy of {source.name}. Name a place that holds none."
        )
    if copied["whole"] is not None and copied["whole"] != _state(target):
        raise RecommenderError(
            f"The index {target.name} was changed since it was copied from {source.name}, and copying again would undo "
            f"that. Name another place."
        )


def _state(store: Store) -> list[object]:
    """Return what differs once anyone has written to an index or edited its policy."""
    policy = json.dumps(store.policy(), sort_keys=True)
    return [store.revision()[1], hashlib.blake2b(policy.encode(), digest_size=8).hexdigest()]


def _copy_hubness(source: Store, target: Store) -> None:
    """Take over what is known of the articles' nearness, which took a round over all of them to find."""
    due = set(source.stale_hubness_ids())
    left = target.count()
    for page in _pages(target.ids()):
        left -= len(page)
        with source.snapshot():
            signals = source.signals([id for id in page if id not in due])
        target.put_hubness(dict(zip(signals.ids, signals.hubness.tolist(), strict=True)), last=left <= 0)


def _sums(store: Store, total: int, on_progress: OnProgress) -> tuple[int, str]:
    """Return how many articles a store holds, and the checksum over all of them, in whatever order."""
    count = added = 0
    for page in _pages(store.ids()):
        for change in store.upserts(page):
            added += int.from_bytes(_digest(change), "big")
            count += 1
        on_progress(min(count, total), total, f"comparing {store.name}")
    return count, f"{added % 2**128:032x}"


def _digests(store: Store, ids: Sequence[str]) -> dict[str, bytes]:
    return {change.article.id: _digest(change) for change in store.upserts(ids)}


def _digest(change: Upsert) -> bytes:
    """Return 16 bytes over all that is stored of an article; its vector as exact as stores keep it."""
    if change.vector is None:
        raise ValueError("a stored article has a vector")
    terms = sorted(change.terms.items())
    made = hashlib.blake2b(digest_size=16)
    made.update(change.article.record_hash)
    made.update(repr((change.article.id, change.source, change.language, bool(change.assumed), terms)).encode())
    made.update(change.vector.astype("<f2").tobytes())
    return made.digest()


def _pages(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    return iter(lambda: list(islice(rest, PAGE)), [])
