"""Wrong use and broken drivers: a clear error or none, and nothing is lost.

Theory.  After each misfortune the same three things are looked at: what the caller was told,
whether the room is free again (`whole`: as many connections can be had as before), and whether
every connection that was opened is closed or in the pool.
"""

from __future__ import annotations

import logging
import math
import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import peewee
import pytest

from pool.peewee import MaxConnectionsExceeded, PooledSqliteDatabase, settings
from tests.integration.databases import PooledScriptedDatabase
from tests.integration.drivers import (
    FOR_EVER,
    Call,
    Connection,
    Stop,
    idle,
    lent,
    nothing,
    raising,
)


@pytest.fixture
def make(sound_databases: Callable[..., Any]) -> Callable[..., Any]:
    return sound_databases


@pytest.fixture
def database(make: Callable[..., Any]) -> Any:
    """With at most two connections and no patience."""
    return make(2, timeout=None)


def whole(database: Any) -> None:
    """Two connections can be had, and no third."""
    for hook in ("on_connect", "on_alive", "on_reset", "on_close"):
        setattr(database.driver, hook, nothing)
    assert database.is_closed()
    for _ in range(2):
        database._state.closed = True
        database.connect()
    database._state.closed = True
    with pytest.raises(MaxConnectionsExceeded, match=r"max 2, in use 2, idle 0"):
        database.connect()
    for connection in lent(database):
        database._close(connection)
    database._state.reset()
    assert len(idle(database)) == 2


# ---------------------------------------------------------------- wrong use


def test_closing_twice(database: Any) -> None:
    database.connect()
    assert database.close() is True
    assert database.close() is False
    assert database.manual_close() is False
    assert len(idle(database)) == 1
    whole(database)


def test_closing_what_was_never_open(database: Any) -> None:
    assert database.close() is False
    assert database.manual_close() is False
    assert database.close_stale() == 0
    database.close_idle()
    database.close_all()
    database.close_all()
    database.dispose()
    whole(database)


def test_returning_a_connection_twice(database: Any) -> None:
    database.connect()
    connection = database.connection()
    database.close()
    database._close(connection)
    database._close(connection)
    assert idle(database) == [connection]
    whole(database)


def test_closing_a_connection_twice_leaves_its_successor_alone(database: Any) -> None:
    """The second `close` of one thread does not end the lease of the next one."""
    database.connect()
    connection = database.connection()
    database.close()
    handle = database._purepool.runtime.acquire(0)
    assert handle.connection is connection
    assert database.close() is False
    assert lent(database) == [connection]
    assert database._purepool.runtime.release(handle) is True
    assert database._purepool.runtime.release(handle) is False
    whole(database)


def test_a_connection_of_another_pool_is_not_taken(make: Callable[..., Any]) -> None:
    ours, theirs = make(2, timeout=None), make(2, timeout=None)
    theirs.connect()
    ours.connect()
    ours._close(theirs.connection())
    assert idle(ours) == []
    assert lent(ours) == [ours.connection()]
    assert lent(theirs) == [theirs.connection()]
    theirs.close()
    ours.close()
    whole(ours)
    whole(theirs)


def test_an_unknown_connection_is_closed_when_that_is_asked(database: Any) -> None:
    stranger = Connection(99)
    database._close(stranger, close_conn=True)
    assert stranger.closed == 1
    database._close(stranger)
    assert idle(database) == []
    whole(database)


def test_a_database_without_a_name(make: Callable[..., Any]) -> None:
    database: Any = PooledScriptedDatabase(None)
    for use in (database.connect, database.close, database.connection, database.close_all):
        with pytest.raises(peewee.InterfaceError, match="must be initialized"):
            use()
    database.init("named", max_connections=2)
    database.connect()
    assert database.close() is True


@pytest.mark.parametrize("how", ["close", "manual_close", "close_all"])
def test_no_closing_in_a_transaction(database: Any, how: str) -> None:
    database.connect()
    connection = database.connection()
    database.push_transaction(object())
    with pytest.raises(peewee.OperationalError, match="transaction is open"):
        getattr(database, how)()
    assert not database.is_closed()
    assert lent(database) == [connection]
    assert not connection.closed
    database.pop_transaction()
    getattr(database, how)()
    whole(database)


def test_autoconnect_off(database: Any) -> None:
    database.autoconnect = False
    with pytest.raises(peewee.InterfaceError, match="not opened"):
        database.cursor()
    whole(database)


# ---------------------------------------------------------------- drivers that raise


@pytest.mark.parametrize("error", [OSError("no route"), Stop("now")], ids=repr)
def test_connect_raises(database: Any, error: BaseException) -> None:
    """RUN-5: the room of a connect that failed is free again."""
    database.driver.on_connect = raising(error)
    for _ in range(5):
        with pytest.raises(type(error)) as caught:
            database.connect()
        assert caught.value is error
    assert database.is_closed()
    whole(database)


def test_errors_of_a_driver_become_those_of_peewee(database: Any) -> None:
    database.driver.on_connect = raising(sqlite3.OperationalError("unable to open"))
    with pytest.raises(peewee.OperationalError, match="unable to open"):
        database.connect()
    whole(database)


def test_a_file_that_cannot_be_opened(tmp_path: Any) -> None:
    database = PooledSqliteDatabase(str(tmp_path / "missing" / "file.db"), max_connections=1)
    for _ in range(3):
        with pytest.raises(peewee.OperationalError, match="unable to open"):
            database.connect()
    (tmp_path / "missing").mkdir()
    database.connect()
    assert database.execute_sql("select 1").fetchone() == (1,)
    database.close_all()


def test_ping_raises(database: Any) -> None:
    """It means that the connection is dead: the caller gets another one."""
    database.connect()
    first = database.connection()
    database.close()
    database.driver.on_alive = raising(OSError("broken pipe"))
    database.connect()
    assert database.connection() is not first
    assert first.closed == 1
    database.close()
    whole(database)


def test_ping_is_stopped(database: Any) -> None:
    database.connect()
    database.close()
    database.driver.on_alive = raising(Stop("now"))
    with pytest.raises(Stop):
        database.connect()
    assert database.is_closed()
    whole(database)


def test_every_ping_raises_and_no_connect_works(database: Any) -> None:
    database.connect()
    database.close()
    database.driver.on_alive = raising(OSError("broken pipe"))
    database.driver.on_connect = raising(OSError("no route"))
    with pytest.raises(OSError, match="no route"):
        database.connect()
    assert idle(database) == []
    whole(database)


def test_reset_raises(database: Any) -> None:
    """The connection is not fit for anybody: closed, and who returned it is not bothered."""
    database.connect()
    connection = database.connection()
    database.driver.on_reset = raising(OSError("broken pipe"))
    assert database.close() is True
    assert connection.closed == 1
    assert idle(database) == []
    whole(database)


def test_reset_is_stopped(database: Any) -> None:
    database.connect()
    connection = database.connection()
    database.driver.on_reset = raising(Stop("now"))
    with pytest.raises(Stop):
        database.close()
    assert database.is_closed()
    assert lent(database) == []
    whole(database)
    assert connection.closed == 1


CLOSES: dict[str, Callable[[Any], Any]] = {
    "manual_close": lambda database: database.manual_close(),
    "close_all": lambda database: database.close_all(),
    "close_stale": lambda database: database.close_stale(-1),
    "not reusable": lambda database: database.close(),
}


@pytest.mark.parametrize("how", CLOSES)
def test_close_raises(database: Any, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """An error from close is logged, never raised, and the room is free."""
    database.connect()
    connection = database.connection()
    database.driver.on_close = raising(OSError("broken pipe"))
    database.driver.on_reset = lambda _: False
    with caplog.at_level(logging.DEBUG, "peewee.pool"):
        CLOSES[how](database)
    database._state.reset()
    assert connection.closed == 1
    assert lent(database) == []
    [record] = [record for record in caplog.records if record.exc_info]
    assert "closing connection" in record.getMessage()
    assert "broken pipe" in str(record.exc_info[1])  # type: ignore[index]
    whole(database)


def test_close_idle_goes_on_after_an_error(database: Any) -> None:
    for _ in range(2):
        database._state.closed = True
        database.connect()
    for connection in lent(database):
        database._close(connection)
    database._state.reset()
    database.driver.on_close = raising(OSError("broken pipe"))
    database.close_idle()
    assert [connection.closed for connection in database.driver.opened] == [1, 1]
    whole(database)


def test_a_close_hook_of_a_subclass_raises(caplog: pytest.LogCaptureFixture) -> None:
    class Careless(PooledScriptedDatabase):
        def _close_raw(self, connection: Connection) -> None:
            raise OSError("broken pipe")

    database: Any = Careless("careless", max_connections=1)
    database.connect()
    database.driver.on_reset = lambda _: False
    with caplog.at_level(logging.WARNING, "pool"):
        assert database.close() is True
    assert "closing connection" in caplog.text
    assert "broken pipe" in caplog.text
    database.connect()


def test_a_key_function_that_raises(database: Any) -> None:
    """It is asked only for what is shown, and for a connection that nobody here has borrowed."""
    database.connect()
    kept = database.connection()
    database._state.reset()
    database.conn_key = raising(KeyError("no key"))
    assert database.connect()
    assert database.close()
    with pytest.raises(KeyError):
        len(database._in_use)
    database.conn_key = id
    database._close(kept)
    whole(database)


def test_a_failed_connect_leaves_the_threads_other_lease_alone(database: Any) -> None:
    """Only what was lent for this very connect may be taken back."""
    database.connect()
    first = database.connection()
    database._state.reset()
    database.connect()
    second = database.connection()
    database._state.reset()
    database._close(first, close_conn=True)
    database.driver.on_connect = raising(OSError("no route"))
    with pytest.raises(OSError, match="no route"):
        database.connect()
    assert lent(database) == [second]
    database.driver.on_connect = lambda: None
    database._close(second)
    whole(database)


def test_initialisation_raises(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with peewee the connection is there all the same, and can be returned."""
    with monkeypatch.context() as patch:
        patch.setattr(database, "_initialize_connection", raising(OSError("no such setting")))
        with pytest.raises(OSError, match="no such setting"):
            database.connect()
    assert not database.is_closed()
    assert database.close() is True
    whole(database)


# ---------------------------------------------------------------- settings


def make_settings(**settings: Any) -> Any:
    return PooledScriptedDatabase("settings", **settings)


def test_numbers_may_be_text() -> None:
    database = make_settings(max_connections="3", stale_timeout="10", timeout="2")
    assert database._max_connections == 3
    assert database._stale_timeout == 10
    assert database._wait_timeout == 2
    limits = database._purepool.runtime.state.limits
    assert (limits.max_size, limits.max_lifetime) == (3, 10)
    database.init("settings", max_connections="4", stale_timeout="11", timeout="0")
    assert database._purepool.runtime.state.limits.max_size == 4
    assert database._wait_timeout == math.inf


def test_fractions_stay() -> None:
    database = make_settings(max_connections=2.5, stale_timeout=0.5, timeout=0.25)
    assert database._max_connections == 2.5
    assert database._stale_timeout == 0.5
    assert database._wait_timeout == 0.25
    for _ in range(3):  # playhouse: while there are fewer than 2.5
        database._state.closed = True
        database.connect()
    database._state.closed = True
    with pytest.raises(MaxConnectionsExceeded):
        database.connect()


@pytest.mark.parametrize("unlimited", [0, None, "0", 0.0, math.inf])
def test_no_maximum(unlimited: Any) -> None:
    database = make_settings(max_connections=unlimited)
    for _ in range(100):
        database._state.closed = True
        database.connect()
    assert len(lent(database)) == 100


@pytest.mark.parametrize("never", [0, None, "0", math.inf])
def test_no_stale_timeout(never: Any) -> None:
    database = make_settings(stale_timeout=never)
    database.connect()
    database._in_use = {
        key: lease._replace(timestamp=0.0) for key, lease in database._in_use.items()
    }
    database.close()
    database.connect()
    assert len(database.driver.opened) == 1


@pytest.mark.parametrize("timeout", [None])
def test_a_timeout_that_is_over_at_once(timeout: Any) -> None:
    database = make_settings(max_connections=1, timeout=timeout)
    database.connect()
    call = Call(database.connect)
    with pytest.raises(MaxConnectionsExceeded, match="in use 1"):
        call.result()


@pytest.mark.parametrize("timeout", [0.05, 0.001])
def test_a_timeout_is_a_deadline(timeout: float) -> None:
    database = make_settings(max_connections=1, timeout=timeout)
    database.connect()
    began = time.monotonic()
    with pytest.raises(MaxConnectionsExceeded, match="timed out"):
        Call(database.connect).result()
    assert time.monotonic() - began >= timeout


@pytest.mark.parametrize("timeout", [0, "0", 0.0, 1e10, math.inf, FOR_EVER])
def test_a_timeout_without_an_end(timeout: Any) -> None:
    database = make_settings(max_connections=1, timeout=timeout)
    database.connect()
    call = Call(database.connect)
    call.join(0.01)
    database.close()
    call.result()


@pytest.mark.parametrize("name", ["max_connections", "stale_timeout", "wait_timeout"])
@pytest.mark.parametrize("value", [-1, -0.5, math.nan, "many", "-1", []])
def test_impossible_settings_are_refused(name: str, value: Any) -> None:
    """With an error that says what was wrong; a setting that is refused changes nothing."""
    argument = name.replace("wait_", "")
    wrong = rf"^{argument}={re.escape(repr(value))}: allowed is "
    with pytest.raises(ValueError, match=wrong):
        make_settings(**{argument: value})
    database = make_settings(max_connections=2, stale_timeout=100, timeout=7)
    before = database._purepool.runtime.state
    with pytest.raises(ValueError, match=wrong):
        setattr(database, f"_{name}", value)
    with pytest.raises(ValueError, match=wrong):
        database.init("settings", **{argument: value})
    assert database._purepool.runtime.state is before
    assert (database._max_connections, database._stale_timeout) == (2, 100)
    assert database._wait_timeout == 7


@pytest.mark.parametrize("name", ["max_connections", "stale_timeout", "timeout"])
def test_what_is_no_number_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z_]+='many': allowed is "):
        make_settings(**{name: "many"})


@pytest.mark.parametrize("value", [5j, [7], math.nan, -1])
def test_what_is_no_number_is_refused_with_what_is_allowed(value: Any) -> None:
    allowed = "a number of seconds, at least 0, where 0 waits for ever, or None not to wait"
    with pytest.raises(ValueError, match="timeout") as found:
        settings.number("timeout", value)
    assert str(found.value) == f"timeout={value!r}: allowed is {allowed}"


def test_for_ever_is_no_number_of_seconds() -> None:
    assert settings.patience(math.inf) is None
    assert settings.patience("5") == 5.0
    assert settings.patience(None) == settings.patience(0) == 0.0
