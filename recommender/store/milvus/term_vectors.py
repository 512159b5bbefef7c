"""Vectors of an article's terms for candidate retrieval: sparse BM25 vectors, or dense ones for servers before 2.4.

Servers before Milvus 2.4 have no sparse vectors. There, the same weights are folded into a dense vector by signed
feature hashing (Weinberger et al. 2009), which preserves inner products up to noise.
"""

import numpy as np
from numpy.typing import NDArray

BM25_K1, BM25_B = 1.2, 0.75  # Robertson and Zaragoza 2009
MAX_SPARSE_INDEX = 2**32 - 2  # of a sparse vector in Milvus
HASHED_DIMENSIONS = 512
MAX_POSTINGS, MIN_QUERY_TERMS = 100_000, 3  # postings that the terms of a query may have together; terms kept anyway
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that every bit of a hash affects the dimension


def saturated_frequencies(frequencies: NDArray[np.int64], mean_length: float) -> NDArray[np.float64]:
    """Return the saturated, length-normalised term frequencies of BM25 for an article; shape (t,).

    Args:
        frequencies: the frequencies of its terms, shape (t,).
        mean_length: the mean number of words of an article.
    """
    normalised_length = 1 - BM25_B + BM25_B * float(frequencies.sum()) / max(mean_length, 1.0)
    weights: NDArray[np.float64] = frequencies * (BM25_K1 + 1) / (frequencies + BM25_K1 * normalised_length)
    return weights


def inverse_document_frequencies(document_frequencies: NDArray[np.int64], articles: int) -> NDArray[np.float64]:
    """Return BM25's ln(1 + (N - df + 1/2) / (df + 1/2)) of terms in a collection of `articles`."""
    df = np.minimum(document_frequencies, articles)
    idf: NDArray[np.float64] = np.log(1 + (articles - df + 0.5) / (df + 0.5))
    return idf


def select_query_terms(document_frequencies: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask of the terms of a query by which candidates are retrieved; shape (t,).

    They are the rarest terms with at most MAX_POSTINGS postings together, and at least MIN_QUERY_TERMS, so that a query
    costs no more in an archive of millions.

    Args:
        document_frequencies: the number of articles that contain each term, shape (t,).
    """
    rarest = np.argsort(document_frequencies, kind="stable")
    selected = np.cumsum(document_frequencies[rarest]) <= MAX_POSTINGS
    selected[:MIN_QUERY_TERMS] = True
    mask = np.zeros(len(document_frequencies), dtype=np.bool_)
    mask[rarest[selected]] = True
    return mask


def sparse_vector(term_hashes: NDArray[np.int64], weights: NDArray[np.float64]) -> dict[int, float]:
    """Return the sparse vector of weighted terms as weights by index; never empty, since Milvus refuses that."""
    vector: dict[int, float] = {}
    for index, weight in zip((term_hashes % MAX_SPARSE_INDEX).tolist(), weights.tolist(), strict=True):
        if weight > 0:
            vector[index] = vector.get(index, 0.0) + weight
    return vector or {MAX_SPARSE_INDEX: 1e-6}


def hashed_vector(term_hashes: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the dense vector of weighted terms: float32, shape (HASHED_DIMENSIONS,), L2-normalised."""
    mixed = term_hashes.astype(np.uint64) * np.uint64(_MULTIPLIER)
    dimensions = (mixed >> np.uint64(40)).astype(np.int64) % HASHED_DIMENSIONS
    signs = np.where((mixed >> np.uint64(63)) > 0, 1.0, -1.0)
    vector = np.bincount(dimensions, weights * signs, minlength=HASHED_DIMENSIONS)
    length = float(np.linalg.norm(vector)) or 1.0
    return (vector / length).astype(np.float32)
