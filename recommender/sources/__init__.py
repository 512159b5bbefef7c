"""Where articles come from: one module for each kind of archive, all of them giving Entries.

A source is a file, a folder, a URL, a database, or standard input. Which reader takes a file is decided by the end of
its name (`READERS`), and where that says too little (.xml, .json) by its content.
"""

import copy
import importlib
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

from recommender.errors import SourceError
from recommender.sources.entry import Entry, File

__all__ = ["Entry", "Source"]

# The module that reads a file, by the end of its name. They are imported when they are needed: some take a while.
READERS = {
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    ".html": "page",
    ".htm": "page",
    ".xhtml": "page",
    ".txt": "pagetext",
    ".json": "jsonlist",
    ".xml": "",  # told by the content
    ".rss": "feed",
    ".atom": "feed",
    ".rdf": "feed",
    ".csv": "table",
    ".tsv": "table",
    ".tab": "table",
    ".parquet": "parquet",
}
# What a folder is searched for. Other files in it may be anything: tables, settings, the sitemap of a site.
_PAGES = {".md", ".markdown", ".mdx", ".html", ".htm", ".xhtml"}
_IN_FOLDERS = _PAGES | {".jsonl", ".jsonl.gz", ".ndjson", ".txt"}
_NOT_ARTICLES = {
    "node_modules",
    "_includes",
    "_layouts",
    "_data",
    "_site",
    "_sass",
}  # in the folder of a site's sources
_STANDARD_INPUT = "-"
_SCHEME = re.compile(r"([a-z][a-z0-9+.]+)://", re.I)
# Of no file: what may be a URL without its scheme, or with half of it: example.org/feed, https:/example.org.
_ADDRESS = re.compile(
    r"(?:https?:?/*)?((?:localhost|\d+(?:\.\d+){3}|(?:[\w-]+\.)+(?!md|gz|js|py|db)(?:[a-z]{2}|com|org|net|edu|gov|info"
    r"|news|blog|dev))(?::\d+)?(?:/.*)?)",
    re.I,
)
_OPENING = 2**14  # bytes of a file that are read while one is opened, or a page parsed
_SNIFFED = 2**16  # bytes by which the kind of standard input is told


class Source:
    """A file, folder, URL or database of articles; iterating over it reads it, one Entry at a time.

    Args:
        name: a file of a known kind; a folder, which is searched for pages and JSON Lines with all its subfolders
            (hidden ones excepted; links to folders are not followed); the http or https URL of a page, a feed or a
            sitemap; the URL of a database, as SQLAlchemy has it, with a `query`; or "-" for standard input.
        fields: for names of Article or "status", the names that the source has for them, with dots where one lies
            within others: `{"title": "headline", "text": "body.html", "id": "slug"}`; or a text with such names in
            braces: `{"url": "/news/{slug}"}`. None for those that the index remembers for this source.
        include: of a folder only the files, and of these also such as it would not be searched for, whose path within
            it matches one of these patterns (`*`, `?`, `[...]`; `*` crosses folders; a pattern without `/` is about
            the file's name).
        exclude: of a folder no files whose path within it, or whose folder's, matches one of these.
        query: the SQL query that returns articles, one a row, with the names of the fields for those of the columns.

    Attributes:
        name: as given, without the password of a URL.
        path: of a file or folder; None of any other source.
        passed: how many files of a folder were passed over, by the end of their names.
        size: bytes of all its files; 0 if that is not known.
        done: bytes read so far by the running iteration.
        fields: as given, or as the index remembers them.
        strict: whether a table that is the whole source must have all of these fields.

    Raises:
        SourceError: there is nothing at `name`, or nothing that can be read.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        fields: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        query: str | None = None,
    ) -> None:
        self.name = os.fspath(name)
        self.path: Path | None = None
        self.passed: Counter[str] = Counter()
        self.size = self.done = 0
        self.fields = dict(fields) if fields is not None else None
        self.strict = True
        self._include, self._exclude = tuple(include), tuple(exclude)
        self._url = self.name
        self._query = query
        self._unlisted: list[OSError] = []
        self._files: list[tuple[Path, int]] = []
        scheme = _SCHEME.match(self.name) if isinstance(name, str) else None
        if query is not None and not (scheme and scheme[1].lower() not in ("http", "https")):
            raise SourceError(f"A query is for the URL of a database, and {self.name} is none.")
        if scheme and scheme[1].lower() not in ("http", "https"):
            from recommender.sources import sql  # noqa: PLC0415

            self.name = sql.shown(self.name)
            if not query:
                raise SourceError(
                    f"{self.name} is no address of the web, which begins with http:// or https://. If it is that of a "
                    f"database, give the query that returns the articles (--query)."
                )
        elif scheme:
            self.name = re.sub(r"//[^/@]*@", "//", self.name, count=1)
        elif not self.name:
            raise SourceError("The name of a source is empty. Name a file or a folder of articles.")
        elif self.name != _STANDARD_INPUT:
            self.path = Path(name)
            try:
                self._files = self._find(self.path)
            except OSError as error:
                raise SourceError(f"{self.path} cannot be read ({error.strerror or error}).") from error
            self.size = sum(size for _, size in self._files)

    def __iter__(self) -> Iterator[Entry]:
        """Read all files in the order of their paths."""
        self.done = 0
        if self.path is None:
            yield from self._elsewhere()
            return
        root = self.path if self.path.is_dir() else self.path.parent
        for path, _ in self._files:
            strict = self.strict and path == self.path
            yield from _read(File(path, str(path), root, self.article_id(path), self.fields or {}, strict, self._count))
        for error in self._unlisted:
            problem = f"it cannot be read ({error.strerror})"
            yield Entry(error.filename, problems=(problem,), unknown=True)

    @property
    def portable(self) -> bool:
        """Whether another process can read it."""
        return self.name != _STANDARD_INPUT

    def parts(self, size: int) -> Iterator["Source"]:
        """Give sources that together are this one, in its order: of a folder about so many bytes of files each."""
        groups: list[list[tuple[Path, int]]] = []
        weight = size
        for file in self._files:
            if weight >= size:
                groups.append([])
                weight = 0
            groups[-1].append(file)
            weight += file[1] + _OPENING
        for group in groups or [[]]:
            part = copy.copy(self)
            part._files, part.size = group, sum(length for _, length in group)
            if groups and group is not groups[-1]:
                part._unlisted = []  # told once
            yield part

    def article_id(self, path: Path) -> str:
        """Return the id for the one article of the file at `path`: its path relative to the source, with `/`."""
        return path.name if path == self.path or self.path is None else path.relative_to(self.path).as_posix()

    def _elsewhere(self) -> Iterator[Entry]:
        if self.name == _STANDARD_INPUT:
            with TemporaryDirectory(prefix="recommender-") as folder:  # some readers go over it twice
                path = Path(folder, "input")
                with path.open("wb") as file:
                    shutil.copyfileobj(sys.stdin.buffer, file)
                path = path.rename(path.with_suffix(_sniffed(path)))
                name = "standard input"
                yield from _read(File(path, name, path.parent, name, self.fields or {}, self.strict))
        elif self._query:
            from recommender.sources import sql  # noqa: PLC0415

            yield from sql.read(self._url, self._query, self.fields or {}, strict=self.strict)
        else:
            from recommender.sources import web  # noqa: PLC0415

            yield from web.read(self._url, self.fields or {}, _read)

    def _count(self, read: int) -> None:
        self.done += read

    def _find(self, place: Path) -> list[tuple[Path, int]]:
        kinds = ", ".join(READERS)
        if place.is_file():
            if not _kind(place):
                raise SourceError(
                    f"{place} is of no kind that can be read. Name a file that ends in {kinds}, or a folder of such "
                    f"files."
                )
            return [(place, place.stat().st_size)]
        if not place.is_dir():
            if os.path.lexists(place):
                raise SourceError(f"{self.name} is neither a file nor a folder. Name a file or a folder of articles.")
            address = _ADDRESS.fullmatch(self.name)
            hint = f", or for a page of the web https://{address[1]}" if address else ""
            similar = [] if address else get_close_matches(place.name, _names(place.parent), n=1)
            question = f" Did you mean {place.with_name(similar[0])}?" if similar else ""
            raise SourceError(f"{self.name} does not exist. Name a file or a folder of articles{hint}.{question}")
        found = []
        for folder, folders, names in os.walk(place, onerror=self._unlisted.append):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NOT_ARTICLES)
            for name in names:
                path = Path(folder, name)
                if name.startswith(".") or not _kind(path) or not self._wanted(path):
                    continue
                try:
                    if path.is_file():
                        found.append((path, path.stat().st_size))
                except OSError as error:
                    self._unlisted.append(error)
        if not self._include and any(_kind(path) in _PAGES for path, _ in found):
            # Beside pages, text files are licences and lists of requirements.
            self.passed += Counter(_kind(path) for path, _ in found if _kind(path) == ".txt")
            found = [(path, size) for path, size in found if _kind(path) != ".txt"]
        if not found and self._unlisted:
            raise SourceError(f"The folder {place} cannot be listed ({self._unlisted[0].strerror}).")
        if not found:
            raise SourceError(self._nothing(place))
        return sorted(found)

    def _wanted(self, path: Path) -> bool:
        """Tell whether a file of the folder is to be read; count it if it could be."""
        own = self.article_id(path)
        if any(_matches(own, pattern) for pattern in self._exclude):
            return False
        if self._include:
            return any(_matches(own, pattern) for pattern in self._include)
        if _kind(path) not in _IN_FOLDERS:
            self.passed[_kind(path)] += 1
            return False
        return True

    def _nothing(self, place: Path) -> str:
        if self._include or self._exclude:
            return f"The folder {place} holds no file that can be read and that the patterns for its files let through."
        told = f"The folder {place} holds no articles: no file in it ends in {', '.join(sorted(_IN_FOLDERS))}."
        for kind, count in self.passed.most_common(1):
            return f"{told} It holds {count:,} ending in {kind}: name the file, or take them with --include '*{kind}'."
        return told


def _matches(path: str, pattern: str) -> bool:
    """Tell whether a pattern is about a file, or about a folder that it lies in."""
    pattern = pattern.removeprefix("./").rstrip("/")
    parts = path.split("/")
    places = parts if "/" not in pattern else ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return any(fnmatchcase(place, pattern) for place in places)


def _read(file: File) -> Iterator[Entry]:
    """Read a file by the end of its name."""
    kind = READERS[_kind(file.path)]
    if not kind:
        from recommender.sources import web  # noqa: PLC0415

        root = web.root_name(file.path)
        if root in ("urlset", "sitemapindex"):
            return web.read_sitemap(file, _read)
        with file.path.open("rb") as opened:
            kind = "wordpress" if b"wordpress.org/export/" in opened.read(_SNIFFED) else "feed"
    entries: Iterator[Entry] = importlib.import_module(f"recommender.sources.{kind}").read(file)
    return entries


def _names(folder: Path) -> list[str]:
    """Return the names in a folder; none if it cannot be listed."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _kind(path: Path) -> str:
    """Return the key of READERS that fits the file's name, or an empty text."""
    name = path.name.lower()
    return next((ending for ending in sorted(READERS, key=len, reverse=True) if name.endswith(ending)), "")


def _sniffed(path: Path) -> str:
    """Return the ending of a file's kind, by its content."""
    with path.open("rb") as file:
        head = file.read(_SNIFFED).removeprefix(b"\xef\xbb\xbf").lstrip()
    start = head[:512].lower()
    if head.startswith(b"\x1f\x8b"):
        return ".jsonl.gz"
    if head.startswith(b"PAR1"):
        return ".parquet"
    if start.startswith((b"<!doctype html", b"<html")):
        return ".html"
    if head.startswith(b"<"):
        return ".xml"
    if head.startswith((b"---", b"+++")):
        return ".md"
    first, _, rest = head.partition(b"\n")
    if head.startswith((b"[", b"{")):
        return ".jsonl" if head.startswith(b"{") and first.rstrip().endswith(b"}") and rest.strip() else ".json"
    if any(mark in first for mark in (b",", b"\t", b";")) and any(name in first for name in (b"id", b"title", b"url")):
        return ".csv"
    return ".jsonl"
