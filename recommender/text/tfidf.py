"""Term weights: TF-IDF (Salton & Buckley 1988) with the square root of the term frequency and a damped inverse document
frequency. docs/explanation/ranking.md gives the reason for each choice.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

IDF_POWER = 0.85
TABLE = 4  # times as long as there are terms a table may be, from which they are weighed four times as fast


def tfidf_weights(
    frequencies: NDArray[np.float64],
    articles: NDArray[np.int64],
    totals: NDArray[np.int64],
    rows: NDArray[np.int64],
    n: int,
) -> NDArray[np.float64]:
    """Weigh the terms of `n` articles: sqrt(tf) · ln((N + 1) / df) ** 0.85, L2-normalised by article.

    A term that stands in one article only (df < 2) weighs nothing: it cannot be shared, and would only make an
    article less like all others. N + 1, so that in a handful of articles a term that all have still weighs a little.

    Args:
        frequencies: tf of each term of each article.
        articles: df of each: in how many articles of the language it stands.
        totals: N for each article: how many articles are in its language; shape (n,).
        rows: which of the articles each belongs to, 0 to n - 1.
        n: the number of articles.

    Returns:
        float64, of the shape of `frequencies`; 0 for all terms of an article without a term that counts.
    """
    most = int(articles.max(initial=0)).bit_length()
    if len(totals) and totals.min() == totals.max() and 2**most <= TABLE * len(articles):
        raw = np.sqrt(frequencies) * _idf_of_all(int(totals[0]), most)[articles]
    else:
        of_rows = totals[rows]
        counted = np.clip(articles, 1, of_rows + 1)  # counts of a damaged file may be of any size
        raw = np.where(articles >= 2, _raw(frequencies, counted, of_rows), 0.0)
    return raw / _norms(raw, rows, n)[rows]


def tfidf_impacts(
    frequencies: NDArray[np.float64],
    articles: NDArray[np.int64],
    totals: NDArray[np.int64],
    rows: NDArray[np.int64],
    n: int,
) -> NDArray[np.float64]:
    """Weigh the terms of `n` articles by which articles to come may find them; for the arguments see `weights`.

    The same weights, but that a term of one article weighs what it will once another one has it.

    Returns:
        float64, of the shape of `frequencies`, from 0 to 1.
    """
    raw = _raw(frequencies, np.minimum(np.maximum(articles, 2), totals[rows] + 1), totals[rows])
    found: NDArray[np.float64] = np.minimum(raw / _norms(np.where(articles >= 2, raw, 0.0), rows, n)[rows], 1.0)
    return found


def _raw(
    frequencies: NDArray[np.float64], articles: NDArray[np.int64], totals: NDArray[np.int64]
) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.sqrt(frequencies) * _idf(articles, totals)
    return found


def _idf(articles: NDArray[np.int64], totals: NDArray[np.int64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log((totals + 1) / articles) ** IDF_POWER
    return found


@lru_cache(maxsize=2)
def _idf_of_all(total: int, bits: int) -> NDArray[np.float64]:
    """Return what terms weigh by how many of `total` articles they stand in, below 2 ** `bits`."""
    found = np.zeros(2**bits)
    found[2:] = _idf(np.minimum(np.arange(2, 2**bits), total + 1), np.array(total))
    return found


def _norms(raw: NDArray[np.float64], rows: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.sqrt(np.bincount(rows, raw * raw, minlength=n))
    norms[norms == 0] = 1.0
    return norms
