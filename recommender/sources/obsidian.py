"""Notes of Obsidian, and of the programs that share its notation: comments, inline fields, tags, links by name."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from recommender.sources.front_matter import split_front_matter
from recommender.sources.generators.base import TEMPLATE
from recommender.text.spans import without_spans

DRAWING = "drawing"  # a value of Entry.excluded
WIKI_MARK = "?wiki"  # at the end of a link that names a note
MAX_ALIAS_BYTES = 4096  # of a note that are searched for aliases
MAX_CACHED_VAULTS = 8
_NOTE_ENDINGS = (".md", ".markdown")
_WIKI_LINK = re.compile(r"\[\[([^\[\]|#\n]{0,300})(?:#([^\[\]|\n]{0,300}))?(?:\|([^\[\]\n]{1,300}))?\]\]")
_PROPERTY_LINK = re.compile(r"\[\[([^\]|#\n]{1,300})[^\]\n]{0,300}\]\]")
_COMMENT_START, _COMMENT_END = re.compile(r"(?<!\S)%%"), re.compile(r"%%(?!\S)")
_FIELD_LINE = re.compile(r"^[ \t]*(?:[-*+][ \t]+)?([\w][\w -]{0,40})::(?:[ \t]+(.*))?$\n?", re.M)
_FIELD_IN_BRACKETS = re.compile(r"([\[(])([\w][\w -]{0,40})::[ \t]+([^\[\]()\n]{0,300})[\])]")
_TAG = re.compile(r"(?<![\w#&/\[|(])#((?![\d_/-]+(?![\w/-]))\w[\w/-]*)")
_HIGHLIGHT = re.compile(r"==(?=\S)([^=\n]{1,1000}?)(?<=\S)==")
_BLOCK_ID = re.compile(r"(?:^|(?<=[ \t]))\^[\w-]+[ \t]*$", re.M)
_TEMPLATE_VALUE = re.compile(r"\{\{-?\s*(?:\.Date|\.Name|now|date|time|title|replace)\b|<%[^%]{0,200}\btp\.")
_TEMPLATE_COMMAND = re.compile(r"<%[^%]{0,200}\btp\.")
_DATE_IN_NAME = re.compile(
    r"((?:19|20)\d\d)(-?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?:(?:\d{4}|\d{6})?(?=[ _]|$)|(?=T\d))"
)
_NOT_FIELDS = {"id", "url", "permalink", "slug"}  # the address of a note is not in its text


class Note(NamedTuple):
    """The parts of a note's body.

    Attributes:
        body: the body without comments, inline fields, tags and marks.
        fields: the inline fields (`mood:: good`), with names in lower case.
        tags: the tags in the text, without `#`.
    """

    body: str
    fields: dict[str, str]
    tags: list[str]


def is_note(body: str, root: Path) -> bool:
    """Return whether a page is a note: it links to a note by name, or its source is in a vault of Obsidian."""
    return "[[" in body or _is_vault(root)


def read_note(body: str) -> Note:
    """Split the body of a note, from which code was removed, into its parts."""
    body = without_spans(body, _COMMENT_START, lambda start: _COMMENT_END)
    fields: dict[str, str] = {}

    def take_field(name: str, value: str | None) -> None:
        if name.lower() not in _NOT_FIELDS:
            fields.setdefault(name.strip().lower(), (value or "").strip())

    def take_line(field: re.Match[str]) -> str:
        take_field(field[1], field[2])
        return ""

    def take_brackets(field: re.Match[str]) -> str:
        take_field(field[2], field[3])
        return field[3] if field[1] == "[" else ""

    body = _FIELD_IN_BRACKETS.sub(take_brackets, _FIELD_LINE.sub(take_line, body))
    tags = list(dict.fromkeys(_TAG.findall(body)))
    return Note(_BLOCK_ID.sub("", _HIGHLIGHT.sub(r"\1", _TAG.sub("", body))), fields, tags)


def exclusion(front: Mapping[str, Any], body: str) -> str:
    """Return the value of `Entry.excluded` for a file that is no note, such as a template; empty for a note."""
    if "excalidraw-plugin" in front:
        return DRAWING
    # Eleventy expands the expressions in a permalink.
    texts = [value for name, value in front.items() if isinstance(value, str) and name not in ("permalink", "url")]
    return TEMPLATE if any(map(_TEMPLATE_VALUE.search, texts)) or _TEMPLATE_COMMAND.search(body) else ""


def convert_links(body: str) -> str:
    """Replace links by name (`[[Note#Part|text]]`) by links of Markdown whose target ends in WIKI_MARK."""

    def convert(link: re.Match[str]) -> str:
        # In tables the bar before the text has a backslash.
        name, part, label = (group.strip().removesuffix("\\") if group else "" for group in link.groups())
        words = label or " > ".join(filter(None, (name, *part.split("#"))))
        return f"[{words}](<{name}{WIKI_MARK}>)" if name else words

    return _WIKI_LINK.sub(convert, body)


def property_links(value: Any) -> Iterator[str]:
    """Yield the names of the notes that a field of the front matter links to."""
    if isinstance(value, str):
        if link := _PROPERTY_LINK.fullmatch(value.strip()):
            yield link[1].strip()
    elif isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], list) and len(value[0]) == 1 and isinstance(value[0][0], str):
            yield value[0][0].partition("|")[0].partition("#")[0].strip()  # `[[Note]]` without quotes
        else:
            for item in value:
                yield from property_links(item)


def split_name(stem: str) -> tuple[str | None, str]:
    """Return the date at the start of a note's name in ISO 8601, None without one, and the rest of the name."""
    match = _DATE_IN_NAME.match(stem)
    return (f"{match[1]}-{match[3]}-{match[4]}", stem[match.end() :].strip(" _")) if match else (None, stem)


def find_note(root: Path, name: str) -> Path | None:
    """Return the note with a name, an alias or the end of a path in a vault, in any case; None without one.

    Of several notes the one with the shortest path is returned, as by Obsidian.
    """
    try:
        changed = root.stat().st_mtime_ns
    except OSError:
        return None
    path = name.strip("/").casefold()
    for ending in _NOTE_ENDINGS:
        path = path.removesuffix(ending)
    for note in _notes_by_name(root, changed).get(path.rpartition("/")[2], ()):
        relative = note.relative_to(root).with_suffix("").as_posix().casefold()
        if relative == path or relative.endswith(f"/{path}"):
            return note
    return _notes_by_alias(root, changed).get(name.casefold())


@lru_cache(maxsize=1024)
def _is_vault(root: Path) -> bool:
    root = root.absolute()
    return any((folder / ".obsidian").is_dir() for folder in (root, *root.parents[:2]))


@lru_cache(maxsize=MAX_CACHED_VAULTS)
def _notes_by_name(root: Path, changed: int) -> dict[str, list[Path]]:
    """Return the notes of a folder by their name in lower case, those with the shortest path first."""
    notes: dict[str, list[Path]] = {}
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in _NOTE_ENDINGS:
                notes.setdefault(path.stem.casefold(), []).append(path)
    for paths in notes.values():
        paths.sort(key=lambda path: len(path.parts))
    return notes


@lru_cache(maxsize=MAX_CACHED_VAULTS)
def _notes_by_alias(root: Path, changed: int) -> dict[str, Path]:
    """Return the notes of a folder by their aliases in lower case."""
    notes: dict[str, Path] = {}
    for paths in _notes_by_name(root, changed).values():
        for path in paths:
            try:
                with path.open("rb") as file:
                    head = file.read(MAX_ALIAS_BYTES)
            except OSError:
                continue
            if b"alias" in head:
                fields = split_front_matter(head.decode("utf-8", errors="replace")).fields
                aliases = fields.get("aliases") or fields.get("alias") or []
                for alias in aliases.split(",") if isinstance(aliases, str) else aliases:
                    notes.setdefault(str(alias).strip().casefold(), path)
    return notes
