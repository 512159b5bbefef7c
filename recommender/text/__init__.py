"""Text analysis without Article: terms, tf-idf, languages, scripts, dates, URLs, near-duplicates."""
