"""What the drop-in's pool owes behind `connect` where a mutant showed that no test asked.

Theory.  As `test_peewee_mutants.py`.
"""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from playhouse.pool import MaxConnectionsExceeded

from pool.core.effects import Leaked
from pool.peewee import adapter as module
from pool.peewee.mirror import Mirror
from tests.integration.databases import PooledScriptedDatabase, scripted
from tests.integration.drivers import (
    FOR_EVER,
    Call,
    Connection,
    Gate,
    Stop,
    lent,
    nothing,
    park,
    raising,
    until,
)


def listened(database: Any, *kinds: str) -> list[Any]:
    told: list[Any] = []
    for kind in kinds:
        database.listen(kind, told.append)
    return told


# ---------------------------------------------------------------- who holds


@pytest.mark.parametrize("timeout", [None, FOR_EVER], ids=["at once", "with a wait"])
@pytest.mark.parametrize("leak_after", [None, FOR_EVER], ids=["plain", "traced"])
def test_a_thread_holds_by_the_name_that_it_has_then(timeout: Any, leak_after: Any) -> None:
    database = scripted(1, timeout=timeout, leak_after=leak_after)
    names: list[str] = []

    given = ["first", "second", "third"]

    def use() -> None:
        for name in given:
            threading.current_thread().name = name
            database.connect()
            (holding,) = database.holders()
            names.append(holding.thread)
            database.close()
            if name == "second":
                database.close_idle()  # so that the third has to connect

    Call(use).result()
    assert names == [f"thread {name!r}" for name in given]


@pytest.mark.parametrize("leak_after", [None, FOR_EVER], ids=["plain", "traced"])
def test_all_that_a_thread_held_comes_back_when_it_has_ended(leak_after: Any) -> None:
    """Each lease by itself, new or rested, with its lines of code or without."""
    database = scripted(4, timeout=FOR_EVER, leak_after=leak_after)
    database.connect()
    database.close()

    def use() -> None:
        for _ in range(3):
            database.connect()
            database._state.closed = True
        assert len(lent(database)) == 3

    Call(use).result()
    gc.collect()
    until(lambda: not lent(database))
    assert database.broken == []


def test_the_line_that_took_a_connection_is_the_programs_and_not_peewees() -> None:
    database = scripted(2, timeout=None, leak_after=FOR_EVER)

    def by_a_context_of_peewee() -> Any:
        with database.connection_context():
            (holding,) = database.holders()
        return holding

    def by_hand() -> Any:
        database.connect()
        (holding,) = database.holders()
        database.close()
        return holding

    assert by_a_context_of_peewee().line.endswith("in by_a_context_of_peewee")
    assert by_hand().line.endswith("in by_hand")


# ---------------------------------------------------------------- who waits


def test_who_holds_the_lock_of_the_pool_waits_for_nobody() -> None:
    """Nobody could give anything back to it."""
    database = scripted(1, timeout=FOR_EVER)
    own = database._purepool
    assert own.patience() == FOR_EVER
    with database._pool_lock:
        assert own.patience() == 0
        assert Call(own.patience).result() == FOR_EVER, "another thread does not hold it"
    assert own.patience() == FOR_EVER


def test_failed_connects_and_waits_are_counted() -> None:
    database = scripted(1, timeout=FOR_EVER)

    def counts() -> tuple[int, int]:
        numbers = database.statistics()
        return numbers.connects_failed, numbers.waits

    assert counts() == (0, 0)
    database.driver.on_connect = raising(OSError("down"))
    for failed in (1, 2):
        with pytest.raises(OSError, match="down"):
            database.connect()
        assert counts() == (failed, 0)
    database.driver.on_connect = nothing
    database.connect()
    for waited in (1, 2):
        waiter = park(database, database.connect)
        until(lambda waited=waited: counts() == (2, waited))  # type: ignore[misc]
        database.close()
        waiter.result()
        database.close_all()
        database.connect()


# ---------------------------------------------------------------- what is told


class Choosy(PooledScriptedDatabase):
    """A hook that refuses by itself, or brings a connection of its own."""

    brings: Any = None

    def _connect(self) -> Any:
        if self.brings is not None:
            return self.brings
        raise MaxConnectionsExceeded("not today")


@pytest.mark.parametrize("reason", ["timeout", "exhausted"])
def test_a_refusal_is_told_with_the_reason_of_its_error(reason: str) -> None:
    """One that a hook raised by itself says only that there is none."""
    if reason == "timeout":
        database = scripted(1, timeout=0.001)
        Call(database._connect).result()
    else:
        database = Choosy("choosy", max_connections=1, timeout=None)
    told = listened(database, "refuse")
    with pytest.raises(MaxConnectionsExceeded) as raised:
        database.connect()
    assert [(one.reason, one.error) for one in told] == [(reason, raised.value)]
    assert database._purepool.owners.session(database._state).leases.arriving is None


def test_who_is_interrupted_or_has_a_connection_was_not_refused() -> None:
    database = scripted(1, timeout=None)
    told = listened(database, "refuse")
    database.driver.on_connect = raising(Stop())
    with pytest.raises(Stop):
        database.connect()
    database.driver.on_connect = lambda: None
    database._initialize_connection = raising(OSError("of what peewee does with it"))
    with pytest.raises(OSError, match="of what peewee does with it"):
        database.connect()
    assert told == []
    assert lent(database) == [database.connection()]
    database.close()


def test_a_connection_that_a_hook_brought_is_told_as_nothing_new() -> None:
    """The pool knows nothing of it."""
    database = Choosy("choosy", max_connections=1, timeout=None)
    told = listened(database, "checkout")
    database.brings = Connection(1)
    database.connect()
    assert [(one.connection, one.is_new, one.has_waited) for one in told] == [
        (database.brings, False, False)
    ]


def test_a_lease_that_close_all_ends_is_told_as_that() -> None:
    """That of another, too, who has not given it back."""
    database = scripted(2, timeout=None)
    told = listened(database, "checkin")

    def use() -> None:
        database.connect()
        ends()

    ends = Gate()
    holder = Call(use)
    until(lambda: ends.standing)
    database.close_all()
    assert [one.reason for one in told] == ["close_all"]
    ends.open()
    holder.result()


def test_a_leak_of_which_little_is_known_is_told_all_the_same() -> None:
    """Its holder took it before anybody wanted to know the lines; or it has come back by now."""
    database = scripted(1, timeout=None)
    told = listened(database, "leak")
    own = database._purepool
    now = [1000.0]
    own.runtime.clock = lambda: now[0]
    database.connect()
    own.configure("leak_after", 5)
    now[0] += 6
    own.look()
    connection = database.connection()
    assert [(one.connection, one.seconds, one.stack) for one in told] == [(connection, 6.0, None)]
    database.close()
    own.runtime.on_leak(Leaked(17, 17, "nobody", 7.0))
    assert [(one.connection, one.seconds, one.stack) for one in told[1:]] == [(None, 7.0, None)]


# ---------------------------------------------------------------- what is stale


def test_a_function_put_in_the_place_of_is_stale_is_asked() -> None:
    """As suites of tests do; it need not be a method."""
    database = scripted(1, timeout=None, stale_timeout=FOR_EVER)
    asked: list[float] = []
    database._is_stale = lambda timestamp: asked.append(timestamp) or True
    database.connect()
    connection = database.connection()
    database.close()
    assert len(asked) == 1
    assert connection.closed == 1


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "value"), [("leak_after", 0), ("stale_timeout", 10**400), ("stale_timeout", True)]
)
def test_what_the_limits_do_not_allow_is_refused_before_anything_changes(
    name: str, value: Any
) -> None:
    """All of what is given together, or nothing: and the error has the name that was given."""
    database = scripted(3, timeout=4, stale_timeout=50)
    given = {"max_connections": 5, "stale_timeout": 60, "timeout": 6, "leak_after": 7, name: value}
    with pytest.raises(ValueError, match=f"^{name}={value}: allowed is"):
        database.init("another", **given)
    limits = database._purepool.runtime.state.limits
    assert (limits.max_size, limits.max_lifetime, limits.leak_after) == (3, 50, None)
    assert (database._max_connections, database._stale_timeout) == (3, 50)
    assert database._wait_timeout == 4


@pytest.mark.parametrize("name", ["max_connections", "stale_timeout", "timeout", "leak_after"])
def test_a_setting_that_is_refused_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}=-1: allowed is"):
        PooledScriptedDatabase("refused", **{name: -1})


def test_a_timeout_that_is_refused_later_is_named_as_it_is_given() -> None:
    database = scripted(1, timeout=7)
    with pytest.raises(ValueError, match=r"^timeout=-1: allowed is"):
        database._wait_timeout = -1
    assert database._wait_timeout == 7


# ---------------------------------------------------------------- what is shown


def test_what_is_forgotten_ends_its_life_outside_of_the_lock() -> None:
    """A finalizer may do anything."""
    database = scripted(1, timeout=None)
    lock = database._purepool.runtime.monitor.lock
    seen: list[bool] = []
    database.connect()
    weakref.finalize(database.connection(), lambda: seen.append(lock._is_owned()))
    database.close()
    database.driver.opened.clear()
    database.dispose()
    gc.collect()
    assert seen == [False]


def test_what_is_shown_is_shown_anew_while_somebody_holds_the_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though a program had changed what it was shown before."""
    monkeypatch.setattr(module, "LOCK_WITHIN", 0.001)
    database = scripted(2, timeout=None)
    for _ in range(2):
        database.connect()
        database._state.closed = True
    database._in_use.popitem()
    database._purepool.believe()
    assert database._purepool._mirror is not None, "what was shown before is still known"
    holds, ends = Gate(), Gate()

    def hold() -> None:
        with database._pool_lock:
            holds.open()
            ends()

    holder = Call(hold)
    holds()
    shown = Call(lambda: (list(database._connections), len(database._in_use))).result()
    assert shown == ([], 1)
    ends.open()
    holder.result()


def test_only_what_is_so_is_shown_and_nothing_in_the_place_of_another() -> None:
    """Which a program may have changed by now."""
    database = scripted(2, timeout=None)
    own = database._purepool
    before = Mirror(own.runtime.fields, database.conn_key)
    database.connect()
    own._show(None, before)
    assert own._mirror is None, "the pool has gone on meanwhile"
    known = own.mirrored()
    own._show(None, Mirror(own.runtime.fields, database.conn_key))
    assert own._mirror is known, "another thread was first"
    database.close()
