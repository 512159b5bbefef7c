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

TITLE_WEIGHT = 3  # the frequency of a word in the title
MAX_FREQUENCY = 65535  # the maximum of a stored uint16
MAX_CACHED_STEMS = 200_000  # of all languages
MAX_WORD_CHARS = 64  # longer words are cut
MAX_QUERY_TERMS = 30  # of a query in candidate retrieval
# The settings that determine terms; an index with other settings extracts its terms again.
TERM_SETTINGS = {
    "version": 2,
    "title_weight": TITLE_WEIGHT,
    "stemmer": Stemmer.version(),
    "unicode": unicodedata.unidata_version,
}

# Words of two or more letters or digits in any script, with their combining marks.
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
    """Return the terms of an article with their frequencies; terms of the title count three times.

    Args:
        title: the title; at the beginning of the text it is counted once.
        text: the text.
        language: an ISO 639 code; selects stop words and stemmer, where there are any.

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
    """Return the first spelling of each term of an article, in lower case; for the arguments see `extract_terms`."""
    forms: dict[str, str] = {}
    stems = _stems(language)
    for word in _words(f"{title}\n{text}"):
        forms.setdefault(stems[word], word[:MAX_WORD_CHARS])
    return forms


def strongest_terms(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the positions of a query's 30 terms with the largest weights, without weights of 0.

    Args:
        weights: the weights of the query's terms, shape (t,).
    """
    order = np.argsort(-weights, kind="stable")[:MAX_QUERY_TERMS]
    return order[weights[order] > 0]


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
    """A cache of the stems of a language's words; empty strings for stop words."""

    def __init__(self, language: str) -> None:
        try:
            self._stop_words = frozenset(stop_words.get_stop_words(language))
        except stop_words.StopWordError:
            self._stop_words = frozenset()
        self._stemmer = Stemmer.Stemmer(_SNOWBALL[language]) if language in _SNOWBALL else None

    def __missing__(self, word: str) -> str:
        shortened = word[:MAX_WORD_CHARS]
        stem = (
            ""
            if shortened in self._stop_words
            else str(self._stemmer.stemWord(shortened))
            if self._stemmer
            else shortened
        )
        if sum(map(len, _stem_caches.values())) >= MAX_CACHED_STEMS:
            for stems in list(_stem_caches.values()):
                stems.clear()
        if len(word) <= MAX_WORD_CHARS:
            self[word] = stem
        return stem


_stem_caches: dict[str, _Stems] = {}  # by language


def _stems(language: str) -> _Stems:
    if language not in _stem_caches:
        _stem_caches[language] = _Stems(language)
    return _stem_caches[language]
