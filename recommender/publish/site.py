"""Blocks written for a site, in one of the formats that sites and people read."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from recommender.errors import RecommenderError
from recommender.publish import FORMATS, KEYS, folder, jsonl, jsonmap, parquet, table
from recommender.publish.folder import Counts
from recommender.publish.keyed_blocks import FIELDS, Block, KeyedBlocks
from recommender.system.files import atomic_write, create_parent
from recommender.text.clean import clean_text

ENDINGS = {".jsonl": "jsonl", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
_KEYED = ("json", "html")  # those whose key can be chosen
_GENERATORS = ("hugo", "jekyll", "eleventy")

Out = str | os.PathLike[str] | TextIO


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What is written, and where; made by `form`.

    Attributes:
        out: a file, a folder, or what is open for writing.
        format: one of FORMATS.
        key: what an article is called by: one of KEYS, or a generator.
        fields: the further fields of a link.
        heading: what stands above a block of HTML.
        template: the file of another template for it.
    """

    out: Path | TextIO
    format: str
    key: str
    fields: tuple[str, ...]
    heading: str
    template: Path | None


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What was written.

    Attributes:
        form: what was asked for.
        blocks: how many articles are in it.
        links: how many links they have.
        linked: how many of these have a url.
        empty: how many of the articles have no link.
        written: how many files were written.
        unchanged: how many were left, since they hold the same already.
        removed: how many were removed, since their articles are gone.
        without_key: how many articles are left out for having no url, or nothing that tells their path.
        doubled: how many for having the url or path of another.
        barred: how many for files of someone else that stand in the place of theirs.
    """

    output_format: OutputFormat
    blocks: int
    links: int
    linked: int
    empty: int
    written: int
    unchanged: int
    removed: int
    without_key: int
    duplicate_keys: int
    blocked: int

    def sentence(self) -> str:
        """Say what was written, and how much was left out."""
        blocks = f"{self.blocks:,} {'block' if self.blocks == 1 else 'blocks'}"
        where = f" to {self.output_format.out}" if isinstance(self.output_format.out, Path) else ""
        if self.output_format.format == "html":
            done = (
                f"{blocks} in {self.output_format.out}: {self.written:,} files written, {self.unchanged:,} unchanged, "
                f"{self.removed:,} removed"
            )
        elif self.written:
            done = f"{blocks} written{where}"
        else:
            done = f"{blocks}, unchanged: {self.output_format.out} holds them already"
        word = "url" if self.output_format.key == "url" else "path"
        left = {
            f"without a {word}": self.without_key,
            f"with the {word} of another": self.duplicate_keys,
            "whose file is someone else's": self.blocked,
        }
        parts = [f"{count:,} {'articles' if count > 1 else 'article'} {why}" for why, count in left.items() if count]
        if self.output_format.format == "html" and self.links and not self.linked:
            done += ", of titles only: no link has a url"
        if self.empty:
            done += f"; {self.empty:,} {'is' if self.empty == 1 else 'are'} empty"
        return f"{done}.{' Left out: ' + ', '.join(parts) + '.' if parts else ''}"


def output_format(
    out: Out,
    format: str | None = None,
    key: str | None = None,
    fields: Sequence[str] = (),
    heading: str | None = None,
    template: str | os.PathLike[str] | None = None,
) -> OutputFormat:
    """Return what is to be written; for the arguments see `Recommender.publish`.

    Raises:
        ValueError: these do not go together; a sentence for people.
    """
    where = Path(out) if isinstance(out, str | os.PathLike) else out
    if format is None:
        format = _guessed(where)
    if format not in FORMATS:
        raise ValueError(f"There is no format {format!r}; these are {', '.join(FORMATS)}.")
    if key is not None and key not in KEYS:
        raise ValueError(f"{key!r} is no key; these are {', '.join(KEYS)}.")
    if key is not None and format not in _KEYED:
        raise ValueError(f"A key can be chosen for {' and '.join(_KEYED)}, and not for {format}; leave it out.")
    if fields and format == "jsonl":
        raise ValueError("JSON Lines hold ids and scores only; choose another format for further fields.")
    for name, value in (("heading", heading), ("template", template)):
        if value is not None and format != "html":
            raise ValueError(f"A {name} belongs to html, and the format is {format}; leave it out.")
    if format in ("csv", "parquet") and (odd := [name for name in fields if name in table.ARTICLE]):
        raise ValueError(f"The field {odd[0]!r} cannot be a column: one of that name is there already.")
    if isinstance(where, Path):
        if format != "html" and where.is_dir():
            raise ValueError(f"{where} is a folder; name a file in it.")
        if format == "html" and where.exists() and not where.is_dir():
            raise ValueError(f"{where} is a file; name a folder for the files of html.")
    elif format in ("parquet", "html"):
        raise ValueError(f"The format {format} needs a {'folder' if format == 'html' else 'file'} to write to.")
    return OutputFormat(
        out=where,
        format=format,
        key=format if format in _GENERATORS else key or "id",
        fields=tuple(dict.fromkeys(name for name in fields if name not in FIELDS)),
        heading="Related" if heading is None else clean_text(heading),
        template=None if template is None else Path(template),
    )


def check(form: OutputFormat) -> None:
    """Raise RecommenderError if blocks cannot be written, before any is made. Makes the folder of a file."""
    if form.format == "parquet":
        parquet.check()
    if form.template:
        from recommender.publish import html  # noqa: PLC0415 - only this needs Jinja2, whose import takes a while

        html.check(form.template)
    if isinstance(form.out, Path):
        create_parent(form.out)


def publish(blocks: Iterable[Block], form: OutputFormat, on_problem: Callable[[str], None]) -> PublishReport:
    """Write blocks.

    Args:
        blocks: the cards of articles and their links, in the order of the ids.
        form: what to write, and where.
        on_problem: called with a sentence for what is left out.

    Raises:
        RecommenderError: it cannot be written, or none of the articles has a key.
    """
    check(form)
    entries = KeyedBlocks(blocks, form.key, form.fields, on_problem)
    try:
        counts = _written(entries, form, on_problem)
    except OSError as error:
        if not isinstance(form.out, Path):
            raise
        raise RecommenderError(f"{form.out} cannot be written: {error.strerror or error}.") from error
    return PublishReport(
        form,
        blocks=entries.count - counts.barred,
        links=entries.links,
        linked=entries.linked,
        empty=entries.empty,
        written=counts.written,
        unchanged=counts.unchanged,
        removed=counts.removed,
        without_key=entries.without,
        duplicate_keys=entries.doubled,
        blocked=counts.barred,
    )


def _written(entries: KeyedBlocks, form: OutputFormat, on_problem: Callable[[str], None]) -> Counts:
    if not isinstance(form.out, Path):
        _write(entries, form.format, form.out)
        return Counts(written=1)
    target = form.out.resolve()  # a symbolic link stays one
    if form.format == "html":
        from recommender.publish import html  # noqa: PLC0415

        render = partial(html.fragment, heading=form.heading, fields=form.fields, template=form.template)
        return folder.write(entries, target, render, on_problem)
    if target.exists() and not target.is_file():  # a device or a pipe
        _to_path(entries, form.format, target)
        return Counts(written=1)
    beside = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        _to_path(entries, form.format, beside)
        if target.exists() and _digest(beside) == _digest(target):  # a generator builds anew what was touched
            return Counts(unchanged=1)
        with atomic_write(target) as place:
            beside.replace(place)
        return Counts(written=1)
    finally:
        beside.unlink(missing_ok=True)


def _to_path(entries: KeyedBlocks, format: str, path: Path) -> None:
    if format == "parquet":
        parquet.write(entries, path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        _write(entries, format, file)


def _write(entries: KeyedBlocks, format: str, file: TextIO) -> None:
    if format == "jsonl":
        jsonl.write(((card.id, block) for _, card, block in entries), file)
    elif format == "csv":
        table.write(entries, file)
    else:
        jsonmap.write(entries, file)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _guessed(out: Path | TextIO) -> str:
    """Return the format that an ending stands for; without an ending it is JSON Lines, as it is on standard output."""
    if not isinstance(out, Path):
        return "jsonl"
    if out.is_dir():
        raise ValueError(f"{out} is a folder; name a file, or the format html, which writes a folder of files.")
    if out.suffix and out.suffix.lower() not in ENDINGS:
        raise ValueError(
            f"The ending {out.suffix} of {out} stands for no format; name one of {', '.join(FORMATS)}, or end the name "
            f"with {', '.join(ENDINGS)}."
        )
    return ENDINGS.get(out.suffix.lower(), "jsonl")
