"""The trainer: the methods of `Recommender` that train, describe and remove a learned ranking."""

from collections.abc import Callable
from typing import Any

from recommender.learning import learn
from recommender.learning.learn import LearnReport
from recommender.store import Store


class Trainer:
    """Trains, describes and removes the learned ranking of an index."""

    _store: Store

    def learn(self, *, on_progress: Callable[[str, int, int], None] | None = None) -> LearnReport:
        """Train a ranking on the archive's own links, and adopt it if it wins on held-out articles.

        It learns from editorial links (`related`), links in the texts (`links`), or both: by whichever is best on
        held-out articles. Blocks are then ranked by it; `ranking="content"` gives the content ranking. The index stays
        as it is unless the difference in nDCG@10 is above 0.01 with 95 % confidence. The result is deterministic.

        Args:
            on_progress: called with the stage, the number done and the total.

        Returns:
            The figures before and after, and whether the ranking was adopted.

        Raises:
            RecommenderError: LightGBM is not installed.
        """
        with self._store.snapshot():  # raises if there is no index
            pass
        with self._store.write_lock():
            return learn.learn(self._store, on_progress or (lambda stage, done, total: None))

    @property
    def learned(self) -> dict[str, Any] | None:
        """The learned ranking: when and on how many links it was trained, and its measured gain; None without one.

        `changed` is the share of the links that have changed since, from 0 to 1.
        """
        model = learn.stored_model(self._store)
        return None if model is None else {**model.facts, "changed": round(learn.changed_share(self._store), 3)}

    def forget_learned(self) -> bool:
        """Remove the learned ranking, so that content ranks as before; return whether there was one."""
        with self._store.snapshot():  # raises if there is no index
            pass
        with self._store.write_lock():
            return learn.forget(self._store)
