import numpy as np

from recommender.store.milvus import words


def test_terms_of_many_articles_are_left_out_where_there_are_enough_others():
    assert words.looked_up(np.array([90_000, 10, 20_000, 30, 40])).tolist() == [False, True, True, True, True]
    assert words.looked_up(np.full(5, 10**6)).tolist() == [True, True, True, False, False]
    assert words.looked_up(np.array([], dtype=np.int64)).tolist() == []
