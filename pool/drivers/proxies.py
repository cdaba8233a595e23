"""Finding a driver's connection behind what stands in front of it.

Theory.  Instrumentation (OpenTelemetry, AWS X-Ray, Elastic APM, everything made with `wrapt`) puts
an object in front of a driver's connection that passes on what it is asked.  Its class tells
nothing, so the object is asked: what it says it wraps, whose method its `rollback` is, what it
keeps in its attributes.  What comes of it is a path of attribute names and never the connection
itself, so that to know the way keeps nothing alive, and a proxy that puts another connection in
the place of the first is followed.

What it refuses to know: any proxy by name; and an object that has every attribute it is asked
for (a mock, a remote client) has said nothing, so its class decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Path = tuple[str, ...]

DEEPEST = 5
"""Proxies before proxies that are looked through."""

_METHODS = ("rollback", "commit", "cursor")
_NOBODY_HAS = "purepool_asks_for_what_nobody_has"
_NONE = object()


def get(thing: Any, name: str, default: Any = None) -> Any:
    """An attribute, or the default: also where to ask for it raises."""
    try:
        return getattr(thing, name, default)
    except Exception:
        return default


def has_method(thing: Any, name: str) -> bool:
    """Whether it can be called, by whatever way the object has it."""
    asked: Any = thing
    if get(thing, _NOBODY_HAS, _NONE) is not _NONE:
        asked = type(thing)
    return callable(get(asked, name))


def follow(thing: Any, path: Path) -> Any:
    """What is at the end of the path."""
    for name in path:
        thing = getattr(thing, name)
    return thing


def path_to(thing: Any, shown: Callable[[Any], str | None], depth: int = DEEPEST) -> Path | None:
    """The way to a connection of a driver that is known; () if it is this one, None if there is no
    such way. `shown` says of a driver's connection by which attribute people recognise it, and
    None of anything else."""
    if shown(thing) is not None:
        return ()
    if not depth or get(thing, _NOBODY_HAS, _NONE) is not _NONE:
        return None
    for step, inner, forwards in _next_to(thing):
        # Without a rollback it stands for no connection; and to look into all that an object keeps
        # would be to walk through half the program.
        if inner is None or inner is thing or not (forwards or has_method(inner, "rollback")):
            continue
        rest = path_to(inner, shown, depth - 1)
        if rest is None:
            continue
        attribute = shown(follow(inner, rest))
        # One that keeps a connection among its own things may be anything, unless it shows that
        # it stands for it.
        if forwards or (attribute and get(thing, attribute, _NONE) is not _NONE):
            return step + rest
    return None


def _next_to(thing: Any) -> Iterator[tuple[Path, Any, bool]]:
    """What may be behind it: the way there, the object, and whether it is sure that it stands for
    that."""
    yield ("__wrapped__",), get(thing, "__wrapped__"), True
    for name in _METHODS:
        method = get(thing, name)
        if method is not None:
            yield (name, "__self__"), get(method, "__self__"), True
    names = list(get(thing, "__dict__", None) or ())
    for base in type(thing).__mro__:
        slots = base.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    for name in names:
        if isinstance(name, str) and not name.startswith("__"):
            yield (name,), get(thing, name), False
