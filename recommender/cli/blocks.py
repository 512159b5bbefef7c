"""The part of the command that is about what stands in blocks: its options, and settings, pins, bans and rules."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import recommender
from recommender.cli.command import Command, Option, note, quiet, summary
from recommender.cli.output import data_output, did_you_mean, plain_text, policy_line, print_json
from recommender.errors import PolicyError

if TYPE_CHECKING:
    from recommender import Policy, PolicyEffect, Recommender

_Command = Callable[..., Any]

index_option = click.option(
    "--index",
    "index",
    metavar="PLACE",
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
_of_a_call = _option("For this call only")
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
        callback=_pair,
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
        "--editorial",
        type=click.Choice(["first", "only", "ignore"]),
        help="The source's own related links: first, filled up with ours; only they; ignore them.",
    ),
    _shaping(
        "--variety",
        metavar="NUMBER",
        type=click.FloatRange(0, 1),
        help="What a link loses for being like one before it.",
    ),
    _shaping("--half-life", metavar="DAYS", help="After how many days of age a link counts half; none for never."),
    _shaping("--floor/--no-floor", default=None, help="Leave out links that fit hardly better than at random."),
    _shaping("--fill", type=click.Choice(["none", "recent", "section"]), help="Top up blocks that are short."),
    _shaping("--body-links/--no-body-links", default=None, help="Links that stand in the article's body already."),
    _shaping("--not-newer/--newer", default=None, help="Only links published no later than the article."),
    _shaping("--age-from", type=click.Choice(["today", "article"]), help="What --max-age counts from."),
    _shaping("--sections", type=click.Choice(["any", "same", "other"]), help="Of the article's section, or others."),
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Report which blocks would change, and store nothing.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
_OF_A_CALL = (
    _of_a_call("--exclude", multiple=True, metavar="ID", help="Leave this article out."),
    _of_a_call(
        "--now", metavar="DAY", help="What day it is: articles with a later date are withheld.  [default: today]"
    ),
)
_AS_OF = (
    _of_a_call("--as-of", metavar="DAY", help="The day that --half-life counts from.  [default: the article's date]"),
)
_COPIES = (_shaping("--copies/--no-copies", default=None, help="Leave out copies; of several the newest stays."),)


def block_options(command: _Command) -> _Command:
    """Add the options of a block, each of which overrides what is stored with the index."""
    return _with(command, (*_FILTERS, *_COPIES, *_SHAPING, *_OF_A_CALL, *_AS_OF))


def search_options(command: _Command) -> _Command:
    """Add those of the options that a search has too."""
    return _with(command, (*_FILTERS, *_COPIES, *_OF_A_CALL))


def stored_options(command: _Command) -> _Command:
    """Add those of the options that can be stored with the index."""
    return _with(command, (*_FILTERS, *_COPIES, *_SHAPING))


def _with(command: _Command, options: tuple[Callable[[_Command], _Command], ...]) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def chosen_settings(options: dict[str, Any]) -> dict[str, Any]:
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
        "settings --section Culture --dry-run",
        "settings --unset max-age",
    ],
)
@index_option
@click.option("--unset", multiple=True, metavar="NAME", help="Put a setting back to its default.")
@dry_run_option
@json_option
@stored_options
def settings(index: str, unset: tuple[str, ...], dry_run: bool, as_json: bool, **options: Any) -> None:
    """Show or change the settings of blocks.

    They are stored with the index. Without options it shows them. The same options override them in `related` and
    `links`. After a change it reports how many blocks change and how many are empty; of a large index it estimates both
    from a sample.
    """
    with recommender.Recommender(index) as rec:
        defaults = recommender.Settings().to_record()
        names = {name.removeprefix("--").replace("-", "_"): name for name in unset}
        names = {"tags" if name == "tag" else name: text for name, text in names.items()}
        if unknown := [text for name, text in names.items() if name not in defaults]:
            raise PolicyError(f"There is no block setting {unknown[0]!r}. There are: {', '.join(sorted(defaults))}.")
        changes = {name: defaults[name] for name in names} | chosen_settings(options)
        if dry_run and not changes:
            raise click.UsageError("--dry-run needs a setting to change.")
        chosen = rec.policy.settings.updated(changes)
        effect = _effect(rec, replace(rec.policy, settings=chosen)) if changes else None
        if changes and not dry_run:
            chosen = rec.configure(**changes)
    if as_json:
        print_json({"settings": chosen.to_record()} | _effect_record(effect))
        return
    changed = chosen.changed()
    for name, value in chosen.to_record().items() if not (changes and quiet()) else ():
        text = "the article's" if name == "language" and value is None else _value(value)
        click.echo(plain_text(f"{name:>12}  {text}" + ("" if name not in changed else "  (set)")))
    _print_effect(effect, dry_run=dry_run)


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
        pinned = rec.policy.pins[own]
        hidden = _hidden(rec, own, pinned) if own in rec and not quiet() else {}
    for link, reason in hidden.items():
        note(f"Note: {link!r} does not show in the block of {own!r}: {reason}.")
    summary(f"Pinned under {own}: {', '.join(pinned)}.")


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
        summary(f"Pinned under {own}: {', '.join(rec.policy.pins.get(own, ())) or 'nothing'}.")


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
        summary(f"{own} and {_id_of(rec, other)} never meet." if other else f"{own} stands in no block.")


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
    summary("The ban is taken back.")


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
@click.option(
    "--where", multiple=True, callback=_pair, metavar="FIELD=VALUE", help="The articles that the rule is about."
)
@click.option("--no-block", is_flag=True, help="Its articles have no block.")
@click.option("--never-recommended", is_flag=True, help="Its articles stand in no block.")
@click.option(
    "--never-with", multiple=True, callback=_pair, metavar="FIELD=VALUE", help="Its articles never meet these."
)
@click.option("--remove", is_flag=True, help="Remove the rule of this name.")
@dry_run_option
@json_option
def rule(
    name: str | None,
    index: str,
    where: list[tuple[str, str]],
    no_block: bool,
    never_recommended: bool,
    never_with: list[tuple[str, str]],
    remove: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set a rule over the fields of articles, or show all rules.

    It takes the place of a rule with its NAME. FIELD is section, tags, or any field of the metadata. The same field
    twice means one of the values, several fields mean all of them.
    """
    with recommender.Recommender(index) as rec:
        if name is None:
            if where or never_with or no_block or never_recommended or remove or dry_run:
                raise click.UsageError("Give the rule a NAME.")
            records = [each.to_record() for each in rec.policy.rules]
            if as_json:
                print_json(records)
            else:
                data_output()
                click.echo(_yaml(records), nl=False)
            return
        if remove:
            if where or never_with or no_block or never_recommended:
                raise click.UsageError("--remove takes the NAME alone.")
            effect = _effect(rec, rec.policy.without_rule(name))
            if not dry_run:
                rec.remove_rule(name)
            if as_json:
                print_json({"removed": name} | _effect_record(effect))
            else:
                summary(f"The rule {name} {'would be' if dry_run else 'is'} removed.")
                _print_effect(effect, dry_run=dry_run)
            return
        if not where:
            raise click.UsageError("Give --where FIELD=VALUE: the articles that the rule is about.")
        if not (no_block or never_recommended or never_with):
            raise click.UsageError(
                "Give what the rule does: --no-block, --never-recommended, --never-with FIELD=VALUE."
            )
        record = {"name": name, "where": _fields(where), "no_block": no_block, "never_recommended": never_recommended}
        made = recommender.Rule.from_record({**record, "never_with": _fields(never_with)})
        effect = _effect(rec, rec.policy.with_rule(made))
        if not dry_run:
            rec.set_rule(made)
        counts = {part: rec.matching(_fields(pairs)) for part, pairs in (("where", where), ("never_with", never_with))}
    if as_json:
        print_json({"rule": made.to_record(), "articles": counts["where"]} | _effect_record(effect))
        return
    hint = "" if counts["where"] else " Names and values of fields are compared with their case."
    summary(f"The rule {made.name} is about {_articles(counts['where'])} of the index.{hint}")
    if never_with:
        summary(f"They never meet {_articles(counts['never_with'])}.")
    _print_effect(effect, dry_run=dry_run)


@click.command(
    cls=Command,
    examples=[
        "policy > policy.yaml",
        "policy --load policy.yaml",
        "policy --undo",
    ],
)
@index_option
@click.option(
    "--load",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Put what this file holds in the place of all settings, pins, bans and rules.",
)
@click.option("--undo", is_flag=True, help="Take back the last change of any of these; given again, make it again.")
@dry_run_option
@json_option
def policy(index: str, load: Path | None, undo: bool, dry_run: bool, as_json: bool) -> None:
    """Show, load or undo settings, pins, bans and rules.

    They are shown as YAML, to be kept under version control.
    """
    if load and undo:
        raise click.UsageError("Give --load FILE or --undo, not both.")
    if dry_run and not load:
        raise click.UsageError("--dry-run belongs to --load FILE.")
    with recommender.Recommender(index) as rec:
        effect = None
        before = rec.policy if undo else None
        if load:
            loaded = recommender.Policy.read(load)
            effect = _effect(rec, loaded)
            if not dry_run:
                rec.load_policy(loaded)
        elif undo:
            loaded = rec.undo_policy()
        else:
            loaded = rec.policy
    record = loaded.to_record()
    if as_json:
        print_json(record | _effect_record(effect))
    elif load or undo:
        done = "Would be loaded" if dry_run else "Loaded" if load else "The last change is taken back"
        summary(f"{done}: {policy_line(record)}.")
        if undo and loaded == before:
            note("It changed nothing.")
        _print_effect(effect, dry_run=dry_run)
    else:
        data_output()
        click.echo(_yaml(record), nl=False)


def _effect(rec: "Recommender", policy: "Policy") -> "PolicyEffect | None":
    """Return what another policy does to the blocks; None where nobody would see it."""
    return None if quiet() else rec.preview_policy(policy)


def _effect_record(effect: "PolicyEffect | None") -> dict[str, Any]:
    return {"effect": asdict(effect)} if effect else {}


def _print_effect(effect: "PolicyEffect | None", *, dry_run: bool) -> None:
    if effect:
        click.echo(plain_text(effect.sentence(would=dry_run)))
    if dry_run:
        note("Nothing was stored.")


def _articles(count: int) -> str:
    return f"{count:,} article{'' if count == 1 else 's'}"


def _id_of(rec: "Recommender", name: str) -> str:
    """Return the id of the article that is named by its id, url or title; a name that no article has as an id."""
    from recommender.article import as_id  # noqa: PLC0415 - with what it imports, not for every command

    return rec.id_of(name) or as_id(name)


def _hidden(rec: "Recommender", id: str, pinned: Sequence[str]) -> dict[str, str]:
    """Return the pinned articles that do not show in a block, each with the reason."""
    block = {link.id for link in rec.related(id, len(pinned))}
    return {link: rec.why_not(id, link, len(pinned)).reason for link in pinned if link not in block and link in rec}


def _tell_missing(rec: "Recommender", names: list[str]) -> None:
    for name in dict.fromkeys(name.strip() for name in names):
        if name not in rec:
            sentence = f"Note: the index holds no article with the id {name!r} now; this holds once it does."
            note(f"{sentence} {did_you_mean(rec, name)}".strip())


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
