"""Which article a caller means by an id, a url or a title, and which ones a mistyped name may mean."""

from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import islice

import numpy as np

from recommender.article import ArticleSummary
from recommender.errors import ArticleNotFoundError
from recommender.ranking.matching import new_query, rank
from recommender.ranking.scoring import LEXICAL
from recommender.store import Store
from recommender.text.clean import normalise_title
from recommender.text.terms import extract_terms

MAX_NAMESAKES = 50  # articles with one url or title that are looked at
MAX_SUGGESTIONS = 3
MAX_IDS_COMPARED = 300  # with a name that no article has
MAX_NAME_CHARS = 200  # of a name that no article has
MIN_SIMILARITY = 0.6  # of a name and a suggested article, from 0 to 1


def matches(store: Store, name: str) -> list[str]:
    """Return the ids of the articles that a name means: that with this id, else those with this url, else this title.

    Of several, the only one that has the url or the title letter for letter.

    Args:
        store: the store; hold a snapshot of it.
        name: cleaned by `recommender.article.as_id`.
    """
    if name in store.content_hashes([name]):
        return [name]
    ids = store.ids_by_url_or_title(name, MAX_NAMESAKES) if name else []
    if len(ids) > 1:
        exact = [id for id, card in store.summaries(ids).items() if name in (card.url, card.title)]
        return exact if len(exact) == 1 else ids
    return ids


def resolve(store: Store, name: str) -> str | None:
    """Return the id of the article that a name means, see `matches`; None if there is none.

    Raises:
        ArticleNotFoundError: several articles have this url or title.
    """
    ids = matches(store, name)
    if len(ids) > 1:
        listed = ", ".join(map(repr, ids[:MAX_SUGGESTIONS])) + (", …" if len(ids) > MAX_SUGGESTIONS else "")
        raise ArticleNotFoundError(
            f"Several articles of the index {store.name} have the url or title {name!r}: {listed}. Give one of the ids."
        )
    return ids[0] if ids else None


def not_found(store: Store, names: Iterable[str]) -> ArticleNotFoundError:
    """Return the error that the index holds no articles with these names, with suggestions if it is one."""
    names = list(names)
    listed = ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")
    sentence = f"The index {store.name} holds no article with the id {listed}, nor with such a url or title."
    if len(names) > 1:
        return ArticleNotFoundError(sentence)
    return ArticleNotFoundError(sentence, lambda: did_you_mean(suggestions(store, names[0])))


def did_you_mean(cards: Iterable[ArticleSummary]) -> str:
    """Return the question whether one of these articles is meant; an empty text if there are none."""
    named = " or ".join(f"{card.id!r}" + (f" ({card.title})" if card.title != card.id else "") for card in cards)
    return f"Did you mean {named}?" if named else ""


def suggestions(store: Store, name: str, n: int = MAX_SUGGESTIONS) -> list[ArticleSummary]:
    """Return up to `n` articles whose id, title or url is like a name, the most similar first.

    Compared are the articles whose texts share the name's rarest words, and ids that begin as the name does; of a small
    archive all ids.
    """
    name = name[:MAX_NAME_CHARS]
    with store.snapshot():
        after = "" if store.count() <= MAX_IDS_COMPARED else name[: len(name) // 2]
        near = {id: _similarity(name, id) for id in islice(store.ids(after=after), MAX_IDS_COMPARED)}
        by_id = sorted((id for id in near if near[id] >= MIN_SIMILARITY), key=lambda id: (-near[id], id))[:n]
        cards = store.summaries(list(dict.fromkeys([*by_id, *_sharing_words(store, name)])))
    scores = {
        id: max(_words_in(name, card), *(_similarity(name, known) for known in (id, card.title, card.url) if known))
        for id, card in cards.items()
    }
    ordered = sorted((id for id in scores if scores[id] >= MIN_SIMILARITY), key=lambda id: (-scores[id], id))
    return [cards[id] for id in ordered[:n]]


def _similarity(name: str, other: str) -> float:
    """Return the share of characters that two names have in common, in order, from 0 to 1; 0 if it is small."""
    matcher = SequenceMatcher(None, other[:MAX_NAME_CHARS].casefold(), name.casefold(), autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= MIN_SIMILARITY <= matcher.quick_ratio() else 0.0


def _words_in(name: str, card: ArticleSummary) -> float:
    """Return the share of a name's words that an article's title or id has."""
    words = set(_words(name).split())
    return len(words & set(_words(f"{card.title} {card.id}").split())) / len(words) if words else 0.0


def _words(name: str) -> str:
    """Return the words of a name; of a url those of its path."""
    path = name.partition("//")[2].partition("/")[2]
    return normalise_title((path or name).replace("_", " ")) or ""


def _sharing_words(store: Store, name: str) -> list[str]:
    """Return the ids of the articles that fit a name best by the words they share with it."""
    terms = {language: extract_terms("", _words(name), language) for language in store.languages()}
    vector = np.zeros(store.settings()["model"]["dimensions"], dtype=np.float32)
    query = new_query(store, vector, terms, None)
    (ranking,) = rank(store, [query], 2 * MAX_SUGGESTIONS, LEXICAL) if len(query.term_ids) else [[]]
    return [id for id, score in ranking[: 2 * MAX_SUGGESTIONS] if score > 0]
