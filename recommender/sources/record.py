"""A record of a source, as any kind of file holds it, becomes an Entry."""

import html
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from recommender.article import MAX_INT_BITS, Article, as_flag, record_id
from recommender.errors import ArticleError
from recommender.sources import vocabulary
from recommender.sources.entry import Entry
from recommender.text.dates import MAX_DATE_CHARS, numeric_dates, parse_date

NO_ID = "it has neither an id nor a url"
MAPPABLE = (*(part.name for part in dataclass_fields(Article) if part.name != "metadata"), "status")

_ARTICLE_FIELDS = frozenset(part.name for part in dataclass_fields(Article))
_LISTS = ("tags", "related", "links")
_SHORT = ("title", "section", "tags")  # fields that are text on one line
_CONTAINERS = ("metadata", "attributes", "fields")  # fields whose value may contain the status
_CHARACTER = re.compile(r"&(?:[a-zA-Z]\w{1,30}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
# Text that is HTML as a whole, and not Markdown or prose in which a tag stands, such as `vector<int>` or <br>.
_HTML = re.compile(
    r"\s*(?:<!--|<!doctype html|<(?:p|div|h[1-6]|ul|ol|blockquote|table|figure|section|article|html|body|img)[\s>])"
    r"|(?:.*?</p>){2}",
    re.I | re.S,
)
_INLINE = re.compile(r"</(?:em|i|b|strong|span|sup|sub|a|u|code|q|cite|small|mark)>|<br\s*/?>", re.I)
_TEMPLATE_FIELD = re.compile(r"\{([^{}]+)\}")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_CHARACTERS = "/:@,;!$'()*~"  # that stay as they are in the path of a URL
_MISSING_TYPES = ("NaTType", "NAType")  # of pandas, which is not imported; the first is a datetime
MAX_DEPTH = 64  # levels of a value that lies within others
MAX_VALUES = 100_000  # of a record; aliases in YAML can stand for any number of them
MAX_NAMED_FIELDS = 40  # names of a record's fields that an Entry lists
MAX_NAMED_DEPTH = 3
MAX_SHAPES = 1024  # sets of names of fields whose roles are cached
MAX_LABEL_CHARS = 40  # of a status in a message


@dataclass(frozen=True, slots=True)
class _Shape:
    """The roles of a record's fields, by their names alone.

    Attributes:
        renames: names of fields of Article in another case, and the name in lower case.
        by_folded_case: the names by their form without case.
        statuses: the names of fields for a status, and whether any value of them is one.
        deletions: the names of fields that are true, or contain a date, for a deleted article.
        unpublished_flags: the names of fields that are true of an article that is not published.
        published_flags: the names of fields that are true of one that is.
        containers: the names of fields whose value may contain such fields.
    """

    renames: Mapping[str, str]
    by_folded_case: Mapping[str, str]
    statuses: tuple[tuple[str, bool], ...]
    deletions: tuple[str, ...]
    unpublished_flags: tuple[str, ...]
    published_flags: tuple[str, ...]
    containers: tuple[str, ...]


@lru_cache(maxsize=MAX_SHAPES)  # the records of a source share a few
def _shape(names: tuple[str, ...]) -> _Shape:
    by_folded_case: dict[str, str] = {}
    for name in names:
        by_folded_case.setdefault(str(name).strip().casefold(), name)
    present = set(names)
    renames = {
        name: case
        for case, name in by_folded_case.items()
        if case in _ARTICLE_FIELDS and case not in present and name != case
    }
    forms = {name: vocabulary.fold_name(str(name)) for name in names}
    return _Shape(
        renames,
        by_folded_case,
        tuple((name, form in vocabulary.STATUS_FIELDS) for name, form in forms.items() if form in _STATUSES),
        tuple(name for name, form in forms.items() if form in vocabulary.DELETION_FIELDS),
        tuple(name for name, form in forms.items() if form in vocabulary.UNPUBLISHED_FLAGS),
        tuple(name for name, form in forms.items() if form in vocabulary.PUBLISHED_FLAGS),
        tuple(name for name, form in forms.items() if form in _CONTAINERS),
    )


_STATUSES = vocabulary.STATUS_FIELDS | vocabulary.AMBIGUOUS_STATUS_FIELDS


def record_entry(
    where: str,
    record: Mapping[str, Any],
    *,
    id: str | None = None,
    fields: Mapping[str, str] = {},
    html: bool | None = None,
    columns: tuple[str, ...] | None = None,
) -> Entry:
    """Make an Entry of a record.

    Args:
        where: the place that it stands at, for messages.
        record: field names and values, see `Article.from_record`; the names in any case. Markup and character
            references in the title, the text, the section and the tags become plain text; links in the text become
            `links`, those below a heading such as "See also" become `related`, where the record has none of its own.
        id: the id to use where the record has neither an id nor a url.
        fields: for names of Article or "status", the names that the record has for them; with dots where the value
            lies within others: `{"title": "fields.headline"}`; or a text with such names in braces:
            `{"url": "/news/{slug}"}`.
        html: whether the text is HTML; None to detect it from its beginning.
        columns: of the table that it is a row of, where empty cells are left out of `record`, and a list may stand in
            one cell: as JSON, or separated by commas (tags) or bars (related, links).
    """
    source, names = record, columns or tuple(record)
    absent: tuple[str, ...] = ()
    if fields:
        absent = absent_fields(record if columns is None else {**dict.fromkeys(columns), **record}, fields)
    record = renamed(record, fields)
    if columns is not None:
        record = _with_lists(record)
    if isinstance(number := record.get("id"), float) and number.is_integer():  # a column with gaps, in pandas
        record = {**record, "id": int(number)}
    entry_id = record_id(record) or id or ""
    nested = _nested(source)
    reason, notes = _status({**nested, **record} if nested else record)
    if reason:
        return Entry(where, id=entry_id, problems=(reason,), unpublished=True, absent=absent, names=names)
    if (absent or not entry_id) and columns is None:
        names = field_names(source)
    if not entry_id:
        return Entry(where, problems=(NO_ID,), unknown=True, absent=absent, names=names)
    notes += _incomplete_templates(source, fields)
    try:
        article, unused = Article.from_record(_cleaned(record, html), id=id)
    except ArticleError as error:
        problem = str(error).rstrip(".")
        return Entry(where, id=entry_id, problems=(problem,), absent=absent, names=columns or field_names(source))
    return Entry(where, article, problems=(*notes, *unused), absent=absent, names=names)


def renamed(record: Mapping[str, Any], fields: Mapping[str, str]) -> Mapping[str, Any]:
    """Return a record with the names of Article for the fields of the source; see `entry`."""
    renames = _shape(tuple(record)).renames
    if not fields:
        return {renames.get(name, name): value for name, value in record.items()} if renames else record
    mapped = {name: value for name, source in fields.items() if (value := _mapped(record, name, source)) is not None}
    # A field that is one of Article's own stays as it is besides: `id=url`.
    replaced = {_column(record, source) for name, source in fields.items() if name in mapped and "{" not in source}
    named_fields = {renames.get(name, name): value for name, value in record.items()}
    return {
        name: value for name, value in named_fields.items() if name not in replaced or name in _ARTICLE_FIELDS
    } | mapped


def absent_fields(record: Mapping[str, Any], fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of fields that a mapping asks for and the record lacks."""
    return tuple(name for source in fields.values() for name in _sources(source) if not _has(record, name))


def field_names(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a record's fields as a mapping may give them, with dots where one lies within another."""

    def walk(record: Mapping[str, Any], prefix: str, depth: int) -> Iterator[str]:
        for name, value in record.items():
            if isinstance(value, Mapping) and value and depth < MAX_NAMED_DEPTH:
                yield from walk(value, f"{prefix}{name}.", depth + 1)
            else:
                yield f"{prefix}{name}"

    return tuple(name for name, _ in zip(walk(record, "", 1), range(MAX_NAMED_FIELDS), strict=False))


def missing_columns(names: Iterable[str], fields: Mapping[str, str]) -> str:
    """Return the problem that a table lacks columns which a mapping asks for; an empty text if it has all."""
    columns = dict.fromkeys(names)
    # A column may hold objects, and a name with dots a field of theirs.
    absent = [name for name in absent_fields(columns, fields) if not _has(columns, name.partition(".")[0])]
    return f"it has no field {quoted(absent)}; its fields are {', '.join(columns)}" if absent else ""


def json_value(value: object) -> Any:
    """Return a value as JSON can have it: dates in ISO 8601, keys as text, numpy's values as Python's, sets in order.

    Missing values (None, NaN, NaT, pandas' NA) and bytes become None.

    Raises:
        ValueError: it holds too many values, or too deep within one another, or a number of thousands of digits.
    """
    values_left = MAX_VALUES

    def of(value: Any, depth: int) -> Any:
        nonlocal values_left
        values_left -= 1
        if values_left < 0 or depth > MAX_DEPTH:
            raise ValueError("it holds too many values, or values too deep within others")
        if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
            raise ValueError("it holds a number of thousands of digits")
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {str(name): of(part, depth + 1) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [of(part, depth + 1) for part in value]
        if isinstance(value, set | frozenset):  # their own order differs from process to process
            return sorted((of(part, depth + 1) for part in value), key=str)
        if isinstance(value, datetime | date):
            return None if type(value).__name__ in _MISSING_TYPES else value.isoformat()
        if isinstance(value, Decimal):
            return str(value) if value.is_finite() else None
        if hasattr(value, "tolist"):  # numpy's arrays and scalars, pandas' columns; its nanoseconds would give numbers
            dated = getattr(getattr(value, "dtype", None), "kind", "") == "M"
            return of((value.astype("datetime64[us]") if dated else value).tolist(), depth + 1)
        return None if isinstance(value, bytes) or type(value).__name__ in _MISSING_TYPES else str(value)

    return of(value, 0)


def _value(record: Mapping[str, Any], name: str) -> Any:
    """Return the value of a field, its name in any case and with dots; None if there is none."""
    for match in _matches(record, name):
        return match
    return None


def _has(record: Mapping[str, Any], name: str) -> bool:
    return any(True for _ in _matches(record, name))


def _matches(record: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Return the value of a field, if the record has it."""
    if name in record:
        yield record[name]
        return
    by_case = _shape(tuple(record)).by_folded_case
    if (exact_name := by_case.get(name.strip().casefold())) is not None:
        yield record[exact_name]
        return
    first, dot, subfield = name.partition(".")
    if dot and isinstance(inner := record.get(by_case.get(first.casefold(), first)), Mapping):
        yield from _matches(inner, subfield)


def _column(record: Mapping[str, Any], name: str) -> str:
    """Return the name that the record has for a field, or for the one that it lies within."""
    if name in record:
        return name
    by_case = _shape(tuple(record)).by_folded_case
    return by_case.get(name.strip().casefold()) or by_case.get(name.partition(".")[0].casefold(), name)


def _sources(source: str) -> list[str]:
    """Return the names of fields that a mapping takes a value from: those in braces, or the whole."""
    return _TEMPLATE_FIELD.findall(source) or [source]


def _mapped(record: Mapping[str, Any], name: str, source: str) -> Any:
    """Return the value of a field or of a template; None if the record lacks a field of it."""
    if "{" not in source or _TEMPLATE_FIELD.fullmatch(source):
        return _value(record, source.strip("{}"))
    text, end = "", 0
    for match in _TEMPLATE_FIELD.finditer(source):
        value = json_value(_value(record, match[1]))
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None or isinstance(value, list | dict) or not (part := str(value).strip()):
            return None
        text += source[end : match.start()]
        if name == "url":
            part = quote(part, safe=_PATH_CHARACTERS + ("" if _BARE_PERCENT.search(part) else "%"))
            if text.endswith("/"):
                part = part.lstrip("/")
        text, end = text + part, match.end()
    return text + source[end:]


def _incomplete_templates(record: Mapping[str, Any], fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note for each template that a record lacks a field of, or has no value for."""
    return tuple(
        f"its {name} was left empty, since it lacks a value for {source!r}"
        for name, source in fields.items()
        if "{" in source and _mapped(record, name, source) is None
    )


def quoted(names: Iterable[str]) -> str:
    """Return names as the end of a clause that begins with "no field"."""
    return " and no field ".join(repr(name) for name in names)


def _nested(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the values that may contain a status."""
    names = _shape(tuple(record)).containers
    nested = [value for name in names if isinstance(value := record[name], Mapping)]
    return {name: value for fields in nested for name, value in fields.items()}


def _with_lists(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a record of a table with its lists, which stand in one cell, as lists."""
    changed: dict[str, Any] = {}
    for name in _LISTS:
        value = record.get(name)
        if isinstance(value, list):
            changed[name] = [part for part in value if part is not None]
        elif isinstance(value, str):
            try:
                parts = json.loads(value) if value.lstrip().startswith("[") else None
            except ValueError:
                parts = None
            separator = "," if name == "tags" else "|"
            changed[name] = parts if isinstance(parts, list) else [part.strip() for part in value.split(separator)]
    return {**record, **changed} if changed else record


def _cleaned(record: Mapping[str, Any], is_html: bool | None) -> Mapping[str, Any]:
    """Return a record without markup in what is read."""
    changed: dict[str, Any] = {}
    text = record.get("text")
    if isinstance(text, str) and (is_html if is_html is not None else _HTML.match(text)):
        from recommender.sources import markup  # noqa: PLC0415 - most archives are of plain text

        url = record.get("url")
        content = markup.read_markup(text, base=url if isinstance(url, str) else None)
        changed = {"text": content.text}
        for name, links in (("related", content.related), ("links", content.links)):
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

        value = markup.read_markup(f"<span>{value}</span>").text.replace("\n", " ")
    return html.unescape(value) if _CHARACTER.search(value) else value


def unpublished(record: Mapping[str, Any]) -> str:
    """Return the clause that a record is a draft, unpublished or deleted, by one of its fields; else an empty text.

    A record that is scheduled counts as published if it has a date: until then it is withheld.
    """
    return _status(record)[0]


def _status(record: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return what `unpublished` does, and a clause for each status that is in no list of words."""
    shape = _shape(tuple(record))
    notes: tuple[str, ...] = ()
    for name, certain in shape.statuses:
        value = record[name]
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            continue
        word = str(value).strip()
        form = vocabulary.fold_name(word)
        if word in vocabulary.UNPUBLISHED_NUMBERS or form in vocabulary.UNPUBLISHED:
            return f"its {name} is {value!r}", ()
        if form in vocabulary.SCHEDULED:
            if parse_date(record.get("published")) is None:
                return f"its {name} is {value!r}, and it has no date that can be read", ()
        elif certain and form not in vocabulary.PUBLISHED:
            label = word if len(word) <= MAX_LABEL_CHARS else word[: MAX_LABEL_CHARS - 1] + "…"
            notes += (f"its {name} “{label}” is unknown and counts as published",)
    for name in shape.deletions:
        if _is_deletion(record[name]):
            return f"its {name} is {record[name]!r}", ()
    for name in shape.unpublished_flags:
        if as_flag(record[name]):
            return f"its {name} is {record[name]!r}", ()
    for name in shape.published_flags:
        if as_flag(record[name]) is False:
            return f"its {name} is {record[name]!r}", ()
    return "", notes


def _is_deletion(value: object) -> bool:
    """Return whether a value is true or a date; the zero dates of MySQL (0000-00-00) and Go (0001-01-01) are none."""
    if (flag := as_flag(value)) is not None:
        return flag
    moment = parse_date(value)
    if moment is None:  # a date with several readings, such as 03/04/2021, is one
        return isinstance(value, str) and any(numeric_dates(value[:MAX_DATE_CHARS]))
    return moment.year > 1
