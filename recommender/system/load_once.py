"""Values that threads share: each is made once, under a lock that a forked child gets anew."""

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

Value = TypeVar("Value")


class _Loading:
    lock = threading.RLock()


def load_lock() -> "threading.RLock":
    """Return the lock under which this process loads models; the thread that holds it may take it again."""
    return _Loading.lock


def _renew() -> None:
    """Replace the lock in a forked child, where the thread that held it does not exist."""
    _Loading.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew)


class load_once(Generic[Value]):  # noqa: N801 - a decorator, as functools.cached_property is
    """A `cached_property` that threads compute once, which functools' does not promise since Python 3.12."""

    def __init__(self, make: Callable[[Any], Value]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the name under which an instance holds the value."""
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> Self | Value:
        """Return the value; once it is made, it stands in the instance and this is not called."""
        if instance is None:
            return self
        with load_lock():
            values = vars(instance)
            if self._name not in values:
                values[self._name] = self._make(instance)
            value: Value = values[self._name]
        return value
