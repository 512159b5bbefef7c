"""Front matter: the fields at the top of a page, in every notation that static site generators accept.

A line that cannot be parsed is read as text, or left out; the other lines keep their values.
"""

import email
import json
import re
import textwrap
import tomllib
from collections.abc import Iterator
from email import policy
from typing import Any, NamedTuple

import yaml

from recommender.sources import markup, record

MAX_FRONT_MATTER_BYTES = 2**18  # read of a file for its id alone
MAX_RECOVERED_CHARS = 2**16  # of front matter that is parsed line by line
MAX_LINES_REPORTED = 3
MAX_SCALAR_LINES = 8  # of a quoted text or a list in brackets that an indented field may follow
MAX_TOML_ERRORS = 50  # parsing begins again after each
_BLANK_LINES = re.compile(r"(?:[ \t\ufeff]*\n)+|\ufeff")
_FENCE = re.compile(
    r"(-{3,}|\+{3,}|;{3,})[ \t]*(\w*)[ \t]*(?:\r?\n|\Z)"
)  # gray-matter: the notation follows the dashes
_END_MARKS = {sign: re.compile(rf"^\{sign}{{3,}}[ \t]*$", re.M) for sign in "+;"}
_END_MARKS["-"] = re.compile(r"^(?:-{3,}|\.{3})[ \t]*$", re.M)  # `...` ends a YAML document: Jekyll, MkDocs, pandoc
_NAME = re.compile(r"""("[^"\n]+"|'[^'\n]+'|[^\s#\-"'\[\]{},][^\n:]*?|[^\s#\[\]{},]\S*?)[ \t]*:(?:[ \t]+|$)(.*)""")
_NAMES_OF_HEADERS = (
    r"(?:title|date|category|categories|tags|slug|authors?|summary|template|layout|lang|status|permalink)\s*:"
)
_HEADER = re.compile(_NAMES_OF_HEADERS, re.I)
_HEADER_END = re.compile(r"^(?:-{3,}|;{3,})[ \t]*(?:\n|\Z)", re.M)  # Hexo needs no fence before the first line
# A field whose author forgot the space, which YAML needs.
_NO_SPACE = re.compile(
    r"^(title|date|draft|published?|tags|categor(?:y|ies)|slug|permalink|url|status|layout):(?=\S)", re.M | re.I
)
_INDENTED_FIELD = re.compile(r"[ \t]+(\w[\w-]*:(?:[ \t].*|$))")
_NO_SCALAR = re.compile(r"(?:[|>][-+\d]*|[&!]\S+)?[ \t]*(?:#.*)?")  # after a name: the value is on the lines below
_TITLE_BLOCK = re.compile(r"%[ \t]+([^\n]+)\n(?:%[ \t]*([^\n]*)\n)?(?:%[ \t]*([^\n]*)(?:\n|\Z))?")  # of pandoc
_LEADING_COMMENTS = re.compile(r"(?:<!--(?:[^-]|-(?!->))*+-->\s*)++(?=---[ \t]*\n)")
_COMMENT = re.compile(rf"<!--[^\n]*\n(?=(?:[ \t]*\n)*{_NAMES_OF_HEADERS})(.*?)-->[ \t]*(?:\n|\Z)", re.S | re.I)
_NIKOLA = re.compile(
    r"(?:<!--[ \t]*\n)?((?:[ \t]*\.\. [a-zA-Z][\w-]*:(?!:)[^\n]*(?:\n|\Z)|[ \t]*\n)+)(?:[ \t]*-->[ \t]*(?:\n|\Z))?"
)
_NIKOLA_FIELD = re.compile(r"^[ \t]*\.\. ([a-zA-Z][\w-]*):(?!:)(.*)$", re.M)
_HEAD = re.compile(r"<head\b.*?(?:</head\s*>|(?=<body\b)|\Z)", re.S | re.I)
_TOML_LINE = re.compile(r"\(at line (\d+),")


class FrontMatter(NamedTuple):
    """The front matter and the rest of a page.

    Attributes:
        fields: the values by name in lower case, as `record.json_value` returns them.
        body: the text below the front matter.
        problems: clauses on lines that could not be parsed.
    """

    fields: dict[str, Any]
    body: str
    problems: tuple[str, ...] = ()


class _Problem(NamedTuple):
    """A line of front matter that cannot be parsed: its number from 0, its text, whether its text became a value."""

    line: int
    text: str
    is_text: bool


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML whose scalars stay texts, unless writing the parsed value again gives the same text.

    So `12:30`, `007`, `3.10`, `yes`, `no` and dates are texts; `true`, `7` and `3.5` are not.
    """

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - as in PyYAML


for _tag, _scalars, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"0|-?[1-9]\d{0,14}", "-0123456789"),
    ("float", r"-?(?:0|[1-9]\d{0,7})\.(?:0|\d{0,6}[1-9])", "-0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_scalars})\Z"), list(_first))


def _construct_untagged(loader: Any, node: Any) -> Any:
    """Return the value of a node without its tag: `!env NAME` is a text."""
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else node.value


_Loader.add_constructor(None, _construct_untagged)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _construct_untagged)


def begins_with_fence(text: str) -> bool:
    """Return whether a text begins with `---`, `+++` or `;;;`, as front matter does, after blank lines at most."""
    blank = _BLANK_LINES.match(text)
    return _FENCE.match(text, blank.end() if blank else 0) is not None


def split_front_matter(text: str) -> FrontMatter:
    """Split a page into its front matter and its body.

    The notations: YAML between `---`, or with `...` as the end; TOML between `+++`; JSON in braces or between `;;;`;
    `---toml`, `---json` and `---js`; YAML before `---` (Hexo); lines of `Name: value` (Pelican, MultiMarkdown); lines
    of `.. name: value` (Nikola) or `% value` (pandoc); YAML in a comment. Blank lines may come first.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = blank.end() if (blank := _BLANK_LINES.match(text)) else 0
    content = text[start:]
    first_line = text.count("\n", 0, start) + 1
    if fence := _FENCE.match(content):
        return _split_fenced(text, content, fence, first_line)
    if content.startswith("{"):
        return _split_json(text, content)
    if _HEADER.match(content):
        end = _HEADER_END.search(content)
        if end and _contains_names_only(content[: end.start()]):
            return _parse("yaml", content[: end.start()], content[end.end() :], first_line)
        message = email.message_from_string(content, policy=policy.compat32)
        fields = {name.lower(): str(value).strip() for name, value in message.items()}
        return FrontMatter(fields, str(message.get_payload()))
    if block := _TITLE_BLOCK.match(content):
        values = zip(("title", "author", "date"), block.groups(), strict=True)
        return FrontMatter({name: value.strip() for name, value in values if value}, content[block.end() :])
    if comments := _LEADING_COMMENTS.match(content):
        skipped = start + comments.end()
        page = split_front_matter("\n" * text.count("\n", 0, skipped) + text[skipped:])
        if page.fields:
            return page
    if content.startswith(("<!--", "..")):
        if header := split_nikola(content):
            return header
        if (comment := _COMMENT.match(content)) and _contains_names_only(lines := comment[1].rstrip("-")):
            return _parse("yaml", lines, content[comment.end() :], first_line + 1)
    return FrontMatter({}, text)


def split_head(html: str) -> FrontMatter:
    """Split an HTML page into the fields of its head, `<title>` and `<meta name="date" content="...">`, and the rest.

    Source: the HTML reader of Pelican, which finds no field outside `<head>`.
    """
    head = _HEAD.search(html)
    tree = markup.parse_html(head[0]) if head else None
    if head is None or tree is None:
        return FrontMatter({}, html)
    fields: dict[str, Any] = {}
    for title in tree.xpath("//title")[:1]:
        fields["title"] = " ".join(title.text_content().split())
    for meta in tree.xpath("//meta[@name]"):
        name = meta.get("name").strip().lower()
        name = "tags" if name == "keywords" else name
        value = (meta.get("content") or meta.get("contents") or "").strip()
        fields[name] = f"{fields[name]}, {value}" if fields.get(name) else value
    return FrontMatter(fields, html[head.end() :])


def _split_fenced(text: str, content: str, fence: re.Match[str], first_line: int) -> FrontMatter:
    """Split a page that begins with `---`, `+++` or `;;;`; without a second such line it has no front matter."""
    sign, notation = fence[1][0], fence[2].lower() or {"-": "yaml", "+": "toml", ";": "json"}[fence[1][0]]
    end = _END_MARKS[sign].search(content, fence.end())
    if end is None:
        # The end mark was forgotten: the first blank line ends the fields, if they are fields.
        front, _, body = content[fence.end() :].partition("\n\n")
        if not _HEADER.match(front) or not _contains_names_only(front):
            return FrontMatter({}, text)
        return _parse(notation, front, body, first_line + 1)
    front = content[fence.end() : end.start()]
    page = _parse(notation, front, content[end.end() :].removeprefix("\n"), first_line + 1)
    if page.problems and not page.fields and _first_name(front) is None and notation == "yaml":
        return page._replace(body=text)  # prose between two thematic breaks
    if sign == "-" and (second := _FENCE.match(page.body)) and _HEADER.match(page.body, second.end()):
        # A converter put its front matter above that of the page.
        other = split_front_matter(page.body)
        return FrontMatter({**other.fields, **page.fields}, other.body, page.problems + other.problems)
    return page


def split_nikola(text: str) -> FrontMatter | None:
    """Split a page at whose start are comments that Nikola reads (`.. date: 2026-03-05`); None for any other page."""
    header = _NIKOLA.match(text)
    if not header or not header[1].strip():
        return None
    fields = {name.lower(): value.strip() for name, value in _NIKOLA_FIELD.findall(header[1])}
    return FrontMatter(fields, text[header.end() :].removeprefix("\n"))


def _split_json(text: str, content: str) -> FrontMatter:
    """Split a page that begins with a brace: an object in JSON, or a short code or text."""
    try:
        fields, end = json.JSONDecoder().raw_decode(content)
        return _checked(fields, content[end:].lstrip(" \t").removeprefix("\n"))
    except (ValueError, RecursionError):
        block = re.match(r"\{[ \t]*\n(.*?)^\}[ \t]*(?:\n|\Z)", content, re.S | re.M)
    return _parse("json", block[0], content[block.end() :], 1) if block else FrontMatter({}, text)


def _parse(notation: str, front: str, body: str, first_line: int) -> FrontMatter:
    """Parse front matter; parse it line by line if it cannot be parsed as a whole.

    Args:
        notation: "yaml", "toml", "json", "js" or another name, which is parsed as YAML.
        front: the front matter without its marks.
        body: the text below it.
        first_line: the number of its first line in the file.
    """
    label = {"toml": "TOML", "json": "JSON", "js": "JSON", "javascript": "JSON"}.get(notation, "YAML")
    try:
        if label == "JSON":
            inner = front.strip()
            try:
                return _checked(json.loads(inner if inner.startswith("{") else f"{{{inner}}}"), body)
            except json.JSONDecodeError:  # an object literal of JavaScript is a flow mapping of YAML
                front = re.sub(r"^\s*(?:module\.exports\s*=|return\b|export\s+default\b)?\s*|;?\s*\Z", "", front)
        loaded = tomllib.loads(front) if label == "TOML" else _load_yaml(front)
        if isinstance(loaded, dict) or not _NO_SPACE.match(front):
            return _checked(loaded, body)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if len(front) > MAX_RECOVERED_CHARS or isinstance(error, RecursionError):
            return FrontMatter({}, body, (f"its front matter cannot be read ({' '.join(str(error).split())[:200]})",))
    if label == "TOML":
        fields, lines = _recover_toml(front)
    else:
        if label == "JSON":
            front = re.sub(r",[ \t]*$", "", re.sub(r"\A\s*\{|\}\s*\Z", "", front), flags=re.M)
            front = textwrap.dedent(front)
        spaced = _dedent_fields(_NO_SPACE.sub(r"\1: ", front).split("\n"))
        fields, lines = _recover_mapping(spaced)
        lines += [_Problem(n, line, True) for n, line in enumerate(front.split("\n")) if line != spaced[n]]
    problems = tuple(
        f"line {first_line + line} of its front matter is not valid {label} and was "
        f"{'read as text' if is_text else 'left out'}: {text.strip()[:80]!r}"
        for line, text, is_text in lines[:MAX_LINES_REPORTED]
    )
    return _checked(fields, body, problems)


def _checked(fields: Any, body: str, problems: tuple[str, ...] = ()) -> FrontMatter:
    """Return the front matter with JSON values, or with a problem if the values are too many or no mapping."""
    if fields is None or fields == "":
        fields = {}
    if not isinstance(fields, dict):
        return FrontMatter({}, body, ("its front matter is not a mapping of names to values",))
    try:
        values = record.json_value(fields)
    except (ValueError, RecursionError) as error:
        return FrontMatter({}, body, (f"its front matter cannot be read ({error})",))
    return FrontMatter({name.strip().lower(): value for name, value in values.items()}, body, problems)


def _load_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader


def _first_name(front: str) -> str | None:
    """Return the first name of a YAML mapping; None if its first line has none."""
    lines = (line for line in front.split("\n") if line.strip() and not line.startswith("#"))
    match = _NAME.match(next(lines, ""))
    return match[1] if match else None


def _contains_names_only(front: str) -> bool:
    """Return whether every line begins with a name and a colon, or continues such a line."""
    return _first_name(front) is not None and all(
        not line.strip() or line[0] in " \t#-" or _NAME.match(line) for line in front.split("\n")
    )


def _dedent_fields(lines: list[str]) -> list[str]:
    """Return the lines of a YAML mapping without the invalid indentation of fields below a complete scalar."""
    dedented: list[str] = []
    start: int | None = None
    for line in lines:
        if (field := _INDENTED_FIELD.match(line)) and (start is None or _ends_with_scalar(dedented[start:])):
            line = field[1]  # noqa: PLW2901 - the line without its indentation
        if _NAME.match(line):
            start = len(dedented)
        dedented.append(line)
    return dedented


def _ends_with_scalar(entry: list[str]) -> bool:
    """Return whether a YAML entry, a line with a name and the lines below it, ends with a complete scalar."""
    name = _NAME.match(entry[0])
    value = name[2].strip() if name else ""
    if not value and (item := re.match(r"[ \t]*-[ \t]+(.*)", entry[-1])) and not _NAME.match(item[1]):
        value = item[1].strip()
    if _NO_SCALAR.fullmatch(value):
        return False
    if value[0] not in "[{\"'":
        return True
    if len(entry) > MAX_SCALAR_LINES:
        return False
    try:
        return bool(_load_yaml("\n".join(entry)))
    except (yaml.YAMLError, ValueError, RecursionError):
        return False


def _recover_mapping(lines: list[str]) -> tuple[dict[str, Any], list[_Problem]]:
    """Parse a YAML mapping entry by entry, an entry being a line with a name at its start and the lines below it."""
    fields: dict[str, Any] = {}
    problems: list[_Problem] = []
    for start, entry in _entries(lines, _NAME):
        name = _NAME.match(entry[0])
        if name is None:
            problems += [_Problem(start, line, False) for line in entry if line.strip() and not line.startswith("#")][
                :1
            ]
            continue
        try:
            loaded = _load_yaml("\n".join(entry))
        except (yaml.YAMLError, ValueError, RecursionError):
            loaded = None
        if isinstance(loaded, dict):
            fields |= loaded
        else:
            fields[name[1].strip("\"'")] = _recover_value(name[2], entry[1:])
            problems.append(_Problem(start, entry[0], True))
    return fields, problems


def _entries(lines: list[str], first: re.Pattern[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line and the lines of each entry, which begins where `first` matches."""
    starts = [number for number, line in enumerate(lines) if first.match(line)]
    for start, end in zip([0, *starts], [*starts, len(lines)], strict=True):
        if start < end:
            yield start, lines[start:end]


def _recover_value(value: str, lines: list[str]) -> Any:
    """Return the value of an entry that is no YAML: the list, mapping or text that its lines look like."""
    lines = [line.expandtabs(2) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    indented = textwrap.dedent("\n".join(lines)).split("\n")
    value = value.strip()
    if lines and re.fullmatch(r"(?:[|>][+-]?)?", value):
        if indented[0].startswith("- "):
            items = _entries(indented, re.compile("- "))
            return [_recover_scalar("\n".join([item[0][2:], *item[1:]])) for _, item in items]
        if not value and _NAME.match(indented[0]):
            return _recover_mapping(indented)[0]
        return "\n".join(indented)
    scalar = _recover_scalar(value)
    if isinstance(scalar, dict) and not value.startswith("{"):  # a colon in a text
        scalar = value
    continuation = [line.strip() for line in lines if line[0] == " "]
    return _plain_text(" ".join([value, *continuation])) if continuation and scalar == value else scalar


def _recover_scalar(value: str) -> Any:
    try:
        return _load_yaml(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        return _plain_text(value)


def _plain_text(value: str) -> Any:
    """Return a value as its author wrote it, without quotes around the whole; a list for texts in brackets."""
    value = value.strip()
    if (items := re.fullmatch(r"\[([^\[\]]*)\]", value)) or (items := re.fullmatch(r"\[([^\[\]]*,[^\[\]]*)", value)):
        return [_plain_text(item) for item in items[1].split(",") if item.strip()]
    quote = value[:1]
    if quote and quote in "\"'" and value.endswith(quote) and len(value) > 2:
        inner = value[1:-1]
        second = inner.find(quote)
        # In `"Planks" and "piers"` the second quote ends a quotation, in `"The "big" pier"` it begins one.
        if second < 0 or inner.count(quote) % 2 or inner[second + 1 : second + 2].isalnum():
            return inner
    return value


def _recover_toml(front: str) -> tuple[dict[str, Any], list[_Problem]]:
    """Parse TOML without the lines that cannot be parsed; a name and its text become a field."""
    lines = front.split("\n")
    texts: dict[str, Any] = {}
    problems: list[_Problem] = []
    for _ in range(MAX_TOML_ERRORS):
        try:
            return {**texts, **tomllib.loads("\n".join(lines))}, problems
        except RecursionError:
            break
        except ValueError as error:
            position = _TOML_LINE.search(str(error))
            number = min(int(position[1]) if position else len(lines), len(lines)) - 1
            while number > 0 and not lines[number].strip():  # the error is at the end of the statement
                number -= 1
            name, sign, value = lines[number].partition("=")
            in_table = any(line.lstrip().startswith("[") for line in lines[:number])
            is_text = bool(sign and value.strip() and not in_table)
            if is_text:
                texts[name.strip().strip("\"'")] = _plain_text(value)
            problems.append(_Problem(number, lines[number], is_text))
            lines[number] = ""
    return texts, problems
