"""Policy: the settings, pins, bans and rules of blocks, as an index stores them and a file contains them."""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal, Self, TypedDict

import numpy as np
from dateutil.relativedelta import relativedelta

from recommender.article import as_id
from recommender.errors import PolicyError
from recommender.filters import Where, as_list, as_where
from recommender.text.clean import clean_text
from recommender.text.dates import parse_date
from recommender.text.language import language_code

_CHOICES = {
    "ranking": ("learned", "content"),
    "editorial": ("first", "only", "ignore"),
    "fill": ("none", "recent", "section"),
    "age_from": ("today", "article"),
    "sections": ("any", "same", "other"),
}
_LIST_TYPES = (list, tuple, set, frozenset)
# Options that filter the articles of a block.
FILTERS = (
    "min_score", "language", "section", "tags", "where", "after", "before", "not_newer", "max_age", "age_from",
    "sections", "body_links", "exclude", "as_of", "now",
)  # fmt: skip
CALL_OPTIONS = ("exclude", "as_of", "now")  # not stored with an index
_AGE_UNITS = {"d": "days", "w": "weeks", "m": "months", "y": "years"}


class Options(TypedDict, total=False):
    """Block settings as keyword arguments; each overrides the setting that is stored with the index.

    Attributes:
        exclude: articles to leave out, by id, url or title.
        as_of: the day from which `half_life` counts, a datetime or a date as a text; None for the article's date.
        now: the current day: articles with a later date are left out; None for today.
    """

    ranking: Literal["learned", "content"] | None
    editorial: Literal["first", "only", "ignore"]
    drop_near_duplicates: bool
    score_threshold: bool
    min_score: float
    diversity: float
    half_life: float | None
    fill: Literal["none", "recent", "section"]
    body_links: bool
    language: str | None
    section: str | Iterable[str]
    tags: str | Iterable[str]
    where: Mapping[str, Any]
    after: date | str | None
    before: date | str | None
    not_newer: bool
    max_age: str | None
    age_from: Literal["today", "article"]
    sections: Literal["any", "same", "other"]
    exclude: Iterable[str | int]
    as_of: date | str | None
    now: date | str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of blocks. Values are checked and normalised: `Settings(max_age="12m", section="City")`.

    Attributes:
        ranking: what ranks the candidates: the "learned" ranking that `learn` adopted, or their "content"; None for the
            learned ranking where there is one.
        editorial: editorial links (`related` of the source): "first", followed by recommended ones; "only"; "ignore".
        drop_near_duplicates: leave out near-duplicates of the article and of other links; the newest remains.
        score_threshold: leave out links whose raw score is below the score threshold of the index, which few pairs of
            random articles reach.
        min_score: the minimum display score of a link, from 0 to 1; it does not apply to pins, editorial links and
            `fill`.
        diversity: the weight of a link's similarity to the links before it, from 0 (ranking by relevance) to 1; 1 -
            lambda of maximal marginal relevance (MMR).
        half_life: the age in days at which the relevance of a link is halved; None to ignore age.
        fill: fill short blocks: "none", with the most "recent" articles, or with the most recent of the "section".
        body_links: whether a link may lead to an article that the body links to already (`links`).
        language: the ISO 639 code of the links' language, or "any"; None or "own" for the article's language.
        section: the sections of the links; none for any.
        tags: tags, of which a link has at least one; none for any.
        where: further fields and their permitted values.
        after: the first day on which links were published.
        before: the last day on which links were published.
        not_newer: only links published no later than the article.
        max_age: the maximum age of links: a number with d, w, m or y, "12m".
        age_from: the date from which `max_age` counts: "today", or the date of the "article".
        sections: links from "any" section, the "same" as the article's, or "other" sections.

    Raises:
        PolicyError: a setting cannot have this value.
    """

    ranking: str | None = None
    editorial: str = "first"
    drop_near_duplicates: bool = True
    score_threshold: bool = True
    min_score: float = 0.0
    diversity: float = 0.1
    half_life: float | None = None
    fill: str = "none"
    body_links: bool = True
    language: str | None = None
    section: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    where: Where = ()
    after: str | None = None
    before: str | None = None
    not_newer: bool = False
    max_age: str | None = None
    age_from: str = "today"
    sections: str = "any"

    def __post_init__(self) -> None:
        """Check every setting."""
        for part in fields(self):
            object.__setattr__(self, part.name, _check_setting(part.name, getattr(self, part.name)))

    def updated(self, options: Mapping[str, Any]) -> Self:
        """Return a copy with some settings changed.

        Raises:
            PolicyError: there is no such setting, or it cannot have this value.
        """
        setting_names = {part.name for part in fields(self)}
        for name in options:
            if name not in setting_names:
                raise PolicyError(f"There is no block setting {name!r}. There are: {', '.join(sorted(setting_names))}.")
        return replace(self, **options)

    def changed(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, as values for JSON."""
        defaults = asdict(Settings())
        return {name: value for name, value in self.to_record().items() if getattr(self, name) != defaults[name]}

    def to_record(self) -> dict[str, Any]:
        """Return all settings as values for JSON."""
        record = asdict(self)
        record |= {"section": list(self.section), "tags": list(self.tags)}
        record["where"] = {name: list(values) for name, values in self.where}
        return record

    @property
    def age(self) -> relativedelta | None:
        """`max_age` as a time span."""
        return _age(self.max_age) if self.max_age else None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about the articles with certain values in certain fields.

    Attributes:
        name: its name, unique in the policy.
        where: the filter that selects its articles: a mapping of fields to a value or a list of values; not empty.
        no_block: its articles have no block.
        never_recommended: its articles appear in no block.
        never_with: a filter of articles that never appear in the blocks of its articles, nor the other way round.

    Raises:
        PolicyError: it has no name, selects no articles, or has no effect.
    """

    name: str
    where: Where
    no_block: bool = False
    never_recommended: bool = False
    never_with: Where = ()

    def __post_init__(self) -> None:
        """Check and normalise every part."""
        put = object.__setattr__
        name = clean_text(str(self.name)).strip() if isinstance(self.name, str | int) else ""
        if not name or isinstance(self.name, bool):
            raise PolicyError("A rule needs a name.")
        put(self, "name", name)
        for part in ("no_block", "never_recommended"):
            if not isinstance(getattr(self, part), bool):
                raise PolicyError(f"The part {part} of the rule {self.name!r} must be true or false.")
        for part in ("where", "never_with"):
            put(self, part, as_where(getattr(self, part) or {}))
        if not self.where:
            raise PolicyError(f"The rule {self.name!r} is about no articles: give it a `where`.")
        if not (self.no_block or self.never_recommended or self.never_with):
            raise PolicyError(
                f"The rule {self.name!r} does nothing: give it no_block, never_recommended, or a never_with."
            )

    def to_record(self) -> dict[str, Any]:
        """Return the rule as values for JSON."""
        record: dict[str, Any] = {"name": self.name, "where": _where_record(self.where)}
        record |= {name: True for name in ("no_block", "never_recommended") if getattr(self, name)}
        if self.never_with:
            record["never_with"] = _where_record(self.never_with)
        return record

    @classmethod
    def from_record(cls, record: Any) -> Self:
        """Return the rule that a record from JSON or YAML describes.

        Raises:
            PolicyError: it is not a rule.
        """
        if not isinstance(record, Mapping) or record.get("name") is None:
            raise PolicyError("A rule needs a name.")
        if unknown := set(record) - {part.name for part in fields(cls)}:
            parts = ", ".join(sorted(map(str, unknown)))
            raise PolicyError(f"The rule {record['name']!r} has an unknown part: {parts}.")
        return cls(**{"where": (), **record})


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings, pins, bans and rules of the blocks of an index.

    Attributes:
        settings: the settings of blocks.
        pins: by article the links that stand first in its block, in their order.
        banned: articles that appear in no block.
        pairs: pairs of articles, each in the order of their ids, that are banned from each other's block.
        rules: rules about articles by their fields.

    Raises:
        PolicyError: a part is not valid.
    """

    settings: Settings = field(default_factory=Settings)
    pins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    banned: frozenset[str] = frozenset()
    pairs: frozenset[tuple[str, str]] = frozenset()
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        """Check and normalise every part."""
        put = object.__setattr__
        if not isinstance(self.settings, Settings) or not isinstance(self.pins, Mapping):
            raise PolicyError("In a policy settings are Settings and pins a mapping of ids to lists of ids.")
        pins = {_id(id): as_ids(links) for id, links in self.pins.items() if links}
        for id, links in pins.items():
            if id in links:
                raise PolicyError(f"Article {id!r} cannot be pinned under itself.")
        put(self, "pins", pins)
        put(self, "banned", frozenset(as_ids(self.banned or ())))
        pairs = self.pairs or ()
        if not isinstance(pairs, _LIST_TYPES) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
        ):
            raise PolicyError("In a policy each of the pairs banned is a list of two ids.")
        put(self, "pairs", frozenset(_pair(*map(_id, pair)) for pair in pairs))
        rules = self.rules or ()
        if not isinstance(rules, list | tuple) or not all(isinstance(rule, Rule) for rule in rules):
            raise PolicyError("In a policy rules are a list of Rule.")
        if len({rule.name for rule in rules}) < len(rules):
            raise PolicyError("Two rules of the policy have one name.")
        put(self, "rules", tuple(rules))

    def to_record(self) -> dict[str, Any]:
        """Return the policy as values for JSON and YAML, in canonical order and without default settings."""
        return {
            "settings": self.settings.changed(),
            "pins": {id: list(links) for id, links in sorted(self.pins.items())},
            "bans": {"articles": sorted(self.banned), "pairs": [list(pair) for pair in sorted(self.pairs)]},
            "rules": [rule.to_record() for rule in self.rules],
        }

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a policy from a YAML file.

        Raises:
            PolicyError: the file cannot be read, or is no policy.
        """
        import yaml  # noqa: PLC0415 - few commands read it

        try:
            record = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise PolicyError(f"{path} cannot be read: {error.strerror or error}.") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date
            raise PolicyError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
        if record is None:
            raise PolicyError(
                f"{path} is empty and was not loaded. To go back to the defaults, load a file with `{{}}`."
            )
        try:
            return cls.from_record(record)
        except PolicyError as error:
            raise PolicyError(f"{path} was not loaded: {error}") from error

    @classmethod
    def from_record(cls, record: Any) -> Self:
        """Return the policy that a record from JSON or YAML describes; parts may be missing.

        Raises:
            PolicyError: it is not a policy.
        """
        parts = ("settings", "pins", "bans", "rules")
        if not isinstance(record, Mapping) or (set(record) - set(parts)):
            raise PolicyError(f"A policy has the parts {', '.join(parts)}, and no others.")
        settings, pins, bans = (record.get(name) or {} for name in parts[:3])
        rules = record.get("rules") or []
        if not isinstance(bans, Mapping) or (set(bans) - {"articles", "pairs"}):
            raise PolicyError("The bans of a policy have the parts articles and pairs, and no others.")
        if not isinstance(settings, Mapping) or not isinstance(pins, Mapping) or not isinstance(rules, list):
            raise PolicyError("In a policy settings and pins are mappings, and rules are a list.")
        ban_parts: dict[str, Any] = {"banned": bans.get("articles"), "pairs": bans.get("pairs")}
        parsed_rules = tuple(Rule.from_record(rule) for rule in rules)
        return cls(settings=Settings().updated(settings), pins=pins, rules=parsed_rules, **ban_parts)

    def with_pins(self, id: str, links: Sequence[str]) -> Self:
        """Return a copy with these links pinned under an article, before its other pins."""
        id = _id(id)
        return replace(self, pins={**self.pins, id: (*as_ids(links), *self.pins.get(id, ()))})

    def without_pins(self, id: str, links: Sequence[str] = ()) -> Self:
        """Return a copy without these pins under an article; without any of its pins if no link is named."""
        id = _id(id)
        unpinned = as_ids(links)
        remaining = tuple(link for link in self.pins.get(id, ()) if links and link not in unpinned)
        other_pins = {other: pins for other, pins in self.pins.items() if other != id}
        return replace(self, pins={**other_pins, id: remaining} if remaining else other_pins)

    def with_ban(self, id: str, other: str | None = None) -> Self:
        """Return a copy with an article banned from all blocks, or two from each other's block."""
        if other is None:
            return replace(self, banned=self.banned | {_id(id)})
        return replace(self, pairs=self.pairs | {_pair(_id(id), _id(other))})

    def without_ban(self, id: str, other: str | None = None) -> Self:
        """Return a copy without this ban."""
        if other is None:
            return replace(self, banned=self.banned - {_id(id)})
        return replace(self, pairs=self.pairs - {_pair(_id(id), _id(other))})

    def with_rule(self, rule: Rule) -> Self:
        """Return a copy with a rule, which replaces a rule of the same name."""
        return replace(self, rules=(*(other for other in self.rules if other.name != rule.name), rule))

    def without_rule(self, name: str) -> Self:
        """Return a copy without the rule of this name."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.name != name))


def moment(value: date | str, name: str) -> datetime:
    """Parse a date; of a day without a time return its end, for `before` and `now`.

    Returns:
        The date, timezone-aware.

    Raises:
        PolicyError: it cannot be read.
    """
    text = value.isoformat() if isinstance(value, date) else value
    parsed = parse_date(text) if isinstance(text, str) else None
    if parsed is None:
        raise PolicyError(f"{text!r} is no date for {name}. Write it as 2026-03-05.")
    whole_day = ":" not in text and parsed.time() == time()
    if whole_day and name in ("before", "now") and parsed.date() < date.max:
        return parsed + timedelta(days=1, microseconds=-1)
    return parsed


def _check_setting(name: str, value: Any) -> Any:
    """Return the normalised value of a setting."""
    if isinstance(value, np.generic):
        value = value.item()
    if name in _CHOICES:
        if name == "fill" and value is None:
            value = "none"
        if name == "ranking" and value is None:
            return None
        if not isinstance(value, str) or value not in _CHOICES[name]:
            raise PolicyError(f"The setting {name} is {value!r}; it can be {', '.join(_CHOICES[name])}.")
    elif name in ("drop_near_duplicates", "score_threshold", "body_links", "not_newer"):
        if not isinstance(value, bool):
            raise PolicyError(f"The setting {name} is {value!r}; it must be true or false.")
    elif name in ("min_score", "diversity", "half_life"):
        if value is None and name == "half_life":
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PolicyError(f"The setting {name} is {value!r}; it must be a number.")
        try:
            value = float(value)
        except OverflowError:
            value = float("inf")
        if name != "half_life" and not 0 <= value <= 1:
            raise PolicyError(f"The setting {name} is {value:g}; it must be from 0 to 1.")
        if name == "half_life" and not 0 < value < float("inf"):
            raise PolicyError(f"The setting half_life is {value:g} days; it must be more than 0.")
    elif name in ("section", "tags"):
        values = [] if value is None else as_list(value)
        if not all(isinstance(part, str) for part in values):
            raise PolicyError(f"The setting {name} is {value!r}; it must be a text or a list of texts.")
        return tuple(dict.fromkeys(clean_text(part) for part in values))
    elif name == "where":
        return as_where(value or {})
    elif name in ("after", "before"):
        return moment(value, name).isoformat() if value else None
    elif name == "max_age":
        if value is None:
            return None
        _age(value)
    elif name == "language":
        return parse_language(value)
    return value


def parse_language(language: str | None) -> str | None:
    """Return the ISO 639 code of a language, "any", or None for the article's language.

    Raises:
        PolicyError: it is no language.
    """
    if language is None or language == "own":
        return None
    if language == "any":
        return language
    if isinstance(language, str) and (code := language_code(language)):
        return code
    raise PolicyError(f'{language!r} is no language. Give an ISO 639 code, for example "de", or "any", or "own".')


def _age(value: object) -> relativedelta:
    match = re.fullmatch(r"\s*(\d{1,4})\s*([dwmy])\s*", value) if isinstance(value, str) else None
    if not match:
        raise PolicyError(f"{value!r} is no age. Write a number with d, w, m or y for days, weeks, months, years: 12m.")
    return relativedelta(**{_AGE_UNITS[match[2]]: int(match[1])})


def _where_record(where: Where) -> dict[str, Any]:
    return {name: values[0] if len(values) == 1 else list(values) for name, values in where}


def _id(value: Any) -> str:
    with contextlib.suppress(TypeError, ValueError):  # an int of thousands of digits
        if id := as_id(value):
            return id
    raise PolicyError(f"{value!r} is no id of an article.")


def as_ids(values: Any) -> tuple[str, ...]:
    """Return the ids of a list, or of a single id.

    Raises:
        PolicyError: they are not ids.
    """
    if values is None or isinstance(values, Mapping):
        raise PolicyError(f"{values!r} is not a list of ids.")
    return tuple(dict.fromkeys(_id(value) for value in as_list(values)))


def _pair(first: str, second: str = "") -> tuple[str, str]:
    if not second or first == second:
        raise PolicyError(f"Article {first!r} cannot be banned from itself; name two articles.")
    return (first, second) if first < second else (second, first)
