"""The runtime for threads: what callers do.

Theory.  Everything that decides is in `step`, and what applies it in the monitor; here a caller
gets in, parks, is woken, and gives back.

* A caller parks on a lock of its own (its `Cell`).  After a wait that timed out it
  sends `Expire` and obeys what its cell then holds: the state decides, never the result of
  the wait.
* A caller holds a `Handle`.  When a handle is lost, for whatever reason, its finalizer puts a
  note into the inbox and tries the lock.  A finalizer does no I/O and never blocks.
* A signal's handler, or a finalizer, may call the pool while its thread is inside the lock
  (RUN-10): an `acquire` is refused there.
* A handler may fork, and the child come back to the call that was interrupted.  That call goes on
  with the monitor it began with, whose effects are nobody's; an acquire then begins again with
  the child's own.

`acquire`, `queue` and `release` have the monitor's `apply` written out: they are in every checkout.

What it refuses to know: why anybody gets anything.  It has no `if` on the pool's state.
What a runtime owes the function is `RUN` in `spec/README.md`; each is named where it is met.
"""

# mypy: disable-error-code="possibly-undefined"
# (a loop over the turnstile, which stands for `with`, always runs once)

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from pool.core.effects import Effect, Grant, Ignored, Open, Refuse
from pool.core.events import Acquire, Dead, Discard, Expire, Release
from pool.core.limits import Limits
from pool.shared.errors import WITHIN, PoolReentered, error_for, unanswered
from pool.shared.handles import Cell, Handle
from pool.shared.log import logger
from pool.threads.driver import Driver, Sync
from pool.threads.performer import Performer

_new = object.__new__

LONG = 0.1
"""Seconds after which a wait is worth to be told of. Who waits for less has no time to lose."""


class Runtime(Performer):
    """A running pool over a driver. Thread-safe.

    `check_after`: a connection that rested for so many seconds (0: any that rested) is asked
    whether it is alive before it is lent; where helpers ask, no answer within `check_timeout`
    seconds means no. `clock` gives the times of events, in seconds; waits are always measured
    on a monotonic clock. `jitter` gives numbers from 0 up to 1.

    With `opener="caller"` no thread is ever started. With `"background"` helpers connect,
    close, tick, and ask connections whether they are alive (`pool/threads/helpers.py`).
    """

    __slots__ = ()

    driver: Driver

    def __init__(
        self,
        driver: Driver,
        limits: Limits,
        *,
        check_after: float = 0.0,
        check_timeout: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sync: Any = Sync,
        jitter: Callable[[], float] = random.random,
        begins: bool = True,
    ) -> None:
        """Who still sets what it tells (`on_close` ...) lets it not begin, and calls `begin`."""
        super().__init__(driver, limits, check_after, check_timeout, clock, sync, jitter)
        if begins:
            self.begin()

    def acquire(
        self, timeout: float | None = None, owner: Any = None, handle: Handle | None = None
    ) -> Handle:
        """A handle with a connection. `timeout` in seconds; None waits for ever, 0 not at all.

        Raises a `PoolError`; or, if this caller was told to connect, the driver's own
        error. With `opener="caller"` the timeout bounds the queue, not the driver. `handle`
        is one that has ended, to be used again by an adapter that shows it to nobody.
        """
        monitor = self.monitor
        if monitor.applying and monitor.lock._is_owned():
            raise PoolReentered(WITHIN)
        if handle is None:
            handle = Handle(self)
        handle.monitor = monitor
        handle.ticket, handle.key, handle.ended = 0, 0, False
        effects: tuple[Effect, ...] = ()
        me = None
        within = False
        if monitor.callers:
            within = self.sync.ident() in monitor.callers
        waits = not within and (timeout is None or timeout > 0)
        clock = self.clock
        now = clock()
        try:
            for _ in monitor.turnstile:
                try:
                    monitor.applying = True
                    # Whoever is going to wait has no name for the state: it would keep alive what
                    # others held at that time, and their end would look like a loss.
                    if monitor.current[1]:
                        monitor.deliver()
                    # Drawn under the lock, so that tickets grow from event to event.
                    handle.ticket = ticket = next(monitor.tickets)
                    taken = monitor.shortcuts.acquire(monitor.current[0], now, ticket, waits, owner)
                    if taken is not None and taken[1]:  # nobody else is concerned
                        fields, key, connection, rested = taken
                        monitor.current = (fields, ())
                    else:
                        if not within:
                            me = self.sync.ident()
                            monitor.callers.add(me)
                        if taken is not None:  # it waits; there is nothing else to do
                            monitor.current = (taken[0], ())
                            taken = None
                        else:
                            monitor.current = monitor.step(
                                monitor.state, Acquire(now, ticket, waits, owner)
                            )
                            effects = monitor.current[1]
                        cell = _new(Cell)  # as its `__init__` and `expect`, written out
                        cell.ticket, cell.answer = ticket, None
                        cell.parker = self.sync.lock()
                        cell.parker.acquire()
                        monitor.cells[ticket] = cell
                        if effects:
                            monitor.deliver()
                        handle.met = ticket, cell.answer is None, False
                finally:
                    monitor.applying = False
                    monitor.lock.release()
                break
            if monitor.jobs or monitor.inbox:
                self._leave(monitor, effects)
            if taken is not None and rested < self.check_after and monitor is self.monitor:
                handle.key, handle.held = key, connection
                return handle
            deadline = self._monotonic() + timeout if timeout else None
            if taken is None:
                _, key, connection, rested = self._follow(handle, cell, deadline, timeout)
            while True:
                # First of all: a loop may be interrupted after it has looked at its condition.
                if monitor is not self.monitor:
                    break
                handle.key, handle.held = key, connection
                if rested is None or rested < self.check_after:
                    return handle
                alive: bool | None = False
                try:
                    if self.helpers is not None:
                        alive = self.helpers.is_alive(handle, deadline, waits)
                    elif monitor is self.monitor:
                        alive = self.driver.is_alive(connection)
                except Exception:
                    number = self.number_of(handle.key, connection)
                    logger.debug("%sconnection %s is dead", self.label, number, exc_info=True)
                if monitor is not self.monitor:
                    break
                if alive:
                    return handle
                if alive is None and self.helpers is not None:
                    raise unanswered(self.state, self.clock())
                cell = Cell(ticket)
                taken = fields = connection = None  # as above
                handle.held = None
                death = Dead(self.clock(), ticket, handle.key, waits)
                effects = self._apply(monitor, death, cell)
                ignored, effects = type(effects[-1]) is Ignored, ()
                if ignored:  # somebody closed it while we looked
                    self.lose(handle)  # nobody waits at that cell
                    break
                handle.key = 0
                _, key, connection, rested = self._follow(handle, cell, deadline, timeout)
            # Begin again: what it was granted is closed, or was its parent's.
            if me is not None:
                monitor.callers.discard(me)
            left = max(0.0, deadline - self._monotonic()) if deadline else timeout
            return self.acquire(left, owner, handle)
        except BaseException:
            try:
                self._abort(monitor)
            finally:
                self.lose(handle)
            raise
        finally:
            if me is not None:
                monitor.callers.discard(me)

    def queue(self, handle: Handle, cell: Cell, owner: Any) -> None:
        """As `acquire`, up to where that would park: for an adapter that parks itself, on this
        cell. It may be answered by now.

        Not within a transition, whose end would have to come first: who calls it has asked. And
        who is interrupted in it loses the handle, or sees that somebody does."""
        handle.monitor = monitor = self.monitor
        handle.ticket, handle.key, handle.ended = 0, 0, False
        cell.parker = self.sync.lock()
        cell.parker.acquire()
        effects: tuple[Effect, ...] = ()
        now = self.clock()
        try:
            for _ in monitor.turnstile:
                try:
                    monitor.applying = True
                    if monitor.current[1]:
                        monitor.deliver()
                    # Drawn under the lock, so that tickets grow from event to event.
                    handle.ticket = cell.ticket = ticket = next(monitor.tickets)
                    taken = monitor.shortcuts.acquire(monitor.current[0], now, ticket, True, owner)
                    if taken is None:
                        event = Acquire(now, ticket, True, owner)
                        monitor.current = monitor.step(monitor.state, event)
                    elif taken[1]:
                        grant = Grant(ticket, *taken[1:])
                        monitor.current = (taken[0], (grant,))
                    else:  # it waits; there is nothing else to do
                        monitor.current = (taken[0], ())
                    monitor.cells[ticket] = cell
                    effects = monitor.current[1]
                    if effects:
                        monitor.deliver()
                finally:
                    monitor.applying = False
                    monitor.lock.release()
                break
            if monitor.jobs or monitor.inbox or monitor.onlookers:
                self._leave(monitor, effects)
        except BaseException:
            self._abort(monitor)
            raise

    def _follow(
        self, handle: Handle, cell: Cell, deadline: float | None, timeout: float | None
    ) -> Grant:
        """Do what the cell says until it says that there is a connection, or that there is none
        (RUN-6). In a child process that comes back to this, neither matters any more."""
        monitor = handle.monitor
        if cell.answer is None:
            self.on_wait(cell.ticket)
        tell = self.on_long_wait
        while True:
            answer = cell.answer
            # Not the loop's condition, and after the answer: a loop may be interrupted after it has
            # looked at its condition, and what a child then finds is for the parent's caller.
            if monitor is not self.monitor:
                return Grant(cell.ticket, 0, None, None)
            if answer is None:
                if deadline is not None and (left := deadline - self._monotonic()) <= 0:
                    self._apply(monitor, Expire(self.clock(), cell.ticket))
                elif tell is not None:
                    cell.parker.acquire(True, LONG if deadline is None or left > LONG else left)
                    if cell.answer is None:
                        tell(cell.ticket)
                    tell = None
                elif deadline is None:
                    cell.parker.acquire()
                else:
                    cell.parker.acquire(True, min(left, threading.TIMEOUT_MAX))
            elif type(answer) is Grant:
                if answer.rested is None:
                    handle.met = cell.ticket, handle.has_waited, True
                return answer
            elif type(answer) is Open:
                self._connect(monitor, cell.ticket, cell)
            elif type(answer) is Refuse:
                handle.ticket = 0  # there is nothing left to be given up
                if answer.reason == "exhausted" and timeout != 0:
                    raise PoolReentered(f"no connection to be had at once: {WITHIN}")
                raise error_for(answer, self.state, timeout, self.clock())

    def release(self, handle: Handle, clean: bool = False) -> bool:
        """Give the connection back, reset unless it is clean. False if it was not this handle's
        any more, or is the parent's of this process; a handle of another pool is a `ValueError`."""
        # Not turned round: 3.10 looks for signals after a jump, too, and here the reset follows.
        if not handle.ended and (monitor := handle.monitor) is self.monitor:
            try:
                try:
                    reusable = clean or self.driver.reset(handle.held)
                except Exception:
                    number = self.number_of(handle.key, handle.held)
                    text = "%sconnection %s cannot be reset"
                    logger.debug(text, self.label, number, exc_info=True)
                    reusable = False
                clock = self.clock
                now, ticket, key = clock(), handle.ticket, handle.key
                if monitor.applying and monitor.lock._is_owned():
                    effects = monitor.note(Release(now, ticket, key, reusable))
                    handle.ended = True
                    return type(effects[-1]) is not Ignored if effects else True
                for _ in monitor.turnstile:
                    try:
                        monitor.applying = True
                        fields, left_undelivered = monitor.current
                        if left_undelivered:
                            monitor.deliver()
                        outcome = monitor.shortcuts.release(fields, now, ticket, key, reusable)
                        if outcome is None:
                            event = Release(now, ticket, key, reusable)
                            outcome = monitor.step(monitor.state, event)
                        monitor.current = outcome
                        effects = outcome[1]
                        if effects:
                            monitor.deliver()
                    finally:
                        monitor.applying = False
                        monitor.lock.release()
                    break
                if monitor.jobs or monitor.inbox or monitor.onlookers:
                    self._leave(monitor, effects)
            except BaseException:
                try:
                    self._abort(monitor)
                finally:
                    self.lose(handle)
                raise
            handle.ended = True
            return not effects or type(effects[-1]) is not Ignored
        return self._refuse(handle)

    def discard(self, handle: Handle) -> bool:
        """Have the connection closed. Otherwise as `release`."""
        if handle.ended or (monitor := handle.monitor) is not self.monitor:
            return self._refuse(handle)
        effects = self._apply(monitor, Discard(self.clock(), handle.ticket, handle.key))
        handle.ended = True
        return type(effects[-1]) is not Ignored

    def lose(self, handle: Handle) -> None:
        """This handle is gone, with whatever it held (RUN-7). Never blocks, performs no Io, and
        may be called from a finalizer, or twice."""
        monitor = handle.monitor
        if handle.ticket or handle.key:  # a lease that an adapter put in has no ticket
            monitor.inbox.append((handle.ticket, handle.key))
        handle.ended = True
        try:
            monitor.drain(self.clock)
        except BaseException:  # others may have left their notes to us
            monitor.drain(self.clock)
            raise
        if self.helpers and monitor.jobs:
            self.helpers.nudge()
