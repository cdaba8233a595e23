"""Arguments and limits at the ends of what is allowed, in everything that waits.

Theory.  What a lock can wait is bounded (`threading.TIMEOUT_MAX`, some 292 years), and so is what a
float can be; a limit of "never" written as a number is beyond one or both.  What is no number of
seconds is refused by its name wherever it can be given; what is one is waited for, however long it
is, and does not end a thread that others depend on.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from pool import Limits, Pool, PoolSuspended
from pool.threads.helpers import RETRY_AFTER
from pool.threads.runtime import Runtime
from tests.integration.drivers import PATIENCE, Call, ScriptedDriver, lent, park, until
from tests.integration.pools import Scripted, is_whole, scripted

NO_SECONDS: list[Any] = [
    -1, -0.5, 10**400, -(10**400), math.inf, -math.inf, math.nan, True, "3", Decimal(3), 1j, [], b""
]  # fmt: skip
HUGE = [1e10, float(threading.TIMEOUT_MAX) * 2, 10**300, 1.7e308]
"""Seconds that are a float, but more than a lock can wait."""


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The threads that ended by an exception: none may."""
    told: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(str(args.exc_value)))
    yield told
    assert told == []


# ---------------------------------------------------------------- what is refused

METHODS: dict[str, Callable[[Pool[Any], Any], Any]] = {
    "acquire": lambda pool, timeout: pool.acquire(timeout),
    "connection": lambda pool, timeout: pool.connection(timeout).__enter__(),
    "wait": lambda pool, timeout: pool.wait(timeout),
    "close": lambda pool, timeout: pool.close(timeout),
}


@pytest.mark.parametrize("value", NO_SECONDS, ids=lambda value: f"{value!r:.20}")
@pytest.mark.parametrize("method", METHODS)
def test_no_seconds_for_a_method(method: str, value: Any) -> None:
    """Refused by name, and nothing has happened."""
    with scripted(1) as pool:
        before = pool.statistics()
        with pytest.raises(ValueError, match=r"^timeout=.*: allowed is a finite number of seconds"):
            METHODS[method](pool, value)
        assert pool.statistics() == before


SETTINGS = ["timeout", "check_after", "check_timeout"]
LIMITS = ["max_lifetime", "max_idle", "leak_after", "backoff_initial", "backoff_max"]


@pytest.mark.parametrize("value", NO_SECONDS, ids=lambda value: f"{value!r:.20}")
@pytest.mark.parametrize("setting", [*SETTINGS, *LIMITS])
def test_no_seconds_for_a_setting(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{setting}=.*: allowed is a finite number of seconds"):
        Scripted(**{setting: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, math.nan, math.inf, True, "3", Decimal(3)])
def test_no_size_to_resize_to(value: Any) -> None:
    with scripted(1) as pool:
        with pytest.raises(ValueError, match=r"^max_size=.*: allowed is a whole number"):
            pool.resize(max_size=value)
        if value != 0:
            with pytest.raises(ValueError, match=r"^min_idle=.*: allowed is a whole number"):
                pool.resize(min_idle=value)
        is_whole(pool, 1)


def test_a_size_that_cannot_be_written_down() -> None:
    """A number of 5,001 digits is a number, and the message of a refusal is made all the same."""
    with scripted(10**5000) as pool:
        assert "max <int that cannot be made text" in repr(pool)
        pool.suspend()
        with pytest.raises(PoolSuspended, match="max <int that cannot be made text"):
            pool.acquire(0)
        pool.resume()
        is_whole(pool, 3)


# ---------------------------------------------------------------- what is waited for


@pytest.mark.parametrize("seconds", HUGE)
@pytest.mark.parametrize("limit", ["max_lifetime", "max_idle", "leak_after", "backoff_max"])
def test_a_limit_longer_than_a_lock_can_wait(limit: str, seconds: Any, deaths: list[str]) -> None:
    """The watch waits as long as it can, and what a lost lease leaves is done."""
    settings: dict[str, Any] = {"max_lifetime": None, "max_idle": None, limit: seconds}
    with scripted(1, **settings) as pool:
        leases = [pool.acquire()]
        until(lambda: pool._runtime.helpers._watching)
        waiter = park(pool, pool.acquire)
        leases.clear()
        waiter.result().release()
        is_whole(pool, 1)


@pytest.mark.parametrize("seconds", [*HUGE, None])
@pytest.mark.parametrize("check_timeout", [*HUGE, None])
def test_a_check_may_take_longer_than_a_lock_can_wait(
    seconds: Any, check_timeout: Any, deaths: list[str]
) -> None:
    with scripted(1, check_after=0.0, check_timeout=check_timeout) as pool:
        first = pool.acquire(seconds)
        connection = first.connection
        first.release()
        again = pool.acquire(seconds)
        assert again.connection is connection, "it was alive"
        again.release()


@pytest.mark.parametrize("seconds", HUGE)
@pytest.mark.parametrize("opener", ["caller", "background"])
def test_a_caller_may_wait_longer_than_a_lock_can(
    opener: str, seconds: Any, deaths: list[str]
) -> None:
    with scripted(1, opener=opener, timeout=seconds) as pool:
        lease = pool.acquire()
        waiters = [park(pool, pool.acquire), park(pool, pool.acquire, seconds)]
        lease.release()
        for waiter in waiters:
            waiter.result().release()


@pytest.mark.parametrize("seconds", HUGE)
def test_the_pool_as_a_whole_is_waited_for(seconds: Any, deaths: list[str]) -> None:
    with scripted(2, min_idle=1) as pool:
        pool.wait(seconds)
        lease = pool.acquire()
        closing = Call(pool.close, seconds)
        until(lambda: pool.statistics().phase == "closed")
        lease.release()
        assert closing.result() is True


# ---------------------------------------------------------------- the watch


class Hiccup(Exception):
    """Something that nobody expects."""


def test_the_watch_outlives_whatever_happens_to_it(
    deaths: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Each look at the pool fails for a while: that is logged, not in a hurry, and then the
    watch does its work."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1, opener="background"))
    helpers: Any = runtime.helpers
    plain, failing, looks = helpers._look, [True], []

    def look(runtime: Any) -> Any:
        looks.append(1)
        if failing[0]:
            raise Hiccup
        return plain(runtime)

    helpers._look = look
    began = time.monotonic()
    waiter = park(runtime, runtime.acquire, PATIENCE)
    until(lambda: len(looks) >= 2)  # once more without being asked
    assert len(looks) <= 3 + (time.monotonic() - began) / RETRY_AFTER, "a busy loop"
    failing[0] = False
    runtime.release(waiter.result())
    told = [record for record in caplog.records if record.exc_info]
    assert {record.exc_info[0] for record in told if record.exc_info} == {Hiccup}
    assert {record.levelno for record in told} == {logging.ERROR}


def test_the_watch_outlives_a_clock_that_fails(
    deaths: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """So with what is nobody's fault but that of what the pool stands on."""
    runtime = Runtime(ScriptedDriver(), Limits(max_size=1, opener="background"))
    plain = runtime.clock
    watch_only = [True]

    def clock() -> float:
        if watch_only[0] and threading.current_thread().name.endswith("watch"):
            raise Hiccup
        return plain()

    runtime.clock = clock
    waiter = Call(runtime.acquire, PATIENCE)
    until(lambda: caplog.records)
    runtime.release(waiter.result())  # connects are begun before the clock is read
    watch_only[0] = False
    runtime.acquire(PATIENCE)  # lost at once
    until(lambda: not lent(runtime))
