"""Faults of the runtime, each a patch that lives for one test, which the checks must find.

Theory.  Each is what somebody might write: a wait's result that is believed, a wakeup too early or
too late, a way out that forgets one of its duties.  None of them shows in a run without threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from pool import face
from pool.core.effects import Close, Grant, Ignored, Leaked, Open, Refuse
from pool.core.events import Cancel, CloseIdle, Discard, Release
from pool.shared.errors import PoolTimeout, error_for
from pool.shared.handles import Cell, Handle
from pool.shared.store import Clock, Store, claims_of
from pool.threads import runtime
from pool.threads.monitor import Monitor
from pool.threads.runtime import Runtime

Fault = Callable[[pytest.MonkeyPatch], None]


def trusts_the_wait(patch: pytest.MonkeyPatch) -> None:
    """A wait that ended by time is a refusal, whatever the state says."""

    def follow(
        self: Runtime, handle: Any, cell: Cell, deadline: float | None, timeout: float | None
    ) -> Any:
        while not isinstance(cell.answer, Grant):
            if isinstance(cell.answer, Open):
                self._connect(self.monitor, cell.ticket)
            elif isinstance(cell.answer, Refuse):
                raise error_for(cell.answer, self.state, timeout, self.clock())
            elif deadline is None:
                cell.parker.acquire()
            elif not cell.parker.acquire(True, deadline - self._monotonic()):
                raise PoolTimeout
        return cell.answer

    patch.setattr(Runtime, "_follow", follow)


def release_without_deliver(patch: pytest.MonkeyPatch) -> None:
    """Who returns a connection leaves it to others to say whose it is now."""

    def release(self: Runtime, handle: Handle) -> bool:
        with self.monitor.lock:
            event = Release(self.clock(), handle.ticket, handle.key, True)
            self.monitor.current = self.step(self.monitor.state, event)
        handle.ended = True
        return True

    patch.setattr(Runtime, "release", release)


def delivers_too_late(patch: pytest.MonkeyPatch) -> None:
    """Who returns a connection says whose it is now when it has left the lock."""

    def release(self: Runtime, handle: Handle) -> bool:
        with self.monitor.lock:
            event = Release(self.clock(), handle.ticket, handle.key, True)
            self.monitor.current = self.step(self.monitor.state, event)
        self.monitor.deliver()
        handle.ended = True
        return True

    patch.setattr(Runtime, "release", release)


def leaves_the_inbox(patch: pytest.MonkeyPatch) -> None:
    """Who leaves the lock does not look for those who could not get it."""

    plain = Runtime._leave

    def leave(self: Runtime, monitor: Monitor, effects: tuple[Any, ...]) -> None:
        with patch.context() as inner:
            inner.setattr(Monitor, "drain", lambda self, clock: None)
            plain(self, monitor, effects)

    patch.setattr(Runtime, "_leave", leave)


def wakes_before_it_answers(patch: pytest.MonkeyPatch) -> None:
    """The caller is woken first, and finds nothing."""

    def hand_out(self: Store) -> None:
        state, effects = self.current
        for effect in effects:
            if isinstance(effect, (Close, Leaked)):
                self.jobs[id(effect)] = effect
            elif not isinstance(effect, Ignored):
                assert isinstance(effect, (Grant, Refuse, Open))
                assert effect.ticket is not None
                cell = self.cells.get(effect.ticket)
                if cell is not None:
                    cell.wake()
                    cell.answer = effect
                    if not isinstance(effect, Open):
                        self.cells.pop(effect.ticket, None)
        self.current = (state, ())

    patch.setattr(Store, "hand_out", hand_out)


def loses_a_delivery(patch: pytest.MonkeyPatch) -> None:
    """Who is interrupted while it hands out answers does not go on with it."""
    patch.setattr(Store, "deliver", Store.hand_out)

    def abort(self: Monitor, clock: Clock) -> None:
        self.orphans = True
        self.drain(clock)

    patch.setattr(Monitor, "abort", abort)


def aborts_without_the_inbox(patch: pytest.MonkeyPatch) -> None:
    """Who is interrupted as it leaves the lock does not look for those who could not get it."""

    def abort(self: Monitor, clock: Clock) -> None:
        self.orphans = True
        if self.current[1]:
            with self.lock:
                self.deliver()

    patch.setattr(Monitor, "abort", abort)


def a_finalizer_gives_up(patch: pytest.MonkeyPatch) -> None:
    """One whose handle is lost is interrupted before the note is read, and that is that."""

    def lose(self: Runtime, handle: Handle) -> None:
        if handle.ticket:
            self.monitor.inbox.append((handle.ticket, handle.key))
        handle.ended = True
        self.monitor.drain(self.clock)

    patch.setattr(Runtime, "lose", lose)


def changes_without_the_lock(patch: pytest.MonkeyPatch) -> None:
    """The state is read, changed and written, and nobody is kept out."""

    def discard(self: Runtime, handle: Handle) -> bool:
        event = Discard(self.clock(), handle.ticket, handle.key)
        self.monitor.current = self.step(self.monitor.state, event)
        handle.ended = True
        return True

    patch.setattr(Runtime, "discard", discard)


def forgets_who_is_gone(patch: pytest.MonkeyPatch) -> None:
    """What a caller had when it was interrupted stays its own."""

    def lose(self: Runtime, handle: Handle) -> None:
        handle.ended = True

    patch.setattr(Runtime, "lose", lose)


def keeps_the_cell(patch: pytest.MonkeyPatch) -> None:
    """Whose grant was closed while it looked at it stays listed."""
    plain = Runtime.lose

    def lose(self: Runtime, handle: Handle) -> None:
        if handle.key:
            handle.ended = True
        else:
            plain(self, handle)

    patch.setattr(Runtime, "lose", lose)


# ---------------------------------------------------------------- that need no order of their own


def ignores_the_reset(patch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of the reset, the connection is lent again."""
    plain = Runtime.release

    def release(self: Runtime, handle: Handle) -> bool:
        with contextlib.suppress(Exception):
            self.driver.reset(handle.connection)
        with patch.context() as inner:
            inner.setattr(self.driver, "reset", lambda connection: True)
            return plain(self, handle)

    patch.setattr(Runtime, "release", release)


def believes_what_rested(patch: pytest.MonkeyPatch) -> None:
    """What rested is lent, whatever the driver says of it."""
    plain = Runtime.acquire

    def acquire(self: Runtime, *arguments: Any) -> Handle:
        self.check_after = float("inf")
        return plain(self, *arguments)

    patch.setattr(Runtime, "acquire", acquire)


def closes_twice(patch: pytest.MonkeyPatch) -> None:
    """A job stays on the list until it is done, so two may do it."""
    plain = Runtime.perform

    def perform(self: Runtime, effect: Any) -> None:
        listed = id(effect) in self.monitor.jobs
        plain(self, effect)
        if listed and isinstance(effect, Close):
            self.driver.close(effect.connection)

    patch.setattr(Runtime, "perform", perform)


def gives_up_early(patch: pytest.MonkeyPatch) -> None:
    """Half of the time is enough."""
    plain = Runtime.acquire

    def acquire(self: Runtime, timeout: float | None = None, *arguments: Any) -> Handle:
        return plain(self, timeout and timeout / 2, *arguments)

    patch.setattr(Runtime, "acquire", acquire)


def tells_everybody_the_same(patch: pytest.MonkeyPatch) -> None:
    """Whatever the reason, it was time."""
    plain = runtime.error_for

    def error_for(refusal: Refuse, *arguments: Any) -> Exception:
        return plain(refusal._replace(reason="timeout"), *arguments)

    patch.setattr(runtime, "error_for", error_for)


def drains_only_the_idle(patch: pytest.MonkeyPatch) -> None:
    """What is lent when the pool is drained is lent again."""
    patch.setattr(face, "Retire", CloseIdle)


def counts_wrong(patch: pytest.MonkeyPatch) -> None:
    """Who waits is not counted."""
    plain = face.statistics_of

    def statistics_of(*arguments: Any) -> Any:
        return attrs.evolve(plain(*arguments), waiting=0)

    patch.setattr(face, "statistics_of", statistics_of)


def lends_what_was_lost(patch: pytest.MonkeyPatch) -> None:
    """A lost handle is a release: nobody reset its connection."""

    def take(self: Monitor, note: Any, clock: Clock) -> None:
        for ticket, key in [note] if type(note) is tuple else claims_of(note, self.state):
            self.cells.pop(ticket, None)
            now = clock()
            if key:
                self.commit(Release(now, ticket, key))
            self.commit(Cancel(now, ticket))

    patch.setattr(Monitor, "take", take)


def connects_twice(patch: pytest.MonkeyPatch) -> None:
    """The first connection is dropped."""
    plain = Runtime._connect

    def connect(self: Runtime, monitor: Monitor, ticket: int | None, *cell: Any) -> None:
        with contextlib.suppress(Exception):
            self.driver.connect()
        plain(self, monitor, ticket, *cell)

    patch.setattr(Runtime, "_connect", connect)
