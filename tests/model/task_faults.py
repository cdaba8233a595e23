"""Faults of the runtime for asyncio, each a patch that lives for one test, which must be found.

Theory.  Each is what somebody might write, and what some pool for asyncio has.  None of them shows
in a run in which nothing is cancelled and nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pool.core.effects import Close, Effect, Open, Refuse
from pool.core.events import Expire, Release
from pool.shared.errors import PoolTimeout
from pool.shared.handles import Handle
from pool.tasks import runtime
from pool.tasks.monitor import Cell
from pool.tasks.performer import Check
from pool.tasks.runtime import Runtime

Fault = Callable[[pytest.MonkeyPatch], None]


def loses_a_grant(patch: pytest.MonkeyPatch) -> None:
    """Who is cancelled while it waits believes that it has nothing."""
    give_up = Runtime.give_up

    def faulty(self: Runtime, handle: Handle) -> None:
        if handle.ticket in self.monitor.cells or handle.key:
            give_up(self, handle)

    patch.setattr(Runtime, "give_up", faulty)


def swallows_a_cancellation(patch: pytest.MonkeyPatch) -> None:
    """A cancellation that meets the grant is taken for nothing, as by `wait_for` before 3.12."""
    follow = Runtime._follow

    async def faulty(self: Runtime, loop: Any, handle: Handle, cell: Cell, *rest: Any) -> None:
        while True:
            try:
                return await follow(self, loop, handle, cell, *rest)
            except asyncio.CancelledError:
                if cell.answer is None:
                    raise

    patch.setattr(Runtime, "_follow", faulty)


def keeps_no_task(patch: pytest.MonkeyPatch) -> None:
    """The tasks of the pool are nobody's."""
    start = Runtime._start

    def faulty(self: Runtime, *rest: Any) -> Any:
        task = start(self, *rest)
        self.monitor.tasks.discard(task)
        return task

    patch.setattr(Runtime, "_start", faulty)


def believes_the_clock(patch: pytest.MonkeyPatch) -> None:
    """A deadline that has passed is a refusal, whatever the state says."""

    def faulty(self: Runtime, cell: Cell) -> None:
        if cell.future is not None and not cell.future.done():
            cell.future.set_exception(PoolTimeout("too late"))

    patch.setattr(Runtime, "_expire", faulty)


def resets_in_the_callers_task(patch: pytest.MonkeyPatch) -> None:
    """Who is cancelled while it gives back has given nothing back."""

    async def faulty(self: Runtime, handle: Handle, clean: bool = False) -> bool:
        handle.ended = True
        reusable = await self.driver.reset(handle.held)
        return self._release(handle.ticket, handle.key, reusable)

    patch.setattr(Runtime, "release", faulty)


def gives_back_if_it_is_let(patch: pytest.MonkeyPatch) -> None:
    """Who gives back waits for the reset, and gives back when it has ended, also where it is
    cancelled meanwhile: three times, not for ever."""

    async def faulty(self: Runtime, handle: Handle, clean: bool = False) -> bool:
        handle.ended = True
        task = self._start("reset", self.driver.reset(handle.held), lambda *_: None)
        cancelled = None
        for _ in range(3):
            done = self.bind().create_future()
            task.add_done_callback(lambda _, done=done: done.done() or done.set_result(None))
            try:
                await done
                break
            except asyncio.CancelledError as error:
                cancelled = error
        else:
            assert cancelled is not None
            raise cancelled
        released = self._release(handle.ticket, handle.key, task.result())
        if cancelled is not None:
            raise cancelled
        return released

    patch.setattr(Runtime, "release", faulty)


def leaves_a_check_to_nobody(patch: pytest.MonkeyPatch) -> None:
    """Who does not wait for an answer leaves the connection lent."""

    def faulty(self: Runtime, check: Check, handle: Handle) -> None:
        handle.ticket = handle.key = 0

    patch.setattr(Runtime, "_leave_to", faulty)


def lends_in_secret(patch: pytest.MonkeyPatch) -> None:
    """Who returns a connection does not say whose it is now."""

    def faulty(self: Runtime, ticket: int, key: int, reusable: bool) -> bool:
        self.monitor.applying = True
        self.monitor.current = self.step(self.state, Release(self.clock(), ticket, key, reusable))
        self.monitor.applying = False
        return True

    patch.setattr(Runtime, "_release", faulty)


def notes_a_loss_in_secret(patch: pytest.MonkeyPatch) -> None:
    """A finalizer notes what is lost, and the loop sleeps on."""
    patch.setattr(Runtime, "lose", Runtime._note_end)


def closes_what_is_busy(patch: pytest.MonkeyPatch) -> None:
    """A connection is closed while it is being asked."""

    async def faulty(self: Runtime, effect: Close) -> None:
        await self.driver.close(effect.connection)

    patch.setattr(Runtime, "_close", faulty)


def wakes_twice(patch: pytest.MonkeyPatch) -> None:
    """A future that is done, or cancelled, is given a result."""

    def faulty(self: Cell) -> None:
        if self.future is not None:
            self.future.set_result(None)

    patch.setattr(Cell, "wake", faulty)


def forgets_a_connect(patch: pytest.MonkeyPatch) -> None:
    """A connect that failed has no outcome."""
    connected = Runtime._connected

    def faulty(self: Runtime, task: Any, mark: object) -> None:
        if not task.cancelled() and task.exception() is None:
            connected(self, task, mark)

    patch.setattr(Runtime, "_connected", faulty)


def keeps_no_handle(patch: pytest.MonkeyPatch) -> None:
    """Who gives a connection back, and goes, has lost it while it is reset."""
    give_back = Runtime.give_back

    def faulty(self: Runtime, handle: Handle, clean: bool = False) -> Any:
        copy = Handle(self)
        copy.ticket, copy.key, copy.held = handle.ticket, handle.key, handle.held
        handle.ended = True
        return give_back(self, copy, clean)

    patch.setattr(Runtime, "give_back", faulty)


def keeps_its_alarm(patch: pytest.MonkeyPatch) -> None:
    """The timer of a caller that is gone still rings."""
    follow = Runtime._follow

    async def faulty(self: Runtime, loop: Any, handle: Handle, cell: Cell, *rest: Any) -> None:
        if rest[0]:
            loop.call_later(rest[0], self._expire, cell)
        await follow(self, loop, handle, cell, *rest)

    patch.setattr(Runtime, "_follow", faulty)


def rings_once(patch: pytest.MonkeyPatch) -> None:
    """A deadline that passes during a check is forgotten where that finds the connection dead."""
    plain = Runtime._expire

    def faulty(self: Runtime, cell: Cell) -> None:
        if not cell.is_late:
            plain(self, cell)

    patch.setattr(Runtime, "_expire", faulty)


def takes_it_out_later(patch: pytest.MonkeyPatch) -> None:
    """A job is begun, and then taken out of the list: an eager task finds it there."""
    begin = Runtime._begin
    within: list[Effect] = []

    def faulty(self: Runtime, effect: Effect) -> None:
        if type(effect) is Open and id(effect) in self.monitor.jobs:
            if len(within) == 2:  # else without end
                return
            within.append(effect)
            self._start("connect", self.driver.connect(), self._connected, object())
            self.monitor.jobs.pop(id(effect), None)
            within.pop()
        else:
            begin(self, effect)

    patch.setattr(Runtime, "_begin", faulty)


# ---------------------------------------------------------------- that need no order of their own


def ignores_the_reset(patch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of the reset, the connection is lent again."""
    plain = Runtime._release

    def faulty(self: Runtime, ticket: int, key: int, reusable: bool) -> bool:
        return plain(self, ticket, key, True)

    patch.setattr(Runtime, "_release", faulty)


def believes_what_rested(patch: pytest.MonkeyPatch) -> None:
    """What rested is lent, whatever the driver says of it."""
    plain = Runtime.acquire

    async def faulty(self: Runtime, *arguments: Any) -> Handle:
        self.check_after = float("inf")
        return await plain(self, *arguments)

    patch.setattr(Runtime, "acquire", faulty)


def closes_twice(patch: pytest.MonkeyPatch) -> None:
    """What has been closed is dropped as well."""
    plain = Runtime._close

    async def faulty(self: Runtime, effect: Close) -> None:
        await plain(self, effect)
        await self.driver.close(effect.connection)

    patch.setattr(Runtime, "_close", faulty)


def gives_up_early(patch: pytest.MonkeyPatch) -> None:
    """Half of the time is enough."""
    plain = Runtime.acquire

    async def faulty(self: Runtime, timeout: float | None = None, *arguments: Any) -> Handle:
        return await plain(self, timeout and timeout / 2, *arguments)

    patch.setattr(Runtime, "acquire", faulty)


def has_all_the_time(patch: pytest.MonkeyPatch) -> None:
    """A deadline is for those who wait: who has its grant waits on, for the check."""

    def faulty(self: Runtime, cell: Cell) -> None:
        if cell.ticket in self.monitor.cells:
            self.apply(Expire(self.clock(), cell.ticket))

    patch.setattr(Runtime, "_expire", faulty)


def never_ticks(patch: pytest.MonkeyPatch) -> None:
    """Nobody is woken when it is time."""
    patch.setattr(Runtime, "_look", lambda self: None)


def tells_everybody_the_same(patch: pytest.MonkeyPatch) -> None:
    """Whatever the reason, it was time."""
    plain = runtime.error_for

    def faulty(refusal: Refuse, *arguments: Any) -> Exception:
        return plain(refusal._replace(reason="timeout"), *arguments)

    patch.setattr(runtime, "error_for", faulty)


def connects_twice(patch: pytest.MonkeyPatch) -> None:
    """The first connection is dropped."""
    plain = Runtime._connected

    def faulty(self: Runtime, task: Any, mark: object) -> None:
        if task.cancelled() or task.exception() is not None or self.state.counters.opened:
            plain(self, task, mark)
        else:
            again = self.driver.connect()
            self._start("connect", again, lambda task: plain(self, task, mark))

    patch.setattr(Runtime, "_connected", faulty)


def says_too_early_that_it_is_closed(patch: pytest.MonkeyPatch) -> None:
    """What is being closed is as good as closed."""
    plain = Runtime.is_at_rest

    def faulty(self: Runtime, *about: Any) -> bool:
        closing, self.monitor.closing = self.monitor.closing, {}
        try:
            return plain(self, *about)
        finally:
            self.monitor.closing = closing

    patch.setattr(Runtime, "is_at_rest", faulty)
