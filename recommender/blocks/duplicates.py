"""Near-duplicates within a block: which candidates are the same report or the same page."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain, permutations

import numpy as np

from recommender.article import ArticleSummary
from recommender.blocks.lookup import stored_text
from recommender.blocks.selection import Candidate, NearDuplicatesOf
from recommender.ranking.scoring import rescale_cosines
from recommender.store import Store
from recommender.text import near_duplicates
from recommender.text.near_duplicates import Fingerprint

MAX_CACHED_FINGERPRINTS = 1024


class DuplicateFinder:
    """Finds near-duplicates among candidates.

    It reads texts only of candidates with similar embeddings and terms, and caches their fingerprints until the index
    changes.

    Args:
        store: the store; every call needs a snapshot of it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fingerprints: OrderedDict[str, Fingerprint] = OrderedDict()
        self._change = -1  # of the store, at which the fingerprints were made

    def drop_stale_fingerprints(self) -> None:
        """Empty the cache if the index has changed."""
        _, change, _ = self._store.revision()
        if change != self._change:
            self._fingerprints.clear()
            self._change = change

    def among(
        self, candidates: Sequence[Candidate], article: Candidate | None, text: tuple[str, str] | None, spread: float
    ) -> NearDuplicatesOf | None:
        """Return a function that finds near-duplicates among these candidates; None if no two are similar.

        Args:
            candidates: the candidates.
            article: the query article as a candidate; None for a text.
            text: title and text of the query article; None if they are the stored ones.
            spread: of the model's cosines, see `rescale_cosines`.
        """
        all_candidates = [*([article] if article else []), *candidates]
        if not all_candidates:
            return None
        vectors = np.stack([candidate.vector for candidate in all_candidates])
        suspect = rescale_cosines(vectors @ vectors.T, spread) >= near_duplicates.MIN_DENSE_COSINE
        np.fill_diagonal(suspect, False)
        position = {candidate: number for number, candidate in enumerate(all_candidates)}
        for first, second in _pairs_of_same_page(all_candidates):
            suspect[position[first], position[second]] = True
        suspect_positions = set(np.flatnonzero(suspect.any(axis=1)).tolist())
        if not suspect_positions:
            return None
        term_ids: dict[Candidate, set[int]] = {}
        article_fingerprint = near_duplicates.fingerprint(*text) if text else None

        def fingerprint(candidate: Candidate) -> Fingerprint:
            if article_fingerprint is not None and candidate is article:
                return article_fingerprint
            return self._fingerprint(candidate.summary.id)

        def are_duplicates(first: Candidate, second: Candidate) -> bool:
            if same_page(first.summary, second.summary):
                return True
            for candidate in (first, second):
                if candidate not in term_ids:
                    term_ids[candidate] = set(candidate.term_ids.tolist())
            fewer = min(len(term_ids[first]), len(term_ids[second]))
            if len(term_ids[first] & term_ids[second]) < near_duplicates.MIN_SHARED_TERMS * fewer:
                return False
            return near_duplicates.are_near_duplicates(fingerprint(first), fingerprint(second))

        def near_duplicates_of(candidate: Candidate, among: Sequence[Candidate]) -> list[Candidate]:
            if position[candidate] not in suspect_positions:
                return []
            row = suspect[position[candidate]]  # a matrix: of thousands of duplicates all pairs are suspect
            return [other for other in among if row[position[other]] and are_duplicates(candidate, other)]

        return near_duplicates_of

    def _fingerprint(self, id: str) -> Fingerprint:
        if id not in self._fingerprints:
            self._fingerprints[id] = near_duplicates.fingerprint(*stored_text(self._store, id))
            if len(self._fingerprints) > MAX_CACHED_FINGERPRINTS:
                self._fingerprints.popitem(last=False)
        self._fingerprints.move_to_end(id)
        return self._fingerprints[id]


def same_page(first: ArticleSummary, second: ArticleSummary) -> bool:
    """Return whether two articles have the same page; two sections of a page, with different fragments, do not."""
    if first.page_key is None or first.page_key != second.page_key:
        return False
    fragments = {(summary.url or "").partition("#")[2] for summary in (first, second)} - {""}
    return len(fragments) < 2


def same_article(first: ArticleSummary, second: ArticleSummary) -> bool:
    """Return whether two articles have the same page or are translations of one another."""
    return same_page(first, second) or are_translations(first, second)


def are_translations(first: ArticleSummary, second: ArticleSummary) -> bool:
    """Return whether two articles are the same one in two languages, by the `translation_key` of their metadata."""
    key = first.metadata.get("translation_key")
    return bool(key) and key == second.metadata.get("translation_key")


def _pairs_of_same_page(candidates: Sequence[Candidate]) -> list[tuple[Candidate, Candidate]]:
    """Return the pairs of candidates with the same page, in both orders."""
    pages: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if (key := candidate.summary.page_key) is not None:
            pages.setdefault(key, []).append(candidate)
    pairs = chain.from_iterable(permutations(group, 2) for group in pages.values())
    return [(first, second) for first, second in pairs if same_page(first.summary, second.summary)]
