"""Preparing a batch of articles for writing: counts, rows and documents."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recommender.store.base import Upsert
from recommender.store.milvus.documents import UNUSED_VECTOR
from recommender.store.milvus.rows import (
    StoredArticle,
    decode_terms,
    encode_row,
    needs_overflow,
    overflow_document,
    primary_key,
    term_hash,
    text_document,
)
from recommender.store.milvus.schema import SHARED_FIELDS, UNKNOWN_ROUND
from recommender.store.milvus.term_dictionary import TermDictionary
from recommender.store.milvus.term_vectors import (
    hashed_vector,
    inverse_document_frequencies,
    saturated_frequencies,
    sparse_vector,
)

Row = dict[str, Any]


def update_counts(
    dictionary: TermDictionary,
    settings: dict[str, Any],
    upserts: Sequence[Upsert],
    replaced: Sequence[StoredArticle],
    removals: Sequence[str],
) -> int:
    """Update document frequencies, and the counts in the settings; return the number of articles that change.

    Args:
        dictionary: the term dictionary.
        settings: the settings of the index; changed in place.
        upserts: the articles to write.
        replaced: the stored articles that are replaced or removed.
        removals: the ids of the articles that are removed.
    """
    languages = {name: list(counts) for name, counts in settings["languages"].items()}
    changes = Counter[int]()  # of document frequencies, by term hash
    names: dict[int, tuple[str, str]] = {}
    for upsert in upserts:
        counts = languages.setdefault(upsert.language, [0, 0])
        counts[0] += 1
        counts[1] += upsert.assumed
        settings["words"] += sum(upsert.terms.values())
        for term in upsert.terms:
            hash = term_hash(upsert.language, term)
            changes[hash] += 1
            names[hash] = (upsert.language, term)
    for stored in replaced:
        counts = languages.setdefault(stored.language, [0, 0])
        counts[0] -= 1
        counts[1] -= stored.assumed
        settings["words"] -= int(stored.frequencies.sum())
        changes.subtract(stored.term_hashes.tolist())
    settings["languages"] = {name: counts for name, counts in languages.items() if counts[0] > 0}
    hashes = [hash for hash, change in changes.items() if change or hash in names]
    ids = dictionary.ids(np.array(hashes, dtype=np.int64))
    frequencies = dict(zip(hashes, dictionary.document_frequencies(ids).tolist(), strict=True))
    stored_terms = dictionary.terms_by_hash([hash for hash in hashes if hash not in names])
    stored_languages = {hash: stored.language for stored in replaced for hash in stored.term_hashes.tolist()}
    entries = {}
    for hash in hashes:
        language, term = names.get(hash) or (stored_languages[hash], stored_terms.get(hash, ""))
        frequency = max(frequencies[hash] + changes[hash], 0)
        if term and (frequency != frequencies[hash] or not frequencies[hash]):
            entries[hash] = (language, term, frequency)
    dictionary.put(entries)
    stored_keys = {stored.pk for stored in replaced}
    return len(removals) + sum(
        upsert.vector is not None or primary_key(upsert.article.id) not in stored_keys for upsert in upserts
    )


def encode_batch(
    dictionary: TermDictionary,
    settings: Mapping[str, Any],
    upserts: Sequence[Upsert],
    stored: Mapping[str, StoredArticle],
    revision: int,
) -> tuple[list[Row], list[Row], dict[str, str]]:
    """Return the article rows of a batch, its rows of hashed term vectors (empty with sparse ones) and its documents.

    Args:
        dictionary: the term dictionary.
        settings: the settings of the index.
        upserts: the articles.
        stored: the stored versions of the articles, by primary key.
        revision: the revision that the batch makes.
    """
    articles = article_count(settings)
    mean_length = settings["words"] / articles
    rows: list[Row] = []
    vector_rows: list[Row] = []
    documents: dict[str, str] = {}
    for upsert in upserts:
        vector = upsert.vector if upsert.vector is not None else stored[primary_key(upsert.article.id)].vector
        row = encode_row(upsert, vector, _frequencies_by_hash(upsert), revision)
        hashes, frequencies = decode_terms(row["terms"])
        weights = saturated_frequencies(frequencies, mean_length)
        documents[text_document(row["pk"], row["content_hash"])] = upsert.article.text
        if needs_overflow(row):
            documents[overflow_document(row["pk"], row["checksum"])] = json.dumps([row["record"], row["terms"]])
            row |= {"record": "", "terms": ""}
        if settings["term_vectors"] == "sparse":
            row["term_vector"] = sparse_vector(hashes, weights)
        else:
            idf = inverse_document_frequencies(dictionary.document_frequencies(dictionary.ids(hashes)), articles)
            shared = {name: row[name] for name in SHARED_FIELDS}
            vector_rows.append({**shared, "term_vector": hashed_vector(hashes, weights * idf)})
        rows.append(row)
    return rows, vector_rows, documents


def article_count(settings: Mapping[str, Any]) -> int:
    """Return the number of articles of an index by its settings, at least 1."""
    articles: int = sum(articles for articles, _ in settings["languages"].values())
    return max(articles, 1)


def stale_hubness_rows(upserts: Sequence[Upsert], stored: Mapping[str, StoredArticle]) -> list[Row]:
    """Return the rows that mark the hubness of articles with changed vectors or terms as unknown."""
    keys = []
    for upsert in upserts:
        old = stored.get(key := primary_key(upsert.article.id))
        unchanged = old and _frequencies_by_hash(upsert) == dict(
            zip(old.term_hashes.tolist(), old.frequencies.tolist(), strict=True)
        )
        if upsert.vector is not None or not unchanged:
            keys.append(key)
    return [hubness_row(key) for key in dict.fromkeys(keys)]


def hubness_row(pk: str, hubness: float = 0.0, round: int = UNKNOWN_ROUND) -> Row:
    """Return the hubness row of an article; by default the hubness is unknown."""
    return {"pk": pk, "hubness": hubness, "round": round, **UNUSED_VECTOR}


def _frequencies_by_hash(upsert: Upsert) -> dict[int, int]:
    return {term_hash(upsert.language, term): frequency for term, frequency in upsert.terms.items()}
