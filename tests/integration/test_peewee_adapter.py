"""What a pooled database says and counts, step by step: to its log, to listeners, in settings.

Theory.  As `test_peewee_mutants.py`.  The log is playhouse's, word for word, so programs may look
for its lines.
"""

from __future__ import annotations

import gc
import logging
import math
import threading
from typing import Any

import peewee
import pytest
from playhouse.pool import MaxConnectionsExceeded

from pool.core.events import Configure, Forked, Tick
from pool.core.state import leased
from pool.peewee import adapter as module
from pool.peewee.adapter import Adapter
from tests.integration.databases import PooledScriptedDatabase, events_of, scripted
from tests.integration.drivers import Call, lent, raising


def own_of(database: Any) -> Adapter:
    found: Adapter = database._purepool
    return found


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "peewee.pool"]


# ---------------------------------------------------------------- the log


def test_the_life_of_a_connection_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """By the program's own key."""
    caplog.set_level(logging.DEBUG, "peewee.pool")
    database = scripted(1, timeout=None)
    database.conn_key = lambda connection: connection.number
    database.connect()
    database.close()
    database.driver.on_alive = lambda _: False
    database.connect()
    database.driver.on_reset = lambda _: False
    database.close()
    assert said(caplog) == [
        "Created new connection 1.",
        "Returning 1 to pool.",
        "Connection 1 was closed, discarding.",
        "Created new connection 2.",
        "Connection 2 not reusable, closing.",
    ]


def test_a_key_that_raises_is_not_an_error_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "peewee.pool")
    database = scripted(1, timeout=None)
    connection = database.driver.connect()
    database.conn_key = raising(ValueError("no key"))
    own_of(database).log("Connection %s.", connection)
    assert said(caplog) == [f"Connection {id(connection)}."]
    caplog.set_level(logging.INFO, "peewee.pool")
    own_of(database).log("Connection %s.", connection)
    assert len(said(caplog)) == 1


class Judging(PooledScriptedDatabase):
    """It decides itself what is stale."""

    stale: Any = False

    def _is_stale(self, timestamp: float) -> bool:
        self.asked = timestamp
        return bool(self.stale)


def judging(stale_timeout: Any = 100) -> Any:
    return Judging("judging", max_connections=1, timeout=None, stale_timeout=stale_timeout)


def test_what_a_subclass_calls_stale_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """When it is to be lent, and when it comes back; it is told when the connection was made."""
    caplog.set_level(logging.DEBUG, "peewee.pool")
    database = judging()
    assert own_of(database).judges is True
    assert own_of(database).runtime.state.limits.max_lifetime is None
    database.conn_key = lambda connection: connection.number
    database.connect()
    created = next(iter(leased(own_of(database).runtime.state.in_use).values())).entry.created
    database.close()
    assert database.asked == created
    database.stale = True
    database.connect()
    database.close()
    assert [one.closed for one in database.driver.opened] == [1, 1]
    texts = said(caplog)
    assert "Connection 1 was stale, closing." in texts
    assert "Closing stale connection 2 on check-in." in texts


def test_without_a_stale_timeout_nobody_is_asked_what_is_stale() -> None:
    database = judging(stale_timeout=None)
    database.stale = True
    for _ in range(2):
        database.connect()
        database.close()
    assert len(database.driver.opened) == 1
    assert not hasattr(database, "asked")


def test_what_reaches_its_age_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Idle, or when it comes back."""
    caplog.set_level(logging.DEBUG, "peewee.pool")
    with pytest.MonkeyPatch.context() as patch:
        now = [1000.0]
        patch.setattr(module.time, "time", lambda: now[0])
        database = scripted(1, timeout=None, stale_timeout=10)
        database.conn_key = lambda connection: connection.number
        database.connect()
        now[0] += 11.0
        database.close()
        database.connect()
        database.close()
        now[0] += 11.0
        database.connect()
        database.close()
    texts = [text for text in said(caplog) if "stale" in text]
    assert texts == [
        "Closing stale connection 1 on check-in.",
        "Connection 2 was stale, closing.",
    ]


# ---------------------------------------------------------------- listeners


def test_a_connect_is_told_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    database = scripted(2, timeout=None)
    told: list[Any] = []
    for kind in ("connect", "connect_failed", "refuse"):
        database.listen(kind, told.append)

    def slow(*_: Any) -> None:
        now[0] += 2.5

    def fail(*_: Any) -> None:
        now[0] += 1.5
        raise OSError("down")

    database.driver.on_connect = slow
    database.connect()
    connection = database.connection()
    database.driver.on_connect = fail
    with pytest.raises(OSError, match="down"):
        Call(database.connect).result()
    assert [(one.kind, one.connection, one.seconds) for one in told] == [
        ("connect", connection, 2.5),
        ("connect_failed", None, 1.5),
        ("refuse", None, None),
    ]
    assert [type(one.error) for one in told] == [type(None), OSError, OSError]
    assert [one.reason for one in told][-1] == "open_failed"
    assert database.statistics().connects_failed == 1


def test_a_refusal_is_told_with_its_reason() -> None:
    database = scripted(1, timeout=None)
    told: list[Any] = []
    database.listen("refuse", told.append)
    database.connect()
    with pytest.raises(MaxConnectionsExceeded):
        Call(database.connect).result()
    assert [(one.kind, one.reason) for one in told] == [("refuse", "exhausted")]
    assert isinstance(told[0].error, MaxConnectionsExceeded)


def test_a_checkout_is_told_with_its_wait_and_whether_it_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [10.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    database = scripted(1, timeout=None)
    told: list[Any] = []
    database.listen("checkout", told.append)

    def slow(*_: Any) -> None:
        now[0] += 2.5

    database.driver.on_connect = slow
    for _ in range(2):
        database.connect()
        database.close()
    assert [(one.seconds, one.is_new, one.has_waited) for one in told] == [
        *((2.5, True, False), (0.0, False, False)),
    ]


def test_a_close_is_told_with_its_reason_and_ends_what_was_lent() -> None:
    database = scripted(2, timeout=None)
    told: list[Any] = []
    for kind in ("close", "checkin"):
        database.listen(kind, told.append)
    database.connect()
    connection = database.connection()
    database.close_stale(age=-1)
    assert [(one.kind, one.connection, one.reason) for one in told] == [
        ("checkin", connection, "stale"),
        ("close", connection, "stale"),
    ]
    database._state.closed = True

    def use() -> None:
        database.connect()

    told.clear()
    Call(use).result()
    gc.collect()
    own_of(database).runtime.apply(Tick(own_of(database).runtime.clock()))
    assert [(one.kind, one.reason) for one in told] == [("checkin", "lost"), ("close", "discarded")]


def test_a_leak_is_told_once_with_its_stack(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [10.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "time", lambda: now[0] + 1000.0)
    database = scripted(2, timeout=None, leak_after=5)
    database.conn_key = lambda connection: connection.number
    told: list[Any] = []
    database.listen("leak", told.append)
    database.connect()
    connection = database.connection()
    own = own_of(database)
    now[0] += 5.5
    own.look()
    own.look()
    (leak,) = told
    assert (leak.connection, leak.seconds) == (connection, 5.5)
    assert "test_peewee_adapter" in str(leak.stack)
    (text,) = said(caplog)
    assert text.startswith("Connection 1 has been held for 5.5 s; it was taken here:\n")
    assert "test_peewee_adapter" in text
    database.close()


def test_who_looks_after_leaks_looks_when_one_is_due_and_not_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [10.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    database = scripted(2, timeout=None, leak_after=2.25)
    seen = events_of(database)
    database.connect()
    own = own_of(database)

    def ticks() -> int:
        own.look()
        found = [event for event in seen if type(event) is Tick]
        assert all(event.now == now[0] for event in found[-1:] if len(found) > before)
        return len(found)

    before = 0
    before = ticks()
    counts = []
    for later in (0.5, 0.5, 0.5, 0.5, 0.25, 0.0, 0.5):
        now[0] += later
        count = ticks()
        counts.append(count - before)
        before = count
    assert counts == [0, 1, 0, 1, 1, 0, 0]
    database.close()
    untracked = scripted(1, timeout=None)
    seen = events_of(untracked)
    own_of(untracked).look()
    assert seen == []


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "value", "limit", "kept"),
    [
        ("max_connections", 3, 3, 3),
        ("max_connections", 2.5, 3, 2.5),
        ("max_connections", 0, None, 0),
        ("max_connections", None, None, None),
        ("max_connections", "7", 7, 7),
    ],
)
def test_the_most_connections(name: str, value: Any, limit: Any, kept: Any) -> None:
    database = scripted(1, timeout=None)
    database._max_connections = value
    assert own_of(database).runtime.state.limits.max_size == limit
    assert database._max_connections == kept


def test_settings_are_limits_at_the_time_they_are_made() -> None:
    database = scripted(1, timeout=None)
    seen = events_of(database)
    database._stale_timeout = 30
    database._stale_timeout = 30
    database.init("another", max_connections=2, stale_timeout=40, timeout=5, leak_after=7)
    configured = [event for event in seen if type(event) is Configure]
    assert all(event.now > 0 for event in configured)
    limits = own_of(database).runtime.state.limits
    assert (limits.max_size, limits.max_lifetime, limits.leak_after) == (2, 40, 7)
    assert len(configured) == 4, "what is as before is no change"
    assert (database._stale_timeout, database._wait_timeout) == (40, 5)
    assert own_of(database).tracks is own_of(database).told is True
    own_of(database).configure("leak_after", None)
    assert own_of(database).tracks is own_of(database).told is False


def test_a_timeout_of_nothing_is_for_ever_and_is_kept_as_that() -> None:
    database = scripted(1, timeout=0)
    assert database._wait_timeout == math.inf
    database._wait_timeout = 0
    assert database._wait_timeout == 0, "as it is kept, 0 is not at all"
    own_of(database).configure("timeout", 0)
    assert database._wait_timeout == math.inf


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_connections", -1), ("stale_timeout", "x"), ("timeout", -1), ("leak_after", -2)],
)
def test_settings_that_are_refused_leave_all_as_it_was(name: str, value: Any) -> None:
    database = scripted(3, timeout=4, stale_timeout=50)
    given = {"max_connections": 5, "stale_timeout": 60, "timeout": 6, "leak_after": 7, name: value}
    with pytest.raises(ValueError, match=f"{name}=.*allowed is"):
        database.init("another", **given)
    limits = own_of(database).runtime.state.limits
    assert (limits.max_size, limits.max_lifetime, limits.leak_after) == (3, 50, None)
    assert database._wait_timeout == 4


def test_a_leak_after_of_nothing_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="leak_after=0: allowed is a finite number of seconds"):
        scripted(1, leak_after=0)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("orders", "orders"),
        ("/var/data/orders.db", "/var/data/orders.db"),
        ("dbname=orders password=secret", None),
        ("postgresql://me:secret@there/orders", None),
        (None, None),
        (17, None),
    ],
)
def test_a_database_is_called_by_its_name_unless_a_password_could_be_in_it(
    name: Any, label: Any
) -> None:
    database = scripted(1, timeout=None)
    database.init(name)
    assert own_of(database).label() == label
    assert database.statistics().name == (label or "database")
    database.listen("leak", lambda _: None)
    assert own_of(database).journal.name == (label or "database")


# ---------------------------------------------------------------- what is forgotten


def test_a_database_that_is_disposed_of_holds_nothing() -> None:
    """In one event, at its time; what it had is left open, for another process has it."""
    database = scripted(2, timeout=None)
    seen = events_of(database)
    database.connect()
    connection = database.connection()
    database.dispose()
    (forked,) = [event for event in seen if type(event) is Forked]
    assert forked.now > 0
    assert database.is_closed()
    assert (lent(database), connection.closed) == ([], 0)
    leases = own_of(database).owners.session(database._state).leases
    assert leases.handles() == []


def test_a_child_process_begins_anew() -> None:
    """Whoever held a lock is not in it."""
    database = scripted(2, timeout=None)
    own, before = own_of(database), database._lock
    database.connect()
    condition = own.available()
    own.forgotten.add(7)
    own.by_thread[7] = None  # type: ignore[assignment]
    own.doomed[7] = None  # type: ignore[assignment]
    before.acquire()
    own.after_fork()
    assert database._lock is not before
    assert isinstance(database._lock, type(threading.Lock()))
    assert not database._lock.locked()
    assert own.available() is not condition
    assert (own.forgotten, own.by_thread, own.doomed) == (set(), {}, {})
    assert database.is_closed()


def test_a_database_for_one_thread_has_no_lock_to_be_made_anew() -> None:
    database = PooledScriptedDatabase("one", max_connections=1, timeout=None, thread_safe=False)
    before = database._lock
    own_of(database).after_fork()
    assert database._lock is before


def test_a_state_of_ones_own_may_have_nothing_to_forget() -> None:
    """Outside a request, say."""

    class Elsewhere(peewee._ConnectionState):  # type: ignore[misc]
        def reset(self) -> None:
            if getattr(self, "is_made", False):
                raise LookupError("outside a request")

    database = scripted(1, timeout=None)
    database._state = Elsewhere()
    database._state.is_made = True
    own_of(database).after_fork()


# ---------------------------------------------------------------- what programs reach for


def test_the_lock_and_condition_are_the_pools_or_those_put_in_their_place() -> None:
    database = scripted(1, timeout=None)
    own = own_of(database)
    assert own.is_lock_known is False
    assert database._pool_lock.monitor is own.runtime.monitor
    assert database._pool_lock is database._pool_lock
    assert own.is_lock_known is True
    assert database._pool_available is database._pool_available
    with database._pool_available:
        assert own.runtime.monitor.lock._is_owned()
    lock, condition = threading.RLock(), threading.Condition()
    database._pool_lock, database._pool_available = lock, condition
    assert database._pool_lock is lock
    assert database._pool_available is condition
    another = scripted(1, timeout=None)
    another._pool_lock = lock
    with another._pool_available:
        assert lock._is_owned()  # type: ignore[attr-defined]
