"""Where an index lives."""

from recommender.store.base import Candidates, Change, Stamp, Store
from recommender.store.local import LocalStore

__all__ = ["Candidates", "Change", "LocalStore", "Stamp", "Store"]
