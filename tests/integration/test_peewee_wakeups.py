"""Who waits is woken by everything that frees capacity, in order, and nobody works under a lock.

Theory.  A waiter here has a timeout of a quarter of an hour and is given up on after a minute, so
a pass means that something woke it.  Order is never hoped for: a waiter is known to
stand in the queue before the next one comes, and drivers stop at gates that the test opens.  That
connects, pings and closes run side by side is shown by barriers that need all of them at once.

Every transition of every pool here is checked against the invariants of the specification
(`Bounded` among them: the number of connections never exceeds the maximum).
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import peewee
import pytest

from pool.core.state import leased
from pool.peewee import MaxConnectionsExceeded
from tests.integration.databases import PooledScriptedDatabase, held
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    Call,
    Connection,
    Gate,
    Stop,
    assert_sound,
    idle,
    lent,
    park,
    raise_in,
    until,
    waiting,
    watch,
)


@pytest.fixture
def make(sound_databases: Callable[..., Any]) -> Callable[..., Any]:
    return sound_databases


@pytest.fixture
def single(make: Callable[..., Any]) -> Any:
    """A database with at most one connection, which this thread holds."""
    database = make(1)
    database.connect()
    return database


def borrow(database: Any) -> Connection:
    """Connect, close, and say which connection it was."""
    database.connect()
    connection: Connection = database.connection()
    database.close()
    return connection


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Gives what interrupts the main thread, wherever it is, as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.main_thread().ident
    assert main is not None
    try:
        yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


# ---------------------------------------------------------------- every path wakes


def discard(database: Any) -> None:
    database._close(database.connection(), close_conn=True)
    database._state.reset()


def close_for_another(database: Any) -> None:
    """Some thread returns a connection that it did not borrow."""
    Call(database._close, database.connection()).result()
    database._state.reset()


def discard_for_another(database: Any) -> None:
    Call(database._close, database.connection(), True).result()
    database._state.reset()


def widen(database: Any) -> None:
    database._max_connections = 2
    database.close()


def widen_by_init(database: Any) -> None:
    database.close()  # `init` would do so
    database.init("scripted", max_connections=2)


def lift(database: Any) -> None:
    database._max_connections = None
    database.close()


def empty_the_mirror(database: Any) -> None:
    """A program takes a connection out of the pool's books; the next transition sees it."""
    database._in_use.clear()
    database.close_idle()
    database.close()


PATHS: dict[str, tuple[Callable[[Any], Any], set[int]]] = {
    # what frees it, and the numbers of the connections that the waiter may get
    "close": (lambda database: database.close(), {1}),
    "manual_close": (lambda database: database.manual_close(), {2}),
    "close_stale": (lambda database: database.close_stale(-1), {2}),
    "close_all": (lambda database: database.close_all(), {2}),
    "dispose": (lambda database: database.dispose(), {2}),
    "discard": (discard, {2}),
    "close for another": (close_for_another, {1}),
    "discard for another": (discard_for_another, {2}),
    "raised maximum": (widen, {1, 2}),
    "raised maximum by init": (widen_by_init, {1, 2}),
    "no maximum": (lift, {1, 2}),
    "removed from the mirror": (empty_the_mirror, {2}),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_waiter_is_woken(single: Any, path: str) -> None:
    """RUN-2: on every way out of the lock the answers are delivered."""
    free, expected = PATHS[path]
    waiter = park(single, borrow, single)
    free(single)
    assert waiter.result().number in expected


@pytest.mark.parametrize("path", ["manual_close", "close_stale", "close_all", "discard"])
def test_what_was_closed_is_closed_on_return(single: Any, path: str) -> None:
    connection = single.connection()
    PATHS[path][0](single)
    assert connection.closed == 1
    single._state.reset()


def test_raising_the_maximum_wakes_as_many_as_it_lets(single: Any) -> None:
    hold = Gate()

    def work() -> None:
        single.connect()
        hold()
        single.close()

    calls = [park(single, work) for _ in range(4)]
    single._max_connections = 3
    until(lambda: hold.standing == 2)
    assert waiting(single) == 2
    single._max_connections = 0
    until(lambda: hold.standing == 4)
    hold.open()
    for call in calls:
        call.result()
    single.close()


def test_another_threads_failed_connect_wakes(make: Callable[..., Any]) -> None:
    database = make(1)
    gate = Gate()

    def fail_once() -> None:
        database.driver.on_connect = lambda: None
        gate()
        raise OSError("no route to the database")

    database.driver.on_connect = fail_once
    first = Call(database.connect)
    until(lambda: gate.standing)
    waiter = park(database, borrow, database)
    gate.open()
    with pytest.raises(OSError, match="no route"):
        first.result()
    assert waiter.result().number == 1


def test_failed_connects_wake_one_after_the_other(make: Callable[..., Any]) -> None:
    """The room of a failed connect goes down the queue: each gets the error of its own attempt."""
    database = make(1)
    gate = Gate()
    attempts: list[int] = []

    def fail() -> None:
        gate()
        attempts.append(len(attempts) + 1)
        raise OSError(f"attempt {attempts[-1]}")

    database.driver.on_connect = fail
    calls = [Call(database.connect)]
    until(lambda: gate.standing)
    calls += [park(database, database.connect) for _ in range(5)]
    gate.open()
    for number, call in enumerate(calls, 1):
        with pytest.raises(OSError, match=f"attempt {number}"):
            call.result()


def test_a_dead_connection_is_replaced_in_place(make: Callable[..., Any]) -> None:
    """Who finds it dead keeps its place: before those who came later."""
    database = make(1)
    borrow(database)
    gate = Gate()
    database.driver.on_alive = gate
    database.driver.opened[0].alive = False
    order: list[str] = []

    def work(name: str) -> None:
        database.connect()
        order.append(name)
        database.close()

    first = Call(work, "first")
    until(lambda: gate.standing)
    second = park(database, work, "second")
    gate.open()
    first.result()
    second.result()
    assert order == ["first", "second"]
    assert [connection.closed for connection in database.driver.opened] == [1, 0]


def test_a_dead_connection_that_cannot_be_replaced_wakes(make: Callable[..., Any]) -> None:
    database = make(1)
    borrow(database)
    gate = Gate()
    database.driver.on_alive = gate
    database.driver.opened[0].alive = False

    def fail_once() -> None:
        database.driver.on_connect = lambda: None
        raise OSError("no route to the database")

    database.driver.on_connect = fail_once
    first = Call(database.connect)
    until(lambda: gate.standing)
    waiter = park(database, borrow, database)
    gate.open()
    with pytest.raises(OSError, match="no route"):
        first.result()
    assert waiter.result().number == 2


def test_a_connection_found_dead_when_returned_wakes(single: Any) -> None:
    single.driver.on_reset = lambda _: False
    waiter = park(single, single.connect)
    single.close()
    waiter.result()
    assert single.driver.opened[0].closed == 1


def test_a_dead_thread_wakes(make: Callable[..., Any]) -> None:
    """RUN-7: what a thread held when it ended is closed, and its room goes to the next."""
    database = make(1)
    gate = Gate()
    owner = held(database, gate)
    waiter = park(database, borrow, database)
    gate.open()
    owner.result()
    assert waiter.result().number == 2
    until(lambda: database.driver.opened[0].closed)


def test_a_thread_that_dies_by_an_error_wakes(make: Callable[..., Any]) -> None:
    database = make(1)
    gate = Gate()

    def die() -> None:
        database.connect()
        gate()
        raise LookupError("a bug of the program")

    owner = Call(die)
    until(lambda: gate.standing)
    waiter = park(database, borrow, database)
    gate.open()
    with pytest.raises(LookupError):
        owner.result()
    assert waiter.result().number == 2


# ---------------------------------------------------------------- interrupted callers


def test_an_interrupted_waiter_leaves_the_queue(make: Callable[..., Any]) -> None:
    """RUN-7: it is gone, and who waits behind it moves up."""
    database = make(1)
    hold = Gate()

    def owner() -> None:
        database.connect()
        hold()
        database.close()

    holder = Call(owner)
    until(lambda: hold.standing)
    behind: list[Call] = []
    with interruptible() as interrupt:

        def interrupt_me() -> None:
            until(lambda: waiting(database) == 1)
            behind.append(park(database, borrow, database))
            interrupt()

        helper = Call(interrupt_me)
        with pytest.raises(KeyboardInterrupt):
            database.connect()
        helper.result()
    assert database.is_closed()
    until(lambda: waiting(database) == 1)
    hold.open()
    holder.result()
    assert behind[0].result().number == 1
    assert database._purepool.runtime.state.counters.cancelled == 1


def test_an_interrupted_connect_gives_its_room_away(make: Callable[..., Any]) -> None:
    """RUN-5: an `Open` whose caller was interrupted ends as the `Cancel` of its ticket."""
    database = make(1)
    gate = Gate()
    database.driver.on_connect = gate
    behind: list[Call] = []
    with interruptible() as interrupt:

        def interrupt_me() -> None:
            until(lambda: gate.standing)
            behind.append(park(database, borrow, database))
            database.driver.on_connect = lambda: None
            interrupt()

        helper = Call(interrupt_me)
        with pytest.raises(KeyboardInterrupt):
            database.connect()
        helper.result()
    assert behind[0].result().number == 1


def test_an_interrupted_ping_gives_its_connection_away(make: Callable[..., Any]) -> None:
    """It may be in the middle of anything, so it is closed."""
    database = make(1)
    borrow(database)
    gate = Gate()
    database.driver.on_alive = gate
    behind: list[Call] = []
    with interruptible() as interrupt:

        def interrupt_me() -> None:
            until(lambda: gate.standing)
            behind.append(park(database, borrow, database))
            database.driver.on_alive = lambda _: None
            interrupt()

        helper = Call(interrupt_me)
        with pytest.raises(KeyboardInterrupt):
            database.connect()
        helper.result()
    assert behind[0].result().number == 2
    until(lambda: database.driver.opened[0].closed == 1)


def test_an_interrupted_return_gives_its_connection_away(make: Callable[..., Any]) -> None:
    database = make(1)
    database.connect()
    gate = Gate()
    database.driver.on_reset = gate
    behind = park(database, borrow, database)
    with interruptible() as interrupt:

        def interrupt_me() -> None:
            until(lambda: gate.standing)
            database.driver.on_reset = lambda _: None
            interrupt()

        helper = Call(interrupt_me)
        with pytest.raises(KeyboardInterrupt):
            database.close()
        helper.result()
    assert database.is_closed()
    assert behind.result().number == 2


def test_a_granted_but_interrupted_waiter_passes_it_on(single: Any) -> None:
    """The exception waits for the thread, so it is raised between the grant and the return."""
    first = park(single, single.connect)
    second = park(single, borrow, single)
    raise_in(first, Stop)
    single.close()
    with pytest.raises(Stop):
        first.result()
    assert second.result().number in (1, 2)


def test_many_granted_but_interrupted_waiters_pass_it_on(single: Any) -> None:
    interrupted = [park(single, single.connect) for _ in range(20)]
    last = park(single, borrow, single)
    for waiter in interrupted:
        raise_in(waiter, Stop)
    single.close()
    for waiter in interrupted:
        with pytest.raises(Stop):
            waiter.result()
    last.result()
    assert len(lent(single)) == 0


def test_a_waiter_that_gives_up_moves_the_queue_up(single: Any) -> None:
    """RUN-6: the deadline is an event, and the state decides what it means."""
    single._wait_timeout = 0.05
    impatient = Call(single.connect)
    until(lambda: waiting(single) == 1 or impatient.error)
    single._wait_timeout = FOR_EVER
    patient = Call(borrow, single)
    with pytest.raises(MaxConnectionsExceeded, match="timed out"):
        impatient.result()
    until(lambda: waiting(single) == 1)
    single.close()
    assert patient.result().number == 1


# ---------------------------------------------------------------- order


@pytest.mark.parametrize("path", ["close", "manual_close", "close_all", "close_stale"])
def test_first_come_first_served(make: Callable[..., Any], path: str) -> None:
    database = make(1)
    database.connect()
    order: list[int] = []
    free = PATHS[path][0]

    def work(number: int) -> None:
        database.connect()
        order.append(number)
        free(database)

    calls = [park(database, work, number) for number in range(12)]
    free(database)
    for call in calls:
        call.result()
    assert order == list(range(12))


def test_several_at_once_go_to_the_oldest(make: Callable[..., Any]) -> None:
    database = make(3)
    for _ in range(3):
        database._state.closed = True
        database.connect()
    hold = Gate()

    def work() -> None:
        database.connect()
        hold()
        database.close()

    calls = [park(database, work) for _ in range(5)]
    database.close_all()
    until(lambda: hold.standing == 3)
    assert waiting(database) == 2
    in_use = leased(database._purepool.runtime.state.in_use)
    owners = {lease.owner.name for lease in in_use.values()}
    assert owners == {call.name for call in calls[:3]}
    hold.open()
    for call in calls:
        call.result()


def test_nobody_overtakes(single: Any) -> None:
    """Who closes and connects again at once stands behind the one who waited."""
    order: list[str] = []

    def patient() -> None:
        single.connect()
        order.append("who waited")
        single.close()

    waiter = park(single, patient)
    single.close()
    single.connect()
    order.append("who came back")
    waiter.result()
    assert order == ["who waited", "who came back"]
    single.close()


def test_turns_are_even(make: Callable[..., Any]) -> None:
    """Eight threads that always want the one connection take turns, in the same order for ever."""
    database = make(1)
    everybody = threading.Barrier(8)
    left = [50] * 8
    order: list[int] = []

    def work(me: int) -> None:
        everybody.wait(PATIENCE)
        while left[me]:
            database.connect()
            order.append(me)
            left[me] -= 1
            # Go on when all others stand in the queue: that one is late is not the pool's doing.
            until(lambda: waiting(database) == sum(map(bool, left)) - bool(left[me]))
            database.close()

    for call in [Call(work, number) for number in range(8)]:
        call.result()
    assert sorted(order[:8]) == list(range(8))
    assert order == order[:8] * 50


# ---------------------------------------------------------------- nothing is serial


def meeting(parties: int) -> Callable[..., None]:
    """A script that only ends when so many run it at the same time."""
    barrier = threading.Barrier(parties)

    def meet(*_: Any) -> None:
        barrier.wait(PATIENCE)

    return meet


def test_twenty_connects_at_once(make: Callable[..., Any]) -> None:
    """RUN-3: a connect is made outside the lock; all twenty have to be in it at once."""
    database = make(20)
    database.driver.on_connect = meeting(20)
    for call in [Call(database.connect) for _ in range(20)]:
        call.result()
    assert len(database.driver.opened) == 20


def fill(database: Any, number: int) -> None:
    """So many idle connections."""
    for _ in range(number):
        database._state.closed = True
        database.connect()
    connections = lent(database)
    for connection in connections:
        database._close(connection)
    database._state.reset()
    assert len(idle(database)) == number


def test_twenty_pings_at_once(make: Callable[..., Any]) -> None:
    database = make(20)
    fill(database, 20)
    database.driver.on_alive = meeting(20)
    for call in [Call(database.connect) for _ in range(20)]:
        call.result()
    assert len(database.driver.opened) == 20


@pytest.mark.parametrize("hook", ["on_reset", "on_close"])
def test_twenty_returns_at_once(make: Callable[..., Any], hook: str) -> None:
    database = make(20)
    setattr(database.driver, hook, meeting(20))

    def work() -> None:
        database.connect()
        if hook == "on_reset":
            database.close()
        else:
            database.manual_close()

    for call in [Call(work) for _ in range(20)]:
        call.result()


def test_a_slow_connect_blocks_nobody_else(make: Callable[..., Any]) -> None:
    """While one thread stands in its connect: others close, connect, look and tidy up."""
    database = make(3)
    database.connect()
    gate = Gate()
    database.driver.on_connect = gate
    slow = Call(database.connect)
    until(lambda: gate.standing)

    def work() -> None:
        database.driver.on_connect = lambda: None
        assert borrow(database).number == 2
        assert database.close_stale() == 0
        assert len(database._connections) == 1
        database.close_idle()
        with database._lock, database._pool_lock:
            pass
        assert database.manual_close() is False

    database.close()
    database.connect()
    Call(work).result()
    database.close()
    assert gate.standing == 1
    gate.open()
    slow.result()


def test_a_slow_close_blocks_nobody_else(make: Callable[..., Any]) -> None:
    """And it holds no room: the next one connects while it stands there."""
    database = make(1)
    gate = Gate()
    database.driver.on_close = gate

    def work() -> None:
        database.connect()
        database.manual_close()

    slow = Call(work)
    until(lambda: gate.standing)
    assert Call(borrow, database).result().number == 2
    assert gate.standing == 1
    gate.open()
    slow.result()


# ---------------------------------------------------------------- no lock under hooks


class Hooked(PooledScriptedDatabase):
    """Reports every hook that the pool calls."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.report: Callable[[str], None] = lambda name: None
        super().__init__(*arguments, **settings)
        self.server_version: Any = None  # as with a server that has to be asked
        self.conn_key = self.key_of

    def key_of(self, connection: Connection) -> int:
        self.report("conn_key")
        return connection.number

    def _is_closed(self, connection: Connection) -> bool:
        self.report("_is_closed")
        return super()._is_closed(connection)

    def _is_stale(self, timestamp: float) -> bool:
        self.report("_is_stale")
        return super()._is_stale(timestamp)

    def _can_reuse(self, connection: Connection) -> bool:
        self.report("_can_reuse")
        return super()._can_reuse(connection)

    def _close_raw(self, connection: Connection) -> None:
        self.report("_close_raw")
        super()._close_raw(connection)

    def _set_server_version(self, connection: Connection) -> None:
        self.report("_set_server_version")
        super()._set_server_version(connection)

    def _initialize_connection(self, connection: Connection) -> None:
        self.report("_initialize_connection")
        super()._initialize_connection(connection)


HOOKS = [
    "connect",
    "close",
    "conn_key",
    "_is_closed",
    "_is_stale",
    "_can_reuse",
    "_close_raw",
    "_set_server_version",
    "_initialize_connection",
]


@pytest.mark.parametrize("looked_at", [False, True], ids=["plain", "looked at"])
def test_no_lock_is_held_while_a_hook_runs(looked_at: bool) -> None:
    """RUN-3: in every hook another thread makes a full cycle, and every lock there is is free."""
    database: Any = Hooked("hooked", max_connections=10, timeout=FOR_EVER, stale_timeout=1000)
    broken = watch(database._purepool.runtime)
    if looked_at:
        assert database._connections == []
        assert database._pool_lock
    seen: set[str] = set()
    inside = threading.local()

    def cycle() -> None:
        inside.hook = True
        borrow(database)
        assert database._lock.acquire(timeout=PATIENCE)
        database._lock.release()
        assert database._pool_lock.acquire(timeout=PATIENCE)
        database._pool_lock.release()
        assert isinstance(database._connections, list)
        database.server_version = None

    def report(name: str) -> None:
        if not getattr(inside, "hook", False):
            seen.add(name)
            Call(cycle).result()

    database.report = report
    database.driver.on_connect = lambda: report("connect")
    database.driver.on_close = lambda _: report("close")
    for _ in range(2):
        database.connect()
        database.close()
    database.connect()
    database.manual_close()
    database.connect()
    database.close_stale(-1)
    database.close_idle()
    database._close(database.driver.connect())  # is nobody's: it has to be looked for
    database.close_all()
    assert seen == set(HOOKS)
    assert broken == []
    assert_sound(database)


def test_a_hook_may_use_the_pool_itself(make: Callable[..., Any]) -> None:
    """Programs look at the pool in their hooks; a lock held there would be a deadlock."""
    database = make(2)
    looks: list[int] = []

    def look(*_: Any) -> None:
        with database._pool_lock:
            looks.append(len(database._in_use))

    database.driver.on_connect = look
    database.driver.on_alive = look
    database.driver.on_reset = look
    database.driver.on_close = look
    database.connect()
    database.close()
    database.connect()
    database.manual_close()
    assert looks == [0, 1, 1, 0]


def test_forever_is_a_legal_timeout(make: Callable[..., Any]) -> None:
    database = make(1, timeout=0)
    assert database._wait_timeout == math.inf
    database.connect()
    waiter = park(database, borrow, database)
    database.close()
    assert waiter.result().number == 1


def test_a_second_connect_of_a_thread_is_refused(single: Any) -> None:
    with pytest.raises(peewee.OperationalError, match="already opened"):
        single.connect()
    single.close()
