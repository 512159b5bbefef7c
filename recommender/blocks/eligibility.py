"""What holds for blocks that are made together, and so which articles may stand in them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from recommender.article import ArticleSummary
from recommender.blocks.policy import Policy, Settings
from recommender.blocks.selection import same_url
from recommender.filters import Condition, Where, matches
from recommender.ranking.matching import Query, stored_queries
from recommender.store import Store
from recommender.text.dates import subtract_age

# What a free text is answered with: what fits it best, one by one.
SEARCH_SETTINGS = Settings(editorial="ignore", floor=False, variety=0.0, language="any")
# The ranking as it was scored.
PLAIN_SETTINGS = Settings(editorial="ignore", copies=False, floor=False, variety=0.0)


@dataclass(frozen=True, slots=True)
class QueryArticle:
    """What a block is made for.

    Attributes:
        query: what articles are compared with.
        article: what is known of its article; None for a free text.
        text: title and text of an article that the index does not hold, or holds in another version.
        editorial: the ids of the articles that its own editorial links lead to.
        linked: the ids of those that its body links to.
    """

    query: Query
    article: ArticleSummary | None = None
    text: tuple[str, str] | None = None
    editorial: Sequence[str] = ()
    linked: Sequence[str] = ()


def stored_query_articles(store: Store, ids: Sequence[str]) -> list[QueryArticle]:
    """Return what the blocks of stored articles are made for, in the order of the ids; of those that are there.

    Args:
        store: the store; hold a snapshot of it.
        ids: the articles.
    """
    # Whole, by which one of its own links that is gone is told.
    articles, queries = store.articles(ids), stored_queries(store, ids)
    editorial, linked = store.links("related", ids), store.links("links", ids)
    return [
        QueryArticle(queries[id], articles[id].summary, None, editorial.get(id, ()), linked.get(id, ()))
        for id in ids
        if id in queries
    ]


@dataclass(frozen=True)  # no slots: what follows from the rest is kept with it
class Eligibility:
    """What holds for all blocks that are made together.

    Attributes:
        policy: what is decided about the blocks of the index.
        settings: how they are made.
        floor: the least exact score of a link.
        now: articles with a later date are withheld.
        as_of: what age counts from where it matters to the order; None for the article's own date.
        exclude: ids of articles that are not wanted.
        plain: leave the ranking as it was scored; what may not be shown at all is left out even so.
    """

    policy: Policy
    settings: Settings
    score_threshold: float
    now: datetime
    as_of: datetime | None = None
    exclude: frozenset[str] = frozenset()
    plain: bool = False

    @cached_property
    def partners(self) -> dict[str, set[str]]:
        """Return for each article that is banned from meeting others which these are."""
        found: dict[str, set[str]] = {}
        for one, other in self.policy.pairs:
            found.setdefault(one, set()).add(other)
            found.setdefault(other, set()).add(one)
        return found

    def since(self, subject: QueryArticle, given: datetime | None = None) -> datetime:
        """Return what age is counted from: what was given, else the article's date, else now."""
        if given is not None:
            return given
        return (subject.article.published if subject.article else None) or self.now

    def condition(self, subject: QueryArticle) -> Condition:
        """Return which articles may stand in a block."""
        settings, policy, article = self.settings, self.policy, subject.article
        own = subject.query.id
        where: Where = settings.where
        where += (("section", settings.section),) if settings.section else ()
        where += (("tags", settings.tags),) if settings.tags else ()
        without = [rule.where for rule in policy.rules if rule.never_recommended]
        if article:
            without += [rule.never_with for rule in policy.rules if rule.never_with and matches(rule.where, article)]
            without += [rule.where for rule in policy.rules if rule.never_with and matches(rule.never_with, article)]
            if settings.sections == "same":
                where += (("section", (article.section or "",)),)
            elif settings.sections == "other" and article.section:
                without.append((("section", (article.section,)),))
        after = [datetime.fromisoformat(settings.after)] if settings.after else []
        if settings.age:
            start = self.now if settings.age_from == "today" else self.since(subject)
            after += [earliest] if (earliest := subtract_age(start, settings.age)) else []
        before = [datetime.fromisoformat(settings.before)] if settings.before else []
        if settings.not_newer:
            before.append(self.since(subject))
        exclude = {*self.exclude, *policy.banned, *self.partners.get(own or "", ())}
        exclude |= {own} if own is not None else set()
        if not settings.body_links:
            exclude |= set(subject.linked)
        language = subject.query.language if settings.language is None else settings.language
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

    def no_block_reason(self, subject: QueryArticle) -> str:
        """Say why an article has no block; an empty text if it has one."""
        if subject.article is None:
            return ""
        if not subject.article.block:
            return "the article has no block: its source says `block: false`"
        for rule in self.policy.rules:
            if rule.no_block and matches(rule.where, subject.article):
                return f"the article has no block by the rule {rule.name!r}"
        return ""

    def exclusion_reason(self, store: Store, subject: QueryArticle, id: str) -> str:
        """Say which ban, rule or filter keeps an article out of a block; an empty text if none does."""
        policy, own = self.policy, subject.query.id or ""
        if id == own:
            return "it is the article itself"
        if id in policy.banned:
            return "it is banned from all blocks"
        if id in self.partners.get(own, ()):
            return "the two are banned from one another"
        card = store.summaries([id])[id]
        for rule in policy.rules:
            if rule.never_recommended and matches(rule.where, card):
                return f"it is never recommended, by the rule {rule.name!r}"
            sides = ((rule.where, rule.never_with), (rule.never_with, rule.where))
            if rule.never_with and subject.article:
                for one, other in sides:
                    if matches(one, subject.article) and matches(other, card):
                        return f"the two never meet, by the rule {rule.name!r}"
        if id in self.exclude:
            return "it was excluded"
        if not self.settings.body_links and id in subject.linked:
            return "the article's body links to it already"
        wanted = self.condition(subject)
        for part, sentence in (
            ({"recommendable": wanted.recommendable}, "its source says `recommend: false`"),
            ({"published_by": wanted.published_by}, "its date lies in the future"),
            ({"language": wanted.language}, f"it is not in the language {wanted.language}"),
            ({"where": wanted.where}, "it does not have the section, tags or fields that are asked for"),
            ({"without": wanted.without}, "it stands in the article's own section"),
            ({"after": wanted.after}, "it is older than what is asked for, or has no date"),
            ({"before": wanted.before}, "it is newer than what is asked for, or has no date"),
        ):
            if not store.filter_ids([id], Condition(**part)):
                return sentence
        if subject.article and not self.plain and same_url(subject.article, card):
            return "it has the url of the article itself"
        return ""
