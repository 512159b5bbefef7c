"""The store in a folder: a SQLite database as the truth, and derived files for search."""
