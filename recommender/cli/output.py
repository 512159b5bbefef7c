"""The output of the command: blocks, reasons and counts, as text and as JSON."""

import contextlib
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from recommender.errors import RecommenderError
from recommender.publish.jsonl import json_line

if TYPE_CHECKING:
    from recommender import Evaluation, Reasons, Recommendation, Recommender, WhyNot

MAX_LISTED_ARTICLES = 10  # of the most, the least and the never recommended ones
MAX_COUNTS = 8  # that a line lists
GROUP_LABELS = {  # of `Reasons.groups`, in an editor's words
    "meaning": "meaning",
    "words": "words",
    "meaning and words": "meaning and words together",
    "links": "how often articles like this one link there",
    "place": "place in the archive",
    "age": "age",
    "popularity": "popularity",
}
KIND_LABELS = {"related": "editorial links", "links": "links in texts"}  # of the links that a ranking learned from
VIA_LABELS = {"match": "", "pin": "pinned", "editorial": "the editor's own", "fill": "filled in"}


def link_record(link: "Recommendation") -> dict[str, Any]:
    """Return a link as a JSON object of `--json`."""
    return {
        "id": link.id,
        "score": round(link.score, 4),
        "title": link.title,
        "url": link.url,
        "published": link.published.isoformat() if link.published else None,
        **({"via": link.via} if link.via != "match" else {}),
        **({"reasons": asdict(link.reasons)} if link.reasons else {}),
    }


def data_output() -> None:
    """Switch standard output to UTF-8, whatever the terminal's encoding is."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def print_json(value: object) -> None:
    """Print a value as JSON, on one line."""
    data_output()
    click.echo(json_line(value))


def print_block(block: "list[Recommendation]", reason: str) -> None:
    """Print the links of a block, or the reason for an empty one."""
    if not block:
        click.echo(f"\n  (nothing: {reason})")
    for number, link in enumerate(block, start=1):
        click.echo(f"\n{number:>3}. {plain_text(link.title)}")
        date = link.published.strftime("%-d %B %Y") if link.published else ""
        print_details(f"{link.score:.2f}", VIA_LABELS[link.via], date, link.section, link.id, indent=5)
        if link.url and link.url != link.id:
            click.echo(f"     {plain_text(link.url)}")
        if link.reasons:
            print_reasons(link.reasons)


def print_reasons(reasons: "Reasons") -> None:
    """Print the parts of a score, which add up to it, and what the two articles share."""
    if reasons.groups:
        score = _sum_of_groups(reasons)
        words = [word for word, _ in reasons.words]  # their shares are of the content ranking's score
    else:
        parts = f"meaning {reasons.dense:.2f}, words {reasons.lexical:.2f}, near to everything {reasons.hubness:.2f}"
        score = f"{reasons.raw_score:.2f} = {parts}"
        words = [f"{word} {share:.2f}" for word, share in reasons.words]
    rows = {
        "": score,
        "words": ", ".join(words),
        "tags": ", ".join(reasons.tags),
        "days": "" if reasons.days is None else days_apart(reasons.days),
    }
    for name, value in rows.items():
        if value:
            click.echo("     " + plain_text(f"{name}: {value}" if name else value))


def _sum_of_groups(reasons: "Reasons") -> str:
    """Return a raw score as the sum of what each group of features adds to that of an average candidate.

    The largest part comes first; parts that round to zero are left out. The printed parts add up to the printed score:
    those with the largest remainders are rounded the other way.
    """
    hundredths = {name: 100 * part for name, part in reasons.groups.items()}
    rounded = {name: round(value) for name, value in hundredths.items()}
    total = round(100 * reasons.raw_score)
    excess = sum(rounded.values()) - total
    step = 1 if excess > 0 else -1
    by_remainder = sorted(rounded, key=lambda name: step * (hundredths[name] - rounded[name]))
    for name in by_remainder[: abs(excess)]:
        rounded[name] -= step
    base = rounded.pop("base", 0)
    ordered = sorted((name for name in rounded if rounded[name]), key=lambda name: -abs(rounded[name]))
    parts = [f"{GROUP_LABELS[name]} {rounded[name] / 100:+.2f}" for name in ordered]
    return f"{total / 100:.2f} = " + ", ".join([f"an average candidate {base / 100:.2f}", *parts])


def learned_from(record: Mapping[str, Any]) -> str:
    """Return the number and kinds of the links of a learned ranking, and of the articles with such links."""
    kinds = " and ".join(KIND_LABELS[kind] for kind in record["kinds"])
    return f"{record['links']:,} {kinds} of {record['articles']:,} articles"


def learned_line(record: Mapping[str, Any]) -> str:
    """Return the figures, the links and the date of a learned ranking."""
    before, after = (record[name]["ndcg@10"] for name in ("before", "after"))
    return f"nDCG@10 {after:.3f}, {before:.3f} by content; from {learned_from(record)}; {day_of(record)}"


def day_of(record: Mapping[str, Any]) -> str:
    """Return the day on which a ranking was learned."""
    return datetime.fromisoformat(record["trained"]).strftime("%-d %B %Y")


def did_you_mean(rec: "Recommender", name: str) -> str:
    """Return a question that suggests articles with a similar name; an empty string if there are none."""
    from recommender.blocks.lookup import did_you_mean  # noqa: PLC0415 - imports NumPy

    return did_you_mean(rec.suggest(name))


def days_apart(days: int) -> str:
    """Return in words how many days after the article a link was published."""
    if not days:
        return "published the same day"
    return f"published {abs(days):,} day{'' if abs(days) == 1 else 's'} {'later' if days > 0 else 'earlier'}"


def print_why_not(answer: "WhyNot", k: int) -> None:
    """Print why an article is not among the first `k` links."""
    if answer.position:
        click.echo(f"{plain_text(answer.id)} is in the block of {k}: it is number {answer.position}.")
    else:
        click.echo(f"{plain_text(answer.id)} is not in the block of {k}: {plain_text(answer.reason)}.")
    click.echo(f"     score {answer.score:.2f}, number {answer.rank:,} of all articles by score alone")
    print_reasons(answer.reasons)


def print_evaluation(evaluation: "Evaluation") -> None:
    """Print the measures of each method, how each uses the archive, and the extremes of the last."""
    if evaluation.queries:
        missing = f", of which {evaluation.missing:,} are no articles of the index" if evaluation.missing else ""
        against = f"{evaluation.queries:,} queries{missing}; against {plain_text(evaluation.truth)}"
    else:
        against = "no editorial links to measure against; give relevance judgements with --qrels"
    click.echo(f"{evaluation.articles:,} articles; {against}\n")
    if evaluation.queries:
        click.echo(f"{'':8}" + "".join(f"{name:>24}" for name in evaluation.methods["both"].measures))
        for name, method in evaluation.methods.items():
            cells = [f"{value.mean:.4f} ({value.low:.3f}-{value.high:.3f})" for value in method.measures.values()]
            click.echo(f"{name:8}" + "".join(f"{cell:>24}" for cell in cells))
        click.echo()
    click.echo(f"{'':8}{'coverage':>12}{'Gini':>12}{'never':>12}   in the first {evaluation.k} links")
    for name, method in evaluation.methods.items():
        usage = method.usage
        click.echo(f"{name:8}{usage.coverage:>12.1%}{usage.gini:>12.3f}{len(usage.never):>12,}")
    name, method = list(evaluation.methods.items())[-1]
    never = method.usage.never
    for heading, counts, total in (
        ("most recommended", method.usage.most, 0),
        ("least recommended", method.usage.least, 0),
        ("never recommended", [(id, 0) for id in never], len(never)),
    ):
        if not counts:
            continue
        click.echo(f"\n{heading}, {name}{f' ({total:,})' if total else ''}")
        for id, count in counts[:MAX_LISTED_ARTICLES]:
            title = evaluation.titles.get(id, "")
            click.echo(f"{count:>8,}  " + plain_text(" · ".join(part for part in (title, id) if part)))
        if total > MAX_LISTED_ARTICLES:
            click.echo(f"{'':10}and {total - MAX_LISTED_ARTICLES:,} more; --json lists them")


def print_details(*details: str | None, indent: int = 0) -> None:
    """Print the details below a title on one line; empty ones are left out."""
    click.echo(" " * indent + click.style(" · ".join(plain_text(detail) for detail in details if detail), dim=True))


def policy_line(policy: dict[str, Any]) -> str:
    """Return a policy summarised on one line."""
    settings = ", ".join(
        f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in policy["settings"].items()
    )
    bans = len(policy["bans"]["articles"]) + len(policy["bans"]["pairs"])
    counts = {"pin": sum(map(len, policy["pins"].values())), "ban": bans, "rule": len(policy["rules"])}
    counted = ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
    return f"{settings or 'default settings'}; {counted}"


def counts_line(counts: dict[str, int]) -> str:
    """Return the first eight counts by name, and the number of the others."""
    listed = [f"{name} {count:,}" for name, count in list(counts.items())[:MAX_COUNTS]]
    return ", ".join(listed) + (f", and {len(counts) - MAX_COUNTS} more" if len(counts) > MAX_COUNTS else "")


def plain_text(text: str) -> str:
    """Return the text without control and formatting characters, which could alter a terminal's output.

    Line ends become spaces, and lone surrogates U+FFFD.
    """
    spaces = {"\t": " ", "\n": " ", "\r": " "}
    return "".join(spaces.get(char, _printable(char)) for char in text)


def _printable(char: str) -> str:
    category = unicodedata.category(char)
    return "\ufffd" if category == "Cs" else "" if category[0] == "C" else char


def write_file(path: Path, write: Callable[[TextIO], int]) -> int:
    """Write a text file atomically with `write`; return the value that `write` returns."""
    from recommender.system.files import atomic_write, create_parent  # noqa: PLC0415 - few commands write a file

    create_parent(path)
    try:
        target = path.resolve()  # keeps a symbolic link
        replaced = atomic_write(target) if target.is_file() or not target.exists() else contextlib.nullcontext(target)
        with replaced as new_path, new_path.open("w", encoding="utf-8", newline="\n") as file:
            return write(file)
    except OSError as error:
        raise RecommenderError(f"{path} cannot be written: {error.strerror or error}.") from error


def excluded_counts(excluded: Counter[str]) -> str:
    """Return how many records were excluded, by reason: `14 left out (list page 12, unpublished 2)`."""
    return f"{excluded.total():,} left out" + (f" ({listed_counts(excluded)})" if excluded else "")


def listed_counts(counts: Counter[str], limit: int | None = None) -> str:
    """Return numbers by name, the largest first: `en 12, de 3`."""
    listed = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(limit))
    return listed + (", …" if limit is not None and len(counts) > limit else "")
