from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.store.local import inverted_index
from recommender.store.local.inverted_index import (
    Postings,
    TermSearch,
    WeightedTerms,
    open_inverted_index,
    write_inverted_index,
)

# For each article its term weights, in 65,535ths, by term id.
ARCHIVES = st.lists(st.dictionaries(st.integers(0, 40), st.integers(1, 65_535), max_size=12), max_size=30)
QUERIES = st.dictionaries(st.integers(0, 45), st.integers(1, 100), min_size=1, max_size=8)


def weighted_terms(archive, first=0):
    """Return articles whose keys count down from 1000, so that they are not in the order of keys."""
    term_ids = [term_id for article in archive for term_id in article]
    weights = [weight / 65_535 for article in archive for weight in article.values()]
    return WeightedTerms(
        1000 - first - np.arange(len(archive)),
        np.array([len(article) for article in archive], dtype=np.int64),
        np.array(term_ids, dtype=np.int64),
        np.array(weights, dtype=np.float64),
    )


def query_arrays(query):
    return np.array(list(query), dtype=np.int64), np.array(list(query.values()), dtype=np.float64) / 100


def cosines(archive, query):
    """Return the exact cosine of each article that shares a term, by key."""
    return {
        1000 - position: sum(
            weight * query[term_id] / 100 / 65_535 for term_id, weight in article.items() if term_id in query
        )
        for position, article in enumerate(archive)
        if query.keys() & article
    }


def are_equal(postings, other):
    return all(
        np.array_equal(getattr(postings, name), getattr(other, name))
        for name in ("keys", "term_ids", "offsets", "positions", "weights")
    )


@given(ARCHIVES, QUERIES, st.integers(1, 40), st.booleans())
def test_the_best_articles_are_those_of_exact_comparison(archive, query, n, dense):
    exact = cosines(archive, query)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverted_index, "DENSE_RATIO", 10**6 if dense else 0)
        patch.setattr(inverted_index, "POSTINGS_READ", 10**6)  # reads all postings of lighter terms
        scores, keys = Postings.of(weighted_terms(archive)).search(*query_arrays(query), n)
    assert len(keys) == len(set(keys.tolist())) == min(n, len(exact))
    assert scores == pytest.approx([exact[key] for key in keys.tolist()], abs=1e-5)
    assert scores == pytest.approx(sorted(exact.values(), reverse=True)[:n], abs=1e-5)


@given(ARCHIVES, QUERIES, st.integers(1, 40), st.integers(1, 3))
def test_enough_postings_of_lighter_terms_are_read(archive, query, n, read):
    exact = cosines(archive, query)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverted_index, "POSTINGS_READ", read)
        scores, keys = Postings.of(weighted_terms(archive)).search(*query_arrays(query), n)
    assert len(keys) == min(n, len(exact))
    assert all(score <= exact[key] + 1e-5 for score, key in zip(scores.tolist(), keys.tolist(), strict=True))


@given(ARCHIVES, st.lists(st.integers(0, 30), max_size=4), st.integers(1, 5))
def test_merged_postings_have_the_heaviest_of_each_term(archive, cuts, max_postings):
    bounds = [0, *sorted(min(cut, len(archive)) for cut in cuts), len(archive)]
    parts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverted_index, "MAX_POSTINGS", max_postings)
        for start, end in pairwise(bounds):
            inverted_index._push(parts, Postings.of(weighted_terms(archive[start:end], start)))
        whole = Postings.of(weighted_terms(archive))
    merged = parts.pop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverted_index, "MAX_POSTINGS", max_postings)
        while parts:
            merged = parts.pop().merged(merged)
    assert are_equal(merged, whole)
    for row, term_id in enumerate(whole.term_ids.tolist()):
        postings = [(-article[term_id], position) for position, article in enumerate(archive) if term_id in article]
        part = slice(whole.offsets[row - 1] if row else 0, whole.offsets[row])
        weights, positions = whole.weights[part].astype(int), whole.positions[part]
        assert list(zip((-weights).tolist(), positions.tolist(), strict=True)) == sorted(postings)[:max_postings]
    assert set(whole.term_ids.tolist()) == {term_id for article in archive for term_id in article}


@given(ARCHIVES, st.lists(st.integers(0, 30), max_size=4), st.integers(1, 5), st.integers(1, 50), st.integers(1, 6))
def test_a_folder_written_in_merge_steps_equals_the_postings_in_memory(archive, cuts, max_postings, max_merged, bits):
    bounds = [0, *sorted(min(cut, len(archive)) for cut in cuts), len(archive)]
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as name:
        patch.setattr(inverted_index, "MAX_POSTINGS", max_postings)
        patch.setattr(inverted_index, "MAX_MERGED_POSTINGS", max_merged)
        patch.setattr(inverted_index, "TERM_BITS", bits)
        parts = (weighted_terms(archive[start:end], start) for start, end in pairwise(bounds))
        file = write_inverted_index(Path(name), 1, parts)
        postings, reason = open_inverted_index(Path(name), file)
        assert reason == ""
        assert are_equal(postings, Postings.of(weighted_terms(archive)))


def test_term_ids_far_apart_are_distinct_in_a_folder(tmp_path):
    term_ids = [0, 2**20 - 1, 2**20, 2**20 + 1, 2**22]
    archive = [{term_id: 100 * base + step for step, term_id in enumerate(term_ids)} for base in range(1, 9)]
    file = write_inverted_index(tmp_path, 1, [weighted_terms(archive[:5]), weighted_terms(archive[5:], 5)])
    postings, _ = open_inverted_index(tmp_path, file)
    assert are_equal(postings, Postings.of(weighted_terms(archive)))
    assert postings.term_ids.tolist() == term_ids


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_no_file_is_open_in_a_folder_when_it_is_renamed(tmp_path, monkeypatch):
    """NFS keeps an open file without a name in the folder, under another name."""
    open_names = []
    rename = Path.rename

    def record(path, target):
        links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        maps = Path("/proc/self/maps").read_text().splitlines()
        open_names.extend(name for name in [*links, *maps] if path.name in name)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", record)
    write_inverted_index(tmp_path, 1, [weighted_terms(SIMILAR)])
    assert (tmp_path / "inverted_index-1").is_dir()
    assert open_names == []


class Database:
    """A connection that only has the keys of removed articles."""

    def __init__(self, removed=()):
        self.removed = removed


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """A function that searches an archive whose first articles are in a folder; the others are added later."""
    monkeypatch.setattr(inverted_index, "removed_after", lambda connection, index_path, revision: connection.removed)

    def search(archive, stored, removed=()):
        file = write_inverted_index(tmp_path, 1, [weighted_terms(archive[:stored])])
        later = [weighted_terms([article], stored + position) for position, article in enumerate(archive[stored:])]
        return TermSearch(tmp_path).updated(Database(removed), file, 2, lambda connection, revision: iter(later))

    return search


SIMILAR = [{1: 100 * number, 2: 7} for number in range(1, 31)]


def test_later_articles_are_searched_beside_the_folder(searched):
    search = searched(SIMILAR, 20)
    term_ids, weights = query_arrays({1: 50})
    assert search.search(term_ids, weights, 2).tolist() == [981, 982, 971, 972]
    assert search.search(term_ids, weights, 2, only_later=True).tolist() == [971, 972]
    assert search.search(term_ids[:0], weights[:0], 2).tolist() == []
    assert search.search(np.array([99]), np.array([1.0]), 2).tolist() == []


def test_removed_articles_are_replaced_by_the_next_best(searched):
    search = searched(SIMILAR, 30, removed=range(971, 985))
    term_ids, weights = query_arrays({1: 50})
    assert search.search(term_ids, weights, 3).tolist() == [985, 986, 987]
    assert len(search.search(term_ids, weights, 30)) == 16


def test_a_folder_contains_the_postings_of_all_batches(tmp_path):
    file = write_inverted_index(tmp_path, 7, [weighted_terms(SIMILAR[:10]), weighted_terms(SIMILAR[10:], 10)])
    postings, reason = open_inverted_index(tmp_path, file)
    assert reason == ""
    assert are_equal(postings, Postings.of(weighted_terms(SIMILAR)))
    assert (file.name, file.count) == ("inverted_index-7", 30)


def test_a_folder_of_no_articles_is_valid(tmp_path):
    postings, reason = open_inverted_index(tmp_path, write_inverted_index(tmp_path, 1, []))
    assert reason == ""
    assert postings.search(*query_arrays({1: 50}), 5)[1].tolist() == []
