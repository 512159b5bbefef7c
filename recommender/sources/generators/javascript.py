"""Configuration files in JavaScript or TypeScript: their object literals, without running any code."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_NESTING = 60  # levels of objects and lists

_TOKEN = re.compile(
    r"""\s+|//[^\n]*|/\*.*?(?:\*/|\Z)"""  # not yielded
    r"""|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)"""
    r"""|(?P<word>[\w$]+(?:\.\d+)?)"""
    r"""|(?P<regex>(?<=[=(,:[!&|?{};\s])/(?![*/\s])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*)"""
    r"""|(?P<sign>\.\.\.|=>|[^\s])""",
    re.S,
)
_LITERALS = {"true": True, "false": False, "null": None, "undefined": None}
_OPENING, _CLOSING = "([{", ")]}"
_STATEMENTS = ("const", "let", "var", "export", "import", "module")  # that begin a statement, also without a semicolon
_ENDS = (",", ";", ")", "]", "}", "", *_STATEMENTS)
_ESCAPES = {"n": "\n", "t": "\t"}


def read_javascript(path: Path) -> Mapping[str, Any]:
    """Return the properties of the objects that a module assigns, exports or returns; those of later ones win.

    Values that only running code could yield are None. Names of constants are replaced by their values.

    Raises:
        OSError: the file cannot be read.
    """
    return parse_objects(path.read_text(encoding="utf-8-sig", errors="replace"))


def parse_objects(text: str) -> Mapping[str, Any]:
    """Return the properties of the objects in a module; see `read_javascript`.

    Example:
        >>> parse_objects("const base = '/quay/'; export default defineConfig({base, dir: {input: 'src'}, n: f(1)})")
        {'base': '/quay/', 'dir': {'input': 'src'}, 'n': None}
    """
    return _Parser(text).objects()


class _Parser:
    """A parser of one module; `position` is the number of the current token."""

    def __init__(self, module: str) -> None:
        self.tokens = [
            (match.lastgroup, match[0].strip()) for match in _TOKEN.finditer(module) if match.lastgroup is not None
        ]
        self.constants: dict[str, Any] = {}
        self.position = 0

    def objects(self) -> dict[str, Any]:
        """Return the properties of all objects, in their order."""
        properties: dict[str, Any] = {}
        while self.position < len(self.tokens):
            word = self._next()
            if word in ("const", "let", "var") and self._kind() == "word":
                name = self._next()
                if self._peek() == ":":  # a type
                    while self._peek() not in ("=", ";", ""):
                        self._next()
                if self._peek() == "=":
                    self._next()
                    value = self._value()
                    self.constants[name] = value
                    if isinstance(value, dict):
                        properties |= value
            elif word in ("=", "default", "return", "(") and self._peek() == "{":
                value = self._value()
                properties |= value if isinstance(value, dict) else {}
        return properties

    def _peek(self, offset: int = 0) -> str:
        position = self.position + offset
        return self.tokens[position][1] if position < len(self.tokens) else ""

    def _kind(self) -> str | None:
        return self.tokens[self.position][0] if self.position < len(self.tokens) else None

    def _next(self) -> str:
        text = self._peek()
        self.position += 1
        return text

    def _value(self, depth: int = 0) -> Any:
        """Parse an expression; None if it is neither a literal nor the name of a constant."""
        start, kind, text = self.position, self._kind(), self._next()
        value: Any = None
        if depth > MAX_NESTING:
            pass
        elif text == "{" and kind == "sign":
            value = self._object(depth)
        elif text == "[" and kind == "sign":
            value = self._list(depth)
        elif text == "(" and kind == "sign":
            value = self._value(depth + 1)
            while self._peek() not in (")", ""):  # more than one value, such as parameters
                value = None
                self._next()
                self._skip()
            self._next()
        elif kind == "string":
            value = None if text.startswith("`") and "${" in text else _unescape(text[1:-1])
        elif text in _LITERALS:
            value = _LITERALS[text]
        elif kind == "word" and re.fullmatch(r"\d+(?:\.\d+)?", text):
            value = float(text) if "." in text else int(text)
        elif kind == "word":
            value = self.constants.get(text)
        else:
            self.position = start
        if self._peek() in ("as", "satisfies"):
            self._skip()
        elif self._peek() not in _ENDS:  # part of a longer expression
            value = None
            self._skip()
        return value

    def _object(self, depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        while (text := self._peek()) not in ("}", ""):
            if text == ",":
                self._next()
            elif text == "...":
                self._next()
                spread = self._value(depth + 1)
                properties |= spread if isinstance(spread, dict) else {}
            else:
                kind, name = self._kind(), self._next()
                key = _unescape(name[1:-1]) if kind == "string" else name
                if kind in ("word", "string") and self._peek() == ":":
                    self._next()
                    properties[key] = self._value(depth + 1)
                elif kind == "word" and self._peek() in (",", "}"):
                    properties[key] = self.constants.get(name)
                else:  # a method, or a computed name
                    self.position -= 1
                    properties |= {name: None} if kind == "word" and self._peek(1) == "(" else {}
                    start = self.position
                    self._skip()
                    if self.position == start:
                        self._next()
        self._next()
        return properties

    def _list(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while (text := self._peek()) not in ("]", ""):
            if text == ",":
                self._next()
            elif text in (")", "}", ";"):  # unbalanced
                break
            else:
                items.append(self._value(depth + 1))
        self._next()
        return items

    def _skip(self) -> None:
        """Skip the rest of an expression, up to a comma, a semicolon or an unopened bracket."""
        depth = 0
        while text := self._peek():
            if self._kind() == "sign":
                if text in _OPENING:
                    depth += 1
                elif text in _CLOSING:
                    if not depth:
                        break
                    depth -= 1
                elif not depth and text in (",", ";"):
                    break
            elif not depth and text in _STATEMENTS:
                break
            self._next()


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text, flags=re.S)
