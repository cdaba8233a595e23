"""The monitor of a pool for tasks: a store, and what belongs to the event loop on which it lives.

Theory.  One transition is `step` and one assignment, with no `await` in between: the loop makes it
atomic, so there is no lock.  What is not a task can still come in the middle of one: a signal's
handler, or a finalizer.  Then it is noted (RUN-10), as with threads.

Futures, tasks and timers are of one loop.  Where the loop is closed, or the process is a child,
another monitor takes the place of this one, and nothing of it is awaited any more.

The protocol is specified, and checked with a cancellation at any await, in `spec/Tasks.tla`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from pool.core.effects import Effect
from pool.core.events import Event
from pool.core.outlook import Outlook
from pool.core.state import Fields
from pool.shared.store import Answer, Clock, Made, Store


class Cell:
    """Where a caller's answer is put, and what it waits for. Known to the monitor while it has no
    answer."""

    __slots__ = ("answer", "future", "is_late", "ticket")

    def __init__(self, ticket: int, future: asyncio.Future[None] | None = None) -> None:
        self.ticket = ticket
        self.answer: Answer | None = None
        self.future = future
        self.is_late = False
        """Its deadline has passed."""

    def wake(self) -> None:
        if self.future is not None and not self.future.done():  # cancelled, or told before
            self.future.set_result(None)


class Monitor(Store):
    """The state of a pool that the tasks of one loop share."""

    __slots__ = (
        "alarm",
        "alarm_at",
        "busy",
        "closing",
        "connecting",
        "loop",
        "onlookers",
        "outlook",
        "tasks",
    )

    def __init__(self, fields: Fields, tickets: Iterator[int] | None = None) -> None:
        super().__init__(fields, tickets)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        self.closing: dict[int, Any] = {}
        """Connections that are being closed, by key."""
        self.busy: dict[int, asyncio.Task[bool]] = {}
        """By key: connections that are being asked, or reset. They are not closed meanwhile."""
        self.connecting: dict[object, float] = {}
        """When each connect under way began."""
        self.onlookers: set[asyncio.Future[None]] = set()
        self.alarm: asyncio.TimerHandle | None = None
        self.alarm_at = 0.0
        self.outlook: Outlook | None = None

    def apply(self, event: Event | Made, cell: Any = None) -> tuple[Effect, ...]:
        return self.note(event) if self.applying else super().apply(event, cell)

    def drain(self, clock: Clock) -> None:
        """Apply what the inbox holds; in the middle of a transition, whoever began that will."""
        while self.inbox and not self.applying:
            self.applying = True
            try:
                self.empty_inbox(clock)
            finally:
                self.applying = False

    def notify(self) -> None:
        """Something has changed: whoever waits for the pool as a whole looks again."""
        for onlooker in list(self.onlookers):
            if not onlooker.done():
                onlooker.set_result(None)

    def abandon(self) -> None:
        """Nobody waits: the loop of those who did is closed, or the parent's."""
