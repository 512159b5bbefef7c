"""What every reader takes, a File, and what it gives, Entries."""

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recommender.article import Article

MAX_ARTICLE_BYTES = 32 * 2**20  # bytes of one article in its source
MAX_MARKUP_BYTES = 8 * 2**20  # bytes of a page with markup, whose parsers take minutes for more
_SAMPLE = 2**18  # bytes that an encoding is guessed from
EMPTY_FILE = "the file is empty"


@dataclass(frozen=True, slots=True)
class Entry:
    """One place of a source: an article, or why there is none.

    Attributes:
        where: file, and line where a file holds many articles: `export.jsonl:12`.
        article: the article, or None if it was skipped.
        id: of an article that was skipped, if it could be read: the article is still in its source.
        problems: one clause for each thing that was wrong: with an article, what was left out of it; without,
            why there is none.
        unknown: True if nobody can say which articles stood here: the file is cut short, damaged or not
            readable. A source with such an entry is not fully known.
        unpublished: True if the source says that this is a draft, unpublished or deleted: the index must not hold it.
        failed: True if the file could not be read to its end.
        names: of the fields that the record has in its source, with dots where one lies within another; not all, if
            they are many. Empty where there is no record.
        absent: names of fields that a mapping of fields asks for and the record lacks.
    """

    where: str
    article: Article | None = None
    id: str = ""
    problems: tuple[str, ...] = ()
    unknown: bool = False
    unpublished: bool = False
    failed: bool = False
    names: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file to read, and what is known of it.

    Attributes:
        path: where its content is.
        name: what it is called in messages.
        root: the folder that was named as the source, or that the one file that was named lies in.
        id: for an article that has no id or url of its own, where the kind of file holds one article only: the path
            within the root.
        fields: for names of Article, the names that the source has for them; see `record.entry`.
        strict: whether a table must have all of these fields.
        count: to be called with the number of bytes read since the last call.
        url: where it was fetched from.
    """

    path: Path
    name: str
    root: Path
    id: str
    fields: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    on_bytes_read: Callable[[int], None] = lambda read: None
    url: str | None = None

    def read_article_bytes(self, longest: int = MAX_ARTICLE_BYTES) -> "bytes | Entry":
        """Return the content of a file of one article; an Entry that says why there is none."""
        try:
            with self.path.open("rb") as file:
                content = file.read(longest + 1)
        except OSError as error:
            problem = f"the file cannot be read ({error.strerror or error})"
            return Entry(self.name, id=self.id, problems=(problem,), unknown=True)
        self.on_bytes_read(len(content))
        if len(content) > longest:
            problem = f"the file is longer than {longest // 2**20} MB, which is no page"
            return Entry(self.name, id=self.id, problems=(problem,))
        return content

    def unreadable_entry(self, error: OSError) -> Entry:
        """Return the Entry for a file of many articles that cannot be read."""
        problem = f"the file cannot be read ({error.strerror or error})"
        return Entry(self.name, problems=(problem,), unknown=True, failed=True)


def decode(content: bytes) -> str:
    """Return a page's text, in UTF-8 or else in the encoding that it most probably has."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(encoding_of(content), errors="replace")


def encoding_of(sample: bytes) -> str:
    """Return the encoding that a text most probably has, by a part of it that need not end with a whole character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes  # noqa: PLC0415 - nearly all is UTF-8

        best = from_bytes(sample[:_SAMPLE]).best()
        return best.encoding if best else "cp1252"
    return "utf-8-sig"
