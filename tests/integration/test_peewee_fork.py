"""After `os.fork` the child has a pool of its own, and the parent does not notice.

Theory.  A child process inherits the sockets and files of its parent.  Using one, closing one, even
letting the garbage collector have one, would disturb the parent.  So what the child does with
the parent's connections is counted: they write into a pipe when they are closed or collected,
and the pipe must stay empty.  (RUN-9)
"""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playhouse.pool import MaxConnectionsExceeded

from pool.peewee import PooledSqliteDatabase
from tests.integration.databases import PooledScriptedDatabase, scripted
from tests.integration.drivers import (
    FOR_EVER,
    Call,
    Connection,
    Gate,
    assert_sound,
    idle,
    in_child,
    lent,
    park,
    raising,
    run_script,
    until,
    waiting,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.fixture
def database() -> Iterator[Any]:
    """At most two connections; at the end, in the parent, all is well."""
    database = scripted(2, timeout=None)
    yield database
    assert database.broken == []
    assert database.driver.mistakes == []
    assert_sound(database)


def borrow(database: Any) -> Connection:
    database.connect()
    connection: Connection = database.connection()
    database.close()
    return connection


def look_around(database: Any) -> str:
    """What a child finds, and that it can have every connection there may be."""
    inherited = list(database.driver.opened)
    assert database.is_closed()
    assert (idle(database), lent(database), waiting(database)) == ([], [], 0)
    assert database._purepool.runtime.state.opening == 0
    for _ in range(2):
        database._state.closed = True
        database.connect()
        assert database.connection() not in inherited
    database._state.closed = True
    with pytest.raises(MaxConnectionsExceeded):
        database.connect()
    database.close_all()
    assert [connection.closed for connection in inherited] == [0] * len(inherited)
    assert database.broken == []
    return "well"


def test_idle_connections_stay_with_the_parent(database: Any) -> None:
    connection = borrow(database)
    assert in_child(lambda: look_around(database)) == "well"
    assert borrow(database) is connection


def test_a_lease_stays_with_the_parent(database: Any) -> None:
    """The child is not connected, whatever the parent was."""
    database.connect()
    connection = database.connection()
    assert in_child(lambda: look_around(database)) == "well"
    assert not database.is_closed()
    assert database.connection() is connection
    database.close()
    assert idle(database) == [connection]


def test_a_pool_that_could_not_be_made_does_no_harm_to_others(database: Any) -> None:
    """Its constructor raised, but somebody still holds a part of it: here, the tracebacks."""
    errors = []
    for _ in range(20):
        with pytest.raises(ValueError, match="max_connections") as raised:
            scripted(max_connections=-1)
        errors.append(raised)
    database.connect()
    assert in_child(lambda: look_around(database)) == "well"
    database.close()
    assert len(errors) == 20


def test_a_pool_whose_fork_fails_does_no_harm_to_others(
    database: Any, caplog: pytest.LogCaptureFixture
) -> None:
    others = [scripted() for _ in range(20)]
    for other in others:
        other._purepool.runtime.on_fork = raising(KeyError("broken"))
    database.connect()

    def child() -> str:
        text = "a pool could not be prepared for this child process"
        told = [record for record in caplog.records if record.message == text]
        errors = [repr(record.exc_info[1]) for record in told if record.exc_info]
        # Other tests break pools, too, of which some may still be there.
        assert errors.count("KeyError('broken')") == len(others)
        return look_around(database)

    assert in_child(child) == "well"
    database.close()


def test_a_transaction_stays_with_the_parent(database: Any) -> None:
    database.connect()
    database.push_transaction(object())
    assert in_child(lambda: look_around(database)) == "well"
    assert database.in_transaction()
    database.pop_transaction()
    database.close()


def test_leases_of_other_threads_stay_with_the_parent(database: Any) -> None:
    """Those threads do not exist in the child, so nobody there will ever return anything."""
    hold = Gate()

    def work() -> None:
        database.connect()
        hold()
        database.close()

    calls = [Call(work) for _ in range(2)]
    until(lambda: hold.standing == 2)
    assert in_child(lambda: look_around(database)) == "well"
    hold.open()
    for call in calls:
        call.result()
    assert len(idle(database)) == 2


def test_waiters_stay_with_the_parent(database: Any) -> None:
    database._wait_timeout = FOR_EVER
    for _ in range(2):
        database._state.closed = True
        database.connect()
    waiters = [park(database, borrow, database) for _ in range(3)]
    database._wait_timeout = None  # for the child; they wait already
    assert in_child(lambda: look_around(database)) == "well"
    assert waiting(database) == 3
    for connection in lent(database):
        database._close(connection)
    database._state.reset()
    for waiter in waiters:
        waiter.result()
    assert len(database.driver.opened) == 2


def test_connects_in_flight_stay_with_the_parent(database: Any) -> None:
    gate = Gate()
    database.driver.on_connect = gate
    calls = [Call(borrow, database) for _ in range(2)]
    until(lambda: gate.standing == 2)
    database.driver.on_connect = lambda: None
    assert in_child(lambda: look_around(database)) == "well"
    gate.open()
    for call in calls:
        call.result()


def test_pings_and_closes_in_flight_stay_with_the_parent(database: Any) -> None:
    borrow(database)
    gate = Gate()
    database.driver.on_alive = gate
    database.driver.on_close = gate
    pinging = Call(borrow, database)
    until(lambda: gate.standing == 1)

    def close() -> None:
        database.connect()
        database.manual_close()

    closing = Call(close)
    until(lambda: gate.standing == 2)
    database.driver.on_alive = database.driver.on_close = lambda _: None

    def child() -> str:
        inherited = list(database.driver.opened)
        before = [connection.closed for connection in inherited]
        borrow(database)
        assert [connection.closed for connection in inherited] == before
        return "well"

    assert in_child(child) == "well"
    gate.open()
    pinging.result()
    closing.result()


def test_a_child_forked_by_another_thread(database: Any) -> None:
    database.connect()
    assert Call(in_child, lambda: look_around(database)).result() == "well"
    database.close()


def test_a_child_of_a_child(database: Any) -> None:
    database.connect()

    def child() -> str:
        database.connect()
        return in_child(lambda: look_around(database)) + look_around_again(database)

    assert in_child(child) == "well and well"
    database.close()


def look_around_again(database: Any) -> str:
    assert not database.is_closed()
    database.close()
    return " and well"


@pytest.mark.parametrize("name", ["_lock", "_pool_lock", "_pool_available"])
def test_a_lock_that_another_thread_holds(database: Any, name: str) -> None:
    hold = Gate()
    database.connect()

    def work() -> None:
        with getattr(database, name):
            hold()

    call = Call(work)
    until(lambda: hold.standing)

    def child() -> str:
        database.dispose()
        with database._lock, database._pool_lock, database._pool_available:
            pass
        return look_around(database)

    assert in_child(child) == "well"
    hold.open()
    call.result()
    database.close()


def test_the_lock_of_the_runtime_that_another_thread_holds(database: Any) -> None:
    """No lock is taken for the fork, so one held by a thread in a transition is no trouble."""
    hold = Gate()

    def work() -> None:
        with database._purepool.runtime.monitor.lock:
            hold()

    call = Call(work)
    until(lambda: hold.standing)
    assert in_child(lambda: look_around(database)) == "well"
    hold.open()
    call.result()


def test_forking_with_the_pool_lock_in_hand(database: Any) -> None:
    """The child leaves the same with-block as the parent."""

    def fork_inside() -> str:
        with database._pool_lock:
            reader = in_child_of_block(database)
        return reader

    assert fork_inside() == "well"


def in_child_of_block(database: Any) -> str:
    held = database._pool_lock

    def child() -> str:
        held.release()
        return look_around(database)

    return in_child(child)


def test_dispose_in_the_child_changes_nothing(database: Any) -> None:
    """What peewee asks its users to do after a fork has been done already, and does no harm."""
    database.connect()

    def child() -> str:
        database.dispose()
        database.dispose()
        return look_around(database)

    assert in_child(child) == "well"
    database.close()


def test_dispose_forgets_and_closes_nothing(database: Any) -> None:
    database.connect()
    first = database.connection()
    database.dispose()
    assert database.is_closed()
    assert (idle(database), lent(database)) == ([], [])
    assert first.closed == 0
    assert database._purepool.runtime.state.counters.forgotten == 1
    database.connect()
    assert database.connection() is not first
    database.close()


def test_a_late_close_of_a_disposed_connection(database: Any) -> None:
    """Another thread still has one, and returns it: it is nobody's any more."""
    hold = Gate()

    def work() -> None:
        database.connect()
        hold()
        assert database.close() is True

    call = Call(work)
    until(lambda: hold.standing)
    database.dispose()
    hold.open()
    call.result()
    assert idle(database) == []
    assert database.driver.closed == []


def test_what_the_child_finalises_is_not_the_parents(database: Any) -> None:
    """Collecting whatever is left of the parent's threads in the child closes nothing."""
    hold = Gate()

    def work() -> None:
        database.connect()
        hold()
        database.close()

    call = Call(work)
    until(lambda: hold.standing)
    database.connect()

    def child() -> str:
        for _ in range(3):
            gc.collect()
        return look_around(database)

    assert in_child(child) == "well"
    database.close()
    hold.open()
    call.result()


class Telltale(Connection):
    """Writes into a pipe when it is collected in a process that did not make it."""

    pipe: int

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.maker = os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.maker:
            os.write(self.pipe, b"collected by a child\n")


def test_the_parents_connections_are_not_collected_in_the_child() -> None:
    """Not even when the child throws the whole database away."""
    reader, Telltale.pipe = os.pipe()
    databases: list[Any] = [PooledScriptedDatabase("telltale")]
    databases[0].driver.connect = lambda: Telltale(1)
    databases[0].connect()
    databases[0]._state.closed = True
    databases[0].connect()
    databases[0].close()

    def child() -> str:
        databases[0].connect()
        runtime = weakref.ref(databases[0]._purepool.runtime)
        databases.clear()
        gc.collect()
        assert runtime() is None
        return "well"

    assert in_child(child) == "well"
    os.close(Telltale.pipe)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read().decode() == ""


def test_a_child_that_ends_in_the_ordinary_way() -> None:
    """It runs its finalizers, all of them, and the parent's connection goes on working."""
    output = run_script(
        """
import os, sys, tempfile, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*multi-threaded.*")
warnings.filterwarnings("ignore", category=ResourceWarning)  # of sqlite3, from Python 3.13 on
from pool.peewee import PooledSqliteDatabase

path = os.path.join(tempfile.mkdtemp(), "file.db")
database = PooledSqliteDatabase(path)
database.execute_sql("create table numbers (number integer)")
database.connection().execute("begin immediate")
database.connection().execute("insert into numbers values (1)")
child = os.fork()
if not child:
    assert database.is_closed()
    assert database.execute_sql("select count(*) from numbers").fetchone() == (0,)
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
database.connection().execute("commit")
database.close()
print(database.execute_sql("select number from numbers").fetchall())
"""
    )
    assert output == "[(1,)]\n"


def test_sqlite_in_both_processes(tmp_path: Path) -> None:
    database = PooledSqliteDatabase(str(tmp_path / "file.db"), max_connections=2)
    database.execute_sql("create table numbers (number integer)")
    connection = database.connection()

    def child() -> str:
        assert database.is_closed()
        assert database.connection() is not connection
        database.execute_sql("insert into numbers values (2)")
        database.close_all()
        return "well"

    assert in_child(child) == "well"
    assert database.connection() is connection
    database.execute_sql("insert into numbers values (1)")
    assert database.execute_sql("select number from numbers").fetchall() == [(2,), (1,)]
    database.close_all()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("select 1")


def test_many_forks_in_the_middle_of_everything(database: Any) -> None:
    """Four threads at work, and a child every now and then: each of them has a pool that works."""
    database._wait_timeout = FOR_EVER
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            borrow(database)

    calls = [Call(work) for _ in range(4)]

    def child() -> str:
        database._wait_timeout = None
        return look_around(database)

    for _ in range(25):
        assert in_child(child) == "well"
    stop.set()
    for call in calls:
        call.result()
    assert len(database.driver.opened) == 2
