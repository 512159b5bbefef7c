"""How an article becomes a row of Milvus, and is read back."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article, ArticleSummary
from recommender.errors import ArticleError
from recommender.filters import facets
from recommender.store.base import Upsert
from recommender.text.clean import normalise_title
from recommender.text.urls import normalise_url, web_url

ROOM = 60_000  # bytes of a field; what is longer goes into a document
MOST_ID = 20_000  # bytes of an id that its key tells in full
MOST_VALUES = 4096  # that an array holds: filters of an article, targets of its links
UNDATED = -(2**62)  # the time of an article without a date
ANY = 0  # among the targets: the article has more links than are listed
# Of a row of the articles, all that reading takes; what filters need more is not read.
FIELDS = ("pk", "vector", "language", "assumed", "change", "source", "content", "digest", "terms", "record", "checksum")


@dataclass(frozen=True, slots=True)
class Stored:
    """An article as its row holds it, whole but for its text.

    Attributes:
        pk: its primary key.
        record: its fields as `Article.to_record` gives them, without the text.
        source: the label of its source.
        content: `Article.content_hash`, in hex.
        digest: `Article.record_hash`, in hex.
        vector: float32, shape (dimensions,).
        language: of its terms.
        assumed: whether that is assumed.
        numbers: the numbers of its terms, ascending: int64, shape (t,).
        frequencies: int64, shape (t,).
        change: the change that brought it.
        checksum: that of the row, in hex.
        long: whether record and terms stand in a document.
    """

    pk: str
    record: Mapping[str, Any]
    source: str
    content: str
    digest: str
    vector: NDArray[np.float32]
    language: str
    assumed: bool
    numbers: NDArray[np.int64]
    frequencies: NDArray[np.int64]
    change: int
    checksum: str
    long: bool

    @property
    def id(self) -> str:
        """The article's id."""
        return str(self.record["id"])

    def card(self) -> ArticleSummary:
        """Return what a link shows of it."""
        record = self.record
        url = record["url"]
        return ArticleSummary(
            record["id"],
            record["title"],
            web_url(url) if url else None,
            datetime.fromisoformat(record["published"]) if record["published"] else None,
            record["section"],
            tuple(record["tags"]),
            record["metadata"],
            block=record["block"],
        )

    def article(self, text: str) -> Article:
        """Return it whole.

        Raises:
            ArticleError, ValueError: it is not the one that was stored.
        """
        record = self.record
        published = datetime.fromisoformat(record["published"]) if record["published"] else None
        lists = {name: tuple(record[name]) for name in ("tags", "related", "links")}
        article = Article(**{**record, **lists, "text": text, "published": published})
        if article.record_hash.hex() != self.digest:
            raise ArticleError(f"Article {self.id!r} is not what was written.")
        return article


def key_of(id: str) -> str:
    """Return the primary key of an article: it sorts as the id does, and stands in an expression as it is."""
    plain = id.encode()
    if len(plain) > MOST_ID:
        return f"{plain[:MOST_ID].hex()}~{hashlib.blake2b(plain, digest_size=16).hexdigest()}"
    return plain.hex()


def short(pk: str) -> str:
    """Return what names of an article's documents begin with."""
    return hashlib.blake2b(pk.encode(), digest_size=16).hexdigest()


def hashed(kind: str, *values: str) -> int:
    """Return the number that stands for a value in a filter, 1 to 2**63 - 1."""
    made = hashlib.blake2b("\0".join((kind, *values)).encode(), digest_size=8).digest()
    return int.from_bytes(made, "big") >> 1 or 1


def term_number(language: str, term: str) -> int:
    """Return a term's number, 48 bits of a hash: no two of a million terms are likely to share one."""
    return int.from_bytes(hashlib.blake2b(f"{language}\0{term}".encode(), digest_size=6).digest(), "big")


def target_hashes(target: str) -> list[int]:
    """Return what may be meant by the target of a link: an id, a url, a title."""
    url, title = normalise_url(target), normalise_title(target)
    found = [hashed("id", target)]
    return found + ([hashed("url", url)] if url else []) + ([hashed("title", title)] if title else [])


def own_hashes(record: Mapping[str, Any]) -> list[int]:
    """Return what a link that means this article may have as its target."""
    url, title = normalise_url(record["url"]) if record["url"] else None, normalise_title(record["title"])
    found = [hashed("id", record["id"])]
    return found + ([hashed("url", url)] if url else []) + ([hashed("title", title)] if title else [])


def facet_hashes(article: Article) -> list[int]:
    """Return what an article can be filtered by, as its row has it."""
    return sorted(hashed("facet", *facet) for facet in facets(article))[:MOST_VALUES]


def pack_terms(frequencies: Mapping[int, int]) -> str:
    """Return terms, by their numbers, as they are stored: six bytes of each number, then two of each frequency."""
    numbers = np.array(sorted(frequencies), dtype=">u8")
    counts = np.array([frequencies[number] for number in numbers.tolist()], dtype="<u2")
    blob = numbers.view(np.uint8).reshape(-1, 8)[:, 2:].tobytes() + counts.tobytes()
    return base64.b64encode(blob).decode()


def unpack_terms(packed: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of stored terms, ascending, and their frequencies; int64, shape (t,) both."""
    blob = base64.b64decode(packed)
    count = len(blob) // 8
    wide = np.zeros((count, 8), dtype=np.uint8)
    wide[:, 2:] = np.frombuffer(blob, dtype=np.uint8, count=6 * count).reshape(-1, 6)
    counts = np.frombuffer(blob, dtype="<u2", count=count, offset=6 * count)
    return wide.view(">u8").ravel().astype(np.int64), counts.astype(np.int64)


def checksum(row: Mapping[str, Any]) -> str:
    """Return the checksum over what is read of a row, its vector as it is stored."""
    made = hashlib.blake2b(digest_size=16)
    for name in FIELDS[2:-1]:
        made.update(f"{row[name]}\0".encode())
    made.update(row["pk"].encode())
    made.update(np.asarray(row["vector"], dtype="<f4").tobytes())
    return made.hexdigest()


def pack(change: Upsert, vector: NDArray[np.float32], terms: Mapping[int, int], number: int) -> dict[str, Any]:
    """Return the row of an article, all but what is searched by terms. Its record and terms may be too long for it.

    Args:
        change: the article.
        vector: its vector, float32, shape (dimensions,).
        terms: the frequencies of its terms, by their numbers.
        number: the change that brings it.
    """
    article = change.article
    record = article.to_record()
    del record["text"]
    targets = sorted({hash for target in (*article.related, *article.links) for hash in target_hashes(target)})
    if len(targets) > MOST_VALUES:
        targets = [ANY, *targets[: MOST_VALUES - 1]]
    row = {
        "pk": key_of(article.id),
        # As exact as the store on one machine, so that the same articles get the same scores.
        "vector": vector.astype(np.float16).astype(np.float32),
        "language": change.language,
        "assumed": change.assumed,
        "change": number,
        "source": change.source,
        "content": article.content_hash.hex(),
        "digest": article.record_hash.hex(),
        "terms": pack_terms(terms),
        "record": json.dumps(record),
        "time": math.floor(article.published.timestamp()) if article.published else UNDATED,
        "recommend": article.recommend,
        "section": (article.section or "")[:200],
        "editorial": len(article.related),
        "origin": hashed("source", change.source),
        "url_key": _hash_of("url", normalise_url(article.url) if article.url else None),
        "title_key": _hash_of("title", normalise_title(article.title)),
        "facets": facet_hashes(article),
        "targets": targets,
    }
    row["checksum"] = checksum(row)
    return row


def _hash_of(kind: str, value: str | None) -> int:
    return hashed(kind, value) if value else 0


def is_long(row: Mapping[str, Any]) -> bool:
    """Tell whether a row's record or terms do not fit into it."""
    return max(len(row["record"]), len(row["terms"])) > ROOM


def unpack(row: Mapping[str, Any], long: tuple[str, str] | None) -> Stored | None:
    """Return an article of its row; None if the row is not what was written.

    Args:
        row: with all of FIELDS.
        long: record and terms, where they stand in a document.
    """
    whole = {**row, "record": long[0], "terms": long[1]} if long else dict(row)
    vector = np.asarray(row["vector"], dtype=np.float32)
    whole["vector"] = vector
    try:
        if checksum(whole) != row["checksum"]:
            return None
        numbers, frequencies = unpack_terms(whole["terms"])
        return Stored(
            pk=row["pk"],
            record=json.loads(whole["record"]),
            source=row["source"],
            content=row["content"],
            digest=row["digest"],
            vector=vector,
            language=row["language"],
            assumed=bool(row["assumed"]),
            numbers=numbers,
            frequencies=frequencies,
            change=int(row["change"]),
            checksum=row["checksum"],
            long=long is not None,
        )
    except (ValueError, TypeError, KeyError):
        return None


def quoted(text: str) -> str:
    """Return a text as it stands in an expression; one of plain letters, digits and hyphens, as languages are."""
    return f'"{re.sub("[^A-Za-z0-9-]", "", text)}"'


def listed(keys: Sequence[str]) -> str:
    """Return primary keys as a list in an expression."""
    return "[" + ", ".join(f'"{key}"' for key in keys) + "]"


def text_name(pk: str, content: str) -> str:
    """Return the name of the document that holds the text of an article with this content hash, in hex."""
    return f"text/{short(pk)}/{content}"


def rest_name(pk: str, checksum: str) -> str:
    """Return the name of the document that holds record and terms of a row with this checksum, if they are long."""
    return f"rest/{short(pk)}/{checksum}"


def documents_of(stored: Stored) -> list[str]:
    """Return the names of an article's documents."""
    rest = [rest_name(stored.pk, stored.checksum)] if stored.long else []
    return [text_name(stored.pk, stored.content), *rest]
