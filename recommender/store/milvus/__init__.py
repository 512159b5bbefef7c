"""A store on Milvus: a server or a cluster, or Milvus Lite, which is a file and one process."""

from recommender.store.milvus.address import Address
from recommender.store.milvus.store import MilvusStore

__all__ = ["Address", "MilvusStore"]
