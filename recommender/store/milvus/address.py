"""The address of an index on Milvus, parsed from the value of `--index`."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from recommender.errors import IndexNotFoundError

TOKEN_VARIABLE = "RECOMMENDER_MILVUS_TOKEN"  # noqa: S105 - the name of the variable
DEFAULT_PORT = 19530  # of Milvus
LITE_SUFFIX = ".db"  # of a Milvus Lite database
LITE_NAME = "articles"  # of the index in a Milvus Lite database
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")  # valid names of collections
RESERVED_SUFFIXES = ("_terms", "_term_vectors", "_hubness", "_documents")
FORM = "milvus://HOST:19530/NAME"


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an index on Milvus.

    Attributes:
        uri: the URI for pymilvus: http://HOST:PORT, https://HOST:PORT, or the path of a Lite database.
        name: the name of the index, a prefix of the names of its collections.
        display: the address for messages, without user and password.
        token: USER:PASSWORD or an API key; empty for none.
        database: the database of the server; empty for its default.
        lite: whether it is a Milvus Lite database.
    """

    uri: str
    name: str
    display: str
    token: str = field(default="", repr=False)
    database: str = ""
    lite: bool = False

    @staticmethod
    def is_milvus(index: str) -> bool:
        """Return whether a value of `--index` is an index on Milvus rather than a folder."""
        is_folder = (Path(index) / "articles.sqlite").exists()
        return index.startswith("milvus:") or (index.endswith(LITE_SUFFIX) and not is_folder)

    @classmethod
    def parse(cls, index: str) -> Self:
        """Parse milvus://[USER:PASSWORD@]HOST[:PORT]/NAME[?tls=true][&database=DB], or PATH.db.

        Without user and password in it, $RECOMMENDER_MILVUS_TOKEN is the token.

        Raises:
            IndexNotFoundError: it has another form.
        """
        if not index.startswith("milvus:"):
            return cls(index, LITE_NAME, index, lite=True)
        try:
            parts = urlsplit(index)
            host, port = parts.hostname, parts.port or DEFAULT_PORT
            options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        except ValueError:
            host, options = None, {}
        name = parts.path.strip("/") if host else ""
        unknown = options.keys() - {"tls", "database"}
        tls = options.get("tls", "false")
        reason = ""
        if tls not in ("true", "false"):
            reason = "tls is true or false"
        elif name.endswith(RESERVED_SUFFIXES):
            reason = f"a name must not end with {', '.join(RESERVED_SUFFIXES)}, which are names of its collections"
        elif unknown:
            reason = f"{min(unknown)} is no option of it"
        elif not host or parts.scheme != "milvus" or not _NAME.fullmatch(name):
            reason = "a name has letters, digits and underscores"
        if not host or reason:
            raise IndexNotFoundError(f"The address of the index is not of the form {FORM}: {reason}.")
        token = os.environ.get(TOKEN_VARIABLE, "")
        if parts.username:
            token = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        host = f"[{host}]" if ":" in host else host
        database = options.get("database", "")
        display = f"milvus://{host}:{port}/{name}" + (f"?database={database}" if database else "")
        return cls(f"{'https' if tls == 'true' else 'http'}://{host}:{port}", name, display, token, database)
