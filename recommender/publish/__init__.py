"""Blocks as files for a site: one module per output format."""

FORMATS = ("jsonl", "json", "csv", "parquet", "hugo", "jekyll", "eleventy", "astro", "docusaurus", "html")
KEYS = ("id", "url", "path")  # of an article in "json" and "html"
