"""What a pool may do: the limits, checked once, when they are made.

Theory.  Limits are the only settings the pure machine knows.  They are part of its
state and change by the event `Configure` alone, so a history that begins with limits
says everything about a run.  A limit that cannot be kept is refused here, with its
name, its value and what is allowed; `step` never meets one.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import attrs

from pool.core.text import repr_of

IdleOrder = Literal["oldest", "lifo", "fifo"]
Opener = Literal["caller", "background"]


def _refuse(name: str, value: object, allowed: str) -> ValueError:
    return ValueError(f"{name}={repr_of(value)}: allowed is {allowed}")


def _is_number(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Whether this is a number of seconds: a whole one may be too large to be one."""
    try:
        return _is_number(value, (int, float)) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        return False


def _whole(least: int, *, optional: bool) -> Any:
    allowed = f"a whole number, at least {least}" + (", or None for no limit" if optional else "")

    def check(limits: Limits, attribute: attrs.Attribute[Any], value: object) -> None:
        if optional and value is None:
            return
        if not _is_number(value, (int,)) or value < least:  # type: ignore[operator]  # a number
            raise _refuse(attribute.name, value, allowed)

    return check


def _seconds(*, optional: bool) -> Any:
    allowed = "a finite number of seconds above 0" + (", or None for never" if optional else "")

    def check(limits: Limits, attribute: attrs.Attribute[Any], value: Any) -> None:
        if optional and value is None:
            return
        if not is_finite(value) or value <= 0:
            raise _refuse(attribute.name, value, allowed)

    return check


def _one_of(values: tuple[str, ...]) -> Any:
    allowed = "one of " + ", ".join(map(repr, values))

    def check(limits: Limits, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or value not in values:
            raise _refuse(attribute.name, value, allowed)

    return check


@attrs.frozen(kw_only=True)
class Limits:
    """The settings of the machine. Immutable and thread-safe; times are in seconds.

    Raises `ValueError`, naming field, value and what is allowed (rule LIM-1).
    `attrs.evolve(limits, max_size=5)` makes a changed copy.
    """

    max_size: int | None = attrs.field(default=10, validator=_whole(1, optional=True))
    """Most connections idle, in use and being opened together. None: no limit."""
    min_idle: int = attrs.field(default=0, validator=_whole(0, optional=False))
    """Idle connections to keep ready; needs `opener="background"`."""
    max_lifetime: float | None = attrs.field(default=None, validator=_seconds(optional=True))
    """A connection of this age is closed instead of lent or returned. None: never."""
    max_idle: float | None = attrs.field(default=None, validator=_seconds(optional=True))
    """Idle connections above `min_idle` that rested so long are closed. None: never."""
    max_waiting: int | None = attrs.field(default=None, validator=_whole(0, optional=True))
    """Most callers that may wait. None: no limit."""
    max_opening: int | None = attrs.field(default=None, validator=_whole(1, optional=True))
    """Most driver connects at once while anything is idle or in use. None: no limit."""
    max_connecting: int | None = attrs.field(default=None, validator=_whole(1, optional=True))
    """Most driver connects at once, always. None: no limit."""
    leak_after: float | None = attrs.field(default=None, validator=_seconds(optional=True))
    """A connection held so long is reported once. None: never."""
    idle_order: IdleOrder = attrs.field(default="lifo", validator=_one_of(get_args(IdleOrder)))
    """Which idle connection is lent first: oldest made, last returned, first returned."""
    opener: Opener = attrs.field(default="caller", validator=_one_of(get_args(Opener)))
    """Who connects: the caller for whom it is, or a thread of the pool's own."""
    backoff_initial: float = attrs.field(default=0.1, validator=_seconds(optional=False))
    """`background`: the pause after the first failed connect of an outage; it doubles."""
    backoff_max: float = attrs.field(default=1.0, validator=_seconds(optional=False))
    """`background`: the longest pause."""

    def __attrs_post_init__(self) -> None:
        if self.max_size is not None and self.min_idle > self.max_size:
            allowed = f"at most max_size={self.max_size}"
            raise _refuse("min_idle", self.min_idle, allowed)
        if self.min_idle and self.opener == "caller":
            allowed = "0 with opener='caller', where nobody opens ahead of need"
            raise _refuse("min_idle", self.min_idle, allowed)
        if self.backoff_max < self.backoff_initial:
            allowed = f"at least backoff_initial={self.backoff_initial}"
            raise _refuse("backoff_max", self.backoff_max, allowed)
