"""What a batch of articles becomes before it is written."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recommender.store.base import Upsert
from recommender.store.milvus import words
from recommender.store.milvus.rows import Stored, is_long, key_of, pack, rest_name, term_number, text_name, unpack_terms
from recommender.store.milvus.terms import TermCounts

DUE = -1  # the round of an article whose hubness is not known


def weigh(
    all_terms: TermCounts,
    settings: dict[str, Any],
    changes: Sequence[Upsert],
    old: Sequence[Stored],
    removals: Sequence[str],
) -> int:
    """Bring the counts, in the settings too, in line with what comes and goes; return how many articles do.

    Args:
        all_terms: the counts of terms.
        settings: of the index.
        changes: what comes.
        old: what is stored of that, and of what goes.
        removals: the ids of what goes.
    """
    languages = {name: list(counts) for name, counts in settings["languages"].items()}
    moved = Counter[int]()
    names: dict[int, tuple[str, str]] = {}
    for change in changes:
        of_language = languages.setdefault(change.language, [0, 0])
        of_language[0] += 1
        of_language[1] += change.assumed
        settings["length"] += sum(change.terms.values())
        for term in change.terms:
            number = term_number(change.language, term)
            moved[number] += 1
            names[number] = (change.language, term)
    for of_it in old:
        of_language = languages.setdefault(of_it.language, [0, 0])
        of_language[0] -= 1
        of_language[1] -= of_it.assumed
        settings["length"] -= int(of_it.frequencies.sum())
        moved.subtract(of_it.numbers.tolist())
    settings["languages"] = {name: counts for name, counts in languages.items() if counts[0] > 0}
    wanted = [number for number, by in moved.items() if by or number in names]
    places = all_terms.places(np.array(wanted, dtype=np.int64))
    counts = dict(zip(wanted, all_terms.counts(places).tolist(), strict=True))
    unnamed = [number for number in wanted if number not in names]
    known = all_terms.names_of(unnamed)
    language_of = {number: of_it.language for of_it in old for number in of_it.numbers.tolist()}
    put = {}
    for number in wanted:
        language, term = names.get(number) or (language_of[number], known.get(number, ""))
        after = max(counts[number] + moved[number], 0)
        if term and (after != counts[number] or not counts[number]):
            put[number] = (language, term, after)
    all_terms.put(put)
    fresh = {of_it.pk for of_it in old}
    return len(removals) + sum(
        change.vector is not None or key_of(change.article.id) not in fresh for change in changes
    )


def packed(
    all_terms: TermCounts,
    settings: Mapping[str, Any],
    changes: Sequence[Upsert],
    stored: Mapping[str, Stored],
    number: int,
) -> tuple[list[tuple[dict[str, Any], dict[str, Any] | None]], dict[str, str]]:
    """Return the rows of articles, each with that of its folded terms if it needs one, and their documents.

    Args:
        all_terms: the counts of terms.
        settings: of the index.
        changes: the articles.
        stored: what is stored of them, by primary key.
        number: the change that brings them.
    """
    total = max(sum(articles for articles, _ in settings["languages"].values()), 1)
    average = settings["length"] / total
    made: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
    documents: dict[str, str] = {}
    for change in changes:
        vector = change.vector if change.vector is not None else stored[key_of(change.article.id)].vector
        terms = {term_number(change.language, term): count for term, count in change.terms.items()}
        row = pack(change, vector, terms, number)
        hashes, frequencies = unpack_terms(row["terms"])
        weights = words.saturated(frequencies, average)
        documents[text_name(row["pk"], row["content"])] = change.article.text
        if is_long(row):
            documents[rest_name(row["pk"], row["checksum"])] = json.dumps([row["record"], row["terms"]])
            row |= {"record": "", "terms": ""}
        folded = None
        if settings["words"] == "sparse":
            row["words"] = words.sparse(hashes, weights)
        else:
            rare = words.rarity(all_terms.counts(all_terms.places(hashes)), total)
            folded = {name: row[name] for name in ("pk", "language", "time", "recommend", "facets")}
            folded["words"] = words.folded(hashes, weights * rare)
        made.append((row, folded))
    return made, documents


def due_rows(changes: Sequence[Upsert], stored: Mapping[str, Stored]) -> list[dict[str, Any]]:
    """Return the rows that mark the hubness of changed articles as unknown."""
    due = []
    for change in changes:
        old = stored.get(key := key_of(change.article.id))
        terms = {term_number(change.language, term): count for term, count in change.terms.items()}
        same = old and dict(zip(old.numbers.tolist(), old.frequencies.tolist(), strict=True)) == terms
        if change.vector is not None or not same:
            due.append(key)
    return [due_row(key) for key in dict.fromkeys(due)]


def due_row(pk: str) -> dict[str, Any]:
    """Return the row that says that the hubness of an article is not known."""
    return {"pk": pk, "vector": [0.0, 0.0], "round": DUE}
