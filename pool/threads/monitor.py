"""The monitor: a store under one lock, for threads.

Theory.  One transition at a time: under the lock are `step`, the assignment of what came of it, and
handing answers to parked callers.  No I/O, no hook, no callback.

* A signal's handler, or a finalizer, may come while its thread is inside the lock (RUN-10).  It
  never waits for itself: what needs no answer is noted in the inbox.  So the lock is re-entrant,
  only to know whose it is, and `applying` says that its owner is in the middle of a transition,
  which nobody may enter.
* Whoever leaves the lock looks at the inbox again, for a finalizer only tries the lock.
* Io that nobody performed (its owner was interrupted, or is a finalizer) has the mark `orphans`,
  and is taken over by whoever leaves the lock next.

The protocol is specified, and checked with an exception at any step, in `spec/Runtime.tla`.

In a child process a fresh one takes its place, for the lock may be held by a thread that is not
there any more, and one that is there may come back to what it was doing with this one.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Iterator
from typing import Any

from pool.core.effects import Effect
from pool.core.events import Event
from pool.core.state import Fields
from pool.shared.store import Clock, Made, Store
from pool.threads.onlookers import Onlookers

UnderWay = dict["weakref.ref[Work]", Any]
"""Calls of the driver, and the threads on which they are; of connects also a time before which none
of them began. One whose end is interrupted counts until its frame is gone."""


class Work:
    """A call of the driver under way: as long as its frame has this."""


class Monitor(Store):
    """The state of a pool that threads share. Thread-safe but for what `Store` leaves to whoever
    keeps others away."""

    __slots__ = (
        "callers",
        "closing",
        "connecting",
        "lock",
        "onlookers",
        "orphans",
        "sync",
        "turnstile",
    )

    def __init__(self, fields: Fields, sync: Any, tickets: Iterator[int] | None = None) -> None:
        self.sync = sync
        self.set_lock(sync.rlock())
        super().__init__(fields, tickets)
        self.orphans = False
        self.onlookers = Onlookers()
        self.closing: UnderWay = {}
        self.connecting: UnderWay = {}
        self.callers: set[Any] = set()
        """Threads that wait in an acquire, or connect. An acquire on top of that, by a signal's
        handler or a hook, does not wait: it could be for what this one gets (RUN-10)."""

    def set_lock(self, lock: Any) -> None:
        """Put this lock, a re-entrant one, in the place of the one before.

        `for _ in turnstile` takes it, in one bytecode: an asynchronous exception finds it not
        yet taken, or taken and inside the `try` that gives it back. `with` would do that too,
        in twice the time."""
        self.lock = lock
        self.turnstile = iter(lock.acquire, False)
        self.applying = False
        """Whoever holds the lock is in the middle of a transition. A call of its own thread that
        comes before this is set, or after, finds nothing half done, and may pass."""

    def is_reentered(self) -> bool:
        """Whether this very thread is in the middle of a transition: it is a signal's handler, or
        a finalizer, that asks."""
        return bool(self.applying and self.lock._is_owned())

    def is_within(self) -> bool:
        """Whether this thread is in the middle of a call that others may wait for."""
        return self.is_reentered() or self.sync.ident() in self.callers

    # ------------------------------------------------------------ transitions

    def apply(self, event: Event | Made, cell: Any = None) -> tuple[Effect, ...]:
        """One transition (RUN-1). If this thread is in the middle of one, it takes effect after
        that (RUN-10), and the effects are those it would have now."""
        if self.applying and self.lock._is_owned():
            return self.note(event)
        effects: tuple[Effect, ...] = ()
        for _ in self.turnstile:
            try:
                self.applying = True
                effects = self.change(event, cell)
            finally:
                self.applying = False
                self.lock.release()
            break
        return effects

    def expect(self, cell: Any) -> Any:
        """Let the cell be found, on whose lock its caller is going to park."""
        cell.parker = self.sync.lock()
        cell.parker.acquire()
        self.cells[cell.ticket] = cell
        return cell

    def abort(self, clock: Clock) -> None:
        """An exception came in the middle: see that what was decided is delivered, that the
        inbox is looked at, and that the Io of this thread is done by somebody (RUN-4)."""
        try:
            if self.current[1] and not self.is_reentered():
                for _ in self.turnstile:
                    try:
                        self.applying = True
                        self.deliver()
                    finally:
                        self.applying = False
                        self.lock.release()
                    break
        finally:  # not before: who finds it set looks only for what has been handed out
            self.orphans = True
            self.onlookers.notify()
        self.drain(clock)

    def drain(self, clock: Clock) -> None:
        """Apply what the inbox holds, if the lock is free; else who has it will."""
        while self.inbox and not self.is_reentered():
            for _ in iter(functools.partial(self.lock.acquire, False), False):
                try:
                    self.applying = True
                    self.empty_inbox(clock)
                finally:
                    self.applying = False
                    self.lock.release()
                break
            else:
                return

    def take(self, note: Any, clock: Clock) -> None:
        super().take(note, clock)
        # While it is on the list: whoever is interrupted takes it again.
        self.orphans = True
        self.onlookers.notify()

    # ------------------------------------------------------------ what is under way

    def closed(self, mark: weakref.ref[Work]) -> None:
        """A close has ended, or its frame is gone."""
        with contextlib.suppress(TypeError):  # interrupted before it was noted: it has no hash
            self.closing.pop(mark, None)
        self.onlookers.notify()

    def connected(self, mark: weakref.ref[Work]) -> None:
        """As `closed`, of a connect."""
        with contextlib.suppress(TypeError):  # as above
            self.connecting.pop(mark, None)
        self.onlookers.notify()

    def abandon(self) -> None:
        """In a child: nobody is left who could leave the lock but this thread, which does so when
        it comes back to where it holds it."""
        if not self.lock._is_owned():
            try:
                self.lock._release_save()  # whoever holds it
            except RuntimeError:  # nobody does; or, from 3.14 on, another thread
                self.lock._at_fork_reinit()
        super().abandon()
        self.onlookers.notify()
