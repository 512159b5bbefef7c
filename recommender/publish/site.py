"""Publishing of blocks: the choice of the output format, and the report."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from recommender.errors import RecommenderError
from recommender.publish import FORMATS, KEYS, folder, jsonl, jsonmap, parquet, table
from recommender.publish.addresses import Addresses
from recommender.publish.folder import Counts
from recommender.publish.keyed_blocks import FIELDS, Block, KeyedBlocks
from recommender.publish.link_check import CheckReport, LinkCheck
from recommender.publish.paths import GENERATORS
from recommender.system.files import atomic_write, create_parent
from recommender.text.clean import clean_text

ENDINGS = {".jsonl": "jsonl", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
_KEYED_FORMATS = ("json", "html")  # whose key can be chosen

Out = str | os.PathLike[str] | TextIO


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """The format and the target of published blocks; see `output_format`.

    Attributes:
        out: a file, a folder, or an open text file; None to write nothing.
        format: one of FORMATS.
        key: the key of an article: one of KEYS, or the name of a site generator.
        fields: additional fields of a link.
        heading: the heading of an HTML block.
        template: the file of a template that replaces the built-in one; None for that.
        addresses: the rules for the urls of articles and links.
        site_folder: the output folder of the site, with which links are compared; None for no comparison.
    """

    out: Path | TextIO | None
    format: str
    key: str
    fields: tuple[str, ...]
    heading: str
    template: Path | None
    addresses: Addresses
    site_folder: Path | None


@dataclass(frozen=True, slots=True)
class PublishReport:
    """Report of published blocks.

    Attributes:
        output_format: the format and the target.
        blocks: the number of blocks.
        links: the number of their links.
        linked: the number of links with a url.
        repeated: the number of links to the url of an earlier link of their block, or of its own article.
        empty: the number of blocks without a link.
        written: the number of files written.
        unchanged: the number of files whose content stayed the same.
        removed: the number of files removed, since their articles are gone.
        without_key: the number of articles omitted without a url or path.
        duplicate_keys: the number of articles omitted with the url or path of another.
        blocked: the number of articles omitted because a foreign file has the name of theirs.
        check: the comparison of the links with the output folder of the site; None without one.
    """

    output_format: OutputFormat
    blocks: int
    links: int
    linked: int
    repeated: int
    empty: int
    written: int
    unchanged: int
    removed: int
    without_key: int
    duplicate_keys: int
    blocked: int
    check: CheckReport | None

    @property
    def has_faults(self) -> bool:
        """Whether articles are left out, blocks are empty, or links have no address or a repeated one."""
        unlinked = self.output_format.format != "jsonl" and self.linked < self.links
        return bool(self.without_key or self.duplicate_keys or self.empty or self.repeated or unlinked)

    def sentence(self) -> str:
        """Return a sentence on what was written and how much was left out."""
        blocks = f"{self.blocks:,} {'block' if self.blocks == 1 else 'blocks'}"
        where = f" to {self.output_format.out}" if isinstance(self.output_format.out, Path) else ""
        if self.output_format.out is None:
            result = f"{blocks} checked, and nothing written"
        elif self.output_format.format == "html":
            result = (
                f"{blocks} in {self.output_format.out}: {self.written:,} files written, {self.unchanged:,} unchanged, "
                f"{self.removed:,} removed"
            )
        elif self.written:
            result = f"{blocks} written{where}"
        else:
            result = f"{blocks}, unchanged: {self.output_format.out} holds them already"
        word = "url" if self.output_format.key == "url" else "path"
        omitted = {
            f"without a {word}": self.without_key,
            f"with the {word} of another": self.duplicate_keys,
            "whose file is someone else's": self.blocked,
        }
        parts = [f"{count:,} {'articles' if count > 1 else 'article'} {why}" for why, count in omitted.items() if count]
        faults = []
        if self.empty:
            faults.append(f"{self.empty:,} {'is' if self.empty == 1 else 'are'} empty")
        if self.output_format.format != "jsonl" and (unlinked := self.links - self.linked):
            count = (
                "no link has" if not self.linked else f"{unlinked:,} {'link has' if unlinked == 1 else 'links have'}"
            )
            faults.append(f"{count} {'an' if not self.linked else 'no'} address")
        if self.repeated:
            faults.append(
                f"{self.repeated:,} {'link repeats' if self.repeated == 1 else 'links repeat'} the address of another "
                f"link of the block or of its page"
            )
        result = "; ".join([result, *faults])
        return f"{result}.{' Left out: ' + ', '.join(parts) + '.' if parts else ''}"


def output_format(
    out: Out | None,
    format: str | None = None,
    key: str | None = None,
    fields: Sequence[str] = (),
    heading: str | None = None,
    template: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
    url_template: str | None = None,
    site_folder: str | os.PathLike[str] | None = None,
) -> OutputFormat:
    """Return the output format for the arguments of `Recommender.publish`.

    Raises:
        ValueError: the arguments contradict each other; the message is a sentence.
    """
    target = Path(out) if isinstance(out, str | os.PathLike) else out
    if target is None and site_folder is None:
        raise ValueError("There is neither an output nor a folder to check; name one of them.")
    if target is None and format in (None, "jsonl"):
        format, key = "json", key or "path"
    if format is None:
        format = _format_by_ending(target)
    if format not in FORMATS:
        raise ValueError(f"There is no format {format!r}; these are {', '.join(FORMATS)}.")
    if key is not None and key not in KEYS:
        raise ValueError(f"{key!r} is no key; these are {', '.join(KEYS)}.")
    if key is not None and format not in _KEYED_FORMATS:
        raise ValueError(f"A key can be chosen for {' and '.join(_KEYED_FORMATS)}, and not for {format}; leave it out.")
    if fields and format == "jsonl":
        raise ValueError("JSON Lines contain ids and scores only; choose another format for additional fields.")
    addresses = Addresses(base_url or "", url_template or "")
    if addresses and format == "jsonl":
        raise ValueError(
            "JSON Lines contain no addresses; choose another format, or leave out the base URL and template."
        )
    for name, value in (("heading", heading), ("template", template)):
        if value is not None and format != "html":
            raise ValueError(f"A {name} belongs to html, and the format is {format}; leave it out.")
    if format in ("csv", "parquet") and (reserved := [name for name in fields if name in table.ARTICLE_COLUMNS]):
        raise ValueError(f"The field {reserved[0]!r} cannot be a column: there is already one with that name.")
    if isinstance(target, Path):
        if format != "html" and target.is_dir():
            raise ValueError(f"{target} is a folder; name a file in it.")
        if format == "html" and target.exists() and not target.is_dir():
            raise ValueError(f"{target} is a file; name a folder for the files of html.")
    elif target is not None and format in ("parquet", "html"):
        raise ValueError(f"The format {format} needs a {'folder' if format == 'html' else 'file'} to write to.")
    return OutputFormat(
        out=target,
        format=format,
        key=format if format in GENERATORS else key or "id",
        fields=tuple(dict.fromkeys(name for name in fields if name not in FIELDS)),
        heading="Related" if heading is None else clean_text(heading),
        template=None if template is None else Path(template),
        addresses=addresses,
        site_folder=None if site_folder is None else Path(site_folder),
    )


def check(output: OutputFormat) -> None:
    """Raise RecommenderError if blocks cannot be written, before any is built; create the parent folder of `out`."""
    if output.format == "parquet":
        parquet.check()
    if output.site_folder and not output.site_folder.is_dir():
        raise RecommenderError(
            f"There is no folder {output.site_folder}; build the site first, or name its output folder."
        )
    if output.template:
        from recommender.publish import html  # noqa: PLC0415 - the import of Jinja2 takes a while

        html.check(output.template)
    if isinstance(output.out, Path):
        create_parent(output.out)


def publish(blocks: Iterable[Block], output: OutputFormat, on_problem: Callable[[str], None]) -> PublishReport:
    """Write blocks.

    Args:
        blocks: pairs of an article's summary and its links, in the order of the ids.
        output: the format and the target.
        on_problem: called with a sentence for each omission.

    Raises:
        RecommenderError: the target cannot be written, or no article has a key.
    """
    check(output)
    link_check = LinkCheck(output.site_folder, output.addresses.base_url) if output.site_folder else None
    keyed_blocks = KeyedBlocks(blocks, output.key, output.fields, on_problem, output.addresses, link_check)
    try:
        counts = _write_target(keyed_blocks, output, on_problem)
    except OSError as error:
        if not isinstance(output.out, Path):
            raise
        raise RecommenderError(f"{output.out} cannot be written: {error.strerror or error}.") from error
    return PublishReport(
        output,
        blocks=keyed_blocks.count - counts.blocked,
        links=keyed_blocks.links,
        linked=keyed_blocks.linked,
        repeated=keyed_blocks.repeated,
        empty=keyed_blocks.empty,
        written=counts.written,
        unchanged=counts.unchanged,
        removed=counts.removed,
        without_key=keyed_blocks.keyless,
        duplicate_keys=keyed_blocks.duplicates,
        blocked=counts.blocked,
        check=link_check.report() if link_check else None,
    )


def _write_target(blocks: KeyedBlocks, output: OutputFormat, on_problem: Callable[[str], None]) -> Counts:
    if output.out is None:
        deque(blocks, maxlen=0)
        return Counts()
    if not isinstance(output.out, Path):
        _write(blocks, output.format, output.out)
        return Counts(written=1)
    target = output.out.resolve()  # keeps a symbolic link
    if output.format == "html":
        from recommender.publish import html  # noqa: PLC0415

        render = partial(html.fragment, heading=output.heading, fields=output.fields, template=output.template)
        return folder.write(blocks, target, render, on_problem)
    if target.exists() and not target.is_file():  # a device or a pipe
        _write_path(blocks, output.format, target)
        return Counts(written=1)
    new_path = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        _write_path(blocks, output.format, new_path)
        if target.exists() and _digest(new_path) == _digest(target):  # generators rebuild pages for a touched file
            return Counts(unchanged=1)
        with atomic_write(target) as replacement:
            new_path.replace(replacement)
        return Counts(written=1)
    finally:
        new_path.unlink(missing_ok=True)


def _write_path(blocks: KeyedBlocks, format: str, path: Path) -> None:
    if format == "parquet":
        parquet.write(blocks, path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        _write(blocks, format, file)


def _write(blocks: KeyedBlocks, format: str, file: TextIO) -> None:
    if format == "jsonl":
        jsonl.write(((article.id, block) for _, article, block in blocks), file)
    elif format == "csv":
        table.write(blocks, file)
    else:
        jsonmap.write(blocks, file)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _format_by_ending(out: Path | TextIO | None) -> str:
    """Return the format for the ending of a file's name; JSON Lines without an ending and for open files."""
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
