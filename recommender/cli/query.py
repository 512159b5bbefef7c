"""The subcommands that query an index: related, search and links."""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import recommender
from recommender.cli.command import Command, note, quiet, summary
from recommender.cli.options import (
    block_options,
    chosen_settings,
    index_option,
    jobs_option,
    json_option,
    search_options,
)
from recommender.cli.output import (
    data_output,
    link_record,
    plain_text,
    print_block,
    print_details,
    print_json,
    print_why_not,
    write_file,
)
from recommender.cli.progress import bar_updater, progress_bar
from recommender.publish import FORMATS, KEYS, jsonl

if TYPE_CHECKING:
    from recommender import Article, Recommendation, Recommender
    from recommender.publish.link_check import CheckReport


@click.command(
    cls=Command,
    examples=[
        "related culture/police-follow-ferry-tickets.txt",
        "related 1041 1042 -k 5 --json",
        "related --file draft.md --section Culture --max-age 12m",
        "related 1041 --why",
        "related 1041 --why-not 1007",
    ],
)
@click.argument("ids", nargs=-1, metavar="ID...")
@index_option
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    help="A file with one article that need not be in the index, instead of ID.",
)
@click.option("-k", "k", metavar="N", type=click.IntRange(1), default=3, show_default=True, help="How many links.")
@click.option("--why", is_flag=True, help="Show the parts of each link's score.")
@click.option("--why-not", metavar="ID", help="Show why this article is not in the block.")
@json_option
@block_options
def related(
    ids: tuple[str, ...],
    index: str,
    file: Path | None,
    k: int,
    why: bool,
    why_not: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show the block of related articles under an article.

    Options override the stored settings, which `recommender settings` shows. Several IDs give one block after the
    other, with --json a list of blocks; exit status 1 if the index lacks any of them.
    """
    if bool(ids) == bool(file):
        raise click.UsageError("Give the ID of an article of the index, or --file PATH; one of them.")
    if why_not is not None and len(ids) > 1:
        raise click.UsageError("--why-not is about one block; give one ID.")
    settings = chosen_settings(options)
    records: list[dict[str, Any]] = []
    missing = 0
    with recommender.Recommender(index) as rec:
        for article in [rec.read(file)] if file else ids:
            try:
                id = (rec.id_of(article) or article) if isinstance(article, str) else article.id
                if why_not is not None:
                    answer = rec.why_not(article, why_not, k, **settings)
                    if as_json:
                        print_json({"id": id, "why_not": asdict(answer)})
                    else:
                        print_why_not(answer, k)
                    return
                block = rec.related(article, k, why=why, **settings)
            except recommender.ArticleNotFoundError as error:
                if len(ids) == 1:
                    raise
                missing += 1
                records.append({"id": article, "related": [], "error": str(error)})
                click.echo(f"Error: {plain_text(str(error))}", err=True)
                continue
            records.append({"id": id, "related": [link_record(link) for link in block]})
            if not as_json:
                query_article = rec.get(id) if isinstance(article, str) else article
                reason = "" if block else _no_links_reason(rec, settings, stored=True)
                _print_related(query_article, block, reason, first=len(records) == missing + 1)
    if as_json:
        print_json(records if len(ids) > 1 else records[0])
    if missing:
        sys.exit(1)


def _print_related(article: "Article | None", block: "list[Recommendation]", reason: str, *, first: bool) -> None:
    """Print an article's title and block, after an empty line unless it is the first."""
    if not first:
        click.echo()
    if article:
        click.echo(click.style(plain_text(article.title), bold=True))
        date = article.published.strftime("%-d %B %Y") if article.published else ""
        print_details(date, article.section, article.id)
    print_block(block, reason)


@click.command(
    cls=Command,
    examples=[
        "search oil price",
        'search "who pays when a company loses customer data" -k 3',
        "search ferry --section Culture --after 2026-01-01 --json",
    ],
)
@click.argument("words", nargs=-1, required=True, metavar="TEXT...")
@index_option
@click.option("-k", "k", metavar="N", type=click.IntRange(1), default=10, show_default=True, help="How many articles.")
@click.option("--why", is_flag=True, help="Show the parts of each article's score.")
@json_option
@search_options
def search(words: tuple[str, ...], index: str, k: int, why: bool, as_json: bool, **options: Any) -> None:
    """Find the articles nearest to a text."""
    text = " ".join(words)
    settings = chosen_settings(options)
    with recommender.Recommender(index) as rec:
        results = rec.search(text, k, why=why, **settings)
        reason = "" if results else _no_links_reason(rec, settings)
    if as_json:
        print_json({"query": text, "results": [link_record(link) for link in results]})
    else:
        print_block(results, reason)


@click.command(
    cls=Command,
    examples=[
        "links --out links.jsonl",
        "links -k 3 --out _data/related.json --format eleventy",
        "links --format html --out public/related",
        "links --format hugo --check public",
        "links --changed blocks.state --out delta.jsonl",
    ],
)
@index_option
@click.option(
    "-k", "k", metavar="N", type=click.IntRange(1), default=10, show_default=True, help="How many links an article."
)
@click.option(
    "--plain",
    is_flag=True,
    help="The ranking by score alone: without pins, the source's own links, shaping, and stored settings.",
)
@click.option(
    "--changed",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="STATE",
    help="Write only the blocks that changed since the last run, whose blocks the file STATE remembers.",
)
@click.option(
    "--full", is_flag=True, help="With --changed: build every block again, and not only those that may have changed."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, allow_dash=True),
    default="-",
    show_default=True,
    help="The file to write, or the folder of --format html; - is standard output.",
)
@click.option(
    "--format",
    "format",
    type=click.Choice(FORMATS),
    help="The format to write.  [default: by the ending of --out, or jsonl]",
)
@click.option(
    "--key",
    type=click.Choice(KEYS),
    help="With --format json or html: the key of an article.  [default: id]",
)
@click.option(
    "--fields",
    multiple=True,
    metavar="NAME,...",
    help="Further fields of each link, as the source has them: image,excerpt. Not in jsonl.",
)
@click.option("--heading", help="With --format html: the heading of a block.  [default: Related]")
@click.option(
    "--template",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --format html: the file of a Jinja2 template that replaces the built-in one.",
)
@click.option(
    "--base-url",
    metavar="URL",
    help="The folder of the site, before every address: /blog/, https://example.org or https://example.org/blog/.",
)
@click.option(
    "--url-template",
    metavar="TEMPLATE",
    help="The address of an article, with its fields in braces: /news/{slug}/, /{year}/{month}{path}.",
)
@click.option(
    "--check",
    "site_folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The output folder of the built site: list the links that have no page in it. Without --out write nothing.",
)
@jobs_option
@block_options
def links(
    index: str,
    k: int,
    plain: bool,
    changed: Path | None,
    full: bool,
    out: Path,
    site_folder: Path | None,
    n_jobs: int | None,
    **options: Any,
) -> None:
    """Write every article's block to a file, for a site.

    docs/reference/output-formats.md describes each format. A file whose content would stay the same is not touched.
    Options override the stored settings, which `recommender settings` shows.
    """
    if plain and changed:
        raise click.UsageError("--changed is about blocks, and --plain about the ranking; give one of them.")
    if full and not changed:
        raise click.UsageError("--full belongs to --changed.")
    if changed and changed.resolve() == out.resolve():
        raise click.UsageError("--changed and --out name the same file; the state needs a file of its own.")
    if changed and site_folder:
        raise click.UsageError("--changed writes ids only, which cannot be checked; leave out --check.")
    to_stdout = str(out) == "-"
    only_check = to_stdout and site_folder is not None
    format_options = {
        name: options.pop(name) for name in ("format", "key", "heading", "template", "base_url", "url_template")
    }
    format_options["fields"] = [
        name.strip() for part in options.pop("fields") for name in part.split(",") if name.strip()
    ]
    from recommender.publish.site import output_format  # noqa: PLC0415 - only this command needs it

    try:
        target = output_format(
            None if only_check else sys.stdout if to_stdout else out, **format_options, site_folder=site_folder
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if changed and target.format != "jsonl":
        raise click.UsageError(f"--changed writes JSON Lines, and not {target.format}; leave it out.")
    settings = chosen_settings(options)
    if to_stdout:
        data_output()
    with recommender.Recommender(index) as rec, progress_bar(total=len(rec), desc="Linking", unit=" articles") as bar:
        if changed:
            with rec.changed_links(
                changed, k, full=full, n_jobs=n_jobs, on_progress=bar_updater(bar, "Writing"), **settings
            ) as report:
                line_count = _write_changes(out, report.blocks, report.deleted)
            summary(report.sentence(), err=to_stdout)
        else:
            published = rec.publish(
                target.out,
                **format_options,
                site_folder=site_folder,
                k=k,
                plain=plain,
                n_jobs=n_jobs,
                on_problem=lambda problem: None if quiet() else bar.write(plain_text(problem), file=sys.stderr),
                on_progress=bar_updater(bar, "Writing"),
                **settings,
            )
    if changed and not to_stdout:
        summary(f"{line_count:,} lines written to {out}.")
    elif not changed and (not to_stdout or only_check or published.has_faults):
        summary(published.sentence(), err=to_stdout)
    if not changed and published.check:
        _print_dead_links(published.check)
    if report.empty if changed else published.empty:
        note("`recommender related ID --why-not OTHER` shows what keeps an article out of a block.")
    if not changed and published.check and (published.check.dead or not published.check.checked):
        sys.exit(1)


def _print_dead_links(check: "CheckReport") -> None:
    """Print each address without a page, and the result of the check."""
    for link in check.dead:
        blocks = f"{link.count:,} {'block' if link.count == 1 else 'blocks'}"
        click.echo(plain_text(f"{link.url}  ({link.id}, in {blocks})"))
    summary(check.sentence(), err=True)


def _no_links_reason(rec: "Recommender", options: dict[str, Any], *, stored: bool = False) -> str:
    """Return why there are no links.

    Args:
        rec: the index.
        options: the settings of this call.
        stored: whether the settings that are stored with the index applied too.
    """
    settings = rec.policy.settings.to_record() if stored else {}
    filters = {name: options.get(name, settings.get(name, ())) for name in ("section", "tags")}
    filters |= options.get("where", settings.get("where", {}))
    for name, values in filters.items():
        if values and not rec.matching({name: list(values)}):
            sections = {text.casefold(): text for text in rec.info()["sections"]} if name == "section" else {}
            similar = [sections[value.casefold()] for value in values if value.casefold() in sections]
            hint = f", but {' and '.join(similar)}" if similar else ""
            where = "" if name in options or name in options.get("where", {}) else ", which `recommender settings` sets"
            return f"no article of the index has {name} {' or '.join(values)}{where}; case counts{hint}"
    advice = "`recommender related ID --why-not OTHER` shows what keeps an article out"
    changed = stored and rec.policy.settings.changed()
    if options or changed:
        return f"no article meets the {'options' if options else 'settings that are stored'}; {advice}"
    return f"nothing fits, or the article has no block; {advice}"


def _write_changes(out: Path, blocks: Iterable[tuple[str, "list[Recommendation]"]], deleted: Iterable[str]) -> int:
    """Write changed blocks and deletions as JSON Lines; return the number of lines."""
    if str(out) == "-":
        return jsonl.write(blocks, sys.stdout, deleted)
    return write_file(out, lambda file: jsonl.write(blocks, file, deleted))
