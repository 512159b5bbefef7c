"""From candidates to a block."""
