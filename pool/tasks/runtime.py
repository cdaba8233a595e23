"""The runtime for asyncio: what callers do.

Theory.  The pool belongs to one event loop (RUN-11), and whatever takes time is a task of the
pool's own, never the caller's (`performer.py`):

* A caller waits for a bare future (its `Cell`) and for nothing else.  Its deadline is a timer that
  sends `Expire` itself: an event like any other, so no race is left to be resolved.
* A caller that is cancelled stops waiting.  So a cancellation goes on, always, at once: it costs
  no connection, and none of the clean-up that it would have interrupted (RUN-12).
* A handle that is lost is noted, and the loop told.  A loop that is closed, with the pool still
  open, took all its connections with it: the pool begins anew with the next one.

`acquire` has the monitor's `apply` written out, as `_release` has: they are in every checkout.

What it refuses to know: why anybody gets anything.  It has no `if` on the pool's state.
"""

# mypy: disable-error-code="possibly-undefined"
# (what the shortcut took is there where no cell is)

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from pool.core.effects import Close, Grant, Ignored, Refuse
from pool.core.events import Acquire, Dead, Discard, Expire, Tick
from pool.core.limits import Limits
from pool.core.state import Fields, Lease, initial, leased, state_of
from pool.shared import forks
from pool.shared.errors import WITHIN, PoolReentered, WrongLoop, error_for, unanswered
from pool.shared.handles import Handle
from pool.shared.running import AT_ONCE
from pool.tasks import exits
from pool.tasks.monitor import Cell, Monitor
from pool.tasks.performer import NEVER, AsyncDriver, Check, Performer, Reset


class Runtime(Performer):
    """A running pool over an asynchronous driver. Belongs to the event loop that first uses it;
    reading is possible from anywhere.

    Arguments as those of the one for threads. `clock` gives the times of events, in seconds; waits
    are measured by the loop.
    """

    driver: AsyncDriver

    def __init__(
        self,
        driver: AsyncDriver,
        limits: Limits,
        *,
        check_after: float = 0.0,
        check_timeout: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        monitor = self._make_monitor(initial(limits))
        super().__init__(driver, monitor, check_after, check_timeout, clock, jitter)

        forks.expect(self)
        exits.expect(self)

    def _make_monitor(self, fields: Fields, tickets: Iterator[int] | None = None) -> Monitor:
        return Monitor(fields, tickets)

    # ------------------------------------------------------------ the loop

    def bind(self) -> asyncio.AbstractEventLoop:
        """The loop that runs here, to which the pool belongs from now on (RUN-11).

        Raises `WrongLoop` where it belongs to another one already, and where none is running."""
        loop = asyncio._get_running_loop()
        if loop is not self.monitor.loop or loop is None:
            loop = self._bind_to(loop)
        return loop

    def bind_if_running(self) -> None:
        """As `bind`, for what may be asked before there is a loop."""
        if self.monitor.loop is not None or asyncio._get_running_loop() is not None:
            self.bind()

    def _bind_to(self, loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop:
        if loop is None:
            raise WrongLoop(
                "this pool is for asyncio, and no event loop of asyncio is running in this thread: "
                "use it in a coroutine, which `asyncio.run` runs; with threads there is `pool.Pool`"
            )
        if (before := self.monitor.loop) is not None:
            if not before.is_closed():
                raise WrongLoop(
                    f"this pool belongs to the event loop {before!r} at {id(before):#x}, which is "
                    f"not closed, so it cannot be used from {loop!r} at {id(loop):#x}: make a pool "
                    "in each loop (and each thread); a lease is given back in its own, or from "
                    "elsewhere by `asyncio.run_coroutine_threadsafe(lease.release(), loop)`"
                )
            self.abandon_loop()
        self.monitor.loop = loop
        self.apply(Tick(self.clock()))  # what was asked for before is begun
        self._leave()
        self._look()
        return loop

    def is_running(self) -> bool:
        """Whether the loop to which it belongs is running, on whatever thread."""
        loop = self.monitor.loop
        return loop is not None and loop.is_running()

    def abandon_loop(self) -> None:
        """The loop is closed: nothing that belonged to it can be awaited any more. Drop its
        connections without goodbye, and begin anew."""
        monitor = self.monitor
        closes = (*monitor.current[1], *monitor.jobs.values())
        connections = [
            *forks.connections_of(self.state),
            *(effect.connection for effect in closes if type(effect) is Close),
            *monitor.closing.values(),
        ]
        self._begin_anew()
        self.on_fork()
        for connection in {id(each): each for each in connections}.values():
            self.terminate(connection)

    def _after_fork(self) -> None:
        """In a child, which has no loop: the tasks and connections are the parent's (RUN-9)."""
        monitor = self.monitor
        self._keep_what_is_the_parents()
        forks.keep(monitor.tasks, monitor.cells, monitor.alarm, monitor.closing)
        self._begin_anew()
        self.on_fork()

    # ------------------------------------------------------------ callers

    async def acquire(
        self, timeout: float | None = None, owner: Any = None, handle: Handle | None = None
    ) -> Handle:
        """A handle with a connection. `timeout` in seconds; None waits for ever, 0 not at all.

        Raises a `PoolError`; or `CancelledError`, always, if the caller was cancelled. `handle`
        is one that has ended, to be used again."""
        loop = self.bind()
        monitor = self.monitor
        if monitor.applying:  # a coroutine that is driven by a signal's handler
            raise PoolReentered(WITHIN)
        if handle is None:
            handle = Handle(self)
        handle.monitor = monitor
        handle.ticket, handle.key, handle.ended = 0, 0, False
        now, cell = self.clock(), None
        try:
            monitor.applying = True
            try:
                if monitor.current[1]:
                    monitor.deliver()
                handle.ticket = ticket = next(monitor.tickets)
                waits = timeout != 0
                taken = monitor.shortcuts.acquire(monitor.current[0], now, ticket, waits, owner)
                if taken is not None and taken[1]:  # nobody else is concerned
                    fields, key, connection, rested = taken
                    monitor.current = (fields, ())
                else:
                    if taken is not None:  # it waits; there is nothing else to do
                        monitor.current = (taken[0], ())
                    else:
                        monitor.current = monitor.step(
                            monitor.state, Acquire(now, ticket, waits, owner)
                        )
                    cell = monitor.expect(Cell(ticket, loop.create_future()))
                    monitor.deliver()
            finally:
                monitor.applying = False
            if monitor.jobs or monitor.inbox:
                self._leave()
            if cell is None:
                handle.key, handle.held = key, connection
                if rested < self.check_after:
                    return handle
                cell = Cell(ticket)
                cell.answer = Grant(ticket, key, connection, rested)
            # Else they would keep alive what others hold by now.
            taken = fields = connection = None
            await self._follow(loop, handle, cell, timeout, owner)
        except BaseException:
            self.give_up(handle)
            raise
        return handle

    async def _follow(
        self,
        loop: asyncio.AbstractEventLoop,
        handle: Handle,
        cell: Cell,
        timeout: float | None,
        owner: Any,
    ) -> None:
        """Do what the cell says until it says that there is a connection, or that there is none
        (RUN-6)."""
        waits = timeout != 0
        alarm, waited = None, False
        if timeout and timeout < NEVER:
            alarm = loop.call_later(timeout, self._expire, cell)
        try:
            while True:
                if cell.answer is None:
                    waited = True
                    self.on_wait(cell.ticket)
                    if self.on_long_wait is not None:
                        self.on_long_wait(cell.ticket)
                    await cell.future  # type: ignore[misc]  # not None where no answer is
                answer, cell.answer = cell.answer, None
                if type(answer) is Refuse:
                    handle.ticket = 0  # there is nothing left to be given up
                    raise error_for(answer, self.state, timeout, self.clock())
                assert type(answer) is Grant
                handle.key, handle.held = answer.key, answer.connection
                handle.met = cell.ticket, waited, answer.rested is None
                if answer.rested is None or answer.rested < self.check_after:
                    return
                alive = await self._ask(loop, handle, cell, waits)
                if alive:
                    return
                if alive is None:
                    raise unanswered(self.state, self.clock())
                key, answer, handle.held = answer.key, None, None
                cell.future = loop.create_future()
                effects = self.apply(Dead(self.clock(), cell.ticket, key, waits), cell)
                if type(effects[-1]) is Ignored:  # somebody closed it while it was asked
                    self.monitor.cells.pop(cell.ticket, None)
                    handle.ticket = cell.ticket = next(self.monitor.tickets)
                    waits = waits and not cell.is_late
                    self.apply(Acquire(self.clock(), cell.ticket, waits, owner), cell)
                elif cell.is_late:  # it rang while the check was under way, and rings no more
                    self._expire(cell)
                handle.key = 0
        finally:
            if alarm is not None:
                alarm.cancel()

    def _expire(self, cell: Cell) -> None:
        """Its deadline has passed: an event like any other, which another may have forestalled."""
        cell.is_late = True
        if cell.ticket in self.monitor.cells:
            self.apply(Expire(self.clock(), cell.ticket))
        else:
            cell.wake()  # it has its grant; if that is being checked, it is not to wait any more

    async def _ask(
        self, loop: asyncio.AbstractEventLoop, handle: Handle, cell: Cell, waits: bool
    ) -> bool | None:
        """Ask the driver, by a task of the pool's. No answer within `check_timeout` is a no. None:
        no answer by the deadline; or, for a caller that does not wait, within `AT_ONCE`."""
        check = Check(cell, handle.key, handle.held)
        cell.future = loop.create_future()
        hurry = None if waits else loop.call_later(AT_ONCE, cell.wake)
        try:
            self._begin_check(loop, check)
            if not cell.is_late:
                await cell.future
        finally:
            if hurry is not None:
                hurry.cancel()
            if check.answer:
                handle.key = 0  # a caller that was cancelled by now leaves it to the next
            elif check.answer is None:
                self._leave_to(check, handle)
        if check.answer:
            handle.key = check.key
        return check.answer

    async def release(self, handle: Handle, clean: bool = False) -> bool:
        """Give the connection back, reset unless it is clean. False if it was not this handle's
        any more; a handle of another pool is a `ValueError`.

        With nothing to reset it is done at once, and no task is made. Else the pool resets it, and
        goes on with that if the caller is cancelled meanwhile."""
        ended = self.give_back(handle, clean)
        if type(ended) is bool:
            return ended
        return await ended

    def give_back(self, handle: Handle, clean: bool = False) -> bool | asyncio.Future[bool]:
        """As `release`, where nothing may be awaited: what is to be reset is left to the pool, and
        what is to be had of it later is a future."""
        if handle.ended or handle.monitor is not self.monitor:
            return self._refuse(handle)
        loop = self.bind()
        ticket, key, connection = handle.ticket, handle.key, handle.held
        if clean or self.driver.is_clean(connection):
            ended = self._release(ticket, key, True)
            handle.ended = True
            return ended
        reset = Reset(ticket, key, connection, loop.create_future(), handle)
        task = self._start("reset", self.driver.reset(connection), self._was_reset, reset)
        self.monitor.busy[key] = task
        handle.ended = True
        return reset.done

    def discard(self, handle: Handle) -> bool:
        """Have the connection closed. Otherwise as `release`; nothing is waited for."""
        if handle.ended or handle.monitor is not self.monitor:
            return self._refuse(handle)
        self.bind()
        effects = self.apply(Discard(self.clock(), handle.ticket, handle.key))
        handle.ended = True
        return type(effects[-1]) is not Ignored

    def give_up(self, handle: Handle) -> None:
        """Its caller was interrupted, or is refused: whatever it has goes back (RUN-7)."""
        self._note_end(handle)
        self._leave()

    def lose(self, handle: Handle) -> None:
        """This handle is gone, with whatever it held. Never blocks, starts nothing, and may be
        called from a finalizer, on any thread, or twice."""
        self._note_end(handle)
        loop = self.monitor.loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed: the next one begins anew
                loop.call_soon_threadsafe(self._leave)

    def _note_end(self, handle: Handle) -> None:
        if handle.ticket or handle.key:
            handle.monitor.inbox.append((handle.ticket, handle.key))
        handle.ended = True

    # ------------------------------------------------------------ as a whole

    async def until(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until this holds, or the timeout in seconds has passed (None: for ever); whether it
        holds."""
        loop = self.bind()
        deadline = None if timeout is None or timeout > NEVER else loop.time() + timeout
        while not holds():
            if deadline is not None and loop.time() >= deadline:
                return False
            onlooker = loop.create_future()
            alarm = deadline and loop.call_at(deadline, _wake, onlooker)
            self.monitor.onlookers.add(onlooker)
            try:
                await onlooker
            finally:
                self.monitor.onlookers.discard(onlooker)
                if alarm:
                    alarm.cancel()
        return True

    def is_at_rest(self, mine: Callable[[Lease], bool] | None = None) -> bool:
        """Whether nothing is lent, being opened, reset, asked, closed, or to be done. With `mine`,
        which says what the task that asks holds: nothing but that."""
        monitor = self.monitor
        fields, undelivered = monitor.current
        state = state_of(fields)
        leases = leased(state.in_use).values()
        held = [lease for lease in leases if mine is None or not mine(lease)]
        return not (held or state.opening or undelivered or monitor.jobs or monitor.closing)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
