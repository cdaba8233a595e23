"""A check whose caller does not stay: it does not wait, or its deadline is sooner.

Theory.  The caller is told in time, whatever the driver does.  The check goes on: its answer says
whether the connection is lent to the next or closed, so that a slow database does not cost a good
connection for each caller in a hurry.  One that gives no answer within `check_timeout` is closed.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from pool import OpenError, PoolTimeout
from pool.core.events import Cancel
from pool.threads.runtime import Runtime
from tests.integration.drivers import FOR_EVER, Call, Gate, idle, lent, park, soon, until
from tests.integration.pools import Scripted, is_whole, scripted

IN_A_HURRY = pytest.mark.parametrize("timeout", [0, 0.01])
UNANSWERED = "did not answer a check in time"


def turn(pool: Scripted, timeout: float = FOR_EVER) -> Any:
    with pool.acquire(timeout) as lease:
        return lease.connection


def left(pool: Scripted) -> Any:
    return pool._runtime.helpers._left  # type: ignore[union-attr]


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_who_does_not_wait_gets_what_is_alive(opener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes at once is no wait; how soon a thread can give one is the machine's."""
    monkeypatch.setattr("pool.threads.helpers.AT_ONCE", FOR_EVER)
    with scripted(1, opener=opener, check_after=0.0) as pool:
        first = turn(pool)
        assert [turn(pool, 0) for _ in range(10)] == [first] * 10
        assert pool.driver.closed == []


@IN_A_HURRY
def test_a_check_goes_on_without_its_caller(timeout: float) -> None:
    """The connection is alive: it is idle again, and the next one's."""
    with scripted(1, check_after=0.0, check_timeout=FOR_EVER) as pool:
        first = turn(pool)
        gate = pool.driver.on_alive = Gate()
        with soon(), pytest.raises(PoolTimeout, match=UNANSWERED):
            pool.acquire(timeout)
        gc.collect()
        until(lambda: gate.standing)
        assert (lent(pool), len(left(pool))) == ([first], 1)
        pool.driver.on_alive = lambda _: None
        gate.open()
        until(lambda: idle(pool) == [first])
        assert turn(pool) is first
        assert left(pool) == {}
        is_whole(pool, 1)


@IN_A_HURRY
def test_a_check_that_is_left_just_after_another_goes_on_too(
    timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same connection: the first is over, and the watch has not gone on yet."""
    with scripted(1, check_after=0.0, check_timeout=FOR_EVER) as pool:
        first = turn(pool)
        gates = [Gate(), Gate()]
        coming = iter(gates)
        pool.driver.on_alive = lambda _: next(coming, lambda: None)()
        over, apply = Gate(), Runtime.apply

        def and_stay(runtime: Runtime, event: Any, cell: Any = None) -> Any:
            effects = apply(runtime, event, cell)
            if runtime is pool._runtime and type(event) is Cancel and not over.arrived:
                over()
            return effects

        monkeypatch.setattr(Runtime, "apply", and_stay)
        with pytest.raises(PoolTimeout, match=UNANSWERED):
            pool.acquire(timeout)
        gates[0].open()
        until(lambda: over.standing)
        with pytest.raises(PoolTimeout, match=UNANSWERED):
            pool.acquire(timeout)
        over.open()
        waiter = park(pool, turn, pool)
        gates[1].open()
        assert waiter.result() is first
        assert first.closed == 0


@IN_A_HURRY
def test_who_waits_gets_it_when_the_check_is_over(timeout: float) -> None:
    with scripted(1, check_after=10.0, check_timeout=FOR_EVER) as pool:
        first = turn(pool)
        pool._runtime.check_after = 0.0
        gate = pool.driver.on_alive = Gate()
        with pytest.raises(PoolTimeout, match=UNANSWERED):
            pool.acquire(timeout)
        pool._runtime.check_after = 10.0
        waiter = park(pool, turn, pool)
        gate.open()
        assert waiter.result() is first


def no(_: Any) -> bool:
    return False


def broken(_: Any) -> bool:
    raise OSError("gone")


@IN_A_HURRY
@pytest.mark.parametrize("answer", [no, broken])
def test_a_dead_one_is_closed_without_its_caller(answer: Any, timeout: float) -> None:
    with scripted(1, check_after=0.0, check_timeout=FOR_EVER) as pool:
        first = turn(pool)
        gate = Gate()

        def check(connection: Any) -> Any:
            gate()
            return answer(connection)

        pool.driver.on_alive = check
        with pytest.raises(PoolTimeout, match=UNANSWERED):
            pool.acquire(timeout)
        waiter = park(pool, turn, pool)
        assert first.closed == 0
        gate.open()
        assert waiter.result() is not first
        until(lambda: first.closed == 1)
        pool.driver.on_alive = lambda _: None


@pytest.mark.parametrize("check_timeout", [0.5, None])
@IN_A_HURRY
def test_one_that_never_answers_is_given_up(timeout: float, check_timeout: float | None) -> None:
    """After `check_timeout`, or at once if there is none, its place is free; it is closed when the
    driver comes back."""
    with scripted(1, check_after=0.0, check_timeout=check_timeout) as pool:
        first = turn(pool)
        gate = pool.driver.on_alive = Gate()
        with pytest.raises(PoolTimeout, match=UNANSWERED):
            pool.acquire(timeout)
        until(lambda: gate.standing)
        pool.driver.on_alive = lambda _: None
        assert turn(pool) is not first
        assert (gate.standing, first.closed) == (1, 0)
        gate.open()
        until(lambda: first.closed == 1)


def test_a_close_waits_for_a_check_that_goes_on() -> None:
    with scripted(1, check_after=0.0, check_timeout=FOR_EVER) as pool:
        first = turn(pool)
        gate = pool.driver.on_alive = Gate()
        with pytest.raises(PoolTimeout, match=UNANSWERED):
            pool.acquire(0)
        closing = Call(pool.close, FOR_EVER)
        until(lambda: pool.statistics().phase == "closed")
        assert first.closed == 0
        gate.open()
        assert closing.result() is True
        assert first.closed == 1


def test_the_same_block_again() -> None:
    """The object of a refused caller may be used anew while its check goes on."""
    with scripted(2, check_after=0.0, check_timeout=FOR_EVER) as pool:
        first = turn(pool)
        gate = pool.driver.on_alive = Gate()
        block = pool.connection(0)
        with pytest.raises(PoolTimeout, match=UNANSWERED):
            block.__enter__()
        block._timeout = FOR_EVER  # type: ignore[attr-defined]
        with block as connection:
            assert connection is not first
            gate.open()
            until(lambda: idle(pool) == [first])
            assert lent(pool) == [connection]
        pool.driver.on_alive = lambda _: None
        is_whole(pool, 2)


RESULTS: dict[str, Callable[[], Any]] = {
    "a refusal of another pool": lambda: _refused(),
    "an error": lambda: broken(None),
}


def _refused() -> None:
    with scripted(1, name="other") as other:
        lease = other.acquire()
        try:
            other.acquire(0)
        finally:
            lease.release()


@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize("result", RESULTS)
def test_whatever_a_check_raises_means_no(result: str, opener: str) -> None:
    """A `PoolTimeout` of another pool, which the check used, is not the caller's."""
    with scripted(1, opener=opener, check_after=0.0) as pool:
        first = turn(pool)
        pool.driver.on_alive = lambda _: RESULTS[result]()
        assert turn(pool) is not first
        until(lambda: first.closed == 1)


@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize("place", ["connect", "configure"])
def test_a_connect_that_another_pool_refuses(place: str, opener: str) -> None:
    """It is a connect that failed, by whatever error: so says the caller's, and which it was."""
    failing = [True]

    def refuse(*_: Any) -> Any:
        if failing[0]:
            _refused()
        return None

    configure = refuse if place == "configure" else None
    with scripted(1, opener=opener, name="mine", configure=configure) as pool:
        if place == "connect":
            pool.driver.on_connect = refuse
        with pytest.raises(OpenError, match=r"pool 'mine': .*PoolTimeout: pool 'other'") as caught:
            pool.acquire()
        assert not isinstance(caught.value, PoolTimeout)
        failing[0] = False
        is_whole(pool, 1)
