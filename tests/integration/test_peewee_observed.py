"""What an operator of a pooled database is told: notices, leaks, the lines of those who hold.

Theory.  The same as of `pool.Pool`, where peewee's users call it: `listen` and `leak_after`.  And
what a `connect` that fails leaves alone: whatever was lent before it.
"""

from __future__ import annotations

import logging
from typing import Any

import peewee
import pytest
from playhouse.pool import MaxConnectionsExceeded

from tests.integration.databases import PooledScriptedDatabase, scripted
from tests.integration.drivers import FOR_EVER, idle, lent, nothing, raising

KINDS = ("connect", "checkout", "checkin", "close", "refuse", "leak")


def listened(database: Any) -> list[Any]:
    notices: list[Any] = []
    for kind in KINDS:
        database.listen(kind, notices.append)
    return notices


def told(notices: list[Any]) -> list[str]:
    """The kinds of these, which are then gone."""
    kinds = [notice.kind for notice in notices]
    notices.clear()
    return kinds


def test_a_checkout_is_told_step_by_step() -> None:
    database = scripted(1)
    notices = listened(database)
    database.connect()
    connection = database.connection()
    assert [(notice.kind, notice.connection, notice.pool) for notice in notices] == [
        ("connect", connection, "scripted"),
        ("checkout", connection, "scripted"),
    ]
    assert all(notice.seconds >= 0 for notice in notices)
    notices.clear()
    database.close()
    assert [(notice.kind, notice.connection) for notice in notices] == [("checkin", connection)]
    notices.clear()
    database.connect()
    assert told(notices) == ["checkout"]
    database.manual_close()
    assert notices[-1].connection is connection
    assert told(notices) == ["checkin", "close"]


def test_a_refusal_is_told() -> None:
    database = scripted(1, timeout=None)
    database._connect()
    notices = listened(database)
    with pytest.raises(MaxConnectionsExceeded) as caught:
        database.connect()
    (notice,) = notices
    assert notice.kind == "refuse"
    assert notice.error is caught.value


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind='return'"):
        scripted(1).listen("return", print)


def borrow(database: Any) -> None:
    database.connect()
    database._state.closed = True  # it stays lent


def test_who_holds_a_connection_for_long_is_named(caplog: Any) -> None:
    database = scripted(2, timeout=None, leak_after=5)
    now = [1000.0]
    database._purepool.runtime.clock = lambda: now[0]
    notices = listened(database)
    borrow(database)
    (holding,) = database.holders()
    assert holding.line.endswith("in borrow")
    now[0] += 6
    database._purepool._next_look = 0.0  # a second later by the clock that tests do not set
    notices.clear()
    with caplog.at_level(logging.WARNING, "peewee.pool"):
        borrow(database)
    (leak,) = [notice for notice in notices if notice.kind == "leak"]
    assert leak.connection is database.driver.opened[0]
    assert leak.seconds == 6
    assert "in borrow" in leak.stack
    assert "has been held for 6.0 s" in caplog.text
    with pytest.raises(MaxConnectionsExceeded, match=r"for 6\.0 s at .* in borrow"):
        database.connect()
    database._purepool._next_look = 0.0
    with pytest.raises(MaxConnectionsExceeded):
        database.connect()
    assert told(notices).count("leak") == 1  # once


def test_without_leak_after_nobody_is_asked_for_lines() -> None:
    database = scripted(1, timeout=None)
    borrow(database)
    assert database.holders()[0].line is None
    with pytest.raises(MaxConnectionsExceeded) as caught:
        database.connect()
    assert "in borrow" not in str(caught.value)


class Fallible(PooledScriptedDatabase):
    fails = False

    def _connect(self) -> Any:
        if self.fails:
            raise ConnectionError("before the pool was asked")
        return super()._connect()


@pytest.mark.parametrize("timeout", [None, 1000.0])
@pytest.mark.parametrize("idle", [0, 1])
def test_a_connect_that_fails_ends_no_lease_but_its_own(timeout: Any, idle: int) -> None:
    database = Fallible("scripted", max_connections=3, timeout=timeout)
    if idle:
        database._close(database._connect())
    database.connect()
    first = database.connection()
    database._state.closed = True
    if idle:
        database._close(PooledScriptedDatabase._connect(database))
    database.fails = True
    with pytest.raises(Exception, match="before the pool was asked"):
        database.connect()
    assert lent(database) == [first]
    assert not first.closed


def test_the_key_is_asked_only_of_what_somebody_looks_at() -> None:
    database = scripted(2)
    asked: list[Any] = []

    def key(connection: Any) -> int:
        asked.append(connection)
        return id(connection)

    database.conn_key = key
    for _ in range(2):
        database.connect()
        database.close()
    assert asked == []
    database.connect()
    assert list(database._in_use) == [id(database.connection())]
    assert asked == [database.connection()]


def test_a_connect_inside_a_connect_is_refused() -> None:
    database = scripted(2)
    errors: list[BaseException] = []

    def again() -> None:
        try:
            database.connect()
        except Exception as error:
            errors.append(error)

    database.driver.on_connect = again
    database.connect()
    (error,) = errors
    assert str(error).startswith("Connection is being opened: called from inside connect()")
    assert lent(database) == [database.connection()]
    database.close()
    database.driver.on_connect = raising(ConnectionError)
    assert database.connect()


def test_a_close_inside_a_close_is_left_to_it() -> None:
    """By a hook, as by the handler of a signal: nothing is given back twice, or lent and lost."""
    database = scripted(2)
    answers: list[Any] = []

    def again(_: Any) -> None:
        answers.append((database.close(), database.manual_close()))
        with pytest.raises(peewee.OperationalError, match="already opened"):
            database.connect()

    database.connect()
    (connection,) = lent(database)
    database.driver.on_reset = again
    assert database.close() is True
    assert answers == [(False, False)]
    assert database.is_closed()
    assert (lent(database), idle(database)) == ([], [connection])
    database.driver.on_reset = nothing
    database.connect()
    assert database.close() is True


def test_a_connect_inside_close_all_does_not_wait() -> None:
    """What it would wait for is closed by the very thread."""

    class Eager(PooledScriptedDatabase):
        def close_idle(self) -> None:
            with pytest.raises(MaxConnectionsExceeded, match="this thread is in the middle"):
                self.connect()
            super().close_idle()

    database = Eager("eager", max_connections=1, timeout=FOR_EVER)
    database.connect()
    database.close_all()
    assert (lent(database), [it.closed for it in database.driver.opened]) == ([], [1])


def test_a_log_that_is_switched_on_in_the_middle(caplog: pytest.LogCaptureFixture) -> None:
    database = scripted(1)
    database.connect()
    caplog.set_level(logging.DEBUG, logger="peewee.pool")
    database.close()
    assert [record.getMessage().split()[0] for record in caplog.records] == ["Returning"]


def test_what_was_taken_out_by_hand_is_still_closed() -> None:
    database = scripted(2)
    database.connect()
    database._in_use = {}
    database.manual_close()
    assert [connection.closed for connection in database.driver.opened] == [1]
    assert database._purepool.forgotten == set()
    database.close_all()
    assert [connection.closed for connection in database.driver.opened] == [1]
