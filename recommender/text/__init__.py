"""Texts of any origin: terms, languages, scripts, dates, near-duplicates. Nothing here imports Article."""
