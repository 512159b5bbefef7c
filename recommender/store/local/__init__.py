"""The store of a folder: SQLite is the truth, derived files speed searches up."""
