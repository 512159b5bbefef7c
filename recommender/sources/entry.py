"""File, the input of every reader, and Entry, the output."""

import codecs
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recommender.article import Article
from recommender.sources.generators.base import Page, Site, exclusion, relative_path

MAX_ARTICLE_BYTES = 32 * 2**20  # size of one article in its source
MAX_MARKUP_BYTES = 8 * 2**20  # size of a page with markup; parsers need minutes for larger ones
ENCODING_SAMPLE_BYTES = 2**18
MAX_DECLARATION_BYTES = 1024  # within which a page declares its encoding
MIN_UTF8_SHARE = 1  # characters of UTF-8 per byte that is none, in a text that is UTF-8
STRAY_BYTES = "recommender.stray_bytes"  # the error handler for decoding
EMPTY_FILE = "the file is empty"
ONE_PAGE = "it is one page of several, and the articles of the others are not in it"
UNPUBLISHED = "unpublished"  # a value of Entry.excluded, as those of generators.base are
_DECLARED = re.compile(rb"(?:charset|encoding)\s*=\s*[\"']?([\w-]+)", re.I)
_WESTERN_LETTERS = tuple(
    frozenset(letters)
    for letters in (
        "äöüßéèà", "àâæçéèêëîïôœùûüÿ", "áéíóúüñºª", "áâãàçéêíóôõúüºª", "àèéìòùîºª", "åäöéüà", "æøåéèòóô", "áéëïóöüèíú",
        "áéíóúýðþæö", "àçèéíïòóúü",
    )
)  # fmt: skip
_WESTERN_SIGNS = frozenset("«»‹›“”„‘’‚–—…•€£§©®°·¿¡™½¼¾²³×´\xa0\xad")


@dataclass(frozen=True, slots=True)
class Entry:
    """An article of a source, or the reason why a record was skipped.

    Attributes:
        where: the file, with the line or record in a file of many articles: `export.jsonl:12`.
        article: the article, or None if it was skipped.
        id: the id of a skipped article, if it could be read; its stored version is not removed as missing.
        problems: clauses: with an article, about fields that were left out; without one, why it was skipped.
        unknown: whether articles may have been missed: the file is cut short, damaged or unreadable. Articles that
            are missing from a source with such an Entry are not removed.
        excluded: why the index must not contain a record that was read: UNPUBLISHED, LIST_PAGE, or another noun or
            adjective of one or two words ("draft", "expired"), which reports count; `problems` contains the details.
            Empty for any other record.
        failed: whether the file could not be read to its end.
        names: the record's field names in its source, with dots for nested fields; at most 40.
        absent: the field names of the mapping that the record lacks.
    """

    where: str
    article: Article | None = None
    id: str = ""
    problems: tuple[str, ...] = ()
    unknown: bool = False
    excluded: str = ""
    failed: bool = False
    names: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file to read.

    Attributes:
        path: the path to read.
        name: its name in messages.
        root: the folder of the source.
        id: the path within the root: the id of the article of a one-article file that gives neither id nor url.
        fields: the source's names for fields of Article; see `record.record_entry`.
        strict: whether a table must have all fields of the mapping.
        on_bytes_read: called with the number of bytes read since the last call.
        url: the URL that it was fetched from.
        site: the site that its source belongs to; None for a site of an unknown generator.
    """

    path: Path
    name: str
    root: Path
    id: str
    fields: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    on_bytes_read: Callable[[int], None] = lambda read: None
    url: str | None = None
    site: Site | None = None

    def page(self, front: Mapping[str, Any]) -> Page:
        """Return how the site publishes the file, given its front matter with names in lower case."""
        if self.site is None:
            page = Site(self.root).page(self.id, front)
        else:
            page = self.site.page(relative_path(self.path.absolute(), self.site.root), front)
        return page if page.excluded else replace(page, excluded=exclusion(self.id, front))

    def excluded_entry(self, page: Page, id: str | None = None) -> "Entry":
        """Return the Entry of a file that is no article of the site."""
        rules = "the site" if self.site is None or self.site.name == Site.name else f"a site of {self.site.name}"
        problem = f"it is no article of {rules} ({page.excluded})"
        return Entry(self.name, id=id or self.id, problems=(problem,), excluded=page.excluded)

    def read_article_bytes(self, max_bytes: int = MAX_ARTICLE_BYTES) -> "bytes | Entry":
        """Return the content of the file; an Entry with the problem if it is unreadable or longer than `max_bytes`."""
        try:
            with self.path.open("rb") as file:
                content = file.read(max_bytes + 1)
        except OSError as error:
            problem = f"the file cannot be read ({error.strerror or error})"
            return Entry(self.name, id=self.id, problems=(problem,), unknown=True)
        self.on_bytes_read(len(content))
        if len(content) > max_bytes:
            problem = f"the file is longer than {max_bytes // 2**20} MB, the limit for a file of this kind"
            return Entry(self.name, id=self.id, problems=(problem,))
        return content

    def unreadable_entry(self, error: OSError) -> Entry:
        """Return the Entry for a file of many articles that raised `error`."""
        problem = f"the file cannot be read ({error.strerror or error})"
        return Entry(self.name, problems=(problem,), unknown=True, failed=True)


def decode(content: bytes) -> str:
    """Decode a text by its most probable encoding; a stray byte costs only itself."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(encoding_of(content), errors=STRAY_BYTES)


def encoding_of(sample: bytes) -> str:
    """Return the most probable encoding of a text, given its beginning, which may end within a character.

    UTF-8 with some stray bytes is UTF-8. Decode with `errors=STRAY_BYTES`.
    """
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8-sig"
    except UnicodeDecodeError:
        text = sample.decode("utf-8", errors="replace")
    replaced = text.count("\ufffd") - sample.count("\ufffd".encode())
    if sum(not char.isascii() for char in text) - replaced >= MIN_UTF8_SHARE * replaced:
        return "utf-8-sig"
    if (declared := _DECLARED.search(sample[:MAX_DECLARATION_BYTES])) and _decodes(sample, declared[1].decode()):
        return declared[1].decode()
    if _is_western(sample.decode("cp1252", errors="replace")):
        return "cp1252"
    from charset_normalizer import from_bytes  # noqa: PLC0415 - most files are UTF-8

    best = from_bytes(sample[:ENCODING_SAMPLE_BYTES]).best()
    return best.encoding if best else "cp1252"


def _decodes(sample: bytes, encoding: str) -> bool:
    try:
        return bool(codecs.getincrementaldecoder(encoding)().decode(sample))
    except (LookupError, UnicodeDecodeError, AttributeError):
        return False


def _is_western(text: str) -> bool:
    """Return whether the letters of a text are those of one language that is written in cp1252, and few have accents.

    charset-normalizer often takes short texts for those of an old code page with other letters.
    """
    letters = {char.lower() for char in text if not char.isascii() and char.isalpha()}
    accented = sum(not char.isascii() for char in text if char.isalpha())
    return (
        2 * accented < sum(char.isalpha() for char in text)
        and any(letters <= alphabet for alphabet in _WESTERN_LETTERS)
        and all(char in _WESTERN_SIGNS for char in text if not char.isascii() and not char.isalpha())
    )


def _read_stray_bytes(error: UnicodeError) -> tuple[str, int]:
    """Replace a byte that is not valid in its encoding by its character in cp1252; a handler of the codecs module."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    stray = error.object[error.start : error.end]
    return (stray.decode("cp1252", errors="replace") if len(stray) == 1 else "\ufffd"), error.end


codecs.register_error(STRAY_BYTES, _read_stray_bytes)
