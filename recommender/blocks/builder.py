"""From a query to its block: what may stand in it, what people put there, and how the rest is chosen."""

import json
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, permutations
from numbers import Integral
from typing import Any

import numpy as np

from recommender.article import ArticleSummary, Reasons, Recommendation
from recommender.blocks import selection
from recommender.blocks.eligibility import Eligibility, QueryArticle
from recommender.blocks.selection import POOL, Candidate
from recommender.errors import IndexDamagedError
from recommender.filters import Condition
from recommender.ranking.matching import CANDIDATES_PER_SIGNAL, Query, ScoreBreakdown, Scorer, explain, rank, rank_by
from recommender.ranking.scoring import BOTH
from recommender.store import Store
from recommender.text import near_duplicates
from recommender.text.terms import surface_forms
from recommender.text.urls import normalise_url

FRESH_CANDIDATES = 200  # proposed by each signal where age counts: what is fresh may be further down
WORDS = 5  # shared words that are named
REMEMBERED = 1024  # articles whose words are kept in memory for telling copies


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why an article is not in a block.

    Attributes:
        id: the article.
        score: how well it fits, from 0 to 1.
        rank: its place among all articles by score alone, 1 for the first; of the query article itself the place that
            its score would have.
        place: its place in the block, 1 for the first, if it is in it.
        reason: what kept it out, as a sentence; empty if it is in it.
        reasons: what its score is made of.
    """

    id: str
    score: float
    rank: int
    place: int | None
    reason: str
    reasons: Reasons


@dataclass(frozen=True, slots=True)
class BlockInputs:
    """The articles that a block follows from: as long as they are the same, so is the block.

    Attributes:
        pool: the ids of its links, of those that it was chosen from, and of their copies.
        least: the least relevance with which one more article would be one of them.
        full: whether all that may become one are near; false for a block with fewer to choose from than are wanted.
    """

    pool: tuple[str, ...]
    least: float
    full: bool


@dataclass(slots=True)
class _Made:
    """A block, and why other candidates are not in it."""

    links: list[Candidate] = field(default_factory=list)
    via: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    left: list[Candidate] = field(default_factory=list)  # what it was chosen from, by fit
    pool: set[str] = field(default_factory=set)  # the ids of these and of their copies
    full: bool = False  # whether there were as many to choose from as are wanted
    least: float = 0.0  # the least relevance with which one more would be chosen from too
    barred: str = ""  # why there is no block at all


class BlockBuilder:
    """Makes blocks. Every call holds a snapshot of the store that the caller opened.

    Args:
        store: the store.
        frame: what holds for all of the blocks.
    """

    def __init__(self, store: Store, frame: Eligibility) -> None:
        self._store = store
        self.frame = frame
        self._prints: OrderedDict[str, near_duplicates.Fingerprint] = OrderedDict()
        self._change = -1  # of the store that these are of

    def build(self, subjects: Sequence[QueryArticle], k: int, *, why: bool = False) -> list[list[Recommendation]]:
        """Return the block of each subject.

        Args:
            subjects: what blocks are made for.
            k: how long they are at most, 1 or more.
            why: give the reasons of every link.
        """
        made = self._make(subjects, k)
        return [self._shown(subject, of_it, why=why) for subject, of_it in zip(subjects, made, strict=True)]

    def build_with_inputs(
        self, subjects: Sequence[QueryArticle], k: int
    ) -> list[tuple[list[Recommendation], BlockInputs]]:
        """Return the block of each subject, and which articles it follows from."""
        return [
            (
                self._shown(subject, made, why=False),
                BlockInputs(tuple(made.pool | {link.summary.id for link in made.links}), made.least, made.full),
            )
            for subject, made in zip(subjects, self._make(subjects, k), strict=True)
        ]

    def why_not(self, subject: QueryArticle, id: str, k: int) -> WhyNot:
        """Say why an article of the index is not among the first `k` links of a block, or where it is."""
        (made,) = self._make([subject], k)
        parts = explain(self._store, subject.query, [id])[id]
        reasons = self._reasons(subject, self._cards([id])[id], parts)
        places = [link.summary.id for link in made.links]
        place = places.index(id) + 1 if id in places else None
        reason = (
            ""
            if place
            else made.barred or self.frame.exclusion_reason(self._store, subject, id) or made.dropped.get(id, "")
        )
        if not place and not reason:
            reason = self._outdone(subject, made, id, parts.raw_score, k)
        score = subject.query.scale.display(parts.raw_score)
        return WhyNot(id, score, self._rank(subject.query, id, parts.raw_score), place, reason, reasons)

    def _outdone(self, subject: QueryArticle, made: _Made, id: str, exact: float, k: int) -> str:
        """Say what came before an article that nothing keeps out of a block."""
        settings = self.frame.settings
        if settings.editorial == "only":
            return "only the source's own links are shown"
        if reason := self._misfit(subject, exact):
            return reason
        order = [
            one.summary.id
            for one in selection.diversify(made.left, settings.variety, len(made.left), subject.query.cosine_spread)
        ]
        further = f": it is number {order.index(id) + 1} of what is left to choose from" if id in order else ""
        return f"{k} other{'s come' if k > 1 else ' comes'} before it{further}"

    # How a block is made

    def _make(self, subjects: Sequence[QueryArticle], k: int) -> list[_Made]:
        check_length(k)
        total, (_, change, _) = self._store.count(), self._store.revision()
        if change != self._change:
            self._prints.clear()
            self._change = change
        made = [_Made(barred=self.frame.no_block_reason(subject)) for subject in subjects]
        asked = [
            replace(subject, query=replace(subject.query, condition=self.frame.condition(subject)))
            for subject in subjects
        ]
        heads, via = self._heads(asked, k)
        for of_it, own_via in zip(made, via, strict=True):
            of_it.via = own_via
        only = self.frame.settings.editorial == "only"
        width = max(FRESH_CANDIDATES if self.frame.settings.half_life else CANDIDATES_PER_SIGNAL, k + POOL)
        open_places = [place for place, of_it in enumerate(made) if not of_it.barred]
        for place in open_places if only else ():
            self._choose(made[place], asked[place], heads[place], [], k)
        rounds = [] if only else [(open_places, width)]
        while total and rounds:
            waiting, n = rounds.pop()
            if not waiting:
                continue
            found, (rankings,) = rank_by(self._store, [asked[place].query for place in waiting], n, [BOTH])
            ids = found.signals.ids
            # Rarely are more looked at than a few beyond those that are needed.
            depth = n if self.frame.settings.half_life else max(k, POOL) * 5 // 4
            cards = self._cards(list({ids[row] for ranking in rankings for row in ranking.rows[:depth].tolist()}))
            for place, ranking in zip(waiting, rankings, strict=True):
                subject, before = asked[place], heads[place]
                pairs = list(zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True))
                candidates = [
                    self._candidate(subject, cards[ids[row]], exact, found, row) for row, exact in pairs[:depth]
                ]
                enough = self._choose(made[place], subject, before, candidates, k)
                if not enough and len(pairs) > depth:
                    more = self._cards([ids[row] for row, _ in pairs[depth:]])
                    candidates += [
                        self._candidate(subject, more[ids[row]], exact, found, row) for row, exact in pairs[depth:]
                    ]
                    enough = self._choose(made[place], subject, before, candidates, k)
                if not enough and n < total and len(pairs) >= n:
                    rounds.append(([place], 4 * n))  # one at a time: many at once would hold much in memory
        for place, of_it in enumerate(made):
            if not of_it.barred and len(of_it.links) < k and self.frame.settings.fill != "none":
                self._fill(of_it, asked[place], k)
        return made

    def _cards(self, ids: Sequence[str]) -> dict[str, ArticleSummary]:
        """Return the cards of articles that the store has named."""
        cards = self._store.summaries(ids)
        if missing := set(ids) - cards.keys():
            raise _not_held(min(missing))
        return cards

    def _choose(
        self, made: _Made, subject: QueryArticle, before: list[Candidate], ranked: list[Candidate], k: int
    ) -> bool:
        """Fill in a block of what people put first and the ranking; return False if more candidates may change it."""
        settings, own = self.frame.settings, self._own(subject)
        candidates = ranked
        if own and not self.frame.plain:  # the article itself under another id
            candidates = [one for one in ranked if not selection.same_page(own, one)]
        need = max(k, POOL)
        chosen = selection.select(
            selection.by_relevance(candidates) if settings.half_life else candidates,
            need,
            article=own,
            before=before,
            copies_of=self._copies_of(subject, own, [*before, *candidates]) if settings.copies else None,
            misfit=partial(self._misfit, subject),
        )
        made.links = [*before, *selection.diversify(chosen.kept, settings.variety, k, subject.query.cosine_spread)][:k]
        made.dropped = chosen.dropped
        made.left = chosen.kept
        made.pool = {one.summary.id for one in chosen.kept} | {
            one.summary.id
            for one in candidates
            if one.summary.id in chosen.dropped and not (settings.floor and one.raw_score < self.frame.score_threshold)
        }
        made.full = chosen.full
        display = subject.query.scale.display
        least = max(settings.min_score, display(self.frame.score_threshold) if settings.floor else 0.0)
        made.least = chosen.kept[-1].relevance if chosen.full else least
        if not ranked:
            return True
        last = ranked[-1].raw_score  # none that was not proposed has a higher score
        if self._misfit(subject, last):
            return True
        if settings.half_life:
            return chosen.full and min(one.relevance for one in chosen.kept) > display(last)
        return chosen.full and min(one.raw_score for one in chosen.kept) > last

    def _misfit(self, subject: QueryArticle, exact: float) -> str:
        """Say why a link that its score puts into a block may not have this one; an empty text if it may."""
        settings = self.frame.settings
        if settings.floor and exact < self.frame.score_threshold:
            return selection.too_low(exact, self.frame.score_threshold)
        score = subject.query.scale.display(exact)
        if score < settings.min_score:
            return f"its score {score:.2f} is less than {settings.min_score:g}, the least that is asked for"
        return ""

    def _fill(self, made: _Made, subject: QueryArticle, k: int) -> None:
        """Top a short block up with the articles published last."""
        condition = subject.query.condition
        if self.frame.settings.fill == "section":
            if not (subject.article and subject.article.section):
                return
            condition = replace(condition, where=(*condition.where, ("section", (subject.article.section,))))
        taken = {link.summary.id for link in made.links}
        condition = replace(condition, exclude=condition.exclude | taken)
        asked, found = 2 * k + POOL, 0
        while True:
            ids = self._store.most_recent(condition, asked)
            cards, recent = self._cards(ids), Scorer(self._store.signals(ids))
            row_of = {id: row for row, id in enumerate(recent.signals.ids)}
            candidates = self._candidates(subject, ids, cards, recent, row_of)
            own = self._own(subject)
            chosen = selection.select(
                (one for one in candidates if not (own and selection.same_page(own, one))),
                k - len(made.links),
                article=own,
                before=made.links,
                copies_of=self._copies_of(subject, own, [*made.links, *candidates])
                if self.frame.settings.copies
                else None,
                misfit=None,
            )
            if chosen.full or len(ids) < asked or len(ids) == found:
                break
            asked, found = 4 * asked, len(ids)
        made.links = [*made.links, *chosen.kept]
        made.via |= {one.summary.id: "fill" for one in chosen.kept}

    def _heads(self, subjects: Sequence[QueryArticle], k: int) -> tuple[list[list[Candidate]], list[dict[str, str]]]:
        """Return for each subject the links that people put first, and by what they are there."""
        editorial = self.frame.settings.editorial != "ignore"
        via: list[dict[str, str]] = []
        groups: dict[Condition, list[int]] = {}
        for place, subject in enumerate(subjects):
            pins = self.frame.policy.pins.get(subject.query.id or "", ()) if not self.frame.plain else ()
            via.append(dict.fromkeys(pins, "pin"))
            for id in subject.editorial if editorial else ():
                via[place].setdefault(id, "editorial")
            condition = replace(subject.query.condition, exclude=frozenset())
            if self.frame.settings.language is None:  # nobody asked for one, and people chose these
                condition = replace(condition, language=None)
            groups.setdefault(condition, []).append(place)
        for condition, places in groups.items():
            ids = sorted({id for place in places for id in via[place]})
            admitted = self._store.filter_ids(ids, condition) if ids else set()
            for place in places:
                exclude = subjects[place].query.condition.exclude
                wanted = [id for id in via[place] if id in admitted and id not in exclude]
                via[place] = {id: via[place][id] for id in wanted[:k]}
        named = sorted({id for of_it in via for id in of_it})
        if not named:
            return [[] for _ in subjects], via
        cards, found = self._cards(named), Scorer(self._store.signals(named))
        row_of = {id: row for row, id in enumerate(found.signals.ids)}
        heads = [
            self._candidates(subject, list(of_it), cards, found, row_of)
            for subject, of_it in zip(subjects, via, strict=True)
        ]
        return heads, via

    def _candidates(
        self,
        subject: QueryArticle,
        ids: Sequence[str],
        cards: Mapping[str, ArticleSummary],
        found: Scorer,
        row_of: Mapping[str, int],
    ) -> list[Candidate]:
        """Return articles as candidates, in the order of their ids, whatever their scores are."""
        if not ids:
            return []
        rows = np.array([row_of[id] for id in ids], dtype=np.int64)
        (scores,) = found.scores(subject.query, rows, [BOTH])
        return [
            self._candidate(subject, cards[id], exact, found, row)
            for id, exact, row in zip(ids, scores.tolist(), rows.tolist(), strict=True)
        ]

    def _candidate(
        self, subject: QueryArticle, card: ArticleSummary, exact: float, found: Scorer, row: int
    ) -> Candidate:
        relevance = self._relevance(subject, card, exact)
        return Candidate(card, found.signals.vectors[row], found.terms(row), exact, relevance, _page(card))

    @staticmethod
    def _own(subject: QueryArticle) -> Candidate | None:
        """Return the article that a block stands under as it is compared with its links."""
        query = subject.query
        if subject.article is None:
            return None
        return Candidate(subject.article, query.vector, query.term_ids, math.inf, 1.0, _page(subject.article))

    def _relevance(self, subject: QueryArticle, card: ArticleSummary, exact: float) -> float:
        relevance, half_life = subject.query.scale.display(exact), self.frame.settings.half_life
        if half_life is None or card.published is None:
            return relevance
        days = (self.frame.since(subject, self.frame.as_of) - card.published).total_seconds() / 86400
        return relevance * selection.freshness(days, half_life)

    def _rank(self, query: Query, id: str, exact: float) -> int:
        """Return the place of an article with this exact score among all by score alone."""
        n, total = 4 * CANDIDATES_PER_SIGNAL, self._store.count()
        query = replace(query, condition=Condition())
        while True:
            (ranking,) = rank(self._store, [query], n)
            places = {other: place for place, (other, _) in enumerate(ranking, start=1)}
            if id in places:
                return places[id]
            if n >= total or id == query.id:  # which is never among its own candidates
                return 1 + sum(score > exact for _, score in ranking)
            n *= 4

    # Copies

    def _copies_of(
        self, subject: QueryArticle, own: Candidate | None, others: Sequence[Candidate]
    ) -> selection.CopiesOf | None:
        """Return what finds copies among candidates, None if no two look like it; only of those that do are the words
        read.
        """
        candidates = [*([own] if own else []), *others]
        if not candidates:
            return None
        vectors = np.stack([one.vector for one in candidates])
        suspect = vectors @ vectors.T >= 1.0 - (1.0 - near_duplicates.NEAR) / subject.query.cosine_spread
        np.fill_diagonal(suspect, False)
        place = {one: number for number, one in enumerate(candidates)}
        pages: dict[str, list[Candidate]] = {}
        for each in candidates:
            if each.page is not None:
                pages.setdefault(each.page, []).append(each)
        for one, other in chain.from_iterable(permutations(of_one, 2) for of_one in pages.values()):
            if selection.same_page(one, other):
                suspect[place[one], place[other]] = True
        looks = set(np.flatnonzero(suspect.any(axis=1)).tolist())  # places of those that look like any other
        if not looks:
            return None
        terms: dict[Candidate, set[int]] = {}
        given = near_duplicates.fingerprint(*subject.text) if subject.text else None

        def words(one: Candidate) -> near_duplicates.Fingerprint:
            return given if given is not None and one.raw_score == math.inf else self._words(one.summary.id)

        def same(one: Candidate, other: Candidate) -> bool:
            if selection.same_page(one, other):
                return True
            for each in (one, other):
                if each not in terms:
                    terms[each] = set(each.terms.tolist())
            fewer = min(len(terms[one]), len(terms[other]))
            if len(terms[one] & terms[other]) < near_duplicates.HELD * fewer:
                return False
            return near_duplicates.are_near_duplicates(words(one), words(other))

        def copies_of(one: Candidate, among: Sequence[Candidate]) -> list[Candidate]:
            if place[one] not in looks:
                return []
            row = suspect[place[one]]  # a matrix: of thousands of copies all pairs are suspect
            return [other for other in among if row[place[other]] and same(one, other)]

        return copies_of

    def _text(self, id: str) -> tuple[str, str]:
        """Return title and text of an article that the store has named."""
        found = self._store.texts([id])
        if id not in found:
            raise _not_held(id)
        return found[id]

    def _words(self, id: str) -> near_duplicates.Fingerprint:
        if id not in self._prints:
            self._prints[id] = near_duplicates.fingerprint(*self._text(id))
            if len(self._prints) > REMEMBERED:
                self._prints.popitem(last=False)
        self._prints.move_to_end(id)
        return self._prints[id]

    # What is shown

    def _shown(self, subject: QueryArticle, made: _Made, *, why: bool) -> list[Recommendation]:
        parts = (
            explain(self._store, subject.query, [link.summary.id for link in made.links]) if why and made.links else {}
        )
        return [
            Recommendation(
                id=link.summary.id,
                title=link.summary.title,
                url=link.summary.url,
                published=link.summary.published,
                section=link.summary.section,
                tags=link.summary.tags,
                metadata=_copied(link.summary.metadata),
                score=subject.query.scale.display(link.raw_score),
                via=made.via.get(link.summary.id, "match"),
                reasons=self._reasons(subject, link.summary, parts[link.summary.id]) if parts else None,
            )
            for link in made.links
        ]

    def _reasons(self, subject: QueryArticle, card: ArticleSummary, parts: ScoreBreakdown) -> Reasons:
        article = subject.article
        days = None
        if article and article.published and card.published:
            days = round((card.published - article.published).total_seconds() / 86400)
        tags = {tag.casefold() for tag in article.tags} if article else set[str]()
        spelled = self._spelled(card.id, subject)
        return Reasons(
            raw_score=parts.raw_score,
            dense=parts.dense,
            lexical=parts.lexical,
            hubness=parts.hubness,
            words=tuple((spelled.get(term, term), share) for term, share in parts.terms[:WORDS]),
            tags=tuple(tag for tag in card.tags if tag.casefold() in tags),
            days=days,
        )

    def _spelled(self, id: str, subject: QueryArticle) -> dict[str, str]:
        """Return the terms of a link as its article spells them."""
        (language,) = self._store.signals([id]).languages
        return surface_forms(*self._text(id), language)


def check_length(k: int) -> None:
    """Raise TypeError or ValueError if a block cannot be `k` links long."""
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise TypeError(f"k is {k!r}; it must be a whole number")
    if k < 1:
        raise ValueError(f"k is {k}; it must be 1 or more")


def _not_held(id: str) -> IndexDamagedError:
    return IndexDamagedError(
        f"The index is damaged: its search files name article {id!r}, which it does not hold. "
        f"`recommender verify --repair` makes them again."
    )


def _page(card: ArticleSummary) -> str | None:
    return normalise_url(card.url) if card.url else None


def _copied(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy that the caller may change, whatever is nested in it: a card is shown in many blocks."""
    if not any(isinstance(value, dict | list) for value in metadata.values()):
        return dict(metadata)
    copied: dict[str, Any] = json.loads(json.dumps(dict(metadata)))
    return copied
