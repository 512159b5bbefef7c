import numpy as np

from recommender.store.milvus.term_vectors import select_query_terms


def test_frequent_terms_are_left_out_if_enough_rarer_ones_remain():
    assert select_query_terms(np.array([90_000, 10, 20_000, 30, 40])).tolist() == [False, True, True, True, True]
    assert select_query_terms(np.full(5, 10**6)).tolist() == [True, True, True, False, False]
    assert select_query_terms(np.array([], dtype=np.int64)).tolist() == []
