"""A call of the public API, while it is under way, and what it may come to.

Theory.  Whoever calls, a thread or a task, a call is known by what it sent while it was at work and
by what came of it.  The driver is scripted: its connections are numbers.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

from pool.core.effects import Effect, Ignored
from pool.core.events import Acquire, Cancel, Discard, Event, Tick
from pool.shared.errors import (
    OpenError,
    PoolClosed,
    PoolError,
    PoolSuspended,
    PoolTimeout,
    TooManyWaiting,
)

TOLD: dict[str, type[PoolError]] = {
    "timeout": PoolTimeout,
    "exhausted": PoolTimeout,
    "suspended": PoolSuspended,
    "too_many_waiting": TooManyWaiting,
    "open_failed": OpenError,
    "closed": PoolClosed,
}
"""What a caller is told when it is refused for this reason."""

TIMEOUTS = st.sampled_from([None, None, 0.0, 0.5, 1.0, 5.0])


class Away(Exception):
    """What the driver raises."""


class Connection:
    """A connection of the scripted driver."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def __repr__(self) -> str:
        return f"c{self.number}"


@attrs.define(eq=False)
class Call:
    """A call of the public API, under way on a thread or task of its own."""

    kind: str
    began: float
    timeout: float | None = None
    returns: int = 0
    """The ticket of the lease that it gives back."""
    done: bool = False
    sent: list[tuple[Event, tuple[Effect, ...]]] = attrs.field(factory=list)
    result: Any = None
    error: BaseException | None = None
    cause: BaseException | None = None

    @property
    def own(self) -> list[tuple[Event, tuple[Effect, ...]]]:
        """What it sent for itself: not for those whose notes it found in the inbox, nor
        because it was time."""
        return [
            (event, effects)
            for event, effects in self.sent
            if not isinstance(event, Cancel | Discard | Tick)
            or (isinstance(event, Discard) and event.ticket == self.returns)
        ]

    @property
    def ignored(self) -> bool:
        """Whether the last of these was not allowed."""
        return any(
            isinstance(effect, Ignored) for _, effects in self.own[-1:] for effect in effects
        )

    @property
    def took(self) -> bool:
        """Whether what it gave back was its own to give."""
        return bool(self.own) and not self.ignored

    @property
    def ticket(self) -> int:
        """Its last one; 0 if it has none."""
        tickets = [event.ticket for event, _ in self.sent if isinstance(event, Acquire)]
        return tickets[-1] if tickets else 0
