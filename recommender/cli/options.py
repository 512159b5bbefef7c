"""Options that several subcommands share, and their values as arguments of Recommender's methods."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

import recommender
from recommender.cli.command import Option
from recommender.errors import PolicyError, SourceError

if TYPE_CHECKING:
    from recommender import Source

_Command = Callable[..., Any]

index_option = click.option(
    "--index",
    "index",
    metavar="INDEX",
    envvar="RECOMMENDER_INDEX",
    default="./index/default",
    show_default=True,
    help="The folder of the index, or milvus://HOST:PORT/NAME, or PATH.db; $RECOMMENDER_INDEX sets it too.",
)


def parse_pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the FIELD=VALUE texts of an option as pairs; one pair of empty strings for the empty text."""
    if values == ("",):
        return [("", "")]
    for value in values:
        if "=" not in value or value.startswith("="):
            raise click.BadParameter(f"{value!r} is not of the form FIELD=VALUE.")
    return [(value.partition("=")[0].strip(), value.partition("=")[2].strip()) for value in values]


def check_jobs(context: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    """Return the number of processes; refuse 0."""
    if value == 0:
        raise click.BadParameter("it must be 1 or more, or below 0: -1 for one process per core.")
    return value


jobs_option = click.option(
    "--jobs",
    "n_jobs",
    type=int,
    callback=check_jobs,
    metavar="N",
    help="How many processes share the work at most; 1 for this one alone.  [default: one a core]",
)


def _option_under(heading: str) -> Callable[..., Callable[[_Command], _Command]]:
    """Return click.option with a heading that the help lists the option under."""
    return partial(click.option, cls=Option, heading=heading)


_filter, _shaping = _option_under("Which articles may be links"), _option_under("How a block is made of them")
_per_call = _option_under("For this call only")
_FILTERS = (
    _filter(
        "--language", metavar="CODE", help="The language of the links: an ISO 639 code, any, or own, the article's."
    ),
    _filter(
        "--section",
        metavar="NAME",
        multiple=True,
        help='Links from this section only; of several, from one of them; "" for any.',
    ),
    _filter(
        "--tag",
        "tags",
        metavar="NAME",
        multiple=True,
        help='Links with this tag only; of several, with one of them; "" for any.',
    ),
    _filter(
        "--where",
        multiple=True,
        callback=parse_pairs,
        metavar="FIELD=VALUE",
        help='Links with this value in a field of the metadata; the same field twice: one of the values; "" for any.',
    ),
    _filter("--after", metavar="DAY", help="Links published on this day or later; none for any."),
    _filter("--before", metavar="DAY", help="Links published on this day or earlier; none for any."),
    _filter("--max-age", metavar="AGE", help="Links no older than this: 10d, 6w, 12m or 2y; none for any."),
    _filter(
        "--min-score", metavar="NUMBER", type=click.FloatRange(0, 1), help="Links with this score or a higher one."
    ),
)
_SHAPING = (
    _shaping(
        "--ranking",
        type=click.Choice(["content", "learned"]),
        help="What ranks the candidates: their content, or the ranking that `learn` trained; default: learned where "
        "one was adopted.",
    ),
    _shaping(
        "--editorial",
        type=click.Choice(["first", "only", "ignore"]),
        help="The source's own related links: first, filled up with ours; only they; ignore them.",
    ),
    _shaping(
        "--diversity",
        metavar="NUMBER",
        type=click.FloatRange(0, 1),
        help="Weight of a link's similarity to the links before it: 1 - lambda of MMR.",
    ),
    _shaping("--half-life", metavar="DAYS", help="After how many days of age a link counts half; none for never."),
    _shaping(
        "--score-threshold/--no-score-threshold",
        default=None,
        help="Leave out links that score hardly better than random articles.",
    ),
    _shaping("--fill", type=click.Choice(["none", "recent", "section"]), help="Top up blocks that are short."),
    _shaping("--body-links/--no-body-links", default=None, help="Links that stand in the article's body already."),
    _shaping("--not-newer/--newer", default=None, help="Only links published no later than the article."),
    _shaping("--age-from", type=click.Choice(["today", "article"]), help="What --max-age counts from."),
    _shaping("--sections", type=click.Choice(["any", "same", "other"]), help="Of the article's section, or others."),
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Report which blocks would change, and store nothing.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
_PER_CALL = (
    _per_call("--exclude", multiple=True, metavar="ID", help="Leave this article out."),
    _per_call(
        "--now", metavar="DAY", help="What day it is: articles with a later date are withheld.  [default: today]"
    ),
)
_AS_OF = (
    _per_call("--as-of", metavar="DAY", help="The day that --half-life counts from.  [default: the article's date]"),
)
_NEAR_DUPLICATES = (
    _shaping(
        "--drop-near-duplicates/--keep-near-duplicates",
        default=None,
        help="Leave out near-duplicates, of which the newest remains.",
    ),
)


def block_options(command: _Command) -> _Command:
    """Add the options of blocks; each overrides the setting that is stored with the index."""
    return _add_options(command, (*_FILTERS, *_NEAR_DUPLICATES, *_SHAPING, *_PER_CALL, *_AS_OF))


def search_options(command: _Command) -> _Command:
    """Add the options of blocks that apply to a search."""
    return _add_options(command, (*_FILTERS, *_NEAR_DUPLICATES, *_PER_CALL))


def stored_options(command: _Command) -> _Command:
    """Add the options of blocks that can be stored with the index."""
    return _add_options(command, (*_FILTERS, *_NEAR_DUPLICATES, *_SHAPING))


def _add_options(command: _Command, options: tuple[Callable[[_Command], _Command], ...]) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def chosen_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with a value as keyword arguments of Recommender's methods."""
    settings = {name: value for name, value in options.items() if value not in (None, (), [])}
    for name in ("half_life", "max_age", "after", "before"):
        if name in settings:
            settings[name] = None if settings[name] == "none" else settings[name]
    for name in ("section", "tags"):
        if name in settings:
            settings[name] = [value for value in settings[name] if value]
    if settings.get("half_life") is not None:
        settings["half_life"] = _parse_number("half_life", settings["half_life"])
    if "where" in settings:
        settings["where"] = pairs_by_field(settings["where"])
    return settings


def _parse_number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise PolicyError(f"The setting {name} is {text!r}; it must be a number.") from None


def pairs_by_field(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values of (field, value) pairs by field; pairs without a field are dropped."""
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        if name:
            fields.setdefault(name, []).append(value)
    return fields


_PAIR_END = re.compile(r",(?=\s*\w+\s*=)")


def parse_mapping(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """Return the NAME=FIELD,... texts of --map as a dict; None without the option: the index's mapping applies."""
    if not values:
        return None
    fields: dict[str, str] = {}
    for part in (part for value in values for part in _PAIR_END.split(value)):  # a FIELD may contain commas
        name, sign, field = part.partition("=")
        if part.strip() and not (sign and name.strip() and field.strip()):
            raise click.BadParameter(f"{part!r} is not of the form NAME=FIELD, such as title=headline.")
        if part.strip():
            fields[name.strip()] = field.strip()
    from recommender.sources.record import MAPPABLE  # noqa: PLC0415 - few commands need it

    if unknown := [name for name in fields if name not in MAPPABLE]:
        names = ", ".join(MAPPABLE)
        raise click.BadParameter(f"{unknown[0]!r} is no field of an article; these are {names}. Write FIELD last.")
    return fields


def check_site(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the name of a generator; refuse any other name."""
    from recommender.sources.generators import check_generator  # noqa: PLC0415 - few commands need it

    try:
        check_generator(value)
    except SourceError as error:
        raise click.BadParameter(str(error)) from error
    return value


_SOURCE_OPTIONS = (
    click.option(
        "--map",
        "fields",
        multiple=True,
        callback=parse_mapping,
        metavar="NAME=FIELD,...",
        help="The names that the source has for fields: title=headline,text=body_html; with dots where one lies within "
        "another; url=/news/{slug} makes a URL. The index remembers them for the source; --map '' forgets them.",
    ),
    click.option("--id-field", metavar="FIELD", help="The field that holds the id."),
    click.option("--include", multiple=True, metavar="GLOB", help="Of a folder only the files that match."),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Of a folder not the files or folders that match."),
    click.option("--query", metavar="SQL", help="With the URL of a database: the query that returns the articles."),
    click.option(
        "--site",
        metavar="GENERATOR",
        callback=check_site,
        help="The generator that publishes a folder: hugo, jekyll, ...; none for no rules of a generator.  [default: "
        "by its configuration file]",
    ),
)


def source_options(command: _Command) -> _Command:
    """Add SOURCE... and the options that describe it, which `open_sources` reads."""
    return click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")(
        _add_options(command, _SOURCE_OPTIONS)
    )


def open_sources(names: Sequence[str], options: dict[str, Any]) -> "list[Source | str]":
    """Return the sources with these names, and remove the options that describe them from `options`.

    Of several, one that cannot be read stays a name, so that its error is reported beside the others' articles.
    """
    fields, id_field = options.pop("fields"), options.pop("id_field")
    details = {name: options.pop(name) for name in ("include", "exclude", "query", "site")}
    if id_field:
        fields = {**(fields or {}), "id": id_field}
    sources: list[Source | str] = []
    for name in names:
        try:
            sources.append(recommender.Source(name, fields=fields, **details))
        except SourceError:
            if len(names) == 1:
                raise
            sources.append(name)
    return sources
