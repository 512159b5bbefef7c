"""Article, ArticleSummary, Recommendation and Reasons, the data types of the public API."""

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
from recommender.text.dates import needs_language, parse_date
from recommender.text.language import language_of
from recommender.text.urls import normalise_url, web_url

__all__ = [
    "Article",
    "ArticleSummary",
    "Reasons",
    "Recommendation",
    "as_flag",
    "as_id",
    "record_id",
]

MAX_INT_BITS = 10_000  # of a number in a text field; Python does not convert more than 4,300 digits
_CANONICAL_JSON = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))  # for hashes


def as_id(value: object) -> str:
    """Normalise an article's id: clean and strip a text; convert a whole number to decimal text.

    Args:
        value: a str or an integer, of Python or NumPy.

    Raises:
        TypeError: it is of another type, or a bool.
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

    A missing title becomes the first sentence of the text. Characters that UTF-8 cannot encode are replaced (see
    `clean_text`); whitespace around the id, title and other short fields is removed.

    Attributes:
        id: its id in the archive; not empty.
        title: the headline.
        text: the body.
        url: its address.
        published: its publication date, timezone-aware (a naive datetime is taken as UTC).
        section: its section of the site.
        tags: its keywords.
        language: an ISO 639 code.
        related: its editorial links: ids, URLs or titles of other articles.
        links: the links in its body: ids, URLs or titles of other articles.
        recommend: whether it may appear in blocks.
        block: whether it has a block itself.
        metadata: all other fields of its source, with JSON values.

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
        """Check and normalise every field."""
        put = object.__setattr__  # the class is frozen
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
                # Ids may be numbers.
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
        """Hash by id: the metadata are not hashable."""
        return hash(self.id)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy through the constructor: a MappingProxyType cannot be pickled."""
        values = [getattr(self, item.name) for item in fields(self)]
        return Article, (*values[:-1], dict(self.metadata))

    @property
    def content_hash(self) -> bytes:
        """The hash of title and text, 16 bytes; articles with the same one have the same embedding."""
        return content_hash(self.title, self.text)

    @property
    def record_hash(self) -> bytes:
        """The hash of all fields, 16 bytes."""
        return _digest(list(self.to_record().values()))

    @property
    def summary(self) -> "ArticleSummary":
        """The summary of the article."""
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
        """Return all fields as values for JSON, in the order of the class; the date in ISO 8601."""
        record = {item.name: getattr(self, item.name) for item in fields(self)}
        record["published"] = self.published.isoformat() if self.published else None
        record |= {name: list(getattr(self, name)) for name in ("tags", "related", "links")}
        record["metadata"] = dict(self.metadata)
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, id: str | None = None) -> "tuple[Article, list[str]]":
        """Convert a record of an export, with any ids, dates as text and further fields, to an Article.

        Args:
            record: field names and values; fields that Article does not have go into the metadata.
            id: the id to use where the record has neither an id nor a url.

        Returns:
            The article, and a sentence for each field that could not be used and was left empty.

        Raises:
            ArticleError: the record has no id, or neither title nor text.

        Example:
            >>> article, problems = Article.from_record({"id": 7, "title": "Ferry", "tags": "sea, ships"})
            >>> article.id, article.tags, problems
            ('7', ('sea', 'ships'), [])
        """
        problems: list[str] = []
        values: dict[str, Any] = {}
        nested = record.get("metadata")
        metadata = dict(nested) if isinstance(nested, Mapping) else {}
        for name, value in record.items():
            if name not in _FIELDS or (name == "metadata" and not isinstance(value, Mapping)):
                metadata[str(name)] = value
            elif name == "metadata" or value is None:
                continue
            elif name in ("recommend", "block"):
                if (flag := as_flag(value)) is None:  # a field of the archive with another meaning
                    metadata[name] = value
                else:
                    values[name] = flag
            elif name == "published" and as_flag(value) is not None:  # a flag, not a date
                metadata[name] = value
            elif name == "published":
                values[name] = parse_date(value, _language(record) if needs_language(value) else None)
                if values[name] is None and value != "":
                    problems.append(
                        f"its date {_short(value)} has no reading, or more than one, and was left empty; write it as "
                        f"YYYY-MM-DD"
                    )
            elif name in ("tags", "related", "links"):
                items = value
                if isinstance(value, str):  # tags written as one text
                    items = value.split(",") if name == "tags" else [value]
                elif isinstance(value, list | tuple):
                    items = [
                        _label(item, _LABELS[name]) if isinstance(item, Mapping) else item
                        for item in value
                        if item is not None
                    ]
                if isinstance(items, list | tuple) and all(_is_scalar(item) for item in items):
                    values[name] = tuple(str(item) for item in items)
                else:
                    problems.append(f"its {name} are {_kind(value)}, not a list of texts, and were left empty")
            elif name == "url" and _is_scalar(value) and str(value).strip() and not web_url(str(value)):
                problems.append(
                    f"its url {_short(value)} leads to no page of http or https or of the site, and was left empty"
                )
            elif _is_scalar(value):
                values[name] = str(value)
            elif name == "section" and isinstance(value, Mapping) and (label := _label(value, _LABELS[name])):
                values[name] = str(label)
            else:
                problems.append(f"its {name} is {_kind(value)}, not a text, and was left empty")
        values["id"] = record_id(record) or id or ""
        if not values["id"]:
            raise ArticleError("the record has neither an id nor a url; give it one of them")
        if not values.get("title", "").strip() and not values.get("text", "").strip():
            raise ArticleError(f"article {_short(values['id'])} has neither a title nor a text")
        return cls(**values, metadata=metadata), problems


_FIELDS = frozenset(item.name for item in fields(Article))
_LABELS = {  # the field of an object that replaces it: the first that it has
    "section": ("name", "label", "title", "slug"),
    "tags": ("name", "label", "title", "slug"),
    "related": ("id", "url", "href", "title"),
    "links": ("url", "href", "id", "title"),
}
# Words for yes and no: English, German, French, Spanish, Portuguese, Italian, Dutch, Scandinavian, Slavic and others.
_TRUE = {
    *("1", "true", "yes", "y", "on", "ja", "wahr", "oui", "vrai", "sí", "si", "verdadero", "sim", "verdadeiro", "sì"),
    *("vero", "waar", "kyllä", "tak", "ano", "áno", "да", "так", "igen", "evet", "はい", "是", "예"),
}
_FALSE = {
    *("0", "false", "no", "n", "off", "nein", "falsch", "non", "faux", "falso", "não", "nao", "nee", "onwaar", "nej"),
    *("nei", "ei", "nie", "ne", "нет", "ні", "nem", "hayır", "いいえ", "否", "아니요"),
}
_LANGUAGE_FIELDS = ("title", "text", "language")
_OPTIONAL = frozenset({"url", "section", "language"})


@dataclass(frozen=True, slots=True)
class ArticleSummary:
    """The fields of an article that a link displays.

    Attributes:
        id: the article's id.
        title: its title.
        url: its address, if known.
        published: its publication date, if known; timezone-aware.
        section: its section of the site, if known.
        tags: its keywords.
        metadata: all other fields of its source.
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

    @property
    def page_key(self) -> str | None:
        """The normalised URL, the same for all articles of one page; None without a URL."""
        return normalise_url(self.url) if self.url else None


@dataclass(frozen=True, slots=True)
class Reasons:
    """The reasons of a link: the parts of its score, and the words and tags that both articles have.

    Attributes:
        raw_score: the score before it is mapped to 0..1: the sum of the three parts, or of `groups`.
        dense: the part of the embeddings.
        lexical: the part of the shared words.
        hubness: the hubness correction, 0 or less, rarely more.
        words: the strongest shared words, the strongest first, each with its share of `lexical`.
        tags: the tags that both have.
        days: the number of days from the article's publication to the link's; None if a date is missing.
        groups: under a learned ranking what each group of features adds to the raw score, "base" being the raw score
            of an average candidate (Shapley values); empty under the content ranking.
    """

    raw_score: float
    dense: float
    lexical: float
    hubness: float
    words: tuple[tuple[str, float], ...]
    tags: tuple[str, ...]
    days: int | None
    groups: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recommendation(ArticleSummary):
    """One link of a block: the summary of the recommended article, its score and its origin.

    Attributes:
        score: the display score, from 0 to 1. The position in a block depends on diversity and freshness too.
        via: its origin: "match" (its score), "pin", "editorial" (an editorial link) or "fill".
        article: the whole article, if requested.
        reasons: the reasons, if requested.
    """

    score: float = 0.0
    via: str = "match"
    article: Article | None = None
    reasons: Reasons | None = None


def record_id(record: Mapping[str, Any]) -> str:
    """Return the id of the article of a record: its id, else its url, else an empty text."""
    values = (record.get(name) for name in ("id", "url"))
    return next((text for value in values if _is_scalar(value) and (text := clean_text(str(value)).strip())), "")


def as_flag(value: object) -> bool | None:
    """Convert a field's value to a bool: 0, 1 and words for yes and no too; None if it is neither."""
    if isinstance(value, bool) or (isinstance(value, int | str) and _is_scalar(value)):
        word = str(value).strip().casefold()
        return True if word in _TRUE else False if word in _FALSE else None
    return None


def content_hash(title: str, text: str) -> bytes:
    """Return the `Article.content_hash` of this title and text."""
    return _digest([title, text])


def _digest(values: list[Any]) -> bytes:
    return hashlib.blake2b(_CANONICAL_JSON.encode(values).encode(), digest_size=16).digest()


def _label(item: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((item[name] for name in names if _is_scalar(item.get(name)) and str(item[name]).strip()), None)


def _language(record: Mapping[str, Any]) -> str | None:
    title, text, tag = (value if isinstance(value := record.get(name), str) else "" for name in _LANGUAGE_FIELDS)
    return language_of(title, text, tag)


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
