"""Which articles a condition wants, as an expression that Milvus evaluates."""

from recommender.filters import Condition, Where
from recommender.store.milvus.rows import UNDATED, hashed, key_of, listed, quoted


def expression(condition: Condition, *, exclude: bool) -> str:
    """Return a condition as an expression; empty if all articles are wanted.

    Args:
        condition: the condition.
        exclude: whether it names the articles that are excluded too.
    """
    parts = []
    if condition.language is not None:
        parts.append(f"language == {quoted(condition.language)}")
    parts += [_has(field, values) for field, values in condition.where]
    parts += [f"not ({_all(where)})" for where in condition.without]
    if condition.after is not None:
        parts.append(f"time >= {condition.after}")
    if condition.before is not None:
        parts.append(f"time > {UNDATED} and time <= {condition.before}")
    if condition.published_by is not None:  # what has no date stands before all
        parts.append(f"time <= {condition.published_by}")
    if condition.recommendable:
        parts.append("recommend == true")
    if exclude and condition.exclude:
        parts.append(f"pk not in {listed([key_of(id) for id in sorted(condition.exclude)])}")
    return " and ".join(parts)


def _all(where: Where) -> str:
    """Return what is meant by all of it; by nothing everything is."""
    return " and ".join(_has(*part) for part in where) or 'pk != ""'


def _has(field: str, values: tuple[str, ...]) -> str:
    hashes = ", ".join(str(hashed("facet", field, value)) for value in values)
    return f"array_contains_any(facets, [{hashes}])"
