"""Where an index on Milvus is: what `--index` says, read as an address."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from recommender.errors import IndexNotFoundError

TOKEN = "RECOMMENDER_MILVUS_TOKEN"  # noqa: S105 - the variable that holds it
PORT = 19530  # Milvus's own default
LITE = ".db"  # how the name of a Milvus Lite database ends
LITE_NAME = "articles"  # of the index in one
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")  # of a collection
RESERVED = ("_terms", "_words", "_hubness", "_documents")
EXAMPLE = "milvus://HOST:19530/NAME"


@dataclass(frozen=True, slots=True)
class Address:
    """An index on Milvus.

    Attributes:
        uri: what pymilvus connects to: http://HOST:PORT, https://HOST:PORT, or the path of a Lite database.
        name: the name of the index there, which its collections begin with.
        shown: the address as messages show it, without user and password.
        token: USER:PASSWORD or an API key; empty for none.
        database: the database of the server; empty for its default.
        lite: whether it is Milvus Lite.
    """

    uri: str
    name: str
    shown: str
    token: str = field(default="", repr=False)
    database: str = ""
    lite: bool = False

    @staticmethod
    def is_one(index: str) -> bool:
        """Tell whether what `--index` says is an index on Milvus and not a folder."""
        return index.startswith("milvus:") or (index.endswith(LITE) and not (Path(index) / "articles.sqlite").exists())

    @classmethod
    def of(cls, index: str) -> Self:
        """Read an address: milvus://[USER:PASSWORD@]HOST[:PORT]/NAME[?tls=true][&database=DB], or PATH.db.

        Without user and password in it, $RECOMMENDER_MILVUS_TOKEN is taken if it is set.

        Raises:
            IndexNotFoundError: it is not one.
        """
        if not index.startswith("milvus:"):
            return cls(index, LITE_NAME, index, lite=True)
        try:
            parts = urlsplit(index)
            host, port = parts.hostname, parts.port or PORT
            options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        except ValueError:
            host, options = None, {}
        name = parts.path.strip("/") if host else ""
        unknown = options.keys() - {"tls", "database"}
        tls = options.get("tls", "false")
        odd = tls not in ("true", "false") or name.endswith(RESERVED)
        if not host or parts.scheme != "milvus" or not _NAME.fullmatch(name) or unknown or odd:
            what = f"{min(unknown)} is no option of it" if unknown else "a name has letters, digits and underscores"
            if tls not in ("true", "false"):
                what = "tls is true or false"
            elif name.endswith(RESERVED):
                what = f"no name ends with {', '.join(RESERVED)}, as collections of an index do"
            raise IndexNotFoundError(f"The address of the index is not of the form {EXAMPLE}: {what}.")
        token = os.environ.get(TOKEN, "")
        if parts.username:
            token = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        host = f"[{host}]" if ":" in host else host
        database = options.get("database", "")
        shown = f"milvus://{host}:{port}/{name}" + (f"?database={database}" if database else "")
        return cls(f"{'https' if tls == 'true' else 'http'}://{host}:{port}", name, shown, token, database)
