"""The subcommands that build an index: read, prepare, build, add and remove."""

import contextlib
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

import recommender
from recommender.cli.command import Command, note, summary
from recommender.cli.options import index_option, jobs_option, open_sources, source_options
from recommender.cli.output import data_output, did_you_mean, plain_text
from recommender.cli.progress import build_progress
from recommender.errors import RecommenderError, SourceError
from recommender.publish.jsonl import json_line
from recommender.system.files import cache_folder

if TYPE_CHECKING:
    from recommender import Article, BuildReport, Source
    from recommender.indexing.intake import SourceIntake

MAX_SAMPLE_ARTICLES = 10  # that `read` prints
MAX_LISTED_IDS = 10  # that `remove` names as missing
_COUNTED_FIELDS = ("text", "url", "published", "section", "tags", "language", "related", "links")

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
        "read content/",
        "read export.csv --map title=headline,text=body_html --id-field nr",
        "read wordpress.xml --json > articles.jsonl",
    ],
)
@source_options
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Read this many articles only.")
@click.option("--json", "as_lines", is_flag=True, help="Print the articles as JSON Lines and nothing else.")
def read(limit: int | None, as_lines: bool, sources: tuple[str, ...], **options: Any) -> None:
    """Show the articles that would be indexed, and what is skipped.

    Nothing is stored. --json converts any kind of source to JSON Lines, which `build` and other tools read.
    """
    reader = _SourceReader(limit)
    if as_lines:
        data_output()
    for source in open_sources(sources, options):
        for article in reader.articles(
            source if isinstance(source, recommender.Source) else recommender.Source(source)
        ):
            if as_lines:
                click.echo(json_line(article_record(article)))
            elif len(reader.sample) < MAX_SAMPLE_ARTICLES:
                reader.sample.append(article)
    if not as_lines:
        _print_articles(reader.sample)
    reader.close(to_stderr=as_lines)


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


class _SourceReader:
    """Reads sources without an index, counts their articles, and reports problems."""

    def __init__(self, limit: int | None) -> None:
        from recommender.indexing.intake import Intake  # noqa: PLC0415 - few commands need it

        self.sample: list[Article] = []
        self._limit = limit
        self._intake = Intake(note, report_excluded=True)
        self._sources: list[SourceIntake] = []
        self._counts: Counter[str] = Counter()

    def articles(self, source: "Source") -> "Iterator[Article]":
        """Yield the articles of a source, and report its problems."""
        from recommender.indexing.intake import SourceIntake  # noqa: PLC0415 - few commands need it

        intake = SourceIntake(source.name, source.fields)
        self._sources.append(intake)
        for entry in source:
            if self._limit and self._counts["articles"] >= self._limit:
                break
            if article := self._intake.take(intake, entry):
                self._counts["articles"] += 1
                for name in _COUNTED_FIELDS:
                    self._counts[name] += bool(getattr(article, name))
                yield article
        for sentence in source.notes():
            self._intake.problems.note(sentence)

    def close(self, *, to_stderr: bool) -> None:
        """Print the counts; raise SourceError if a source has no article, or lacks a field of its mapping."""
        self._intake.problems.close()
        for source in self._sources:
            if hint := source.hint():
                self._intake.problems.note(hint)
        counts = self._counts
        field_counts = ", ".join(f"{name} {counts[name]:,}" for name in _COUNTED_FIELDS)
        excluded = sum((source.excluded for source in self._sources), Counter[str]())
        skipped = sum(source.skipped for source in self._sources)
        summary(
            f"{counts['articles']:,} articles, {_excluded_counts(excluded)}, {skipped:,} skipped. With {field_counts}.",
            err=to_stderr,
        )
        failures = [failure for source in self._sources for failure in (source.absent(), source.failure()) if failure]
        if failures and not self._limit:
            raise SourceError(" ".join(failures))
        if not counts["articles"]:
            raise SourceError("None of the sources held an article.")


def article_record(article: "Article") -> dict[str, Any]:
    """Return an article as a JSON object without empty fields; reading the object returns the same article."""
    record = article.to_record()
    metadata = record.pop("metadata")
    filled = {name: value for name, value in record.items() if value not in (None, "", [], True)}
    return filled | ({"metadata": metadata} if metadata else {})


def _print_articles(articles: "list[Article]") -> None:
    """Print three lines for each article: title, id and url, and facts."""
    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120
    for article in articles:
        date = article.published.date().isoformat() if article.published else ""
        links = len(article.related) + len(article.links)
        facts = [
            date,
            article.language or "",
            article.section or "",
            f"{len(article.text.split()):,} words",
            f"{len(article.related)} related, {links - len(article.related)} links" if links else "",
            ", ".join(article.tags[:4]),
        ]
        click.echo(click.style(_shorten(article.title, width), bold=True))
        click.echo(
            "  " + _shorten(article.id + (f"  {article.url}" if article.url not in (None, article.id) else ""), width)
        )
        click.echo("  " + click.style(_shorten(" · ".join(filter(None, facts)), width), dim=True))


def _shorten(text: str, width: int) -> str:
    """Return a text on one line, cut to the width of the terminal."""
    plain = " ".join(plain_text(text).split())
    return plain if len(plain) < width - 2 else plain[: width - 3] + "…"


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
        parts.append(_excluded_counts(report.excluded))
    parts.append(f"{report.skipped:,} skipped")
    summary(f"{', '.join(parts)}; {report.embedded:,} embedded; {report.seconds:.1f} s, {report.rate:,.0f} articles/s.")
    if report.learned:
        outcome = "adopted" if report.learned.adopted else "not adopted"
        summary(f"Learned ranking {outcome}: {report.learned.reason}")
    if report.refused:
        raise RecommenderError(report.refused)
    if report.failed:
        raise RecommenderError("\n".join(report.failed))


def _excluded_counts(excluded: Counter[str]) -> str:
    """Return how many records were excluded, by reason: `14 left out (list page 12, unpublished 2)`."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in excluded.most_common())
    return f"{excluded.total():,} left out" + (f" ({reasons})" if reasons else "")


def _without_ray_output(ray: str | None) -> contextlib.AbstractContextManager[object]:
    """Redirect standard output to standard error while Ray runs: its threads print messages about lost machines."""
    return contextlib.redirect_stdout(sys.stderr) if ray else contextlib.nullcontext()
