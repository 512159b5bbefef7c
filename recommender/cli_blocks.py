"""The part of the command that is about what stands in blocks: its options, and settings, pins, bans and rules."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import recommender
from recommender.cli_command import Command, Option
from recommender.cli_show import did_you_mean
from recommender.errors import PolicyError

if TYPE_CHECKING:
    from recommender import Recommender

_Command = Callable[..., Any]

index_option = click.option(
    "--index",
    "index",
    envvar="RECOMMENDER_INDEX",
    default="./index/default",
    show_default=True,
    help="The folder of the index, or milvus://HOST:PORT/NAME, or PATH.db; $RECOMMENDER_INDEX sets it too.",
)


def _pair(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    """Read FIELD=VALUE."""
    if values == ("",):
        return [("", "")]
    for value in values:
        if "=" not in value or value.startswith("="):
            raise click.BadParameter(f"{value!r} is not of the form FIELD=VALUE.")
    return [(value.partition("=")[0].strip(), value.partition("=")[2].strip()) for value in values]


def _option(heading: str) -> Callable[..., Callable[[_Command], _Command]]:
    return partial(click.option, cls=Option, heading=heading)


_filter, _shaping = _option("Which articles may be links"), _option("How a block is made of them")
_FILTERS = (
    _filter("--language", help="The language of the links: an ISO 639 code, any, or own, the article's."),
    _filter("--section", multiple=True, help='Links from this section only; of several, from one of them; "" for any.'),
    _filter("--tag", "tags", multiple=True, help='Links with this tag only; of several, with one of them; "" for any.'),
    _filter(
        "--where",
        multiple=True,
        callback=_pair,
        metavar="FIELD=VALUE",
        help='Links with this value in a field of the metadata; the same field twice: one of the values; "" for any.',
    ),
    _filter("--after", help="Links published on this day or later; none for any."),
    _filter("--before", help="Links published on this day or earlier; none for any."),
    _filter("--max-age", help="Links no older than this: 10d, 6w, 12m or 2y; none for any."),
    _filter("--exclude", multiple=True, metavar="ID", help="Not this article."),
    _filter("--now", help="What day it is: articles with a later date are withheld.  [default: today]"),
)
_SHAPING = (
    _shaping(
        "--editorial",
        type=click.Choice(["first", "only", "ignore"]),
        help="The source's own related links: first, filled up with ours; only they; ignore them.",
    ),
    _shaping("--variety", type=click.FloatRange(0, 1), help="What a link loses for being like one before it."),
    _shaping("--half-life", help="After how many days of age a link counts half; none for never."),
    _shaping("--as-of", help="The day that --half-life counts from.  [default: the article's date]"),
    _shaping("--floor/--no-floor", default=None, help="Leave out links that fit hardly better than at random."),
    _shaping("--fill", type=click.Choice(["none", "recent", "section"]), help="Top up blocks that are short."),
    _shaping("--body-links/--no-body-links", default=None, help="Links that stand in the article's body already."),
    _shaping("--not-newer/--newer", default=None, help="Only links published no later than the article."),
    _shaping("--age-from", type=click.Choice(["today", "article"]), help="What --max-age counts from."),
    _shaping("--sections", type=click.Choice(["any", "same", "other"]), help="Of the article's section, or others."),
)
_COPIES = (_shaping("--copies/--no-copies", default=None, help="Leave out copies; of several the newest stays."),)


def block_options(command: _Command) -> _Command:
    """Add the options of a block, each of which overrides what is stored with the index."""
    return _with(command, (*_FILTERS, *_COPIES, *_SHAPING))


def search_options(command: _Command) -> _Command:
    """Add those of the options that a search has too."""
    return _with(command, (*_FILTERS, *_COPIES))


def _with(command: _Command, options: tuple[Callable[[_Command], _Command], ...]) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return those of the options that were given, as the methods of Recommender take them."""
    chosen = {name: value for name, value in options.items() if value not in (None, (), [])}
    for name in ("half_life", "max_age", "after", "before"):
        if name in chosen:
            chosen[name] = None if chosen[name] == "none" else chosen[name]
    for name in ("section", "tags"):
        if name in chosen:
            chosen[name] = [value for value in chosen[name] if value]
    if chosen.get("half_life") is not None:
        chosen["half_life"] = _number("half_life", chosen["half_life"])
    if "where" in chosen:
        chosen["where"] = _fields(chosen["where"])
    return chosen


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise PolicyError(f"The setting {name} is {text!r}; it must be a number.") from None


def _fields(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        if not name:
            continue
        fields.setdefault(name, []).append(value)
    return fields


@click.command(
    cls=Command,
    examples=[
        "settings",
        "settings --max-age 12m --editorial first",
        "settings --unset max-age",
    ],
)
@index_option
@click.option("--unset", multiple=True, metavar="NAME", help="Put a setting back to what it is at first.")
@block_options
def settings(index: str, unset: tuple[str, ...], **options: Any) -> None:
    """Show or change the settings of blocks.

    They are stored with the index. Without options it shows them. The same options override them in `related` and
    `links`.
    """
    for name in ("exclude", "now", "as_of"):
        if options.get(name):
            raise click.UsageError(f"--{name.replace('_', '-')} belongs to a call and is not stored.")
    with recommender.Recommender(index) as rec:
        first = type(rec.policy.settings)()
        names = {name.removeprefix("--").replace("-", "_"): name for name in unset}
        names = {"tags" if name == "tag" else name: text for name, text in names.items()}
        if unknown := [text for name, text in names.items() if name not in first.to_record()]:
            raise PolicyError(f"There is no block setting {unknown[0]!r}.")
        changes = {name: first.to_record()[name] for name in names} | given(options)
        if changes:
            rec.configure(**changes)
        chosen = rec.policy.settings
        changed = chosen.changed()
    for name, value in chosen.to_record().items():
        text = "the article's" if name == "language" and value is None else _value(value)
        click.echo(f"{name:>12}  {text}" + ("" if name not in changed else "  (set)"))


@click.command(
    cls=Command,
    examples=[
        "pin 1041 1007 1012",
    ],
)
@click.argument("id")
@click.argument("links", nargs=-1, required=True, metavar="LINK...")
@index_option
def pin(id: str, links: tuple[str, ...], index: str) -> None:
    """Pin links under an article, first in its block.

    They stand in the order given, before those that are pinned there already.
    """
    with recommender.Recommender(index) as rec:
        own = _id_of(rec, id)
        rec.pin(own, *links)
        _tell_missing(rec, [id, *links])
        click.echo(f"Pinned under {own}: {', '.join(rec.policy.pins[own])}.")


@click.command(
    cls=Command,
    examples=[
        "unpin 1041 1007",
        "unpin 1041",
    ],
)
@click.argument("id")
@click.argument("links", nargs=-1, metavar="[LINK...]")
@index_option
def unpin(id: str, links: tuple[str, ...], index: str) -> None:
    """Take pins from under an article; all of them without LINK."""
    with recommender.Recommender(index) as rec:
        own, *pinned = (_id_of(rec, name) for name in (id, *links))
        before = rec.policy.pins.get(own, ())
        if missing := [link for link in pinned if link not in before] or ([] if before else [own]):
            raise PolicyError(
                f"Nothing was changed: {missing[0]!r} " + ("is not pinned there." if links else "has no pins.")
            )
        rec.unpin(own, *pinned)
        click.echo(f"Pinned under {own}: {', '.join(rec.policy.pins.get(own, ())) or 'nothing'}.")


@click.command(
    cls=Command,
    examples=[
        "ban 1041",
        "ban 1041 1007",
    ],
)
@click.argument("id")
@click.argument("other", required=False)
@index_option
def ban(id: str, other: str | None, index: str) -> None:
    """Ban an article from all blocks.

    With OTHER, ban the two from one another's block only.
    """
    with recommender.Recommender(index) as rec:
        rec.ban(id, other)
        _tell_missing(rec, [id, other] if other else [id])
        own = _id_of(rec, id)
        click.echo(f"{own} and {_id_of(rec, other)} never meet." if other else f"{own} stands in no block.")


@click.command(
    cls=Command,
    examples=[
        "unban 1041",
        "unban 1041 1007",
    ],
)
@click.argument("id")
@click.argument("other", required=False)
@index_option
def unban(id: str, other: str | None, index: str) -> None:
    """Take back a ban."""
    with recommender.Recommender(index) as rec:
        before = rec.policy
        rec.unban(id, other)
        if rec.policy == before:
            raise PolicyError("Nothing was changed: there is no such ban.")
    click.echo("The ban is taken back.")


@click.command(
    cls=Command,
    examples=[
        "rule",
        "rule advertorials --where kind=advertorial --no-block --never-recommended",
        "rule solemn --where section=Deaths --never-with section=Quiz",
        "rule solemn --remove",
    ],
)
@click.argument("name", required=False)
@index_option
@click.option("--where", multiple=True, callback=_pair, metavar="FIELD=VALUE", help="The articles that it is about.")
@click.option("--no-block", is_flag=True, help="They have no block.")
@click.option("--never-recommended", is_flag=True, help="They stand in no block.")
@click.option("--never-with", multiple=True, callback=_pair, metavar="FIELD=VALUE", help="They never meet these.")
@click.option("--remove", is_flag=True, help="Remove the rule of this name.")
def rule(
    name: str | None,
    index: str,
    where: list[tuple[str, str]],
    no_block: bool,
    never_recommended: bool,
    never_with: list[tuple[str, str]],
    remove: bool,
) -> None:
    """Set a rule over the fields of articles, or show all rules.

    It takes the place of a rule with its NAME. FIELD is section, tags, or any field of the metadata. The same field
    twice means one of the values, several fields mean all of them.
    """
    with recommender.Recommender(index) as rec:
        if name is None:
            if where or never_with or no_block or never_recommended or remove:
                raise click.UsageError("Give the rule a NAME.")
            click.echo(_yaml([of_it.to_record() for of_it in rec.policy.rules]), nl=False)
            return
        if remove:
            rec.remove_rule(name)
            click.echo(f"The rule {name} is removed.")
            return
        record = {"name": name, "where": _fields(where), "no_block": no_block, "never_recommended": never_recommended}
        rec.set_rule({**record, "never_with": _fields(never_with)})
        count = rec.matching(_fields(where))
        click.echo(f"The rule {name} is about {count:,} article{'' if count == 1 else 's'} of the index.")
        if never_with:
            count = rec.matching(_fields(never_with))
            click.echo(f"They never meet {count:,} article{'' if count == 1 else 's'}.")


@click.command(
    cls=Command,
    examples=[
        "policy > policy.yaml",
        "policy --load policy.yaml",
    ],
)
@index_option
@click.option(
    "--load",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Put what this file holds in the place of all settings, pins, bans and rules.",
)
def policy(index: str, load: Path | None) -> None:
    """Show settings, pins, bans and rules as YAML, or load them."""
    with recommender.Recommender(index) as rec:
        if load is None:
            click.echo(_yaml(rec.policy.to_record()), nl=False)
            return
        loaded = recommender.Policy.read(load)
        rec.load_policy(loaded)
        click.echo(
            f"Loaded. Settings: {len(loaded.settings.changed())}, articles with pins: {len(loaded.pins):,}, "
            f"bans: {len(loaded.banned) + len(loaded.pairs):,}, rules: {len(loaded.rules):,}."
        )


def _id_of(rec: "Recommender", name: str) -> str:
    """Return the id of the article that is named by its id, url or title; a name that no article has as an id."""
    from recommender.article import as_id  # noqa: PLC0415 - with what it imports, not for every command

    return rec.id_of(name) or as_id(name)


def _tell_missing(rec: "Recommender", names: list[str]) -> None:
    for name in dict.fromkeys(name.strip() for name in names):
        if name not in rec:
            note = f"Note: the index holds no article with the id {name!r} now; this holds once it does."
            click.echo(f"{note} {did_you_mean(rec, name)}".strip(), err=True)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} = {' or '.join(of_it)}" for name, of_it in value.items()) or "any"
    if isinstance(value, list):
        return ", ".join(value) or "any"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _yaml(record: object) -> str:
    import yaml  # noqa: PLC0415 - not every command writes it

    return str(yaml.safe_dump(record, allow_unicode=True, sort_keys=False))


COMMANDS = (settings, pin, unpin, ban, unban, rule, policy)
