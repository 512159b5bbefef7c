"""Blocks against what people judged to belong together."""
