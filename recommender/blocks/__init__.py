"""Query article to block: eligibility, near-duplicates, diversity, explanations, policy, changed blocks."""
