"""Checks of what a user passes, done where it is passed.

Theory.  A pool is set up once, far from where it fails.  A bad argument is refused at once, by
its name, with its value and what is allowed, always as a `ValueError`, as in `pool.core.limits`.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

from pool.core.limits import is_finite
from pool.core.text import repr_of

FOR_THREADS = (
    "this pool lends connections of blocking drivers to threads; for those of asyncio there is "
    "`pool.aio.Pool`"
)


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
    if _is_asynchronous(connect):
        allowed = f"a plain function; {FOR_THREADS}"
        raise refuse("connect", connect, allowed)


def check_hook(name: str, function: Any, takes: str = "a connection, or None") -> None:
    """Refuse what is neither None nor a plain function: the body of another would never run."""
    if function is not None and (
        not callable(function)
        or _is_asynchronous(function)
        or any(map(inspect.isgeneratorfunction, _bodies_of(function)))
    ):
        raise refuse(name, function, f"a plain function that takes {takes}")


def check_answer(name: str, answer: Any) -> Any:
    """What a user's function returned. Raises `TypeError` for what its body is still to run in."""
    if answer is None or answer is True or answer is False:
        return answer
    if _is_asynchronous_answer(answer) or _is(inspect.isgenerator, answer):
        _drop(answer)
        raise TypeError(
            f"{name} returned something to be awaited or iterated over, so nothing was done yet: "
            "it has to be a plain function"
        )
    return answer


def why_no_connection(connection: Any) -> str | None:
    """Why what `connect` returned is no connection for this pool, if so."""
    if _is_asynchronous_answer(connection):
        _drop(connection)
        return (
            "connect returned something to be awaited, and has to be a plain function: "
            f"{FOR_THREADS}"
        )
    why = why_useless(connection)
    if why is not None:
        return why
    for name in ("close", "commit", "rollback"):
        if _is(inspect.iscoroutinefunction, _attribute(connection, name)):
            return (
                f"connect returned a connection of an asynchronous driver (its {name} has to be "
                f"awaited): {FOR_THREADS}"
            )
    return None


def why_useless(connection: Any) -> str | None:
    """Why what `connect` returned can be no connection of any driver, if so."""
    what = _what_else(connection)
    return None if what is None else f"connect returned {what}"


_VALUES = (str, bytes, bytearray, bool, int, float, complex, tuple, list, dict, set, frozenset)


def _what_else(connection: Any) -> str | None:
    if connection is None:
        return "None: it has to return the connection it made"
    kind = type(connection)
    if _is(inspect.isgenerator, connection):
        return "a generator: it has to return the connection, not yield it"
    if issubclass(kind, type):
        return f"a class, {connection.__name__}: it has to return an object of it"
    if _is(inspect.isroutine, connection) or _is(inspect.ismodule, connection):
        what = "module" if _is(inspect.ismodule, connection) else "function"
        return f"a {what}: it has to return the connection it made"
    future = kind.__module__ == "concurrent.futures._base"
    if kind in _VALUES or issubclass(kind, BaseException) or future:
        return f"an object of the type {kind.__name__}: that is no connection"
    if hasattr(kind, "__enter__") and _only_enters(connection):
        return (
            f"a context manager ({kind.__name__}), which has a connection only within its block: "
            "it has to return a connection that stays open"
        )
    return None


def _only_enters(manager: Any) -> bool:
    """Whether it is a context manager and nothing else: one made by `contextlib`, a pool, a block
    or a lease of one, or one without a method to be called. A lock can be more."""
    kind = type(manager)
    if kind.__module__ in ("contextlib", "pool.api", "pool.lease"):
        return True
    names = [name for name in dir(kind) if not name.startswith("_")]
    names += [name for name in _attribute(manager, "__dict__") or () if not name.startswith("_")]
    return not names and not hasattr(kind, "__getattr__")


def _is(question: Callable[[Any], object], thing: Any) -> bool:
    """Whether it is; one that cannot be asked is not. (`isinstance` asks for its `__class__`.)"""
    try:
        return bool(question(thing))
    except Exception:
        return False


def _is_asynchronous_answer(answer: Any) -> bool:
    return _is(inspect.isawaitable, answer) or _is(inspect.isasyncgen, answer)


def _attribute(thing: Any, name: str) -> Any:
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


def _is_asynchronous(function: Any) -> bool:
    return any(
        _is(inspect.iscoroutinefunction, each) or _is(inspect.isasyncgenfunction, each)
        for each in _bodies_of(function)
    )


def _bodies_of(function: Any) -> list[Any]:
    """The function, behind `functools.partial`; or the method by which an object is called."""
    while issubclass(type(function), functools.partial):  # and not by asking it for its class
        function = function.func
    if _is(inspect.isroutine, function) or _is(inspect.isclass, function):
        return [function]
    return [function, _attribute(type(function), "__call__")]


def _drop(thing: Any) -> None:
    """Nobody will run it, and Python need not warn of that."""
    if _is(inspect.iscoroutine, thing) or _is(inspect.isgenerator, thing):
        thing.close()


def name_of(connect: Any) -> str:
    """What a pool is called that was given no name: as the function that connects for it."""
    try:
        while isinstance(connect, functools.partial):
            connect = connect.func
        if connect.__name__ == "<lambda>":
            code = connect.__code__
            return f"<lambda> in {os.path.basename(code.co_filename)}:{code.co_firstlineno}"
        return str(connect.__name__)
    except Exception:  # an object that can be called need not have a name
        return type(connect).__name__
