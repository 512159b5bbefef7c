"""Publication status: the fields of a record that keep it from readers, in any CMS or static site generator."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from recommender.article import as_flag
from recommender.sources import vocabulary
from recommender.sources.entry import UNPUBLISHED
from recommender.sources.generators.base import NO_PAGE
from recommender.text.dates import MAX_DATE_CHARS, numeric_dates, parse_date

EXPIRED, SCHEDULED, PRIVATE = "expired", "scheduled", "private"  # values of Entry.excluded
MAX_CACHED_ROLES = 1024
MAX_STATUS_CHARS = 40  # in a message
_CONTAINERS = ("metadata", "attributes", "fields")  # whose value may contain the status
_NO_PAGE_FLAGS = ("render", "permalink")
_BUILD_FIELDS = ("build", "_build")
_NEVER_RENDERED = ("never", "link", False)


class Publication(NamedTuple):
    """The publication status of a record.

    Attributes:
        excluded: the reason for leaving the record out, as `Entry.excluded`; empty for a published record.
        clause: the field and the value that are the reason.
        notes: a clause for each status that is unknown and counts as published.
    """

    excluded: str = ""
    clause: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _StatusFields:
    """The status fields of a record, derived from the tuple of its names.

    Attributes:
        statuses: names of status fields, each with True if every value of it is a status, False if it is ambiguous.
        deletions: names of fields that are true or a date for a deleted article.
        unpublished_flags: names of fields that are true for an unpublished article.
        published_flags: names of fields that are true for a published article.
        expiries: names of fields with the date from which an article is not published any more.
        schedules: names of fields with the date before which an article is not published.
        passwords: names of fields with a password, or true for an article that needs one.
        visibilities: names of fields with the readers of an article: public, private, members.
        kinds: names of fields with the kind of the record, each with False if it may be the archive's own.
        no_page_flags: names of fields that are false for a file that Zola or Eleventy makes no page of.
        build: names of fields whose `render` is Hugo's.
        containers: names of fields whose value may contain fields of the kinds above.
    """

    statuses: tuple[tuple[str, bool], ...]
    deletions: tuple[str, ...]
    unpublished_flags: tuple[str, ...]
    published_flags: tuple[str, ...]
    expiries: tuple[str, ...]
    schedules: tuple[str, ...]
    passwords: tuple[str, ...]
    visibilities: tuple[str, ...]
    kinds: tuple[tuple[str, bool], ...]
    no_page_flags: tuple[str, ...]
    build: tuple[str, ...]
    containers: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether there is no such field."""
        return not any(getattr(self, name) for name in self.__slots__)


@lru_cache(maxsize=MAX_CACHED_ROLES)  # records of a source share few tuples of names
def _status_fields(names: tuple[str, ...]) -> _StatusFields:
    forms = {name: vocabulary.fold_name(str(name)) for name in names}

    def named(forms_of_field: frozenset[str] | tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name, form in forms.items() if form in forms_of_field)

    certain = vocabulary.STATUS_FIELDS
    kinds = vocabulary.KIND_FIELDS | vocabulary.AMBIGUOUS_KIND_FIELDS
    return _StatusFields(
        statuses=tuple((name, forms[name] in certain) for name in named(certain | vocabulary.AMBIGUOUS_STATUS_FIELDS)),
        deletions=named(vocabulary.DELETION_FIELDS),
        unpublished_flags=named(vocabulary.UNPUBLISHED_FLAGS),
        published_flags=named(vocabulary.PUBLISHED_FLAGS),
        expiries=named(vocabulary.EXPIRY_FIELDS),
        schedules=named(vocabulary.SCHEDULE_FIELDS),
        passwords=named(vocabulary.PASSWORD_FIELDS),
        visibilities=named(vocabulary.VISIBILITY_FIELDS),
        kinds=tuple((name, forms[name] in vocabulary.KIND_FIELDS) for name in named(kinds)),
        no_page_flags=tuple(name for name in names if name in _NO_PAGE_FLAGS),
        build=tuple(name for name in names if name in _BUILD_FIELDS),
        containers=named(_CONTAINERS),
    )


def is_status_field(name: str) -> bool:
    """Return whether a field with this name can decide whether a record is published."""
    return not _status_fields((name,)).empty


def publication_status(record: Mapping[str, Any], source: Mapping[str, Any] | None = None) -> Publication:
    """Return whether a record is published, by its status, flags, dates and kind.

    A scheduled record whose publication date is the later one counts as published: eligibility excludes it until then.

    Args:
        record: the fields, renamed to those of Article.
        source: the fields as in the source, whose nested objects are searched too; None for those of `record`.
    """
    source = record if source is None else source
    if _status_fields(tuple(source)).containers:
        nested = [
            value for name in _status_fields(tuple(source)).containers if isinstance(value := source[name], Mapping)
        ]
        record = {**{name: value for fields in nested for name, value in fields.items()}, **record}
    fields = _status_fields(tuple(record))
    if fields.empty:
        return Publication()
    notes: tuple[str, ...] = ()
    for name, certain in fields.statuses:
        value = record[name]
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            continue
        word = str(value).strip()
        form = vocabulary.fold_name(word)
        if word in vocabulary.UNPUBLISHED_NUMBERS or form in vocabulary.UNPUBLISHED:
            return _excluded(UNPUBLISHED, name, value)
        if form in vocabulary.SCHEDULED:
            if parse_date(record.get("published")) is None:
                clause = f"its {name} is {value!r}, and it has no date that can be read"
                return Publication(UNPUBLISHED, clause)
        elif certain and form not in vocabulary.PUBLISHED:
            label = word if len(word) <= MAX_STATUS_CHARS else word[: MAX_STATUS_CHARS - 1] + "…"
            notes += (f"its {name} “{label}” is unknown and counts as published",)
    excluded = _by_flags(record, fields) or _by_access(record, fields)
    return excluded or Publication(notes=notes)


def _by_flags(record: Mapping[str, Any], fields: _StatusFields) -> Publication | None:
    """Return the status of a deleted, unpublished or expired record; None for any other."""
    for name in fields.deletions:
        if _is_deletion(record[name]):
            return _excluded(UNPUBLISHED, name, record[name])
    for name in fields.unpublished_flags:
        if as_flag(record[name]):
            return _excluded(UNPUBLISHED, name, record[name])
    for name in fields.published_flags:
        if as_flag(record[name]) is False:
            return _excluded(UNPUBLISHED, name, record[name])
    for name in fields.expiries:
        moment = parse_date(record[name])
        if moment is not None and moment.year > 1 and moment <= datetime.now(UTC):
            return _excluded(EXPIRED, name, record[name])
    for name in fields.schedules:
        moment, now = parse_date(record[name]), datetime.now(UTC)
        if (
            moment is not None
            and moment > now
            and ((date := parse_date(record.get("published"))) is None or date <= now)
        ):
            return _excluded(SCHEDULED, name, record[name])
    return None


def _by_access(record: Mapping[str, Any], fields: _StatusFields) -> Publication | None:
    """Return the status of a record that is private, no article, or has no page; None for any other."""
    for name in fields.passwords:
        value = record[name]
        if as_flag(value) or (isinstance(value, str | int) and as_flag(value) is None and str(value).strip()):
            return Publication(PRIVATE, f"its {name} protects it")
    for name in fields.visibilities:
        if isinstance(value := record[name], str) and vocabulary.fold_name(value) in vocabulary.HIDDEN:
            return _excluded(PRIVATE, name, value)
    for name, certain in fields.kinds:
        form = vocabulary.fold_name(value) if isinstance(value := record[name], str) else ""
        if form in vocabulary.NOT_ARTICLES or (certain and form in vocabulary.AMBIGUOUS_NOT_ARTICLES):
            return _excluded(value.strip().lower().replace("_", " "), name, value)
    for name in fields.no_page_flags:
        if record[name] is False:
            return _excluded(NO_PAGE, name, False)
    for name in fields.build:
        if isinstance(value := record[name], Mapping) and value.get("render") in _NEVER_RENDERED:
            return _excluded(NO_PAGE, f"{name}.render", value["render"])
    return None


def _excluded(reason: str, name: str, value: object) -> Publication:
    return Publication(reason, f"its {name} is {value!r}")


def _is_deletion(value: object) -> bool:
    """Return whether a value is true or a date, except the zero dates of MySQL (0000-00-00) and Go (0001-01-01)."""
    if (flag := as_flag(value)) is not None:
        return flag
    moment = parse_date(value)
    if moment is None:  # an ambiguous date such as 03/04/2021 counts too
        return isinstance(value, str) and any(numeric_dates(value[:MAX_DATE_CHARS]))
    return moment.year > 1
