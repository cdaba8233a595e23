"""Calls of the pool from within a call of the pool, on the same thread. (RUN-10)

Theory.  `test_every_instant_calls.py` has what can be tried at every instant of a checkout.  Here
are the places where others run on purpose, hooks and listeners, and those where a thread stands
longest: in the queue, and in a connect.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from pool import Pool, PoolError, PoolReentered, PoolTimeout
from pool.record import Recorder
from tests.integration.drivers import FOR_EVER, PATIENCE, Call, Connection, until, waiting
from tests.integration.instants import every_instant
from tests.integration.pools import Scripted, is_whole

OPENERS = ["caller", "background"]
HOOKS = ["connect", "configure", "check", "reset", "close"]
LISTENERS = ["connect", "checkout", "checkin", "close", "refuse"]


def pool_with(hook: str, call: Any, **settings: Any) -> Pool[Any]:
    """One whose hook, or listener, makes that call; of which nothing else comes."""
    made: list[Connection] = []

    def connect() -> Connection:
        made.append(Connection(len(made)))
        if hook == "connect":
            call()
        return made[-1]

    hooks = {name: lambda _: call() for name in HOOKS[1:] if name == hook}
    return Pool(connect, check_after=0.0, check_timeout=None, timeout=PATIENCE, **hooks, **settings)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_closes_the_pool_does_not_wait_for_itself(opener: Any, hook: str) -> None:
    said: list[bool] = []
    pool = pool_with(hook, lambda: said.append(pool.close(None)), opener=opener)

    def use() -> None:
        with suppress(PoolError):
            pool.acquire().release()  # connect, configure, reset
            pool.acquire().discard()  # check, close

    Call(use).result()
    until(lambda: said)
    assert pool.close(PATIENCE)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("kind", LISTENERS)
def test_a_listener_that_closes_the_pool_does_not_wait_for_itself(opener: Any, kind: Any) -> None:
    said: list[bool] = []
    pool = pool_with("none", None, opener=opener, max_size=1)
    pool.listen(kind, lambda notice: said.append(pool.close(None)))

    def use() -> None:
        with suppress(PoolError), pool.connection():
            pool.acquire(0)
        with suppress(PoolError):
            pool.acquire().discard()

    Call(use).result()
    until(lambda: said)
    assert pool.close(PATIENCE)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("hook", ["connect", "configure"])
@pytest.mark.parametrize("method", ["acquire", "wait"])
def test_who_connects_does_not_wait_for_a_connection(opener: Any, hook: str, method: str) -> None:
    """It could be for its own."""
    said: list[str] = []
    is_made = threading.Event()

    def call() -> None:
        if not said:
            assert is_made.wait(PATIENCE), "for a helper may connect before `pool` has its name"
            try:
                getattr(pool, method)(FOR_EVER)
            except PoolReentered as error:
                said.append(str(error))

    limits: dict[str, Any] = {"max_size": 1, "opener": opener}
    if opener == "background":
        limits["min_idle"] = 1
    elif method == "wait":
        return  # `min_idle` needs helpers: there is nothing to wait for
    with pool_with(hook, call, **limits) as pool:
        is_made.set()
        Call(lambda: pool.acquire().release()).result()
        assert "cannot wait" in said[0]


@pytest.mark.sampled
@pytest.mark.parametrize("opener", OPENERS)
def test_who_waits_does_not_wait_on_top_of_that(record_property: Any, opener: str) -> None:
    """What a handler waited for would be given to the caller that it interrupts: first in, first
    out."""
    made: list[Scripted] = []
    refused: list[bool] = []
    served: list[bool] = []

    def prepare() -> Any:
        pool = Scripted(1, opener=opener)
        made[:] = [pool]
        lease = [pool.acquire()]
        over: list[bool] = []

        def give_back() -> None:
            until(lambda: waiting(pool) or over)
            lease.pop().release()

        other = Call(give_back)

        def wait() -> None:
            try:
                pool.acquire().release()
            finally:
                over.append(True)
                other.result()

        return wait

    def happen() -> None:
        (pool,) = made
        if waiting(pool):  # this thread, interrupted
            with suppress(PoolReentered):
                pool.acquire(FOR_EVER).release()
                served.append(True)
            refused.append(True)
        else:  # what this thread itself holds it may well wait for, as long as it likes
            with suppress(PoolTimeout):
                pool.acquire(0.001).release()

    def check() -> None:
        is_whole(made[0], 1)
        assert made[0].close(FOR_EVER)
        assert made[0].broken == []

    record_property("instants", every_instant(prepare, check, happen))
    assert len(refused) > len(served)


@pytest.mark.parametrize("opener", OPENERS)
def test_what_this_thread_holds_is_not_waited_for(opener: Any) -> None:
    pool = Scripted(2, opener=opener)
    mine, others = pool.acquire(), Call(pool.acquire).result()
    closing = Call(pool.close, None)
    assert pool.close(0) is False
    others.release()
    assert closing.is_alive(), "another thread waits for what this one holds"
    assert pool.close(None) is False, "this one does not"
    mine.release()
    assert closing.result() is True
    assert pool.close(None) is True


def test_a_resize_in_the_middle_of_a_resize(record_property: Any) -> None:
    """Each changes what it names, and keeps what the other changed."""
    made: list[Scripted] = []

    def prepare() -> Any:
        made[:] = [Scripted(4)]
        return lambda: made[0].resize(min_idle=1)

    def happen() -> None:
        made[0].resize(max_size=3)

    def check() -> None:
        (pool,) = made
        numbers = pool.statistics()
        assert numbers.min_idle == 1
        assert numbers.max_size in (3, 4)
        pool.resize(max_size=4)
        is_whole(pool, 4)
        assert pool.close(FOR_EVER)
        seen.append(numbers.max_size)

    seen: list[int | None] = []
    record_property("instants", every_instant(prepare, check, happen))
    assert seen[:-1] == [3] * (len(seen) - 1)  # the last run is over before it happens


def test_a_recorder_is_not_begun_in_the_middle_of_a_transition() -> None:
    pool = Scripted(1)
    refused: list[bool] = []

    def step(*given: Any) -> Any:
        pool.runtime.step = plain
        with pytest.raises(PoolReentered):
            Recorder(pool)
        refused.append(True)
        return plain(*given)

    plain, pool.runtime.step = pool.runtime.step, step
    pool.acquire().release()
    assert refused
    assert pool.close(FOR_EVER)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no such signals here")
@pytest.mark.parametrize("opener", OPENERS)
def test_handlers_of_real_signals(opener: Any) -> None:
    """One each half of a millisecond, while this thread borrows and returns."""
    if threading.current_thread() is not threading.main_thread():
        pytest.fail("signals are handled on the main thread: the tests have to run there")
    pool = Scripted(4, opener=opener)
    calls = 0

    def handler(*_: Any) -> None:
        nonlocal calls
        calls += 1
        try:
            with suppress(PoolTimeout), pool.connection(FOR_EVER):
                pass
        finally:
            if calls < 300:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        ends = time.monotonic() + PATIENCE
        while calls < 300:
            assert time.monotonic() < ends
            with pool.connection():
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    is_whole(pool, 4)
    assert pool.close(PATIENCE)
    assert pool.broken == []
