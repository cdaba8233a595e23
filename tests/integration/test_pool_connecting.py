"""`max_connecting`: never more connects at once, in the moments in which a storm would begin.

Theory.  Fifty callers meet a pool that has nothing: new, drained, or with a database that was away.
Every connect stands at a `Turnstile`, which counts who stands there and lets one through when
the test says so; so the test sees who connects at once, and decides how each of them ends.  With a
limit of None the same tests meet the storm itself: so they would see one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pool import OpenError, PoolTimeout, TooManyWaiting
from tests.integration.drivers import (
    PATIENCE,
    Call,
    Connection,
    idle,
    nothing,
    park,
    raising,
    until,
    waiting,
)
from tests.integration.pools import Scripted, is_whole, scripted

CALLERS = 50
FAILED = 20

both_openers = pytest.mark.parametrize("opener", ["background", "caller"])
limits = pytest.mark.parametrize("limit", [1, 3, None])


class Turnstile:
    """Whoever calls it stands there until it is let through; then `script` decides."""

    def __init__(self) -> None:
        self.script: Callable[[], Any] = nothing
        self.standing = 0
        self.passed = 0
        self.most = 0
        """The most that ever stood here at one time."""
        self._lock = threading.Lock()
        self._permits = threading.Semaphore(0)

    def __call__(self) -> None:
        with self._lock:
            self.standing += 1
            self.most = max(self.most, self.standing)
        try:
            assert self._permits.acquire(timeout=PATIENCE), "nobody let it through"
            self.script()
        finally:
            with self._lock:
                self.standing -= 1
                self.passed += 1

    def let_one_through(self) -> None:
        """Back when it has left."""
        passed = self.passed
        self._permits.release()
        until(lambda: self.passed > passed)

    def open(self) -> None:
        """Let through all who ever come."""
        self._permits.release(1_000)


def crowd(pool: Scripted) -> list[Call]:
    """Fifty callers who want a connection at once, and hold it until every one of them has been
    answered. Each comes to its connection, or to its `OpenError`."""
    all_answered = threading.Barrier(CALLERS)

    def hold() -> Connection | OpenError:
        try:
            with pool.acquire() as lease:
                all_answered.wait(PATIENCE)
                connection: Connection = lease.connection
                return connection
        except OpenError as error:
            all_answered.wait(PATIENCE)
            return error

    return [Call(hold) for _ in range(CALLERS)]


def end_connects(turnstile: Turnstile, limit: int | None, callers: int, count: int) -> None:
    """Let so many connects end, one by one, each when as many as may have begun; `callers` is how
    many want one."""
    for left in range(callers, callers - count, -1):
        stands(turnstile, min(left, limit or CALLERS))
        turnstile.let_one_through()


def stands(turnstile: Turnstile, count: int) -> None:
    """Wait until so many stand there."""
    until(lambda: turnstile.standing == count)


@both_openers
@limits
def test_the_first_callers_of_a_new_pool(opener: str, limit: int | None) -> None:
    """So many connect, the others wait; whichever connect ends, the next one begins."""
    turnstile = Turnstile()
    with scripted(CALLERS, opener=opener, max_opening=None, max_connecting=limit) as pool:
        pool.driver.on_connect = turnstile
        callers = crowd(pool)
        end_connects(turnstile, limit, CALLERS, CALLERS)
        assert len({call.result() for call in callers}) == CALLERS
    assert turnstile.most == (limit or CALLERS)


@both_openers
@limits
def test_after_a_drain(opener: str, limit: int | None) -> None:
    """All of a full pool is replaced: what was idle, and what was lent when it came back."""
    turnstile = Turnstile()
    with scripted(CALLERS, opener=opener, max_opening=None, max_connecting=limit) as pool:
        leases = [pool.acquire() for _ in range(CALLERS)]
        old = {lease.connection for lease in leases}
        for lease in leases[::2]:
            lease.release()
        pool.drain()
        for lease in leases[1::2]:
            lease.release()
        assert idle(pool) == []
        pool.driver.on_connect = turnstile
        callers = crowd(pool)
        end_connects(turnstile, limit, CALLERS, CALLERS)
        new = {call.result() for call in callers}
        assert len(new) == CALLERS
        assert not new & old
    assert turnstile.most == (limit or CALLERS)


@both_openers
@limits
def test_the_database_goes_away_and_comes_back(opener: str, limit: int | None) -> None:
    """Fifty callers find fifty connections dead at one time. Their connects fail, so many at once;
    when the database is back no more connect at once, and who still waits is served."""
    turnstile = Turnstile()
    turnstile.script = raising(ConnectionRefusedError("the database is down"))
    settings: dict[str, Any] = {"backoff_initial": 0.001, "backoff_max": 0.001}
    settings |= {"opener": opener, "max_opening": None, "check_after": 0.0}
    with scripted(CALLERS, max_connecting=limit, **settings) as pool:
        leases = [pool.acquire() for _ in range(CALLERS)]
        for lease in leases:
            lease.release()
        for connection in idle(pool):
            connection.alive = False
        pool.driver.on_connect = turnstile
        callers = crowd(pool)
        refused = FAILED if opener == "caller" else 0  # nobody's connect is nobody's failure
        for failed in range(FAILED):
            end_connects(turnstile, limit, CALLERS - (failed if refused else 0), 1)
        turnstile.script = nothing
        end_connects(turnstile, limit, CALLERS - refused, CALLERS - refused)
        answers = [call.result() for call in callers]
        assert sum(isinstance(answer, OpenError) for answer in answers) == refused
        assert len({id(answer) for answer in answers}) == CALLERS
        assert pool.statistics().dead == CALLERS
        pool.driver.on_connect = nothing
        is_whole(pool, CALLERS)
    assert turnstile.most == (limit or CALLERS)


def test_idle_connections_are_made_ready_so_many_at_a_time() -> None:
    """`min_idle` of an empty pool, and again after a drain."""
    turnstile = Turnstile()
    with scripted(9, max_opening=None, max_connecting=2) as pool:
        pool.driver.on_connect = turnstile
        pool.resize(min_idle=6)
        for _ in range(2):
            end_connects(turnstile, 2, 6, 6)
            pool.wait(PATIENCE)
            pool.drain()
        turnstile.open()
        pool.wait(PATIENCE)
    assert turnstile.most == 2


@both_openers
def test_while_a_connect_hangs_what_comes_back_is_lent(opener: str) -> None:
    """Who may not connect yet waits like everybody: for the first connection that comes back, or
    until its deadline."""
    turnstile = Turnstile()
    with scripted(CALLERS, opener=opener, max_connecting=1) as pool:
        first = pool.acquire()
        pool.driver.on_connect = turnstile
        hanging = Call(pool.acquire)
        stands(turnstile, 1)
        with pytest.raises(PoolTimeout, match=r"max 50, in use 1, idle 0, opening 1 of at most 1,"):
            pool.acquire(0.05)
        waiter = park(pool, pool.acquire)
        connection = first.connection
        first.release()
        turnstile.open()
        leases = [hanging.result(), waiter.result()]
        assert connection in {lease.connection for lease in leases}
        for lease in leases:
            lease.release()


@both_openers
def test_who_may_not_wait_does_not_wait_for_a_turn_to_connect(opener: str) -> None:
    """`timeout=0` and `max_waiting` count it as any other wait."""
    turnstile = Turnstile()
    with scripted(CALLERS, opener=opener, max_waiting=1, max_connecting=1) as pool:
        pool.driver.on_connect = turnstile
        first = Call(pool.acquire)
        stands(turnstile, 1)
        with pytest.raises(PoolTimeout, match="no connection to be had without waiting"):
            pool.acquire(0)
        second = None if opener == "background" else park(pool, pool.acquire)
        with pytest.raises(TooManyWaiting):
            pool.acquire()
        turnstile.open()
        for call in filter(None, (first, second)):
            call.result().release()


def test_a_caller_who_is_interrupted_in_its_connect_makes_room() -> None:
    """Its turn is the next caller's, whatever became of it."""
    turnstile = Turnstile()
    turnstile.script = raising(KeyboardInterrupt())
    with scripted(CALLERS, opener="caller", max_connecting=1) as pool:
        pool.driver.on_connect = turnstile
        interrupted = Call(pool.acquire)
        stands(turnstile, 1)
        waiter = park(pool, pool.acquire)
        turnstile.let_one_through()
        with pytest.raises(KeyboardInterrupt):
            interrupted.result()
        stands(turnstile, 1)
        turnstile.script = nothing
        turnstile.let_one_through()
        waiter.result().release()
        assert waiting(pool) == 0
