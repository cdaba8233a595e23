"""What `connect` and `close` of the drop-in owe where a mutant showed that no test asked.

Theory.  As `test_peewee_mutants.py`.  What a signal's handler or another thread does at an instant
is done by a function that is called there.
"""

from __future__ import annotations

import functools
import inspect
import sqlite3
import traceback
from collections.abc import Callable
from typing import Any

import peewee
import pytest
from playhouse.pool import PooledDatabase as Stock

from pool.core.events import CloseAll
from pool.peewee import PooledDatabase
from pool.peewee import database as module
from pool.peewee.leases import ARRIVING
from tests.integration.databases import PooledScriptedDatabase, ScriptedDatabase, scripted
from tests.integration.drivers import lent

LEFT = ("ctx", "transactions", "commit_callbacks")
"""What of an owner's last connection may be left in peewee's state."""


def leases_of(database: Any) -> Any:
    return database._purepool.owners.session(database._state).leases


# ---------------------------------------------------------------- connect


@pytest.mark.parametrize("name", LEFT)
def test_a_connect_begins_with_nothing_of_the_last_one(name: str) -> None:
    """As peewee's own: whatever somebody left there by hand."""
    database = scripted(1, timeout=None)
    setattr(database._state, name, [object()])
    database.connect()
    assert [getattr(database._state, each) for each in LEFT] == [[], [], []]
    assert database.connection() is lent(database)[0]
    database.close()


def test_a_connect_that_was_cut_off_forbids_no_other() -> None:
    """What is left behind by an exception at any instant says only that one may be under way: it
    is, if this thread is within it, with the same state."""
    database, other = scripted(1, timeout=None), scripted(1, timeout=None)
    leases_of(database).arriving = ARRIVING
    assert database.connect() is True
    database.close()
    assert leases_of(database).arriving is None

    leases_of(other).arriving = ARRIVING
    told: list[Any] = []
    database.driver.on_connect = lambda: told.append(other.connect())
    database.close_all()
    database.connect()
    assert told == [True], "within the connect of another database"
    database.close()
    other.close()


@pytest.mark.parametrize("reuse", [True, False])
def test_a_handler_that_connects_first_is_as_if_it_had_come_before(
    reuse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal's, after it was asked whether there is a connection, and before one is fetched."""
    database = scripted(2, timeout=None)
    leases = leases_of(database)
    within: Callable[..., bool] = module._is_within

    def handler(*arguments: Any) -> bool:
        monkeypatch.setattr(module, "_is_within", within)
        leases.arriving = None
        assert database.connect() is True
        return False

    monkeypatch.setattr(module, "_is_within", handler)
    leases.arriving = ARRIVING  # so that the handler is called
    if reuse:
        assert database.connect(reuse_if_open=True) is False
    else:
        with pytest.raises(peewee.OperationalError, match="already opened"):
            database.connect()
    assert leases.arriving is None
    assert lent(database) == [database.connection()]
    database.close()


class Counting(PooledScriptedDatabase):
    """It counts its connects, by what each asks first."""

    asked = 0

    @property
    def deferred(self) -> bool:
        self.asked += 1
        return False

    @deferred.setter
    def deferred(self, value: bool) -> None:
        """By peewee, when it has a name."""


def test_a_connect_within_itself_is_refused_without_a_frame_in_between() -> None:
    """As where something in C calls it: a hook made by `functools.partial`, which is called at once
    where something is idle."""
    database: Any = Counting("counting", max_connections=1, timeout=None)
    database.connect()
    database.close()
    database._connect = functools.partial(database.connect)
    database.asked = 0
    with pytest.raises(peewee.OperationalError, match="Connection is being opened"):
        database.connect()
    assert database.asked == 2, "at once, not in the third"
    del database._connect
    assert database.connect() is True
    database.close()


@pytest.mark.parametrize("hook", ["_connect", "_close", "in_transaction"])
def test_a_hook_that_is_put_into_a_database_is_called(hook: str) -> None:
    """As suites of tests do, and tools that watch; also where something is idle."""
    database = scripted(1, timeout=None)
    database.connect()
    database.close()
    before, given = getattr(database, hook), list[Any]()

    def watched(*arguments: Any) -> Any:
        given.append(arguments)
        return before(*arguments)

    setattr(database, hook, watched)
    database.connect()
    connection = database.connection()
    database.close()
    assert given == [(connection,) if hook == "_close" else ()]
    assert lent(database) == []


# ---------------------------------------------------------------- close


class NeverInTransaction(PooledScriptedDatabase):
    """One that ends what is open in its own way."""

    def in_transaction(self) -> bool:
        return False


@pytest.mark.parametrize("name", LEFT)
def test_a_close_leaves_nothing_for_the_next_connect(name: str) -> None:
    database = NeverInTransaction("never", max_connections=1, timeout=None)
    database.connect()
    setattr(database._state, name, [object()])
    assert database.close() is True
    assert [getattr(database._state, each) for each in LEFT] == [[], [], []]
    assert (database._state.closed, database._state.conn) == (True, None)
    assert lent(database) == []


def test_each_state_has_its_own_connection() -> None:
    """A program may put another in its place, and the first one back: as for a request."""
    database = scripted(2, timeout=None)
    first, second = database._state, peewee._ConnectionState()
    database.connect()
    one = database.connection()
    database._state = second
    database.connect()
    two = database.connection()
    assert lent(database) == [one, two]
    database._state = first
    assert database.close() is True
    assert lent(database) == [two]
    assert database.close() is False
    database._state = second
    assert database.close() is True
    assert lent(database) == []


def test_a_close_by_another_does_not_hide_that_one_is_under_way() -> None:
    """Threads may share a state: a signal's handler in the one that closes must know of it still
    when the other has come and gone."""
    database = scripted(1, timeout=None, thread_safe=False)
    database.connect()
    leases = leases_of(database)
    leases.leaving = True
    assert database.close() is True
    assert leases.leaving is True
    leases.leaving = False
    database.connect()
    database.close()
    assert leases.leaving is False


# ---------------------------------------------------------------- errors of the driver


class Refusing(PooledScriptedDatabase):
    """Its driver fails, when it is told to."""

    fails = ""

    def _connect(self) -> Any:
        return self.the_driver("connect") or super()._connect()

    def _close(self, conn: Any, close_conn: bool = False) -> Any:
        self.the_driver("close")
        return super()._close(conn, close_conn)

    def the_driver(self, what: str) -> None:
        if self.fails == what:
            raise sqlite3.OperationalError("disk I/O error", "a detail")


@pytest.mark.parametrize("what", ["connect", "close"])
def test_an_error_of_the_driver_becomes_peewees(what: str) -> None:
    """With what the driver said, and the way to the line where it did."""
    database: Any = Refusing("refusing", max_connections=1, timeout=None)
    if what == "close":
        database.connect()
    database.fails = what
    with pytest.raises(peewee.OperationalError) as raised:
        getattr(database, what)()
    assert raised.value.args == ("disk I/O error", "a detail")
    lines = traceback.extract_tb(raised.value.__traceback__)
    assert lines[-1].name == "the_driver"
    database.fails = ""
    assert lent(database) == []
    assert database.connect() is True
    database.close()


# ---------------------------------------------------------------- as playhouse's


@pytest.mark.parametrize("method", ["close_stale", "connect", "manual_close", "close_idle"])
def test_what_need_not_be_given_is_what_playhouse_takes(method: str) -> None:
    ours, theirs = (
        {
            name: parameter.default
            for name, parameter in inspect.signature(getattr(kind, method)).parameters.items()
        }
        for kind in (PooledDatabase, Stock)
    )
    assert ours == theirs


def test_what_programs_know_of_playhouses_pool_can_be_read_and_is_believed() -> None:
    """Each attribute shows what the pool has, and what is put into it the pool has from then on."""
    database = scripted(2, timeout=None)
    database.connect()
    first = database.connection()
    assert [lease.connection for lease in database._in_use.values()] == [first]
    database.close()
    assert [connection for _, _, connection in database._connections] == [first]

    database._heap_counter += 5
    wanted = database._heap_counter
    database.connect()
    database.close()
    assert database._heap_counter == wanted + 1

    database._connections = []
    database.connect()
    second = database.connection()
    assert second is not first
    database._in_use = {}
    database._purepool.believe()
    assert lent(database) == []


def test_what_was_borrowed_ten_minutes_ago_is_stale() -> None:
    """Where nothing else is said."""
    database = scripted(1, timeout=None)
    now = [1000.0]
    database._purepool.runtime.clock = lambda: now[0]
    database.connect()
    now[0] += 599.5
    assert database.close_stale() == 0
    now[0] += 1.0
    assert database.close_stale() == 1
    assert lent(database) == []


def test_what_a_driver_does_to_forget_is_done() -> None:
    """Where its class has a `dispose` of its own; peewee's is not called, which takes a lock that
    somebody who is no more may hold."""
    done: list[Any] = []

    class Own(ScriptedDatabase):
        def dispose(self) -> None:
            done.append(self)

    class Pooled(PooledDatabase, Own):
        """Over a driver of its own."""

    database = Pooled("own", max_connections=1, timeout=None)
    database.dispose()
    assert done == [database]
    plain = scripted(1, timeout=None)
    with plain._lock:
        plain.dispose()


# ---------------------------------------------------------------- what an owner holds


def test_an_owner_forgets_what_the_pool_took_back_and_nothing_else() -> None:
    """Not what it was lent meanwhile, and not what is on its way to it."""
    database = scripted(2, timeout=None)
    runtime, owners = database._purepool.runtime, database._purepool.owners
    database.connect()
    runtime.apply(CloseAll(runtime.clock()))
    database._state.closed = True
    database.connect()
    connection, leases = database.connection(), leases_of(database)
    taken, kept = leases.handles()
    assert kept.held is connection

    leases.arriving = taken
    owners.forget_what_ended(database._state)
    assert leases.handles() == [taken, kept], "a connect is under way with it"
    leases.arriving = None
    key, taken.key = taken.key, 0
    owners.forget_what_ended(database._state)
    assert leases.handles() == [taken, kept], "it was not answered yet"
    taken.key = key
    owners.forget_what_ended(database._state)
    assert leases.handles() == [kept]
    assert (taken.held, taken.ended) == (None, True)
    assert lent(database) == [connection]
    database.close()
    assert lent(database) == []
