"""What the differential machine found, one test for each, and rows of the table that it needs.

Theory.  `pool.check.machines.differential` compares the drop-in with playhouse's pool in random
histories.  Here is what came of it, said plainly: first the intended differences that had not
been written down, then what was a fault and is one no longer.
"""

from __future__ import annotations

import contextvars
import heapq
import time
from typing import Any

import peewee
import pytest
from playhouse.pool import MaxConnectionsExceeded, PoolConnection

from tests.integration.databases import PooledScriptedDatabase, scripted
from tests.integration.drivers import Connection, Stop, idle, lent, raising


class Clock:
    """It is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(clock: Clock) -> Any:
    """At most two connections, stale after ten seconds, no patience."""
    database = scripted(2, timeout=None, stale_timeout=10)
    database._purepool.runtime.clock = clock
    return database


def put(database: Any, created: float, connection: Connection) -> None:
    database._heap_counter += 1
    heapq.heappush(database._connections, (created, database._heap_counter, connection))


# ---------------------------------------------------------------- intended


def test_settings_as_properties_of_a_subclass() -> None:
    """A program that wants to change one while it runs assigns it."""

    class Narrow(PooledScriptedDatabase):
        @property
        def _max_connections(self) -> Any:
            return 1

        @_max_connections.setter
        def _max_connections(self, value: Any) -> None:
            PooledScriptedDatabase._max_connections.fset(self, value)

    database = Narrow("scripted", max_connections=3, timeout=None)
    for _ in range(2):
        database.connect()
        database._state.closed = True
    database._max_connections = 2
    with pytest.raises(MaxConnectionsExceeded, match="max 2, in use 2"):
        database.connect()
    database.close_all()


def test_the_age_counts_from_before_the_connect(database: Any, clock: Clock) -> None:
    def slow() -> None:
        clock.now += 3

    database.driver.on_connect = slow
    database.connect()
    [lease] = database._in_use.values()
    assert (lease.timestamp, lease.checked_out) == (1000.0, 1003.0)


def test_what_the_hooks_are_asked(database: Any, clock: Clock) -> None:
    """One that comes back is asked first, and judged then; one that is stale is not asked."""
    asked: list[str] = []
    database.driver.on_alive = lambda _: asked.append("dead?")
    database.driver.on_reset = lambda _: asked.append("reusable?")
    database.connect()
    clock.now += 10
    database.close()
    assert asked == ["reusable?"]
    assert database.driver.opened[0].closed == 1
    database.connect()
    database.close()
    clock.now += 10
    database.connect()
    assert asked == ["reusable?", "reusable?"]
    assert database.driver.opened[1].closed == 1


def test_more_pushed_than_the_maximum(database: Any) -> None:
    """They are closed with the next thing that happens, the youngest first."""
    pushed = [Connection(number) for number in range(101, 105)]
    for connection in pushed:
        put(database, 995.0 + connection.number / 128, connection)
    database.close_stale()
    assert idle(database) == pushed[:2]
    assert [connection.closed for connection in pushed] == [0, 0, 1, 1]


# ---------------------------------------------------------------- faults that were


def test_not_stale_before_its_time(database: Any, clock: Clock) -> None:
    """Lives were up to a tenth shorter than `stale_timeout`, to spread them."""
    for _ in range(10):
        database.connect()
        connection = database.connection()
        clock.now += 9.75
        database.close()
        database.connect()
        assert database.connection() is connection
        database.manual_close()


def test_a_clock_that_is_put_back(database: Any, clock: Clock) -> None:
    """What seemed to have rested for less than nothing was lent without a question."""
    database.connect()
    connection = database.connection()
    database.close()
    connection.alive = False
    clock.now -= 5
    database.connect()
    assert database.connection() is not connection
    assert connection.closed == 1


class Patient(PooledScriptedDatabase):
    """Its connections live five times as long as others."""

    def _is_stale(self, timestamp: float) -> bool:
        return self._purepool.runtime.clock() - timestamp > 5 * self._stale_timeout


def test_a_verdict_that_lets_live(clock: Clock) -> None:
    """The pool closed what was older than `stale_timeout` whatever `_is_stale` said."""
    database: Any = Patient("patient", max_connections=2, stale_timeout=10)
    database._purepool.runtime.clock = clock
    database.connect()
    connection = database.connection()
    clock.now += 40
    database.close()
    database.connect()
    assert database.connection() is connection
    clock.now += 20
    database.close()
    assert connection.closed == 1


def test_a_verdict_on_a_changed_time(clock: Clock) -> None:
    """`_is_stale` was given the time from before the change."""
    database: Any = Patient("patient", max_connections=2, stale_timeout=10)
    database._purepool.runtime.clock = clock
    database.connect()
    connection = database.connection()
    lease = database._in_use[id(connection)]
    database._in_use[id(connection)] = lease._replace(timestamp=900.0)
    database.close()
    assert connection.closed == 1


def test_a_connection_that_was_lost_and_put_in_again_is_returned(database: Any) -> None:
    """`_close` looked at the thread's old lease only, and the new one stayed for ever."""
    database.connect()
    connection = database.connection()
    del database._in_use[id(connection)]
    database.close_stale()
    database._in_use[id(connection)] = PoolConnection(1000.0, connection, 1000.0)
    database.close()
    assert lent(database) == []
    assert idle(database) == [connection]


def test_dispose_closes_nothing_that_was_pushed(database: Any) -> None:
    """There were too many; but what is forgotten need not be counted."""
    pushed = [Connection(number) for number in range(101, 105)]
    for connection in pushed:
        put(database, 995.0, connection)
    database.dispose()
    assert [connection.closed for connection in pushed] == [0, 0, 0, 0]
    assert database._connections == []


def test_interrupted_while_returning_what_was_put_in(database: Any) -> None:
    """Its lease stayed: it has no ticket, and that was taken for no lease."""
    connection = Connection(101)
    database._in_use[id(connection)] = PoolConnection(1000.0, connection, 1000.0)
    database.driver.on_reset = raising(Stop("now"))
    with pytest.raises(Stop):
        database._close(connection)
    database.close_stale()
    assert lent(database) == []
    assert connection.closed == 1


def test_a_clock_that_a_test_suite_puts_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """As playhouse does, the pool asks for `time.time` each time."""
    database = scripted(2, timeout=None, stale_timeout=10)
    database.connect()
    connection = database.connection()
    database.close()
    later = time.time() + 60
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        database.connect()
        assert database.connection() is not connection
        database.close()
    assert connection.closed == 1


class StateOfContext(peewee._ConnectionState):  # type: ignore[misc]  # peewee has no types
    """One for each context, as web frameworks put it in place of peewee's for each thread."""

    def __init__(self) -> None:
        attributes: Any = contextvars.ContextVar("attributes", default={})  # noqa: B039  # never changed
        super().__setattr__("attributes", attributes)
        super().__init__()

    def __setattr__(self, name: str, value: Any) -> None:
        self.attributes.set(self.attributes.get() | {name: value})

    def __getattr__(self, name: str) -> Any:
        return self.attributes.get()[name]


@pytest.mark.parametrize("thread_safe", [True, False])
def test_a_state_of_ones_own(thread_safe: bool) -> None:
    """It was not looked at: nothing could be done after the first `connect`."""
    database = scripted(2, timeout=None, thread_safe=thread_safe)
    database._state = StateOfContext()
    one, other = contextvars.copy_context(), contextvars.copy_context()
    for context in (one, other):
        assert context.run(database.connect)
    connections = [context.run(database.connection) for context in (one, other)]
    assert connections == database.driver.opened
    assert lent(database) == connections
    assert database.is_closed()
    for context in (one, other):
        assert not context.run(database.is_closed)
        assert context.run(database.close)
    assert idle(database) == connections
    assert database.broken == []


def test_peewees_state_put_in_place_anew(database: Any) -> None:
    """Of the kind that it was, and of the other."""
    for state in (peewee._ConnectionLocal(), peewee._ConnectionState()):
        database._state = state
        database.connect()
        assert not database.is_closed()
        assert database.close()
    assert len(database.driver.opened) == 1
