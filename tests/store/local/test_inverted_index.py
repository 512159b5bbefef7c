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

# For each article the weights of its terms, in 65,535ths, by their numbers.
ARCHIVES = st.lists(st.dictionaries(st.integers(0, 40), st.integers(1, 65_535), max_size=12), max_size=30)
QUERIES = st.dictionaries(st.integers(0, 45), st.integers(1, 100), min_size=1, max_size=8)


def weighed(archive, first=0):
    """Give articles whose keys count down from 1000, so that the order of keys is not theirs."""
    numbers = [number for of_article in archive for number in of_article]
    weights = [weight / 65_535 for of_article in archive for weight in of_article.values()]
    return WeightedTerms(
        1000 - first - np.arange(len(archive)),
        np.array([len(of_article) for of_article in archive], dtype=np.int64),
        np.array(numbers, dtype=np.int64),
        np.array(weights, dtype=np.float64),
    )


def asked(query):
    return np.array(list(query), dtype=np.int64), np.array(list(query.values()), dtype=np.float64) / 100


def cosines(archive, query):
    """Compare all."""
    return {
        1000 - place: sum(
            weight * query[number] / 100 / 65_535 for number, weight in of_article.items() if number in query
        )
        for place, of_article in enumerate(archive)
        if query.keys() & of_article
    }


def same(ours, others):
    return all(
        np.array_equal(getattr(ours, name), getattr(others, name))
        for name in ("keys", "term_ids", "offsets", "positions", "weights")
    )


@given(ARCHIVES, QUERIES, st.integers(1, 40), st.booleans())
def test_the_best_are_those_that_comparing_all_gives(archive, query, n, dense):
    exact = cosines(archive, query)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverted_index, "DENSE", 10**6 if dense else 0)
        patch.setattr(inverted_index, "READ", 10**6)  # as though all terms were as heavy
        scores, keys = Postings.of(weighed(archive)).best(*asked(query), n)
    assert len(keys) == len(set(keys.tolist())) == min(n, len(exact))
    assert scores == pytest.approx([exact[key] for key in keys.tolist()], abs=1e-5)
    assert scores == pytest.approx(sorted(exact.values(), reverse=True)[:n], abs=1e-5)


@given(ARCHIVES, QUERIES, st.integers(1, 40), st.integers(1, 3))
def test_of_lighter_terms_less_is_read_but_enough_for_as_many_as_are_wanted(archive, query, n, read):
    exact = cosines(archive, query)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverted_index, "READ", read)
        scores, keys = Postings.of(weighed(archive)).best(*asked(query), n)
    assert len(keys) == min(n, len(exact))
    assert all(score <= exact[key] + 1e-5 for score, key in zip(scores.tolist(), keys.tolist(), strict=True))


@given(ARCHIVES, st.lists(st.integers(0, 30), max_size=4), st.integers(1, 5))
def test_parts_joined_are_the_whole_and_keep_the_heaviest_of_each_term(archive, cuts, champions):
    bounds = [0, *sorted(min(cut, len(archive)) for cut in cuts), len(archive)]
    parts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverted_index, "CHAMPIONS", champions)
        for start, end in pairwise(bounds):
            inverted_index._stack(parts, Postings.of(weighed(archive[start:end], start)))
        whole = Postings.of(weighed(archive))
    joined = parts.pop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverted_index, "CHAMPIONS", champions)
        while parts:
            joined = parts.pop().joined(joined)
    assert same(joined, whole)
    for number in {number for of_article in archive for number in of_article}:
        heaviest = sorted((-weight, place) for place, a in enumerate(archive) for n, weight in a.items() if n == number)
        (at,) = np.flatnonzero(whole.term_ids == number)
        part = slice(whole.offsets[at - 1] if at else 0, whole.offsets[at])
        found = zip((-whole.weights[part].astype(int)).tolist(), whole.positions[part].tolist(), strict=True)
        assert list(found) == heaviest[:champions]


@given(ARCHIVES, st.lists(st.integers(0, 30), max_size=4), st.integers(1, 5), st.integers(1, 50), st.integers(1, 6))
def test_a_folder_written_some_terms_at_a_time_is_the_whole(archive, cuts, champions, at_once, bits):
    bounds = [0, *sorted(min(cut, len(archive)) for cut in cuts), len(archive)]
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as name:
        patch.setattr(inverted_index, "CHAMPIONS", champions)
        patch.setattr(inverted_index, "JOINED_AT_ONCE", at_once)
        patch.setattr(inverted_index, "TERM_BITS", bits)
        parts = (weighed(archive[start:end], start) for start, end in pairwise(bounds))
        file = write_inverted_index(Path(name), 1, parts)
        found, fault = open_inverted_index(Path(name), file)
        assert fault == ""
        assert same(found, Postings.of(weighed(archive)))


def test_numbers_of_terms_far_apart_are_told_apart_in_a_folder(tmp_path):
    numbers = [0, 2**20 - 1, 2**20, 2**20 + 1, 2**22]
    archive = [{number: 100 * place + at for at, number in enumerate(numbers)} for place in range(1, 9)]
    file = write_inverted_index(tmp_path, 1, [weighed(archive[:5]), weighed(archive[5:], 5)])
    found, _ = open_inverted_index(tmp_path, file)
    assert same(found, Postings.of(weighed(archive)))
    assert found.term_ids.tolist() == numbers


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell what is open")
def test_nothing_is_left_open_in_a_folder_when_it_is_renamed(tmp_path, monkeypatch):
    """What is open there and has no name any more is kept under another one by some file systems (NFS)."""
    seen = []
    rename = Path.rename

    def noted(path, target):
        opened = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
        maps = Path("/proc/self/maps").read_text().splitlines()
        seen.extend(name for name in [*opened, *maps] if path.name in name)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", noted)
    write_inverted_index(tmp_path, 1, [weighed(ALIKE)])
    assert (tmp_path / "lexical-1").is_dir()
    assert seen == []


class Database:
    """One in which some articles came and went; and nothing else is asked."""

    def __init__(self, gone=()):
        self.gone = gone


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """Search an archive of which the first articles stand in a folder, and the others came later, one at a time."""
    monkeypatch.setattr(inverted_index, "removed_after", lambda connection, folder, change: connection.gone)

    def search(archive, stored, gone=()):
        file = write_inverted_index(tmp_path, 1, [weighed(archive[:stored])])
        later = [weighed([one], stored + place) for place, one in enumerate(archive[stored:])]
        return TermSearch(tmp_path).updated(Database(gone), file, 2, lambda connection, change: iter(later))

    return search


ALIKE = [{1: 100 * place, 2: 7} for place in range(1, 31)]


def test_what_came_later_is_found_beside_what_stands_in_the_folder(searched):
    search = searched(ALIKE, 20)
    numbers, weights = asked({1: 50})
    assert search.search(numbers, weights, 2).tolist() == [981, 982, 971, 972]
    assert search.search(numbers, weights, 2, later=True).tolist() == [971, 972]
    assert search.search(numbers[:0], weights[:0], 2).tolist() == []
    assert search.search(np.array([99]), np.array([1.0]), 2).tolist() == []


def test_what_was_removed_is_passed_over_and_others_stand_in_for_it(searched):
    search = searched(ALIKE, 30, gone=range(971, 985))
    numbers, weights = asked({1: 50})
    assert search.search(numbers, weights, 3).tolist() == [985, 986, 987]
    assert len(search.search(numbers, weights, 30)) == 16


def test_a_folder_holds_what_was_in_memory(tmp_path):
    file = write_inverted_index(tmp_path, 7, [weighed(ALIKE[:10]), weighed(ALIKE[10:], 10)])
    mapped, fault = open_inverted_index(tmp_path, file)
    assert fault == ""
    assert same(mapped, Postings.of(weighed(ALIKE)))
    assert (file.name, file.count) == ("lexical-7", 30)


def test_a_folder_of_nothing_is_one(tmp_path):
    mapped, fault = open_inverted_index(tmp_path, write_inverted_index(tmp_path, 1, []))
    assert fault == ""
    assert mapped.best(*asked({1: 50}), 5)[1].tolist() == []
