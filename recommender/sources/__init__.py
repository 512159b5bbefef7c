"""Where articles come from: one module for each kind of archive, all of them giving Entries.

A source is a file or a folder. Which reader takes a file is decided by the end of its name (`READERS`).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from recommender.errors import SourceError
from recommender.sources import jsonl, pagetext
from recommender.sources.entry import Entry

__all__ = ["Entry", "Source"]

# The reader of a file is called with its path, the id for an article that has none of its own (None where the
# kind of file holds many articles), and a function to call with the number of bytes read since the last call.
Reader = Callable[[Path, str, Callable[[int], None]], Iterable[Entry]]
READERS: dict[str, Reader] = {
    ".jsonl": jsonl.read,
    ".jsonl.gz": jsonl.read,
    ".txt": pagetext.read,
}


class Source:
    """A file or folder of articles; iterating over it reads it, one Entry at a time.

    Args:
        path: a file of a known kind, or a folder, which is searched for such files with all its subfolders
            (hidden ones excepted; links to folders are not followed).

    Attributes:
        path: as given.
        size: bytes of all its files.
        done: bytes read so far by the running iteration.

    Raises:
        SourceError: there is nothing at `path`, or nothing that can be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._unlisted: list[OSError] = []
        try:
            self._files = self._find()
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read ({error.strerror or error}).") from error
        self.size = sum(size for _, size in self._files)
        self.done = 0

    def __iter__(self) -> Iterator[Entry]:
        """Read all files in the order of their paths."""
        self.done = 0
        for path, _ in self._files:
            yield from READERS[_kind(path)](path, self.article_id(path), self._count)
        for error in self._unlisted:
            problem = f"it cannot be read ({error.strerror})"
            yield Entry(error.filename, problems=(problem,), unknown=True)

    def article_id(self, path: Path) -> str:
        """Return the id for the one article of the file at `path`: its path relative to the source, with `/`."""
        return path.name if path == self.path else path.relative_to(self.path).as_posix()

    def _count(self, read: int) -> None:
        self.done += read

    def _find(self) -> list[tuple[Path, int]]:
        kinds = ", ".join(READERS)
        if self.path.is_file():
            if not _kind(self.path):
                raise SourceError(
                    f"{self.path} is of no kind that can be read. Name a file that ends in {kinds}, or a folder of "
                    f"such files."
                )
            return [(self.path, self.path.stat().st_size)]
        if not self.path.is_dir():
            what = "is neither a file nor a folder" if os.path.lexists(self.path) else "does not exist"
            raise SourceError(f"{self.path} {what}. Name a file or a folder of articles.")
        found = []
        for folder, folders, names in os.walk(self.path, onerror=self._unlisted.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                path = Path(folder, name)
                if name.startswith(".") or not _kind(path):
                    continue
                try:
                    if path.is_file():
                        found.append((path, path.stat().st_size))
                except OSError as error:
                    self._unlisted.append(error)
        if not found and self._unlisted:
            raise SourceError(f"The folder {self.path} cannot be listed ({self._unlisted[0].strerror}).")
        if not found:
            raise SourceError(f"The folder {self.path} holds no articles: no file in it ends in {kinds}.")
        return sorted(found)


def _kind(path: Path) -> str:
    """Return the key of READERS that fits the file's name, or an empty text."""
    name = path.name.lower()
    return next((ending for ending in sorted(READERS, key=len, reverse=True) if name.endswith(ending)), "")
