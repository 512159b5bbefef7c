"""Source: the files of an archive, and the reader for each file."""

import codecs
import copy
import importlib
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

from recommender.errors import SourceError
from recommender.sources import movable_type, substack
from recommender.sources.entry import Entry, File
from recommender.sources.generators import Site, check_generator, find_site
from recommender.sources.kinds import (
    ADVICE,
    ARCHIVES,
    FOLDER_ENDINGS,
    MAX_SNIFFED_BYTES,
    PAGE_ENDINGS,
    READERS,
    SKIPPED_FOLDERS,
    conversion_notes,
    ending_by_content,
    ending_of,
)

# Folders of an export of Medium with the author's own data, such as log-ins; its articles are in "posts".
_MEDIUM_FOLDERS = {"bookmarks", "claps", "highlights", "interests", "ips", "lists", "profile", "sessions"}
_STANDARD_INPUT = "-"
_SCHEME = re.compile(r"([a-z][a-z0-9+.]+)://", re.I)
# A URL with no scheme or a misspelled one, for the hint on a missing file: example.org/feed, https:/example.org.
_ADDRESS = re.compile(
    r"(?:https?:?/*)?((?:localhost|\d+(?:\.\d+){3}|(?:[\w-]+\.)+(?!md|gz|js|py|db)(?:[a-z]{2}|com|org|net|edu|gov|info"
    r"|news|blog|dev))(?::\d+)?(?:/.*)?)",
    re.I,
)
_FILE_OVERHEAD_BYTES = 2**14  # bytes that are read in the time to open a file and parse a page
_JSON_ENDINGS = (".json", ".jsonl", ".ndjson")
_MAX_COPIED_CHARS = 2**20  # at a time


class Source:
    """A file, folder, URL or database of articles; iterating over it yields one Entry at a time.

    Args:
        name: a file of a supported kind; a folder, searched recursively for pages and JSON Lines (hidden folders and
            symbolic links to folders are skipped); the http or https URL of a page, a feed or a sitemap; the SQLAlchemy
            URL of a database, with a `query`; or "-" for standard input.
        fields: the source's names for fields of Article or "status", with dots for nested fields:
            `{"title": "headline", "text": "body.html", "id": "slug"}`; or templates with such names in braces:
            `{"url": "/news/{slug}"}`. None for the mapping that the index contains for this source.
        include: glob patterns (`*`, `?`, `[...]`). Only files of the folder whose path within it matches a pattern are
            read, including tables and feeds. `*` also matches `/`; a pattern without `/` matches the names of files
            and folders.
        exclude: glob patterns. Files whose path or folder matches a pattern are not read.
        query: an SQL query that returns one article per row, with columns named as the fields.
        site: the generator that publishes the folder, one of `generators.GENERATORS`, or "none"; None to recognise it
            by its configuration file, in the folder or up to three folders above, or by the folder's layout.

    Attributes:
        name: the name as passed, without the password of a URL.
        path: the path of a file or folder; None for any other source.
        skipped_files: the number of readable files of a folder that are not read, by ending.
        unsupported_files: the number of files of a folder whose kind is a text that cannot be read, by ending.
        total_bytes: the size of all files; 0 if unknown.
        bytes_read: the number of bytes that the current iteration has read.
        fields: the mapping of fields as passed, or from the index.
        strict: whether a table that is the whole source must contain every field of the mapping.

    Raises:
        SourceError: `name` does not exist or cannot be read, or `site` is no generator.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        fields: Mapping[str, str] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        query: str | None = None,
        site: str | None = None,
    ) -> None:
        self.name = os.fspath(name)
        self.path: Path | None = None
        self.skipped_files: Counter[str] = Counter()
        self.unsupported_files: Counter[str] = Counter()
        self.total_bytes = self.bytes_read = 0
        self.fields = dict(fields) if fields is not None else None
        self.strict = True
        self._include, self._exclude = tuple(include), tuple(exclude)
        self._url = self.name
        self._query = query
        self._unlisted_folders: list[OSError] = []
        self._files: list[tuple[Path, int]] = []
        scheme = _SCHEME.match(self.name) if isinstance(name, str) else None
        if query is not None and not (scheme and scheme[1].lower() not in ("http", "https")):
            raise SourceError(f"A query needs the URL of a database, but {self.name} is not one.")
        if scheme and scheme[1].lower() not in ("http", "https"):
            from recommender.sources import sql  # noqa: PLC0415

            self.name = sql.url_without_password(self.name)
            if not query:
                raise SourceError(
                    f"{self.name} is not a web address: those begin with http:// or https://. For the URL of a "
                    f"database, pass the query that returns the articles (--query)."
                )
        elif scheme:
            self.name = re.sub(r"//[^/@]*@", "//", self.name, count=1)
        elif not self.name:
            raise SourceError("The name of a source is empty. Name a file or a folder of articles.")
        elif self.name != _STANDARD_INPUT:
            self.path = Path(name)
            try:
                self._files = self._find_files(self.path)
            except OSError as error:
                raise SourceError(f"{self.path} cannot be read ({error.strerror or error}).") from error
            self.total_bytes = sum(size for _, size in self._files)
        check_generator(site)
        self._site: Site | None = None
        self._site_problem: Entry | None = None
        if self.path and any(ending_of(path) in PAGE_ENDINGS for path, _ in self._files):
            self._site = find_site(self._root, site)
            if self._site.problem:
                configuration, problem = self._site.problem
                self._site_problem = Entry(str(configuration), problems=(problem,))

    def __iter__(self) -> Iterator[Entry]:
        """Read all files in the order of their paths."""
        self.bytes_read = 0
        if self.path is None:
            yield from self._read_stream()
            return
        root = self._root
        for path, _ in self._files:
            strict = self.strict and path == self.path
            yield from _read(
                File(
                    path,
                    str(path),
                    root,
                    self.article_id(path),
                    self.fields or {},
                    strict,
                    self._add_bytes_read,
                    site=self._site,
                )
            )
        for error in self._unlisted_folders:
            problem = f"it cannot be read ({error.strerror})"
            yield Entry(error.filename, problems=(problem,), unknown=True)
        if self._site_problem:
            yield self._site_problem

    @property
    def portable(self) -> bool:
        """Whether another process can read the source."""
        return self.name != _STANDARD_INPUT

    def parts(self, size: int) -> Iterator["Source"]:
        """Split a source into sources of about `size` bytes of files each, in the order of its files."""
        groups: list[list[tuple[Path, int]]] = []
        weight = size
        for file in self._files:
            if weight >= size:
                groups.append([])
                weight = 0
            groups[-1].append(file)
            weight += file[1] + _FILE_OVERHEAD_BYTES
        for group in groups or [[]]:
            part = copy.copy(self)
            part._files, part.total_bytes = group, sum(length for _, length in group)
            if groups and group is not groups[-1]:
                part._unlisted_folders, part._site_problem = [], None  # the last part reports them
            yield part

    def article_id(self, path: Path) -> str:
        """Return the id of the article in a file of one article: its path within the source, with `/`."""
        return path.name if path == self.path or self.path is None else path.relative_to(self.path).as_posix()

    @property
    def _root(self) -> Path:
        path = self.path or Path()
        return path if path.is_dir() else path.parent

    def _read_stream(self) -> Iterator[Entry]:
        """Read standard input, a database or the web."""
        if self.name == _STANDARD_INPUT:
            with TemporaryDirectory(prefix="recommender-") as folder:  # some readers need two passes
                path = Path(folder, "input")
                with path.open("wb") as file:
                    shutil.copyfileobj(sys.stdin.buffer, file)
                path = path.rename(path.with_suffix(ending_by_content(path)))
                name = "standard input"
                yield from _read(File(path, name, path.parent, name, self.fields or {}, self.strict))
        elif self._query:
            from recommender.sources import sql  # noqa: PLC0415

            yield from sql.read(self._url, self._query, self.fields or {}, strict=self.strict)
        else:
            from recommender.sources import web  # noqa: PLC0415

            yield from web.read(self._url, self.fields or {}, _read)

    def _add_bytes_read(self, count: int) -> None:
        self.bytes_read += count

    def _find_files(self, path: Path) -> list[tuple[Path, int]]:
        """Return the files to read and their sizes in bytes, sorted by path."""
        if path.is_file():
            if path.name.lower().endswith(ARCHIVES):
                raise SourceError(f"{path} is packed. Unpack it, and name the folder or file that it contains.")
            if not ending_of(path):
                advice = ADVICE.get(path.suffix.lower())
                raise SourceError(
                    f"The kind of the file {path} is not supported. {f'{advice}.' if advice else ''} Name a file that "
                    f"ends in {', '.join(READERS)}, or a folder of such files.".replace("  ", " ")
                )
            return [(path, path.stat().st_size)]
        if not path.is_dir():
            raise SourceError(self._missing_sentence(path))
        files = []
        for folder, subfolders, names in os.walk(path, onerror=self._unlisted_folders.append):
            subfolders[:] = sorted(
                name for name in subfolders if not name.startswith(".") and name not in SKIPPED_FOLDERS
            )
            if not self._include and "posts" in subfolders and len(_MEDIUM_FOLDERS.intersection(subfolders)) > 1:
                subfolders[:] = ["posts"]
                names.clear()
            for name in names:
                file = Path(folder, name)
                if name.startswith(".") or not (ending_of(file) or file.suffix.lower() in ADVICE):
                    continue
                if not self._includes(file):
                    continue
                if not ending_of(file):
                    self.unsupported_files[file.suffix.lower()] += 1
                    continue
                try:
                    if file.is_file():
                        files.append((file, file.stat().st_size))
                except OSError as error:
                    self._unlisted_folders.append(error)
        tables = {file.parent for file, _ in files if substack.is_export(file)}
        if tables:  # they are read with their pages
            files = [(file, size) for file, size in files if not substack.is_page(file, tables)]
        if not self._include and any(ending_of(file) in PAGE_ENDINGS for file, _ in files):
            # In a folder of pages, text files are licences and lists of requirements.
            self.skipped_files += Counter(ending_of(file) for file, _ in files if ending_of(file) == ".txt")
            files = [(file, size) for file, size in files if ending_of(file) != ".txt"]
        if not files and self._unlisted_folders:
            raise SourceError(f"The folder {path} cannot be listed ({self._unlisted_folders[0].strerror}).")
        if not files:
            raise SourceError(self._no_files_sentence(path))
        return sorted(files)

    def _includes(self, file: Path) -> bool:
        """Return whether to read a file of the folder; count it as skipped if only its ending excludes it."""
        path = self.article_id(file)
        if any(_matches(path, pattern) for pattern in self._exclude):
            return False
        if self._include:
            return any(_matches(path, pattern) for pattern in self._include)
        if ending_of(file) and ending_of(file) not in FOLDER_ENDINGS and not substack.is_export(file):
            self.skipped_files[ending_of(file)] += 1
            return False
        return True

    def _missing_sentence(self, path: Path) -> str:
        """Return the error message for a path that is neither a file nor a folder, with a suggestion."""
        if os.path.lexists(path):
            return f"{self.name} is neither a file nor a folder. Name a file or a folder of articles."
        address = _ADDRESS.fullmatch(self.name)
        hint = f", or for a web page https://{address[1]}" if address else ""
        similar = [] if address else get_close_matches(path.name, _file_names(path.parent), n=1)
        question = f" Did you mean {path.with_name(similar[0])}?" if similar else ""
        return f"{self.name} does not exist. Name a file or a folder of articles{hint}.{question}"

    def _no_files_sentence(self, folder: Path) -> str:
        """Return the error message for a folder without a file to read."""
        if self._include or self._exclude:
            sentence = f"The folder {folder} holds no file of a supported kind that matches the patterns."
        else:
            endings = ", ".join(sorted(FOLDER_ENDINGS))
            sentence = f"The folder {folder} holds no articles: no file in it ends in {endings}."
            for ending, count in self.skipped_files.most_common(1):
                sentence += (
                    f" It holds {count:,} ending in {ending}: name the file, or read them with --include '*{ending}'."
                )
        return " ".join([sentence, *(f"It holds {note}." for note in conversion_notes(self.unsupported_files))])

    def notes(self) -> list[str]:
        """Return a sentence for each group of files of the folder that are not read."""
        counts = ", ".join(f"{count:,} {ending}" for ending, count in self.skipped_files.most_common())
        skipped = [f"{counts} files were passed over; take such files with --include"] if counts else []
        unsupported = [f"passed over {note}" for note in conversion_notes(self.unsupported_files)]
        return [f"{self.name}: {note}." for note in (*skipped, *unsupported)]


def _matches(path: str, pattern: str) -> bool:
    """Return whether a glob pattern matches a file's path or name, or those of a folder that contains the file."""
    pattern = pattern.removeprefix("./").rstrip("/")
    parts = path.split("/")
    candidates = parts if "/" not in pattern else ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return any(fnmatchcase(candidate, pattern) for candidate in candidates)


def _read(file: File) -> Iterator[Entry]:
    """Read a file with the reader for its ending, or for the content of an XML file; see READERS."""
    ending = ending_of(file.path)
    if ending in _JSON_ENDINGS and (encoding := _wide_encoding(file.path)):
        return _read_wide(file, encoding)
    reader = READERS[ending]
    if ending == ".csv" and substack.is_export(file.path):
        reader = "substack"
    elif ending == ".txt" and movable_type.is_export(file.path):
        reader = "movable_type"
    elif ending == ".txt" and _begins_with_url(file.path):
        from recommender.sources import sitemap, web  # noqa: PLC0415

        if sitemap.is_url_list(file.path):
            return web.read_sitemap(file, _read)
    if not reader:
        from recommender.sources import sitemap, web  # noqa: PLC0415

        root = sitemap.root_name(file.path)
        if root in ("urlset", "sitemapindex"):
            return web.read_sitemap(file, _read)
        with file.path.open("rb") as opened:
            reader = "wordpress" if b"wordpress.org/export/" in opened.read(MAX_SNIFFED_BYTES) else "feed"
    entries: Iterator[Entry] = importlib.import_module(f"recommender.sources.{reader}").read(file)
    return entries


def _begins_with_url(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(11).removeprefix(b"\xef\xbb\xbf").startswith(b"http")
    return False


def _wide_encoding(path: Path) -> str:
    """Return "utf-16" or the like for a file of two bytes per character; an empty string for any other."""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(2)
        if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        if len(head) == 2 and 0 in head:  # JSON begins with an ASCII character
            return "utf-16-le" if head[1] == 0 else "utf-16-be"
    return ""


def _read_wide(file: File, encoding: str) -> Iterator[Entry]:
    """Read a file in UTF-16 from a copy in UTF-8."""
    with TemporaryDirectory(prefix="recommender-") as folder:
        path = Path(folder, file.path.name)
        with file.path.open(encoding=encoding, errors="replace", newline="") as source, path.open("wb") as target:
            while text := source.read(_MAX_COPIED_CHARS):
                target.write(text.encode("utf-8", errors="replace"))
        yield from _read(replace(file, path=path))


def _file_names(folder: Path) -> list[str]:
    """Return the names of the files in a folder; an empty list if it cannot be listed."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []
