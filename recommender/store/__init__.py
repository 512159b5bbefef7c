"""Where an index lives."""

from recommender.store.base import Change, Condition, Probe, Signals, Stamp, Store, Where
from recommender.store.local import LocalStore

__all__ = ["Change", "Condition", "LocalStore", "Probe", "Signals", "Stamp", "Store", "Where"]
