"""How an article becomes numbers: one module for each signal."""
