"""The part of the command that is about sources: its options, and `read`, which shows what would be indexed."""

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

import recommender
from recommender.cli.command import Command, note, summary
from recommender.cli.output import data_output, plain_text
from recommender.errors import SourceError
from recommender.publish.jsonl import json_line

if TYPE_CHECKING:
    from recommender import Article, Source
    from recommender.indexing.intake import SourceIntake

_Command = Callable[..., Any]
SHOWN = 10  # articles of the table
_PAIR_END = re.compile(r",(?=\s*\w+\s*=)")
_FIELDS = ("text", "url", "published", "section", "tags", "language", "related", "links")


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """Read NAME=FIELD,NAME=FIELD; None if nothing was given, so that the index's memory holds."""
    if not values:
        return None
    found: dict[str, str] = {}
    for part in (part for value in values for part in _PAIR_END.split(value)):  # a FIELD may contain commas
        name, sign, field = part.partition("=")
        if part.strip() and not (sign and name.strip() and field.strip()):
            raise click.BadParameter(f"{part!r} is not of the form NAME=FIELD, such as title=headline.")
        if part.strip():
            found[name.strip()] = field.strip()
    from recommender.sources.record import MAPPABLE  # noqa: PLC0415 - few commands need it

    if unknown := [name for name in found if name not in MAPPABLE]:
        names = ", ".join(MAPPABLE)
        raise click.BadParameter(f"{unknown[0]!r} is no field of an article; these are {names}. Write FIELD last.")
    return found


_OPTIONS = (
    click.option(
        "--map",
        "fields",
        multiple=True,
        callback=_pairs,
        metavar="NAME=FIELD,...",
        help="The names that the source has for fields: title=headline,text=body_html; with dots where one lies within "
        "another; url=/news/{slug} makes a URL. The index remembers them for the source; --map '' forgets them.",
    ),
    click.option("--id-field", metavar="FIELD", help="The field that holds the id."),
    click.option("--include", multiple=True, metavar="GLOB", help="Of a folder only the files that match."),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Of a folder not the files or folders that match."),
    click.option("--query", metavar="SQL", help="With the URL of a database: the query that returns the articles."),
)


def source_options(command: _Command) -> _Command:
    """Add SOURCE... and the options that say more about it; `opened` takes them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")(command)


def open_sources(sources: Sequence[str], options: dict[str, Any]) -> "list[Source | str]":
    """Return the sources that were named, and take what says more about them out of the options.

    One that cannot be read stays a name, so that it is told beside those that can.
    """
    fields, id_field = options.pop("fields"), options.pop("id_field")
    include, exclude, query = options.pop("include"), options.pop("exclude"), options.pop("query")
    if id_field:
        fields = {**(fields or {}), "id": id_field}
    found: list[Source | str] = []
    for name in sources:
        try:
            found.append(recommender.Source(name, fields=fields, include=include, exclude=exclude, query=query))
        except SourceError:
            if len(sources) == 1:
                raise
            found.append(name)
    return found


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
    """Show what would be indexed, what skipped, and why.

    Nothing is stored. As JSON Lines, it makes of any kind of source what `build` and other tools read.
    """
    reading = _Reading(limit)
    if as_lines:
        data_output()
    for source in open_sources(sources, options):
        for article in reading.articles(
            source if isinstance(source, recommender.Source) else recommender.Source(source)
        ):
            if as_lines:
                click.echo(json_line(_record(article)))
            elif len(reading.first) < SHOWN:
                reading.first.append(article)
    if not as_lines:
        _print_table(reading.first)
    reading.close(to_stderr=as_lines)


class _Reading:
    """Counts what was read."""

    def __init__(self, limit: int | None) -> None:
        from recommender.indexing.intake import Intake  # noqa: PLC0415 - few commands need it

        self.first: list[Article] = []
        self._limit = limit
        self._intake = Intake(note, report_unpublished=True)
        self._sources: list[SourceIntake] = []
        self._counts: Counter[str] = Counter()

    def articles(self, source: "Source") -> "Iterator[Article]":
        """Give the articles of a source, and report what is wrong."""
        from recommender.indexing.intake import SourceIntake  # noqa: PLC0415 - few commands need it

        intake = SourceIntake(source.name, source.fields)
        self._sources.append(intake)
        for entry in source:
            if self._limit and self._counts["articles"] >= self._limit:
                break
            if article := self._intake.take(intake, entry):
                self._counts["articles"] += 1
                for name in _FIELDS:
                    self._counts[name] += bool(getattr(article, name))
                yield article
        for kind, count in source.passed_over.items():
            self._intake.problems.note(
                f"{source.name}: {count:,} {kind} files were passed over; take such files with --include."
            )

    def close(self, *, to_stderr: bool) -> None:
        """Print the counts; exit with 1 if a source gave no article, or lacks fields that were named."""
        self._intake.problems.close()
        for source in self._sources:
            if hint := source.hint():
                self._intake.problems.note(hint)
        counts = self._counts
        have = ", ".join(f"{name} {counts[name]:,}" for name in _FIELDS)
        unpublished = sum(source.unpublished for source in self._sources)
        skipped = sum(source.skipped for source in self._sources)
        summary(
            f"{counts['articles']:,} articles, {unpublished:,} not published, {skipped:,} skipped. With {have}.",
            err=to_stderr,
        )
        failures = [failure for source in self._sources for failure in (source.absent(), source.failure()) if failure]
        if failures and not self._limit:
            raise SourceError(" ".join(failures))
        if not counts["articles"]:
            raise SourceError("None of the sources held an article.")


def _record(article: "Article") -> dict[str, Any]:
    """Return an article as a line of JSON Lines, without what is empty; reading it gives the same article."""
    record = article.to_record()
    metadata = record.pop("metadata")
    kept = {name: value for name, value in record.items() if value not in (None, "", [], True)}
    return kept | ({"metadata": metadata} if metadata else {})


def _print_table(articles: "list[Article]") -> None:
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
        click.echo(click.style(_cut(article.title, width), bold=True))
        click.echo(
            "  " + _cut(article.id + (f"  {article.url}" if article.url not in (None, article.id) else ""), width)
        )
        click.echo("  " + click.style(_cut(" · ".join(filter(None, facts)), width), dim=True))


def _cut(text: str, width: int) -> str:
    plain = " ".join(plain_text(text).split())
    return plain if len(plain) < width - 2 else plain[: width - 3] + "…"
