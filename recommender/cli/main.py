"""The command, thin over Recommender."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

import recommender
from recommender.cli.blocks import COMMANDS, block_options, chosen_settings, index_option, json_option, search_options
from recommender.cli.command import Group, note, quiet, summary
from recommender.cli.output import (
    counts_line,
    data_output,
    did_you_mean,
    link_record,
    plain_text,
    policy_line,
    print_block,
    print_details,
    print_evaluation,
    print_json,
    print_why_not,
)
from recommender.cli.read import open_sources, read, source_options
from recommender.errors import RecommenderError
from recommender.publish import FORMATS, KEYS, jsonl
from recommender.system.files import cache_folder

if TYPE_CHECKING:
    from recommender import Article, BuildReport, Progress, Recommendation, Recommender
    from recommender.recommender import OnProblem, OnProgress

MOST_WRONG = 1000  # things that `verify` tells; past them it stops

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
    help="For a new index: how much of title and text the model reads.  [default: 128; 512 of a static one]",
)


def _cluster(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
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
    callback=_cluster,
    help="Read and embed on a Ray cluster: auto, the one that this machine belongs to; local, this machine alone; or "
    "HOST:PORT. All its machines must see the sources.  [alone: auto]",
)


def _jobs(context: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    if value == 0:
        raise click.BadParameter("it must be 1 or more, or below 0: -1 for one process a core.")
    return value


jobs_option = click.option(
    "--jobs",
    "n_jobs",
    type=int,
    callback=_jobs,
    metavar="N",
    help="How many processes share the work at most; 1 for this one alone.  [default: one a core]",
)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=["build content/", "related posts/hello.md", "links -k 3 --out related.json", "help build"],
    sections={
        "Build an index": ("read", "prepare", "build", "add", "remove"),
        "Ask it": ("related", "search", "links"),
        "Decide about blocks": ("settings", "pin", "unpin", "ban", "unban", "rule", "policy"),
        "Look after it": ("info", "evaluate", "verify", "copy"),
    },
)
@click.version_option(None, "-V", "--version", package_name="recommender")
def main() -> None:
    """Related-article links for an archive of articles.

    SOURCE is a file or a folder of articles (Markdown, HTML, JSON, CSV, feeds, exports of WordPress and Ghost, ...), a
    URL, a database, or - for standard input; `recommender read SOURCE` shows what would be indexed.
    Exit status: 0 done, 1 the request cannot be met, 2 wrong usage.
    """


@main.command(
    examples=[
        "prepare",
        "prepare --model static",
        "prepare --index index/news",
    ]
)
@index_option
@model_option
@tokens_option
def prepare(index: str, model: str | None, max_tokens: int | None) -> None:
    """Fetch and convert the model ahead of the first use.

    That takes up to a minute, once; the result is cached in $RECOMMENDER_CACHE, or the user's cache folder. In a
    Dockerfile, run it as the user that the container runs as. If there is an index, its model is prepared.
    """
    with recommender.Recommender(index, model=model, max_tokens=max_tokens) as rec:
        rec.warm_up()
    summary(f"The model is ready. The cache is {cache_folder()}.")


@main.command(
    examples=[
        "build content/",
        "build export.jsonl --index index/news",
        "build export.csv --map title=headline,text=body_html,url=/news/{slug} --id-field nr",
        "build postgresql://reader@localhost/cms --query 'SELECT id, title, body AS text, url FROM posts'",
        "build https://example.org/feed.xml --limit 100",
        "build content/ --prune",
    ]
)
@source_options
@index_option
@model_option
@tokens_option
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Read this many articles only, for a first look.")
@click.option("--prune", is_flag=True, help="Remove the articles of these sources that they no longer hold.")
@click.option(
    "--prune-limit",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    default=10.0,
    show_default=True,
    help="How many of the articles of these sources may go, in percent.",
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
    n_jobs: int | None,
    ray: str | None,
    **options: Any,
) -> None:
    """Bring the index in line with a full export.

    New and changed articles are embedded, unchanged ones are not. Cut off, it goes on where it was when it is run
    again.
    """
    if not 0 <= prune_limit <= 100:  # not a number, which a range lets through
        raise click.UsageError("--prune-limit is a share in percent, from 0 to 100.")
    if prune and limit is not None:
        raise click.UsageError("--prune needs the whole of the sources; leave out --limit.")
    named = open_sources(sources, options)
    with (
        _reporting() as (on_problem, on_progress),
        _apart(ray),
        recommender.Recommender(index, model=model, max_tokens=max_tokens) as rec,
    ):
        report = rec.build(
            *named,
            prune=prune,
            prune_limit=prune_limit,
            limit=limit,
            n_jobs=n_jobs,
            ray=ray,
            on_problem=on_problem,
            on_progress=on_progress,
        )
    _close(report, full=True)


@main.command(
    examples=[
        "add today.jsonl",
        "add article.md --index index/news",
    ]
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

    Articles that it does not contain stay. A record such as {"id": "7", "deleted": true} removes its article.
    """
    named = open_sources(sources, options)
    with (
        _reporting() as (on_problem, on_progress),
        _apart(ray),
        recommender.Recommender(index, model=model, max_tokens=max_tokens) as rec,
    ):
        report = rec.add(*named, ray=ray, on_problem=on_problem, on_progress=on_progress)
    _close(report, full=False)


@main.command(
    examples=[
        "remove 1041 1042",
    ]
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@index_option
def remove(ids: tuple[str, ...], index: str) -> None:
    """Remove articles."""
    with recommender.Recommender(index) as rec:
        meant = {name: rec.id_of(name) for name in ids}
        removed = set(rec.remove(*ids))
        summary(f"{len(removed):,} removed.")
        missing = [name for name, id in meant.items() if id not in removed]
        if missing:
            names = ", ".join(map(repr, missing[:10])) + (", …" if len(missing) > 10 else "")
            question = did_you_mean(rec, missing[0]) if len(missing) == 1 else ""
            raise RecommenderError(
                f"The index {index} holds no article with the id {names}, nor with such a url. {question}".strip()
            )


@main.command(
    examples=[
        "related culture/police-follow-ferry-tickets.txt",
        "related 1041 1042 -k 5 --json",
        "related --file draft.md --section Culture --max-age 12m",
        "related 1041 --why",
        "related 1041 --why-not 1007",
    ]
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
@click.option("--why", is_flag=True, help="Show for each link what its score is made of.")
@click.option("--why-not", metavar="ID", help="Show what keeps this article out of the block.")
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
    """Show the block of related articles that stands under an article.

    Settings that are not given are as stored: `recommender settings` shows them. With several IDs it shows one block
    after the other, and with --json a list of them; exit status 1 if the index lacks any of them.
    """
    if bool(ids) == bool(file):
        raise click.UsageError("Give the ID of an article of the index, or --file PATH; one of them.")
    if why_not is not None and len(ids) > 1:
        raise click.UsageError("--why-not is about one block; give one ID.")
    chosen = chosen_settings(options)
    records: list[dict[str, Any]] = []
    missing = 0
    with recommender.Recommender(index) as rec:
        for article in [rec.read(file)] if file else ids:
            try:
                own = (rec.id_of(article) or article) if isinstance(article, str) else article.id
                if why_not is not None:
                    answer = rec.why_not(article, why_not, k, **chosen)
                    if as_json:
                        print_json({"id": own, "why_not": asdict(answer)})
                    else:
                        print_why_not(answer, k)
                    return
                block = rec.related(article, k, why=why, **chosen)
            except recommender.ArticleNotFoundError as error:
                if len(ids) == 1:
                    raise
                missing += 1
                records.append({"id": article, "related": [], "error": str(error)})
                click.echo(f"Error: {plain_text(str(error))}", err=True)
                continue
            records.append({"id": own, "related": [link_record(link) for link in block]})
            if not as_json:
                shown = rec.get(own) if isinstance(article, str) else article
                _print_related(
                    shown, block, "" if block else _nothing(rec, chosen, stored=True), first=len(records) == missing + 1
                )
    if as_json:
        print_json(records if len(ids) > 1 else records[0])
    if missing:
        sys.exit(1)


def _print_related(article: "Article | None", block: "list[Recommendation]", reason: str, *, first: bool) -> None:
    """Print an article's title and block; a line apart from the block before it unless it is the first."""
    if not first:
        click.echo()
    if article:
        click.echo(click.style(plain_text(article.title), bold=True))
        date = article.published.strftime("%-d %B %Y") if article.published else ""
        print_details(date, article.section, article.id)
    print_block(block, reason)


@main.command(
    examples=[
        "search oil price",
        'search "who pays when a company loses customer data" -k 3',
        "search ferry --section Culture --after 2026-01-01 --json",
    ]
)
@click.argument("words", nargs=-1, required=True, metavar="TEXT...")
@index_option
@click.option("-k", "k", metavar="N", type=click.IntRange(1), default=10, show_default=True, help="How many articles.")
@click.option("--why", is_flag=True, help="Show for each article what its score is made of.")
@json_option
@search_options
def search(words: tuple[str, ...], index: str, k: int, why: bool, as_json: bool, **options: Any) -> None:
    """Find the articles nearest to a text."""
    text = " ".join(words)
    chosen = chosen_settings(options)
    with recommender.Recommender(index) as rec:
        results = rec.search(text, k, why=why, **chosen)
        nothing = "" if results else _nothing(rec, chosen)
    if as_json:
        print_json({"query": text, "results": [link_record(link) for link in results]})
    else:
        print_block(results, nothing)


@main.command(
    examples=[
        "links --out links.jsonl",
        "links -k 3 --out _data/related.json --format eleventy",
        "links --format html --out public/related",
        "links --changed blocks.state --out delta.jsonl",
    ]
)
@index_option
@click.option(
    "-k", "k", metavar="N", type=click.IntRange(1), default=10, show_default=True, help="How many links an article."
)
@click.option(
    "--plain",
    is_flag=True,
    help="The ranking as it was scored: without pins, the source's own links, shaping, and settings that are stored.",
)
@click.option(
    "--changed",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="STATE",
    help="Write only the blocks that differ from those of the last time, which the file STATE remembers.",
)
@click.option("--full", is_flag=True, help="With --changed: make every block anew, and not only where it may differ.")
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
    help="What to write.  [default: what the ending of --out says, or jsonl]",
)
@click.option(
    "--key",
    type=click.Choice(KEYS),
    help="With --format json or html: what an article is called by.  [default: id]",
)
@click.option(
    "--fields",
    multiple=True,
    metavar="NAME,...",
    help="Further fields of each link, as the source has them: image,excerpt. Not in jsonl.",
)
@click.option("--heading", help="With --format html: what stands above a block.  [default: Related]")
@click.option(
    "--template",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --format html: a Jinja2 template in the place of the one that comes with this.",
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
    n_jobs: int | None,
    **options: Any,
) -> None:
    """Write every article's block to a file, for a site.

    docs/publishing.md describes each format. A file that holds the same already is not touched. Settings that are not
    given are as stored: `recommender settings` shows them.
    """
    if plain and changed:
        raise click.UsageError("--changed is about blocks, and --plain about the ranking; give one of them.")
    if full and not changed:
        raise click.UsageError("--full belongs to --changed.")
    if changed and changed.resolve() == out.resolve():
        raise click.UsageError("--changed and --out name one file; the state is kept in a file of its own.")
    to_stdout = str(out) == "-"
    site = {name: options.pop(name) for name in ("format", "key", "heading", "template")}
    site["fields"] = [name.strip() for part in options.pop("fields") for name in part.split(",") if name.strip()]
    from recommender.publish.site import output_format  # noqa: PLC0415 - only this command needs it

    try:
        asked = output_format(sys.stdout if to_stdout else out, **site)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if changed and asked.format != "jsonl":
        raise click.UsageError(f"--changed writes JSON Lines, and not {asked.format}; leave it out.")
    chosen = chosen_settings(options)
    if to_stdout:
        data_output()
    with recommender.Recommender(index) as rec, _bar(total=len(rec), desc="Linking", unit=" articles") as bar:
        if changed:
            with rec.changed_links(
                changed, k, full=full, n_jobs=n_jobs, on_progress=_moving(bar, "Writing"), **chosen
            ) as report:
                count = _write_changes(out, report.blocks, report.deleted)
            summary(report.sentence(), err=to_stdout)
        else:
            published = rec.publish(
                asked.out,
                **site,
                k=k,
                plain=plain,
                n_jobs=n_jobs,
                on_problem=lambda problem: None if quiet() else bar.write(plain_text(problem), file=sys.stderr),
                on_progress=_moving(bar, "Writing"),
                **chosen,
            )
    if changed and not to_stdout:
        summary(f"{count:,} lines written to {out}.")
    elif not changed and (not to_stdout or published.without_key or published.duplicate_keys or published.empty):
        summary(published.sentence(), err=to_stdout)
    if report.empty if changed else published.empty:
        note("`recommender related ID --why-not OTHER` shows what keeps an article out of a block.")


@main.command(
    examples=[
        "evaluate",
        "evaluate --report report.html",
        "evaluate --qrels judgements.tsv --json",
        "evaluate --blocks -k 3",
        "evaluate --variety 0.3 --no-floor",
    ]
)
@index_option
@click.option(
    "--qrels",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Relevance judgements as TREC writes them.  [default: the archive's editorial links]",
)
@click.option(
    "--blocks",
    is_flag=True,
    help="Measure the blocks as shaped too, with the stored settings and the options below, each of which implies it.",
)
@click.option(
    "-k",
    "k",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="How many links of each block count in how the archive is used.",
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

    It is measured against links that people chose: editorial links, or relevance judgements.
    """
    from recommender.evaluation import report as html  # noqa: PLC0415 - only this command needs it
    from recommender.system.files import make_parent  # noqa: PLC0415

    if report:
        html.check()
        make_parent(report)
    with recommender.Recommender(index) as rec, _bar(total=0, desc="Ranking", unit=" articles") as bar:
        evaluation = rec.evaluate(
            qrels, k=k, blocks=blocks, n_jobs=n_jobs, on_progress=_moving(bar), **chosen_settings(options)
        )
    record = evaluation.to_record()
    if report:
        page = html.render(record, index=index)
        _write(report, lambda file: file.write(page))
    if as_json:
        print_json(record)
        return
    print_evaluation(evaluation)
    if report:
        click.echo(f"\nThe report is in {report}.")


@main.command(
    examples=[
        "verify",
        "verify --repair --index index/news",
    ]
)
@index_option
@click.option(
    "--repair",
    is_flag=True,
    help="First make again what follows from the articles: counts, filters, search files that are missing, damaged or "
    "of another machine. Brings an index of an earlier version up to date.",
)
@json_option
def verify(index: str, repair: bool, as_json: bool) -> None:
    """Check all of an index; exit status 1 if anything is wrong."""
    with recommender.Recommender(index) as rec:
        with _reporting() as (_, on_progress):
            problems = list(islice(rec.verify(repair=repair, on_progress=on_progress), MOST_WRONG))
        articles = len(rec)
    if as_json:
        print_json({"articles": articles, "problems": problems})
    else:
        for problem in problems:
            click.echo(plain_text(problem))
        found = f"{len(problems):,} {'thing is' if len(problems) == 1 else 'things are'} wrong" if problems else "whole"
        click.echo(f"{articles:,} articles; {'and more ' if len(problems) == MOST_WRONG else ''}{found}.")
    if problems:
        sys.exit(1)


@main.command(
    examples=[
        "copy index/default index/copy",
        "copy index/default milvus://localhost:19530/news",
    ]
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def copy(source: str, target: str) -> None:
    """Copy an index to another place, and back.

    A place is a folder, milvus://HOST:PORT/NAME, or PATH.db. Nothing is embedded again. At the end the two are compared
    by count and checksum. Cut off, it goes on where it was when it is run again; run again later, it brings what has
    changed.
    """
    with _reporting() as (_, on_progress), recommender.Recommender(source) as rec:
        report = rec.copy_to(target, on_progress=on_progress)
    summary(
        f"{report.articles:,} articles in both, checksum {report.checksum}; {report.written:,} written, "
        f"{report.removed:,} removed."
    )


@main.command(
    examples=[
        "info",
        "info --json --index index/news",
    ]
)
@index_option
@json_option
def info(index: str, as_json: bool) -> None:
    """Show what an index holds and what it was made with."""
    with recommender.Recommender(index) as rec:
        facts = rec.info()
    if as_json:
        print_json(facts)
        return
    matched = facts["editorial_links"]
    size = f"{facts['bytes'] / 1e6:,.1f} MB, " if facts["bytes"] is not None else ""
    rows = {
        "articles": f"{facts['articles']:,}",
        "model": f"{facts['model']}, {facts['dimensions']} dimensions, first {facts['max_tokens']} tokens",
        "last build": facts["last_build"] or "not finished yet",
        "languages": counts_line(facts["languages"]),
        "sections": counts_line(facts["sections"]),
        "editorial links": f"{matched['total']:,}, of which {matched['matched']:,} lead to an article of the index",
        "sources": counts_line({_from_here(name, index): count for name, count in facts["sources"].items()}),
        "blocks": policy_line(facts["policy"]),
        "size": f"{size}format {facts['format']}",
    }
    for name, value in rows.items():
        click.echo(f"{name:>16}  {plain_text(value)}")


def _from_here(source: str, index: str) -> str:
    """Return the path of a source, which an index in a folder has relative to itself, from the working directory."""
    path = Path(index, source)
    return os.path.relpath(path) if not Path(source).is_absolute() and path.exists() else source


def _nothing(rec: "Recommender", options: dict[str, Any], *, stored: bool = False) -> str:
    """Return why there is nothing to show; with `stored` the settings that are stored with the index count too."""
    settings = rec.policy.settings.to_record() if stored else {}
    filters = {name: options.get(name, settings.get(name, ())) for name in ("section", "tags")}
    filters |= options.get("where", settings.get("where", {}))
    for name, values in filters.items():
        if values and not rec.matching({name: list(values)}):
            known = {text.casefold(): text for text in rec.info()["sections"]} if name == "section" else {}
            meant = [known[value.casefold()] for value in values if value.casefold() in known]
            hint = f", but {' and '.join(meant)}" if meant else ""
            where = "" if name in options or name in options.get("where", {}) else ", which `recommender settings` sets"
            return f"no article of the index has {name} {' or '.join(values)}{where}; case counts{hint}"
    why = "`recommender related ID --why-not OTHER` shows what keeps an article out"
    changed = stored and rec.policy.settings.changed()
    if options or changed:
        return f"no article meets the {'options' if options else 'settings that are stored'}; {why}"
    return f"nothing fits, or the article has no block; {why}"


for _command in (read, *COMMANDS):
    main.add_command(_command)


def _write_changes(out: Path, blocks: Iterable[tuple[str, "list[Recommendation]"]], deleted: Iterable[str]) -> int:
    if str(out) == "-":
        return jsonl.write(blocks, sys.stdout, deleted)
    return _write(out, lambda file: jsonl.write(blocks, file, deleted))


def _write(path: Path, write: Callable[[TextIO], int]) -> int:
    """Write a file, whole or not at all; return what `write` returns."""
    from recommender.system.files import make_parent, replacing  # noqa: PLC0415 - few commands write one

    make_parent(path)
    try:
        target = path.resolve()  # a symbolic link stays one
        whole = replacing(target) if target.is_file() or not target.exists() else contextlib.nullcontext(target)
        with whole as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
            return write(file)
    except OSError as error:
        raise RecommenderError(f"{path} cannot be written: {error.strerror or error}.") from error


def _close(report: "BuildReport", *, full: bool) -> None:
    """Print the closing line of a build (`full`) or an add; exit with 1 if not all was done."""
    counts = {"added": report.added, "changed": report.changed, "unchanged": report.unchanged}
    parts = [f"{count:,} {name}" for name, count in counts.items()]
    if full:
        missing = "unknown how many" if report.missing is None else f"{report.missing:,}"
        parts += [f"{report.removed:,} removed", f"{missing} no longer in the sources"]
    elif report.removed:
        parts.append(f"{report.removed:,} removed")
    if report.unpublished:
        parts.append(f"{report.unpublished:,} not published")
    parts.append(f"{report.skipped:,} skipped")
    summary(f"{', '.join(parts)}; {report.embedded:,} embedded; {report.seconds:.1f} s, {report.rate:,.0f} articles/s.")
    if report.refused:
        raise RecommenderError(report.refused)
    if report.failed:
        raise RecommenderError("\n".join(report.failed))


@contextlib.contextmanager
def _reporting() -> "Iterator[tuple[OnProblem, OnProgress]]":
    """Give what shows problems and progress of a build on standard error."""
    bar = _bar(
        total=0,
        desc="Reading",
        bar_format="{desc} {percentage:3.0f} %|{bar}| {elapsed}{postfix}, {remaining} left",
    )

    def on_problem(problem: str) -> None:
        if not quiet():
            bar.write(plain_text(problem), file=sys.stderr)

    def on_progress(progress: "Progress") -> None:
        bar.set_description_str(progress.stage.capitalize(), refresh=False)
        bar.total = progress.total or None
        bar.n = progress.done
        rate = progress.articles / (bar.format_dict["elapsed"] or 1)
        bar.set_postfix_str(f"{progress.articles:,} articles, {rate:,.0f}/s")

    try:
        yield on_problem, on_progress
    except KeyboardInterrupt as interrupt:
        bar.close()
        click.echo(" ".join(["Interrupted.", *getattr(interrupt, "__notes__", ())]), err=True)
        sys.exit(130)
    finally:
        bar.close()


def _apart(ray: str | None) -> contextlib.AbstractContextManager[object]:
    """Keep what Ray prints of lost machines, from a thread of its own, from standard output."""
    return contextlib.redirect_stdout(sys.stderr) if ray else contextlib.nullcontext()


def _bar(**options: Any) -> Any:
    from tqdm import tqdm  # noqa: PLC0415 - not every command shows one

    # tqdm's None: no bar where there is no terminal
    disable = True if quiet() or os.environ.get("TERM") == "dumb" else None
    return tqdm(disable=disable, leave=False, file=sys.stderr, **options)


def _moving(bar: Any, then: str = "") -> Callable[[int, int], None]:
    """Return what moves a bar to how many are done, of how many, and says at last what comes then."""

    def on_progress(done: int, total: int) -> None:
        bar.total, bar.n = total, done
        if then and done == total:
            bar.set_description_str(then, refresh=False)
        bar.refresh()

    return on_progress
