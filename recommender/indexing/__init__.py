"""Archive to index: what has changed, analysis, embedding, Ray, copies of an index."""
