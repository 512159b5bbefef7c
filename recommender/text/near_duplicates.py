"""Copies: whether two articles are the same report. A block holds no copy of its article or of another link."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

from recommender.text.scripts import LATIN, PAIRS, TRIPLES, without_title

MIN_DENSE_COSINE = 0.75  # pairs below it are not compared
MIN_SHARED_TERMS = 0.75  # share of the terms of the article with fewer terms; pairs below it are not compared
MAX_TEXT_WORDS = 2000  # of a text that are compared
MAX_TEXT_CHARS = 10 * MAX_TEXT_WORDS  # in which these words are searched
SHINGLE_WORDS = 3  # short enough that most shingles outlast a word replaced here and there
MIN_CONTAINMENT = 0.7  # share of the shorter text's shingles that the longer one contains
MIN_CONTAINMENT_IN_LONG = 0.8  # in a text of more than twice the length, which contains more of any other
SHORT_ITEM_WORDS = 30  # a shorter text may not name its subject: its title is compared as part of it
MIN_SHORT_ITEM_CONTAINMENT = 0.75  # in so few words two uses of a template differ in one or two
MIN_TITLE_CONTAINMENT = 0.5  # share of a short item's title that the longer article contains
MAX_GROWTH = 10  # length of a report divided by that of its short item; a longer text is a digest of many items
MAX_DIFFERING_NUMBERS = 0.25  # share; a correction changes few numbers, the next use of a template most
ONE_NUMBER_WORDS = 50  # in so many words one number may always differ
SAME_LENGTH_RATIO = 1.1  # texts of lengths this close must have the same numbers, a longer text may have others
MIN_MISSING_SUBJECTS = 0.5  # share of the new words of one title that the other text lacks
MIN_TEMPLATE_SHARE = 0.2  # share of these words in all words that only one of the texts has
MIN_MISSING_MENTIONS = 2  # missing mentions from which on one side is enough to tell two subjects apart

# A number is one word, with its points, commas and fraction: 1.5, 3,164, 6-1/4.
_NUMBER = r"\d+(?:[.,:/-]\d+)*(?!\w)"
_WORD = rf"{_NUMBER}|\w+"
_LATIN_WORD = re.compile(_WORD)
_RUN = rf"([{PAIRS}]+)|([{TRIPLES}]+)|{_NUMBER}|(?:(?![{PAIRS}{TRIPLES}])\w)+"
_UNSPACED = rf"[{PAIRS}{TRIPLES}]"

Shingles = frozenset[tuple[str, ...]]


@dataclass(frozen=True)  # no slots: what follows from the words is kept with them
class Fingerprint:
    """The words and shingles of an article. Words are in lower case; one with underscores also counts by its parts.

    Attributes:
        order: number of words, title and text; orders two articles by length.
        short_item: whether the text has fewer than SHORT_ITEM_WORDS words.
        shingles: runs of three words that a near-duplicate contains: of the text; of a short item's title too.
        contained_shingles: runs of three words that contain another article's: of title and text.
        title: words of the title.
        words: words of the text, in order.
    """

    order: tuple[int, str, str]
    short_item: bool
    shingles: Shingles
    contained_shingles: Shingles
    title: frozenset[str]
    words: Sequence[str]

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """Frequency of each word of the text; computed late, since most pairs differ in their shingles."""
        return Counter(chain(self.words, _parts(self.words)))

    @cached_property
    def numbers(self) -> frozenset[str]:
        """Words that begin with a digit."""
        return frozenset(word for word in self.counts if word[0].isdigit())


def fingerprint(title: str, text: str) -> Fingerprint:
    """Return the fingerprint of an article.

    Args:
        title: the title; a text that begins with it is compared without it.
        text: the text, of which the first 2,000 words count; may be empty.
    """
    heading, words = _words(title), _words(without_title(title, text))
    is_short = len(words) < SHORT_ITEM_WORDS
    body = _shingles(words)
    contained = body | _shingles(heading)
    return Fingerprint(
        order=(len(words) + (len(heading) if is_short else 0), title, text),
        short_item=is_short,
        shingles=contained if is_short else body,
        contained_shingles=contained,
        title=frozenset(chain(heading, _parts(heading))),
        words=words,
    )


def are_near_duplicates(first: Fingerprint, second: Fingerprint) -> bool:
    """Return whether two articles are one report: the same, corrected, updated, shortened or under another headline.

    They are if the longer one contains all shingles of the shorter one; or else most of them (containment, Broder
    1997) and most of its numbers, and both texts contain the words of either title. Shingles alone do not suffice: two
    uses of a template share more of them than a report and its update, and differ in names and numbers.

    Symmetric. An article is a near-duplicate of itself; an article without words is one of no other.
    """
    short, long = sorted((first, second), key=lambda article: article.order)
    if short.order == long.order:
        return True
    if not short.shingles or long.order[0] > MAX_GROWTH * short.order[0]:
        return False
    min_containment = MIN_SHORT_ITEM_CONTAINMENT if short.short_item else MIN_CONTAINMENT
    if long.order[0] > 2 * short.order[0]:
        min_containment = MIN_CONTAINMENT_IN_LONG
    if len(short.shingles & long.contained_shingles) < min_containment * len(short.shingles):
        return False
    if short.short_item:
        title_words = short.title & (long.title | long.counts.keys())
        if len(title_words) < MIN_TITLE_CONTAINMENT * len(short.title):
            return False
    if short.shingles <= long.contained_shingles:
        return True
    expected = len(short.numbers)
    if long.order[0] <= SAME_LENGTH_RATIO * short.order[0]:
        expected = max(expected, len(long.numbers))
    differing = expected - len(short.numbers & long.numbers)
    if differing > max(MAX_DIFFERING_NUMBERS * expected, short.order[0] / ONE_NUMBER_WORDS):
        return False
    return not _differ(short, long)


def _differ(short: Fingerprint, long: Fingerprint) -> bool:
    """Return whether two articles have different subjects, by the words that only one of the titles has."""
    scale = short.order[0] / long.order[0]  # a longer text repeats every word more often
    missing, sides, template = 0.0, 0, False
    for first, other, size in ((short, long, 1.0), (long, short, scale)):
        more = {word: max(size * times - other.counts.get(word, 0), 0.0) for word, times in first.counts.items()}
        new_subjects = (first.title - other.title) & more.keys()
        lost = sum(more[word] for word in new_subjects)
        sides += lost > MIN_MISSING_SUBJECTS * size * sum(first.counts[word] for word in new_subjects)
        template |= lost > MIN_TEMPLATE_SHARE * sum(more.values())
        missing += lost
    return sides == 2 or (missing >= MIN_MISSING_MENTIONS and (sides == 1 or template))


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text[:MAX_TEXT_CHARS]).lower()
    if LATIN.fullmatch(folded):
        return _LATIN_WORD.findall(folded)[:MAX_TEXT_WORDS]
    import regex  # noqa: PLC0415 - see LATIN

    if not regex.search(_UNSPACED, folded):  # twice as fast
        return list(regex.findall(_WORD, folded)[:MAX_TEXT_WORDS])
    words: list[str] = []
    for run in regex.finditer(_RUN, folded):
        pairs, triples = run[1], run[2]
        if pairs:
            words += ["".join(pair) for pair in pairwise(pairs)] or [pairs]
        elif triples:
            words += [triples[start : start + 3] for start in range(max(len(triples) - 2, 1))]
        else:
            words.append(run[0])
    return words[:MAX_TEXT_WORDS]


def _parts(words: Sequence[str]) -> list[str]:
    return [part for word in words if "_" in word for part in word.split("_") if part]


def _shingles(words: list[str]) -> Shingles:
    if len(words) < SHINGLE_WORDS:
        return frozenset([tuple(words)] if words else ())
    return frozenset(zip(*(words[start:] for start in range(SHINGLE_WORDS)), strict=False))
