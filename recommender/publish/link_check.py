"""Comparison of the addresses in blocks with the output folder of a site; nothing is fetched."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from recommender.article import Recommendation

_INDEX_FILES = ("index.html", "index.htm", "index.xhtml", "index.php")
_PAGE_ENDINGS = (".html", ".htm", ".xhtml", ".php")
MAX_BASE_FOLDERS = 2  # of the base path that is tried if the caller names none


@dataclass(frozen=True, slots=True)
class DeadLink:
    """An address without a page.

    Attributes:
        url: the address.
        id: the id of the article that has it.
        count: the number of blocks with a link to it.
    """

    url: str
    id: str
    count: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of a link check.

    Attributes:
        folder: the output folder of the site.
        base: the base path that the folder was compared with: "/blog", or "" for the root of the host.
        checked: the number of different addresses compared.
        external: the number of different addresses of other hosts, which are not compared.
        dead: the addresses without a page, those of most blocks first.
    """

    folder: Path
    base: str
    checked: int
    external: int
    dead: tuple[DeadLink, ...]

    def sentence(self) -> str:
        """Return a sentence on the dead links."""
        base = f" (as {self.base}/)" if self.base else ""
        external = f"; {self.external:,} of other hosts not checked" if self.external else ""
        if not self.checked:
            return f"No link leads to the site, so none was compared with {self.folder}{external}."
        addresses = f"{self.checked:,} {'address' if self.checked == 1 else 'addresses'}"
        dead = f"{len(self.dead):,} dead" if self.dead else "none dead"
        return f"{addresses} compared with {self.folder}{base}: {dead}{external}."


@dataclass(slots=True)
class LinkCheck:
    """The addresses of all links, collected block by block and compared at the end.

    Attributes:
        folder: the output folder of the site.
        base_url: the base URL of the site; empty to derive the host from the addresses and the base path from the
            folder.
    """

    folder: Path
    base_url: str = ""
    _ids: dict[str, str] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    _names: dict[Path, frozenset[str]] = field(default_factory=dict)

    def add(self, links: Iterable[Recommendation]) -> None:
        """Collect the links of a block."""
        for link in links:
            if link.url:
                self._ids.setdefault(link.url, link.id)
                self._counts[link.url] += 1

    def report(self) -> CheckReport:
        """Compare all addresses with the folder."""
        parts = {url: urlsplit(url) for url in self._ids}
        base = urlsplit(self.base_url)
        hosts = Counter(part.netloc.lower() for part in parts.values() if part.netloc)
        host = base.netloc.lower() or next((name for name, _ in hosts.most_common(1)), "")
        paths = {
            url: f"/{part.path.removeprefix('/')}" for url, part in parts.items() if part.netloc.lower() in ("", host)
        }
        roots = [base.path.rstrip("/"), ""] if self.base_url else ["", *_common_folders(paths.values())]
        dead_by_root: dict[str, list[str]] = {}
        for root in roots:
            dead_by_root[root] = [url for url, path in paths.items() if not self._exists(path, root)]
            if len(dead_by_root[root]) < len(paths):
                break
        else:
            root = roots[0]
        return CheckReport(
            self.folder,
            base=root,
            checked=len(paths),
            external=len(parts) - len(paths),
            dead=tuple(
                DeadLink(url, self._ids[url], self._counts[url])
                for url in sorted(dead_by_root[root], key=lambda url: (-self._counts[url], url))
            ),
        )

    def _exists(self, path: str, root: str) -> bool:
        """Return whether a server has a page at a path: a file, `x.html` for `/x`, or an index file of a folder.

        Args:
            path: the path of an address.
            root: the base path at which the folder is served.
        """
        if not f"{path}/".startswith(f"{root}/"):
            return False
        inside = unquote(path.removeprefix(root))
        names = [name for name in inside.split("/") if name not in ("", ".")]
        if ".." in names or "\0" in inside:
            return False
        target = self.folder.joinpath(*names)
        if any(name in self._files(target) for name in _INDEX_FILES):
            return True
        if inside.endswith("/") or not names:
            return False
        return any(f"{names[-1]}{ending}" in self._files(target.parent) for ending in ("", *_PAGE_ENDINGS))

    def _files(self, folder: Path) -> frozenset[str]:
        """Return the names of the files in a folder, in their exact case."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(path.name for path in folder.iterdir() if path.is_file())
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]


def _common_folders(paths: Iterable[str]) -> list[str]:
    """Return the first folders that all paths have in common, the shortest first: "/a", "/a/b"."""
    folders = [path.split("/")[1:-1] for path in paths] or [[]]
    # The common start of all lists is that of the first and the last in order.
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(min(folders), max(folders), strict=False))
    return list(accumulate((f"/{name}" for name, _ in pairs), initial=""))[1 : MAX_BASE_FOLDERS + 1]
