"""What programs read and write of playhouse's pool: they see the truth, and are believed.

Theory.  `_connections`, `_in_use` and `_heap_counter` are copies that hold until the state changes;
what was changed in them is told to the machine before the next transition.  So each test here
changes something by hand, lets the pool do something, and looks at the real state.  Nonsense may
make one call fail, and never the pool.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from playhouse.pool import MaxConnectionsExceeded, PoolConnection

from pool import INVARIANTS
from pool.core.events import Adopt, AdoptIdle, AdoptLease
from pool.core.state import leased
from pool.peewee.mirror import Mirror
from tests.integration.databases import PooledScriptedDatabase, held, scripted
from tests.integration.drivers import (
    PATIENCE,
    Call,
    Connection,
    Gate,
    Storm,
    assert_sound,
    idle,
    lent,
    park,
    switching_often,
    until,
    waiting,
    weather,
)


@pytest.fixture
def database() -> Any:
    """At most four connections, no patience."""
    return scripted(4, timeout=None)


def take(database: Any) -> Connection:
    """One more connection for this thread, which keeps those it has."""
    database._state.closed = True
    database.connect()
    connection: Connection = database.connection()
    return connection


def put(database: Any, created: float, connection: Connection) -> None:
    database._heap_counter += 1
    heapq.heappush(database._connections, (created, database._heap_counter, connection))


# ---------------------------------------------------------------- reading


def test_the_list_is_a_list_and_the_dict_a_dict(database: Any) -> None:
    database.connect()
    take(database)
    database.close()
    assert type(database._connections) is list
    assert type(database._in_use) is dict
    [(created, counter, connection)] = database._connections
    assert connection is database.driver.opened[1]
    assert created <= time.time()
    assert counter <= database._heap_counter
    [(key, lease)] = database._in_use.items()
    assert key == database.conn_key(database.driver.opened[0])
    assert type(lease) is PoolConnection
    assert lease.connection is database.driver.opened[0]
    assert lease.timestamp <= lease.checked_out <= time.time()


def test_the_same_object_until_something_happens(database: Any) -> None:
    connections, in_use = database._connections, database._in_use
    assert database._connections is connections
    assert database._in_use is in_use
    database.connect()
    assert database._connections is not connections
    assert len(database._in_use) == 1
    assert in_use == {}


def test_the_counter_only_grows(database: Any) -> None:
    seen = [database._heap_counter]
    for _ in range(5):
        database.connect()
        database.close()
        seen.append(database._heap_counter)
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_the_order_is_oldest_first(database: Any) -> None:
    connections = [take(database) for _ in range(3)]
    for connection in reversed(connections):
        database._close(connection)
    database._state.reset()
    assert [entry[2] for entry in database._connections] == connections
    heap = list(database._connections)
    heapq.heapify(heap)
    assert heap == database._connections
    assert take(database) is connections[0]


# ---------------------------------------------------------------- writing


def test_a_pushed_connection_is_lent_at_its_age(database: Any) -> None:
    now = time.time()
    young, old = Connection(101), Connection(102)
    put(database, now - 1, young)
    put(database, now - 3, old)
    assert take(database) is old
    assert database._in_use[id(old)].timestamp == now - 3
    assert take(database) is young
    assert take(database) is database.driver.opened[0]
    assert database._purepool.runtime.state.counters.adopted == 2


def test_a_popped_connection_is_the_programs(database: Any) -> None:
    database.connect()
    database.close()
    _, _, connection = heapq.heappop(database._connections)
    assert take(database) is not connection
    assert not connection.closed
    assert database._purepool.runtime.state.counters.forgotten == 1


def test_changed_times_are_believed(database: Any) -> None:
    database._stale_timeout = 100
    database.connect()
    database.close()
    created, counter, connection = database._connections[0]
    database._connections[0] = (created - 200, counter, connection)
    assert take(database) is not connection
    assert connection.closed == 1


def test_a_changed_lease_keeps_its_owner(database: Any) -> None:
    database.connect()
    connection = database.connection()
    [before] = leased(database._purepool.runtime.state.in_use).values()
    database._in_use[id(connection)] = PoolConnection(5.0, connection, 7.0)
    assert database.close_stale(age=-1000) == 0 or connection.closed
    database._state.reset()
    assert connection.closed == 1

    database.connect()
    connection = database.connection()
    now = time.time()
    database._in_use[id(connection)] = PoolConnection(now - 9, connection, now - 8)
    database.close_idle()
    [after] = leased(database._purepool.runtime.state.in_use).values()
    assert (after.entry.created, after.checked_out) == (now - 9, now - 8)
    assert (after.owner, after.ticket) == (before.owner, before.ticket + 1)
    assert database.close() is True
    assert idle(database) == [connection]


def test_a_removed_lease_frees_its_room(database: Any) -> None:
    database._max_connections = 1
    database.connect()
    connection = database.connection()
    del database._in_use[id(connection)]
    other = Call(take, database).result()
    assert other is not connection
    database.close()  # it is not the pool's any more
    assert connection not in idle(database)


def test_a_lease_put_in_takes_room(database: Any) -> None:
    database._max_connections = 1
    connection = Connection(101)
    now = time.time()
    database._in_use[id(connection)] = PoolConnection(now, connection, now)
    with pytest.raises(MaxConnectionsExceeded):
        database.connect()
    database._close(connection)
    assert idle(database) == [connection]
    assert take(database) is connection


def test_new_lists_and_dicts(database: Any) -> None:
    first, second = take(database), take(database)
    database._close(second)
    database._state.reset()
    database._connections = []
    database._in_use = {}
    third = take(database)
    assert third not in (first, second)
    assert lent(database) == [third]
    assert database._purepool.runtime.state.counters.forgotten == 2
    now = time.time()
    database._connections = [(now, 50, second)]
    database._in_use = {id(first): PoolConnection(now, first, now)}
    assert take(database) is second
    assert set(lent(database)) == {first, second}


def test_moving_a_connection_from_one_to_the_other(database: Any) -> None:
    """A program that does by hand what `close` does."""
    database.connect()
    connection = database.connection()
    lease = database._in_use.pop(id(connection))
    put(database, lease.timestamp, connection)
    database._state.reset()
    assert take(database) is connection
    assert len(database.driver.opened) == 1
    assert database.broken == []


def test_the_same_connection_pushed_twice_is_in_the_pool_once_each(database: Any) -> None:
    """Every invariant holds over what a program puts in; its connections are its own affair."""
    connection = Connection(101)
    put(database, 1.0, connection)
    put(database, 2.0, connection)
    assert take(database) is connection
    state = database._purepool.runtime.state
    assert [name for name, holds in INVARIANTS.items() if not holds(state)] == []


def test_a_pushed_connection_wakes_who_waits() -> None:
    """With the next thing that happens to the pool."""
    database = scripted(1)
    database.connect()
    waiter = park(database, take, database)
    stranger = Connection(101)
    database._in_use.clear()
    put(database, time.time(), stranger)
    database.close_stale()
    assert waiter.result() is stranger


# ---------------------------------------------------------------- settings at run time


def test_a_lower_maximum_closes_what_is_too_much(database: Any) -> None:
    connections = [take(database) for _ in range(4)]
    for connection in connections[:2]:
        database._close(connection)
    database._max_connections = 1
    assert sum(connection.closed for connection in connections) == 2
    assert idle(database) == []
    for connection in connections[2:]:
        database._close(connection)
    database._state.reset()
    assert len(idle(database)) == 1
    assert database._max_connections == 1


def test_a_stale_timeout_at_run_time(database: Any) -> None:
    database.connect()
    first = database.connection()
    database.close()
    created, counter, _ = database._connections[0]
    database._connections[0] = (created - 50, counter, first)
    database._stale_timeout = 60
    assert take(database) is first
    database.close()
    database._stale_timeout = 40
    assert take(database) is not first
    database._stale_timeout = None
    assert database._purepool.runtime.state.limits.max_lifetime is None


def test_a_timeout_at_run_time(database: Any) -> None:
    database._max_connections = 1
    database.connect()
    with pytest.raises(MaxConnectionsExceeded, match=r"^Exceeded maximum connections"):
        Call(database.connect).result()
    database._wait_timeout = 0.01
    with pytest.raises(MaxConnectionsExceeded, match="timed out attempting to connect"):
        Call(database.connect).result()
    database._wait_timeout = math.inf
    waiter = park(database, database.connect)
    database.close()
    waiter.result()


def test_another_key_function(database: Any) -> None:
    """Changed while connections are out: all of them come back all the same."""
    first = take(database)
    database.conn_key = lambda connection: connection.number
    second = take(database)
    assert set(database._in_use) == {first.number, second.number}
    database._close(first)
    database._close(second)
    database._state.reset()
    assert idle(database) == [first, second]
    assert database._in_use == {}


def test_a_key_that_all_share(database: Any) -> None:
    """Nonsense: but nothing is lost that another call could not free."""
    database.conn_key = lambda connection: "the same"
    connections = [take(database) for _ in range(3)]
    assert len(lent(database)) >= 1
    database.close_all()
    assert lent(database) == []
    assert all(connection.closed for connection in connections)


class Picky(PooledScriptedDatabase):
    """Decides itself what is stale."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.asked: list[float] = []
        self.verdict: bool = False
        super().__init__(*arguments, **settings)

    def _is_stale(self, timestamp: float) -> bool:
        self.asked.append(timestamp)
        return self.verdict


def test_a_verdict_of_ones_own() -> None:
    database: Any = Picky("picky", max_connections=1, stale_timeout=1000)
    database.connect()
    database.close()
    created = database._connections[0][0]
    assert set(database.asked) == {created}
    database.connect()
    database.verdict = True
    database.close()
    assert [connection.closed for connection in database.driver.opened] == [1]
    database.verdict = False
    database.connect()
    database.close()
    database.verdict = True
    database.connect()
    assert [connection.closed for connection in database.driver.opened] == [1, 1, 0]


@pytest.mark.parametrize(("age", "stale"), [(9.999, False), (10.0, True), (10.001, True)])
def test_stale_at_exactly_the_age(database: Any, age: float, stale: bool) -> None:
    """Both when it would be lent and when it comes back."""
    database._purepool.runtime.clock = lambda: 1000.0 + age
    database._stale_timeout = 10
    resting = Connection(101)
    put(database, 1000.0, resting)
    assert (take(database) is not resting) == stale
    lent_out = Connection(102)
    database._in_use[id(lent_out)] = PoolConnection(1000.0, lent_out, 1000.0)
    database._close(lent_out)
    assert bool(lent_out.closed) == stale


def test_no_verdict_without_a_stale_timeout() -> None:
    database: Any = Picky("picky", max_connections=1)
    database.connect()
    database.close()
    database.connect()
    assert database.asked == []


# ---------------------------------------------------------------- locks


def test_the_pool_lock_is_reentrant_and_lets_its_holder_work(database: Any) -> None:
    with database._pool_lock, database._pool_lock:
        assert database._pool_lock.acquire(blocking=False)
        database._pool_lock.release()
        database.connect()
        assert len(database._in_use) == 1
        database.close()
        database.connect()
        database.manual_close()
        database.close_idle()
        database.close_stale()
    with pytest.raises(RuntimeError):
        database._pool_lock.release()
    assert_sound(database)


def test_the_pool_lock_keeps_others_out(database: Any) -> None:
    with database._pool_lock:
        before = dict(database._in_use)
        call = Call(take, database)
        call.join(0.02)
        assert call.is_alive()
        assert database._in_use == before == {}
        assert Call(database._pool_lock.acquire, False).result() is False
        assert Call(database._pool_lock.acquire, True, 0.001).result() is False
    call.result()


def test_the_holder_of_the_pool_lock_cannot_wait() -> None:
    """Nobody could return anything meanwhile, so it is told at once."""
    database = scripted(1, timeout=0)
    hold = Gate()
    call = held(database, hold)
    with database._pool_lock, pytest.raises(MaxConnectionsExceeded):
        database.connect()
    hold.open()
    call.result()


def test_the_lock_appears_while_the_pool_is_at_work() -> None:
    """`_pool_lock` is made when it is first asked for, in the middle of everything."""
    with switching_often():
        for _ in range(20):
            database = scripted(3)
            everybody = threading.Barrier(7)

            def work(database: Any = database, everybody: Any = everybody) -> None:
                everybody.wait(PATIENCE)
                for _ in range(10):
                    database.connect()
                    database.close()

            def look(database: Any = database, everybody: Any = everybody) -> None:
                everybody.wait(PATIENCE)
                with database._pool_lock:
                    assert len(database._connections) + len(database._in_use) <= 3

            for call in [*(Call(work) for _ in range(5)), Call(look), Call(look)]:
                call.result()
            assert_sound(database)
            assert database.broken == []


def test_the_condition_is_over_the_lock(database: Any) -> None:
    told: list[str] = []

    def wait() -> None:
        with database._pool_available:
            told.append("waiting")
            told.append("woken" if database._pool_available.wait(PATIENCE) else "late")

    call = Call(wait)
    until(lambda: told)
    with database._pool_lock:
        database._pool_available.notify_all()
    call.result()
    assert told == ["waiting", "woken"]
    database.connect()
    database.close()


def test_the_pool_does_not_use_the_condition(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for programs that wait and notify themselves; the pool wakes by other means."""
    told: list[str] = []
    condition = database._pool_available
    monkeypatch.setattr(condition, "notify", lambda *_: told.append("notify"))
    monkeypatch.setattr(condition, "notify_all", lambda: told.append("notify_all"))
    database._max_connections = 1
    database._wait_timeout = math.inf
    database.connect()
    waiter = park(database, take, database)
    database.close()
    waiter.result()
    database.connect()
    database.close_all()
    assert told == []


def test_interruptions_do_not_lose_the_pool_lock() -> None:
    """Once a program has asked for `_pool_lock`, the pool's own lock goes by way of it."""
    database = scripted(2)
    assert database._pool_lock
    storm = Storm()

    def work() -> None:
        if not database.is_closed():  # interrupted between the two calls below
            database.close()
        database.connect()
        database.close()

    with weather():
        storm.strike(Call(storm.endure, work), 300)
    database._wait_timeout = None
    assert database._pool_lock.acquire(timeout=PATIENCE)
    for _ in range(2):
        take(database)
    database._pool_lock.release()
    database.close_all()
    assert database.broken == []


def test_the_lock_of_the_database_is_not_in_the_way(database: Any) -> None:
    """Programs that hold `Database._lock` do not stop anybody else."""
    with database._lock:
        Call(take, database).result()


def test_the_state_can_be_seen_from_any_thread(database: Any) -> None:
    database.connect()
    assert Call(lambda: database._state.closed).result() is True
    assert not database._state.closed


# ---------------------------------------------------------------- nonsense


def corrupt_list(value: Any) -> Callable[[Any], None]:
    return lambda database: database._connections.append(value)


def corrupt_dict(value: Any) -> Callable[[Any], None]:
    return lambda database: database._in_use.__setitem__("somebody", value)


def assign(name: str, value: Any) -> Callable[[Any], None]:
    return lambda database: setattr(database, name, value)


NONSENSE: dict[str, Callable[[Any], None]] = {
    "text in the list": corrupt_list("nonsense"),
    "None in the list": corrupt_list(None),
    "a pair in the list": corrupt_list((1.0, 2)),
    "no time": corrupt_list((None, 1000, Connection(0))),
    "a time in words": corrupt_list(("yesterday", 1000, Connection(0))),
    "not a number": corrupt_list((math.nan, 1000, Connection(0))),
    "no counter": corrupt_list((1.0, None, Connection(0))),
    "a counter in words": corrupt_list((1.0, "first", Connection(0))),
    "text in the dict": corrupt_dict("nonsense"),
    "None in the dict": corrupt_dict(None),
    "a lease without times": corrupt_dict(PoolConnection(None, Connection(0), None)),
    "a lease with times in words": corrupt_dict(PoolConnection("a", Connection(0), "b")),
    "a lease that is a list": corrupt_dict([1, 2, 3, 4]),
    "no list": assign("_connections", None),
    "a number for a list": assign("_connections", 5),
    "no dict": assign("_in_use", None),
    "a list for a dict": assign("_in_use", []),
    "no heap counter": assign("_heap_counter", None),
    "a heap counter in words": assign("_heap_counter", "many"),
    "a negative heap counter": assign("_heap_counter", -1000),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("stale_timeout", [None, 1000])
def test_nonsense_does_not_break_the_pool_for_ever(nonsense: str, stale_timeout: Any) -> None:
    database = scripted(3, timeout=None, stale_timeout=stale_timeout)
    holder_connection = take(database)
    other = take(database)
    database._close(other)
    NONSENSE[nonsense](database)
    for use in (database.close_idle, database.close_stale, database.close_idle, database.close_all):
        try:
            use()
        except (TypeError, ValueError, AttributeError, KeyError):
            continue
    database._state.reset()
    database._connections  # noqa: B018  # looking is allowed again, too
    database.close_all()
    taken = [take(database) for _ in range(3)]
    assert len({id(connection) for connection in taken}) == 3
    with pytest.raises(MaxConnectionsExceeded):
        take(database)
    for connection in taken:
        database._close(connection)
    database._state.reset()
    assert len(idle(database)) == 3
    state = database._purepool.runtime.state
    assert [name for name, holds in INVARIANTS.items() if not holds(state)] == []
    assert waiting(database) == 0
    assert holder_connection.closed == 1


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_of_one_thread_loses_nothing_of_another(nonsense: str) -> None:
    """A thread that holds a connection meanwhile can return it, and one that waits gets it."""
    database = scripted(1)
    hold = Gate()

    def holder() -> None:
        database.connect()
        hold()
        try:
            database.close()
        except (TypeError, ValueError, AttributeError, KeyError):
            database.close_all()

    call = Call(holder)
    until(lambda: hold.standing)
    waiter = park(database, take, database)
    NONSENSE[nonsense](database)
    hold.open()
    call.result()
    waiter.result()


# ---------------------------------------------------------------- a mirror by itself


@pytest.fixture
def mirror(database: Any) -> Mirror:
    """Of a pool with two that are idle and two in use; what is in use came to be in another order
    than that of its names."""
    for _ in range(4):
        database.connect()
        database._state.closed = True
    connections = list(database.driver.opened)
    for connection in connections[:2]:
        database._state.conn, database._state.closed = connection, False
        database.close()
    return Mirror(database._purepool.runtime.fields, lambda connection: -connection.number)


def test_a_mirror_shows_all_in_the_order_of_the_machine(mirror: Mirror) -> None:
    assert [connection.number for *_, connection in mirror.connections] == [1, 2]
    assert mirror.heap_counter == max(counter for _, counter, _ in mirror.connections)
    assert list(mirror.in_use) == [-3, -4]
    assert [lease.connection.number for lease in mirror.in_use.values()] == [3, 4]


def test_what_was_not_changed_is_no_difference(mirror: Mirror) -> None:
    assert mirror.difference(1.0) is None
    heapq.heapify(mirror.connections)
    mirror.connections.reverse()
    mirror.in_use = dict(reversed(mirror.in_use.items()))
    assert mirror.difference(1.0) is None


def test_a_difference_says_what_was_changed_and_nothing_else(mirror: Mirror) -> None:
    first, seq, connection = mirror.connections[0]
    idle = {shown: key for key, shown in mirror._idle.items()}
    new, lent = Connection(9), Connection(10)
    mirror.connections[0] = changed = (first - 5.0, seq, connection)
    mirror.connections[1:] = [(3, 17, new)]
    key, kept = mirror._in_use[-4]
    del mirror.in_use[-3]
    mirror.in_use[-4] = kept._replace(checked_out=2.0)
    mirror.in_use[-10] = PoolConnection(1.0, lent, 4)
    counter = mirror.heap_counter
    assert mirror.difference(7.5) == Adopt(
        7.5,
        (
            AdoptIdle(idle[(first, seq, connection)], connection, changed[0], seq),
            AdoptIdle(None, new, 3, 17),
        ),
        (
            AdoptLease(key, kept.connection, kept.timestamp, 2.0),
            AdoptLease(None, lent, 1.0, 4),
        ),
        (max(idle.values()), mirror._in_use[-3][0]),
        counter + 1,
    )


def test_a_counter_alone_is_a_difference(mirror: Mirror) -> None:
    mirror.heap_counter = 41
    assert mirror.difference(7.5) == Adopt(7.5, (), (), (), 42)


class Incomparable(Connection):
    def __eq__(self, other: object) -> bool:
        raise AssertionError("a connection was compared")

    __ne__ = __eq__
    __hash__ = object.__hash__


def test_connections_are_not_compared(mirror: Mirror) -> None:
    mirror.connections.append((1.0, 50, Incomparable(9)))
    mirror.in_use[7] = PoolConnection(1.0, Incomparable(10), 2.0)
    adopt = mirror.difference(0.0)
    assert adopt is not None
    assert (len(adopt.idle), len(adopt.in_use)) == (1, 1)


NO_IDLE: list[Any] = [
    *(None, (), (1.0, 2), (1.0, 2, object(), 4), [1.0, 2, object()]),
    *(("1", 2, object()), (1.0, 2.0, object()), (math.nan, 2, object())),
]
NO_LEASE: list[Any] = [
    *(None, (), (1.0, object()), [1.0, object(), 2.0], ("1", object(), 2.0)),
    *((1.0, object(), None), (1.0, object(), math.nan), (math.nan, object(), 1.0)),
]


@pytest.mark.parametrize("nonsense", NO_IDLE)
def test_what_is_no_idle_connection_is_refused_by_name(mirror: Mirror, nonsense: Any) -> None:
    mirror.connections.append(nonsense)
    with pytest.raises(TypeError) as found:
        mirror.difference(0.0)
    assert str(found.value) == (
        f"_connections was given {nonsense!r}: allowed is (timestamp, counter, connection)"
    )


@pytest.mark.parametrize("nonsense", NO_LEASE)
def test_what_is_no_lease_is_refused_by_name(mirror: Mirror, nonsense: Any) -> None:
    mirror.in_use["one"] = nonsense
    with pytest.raises(TypeError) as found:
        mirror.difference(0.0)
    assert str(found.value) == f"_in_use was given {nonsense!r}: allowed is PoolConnection"


def test_what_is_no_counter_is_refused_by_name(mirror: Mirror) -> None:
    mirror.heap_counter = 1.5  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"^_heap_counter=1\.5: allowed is a whole number$"):
        mirror.difference(0.0)
