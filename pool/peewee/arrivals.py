"""Waiting for a connection, outside of the hook that makes one.

Theory.  `_connect` is a hook: programs put a lock around it, a limit of their own before it, a
fallback behind it.  So it must never wait for the pool.  As in playhouse it takes what is to be
had, or raises `MaxConnectionsExceeded`; and `connect()` queues and parks between two calls of it.

A caller that may wait has a `Place` in the queue before the hook is called.  `_connect` finds it by
the thread: what it was answered is taken (an idle connection that is asked whether it is alive, or
the room to connect); nothing yet means that all are in use.  So where nobody has replaced the hook
it is not even asked before there is an answer.  Who comes back without having taken
it gives it to the next.  If `_connect` raises without having come to ours, or behind it, the
program has a limit of its own: then it is tried again when something has changed, or after a
second, as playhouse does; without a place, for others could need it.

An `Arrival` belongs to the frame of `connect()`; all others know it by weak references.  Whatever
happens to that frame, what it was lent comes back.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from playhouse.pool import MaxConnectionsExceeded

from pool.core.effects import Effect, Grant, Ignored, Open, Refuse
from pool.core.events import Dead, Expire
from pool.peewee.leases import ARRIVING, Leases
from pool.shared.errors import WITHIN, PoolReentered, PoolTimeout, error_for
from pool.shared.handles import Cell, Handle
from pool.shared.holders import introduce

if TYPE_CHECKING:
    from pool.threads.runtime import Runtime

logger = logging.getLogger("peewee.pool")

LOOK_AFTER = 0.01
LOOK_EVERY = 1.0
"""Seconds after which a caller that a subclass refuses tries again: first, and at last."""

EXCEEDED = "Exceeded maximum connections"
TIMED_OUT = "Max connections exceeded, timed out attempting to connect"


class Place:
    """A place in the queue, or what it was answered."""

    __slots__ = ("cell", "handle")

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.cell = Cell(0)


class Arrival:
    """A `connect()` under way that `_connect` has to know of."""

    __slots__ = ("__weakref__", "got", "leases", "place", "reached")

    def __init__(self, leases: Leases) -> None:
        self.leases = leases
        self.place: Place | None = None
        self.reached = False
        """Whether a subclass has come to our `_connect`."""
        self.got = False
        """Whether that gave it a connection."""


class Waiting(Protocol):
    """What a wait needs of the database's pool."""

    database: Any
    runtime: Runtime
    tracks: bool

    def patience(self) -> float | None: ...
    def lend(self, leases: Leases, arrival: Arrival | None = None) -> Any: ...
    def owner(self, handle: Handle) -> Any: ...
    def look(self) -> None: ...


class Arrivals:
    """The `connect()`s under way, by thread, and how they wait. Thread-safe."""

    def __init__(self, adapter: Waiting) -> None:
        self._adapter = adapter
        self._runtime = adapter.runtime
        self.by_thread: dict[int, weakref.ref[Arrival]] = {}

    def here(self) -> Arrival | None:
        """That of this thread."""
        arrival = self.by_thread.get(get_ident())
        return arrival() if arrival is not None else None

    def connect(self, leases: Leases, is_ours: bool = False) -> Any:
        """A connection by `_connect`, waiting for it as long as the settings say. `is_ours`: nobody
        has replaced that, so what it does may be done without it.

        Raises `MaxConnectionsExceeded`, or what `_connect` raises."""
        me, arrival = get_ident(), Arrival(leases)
        runtime, database = self._runtime, self._adapter.database
        monitor, outer = runtime.monitor, self.by_thread.get(me)
        # As `is_within`, written out.
        within = me in monitor.callers or (monitor.applying and monitor.lock._is_owned())
        self.by_thread[me] = weakref.ref(arrival)
        try:
            if leases.arriving is not ARRIVING:
                leases.give_up_arrival()
                leases.arriving = ARRIVING
            patience = self._adapter.patience()
            if patience == 0:
                return database._connect()
            if within:
                try:
                    return database._connect()
                except MaxConnectionsExceeded as error:
                    again = MaxConnectionsExceeded(f"{EXCEEDED}: {WITHIN}")
                    raise _for_a_reason(again, "reentered") from error
            runtime.monitor.callers.add(me)
            # Not returned at once: a debugger's step behind that is not in the `try` any more.
            connection = self._connect_in_turn(arrival, patience, is_ours)
            return connection
        finally:
            if not within:
                runtime.monitor.callers.discard(me)
            if outer is None:
                self.by_thread.pop(me, None)
            else:
                self.by_thread[me] = outer

    def _connect_in_turn(self, arrival: Arrival, patience: float | None, is_ours: bool) -> Any:
        deadline = None if patience is None else time.monotonic() + patience
        adapter, leases, pause = self._adapter, arrival.leases, LOOK_AFTER
        try:
            self._queue(arrival)
            while True:
                place, arrival.reached = arrival.place, False
                answered = place is None or place.cell.answer is not None
                if answered or not is_ours:
                    leases.arriving = ARRIVING
                    try:
                        if is_ours:
                            return adapter.lend(leases, arrival)
                        return adapter.database._connect()
                    except MaxConnectionsExceeded:
                        leases.give_up_arrival()  # of a hook that has refused behind ours
                if place is not None and not answered:
                    if not self._park(place, patience, deadline):
                        self._leave(arrival)  # `dispose()` was called: it begins again
                        self._queue(arrival)
                elif arrival.reached and not arrival.got:
                    self._queue(arrival)
                else:
                    self._leave(arrival)
                    self._look(pause, deadline)
                    pause = min(pause * 2, LOOK_EVERY)
        finally:
            self._leave(arrival)

    def _leave(self, arrival: Arrival) -> None:
        """A place that was not taken is for the next."""
        place, arrival.place = arrival.place, None
        if place is not None:
            self._runtime.lose(place.handle)

    def _queue(self, arrival: Arrival) -> Place:
        """A place in the queue, and perhaps its answer."""
        runtime, adapter, leases = self._runtime, self._adapter, arrival.leases
        handle = leases.first if leases.first.ended else Handle(runtime)
        thread = leases.thread or introduce()
        owner: Any = thread.taker
        if adapter.tracks or owner.name is not thread.known._name:
            owner = adapter.owner(handle)
        place = Place(handle)
        arrival.place = place  # first: what it is answered must find its way back
        try:
            runtime.queue(handle, place.cell, owner)
        except BaseException:
            arrival.place = None
            runtime.lose(handle)
            raise
        return place

    def _park(self, place: Place, patience: float | None, deadline: float | None) -> bool:
        """Until there is something to take. False if this has to begin anew. Raises
        `MaxConnectionsExceeded` at the deadline."""
        runtime, adapter, cell = self._runtime, self._adapter, place.cell
        driver: Any = runtime.driver
        driver.count_wait()
        place.handle.met = cell.ticket, True, False
        while cell.answer is None:
            left = -1.0 if deadline is None else deadline - time.monotonic()
            if deadline is not None and left <= 0:
                runtime.apply(Expire(runtime.clock(), cell.ticket))
                continue
            if adapter.tracks:  # somebody has to look at those that are held for long
                left = min(LOOK_EVERY, left) if left > 0 else LOOK_EVERY
            cell.parker.acquire(True, min(left, threading.TIMEOUT_MAX))
            if adapter.tracks:
                adapter.look()
        answer = cell.answer
        if type(answer) is not Refuse:
            return True
        place.handle.ticket = 0  # there is nothing left to be given up
        if answer.reason == "forked":
            return False
        error = error_for(answer, runtime.state, patience, runtime.clock())
        raise _for_a_reason(MaxConnectionsExceeded(f"{TIMED_OUT}: {error}"), error.reason)

    def _look(self, pause: float, deadline: float | None) -> None:
        """For one whom a subclass refuses: until something has changed, or for a while."""
        runtime = self._runtime
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _for_a_reason(MaxConnectionsExceeded(f"{TIMED_OUT}."), "timeout")
            pause = min(pause, left)
        looks = iter((False,))
        runtime.wait_until(lambda: next(looks, True), pause)

    # ------------------------------------------------------------ within `_connect`

    def take(self, arrival: Arrival) -> Handle | None:
        """What the place of this arrival was answered, as a connection that works. None if there is
        no place, or it was lost.

        Raises `MaxConnectionsExceeded` if there is no answer yet, a `PoolError`, or what the
        driver's connect raises."""
        arrival.reached, arrival.got = True, False
        runtime, place = self._runtime, None
        try:
            # In one step: a signal's handler that comes to `_connect` must not take it as well.
            place, arrival.place = arrival.place, None
            if place is None:
                return None
            handle, cell = place.handle, place.cell
            if cell.answer is None:
                arrival.place = place
                raise MaxConnectionsExceeded(f"{EXCEEDED}.")
            monitor = runtime.monitor
            # As `is_reentered`, written out: nothing that is done here would be answered.
            if monitor.applying and monitor.lock._is_owned():
                arrival.place = place
                raise MaxConnectionsExceeded(f"{EXCEEDED}: {WITHIN}")
            while handle.monitor is runtime.monitor:
                answer = cell.answer
                if type(answer) is Open:
                    runtime._connect(handle.monitor, cell.ticket, cell)
                elif type(answer) is Grant:
                    _, handle.key, handle.held, rested = answer
                    alive = rested is None
                    if alive:
                        handle.met = cell.ticket, handle.has_waited, True
                    else:
                        alive = self._is_alive(handle)
                    if handle.monitor is not runtime.monitor:
                        continue
                    if alive:
                        arrival.leases.arriving = handle
                        return handle
                    handle.held = None
                    cell = Cell(handle.ticket)
                    death = Dead(runtime.clock(), handle.ticket, handle.key, False)
                    effects: tuple[Effect, ...] = runtime._apply(handle.monitor, death, cell)
                    if effects and type(effects[-1]) is Ignored:  # closed while we looked
                        runtime.lose(handle)  # nobody waits at that cell
                        return None
                    handle.key = 0
                else:
                    assert type(answer) is Refuse
                    raise error_for(answer, runtime.state, 0, runtime.clock())
            return None  # a child process, which came back to its parent's call
        except BaseException:
            if place is not None and arrival.place is not place:
                runtime.lose(place.handle)
            raise

    def _is_alive(self, handle: Handle) -> bool:
        try:
            is_ours = handle.monitor is self._runtime.monitor
            return is_ours and self._runtime.driver.is_alive(handle.held)
        except Exception:
            logger.debug("connection %s is dead", handle.key, exc_info=True)
            return False


def exceeded(error: PoolTimeout) -> MaxConnectionsExceeded:
    """The error of playhouse's for one that found nothing and does not wait."""
    text = f"{EXCEEDED}: {WITHIN}" if isinstance(error, PoolReentered) else f"{EXCEEDED}: {error}"
    return _for_a_reason(MaxConnectionsExceeded(text), error.reason)


def _for_a_reason(error: Any, reason: str | None) -> MaxConnectionsExceeded:
    """For those who listen: playhouse's class has no word for it."""
    error.reason = reason
    return error
