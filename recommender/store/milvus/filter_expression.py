"""Filter conditions as expressions that Milvus evaluates."""

from recommender.filters import Condition, Where
from recommender.store.milvus.connection import key_list
from recommender.store.milvus.rows import UNDATED, primary_key, quote, value_hash


def filter_expression(condition: Condition, *, exclude: bool) -> str:
    """Return a condition as a filter expression; empty if all articles match.

    Args:
        condition: the condition.
        exclude: whether the expression covers the excluded ids too.
    """
    parts = []
    if condition.language is not None:
        parts.append(f"language == {quote(condition.language)}")
    parts += [_field_expression(field, values) for field, values in condition.where]
    parts += [f"not ({_where_expression(where)})" for where in condition.without]
    if condition.after is not None:
        parts.append(f"published >= {condition.after}")
    if condition.before is not None:
        parts.append(f"published > {UNDATED} and published <= {condition.before}")
    if condition.published_by is not None:  # UNDATED is before every date
        parts.append(f"published <= {condition.published_by}")
    if condition.recommendable:
        parts.append("recommend == true")
    if exclude and condition.exclude:
        parts.append(f"pk not in {key_list([primary_key(id) for id in sorted(condition.exclude)])}")
    return " and ".join(parts)


def _where_expression(where: Where) -> str:
    """Return the conjunction of the fields; an empty one matches every article."""
    return " and ".join(_field_expression(field, values) for field, values in where) or 'pk != ""'


def _field_expression(field: str, values: tuple[str, ...]) -> str:
    hashes = ", ".join(str(value_hash("facet", field, value)) for value in values)
    return f"array_contains_any(facet_hashes, [{hashes}])"
