"""What it costs to open a connection does not depend on how many there are.

Theory.  What can be counted is counted: lines of Python that are run, on all threads, for that is
the same on a busy machine; a walk over all connections is a line each time round.  How often the
watch wakes up is the system's, within bounds.  `make bench` has the time.  That nothing is looked
at too late is played on a runtime whose threads never start, with a clock of the test's own.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs
import pytest

from pool import Limits, Pool
from pool.core import outlook
from pool.core.events import Configure
from pool.core.state import State, resting
from pool.threads.driver import Sync
from pool.threads.runtime import Runtime
from tests.integration.drivers import PATIENCE, ScriptedDriver, nothing, until

BOUND = 1.5


class Connection:
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...


class Lines:
    """How many lines of the pool, and of what it calls, were run."""

    def __init__(self) -> None:
        self.count = 0

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        self.count += event != "call"
        return self.trace


@contextmanager
def counted() -> Iterator[Lines]:
    lines = Lines()
    before = sys.gettrace()
    threading.settrace(lines.trace)
    sys.settrace(lines.trace)
    try:
        yield lines
    finally:
        sys.settrace(before)
        threading.settrace(before)  # type: ignore[arg-type]  # None is what it was


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_opening_many(opener: Any) -> None:
    def cost(size: int) -> float:
        pool = Pool(Connection, max_size=size, opener=opener, timeout=PATIENCE)
        with pool, counted() as lines:
            leases = [pool.acquire() for _ in range(size)]
            until(lambda: not pool.statistics().opening)
        assert len(leases) == size
        return lines.count / size

    few, many = cost(100), cost(1500)
    assert many < BOUND * few


def test_the_watch_walks_once_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[State] = []

    def walk(state: State, *times: float) -> outlook.Outlook:
        if state.limits.max_size == 200:  # not by the watch of another pool, which is ending
            walks.append(state)
        return outlook.walk(state, *times)

    monkeypatch.setattr("pool.threads.helpers.walk", walk)
    with Pool(Connection, max_size=200, timeout=PATIENCE) as pool:
        leases = [pool.acquire() for _ in range(200)]
        assert len(walks) == 1
        for lease in leases:
            lease.release()


def test_what_every_turn_reads_is_read_fast() -> None:
    """CPython finds an attribute faster in slots, or where there are at most thirty."""
    pool = Pool(Connection, opener="caller")
    turned: list[Any] = [pool, pool._runtime, pool._driver]
    assert all(len(getattr(it, "__dict__", ())) <= 30 for it in turned)


# ---------------------------------------------------------------- nothing is looked at too late


class NoThreads(Sync):
    """The watch and the helpers are played by the test."""

    @staticmethod
    def start(target: object, name: str) -> None:
        pass


class Played:
    """A runtime whose clock and watch are the test's."""

    def __init__(self, **limits: Any) -> None:
        self.now = 100.0
        self.runtime = Runtime(
            ScriptedDriver(),
            Limits(opener="background", **limits),
            clock=lambda: self.now,
            sync=NoThreads(),
            jitter=lambda: 0.0,
        )

    def look(self) -> float | None:
        assert self.runtime.helpers is not None
        return self.runtime.helpers._look(self.runtime)

    def connect(self) -> None:
        """The first of those that are to be made."""
        self.runtime.perform(next(iter(self.runtime.monitor.jobs.values())))

    def idle(self) -> list[float]:
        """When what is idle was made."""
        return sorted(item.entry.created for item in resting(self.runtime.state.idle))


def test_a_connect_that_hung_brings_what_ends_first() -> None:
    """It began at 100. All that is known when it is looked at, at 120, ends at 170."""
    pool = Played(max_size=2, min_idle=2, max_lifetime=60.0)
    driver: Any = pool.runtime.driver
    pauses: list[float | None] = []
    pool.look()

    def hang() -> None:
        driver.on_connect = nothing
        pool.now = 110.0
        pool.connect()
        pool.now = 120.0
        limits = attrs.evolve(pool.runtime.state.limits, max_size=3)
        pool.runtime.apply(Configure(120.0, limits))  # so that it walks
        pauses.append(pool.look())
        pool.now = 140.0

    driver.on_connect = hang
    pool.connect()
    assert pauses == [50.0]
    assert pool.idle() == [100.0, 110.0]
    while pool.now < 160.0:
        pause = pool.look()
        assert pause
        assert pool.now + pause <= 160.0, "nothing is looked at later than it ends"
        pool.now += pause
    pool.look()
    assert pool.idle() == [110.0]


def test_the_first_tick_comes_at_once() -> None:
    """With `min_idle` it asks for the connects; that these are under way changes nothing."""
    pool = Played(max_size=2, min_idle=2, max_lifetime=60.0)
    assert pool.runtime.monitor.jobs == {}
    assert pool.look() is None
    assert len(pool.runtime.monitor.jobs) == 2
