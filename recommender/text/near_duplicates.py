"""Copies: whether two articles are the same report. A block holds no copy of its article or of another link."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

from recommender.text.scripts import LATIN, PAIRS, TRIPLES, without_title

NEAR = 0.75  # dense cosine; a pair below it need not be read
HELD = 0.75  # share of the terms of the one with fewer that the other has; the same
WORDS = 2000  # of a text that are read
CHARACTERS = 10 * WORDS  # that they are looked for in
SHINGLE = 3  # words; short enough that most outlast a word replaced here and there
CONTAINED = 0.7  # share of the shorter text's shingles that its copy holds
TWICE_CONTAINED = 0.8  # in a text of more than twice its length, which holds more of any other
FLASH = 30  # words; a shorter text may say nothing of its subject, so that its title is read as part of it
FLASH_CONTAINED = 0.75  # in so few words the uses of a template differ in one or two
HEADING = 0.5  # share of a flash's title that its copy holds
GROWTH = 10  # times that a flash grows to its report; what is longer is a digest, and has it as one item of many
DIFFERING = 0.25  # share of the numbers that may differ: a correction changes few, the next use of a template most
FEW = 50  # words in which one number may differ in any case
ALIKE = 1.1  # times; texts whose lengths differ by no more are to have the same numbers, longer ones may have others
SUBJECT = 0.5  # share of what one title names, and the other does not, that the other text may lack
TEMPLATE = 0.2  # share that such words may be of all that one text says and the other does not
MENTIONS = 2  # of them that are lacking, from which on one side is enough to tell two subjects

# A number is one word, with its points, commas and fraction: 1.5, 3,164, 6-1/4.
_NUMBER = r"\d+(?:[.,:/-]\d+)*(?!\w)"
_WORD = rf"{_NUMBER}|\w+"
_LATIN_WORD = re.compile(_WORD)
_RUN = rf"([{PAIRS}]+)|([{TRIPLES}]+)|{_NUMBER}|(?:(?![{PAIRS}{TRIPLES}])\w)+"
_UNSPACED = rf"[{PAIRS}{TRIPLES}]"

Shingles = frozenset[tuple[str, ...]]


@dataclass(frozen=True)  # no slots: what follows from the words is kept with them
class Fingerprint:
    """What an article is compared by. Words are in lower case; one with underscores counts whole and by its parts.

    Attributes:
        order: the number of words, and title and text: which of two is the shorter, one way or the other.
        flash: whether the text has less than 30 words.
        shingles: the runs of three words that a copy holds: of the text, of a flash's title too.
        held: the runs that may be another article's: of title and text.
        title: the words of the title.
        words: those of the text.
    """

    order: tuple[int, str, str]
    short_item: bool
    shingles: Shingles
    contained_shingles: Shingles
    title: frozenset[str]
    words: Sequence[str]

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """Return how often each word stands in the text. Most pairs are told apart without."""
        return Counter(chain(self.words, _parts(self.words)))

    @cached_property
    def numbers(self) -> frozenset[str]:
        """Return those of the words that begin with a digit."""
        return frozenset(word for word in self.counts if word[0].isdigit())


def fingerprint(title: str, text: str) -> Fingerprint:
    """Return what `are_near_duplicates` compares an article by.

    Args:
        title: the title; where the text begins with it, it is read as title only.
        text: the text, of which the first 2,000 words count; may be empty.
    """
    heading, words = _words(title), _words(without_title(title, text))
    flash = len(words) < FLASH
    body = _shingles(words)
    held = body | _shingles(heading)
    return Fingerprint(
        order=(len(words) + (len(heading) if flash else 0), title, text),
        short_item=flash,
        shingles=held if flash else body,
        contained_shingles=held,
        title=frozenset(chain(heading, _parts(heading))),
        words=words,
    )


def are_near_duplicates(one: Fingerprint, other: Fingerprint) -> bool:
    """Tell whether two articles are one report: the same, corrected, updated, shortened or under another headline.

    They are if the longer holds all of the shorter's shingles; or else most of them (containment, Broder 1997), most
    of its numbers, and what either title names is in both texts. Shingles alone do not tell: two uses of a template
    share more of them than a report and its update. But what a use is for, its names and numbers, is in every use
    another.

    Symmetric. An article is a copy of itself; one without words is a copy of no other.
    """
    short, long = sorted((one, other), key=lambda article: article.order)
    if short.order == long.order:
        return True
    if not short.shingles or long.order[0] > GROWTH * short.order[0]:
        return False
    contained = FLASH_CONTAINED if short.short_item else CONTAINED
    if long.order[0] > 2 * short.order[0]:
        contained = TWICE_CONTAINED
    if len(short.shingles & long.contained_shingles) < contained * len(short.shingles):
        return False
    if short.short_item and len(short.title & (long.title | long.counts.keys())) < HEADING * len(short.title):
        return False
    if short.shingles <= long.contained_shingles:
        return True
    expected = len(short.numbers)
    if long.order[0] <= ALIKE * short.order[0]:
        expected = max(expected, len(long.numbers))
    if expected - len(short.numbers & long.numbers) > max(DIFFERING * expected, short.order[0] / FEW):
        return False
    return not _differ(short, long)


def _differ(short: Fingerprint, long: Fingerprint) -> bool:
    """Tell whether two articles have different subjects, by the words that only one of the titles has."""
    scale = short.order[0] / long.order[0]  # the longer says everything more often
    lacking, sides, template = 0.0, 0, False
    for own, other, size in ((short, long, 1.0), (long, short, scale)):
        more = {word: max(size * times - other.counts.get(word, 0), 0.0) for word, times in own.counts.items()}
        named = (own.title - other.title) & more.keys()
        lost = sum(more[word] for word in named)
        sides += lost > SUBJECT * size * sum(own.counts[word] for word in named)
        template |= lost > TEMPLATE * sum(more.values())
        lacking += lost
    return sides == 2 or (lacking >= MENTIONS and (sides == 1 or template))


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text[:CHARACTERS]).lower()
    if LATIN.fullmatch(folded):
        return _LATIN_WORD.findall(folded)[:WORDS]
    import regex  # noqa: PLC0415 - see LATIN

    if not regex.search(_UNSPACED, folded):  # twice as fast
        return list(regex.findall(_WORD, folded)[:WORDS])
    words: list[str] = []
    for found in regex.finditer(_RUN, folded):
        pairs, triples = found[1], found[2]
        if pairs:
            words += ["".join(pair) for pair in pairwise(pairs)] or [pairs]
        elif triples:
            words += [triples[start : start + 3] for start in range(max(len(triples) - 2, 1))]
        else:
            words.append(found[0])
    return words[:WORDS]


def _parts(words: Sequence[str]) -> list[str]:
    return [part for word in words if "_" in word for part in word.split("_") if part]


def _shingles(words: list[str]) -> Shingles:
    if len(words) < SHINGLE:
        return frozenset([tuple(words)] if words else ())
    return frozenset(zip(*(words[start:] for start in range(SHINGLE)), strict=False))
