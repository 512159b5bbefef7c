"""Signatures and docstrings that list the block options by name, for `help()`, completion and `inspect`."""

import inspect
import re
from collections.abc import Callable
from textwrap import fill
from typing import Any, TypeVar

from recommender.blocks.policy import CALL_OPTIONS, Options, Settings

Method = TypeVar("Method", bound=Callable[..., Any])

# Python 3.13 strips the indentation of docstrings, earlier versions keep it: `cleandoc` makes them alike.
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+\n(?: {5,}.+\n)*)", re.MULTILINE)
_DESCRIPTIONS = {
    name: " ".join(text.split())
    for owner in (Settings, Options)
    for name, text in _ATTRIBUTE.findall(f"{inspect.cleandoc(owner.__doc__ or '')}\n")
}


class _Unset:
    """The default of an optional block option."""

    def __repr__(self) -> str:
        return "..."


def lists_options(method: Method) -> Method:
    """Replace a method's `**options` by all block options."""
    return _list_options(method, [*Options.__annotations__])


def lists_settings(method: Method) -> Method:
    """Replace a method's `**options` by the block options that are stored with an index."""
    return _list_options(method, [name for name in Options.__annotations__ if name not in CALL_OPTIONS])


def _list_options(method: Method, names: list[str]) -> Method:
    signature = inspect.signature(method)
    parameters = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
    parameters += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=_Unset(), annotation=Options.__annotations__[name]
        )
        for name in names
    ]
    method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    if method.__doc__:  # python -OO strips docstrings
        texts = "".join(
            fill(f"{name}: {_DESCRIPTIONS[name]}", 120, initial_indent=4 * " ", subsequent_indent=8 * " ") + "\n"
            for name in names
        )
        docstring = inspect.cleandoc(method.__doc__) + "\n"
        method.__doc__ = re.sub(r"^ {4}options: .+\n(?: {5,}.+\n)*", lambda _: texts, docstring, flags=re.MULTILINE)
    return method
