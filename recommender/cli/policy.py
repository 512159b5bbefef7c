"""The subcommands that decide about blocks: settings, pin, unpin, ban, unban, rule and policy."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import recommender
from recommender.cli.command import Command, note, quiet, summary
from recommender.cli.options import (
    chosen_settings,
    dry_run_option,
    index_option,
    json_option,
    pairs_by_field,
    parse_pairs,
    stored_options,
)
from recommender.cli.output import data_output, did_you_mean, plain_text, policy_line, print_json
from recommender.errors import PolicyError

if TYPE_CHECKING:
    from recommender import Policy, PolicyEffect, Recommender


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

    The settings are stored with the index; without options they are shown. The same options of `related` and `links`
    override them. After a change, the number of changed and of empty blocks is printed, estimated from a sample in a
    large index.
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
        text = "the article's" if name == "language" and value is None else _setting_text(value)
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

    New pins come first, in the order of the arguments, before earlier pins.
    """
    with recommender.Recommender(index) as rec:
        article_id = _id_of(rec, id)
        rec.pin(article_id, *links)
        _note_missing(rec, [id, *links])
        pinned = rec.policy.pins[article_id]
        hidden = _hidden_pins(rec, article_id, pinned) if article_id in rec and not quiet() else {}
    for link, reason in hidden.items():
        note(f"Note: {link!r} does not show in the block of {article_id!r}: {reason}.")
    summary(f"Pinned under {article_id}: {', '.join(pinned)}.")


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
    """Remove pins from under an article; all of them without LINK."""
    with recommender.Recommender(index) as rec:
        article_id, *pinned = (_id_of(rec, name) for name in (id, *links))
        before = rec.policy.pins.get(article_id, ())
        if missing := [link for link in pinned if link not in before] or ([] if before else [article_id]):
            raise PolicyError(
                f"Nothing was changed: {missing[0]!r} " + ("is not pinned there." if links else "has no pins.")
            )
        rec.unpin(article_id, *pinned)
        summary(f"Pinned under {article_id}: {', '.join(rec.policy.pins.get(article_id, ())) or 'nothing'}.")


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

    With OTHER, ban the two articles from each other's block only.
    """
    with recommender.Recommender(index) as rec:
        rec.ban(id, other)
        _note_missing(rec, [id, other] if other else [id])
        article_id = _id_of(rec, id)
        if other:
            summary(f"{article_id} and {_id_of(rec, other)} never appear in each other's block.")
        else:
            summary(f"{article_id} appears in no block.")


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
    """Remove a ban."""
    with recommender.Recommender(index) as rec:
        before = rec.policy
        rec.unban(id, other)
        if rec.policy == before:
            raise PolicyError("Nothing was changed: there is no such ban.")
    summary("The ban is removed.")


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
    "--where", multiple=True, callback=parse_pairs, metavar="FIELD=VALUE", help="The articles that the rule applies to."
)
@click.option("--no-block", is_flag=True, help="Its articles have no block.")
@click.option("--never-recommended", is_flag=True, help="Its articles appear in no block.")
@click.option(
    "--never-with",
    multiple=True,
    callback=parse_pairs,
    metavar="FIELD=VALUE",
    help="Its articles and these never appear in each other's block.",
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

    The rule replaces an earlier one with its NAME. FIELD is section, tags, or any field of the metadata. The same field
    twice matches either value; several fields must all match.
    """
    with recommender.Recommender(index) as rec:
        if name is None:
            if where or never_with or no_block or never_recommended or remove or dry_run:
                raise click.UsageError("Give the rule a NAME.")
            records = [stored.to_record() for stored in rec.policy.rules]
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
            raise click.UsageError("Give --where FIELD=VALUE: the articles that the rule applies to.")
        if not (no_block or never_recommended or never_with):
            raise click.UsageError(
                "Give what the rule does: --no-block, --never-recommended, --never-with FIELD=VALUE."
            )
        record = {
            "name": name,
            "where": pairs_by_field(where),
            "no_block": no_block,
            "never_recommended": never_recommended,
        }
        new_rule = recommender.Rule.from_record({**record, "never_with": pairs_by_field(never_with)})
        effect = _effect(rec, rec.policy.with_rule(new_rule))
        if not dry_run:
            rec.set_rule(new_rule)
        counts = {
            part: rec.matching(pairs_by_field(pairs)) for part, pairs in (("where", where), ("never_with", never_with))
        }
    if as_json:
        print_json({"rule": new_rule.to_record(), "articles": counts["where"]} | _effect_record(effect))
        return
    hint = "" if counts["where"] else " Names and values of fields are case-sensitive."
    summary(f"The rule {new_rule.name} applies to {_count_articles(counts['where'])} of the index.{hint}")
    if never_with:
        summary(f"They and {_count_articles(counts['never_with'])} never appear in each other's block.")
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
    help="Replace all settings, pins, bans and rules with those of this file.",
)
@click.option("--undo", is_flag=True, help="Undo the last change of any of these; a second time, redo it.")
@dry_run_option
@json_option
def policy(index: str, load: Path | None, undo: bool, dry_run: bool, as_json: bool) -> None:
    """Show, load or undo settings, pins, bans and rules.

    The output is YAML, for version control.
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
        done = "Would be loaded" if dry_run else "Loaded" if load else "The last change is undone"
        summary(f"{done}: {policy_line(record)}.")
        if undo and loaded == before:
            note("It changed nothing.")
        _print_effect(effect, dry_run=dry_run)
    else:
        data_output()
        click.echo(_yaml(record), nl=False)


def _effect(rec: "Recommender", policy: "Policy") -> "PolicyEffect | None":
    """Return the effect of another policy on the blocks; None if --quiet suppresses its output."""
    return None if quiet() else rec.preview_policy(policy)


def _effect_record(effect: "PolicyEffect | None") -> dict[str, Any]:
    return {"effect": asdict(effect)} if effect else {}


def _print_effect(effect: "PolicyEffect | None", *, dry_run: bool) -> None:
    if effect:
        click.echo(plain_text(effect.sentence(would=dry_run)))
    if dry_run:
        note("Nothing was stored.")


def _count_articles(count: int) -> str:
    return f"{count:,} article{'' if count == 1 else 's'}"


def _id_of(rec: "Recommender", name: str) -> str:
    """Return the id of the article with this id, url or title; the name as an id if there is none."""
    from recommender.article import as_id  # noqa: PLC0415 - its imports take a while

    return rec.id_of(name) or as_id(name)


def _hidden_pins(rec: "Recommender", id: str, pinned: Sequence[str]) -> dict[str, str]:
    """Return the reasons for pinned articles that are not in the block, by their ids."""
    block = {link.id for link in rec.related(id, len(pinned))}
    return {link: rec.why_not(id, link, len(pinned)).reason for link in pinned if link not in block and link in rec}


def _note_missing(rec: "Recommender", names: list[str]) -> None:
    """Print a note for each name that no article of the index has."""
    for name in dict.fromkeys(name.strip() for name in names):
        if name not in rec:
            sentence = f"Note: the index holds no article with the id {name!r} now; this applies once it does."
            note(f"{sentence} {did_you_mean(rec, name)}".strip())


def _setting_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} = {' or '.join(values)}" for name, values in value.items()) or "any"
    if isinstance(value, list):
        return ", ".join(value) or "any"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _yaml(record: object) -> str:
    import yaml  # noqa: PLC0415 - few commands write YAML

    return str(yaml.safe_dump(record, allow_unicode=True, sort_keys=False))


COMMANDS = (settings, pin, unpin, ban, unban, rule, policy)
