"""Files, processes, and the set-up of FAISS."""
