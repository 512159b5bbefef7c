"""The subcommands that look after an index: info, evaluate, verify and copy."""

import os
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import click

import recommender
from recommender.cli.command import Command, summary
from recommender.cli.options import block_options, chosen_settings, index_option, jobs_option, json_option
from recommender.cli.output import (
    counts_line,
    learned_line,
    plain_text,
    policy_line,
    print_evaluation,
    print_json,
    write_file,
)
from recommender.cli.progress import bar_updater, build_progress, progress_bar

MAX_PROBLEMS = 1000  # that `verify` reports before it stops


@click.command(
    cls=Command,
    examples=[
        "info",
        "info --json --index index/news",
    ],
)
@index_option
@json_option
def info(index: str, as_json: bool) -> None:
    """Show the contents of an index and how it was built."""
    with recommender.Recommender(index) as rec:
        facts = rec.info()
    if as_json:
        print_json(facts)
        return
    links = facts["editorial_links"]
    sources = {_relative_to_working_folder(name, index): count for name, count in facts["sources"].items()}
    size = f"{facts['bytes'] / 1e6:,.1f} MB, " if facts["bytes"] is not None else ""
    rows = {
        "articles": f"{facts['articles']:,}",
        "model": f"{facts['model']}, {facts['dimensions']} dimensions, first {facts['max_tokens']} tokens",
        "last build": facts["last_build"] or "not finished yet",
        "languages": counts_line(facts["languages"]),
        "sections": counts_line(facts["sections"]),
        "editorial links": f"{links['total']:,}, of which {links['matched']:,} lead to an article of the index",
        "learned ranking": learned_line(facts["learned"]) if facts["learned"] else "none",
        "sources": counts_line(sources),
        "blocks": policy_line(facts["policy"]),
        "size": f"{size}format {facts['format']}",
    }
    for name, value in rows.items():
        click.echo(f"{name:>16}  {plain_text(value)}")


def _relative_to_working_folder(source: str, index: str) -> str:
    """Return the path of a source, stored relative to the index's folder, relative to the working directory."""
    path = Path(index, source)
    return os.path.relpath(path) if not Path(source).is_absolute() and path.exists() else source


@click.command(
    cls=Command,
    examples=[
        "evaluate",
        "evaluate --report report.html",
        "evaluate --qrels judgements.tsv --json",
        "evaluate --blocks -k 3",
        "evaluate --diversity 0.3 --no-score-threshold",
    ],
)
@index_option
@click.option(
    "--qrels",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Relevance judgements in TREC's format.  [default: the archive's editorial links]",
)
@click.option(
    "--blocks",
    is_flag=True,
    help="Also measure the shaped blocks, with the stored settings and the options below; each of those implies this.",
)
@click.option(
    "-k",
    "k",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="The number of links of each block that count as a use of the archive.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with charts and blocks to this file.",
)
@jobs_option
@json_option
@block_options
def evaluate(
    index: str,
    qrels: Path | None,
    blocks: bool,
    k: int,
    report: Path | None,
    n_jobs: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure the ranking, and how it uses the archive.

    The ranking is measured against links that people chose: editorial links, or relevance judgements.
    """
    from recommender.evaluation import report as html  # noqa: PLC0415 - only this command needs it
    from recommender.system.files import create_parent  # noqa: PLC0415

    if report:
        html.check()
        create_parent(report)
    with recommender.Recommender(index) as rec, progress_bar(total=0, desc="Ranking", unit=" articles") as bar:
        evaluation = rec.evaluate(
            qrels, k=k, blocks=blocks, n_jobs=n_jobs, on_progress=bar_updater(bar), **chosen_settings(options)
        )
    record = evaluation.to_record()
    if report:
        page = html.render(record, index=index)
        write_file(report, lambda file: file.write(page))
    if as_json:
        print_json(record)
        return
    print_evaluation(evaluation)
    if report:
        click.echo(f"\nThe report is in {report}.")


@click.command(
    cls=Command,
    examples=[
        "verify",
        "verify --repair --index index/news",
    ],
)
@index_option
@click.option(
    "--repair",
    is_flag=True,
    help="First rebuild the data derived from the articles: counts, filters, and search files that are missing, "
    "damaged or of another machine. Updates an index of an earlier version.",
)
@json_option
def verify(index: str, repair: bool, as_json: bool) -> None:
    """Check the whole index; exit status 1 if anything is wrong."""
    with recommender.Recommender(index) as rec:
        with build_progress() as (_, on_progress):
            problems = list(islice(rec.verify(repair=repair, on_progress=on_progress), MAX_PROBLEMS))
        articles = len(rec)
    if as_json:
        print_json({"articles": articles, "problems": problems})
    else:
        for problem in problems:
            click.echo(plain_text(problem))
        more = ", and there may be more" if len(problems) == MAX_PROBLEMS else ""
        count = f"{len(problems):,} problem{'' if len(problems) == 1 else 's'}{more}" if problems else "no problems"
        click.echo(f"{articles:,} articles; {count}.")
    if problems:
        sys.exit(1)


@click.command(
    cls=Command,
    examples=[
        "copy index/default index/copy",
        "copy index/default milvus://localhost:19530/news",
    ],
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def copy(source: str, target: str) -> None:
    """Copy an index to a folder or to Milvus, or back.

    FROM and TO are a folder, milvus://HOST:PORT/NAME, or PATH.db. Nothing is embedded again. At the end, the counts and
    checksums of the two are compared. An interrupted copy continues where it stopped when it is run again; a later run
    copies the changes.
    """
    with build_progress() as (_, on_progress), recommender.Recommender(source) as rec:
        report = rec.copy_to(target, on_progress=on_progress)
    summary(
        f"{report.articles:,} articles in both, checksum {report.checksum}; {report.written:,} written, "
        f"{report.removed:,} removed."
    )
