"""The block builder: from query articles to blocks."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np

from recommender.article import ArticleSummary, Recommendation
from recommender.blocks import explain, selection
from recommender.blocks.duplicates import DuplicateFinder, same_article
from recommender.blocks.eligibility import Eligibility
from recommender.blocks.explain import WhyNot
from recommender.blocks.lookup import stored_summaries
from recommender.blocks.query_article import QueryArticle
from recommender.blocks.selection import POOL_SIZE, Candidate, Draft, Selection
from recommender.filters import Condition
from recommender.learning.learn import make_ranker
from recommender.learning.ranker import Ranker
from recommender.ranking import scorer as scoring_parts
from recommender.ranking.query import CANDIDATES_PER_SIGNAL
from recommender.ranking.scorer import ScoreBreakdown, Scorer
from recommender.ranking.scoring import DECIMALS
from recommender.store import Store

FRESH_CANDIDATES = 200  # retrieved by each signal if age matters: fresh articles may rank lower


@dataclass(frozen=True, slots=True)
class BlockInputs:
    """The articles that determine a block: while they stay the same, so does the block.

    Attributes:
        pool: the ids of its links, of its candidates, and of their near-duplicates.
        min_relevance: the relevance that one more article needs to become a candidate.
        is_full: whether there were as many candidates as are needed; if not, any article may become one.
    """

    pool: tuple[str, ...]
    min_relevance: float
    is_full: bool


class BlockBuilder:
    """Builds blocks. Every call needs a snapshot of the store.

    Args:
        store: the store.
        eligibility: the settings, policy and date of all its blocks.
        ranker: ranks the candidates; None for that of the settings.
    """

    def __init__(self, store: Store, eligibility: Eligibility, ranker: Ranker | None = None) -> None:
        self._store = store
        self._eligibility = eligibility
        self._duplicates = DuplicateFinder(store)
        self._ranker = ranker or make_ranker(store, eligibility.settings.ranking)

    def build(self, query_articles: Sequence[QueryArticle], k: int, *, why: bool = False) -> list[list[Recommendation]]:
        """Return the block of each query article.

        Args:
            query_articles: the query articles.
            k: the maximum length of a block, 1 or more.
            why: whether to add the reasons of every link.
        """
        drafts = self._draft(query_articles, k)
        return [
            self._recommendations(query_article, draft, why=why)
            for query_article, draft in zip(query_articles, drafts, strict=True)
        ]

    def build_with_inputs(
        self, query_articles: Sequence[QueryArticle], k: int
    ) -> list[tuple[list[Recommendation], BlockInputs]]:
        """Return the block of each query article, and the articles that determine it."""
        return [
            (
                self._recommendations(query_article, draft, why=False),
                BlockInputs(
                    tuple(draft.pool | {link.summary.id for link in draft.links}), draft.min_relevance, draft.is_full
                ),
            )
            for query_article, draft in zip(query_articles, self._draft(query_articles, k), strict=True)
        ]

    def why_not(self, query_article: QueryArticle, id: str, k: int) -> WhyNot:
        """Return why an article of the index is not among the first `k` links of a block, or its position there."""
        (draft,) = self._draft([query_article], k)
        breakdown = self._breakdowns(query_article, [id])[id]
        return explain.why_not(self._store, self._eligibility, self._ranker, query_article, draft, breakdown, id, k)

    def _draft(self, query_articles: Sequence[QueryArticle], k: int) -> list[Draft]:
        check_length(k)
        self._duplicates.drop_stale_fingerprints()
        settings = self._eligibility.settings
        query_articles = [
            replace(item, query=replace(item.query, condition=self._eligibility.condition(item)))
            for item in query_articles
        ]
        n = max(FRESH_CANDIDATES if settings.half_life else CANDIDATES_PER_SIGNAL, k + POOL_SIZE)
        if settings.editorial != "only":
            self._ranker.prepare([item.query for item in query_articles], n)
        drafts = self._curated(query_articles, k)
        open_drafts = [
            (query_article, draft)
            for query_article, draft in zip(query_articles, drafts, strict=True)
            if not draft.no_block_reason
        ]
        if settings.editorial == "only":
            for query_article, draft in open_drafts:
                self._select(query_article, draft, [], k)
        elif open_drafts and self._store.count():
            self._select_ranked(open_drafts, k, n)
        for query_article, draft in open_drafts:
            if len(draft.links) < k and settings.fill != "none":
                self._fill(query_article, draft, k)
        return drafts

    def _curated(self, query_articles: Sequence[QueryArticle], k: int) -> list[Draft]:
        """Return a draft for each query article with its pins and editorial links, which stand first."""
        policy, settings = self._eligibility.policy, self._eligibility.settings
        drafts = [Draft(no_block_reason=self._eligibility.no_block_reason(item)) for item in query_articles]
        indices_by_condition: dict[Condition, list[int]] = {}
        for index, query_article in enumerate(query_articles):
            pins = policy.pins.get(query_article.query.id or "", ()) if not self._eligibility.plain else ()
            editorial = query_article.editorial if settings.editorial != "ignore" else ()
            drafts[index].via = dict.fromkeys(pins, "pin")
            for id in editorial:
                drafts[index].via.setdefault(id, "editorial")
            condition = replace(query_article.query.condition, exclude=frozenset())
            if settings.language is None:  # people may choose links in other languages
                condition = replace(condition, language=None)
            indices_by_condition.setdefault(condition, []).append(index)
        for condition, indices in indices_by_condition.items():
            ids = sorted({id for index in indices for id in drafts[index].via})
            eligible_ids = self._store.filter_ids(ids, condition) if ids else set()
            for index in indices:
                via, exclude = drafts[index].via, query_articles[index].query.condition.exclude
                curated_ids = [id for id in via if id in eligible_ids and id not in exclude]
                drafts[index].via = {id: via[id] for id in curated_ids[:k]}
        if ids := sorted({id for draft in drafts for id in draft.via}):
            summaries, scorer = stored_summaries(self._store, ids), Scorer(self._store.signals(ids))
            for query_article, draft in zip(query_articles, drafts, strict=True):
                draft.curated = self._candidates(query_article, list(draft.via), summaries, scorer)
        return drafts

    def _select_ranked(self, drafts: Sequence[tuple[QueryArticle, Draft]], k: int, n: int) -> None:
        """Select the links of blocks from rankings; retrieve more candidates for a block while they may change it."""
        total, half_life = self._store.count(), self._eligibility.settings.half_life
        rounds = [(drafts, n)]
        while rounds:
            drafts, n = rounds.pop()
            queries = [query_article.query for query_article, _ in drafts]
            scorer, rankings = self._ranker.rank(queries, n)
            ids = scorer.signals.ids
            depth = n if half_life else max(k, POOL_SIZE) * 5 // 4  # few blocks need summaries of more candidates
            summaries = stored_summaries(
                self._store, list({ids[row] for ranking in rankings for row in ranking.rows[:depth].tolist()})
            )
            for (query_article, draft), ranking in zip(drafts, rankings, strict=True):
                scored = list(zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True))
                candidates = [
                    self._candidate(query_article, summaries[ids[row]], raw_score, scorer, row)
                    for row, raw_score in scored[:depth]
                ]
                is_final = self._select(query_article, draft, candidates, k)
                if not is_final and len(scored) > depth:
                    more = stored_summaries(self._store, [ids[row] for row, _ in scored[depth:]])
                    candidates += [
                        self._candidate(query_article, more[ids[row]], raw_score, scorer, row)
                        for row, raw_score in scored[depth:]
                    ]
                    is_final = self._select(query_article, draft, candidates, k)
                if not is_final and n < total and len(scored) >= n:
                    rounds.append(([(query_article, draft)], 4 * n))  # singly, to limit memory

    def _select(self, query_article: QueryArticle, draft: Draft, ranked: list[Candidate], k: int) -> bool:
        """Select the links of a block from its curated links and its ranked candidates.

        Returns:
            Whether the block is final; if not, candidates that were not retrieved may change it.
        """
        settings, threshold = self._eligibility.settings, self._eligibility.score_threshold
        query, low_score_reason = query_article.query, partial(self._eligibility.low_score_reason, query_article.query)
        candidates = ranked
        if query_article.summary and not self._eligibility.plain:  # the article itself under another id
            candidates = [item for item in ranked if not same_article(query_article.summary, item.summary)]
        chosen = self._without_near_duplicates(
            query_article,
            selection.by_relevance(candidates) if settings.half_life else candidates,
            max(k, POOL_SIZE),
            draft.curated,
            low_score_reason,
        )
        diverse = selection.diversify(chosen.candidates, settings.diversity, k, query.cosine_spread)
        draft.links = [*draft.curated, *diverse][:k]
        draft.candidates, draft.exclusion_reasons = chosen.candidates, chosen.exclusion_reasons
        draft.pool = {item.summary.id for item in chosen.candidates} | {
            item.summary.id
            for item in candidates
            if item.summary.id in chosen.exclusion_reasons
            and not (settings.score_threshold and item.raw_score < threshold)
        }
        draft.is_full = chosen.is_full
        display = query.scale.display
        min_score = max(settings.min_score, display(threshold) if settings.score_threshold else 0.0)
        draft.min_relevance = chosen.candidates[-1].relevance if chosen.is_full else min_score
        if not ranked:
            return True
        last_score = ranked[-1].raw_score  # no other article has a higher raw score
        if low_score_reason(last_score):
            return True
        if settings.half_life:
            return chosen.is_full and min(item.relevance for item in chosen.candidates) > display(last_score)
        return chosen.is_full and min(item.raw_score for item in chosen.candidates) > last_score

    def _without_near_duplicates(
        self,
        query_article: QueryArticle,
        candidates: list[Candidate],
        n: int,
        before: list[Candidate],
        low_score_reason: selection.LowScoreReason | None,
    ) -> Selection:
        """Return the first `n` candidates without near-duplicates and low scores, see `selection.select`."""
        query, article = query_article.query, None
        if query_article.summary:
            article = Candidate(query_article.summary, query.vector, query.term_ids, math.inf, 1.0)
        near_duplicates_of = None
        if self._eligibility.settings.drop_near_duplicates:
            near_duplicates_of = self._duplicates.among(
                [*before, *candidates], article, query_article.text, query.cosine_spread
            )
        return selection.select(
            candidates,
            n,
            article=article,
            before=before,
            near_duplicates_of=near_duplicates_of,
            low_score_reason=low_score_reason,
        )

    def _fill(self, query_article: QueryArticle, draft: Draft, k: int) -> None:
        """Fill a short block with the most recent articles."""
        condition, summary = query_article.query.condition, query_article.summary
        if self._eligibility.settings.fill == "section":
            if not (summary and summary.section):
                return
            condition = replace(condition, where=(*condition.where, ("section", (summary.section,))))
        condition = replace(condition, exclude=condition.exclude | {link.summary.id for link in draft.links})
        n, previous_count = 2 * k + POOL_SIZE, 0
        while True:
            ids = self._store.most_recent(condition, n)
            scorer = Scorer(self._store.signals(ids))
            candidates = self._candidates(query_article, ids, stored_summaries(self._store, ids), scorer)
            if summary:
                candidates = [item for item in candidates if not same_article(summary, item.summary)]
            chosen = self._without_near_duplicates(query_article, candidates, k - len(draft.links), draft.links, None)
            if chosen.is_full or len(ids) < n or len(ids) == previous_count:
                break
            n, previous_count = 4 * n, len(ids)
        draft.links = [*draft.links, *chosen.candidates]
        draft.via |= {item.summary.id: "fill" for item in chosen.candidates}

    def _candidates(
        self, query_article: QueryArticle, ids: Sequence[str], summaries: Mapping[str, ArticleSummary], scorer: Scorer
    ) -> list[Candidate]:
        """Return articles as candidates, in the order of the ids, whatever their scores are."""
        if not ids:
            return []
        row_of = {id: row for row, id in enumerate(scorer.signals.ids)}
        rows = np.array([row_of[id] for id in ids], dtype=np.int64)
        scores = self._ranker.scores(query_article.query, scorer, rows)
        return [
            self._candidate(query_article, summaries[id], raw_score, scorer, row)
            for id, raw_score, row in zip(ids, scores.tolist(), rows.tolist(), strict=True)
        ]

    def _candidate(
        self, query_article: QueryArticle, summary: ArticleSummary, raw_score: float, scorer: Scorer, row: int
    ) -> Candidate:
        relevance, half_life = query_article.query.scale.display(raw_score), self._eligibility.settings.half_life
        if half_life is not None and summary.published is not None:
            start = self._eligibility.as_of or self._eligibility.reference_date(query_article)
            relevance *= selection.freshness((start - summary.published).total_seconds() / 86400, half_life)
        return Candidate(summary, scorer.signals.vectors[row], scorer.term_ids(row), raw_score, relevance)

    def _recommendations(self, query_article: QueryArticle, draft: Draft, *, why: bool) -> list[Recommendation]:
        breakdowns = {}
        if why and draft.links:
            ids = [link.summary.id for link in draft.links]
            breakdowns = self._breakdowns(query_article, ids)
        return [
            Recommendation(
                id=link.summary.id,
                title=link.summary.title,
                url=link.summary.url,
                published=link.summary.published,
                section=link.summary.section,
                tags=link.summary.tags,
                metadata=_copy_metadata(link.summary.metadata),
                score=query_article.query.scale.display(link.raw_score),
                via=draft.via.get(link.summary.id, "match"),
                reasons=explain.link_reasons(self._store, query_article, link.summary, breakdowns[link.summary.id])
                if breakdowns
                else None,
            )
            for link in draft.links
        ]

    def _breakdowns(self, query_article: QueryArticle, ids: Sequence[str]) -> dict[str, ScoreBreakdown]:
        """Return the parts of the raw scores of articles, by id."""
        breakdowns = scoring_parts.explain(self._store, query_article.query, ids)
        groups_by_id = self._ranker.contributions(query_article.query, ids)
        return {
            id: replace(breakdown, raw_score=round(sum(groups_by_id[id].values()), DECIMALS), groups=groups_by_id[id])
            if id in groups_by_id
            else breakdown
            for id, breakdown in breakdowns.items()
        }


def check_length(k: int) -> None:
    """Raise TypeError or ValueError if `k` is no length of a block."""
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise TypeError(f"k is {k!r}; it must be a whole number")
    if k < 1:
        raise ValueError(f"k is {k}; it must be 1 or more")


def _copy_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy that the caller may change: one summary is used in many blocks."""
    if not any(isinstance(value, dict | list) for value in metadata.values()):
        return dict(metadata)
    copy: dict[str, Any] = json.loads(json.dumps(dict(metadata)))
    return copy
