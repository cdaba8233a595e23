"""A fork at every instant of a turn, one after the other. (RUN-9)

Theory.  Where a process is forked is nothing that a pool can choose.  Another thread does it, or
the handler of a signal; in the child the turn that was under way stays as it was, for ever.  The
child has a pool in which everything can be had, and nothing that was the parent's; the parent
notices nothing.

A handler may also come back in the child, into the turn that it interrupted.  Then that goes on
there, with nothing of the parent's: what an acquire gives is the child's own, and the pool touches
none of the connections that it had in its hands: it asks, resets, closes and drops none of them.
"""

from __future__ import annotations

import gc
import linecache
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from pool import Limits
from pool.shared.errors import PoolTimeout
from pool.threads.runtime import Runtime
from tests.integration.drivers import (
    FOR_EVER,
    Call,
    Connection,
    Gate,
    ScriptedDriver,
    assert_sound,
    fork,
    in_child,
    lent,
    nothing,
    settle,
    until,
)
from tests.integration.instants import every_instant

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.slow,
]

SIZE = 2


def turn(runtime: Runtime) -> None:
    runtime.release(runtime.acquire(FOR_EVER))


def discard(runtime: Runtime) -> None:
    runtime.discard(runtime.acquire(FOR_EVER))


def everything_can_be_had(runtime: Runtime) -> list[Any]:
    until(lambda: (settle(runtime), not lent(runtime) and not runtime.state.opening)[1])
    handles = [runtime.acquire(FOR_EVER) for _ in range(SIZE)]
    had = [handle.connection for handle in handles]
    assert len(set(had)) == SIZE
    with pytest.raises(PoolTimeout):
        runtime.acquire(0)
    for handle in handles:
        runtime.release(handle)
    assert_sound(runtime)
    return had


@pytest.mark.sampled
@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize("work", [turn, discard], ids=lambda work: work.__name__)
@pytest.mark.parametrize("who", ["this thread", "another thread"])
def test_a_fork_at_every_instant(opener: Any, work: Callable[[Runtime], None], who: str) -> None:
    made: list[Runtime] = []

    def prepare() -> Callable[[], None]:
        made[:] = [Runtime(ScriptedDriver(), Limits(max_size=SIZE, opener=opener))]
        turn(made[0])
        return lambda: work(made[0])

    def child() -> str:
        (runtime,) = made
        driver: Any = runtime.driver
        inherited = {connection: connection.closed for connection in driver.opened}
        assert not set(everything_can_be_had(runtime)) & set(inherited)
        assert {connection: connection.closed for connection in inherited} == inherited
        return "well"

    def happen() -> None:
        said = in_child(child) if who == "this thread" else Call(in_child, child).result()
        assert said == "well"

    def check() -> None:
        everything_can_be_had(made[0])

    assert every_instant(prepare, check, happen) > 10


# ---------------------------------------------------------------- a child that comes back


class Wire(Connection):
    """A connection that belongs to the process that made it."""

    def __init__(self, number: int, touched: list[str]) -> None:
        super().__init__(number)
        self.process = os.getpid()
        self.touched = touched

    def touch(self, how: str) -> None:
        if self.process != os.getpid():
            self.touched.append(f"{self} was {how}")

    def __del__(self) -> None:
        if not self.closed:  # else nothing would be said on the wire
            self.touch("collected")


class Wires(ScriptedDriver):
    def __init__(self) -> None:
        super().__init__()
        self.touched: list[str] = []
        """What was done here to connections of another process."""

    def connect(self) -> Wire:
        self.on_connect()
        wire = Wire(next(self._numbers), self.touched)
        self.opened.append(wire)
        return wire

    def is_alive(self, connection: Any) -> bool:
        connection.touch("asked")
        return super().is_alive(connection)

    def reset(self, connection: Any) -> bool:
        connection.touch("reset")
        return super().reset(connection)

    def close(self, connection: Any) -> None:
        connection.touch("closed")
        super().close(connection)


class Visit:
    """A runtime whose turn is interrupted by a fork, and the child that comes back to it."""

    def __init__(self, opener: Any, check_after: float = 0.0) -> None:
        self.driver = Wires()
        limits = Limits(max_size=SIZE, opener=opener)
        self.runtime = Runtime(self.driver, limits, check_after=check_after)
        self.held: list[Any] = []
        self.parent = os.getpid()
        self.said = ""

    def acquire(self, timeout: float = FOR_EVER) -> Any:
        """In a child that comes back to this, what it gets is its own."""
        handle = self.runtime.acquire(timeout)
        if sys.version_info >= (3, 11):  # before, there is an instant in the middle of its `return`
            handle.held.touch("given to a caller")
        return handle

    def fork(self) -> None:
        """The parent goes on when the child is done."""
        reader, self.writer = os.pipe()
        child = fork()
        if child:
            os.close(self.writer)
            with os.fdopen(reader, "rb") as pipe:
                self.said = pipe.read().decode()
            os.waitpid(child, 0)
            assert self.said == "well"
        else:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)

    def goes_on(self, work: Callable[[Visit], None]) -> None:
        """What is interrupted. The child looks at what came of it, and ends."""
        try:
            work(self)
            if os.getpid() != self.parent:
                self.look()
        except BaseException as error:
            if os.getpid() == self.parent:
                raise
            self.leave(f"{type(error).__name__}: {error}")
        if os.getpid() != self.parent:
            self.leave("; ".join(self.driver.touched) or "well")

    def look(self) -> None:
        self.driver.opened.clear()
        self.held.clear()
        gc.collect()  # a connection that nothing keeps would go now
        self.driver.on_connect = nothing
        everything_can_be_had(self.runtime)
        assert all(wire.process != self.parent for wire in self.driver.opened)  # type: ignore[attr-defined]
        assert self.driver.mistakes == []

    def leave(self, text: str) -> None:
        os.write(self.writer, text.encode())
        os._exit(0)


def visit(visit: Visit) -> None:
    visit.runtime.release(visit.acquire())


def throw_away(visit: Visit) -> None:
    visit.runtime.discard(visit.acquire())


def lose(visit: Visit) -> None:
    visit.acquire()


def find_it_dead(visited: Visit) -> None:
    for connection in visited.driver.opened:
        connection.alive = False
    visit(visited)


def wait_in_vain(visit: Visit) -> None:
    visit.held = [visit.runtime.acquire(FOR_EVER) for _ in range(SIZE)]
    with suppress(PoolTimeout):
        visit.acquire(0.00001)


def park_in_vain(visit: Visit) -> None:
    """Its time is not up before it parks: that of `wait_in_vain` is, while each step is watched."""
    visit.held = [visit.runtime.acquire(FOR_EVER) for _ in range(SIZE)]
    with suppress(PoolTimeout):
        visit.acquire(0.003)


@pytest.mark.sampled
@pytest.mark.parametrize("opener", ["caller", "background"])
@pytest.mark.parametrize(
    "work",
    [visit, throw_away, lose, find_it_dead, wait_in_vain, park_in_vain],
    ids=lambda work: work.__name__,
)
def test_a_child_that_comes_back(opener: Any, work: Callable[[Visit], None]) -> None:
    made: list[Visit] = []

    def prepare() -> Callable[[], None]:
        made[:] = [Visit(opener, 1000.0 if opener == "background" else 0.0)]
        turn(made[0].runtime)
        return lambda: made[0].goes_on(work)

    def check() -> None:
        made[0].held.clear()
        everything_can_be_had(made[0].runtime)
        assert made[0].driver.mistakes == []

    assert every_instant(prepare, check, lambda: made[0].fork()) > 10


@pytest.mark.parametrize("opener", ["caller", "background"])
def test_a_child_that_comes_back_to_a_wait(opener: Any) -> None:
    """The handler of a real signal comes while this thread is parked: it has no step there."""
    one = Visit(opener)
    handles = [one.runtime.acquire(FOR_EVER) for _ in range(SIZE)]
    before = signal.signal(signal.SIGUSR1, lambda *_: one.fork())
    main = threading.get_ident()
    parked = Call(
        lambda: (
            until(lambda: one.runtime.monitor.cells),
            signal.pthread_kill(main, signal.SIGUSR1),
            until(lambda: one.said),
            [one.runtime.release(handle) for handle in handles],
        )
    )
    try:
        one.goes_on(visit)
    finally:
        signal.signal(signal.SIGUSR1, before)
    parked.result()
    assert one.said == "well"
    everything_can_be_had(one.runtime)


def test_a_child_that_comes_back_to_the_lock() -> None:
    """Another thread has the lock, which is not there in the child."""
    one = Visit("caller")
    turn(one.runtime)
    gate, plain = Gate(), one.runtime.step

    def stands(state: Any, event: Any) -> Any:
        if threading.get_ident() != main:
            gate()
        return plain(state, event)

    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, lambda *_: one.fork())
    one.runtime.step = stands
    other = Call(turn, one.runtime)
    until(lambda: gate.standing)

    def waits_for_the_lock() -> bool:
        frame = sys._current_frames()[main]
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        return line.strip() == "for _ in monitor.turnstile:"

    def strike() -> None:
        until(waits_for_the_lock)
        signal.pthread_kill(main, signal.SIGUSR1)
        until(lambda: one.said)
        gate.open()

    striking = Call(strike)
    try:
        one.goes_on(visit)
    finally:
        signal.signal(signal.SIGUSR1, before)
    striking.result()
    other.result()
    assert one.said == "well"
    one.runtime.step = plain
    everything_can_be_had(one.runtime)
