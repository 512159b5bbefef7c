"""The subcommand `read`, which checks an archive without an index."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import recommender
from recommender.cli.command import Command, note, summary
from recommender.cli.options import open_sources, source_options
from recommender.cli.output import data_output, excluded_counts, listed_counts, plain_text, write_file
from recommender.errors import SourceError
from recommender.publish.jsonl import json_line
from recommender.system.files import create_parent

if TYPE_CHECKING:
    from recommender import Article, Source
    from recommender.indexing.intake import SourceIntake

MAX_SAMPLE_ARTICLES = 10  # that are printed
MAX_LANGUAGES = 12  # that are printed
_COUNTED_FIELDS = ("text", "url", "published", "section", "tags", "language", "related", "links")
_LABEL_WIDTH = 12


@click.command(
    cls=Command,
    examples=[
        "read content/",
        "read export.csv --map title=headline,text=body_html --id-field nr",
        "read public/ --report archive.html",
        "read wordpress.xml --json > articles.jsonl",
    ],
)
@source_options
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Read this many articles only.")
@click.option("--json", "as_lines", is_flag=True, help="Print the articles as JSON Lines and nothing else.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with all counts, what was left out and why, and the first articles to this file.",
)
def read(limit: int | None, as_lines: bool, report: Path | None, sources: tuple[str, ...], **options: Any) -> None:
    """Check an archive: what would be indexed, what not, and why.

    Nothing is stored. The counts name articles without date, address or text, odd dates, repeated titles and the
    languages, detected where the source states none. --json converts any kind of source to JSON Lines, which `build`
    and other tools read.
    """
    reader = _SourceReader(limit, with_survey=not as_lines or report is not None)
    if report:
        create_parent(report)
    if as_lines:
        data_output()
    for source in open_sources(sources, options):
        for article in reader.articles(
            source if isinstance(source, recommender.Source) else recommender.Source(source)
        ):
            if as_lines:
                click.echo(json_line(article_record(article)))
    if not as_lines:
        _print_survey(reader)
        _print_articles(reader.survey.articles[:MAX_SAMPLE_ARTICLES])
    if report:
        _write_report(report, reader)
    reader.close(to_stderr=as_lines)


class _SourceReader:
    """Reads sources without an index, counts their articles, and reports problems."""

    def __init__(self, limit: int | None, *, with_survey: bool) -> None:
        from recommender.indexing.intake import Intake  # noqa: PLC0415 - few commands need it
        from recommender.sources.survey import Survey  # noqa: PLC0415 - imports all readers

        self.survey = Survey()
        self._with_survey = with_survey
        self._limit = limit
        self._intake = Intake(note, report_excluded=True)
        self.sources: list[SourceIntake] = []
        self._counts: Counter[str] = Counter()

    def articles(self, source: "Source") -> "Iterator[Article]":
        """Yield the articles of a source, and report its problems."""
        from recommender.indexing.intake import SourceIntake  # noqa: PLC0415 - few commands need it

        intake = SourceIntake(source.name, source.fields)
        self.sources.append(intake)
        for entry in source:
            if self._limit and self._counts["articles"] >= self._limit:
                break
            article = self._intake.take(intake, entry)
            if self._with_survey and (article or not entry.article):
                self.survey.add(entry)
            if article:
                self._counts["articles"] += 1
                for name in _COUNTED_FIELDS:
                    self._counts[name] += bool(getattr(article, name))
                yield article
        for sentence in source.notes():
            self._intake.problems.note(sentence)

    @property
    def excluded(self) -> Counter[str]:
        """Number of excluded records, by reason."""
        return sum((source.excluded for source in self.sources), Counter[str]())

    @property
    def skipped(self) -> int:
        """Number of records that gave no article for another reason."""
        return sum(source.skipped for source in self.sources)

    def close(self, *, to_stderr: bool) -> None:
        """Print the counts; raise SourceError if a source has no article, or lacks a field of its mapping."""
        self._intake.problems.close()
        for source in self.sources:
            if hint := source.hint():
                self._intake.problems.note(hint)
        counts = self._counts
        field_counts = ", ".join(f"{name} {counts[name]:,}" for name in _COUNTED_FIELDS)
        summary(
            f"{counts['articles']:,} articles, {excluded_counts(self.excluded)}, {self.skipped:,} skipped. "
            f"With {field_counts}.",
            err=to_stderr,
        )
        failures = [failure for source in self.sources for failure in (source.absent(), source.failure()) if failure]
        if failures and not self._limit:
            raise SourceError(" ".join(failures))
        if not counts["articles"]:
            left_out = f": {excluded_counts(self.excluded)}" if self.excluded else ""
            raise SourceError(f"None of the sources held an article{left_out}.")


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


def _print_survey(reader: _SourceReader) -> None:
    """Print the counts of an archive, one kind a line."""
    survey = reader.survey
    rows = [
        ("kinds", listed_counts(survey.kinds)),
        ("languages", listed_counts(survey.languages, MAX_LANGUAGES)),
        ("left out", listed_counts(reader.excluded)),
    ]
    for name, finding in survey.findings.items():
        more = ", …" if finding.count > len(finding.examples) else ""
        rows.append((f"{finding.count:,} {name}", f"({', '.join(finding.examples)}{more})" if finding.count else ""))
    for label, text in rows:
        if text:
            click.echo(f"{click.style(f'{label:{_LABEL_WIDTH}}', dim=True)}  {plain_text(text)}")
    click.echo()


def _write_report(path: Path, reader: _SourceReader) -> None:
    """Write the page of a survey."""
    import jinja2  # noqa: PLC0415 - its import takes a while

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("read_report.html").read_text(encoding="utf-8"))
    page = template.render(
        survey=reader.survey,
        names=[source.name for source in reader.sources],
        excluded=reader.excluded,
        skipped=reader.skipped,
    )
    write_file(path, lambda file: file.write(page))
