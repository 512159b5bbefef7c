"""Addresses of Sphinx, tested against 8.2 and 9.0: the HTML builder writes `guide/planks.rst` to `/guide/planks.html`.

`conf.py` is a program and is not run, so the base path of the site and the choice of another builder are unknown: for
`dirhtml` (`/guide/planks/`), build from the output. Documents that hardly contain more than a `toctree` are list pages.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from recommender.sources.generators.base import NOT_CONTENT, Page, Site, escape, file_text

_NOT_CONTENT = {"_templates", "_build", "_static", "_themes"}


class Sphinx(Site):
    """A Sphinx project; see the module's docstring for its rules."""

    name = "sphinx"
    config_names = ("conf.py",)

    @classmethod
    def read_config(cls, path: Path) -> Any:
        """Return nothing: the configuration is a program."""
        return {}

    @classmethod
    def matches_config(cls, path: Path, config: Mapping[str, Any]) -> bool:
        """Return whether a `conf.py` is of Sphinx: Nikola and others use the same name."""
        text = file_text(path)
        return "BLOG_TITLE" not in text and any(word in text for word in ("extensions", "html_theme", "sphinx"))

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Sphinx publishes a document."""
        pure = PurePosixPath(path)
        if _NOT_CONTENT & set(pure.parts[:-1]):
            return Page(excluded=NOT_CONTENT)
        section = next(iter(pure.parts[:-1]), None)
        return Page(url="/" + escape(pure.with_suffix(".html").as_posix()), section=section)
