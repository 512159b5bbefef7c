"""Plugins for static site generators, one module each: they add the block to every page of a build."""
