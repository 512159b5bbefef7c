"""Write the reference pages of the command and of the Python API from the code.

Run it as `make docs-reference`. A test compares the committed pages with the code.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

import recommender
from recommender.cli.main import main

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate_reference.py from the code. Change the code, then run `make docs-reference`. -->"
HELP_WIDTH = 78  # columns, those of a terminal with 80, so that the page does not depend on the terminal
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")  # of a docstring
MAX_SIGNATURE_CHARS = 100  # on one line
METHODS = ("__len__", "__iter__", "__contains__")  # the special methods worth a heading


def cli_page() -> str:
    """Return the CLI reference: the help of the command and of each subcommand."""
    context = main.make_context("recommender", [], resilient_parsing=True, terminal_width=HELP_WIDTH)
    parts = [
        NOTE,
        "# The command",
        "The help of `recommender` and of each of its commands, as `--help` prints it.",
        _help_block(context),
    ]
    for name in main.list_commands(context):
        subcontext = main.commands[name].make_context(name, [], parent=context, resilient_parsing=True)
        parts += [f"## recommender {name}", _help_block(subcontext)]
    return "\n\n".join(parts) + "\n"


def _help_block(context: click.Context) -> str:
    return f"```text\n{context.get_help().strip()}\n```"


def python_page() -> str:
    """Return the Python reference: signatures and docstrings of the public names."""
    classes = sorted(
        (getattr(recommender, name) for name in recommender.__all__),
        key=lambda cls: (cls is not recommender.Recommender, issubclass(cls, Exception), cls.__name__),
    )
    parts = [
        NOTE,
        "# Python",
        "All public names of the package `recommender`. Import them from there: `from recommender import Recommender`.",
    ]
    for cls in classes:
        parts += _class_parts(cls)
    return "\n\n".join(parts) + "\n"


def _class_parts(cls: type) -> Iterator[str]:
    body = _body(cls)
    yield f"## {cls.__name__}"
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    if "__init__" in functions:
        yield _signature(functions["__init__"], cls.__name__)
    elif fields := [_source(node) for node in body if isinstance(node, ast.AnnAssign) and _is_public(node)]:
        yield "```python\n" + "\n".join([f"class {cls.__name__}:", *(f"    {line}" for line in fields)]) + "\n```"
    yield _docstring(cls)
    for base in cls.__mro__[1:]:
        if base.__module__.startswith("recommender."):
            inherited = {node.name: node for node in _body(base) if isinstance(node, ast.FunctionDef)}
            functions |= {name: node for name, node in inherited.items() if name not in functions}
    for name, node in functions.items():  # of overloads the last, which has the docstring
        if not name.startswith("_") or name in METHODS:
            member = inspect.getattr_static(cls, name)
            is_property = isinstance(member, property)
            yield f"### {cls.__name__}.{name}"
            if not is_property:
                yield _signature(node, name)
            yield _docstring(member.fget if is_property else getattr(cls, name))


def _body(cls: type) -> list[ast.stmt]:
    """Return the statements of a class."""
    # A class has one statement at the top of its source; typeshed calls it a stmt, which has no body.
    return ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined, no-any-return]


def _source(node: ast.AST) -> str:
    """Return the source text of a node, with double quotes as ruff writes them."""
    text = ast.unparse(node)
    return text if '"' in text else text.replace("'", '"')


def _is_public(node: ast.AnnAssign) -> bool:
    return isinstance(node.target, ast.Name) and not node.target.id.startswith("_")


def _signature(node: ast.FunctionDef, name: str) -> str:
    """Return a call in a code block, with an argument a line if it is long."""
    arguments = _arguments(node.args)
    result = f" -> {_source(node.returns)}" if node.returns and node.name != "__init__" else ""
    text = f"{name}({', '.join(arguments)}){result}"
    if len(text) > MAX_SIGNATURE_CHARS:
        text = "\n".join([f"{name}(", *(f"    {argument}," for argument in arguments), f"){result}"])
    return f"```python\n{text}\n```"


def _arguments(node: ast.arguments) -> list[str]:
    """Return each argument of a method with its type and default, without `self`."""
    positional = [*node.posonlyargs, *node.args]
    defaults = [*([None] * (len(positional) - len(node.defaults))), *node.defaults]
    arguments = list(map(_argument, positional, defaults))
    if positional and positional[0].arg in ("self", "cls"):
        del arguments[0]
    if node.vararg:
        arguments.append(f"*{_source(node.vararg)}")
    elif node.kwonlyargs:
        arguments.append("*")
    arguments += map(_argument, node.kwonlyargs, node.kw_defaults)
    if node.kwarg:
        arguments.append(f"**{_source(node.kwarg)}")
    return arguments


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return _source(argument) + (f" = {_source(default)}" if default else "")


def _docstring(documented: object) -> str:
    """Return a docstring as Markdown: its sections become lists."""
    lines = (inspect.getdoc(documented) or "").splitlines()
    result: list[str] = []
    in_list = False
    for line in lines:
        heading = re.fullmatch(r"(\w+):", line)
        if heading and heading[1] in SECTIONS:
            result += [f"**{heading[1].replace('Args', 'Arguments')}**", ""]
            in_list = heading[1] != "Example"  # whose lines are a code block as they are
        elif in_list and line.strip():
            if not line.startswith(" "):
                in_list = False
                result.append(line)
            elif (entry := re.fullmatch(r" {4}(\*{0,2}\w+): (.*)", line)) is not None:
                result.append(f"- `{entry[1]}`: {entry[2]}")
            else:
                result.append(f"{'  ' if result[-1].startswith(('- ', '  ')) else ''}{line.strip()}")
        else:
            result.append(line)
    return "\n".join(result).strip()


PAGES = {"cli.md": cli_page, "python.md": python_page}

if __name__ == "__main__":
    for file_name, page in PAGES.items():
        (FOLDER / file_name).write_text(page(), encoding="utf-8")
