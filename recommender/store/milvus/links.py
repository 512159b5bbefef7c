"""Resolving links between articles on Milvus: targets are ids, URLs or titles."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Literal

from recommender.store.milvus.articles import ArticleReader
from recommender.store.milvus.connection import MAX_EXPRESSION_KEYS, key_list
from recommender.store.milvus.rows import (
    ANY_TARGET,
    StoredArticle,
    article_hashes,
    primary_key,
    target_hashes,
    value_hash,
)
from recommender.store.milvus.schema import ARTICLES
from recommender.store.milvus.state import IndexState
from recommender.text.clean import normalise_title
from recommender.text.urls import normalise_url

MAX_TARGETS = 300  # resolved in one query
_TARGET_FIELDS = ("url_hash", "title_hash")

LinkKind = Literal["related", "links"]


class LinkResolver:
    """Resolves the links of an index.

    Args:
        state: the state of the index.
        reader: reads the articles.
    """

    def __init__(self, state: IndexState, reader: ArticleReader) -> None:
        self._state, self._reader = state, reader

    def links(self, kind: LinkKind, ids: Sequence[str] | None) -> dict[str, list[str]]:
        """Return the ids of the articles that each article links to; see `Store.links`. All are read in one scan."""
        if ids is None:
            targets_by_id, referents = self._scan(kind)
        else:
            stored = self._reader.stored_by_id(ids)
            targets_by_id = {id: stored[id].record[kind] for id in sorted(stored)}
            referents = self._referents({target for targets in targets_by_id.values() for target in targets})
        links = {}
        for id, targets in targets_by_id.items():
            linked = (_first_other(referents[target], id) for target in targets)
            if linked_ids := list(dict.fromkeys(link for link in linked if link is not None)):
                links[id] = linked_ids
        return links

    def _scan(self, kind: LinkKind) -> tuple[dict[str, Sequence[str]], dict[str, list[str]]]:
        """Return the link targets of all articles by id, and the ids that each target may refer to."""
        self._state.settings()
        targets_by_id: dict[str, Sequence[str]] = {}
        hash_pairs = []
        for row, article in self._reader.scan(_TARGET_FIELDS):
            targets_by_id[article.id] = article.record[kind]
            hash_pairs.append(tuple(row[field] for field in _TARGET_FIELDS))
        hashes = {target: target_hashes(target) for targets in targets_by_id.values() for target in targets}
        needed_hashes = {hash for values in hashes.values() for hash in values}
        ids_by_hash: dict[int, set[str]] = {}
        for id, pair in zip(targets_by_id, hash_pairs, strict=True):
            for hash in needed_hashes.intersection(pair):
                ids_by_hash.setdefault(hash, set()).add(id)
        return targets_by_id, _referents_by_target(hashes, targets_by_id.keys(), ids_by_hash)

    def count_resolved(self, stored: Iterable[StoredArticle]) -> int:
        """Return the number of editorial links that lead to another article of the index."""
        targets = [(article.id, target) for article in stored for target in article.record["related"]]
        referents = self._referents({target for _, target in targets})
        return sum(_first_other(referents[target], id) is not None for id, target in targets)

    def resolve(self, targets: Sequence[str]) -> list[str | None]:
        """Return for each target the id of the article that it refers to; None for none."""
        referents = self._referents(set(targets))
        return [next(iter(referents[target]), None) for target in targets]

    def _referents(self, targets: set[str]) -> dict[str, list[str]]:
        """Return for each target the ids of the articles that it may refer to: by id, URL and title, each sorted."""
        remaining = sorted(targets)
        hashes = {target: target_hashes(target) for target in remaining}
        existing: set[str] = set()
        ids_by_hash: dict[int, set[str]] = {}
        for start in range(0, len(remaining), MAX_TARGETS):
            batch = remaining[start : start + MAX_TARGETS]
            where = f"pk in {key_list([primary_key(target) for target in batch])}"
            if batch_hashes := ", ".join(str(hash) for target in batch for hash in hashes[target][1:]):
                where += f" or url_hash in [{batch_hashes}] or title_hash in [{batch_hashes}]"
            for row in self._state.connection.query(ARTICLES, where, ["pk", *_TARGET_FIELDS]):
                id = self._reader.id_of(row["pk"])
                existing.add(id)
                for field in _TARGET_FIELDS:
                    ids_by_hash.setdefault(row[field], set()).add(id)
        return _referents_by_target(hashes, existing, ids_by_hash)

    def backlinks(self, ids: Sequence[str]) -> list[str]:
        """Return the sorted ids of the articles with a link that may refer to one of these articles."""
        sources = set[str]()
        stored = self._reader.stored_by_id(ids)
        hashes = sorted({hash for article in stored.values() for hash in article_hashes(article.record)})
        for start in range(0, len(hashes), MAX_EXPRESSION_KEYS):
            batch = ", ".join(str(hash) for hash in [ANY_TARGET, *hashes[start : start + MAX_EXPRESSION_KEYS]])
            sources.update(self._reader.matching_ids(f"array_contains_any(link_hashes, [{batch}])"))
        return sorted(sources)

    def ids_by_url_or_title(self, name: str, n: int) -> list[str]:
        """Return the sorted ids of at most `n` articles with this URL or, if there are none, with this title."""
        for field, value in (("url", normalise_url(name)), ("title", normalise_title(name))):
            where = f"{field}_hash == {value_hash(field, value or '')}"
            if value and (rows := self._state.connection.query(ARTICLES, where, ["pk"])):
                return sorted(self._reader.id_of(row["pk"]) for row in rows)[:n]
        return []


def _referents_by_target(
    hashes: Mapping[str, Sequence[int]], existing: Container[str], ids_by_hash: Mapping[int, set[str]]
) -> dict[str, list[str]]:
    """Return for each target the ids of the articles that it may refer to: by id, URL and title, each sorted.

    Args:
        hashes: of each target, see `target_hashes`.
        existing: the ids of articles, at least of those that are targets.
        ids_by_hash: the ids of the articles with a URL or title, by its hash.
    """
    return {
        target: [
            *([target] if target in existing else []),
            *(id for hash in target_hash_list[1:] for id in sorted(ids_by_hash.get(hash, ()))),
        ]
        for target, target_hash_list in hashes.items()
    }


def _first_other(referents: Sequence[str], id: str) -> str | None:
    """Return the first of the articles that is not the linking one."""
    return next((referent for referent in referents if referent != id), None)
