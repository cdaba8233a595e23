"""The runtime for asyncio: applies the pure function on one event loop and does what it says.

Theory.  One transition is `step` and one assignment, with no `await` in between: the loop makes it
atomic, so there is no lock.  In exchange the pool belongs to one loop (RUN-11), and whatever takes
time is a task of the pool's own, never the caller's (RUN-12):

* A caller waits for a bare future (its `Cell`) and for nothing else.  Its deadline is a timer that
  sends `Expire` itself: an event like any other, so no race is left to be resolved.
* Connects, checks, resets and closes are tasks that the pool keeps.  A caller that is cancelled
  stops waiting for them, and they go on.  So a cancellation goes on too, always, at once: it costs
  no connection, and none of the clean-up that it would have interrupted.
* A task is started after the assignment, never within it: where tasks are eager it runs before it
  is even known, and applies transitions of its own.
* What is not a task can still come in the middle of a transition: a signal's handler, or a
  finalizer.  Then it is noted (RUN-10), as in the runtime for threads.
* A handle that is lost is noted, and the loop told.  A loop that is closed, with the pool still
  open, took all its connections with it: the pool begins anew with the next one.

What it refuses to know: why anybody gets anything.  It has no `if` on the pool's state.
"""

# mypy: disable-error-code="possibly-undefined"
# (what the shortcut took is there where no cell is)

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import itertools
import random
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import attrs

from pool.core import shortcuts
from pool.core.effects import Close, Effect, Grant, Ignored, Leaked, Open, Refuse
from pool.core.events import (
    Acquire,
    Cancel,
    Dead,
    Discard,
    Event,
    Expire,
    Forked,
    Opened,
    OpenFailed,
    Release,
    Tick,
)
from pool.core.limits import Limits
from pool.core.outlook import JITTER, Outlook, walk
from pool.core.state import Fields, Lease, State, initial
from pool.core.transition import step, wake_at
from pool.shared import forks
from pool.shared.errors import WITHIN, PoolReentered, WrongLoop, error_for, failure_of, unanswered
from pool.shared.forks import keep_for_ever
from pool.shared.handles import Answer, Handle, claims_of
from pool.shared.log import logger
from pool.tasks import exits
from pool.threads.helpers import AT_ONCE
from pool.threads.runtime import Made, Step, _do_nothing, _key, _log_leak, _NoShortcuts, made

NEVER = 1e8
"""Seconds that no timer is set for: three years."""

_DAILY = {Acquire, Release, Cancel, Expire, Discard, Dead, Tick}
"""Events after which nothing is due earlier than before."""

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


class Cell:
    """Where a caller's answer is put, and what it waits for. Known to the runtime while it has no
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


class _Check:
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
class _Reset:
    """A connection that came back and is made as it was."""

    ticket: int
    key: int
    connection: Any
    done: asyncio.Future[bool]
    handle: Handle
    """Kept, for what is collected before its end counts as lost."""


class Runtime:
    """A running pool over an asynchronous driver. Belongs to the event loop that first uses it;
    reading is possible from anywhere.

    Arguments as those of the one for threads. `clock` gives the times of events, in seconds; waits
    are measured by the loop.
    """

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
        self.driver = driver
        self.check_after = check_after
        self.check_timeout = check_timeout
        self.clock = clock
        self.jitter = jitter
        self.step = step
        self.on_leak: Callable[[Leaked], None] = _log_leak
        self.on_lost: Callable[[Close, Any, float], None] = _do_nothing
        self.on_wait: Callable[[int], None] = _do_nothing
        self.on_close: Callable[[Close], None] = _do_nothing
        self.on_fork: Callable[[], None] = _do_nothing
        self.number_of: Callable[[int, Any], int] = _key
        self.label = ""
        self.applying = False
        """A transition is under way: whoever finds this is a signal's handler or a finalizer."""
        self.collected: set[int] = set()
        """Keys of handles that were collected before they were given back."""
        self._begin_anew()
        self._current: tuple[Fields, tuple[Effect, ...]] = (initial(limits), ())
        self._tickets = itertools.count(1)
        self._inbox: deque[Any] = deque()
        self.lost = self._inbox.append
        self._lost: dict[int, tuple[Any, float]] = {}
        self._context = contextvars.copy_context()
        """In which the pool's tasks run: that of no caller."""
        forks.expect(self)
        exits.expect(self)

    def _begin_anew(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.jobs: dict[int, Effect] = {}
        self.closing: dict[int, Any] = {}
        """Connections that are being closed, by key."""
        self._cells: dict[int, Cell] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: dict[int, asyncio.Task[bool]] = {}
        """By key: connections that are being asked, or reset. They are not closed meanwhile."""
        self._onlookers: set[asyncio.Future[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._outlook: Outlook | None = None
        self._connecting: dict[object, float] = {}
        """When each connect under way began."""

    def __reduce__(self) -> Any:
        raise TypeError("a running pool cannot be copied or pickled: it belongs to an event loop")

    @property
    def step(self) -> Step:
        """The pure function, or one that looks on while it is applied: then every event goes
        through it. Otherwise the two ordinary events take their shortcuts at once."""
        return self._step

    @step.setter
    def step(self, function: Step) -> None:
        self._step = function
        self._shortcuts: Any = shortcuts if function is step else _NoShortcuts

    @property
    def state(self) -> State:
        """The state right now: one reference."""
        fields = self._current[0]
        return fields if type(fields) is State else State._make(fields)

    @property
    def fields(self) -> Fields:
        """Those of the state: the same object until the state changes."""
        return self._current[0]

    # ------------------------------------------------------------ the loop

    def bind(self) -> asyncio.AbstractEventLoop:
        """The loop that runs here, to which the pool belongs from now on (RUN-11).

        Raises `WrongLoop` where it belongs to another one already, and where none is running."""
        loop = asyncio._get_running_loop()
        if loop is not self._loop or loop is None:
            loop = self._bind_to(loop)
        return loop

    def bind_if_running(self) -> None:
        """As `bind`, for what may be asked before there is a loop."""
        if self._loop is not None or asyncio._get_running_loop() is not None:
            self.bind()

    def _bind_to(self, loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop:
        if loop is None:
            raise WrongLoop(
                "this pool is for asyncio, and no event loop of asyncio is running in this thread"
            )
        if self._loop is not None:
            if not self._loop.is_closed():
                raise WrongLoop(
                    f"this pool belongs to the event loop {self._loop!r}, which is not closed, so "
                    f"it cannot be used from {loop!r}: make a pool in each loop (and each thread)"
                )
            self.abandon_loop()
        self._loop = loop
        self.apply(Tick(self.clock()))  # what was asked for before is begun
        self._leave()
        self._look()
        return loop

    def is_running(self) -> bool:
        """Whether the loop to which it belongs is running, on whatever thread."""
        return self._loop is not None and self._loop.is_running()

    def abandon_loop(self) -> None:
        """The loop is closed: nothing that belonged to it can be awaited any more. Drop its
        connections without goodbye, and begin anew."""
        connections = [*self._connections(), *self.closing.values()]
        self._begin_anew()
        self._forget_all()
        for connection in {id(each): each for each in connections}.values():
            self.terminate(connection)

    def _connections(self) -> list[Any]:
        closes = (*self._current[1], *self.jobs.values())
        return [
            *forks.connections_of(self.state),
            *(effect.connection for effect in closes if type(effect) is Close),
        ]

    def _forget_all(self) -> None:
        self._inbox.clear()
        self.collected, self._lost = set(), {}
        self.applying = False
        self._current = (self.state, ())
        self._commit(Forked(self.clock()))
        self.on_fork()

    def _after_fork(self) -> None:
        """In a child, which has no loop: the tasks and connections are the parent's (RUN-9)."""
        keep_for_ever(self.state, (*self._current[1], *self.jobs.values()))
        forks.keep(self._tasks, self._cells, self._alarm, self.closing)
        self._begin_anew()
        self._forget_all()

    def terminate(self, connection: Any) -> None:
        """Without goodbye, and whatever the driver says to that."""
        try:
            self.driver.terminate(connection)
        except Exception:
            logger.debug("%sa connection could not be dropped", self.label, exc_info=True)

    # ------------------------------------------------------------ callers

    async def acquire(
        self, timeout: float | None = None, owner: Any = None, handle: Handle | None = None
    ) -> Handle:
        """A handle with a connection. `timeout` in seconds; None waits for ever, 0 not at all.

        Raises a `PoolError`; or `CancelledError`, always, if the caller was cancelled. `handle`
        is one that has ended, to be used again."""
        loop = self.bind()
        if self.applying:  # a coroutine that is driven by a signal's handler
            raise PoolReentered(WITHIN)
        if handle is None:
            handle = Handle(self)  # type: ignore[arg-type]  # it needs only what both have
        handle.ticket, handle.key, handle.ended = 0, 0, False
        now, cell = self.clock(), None
        try:
            self.applying = True
            try:
                if self._current[1]:
                    self._deliver()
                handle.ticket = ticket = next(self._tickets)
                taken = self._shortcuts.acquire(self._current[0], now, ticket, timeout != 0, owner)
                if taken is not None:  # nobody else is concerned
                    fields, key, connection, rested = taken
                    self._current = (fields, ())
                else:
                    event = Acquire(now, ticket, timeout != 0, owner)
                    self._current = self.step(self.state, event)
                    self._cells[ticket] = cell = Cell(ticket, loop.create_future())
                    self._deliver()
            finally:
                self.applying = False
            if self.jobs or self._inbox:
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
        alarm = None
        if timeout and timeout < NEVER:
            alarm = loop.call_later(timeout, self._expire, cell)
        try:
            while True:
                if cell.answer is None:
                    self.on_wait(cell.ticket)
                    await cell.future  # type: ignore[misc]  # not None where no answer is
                answer, cell.answer = cell.answer, None
                if type(answer) is Refuse:
                    handle.ticket = 0  # there is nothing left to be given up
                    raise error_for(answer, self.state, timeout, self.clock())
                assert type(answer) is Grant
                handle.key, handle.held = answer.key, answer.connection
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
                    self._cells.pop(cell.ticket, None)
                    handle.ticket = cell.ticket = next(self._tickets)
                    waits = waits and not cell.is_late
                    self.apply(Acquire(self.clock(), cell.ticket, waits, owner), cell)
                handle.key = 0
        finally:
            if alarm is not None:
                alarm.cancel()

    def _expire(self, cell: Cell) -> None:
        """Its deadline has passed: an event like any other, which another may have forestalled."""
        cell.is_late = True
        if cell.ticket in self._cells:
            self.apply(Expire(self.clock(), cell.ticket))
        else:
            cell.wake()  # it has its grant; if that is being checked, it is not to wait any more

    async def _ask(
        self, loop: asyncio.AbstractEventLoop, handle: Handle, cell: Cell, waits: bool
    ) -> bool | None:
        """Ask the driver, by a task of the pool's. No answer within `check_timeout` is a no. None:
        no answer by the deadline; or, for a caller that does not wait, within `AT_ONCE`."""
        check = _Check(cell, handle.key, handle.held)
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
        if handle.ended or not self._is_ours(handle):
            return self._refuse(handle)
        loop = self.bind()
        ticket, key, connection = handle.ticket, handle.key, handle.held
        if clean or self.driver.is_clean(connection):
            ended = self._release(ticket, key, True)
            handle.ended = True
            return ended
        reset = _Reset(ticket, key, connection, loop.create_future(), handle)
        task = self._start("reset", self.driver.reset(connection), self._was_reset, reset)
        self._busy[key] = task
        handle.ended = True
        return reset.done

    def _release(self, ticket: int, key: int, reusable: bool) -> bool:
        """Whether it was this ticket's."""
        effects: tuple[Effect, ...]
        now = self.clock()
        if self.applying:
            effects = self._note(Release(now, ticket, key, reusable))
        else:
            self.applying = True
            try:
                if self._current[1]:
                    self._deliver()
                outcome = self._shortcuts.release(self._current[0], now, ticket, key, reusable)
                if outcome is None:
                    outcome = self.step(self.state, Release(now, ticket, key, reusable))
                self._current = outcome
                effects = outcome[1]
                if effects:
                    self._deliver()
            finally:
                self.applying = False
            if self.jobs or self._inbox or self._onlookers:
                self._leave()
        return not effects or type(effects[-1]) is not Ignored

    def discard(self, handle: Handle) -> bool:
        """Have the connection closed. Otherwise as `release`; nothing is waited for."""
        if handle.ended or not self._is_ours(handle):
            return self._refuse(handle)
        self.bind()
        effects = self.apply(Discard(self.clock(), handle.ticket, handle.key))
        handle.ended = True
        return type(effects[-1]) is not Ignored

    def _is_ours(self, handle: Handle) -> bool:
        owner: object = handle.runtime
        return owner is self

    def _refuse(self, handle: Handle) -> bool:
        if not self._is_ours(handle):
            number = handle.runtime.number_of(handle.key, handle.held)
            raise ValueError(f"connection {number} belongs to another pool")
        return False

    def give_up(self, handle: Handle) -> None:
        """Its caller was interrupted, or is refused: whatever it has goes back (RUN-7)."""
        self._note_end(handle)
        self._leave()

    def lose(self, handle: Handle) -> None:
        """This handle is gone, with whatever it held. Never blocks, starts nothing, and may be
        called from a finalizer, on any thread, or twice."""
        self._note_end(handle)
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed: the next one begins anew
                loop.call_soon_threadsafe(self._leave)

    def _note_end(self, handle: Handle) -> None:
        if handle.ticket or handle.key:
            self._inbox.append((handle.ticket, handle.key))
        handle.ended = True

    # ------------------------------------------------------------ transitions

    def apply(self, event: Event | Made, cell: Cell | None = None) -> tuple[Effect, ...]:
        """One transition (RUN-1). `cell` is where a ticket waits for its answer from now on. In
        the place of an event may be a function that makes it of the state that it meets."""
        if self.applying:
            return self._note(event)
        self.applying = True
        try:
            if self._current[1]:
                self._deliver()
            self._current = outcome = self.step(self.state, made(event, self.state))
            if cell is not None:
                self._cells[cell.ticket] = cell
            if outcome[1]:
                self._deliver()
        finally:
            self.applying = False
        if self.jobs or self._inbox or self._onlookers:
            self._leave()
        if type(event) not in _DAILY:
            self._look()
        return outcome[1]

    def _note(self, event: Event | Made) -> tuple[Effect, ...]:
        """For when the transition under way is complete. What it would do by now."""
        state = self.state
        effects = step(state, made(event, state))[1]
        self._inbox.append((event,))
        return effects

    def _deliver(self) -> None:
        """Hand out what the last transition decided (RUN-2). Doing it twice does no harm, so one
        who is interrupted does it again."""
        try:
            self._hand_out()
        except BaseException:
            self._hand_out()
            raise

    def _hand_out(self) -> None:
        state, effects = self._current
        for effect in effects:
            if isinstance(effect, (Close, Leaked, Open)):
                self.jobs[id(effect)] = effect
            elif not isinstance(effect, Ignored):
                cell = self._cells.get(effect.ticket)
                if cell is not None:
                    cell.answer = effect
                    cell.wake()
                    self._cells.pop(effect.ticket, None)
        self._current = (state, ())

    def _drain(self) -> None:
        """Apply what the inbox holds; in the middle of a transition, whoever began that will."""
        while self._inbox and not self.applying:
            self.applying = True
            try:
                self._empty_inbox()
            finally:
                self.applying = False

    def _empty_inbox(self) -> None:
        while self._inbox:
            note = self._inbox[0]
            if type(note) is tuple and len(note) == 1:
                with contextlib.suppress(ValueError):  # made of a state that does not allow it
                    self._commit(made(note[0], self.state))
            else:
                for ticket, key in [note] if type(note) is tuple else claims_of(note, self.state):
                    self._cells.pop(ticket, None)
                    now = self.clock()
                    if key:
                        if type(note) is not tuple or key in self.collected:
                            self._note_loss(now, ticket, key)
                        self._commit(Discard(now, ticket, key))
                        self.collected.discard(key)
                    self._commit(Cancel(now, ticket))
            self._inbox.popleft()

    def _note_loss(self, now: float, ticket: int, key: int) -> None:
        """For when its connection is closed: nobody is told of anything within a transition."""
        lease = self.state.in_use.get(key)
        if lease is not None and lease.ticket == ticket:
            self._lost[key] = (lease.owner, now - lease.checked_out)

    def _commit(self, event: Event) -> None:
        if self._current[1]:
            self._deliver()
        self._current = self.step(self.state, event)
        self._deliver()

    # ------------------------------------------------------------ between transitions

    def _leave(self) -> None:
        """What is left to do after a transition: the inbox, Io (RUN-3), who looks on."""
        self._drain()
        if self._loop is not None and not self.applying:
            for effect in list(self.jobs.values()):
                self._begin(effect)
            for onlooker in list(self._onlookers):
                if not onlooker.done():
                    onlooker.set_result(None)

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
            self._onlookers.add(onlooker)
            try:
                await onlooker
            finally:
                self._onlookers.discard(onlooker)
                if alarm:
                    alarm.cancel()
        return True

    def is_at_rest(self, mine: Callable[[Lease], bool] | None = None) -> bool:
        """Whether nothing is lent, being opened, reset, asked, closed, or to be done. With `mine`,
        which says what the task that asks holds: nothing but that."""
        fields, undelivered = self._current
        state = State._make(fields)
        lent = [lease for lease in state.in_use.values() if mine is None or not mine(lease)]
        return not (lent or state.opening or undelivered or self.jobs or self.closing)

    def _start(
        self,
        what: str,
        coroutine: Coroutine[Any, Any, Any],
        ended: Callable[..., None],
        *about: Any,
    ) -> asyncio.Task[Any]:
        """A task of the pool's, kept until it has ended. Then `ended` is called, in whatever way
        that was: a task that is cancelled before its first step runs no `finally`."""
        assert self._loop is not None
        name = f"purepool {what}"
        task = self._context.copy().run(self._loop.create_task, coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, ended, about), context=self._context)
        return task

    def _ended(
        self, ended: Callable[..., None], about: tuple[Any, ...], task: asyncio.Task[Any]
    ) -> None:
        if task not in self._tasks:
            return  # of a loop that was given up
        try:
            ended(task, *about)
        except BaseException:  # a signal's handler: what became of the task must not be lost
            ended(task, *about)
            raise
        finally:
            self._tasks.discard(task)

    def _begin(self, effect: Effect) -> None:
        """Do this job, unless it is begun (RUN-4): the first who takes it out of the list does, for
        an eager task may come here again before it is known."""
        if type(effect) is Leaked:
            assert self._loop is not None
            self._loop.call_soon(self._report, effect, context=self._context)
            self.jobs.pop(id(effect), None)
        elif type(effect) is Close:
            self._begin_close(effect)
        elif self.jobs.pop(id(effect), None) is not None:
            mark = object()
            self._connecting[mark] = self.clock()
            self._start("connect", self.driver.connect(), self._connected, mark)

    def _report(self, leak: Leaked) -> None:
        try:
            self.on_leak(leak)
        except Exception:
            logger.warning("%sreporting a leak failed", self.label, exc_info=True)

    def _connected(self, task: asyncio.Task[Any], mark: object) -> None:
        """Every `Open` has one outcome (RUN-5)."""
        began = self._connecting.pop(mark, self.clock())
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            connection = task.result()
            self.apply(Opened(self.clock(), None, connection, began, self.jitter() * JITTER))
            return
        failure = failure_of(error)
        self.apply(OpenFailed(self.clock(), None, failure, self.jitter() / 2))
        logger.info("%sconnect failed: %s: %s", self.label, *failure)

    def _was_reset(self, task: asyncio.Task[bool], reset: _Reset) -> None:
        reusable = False
        if not task.cancelled() and (error := task.exception()) is not None:
            number = self.number_of(reset.key, reset.connection)
            text = "%sconnection %s cannot be reset"
            logger.debug(text, self.label, number, exc_info=error)
        elif not task.cancelled():
            reusable = task.result()
        self._busy.pop(reset.key, None)
        ended = self._release(reset.ticket, reset.key, reusable)
        if not reset.done.done():
            reset.done.set_result(ended)

    # ------------------------------------------------------------ checks

    def _begin_check(self, loop: asyncio.AbstractEventLoop, check: _Check) -> None:
        if self.check_timeout is not None and self.check_timeout < NEVER:
            check.alarm = loop.call_later(self.check_timeout, self._give_up_on, check)
        coroutine = self.driver.is_alive(check.connection)
        self._busy[check.key] = self._start("check", coroutine, self._was_asked, check)

    def _give_up_on(self, check: _Check) -> None:
        """It took too long: the connection is dead, whatever may come of it."""
        task = self._busy[check.key]
        if not task.done():
            task.cancel()
            self._answer(check, False)

    def _was_asked(self, task: asyncio.Task[bool], check: _Check) -> None:
        self._busy.pop(check.key, None)
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

    def _answer(self, check: _Check, answer: bool) -> None:
        if check.answer is None:
            check.answer = answer
            check.cell.wake()
            if check.claim is not None:
                ticket, key = check.claim
                now = self.clock()
                self.apply(Cancel(now, ticket) if answer else Discard(now, ticket, key))

    def _leave_to(self, check: _Check, handle: Handle) -> None:
        """Its caller is gone: the claim is the check's. A slow database must not cost a good
        connection, and the connects that follow, for each caller in a hurry."""
        check.claim, check.handle = (handle.ticket, handle.key), handle
        handle.ticket = handle.key = 0

    # ------------------------------------------------------------ closes

    def _begin_close(self, effect: Close) -> None:
        self.closing[effect.key] = effect.connection
        if self.jobs.pop(id(effect), None) is None:
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
            if (busy := self._busy.get(effect.key)) is not None:
                await asyncio.wait([busy])
            await self.driver.close(effect.connection)
        finally:
            alarm.cancel()

    def _was_closed(self, task: asyncio.Task[None], effect: Close) -> None:
        if task.cancelled():
            if (busy := self._busy.get(effect.key)) is not None:
                busy.cancel()
            self.terminate(effect.connection)
        elif (error := task.exception()) is not None:
            number = self.number_of(effect.key, effect.connection)
            logger.warning("%sclosing connection %s failed", self.label, number, exc_info=error)
        if lost := self._lost.pop(effect.key, None):
            self.on_lost(effect, *lost)
        self.on_close(effect)
        self.closing.pop(effect.key, None)
        self._leave()

    # ------------------------------------------------------------ time

    def _look(self) -> None:
        """Tick if that is due, and be woken when it is due again (RUN-8)."""
        loop = self._loop
        if loop is None:
            return
        now = self.clock()
        if self._outlook is None or not self._outlook.holds(self.state, now):
            due = wake_at(self.state)
            if due is not None and now >= due:
                self.apply(Tick(now))
            self._outlook = walk(self.state, now, min([now, *self._connecting.values()]))
        pause = self._outlook.pause(self.state, now)
        if pause is None:
            return
        at = loop.time() + min(pause, NEVER)
        if self._alarm is None or at < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = at
            self._alarm = loop.call_at(at, _ring, weakref.ref(self))


def _ring(of: weakref.ref[Runtime]) -> None:
    """A pool that nobody uses any more is collected meanwhile."""
    runtime = of()
    if runtime is not None:
        runtime._alarm = None
        runtime._look()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
