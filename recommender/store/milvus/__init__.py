"""A store on Milvus: a server or a cluster, or Milvus Lite, which is a file and one process."""
