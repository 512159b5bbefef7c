"""Article, what is recommended; Card, what a link shows of it; Recommendation, one link of a block; its Reasons."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from numbers import Integral
from types import MappingProxyType
from typing import Any

from recommender.errors import ArticleError
from recommender.text.clean import clean_text, first_sentence
from recommender.text.dates import parse_date
from recommender.text.urls import web_url

__all__ = [
    "Article",
    "ArticleSummary",
    "Reasons",
    "Recommendation",
    "as_flag",
    "as_id",
    "record_id",
]

MAX_INT_BITS = 10_000  # of a number that is read as text; Python refuses to write one of more than 4,300 digits
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))  # of what is hashed


def as_id(value: object) -> str:
    """Return an article's id as `Article.id` holds it: cleaned and stripped; a whole number as its decimal text.

    Args:
        value: a str, or an int, also one of numpy's.

    Raises:
        TypeError: it is of another type, a bool among them.
    """
    if isinstance(value, str):
        return clean_text(value).strip()
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if number.bit_length() > MAX_INT_BITS:
            raise TypeError(f"An article's id is a str or an int; an int of {number.bit_length():,} bits is too long.")
        return str(number)
    raise TypeError(f"An article's id is a str or an int; {_short(value)} is of type {type(value).__name__}.")


@dataclass(frozen=True, slots=True)
class Article:
    """One article of an archive. Immutable.

    A missing title becomes the first sentence of the text. Text that UTF-8 cannot hold is replaced (see
    `clean_text`), space around the id, title and the other short fields is dropped.

    Attributes:
        id: what the archive calls the article; not empty.
        title: the headline.
        text: the body.
        url: where the article is published.
        published: when it was published, timezone-aware (a naive datetime is taken as UTC).
        section: the part of the site that it stands in.
        tags: its keywords.
        language: an ISO 639 code.
        related: its editorial links: ids, URLs or titles of other articles.
        links: what its body links to already: ids, URLs or titles of other articles.
        recommend: whether it may stand in blocks.
        block: whether it has a block itself.
        metadata: any other field of its source; values as JSON has them.

    Raises:
        ArticleError: there is no id, neither title nor text, a field has the wrong type, or the metadata are
            not JSON.
    """

    id: str
    title: str = ""
    text: str = ""
    url: str | None = None
    published: datetime | None = None
    section: str | None = None
    tags: tuple[str, ...] = ()
    language: str | None = None
    related: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    recommend: bool = True
    block: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check and clean every field."""
        put = object.__setattr__  # the way to set a field of a frozen dataclass
        with contextlib.suppress(TypeError):
            put(self, "id", as_id(self.id))
        for name in ("id", "title", "text", "url", "section", "language"):
            value = getattr(self, name)
            if value is None and name not in ("id", "title", "text"):
                continue
            if not isinstance(value, str):
                raise ArticleError(f"The {name} of article {self.id!r} is {_kind(value)}; it must be a text.")
            value = clean_text(value)
            put(self, name, value if name == "text" else value.strip() or (None if name in _OPTIONAL else ""))
        if not self.id:
            raise ArticleError("An article has no id; give it one, or a url to stand for it.")
        for name in ("recommend", "block"):
            if not isinstance(getattr(self, name), bool):
                raise ArticleError(f"The {name} of article {self.id!r} must be True or False.")
        for name in ("tags", "related", "links"):
            values = getattr(self, name)
            try:
                if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
                    raise TypeError
                # Articles that are linked to may be named by numbers.
                texts = [clean_text(value).strip() if name == "tags" else as_id(value) for value in values]
            except TypeError as error:
                raise ArticleError(f"The {name} of article {self.id!r} must be a list of texts.") from error
            put(self, name, tuple(dict.fromkeys(text for text in texts if text)))
        if self.published is not None:
            if not isinstance(self.published, datetime):
                raise ArticleError(
                    f"The published date of article {self.id!r} is {_kind(self.published)}; give a datetime, or "
                    f"use Article.from_record, which reads dates."
                )
            put(self, "published", parse_date(self.published))
        try:
            plain = json.loads(clean_text(json.dumps(dict(self.metadata), ensure_ascii=False, allow_nan=False)))
        except (TypeError, ValueError, RecursionError) as error:
            raise ArticleError(f"The metadata of article {self.id!r} are not JSON: {error}.") from error
        put(self, "metadata", MappingProxyType(plain))
        if not self.title:
            put(self, "title", first_sentence(self.text, self.language))
        if not self.title:
            raise ArticleError(f"Article {self.id!r} has neither a title nor a text; it needs one of them.")

    def __hash__(self) -> int:
        """Hash by id: the metadata have no hash of their own."""
        return hash(self.id)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy through the constructor: a MappingProxyType cannot be pickled."""
        values = [getattr(self, part.name) for part in fields(self)]
        return Article, (*values[:-1], dict(self.metadata))

    @property
    def content_hash(self) -> bytes:
        """16 bytes over what decides the article's vectors: its title and its text."""
        return content_hash(self.title, self.text)

    @property
    def record_hash(self) -> bytes:
        """16 bytes over every field: two articles with the same one are equal."""
        return _digest(list(self.to_record().values()))

    @property
    def summary(self) -> "ArticleSummary":
        """What a link shows of it."""
        return ArticleSummary(
            self.id,
            self.title,
            self.url,
            self.published,
            self.section,
            self.tags,
            dict(self.metadata),
            block=self.block,
        )

    def to_record(self) -> dict[str, Any]:
        """Return all fields as JSON has them, in the order of the class; the date in ISO 8601."""
        record = {part.name: getattr(self, part.name) for part in fields(self)}
        record["published"] = self.published.isoformat() if self.published else None
        record |= {name: list(getattr(self, name)) for name in ("tags", "related", "links")}
        record["metadata"] = dict(self.metadata)
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, id: str | None = None) -> "tuple[Article, list[str]]":
        """Make an Article of a record as exports write it: numbers for ids, dates as text, any further field.

        Args:
            record: field names and values; a name that Article does not have goes into the metadata.
            id: the id to use where the record has neither an id nor a url.

        Returns:
            The article, and one sentence for each field that could not be used and was left empty.

        Raises:
            ArticleError: no article can be made of the record.

        Example:
            >>> article, problems = Article.from_record({"id": 7, "title": "Ferry", "tags": "sea, ships"})
            >>> article.id, article.tags, problems
            ('7', ('sea', 'ships'), [])
        """
        notes: list[str] = []
        known: dict[str, Any] = {}
        metadata = dict(given) if isinstance(given := record.get("metadata"), Mapping) else {}
        for name, value in record.items():
            if name not in _FIELDS or (name == "metadata" and not isinstance(value, Mapping)):
                metadata[str(name)] = value
            elif name == "metadata" or value is None:
                continue
            elif name in ("recommend", "block"):
                if (flag := as_flag(value)) is None:  # an archive's own field of this name
                    metadata[name] = value
                else:
                    known[name] = flag
            elif name == "published" and as_flag(value) is not None:  # whether, and not when
                metadata[name] = value
            elif name == "published":
                known[name] = parse_date(value)
                if known[name] is None and value != "":
                    notes.append(
                        f"its date {_short(value)} has no reading, or more than one, and was left empty; write it as "
                        f"YYYY-MM-DD"
                    )
            elif name in ("tags", "related", "links"):
                parts = value
                if isinstance(value, str):  # tags written as one text
                    parts = value.split(",") if name == "tags" else [value]
                elif isinstance(value, list | tuple):
                    parts = [
                        _label(part, _LABELS[name]) if isinstance(part, Mapping) else part
                        for part in value
                        if part is not None
                    ]
                if isinstance(parts, list | tuple) and all(_is_scalar(part) for part in parts):
                    known[name] = tuple(str(part) for part in parts)
                else:
                    notes.append(f"its {name} are {_kind(value)}, not a list of texts, and were left empty")
            elif name == "url" and _is_scalar(value) and str(value).strip() and not web_url(str(value)):
                notes.append(
                    f"its url {_short(value)} leads to no page of http or https or of the site, and was left empty"
                )
            elif _is_scalar(value):
                known[name] = str(value)
            elif name == "section" and isinstance(value, Mapping) and (label := _label(value, _LABELS[name])):
                known[name] = str(label)
            else:
                notes.append(f"its {name} is {_kind(value)}, not a text, and was left empty")
        known["id"] = record_id(record) or id or ""
        if not known["id"]:
            raise ArticleError("the record has neither an id nor a url; give it one of them")
        if not known.get("title", "").strip() and not known.get("text", "").strip():
            raise ArticleError(f"article {_short(known['id'])} has neither a title nor a text")
        return cls(**known, metadata=metadata), notes


_FIELDS = frozenset(part.name for part in fields(Article))
_LABELS = {  # fields of an object that stand for it, the first that it has
    "section": ("name", "label", "title", "slug"),
    "tags": ("name", "label", "title", "slug"),
    "related": ("id", "url", "href", "title"),
    "links": ("url", "href", "id", "title"),
}
# Yes and no: English, German, French, Spanish, Portuguese, Italian, Dutch, Scandinavian, Slavic and other languages.
_TRUE = {
    *("1", "true", "yes", "y", "on", "ja", "wahr", "oui", "vrai", "sí", "si", "verdadero", "sim", "verdadeiro", "sì"),
    *("vero", "waar", "kyllä", "tak", "ano", "áno", "да", "так", "igen", "evet", "はい", "是", "예"),
}
_FALSE = {
    *("0", "false", "no", "n", "off", "nein", "falsch", "non", "faux", "falso", "não", "nao", "nee", "onwaar", "nej"),
    *("nei", "ei", "nie", "ne", "нет", "ні", "nem", "hayır", "いいえ", "否", "아니요"),
}
_OPTIONAL = frozenset({"url", "section", "language"})


@dataclass(frozen=True, slots=True)
class ArticleSummary:
    """What a link shows of an article.

    Attributes:
        id: the article's id.
        title: its title.
        url: where it is published, if known.
        published: when it was published, if known; timezone-aware.
        section: the part of the site that it stands in, if known.
        tags: its keywords.
        metadata: any other field of its source.
        block: whether it has a block itself.
    """

    id: str
    title: str
    url: str | None = None
    published: datetime | None = None
    section: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    block: bool = True


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why a link fits: the parts of its score, and what a reader can see of it.

    Attributes:
        exact: the score before it is brought to the scale from 0 to 1: the sum of the three parts.
        dense: what the likeness of meaning gives to it.
        lexical: what the shared words give to it.
        hubness: what is taken off because the article is near to everything; 0 or less, rarely more.
        words: the strongest shared words, the strongest first, each with its share of `lexical`.
        tags: the tags that both have.
        days: how many days after the article the link was published; below 0 before it, None if a date is missing.
    """

    raw_score: float
    dense: float
    lexical: float
    hubness: float
    words: tuple[tuple[str, float], ...]
    tags: tuple[str, ...]
    days: int | None


@dataclass(frozen=True, slots=True)
class Recommendation(ArticleSummary):
    """One link of a block: the card of the article that is recommended, and why it is there.

    Attributes:
        score: how well it fits, from 0 to 1. Where it stands in a block depends on more than that.
        via: what put it there: "match" (its score), "pin", "editorial" (a link of the source's own) or "fill".
        article: the whole article, where it was asked for.
        reasons: the reasons, where they were asked for.
    """

    score: float = 0.0
    via: str = "match"
    article: Article | None = None
    reasons: Reasons | None = None


def record_id(record: Mapping[str, Any]) -> str:
    """Return the id that an article made of the record would have: its id, else its url, else an empty text."""
    values = (record.get(name) for name in ("id", "url"))
    return next((text for value in values if _is_scalar(value) and (text := clean_text(str(value)).strip())), "")


def as_flag(value: object) -> bool | None:
    """Return a field's value as a truth value: also 0, 1 and the words for yes and no; None if it is neither."""
    if isinstance(value, bool) or (isinstance(value, int | str) and _is_scalar(value)):
        word = str(value).strip().casefold()
        return True if word in _TRUE else False if word in _FALSE else None
    return None


def content_hash(title: str, text: str) -> bytes:
    """Return `Article.content_hash` of an article with this title and text."""
    return _digest([title, text])


def _digest(parts: list[Any]) -> bytes:
    return hashlib.blake2b(_CANONICAL.encode(parts).encode(), digest_size=16).digest()


def _label(part: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((part[name] for name in names if _is_scalar(part.get(name)) and str(part[name]).strip()), None)


def _is_scalar(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() <= MAX_INT_BITS
    return isinstance(value, str | float)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", type(None): "empty"}
    return names.get(type(value), f"of type {type(value).__name__}")


def _short(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
        return f"a number of {value.bit_length():,} bits"
    text = clean_text(str(value))
    return repr(text if len(text) <= 80 else text[:79] + "…")
