"""Addresses of Gatsby, from its documentation; not tested against Gatsby itself.

`gatsby-node` makes the addresses of pages. Where it takes them from `createFilePath`, `content/blog/hello/index.md` of
a source `content/blog` has `/hello/`, after the prefix that `createPage` writes before it; where it takes them from the
front matter, a page has its `path` or `slug`. A page of any other code has no known address. A Markdown file in
`src/pages` has the address of its path.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from recommender.sources.generators import base
from recommender.sources.generators.base import Page, Site, within
from recommender.sources.generators.javascript import read_javascript

_ENDINGS = ("js", "ts", "mjs")
_SOURCE = re.compile(
    r"\bpath\s*:\s*(?:path\.(?:resolve|join)\(\s*)?(?:__dirname\s*,\s*)?[`'\"](?:\$\{__dirname\}/?)?([^`'\"]+)"
)
_CREATE_PAGE = re.compile(r"\bcreatePage\s*\(\s*\{\s*path\s*:\s*(?P<path>`[^`]*`|[^,}]+)")
_NODE_FIELD = re.compile(r"\bcreateNodeField\s*\(\s*\{(.*?)\}\s*,?\s*\)", re.S)
_VALUE = re.compile(r"\bvalue\b\s*(?::\s*(`[^`]*`|[^,}\n]+))?")
_FILE_PATH = re.compile(r"(\w+)\s*=\s*createFilePath\s*\(")
_FIELD = re.compile(r"[\w.?]*\b(fields|frontmatter)\??\.(slug|path|permalink|url)")
_TEMPLATE = re.compile(r"`([\w/-]*)\$\{([^{}]+)\}(/?)`")


class Gatsby(Site):
    """A Gatsby site; see the module's docstring for its rules."""

    name = "gatsby"
    config_names = tuple(f"gatsby-config.{ending}" for ending in _ENDINGS)

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, config)
        self._base = str(self.config.get("pathPrefix") or "").strip("/")
        self._trailing_slash = str(self.config.get("trailingSlash") or "always")
        config_text = next(filter(None, (base.file_text(root / name) for name in self.config_names)), "")
        sources = {name.strip("./").removesuffix("/") for name in _SOURCE.findall(config_text)}
        self._sources = sorted((name for name in sources if (root / name).is_dir()), key=lambda name: -len(name))
        node_text = next(filter(None, (base.file_text(root / f"gatsby-node.{ending}") for ending in _ENDINGS)), "")
        self._prefix, self._field = "", ""
        routes = {match["path"].strip() for match in _CREATE_PAGE.finditer(node_text)}
        addresses = [address for route in routes if (address := _page_address(route))]
        if len(addresses) == 1:
            self._prefix, self._field = addresses[0]
        self._field_prefix = _field_prefix(node_text)

    @classmethod
    def read_config(cls, path: Path) -> Any:
        """Return the configuration in a file; see `Site.read_config`."""
        return read_javascript(path)

    def content_folders(self) -> Sequence[str]:
        """Return the folders of the file system sources, and of pages; the root if no source can be read."""
        return [*self._sources, "src/pages"] if self._sources else [""]

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Gatsby publishes a file; see `Site.page`."""
        inside, address = within(path, "src/pages"), None
        if inside is not None:
            address = str(PurePosixPath(inside).with_suffix(""))
        else:
            inside = next((part for name in self._sources if (part := within(path, name)) is not None), None)
            if inside is None:
                is_content = not self._sources and "/" in path and not path.startswith("node_modules/")
                return Page(url=base.front_url(front)) if is_content else Page(excluded=base.NOT_CONTENT)
            value = front.get(self._field.rpartition(".")[2])
            if self._field.startswith("frontmatter."):
                address = f"{self._prefix}/{value}" if isinstance(value, str) and value else None
            elif self._field and self._field_prefix is not None:
                address = f"{self._prefix}/{self._field_prefix}/{PurePosixPath(inside).with_suffix('')}"
            elif not self._field:
                address = base.front_url(front)
        pure = PurePosixPath(inside)
        folders = base.folders_of(pure)
        return Page(
            url=self._address(address) if address else None,
            section=base.section_of(folders) or base.section_of(PurePosixPath(path).parts[: -len(pure.parts)][-1:]),
            published=base.date_in_path(pure),
        )

    def _address(self, path: str) -> str:
        if re.match(r"https?:", path):
            return path
        address = re.sub("/+", "/", f"/{self._base}/{re.sub('(?:^|/)index$', '', path)}")
        if self._trailing_slash in ("always", "never"):
            address = address.rstrip("/")
        return base.escape(address + "/" if self._trailing_slash == "always" or not address else address)


def _page_address(route: str) -> tuple[str, str] | None:
    """Return the prefix and the field of a path in `createPage`: ("/blog", "fields.slug"); None for other code."""
    template = _TEMPLATE.fullmatch(route)
    prefix, expression = (template[1], template[2]) if template else ("", route)
    field = _FIELD.fullmatch(expression.strip())
    return (prefix, f"{field[1]}.{field[2]}") if field else None


def _field_prefix(text: str) -> str | None:
    """Return the prefix of the paths of files that `createNodeField` stores; None for other values, or none at all."""
    prefixes = set()
    names = set(_FILE_PATH.findall(text))
    for field in _NODE_FIELD.findall(text):
        value = _VALUE.search(field)
        expression = ((value[1] or "value").strip() if value else "").removesuffix("/")
        template = _TEMPLATE.fullmatch(expression)
        prefix, name = (template[1], template[2].strip()) if template else ("", expression)
        if name in names or name.startswith("createFilePath"):
            prefixes.add(prefix)
    return prefixes.pop() if len(prefixes) == 1 else None
