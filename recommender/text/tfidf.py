"""Term weights: TF-IDF (Salton & Buckley 1988) with the square root of the term frequency and a damped inverse document
frequency. docs/explanation/ranking.md gives the reason for each choice.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

IDF_POWER = 0.85
MAX_TABLE_RATIO = 4  # idf table entries per term up to which a table is four times as fast


def tfidf_weights(
    frequencies: NDArray[np.float64],
    document_frequencies: NDArray[np.int64],
    collection_sizes: NDArray[np.int64],
    rows: NDArray[np.int64],
    n: int,
) -> NDArray[np.float64]:
    """Weigh the terms of `n` articles: sqrt(tf) · ln((N + 1) / df) ** 0.85, L2-normalised by article.

    The weight of a term in one article only (df < 2) is 0: it cannot be shared, and would lower the cosine with all
    other articles. N + 1 gives a term of all articles in a tiny archive a small weight.

    Args:
        frequencies: tf of each term of each article.
        document_frequencies: df of each term: the number of articles of the language with the term.
        collection_sizes: N of each article: the number of articles in its language; shape (n,).
        rows: the article of each term, 0 to n - 1.
        n: the number of articles.

    Returns:
        float64, of the shape of `frequencies`; 0 for all terms of an article without a shared term.
    """
    bits = int(document_frequencies.max(initial=0)).bit_length()
    if (
        len(collection_sizes)
        and collection_sizes.min() == collection_sizes.max()
        and 2**bits <= MAX_TABLE_RATIO * len(document_frequencies)
    ):
        raw = np.sqrt(frequencies) * _idf_of_all(int(collection_sizes[0]), bits)[document_frequencies]
    else:
        sizes = collection_sizes[rows]
        clipped = np.clip(document_frequencies, 1, sizes + 1)  # counts of a damaged file can have any size
        raw = np.where(document_frequencies >= 2, _raw(frequencies, clipped, sizes), 0.0)
    return raw / _norms(raw, rows, n)[rows]


def tfidf_impacts(
    frequencies: NDArray[np.float64],
    document_frequencies: NDArray[np.int64],
    collection_sizes: NDArray[np.int64],
    rows: NDArray[np.int64],
    n: int,
) -> NDArray[np.float64]:
    """Return the weights by which future articles may retrieve these; for the arguments see `tfidf_weights`.

    A term of one article gets the weight that it will have once a second article contains it.

    Returns:
        float64, of the shape of `frequencies`, from 0 to 1.
    """
    raw = _raw(
        frequencies, np.minimum(np.maximum(document_frequencies, 2), collection_sizes[rows] + 1), collection_sizes[rows]
    )
    scaled: NDArray[np.float64] = np.minimum(
        raw / _norms(np.where(document_frequencies >= 2, raw, 0.0), rows, n)[rows], 1.0
    )
    return scaled


def _raw(
    frequencies: NDArray[np.float64], document_frequencies: NDArray[np.int64], collection_sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.sqrt(frequencies) * _idf(document_frequencies, collection_sizes)
    return weights


def _idf(document_frequencies: NDArray[np.int64], collection_sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    idf: NDArray[np.float64] = np.log((collection_sizes + 1) / document_frequencies) ** IDF_POWER
    return idf


@lru_cache(maxsize=2)
def _idf_of_all(total: int, bits: int) -> NDArray[np.float64]:
    """Return the idf by document frequency, shape (2 ** bits,), in a collection of `total` articles."""
    table = np.zeros(2**bits)
    table[2:] = _idf(np.minimum(np.arange(2, 2**bits), total + 1), np.array(total))
    return table


def _norms(raw: NDArray[np.float64], rows: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.sqrt(np.bincount(rows, raw * raw, minlength=n))
    norms[norms == 0] = 1.0
    return norms
