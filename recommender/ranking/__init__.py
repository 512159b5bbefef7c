"""Candidates to scores: queries, the scorer, the scoring formula, hubness, display scores."""
