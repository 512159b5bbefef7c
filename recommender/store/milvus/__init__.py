"""A store on Milvus: a server, a cluster, or Milvus Lite, which is a file that one process serves."""
