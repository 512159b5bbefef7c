"""Writing blocks for a site: one module for each format."""

FORMATS = ("jsonl", "json", "csv", "parquet", "hugo", "jekyll", "eleventy", "html")
KEYS = ("id", "url", "path")  # what an article is called by in "json" and "html"
