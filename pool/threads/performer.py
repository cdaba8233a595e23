"""A transition, and the Io it asks for: what a runtime for threads does outside the lock.

Theory.  A job (a close, a connect that is nobody's, a report) is on the monitor's list from the
moment its transition is delivered, and whoever takes it off does it (RUN-4).  One that is under way
is listed too, so that a pool that is being closed knows for whom it waits.  With helpers all jobs
are theirs.

Each method keeps the monitor that it began with.  In a child process it may find, when it comes
back from a call, that this is not the runtime's any more; then it touches no connection.  It asks
right before each call of the driver: no signal's handler comes in between.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from pool.core.effects import Close, Effect, Leaked, Open
from pool.core.events import Event, Opened, OpenFailed
from pool.core.limits import Limits
from pool.core.outlook import JITTER
from pool.core.state import Failure, Fields, Lease, initial, leased, state_of
from pool.shared import forks
from pool.shared.errors import failure_of
from pool.shared.handles import Cell
from pool.shared.log import logger
from pool.shared.running import DAILY, Running
from pool.shared.store import Clock, Made
from pool.threads import exits
from pool.threads.helpers import Helpers
from pool.threads.monitor import Monitor, Work
from pool.threads.onlookers import wait


class Performer(Running):
    """A running pool, but for its callers. Thread-safe."""

    __slots__ = ("_monotonic", "helpers", "sync")

    monitor: Monitor

    def __init__(
        self,
        driver: Any,
        limits: Limits,
        check_after: float,
        check_timeout: float | None,
        clock: Clock,
        sync: Any,
        jitter: Callable[[], float],
    ) -> None:
        self.sync = sync
        self._monotonic = sync.monotonic
        monitor = self._make_monitor(initial(limits))
        super().__init__(driver, monitor, check_after, check_timeout, clock, jitter)
        self.helpers = Helpers(self) if limits.opener == "background" else None
        forks.expect(self)
        exits.expect(self)

    def begin(self) -> None:
        """Open what `min_idle` asks for."""
        if self.helpers and self.state.limits.min_idle:
            self.helpers.wake()

    def _make_monitor(self, fields: Fields, tickets: Iterator[int] | None = None) -> Monitor:
        return Monitor(fields, self.sync, tickets)

    # ------------------------------------------------------------ transitions

    def apply(self, event: Event | Made, cell: Cell | None = None) -> tuple[Effect, ...]:
        """One transition (RUN-1), and the Io it asks for. `cell` is where a ticket waits for its
        answer from now on.

        In the place of an event may be a function that makes it of the state that it meets. If
        this thread is in the middle of a transition, it takes effect after that (RUN-10), and the
        effects are those it would have now."""
        effects = self._apply(self.monitor, event, cell)
        if self.helpers and type(event) not in DAILY:
            self.helpers.nudge()
        return effects

    def _apply(
        self, monitor: Monitor, event: Event | Made, cell: Cell | None = None
    ) -> tuple[Effect, ...]:
        try:
            effects = monitor.apply(event, cell)
            if (monitor.jobs or monitor.inbox or monitor.onlookers) and not monitor.is_reentered():
                self._leave(monitor, effects)
        except BaseException:
            self._abort(monitor)
            raise
        return effects

    def _abort(self, monitor: Monitor) -> None:
        """An exception came in the middle (RUN-4)."""
        monitor.abort(self.clock)
        if monitor.jobs and self.helpers:  # others may be waiting for what comes of them
            with contextlib.suppress(RuntimeError):  # the system has no thread for us
                self.helpers.wake()

    def _leave(self, monitor: Monitor, effects: tuple[Effect, ...]) -> None:
        """What is left to do after the lock: the inbox, who looks on, then Io (RUN-3): one's own,
        then orphans."""
        observed = monitor.observed
        if observed is not None:
            observed.calm()
        is_noted = bool(monitor.inbox)
        monitor.drain(self.clock)
        monitor.onlookers.notify()
        if observed is not None:
            observed.tell_batch(monitor)
        if self.helpers:
            if monitor.jobs:
                self.helpers.wake()
            elif is_noted:  # it may be due earlier than all before
                self.helpers.nudge()
            return
        for effect in effects:
            self.perform(effect)
        while monitor.orphans:
            monitor.orphans = False
            for effect in monitor.ready():
                self.perform(effect)

    def see_to_notes(self, monitor: Monitor) -> None:
        """For who had the lock without a transition."""
        try:
            self._leave(monitor, ())
        except BaseException:
            self._abort(monitor)
            raise

    def take_over(self) -> None:
        """Perform every job there is: who began it may be this thread, interrupted by the one who
        asks. With helpers it is theirs; and their watch ends if the pool is closed."""
        self.monitor.orphans = True
        if self.helpers:
            self.helpers.nudge()
        self._leave(self.monitor, ())

    def see_to_jobs(self) -> None:
        """Have those done that there are. For one who waits for that, and asks again and again:
        taking over wakes who waits, so itself; with helpers it tells them, and no more."""
        if self.monitor.jobs:
            if self.helpers:
                self.helpers.wake()
            else:
                self.take_over()

    def is_reentered(self) -> bool:
        """Whether this very thread is in the middle of a transition: it is a signal's handler, or
        a finalizer, that asks."""
        return self.monitor.is_reentered()

    def is_within(self) -> bool:
        """Whether this thread is in the middle of a call that others may wait for."""
        return self.monitor.is_within()

    def is_at_rest(self, mine: Callable[[Lease], bool] | None = None) -> bool:
        """Whether nothing is lent, being opened, to be done, or being closed by other threads.

        With `mine`, which says what this thread holds: whether there is nothing but what waits
        for this very thread. A hook that waited for its own end would never see it."""
        # In the order in which work moves on, so that none is missed between two of these.
        monitor = self.monitor
        fields, undelivered = monitor.current
        state, me = state_of(fields), self.sync.ident()
        held: Any = state.in_use
        connecting = [thread for thread, _ in list(monitor.connecting.values())]
        opening = max(state.opening, len(connecting))  # a pool that is closed expects none any more
        if mine is not None:
            checked = self.helpers.checked_by(me) if self.helpers else ()
            leases = leased(state.in_use).items()
            held = [key for key, lease in leases if not mine(lease) and key not in checked]
            opening -= connecting.count(me)
        return not (
            held
            or opening > 0
            or undelivered
            or monitor.jobs
            or any(closer != me for closer in list(monitor.closing.values()))
        )

    def is_in_its_own_way(self, mine: Callable[[Lease], bool]) -> bool:
        """Whether there is something that waits for this very thread: what it holds, asks or
        connects. Nobody else changes that, so the answer is good for as long as it likes."""
        monitor, me = self.monitor, self.sync.ident()
        checked = self.helpers.checked_by(me) if self.helpers else ()
        leases = leased(self.state.in_use).items()
        return any(key in checked or mine(lease) for key, lease in leases) or any(
            thread == me for thread, _ in list(monitor.connecting.values())
        )

    def wait_until(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Wait for the pool as a whole: until this holds, or the timeout in seconds has passed
        (None: for ever); whether it holds."""
        return wait(lambda: self.monitor.onlookers, self.sync, holds, timeout)

    # ------------------------------------------------------------ Io

    def perform(self, effect: Effect) -> None:
        """Do this job, unless somebody else has it (RUN-4)."""
        monitor = self.monitor
        if type(effect) is Close:
            self._close(monitor, effect)
        elif not monitor.claim(effect):
            return
        elif type(effect) is Leaked:
            try:
                self.on_leak(effect)
            except Exception:
                logger.warning("%sreporting a leak failed", self.label, exc_info=True)
            monitor.onlookers.notify()
        else:
            self._connect(monitor, None)

    def _close(self, monitor: Monitor, effect: Close) -> None:
        work = Work()
        mark = weakref.ref(work, monitor.closed)
        monitor.closing[mark] = self.sync.ident()  # first: it is always on one of the two lists
        try:
            if not monitor.claim(effect):
                return
            number = self.number_of(effect.key, effect.connection)
            logger.debug("%sclosing connection %s: %s", self.label, number, effect.reason)
            if monitor.losses and (lost := monitor.losses.pop(effect.key, None)):
                self.on_lost(effect, *lost)
            try:
                if monitor is self.monitor:
                    self.driver.close(effect.connection)
                else:
                    forks.keep(effect.connection)
            except Exception:
                text = "%sclosing connection %s failed"
                logger.warning(text, self.label, number, exc_info=True)
            finally:
                if monitor is self.monitor:
                    self.on_close(effect)
        finally:
            monitor.closed(mark)

    def _connect(self, monitor: Monitor, ticket: int | None, cell: Cell | None = None) -> None:
        """Connect for this ticket, or for nobody, and report the outcome (RUN-5)."""
        work = Work()
        mark = weakref.ref(work, monitor.connected)
        me = self.sync.ident()
        monitor.connecting[mark] = me, self.clock()
        outermost = me not in monitor.callers
        began = self.clock()
        try:
            if outermost:
                monitor.callers.add(me)
            if cell is not None and type(cell.answer) is not Open:
                return  # refused before this could be seen: who closes the pool waits for nothing
            connection = self.driver.connect() if monitor is self.monitor else None
        except BaseException as error:
            failure = Failure("Exception", "")  # if it cannot even be made text
            if ticket is None or isinstance(error, Exception):  # else it is a Cancel
                try:
                    failure = failure_of(error)
                finally:
                    jitter = self.jitter() / 2
                    self._apply(monitor, OpenFailed(self.clock(), ticket, failure, jitter))
            if ticket is not None:
                raise
            # The driver may keep the error, but not these frames; and it may forbid to set this.
            BaseException.with_traceback(error, None)
            logger.info("%sconnect failed: %s: %s", self.label, *failure)
        else:
            jitter = self.jitter() * JITTER
            self._apply(monitor, Opened(self.clock(), ticket, connection, began, jitter))
            if monitor is not self.monitor:  # no state has it that is looked at here
                forks.keep(connection)  # it is, or half of it may be, on the parent's wire
        finally:
            if outermost:
                monitor.callers.discard(me)
            monitor.connected(mark)

    # ------------------------------------------------------------ a child process

    def _after_fork(self) -> None:
        """Another monitor: nothing of the parent's is left to do (RUN-9)."""
        self._keep_what_is_the_parents()
        self._begin_anew()
        if self.helpers:
            self.helpers.abandon()
            self.helpers = Helpers(self)
        self.on_fork()
