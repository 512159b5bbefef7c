"""Eligibility: the settings, policy and date that decide which articles may appear in a block."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from recommender.blocks.lookup import as_names
from recommender.blocks.policy import Policy, Settings, moment
from recommender.blocks.query_article import QueryArticle
from recommender.errors import PolicyError
from recommender.filters import Condition, Where, matches
from recommender.learning.learn import LEARNED_RANKING
from recommender.ranking.query import Query, display_scale
from recommender.store import Store
from recommender.text.dates import subtract_age

# Search results: best first, of every language.
SEARCH_SETTINGS = Settings(ranking="content", editorial="ignore", score_threshold=False, diversity=0.0, language="any")
# The ranking as it was scored.
PLAIN_SETTINGS = Settings(
    ranking="content", editorial="ignore", drop_near_duplicates=False, score_threshold=False, diversity=0.0
)


@dataclass(frozen=True)  # no slots, for cached_property
class Eligibility:
    """The settings, policy and date that decide which articles may appear in a block.

    Attributes:
        policy: pins, bans and rules of the index.
        settings: the settings of the blocks, with the options of the call.
        score_threshold: the minimum raw score of a link.
        now: articles with a later date are excluded.
        as_of: the time from which `half_life` counts; None for the query article's date.
        exclude: ids of articles to leave out.
        plain: leave out nothing from the ranking but ineligible articles.
    """

    policy: Policy
    settings: Settings
    score_threshold: float
    now: datetime
    as_of: datetime | None = None
    exclude: frozenset[str] = frozenset()
    plain: bool = False

    @cached_property
    def banned_partners(self) -> dict[str, set[str]]:
        """By article the articles that are banned from its block."""
        partners: dict[str, set[str]] = {}
        for first, second in self.policy.pairs:
            partners.setdefault(first, set()).add(second)
            partners.setdefault(second, set()).add(first)
        return partners

    def reference_date(self, query_article: QueryArticle) -> datetime:
        """Return the date from which the age of links counts: the query article's, or now if it has none."""
        return (query_article.summary.published if query_article.summary else None) or self.now

    def condition(self, query_article: QueryArticle) -> Condition:
        """Return the filter on the articles that may appear in a block."""
        settings, policy, summary = self.settings, self.policy, query_article.summary
        id = query_article.query.id
        where: Where = settings.where
        where += (("section", settings.section),) if settings.section else ()
        where += (("tags", settings.tags),) if settings.tags else ()
        without = [rule.where for rule in policy.rules if rule.never_recommended]
        if summary:
            without += [rule.never_with for rule in policy.rules if rule.never_with and matches(rule.where, summary)]
            without += [rule.where for rule in policy.rules if rule.never_with and matches(rule.never_with, summary)]
            if settings.sections == "same":
                where += (("section", (summary.section or "",)),)
            elif settings.sections == "other" and summary.section:
                without.append((("section", (summary.section,)),))
        after = [datetime.fromisoformat(settings.after)] if settings.after else []
        if settings.age:
            start = self.now if settings.age_from == "today" else self.reference_date(query_article)
            after += [earliest] if (earliest := subtract_age(start, settings.age)) else []
        before = [datetime.fromisoformat(settings.before)] if settings.before else []
        if settings.not_newer:
            before.append(self.reference_date(query_article))
        exclude = {*self.exclude, *policy.banned, *self.banned_partners.get(id or "", ())}
        exclude |= {id} if id is not None else set()
        if not settings.body_links:
            exclude |= set(query_article.body_links)
        language = query_article.query.language if settings.language is None else settings.language
        return Condition(
            language=None if language == "any" else language,
            where=where,
            without=tuple(dict.fromkeys(without)),
            after=math.ceil(max(after).timestamp()) if after else None,
            before=math.floor(min(before).timestamp()) if before else None,
            published_by=math.floor(self.now.timestamp()),
            recommendable=True,
            exclude=frozenset(exclude),
        )

    def no_block_reason(self, query_article: QueryArticle) -> str:
        """Return why an article has no block; an empty text if it has one."""
        summary = query_article.summary
        if summary is None:
            return ""
        if not summary.block:
            return "the article has no block: its source says `block: false`"
        for rule in self.policy.rules:
            if rule.no_block and matches(rule.where, summary):
                return f"the article has no block by the rule {rule.name!r}"
        return ""

    def low_score_reason(self, query: Query, raw_score: float) -> str:
        """Return why a raw score is too low for a link; an empty text if it is not."""
        if self.settings.score_threshold and raw_score < self.score_threshold:
            return (
                f"it fits hardly better than an article drawn at random "
                f"({raw_score:.2f}, needed {self.score_threshold:.2f})"
            )
        score = query.scale.display(raw_score)
        if score < self.settings.min_score:
            return f"its score {score:.2f} is below the minimum score {self.settings.min_score:g}"
        return ""


def make_eligibility(
    store: Store,
    policy: Policy,
    options: Mapping[str, Any],
    *,
    defaults: Settings | None = None,
    plain: bool = False,
) -> Eligibility:
    """Return the eligibility for a call with these options.

    Args:
        store: the store; hold a snapshot of it.
        policy: the policy of the index.
        options: the options, see `Options`.
        defaults: the settings that the options override; None for those of the policy.
        plain: see `Eligibility`.

    Raises:
        PolicyError: there is no such option, or it cannot have this value.
    """
    setting_options = dict(options)
    now, as_of, exclude = (setting_options.pop(name, None) for name in ("now", "as_of", "exclude"))
    excluded_names = [] if exclude is None else list(dict.fromkeys(as_names(exclude)))
    excluded_ids = store.resolve_targets(excluded_names) if excluded_names else []
    if options.get("ranking") == "learned" and store.document(LEARNED_RANKING) is None:
        raise PolicyError(
            f"The index {store.name} has no learned ranking. Train one with `recommender learn`, or leave out the "
            f"option ranking."
        )
    is_measured = bool(store.settings().get("scale"))  # a small archive has no score threshold
    return Eligibility(
        policy=policy,
        settings=(defaults or policy.settings).updated(setting_options),
        score_threshold=display_scale(store).score_threshold if is_measured else -math.inf,
        now=moment(now, "now") if now else datetime.now(UTC),
        as_of=moment(as_of, "as_of") if as_of else None,
        exclude=frozenset(id for id in (*excluded_names, *excluded_ids) if id),
        plain=plain,
    )
