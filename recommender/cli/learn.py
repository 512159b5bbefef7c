"""The subcommand that trains a ranking on an archive's own links: learn."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import recommender
from recommender.cli.command import Command, summary
from recommender.cli.options import index_option, json_option
from recommender.cli.output import day_of, learned_from, print_json, write_file
from recommender.cli.progress import progress_bar
from recommender.errors import RecommenderError

if TYPE_CHECKING:
    from recommender import Recommender


@click.command(
    cls=Command,
    examples=[
        "learn",
        "learn --index index/news --json",
        "learn --report report.html",
        "learn --status",
        "learn --forget",
    ],
)
@index_option
@click.option("--status", is_flag=True, help="Show what was learned, when, and its measured gain; train nothing.")
@click.option("--forget", is_flag=True, help="Remove the learned ranking: content ranks as before.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with charts and blocks, before and after, to this file. Takes as long as the training.",
)
@json_option
def learn(index: str, status: bool, forget: bool, report: Path | None, as_json: bool) -> None:
    """Train a ranking on the archive's own links.

    It learns from editorial links, from links in the texts, or from both, and is measured on articles whose links it
    has not seen. Blocks use it only if it wins there; otherwise the index stays as it is. Exit status 1 if there are
    too few links to try. Needs LightGBM: pip install 'recommender[learn]'.
    """
    if status and forget:
        raise click.UsageError("--status shows the learned ranking, and --forget removes it; give one of them.")
    if report:
        if status or forget:
            raise click.UsageError("--report is about a training; leave out --status and --forget.")
        from recommender.evaluation.report import check  # noqa: PLC0415 - only for a report
        from recommender.system.files import create_parent  # noqa: PLC0415

        check()
        create_parent(report)
    with recommender.Recommender(index) as rec:
        if status:
            _show_status(rec, as_json=as_json)
        elif forget:
            _forget(rec, as_json=as_json)
        else:
            _train(rec, report, as_json=as_json)


def _train(rec: "Recommender", report_path: Path | None, *, as_json: bool) -> None:
    """Train a ranking, print the result and write the report; exit with status 1 if there were too few links to try."""
    bar_format = "{desc} {percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt}, {elapsed}"
    with progress_bar(total=0, desc="Links", bar_format=bar_format) as bar:

        def on_progress(stage: str, done: int, total: int) -> None:
            bar.set_description_str(stage.capitalize(), refresh=False)
            bar.total, bar.n = total, done
            bar.refresh()

        report = rec.learn(on_progress=on_progress)
        is_tested = bool(report.before)
        if report_path and is_tested:
            page = rec.learn_report(report, on_progress=on_progress)
            write_file(report_path, lambda file: file.write(page))
    record = report.to_record()
    if as_json:
        print_json(record)
        if not is_tested:
            sys.exit(1)
        return
    if not is_tested:
        raise RecommenderError(report.reason)
    click.echo(f"{_outcome(record)}\n")
    _print_figures(record)
    click.echo(f"\nLearned from {learned_from(record)} in {report.seconds:.0f} s.")
    if report_path:
        click.echo(f"The report is in {report_path}.")
    if report.adopted:
        summary(
            "See a block with `recommender related ID --why`; `--ranking content` gives the block without learning."
        )
        if rec.policy.settings.ranking == "content":
            summary(
                "Blocks do not use it yet: the stored setting ranking is content. Change it with `recommender settings "
                "--unset ranking`."
            )
    elif earlier := rec.learned:
        summary(f"The ranking learned on {day_of(earlier)} stays in use; `recommender learn --forget` removes it.")
    else:
        summary("Blocks are ranked by content as before.")


def _outcome(record: Mapping[str, Any]) -> str:
    """Return whether the ranking was adopted, and by what difference."""
    from recommender.learning.learn import MIN_GAIN  # noqa: PLC0415 - imports NumPy

    low, high = record["gain"]
    difference = f"nDCG@10 differs by {low:+.3f} to {high:+.3f} with 95 % confidence"
    return f"Adopted: {difference}." if record["adopted"] else f"Not adopted: {difference}; {MIN_GAIN:+g} is needed."


def _print_figures(record: Mapping[str, Any]) -> None:
    """Print nDCG@10 of both rankings on held-out articles, seen as new and as old ones."""
    before, after, after_old = (record[name]["ndcg@10"] for name in ("before", "after", "after_old"))
    heading = f"nDCG@10 of {record['tested']:,} held-out articles"
    rows = {"new articles, which nothing links to yet": after, "old articles, which others link to": after_old}
    click.echo(f"{heading:42}  by content  learned")
    for name, value in rows.items():
        click.echo(f"{name:42}  {before:10.3f}  {value:7.3f}")


def _show_status(rec: "Recommender", *, as_json: bool) -> None:
    """Print the learned ranking of an index, or that there is none."""
    from recommender.learning.learn import STALE_SHARE  # noqa: PLC0415 - imports NumPy

    record = rec.learned
    if as_json:
        print_json(record or {"adopted": False})
        return
    if record is None:
        click.echo("There is no learned ranking: blocks are ranked by content. `recommender learn` trains one.")
        return
    click.echo(f"Learned on {day_of(record)} from {learned_from(record)}.\n")
    _print_figures(record)
    click.echo(f"\n{100 * record['changed']:.0f} % of the links have changed since.")
    if record["changed"] > STALE_SHARE:
        click.echo("The ranking is out of date: train it again with `recommender learn`.")


def _forget(rec: "Recommender", *, as_json: bool) -> None:
    """Remove the learned ranking of an index.

    Raises:
        RecommenderError: there is none.
    """
    if not rec.forget_learned():
        raise RecommenderError("There is no learned ranking to remove; blocks are ranked by content.")
    if as_json:
        print_json({"adopted": False})
    else:
        summary("The learned ranking is removed; blocks are ranked by content.")
