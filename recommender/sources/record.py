"""A record of a source, as any kind of file holds it, becomes an Entry."""

from collections.abc import Mapping
from typing import Any

from recommender.article import Article, as_flag, parse_date, record_id
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


def entry(where: str, record: Mapping[str, Any], id: str | None = None) -> Entry:
    """Make an Entry of a record.

    Args:
        where: the place that it stands at, for messages.
        record: field names and values, see `Article.from_record`.
        id: the id to use where the record has neither an id nor a url.
    """
    own = record_id(record) or id or ""
    nested = record.get("metadata")
    if reason := unpublished({**nested, **record} if isinstance(nested, Mapping) else record):
        return Entry(where, id=own, problems=(reason,), unpublished=True)
    try:
        article, notes = Article.from_record(record, id=id)
    except ArticleError as error:
        return Entry(where, id=own, problems=(str(error).rstrip("."),), unknown=not own)
    return Entry(where, article, problems=tuple(notes))


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
