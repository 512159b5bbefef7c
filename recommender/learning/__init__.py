"""Learned ranking: a ranking model trained on the archive's own links, and its application to candidates."""
