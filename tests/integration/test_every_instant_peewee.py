"""A look at a pooled database, or `close_idle`, at every instant of a checkout, on the same thread:
from a signal's handler, and from a finalizer.

Theory.  As `test_every_instant_calls.py`, for the drop-in: what playhouse's users read from
anywhere.  Nobody waits for himself, the checkout goes on, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playhouse.pool import MaxConnectionsExceeded

from tests.integration.databases import scripted
from tests.integration.drivers import assert_sound, lent, settle
from tests.integration.instants import every_instant

SIZE = 2

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


def close_idle(database: Any) -> None:
    database.close_idle()


METHODS: list[Method] = [look, numbers, close_idle]

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


WORKS = [checkout]


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Iterator[list[int]]:
    counts: list[int] = []
    yield counts
    record_property("instants", sum(counts))
    print(f"{sum(counts)} instants")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", [by_a_handler, by_a_finalizer], ids=lambda way: way.__name__)
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("idle", [0, 1], ids=["cold", "warm"])
def test_a_call(idle: int, method: Method, work: Method, way: Any, counted: list[int]) -> None:
    made: list[Any] = []
    errors: list[BaseException] = []
    called: list[bool] = []

    def call() -> None:
        called.append(True)
        try:
            method(made[0])
        except BaseException as error:  # a finalizer's would only be printed
            errors.append(error)
            raise

    def prepare() -> Callable[[], None]:
        made[:] = [scripted(SIZE)]
        made[0].connect()  # held by nobody here meanwhile, as if by another thread
        made[0]._state.reset()
        for _ in range(idle):
            made[0].connect()
            made[0].close()
        called.clear()
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
        assert len(lent(database)) <= 1
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
        assert database.driver.mistakes == []

    counted.append(every_instant(prepare, check, lambda: way(call)))
    assert counted[0] > 40
