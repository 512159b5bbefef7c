"""The terms of an article: its words, stemmed and without stop words, for the lexical signal.

docs/explanation/ranking.md gives the reason for each choice.
"""

import re
import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np
import Stemmer
import stop_words
from numpy.typing import NDArray

from recommender.text.scripts import LATIN, PAIRS, TRIPLES, without_title

TITLE_WEIGHT = 3  # a word of the title counts as often
MAX_FREQUENCY = 65535  # what a stored frequency can hold
MAX_CACHED_STEMS = 200_000  # words whose stems are kept
MAX_WORD_CHARS = 64  # characters of a word that are kept; what is longer is none
MAX_QUERY_TERMS = 30  # terms of a query that candidates are looked up by
# What decides an article's terms. An index remembers it; another one means that its articles are read again.
TERM_SETTINGS = {
    "version": 2,
    "title_weight": TITLE_WEIGHT,
    "stemmer": Stemmer.version(),
    "unicode": unicodedata.unidata_version,
}

# Words of two letters or digits or more, in any script; marks belong to the letters that they stand on.
_WORD = r"\w{2,}"
_LATIN_WORD = re.compile(_WORD)
_RUN = rf"([{PAIRS}]+)|([{TRIPLES}]+)|[^{PAIRS}{TRIPLES}]+"
_SNOWBALL = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish",
    "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali", "nl": "dutch", "nn": "norwegian",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip


def extract_terms(title: str, text: str, language: str) -> dict[str, int]:
    """Return the terms of an article and how often each stands in it, those of the title counted three times.

    Args:
        title: the title; where the text begins with it, it is counted as title only.
        text: the text.
        language: an ISO 639 code; decides stop words and stems, where there are any for it.

    Returns:
        Terms: words in lower case, without stop words, stemmed; pairs of characters in Chinese and Japanese,
        triples in Thai, Lao, Khmer, Burmese and Tibetan. Frequencies from 1 to 65535. Empty for a text without words.
    """
    term = _stems(language).__getitem__
    titles, counts = Counter(map(term, _words(title))), Counter(map(term, _words(without_title(title, text))))
    for name, count in titles.items():
        counts[name] += TITLE_WEIGHT * count
    del counts[""]  # stop words
    if counts and max(counts.values()) > MAX_FREQUENCY:
        return {name: min(count, MAX_FREQUENCY) for name, count in counts.items()}
    return dict(counts)


def surface_forms(title: str, text: str, language: str) -> dict[str, str]:
    """Return the terms of an article as it spells them first, in lower case; for the arguments see `extract_terms`."""
    found: dict[str, str] = {}
    stems = _stems(language)
    for word in _words(f"{title}\n{text}"):
        found.setdefault(stems[word], word[:MAX_WORD_CHARS])
    return found


def strongest_terms(weighed: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the positions of the query's strongest terms, 30 at most, which retrieve_candidates its candidates.

    Args:
        weighed: the weights of the query's terms, shape (t,).
    """
    order = np.argsort(-weighed, kind="stable")[:MAX_QUERY_TERMS]
    return order[weighed[order] > 0]


def _words(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text).lower()
    if LATIN.fullmatch(text):
        return _LATIN_WORD.findall(text)
    import regex  # noqa: PLC0415 - see LATIN

    words: list[str] = []
    for run in regex.finditer(_RUN, text):
        pairs, triples = run[1], run[2]
        if pairs:
            words += ["".join(pair) for pair in pairwise(pairs)] or [pairs]
        elif triples:
            words += [triples[i : i + 3] for i in range(max(len(triples) - 2, 1))]
        else:
            words += regex.findall(_WORD, run[0])
    return words


class _Stems(dict[str, str]):
    """The stems of the words of a language, empty for stop words; kept, since an archive repeats its words."""

    def __init__(self, language: str) -> None:
        try:
            self._stop_words = frozenset(stop_words.get_stop_words(language))
        except stop_words.StopWordError:
            self._stop_words = frozenset()
        self._stemmer = Stemmer.Stemmer(_SNOWBALL[language]) if language in _SNOWBALL else None

    def __missing__(self, word: str) -> str:
        kept = word[:MAX_WORD_CHARS]
        stem = "" if kept in self._stop_words else str(self._stemmer.stemWord(kept)) if self._stemmer else kept
        if sum(map(len, _kept.values())) >= MAX_CACHED_STEMS:
            for stems in list(_kept.values()):
                stems.clear()
        if len(word) <= MAX_WORD_CHARS:
            self[word] = stem
        return stem


_kept: dict[str, _Stems] = {}  # by language


def _stems(language: str) -> _Stems:
    if language not in _kept:
        _kept[language] = _Stems(language)
    return _kept[language]
