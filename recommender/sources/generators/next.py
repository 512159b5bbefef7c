"""Addresses of Next.js and Nextra, from their documentation; not tested against Next.js itself.

A file of the pages router, `pages/blog/saw.mdx`, and of the app router, `app/blog/saw/page.mdx`, has the address
`/blog/saw`; folders in brackets `(group)` count for nothing. With Nextra, `content/blog/saw.mdx` has it too. Any other
file is read by code of the site: its address is that of its front matter, or of the route `blog/[slug]` if its folder
has the name `blog` or `_blog`. Without such a route it has no known address.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from recommender.sources.generators import base
from recommender.sources.generators.base import Page, Site, within
from recommender.sources.generators.javascript import read_javascript

_SLUG_ROUTE = re.compile(r"\[\[?(?:\.\.\.)?\w+\]\]?")
_SKIPPED = {"node_modules", "public", "out", ".next", "components"}


class Next(Site):
    """A Next.js site; see the module's docstring for its rules."""

    name = "next"
    config_names = tuple(f"next.config.{ending}" for ending in ("js", "mjs", "ts", "cjs"))

    def __init__(self, root: Path, config: Mapping[str, Any] | None = None) -> None:
        super().__init__(root, config)
        self._base = str(self.config.get("basePath") or "").strip("/")
        self._trailing_slash = self.config.get("trailingSlash") is True
        self._routers = [name for name in ("src/pages", "pages", "src/app", "app") if (root / name).is_dir()]
        routes: set[str] = set()
        self._has_nextra = False
        for router in self._routers:
            for path in (root / router).rglob("*"):
                parts = path.relative_to(root / router).parts
                if "mdxPath" in path.name:
                    self._has_nextra = True
                elif not any("[" in part for part in parts[:-1]) and _SLUG_ROUTE.fullmatch(
                    path.name.partition(".")[0] if path.is_file() else path.name
                ):
                    routes.add("/".join(part for part in parts[:-1] if not part.startswith("(")))
        self._routes = routes

    @classmethod
    def read_config(cls, path: Path) -> Any:
        """Return the configuration in a file; see `Site.read_config`."""
        return read_javascript(path)

    def content_folders(self) -> Sequence[str]:
        """Return the root: code may read pages from any folder."""
        return ("",)

    def page(self, path: str, front: Mapping[str, Any]) -> Page:
        """Return how Next.js publishes a file; see `Site.page`."""
        pure = PurePosixPath(path)
        if _SKIPPED & {*pure.parts} or len(pure.parts) == 1:  # README.md
            return Page(excluded=base.NOT_CONTENT)
        for router in self._routers:
            inside = within(path, router)
            if inside is not None:
                return self._routed_page(PurePosixPath(inside), app=router.endswith("app"))
        inside = within(path, "content")
        if self._has_nextra and inside is not None:
            return self._page(str(PurePosixPath(inside).with_suffix("")), PurePosixPath(inside))
        stem = pure.parent.name if pure.stem == "index" else pure.stem
        folders = base.folders_of(pure)
        route = folders[-1].removeprefix("_") if folders else ""
        slug = front.get("slug")
        name = slug if isinstance(slug, str) and slug and "/" not in slug else stem
        address = base.front_url(front) or (f"{route}/{name}" if route in self._routes and route else None)
        return self._page(address, pure)

    def _routed_page(self, path: PurePosixPath, *, app: bool) -> Page:
        if any(part.startswith("_") for part in path.parts) or (app and path.stem != "page"):
            return Page(excluded=base.NOT_CONTENT)
        if any("[" in part for part in path.parts):
            return Page(excluded=base.NO_PAGE)
        stem = path.parent if app else path.with_suffix("")
        address = "/".join(part for part in stem.parts if not part.startswith("("))
        if address == "404":
            return Page(excluded=base.ERROR_PAGE)
        return self._page(address, path.parent if app else path)

    def _page(self, address: str | None, path: PurePosixPath) -> Page:
        if address is not None and re.sub("(?:^|/)index$", "", address) == "":
            return Page(excluded=base.LIST_PAGE)
        return Page(
            url=self._address(address) if address else None,
            section=base.section_of(base.folders_of(path)),
            published=base.date_in_path(path),
        )

    def _address(self, path: str) -> str:
        if re.match(r"https?:", path):
            return path
        address = re.sub("/+", "/", f"/{self._base}/{re.sub('(?:^|/)index$', '', path)}").rstrip("/")
        return base.escape(address + "/" if self._trailing_slash or not address else address)
