"""Plugins for generators of static sites, one module each; they put the block on every page as the site is built."""
