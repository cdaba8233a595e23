"""Checks of what a user passes, done where it is passed.

Theory.  A pool is set up once, far from where it fails.  A bad argument is refused at once, by
its name, with its value and what is allowed, always as a `ValueError`, as in `pool.limits`.
"""

from __future__ import annotations

import inspect
from typing import Any

from pool.limits import is_finite
from pool.text import repr_of


def refuse(name: str, value: object, allowed: str) -> ValueError:
    """The error that says what is wrong with an argument."""
    return ValueError(f"{name}={repr_of(value)}: allowed is {allowed}")


def is_seconds(value: object) -> bool:
    """Whether this is a finite number, at least 0."""
    return is_finite(value) and value >= 0  # type: ignore[operator]  # a number


def check_seconds(name: str, value: object, none: str) -> None:
    """Refuse what is neither seconds nor None; `none` says what None means."""
    if value is not None and not is_seconds(value):
        raise refuse(name, value, f"a finite number of seconds, at least 0, or None {none}")


def check_connect(connect: Any) -> None:
    """Refuse what cannot be called, or cannot give a connection without an event loop."""
    if not callable(connect):
        raise refuse("connect", connect, "a function without parameters that returns a connection")
    if inspect.iscoroutinefunction(connect):
        allowed = "a plain function; this pool lends connections of blocking drivers to threads"
        raise refuse("connect", connect, allowed)


def check_hook(name: str, function: Any) -> None:
    """Refuse what is neither None nor a plain function."""
    if function is not None and (not callable(function) or inspect.iscoroutinefunction(function)):
        raise refuse(name, function, "a plain function that takes a connection, or None")
