"""Everything that peewee's own suite for `playhouse.pool` asks for, by tests of our own.

Each test here runs twice: against `playhouse.pool`, which shows that it states peewee's behaviour,
and against `pool.peewee`, which has to behave the same.  The integration tests run against
`pool.peewee` on every database there is.

A test of peewee's -> ours.  `test_the_table_is_whole` compares this table with this module.

TestPooledDatabase
    test_connection_pool -> test_the_connection_comes_back
    test_reuse_connection -> test_connecting_twice
    test_concurrent_connections -> test_threads_at_once_get_connections_of_their_own
    test_max_conns -> test_the_maximum_is_kept
    test_stale_timeout -> test_stale_when_returned
    test_stale_on_checkout -> test_stale_when_lent
    test_manual_close -> test_manual_close_closes_for_good
    test_close_idle -> test_close_idle_spares_what_is_in_use
    test_close_stale -> test_close_stale_counts_from_the_checkout
    test_close_all -> test_close_all_closes_ones_own_too
    test_stale_timeout_cascade -> test_all_stale_ones_are_passed_over
    test_connect_cascade -> test_stale_and_dead_ones_are_passed_over
    test_db_context -> test_the_database_as_a_context
    test_db_context_threads -> test_the_database_as_a_context_in_threads
    test_heap_counter_deterministic_ordering -> test_same_age_keeps_its_order
    test_close_conn_removes_from_in_use -> test_close_conn_closes_and_forgets
    test_double_close_is_noop -> test_returning_twice_does_nothing
    test_can_reuse_false_closes_connection -> test_what_cannot_be_reused_is_closed
    test_close_raw_swallows_exception -> test_close_raw_raises_nothing
    test_close_stale_removes_from_in_use -> test_close_stale_closes_and_forgets
    test_close_all_clears_both_pools -> test_close_all_empties_everything
    test_connect_timeout_with_condition_variable -> test_the_timeout_is_waited_for
    test_connect_timeout_wakes_on_return -> test_a_returned_connection_wakes_who_waits
    test_connect_timeout_zero_becomes_infinite -> test_a_timeout_of_zero_is_for_ever
    test_close_all_wakes_waiters -> test_close_all_wakes_who_waits
    test_close_stale_iteration -> test_close_stale_closes_all_that_are
    test_concurrent_close_stale_and_return -> test_close_stale_while_others_return
    test_manual_close_when_already_closed -> test_manual_close_of_nothing
    test_close_idle_driver_closes_all -> test_close_idle_closes_each
    test_max_connections_zero_means_unlimited -> test_zero_is_no_maximum
    test_stale_and_closed_all_skipped -> test_nothing_fit_is_left
    test_init_updates_pool_parameters -> test_init_changes_the_settings
    test_init_timeout_zero_becomes_infinite -> test_init_with_a_timeout_of_zero
TestLivePooledDatabase
    test_reuse_connection -> test_live_the_connection_comes_back
    test_db_context -> test_live_the_database_as_a_context
    test_bad_connection -> test_live_a_failed_statement_spoils_nothing
TestPooledDatabaseIntegration
    test_pooled_database_integration -> test_integration_connections_are_counted
    test_pool_with_models -> test_integration_models_in_threads
"""

from __future__ import annotations

import heapq
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peewee
import playhouse.pool
import pytest

import pool.peewee
from tests.integration.drivers import FOR_EVER, PATIENCE, Call

POOLS = {"playhouse": playhouse.pool, "purepool": pool.peewee}


class NumberedDatabase(peewee.SqliteDatabase):
    """Its connections are the numbers from `last` + 1; it remembers which were closed."""

    def __init__(self, *arguments: Any, last: int = 0, **settings: Any) -> None:
        self.last = last
        self.closed: list[int] = []
        self.log: list[str] = []
        super().__init__(*arguments, **settings)

    def _connect(self) -> int:
        self.last += 1
        return self.last

    def _close(self, connection: int) -> None:
        self.closed.append(connection)

    def transaction(self) -> Any:
        return LoggedTransaction(self)


class LoggedTransaction(peewee._transaction):
    """A transaction that is only a line in a log."""

    def __enter__(self) -> None:
        self.number = self.db.connection()
        self.db.log.append(f"begin {self.number}")
        self.db.push_transaction(self)

    def __exit__(self, *_: object) -> None:
        self.db.log.append(f"end {self.number}")
        self.db.pop_transaction()


@pytest.fixture(params=POOLS)
def kind(request: pytest.FixtureRequest) -> type[Any]:
    """A pooled class of numbers, over playhouse's pool and over ours."""

    class PooledNumbers(POOLS[request.param].PooledDatabase, NumberedDatabase):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__("numbers", *arguments, **settings)
            self.conn_key = lambda connection: connection

    return PooledNumbers


@pytest.fixture
def database(kind: type[Any]) -> Any:
    return kind()


def put(database: Any, created: float, connection: Any) -> None:
    """Put an idle connection into the pool by hand, as programs do."""
    database._heap_counter += 1
    heapq.heappush(database._connections, (created, database._heap_counter, connection))


def lend(database: Any, connection: Any, created: float, checked_out: float) -> None:
    """Put a connection in use into the pool by hand."""
    lease = playhouse.pool.PoolConnection(created, connection, checked_out)
    database._in_use[connection] = lease


def connect_again(database: Any) -> int:
    """A further connection for this thread, which keeps those it has."""
    database._state.closed = True
    database.connect()
    number: int = database.connection()
    return number


def idle(database: Any) -> list[int]:
    return [connection for _, _, connection in sorted(database._connections)]


# ---------------------------------------------------------------- TestPooledDatabase


def test_the_connection_comes_back(database: Any) -> None:
    assert [database.connection(), database.connection()] == [1, 1]
    database.close()
    database.connect()
    assert database.connection() == 1


def test_connecting_twice(database: Any) -> None:
    assert database.connection() == 1
    with pytest.raises(peewee.OperationalError, match="already opened"):
        database.connect()
    assert database.connect(reuse_if_open=True) is False
    assert database.connection() == 1
    assert database.close() is True
    assert database.connect(reuse_if_open=True) is True
    assert database.connection() == 1


def test_threads_at_once_get_connections_of_their_own(database: Any) -> None:
    everybody = threading.Barrier(5)

    def work() -> None:
        database.connect()
        everybody.wait(PATIENCE)
        database.close()

    for call in [Call(work) for _ in range(5)]:
        call.result()
    assert database.last == 5
    assert sorted(idle(database)) == [1, 2, 3, 4, 5]
    assert database._in_use == {}


def test_the_maximum_is_kept(database: Any) -> None:
    assert database._max_connections == 20
    assert [connect_again(database) for _ in range(20)] == list(range(1, 21))
    with pytest.raises(ValueError, match="maximum connections"):
        connect_again(database)
    with pytest.raises(playhouse.pool.MaxConnectionsExceeded):
        connect_again(database)
    assert database.last == 20


def test_stale_when_returned(kind: type[Any]) -> None:
    database = kind(stale_timeout=0.001)
    assert database.connection() == 1
    assert 1 in database._in_use
    long_ago = time.time() - 1
    database._in_use[1] = playhouse.pool.PoolConnection(long_ago, 1, long_ago)
    database.close()
    assert (database._in_use, database._connections, database.closed) == ({}, [], [1])
    assert database.connection() == 2


def test_stale_when_lent(kind: type[Any]) -> None:
    database = kind(stale_timeout=30)
    assert database.connection() == 1
    assert list(database._in_use) == [1]
    database.close()
    assert database._in_use == {}
    assert idle(database) == [1]
    _, number, connection = database._connections[0]
    database._connections[0] = (time.time() - 31, number, connection)
    assert database.connection() == 2
    assert database.closed == [1]


def test_manual_close_closes_for_good(database: Any) -> None:
    assert database.connection() == 1
    database.manual_close()
    assert (database._connections, database._in_use, database.closed) == ([], {}, [1])
    assert database.is_closed()
    assert database.connection() == 2
    assert database._connections == []
    assert list(database._in_use) == [2]
    database.close()
    assert database.connection() == 2


def test_close_idle_spares_what_is_in_use(kind: type[Any]) -> None:
    database = kind(last=3)
    now = time.time()
    for age, connection in ((10, 3), (5, 2), (1, 1)):
        put(database, now - age, connection)
    assert database.connection() == 3
    assert 3 in database._in_use
    database.close_idle()
    assert database._connections == []
    assert list(database._in_use) == [3]
    assert database.connection() == 3
    database.manual_close()
    assert database.connection() == 4


def test_close_stale_counts_from_the_checkout(kind: type[Any]) -> None:
    database = kind(last=4)
    now = time.time()
    lend(database, 1, now - 400, now - 300)
    lend(database, 2, now - 201, now - 201)
    lend(database, 3, now - 300, now - 100)
    lend(database, 4, now, now)
    assert database.close_stale(age=200) == 2
    assert sorted(database._in_use) == [3, 4]


def test_close_all_closes_ones_own_too(kind: type[Any]) -> None:
    database = kind(last=3)
    now = time.time()
    for age, connection in ((10, 3), (5, 2), (1, 1)):
        put(database, now - age, connection)
    assert database.connection() == 3
    assert 3 in database._in_use
    database.close_all()
    assert (database._connections, database._in_use) == ([], {})
    assert database.connection() == 4


def test_all_stale_ones_are_passed_over(kind: type[Any]) -> None:
    database = kind(stale_timeout=10)
    now = time.time()
    for age, connection in ((20, 1), (15, 2), (5, 3), (0, 4)):
        put(database, now - age, connection)
    assert database.connection() == 3
    assert list(database._in_use) == [3]
    assert idle(database) == [4]


def test_stale_and_dead_ones_are_passed_over(kind: type[Any]) -> None:
    class SomeAreDead(kind):
        def _is_closed(self, connection: int) -> bool:
            return connection in (2, 4)

    database = SomeAreDead(stale_timeout=10, last=4)
    now = time.time()
    for age, connection in ((15, 1), (5, 2), (3, 3), (0, 4)):
        put(database, now - age, connection)
    assert database.connection() == 3
    assert list(database._in_use) == [3]
    assert database._in_use[3].timestamp == now - 3
    assert database._in_use[3].connection == 3
    assert idle(database) == [4]
    assert connect_again(database) == 5
    assert sorted(database._in_use) == [3, 5]
    assert database._connections == []


def test_the_database_as_a_context(database: Any) -> None:
    assert database.connection() == 1
    with database:
        assert database.connection() == 1
        assert database.log == ["begin 1"]
        assert database.connection() == 1
    assert database.log == ["begin 1", "end 1"]
    with database:
        assert database.connection() == 1
    assert idle(database) == [1]
    assert database._in_use == {}


def test_the_database_as_a_context_in_threads(database: Any) -> None:
    everybody = threading.Barrier(5)

    def work() -> None:
        with database:
            everybody.wait(PATIENCE)

    for call in [Call(work) for _ in range(5)]:
        call.result()
    assert database.last == 5
    assert len(database._connections) == 5
    assert database._in_use == {}


def test_same_age_keeps_its_order(database: Any) -> None:
    now = time.time()
    for connection in "abc":
        put(database, now, connection)
    popped = []
    while database._connections:
        popped.append(heapq.heappop(database._connections)[2])
    assert popped == ["a", "b", "c"]


def test_close_conn_closes_and_forgets(database: Any) -> None:
    assert database.connection() == 1
    assert 1 in database._in_use
    database._close(1, close_conn=True)
    assert 1 not in database._in_use
    assert database.closed == [1]


def test_returning_twice_does_nothing(database: Any) -> None:
    assert database.connection() == 1
    database.close()
    assert 1 not in database._in_use
    database._close(1)
    assert database.closed == []
    assert idle(database) == [1]


def test_what_cannot_be_reused_is_closed(kind: type[Any]) -> None:
    class Disposable(kind):
        def _can_reuse(self, connection: int) -> bool:
            return False

    database = Disposable()
    assert database.connection() == 1
    database.close()
    assert (database.closed, database._connections, database._in_use) == ([1], [], {})
    assert database.connection() == 2


def test_close_raw_raises_nothing(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(database: Any, connection: int) -> None:
        asked.append(connection)
        raise RuntimeError("the driver is broken")

    monkeypatch.setattr(NumberedDatabase, "_close", broken)
    kind()._close_raw(1337)
    assert asked == [1337]


def test_close_stale_closes_and_forgets(kind: type[Any]) -> None:
    database = kind(last=2)
    now = time.time()
    lend(database, 1, now - 1000, now - 1000)
    lend(database, 2, now, now)
    assert database.close_stale(age=500) == 1
    assert list(database._in_use) == [2]
    assert database.closed == [1]


def test_close_all_empties_everything(kind: type[Any]) -> None:
    database = kind(last=4)
    now = time.time()
    put(database, now - 5, 1)
    put(database, now - 1, 2)
    lend(database, 3, now, now)
    lend(database, 4, now, now)
    connect_again(database)
    assert database.conn_key(database.connection()) in database._in_use
    database.close_all()
    assert (database._connections, database._in_use) == ([], {})
    assert sorted(database.closed) == [1, 2, 3, 4]


def test_the_timeout_is_waited_for(kind: type[Any]) -> None:
    database = kind(max_connections=1, timeout=0.15)
    assert database.connection() == 1
    began = time.monotonic()
    call = Call(connect_again, database)
    with pytest.raises(playhouse.pool.MaxConnectionsExceeded):
        call.result()
    assert time.monotonic() - began >= 0.15


def test_a_returned_connection_wakes_who_waits(kind: type[Any]) -> None:
    database = kind(max_connections=1, timeout=FOR_EVER)
    assert database.connection() == 1
    call = Call(connect_again, database)
    database.close()  # before the other asks, or while it waits: it gets this one either way
    assert call.result() == 1


def test_a_timeout_of_zero_is_for_ever(kind: type[Any]) -> None:
    assert kind(max_connections=1, timeout=0)._wait_timeout == math.inf


def test_close_all_wakes_who_waits(kind: type[Any]) -> None:
    database = kind(max_connections=1, timeout=FOR_EVER)
    assert database.connection() == 1
    call = Call(connect_again, database)
    call.join(0.01)  # so that it usually waits; what follows holds in any case
    database.close_all()
    assert call.result() == 2


def test_close_stale_closes_all_that_are(kind: type[Any]) -> None:
    database = kind(last=10)
    long_ago = time.time() - 1000
    for connection in range(1, 11):
        lend(database, connection, long_ago, long_ago)
    assert database.close_stale(age=500) == 10
    assert database._in_use == {}
    assert sorted(database.closed) == list(range(1, 11))


def test_close_stale_while_others_return(kind: type[Any]) -> None:
    database = kind(max_connections=20)
    everybody = threading.Barrier(11)

    def work() -> None:
        database.connect()
        everybody.wait(PATIENCE)
        everybody.wait(PATIENCE)
        database.close()

    calls = [Call(work) for _ in range(10)]
    everybody.wait(PATIENCE)
    long_ago = time.time() - 10_000
    for number, key in enumerate(list(database._in_use)):
        if number % 2 == 0:
            lease = database._in_use[key]
            database._in_use[key] = lease._replace(checked_out=long_ago)
    everybody.wait(PATIENCE)
    closed = database.close_stale(age=5000)
    for call in calls:
        call.result()
    assert 0 <= closed <= 5
    assert database._in_use == {}
    assert len(database._connections) == 10 - closed
    assert sorted([*idle(database), *database.closed]) == list(range(1, 11))


def test_manual_close_of_nothing(database: Any) -> None:
    assert database.manual_close() is False
    database.connect()
    database.close()
    assert database.manual_close() is False
    assert database.closed == []


def test_close_idle_closes_each(kind: type[Any]) -> None:
    database = kind(last=5)
    now = time.time()
    for connection in range(1, 6):
        put(database, now - connection, connection)
    database.close_idle()
    assert database._connections == []
    assert sorted(database.closed) == [1, 2, 3, 4, 5]


def test_zero_is_no_maximum(kind: type[Any]) -> None:
    database = kind(max_connections=0)
    assert [connect_again(database) for _ in range(50)] == list(range(1, 51))
    assert len(database._in_use) == 50


def test_nothing_fit_is_left(kind: type[Any]) -> None:
    class AllAreDead(kind):
        def _is_closed(self, connection: int) -> bool:
            return True

    database = AllAreDead(stale_timeout=10, last=2)
    now = time.time()
    put(database, now - 20, 1)
    put(database, now, 2)
    assert database.connection() == 3
    assert database._connections == []
    assert list(database._in_use) == [3]


def settings(database: Any) -> tuple[Any, ...]:
    return database._max_connections, database._stale_timeout, database._wait_timeout


def test_init_changes_the_settings(kind: type[Any]) -> None:
    database = kind(max_connections=5, stale_timeout=10, timeout=2)
    assert settings(database) == (5, 10, 2)
    database.init("numbers", max_connections=50, stale_timeout=100, timeout=20)
    assert settings(database) == (50, 100, 20)
    database.init("numbers")
    assert settings(database) == (50, 100, 20)


def test_init_with_a_timeout_of_zero(kind: type[Any]) -> None:
    database = kind(timeout=5)
    assert database._wait_timeout == 5
    database.init("numbers", timeout=0)
    assert database._wait_timeout == math.inf


# ---------------------------------------------------------------- TestLivePooledDatabase


class Register(peewee.Model):
    """A table with one column."""

    value = peewee.IntegerField()


def numbers() -> list[int]:
    return [row.value for row in Register.select().order_by(Register.value)]


@pytest.fixture(params=POOLS)
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A SQLite file with a table, over playhouse's pool and over ours."""

    class Live(POOLS[request.param].PooledDatabase, peewee.SqliteDatabase):
        pass

    database = Live(str(tmp_path / "live.db"))
    with database.bind_ctx([Register]):
        database.create_tables([Register])
        yield database
    database.close_all()


def test_live_the_connection_comes_back(live: Any) -> None:
    for number in range(5):
        Register.create(value=number)
    connection = live.connection()
    live.close()
    for number in range(5, 10):
        Register.create(value=number)
    assert live.connection() is connection
    assert numbers() == list(range(10))


def test_live_the_database_as_a_context(live: Any) -> None:
    live.close()
    with live:
        Register.create(value=1)
        with live.atomic() as inner:
            assert isinstance(inner, peewee._savepoint)
            Register.create(value=2)
            inner.rollback()
        with live.atomic() as inner:
            assert isinstance(inner, peewee._savepoint)
            Register.create(value=3)
    with live:
        assert numbers() == [1, 3]


def test_live_a_failed_statement_spoils_nothing(live: Any) -> None:
    live.connection()
    with pytest.raises(peewee.OperationalError):
        live.execute_sql("select 1 from nowhere")
    live.close()
    live.connect()
    assert live.execute_sql("select 1").fetchone() == (1,)


# ---------------------------------------------------------------- TestPooledDatabaseIntegration


def on_sqlite(request: pytest.FixtureRequest) -> Any:
    path = request.getfixturevalue("tmp_path") / "integration.db"
    return pool.peewee.PooledSqliteDatabase(str(path))


def on_postgres(request: pytest.FixtureRequest, **more: Any) -> Any:
    parameters = dict(request.getfixturevalue("postgres").parameters)
    name = parameters.pop("dbname")
    return pool.peewee.PooledPostgresqlDatabase(name, **parameters, **more)


def on_mariadb(request: pytest.FixtureRequest) -> Any:
    return pool.peewee.PooledMySQLDatabase(**request.getfixturevalue("mariadb").parameters)


MAKERS: dict[str, Callable[[pytest.FixtureRequest], Any]] = {
    "sqlite": on_sqlite,
    "psycopg2": lambda request: on_postgres(request, prefer_psycopg3=False),
    "psycopg3": lambda request: on_postgres(request, prefer_psycopg3=True),
    "pymysql": on_mariadb,
}


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("psycopg2", marks=pytest.mark.database),
        pytest.param("psycopg3", marks=pytest.mark.database),
        pytest.param("pymysql", marks=pytest.mark.database),
    ]
)
def real(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A pooled database of each kind with a fresh table, its connection open."""
    database = MAKERS[request.param](request)
    with database.bind_ctx([Register]):
        database.connect()
        database.drop_tables([Register])
        database.create_tables([Register])
        yield database
        database.connect(reuse_if_open=True)
        database.drop_tables([Register])
    database.close_all()


def count(database: Any) -> tuple[int, int]:
    return len(database._connections), len(database._in_use)


def test_integration_connections_are_counted(real: Any) -> None:
    assert not real.is_closed()
    assert count(real) == (0, 1)
    assert real.close() is True
    assert real.is_closed()
    assert count(real) == (1, 0)
    everybody = threading.Barrier(4)

    def work() -> None:
        assert real.is_closed()
        assert real.connect() is True
        assert not real.is_closed()
        everybody.wait(PATIENCE)
        assert real.close() is True
        assert real.is_closed()

    for call in [Call(work) for _ in range(4)]:
        call.result()
    assert count(real) == (4, 0)
    assert real.is_closed()
    assert real.connect() is True
    assert real.connect(reuse_if_open=True) is False
    assert count(real) == (3, 1)
    real.close_all()
    assert count(real) == (0, 0)
    assert real.is_closed()


def test_integration_models_in_threads(real: Any) -> None:
    real.close()
    everybody = threading.Barrier(5)

    def work(number: int) -> None:
        with real.connection_context():
            with real.atomic():
                Register.create(value=number)
            everybody.wait(PATIENCE)

    calls = [Call(work, number) for number in range(4)]
    real.connect()
    everybody.wait(PATIENCE)
    for call in calls:
        call.result()
    real.close()
    assert count(real) == (5, 0)
    for left in (4, 3, 2, 1, 0):
        assert real.is_closed()
        assert real.connect() is True
        assert numbers() == [0, 1, 2, 3]
        real.manual_close()
        assert count(real) == (left, 0)


# ---------------------------------------------------------------- the table


def test_the_table_is_whole() -> None:
    """38 tests of peewee's, each with a test of ours that exists, and none of ours named twice."""
    rows = re.findall(r"^    (test_\w+) -> (test_\w+)$", __doc__ or "", re.MULTILINE)
    assert len(rows) == 38
    ours = [name for _, name in rows]
    assert len(set(ours)) == 38
    assert [name for name in ours if not callable(globals().get(name))] == []
