"""Writing blocks for a site: one module for each format."""
