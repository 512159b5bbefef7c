"""The SQLite file of a local index: its schema, how it is opened, and how its errors are told.

See docs/decisions.md for the choice of the rollback journal over a write-ahead log.
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
    IndexPermissionError,
    RecommenderError,
)

DATABASE = "articles.sqlite"  # its name in the folder of an index
FORMAT = 1
APPLICATION_ID = 0x52434D44  # "RCMD"
BUSY_SECONDS = 30.0
CACHE_KB = 8192  # of its pages that a connection keeps; SQLite's own 2 MB hold no path to one of a million rows
LONGEST = 512 * 2**20  # bytes of a value or a statement
LIST = "(SELECT value FROM json_each(?))"  # what a JSON list holds, for IN
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # at the beginning of a journal; at its end, after another's name
_log = logging.getLogger("recommender")

SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE model_files (          -- of a model that is not found elsewhere
    name TEXT PRIMARY KEY,
    content BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE articles (
    key INTEGER PRIMARY KEY,        -- never used again, so that a search file cannot name another article by it
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
    recommend INTEGER NOT NULL,     -- 0: stands in no block
    block INTEGER NOT NULL,         -- 0: has no block
    url_key TEXT,
    title_key TEXT,
    time INTEGER,                   -- published, in whole seconds since 1970
    change INTEGER NOT NULL,        -- the change that brought this version of it
    checksum INTEGER NOT NULL       -- of all above; record_hash checks texts and links
);
CREATE INDEX articles_time ON articles (time, id) WHERE time IS NOT NULL;
CREATE INDEX articles_change ON articles (change);
CREATE INDEX articles_held_back ON articles (key) WHERE NOT recommend;
CREATE INDEX articles_url ON articles (url_key) WHERE url_key IS NOT NULL;
CREATE INDEX articles_title ON articles (title_key) WHERE title_key IS NOT NULL;
CREATE INDEX articles_source ON articles (source, id);
CREATE TABLE texts (key INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE vectors (
    key INTEGER PRIMARY KEY,
    vector BLOB NOT NULL,           -- float16, little-endian
    change INTEGER NOT NULL,        -- the change that brought it
    checksum INTEGER NOT NULL
);
CREATE INDEX vectors_change ON vectors (change);
CREATE TABLE lexical (              -- an article's terms
    key INTEGER PRIMARY KEY,
    language TEXT NOT NULL,         -- ISO 639, or "und"
    assumed INTEGER NOT NULL,       -- 1: neither the source nor the text tells it; it is the archive's dominant one
    terms BLOB NOT NULL,            -- their numbers, uint32 ascending, then their frequencies, uint16; little-endian
    checksum INTEGER NOT NULL
);
CREATE INDEX lexical_language ON lexical (language, key);
CREATE INDEX lexical_assumed ON lexical (key) WHERE assumed;
CREATE TABLE terms (
    number INTEGER PRIMARY KEY,
    language TEXT NOT NULL,         -- a term belongs to one language
    term TEXT NOT NULL,
    articles INTEGER NOT NULL,      -- in how many articles it stands
    checked INTEGER NOT NULL,       -- what all of it is checked by
    UNIQUE (language, term)
);
CREATE TABLE languages (
    language TEXT PRIMARY KEY,
    articles INTEGER NOT NULL,      -- how many articles are in it
    assumed INTEGER NOT NULL,       -- of which so many by assumption
    checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE hubness (              -- null: not known, or not any more
    key INTEGER PRIMARY KEY,
    value REAL,                     -- the mean score to the article's 10 nearest
    checksum INTEGER
);
CREATE INDEX hubness_unknown ON hubness (key) WHERE value IS NULL;
CREATE TABLE links (                -- as written; their targets may come later
    key INTEGER NOT NULL,
    kind TEXT NOT NULL,             -- "related", an editorial link, or "links", one in the body
    position INTEGER NOT NULL,
    target TEXT NOT NULL,           -- an id, a url or a title
    url_key TEXT,
    title_key TEXT,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (key, kind, position)
) WITHOUT ROWID;
CREATE TABLE facets (               -- the values that articles are filtered by
    field TEXT NOT NULL,            -- "section", "tags", or a name of the metadata
    value TEXT NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (field, value, key)
) WITHOUT ROWID;
CREATE INDEX facets_key ON facets (key);
CREATE TABLE policy (               -- settings of blocks, pins, bans and rules: one row, or none
    one INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL,        -- how often it was changed
    document TEXT NOT NULL,         -- JSON
    checksum INTEGER NOT NULL
);
CREATE TABLE removed (              -- since the search file was made
    key INTEGER PRIMARY KEY,
    change INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
"""


def index_not_found_error(path: Path) -> str:
    """Say that there is no index in a folder, and how to get one."""
    if path.exists() and not path.is_dir():
        return f"{path} is a file, and an index is a folder. Name a folder with --index."
    what = "the folder holds no index" if path.is_dir() else "it does not exist"
    folders = [*(sorted(path.iterdir()) if path.is_dir() else ()), Path("index/examples"), path.parent / "examples"]
    ready = next((folder for folder in folders if (folder / DATABASE).is_file()), None)
    hint = f", or ask one that is there: --index {ready}" if ready else ", or name another with --index"
    option = "" if path == Path("index/default") else f" --index {path}"
    return f"There is no index at {path.absolute()} ({what}). Make one with `recommender build SOURCE{option}`{hint}."


def open_reader(file: Path) -> sqlite3.Connection:
    """Open the database for reading only. Needs no right to write and leaves nothing behind."""
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
    """Open the database for writing; makes it, empty, if it is not there."""
    _check_journal(file)
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    _harden(connection)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA cache_spill = OFF")  # a spill would lock readers out before the commit
    return connection


def _harden(connection: sqlite3.Connection) -> None:
    """Trust nothing in a file that others may have made: no functions in its schema, no values of any length."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)


def journal_of(file: Path) -> Path:
    """Return where SQLite keeps what a running or broken-off transaction has to undo."""
    return file.with_name(file.name + "-journal")


def _check_journal(file: Path) -> None:
    """Refuse a journal that belongs to a transaction over several databases, which this package never makes.

    SQLite deletes the file that such a journal names at its end, wherever it is.
    """
    with contextlib.suppress(FileNotFoundError), journal_of(file).open("rb") as journal:
        journal.seek(0, os.SEEK_END)
        if journal.tell() >= len(_JOURNAL_MAGIC):
            journal.seek(-len(_JOURNAL_MAGIC), os.SEEK_END)
            if journal.read() == _JOURNAL_MAGIC:
                raise IndexFormatError(
                    f"{journal_of(file)} is not a journal of recommender, and nothing was done with it. Find out who "
                    f"put it there, and remove it."
                )


def open_rolled_back_copy(file: Path) -> tuple[sqlite3.Connection, Path] | None:
    """Open a copy of a database whose writer was killed within a commit.

    Undoing that transaction in place needs the right to write; a reader undoes it in a folder of its own.

    Returns:
        The connection, and the folder, which the caller removes; None if a writer was at work during the copying,
        so that the database can be opened as it is by now.
    """
    _check_journal(file)
    before = _state(file)
    folder = Path(tempfile.mkdtemp(prefix="recommender-"))
    connection = None
    try:
        copy = folder / file.name
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(journal_of(file), journal_of(copy))
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
        "The last write to %s was cut off within its commit. It is undone in a copy for this reading; the next "
        "build or add undoes it for good.",
        file,
    )
    return connection, folder


def _state(file: Path) -> list[tuple[int, int, int] | None]:
    """Return what changes when a writer touches the database or its journal."""
    state: list[tuple[int, int, int] | None] = []
    for path in (file, journal_of(file)):
        try:
            found = path.stat()
            state.append((found.st_ino, found.st_size, found.st_mtime_ns))
        except FileNotFoundError:
            state.append(None)
    return state


def is_written(connection: sqlite3.Connection, place: Path) -> bool:
    """Return whether the database holds an index; False for one whose first write was cut off.

    Raises:
        IndexFormatError: it is another program's database, or of another format.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = _tables(connection)
    if application == version == 0 and not tables:
        return False
    # A trigger or a view of somebody else's would be run where a table is meant.
    if application != APPLICATION_ID or (version == FORMAT and tables != _expected()):
        raise IndexFormatError(f"{place} holds a database that is not an index of recommender. Name another folder.")
    if version != FORMAT:
        raise IndexFormatError(
            f"The index {place} has format {version}; this version of recommender reads format {FORMAT}. "
            f"Install the version that made it, or build the index anew in another folder."
        )
    return True


def _tables(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Return all that a database is made of: kind, name, table, and SQL without comments and line breaks."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return {(*row, _plain(str(sql or ""))) for *row, sql in rows}


@lru_cache(maxsize=256)
def _plain(sql: str) -> str:
    return " ".join(re.sub("--.*", "", sql).split())


@cache
def _expected() -> set[tuple[str, ...]]:
    """Return what an index is made of."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        return _tables(connection)


@contextlib.contextmanager
def translate_errors(place: Path) -> Iterator[None]:
    """Tell what SQLite and the operating system raise inside as errors of this package, naming the index."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a mistake in this package
    except sqlite3.Error as error:
        raise _told_sqlite(error, place) from error
    except PermissionError as error:
        raise _no_right(place) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RecommenderError(_no_room(place)) from error
        raise RecommenderError(f"The index {place} cannot be read or written: {error}.") from error


def article_damaged_error(place: Path, id: str) -> IndexDamagedError:
    """Return the error for an article that is not what was written."""
    return IndexDamagedError(
        f"Article {id!r} in the index {place} is damaged: it is not what was written. Remove the article with "
        f"`recommender remove`, then build again from its source."
    )


def index_damaged_error(place: Path, what: str) -> IndexDamagedError:
    """Return the error for what is damaged and stands nowhere else."""
    return IndexDamagedError(
        f"The index {place} is damaged: {what} is not what was written. Build it anew: remove the folder and run "
        f"`recommender build` on its sources."
    )


def countable(place: Path, what: str) -> IndexDamagedError:
    """Return the error for what is damaged and can be found again from the articles."""
    return IndexDamagedError(
        f"The index {place} is damaged: {what} is not what was written. `recommender verify --repair` makes it again "
        f"from the articles."
    )


def _no_room(place: Path) -> str:
    return (
        f"There is no room left on the disk of the index {place}. What was written before is intact; make room "
        f"and run the same command again."
    )


def _no_right(place: Path) -> IndexPermissionError:
    """Return the error that the user may not read the index, or, if its file is readable, may not change it."""
    action = "change" if os.access(place / DATABASE, os.R_OK) else "use"
    return IndexPermissionError(
        f"You have no right to {action} the index {place}. Run the command as the user who owns it, or change its "
        f"rights."
    )


def _told_sqlite(error: sqlite3.Error, place: Path) -> RecommenderError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return IndexLockedError(
            f"The index {place} is in use by another process and did not become free in {BUSY_SECONDS:.0f} seconds. "
            f"Try again when it has finished."
        )
    file = place / DATABASE
    unreadable = name.startswith("SQLITE_CANTOPEN") and file.exists() and not os.access(file, os.R_OK)
    if unreadable or name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return _no_right(place)
    if name.startswith("SQLITE_CANTOPEN"):
        return IndexPermissionError(f"The index {place} cannot be opened ({error}). Check who may read and write it.")
    if name == "SQLITE_FULL":
        return RecommenderError(_no_room(place))
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")) or not isinstance(error, sqlite3.OperationalError):
        return IndexDamagedError(
            f"The index {place} is damaged ({error}). Build it anew: remove the folder and run `recommender build` "
            f"on its sources."
        )
    return RecommenderError(f"The index {place} cannot be read or written: {error}.")
