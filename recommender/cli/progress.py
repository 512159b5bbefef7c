"""Progress bars on standard error, and the problems that are printed above them."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from recommender.cli import INTERRUPTED
from recommender.cli.command import quiet
from recommender.cli.output import plain_text

if TYPE_CHECKING:
    from recommender import Progress
    from recommender.indexing.intake import OnProblem
    from recommender.indexing.writing import OnProgress


@contextlib.contextmanager
def build_progress() -> "Iterator[tuple[OnProblem, OnProgress]]":
    """Yield callbacks that show the problems and the progress of a build on standard error."""
    bar = progress_bar(
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
        sys.exit(INTERRUPTED)
    finally:
        bar.close()


def progress_bar(**options: Any) -> Any:
    """Return a tqdm bar on standard error; a disabled one without a terminal, or with --quiet."""
    from tqdm import tqdm  # noqa: PLC0415 - few commands show progress

    # None disables the bar where standard error is no terminal.
    disable = True if quiet() or os.environ.get("TERM") == "dumb" else None
    return tqdm(disable=disable, leave=False, file=sys.stderr, **options)


def bar_updater(bar: Any, last_stage: str = "") -> Callable[[int, int], None]:
    """Return a callback that moves a bar to `done` of `total`, and at the end shows the last stage's name."""

    def on_progress(done: int, total: int) -> None:
        bar.total, bar.n = total, done
        if last_stage and done == total:
            bar.set_description_str(last_stage, refresh=False)
        bar.refresh()

    return on_progress
