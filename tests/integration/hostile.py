"""Connections, errors and answers of which everything raises.

Theory.  A pool calls little of what a driver's objects have, but Python calls more of it: `str`
in a message, `==` in a comparison, `hash` in a dict, `bool` in an `if`, a property in `getattr`.
So a class here has every special method there is, and each raises; what is asked for by another
name raises too.  Only what makes an object, and what PEP 249 promises, is left.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

SPARED = {
    "__class__", "__class_getitem__", "__del__", "__dict__", "__doc__", "__getattribute__",
    "__init__", "__init_subclass__", "__module__", "__new__", "__slots__",
    "__subclasshook__", "__weakref__", "__qualname__", "__name__",
}  # fmt: skip
"""Without these there is no object; the harder ones have a class of their own below."""

ASYNC = {"__await__", "__aiter__", "__anext__", "__aenter__", "__aexit__", "__next__"}
"""Who has these is no connection of a blocking driver, and refused as such."""

REDUCED = {"__reduce__", "__reduce_ex__", "__getstate__"}

KINDS: tuple[type, ...] = (
    object, int, float, complex, str, bytes, list, dict, set, range, slice, memoryview,
    BaseException, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType,
)  # fmt: skip
"""Together they have every special method that the interpreter knows."""

MORE = {
    "__missing__",
    "__fspath__",
    "__copy__",
    "__deepcopy__",
    "__getattr__",
    "__enter__",
    "__exit__",
}
SPECIAL = {
    name for kind in KINDS for name in dir(kind) if name.startswith("__") and name.endswith("__")
} | MORE
SPECIAL -= SPARED


class Trap(Exception):
    """What they raise."""

    def __init__(self, name: str = "") -> None:
        super().__init__(f"somebody called {name}")


def trap(name: str, kind: type[BaseException] = Trap) -> Callable[..., Any]:
    def spring(*_: Any, **__: Any) -> Any:
        raise kind(name)

    return spring


def traps(spared: set[str]) -> dict[str, Any]:
    return {name: trap(name) for name in sorted(SPECIAL - spared)}


PROPERTIES = [
    "autocommit", "closed", "open", "in_transaction", "info", "isolation_level", "pgconn",
    "row_factory", "total_changes", "server_status", "messages", "errorhandler", "__wrapped__",
    "driver_connection",
]  # fmt: skip
"""Names that some driver's connections have."""


class Base:
    """Counts what a pool is to do to it."""

    def __init__(self) -> None:
        object.__setattr__(self, "closes", 0)

    def commit(self) -> None:
        pass

    def rollback(self) -> None:
        pass

    def close(self) -> None:
        object.__setattr__(self, "closes", self.closes + 1)


Answer: Any = type("Answer", (), traps(ASYNC))
"""What a hook returns."""


def error_class(name: str, base: type[BaseException]) -> Any:
    names = ["args", "__cause__", "__context__", "__traceback__", "__notes__", "with_traceback"]
    return type(name, (base,), {**traps(ASYNC), **{each: property(trap(each)) for each in names}})


HostileError = error_class("HostileError", Exception)
HostileExit = error_class("HostileExit", BaseException)
"""One that is no `Exception`."""


def striking(kind: type[BaseException]) -> Any:
    """A class of connections whose special methods, and what drivers call their properties, raise
    this."""
    return type(
        f"Striking{kind.__name__}",
        (Base,),
        {
            **{name: trap(name, kind) for name in sorted(SPECIAL - ASYNC - REDUCED)},
            **{name: property(trap(name, kind)) for name in PROPERTIES},
        },
    )


def without_class(kind: type[BaseException]) -> Any:
    """One whose `__class__` raises: `isinstance` asks for it."""
    return type(f"Classless{kind.__name__}", (Base,), {"__class__": property(trap("", kind))})


def without_attributes(kind: type[BaseException], spared: Callable[[str], bool]) -> Any:
    """One of which every attribute raises, but for those."""

    def get(self: Any, name: str) -> Any:
        if spared(name):
            return object.__getattribute__(self, name)
        raise kind(name)

    return type(f"Closed{kind.__name__}", (Base,), {"__getattribute__": get})
