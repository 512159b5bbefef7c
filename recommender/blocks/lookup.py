"""Lookup: articles by id, URL or title, suggestions for a mistyped name, and stored summaries and texts."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.article import ArticleSummary, as_id
from recommender.errors import ArticleNotFoundError, IndexDamagedError
from recommender.ranking.matching import rank
from recommender.ranking.query import MAX_CHUNK_QUERIES, new_query
from recommender.ranking.scoring import LEXICAL
from recommender.store import Store
from recommender.text.clean import normalise_title
from recommender.text.terms import extract_terms

MAX_NAMESAKES = 50  # articles with the same URL or title
MAX_SUGGESTIONS = 3
MAX_COMPARED_IDS = 300  # with a mistyped name
MAX_COMPARED_CHARS = 200  # of a mistyped name
MIN_SIMILARITY = 0.6  # of a mistyped name and a suggested article, from 0 to 1


def stored_summaries(store: Store, ids: Sequence[str]) -> dict[str, ArticleSummary]:
    """Return the summaries of articles by id.

    Args:
        store: the store; hold a snapshot of it.
        ids: articles that the store itself has returned.

    Raises:
        IndexDamagedError: the store does not contain one of them.
    """
    summaries = store.summaries(ids)
    if missing := set(ids) - summaries.keys():
        raise _damaged_error(min(missing))
    return summaries


def stored_text(store: Store, id: str) -> tuple[str, str]:
    """Return title and text of an article that the store itself has returned.

    Raises:
        IndexDamagedError: the store does not contain it.
    """
    texts = store.texts([id])
    if id not in texts:
        raise _damaged_error(id)
    return texts[id]


def stored_embeddings(store: Store, names: Iterable[str | int] | None) -> tuple[list[str], NDArray[np.float32]]:
    """Return the ids of articles and their embeddings: float32, shape (n, dimensions), L2-normalised.

    Args:
        store: the store.
        names: the articles, by id, URL or title; None for all, in the order of their ids. An article that is removed
            meanwhile is left out.

    Raises:
        ArticleNotFoundError: the index does not contain all of them, or several have one of the names.
    """
    ids = list(store.ids()) if names is None else _resolve_all(store, as_names(names))
    vectors = np.zeros((len(ids), store.settings()["model"]["dimensions"]), dtype=np.float32)
    is_stored = np.ones(len(ids), dtype=np.bool_)
    for start in range(0, len(ids), MAX_CHUNK_QUERIES):
        chunk = ids[start : start + MAX_CHUNK_QUERIES]
        signals = store.signals(list(dict.fromkeys(chunk)))
        row_of = {id: row for row, id in enumerate(signals.ids)}
        for row, id in enumerate(chunk, start):
            is_stored[row] = id in row_of
            if is_stored[row]:
                vectors[row] = signals.vectors[row_of[id]]
    return [id for id, stored in zip(ids, is_stored.tolist(), strict=True) if stored], vectors[is_stored]


def as_names(names: Any) -> list[str]:
    """Return one or several names of articles as a list, cleaned like ids."""
    is_single = not isinstance(names, Iterable) or isinstance(names, str | bytes | Mapping)
    return [as_id(name) for name in ([names] if is_single else names)]


def matches(store: Store, name: str) -> list[str]:
    """Return the ids of the articles with this id, or else with this URL, or else with this title.

    If several have the URL or title after normalisation and one has it verbatim, only that one is returned.

    Args:
        store: the store; hold a snapshot of it.
        name: cleaned by `recommender.article.as_id`.
    """
    if name in store.content_hashes([name]):
        return [name]
    ids = store.ids_by_url_or_title(name, MAX_NAMESAKES) if name else []
    if len(ids) > 1:
        verbatim = [id for id, summary in store.summaries(ids).items() if name in (summary.url, summary.title)]
        return verbatim if len(verbatim) == 1 else ids
    return ids


def resolve(store: Store, name: str) -> str | None:
    """Return the id of the article with this id, URL or title, see `matches`; None if no article has it.

    Raises:
        ArticleNotFoundError: several articles have this URL or title.
    """
    ids = matches(store, name)
    if len(ids) > 1:
        listed = ", ".join(map(repr, ids[:MAX_SUGGESTIONS])) + (", …" if len(ids) > MAX_SUGGESTIONS else "")
        raise ArticleNotFoundError(
            f"Several articles of the index {store.name} have the url or title {name!r}: {listed}. Give one of the ids."
        )
    return ids[0] if ids else None


def _resolve_all(store: Store, names: Sequence[str]) -> list[str]:
    with store.snapshot():
        stored = store.content_hashes(names)
        id_of = {name: name if name in stored else resolve(store, name) for name in set(names)}
        if missing := [name for name in names if id_of[name] is None]:
            raise not_found(store, missing)
    return [id for name in names if (id := id_of[name])]


def not_found(store: Store, names: Iterable[str]) -> ArticleNotFoundError:
    """Return the error that no article has these names, with suggestions if it is a single name."""
    names = list(names)
    listed = ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")
    sentence = f"The index {store.name} has no article with the id {listed}, nor with such a url or title."
    if len(names) > 1:
        return ArticleNotFoundError(sentence)
    return ArticleNotFoundError(sentence, lambda: did_you_mean(suggestions(store, names[0])))


def did_you_mean(summaries: Iterable[ArticleSummary]) -> str:
    """Return the question whether one of these articles is meant; an empty text if there are none."""
    names = " or ".join(
        f"{summary.id!r}" + (f" ({summary.title})" if summary.title != summary.id else "") for summary in summaries
    )
    return f"Did you mean {names}?" if names else ""


def suggestions(store: Store, name: str, n: int = MAX_SUGGESTIONS) -> list[ArticleSummary]:
    """Return up to `n` articles whose id, title or URL is similar to a name, the most similar first.

    Compares the articles whose texts share the name's rarest words, and ids that begin like the name; in a small
    archive all ids.
    """
    name = name[:MAX_COMPARED_CHARS]
    with store.snapshot():
        after = "" if store.count() <= MAX_COMPARED_IDS else name[: len(name) // 2]
        similarities = {id: _similarity(name, id) for id in islice(store.ids(after=after), MAX_COMPARED_IDS)}
        similar_ids = _by_score(similarities, n)
        summaries = store.summaries(list(dict.fromkeys([*similar_ids, *_ids_sharing_words(store, name)])))
    scores = {
        id: max(
            _shared_words(name, summary),
            *(_similarity(name, other) for other in (id, summary.title, summary.url) if other),
        )
        for id, summary in summaries.items()
    }
    return [summaries[id] for id in _by_score(scores, n)]


def _by_score(scores: dict[str, float], n: int) -> list[str]:
    """Return up to `n` ids with a sufficient score, best first."""
    return sorted((id for id in scores if scores[id] >= MIN_SIMILARITY), key=lambda id: (-scores[id], id))[:n]


def _similarity(name: str, other: str) -> float:
    """Return the share of characters that two names have in common, in order, from 0 to 1; 0 if it is small."""
    matcher = SequenceMatcher(None, other[:MAX_COMPARED_CHARS].casefold(), name.casefold(), autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= MIN_SIMILARITY <= matcher.quick_ratio() else 0.0


def _shared_words(name: str, summary: ArticleSummary) -> float:
    """Return the share of a name's words that an article's title or id contains."""
    words = set(_words(name).split())
    return len(words & set(_words(f"{summary.title} {summary.id}").split())) / len(words) if words else 0.0


def _words(name: str) -> str:
    """Return the normalised words of a name; of a URL those of its path."""
    path = name.partition("//")[2].partition("/")[2]
    return normalise_title((path or name).replace("_", " ")) or ""


def _ids_sharing_words(store: Store, name: str) -> list[str]:
    """Return the ids of the articles with the best lexical score for a name."""
    terms = {language: extract_terms("", _words(name), language) for language in store.languages()}
    vector = np.zeros(store.settings()["model"]["dimensions"], dtype=np.float32)
    query = new_query(store, vector, terms, None)
    (ranking,) = rank(store, [query], 2 * MAX_SUGGESTIONS, LEXICAL) if len(query.term_ids) else [[]]
    return [id for id, score in ranking[: 2 * MAX_SUGGESTIONS] if score > 0]


def _damaged_error(id: str) -> IndexDamagedError:
    return IndexDamagedError(
        f"The index is damaged: its derived files contain article {id!r}, which the index does not. "
        f"`recommender verify --repair` rebuilds them."
    )
