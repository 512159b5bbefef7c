"""Explanations: the reasons of a link, and why an article is not in a block."""

from dataclasses import dataclass, replace

from recommender.article import ArticleSummary, Reasons
from recommender.blocks.duplicates import are_translations, same_page
from recommender.blocks.eligibility import Eligibility
from recommender.blocks.lookup import stored_summaries, stored_text
from recommender.blocks.query_article import QueryArticle
from recommender.blocks.selection import Draft, diversify
from recommender.filters import Condition, matches
from recommender.learning.ranker import Ranker
from recommender.ranking.query import CANDIDATES_PER_SIGNAL, Query
from recommender.ranking.scorer import ScoreBreakdown
from recommender.store import Store
from recommender.text.terms import surface_forms

MAX_WORDS = 5  # shared words in the reasons of a link


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why an article is not in a block.

    Attributes:
        id: the article.
        score: its display score, from 0 to 1.
        rank: its rank among all articles by score alone, from 1; for the query article the rank that its score would
            have.
        position: its position in the block, from 1; None if it is not in it.
        reason: the exclusion reason, as a sentence; empty if it is in the block.
        reasons: the parts of its score.
    """

    id: str
    score: float
    rank: int
    position: int | None
    reason: str
    reasons: Reasons


def why_not(
    store: Store,
    eligibility: Eligibility,
    ranker: Ranker,
    query_article: QueryArticle,
    draft: Draft,
    breakdown: ScoreBreakdown,
    id: str,
    k: int,
) -> WhyNot:
    """Return why an article of the index is not among the first `k` links of a block, or its position there.

    Args:
        store: the store; hold a snapshot of it.
        eligibility: the settings, policy and date of the block.
        ranker: of the block.
        query_article: the query article.
        draft: its block.
        breakdown: the parts of the article's raw score.
        id: the article.
        k: the length of the block.
    """
    query = query_article.query
    summary = stored_summaries(store, [id])[id]
    block_ids = [link.summary.id for link in draft.links]
    position = block_ids.index(id) + 1 if id in block_ids else None
    reason = ""
    if position is None:
        reason = (
            draft.no_block_reason
            or exclusion_reason(store, eligibility, query_article, summary)
            or draft.exclusion_reasons.get(id)
            or _outranked_reason(eligibility, query, draft, id, breakdown.raw_score, k)
        )
    return WhyNot(
        id=id,
        score=query.scale.display(breakdown.raw_score),
        rank=_rank(store, ranker, query, id, breakdown.raw_score),
        position=position,
        reason=reason,
        reasons=link_reasons(store, query_article, summary, breakdown),
    )


def link_reasons(
    store: Store, query_article: QueryArticle, summary: ArticleSummary, breakdown: ScoreBreakdown
) -> Reasons:
    """Return the reasons of a link: the parts of its score, shared words and tags, and its age.

    Args:
        store: the store; hold a snapshot of it.
        query_article: the query article.
        summary: the article that the link leads to.
        breakdown: the parts of its raw score.
    """
    article = query_article.summary
    days = None
    if article and article.published and summary.published:
        days = round((summary.published - article.published).total_seconds() / 86400)
    tags = {tag.casefold() for tag in article.tags} if article else set[str]()
    (language,) = store.signals([summary.id]).languages
    words = surface_forms(*stored_text(store, summary.id), language)
    return Reasons(
        raw_score=breakdown.raw_score,
        dense=breakdown.dense,
        lexical=breakdown.lexical,
        hubness=breakdown.hubness,
        groups=dict(breakdown.groups),
        words=tuple((words.get(term, term), part) for term, part in breakdown.terms[:MAX_WORDS]),
        tags=tuple(tag for tag in summary.tags if tag.casefold() in tags),
        days=days,
    )


def exclusion_reason(
    store: Store, eligibility: Eligibility, query_article: QueryArticle, summary: ArticleSummary
) -> str:
    """Return which ban, rule or filter excludes an article from a block; an empty text if none does."""
    policy, query_id, id = eligibility.policy, query_article.query.id or "", summary.id
    if id == query_id:
        return "it is the article itself"
    if id in policy.banned:
        return "it is banned from all blocks"
    if id in eligibility.banned_partners.get(query_id, ()):
        return "the two are banned from one another"
    for rule in policy.rules:
        if rule.never_recommended and matches(rule.where, summary):
            return f"it is never recommended, by the rule {rule.name!r}"
        sides = ((rule.where, rule.never_with), (rule.never_with, rule.where))
        if rule.never_with and query_article.summary:
            for query_side, link_side in sides:
                if matches(query_side, query_article.summary) and matches(link_side, summary):
                    return f"the two never meet, by the rule {rule.name!r}"
    if id in eligibility.exclude:
        return "it was excluded"
    if not eligibility.settings.body_links and id in query_article.body_links:
        return "the article's body links to it already"
    condition = eligibility.condition(query_article)
    for part, sentence in (
        (Condition(recommendable=condition.recommendable), "its source says `recommend: false`"),
        (Condition(published_by=condition.published_by), "its date is in the future"),
        (Condition(language=condition.language), f"it is not in the language {condition.language}"),
        (Condition(where=condition.where), "it does not have the section, tags or fields that are required"),
        (Condition(without=condition.without), "it is in the article's section"),
        (Condition(after=condition.after), "it is older than allowed, or has no date"),
        (Condition(before=condition.before), "it is newer than allowed, or has no date"),
    ):
        if not store.filter_ids([id], part):
            return sentence
    if query_article.summary and not eligibility.plain and same_page(query_article.summary, summary):
        return "it has the url of the article itself"
    if query_article.summary and not eligibility.plain and are_translations(query_article.summary, summary):
        return "it is a translation of the article"
    return ""


def _outranked_reason(eligibility: Eligibility, query: Query, draft: Draft, id: str, raw_score: float, k: int) -> str:
    """Return why an article that nothing excludes is not in a block."""
    settings = eligibility.settings
    if settings.editorial == "only":
        return "the block contains editorial links only"
    if reason := eligibility.low_score_reason(query, raw_score):
        return reason
    candidates = diversify(draft.candidates, settings.diversity, len(draft.candidates), query.cosine_spread)
    order = [candidate.summary.id for candidate in candidates]
    number = f": it is number {order.index(id) + 1} of the candidates that remain" if id in order else ""
    return f"{k} other{'s come' if k > 1 else ' comes'} before it{number}"


def _rank(store: Store, ranker: Ranker, query: Query, id: str, raw_score: float) -> int:
    """Return the rank of an article with this raw score among all articles, from 1."""
    n, total = 4 * CANDIDATES_PER_SIGNAL, store.count()
    query = replace(query, condition=Condition())
    while True:
        scorer, (ranking,) = ranker.rank([query], n)
        scores = scorer.with_ids(ranking)
        ranks = {other: number for number, (other, _) in enumerate(scores, start=1)}
        if id in ranks:
            return ranks[id]
        if n >= total or id == query.id:  # the query article is never its own candidate
            return 1 + sum(score > raw_score for _, score in scores)
        n *= 4
