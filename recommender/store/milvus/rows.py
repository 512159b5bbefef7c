"""Rows of the article collection: encoding an article as a row, decoding and checking it."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
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

MAX_FIELD_CHARS = 60_000  # of ASCII; longer records and terms are stored in a document
MAX_KEY_ID_BYTES = 20_000  # of an id that is in its primary key in full
MAX_ARRAY_VALUES = 4096  # in an array field
UNDATED = -(2**62)  # `published` of an article without a date
ANY_TARGET = 0  # in `link_hashes`: the article has more links than are listed
# The fields that a reader needs; the others are for filters.
FIELDS = (
    *("pk", "vector", "language", "assumed", "revision", "source"),
    *("content_hash", "record_hash", "terms", "record", "checksum"),
)


@dataclass(frozen=True, slots=True)
class StoredArticle:
    """A decoded row: an article without its text.

    Attributes:
        pk: the primary key.
        record: the fields as `Article.to_record` gives them, without the text.
        source: the label of the source.
        content_hash: `Article.content_hash`, in hexadecimal.
        record_hash: `Article.record_hash`, in hexadecimal.
        vector: float32, shape (dimensions,).
        language: the language of the terms.
        assumed: whether the language is assumed.
        term_hashes: the hashes of its terms, ascending: int64, shape (t,).
        frequencies: the frequencies of its terms: int64, shape (t,).
        revision: the revision of the index that wrote the row.
        checksum: the checksum of the row, in hexadecimal.
        has_overflow: whether record and terms are stored in a document.
    """

    pk: str
    record: Mapping[str, Any]
    source: str
    content_hash: str
    record_hash: str
    vector: NDArray[np.float32]
    language: str
    assumed: bool
    term_hashes: NDArray[np.int64]
    frequencies: NDArray[np.int64]
    revision: int
    checksum: str
    has_overflow: bool

    @property
    def id(self) -> str:
        """The article's id."""
        return str(self.record["id"])

    def summary(self) -> ArticleSummary:
        """Return the summary of the article."""
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
        """Return the whole article.

        Args:
            text: its text.

        Raises:
            ArticleError, ValueError: the article is not the one that was stored.
        """
        record = self.record
        published = datetime.fromisoformat(record["published"]) if record["published"] else None
        lists = {name: tuple(record[name]) for name in ("tags", "related", "links")}
        article = Article(**{**record, **lists, "text": text, "published": published})
        if article.record_hash.hex() != self.record_hash:
            raise ArticleError(f"Article {self.id!r} is not what was written.")
        return article


# Keys and hashes


def primary_key(id: str) -> str:
    """Return the primary key of an article: it sorts like the id and needs no quoting in expressions."""
    encoded = id.encode()
    if len(encoded) > MAX_KEY_ID_BYTES:
        return f"{encoded[:MAX_KEY_ID_BYTES].hex()}~{hashlib.blake2b(encoded, digest_size=16).hexdigest()}"
    return encoded.hex()


def value_hash(kind: str, *values: str) -> int:
    """Return the hash of a value of a filter field, 1 to 2**63 - 1."""
    digest = hashlib.blake2b("\0".join((kind, *values)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1 or 1


def term_hash(language: str, term: str) -> int:
    """Return a hash of 48 bits of a term: two of a million terms share one with a probability of 0.2 %."""
    return int.from_bytes(hashlib.blake2b(f"{language}\0{term}".encode(), digest_size=6).digest(), "big")


def target_hashes(target: str) -> list[int]:
    """Return the hashes of a link's target as an id, a URL and a title."""
    return _link_hashes(target, normalise_url(target), normalise_title(target))


def article_hashes(record: Mapping[str, Any]) -> list[int]:
    """Return the hashes of the targets by which a link can refer to an article."""
    url = normalise_url(record["url"]) if record["url"] else None
    return _link_hashes(record["id"], url, normalise_title(record["title"]))


def _link_hashes(id: str, url: str | None, title: str | None) -> list[int]:
    hashes = [value_hash("id", id)]
    return hashes + ([value_hash("url", url)] if url else []) + ([value_hash("title", title)] if title else [])


# Encoding and decoding


def encode_terms(frequencies: Mapping[int, int]) -> str:
    """Encode the frequencies of terms by term hash as base64: six bytes of each hash, then two of each frequency."""
    hashes = np.array(sorted(frequencies), dtype=">u8")
    counts = np.array([frequencies[hash] for hash in hashes.tolist()], dtype="<u2")
    blob = hashes.view(np.uint8).reshape(-1, 8)[:, 2:].tobytes() + counts.tobytes()
    return base64.b64encode(blob).decode()


def decode_terms(encoded: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the hashes of encoded terms, ascending, and their frequencies; int64, shape (t,) both."""
    blob = base64.b64decode(encoded)
    count = len(blob) // 8
    wide = np.zeros((count, 8), dtype=np.uint8)
    wide[:, 2:] = np.frombuffer(blob, dtype=np.uint8, count=6 * count).reshape(-1, 6)
    counts = np.frombuffer(blob, dtype="<u2", count=count, offset=6 * count)
    return wide.view(">u8").ravel().astype(np.int64), counts.astype(np.int64)


def row_checksum(row: Mapping[str, Any]) -> str:
    """Return the checksum over FIELDS of a row, in hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    for name in FIELDS[2:-1]:
        digest.update(f"{row[name]}\0".encode())
    digest.update(row["pk"].encode())
    digest.update(np.asarray(row["vector"], dtype="<f4").tobytes())
    return digest.hexdigest()


def encode_row(upsert: Upsert, vector: NDArray[np.float32], terms: Mapping[int, int], revision: int) -> dict[str, Any]:
    """Return the row of an article, without its term vector. Record and terms may exceed MAX_FIELD_CHARS.

    Args:
        upsert: the article.
        vector: its vector, float32, shape (dimensions,).
        terms: the frequencies of its terms by term hash.
        revision: the revision of the index that the row belongs to.
    """
    article = upsert.article
    record = article.to_record()
    del record["text"]
    link_hashes = sorted({hash for target in (*article.related, *article.links) for hash in target_hashes(target)})
    if len(link_hashes) > MAX_ARRAY_VALUES:
        link_hashes = [ANY_TARGET, *link_hashes[: MAX_ARRAY_VALUES - 1]]
    url, title = normalise_url(article.url) if article.url else None, normalise_title(article.title)
    row = {
        "pk": primary_key(article.id),
        # The precision of the local store, so that the same articles have the same scores.
        "vector": vector.astype(np.float16).astype(np.float32),
        "language": upsert.language,
        "assumed": upsert.assumed,
        "revision": revision,
        "source": upsert.source,
        "content_hash": article.content_hash.hex(),
        "record_hash": article.record_hash.hex(),
        "terms": encode_terms(terms),
        "record": json.dumps(record),
        "published": math.floor(article.published.timestamp()) if article.published else UNDATED,
        "recommend": article.recommend,
        "section": (article.section or "")[:200],
        "related_count": len(article.related),
        "source_hash": value_hash("source", upsert.source),
        "url_hash": value_hash("url", url) if url else 0,
        "title_hash": value_hash("title", title) if title else 0,
        "facet_hashes": sorted(value_hash("facet", *facet) for facet in facets(article))[:MAX_ARRAY_VALUES],
        "link_hashes": link_hashes,
    }
    row["checksum"] = row_checksum(row)
    return row


def needs_overflow(row: Mapping[str, Any]) -> bool:
    """Return whether a row's record or terms do not fit into it."""
    return max(len(row["record"]), len(row["terms"])) > MAX_FIELD_CHARS


def decode_row(row: Mapping[str, Any], overflow: tuple[str, str] | None) -> StoredArticle | None:
    """Decode a row; return None if its checksum does not match.

    Args:
        row: a row with all of FIELDS.
        overflow: record and terms, if they are stored in a document.
    """
    whole = {**row, "record": overflow[0], "terms": overflow[1]} if overflow else dict(row)
    vector = np.asarray(row["vector"], dtype=np.float32)
    whole["vector"] = vector
    try:
        if row_checksum(whole) != row["checksum"]:
            return None
        term_hashes, frequencies = decode_terms(whole["terms"])
        return StoredArticle(
            pk=row["pk"],
            record=json.loads(whole["record"]),
            source=row["source"],
            content_hash=row["content_hash"],
            record_hash=row["record_hash"],
            vector=vector,
            language=row["language"],
            assumed=bool(row["assumed"]),
            term_hashes=term_hashes,
            frequencies=frequencies,
            revision=int(row["revision"]),
            checksum=row["checksum"],
            has_overflow=overflow is not None,
        )
    except (ValueError, TypeError, KeyError):
        return None


def quote(text: str) -> str:
    """Quote a text of letters, digits and hyphens, such as a language code, for an expression; drop the rest."""
    return f'"{re.sub("[^A-Za-z0-9-]", "", text)}"'


# Documents of an article


def text_document(pk: str, content_hash: str) -> str:
    """Return the name of the document that contains the text of an article with this content hash."""
    return f"text/{_short_key(pk)}/{content_hash}"


def overflow_document(pk: str, checksum: str) -> str:
    """Return the name of the document that contains record and terms of a row with this checksum."""
    return f"rest/{_short_key(pk)}/{checksum}"


def document_names(stored: StoredArticle) -> list[str]:
    """Return the names of an article's documents."""
    overflow = [overflow_document(stored.pk, stored.checksum)] if stored.has_overflow else []
    return [text_document(stored.pk, stored.content_hash), *overflow]


def _short_key(pk: str) -> str:
    return hashlib.blake2b(pk.encode(), digest_size=16).hexdigest()
