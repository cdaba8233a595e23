"""A call of every public method of a pooled database at every instant of a checkout, on the same
thread: from a signal's handler, and from a finalizer.

Theory.  As `test_every_instant_calls.py`, for the drop-in: what playhouse's users call and read
from anywhere.  A call may be refused with an error of peewee's, or find that there is nothing to
do; but nobody waits for himself, the checkout goes on, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import peewee
import pytest
from playhouse.pool import MaxConnectionsExceeded

from tests.integration.databases import scripted
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
    database.is_closed()
    database.is_connection_usable()


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
    use,
    dispose,
    settings,
    refused_settings,
    init,
    listen,
    by_hand,
    close_unknown,
]
QUICK = [look, close_idle, close_all, connect_and_close]

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


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Iterator[list[int]]:
    counts: list[int] = []
    yield counts
    record_property("instants", sum(counts))
    print(f"{sum(counts)} instants")


@pytest.mark.parametrize("method", QUICK, ids=lambda method: method.__name__)
@pytest.mark.parametrize("idle", [0, 1], ids=["cold", "warm"])
def test_by_a_signal_handler(idle: int, method: Method, counted: list[int]) -> None:
    one_by_one(idle, method, checkout, by_a_handler, counted)


@pytest.mark.slow
@pytest.mark.parametrize("way", [by_a_handler, by_a_finalizer], ids=lambda way: way.__name__)
@pytest.mark.parametrize("work", [checkout, looking], ids=lambda work: work.__name__)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("idle", [0, 1], ids=["cold", "warm"])
def test_in_the_middle_of_other_calls(
    idle: int, method: Method, work: Method, way: Any, counted: list[int]
) -> None:
    one_by_one(idle, method, work, way, counted)


def one_by_one(idle: int, method: Method, work: Method, way: Any, counted: list[int]) -> None:
    made: list[Any] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            method(made[0])
        except BaseException as error:  # a finalizer's would only be printed
            errors.append(error)
            raise

    def prepare() -> Callable[[], None]:
        made[:] = [scripted(SIZE)]
        made[0]._connect()  # as if by another thread
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
        assert not state.runtime.callers
        assert len(lent(database)) <= 1, lent(database)
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
        assert database.broken == []
        # A checkout may ask a connection that the call has closed, and then takes another.
        assert [each for each in database.driver.mistakes if "alive" not in each] == []

    counted.append(every_instant(prepare, check, lambda: way(call)))
    assert counted[0] > 40
