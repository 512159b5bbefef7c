"""Candidates to scores: queries, the scorer, the formula, hubness, display scores."""
