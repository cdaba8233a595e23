"""Outside the lock, in the drop-in: as `test_pool_races.py`."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from pool import observe
from pool.peewee.adapter import Adapter
from pool.peewee.leases import Leases
from pool.peewee.mirror import Mirror
from tests.integration.databases import held, scripted
from tests.integration.drivers import FOR_EVER, Call, Gate, park, until


@pytest.mark.parametrize("who", ["looks", "holds the lock", "waits at the condition"])
def test_who_leaves_the_lock_sees_to_what_was_noted_meanwhile(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finalizer finds the lock taken and leaves its note to whoever has it; others wait for the
    place that it makes free."""
    database = scripted(1, timeout=FOR_EVER)
    ends = Gate()
    holder = held(database, ends)
    waiter = park(database, database.connect)

    def lose() -> None:
        """The holder's thread ends with its connection."""
        ends.open()
        holder.result()
        gc.collect()
        until(lambda: database._purepool.runtime.monitor.inbox)

    show = Adapter._show

    def slow(self: Adapter, *shown: Any) -> None:
        monkeypatch.undo()
        show(self, *shown)
        lose()

    if who == "looks":
        monkeypatch.setattr(Adapter, "_show", slow)
        assert len(database._in_use) <= 1
    elif who == "holds the lock":
        with database._pool_lock:
            lose()
    else:
        changed = database._pool_available

        def wait() -> None:
            with changed:
                lose()
                changed.wait(FOR_EVER)

        waiting = Call(wait)
        assert waiter.result() is True
        with changed:
            changed.notify_all()
        waiting.result()
    assert waiter.result() is True


def test_the_lock_is_re_entrant_and_the_conditions() -> None:
    """What was noted is seen to by who leaves it for good."""
    database = scripted(1, timeout=None)
    monitor = database._purepool.runtime.monitor
    with database._pool_lock:
        with database._pool_lock:
            monitor.inbox.append((7, 0))
        assert list(monitor.inbox) == [(7, 0)]
        assert monitor.lock._is_owned()
    assert not monitor.inbox
    assert not monitor.lock._is_owned()
    assert database._pool_lock.acquire(timeout=1)
    database._pool_lock.release()
    with pytest.raises(RuntimeError):
        database._pool_lock.release()


def test_a_lease_that_is_kept_while_another_is_forgotten_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What no thread's state can keep is kept in one place, for all."""
    database = scripted(4, timeout=None)
    mine = database._connect()  # and held
    others: list[Any] = []
    nobody: Leases = database._purepool.owners.nobody

    class Slow(dict[Any, Any]):
        def items(self) -> Any:
            found = list(super().items())
            if not others:
                others.append(None)
                others[0] = Call(database._connect).result()
            return found

    nobody.others = Slow(nobody.others)
    database.close_all()
    assert mine.closed == 1
    gc.collect()
    database.connect()
    database.close()
    assert others
    assert others[0].closed == 0


def test_who_begins_to_observe_while_the_mirror_is_compared_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = scripted(2, timeout=None)
    database.connect()
    database.close()
    told: list[Any] = []
    observing: list[Any] = []
    difference = Mirror.difference

    def slow(self: Mirror, now: float) -> Any:
        found = difference(self, now)
        if not observing:
            observing.append(None)
            observing[0] = Call(observe, database, lambda *_: told.append(1)).result()
        return found

    monkeypatch.setattr(Mirror, "difference", slow)
    assert database._in_use == {}
    for _ in range(2):
        database.connect()
        database.close()
    observing[0].stop()
    assert len(told) >= 2


def test_two_settings_at_once_are_both_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    database = scripted(20, timeout=None)
    runtime = database._purepool.runtime
    apply, once = type(runtime).apply, [True]

    def slow(self: Any, event: Any, cell: Any = None) -> Any:
        if once and threading.current_thread() is threading.main_thread():
            once.pop()
            Call(setattr, database, "_stale_timeout", 60).result()
        return apply(self, event, cell)

    monkeypatch.setattr(type(runtime), "apply", slow)
    database._max_connections = 5
    limits = runtime.state.limits
    assert (limits.max_size, limits.max_lifetime) == (5, 60)
    assert (database._max_connections, database._stale_timeout) == (5, 60)
