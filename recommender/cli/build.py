"""The subcommands that build an index: prepare, build, add and remove."""

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

import recommender
from recommender.cli.command import Command, summary
from recommender.cli.options import index_option, jobs_option, open_sources, source_options
from recommender.cli.output import did_you_mean, excluded_counts
from recommender.cli.progress import build_progress
from recommender.errors import RecommenderError
from recommender.system.files import cache_folder

if TYPE_CHECKING:
    from recommender import BuildReport

MAX_LISTED_IDS = 10  # that `remove` names as missing

model_option = click.option(
    "--model",
    metavar="MODEL",
    help="For a new index: a model's folder or its name; `static` for a static one, many times as fast, or "
    "`static:` and a model to distil it from; `int8`, or `int8:` and a model, to compute in 8-bit integers, twice as "
    "fast on processors with VNNI.  [default: all-MiniLM-L6-v2]",
)
tokens_option = click.option(
    "--max-tokens",
    metavar="N",
    type=click.IntRange(1),
    help="For a new index: the tokens of title and text that the model reads.  [default: 128; 512 of a static one]",
)


def _check_ray_address(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the address of a Ray cluster; refuse text that is none."""
    if value is not None:
        from recommender.indexing.ray_cluster import check_address  # noqa: PLC0415 - few commands need it

        try:
            check_address(value)
        except ValueError as error:
            raise click.BadParameter(f"{error}. Alone, --ray stands after the sources.") from error
    return value


ray_option = click.option(
    "--ray",
    is_flag=False,
    flag_value="auto",
    metavar="[ADDRESS]",
    callback=_check_ray_address,
    help="Read and embed on a Ray cluster: auto, the one that this machine belongs to; local, this machine alone; or "
    "HOST:PORT. All its machines must see the sources.  [alone: auto]",
)


@click.command(
    cls=Command,
    examples=[
        "prepare",
        "prepare --model static",
        "prepare --index index/news",
    ],
)
@index_option
@model_option
@tokens_option
def prepare(index: str, model: str | None, max_tokens: int | None) -> None:
    """Fetch and convert the model ahead of the first use.

    This takes up to a minute, once; the result is cached in $RECOMMENDER_CACHE, or the user's cache folder. In a
    Dockerfile, run it as the container's user. If the index exists, its own model is prepared.
    """
    with recommender.Recommender(index, model=model, max_tokens=max_tokens) as rec:
        rec.warm_up()
    summary(f"The model is ready. The cache is {cache_folder()}.")


@click.command(
    cls=Command,
    examples=[
        "build content/",
        "build export.jsonl --index index/news",
        "build export.csv --map title=headline,text=body_html,url=/news/{slug} --id-field nr",
        "build postgresql://reader@localhost/cms --query 'SELECT id, title, body AS text, url FROM posts'",
        "build https://example.org/feed.xml --limit 100",
        "build content/ --prune",
        "build content/ --learn",
    ],
)
@source_options
@index_option
@model_option
@tokens_option
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Read this many articles only, for a first look.")
@click.option("--prune", is_flag=True, help="Remove articles that these sources no longer contain.")
@click.option(
    "--prune-limit",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    default=10.0,
    show_default=True,
    help="The largest share of these sources' articles that may be removed, in percent.",
)
@click.option(
    "--learn",
    is_flag=True,
    help="Train a ranking on the archive's own links at the end, if there is none or more than 20 % of the links have "
    "changed since.",
)
@jobs_option
@ray_option
def build(
    sources: tuple[str, ...],
    index: str,
    model: str | None,
    max_tokens: int | None,
    limit: int | None,
    prune: bool,
    prune_limit: float,
    learn: bool,
    n_jobs: int | None,
    ray: str | None,
    **options: Any,
) -> None:
    """Bring the index in line with a full export.

    New and changed articles are embedded, unchanged ones are not. An interrupted build continues where it stopped when
    it is run again.
    """
    if not 0 <= prune_limit <= 100:  # click.FloatRange accepts nan
        raise click.UsageError("--prune-limit is a share in percent, from 0 to 100.")
    if prune and limit is not None:
        raise click.UsageError("--prune needs the whole of the sources; leave out --limit.")
    opened_sources = open_sources(sources, options)
    with (
        build_progress() as (on_problem, on_progress),
        _without_ray_output(ray),
        recommender.Recommender(index, model=model, max_tokens=max_tokens) as rec,
    ):
        report = rec.build(
            *opened_sources,
            prune=prune,
            prune_limit=prune_limit,
            limit=limit,
            learn=learn,
            n_jobs=n_jobs,
            ray=ray,
            on_problem=on_problem,
            on_progress=on_progress,
        )
    _print_report(report, full=True)


@click.command(
    cls=Command,
    examples=[
        "add today.jsonl",
        "add article.md --index index/news",
    ],
)
@source_options
@index_option
@model_option
@tokens_option
@ray_option
def add(
    sources: tuple[str, ...], index: str, model: str | None, max_tokens: int | None, ray: str | None, **options: Any
) -> None:
    """Add or replace the articles of a delta.

    Articles that the delta does not contain stay. A record such as {"id": "7", "deleted": true} removes its article.
    """
    opened_sources = open_sources(sources, options)
    with (
        build_progress() as (on_problem, on_progress),
        _without_ray_output(ray),
        recommender.Recommender(index, model=model, max_tokens=max_tokens) as rec,
    ):
        report = rec.add(*opened_sources, ray=ray, on_problem=on_problem, on_progress=on_progress)
    _print_report(report, full=False)


@click.command(
    cls=Command,
    examples=[
        "remove 1041 1042",
    ],
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@index_option
def remove(ids: tuple[str, ...], index: str) -> None:
    """Remove articles."""
    with recommender.Recommender(index) as rec:
        ids_by_name = {name: rec.id_of(name) for name in ids}
        removed = set(rec.remove(*ids))
        summary(f"{len(removed):,} removed.")
        missing = [name for name, id in ids_by_name.items() if id not in removed]
        if missing:
            names = ", ".join(map(repr, missing[:MAX_LISTED_IDS])) + (", …" if len(missing) > MAX_LISTED_IDS else "")
            question = did_you_mean(rec, missing[0]) if len(missing) == 1 else ""
            raise RecommenderError(
                f"The index {index} holds no article with the id {names}, nor with such a url. {question}".strip()
            )


def _print_report(report: "BuildReport", *, full: bool) -> None:
    """Print the closing line of a build (`full`) or an add; raise RecommenderError if part of it failed."""
    counts = {"added": report.added, "changed": report.changed, "unchanged": report.unchanged}
    parts = [f"{count:,} {name}" for name, count in counts.items()]
    if full:
        missing = "unknown how many" if report.missing is None else f"{report.missing:,}"
        parts += [f"{report.removed:,} removed", f"{missing} no longer in the sources"]
    elif report.removed:
        parts.append(f"{report.removed:,} removed")
    if report.excluded:
        parts.append(excluded_counts(report.excluded))
    parts.append(f"{report.skipped:,} skipped")
    summary(f"{', '.join(parts)}; {report.embedded:,} embedded; {report.seconds:.1f} s, {report.rate:,.0f} articles/s.")
    if report.learned:
        outcome = "adopted" if report.learned.adopted else "not adopted"
        summary(f"Learned ranking {outcome}: {report.learned.reason}")
    if report.refused:
        raise RecommenderError(report.refused)
    if report.failed:
        raise RecommenderError("\n".join(report.failed))


def _without_ray_output(ray: str | None) -> contextlib.AbstractContextManager[object]:
    """Redirect standard output to standard error while Ray runs: its threads print messages about lost machines."""
    return contextlib.redirect_stdout(sys.stderr) if ray else contextlib.nullcontext()
