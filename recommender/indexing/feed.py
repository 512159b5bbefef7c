"""The inputs of a build: files, URLs, articles, records and DataFrames, all opened as feeds of entries."""

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recommender.article import Article
from recommender.indexing.intake import Intake, SourceIntake
from recommender.sources import Entry, Source, dataframe, record
from recommender.sources.status import publication_status
from recommender.store import Store

# Articles, or mappings as Article.from_record takes them.
Records = Iterable[Article | Mapping[str, Any]]
Input = str | os.PathLike[str] | Source | Records | dataframe.DataFrame
PYTHON_LABEL = "(python)"  # the source label of articles that were passed in
FIELDS_SETTING = "fields"  # the index setting with the field mapping of each source, by source label


@dataclass(slots=True)
class Feed:
    """One input of a build, opened.

    Attributes:
        label: the label of the source in the index.
        name: the name of the source in messages.
        entries: its entries.
        intake: the counts and field names of its entries.
        source: the source; None for records that were passed in.
        has_stored_mapping: whether its field mapping was stored by an earlier build.
        stored: how many of its articles were stored before this run.
    """

    label: str
    name: str
    entries: Iterable[Entry]
    intake: SourceIntake
    source: Source | None = None
    has_stored_mapping: bool = False
    stored: int = 0

    @property
    def bytes_read(self) -> int:
        """Bytes of the source that have been read."""
        return self.source.bytes_read if self.source else 0

    @property
    def size(self) -> int:
        """Bytes of the source; 0 if it is no file."""
        return self.source.total_bytes if self.source else 0


def open_feed(store: Store, value: Input, fields: Mapping[str, str] | None, intake: Intake) -> Feed:
    """Open one input of a build.

    Args:
        store: the index; its stored field mapping is used where none is given.
        value: the input.
        fields: the field mapping of sources that have none of their own; None for the stored one.
        intake: receives notes on files that were passed over and on a stored mapping.

    Raises:
        SourceError: the source cannot be opened.
        TypeError: a single article, or a value that is no source, was passed in.
    """
    if isinstance(value, Mapping | Article):
        raise TypeError("one article was passed in; pass a list of them")
    if not isinstance(value, str | os.PathLike | Source):
        if isinstance(value, bytes) or not (isinstance(value, Iterable) or dataframe.is_dataframe(value)):
            raise TypeError(
                f"A source is a file, folder or URL, a Source, an iterable of articles, or a DataFrame; "
                f"{value!r:.80} is of type {type(value).__name__}."
            )
        mapping = fields or {}
        name = "the DataFrame" if dataframe.is_dataframe(value) else "the articles passed in"
        return Feed(PYTHON_LABEL, name, _entries(value, mapping), SourceIntake(name, mapping, in_python=True))
    source = copy.copy(value) if isinstance(value, Source) else Source(value)
    for note in source.notes():
        intake.problems.note(note)
    label = store.source_label(source.path) if source.path else source.name
    if source.fields is None:
        source.fields = dict(fields) if fields is not None else None
    stored = stored_fields(store).get(label, {}) if source.fields is None and source.portable else {}
    if stored:
        source.fields, source.strict = stored, False
    source_intake = SourceIntake(source.name, source.fields, in_python=intake.problems.collected)
    if stored:
        intake.problems.note(
            f"{source.name} is read with {source_intake.option(stored)}, as in the last build; other such options "
            f"replace these."
        )
    return Feed(label, source.name, source, source_intake, source, has_stored_mapping=bool(stored))


def stored_fields(store: Store) -> dict[str, dict[str, str]]:
    """Return the field mappings that an index stores, by source label; none if there is no index."""
    return dict(store.settings().get(FIELDS_SETTING, {})) if store.exists() else {}


def store_fields(store: Store, feeds: Sequence[Feed]) -> None:
    """Store the field mappings that were given for named sources and that fit their records."""
    if not store.exists():
        return
    before = stored_fields(store)
    known_names = {name for mapping in before.values() for name in mapping.values()}
    mappings = dict(before)
    for feed in feeds:
        fits = not feed.intake.absent(known_names) and not feed.intake.failure()
        if feed.source and feed.source.portable and not feed.has_stored_mapping and fits:
            if feed.source.fields:
                mappings[feed.label] = feed.source.fields
            elif feed.source.fields is not None:
                mappings.pop(feed.label, None)
    if mappings != before:
        store.put_setting(FIELDS_SETTING, mappings)


def _entries(records: Any, fields: Mapping[str, str]) -> Iterator[Entry]:
    """Yield the entries of records or of a DataFrame."""
    if dataframe.is_dataframe(records):
        columns = tuple(dataframe.columns(records))
        if problem := record.missing_columns(columns, fields):
            yield Entry("the DataFrame", problems=(problem,), unknown=True, failed=True)
            return
        for where, row in dataframe.rows(records):
            yield _entry(where, row, fields, columns)
        return
    for number, value in enumerate(records, start=1):
        if dataframe.is_dataframe(value):  # such as the chunks of a large table
            yield from _entries(value, fields)
        else:
            yield _entry(f"article {number}", value, fields)


def _entry(where: str, value: object, fields: Mapping[str, str], columns: tuple[str, ...] | None = None) -> Entry:
    if isinstance(value, Article):
        date = {"published": value.published} if value.published else {}  # else a flag, in the metadata
        status = publication_status({**value.metadata, **date})
        if status.excluded:
            return Entry(where, id=value.id, problems=(status.clause,), excluded=status.excluded)
        return Entry(where, value)
    if not isinstance(value, Mapping):
        problem = f"it is of type {type(value).__name__}, neither an Article nor a mapping of its fields"
        return Entry(where, problems=(problem,), unknown=True)
    try:
        plain = record.json_value(value)
    except ValueError as error:
        return Entry(where, problems=(str(error),), unknown=True)
    if columns is not None:
        plain = {name: field for name, field in plain.items() if field is not None}
    return record.record_entry(where, plain, fields=fields, columns=columns)
