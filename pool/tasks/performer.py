"""Tasks of the pool's own, for asyncio: what takes time, and is never the caller's (RUN-12).

Theory.  Connects, checks, resets and closes are tasks that the pool keeps.  A caller that is
cancelled stops waiting for them, and they go on.

* A task is started after the assignment, never within it: where tasks are eager it runs before it
  is even known, and applies transitions of its own.
* What became of a task is read when it has ended, in whatever way: one that is cancelled before
  its first step runs no `finally`.

What it refuses to know: who waits for what.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import attrs

from pool.core.effects import Close, Effect, Ignored, Leaked
from pool.core.events import Cancel, Discard, Event, Opened, OpenFailed, Release, Tick
from pool.core.outlook import JITTER, walk
from pool.core.transition import wake_at
from pool.shared.errors import failure_of
from pool.shared.handles import Handle
from pool.shared.log import logger
from pool.shared.running import DAILY, Running
from pool.shared.store import Made
from pool.tasks.monitor import Cell, Monitor

NEVER = 1e8
"""Seconds that no timer is set for: three years."""

PATIENCE = 5.0
"""Seconds that a close may take before the connection is dropped without goodbye."""


class AsyncDriver(Protocol):
    """What the runtime needs of a driver. Only the runtime's own tasks call what is awaited."""

    async def connect(self) -> Any: ...
    async def is_alive(self, connection: Any) -> bool: ...
    async def reset(self, connection: Any) -> bool: ...
    async def close(self, connection: Any) -> None: ...

    def is_clean(self, connection: Any) -> bool:
        """Whether a reset would find nothing to do, as far as that is known without asking."""

    def terminate(self, connection: Any) -> None:
        """Drop it at once, without goodbye and without a loop."""


class Check:
    """Is this connection alive? As long as it is asked, the connection is not closed."""

    def __init__(self, cell: Cell, key: int, connection: Any) -> None:
        self.cell = cell
        self.key = key
        self.connection = connection
        self.answer: bool | None = None
        self.claim: tuple[int, int] | None = None
        """Ticket and key, once its caller is gone."""
        self.handle: Handle | None = None
        """Then it is kept, for what is collected counts as lost."""
        self.alarm: asyncio.TimerHandle | None = None


@attrs.frozen
class Reset:
    """A connection that came back and is made as it was."""

    ticket: int
    key: int
    connection: Any
    done: asyncio.Future[bool]
    handle: Handle
    """Kept, for what is collected before its end counts as lost."""


class Performer(Running):
    """A running pool of one event loop, but for its callers."""

    monitor: Monitor

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._context = contextvars.copy_context()
        """In which the pool's tasks run: that of no caller."""

    # ------------------------------------------------------------ transitions

    def apply(self, event: Event | Made, cell: Cell | None = None) -> tuple[Effect, ...]:
        """One transition (RUN-1). `cell` is where a ticket waits for its answer from now on. In
        the place of an event may be a function that makes it of the state that it meets."""
        monitor = self.monitor
        if monitor.applying:
            return monitor.note(event)
        effects = monitor.apply(event, cell)
        if monitor.jobs or monitor.inbox or monitor.onlookers:
            self._leave()
        if type(event) not in DAILY:
            self._look()
        return effects

    def _release(self, ticket: int, key: int, reusable: bool) -> bool:
        """Whether it was this ticket's. With `apply` written out, for it is in every checkout."""
        effects: tuple[Effect, ...]
        monitor, now = self.monitor, self.clock()
        if monitor.applying:
            effects = monitor.note(Release(now, ticket, key, reusable))
        else:
            monitor.applying = True
            try:
                if monitor.current[1]:
                    monitor.deliver()
                outcome = monitor.shortcuts.release(monitor.current[0], now, ticket, key, reusable)
                if outcome is None:
                    event = Release(now, ticket, key, reusable)
                    outcome = monitor.step(monitor.state, event)
                monitor.current = outcome
                effects = outcome[1]
                if effects:
                    monitor.deliver()
            finally:
                monitor.applying = False
            if monitor.jobs or monitor.inbox or monitor.onlookers:
                self._leave()
        return not effects or type(effects[-1]) is not Ignored

    def _leave(self) -> None:
        """What is left to do after a transition: the inbox, Io (RUN-3), who looks on."""
        monitor = self.monitor
        observed = monitor.observed
        if observed is not None:
            observed.calm()
        if monitor.inbox:
            monitor.drain(self.clock)
            if not monitor.applying:
                self._look()  # what was noted may be due earlier than all before
        if monitor.loop is not None and not monitor.applying:
            for effect in list(monitor.jobs.values()):
                self._begin(effect)
            monitor.notify()
        if observed is not None and not monitor.applying:
            observed.tell_batch(monitor)

    # ------------------------------------------------------------ tasks

    def _start(
        self,
        what: str,
        coroutine: Coroutine[Any, Any, Any],
        ended: Callable[..., None],
        *about: Any,
    ) -> asyncio.Task[Any]:
        """A task of the pool's, kept until it has ended. Then `ended` is called, in whatever way
        that was: a task that is cancelled before its first step runs no `finally`."""
        monitor = self.monitor
        assert monitor.loop is not None
        name = f"purepool {what}"
        task = self._context.copy().run(monitor.loop.create_task, coroutine, name=name)
        monitor.tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, ended, about), context=self._context)
        return task

    def _ended(
        self, ended: Callable[..., None], about: tuple[Any, ...], task: asyncio.Task[Any]
    ) -> None:
        if task not in self.monitor.tasks:
            return  # of a loop that was given up
        try:
            ended(task, *about)
        except BaseException:  # a signal's handler: what became of the task must not be lost
            ended(task, *about)
            raise
        finally:
            self.monitor.tasks.discard(task)

    def _begin(self, effect: Effect) -> None:
        """Do this job, unless it is begun (RUN-4): the first who takes it out of the list does, for
        an eager task may come here again before it is known."""
        if type(effect) is Close:
            self._begin_close(effect)
        elif self.monitor.jobs.pop(id(effect), None) is None:
            return
        elif type(effect) is Leaked:
            assert self.monitor.loop is not None
            self.monitor.loop.call_soon(self._report, effect, context=self._context)
        else:
            mark = object()
            self.monitor.connecting[mark] = self.clock()
            self._start("connect", self.driver.connect(), self._connected, mark)

    def _report(self, leak: Leaked) -> None:
        try:
            self.on_leak(leak)
        except Exception:
            logger.warning("%sreporting a leak failed", self.label, exc_info=True)

    def _connected(self, task: asyncio.Task[Any], mark: object) -> None:
        """Every `Open` has one outcome (RUN-5)."""
        began = self.monitor.connecting.pop(mark, self.clock())
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            connection = task.result()
            self.apply(Opened(self.clock(), None, connection, began, self.jitter() * JITTER))
            return
        failure = failure_of(error)
        self.apply(OpenFailed(self.clock(), None, failure, self.jitter() / 2))
        logger.info("%sconnect failed: %s: %s", self.label, *failure)

    def _was_reset(self, task: asyncio.Task[bool], reset: Reset) -> None:
        reusable = False
        if not task.cancelled() and (error := task.exception()) is not None:
            number = self.number_of(reset.key, reset.connection)
            text = "%sconnection %s cannot be reset"
            logger.debug(text, self.label, number, exc_info=error)
        elif not task.cancelled():
            reusable = task.result()
        self.monitor.busy.pop(reset.key, None)
        ended = self._release(reset.ticket, reset.key, reusable)
        if not reset.done.done():
            reset.done.set_result(ended)

    # ------------------------------------------------------------ checks

    def _begin_check(self, loop: asyncio.AbstractEventLoop, check: Check) -> None:
        if self.check_timeout is not None and self.check_timeout < NEVER:
            check.alarm = loop.call_later(self.check_timeout, self._give_up_on, check)
        coroutine = self.driver.is_alive(check.connection)
        self.monitor.busy[check.key] = self._start("check", coroutine, self._was_asked, check)

    def _give_up_on(self, check: Check) -> None:
        """It took too long: the connection is dead, whatever may come of it."""
        task = self.monitor.busy[check.key]
        if not task.done():
            task.cancel()
            self._answer(check, False)

    def _was_asked(self, task: asyncio.Task[bool], check: Check) -> None:
        self.monitor.busy.pop(check.key, None)
        if check.alarm is not None:
            check.alarm.cancel()
        answer = False
        if not task.cancelled():
            if (error := task.exception()) is not None:
                number = self.number_of(check.key, check.connection)
                logger.debug("%sconnection %s is dead", self.label, number, exc_info=error)
            else:
                answer = bool(task.result())
        self._answer(check, answer)

    def _answer(self, check: Check, answer: bool) -> None:
        if check.answer is None:
            check.answer = answer
            check.cell.wake()
            if check.claim is not None:
                ticket, key = check.claim
                now = self.clock()
                self.apply(Cancel(now, ticket) if answer else Discard(now, ticket, key))

    def _leave_to(self, check: Check, handle: Handle) -> None:
        """Its caller is gone: the claim is the check's. A slow database must not cost a good
        connection, and the connects that follow, for each caller in a hurry."""
        check.claim, check.handle = (handle.ticket, handle.key), handle
        handle.ticket = handle.key = 0

    # ------------------------------------------------------------ closes

    def _begin_close(self, effect: Close) -> None:
        self.monitor.closing[effect.key] = effect.connection
        if self.monitor.jobs.pop(id(effect), None) is None:
            return
        number = self.number_of(effect.key, effect.connection)
        logger.debug("%sclosing connection %s: %s", self.label, number, effect.reason)
        self._start("close", self._close(effect), self._was_closed, effect)

    async def _close(self, effect: Close) -> None:
        """Say goodbye, within `PATIENCE`. What the pool is doing with the connection has as long to
        end first."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        alarm = loop.call_later(PATIENCE, task.cancel)
        try:
            if (busy := self.monitor.busy.get(effect.key)) is not None:
                await asyncio.wait([busy])
            await self.driver.close(effect.connection)
        finally:
            alarm.cancel()

    def _was_closed(self, task: asyncio.Task[None], effect: Close) -> None:
        if task.cancelled():
            if (busy := self.monitor.busy.get(effect.key)) is not None:
                busy.cancel()
            self.terminate(effect.connection)
        elif (error := task.exception()) is not None:
            number = self.number_of(effect.key, effect.connection)
            logger.warning("%sclosing connection %s failed", self.label, number, exc_info=error)
        if lost := self.monitor.losses.pop(effect.key, None):
            self.on_lost(effect, *lost)
        self.on_close(effect)
        self.monitor.closing.pop(effect.key, None)
        self._leave()

    def terminate(self, connection: Any) -> None:
        """Without goodbye, and whatever the driver says to that."""
        try:
            self.driver.terminate(connection)
        except Exception:
            logger.debug("%sa connection could not be dropped", self.label, exc_info=True)

    # ------------------------------------------------------------ time

    def _look(self) -> None:
        """Tick if that is due, and be woken when it is due again (RUN-8)."""
        monitor = self.monitor
        loop = monitor.loop
        if loop is None:
            return
        now = self.clock()
        if monitor.outlook is None or not monitor.outlook.holds(monitor.state, now):
            due = wake_at(monitor.state)
            if due is not None and now >= due:
                self.apply(Tick(now))
            began = min([now, *monitor.connecting.values()])
            monitor.outlook = walk(monitor.state, now, began)
        pause = monitor.outlook.pause(monitor.state, now)
        if pause is None:
            return
        at = loop.time() + min(pause, NEVER)
        if monitor.alarm is None or at < monitor.alarm_at:
            if monitor.alarm is not None:
                monitor.alarm.cancel()
            monitor.alarm_at = at
            monitor.alarm = loop.call_at(at, _ring, weakref.ref(self))


def _ring(of: weakref.ref[Performer]) -> None:
    """A pool that nobody uses any more is collected meanwhile."""
    runtime = of()
    if runtime is not None:
        runtime.monitor.alarm = None
        runtime._look()
