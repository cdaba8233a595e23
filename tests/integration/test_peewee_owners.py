"""A lease belongs to whoever peewee's `_state` belongs to: a thread, a request, all threads.

Theory.  Each test is made for one kind of state that people put in the place of peewee's. What it
shows is always the same: the connection stays where the state's owner is, also if the thread that
connected has ended; it counts as in use; whoever has the state may give it back, from any thread;
and if the owner is gone without doing so, and that can be known, its place is free again.
"""

from __future__ import annotations

import contextvars
import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import peewee
import pytest
from playhouse.pool import MaxConnectionsExceeded

from pool.peewee import PooledSqliteDatabase
from tests.integration.databases import PooledScriptedDatabase
from tests.integration.databases import scripted as make_scripted
from tests.integration.drivers import Call, Stop, idle, in_child, lent, settle, until

EMPTY = {"closed": None, "conn": None, "ctx": None, "transactions": None}


class Recipe(peewee._ConnectionState):  # type: ignore[misc]  # peewee has no types
    """FastAPI's own, word for word: a mapping of a context variable, changed in place."""

    def __init__(self, **kwargs: Any) -> None:
        state = contextvars.ContextVar("state", default=EMPTY.copy())  # noqa: B039  # as it is there
        super().__setattr__("_state", state)
        super().__init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        self._state.get()[name] = value

    def __getattr__(self, name: str) -> Any:
        return self._state.get()[name]

    def begin(self) -> None:
        self._state.set(EMPTY.copy())
        self.reset()


class Replacing(Recipe):
    """One that makes a new mapping for each change."""

    def __setattr__(self, name: str, value: Any) -> None:
        self._state.set({**self._state.get(), name: value})


class Silent(Recipe):
    """One that knows every attribute: None, if it was never set."""

    def __getattr__(self, name: str) -> Any:
        return self._state.get().get(name)


class Strict(Recipe):
    """One that takes peewee's attributes only."""

    NAMES = frozenset(EMPTY) | {"commit_callbacks"}

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.NAMES:
            raise AttributeError(name)
        super().__setattr__(name, value)


def kept(name: str) -> Any:
    return property(
        lambda self: self.variable.get()[name],
        lambda self, value: self.variable.get().__setitem__(name, value),
    )


class Properties(peewee._ConnectionState):  # type: ignore[misc]
    """One that keeps peewee's attributes in the context, and others with itself."""

    variable: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("properties")
    closed, conn, ctx, transactions, commit_callbacks = map(
        kept, ("closed", "conn", "ctx", "transactions", "commit_callbacks")
    )

    def __init__(self) -> None:
        pass

    def begin(self) -> None:
        self.variable.set({})
        self.reset()


class LocalProperties(Properties, threading.local):
    """The same, but what it keeps with itself it keeps for a thread."""


class Slots(Recipe):
    __slots__ = ()


REQUESTS = [Recipe, Replacing, Silent, Strict, Properties, LocalProperties, Slots]


class Request:
    """A context of its own, of which each step may run on another thread, which then ends."""

    def __init__(self, database: Any) -> None:
        self.context = contextvars.copy_context()
        self.context.run(database._state.begin)

    def on_a_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return Call(self.context.run, function, *arguments).result()

    def here(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.context.run(function, *arguments)


@pytest.fixture(params=REQUESTS, ids=lambda kind: kind.__name__)
def database(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = make_scripted(1, timeout=None)
    made._state = request.param()
    yield made
    assert made.broken == []
    assert made.driver.mistakes == []


def test_a_request_keeps_its_connection_when_its_worker_ends(database: Any) -> None:
    one, other = Request(database), Request(database)
    connect = one.here if isinstance(database._state, Replacing) else one.on_a_thread
    assert connect(database.connect)
    gc.collect()
    (connection,) = database.driver.opened
    assert lent(database) == [connection]
    assert len(database._in_use) == 1
    with pytest.raises(MaxConnectionsExceeded):
        other.on_a_thread(database.connect)
    assert one.on_a_thread(database.connection) is connection
    assert one.here(database.close)
    assert idle(database) == [connection]
    assert other.here(database.connect)
    assert other.here(database.connection) is connection
    assert other.here(database.manual_close) is None
    assert database.driver.closed == [connection]


def test_a_request_that_is_gone_gives_its_connection_back(database: Any) -> None:
    """If the state lets that be known; else it stays lent, as with playhouse."""
    request = Request(database)
    request.here(database.connect)
    (connection,) = database.driver.opened
    del request
    gc.collect()
    if isinstance(database._state, (Strict, Properties)):
        assert lent(database) == [connection]
        database._close(connection)
        assert idle(database) == [connection]
    else:
        assert lent(database) == []
        settle(database)
        assert connection.closed == 1


def test_a_request_that_is_still_there_is_not_gone(database: Any) -> None:
    """Two connects of one owner: what `_state.closed = True` leaves behind is its own."""
    database._max_connections = 2
    request = Request(database)
    request.here(database.connect)
    request.here(setattr, database._state, "closed", True)
    request.here(database.connect)
    gc.collect()
    assert lent(database) == database.driver.opened
    for connection in database.driver.opened:
        request.here(database._close, connection)
    assert len(idle(database)) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_begins_outside_any_request(
    database: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """There the state may be nowhere, which is no reason to complain; its requests are as ever."""
    request = Request(database)
    request.here(database.connect)

    def child() -> str:
        assert not [record for record in caplog.records if "child process" in record.message]
        assert lent(database) == []
        mine = Request(database)
        mine.here(database.connect)
        assert lent(database) == [mine.here(database.connection)]
        mine.here(database.close)
        return "well"

    assert in_child(child) == "well"
    request.here(database.close)


# ---------------------------------------------------------------- states of threads


class Logged(peewee._ConnectionLocal):  # type: ignore[misc]
    """A state of threads with methods of its own."""

    log: list[str] = []  # noqa: RUF012  # of the class: an instance has one for each thread

    def reset(self) -> None:
        self.log.append("reset")
        super().reset()

    def set_connection(self, conn: Any) -> None:
        self.log.append("set_connection")
        super().set_connection(conn)


class Written(peewee._ConnectionLocal):  # type: ignore[misc]
    """One that sees each attribute that is set."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)


@pytest.mark.parametrize("kind", [peewee._ConnectionLocal, Logged, Written])
def test_a_thread_that_ends_gives_its_connection_back(kind: type[Any]) -> None:
    database = make_scripted(1, timeout=None)
    database._state = kind()
    Call(database.connect).result()
    until(lambda: not lent(database))
    settle(database)
    (connection,) = database.driver.opened
    assert connection.closed == 1
    assert database.connect()


@pytest.mark.parametrize("thread_safe", [True, False])
def test_a_state_of_all_threads(thread_safe: bool) -> None:
    """peewee's own class, shared: any thread may go on, and give back."""
    database = make_scripted(1, timeout=None, thread_safe=thread_safe)
    database._state = peewee._ConnectionState()
    Call(database.connect).result()
    gc.collect()
    assert lent(database) == database.driver.opened
    assert not database.is_closed()
    assert Call(database.close).result()
    assert idle(database) == database.driver.opened


def test_states_of_threads_without_thread_safe() -> None:
    """It is the state that counts."""
    database = make_scripted(2, timeout=None, thread_safe=False)
    database._state = peewee._ConnectionLocal()
    database.connect()
    Call(database.connect).result()
    until(lambda: len(lent(database)) == 1)
    assert lent(database) == [database.connection()]


def test_a_connection_that_was_taken_by_hand_is_nobodys() -> None:
    """`_connect()` is no matter of any state: what it gives stays lent until it is given back."""
    database = make_scripted(1, timeout=None)
    connection = Call(database._connect).result()
    gc.collect()
    assert lent(database) == [connection]
    with pytest.raises(MaxConnectionsExceeded):
        database._connect()
    database._close(connection)
    assert idle(database) == [connection]


def test_a_state_that_two_databases_share() -> None:
    one, other = make_scripted(1), make_scripted(1)
    other._state = one._state
    one.connect()
    one._state.closed = True
    other.connect()
    assert (len(lent(one)), len(lent(other))) == (1, 1)
    other.close()
    assert (len(lent(one)), len(lent(other))) == (1, 0)
    one._close(one.driver.opened[0])
    assert lent(one) == []


# ---------------------------------------------------------------- the methods of a state


def test_the_methods_of_a_state_are_called() -> None:
    database = make_scripted(1)
    database._state = Logged()
    Logged.log.clear()
    database.connect()
    database.close()
    assert Logged.log == ["reset", "set_connection", "reset"]


class Late(peewee._ConnectionState):  # type: ignore[misc]
    """A request begins with less than peewee needs: `connect` makes up for it."""

    variable: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("late")

    def __init__(self) -> None:
        pass

    def __setattr__(self, name: str, value: Any) -> None:
        self.variable.get()[name] = value

    def __getattr__(self, name: str) -> Any:
        return self.variable.get()[name]


def test_a_state_that_connect_resets(tmp_path: Any) -> None:
    database = PooledSqliteDatabase(str(tmp_path / "late.db"))
    database._state = Late()

    def request() -> Any:
        Late.variable.set(EMPTY | {"closed": True})
        database.connect()
        with database.atomic():
            row = database.execute_sql("select 1").fetchone()
        database.close()
        assert database._in_use == {}
        database.close_all()
        return row

    assert contextvars.copy_context().run(request) == (1,)


class ReadOnly(peewee._ConnectionState):  # type: ignore[misc]
    """One that is changed by its methods only."""

    closed, conn, ctx, transactions, commit_callbacks = (
        property(lambda self, name=name: self.kept[name])
        for name in ("closed", "conn", "ctx", "transactions", "commit_callbacks")
    )

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.reset()

    def _keep(self, connection: Any) -> None:
        lists: Any = {"ctx": [], "transactions": [], "commit_callbacks": []}
        self.kept.update(lists, closed=connection is None, conn=connection)

    def reset(self) -> None:
        self._keep(None)

    set_connection = _keep


def test_a_state_that_is_changed_by_its_methods_only() -> None:
    database = make_scripted(1, timeout=None)
    database._state = ReadOnly()
    assert Call(database.connect).result()
    gc.collect()
    assert lent(database) == database.driver.opened
    assert database.close()
    assert idle(database) == database.driver.opened


def test_what_an_interrupted_connect_was_lent_comes_back(database: Any) -> None:
    """Whatever the state: a `BaseException` leaves nothing behind."""

    class Stopping(PooledScriptedDatabase):
        def _initialize_connection(self, connection: Any) -> None:
            raise Stop

    database.__class__ = Stopping
    request = Request(database)
    with pytest.raises(Stop):
        request.here(database.connect)
    assert lent(database) == []
    database.__class__ = PooledScriptedDatabase
    assert request.here(database.connect)
    assert request.here(database.close)
