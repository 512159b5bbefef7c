from itertools import pairwise

import faiss
import numpy as np

from recommender.store.vectors import near_together


def test_an_order_by_lists_has_every_article_once():
    keys = np.arange(1, 200, 2)
    vectors = np.random.default_rng(0).normal(size=(len(keys), 16)).astype(np.float32)
    index = faiss.index_factory(16, "IVF4,PQ8x4fsr", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add_with_ids(vectors, keys)
    list_of = dict(zip(keys.tolist(), index.quantizer.search(vectors, 1)[1][:, 0].tolist(), strict=True))
    stored = np.sort(np.concatenate([keys[7:], [2, 500]]))  # seven have gone since, and two come
    order = near_together(index, stored)
    assert sorted(order.tolist()) == list(range(len(stored)))
    assert set(stored[order[-2:]].tolist()) == {2, 500}
    lists = [list_of[key] for key in stored[order[:-2]].tolist()]
    assert len([one for one, other in pairwise(lists) if one != other]) <= 3
    assert near_together(None, stored) is None
