"""A call of every public method of a pooled database at every instant of a checkout, on the same
thread: from a signal's handler, and from a finalizer.

Theory.  As `test_every_instant_calls.py`, for the drop-in: what playhouse's users call and read
from anywhere.  A call may be refused with an error of peewee's, or find that there is nothing to
do; but nobody waits for himself, the checkout goes on, nothing is lost, and every connection is
closed once.

What is public is not listed here but read from the classes: whatever playhouse's pool and ours
have, and what peewee does with the connection of a thread.  A name that no method here touches
fails a test.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import peewee
import pytest
from playhouse.pool import MaxConnectionsExceeded
from playhouse.pool import PooledDatabase as Stock

from pool.peewee import PooledDatabase
from tests.integration.databases import PooledScriptedDatabase
from tests.integration.drivers import FOR_EVER, assert_sound, lent, settle
from tests.integration.instants import every_instant

SIZE = 2
REFUSED = (MaxConnectionsExceeded, peewee.OperationalError)

Method = Callable[[Any], Any]

# ---------------------------------------------------------------- what is called


def look(database: Any) -> None:
    assert len(database._connections) + len(database._in_use) <= SIZE
    assert database._heap_counter >= 0
    assert database._max_connections == SIZE
    assert database._stale_timeout is None
    assert database._wait_timeout == FOR_EVER
    assert database.conn_key(database) == id(database)
    database.is_closed()
    database.is_connection_usable()
    database.in_transaction()
    database.transaction_depth()
    database.top_transaction()


def numbers(database: Any) -> None:
    assert database.statistics().max_size == SIZE
    database.holders()


def lock(database: Any) -> None:
    with database._pool_lock:
        len(database._in_use)
    with database._pool_available:
        database._pool_available.notify_all()


def close_idle(database: Any) -> None:
    database.close_idle()


def close_stale(database: Any) -> None:
    assert database.close_stale(600) == 0


def close_stale_and_more(database: Any) -> None:
    assert database.close_stale(-600) in (0, 1, 2)


def close_all(database: Any) -> None:
    database.close_all()


def manual_close(database: Any) -> None:
    database.manual_close()


def close(database: Any) -> None:
    database.close()


def connect_and_close(database: Any) -> None:
    if database.is_closed():
        with suppress(*REFUSED):
            database.connect()
            database.close()


def connect_again(database: Any) -> None:
    with suppress(*REFUSED):
        assert database.connect(reuse_if_open=True) in (True, False)


def use(database: Any) -> None:
    with suppress(*REFUSED), database.connection_context():
        database.connection().number += 0


def close_and_connect(database: Any) -> None:
    """As one does who wants another connection; it stays open."""
    with suppress(*REFUSED):
        database.close()
        database.connect()


def transaction(database: Any) -> None:
    if not database.is_closed():
        database.push_transaction(None)
        try:
            database.after_commit(lambda: None)
            with pytest.raises(peewee.OperationalError):
                database.close()
        finally:
            database.pop_transaction()


def dispose(database: Any) -> None:
    database.dispose()


def settings(database: Any) -> None:
    database._max_connections = SIZE + 1
    database._max_connections = SIZE
    database._stale_timeout = 1000
    database._stale_timeout = None
    database._wait_timeout = FOR_EVER


def refused_settings(database: Any) -> None:
    with pytest.raises(ValueError, match="max_connections=-1"):
        database._max_connections = -1


def init(database: Any) -> None:
    database.init("scripted", max_connections=SIZE, timeout=FOR_EVER)


def listen(database: Any) -> None:
    database.listen("checkin", lambda notice: None)


def by_hand(database: Any) -> None:
    with suppress(MaxConnectionsExceeded):
        database._close(database._connect())


def close_unknown(database: Any) -> None:
    database._close(database.driver.connect(), close_conn=True)


def hooks(database: Any) -> None:
    connection = database.driver.connect()
    assert not database._is_closed(connection)
    assert database._can_reuse(connection)
    database._close_raw(connection)
    database._stale_timeout = 1000
    assert not database._is_stale(database._purepool.runtime.clock())
    database._stale_timeout = None


METHODS: list[Method] = [
    look,
    numbers,
    lock,
    close_idle,
    close_stale,
    close_stale_and_more,
    close_all,
    manual_close,
    close,
    connect_and_close,
    connect_again,
    close_and_connect,
    use,
    transaction,
    dispose,
    settings,
    refused_settings,
    init,
    listen,
    by_hand,
    close_unknown,
    hooks,
]
QUICK = [look, close_idle, close_all, connect_and_close, connect_again]
CLOSERS = [close_stale_and_more, close_all, manual_close, close_idle]
"""The others close nothing that somebody has, or is about to get."""

# ---------------------------------------------------------------- from where, and in the middle of


class Finalized:
    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __del__(self) -> None:
        self.call()


def by_a_handler(call: Callable[[], Any]) -> None:
    call()


def by_a_finalizer(call: Callable[[], Any]) -> None:
    Finalized(call)


def checkout(database: Any) -> None:
    database.connect(reuse_if_open=True)
    database.close()


def looking(database: Any) -> None:
    """With what was handed out to be compared."""
    len(database._in_use)
    checkout(database)


def closing_one(database: Any) -> None:
    database.connect(reuse_if_open=True)
    database.manual_close()


def closing_all(database: Any) -> None:
    database.connect(reuse_if_open=True)
    database.close_all()


def closing_others(database: Any) -> None:
    database.close_idle()
    database.close_stale(-600)


WORKS = [(looking, 1), (closing_one, 0), (closing_all, 0), (closing_others, 1)]


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Iterator[list[int]]:
    counts: list[int] = []
    yield counts
    record_property("instants", sum(counts))
    print(f"{sum(counts)} instants")


@pytest.mark.sampled
@pytest.mark.parametrize("method", QUICK, ids=lambda method: method.__name__)
@pytest.mark.parametrize("idle", [0, 1], ids=["cold", "warm"])
def test_by_a_signal_handler(idle: int, method: Method, counted: list[int]) -> None:
    one_by_one(idle, method, checkout, by_a_handler, counted)


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("idle", [0, 1], ids=["cold", "warm"])
def test_by_a_finalizer(idle: int, method: Method, counted: list[int]) -> None:
    one_by_one(idle, method, checkout, by_a_finalizer, counted)


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [method for method in METHODS if method not in QUICK], ids=lambda it: it.__name__
)
@pytest.mark.parametrize("idle", [0, 1], ids=["cold", "warm"])
def test_by_a_signal_handler_too(idle: int, method: Method, counted: list[int]) -> None:
    one_by_one(idle, method, checkout, by_a_handler, counted)


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize(("work", "idle"), WORKS, ids=lambda it: getattr(it, "__name__", ""))
def test_in_the_middle_of_other_calls(
    idle: int, method: Method, work: Method, counted: list[int]
) -> None:
    one_by_one(idle, method, work, by_a_handler, counted)


def one_by_one(idle: int, method: Method, work: Method, way: Any, counted: list[int]) -> None:
    made: list[Any] = []
    errors: list[BaseException] = []
    others: Any = None

    def call() -> None:
        try:
            method(made[0])
        except BaseException as error:  # a finalizer's would only be printed
            errors.append(error)
            raise

    def prepare() -> Callable[[], None]:
        # Not watched: its own steps would be instants, and the shortcuts would not be taken.
        made[:] = [PooledScriptedDatabase("scripted", max_connections=SIZE, timeout=FOR_EVER)]
        nonlocal others
        others = made[0]._connect()  # as if by another thread
        for _ in range(idle):
            made[0].connect()
            made[0].close()
        errors.clear()
        return lambda: work(made[0])

    def check() -> None:
        (database,) = made
        assert errors == []
        if not database.is_closed():  # the call came last, and connected
            database.close()
        settle(database)
        state = database._purepool
        assert state.doomed == {}
        assert state.by_thread == {}
        assert not state.runtime.monitor.callers
        assert set(lent(database)) <= {others}, lent(database)
        database.close_all()
        database._wait_timeout = None
        for _ in range(SIZE):
            database.connect()
            database._state.closed = True
        with pytest.raises(MaxConnectionsExceeded):
            database.connect()
        database.close_all()
        assert_sound(database)
        assert lent(database) == []
        closed = [connection.closed for connection in database.driver.opened]
        assert set(closed) <= ({0, 1} if method is dispose else {1}), closed
        mistakes = database.driver.mistakes
        if method in CLOSERS:  # a checkout may ask what was just closed, and then takes another
            mistakes = [mistake for mistake in mistakes if "asked whether" not in mistake]
        assert mistakes == []

    counted.append(every_instant(prepare, check, lambda: way(call)))
    assert counted[0] > 20


# ---------------------------------------------------------------- nothing is left out


def test_every_public_name_is_called() -> None:
    touched: set[str] = set()

    class Seen(PooledScriptedDatabase):
        def __getattribute__(self, name: str) -> Any:
            if sys._getframe(1).f_code.co_filename == __file__:
                touched.add(name)
            return super().__getattribute__(name)

        def __setattr__(self, name: str, value: Any) -> None:
            if sys._getframe(1).f_code.co_filename == __file__:
                touched.add(name)
            super().__setattr__(name, value)

    for method in METHODS:
        database = Seen("seen", max_connections=SIZE, timeout=FOR_EVER)
        database.connect()
        method(database)
    assert public_names() - touched == set()


def public_names() -> set[str]:
    """Of playhouse's pool, ours, and what peewee does with the connection of a thread."""
    names = set(vars(Stock)) | set(vars(PooledDatabase))
    stock = type("Stock", (Stock, peewee.Database), {})
    names |= set(vars(stock("names"))) - set(vars(peewee.Database("names")))
    names |= {
        name
        for name, method in inspect.getmembers(peewee.Database, inspect.isfunction)
        if "_state" in method.__code__.co_names and not name.startswith("_")
    }
    return {name for name in names if not name.startswith("__")} - WITHOUT_A_POOL


WITHOUT_A_POOL = {"cursor"}
"""Calls the connection's own, which a scripted one has not."""


def test_a_name_that_is_not_called_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PooledDatabase, "close_some", lambda self: None, raising=False)
    with pytest.raises(AssertionError, match="close_some"):
        test_every_public_name_is_called()
