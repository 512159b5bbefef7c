"""The click classes of the command: sections and examples in the help, --quiet and --verbose, errors."""

import contextlib
import errno
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from recommender.cli import INTERRUPTED
from recommender.cli.output import plain_text, print_json
from recommender.errors import RecommenderError

# Errors of writing to standard output.
_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
_VERBOSITY = "recommender.verbosity"  # a key of click's Context.meta, which all contexts of a run share


class Option(click.Option):
    """An option with the heading that the help lists it under."""

    def __init__(self, *args: Any, heading: str = "Options", **options: Any) -> None:
        super().__init__(*args, **options)
        self.heading = heading


class Command(click.Command):
    """A subcommand.

    Args:
        examples: command lines for the help, each without the leading `recommender`.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        options["params"] = [*(options.get("params") or ()), *_verbosity_options()]
        super().__init__(*args, **options)
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; for a superfluous one, suggest the option that it may belong to."""
        ctx.allow_extra_args = True
        remaining_args = super().parse_args(ctx, args)
        if remaining_args and not ctx.resilient_parsing:
            options = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
            option_name = f"--{remaining_args[0].replace('_', '-')}"
            hint = ""
            if option_name in options:
                hint = f" Did you mean {' '.join([option_name, *remaining_args[1:2]])}?"
            elif "--index" in options and Path(remaining_args[0]).is_dir():
                hint = f" To name the index, write --index {remaining_args[0]}."
            raise click.UsageError(f"There is an argument too many: {remaining_args[0]!r}.{hint}", ctx)
        return remaining_args

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, by heading."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for param in self.get_params(ctx):
            if not isinstance(param, click.Argument) and (row := param.get_help_record(ctx)):
                groups.setdefault(getattr(param, "heading", "Options"), []).append(row)
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, each on one line that can be copied."""
        _write_examples(self.examples, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; turn errors into one sentence and exit status 1."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS and error.filename is None:
                raise  # the entry point handles errors of standard output
            if verbose():
                traceback.print_exc()
            message = plain_text(_sentence(error))
            if ctx.params.get("as_json"):
                print_json({"error": message})
            raise click.ClickException(message) from error


def _sentence(error: Exception) -> str:
    """Return the message of an error as sentences."""
    if isinstance(error, RecommenderError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory. Committed articles are kept; run the command on a machine with more."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be used: {error.strerror or error}."
    return (
        f"{type(error).__name__}: {error}. This is a fault in recommender: please report it, with what the command "
        f"prints under --verbose."
    )


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':{formatter.current_indent}}recommender {example}\n")


class Group(click.Group):
    """The command, whose help lists the subcommands in sections.

    Args:
        sections: the names of the subcommands by heading.
        examples: command lines for the help, each without the leading `recommender`.
    """

    command_class = Command

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Sequence[str]] | None = None,
        examples: Sequence[str] = (),
        **options: Any,
    ) -> None:
        options["params"] = [*(options.get("params") or ()), *_verbosity_options()]
        super().__init__(*args, **options)
        self.sections = sections or {}
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; read `help COMMAND` as `COMMAND --help`."""
        if args[:1] == ["help"]:
            args = [*args[1:2], "--help"]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            options = {name for command in self.commands.values() for param in command.params for name in param.opts}
            if error.option_name in options:
                raise click.UsageError(
                    f"The option {error.option_name} goes after the subcommand: recommender COMMAND "
                    f"{error.option_name} ...",
                    ctx,
                ) from error
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands, by section."""
        width = max(map(len, self.commands), default=0)
        limit = formatter.width - 6 - width
        listed = {name for names in self.sections.values() for name in names}
        unlisted = [name for name in self.commands if name not in listed]
        for heading, names in {**self.sections, "Others": unlisted}.items():
            if names:
                rows = [(f"{name:{width}}", self.commands[name].get_short_help_str(limit)) for name in names]
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; exit without a traceback on Ctrl-C."""
        with _stream_settings(), _logging_to_stderr(ctx.meta):
            try:
                with _raising_interrupts():
                    return super().invoke(ctx)
            except KeyboardInterrupt:
                sys.exit(INTERRUPTED)


def quiet() -> bool:
    """Return whether --quiet was passed: only results and errors are printed."""
    return _verbosity() < 0


def verbose() -> bool:
    """Return whether --verbose was passed."""
    return _verbosity() > 0


def note(text: str) -> None:
    """Print a remark on standard error, except with --quiet."""
    if not quiet():
        click.echo(plain_text(text), err=True)


def summary(text: str, *, err: bool = False) -> None:
    """Print the closing line of a command that changed something, except with --quiet."""
    if not quiet():
        click.echo(plain_text(text), err=err)


def _verbosity() -> int:
    context = click.get_current_context(silent=True)
    return context.meta.get(_VERBOSITY, 0) if context else 0


def _verbosity_options() -> list[click.Option]:
    def set_to(level: int) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(context: click.Context, parameter: click.Parameter, value: bool) -> None:
            if value:
                context.meta[_VERBOSITY] = level

        return callback

    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=set_to(-1),
            help="Print results and errors only: no progress, no warnings, no closing line.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=set_to(1),
            help="Print every problem, and the traceback of an error.",
        ),
    ]


@contextlib.contextmanager
def _raising_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C, which since `recommender.__main__` ends the process at once."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def _stream_settings() -> Iterator[None]:
    """Escape characters that the streams cannot encode; disable colours for NO_COLOR and dumb terminals."""
    context = click.get_current_context()
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        context.color = False
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    before = [{"encoding": stream.encoding, "errors": stream.errors} for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, settings in zip(streams, before, strict=True):
            stream.reconfigure(**settings)


class _PlainFormatter(logging.Formatter):
    """Formats messages without the control characters that texts of articles may contain."""

    def format(self, record: logging.LogRecord) -> str:
        return plain_text(super().format(record))


@contextlib.contextmanager
def _logging_to_stderr(meta: Mapping[str, Any]) -> Iterator[None]:
    """Print the package's warnings on standard error, and with --verbose its other log messages."""
    warning_handler, message_handler = logging.StreamHandler(), logging.StreamHandler()
    warning_handler.setFormatter(_PlainFormatter("Warning: %(message)s"))
    message_handler.setFormatter(_PlainFormatter())
    warning_handler.addFilter(lambda record: record.levelno >= logging.WARNING and meta.get(_VERBOSITY, 0) >= 0)
    message_handler.addFilter(lambda record: record.levelno < logging.WARNING and meta.get(_VERBOSITY, 0) > 0)
    logger = logging.getLogger("recommender")
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in (warning_handler, message_handler):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in (warning_handler, message_handler):
            logger.removeHandler(handler)
        logger.level, logger.propagate = before
