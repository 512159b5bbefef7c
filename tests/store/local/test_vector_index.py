"""The vector index: arrays that are checked before FAISS gets them; FAISS parses no file."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.store.local import vector_index
from recommender.store.local.derived_file import DerivedFile
from recommender.store.local.forward_index import ForwardIndex, Row, write_forward_index

DIMENSIONS = 16
KEYS = np.arange(1, 400, 2)


@pytest.fixture(scope="module", params=["plain", "rotated"])
def written(request, tmp_path_factory):
    """A folder with a forward index and approximate lists of 200 vectors."""
    folder = tmp_path_factory.mktemp("index")
    values = np.random.default_rng(0).normal(size=(len(KEYS), DIMENSIONS))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    no_terms = np.empty(0, dtype=np.int64)
    rows = [
        Row(key, f"{key}", "en", vector.astype("<f2").tobytes(), no_terms, no_terms)
        for key, vector in zip(KEYS.tolist(), values, strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_index, "MAX_EXHAUSTIVE_ARTICLES", 10)
        patch.setattr(vector_index, "MIN_ROTATED_ARTICLES", 10 if request.param == "rotated" else 10**6)
        forward_index = ForwardIndex(folder / write_forward_index(folder, 1, rows, []).name, DIMENSIONS)
        file = vector_index.write_vector_index(folder, 1, forward_index)
    return folder, file, forward_index


def test_the_index_of_the_arrays_finds_the_nearest_vectors(written):
    folder, file, forward_index = written
    index, reason = vector_index.open_vector_index(folder, file, DIMENSIONS)
    assert reason == ""
    vectors = forward_index.vectors(np.arange(len(forward_index)))
    _, nearest = index.search(vectors, 40)
    exact = KEYS[np.argsort(-(vectors @ vectors.T), axis=1)[:, :10]]
    recall = np.mean([np.isin(ten, keys).mean() for ten, keys in zip(exact, nearest, strict=True)])
    assert recall > 0.95


def test_list_order_has_every_article_once(written):
    folder, file, _ = written
    index, _ = vector_index.open_vector_index(folder, file, DIMENSIONS)
    lists = vector_index.faiss.extract_index_ivf(index)
    list_of = {
        int(key): number
        for number in range(lists.nlist)
        if lists.invlists.list_size(number)
        for key in vector_index.faiss.rev_swig_ptr(lists.invlists.get_ids(number), lists.invlists.list_size(number))
    }
    stored = np.sort(np.concatenate([KEYS[7:], [2, 500]]))  # seven were removed, and two added
    order = vector_index.in_list_order(folder, file, stored)
    assert sorted(order.tolist()) == list(range(len(stored)))
    assert set(stored[order[-2:]].tolist()) == {2, 500}
    numbers = [list_of[key] for key in stored[order[:-2]].tolist()]
    assert len([number for number, following in pairwise(numbers) if number != following]) < lists.nlist
    assert vector_index.in_list_order(folder, None, stored) is None


@given(data=st.data())
def test_arrays_of_any_content_and_length_are_searched_or_refused(written, tmp_path_factory, data):
    folder, file, forward_index = written
    hostile = tmp_path_factory.mktemp("hostile")
    target = hostile / file.name
    target.mkdir()
    changed = data.draw(st.sampled_from(sorted(vector_index._TYPES)))
    for name in vector_index._TYPES:
        content = (folder / file.name / name).read_bytes()
        if name == changed:
            content = bytearray(content[: data.draw(st.integers(0, len(content)))] or content)
            for _ in range(data.draw(st.integers(0, 3))):
                position = data.draw(st.integers(0, len(content) - 1)) if content else 0
                content[position : position + 1] = data.draw(st.binary(min_size=0, max_size=9))
        (target / name).write_bytes(content)
    described = DerivedFile.of(target, 1, file.count)  # digests can be forged
    index, reason = vector_index.open_vector_index(hostile, described, DIMENSIONS)
    assert (index is None) == bool(reason)
    if index is not None:
        for probes in (1, 10**6):
            vector_index.faiss.extract_index_ivf(index).nprobe = probes
            index.search(forward_index.vectors(np.arange(3)), 20)


def test_a_folder_of_another_article_count_is_refused(written):
    folder, file, _ = written
    assert vector_index.open_vector_index(folder, replace(file, count=file.count + 1), DIMENSIONS)[0] is None
    assert vector_index.open_vector_index(folder, file, DIMENSIONS * 2)[0] is None
