"""Conversion of a record (the field names and values of any source) to an Entry."""

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

from recommender.article import MAX_INT_BITS, Article, record_id
from recommender.errors import ArticleError
from recommender.sources.entry import Entry
from recommender.sources.rich_text import rich_text_html
from recommender.sources.status import is_status_field, publication_status

NO_ID = "it has neither an id nor a url"
MAPPABLE = (*(part.name for part in dataclass_fields(Article) if part.name != "metadata"), "status")

_ARTICLE_FIELDS = frozenset(part.name for part in dataclass_fields(Article))
_LIST_FIELDS = ("tags", "related", "links")
_ONE_LINE_FIELDS = ("title", "section", "tags")
_JSON_STARTS = ('{"', "[{")  # of a document of an editor
_CHARACTER_REFERENCE = re.compile(r"&(?:[a-zA-Z]\w{1,30}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
# Text that is HTML as a whole; Markdown or prose may contain a tag too, such as `vector<int>` or <br>.
_HTML = re.compile(
    r"\s*(?:<!--|<!doctype html|<(?:p|div|h[1-6]|ul|ol|blockquote|table|figure|section|article|html|body|img)[\s>])"
    r"|(?:.*?</p>){2}",
    re.I | re.S,
)
_LINK = re.compile(r"\s*<a\s[^<>]*?\bhref\s*=\s*[\"']?([^\"'\s<>]+)", re.I)
_BLOCK_TAG = re.compile(r"</?(?:h[1-6]|p|div)\b[^<>]*>", re.I)
_INLINE = re.compile(r"</(?:em|i|b|strong|span|sup|sub|a|u|code|q|cite|small|mark)>|<br\s*/?>", re.I)
TEMPLATE_FIELD = re.compile(r"\{([^{}]+)\}")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNQUOTED_CHARACTERS = "/:@,;!$'()*~"  # in the path of a URL
# Types of pandas' missing values, by name so that pandas is not imported; NaT is an instance of datetime.
_MISSING_TYPES = ("NaTType", "NAType")
MAX_DEPTH = 64  # levels of nested values
MAX_VALUES = 100_000  # of a record; aliases in YAML can multiply them without limit
MAX_FIELD_NAMES = 40  # of a record, in an Entry
MAX_FIELD_NAME_DEPTH = 3
MAX_CACHED_ROLES = 1024


@dataclass(frozen=True, slots=True)
class _FieldRoles:
    """The roles of a record's fields, derived from the tuple of their names.

    Attributes:
        renames: the Article field by name, for names that differ from it only in case.
        name_by_folded_case: the field names by their case-folded form.
    """

    renames: Mapping[str, str]
    name_by_folded_case: Mapping[str, str]


@lru_cache(maxsize=MAX_CACHED_ROLES)  # records of a source share few tuples of names
def _field_roles(names: tuple[str, ...]) -> _FieldRoles:
    """Return the roles of fields with these names."""
    name_by_folded_case: dict[str, str] = {}
    for name in names:
        name_by_folded_case.setdefault(str(name).strip().casefold(), name)
    present = set(names)
    renames = {
        name: folded
        for folded, name in name_by_folded_case.items()
        if folded in _ARTICLE_FIELDS and folded not in present and name != folded
    }
    return _FieldRoles(renames, name_by_folded_case)


def record_entry(
    where: str,
    record: Mapping[str, Any],
    *,
    id: str | None = None,
    fields: Mapping[str, str] = {},
    html: bool | None = None,
    columns: tuple[str, ...] | None = None,
) -> Entry:
    """Convert a record to an Entry, with the article or the reason for skipping it.

    Args:
        where: the position of the record for messages: `export.jsonl:12`.
        record: field names in any case, and values; see `Article.from_record`. Markup and character references in the
            title, the text, the section and the tags become plain text. Links in the text become `links`, and those
            below a heading such as "See also" become `related`, unless the record contains these fields.
        id: the id of a record without an id and a url.
        fields: the source's names for fields of Article or "status", with dots for nested fields:
            `{"title": "fields.headline"}`; or templates with such names in braces: `{"url": "/news/{slug}"}`.
        html: whether the text is HTML; None to detect it from the beginning of the text.
        columns: for a row of a table, its column names; None for any other record. `record` omits empty cells, and a
            cell may contain a list: as JSON, or separated by commas (tags) or bars (related, links).
    """
    source, names = record, columns or tuple(record)
    absent: tuple[str, ...] = ()
    if fields:
        absent = absent_fields(record if columns is None else {**dict.fromkeys(columns), **record}, fields)
    record = rename_fields(record, fields)
    if columns is not None:
        record = _parse_lists(record)
    # pandas reads a column of integers with gaps as floats.
    if isinstance(number := record.get("id"), float) and number.is_integer():
        record = {**record, "id": int(number)}
    entry_id = record_id(record) or id or ""
    excluded, clause, notes = publication_status(record, source)
    if excluded:
        return Entry(where, id=entry_id, problems=(clause,), excluded=excluded, absent=absent, names=names)
    if (absent or not entry_id) and columns is None:
        names = field_names(source)
    if not entry_id:
        return Entry(where, problems=(NO_ID,), unknown=True, absent=absent, names=names)
    notes += _incomplete_templates(source, fields)
    try:
        article, unused = Article.from_record(_clean_fields(record, html), id=id)
    except ArticleError as error:
        problem = str(error).rstrip(".")
        return Entry(where, id=entry_id, problems=(problem,), absent=absent, names=columns or field_names(source))
    return Entry(where, article, problems=(*notes, *unused), absent=absent, names=names)


def rename_fields(record: Mapping[str, Any], fields: Mapping[str, str]) -> Mapping[str, Any]:
    """Return a record with its fields renamed to those of Article; see `record_entry`."""
    renames = _field_roles(tuple(record)).renames
    if not fields:
        return {renames.get(name, name): value for name, value in record.items()} if renames else record
    mapped = {
        name: value for name, source in fields.items() if (value := _mapped_value(record, name, source)) is not None
    }
    # A source field that is itself a field of Article keeps its value: `id=url` sets both.
    replaced = {_column_name(record, source) for name, source in fields.items() if name in mapped and "{" not in source}
    named_fields = {renames.get(name, name): value for name, value in record.items()}
    return {
        name: value for name, value in named_fields.items() if name not in replaced or name in _ARTICLE_FIELDS
    } | mapped


def is_metadata_name(name: str) -> bool:
    """Return whether a field with this name goes into the metadata as it is, with no other meaning."""
    return name.strip().casefold() not in _ARTICLE_FIELDS and not is_status_field(name)


def absent_fields(record: Mapping[str, Any], fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of fields that a mapping refers to and the record lacks."""
    return tuple(name for source in fields.values() for name in _source_fields(source) if not _has_field(record, name))


def field_names(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of at most MAX_FIELD_NAMES fields of a record, with dots for nested fields."""

    def walk(record: Mapping[str, Any], prefix: str, depth: int) -> Iterator[str]:
        for name, value in record.items():
            if isinstance(value, Mapping) and value and depth < MAX_FIELD_NAME_DEPTH:
                yield from walk(value, f"{prefix}{name}.", depth + 1)
            else:
                yield f"{prefix}{name}"

    return tuple(name for name, _ in zip(walk(record, "", 1), range(MAX_FIELD_NAMES), strict=False))


def missing_columns(names: Iterable[str], fields: Mapping[str, str]) -> str:
    """Return a clause on the columns that a mapping refers to and a table lacks; an empty text if none is missing."""
    columns = dict.fromkeys(names)
    # A column may contain objects, so the part before the first dot is enough.
    absent = [name for name in absent_fields(columns, fields) if not _has_field(columns, name.partition(".")[0])]
    return f"it has no field {quote_names(absent)}; its fields are {', '.join(columns)}" if absent else ""


def json_value(value: object) -> Any:
    """Convert a value to one that JSON can represent.

    Dates become ISO 8601 text; keys and decimals become text; numpy arrays become lists, and sets sorted lists. Missing
    values (None, NaN, infinities, NaT, pandas' NA) and bytes become None.

    Raises:
        ValueError: `value` contains more than MAX_VALUES values, is nested deeper than MAX_DEPTH levels, or contains an
            integer of more than MAX_INT_BITS bits.
    """
    values_left = MAX_VALUES

    def convert(value: Any, depth: int) -> Any:
        nonlocal values_left
        values_left -= 1
        if values_left < 0 or depth > MAX_DEPTH:
            raise ValueError("it contains too many values, or values nested too deep")
        if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
            raise ValueError("it contains a number of thousands of digits")
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {str(name): convert(part, depth + 1) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [convert(part, depth + 1) for part in value]
        if isinstance(value, set | frozenset):  # the order of a set differs between processes
            return sorted((convert(part, depth + 1) for part in value), key=str)
        if isinstance(value, datetime | date):
            return None if type(value).__name__ in _MISSING_TYPES else value.isoformat()
        if isinstance(value, Decimal):
            return str(value) if value.is_finite() else None
        if hasattr(value, "tolist"):  # numpy and pandas; dates in nanoseconds would become integers
            is_date = getattr(getattr(value, "dtype", None), "kind", "") == "M"
            return convert((value.astype("datetime64[us]") if is_date else value).tolist(), depth + 1)
        return None if isinstance(value, bytes) or type(value).__name__ in _MISSING_TYPES else str(value)

    return convert(value, 0)


def _field_value(record: Mapping[str, Any], name: str) -> Any:
    """Return the value of a field, by its name in any case and with dots; None without the field."""
    for match in _matching_values(record, name):
        return match
    return None


def _has_field(record: Mapping[str, Any], name: str) -> bool:
    return any(True for _ in _matching_values(record, name))


def _matching_values(record: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield the value of a field, by its name in any case and with dots; nothing without the field."""
    if name in record:
        yield record[name]
        return
    name_by_folded_case = _field_roles(tuple(record)).name_by_folded_case
    if (exact_name := name_by_folded_case.get(name.strip().casefold())) is not None:
        yield record[exact_name]
        return
    first, dot, subfield = name.partition(".")
    if dot and isinstance(inner := record.get(name_by_folded_case.get(first.casefold(), first)), Mapping):
        yield from _matching_values(inner, subfield)


def _column_name(record: Mapping[str, Any], name: str) -> str:
    """Return the record's name of a field, or of the field that contains it; `name` itself without either."""
    if name in record:
        return name
    name_by_folded_case = _field_roles(tuple(record)).name_by_folded_case
    column = name_by_folded_case.get(name.strip().casefold())
    return column or name_by_folded_case.get(name.partition(".")[0].casefold(), name)


def _source_fields(source: str) -> list[str]:
    """Return the names of fields in a mapping's value: those in braces, or the whole value."""
    return TEMPLATE_FIELD.findall(source) or [source]


def _mapped_value(record: Mapping[str, Any], name: str, source: str) -> Any:
    """Return the value for the Article field `name`: of a source field, or of a filled template.

    None if the record lacks a value for it. In a template for the url, the values are percent-encoded.
    """
    if "{" not in source or TEMPLATE_FIELD.fullmatch(source):
        return _field_value(record, source.strip("{}"))
    text, end = "", 0
    for match in TEMPLATE_FIELD.finditer(source):
        value = json_value(_field_value(record, match[1]))
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None or isinstance(value, list | dict) or not (part := str(value).strip()):
            return None
        text += source[end : match.start()]
        if name == "url":
            part = quote(part, safe=_UNQUOTED_CHARACTERS + ("" if _BARE_PERCENT.search(part) else "%"))
            if text.endswith("/"):
                part = part.lstrip("/")
        text, end = text + part, match.end()
    return text + source[end:]


def fill_url_template(record: Mapping[str, Any], template: str) -> str | None:
    """Return a url template with the values of a record; None if the record lacks one of them."""
    value = _mapped_value(record, "url", template)
    return None if value is None else str(value)


def _incomplete_templates(record: Mapping[str, Any], fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note for each template that the record lacks a value for."""
    return tuple(
        f"its {name} was left empty, since it lacks a value for {source!r}"
        for name, source in fields.items()
        if "{" in source and _mapped_value(record, name, source) is None
    )


def quote_names(names: Iterable[str]) -> str:
    """Return quoted names as the end of a clause that begins with "no field"."""
    return " and no field ".join(repr(name) for name in names)


def _parse_lists(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row of a table with the cells of its list fields parsed into lists."""
    changed: dict[str, Any] = {}
    for name in _LIST_FIELDS:
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


def _clean_fields(record: Mapping[str, Any], is_html: bool | None) -> Mapping[str, Any]:
    """Return a record with plain text in the title, the text, the section and the tags; see `record_entry`."""
    changed: dict[str, Any] = {}
    text = record.get("text")
    if isinstance(text, list | Mapping) or (isinstance(text, str) and text.startswith(_JSON_STARTS)):
        document = rich_text_html(text)
        text, is_html = (text, is_html) if document is None else (document, True)
    if isinstance(text, str) and (is_html if is_html is not None else _HTML.match(text)):
        from recommender.sources import markup  # noqa: PLC0415 - most archives contain plain text

        url = record.get("url")
        content = markup.read_markup(text, base=url if isinstance(url, str) else None)
        changed = {"text": content.text}
        for name, links in (("related", content.related), ("links", content.links)):
            if links and not record.get(name):
                changed[name] = links
    elif isinstance(text, str) and is_html is None and _CHARACTER_REFERENCE.search(text):
        changed["text"] = html.unescape(text)
    url = record.get("url")
    if isinstance(url, str) and (link := _LINK.match(url)):  # as Views of Drupal export it
        changed["url"] = html.unescape(link[1])
    elif url == "#":
        changed["url"] = None
    for name in _ONE_LINE_FIELDS:
        value = record.get(name)
        if isinstance(value, str):
            changed[name] = _one_line(value)
        elif isinstance(value, list):
            changed[name] = [_one_line(part) if isinstance(part, str) else part for part in value]
    return {**record, **changed} if changed else record


def _one_line(value: str) -> str:
    """Return a short value without markup and character references."""
    if value.startswith("<"):
        value = _BLOCK_TAG.sub(" ", value).strip()
    if _INLINE.search(value):
        from recommender.sources import markup  # noqa: PLC0415

        value = markup.read_markup(f"<span>{value}</span>").text.replace("\n", " ")
    return html.unescape(value) if _CHARACTER_REFERENCE.search(value) else value
