"""Every feature that `docs/features.md` lists, shown with a scripted driver.

Theory.  Order is made, not hoped for: who waits is known to stand in the queue, who connects
stands at a gate, and time passes where the test's own clock says so.  That a wait ends with its
timeout is seen where everything else it could end with never comes.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pool import Notice, Pool, PoolClosed, PoolError, PoolSuspended, PoolTimeout, TooManyWaiting
from pool.core.state import resting
from pool.threads.helpers import Helpers
from pool.threads.monitor import Monitor
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    Call,
    Connection,
    Gate,
    idle,
    lent,
    park,
    soon,
    switching_often,
    until,
    waiting,
)
from tests.integration.pools import Scripted, is_whole, scripted

FAR = 1000.0
REST = 100.0
"""Long enough to be asked whether one lives, not long enough to be closed for it."""


class Clock:
    """The clock of a pool's events, which only the test moves."""

    def __init__(self, pool: Scripted) -> None:
        self.runtime = pool.runtime
        self.now = math.ceil(self.runtime.clock()) + 1.0  # whole, and after all there is already
        self.runtime.clock = lambda: self.now

    def pass_by(self, seconds: float) -> None:
        """Let time pass, and the helpers notice."""
        self.now += seconds
        if self.runtime.helpers:
            self.runtime.helpers.wake()


def turn(pool: Scripted, timeout: float | None = FOR_EVER) -> Connection:
    """Acquire and release: which connection it was."""
    with pool.acquire(timeout) as lease:
        connection: Connection = lease.connection
    return connection


def fail(*_: object) -> None:
    raise ConnectionRefusedError("the database is down")


def fill(pool: Scripted, size: int) -> list[Connection]:
    """Have so many connections idle; in the order in which they were made and returned."""
    leases = [pool.acquire() for _ in range(size)]
    connections = [lease.connection for lease in leases]
    for lease in leases:
        lease.release()
    return connections


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("opener", ["background", "caller"])
def test_max_size(opener: str) -> None:
    """Never more than so many connections, whoever wants them."""
    with scripted(3, opener=opener, max_opening=None) as pool:
        calls = [Call(lambda: [turn(pool) for _ in range(20)]) for _ in range(12)]
        for call in calls:
            call.result()
        assert len(pool.driver.opened) <= 3
        is_whole(pool, 3)


def test_no_max_size() -> None:
    with scripted(None) as pool:
        leases = [pool.acquire() for _ in range(30)]
        assert len(lent(pool)) == 30
        for lease in leases:
            lease.release()


def test_min_idle() -> None:
    """They are there without anybody asking, and again when some were taken or closed."""
    with scripted(5, min_idle=3) as pool:
        pool.wait(PATIENCE)
        assert pool.statistics().idle == 3
        with pool.acquire(), pool.acquire():
            until(lambda: pool.statistics().idle == 3)
            assert pool.statistics().in_use == 2
        for connection in idle(pool):
            connection.alive = False
        clock = Clock(pool)
        clock.pass_by(REST)
        assert turn(pool).alive
        until(lambda: pool.statistics().idle >= 3)


def test_wait_says_why_not() -> None:
    """`wait` keeps trying until its deadline; its error has the driver's own as cause."""
    with scripted(2, min_idle=2, backoff_initial=0.001) as pool:
        pool.wait(PATIENCE)
        pool.driver.on_connect = fail
        pool.resize(5, min_idle=4)
        with pytest.raises(PoolTimeout, match=r"min_idle=4 not reached within 0\.05 s"):
            pool.wait(0.05)
        until(lambda: pool.statistics().last_error is not None)
        with pytest.raises(PoolTimeout, match="the database is down") as caught:
            pool.wait(0.05)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        pool.driver.on_connect = lambda: None
        pool.wait(PATIENCE)
        pool.close(0)
        with pytest.raises(PoolClosed):
            pool.wait(PATIENCE)


# ---------------------------------------------------------------- waiting


def test_timeout_per_call() -> None:
    """The pool's own, or that of the call; 0 does not wait, None waits for ever."""
    with scripted(1, timeout=FOR_EVER) as pool, pool.acquire():
        for timeout in (0.02, 0):
            with soon(), pytest.raises(PoolTimeout):
                pool.acquire(timeout)
    with scripted(1, timeout=0.02) as pool:
        lease = pool.acquire(FOR_EVER)
        with soon(), pytest.raises(PoolTimeout):
            pool.acquire()
        waiter = park(pool, turn, pool, None)
        for _ in range(3):
            with pytest.raises(PoolTimeout):
                pool.acquire()
        assert waiting(pool) == 1, "who waits for ever was refused with the pool's own timeout"
        lease.release()
        waiter.result()


def test_strict_fifo() -> None:
    """Who waits longest is served first."""
    served: list[int] = []
    with scripted(1) as pool:

        def take(number: int) -> None:
            with pool.acquire():
                served.append(number)

        lease = pool.acquire()
        waiters = [park(pool, take, number) for number in range(20)]
        lease.release()
        for waiter in waiters:
            waiter.result()
        assert served == list(range(20))


def test_hand_off_without_barging() -> None:
    """A released connection is the oldest waiter's in that instant: not even who releases it can
    have it again before."""
    with scripted(1) as pool:
        lease = pool.acquire()
        waiter = park(pool, pool.acquire)
        lease.release()
        with pytest.raises(PoolTimeout):
            pool.acquire(0)
        waiter.result().release()


def test_max_waiting() -> None:
    """One more than may wait is refused at once; those who wait are not touched."""
    with scripted(1, max_waiting=2) as pool:
        lease = pool.acquire()
        waiters = [park(pool, turn, pool) for _ in range(2)]
        with pytest.raises(TooManyWaiting, match="waiting 2"):
            pool.acquire()
        lease.release()
        for waiter in waiters:
            waiter.result()


@pytest.mark.parametrize(
    ("order", "lent_first"), [("lifo", [3, 1, 2]), ("fifo", [2, 1, 3]), ("oldest", [1, 2, 3])]
)
def test_idle_order(order: str, lent_first: list[int]) -> None:
    """The last returned, the first returned, or the first made."""
    with scripted(3, idle_order=order) as pool:
        leases = {}
        clock = Clock(pool)
        for _ in range(3):
            lease = pool.acquire()
            leases[lease.connection.number] = lease
            clock.now += 0.001
        for number in (2, 1, 3):
            leases[number].release()
        taken = [pool.acquire() for _ in range(3)]
        assert [lease.connection.number for lease in taken] == lent_first
        for lease in taken:
            lease.release()


# ---------------------------------------------------------------- age and rest


def test_max_lifetime_with_jitter() -> None:
    """Each is replaced at an age of its own, at most a tenth before `max_lifetime`; the numbers
    are drawn outside the machine."""
    with scripted(8, max_lifetime=100.0, max_opening=None) as pool:
        clock = Clock(pool)
        first = fill(pool, 8)
        ends = [item.entry.jitter for item in _idle_items(pool)]
        assert all(0 <= jitter < 0.1 for jitter in ends)
        assert len(set(ends)) == 8
        clock.pass_by(89.9)
        assert set(fill(pool, 8)) == set(first)
        clock.pass_by(10.1)
        until(lambda: all(connection.closed for connection in first))
        assert not set(fill(pool, 8)) & set(first)


def _idle_items(pool: Scripted) -> list[Any]:
    return list(resting(pool.runtime.state.idle))


def test_max_idle() -> None:
    """What rested so long is closed, but for `min_idle` of them."""
    with scripted(5, max_idle=100.0, min_idle=2) as pool:
        clock = Clock(pool)
        leases = [pool.acquire() for _ in range(5)]
        for lease in leases:
            lease.release()
        clock.pass_by(99.0)
        fresh = turn(pool)
        clock.pass_by(2.0)
        until(lambda: pool.statistics().idle == 2)
        assert fresh in idle(pool)


def test_checked_before_it_is_lent() -> None:
    """What rested for `check_after` is asked whether it lives; what did not, is not."""
    with scripted(1, check_after=10.0) as pool:
        clock = Clock(pool)
        asked: list[Connection] = []
        pool.driver.on_alive = asked.append
        first = turn(pool)
        clock.pass_by(9.0)
        assert turn(pool) is first
        assert asked == []
        clock.pass_by(11.0)
        assert turn(pool) is first
        assert asked == [first]
        clock.pass_by(11.0)
        first.alive = False
        second = turn(pool)
        assert second is not first
        assert pool.statistics().dead == 1
        until(lambda: first.closed == 1)


def test_all_dead_at_once() -> None:
    """After a restart of the database each is found dead; the caller keeps its place and gets a
    new one."""
    with scripted(4) as pool:
        clock = Clock(pool)
        for connection in fill(pool, 4):
            connection.alive = False
        clock.pass_by(REST)
        assert turn(pool).alive
        assert pool.statistics().dead == 4


# ---------------------------------------------------------------- nobody is held up


def test_no_io_under_the_lock() -> None:
    """Connects, checks, resets and closes run side by side, and while they run others acquire and
    release, and the statistics answer."""
    with scripted(6, max_opening=None, max_lifetime=FAR) as pool:
        clock = Clock(pool)
        gates = {name: Gate() for name in ("connect", "alive", "reset", "close")}
        leases = [pool.acquire() for _ in range(4)]
        free, checked, resetting, closing = (lease.connection for lease in leases)
        leases[1].release()
        clock.now += 1.0

        def only(gate: Gate, *connections: Connection) -> Callable[[Connection], None]:
            return lambda connection: gate() if connection in connections else None

        pool.driver.on_alive = only(gates["alive"], checked)
        pool.driver.on_reset = only(gates["reset"], resetting)
        pool.driver.on_close = only(gates["close"], closing)
        pool.driver.on_connect = gates["connect"]
        calls = [Call(turn, pool)]  # which finds the one to be checked
        until(lambda: gates["alive"].standing == 1)
        calls.append(Call(leases[2].release))
        until(lambda: gates["reset"].standing == 1)
        leases[3].discard()
        until(lambda: gates["close"].standing == 1)
        calls.append(park(pool, turn, pool))
        until(lambda: gates["connect"].standing >= 1)
        leases[0].release()
        assert turn(pool) is free
        assert pool.statistics().opening >= 1
        for gate in gates.values():
            assert gate.standing >= 1
            gate.open()
        for call in calls:
            call.result()


@pytest.mark.parametrize("where", ["connect", "check"])
def test_callers_block_only_on_the_pool(where: str) -> None:
    """A database that hangs, in a connect or in a check: acquire keeps its timeout."""
    gate = Gate()
    with scripted(1, check_timeout=FOR_EVER) as pool:
        if where == "connect":
            pool.driver.on_connect = gate
        else:
            clock = Clock(pool)
            turn(pool)
            clock.now += REST
            pool.driver.on_alive = gate
        for _ in range(2):
            with soon(), pytest.raises(PoolTimeout):
                pool.acquire(0.1)
        gate.open()
        is_whole(pool, 1)


def test_a_check_without_an_answer() -> None:
    """No answer within `check_timeout` means dead: the caller gets another connection."""
    gate = Gate()
    with scripted(1, check_timeout=0.02) as pool:
        clock = Clock(pool)
        first = turn(pool)
        clock.now += REST
        pool.driver.on_alive = gate
        second = turn(pool)
        assert second is not first
        assert first.closed == 0  # not while the driver is at work on it
        gate.open()
        until(lambda: first.closed == 1)


def test_separate_limits_for_waiting_and_connecting() -> None:
    """At most `max_opening` connects at once, whoever waits; and an empty pool, which has nobody
    to wait for, connects for all."""
    gate = Gate()
    with scripted(6, max_opening=2, max_waiting=10) as pool:
        first = pool.acquire()
        pool.driver.on_connect = gate
        waiters = [park(pool, turn, pool) for _ in range(5)]
        until(lambda: gate.standing == 2)
        assert pool.statistics().opening == 2
        assert waiting(pool) == 5
        gate.open()
        for waiter in waiters:
            waiter.result()
        first.release()
    gate = Gate()
    with scripted(6, max_opening=2) as pool:
        pool.driver.on_connect = gate
        waiters = [park(pool, turn, pool) for _ in range(5)]
        until(lambda: gate.standing == 5)
        gate.open()
        for waiter in waiters:
            waiter.result()


def test_released_before_new() -> None:
    """A spike is served by what comes back; new connections are a few, one at a time."""
    gate = Gate()
    with scripted(50, min_idle=5) as pool:
        pool.wait(PATIENCE)
        pool.driver.on_connect = gate
        leases = [pool.acquire() for _ in range(5)]
        waiters = [park(pool, turn, pool) for _ in range(45)]
        until(lambda: gate.standing == 1)
        for lease in leases:
            lease.release()
        for waiter in waiters:
            waiter.result()
        assert gate.arrived == 1
        assert len(pool.driver.opened) == 5
        gate.open()


# ---------------------------------------------------------------- a database that is down


def test_back_off() -> None:
    """While the database is down it is asked ever more rarely, each time a bit earlier than
    it might be, and a caller waits no longer than it wanted to."""
    with scripted(2) as pool:
        clock = Clock(pool)
        turn(pool)
        lease = pool.acquire()
        attempts: list[float] = []

        def attempt() -> None:
            attempts.append(clock.now)
            fail()

        pool.driver.on_connect = attempt
        waiter = park(pool, turn, pool)
        pauses = []
        for number in range(1, 9):
            until(lambda number=number: pool.statistics().failures == number)
            retry_at = pool.runtime.state.retry_at
            pauses.append(retry_at - clock.now)
            clock.pass_by(pauses[-1])
        for pause, longest in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0], strict=True):
            assert longest / 2 < pause <= longest + 1e-6
        assert len(set(pauses[4:])) > 1  # jitter
        until(lambda: pool.statistics().failures == 9)  # the one that the last step has begun
        with (
            soon(),
            pytest.raises(PoolTimeout, match="the last connect failed: ConnectionRefusedError"),
        ):
            pool.acquire(0.05)
        lease.release()
        waiter.result()  # served by what came back, all the same
        pool.driver.on_connect = lambda: None
        clock.pass_by(1.0)
        is_whole(pool, 2)
        assert pool.statistics().failures == 0


def test_a_timeout_has_the_databases_refusal_as_cause() -> None:
    with scripted(2) as pool:
        lease = pool.acquire()
        pool.driver.on_connect = fail
        waiter = park(pool, turn, pool)
        until(lambda: pool.statistics().last_error)
        with pytest.raises(PoolTimeout) as caught:
            pool.acquire(0.01)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        cause = caught.value.__cause__
        until(lambda: cause.__traceback__ is None)  # who met it drops it, once that is told
        pool.driver.on_connect = lambda: None
        lease.release()
        waiter.result()


# ---------------------------------------------------------------- coming back


@pytest.mark.parametrize("answer", [False, LookupError()], ids=["False", "an exception"])
def test_reset_on_return(answer: Any) -> None:
    """Each connection that comes back is reset; one that can't be is closed, not lent."""
    with scripted(1) as pool:
        reset: list[Connection] = []

        def on_reset(connection: Connection) -> Any:
            reset.append(connection)
            if len(reset) == 2 and isinstance(answer, Exception):
                raise answer
            return len(reset) != 2

        pool.driver.on_reset = on_reset
        first = turn(pool)
        assert turn(pool) is first
        assert reset == [first, first]
        until(lambda: first.closed == 1)
        assert turn(pool) is not first


def test_leaks_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Once, with the stack of the holder; to the log and to listeners."""
    heard: list[Notice] = []

    def hear(notice: Notice) -> None:
        pool.resize(2)  # takes the lock: outside of it this does not hang
        heard.append(notice)

    with scripted(2, leak_after=60.0, name="orders", listeners={"leak": hear}) as pool:
        clock = Clock(pool)
        with caplog.at_level(logging.WARNING, "pool"):
            lease = pool.acquire()
            clock.pass_by(61.0)
            until(lambda: heard)
            clock.pass_by(60.0)
            turn(pool)
        (notice,) = heard
        assert (notice.kind, notice.pool, notice.seconds) == ("leak", "orders", 61.0)
        assert notice.connection is lease.connection
        assert notice.stack is not None
        assert "in test_leaks_are_reported\n    lease = pool.acquire()" in notice.stack
        (record,) = caplog.records
        assert record.getMessage().startswith("pool 'orders': connection 1 has been held for 61.0")
        assert "lease = pool.acquire()" in record.getMessage()
        lease.release()


# ---------------------------------------------------------------- changing and ending


def test_resize_up_and_down() -> None:
    """More: who waits is served at once. Less: the surplus is closed, idle ones now, lent ones
    when they come back, and never more than the new maximum is lent."""
    with scripted(1) as pool:
        lease = pool.acquire()
        waiters = [park(pool, pool.acquire) for _ in range(3)]
        pool.resize(4)
        leases = [lease, *(waiter.result() for waiter in waiters)]
        pool.resize(2)
        assert pool.statistics().in_use == 4
        waiter = park(pool, turn, pool)
        leases[0].release()
        leases[1].release()
        assert waiting(pool) == 1
        leases[2].release()
        waiter.result()
        leases[3].release()
        until(lambda: sum(connection.closed for connection in pool.driver.opened) == 2)
        is_whole(pool, 2)
        with pool.acquire(), pool.acquire(), pytest.raises(PoolTimeout):
            pool.acquire(0)
        pool.resize(2, min_idle=2)
        assert pool.statistics().min_idle == 2
        pool.resize(None)
        is_whole(pool, 10)


def test_drain() -> None:
    """Every connection is replaced: idle ones now, lent ones when they come back; no caller is
    refused meanwhile."""
    with scripted(3) as pool:
        clock = Clock(pool)
        old = fill(pool, 3)
        lease = pool.acquire()
        clock.now += 1.0
        pool.drain()
        until(lambda: sum(connection.closed for connection in old) == 2)
        assert lease.connection.closed == 0
        assert turn(pool) not in old
        lease.release()
        until(lambda: all(connection.closed == 1 for connection in old))


def test_graceful_shutdown() -> None:
    """Who waits is refused, idle ones are closed, lent ones when they come back; `close` waits
    for them, says whether they did, and nobody gets anything any more."""
    with scripted(2) as pool:
        fill(pool, 2)
        lease, other = pool.acquire(), pool.acquire()
        other.release()
        busy = pool.acquire()
        waiters = [park(pool, pool.acquire) for _ in range(3)]
        assert pool.close(0) is False
        for waiter in waiters:
            with pytest.raises(PoolClosed):
                waiter.result()
        with pytest.raises(PoolClosed):
            pool.acquire()
        busy.release()
        closing = Call(pool.close, PATIENCE)
        until(lambda: len(pool.runtime.monitor.onlookers) == 1)
        assert closing.is_alive()
        assert lease.connection.closed == 0
        lease.release()
        assert closing.result() is True
        assert all(connection.closed == 1 for connection in pool.driver.opened)
        for function in (pool.drain, pool.suspend, pool.resume, lambda: pool.resize(3)):
            with pytest.raises(PoolClosed):
                function()
        assert pool.close(0) is True


def test_close_comes_back_with_the_last_close() -> None:
    """Not with its timeout: the thread that closes says so when it is no longer counted."""
    with switching_often():
        for _ in range(200):
            pool = Scripted(2)
            fill(pool, 2)
            with soon():
                assert pool.close(PATIENCE)


def test_the_block_of_a_pool_closes_it() -> None:
    pool = Scripted(2)
    with pool:
        connections = fill(pool, 2)
    assert [connection.closed for connection in connections] == [1, 1]
    assert pool.statistics().phase == "closed"


def test_suspend_and_resume() -> None:
    """Suspended: callers queue, who cannot wait is told so; resumed: all are served, in order."""
    with scripted(2) as pool:
        turn(pool)
        pool.suspend()
        assert pool.statistics().phase == "suspended"
        for timeout in (0, 0.02):
            with pytest.raises(PoolSuspended):
                pool.acquire(timeout)
        served: list[int] = []

        def take(number: int) -> None:
            with pool.acquire():
                served.append(number)

        waiters = [park(pool, take, number) for number in range(8)]
        pool.suspend()
        assert pool.statistics().in_use == 0
        pool.resize(1)  # one after the other, so that there is an order to be seen
        pool.resume()
        for waiter in waiters:
            waiter.result()
        assert served == list(range(8))
        pool.resume()


# ---------------------------------------------------------------- watching it


@pytest.mark.parametrize("opener", ["background", "caller"])
def test_a_close_under_way_is_waited_for(opener: Any) -> None:
    """Also one that another caller performs, and one whose driver raises."""
    gate = Gate()

    def close(connection: Any) -> None:
        gate()
        raise OSError("the wire is cut")

    with scripted(1, opener=opener) as pool:
        lease = pool.acquire()
        assert pool.close(0) is False
        pool.driver.on_close = close
        returning = Call(lease.release)
        until(lambda: gate.standing == 1)
        assert (pool.statistics().closing, pool.statistics().closes_waiting) == (1, 0)
        assert pool.close(0) is False
        closing = Call(pool.close, PATIENCE)
        until(lambda: len(pool.runtime.monitor.onlookers) == 1)
        gate.open()
        assert closing.result() is True
        assert returning.result() is True
        assert pool.statistics().closing == 0


@pytest.mark.parametrize("opener", ["background", "caller"])
def test_a_close_does_not_wait_for_itself(opener: Any) -> None:
    """Who closes the pool when told of a close would wait in vain."""
    done: list[bool] = []
    with scripted(1, opener=opener) as pool:
        pool.listen("close", lambda _: done.append(pool.close(PATIENCE)))
        pool.acquire().discard()
        until(lambda: done == [True])


def test_a_struck_close_is_told_to_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Struck on its last step it counts until its frame is gone, and then they hear of it."""

    class Strike(BaseException):
        pass

    gate = Gate()
    strikes = [Strike()]

    def discard() -> None:
        try:
            lease.discard()
        except Strike:  # which has the frame
            gate()

    honest = Monitor.closed

    def closed(self: Monitor, mark: Any) -> None:
        if strikes:
            raise strikes.pop()
        honest(self, mark)

    with scripted(1, opener="caller") as pool:
        lease = pool.acquire()
        monkeypatch.setattr(Monitor, "closed", closed)
        discarding = Call(discard)
        until(lambda: gate.standing == 1)
        closing = Call(pool.close, PATIENCE)
        until(lambda: len(pool.runtime.monitor.onlookers) == 1)
        assert closing.is_alive()
        gate.open()
        discarding.result()
        assert closing.result() is True


def test_statistics() -> None:
    """A frozen picture of one instant."""
    gate = Gate()
    with scripted(3, name="orders", max_waiting=1) as pool:
        pool.driver.on_close = gate
        turn(pool)
        lease, another = pool.acquire(), pool.acquire()
        another.discard()
        until(lambda: gate.standing == 1)
        numbers = pool.statistics()
        assert (numbers.name, numbers.phase, numbers.max_size) == ("orders", "open", 3)
        assert (numbers.idle, numbers.in_use, numbers.opening, numbers.size) == (0, 1, 0, 1)
        assert (numbers.waiting, numbers.closing, numbers.closes_waiting) == (0, 1, 0)
        assert (numbers.requests, numbers.granted, numbers.refused) == (3, 3, 0)
        assert (numbers.opened, numbers.closed, numbers.dead, numbers.last_error) == (2, 1, 0, None)
        with pytest.raises(AttributeError):
            numbers.idle = 5  # type: ignore[misc]
        gate.open()
        lease.release()
        assert numbers.in_use == 1
        assert pool.statistics().idle == 1


def test_listeners(caplog: pytest.LogCaptureFixture) -> None:
    """Each kind of notice, outside the lock; what a listener raises is logged and goes no
    further."""
    heard: list[tuple[str, Any]] = []

    def hear(notice: Notice) -> None:
        pool.resize(2)  # takes the lock: outside of it this does not hang
        what = type(notice.error) if notice.error else notice.reason or notice.connection
        what = notice.connection if notice.kind == "checkin" else what
        heard.append((notice.kind, what))
        raise LookupError("a listener's own mistake")

    kinds: Any = ("connect", "checkout", "checkin", "close", "refuse", "leak")
    with scripted(2) as pool:
        for kind in kinds:
            pool.listen(kind, hear)
        with caplog.at_level(logging.WARNING, "pool"):
            lease = pool.acquire()
            connection = lease.connection
            lease.release()
            with pool.acquire(), pool.acquire() as second:
                with pytest.raises(PoolTimeout):
                    pool.acquire(0)
                second.discard()
            until(lambda: ("close", "discarded") in heard)
        assert heard[:3] == [(kind, connection) for kind in ("connect", "checkout", "checkin")]
        assert ("refuse", PoolTimeout) in heard

        def said() -> set[str]:
            texts = {record.getMessage().partition(";")[0] for record in caplog.records}
            return {text for text in texts if "listener failed" in text}

        failed = {f"pool 'connect': a {kind} listener failed" for kind in kinds if kind != "leak"}
        until(lambda: said() == failed)
        is_whole(pool, 2)


def test_a_listener_is_interrupted() -> None:
    """Ctrl-C in somebody's metric: the connection is not lost."""

    def interrupt(_: Notice) -> None:
        raise KeyboardInterrupt

    with scripted(1, listeners={"checkout": interrupt}) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.acquire()
        pool._listeners.by_kind["checkout"] = ()
        is_whole(pool, 1)


# ---------------------------------------------------------------- threads, or none


def test_no_threads_without_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """`opener="caller"` starts no thread, whatever is asked of the pool; and it looks after
    leaks, rest and age when it is used."""

    def refuse(*_: object) -> None:
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    heard: list[Notice] = []
    with scripted(
        3,
        opener="caller",
        max_lifetime=1000.0,
        max_idle=100.0,
        leak_after=10.0,
        listeners={"leak": heard.append},
        max_opening=None,
    ) as pool:
        clock = Clock(pool)
        fill(pool, 3)
        lease = pool.acquire()
        clock.now += 11.0
        turn(pool)
        assert [notice.seconds for notice in heard] == [11.0]
        clock.now += 95.0
        turn(pool)
        assert pool.statistics().idle == 1
        pool.resize(2)
        pool.drain()
        lease.release()
        with pool.acquire(), pool.acquire(), pytest.raises(PoolTimeout):
            pool.acquire(0)


def test_threads_end_with_the_pool() -> None:
    """A closed pool has no threads any more."""
    before = set(threading.enumerate())
    with scripted(4, min_idle=2, leak_after=FAR) as pool:
        fill(pool, 4)
    until(lambda: not set(threading.enumerate()) - before)


def test_pools_that_rest_wake_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty of them, with all that is set by default and something idle: each watch, once it has
    looked, sleeps for minutes."""
    pauses: dict[Any, float | None] = {}
    look = Helpers._look

    def noted(helpers: Helpers, runtime: Any) -> float | None:
        pauses[helpers] = pause = look(helpers, runtime)
        return pause

    monkeypatch.setattr(Helpers, "_look", noted)
    with contextlib.ExitStack() as stack:
        pools = [stack.enter_context(Pool(object, min_idle=1)) for _ in range(20)]
        for pool in pools:
            pool.wait()
            for _ in range(5):
                pool.acquire().release()
        watches = [pool._runtime.helpers for pool in pools]
        until(lambda: all((pauses.get(watch) or 0.0) > 300.0 for watch in watches))


def test_ten_callers_who_connect_themselves() -> None:
    """`opener="caller"`: a slow connect delays only its caller, a failed one strands nobody."""
    gates = [Gate() for _ in range(3)]
    with scripted(3, opener="caller", max_opening=None) as pool:
        calls = []
        for gate in gates:  # one after the other: each has its own
            pool.driver.on_connect = gate
            calls.append(Call(turn, pool))
            until(lambda gate=gate: gate.standing)
        waiters = [park(pool, turn, pool) for _ in range(5)]

        def error(*_: Any) -> None:
            raise ConnectionRefusedError

        pool.driver.on_connect = error
        gates[0].open()
        for call in (calls[0], *waiters):
            call.result()
        for gate in gates[1:]:
            gate.open()
        for call in calls:
            call.result()


def test_errors_are_pool_errors() -> None:
    with scripted(1) as pool, pool.acquire(), pytest.raises(PoolError):
        pool.acquire(0)
