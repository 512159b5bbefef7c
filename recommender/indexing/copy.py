"""Copying an index from one store to another, without embedding anything again."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from recommender.errors import IndexNotFoundError, RecommenderError
from recommender.learning.learn import CATALOG, refresh_catalog
from recommender.store import Store, Upsert

PAGE_ARTICLES = 256
# A setting of a copy: the id of its source index ("from"), and the state of the complete copy ("whole"), None before.
COPIED = "copied"
OnProgress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class CopyReport:
    """The result of a copy.

    Attributes:
        articles: the number of articles of each index.
        written: the number of articles that were written; the others were equal already.
        removed: the number of articles that were removed from the copy.
        checksum: over all articles with their vectors and terms, equal for both: 32 hexadecimal digits.
    """

    articles: int
    written: int
    removed: int
    checksum: str


def copy(source: Store, target: Store, on_progress: OnProgress) -> CopyReport:
    """Make `target` equal to `source`, and compare the two.

    An interrupted copy continues when it is run again; a later copy transfers the changes.

    Args:
        source: the store to copy.
        target: a store without an index, or with an unchanged earlier copy of this one.
        on_progress: called with the number of articles done, of all, and the name of the step.

    Raises:
        IndexNotFoundError: the source has no article.
        RecommenderError: the target contains another index, or was changed since it was copied; or the two differ in
            the end.
    """
    source_id, revision, _ = source.revision()
    _check_target(source, target, source_id)
    total = source.count()
    if not total:
        raise IndexNotFoundError(f"The index {source.name} has no article, so there is nothing to copy.")
    written = removed = done = 0
    with target.write_lock():
        settings = {name: value for name, value in source.settings().items() if name not in ("last_build", COPIED)}
        incomplete = {"from": source_id, "whole": None}
        if target.exists():
            target.put_setting(COPIED, incomplete)
        else:
            target.create({**settings, COPIED: incomplete}, source.model_files())
        for page in _pages(source.ids()):
            digests = _digests(target, page) if target.exists() else {}
            upserts = [upsert for upsert in source.upserts(page) if digests.get(upsert.article.id) != _digest(upsert)]
            if upserts:
                target.write(upserts)
            written, done = written + len(upserts), done + len(page)
            on_progress(done, total, "copying")
        for page in _pages(target.ids()):
            if removed_ids := sorted(set(page) - source.content_hashes(page).keys()):
                target.write([], removed_ids)
                removed += len(removed_ids)
        for name, value in settings.items():
            if target.settings().get(name) != value:
                target.put_setting(name, value)
        policy = source.policy()
        target.edit_policy(lambda old: policy, anew=True)
        target.put_arrays(CATALOG, None)  # of an earlier learned ranking, perhaps on other kinds of links
        for name in sorted({*source.document_names(), *target.document_names()}):
            target.put_document(name, source.document(name))
        target.finish(built=True)
        _copy_hubness(source, target)
        refresh_catalog(target)
        target.put_setting(COPIED, {"from": source_id, "whole": _state(target)})
    counts, checksums = zip(*(_checksum(store, total, on_progress) for store in (source, target)), strict=True)
    if source.revision()[1] != revision:
        raise RecommenderError(
            f"The index {source.name} was changed while it was copied. Copied articles are kept; run the same command "
            f"again, which copies the rest."
        )
    if counts[0] != counts[1] or checksums[0] != checksums[1]:
        raise RecommenderError(
            f"The copy is not the same: {counts[0]:,} articles with the checksum {checksums[0]} in {source.name}, and "
            f"{counts[1]:,} with {checksums[1]} in {target.name}. Verify both with `recommender verify`, and copy "
            f"again."
        )
    return CopyReport(counts[0], written, removed, checksums[0])


def _check_target(source: Store, target: Store, source_id: str) -> None:
    """Raise RecommenderError if the copy would replace another index, or changes of an earlier copy."""
    if not target.exists():
        return
    copied = target.settings().get(COPIED)
    if not copied or copied["from"] != source_id:
        raise RecommenderError(
            f"There is an index at {target.name} that is no copy of {source.name}. Name a place that holds none."
        )
    if copied["whole"] is not None and copied["whole"] != _state(target):
        raise RecommenderError(
            f"The index {target.name} was changed since it was copied from {source.name}, and copying again would undo "
            f"that. Name another place."
        )


def _state(store: Store) -> list[object]:
    """Return an index's revision and a digest of its policy and documents, which differ after any write or edit."""
    documents = {name: store.document(name) for name in store.document_names()}
    edited = json.dumps([store.policy(), documents], sort_keys=True)
    return [store.revision()[1], hashlib.blake2b(edited.encode(), digest_size=8).hexdigest()]


def _copy_hubness(source: Store, target: Store) -> None:
    """Copy the hubness of the articles where it is known."""
    stale_ids = set(source.stale_hubness_ids())
    remaining = target.count()
    for page in _pages(target.ids()):
        remaining -= len(page)
        with source.snapshot():
            signals = source.signals([id for id in page if id not in stale_ids])
        target.put_hubness(dict(zip(signals.ids, signals.hubness.tolist(), strict=True)), last=remaining <= 0)


def _checksum(store: Store, total: int, on_progress: OnProgress) -> tuple[int, str]:
    """Return the number of articles of a store, and the checksum over all of them, independent of their order."""
    count = digest_sum = 0
    for page in _pages(store.ids()):
        for upsert in store.upserts(page):
            digest_sum += int.from_bytes(_digest(upsert), "big")
            count += 1
        on_progress(min(count, total), total, f"comparing {store.name}")
    return count, f"{digest_sum % 2**128:032x}"


def _digests(store: Store, ids: Sequence[str]) -> dict[str, bytes]:
    return {upsert.article.id: _digest(upsert) for upsert in store.upserts(ids)}


def _digest(upsert: Upsert) -> bytes:
    """Return 16 bytes over everything that is stored of an article; of its vector in float16, as stores keep it."""
    if upsert.vector is None:
        raise ValueError("a stored article has a vector")
    terms = sorted(upsert.terms.items())
    digest = hashlib.blake2b(digest_size=16)
    digest.update(upsert.article.record_hash)
    digest.update(repr((upsert.article.id, upsert.source, upsert.language, bool(upsert.assumed), terms)).encode())
    digest.update(upsert.vector.astype("<f2").tobytes())
    return digest.digest()


def _pages(ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield ids in lists of PAGE_ARTICLES."""
    remaining = iter(ids)
    return iter(lambda: list(islice(remaining, PAGE_ARTICLES)), [])
