"""A program that ends: what its pools keep idle is closed then.

Theory.  Most programs never close their pool.  A driver warns of a connection that is dropped while
it is open, and a server writes it into its log as a client that was lost.  So an exit handler
closes what is idle.  What is lent is its holder's.  The pool is not closed: the handlers that
are still to come, those that were registered before this package was imported, may use it.

With threads of the pool's own an end must not hang on a database that does not answer: it
waits for those closes for `PATIENCE` seconds, of all pools together.
"""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from pool.core.events import CloseIdle, Configure, Event
from pool.core.state import State
from pool.shared.log import logger
from pool.shared.members import members
from pool.threads.driver import Sync
from pool.threads.monitor import Monitor

PATIENCE = 1.0


class Closable(Protocol):
    """What is needed of a runtime whose idle connections are to be closed."""

    sync: Any
    clock: Callable[[], float]
    monitor: Monitor

    @property
    def state(self) -> State: ...
    def apply(self, event: Event) -> object: ...
    def wait_until(self, holds: Callable[[], bool], timeout: float | None) -> bool: ...


_runtimes: weakref.WeakSet[Closable] = weakref.WeakSet()


def expect(runtime: Closable) -> None:
    """What this one keeps idle is closed when the program ends."""
    _runtimes.add(runtime)


def _close_idle(runtime: Closable) -> None:
    limits = runtime.state.limits
    if limits.min_idle:  # or others would be opened in their place
        runtime.apply(Configure(runtime.clock(), attrs.evolve(limits, min_idle=0)))
    runtime.apply(CloseIdle(runtime.clock()))


def close_what_is_idle() -> None:
    """Of all pools in this process."""
    deadline = time.monotonic() + PATIENCE
    mine = [
        each for each in members(_runtimes) if each.sync is Sync and each.state.idle is not None
    ]
    for step in (_close_idle, lambda runtime: _await_closes(runtime, deadline)):
        for runtime in mine:
            try:
                step(runtime)
            except Exception:  # whatever is wrong with one pool, the others must not suffer for it
                logger.warning("idle connections could not be closed at exit", exc_info=True)


atexit.register(close_what_is_idle)


def _await_closes(runtime: Closable, deadline: float) -> None:
    left = max(0.0, deadline - time.monotonic())
    monitor = runtime.monitor
    runtime.wait_until(lambda: not (monitor.jobs or monitor.closing), left)
