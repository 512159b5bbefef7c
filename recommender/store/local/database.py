"""The SQLite database of a local index: its schema, its connections and its errors.

docs/decisions/0001-sqlite-in-rollback-journal-mode.md explains the choice of the journal mode.
"""

import contextlib
import errno
import logging
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import quote

from recommender.errors import (
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    IndexPermissionError,
    RecommenderError,
)

DATABASE = "articles.sqlite"  # file name in the folder of an index
FORMAT = 1
APPLICATION_ID = 0x52434D44  # "RCMD"
BUSY_SECONDS = 30.0
PAGE_CACHE_KB = 8192  # per connection; SQLite's default of 2 MB cannot hold the B-tree pages of a million rows
MAX_VALUE_BYTES = 512 * 2**20  # of a value or a statement
LIST = "(SELECT value FROM json_each(?))"  # the right side of IN; bind a JSON list
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # starts a journal; also ends one that names a super-journal
_log = logging.getLogger("recommender")

SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE model_files (          -- files of a model that exists only in this index
    name TEXT PRIMARY KEY,
    content BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE articles (
    key INTEGER PRIMARY KEY,        -- never reused, so that a derived file cannot name another article by it
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    url TEXT,
    published TEXT,                 -- ISO 8601 with offset
    section TEXT,
    tags TEXT NOT NULL,             -- JSON list
    language TEXT,
    metadata TEXT NOT NULL,         -- JSON object
    source TEXT NOT NULL,
    content_hash BLOB NOT NULL,
    record_hash BLOB NOT NULL,
    recommend INTEGER NOT NULL,     -- 0: appears in no block
    block INTEGER NOT NULL,         -- 0: has no block
    url_key TEXT,
    title_key TEXT,
    time INTEGER,                   -- published, in whole seconds since 1970
    revision INTEGER NOT NULL,      -- that wrote this version of the article
    checksum INTEGER NOT NULL       -- of the columns above; record_hash covers texts and links
);
CREATE INDEX articles_time ON articles (time, id) WHERE time IS NOT NULL;
CREATE INDEX articles_revision ON articles (revision);
CREATE INDEX articles_not_recommended ON articles (key) WHERE NOT recommend;
CREATE INDEX articles_url ON articles (url_key) WHERE url_key IS NOT NULL;
CREATE INDEX articles_title ON articles (title_key) WHERE title_key IS NOT NULL;
CREATE INDEX articles_source ON articles (source, id);
CREATE TABLE texts (key INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE vectors (
    key INTEGER PRIMARY KEY,
    vector BLOB NOT NULL,           -- float16, little-endian
    revision INTEGER NOT NULL,      -- that wrote the vector
    checksum INTEGER NOT NULL
);
CREATE INDEX vectors_revision ON vectors (revision);
CREATE TABLE lexical (              -- an article's terms
    key INTEGER PRIMARY KEY,
    language TEXT NOT NULL,         -- ISO 639, or "und"
    assumed INTEGER NOT NULL,       -- 1: the archive's dominant language, as neither source nor text shows another
    terms BLOB NOT NULL,            -- term ids, uint32 ascending, then their frequencies, uint16; little-endian
    checksum INTEGER NOT NULL
);
CREATE INDEX lexical_language ON lexical (language, key);
CREATE INDEX lexical_assumed ON lexical (key) WHERE assumed;
CREATE TABLE terms (
    term_id INTEGER PRIMARY KEY,
    language TEXT NOT NULL,         -- a term belongs to one language
    term TEXT NOT NULL,
    document_frequency INTEGER NOT NULL,
    checksum INTEGER NOT NULL,      -- linear in document_frequency, so that an update can add to both
    UNIQUE (language, term)
);
CREATE TABLE languages (
    language TEXT PRIMARY KEY,
    articles INTEGER NOT NULL,      -- number of articles in it
    assumed INTEGER NOT NULL,       -- number of these whose language is assumed
    checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE hubness (              -- null: not computed since the article changed
    key INTEGER PRIMARY KEY,
    value REAL,                     -- mean score to the article's 10 nearest
    checksum INTEGER
);
CREATE INDEX hubness_unknown ON hubness (key) WHERE value IS NULL;
CREATE TABLE links (                -- as the source writes them; a target may be added later
    key INTEGER NOT NULL,
    kind TEXT NOT NULL,             -- "related", an editorial link, or "links", one in the body
    position INTEGER NOT NULL,
    target TEXT NOT NULL,           -- an id, a url or a title
    url_key TEXT,
    title_key TEXT,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (key, kind, position)
) WITHOUT ROWID;
CREATE TABLE facets (               -- values that articles are filtered by
    field TEXT NOT NULL,            -- "section", "tags", or a name of the metadata
    value TEXT NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (field, value, key)
) WITHOUT ROWID;
CREATE INDEX facets_key ON facets (key);
CREATE TABLE policy (               -- settings of blocks, pins, bans and rules: one row, or none
    id INTEGER PRIMARY KEY CHECK (id = 1),
    edits INTEGER NOT NULL,         -- number of edits so far
    document TEXT NOT NULL,         -- JSON
    checksum INTEGER NOT NULL
);
CREATE TABLE removed (              -- keys removed since the derived files were built
    key INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
"""


def open_reader(file: Path) -> sqlite3.Connection:
    """Open the database read-only. Needs no write permission and creates no file."""
    connection = sqlite3.connect(
        f"file:{quote(str(file.resolve()))}?mode=ro",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    _harden(connection)
    return connection


def open_writer(file: Path) -> sqlite3.Connection:
    """Open the database for writing; create an empty one if there is none."""
    _check_journal(file)
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    _harden(connection)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA cache_spill = OFF")  # a spill would lock out readers before the commit
    return connection


def _harden(connection: sqlite3.Connection) -> None:
    """Restrict a connection to an untrusted file: no SQL functions in its schema, no oversized values."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)


def journal_path(file: Path) -> Path:
    """Return the path of SQLite's rollback journal for a database."""
    return file.with_name(file.name + "-journal")


def _check_journal(file: Path) -> None:
    """Refuse a journal that names a super-journal, which this package never writes.

    SQLite would delete the file that such a journal names, wherever it is.

    Raises:
        IndexFormatError: the journal names one.
    """
    with contextlib.suppress(FileNotFoundError), journal_path(file).open("rb") as journal:
        journal.seek(0, os.SEEK_END)
        if journal.tell() >= len(_JOURNAL_MAGIC):
            journal.seek(-len(_JOURNAL_MAGIC), os.SEEK_END)
            if journal.read() == _JOURNAL_MAGIC:
                raise IndexFormatError(
                    f"{journal_path(file)} is not a journal of recommender, and nothing was done with it. Find out who "
                    f"put it there, and remove it."
                )


def open_rolled_back_copy(file: Path) -> tuple[sqlite3.Connection, Path] | None:
    """Open a copy of a database whose writer was killed within a commit.

    Rolling back in place needs write permission; a reader rolls back a copy in a temporary folder.

    Returns:
        The connection and the folder, which the caller removes; None if a writer changed the database during the
        copy, so that the database itself can be opened.
    """
    _check_journal(file)
    before = _state(file)
    folder = Path(tempfile.mkdtemp(prefix="recommender-"))
    connection = None
    try:
        copy = folder / file.name
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(journal_path(file), journal_path(copy))
            shutil.copyfile(file, copy)
            _check_journal(copy)
            if _state(file) == before:
                connection = sqlite3.connect(copy, isolation_level=None, check_same_thread=False)
                _harden(connection)
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    finally:
        if connection is None:
            shutil.rmtree(folder, ignore_errors=True)
    if connection is None:
        return None
    _log.warning(
        "The last write to %s was cut off within its commit. This reader uses a copy in which it is undone; the next "
        "build or add undoes it in place.",
        file,
    )
    return connection, folder


def _state(file: Path) -> list[tuple[int, int, int] | None]:
    """Return inode, size and time of the database and its journal, which differ after a write."""
    state: list[tuple[int, int, int] | None] = []
    for path in (file, journal_path(file)):
        try:
            stat = path.stat()
            state.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except FileNotFoundError:
            state.append(None)
    return state


def is_written(connection: sqlite3.Connection, index_path: Path) -> bool:
    """Return whether the database holds an index; False if its first write was cut off.

    Raises:
        IndexFormatError: the database belongs to another program, or has another format.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    schema = _read_schema(connection)
    if application == version == 0 and not schema:
        return False
    # A foreign trigger or view would run in place of a table.
    if application != APPLICATION_ID or (version == FORMAT and schema != _expected_schema()):
        raise IndexFormatError(
            f"{index_path} holds a database that is not an index of recommender. Name another folder."
        )
    if version != FORMAT:
        raise IndexFormatError(
            f"The index {index_path} has format {version}; this version of recommender reads format {FORMAT}. "
            f"Install the version that made it, or build the index anew in another folder."
        )
    return True


def _read_schema(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Return type, name, table and normalised SQL of every schema object."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return {(*row, _normalised_sql(str(sql or ""))) for *row, sql in rows}


@lru_cache(maxsize=256)
def _normalised_sql(sql: str) -> str:
    """Return SQL without comments and line breaks."""
    return " ".join(re.sub("--.*", "", sql).split())


@cache
def _expected_schema() -> set[tuple[str, ...]]:
    """Return the schema objects of an index."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        return _read_schema(connection)


def index_not_found_error(index_path: Path) -> IndexNotFoundError:
    """Return the error for a path without an index, with a hint at an index nearby."""
    if index_path.exists() and not index_path.is_dir():
        return IndexNotFoundError(f"{index_path} is a file, and an index is a folder. Name a folder with --index.")
    reason = "the folder holds no index" if index_path.is_dir() else "it does not exist"
    children = sorted(index_path.iterdir()) if index_path.is_dir() else []
    folders = [*children, Path("index/examples"), index_path.parent / "examples"]
    existing = next((folder for folder in folders if (folder / DATABASE).is_file()), None)
    hint = f", or ask one that is there: --index {existing}" if existing else ", or name another with --index"
    option = "" if index_path == Path("index/default") else f" --index {index_path}"
    return IndexNotFoundError(
        f"There is no index at {index_path.absolute()} ({reason}). "
        f"Make one with `recommender build SOURCE{option}`{hint}."
    )


@contextlib.contextmanager
def translate_errors(index_path: Path) -> Iterator[None]:
    """Translate errors of sqlite3 and the operating system into this package's errors, which name the index."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a mistake in this package
    except sqlite3.Error as error:
        raise _sqlite_error(error, index_path) from error
    except PermissionError as error:
        raise _permission_error(index_path) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full_error(index_path) from error
        raise RecommenderError(f"The index {index_path} cannot be read or written: {error}.") from error


def article_damaged_error(index_path: Path, id: str) -> IndexDamagedError:
    """Return the error for an article whose stored rows fail their checks."""
    return IndexDamagedError(
        f"Article {id!r} in the index {index_path} is damaged: it is not what was written. Remove the article with "
        f"`recommender remove`, then build again from its source."
    )


def index_damaged_error(index_path: Path, part: str) -> IndexDamagedError:
    """Return the error for damage to a part that cannot be recomputed from the articles."""
    return IndexDamagedError(
        f"The index {index_path} is damaged: {part} is not what was written. Build it anew: remove the folder and run "
        f"`recommender build` on its sources."
    )


def derived_data_damaged_error(index_path: Path, part: str) -> IndexDamagedError:
    """Return the error for damage to a part that `recommender verify --repair` recomputes from the articles."""
    return IndexDamagedError(
        f"The index {index_path} is damaged: {part} is not what was written. `recommender verify --repair` makes it "
        f"again from the articles."
    )


def _disk_full_error(index_path: Path) -> RecommenderError:
    return RecommenderError(
        f"There is no room left on the disk of the index {index_path}. What was written before is intact; make room "
        f"and run the same command again."
    )


def _permission_error(index_path: Path) -> IndexPermissionError:
    """Return the error for an index that the user may not read or, if its database is readable, may not change."""
    action = "change" if os.access(index_path / DATABASE, os.R_OK) else "use"
    return IndexPermissionError(
        f"You have no right to {action} the index {index_path}. Run the command as the user who owns it, or change its "
        f"rights."
    )


def _sqlite_error(error: sqlite3.Error, index_path: Path) -> RecommenderError:
    """Return the error of this package for an error of SQLite."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return IndexLockedError(
            f"The index {index_path} is in use by another process and did not become free in {BUSY_SECONDS:.0f} "
            f"seconds. Try again when it has finished."
        )
    file = index_path / DATABASE
    unreadable = name.startswith("SQLITE_CANTOPEN") and file.exists() and not os.access(file, os.R_OK)
    if unreadable or name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return _permission_error(index_path)
    if name.startswith("SQLITE_CANTOPEN"):
        return IndexPermissionError(
            f"The index {index_path} cannot be opened ({error}). Check who may read and write it."
        )
    if name == "SQLITE_FULL":
        return _disk_full_error(index_path)
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")) or not isinstance(error, sqlite3.OperationalError):
        return IndexDamagedError(
            f"The index {index_path} is damaged ({error}). Build it anew: remove the folder and run `recommender "
            f"build` on its sources."
        )
    return RecommenderError(f"The index {index_path} cannot be read or written: {error}.")
