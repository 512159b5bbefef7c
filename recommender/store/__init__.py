"""Stores of an index: the interface, and the store of an index path or address."""

import os

from recommender.errors import IndexNotFoundError
from recommender.store.base import CandidateQuery, ContentHashes, Guarantees, Signals, Store, Upsert
from recommender.store.local.store import LocalStore
from recommender.store.milvus.address import Address

__all__ = [
    "CandidateQuery",
    "ContentHashes",
    "Guarantees",
    "LocalStore",
    "Signals",
    "Store",
    "Upsert",
    "open_store",
]


def open_store(index: str | os.PathLike[str]) -> Store:
    """Return the store of an index: on Milvus for milvus://HOST:PORT/NAME and PATH.db, else in a folder.

    Raises:
        IndexNotFoundError: `index` is empty or an invalid address.
    """
    text = os.fspath(index)
    if not text:
        raise IndexNotFoundError("The name of the index is empty. Name a folder with --index.")
    if not Address.is_milvus(text):
        return LocalStore(index)
    from recommender.store.milvus.store import MilvusStore  # noqa: PLC0415 - pymilvus is an optional dependency

    return MilvusStore(Address.parse(text))
