"""Resolving links between articles on Milvus: targets are ids, URLs or titles."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
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

LinkKind = Literal["related", "links"]


class LinkResolver:
    """Resolves the links of an index.

    Args:
        state: the state of the index.
        reader: reads the articles.
    """

    def __init__(self, state: IndexState, reader: ArticleReader) -> None:
        self._state, self._reader = state, reader

    def links(self, kind: LinkKind, ids: Sequence[str] | None, all_ids: Iterable[str]) -> dict[str, list[str]]:
        """Return the ids of the articles that each article links to; see `Store.links`.

        Args:
            kind: the kind of link.
            ids: the articles; None for all.
            all_ids: the ids of all articles.
        """
        if ids is not None:
            return self._links_of(kind, self._reader.stored_by_id(ids))
        links: dict[str, list[str]] = {}
        remaining = iter(all_ids)
        while page := list(islice(remaining, MAX_EXPRESSION_KEYS)):
            links |= self._links_of(kind, self._reader.stored_by_id(page))
        return links

    def _links_of(self, kind: LinkKind, stored: Mapping[str, StoredArticle]) -> dict[str, list[str]]:
        referents = self._referents({target for article in stored.values() for target in article.record[kind]})
        links = {}
        for id in sorted(stored):
            linked = (_first_other(referents[target], id) for target in stored[id].record[kind])
            if linked_ids := list(dict.fromkeys(link for link in linked if link is not None)):
                links[id] = linked_ids
        return links

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
            for row in self._state.connection.query(ARTICLES, where, ["pk", "url_hash", "title_hash"]):
                id = self._reader.id_of(row["pk"])
                existing.add(id)
                for field in ("url_hash", "title_hash"):
                    ids_by_hash.setdefault(row[field], set()).add(id)
        return {
            target: [
                *([target] if target in existing else []),
                *(id for hash in hashes[target][1:] for id in sorted(ids_by_hash.get(hash, ()))),
            ]
            for target in remaining
        }

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


def _first_other(referents: Sequence[str], id: str) -> str | None:
    """Return the first of the articles that is not the linking one."""
    return next((referent for referent in referents if referent != id), None)
