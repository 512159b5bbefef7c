"""A record of a source, as any kind of file holds it, becomes an Entry."""

import html
import math
import re
from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from datetime import date, datetime
from typing import Any

from recommender.article import Article, as_flag, record_id
from recommender.dates import parse_date
from recommender.errors import ArticleError
from recommender.sources.entry import Entry

# Fields in which CMSs say whether a record is published, and the words for "it is not". Joomla and Drupal write
# numbers: 0 and -2 (in the trash).
_STATUS = ("status", "_status", "post_status", "state", "moderation_state", "workflow_state", "publication_status")
_UNPUBLISHED = frozenset(
    {
        "draft", "auto-draft", "drafted", "pending", "pending_review", "review", "in_review", "needs_review", "private",
        "trash", "trashed", "deleted", "unpublished", "not_published", "archived", "inactive", "disabled", "hidden",
        "expired", "withdrawn", "retracted", "rejected", "spam", "inherit", "0", "-2",
    }
)  # fmt: skip
_SCHEDULED = frozenset({"future", "scheduled"})
_FLAGS_AGAINST = ("draft", "is_draft", "deleted", "is_deleted", "_deleted", "unpublished", "trashed", "hidden")
_FLAGS_FOR = ("published", "is_published", "enabled", "status")


_SHORT = ("title", "section", "tags")  # fields that are text on one line
_CHARACTER = re.compile(r"&(?:[a-zA-Z]\w{1,30}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
# Text that is HTML as a whole, and not Markdown or prose in which a tag stands, such as `vector<int>` or <br>.
_HTML = re.compile(
    r"\s*(?:<!--|<!doctype html|<(?:p|div|h[1-6]|ul|ol|blockquote|table|figure|section|article|html|body|img)[\s>])"
    r"|(?:.*?</p>){2}",
    re.I | re.S,
)
_INLINE = re.compile(r"</(?:em|i|b|strong|span|sup|sub|a|u|code|q|cite|small|mark)>|<br\s*/?>", re.I)
_DEEPEST = 64  # levels of a value that lies within others
_MOST_VALUES = 100_000  # of a record; aliases in YAML can stand for any number of them


def entry(
    where: str,
    record: Mapping[str, Any],
    *,
    id: str | None = None,
    fields: Mapping[str, str] = {},
    html: bool | None = None,
) -> Entry:
    """Make an Entry of a record.

    Args:
        where: the place that it stands at, for messages.
        record: field names and values, see `Article.from_record`. Markup and character references in the title, the
            text, the section and the tags become plain text; links in the text become `links`, those below a heading
            such as "See also" become `related`, where the record has none of its own.
        id: the id to use where the record has neither an id nor a url.
        fields: for names of Article, the names that the record has for them; with dots where the value lies within
            others: `{"title": "fields.headline"}`.
        html: whether the text is HTML; None if that is to be told by its beginning.
    """
    record = renamed(record, fields)
    own = record_id(record) or id or ""
    nested = record.get("metadata")
    if reason := unpublished({**nested, **record} if isinstance(nested, Mapping) else record):
        return Entry(where, id=own, problems=(reason,), unpublished=True)
    try:
        article, notes = Article.from_record(_cleaned(record, html), id=id)
    except ArticleError as error:
        return Entry(where, id=own, problems=(_refused(error, record),), unknown=not own)
    return Entry(where, article, problems=tuple(notes))


def renamed(record: Mapping[str, Any], fields: Mapping[str, str]) -> Mapping[str, Any]:
    """Return a record with the names of Article for the fields of the source; see `entry`."""
    found = {name: value for name, source in fields.items() if (value := _value(record, source)) is not None}
    # A field that is one of Article's own stays what it is besides: `id=url`.
    taken = {source.split(".")[0] for source in fields.values()} - {part.name for part in dataclass_fields(Article)}
    return {**{name: value for name, value in record.items() if name not in taken or not found}, **found}


def plain(value: object) -> Any:
    """Return a value as JSON can have it: dates in ISO 8601, keys as text, what is not a number as nothing.

    Raises:
        ValueError: it holds too many values, or too deep within one another.
    """
    left = _MOST_VALUES

    def of(value: object, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise ValueError("it holds too many values, or values too deep within others")
        if isinstance(value, Mapping):
            return {str(name): of(part, depth + 1) for name, part in value.items()}
        if isinstance(value, list | tuple | set):
            return [of(part, depth + 1) for part in value]
        if isinstance(value, datetime | date):
            return value.isoformat()
        if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        return None if isinstance(value, float | bytes) else str(value)

    return of(value, 0)


def _value(record: Mapping[str, Any], name: str) -> Any:
    if name in record:
        return record[name]
    value: Any = record
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _refused(error: ArticleError, record: Mapping[str, Any]) -> str:
    names = [name for name in record if name not in ("id", "url")][:12]
    hint = f"; its fields are {', '.join(names)}: name them with --map title=NAME,text=NAME" if names else ""
    reason = str(error).rstrip(".")
    return reason + hint if "neither a title nor a text" in reason and not {"title", "text"} & set(record) else reason


def _cleaned(record: Mapping[str, Any], is_html: bool | None) -> Mapping[str, Any]:
    """Return a record without markup in what is read."""
    changed: dict[str, Any] = {}
    text = record.get("text")
    if isinstance(text, str) and (is_html if is_html is not None else _HTML.match(text)):
        from recommender.sources import markup  # noqa: PLC0415 - most archives are of plain text

        url = record.get("url")
        found = markup.read(text, base=url if isinstance(url, str) else None)
        changed = {"text": found.text}
        for name, links in (("related", found.related), ("links", found.links)):
            if links and not record.get(name):
                changed[name] = links
    elif isinstance(text, str) and is_html is None and _CHARACTER.search(text):
        changed["text"] = html.unescape(text)
    for name in _SHORT:
        value = record.get(name)
        if isinstance(value, str):
            changed[name] = _one_line(value)
        elif isinstance(value, list):
            changed[name] = [_one_line(part) if isinstance(part, str) else part for part in value]
    return {**record, **changed} if changed else record


def _one_line(value: str) -> str:
    if _INLINE.search(value):
        from recommender.sources import markup  # noqa: PLC0415

        value = markup.read(f"<span>{value}</span>").text.replace("\n", " ")
    return html.unescape(value) if _CHARACTER.search(value) else value


def unpublished(record: Mapping[str, Any]) -> str:
    """Say by which of its fields a record is a draft, unpublished or deleted; an empty text if by none.

    A record that is scheduled counts as published if it has a date: until then it is withheld.
    """
    for name in _STATUS:
        value = record.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            continue
        word = str(value).strip().lower().replace(" ", "_")
        if word in _UNPUBLISHED or word.replace("_", "-") in _UNPUBLISHED:
            return f"its {name} is {value!r}"
        if word in _SCHEDULED and parse_date(record.get("published")) is None:
            return f"its {name} is {value!r}, and it has no date that can be read"
    for name in _FLAGS_AGAINST:
        if as_flag(record.get(name)):
            return f"its {name} is {record[name]!r}"
    for name in _FLAGS_FOR:
        if as_flag(record.get(name)) is False:
            return f"its {name} is {record[name]!r}"
    return ""
