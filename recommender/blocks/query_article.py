"""Query articles: a stored article, a new article or a text in the form that a block is built for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary
from recommender.blocks import lookup
from recommender.ranking.matching import with_text_scale
from recommender.ranking.query import Query, new_query, stored_queries
from recommender.store import Store
from recommender.store.base import dominant_language
from recommender.text.language import language_of
from recommender.text.terms import extract_terms


@dataclass(frozen=True, slots=True)
class QueryArticle:
    """The article that a block is built for.

    Attributes:
        query: the query for its candidates.
        summary: its summary; None for a text.
        text: title and text of a new article; None for a stored article and a text.
        editorial: the ids of its editorial links.
        body_links: the ids of the articles that its body links to.
    """

    query: Query
    summary: ArticleSummary | None = None
    text: tuple[str, str] | None = None
    editorial: Sequence[str] = ()
    body_links: Sequence[str] = ()


def stored_query_articles(store: Store, ids: Sequence[str]) -> list[QueryArticle]:
    """Return the query articles of stored articles, in the order of the ids.

    Args:
        store: the store; hold a snapshot of it.
        ids: the articles; those that the store does not contain are left out.
    """
    # Load whole articles: their record hash covers the links, so a missing link row is detected.
    articles, queries = store.articles(ids), stored_queries(store, ids)
    editorial, body_links = store.links("related", ids), store.links("links", ids)
    return [
        QueryArticle(queries[id], articles[id].summary, None, editorial.get(id, ()), body_links.get(id, ()))
        for id in ids
        if id in queries
    ]


def find_query_article(store: Store, name: str) -> QueryArticle:
    """Return the query article of the stored article with this id, URL or title.

    Args:
        store: the store; hold a snapshot of it.
        name: cleaned by `recommender.article.as_id`.

    Raises:
        ArticleNotFoundError: no article, or several, have this name.
    """
    query_articles = stored_query_articles(store, [name])
    if not query_articles and (id := lookup.resolve(store, name)):
        query_articles = stored_query_articles(store, [id])
    if not query_articles:
        raise lookup.not_found(store, [name])
    return query_articles[0]


def stored_vector(store: Store, article: Article) -> NDArray[np.float32] | None:
    """Return the embedding of an article if the store contains it with the same content, else None.

    Args:
        store: the store; hold a snapshot of it.
        article: the article.
    """
    if not _is_stored(store, article):
        return None
    vector: NDArray[np.float32] = store.signals([article.id]).vectors[0]
    return vector


def new_query_article(store: Store, article: Article, vector: NDArray[np.float32]) -> QueryArticle:
    """Return the query article of an Article, which the store need not contain.

    Args:
        store: the store; hold a snapshot of it.
        article: the article.
        vector: its embedding, L2-normalised, float32, shape (dimensions,).
    """
    language = (
        language_of(article.title, article.text, article.language)
        or dominant_language(store)
        or next(iter(store.languages()), "und")
    )
    query = stored_queries(store, [article.id])[article.id] if _is_stored(store, article) else None
    if query is None or (query.languages and language not in query.languages):
        terms = {language: extract_terms(article.title, article.text, language)}
        query = new_query(store, vector, terms, language, article.id)
    editorial, body_links = (
        tuple(id for id in store.resolve_targets(targets) if id is not None)
        for targets in (article.related, article.links)
    )
    query = replace(query, article=article.summary)
    return QueryArticle(query, article.summary, (article.title, article.text), editorial, body_links)


def text_query_article(store: Store, text: str, vector: NDArray[np.float32]) -> QueryArticle:
    """Return the query article of a text to search for.

    Args:
        store: the store; hold a snapshot of it.
        text: the text.
        vector: its embedding as a query, L2-normalised, float32, shape (dimensions,).
    """
    terms = {language: extract_terms("", text, language) for language in store.languages()}
    return QueryArticle(with_text_scale(store, new_query(store, vector, terms, None)))


def _is_stored(store: Store, article: Article) -> bool:
    """Return whether the store contains an article with this id, title and text."""
    hashes = store.content_hashes([article.id]).get(article.id)
    return hashes is not None and hashes.content_hash == article.content_hash
