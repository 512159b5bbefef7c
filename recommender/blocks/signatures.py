"""Signatures and docstrings that list the block options by name, for `help()`, completion and `inspect`."""

import inspect
import re
from collections.abc import Callable
from textwrap import fill
from typing import Any, TypeVar

from recommender.blocks.policy import OF_A_CALL, Options, Settings

Method = TypeVar("Method", bound=Callable[..., Any])

# Python 3.13 strips the indentation of docstrings, earlier versions keep it: `cleandoc` makes them alike.
_ENTRY = re.compile(r"^ {4}(\w+): (.+\n(?: {5,}.+\n)*)", re.MULTILINE)  # of a docstring's Attributes
_TEXTS = {
    name: " ".join(text.split())
    for owner in (Settings, Options)
    for name, text in _ENTRY.findall(f"{inspect.cleandoc(owner.__doc__ or '')}\n")
}


class _Unset:
    """The default of an option that is not given."""

    def __repr__(self) -> str:
        return "..."


def lists_options(method: Method) -> Method:
    """List every block option in the place of a method's `**options`."""
    return _listing(method, [*Options.__annotations__])


def lists_settings(method: Method) -> Method:
    """List the block options that are stored with an index in the place of a method's `**options`."""
    return _listing(method, [name for name in Options.__annotations__ if name not in OF_A_CALL])


def _listing(method: Method, names: list[str]) -> Method:
    signature = inspect.signature(method)
    parameters = [part for part in signature.parameters.values() if part.kind is not part.VAR_KEYWORD]
    parameters += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=_Unset(), annotation=Options.__annotations__[name]
        )
        for name in names
    ]
    method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    if method.__doc__:  # which python -OO strips
        texts = "".join(
            fill(f"{name}: {_TEXTS[name]}", 120, initial_indent=4 * " ", subsequent_indent=8 * " ") + "\n"
            for name in names
        )
        docstring = inspect.cleandoc(method.__doc__) + "\n"
        method.__doc__ = re.sub(r"^ {4}options: .+\n(?: {5,}.+\n)*", lambda _: texts, docstring, flags=re.MULTILINE)
    return method
