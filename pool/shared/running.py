"""A running pool, as far as it matters nothing whether threads use it or tasks.

Theory.  What a runtime is told, and whom it tells, is one set of names, so that what stands above
(the faces, a recorder, a statistic) need not know which of the two it has.

Whatever takes time keeps the store that it began with, and asks before it touches a connection
whether that is still the runtime's: in a child process it is not, and the connection is not its
own (RUN-9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pool.core.effects import Close, Leaked
from pool.core.events import Acquire, Cancel, Dead, Discard, Expire, Forked, Release, Tick
from pool.core.state import Fields, State
from pool.shared.forks import keep_for_ever
from pool.shared.handles import Handle
from pool.shared.log import logger
from pool.shared.store import Clock, Step, Store

DAILY = {Acquire, Release, Cancel, Expire, Discard, Dead, Tick}
"""Events after which nothing is due earlier than before."""

AT_ONCE = 0.1
"""Seconds that a check may take for a caller that does not wait: far more than a round trip."""


class Running:
    """What both runtimes have. Reading is possible from any thread."""

    # CPython keeps up to 30 attributes of an object where they are reached at once, and slots.
    __slots__ = (
        "__weakref__",
        "check_after",
        "check_timeout",
        "clock",
        "driver",
        "jitter",
        "label",
        "lost",
        "monitor",
        "number_of",
        "on_close",
        "on_fork",
        "on_leak",
        "on_long_wait",
        "on_lost",
        "on_wait",
    )

    monitor: Any

    def __init__(
        self,
        driver: Any,
        monitor: Store,
        check_after: float,
        check_timeout: float | None,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self.driver = driver
        self.check_after = check_after
        self.check_timeout = check_timeout
        self.clock = clock
        self.jitter = jitter
        self.on_leak: Callable[[Leaked], None] = _log_leak
        self.on_lost: Callable[[Close, Any, float], None] = _do_nothing
        """Told of a lease that was collected before it was given back, its owner, and for how many
        seconds it was held."""
        self.on_wait: Callable[[int], None] = _do_nothing
        """Told, where the caller is, the ticket of one that is going to wait."""
        self.on_long_wait: Callable[[int], None] | None = None
        """The same, of what takes longer than that: threads tell once it has lasted."""
        self.on_close: Callable[[Close], None] = _do_nothing
        self.on_fork: Callable[[], None] = _do_nothing
        self.number_of: Callable[[int, Any], int] = _key
        """What people call the connection with this key, in messages."""
        self.label = ""
        """What messages begin with."""
        self._begin_with(monitor)

    def _begin_with(self, monitor: Store) -> None:
        self.monitor = monitor
        self.lost = monitor.inbox.append
        """To be the callback of a weak reference to a handle that is its owner. It is called where
        the handle's finalizer is interrupted on its first step, and has no step of its own."""

    def _make_monitor(self, fields: Fields, tickets: Iterator[int] | None = None) -> Any:
        raise NotImplementedError

    def _begin_anew(self) -> None:
        """Put another monitor in the place of the one so far, which is left to those who are in the
        middle of something with it. Limits and numbers stay, and who looks on (RUN-9, RUN-11)."""
        before = self.monitor
        if before.observed is not None:
            before.observed.begin_anew()
        fields, owed = before.step(before.state, Forked(self.clock()))
        monitor = self._make_monitor(fields, before.tickets)
        monitor.watch(before.step)
        if before.observed is not None:
            before.observed.belongs_to(monitor)
        monitor.current = (fields, owed)
        monitor.deliver()
        self._begin_with(monitor)
        before.abandon()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a running pool cannot be copied or pickled: it belongs to this process; share it"
        )

    @property
    def step(self) -> Step:
        """The pure function, or one that looks on while it is applied."""
        step: Step = self.monitor.step
        return step

    @step.setter
    def step(self, function: Step) -> None:
        self.monitor.watch(function)

    @property
    def state(self) -> State:
        """The state right now. Reading it needs no lock: it is one reference."""
        state: State = self.monitor.state
        return state

    @property
    def fields(self) -> Fields:
        """Those of the state: the same object until the state changes."""
        fields: Fields = self.monitor.current[0]
        return fields

    def _refuse(self, handle: Handle) -> bool:
        """It has ended, or is the parent's of this process; one of another pool is an error."""
        if handle.runtime is not self:
            number = handle.runtime.number_of(handle.key, handle.held)
            raise ValueError(f"connection {number} belongs to another pool")
        handle.ended = True
        return False

    def _keep_what_is_the_parents(self) -> None:
        """Its connections, and those that it is about to close, are not collected here."""
        store = self.monitor
        keep_for_ever(store.state, (*store.current[1], *store.jobs.values()))


def _do_nothing(*_: Any) -> None:
    pass


def _key(key: int, _: Any) -> int:
    return key


def _log_leak(leak: Leaked) -> None:
    logger.warning("connection %s has been held for %.1f s by %s", leak.key, leak.held, leak.owner)
