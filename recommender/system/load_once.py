"""Lazily computed attributes that threads share, under a lock that a forked process replaces."""

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

Value = TypeVar("Value")


class _Loading:
    lock = threading.RLock()


def load_lock() -> "threading.RLock":
    """Return the reentrant lock under which this process loads models."""
    return _Loading.lock


def _replace_lock() -> None:
    """Replace the lock in a forked process, in which the thread that held it does not exist."""
    _Loading.lock = threading.RLock()


os.register_at_fork(after_in_child=_replace_lock)


class load_once(Generic[Value]):  # noqa: N801 - a decorator, as functools.cached_property is
    """A `cached_property` that is computed once among threads, which functools' is not since Python 3.12."""

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Record the attribute's name, under which the instance's `__dict__` caches the value."""
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> Self | Value:
        """Compute and cache the value; Python finds a cached value in the instance, without this call."""
        if instance is None:
            return self
        with load_lock():
            values = vars(instance)
            if self._name not in values:
                values[self._name] = self._compute(instance)
            value: Value = values[self._name]
        return value
