"""The runtime: applies the pure function under one lock and does what it says.

Theory.  Everything that decides is in `step`; here is only what a pure function cannot
do: hold the state, park and wake threads, talk to the driver, notice that somebody is
gone.  The pair (state, effects not yet delivered) is one reference, assigned once per
transition.  So an exception that arrives anywhere, an asynchronous one too, finds the
old state or the new one, and never loses an effect with it.

* Under the lock: `step`, that assignment, and handing answers to parked callers.  No I/O,
  no hook, no callback.
* A signal's handler, or a finalizer, may call the pool while its thread is inside the lock
  (RUN-10).  It never waits for itself: what needs no answer is noted in the inbox, an `acquire` is
  refused.  So the lock is re-entrant, only to know whose it is, and `applying` says that its owner
  is in the middle of a transition, which nobody may enter.
* A caller parks on a lock of its own (its `Cell`).  After a wait that timed out it
  sends `Expire` and obeys what its cell then holds: the state decides, never the result of
  the wait.
* A caller holds a `Handle`.  When a handle is lost, for whatever reason, its finalizer puts a
  note into the inbox and tries the lock; whoever leaves the lock looks at the inbox again.
  A finalizer does no I/O and never blocks.
* Io that nobody performed (its owner was interrupted, or is a finalizer) is taken over by
  whoever leaves the lock next.

What it refuses to know: why anybody gets anything.  It has no `if` on the pool's state.
What a runtime owes the function is `RUN` in `spec/README.md`; each is named where it is met.
"""

# mypy: disable-error-code="possibly-undefined"
# (a loop over the turnstile, which stands for `with`, always runs once)

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

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
)
from pool.core.limits import Limits
from pool.core.outlook import JITTER
from pool.core.state import Failure, Fields, Lease, State, initial
from pool.core.transition import step
from pool.shared import forks
from pool.shared.errors import WITHIN, PoolReentered, error_for, failure_of, unanswered
from pool.shared.forks import keep_for_ever
from pool.shared.handles import Cell, Handle, claims_of
from pool.shared.log import logger
from pool.threads import exits
from pool.threads.driver import Driver, Sync
from pool.threads.helpers import Helpers
from pool.threads.onlookers import Onlookers

Step = Callable[[State, Event], tuple[State, tuple[Effect, ...]]]

Made = Callable[[State], Event]
"""Makes an event of the state that it is going to meet."""

UnderWay = dict["weakref.ref[_Work]", Any]
"""Calls of the driver, and the threads on which they are; of connects also a time before which none
of them began. One whose end is interrupted counts until its frame is gone."""


class Runtime:
    """A running pool over a driver. Thread-safe.

    `check_after`: a connection that rested for so many seconds (0: any that rested) is asked
    whether it is alive before it is lent; where helpers ask, no answer within `check_timeout`
    seconds means no. `clock` gives the times of events, in seconds; waits are always measured
    on a monotonic clock. `jitter` gives numbers from 0 up to 1.

    With `opener="caller"` no thread is ever started. With `"background"` helpers connect,
    close, tick, and ask connections whether they are alive (`pool/threads/helpers.py`).
    """

    # CPython keeps up to 30 attributes of an object where they are reached at once, and slots.
    __slots__ = (
        "__weakref__",
        "_cells",
        "_current",
        "_inbox",
        "_lost",
        "_monotonic",
        "_orphans",
        "_shortcuts",
        "_step",
        "_tickets",
        "applying",
        "callers",
        "check_after",
        "check_timeout",
        "clock",
        "closing",
        "collected",
        "connecting",
        "driver",
        "helpers",
        "jitter",
        "jobs",
        "label",
        "lock",
        "lost",
        "number_of",
        "on_close",
        "on_fork",
        "on_leak",
        "on_lost",
        "on_wait",
        "onlookers",
        "sync",
        "turnstile",
    )

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
    ) -> None:
        self.driver = driver
        self.check_after = check_after
        self.check_timeout = check_timeout
        self.clock = clock
        self.sync = sync
        self._monotonic = sync.monotonic
        self.jitter = jitter
        self.step = step
        self.on_leak: Callable[[Leaked], None] = _log_leak
        self.on_lost: Callable[[Close, Any, float], None] = _do_nothing
        """Told of a lease that was collected before it was given back, its owner, and for how many
        seconds it was held."""
        self.on_wait: Callable[[int], None] = _do_nothing
        """Told, on the caller's thread, the ticket of one that is going to wait."""
        self.on_close: Callable[[Close], None] = _do_nothing
        self.number_of: Callable[[int, Any], int] = _key
        """What people call the connection with this key, in messages."""
        self.label = ""
        """What messages begin with."""
        self.on_fork: Callable[[], None] = _do_nothing
        self.jobs: dict[int, Effect] = {}
        self.closing: UnderWay = {}
        self.connecting: UnderWay = {}
        self.callers: set[Any] = set()
        """Threads that wait in an acquire, or connect. An acquire on top of that, by a signal's
        handler or a hook, does not wait: it could be for what this one gets (RUN-10)."""
        self._tickets = itertools.count(1)
        self.set_lock(sync.rlock())
        self._current: tuple[Fields, tuple[Effect, ...]] = (initial(limits), ())
        self._cells: dict[int, Cell] = {}
        self._inbox: deque[Any] = deque()
        """Of lost handles the ticket and key; owners, of which all is lost; events, each in a tuple
        of its own, of whoever may not wait for the lock."""
        self.lost = self._inbox.append
        """To be the callback of a weak reference to a handle that is its owner. It is called where
        the handle's finalizer is struck on its first step, and has no step of its own."""
        self.collected: set[int] = set()
        """Keys of handles that were collected before they were given back."""
        self._lost: dict[int, tuple[Any, float]] = {}
        """By key: leases that were collected, until their connections are closed."""
        self._orphans = False
        self.onlookers = Onlookers()
        self.helpers = Helpers(self) if limits.opener == "background" else None
        forks.expect(self)
        exits.expect(self)
        if self.helpers and limits.min_idle:
            self.helpers.wake()

    def set_lock(self, lock: Any) -> None:
        """Put this lock, a re-entrant one, in the place of the one before.

        `for _ in turnstile` takes it, in one bytecode: an asynchronous exception finds it not
        yet taken, or taken and inside the `try` that gives it back. `with` would do that too,
        in twice the time."""
        self.lock = lock
        self.turnstile = iter(lock.acquire, None)
        self.applying = False
        """Whoever holds the lock is in the middle of a transition. A call of its own thread that
        comes before this is set, or after, finds nothing half done, and may pass."""

    def is_reentered(self) -> bool:
        """Whether this very thread is in the middle of a transition: it is a signal's handler, or
        a finalizer, that asks."""
        return bool(self.applying and self.lock._is_owned())

    def __reduce__(self) -> Any:
        raise TypeError("a running pool cannot be copied or pickled: it has a lock; share it")

    @property
    def step(self) -> Step:
        """The pure function, or one that looks on while it is applied: then every event goes
        through it. Otherwise the two ordinary events take their shortcuts at once."""
        return self._step

    @step.setter
    def step(self, function: Step) -> None:
        self._shortcuts: Any = _NoShortcuts
        self._step = function
        if function is step:
            self._shortcuts = shortcuts

    @property
    def state(self) -> State:
        """The state right now. Reading it needs no lock: it is one reference."""
        fields = self._current[0]
        return fields if type(fields) is State else State._make(fields)

    @property
    def fields(self) -> Fields:
        """Those of the state: the same object until the state changes."""
        return self._current[0]

    def is_within(self) -> bool:
        """Whether this thread is in the middle of a call that others may wait for."""
        return self.is_reentered() or self.sync.ident() in self.callers

    def is_at_rest(self, mine: Callable[[Lease], bool] | None = None) -> bool:
        """Whether nothing is lent, being opened, to be done, or being closed by other threads.

        With `mine`, which says what this thread holds: whether there is nothing but what waits
        for this very thread. A hook that waited for its own end would never see it."""
        # In the order in which work moves on, so that none is missed between two of these.
        fields, undelivered = self._current
        state, me = State._make(fields), self.sync.ident()
        lent: Any = state.in_use
        opening = state.opening
        if mine is not None:
            checked = self.helpers.checked_by(me) if self.helpers else ()
            leases = state.in_use.items()
            lent = [key for key, lease in leases if not mine(lease) and key not in checked]
            opening -= [thread for thread, _ in list(self.connecting.values())].count(me)
        return not (
            lent
            or opening > 0
            or undelivered
            or self.jobs
            or any(closer != me for closer in list(self.closing.values()))
        )

    def take_over(self) -> None:
        """Perform every job there is: who began it may be this thread, interrupted by the one who
        asks. With helpers it is theirs."""
        self._orphans = True
        self._leave(())

    # ------------------------------------------------------------ callers

    def acquire(
        self, timeout: float | None = None, owner: Any = None, handle: Handle | None = None
    ) -> Handle:
        """A handle with a connection. `timeout` in seconds; None waits for ever, 0 not at all.

        Raises a `PoolError`; or, if it was this caller's turn to connect, the driver's own
        error. With `opener="caller"` the timeout bounds the queue, not the driver. `handle`
        is one that has ended, to be used again by an adapter that shows it to nobody.
        """
        if self.applying and self.lock._is_owned():
            raise PoolReentered(WITHIN)
        if handle is None:
            handle = Handle(self)
        handle.ticket, handle.key, handle.ended = 0, 0, False
        effects: tuple[Effect, ...] = ()
        me = None
        waits = timeout != 0 and not (self.callers and self.is_within())
        now = self.clock()
        try:
            for _ in self.turnstile:
                try:
                    self.applying = True
                    # Whoever is going to wait has no name for the state: it would keep alive what
                    # others held at that time, and their end would look like a loss.
                    if self._current[1]:
                        self._deliver()
                    # Drawn under the lock, so that tickets grow from event to event.
                    handle.ticket = ticket = next(self._tickets)
                    taken = self._shortcuts.acquire(self._current[0], now, ticket, waits, owner)
                    if taken is not None:  # nobody else is concerned
                        fields, key, connection, rested = taken
                        self._current = (fields, ())
                    else:
                        me = self.sync.ident()
                        if me in self.callers:
                            me = None
                        else:
                            self.callers.add(me)
                        self._current = self.step(self.state, Acquire(now, ticket, waits, owner))
                        effects = self._current[1]
                        cell = self._await(Cell(ticket))
                        self._deliver()
                finally:
                    self.applying = False
                    self.lock.release()
                break
            if self.jobs or self._inbox:
                self._leave(effects)
            if taken is not None and rested < self.check_after:
                handle.key, handle.held = key, connection
                return handle
            deadline = self._monotonic() + timeout if timeout else None
            if taken is None:
                _, key, connection, rested = self._follow(handle, cell, deadline, timeout)
            while True:
                handle.key, handle.held = key, connection
                if rested is None or rested < self.check_after:
                    return handle
                alive: bool | None = False
                try:
                    if self.helpers is not None:
                        alive = self.helpers.is_alive(handle, deadline, waits)
                        if alive:
                            return handle
                    elif self.driver.is_alive(connection):
                        return handle
                except Exception:
                    number = self.number_of(handle.key, connection)
                    logger.debug("%sconnection %s is dead", self.label, number, exc_info=True)
                if alive is None:
                    raise unanswered(self.state, self.clock())
                cell = Cell(ticket)
                taken = fields = connection = None  # as above
                handle.held = None
                effects = self.apply(Dead(self.clock(), ticket, handle.key, waits), cell)
                ignored, effects = type(effects[-1]) is Ignored, ()
                if ignored:  # somebody closed it while we looked
                    self.lose(handle)  # nobody waits at that cell
                    left = deadline - self._monotonic() if deadline else timeout
                    if me is not None:
                        self.callers.discard(me)
                    return self.acquire(left, owner, handle)
                handle.key = 0
                _, key, connection, rested = self._follow(handle, cell, deadline, timeout)
        except BaseException:
            try:
                self._abort()
            finally:
                self.lose(handle)
            raise
        finally:
            if me is not None:
                self.callers.discard(me)

    def _follow(
        self, handle: Handle, cell: Cell, deadline: float | None, timeout: float | None
    ) -> Grant:
        """Do what the cell says until it says that there is a connection, or that there is none
        (RUN-6)."""
        if cell.answer is None:
            self.on_wait(cell.ticket)
        while True:
            answer = cell.answer
            if type(answer) is Grant:
                return answer
            if type(answer) is Open:
                self._connect(cell.ticket)
            elif type(answer) is Refuse:
                handle.ticket = 0  # there is nothing left to be given up
                if answer.reason == "exhausted" and timeout != 0:
                    raise PoolReentered(f"no connection to be had at once: {WITHIN}")
                raise error_for(answer, self.state, timeout, self.clock())
            elif deadline is None:
                cell.parker.acquire()
            elif (left := deadline - self._monotonic()) > 0:
                cell.parker.acquire(True, min(left, threading.TIMEOUT_MAX))
            else:
                self.apply(Expire(self.clock(), cell.ticket))

    def release(self, handle: Handle, clean: bool = False) -> bool:
        """Give the connection back, reset unless it is clean. False if it was not this handle's
        any more; a handle of another pool is a `ValueError`."""
        if handle.ended or handle.runtime is not self:
            return self._refuse(handle)
        try:
            try:
                reusable = clean or self.driver.reset(handle.held)
            except Exception:
                number = self.number_of(handle.key, handle.held)
                text = "%sconnection %s cannot be reset"
                logger.debug(text, self.label, number, exc_info=True)
                reusable = False
            # As `apply`, written out, for this is one half of every turn.
            now, ticket, key = self.clock(), handle.ticket, handle.key
            if self.applying and self.lock._is_owned():
                effects = self._note(Release(now, ticket, key, reusable))
                handle.ended = True
                return type(effects[-1]) is not Ignored if effects else True
            for _ in self.turnstile:
                try:
                    self.applying = True
                    fields, left_undelivered = self._current
                    if left_undelivered:
                        self._deliver()
                    outcome = self._shortcuts.release(fields, now, ticket, key, reusable)
                    if outcome is None:
                        outcome = self.step(self.state, Release(now, ticket, key, reusable))
                    self._current = outcome
                    effects = outcome[1]
                    if effects:
                        self._deliver()
                finally:
                    self.applying = False
                    self.lock.release()
                break
            if self.jobs or self._inbox or self.onlookers:
                self._leave(effects)
        except BaseException:
            try:
                self._abort()
            finally:
                self.lose(handle)
            raise
        handle.ended = True
        return not effects or type(effects[-1]) is not Ignored

    def discard(self, handle: Handle) -> bool:
        """Have the connection closed. Otherwise as `release`."""
        if handle.ended or handle.runtime is not self:
            return self._refuse(handle)
        effects = self.apply(Discard(self.clock(), handle.ticket, handle.key))
        handle.ended = True
        return type(effects[-1]) is not Ignored

    def _refuse(self, handle: Handle) -> bool:
        if handle.runtime is not self:
            number = handle.runtime.number_of(handle.key, handle.held)
            raise ValueError(f"connection {number} belongs to another pool")
        return False

    def lose(self, handle: Handle) -> None:
        """This handle is gone, with whatever it held (RUN-7). Never blocks, performs no Io, and
        may be called from a finalizer, or twice."""
        if handle.ticket or handle.key:  # a lease that an adapter put in has no ticket
            self._inbox.append((handle.ticket, handle.key))
        handle.ended = True
        try:
            self._drain()
        except BaseException:  # others may have left their notes to us
            self._drain()
            raise
        if self.helpers and self.jobs:
            self.helpers.nudge()

    # ------------------------------------------------------------ transitions

    def apply(self, event: Event | Made, cell: Cell | None = None) -> tuple[Effect, ...]:
        """One transition (RUN-1), and the Io it asks for. `cell` is where a ticket waits for its
        answer from now on.

        In the place of an event may be a function that makes it of the state that it meets. If
        this thread is in the middle of a transition, it takes effect after that (RUN-10), and the
        effects are those it would have now."""
        try:
            if self.applying and self.lock._is_owned():
                return self._note(event)
            for _ in self.turnstile:
                try:
                    self.applying = True
                    if self._current[1]:
                        self._deliver()
                    self._current = outcome = self.step(self.state, made(event, self.state))
                    if cell is not None:
                        self._await(cell)
                    if outcome[1]:
                        self._deliver()
                finally:
                    self.applying = False
                    self.lock.release()
                break
            if self.jobs or self._inbox or self.onlookers:
                self._leave(outcome[1])
        except BaseException:
            self._abort()
            raise
        return outcome[1]

    def _note(self, event: Event | Made) -> tuple[Effect, ...]:
        """For whoever leaves the lock; it is this thread. What it would do by now."""
        state = self.state
        effects = step(state, made(event, state))[1]
        self._inbox.append((event,))
        return effects

    def _abort(self) -> None:
        """An exception came in the middle: see that what was decided is delivered, that the
        inbox is looked at, and that the Io of this thread is done by somebody (RUN-4)."""
        self._orphans = True
        if self._current[1] and not self.is_reentered():
            for _ in self.turnstile:
                try:
                    self.applying = True
                    self._deliver()
                finally:
                    self.applying = False
                    self.lock.release()
                break
        self._drain()
        if self.jobs and self.helpers:  # others may be waiting for what comes of them
            with contextlib.suppress(RuntimeError):  # the system has no thread for us
                self.helpers.wake()

    def _await(self, cell: Cell) -> Cell:
        """Let the cell be found. It may already be answered when the lock is left."""
        cell.parker = self.sync.lock()
        cell.parker.acquire()
        self._cells[cell.ticket] = cell
        return cell

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
            if isinstance(effect, (Close, Leaked)) or (
                type(effect) is Open and effect.ticket is None
            ):
                self.jobs[id(effect)] = effect
            elif not isinstance(effect, Ignored):
                cell = self._cells.get(effect.ticket)  # type: ignore[arg-type]  # not None
                if cell is not None:
                    cell.answer = effect
                    with contextlib.suppress(RuntimeError):  # released before, by one interrupted
                        cell.parker.release()
                    if type(effect) is not Open:  # who connects still waits for an answer
                        self._cells.pop(effect.ticket, None)  # type: ignore[arg-type]
        self._current = (state, ())

    def _drain(self) -> None:
        """Apply what the inbox holds, if the lock is free; else who has it will."""
        while self._inbox and not self.is_reentered():
            for _ in iter(functools.partial(self.lock.acquire, False), False):
                try:
                    self.applying = True
                    self._empty_inbox()
                finally:
                    self.applying = False
                    self.lock.release()
                self.onlookers.notify()
                break
            else:
                return

    def _empty_inbox(self) -> None:
        """A frame of its own: from CPython 3.12 on, the jump back of a loop inside `try` is
        not covered by that `try`, and an asynchronous exception there would keep the lock."""
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
            self._orphans = True  # first: whoever is interrupted after it is off the list
            self._inbox.popleft()

    def _note_loss(self, now: float, ticket: int, key: int) -> None:
        """For when its connection is closed: nobody is told of anything under the lock."""
        lease = self.state.in_use.get(key)
        if lease is not None and lease.ticket == ticket:
            self._lost[key] = (lease.owner, now - lease.checked_out)

    def _commit(self, event: Event) -> None:
        if self._current[1]:
            self._deliver()
        self._current = self.step(self.state, event)
        self._deliver()

    # ------------------------------------------------------------ outside the lock

    def _leave(self, effects: tuple[Effect, ...]) -> None:
        """What is left to do after the lock: the inbox, who looks on, then Io (RUN-3): one's own,
        then orphans."""
        self._drain()
        self.onlookers.notify()
        if self.helpers:
            self.helpers.wake()
            return
        for effect in effects:
            self.perform(effect)
        while self._orphans:
            self._orphans = False
            for effect in list(self.jobs.values()):
                self.perform(effect)

    def perform(self, effect: Effect) -> None:
        """Do this job, unless somebody else has it (RUN-4)."""
        if type(effect) is Close:
            self._close(effect)
        elif self.jobs.pop(id(effect), None) is None:
            return
        elif type(effect) is Leaked:
            try:
                self.on_leak(effect)
            except Exception:
                logger.warning("%sreporting a leak failed", self.label, exc_info=True)
            self.onlookers.notify()
        else:
            self._connect(None)

    def _close(self, effect: Close) -> None:
        work = _Work()
        mark = weakref.ref(work, self._closed)
        self.closing[mark] = self.sync.ident()  # first: it is always on one of the two lists
        try:
            if self.jobs.pop(id(effect), None) is None:
                return
            number = self.number_of(effect.key, effect.connection)
            logger.debug("%sclosing connection %s: %s", self.label, number, effect.reason)
            if self._lost and (lost := self._lost.pop(effect.key, None)):
                self.on_lost(effect, *lost)
            try:
                self.driver.close(effect.connection)
            except Exception:
                text = "%sclosing connection %s failed"
                logger.warning(text, self.label, number, exc_info=True)
            finally:
                self.on_close(effect)
        finally:
            self._closed(mark)

    def _closed(self, mark: weakref.ref[_Work]) -> None:
        with contextlib.suppress(TypeError):  # as below
            self.closing.pop(mark, None)
        self.onlookers.notify()

    def _connect(self, ticket: int | None) -> None:
        """Connect for this ticket, or for nobody, and report the outcome (RUN-5)."""
        work = _Work()
        mark = weakref.ref(work, self._connected)
        me = self.sync.ident()
        self.connecting[mark] = me, self.clock()
        outermost = me not in self.callers
        began = self.clock()
        try:
            if outermost:
                self.callers.add(me)
            connection = self.driver.connect()
        except BaseException as error:
            if ticket is None or isinstance(error, Exception):  # else it is a Cancel
                failure = Failure("Exception", "")  # if it cannot even be made text
                try:
                    failure = failure_of(error)
                finally:
                    self.apply(OpenFailed(self.clock(), ticket, failure, self.jitter() / 2))
            if ticket is not None:
                raise
            # The driver may keep the error, but not these frames; and it may forbid to set this.
            BaseException.with_traceback(error, None)
            logger.info("%sconnect failed: %s: %s", self.label, *failure)
        else:
            jitter = self.jitter() * JITTER
            self.apply(Opened(self.clock(), ticket, connection, began, jitter))
        finally:
            if outermost:
                self.callers.discard(me)
            self._connected(mark)

    def _connected(self, mark: weakref.ref[_Work]) -> None:
        with contextlib.suppress(TypeError):  # interrupted before it was noted: it has no hash
            self.connecting.pop(mark, None)

    def _after_fork(self) -> None:
        """In a child: a fresh lock, nothing of the parent's left to do, and its connections
        kept from being collected, which would close them on the wire."""
        self.set_lock(self.sync.rlock())
        keep_for_ever(self.state, (*self._current[1], *self.jobs.values()))
        self._inbox.clear()
        self.collected, self._lost = set(), {}
        self.jobs = {}
        self.closing = {}
        self.connecting = {}
        self.callers = set()
        self._orphans = False
        self.onlookers = Onlookers()
        self._current = (self.state, ())
        self._commit(Forked(self.clock()))
        if self.helpers:
            self.helpers = Helpers(self)
        self.on_fork()


class _Work:
    """A call of the driver under way: as long as its frame has this."""


def made(event: Event | Made, state: State) -> Event:
    """The event, or the one that is made for this state."""
    return event if isinstance(event, tuple) else event(state)


class _NoShortcuts:
    """In the place of `pool.core.shortcuts` where `step` is to see every event."""

    @staticmethod
    def acquire(*_: Any) -> None:
        pass

    release = acquire


def _do_nothing(*_: Any) -> None:
    pass


def _key(key: int, _: Any) -> int:
    return key


def _log_leak(leak: Leaked) -> None:
    logger.warning("connection %s has been held for %.1f s by %s", leak.key, leak.held, leak.owner)
