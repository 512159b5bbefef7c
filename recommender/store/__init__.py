"""Where an index lives."""

from recommender.store.base import Change, Probe, Signals, Stamp, Store
from recommender.store.local import LocalStore

__all__ = ["Change", "LocalStore", "Probe", "Signals", "Stamp", "Store"]
