"""Filter conditions on articles, and how an article is matched against them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from recommender.article import Article, ArticleSummary
from recommender.errors import PolicyError
from recommender.text.clean import clean_text

# Fields and the values that each of them may have, as `facets` returns them.
Where = tuple[tuple[str, tuple[str, ...]], ...]

MAX_FACET_CHARS = 200  # characters of a value that articles can be filtered by


def facets(article: "Article | ArticleSummary") -> set[tuple[str, str]]:
    """Return what an article can be filtered by: pairs of a field and one of its values, as text.

    The section, each of the tags, and each of the metadata that is one value or a list of them: "true" and "false",
    numbers as JSON writes them. Texts of more than 200 characters are left out.
    """
    found = {("tags", tag) for tag in article.tags}
    if article.section:
        found.add(("section", article.section))
    for name, value in article.metadata.items():
        if name not in ("section", "tags"):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, str | int | float):
                    found.add((name, facet_value(part)))
    return {(name, value) for name, value in found if len(value) <= MAX_FACET_CHARS}


def facet_value(value: str | float) -> str:
    """Return a value as `facets` gives it."""
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, slots=True)
class Condition:
    """Which articles are wanted; all that are left at None, empty or False want nothing. Times are seconds since 1970.

    Attributes:
        language: those in this language.
        where: those that have one of the values in each of the fields.
        without: not those that are meant by any of these.
        after: those published then or later. An article without a date is none of them.
        before: those published then or earlier. An article without a date is none of them.
        published_by: not those with a later date.
        recommendable: not those with `recommend` False.
        exclude: not those with these ids.
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
    """Return a filter by fields.

    Args:
        fields: a mapping of fields to a value or a list of values, or what this function returned for one.

    Raises:
        PolicyError: a field's name is no text or stands there twice; a value is neither a text nor a number, nor true
            or false.
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
            raise PolicyError(f"The field {name!r} stands twice in a filter of articles; give its values as one list.")
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
    """Tell whether an article is one of those that are meant."""
    has = facets(article)
    return all(any((name, value) in has for value in values) for name, values in where)


def as_list(value: Any) -> list[Any]:
    """Return the values of a list, set, generator or the like; a text and any other value as the only one."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) else [value]
