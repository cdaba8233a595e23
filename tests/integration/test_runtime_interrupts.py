"""Asynchronous exceptions at random instants: afterwards everything can be had, every time.

Theory.  `KeyboardInterrupt`, the time-limits of workers, `PyThreadState_SetAsyncExc`: an exception
can come between any two steps of a program.  The pool's answer is one reference per transition and
one handle per caller, whatever the instant; so hundreds of exceptions are thrown, at instants that
nobody chose, and after each storm the three things that could have been lost are counted: room,
connections, and wakeups.
"""

from __future__ import annotations

import gc
import random
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playhouse.pool import MaxConnectionsExceeded

from pool import Limits, Shutdown
from pool.shared.errors import PoolTimeout
from pool.threads.runtime import Runtime
from tests.integration.databases import scripted
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    Call,
    ScriptedDriver,
    Storm,
    Thrown,
    assert_sound,
    lent,
    newborn,
    settle,
    until,
    watch,
    weather,
)

SIZE = 3
HITS = 300


@pytest.fixture(params=["caller", "background"])
def runtime(request: pytest.FixtureRequest) -> Any:
    """With helpers there are no pings here, for each starts a thread, and an exception thrown at
    a thread that is just starting another one may hit the newborn: its identity is set late.
    Signals have no such trouble, and `pinging` helpers."""
    check_after = 1000.0 if request.param == "background" else 0.0
    limits = Limits(max_size=SIZE, opener=request.param)
    runtime = Runtime(ScriptedDriver(), limits, check_after=check_after)
    turn(runtime)  # so that the watch is there
    return runtime


@pytest.fixture(params=["caller", "background"])
def pinging(request: pytest.FixtureRequest) -> Any:
    return Runtime(ScriptedDriver(), Limits(max_size=SIZE, opener=request.param))


@pytest.fixture(autouse=True)
def stormy() -> Iterator[None]:
    with weather(forgiven=newborn):
        yield


def turn(runtime: Runtime) -> None:
    handle = runtime.acquire(FOR_EVER)
    runtime.release(handle)


def turn_that_discards(runtime: Runtime) -> None:
    handle = runtime.acquire(FOR_EVER)
    runtime.discard(handle)


def turn_with_a_dead_connection(runtime: Runtime) -> None:
    """Each one that rested is found dead: `Dead`, then a turn to connect."""
    handle = runtime.acquire(FOR_EVER)
    handle.connection.alive = False
    runtime.release(handle)


def turn_without_patience(runtime: Runtime) -> None:
    try:
        handle = runtime.acquire(0.0001)
    except PoolTimeout:
        return
    runtime.release(handle)


TURNS = [turn, turn_that_discards, turn_with_a_dead_connection]
# Not one that loses its handle each time: an exception that strikes on the first step of a
# finalizer ends it, and Python has no place to put that but stderr: two misfortunes at one instant.


def all_is_there(runtime: Runtime) -> None:
    """The whole capacity, at once; every invariant; nothing under way or left over."""
    gc.collect()
    until(lambda: (settle(runtime), not lent(runtime) and runtime.state.opening == 0)[1])
    assert_sound(runtime)
    handles = [runtime.acquire(PATIENCE) for _ in range(SIZE)]
    assert len({handle.connection for handle in handles}) == SIZE
    with pytest.raises(PoolTimeout):
        runtime.acquire(0)
    for handle in handles:
        runtime.release(handle)
    assert_sound(runtime)


def each_was_closed_once(runtime: Runtime) -> None:
    """RUN-4. A connection that was interrupted on its way into the pool is the driver's."""
    runtime.apply(Shutdown(runtime.clock()))
    settle(runtime)
    driver: Any = runtime.driver
    until(lambda: runtime.helpers is None or not runtime.helpers.closing)
    assert driver.mistakes == []
    counters = runtime.state.counters
    assert counters.closed == counters.opened
    assert max(connection.closed for connection in driver.opened) == 1
    known = [connection for connection in driver.opened if not connection.closed]
    assert len(known) == len(driver.opened) - counters.opened


@pytest.mark.parametrize("work", TURNS, ids=lambda work: work.__name__)
def test_a_storm_over_one_thread(runtime: Runtime, work: Callable[[Runtime], None]) -> None:
    storm = Storm()
    storm.strike(Call(storm.endure, lambda: work(runtime)), HITS)
    assert storm.struck == HITS
    all_is_there(runtime)


@pytest.mark.parametrize("work", [*TURNS, turn_without_patience], ids=lambda work: work.__name__)
def test_a_storm_over_threads_that_wait(runtime: Runtime, work: Callable[[Runtime], None]) -> None:
    """RUN-7: six threads want three connections, so most are struck in the queue or on their way
    out of it, with a connection that was granted and never arrived."""
    storms = [Storm() for _ in range(6)]
    workers = [Call(storm.endure, lambda: work(runtime)) for storm in storms]
    strikers = [
        Call(storm.strike, worker, HITS // 6) for storm, worker in zip(storms, workers, strict=True)
    ]
    for striker in strikers:
        striker.result(3 * PATIENCE)
    all_is_there(runtime)


def test_a_storm_checked_step_by_step(runtime: Runtime) -> None:
    """Every transition of it is one that the specification allows."""
    broken = watch(runtime)
    storm = Storm()
    calm = threading.Event()

    def others() -> None:
        while not calm.is_set():
            turn(runtime)

    calls = [Call(others) for _ in range(3)]
    storm.strike(Call(storm.endure, lambda: turn_with_a_dead_connection(runtime)), 100)
    calm.set()
    for call in calls:
        call.result()
    all_is_there(runtime)
    assert broken == []


@pytest.mark.parametrize("work", TURNS, ids=lambda work: work.__name__)
def test_signals_at_random_microseconds(pinging: Runtime, work: Callable[[Runtime], None]) -> None:
    """A signal handler that raises, as that of Ctrl-C does, in the main thread; others are at
    work meanwhile, so that it sometimes has to wait."""
    calm = threading.Event()
    dice = random.Random(1)
    thrown = [0]
    storm = Storm()

    def others() -> None:
        while not calm.is_set():
            turn(pinging)

    def strike(*_: object) -> None:
        thrown[0] += 1
        raise Thrown

    def work_until_struck() -> None:
        before = thrown[0]
        if before == HITS:
            storm.over.set()
            return
        signal.setitimer(signal.ITIMER_REAL, dice.randrange(1, 400) * 1e-6)
        while thrown[0] == before:
            try:
                work(pinging)
            except RuntimeError:  # what becomes of it in the waits of the standard library
                assert thrown[0] > before

    calls = [Call(others) for _ in range(2)]
    handler = signal.signal(signal.SIGALRM, strike)
    try:
        storm.endure(work_until_struck)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        calm.set()
    for call in calls:
        call.result()
    all_is_there(pinging)


@pytest.mark.parametrize("looked_at", [False, True], ids=["plain", "looked at"])
@pytest.mark.parametrize("threads", [1, 5])
def test_a_storm_over_peewee(looked_at: bool, threads: int) -> None:
    """`connect()` and `close()` of the drop-in: the same, through its own bookkeeping."""
    database = scripted(2)
    storms = [Storm() for _ in range(threads)]

    def work() -> None:
        if not database.is_closed():  # interrupted between the two calls below
            database.close()
        if looked_at:
            len(database._connections)
        database.connect()
        database.close()

    workers = [Call(storm.endure, work) for storm in storms]
    strikers = [
        Call(storm.strike, worker, HITS // threads)
        for storm, worker in zip(storms, workers, strict=True)
    ]
    for striker in strikers:
        striker.result(3 * PATIENCE)
    gc.collect()
    settle(database)
    database._wait_timeout = None
    for _ in range(2):
        database._state.closed = True
        database.connect()
    database._state.closed = True
    with pytest.raises(MaxConnectionsExceeded):
        database.connect()
    database.close_all()
    assert database.broken == []
    assert_sound(database)
