"""Filter conditions on articles, and how an article is matched against them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from recommender.article import Article, ArticleSummary
from recommender.errors import PolicyError
from recommender.text.clean import clean_text

# Fields with the values that each of them may have, as `facets` returns them.
Where = tuple[tuple[str, tuple[str, ...]], ...]

MAX_FACET_CHARS = 200  # longer values cannot be filtered by


def facets(article: "Article | ArticleSummary") -> set[tuple[str, str]]:
    """Return the facets of an article: pairs of a field and one of its values, as text.

    The fields are the section, the tags, and all metadata with a scalar or a list of scalars. Numbers, true and false
    are written as in JSON. Values of more than 200 characters are left out.
    """
    pairs = {("tags", tag) for tag in article.tags}
    if article.section:
        pairs.add(("section", article.section))
    for name, value in article.metadata.items():
        if name not in ("section", "tags"):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, str | int | float):
                    pairs.add((name, facet_value(part)))
    return {(name, value) for name, value in pairs if len(value) <= MAX_FACET_CHARS}


def facet_value(value: str | float) -> str:
    """Return a value as `facets` returns it."""
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter on articles. Fields left at their defaults do not restrict. Times are seconds since 1970.

    Attributes:
        language: the language of the articles.
        where: fields, in each of which an article has one of the values.
        without: filters of which an article matches none.
        after: articles published at this time or later; none without a date.
        before: articles published at this time or earlier; none without a date.
        published_by: leave out articles with a later date; articles without a date remain.
        recommendable: leave out articles with `recommend` False.
        exclude: ids of articles to leave out.
    """

    language: str | None = None
    where: Where = ()
    without: tuple[Where, ...] = ()
    after: int | None = None
    before: int | None = None
    published_by: int | None = None
    recommendable: bool = False
    exclude: frozenset[str] = frozenset()


def as_where(fields: Any) -> Where:
    """Parse a filter by fields.

    Args:
        fields: a mapping of fields to a value or a list of values, or a result of this function.

    Raises:
        PolicyError: a field's name is not a text or occurs twice; a value is not a text, a number, true or false.
    """
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    if not isinstance(fields, Mapping | tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise PolicyError(f"{fields!r} is no filter of articles; give fields and their values.")
    where: dict[str, tuple[str, ...]] = {}
    for key, value in pairs:
        if isinstance(key, bool) or not isinstance(key, str | int):  # as YAML reads `yes:` and `null:`
            raise PolicyError(f"{key!r} is no name of a field; a filter of articles needs texts for names.")
        name = clean_text(str(key))
        if name in where:
            raise PolicyError(f"The field {name!r} occurs twice in a filter of articles; give its values as one list.")
        values = as_list(value)
        if not values or not all(isinstance(part, str | int | float) for part in values):
            raise PolicyError(f"The field {name!r} must have a text, a number, true or false, or a list of these.")
        try:
            texts = tuple(clean_text(facet_value(part)) for part in values)
        except ValueError as error:  # an int of thousands of digits
            raise PolicyError(f"A value of the field {name!r} is no number that can be compared.") from error
        if any(len(text) > MAX_FACET_CHARS for text in texts):
            raise PolicyError(
                f"A value of the field {name!r} has more than {MAX_FACET_CHARS} characters; none is compared."
            )
        where[name] = tuple(dict.fromkeys(texts))
    return tuple(sorted(where.items()))


def matches(where: Where, article: Article | ArticleSummary) -> bool:
    """Return whether an article matches a filter: one of the values in each of the fields."""
    article_facets = facets(article)
    return all(any((name, value) in article_facets for value in values) for name, values in where)


def as_list(value: Any) -> list[Any]:
    """Return the elements of a list, set or generator; a list of the value itself for a text and any other value."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) else [value]
