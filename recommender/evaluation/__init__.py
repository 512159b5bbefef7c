"""Evaluation: metrics, relevance judgements, report."""
