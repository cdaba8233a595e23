"""The runtime itself after `os.fork`, with and without helpers. (RUN-9)

Theory.  Of a parent's threads none is in the child: no holder, no waiter, no connect under way, no
helper.  So the child begins with nothing but the limits, starts helpers of its own when it needs
them, and leaves whatever it inherited alone, for good.  The drop-in adds its own state to that:
`test_peewee_fork.py`.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pool import Limits, Shutdown
from pool.core.effects import Close, Grant
from pool.shared import forks
from pool.shared.errors import PoolTimeout
from pool.threads.runtime import Runtime
from tests.integration.drivers import (
    FOR_EVER,
    Call,
    Connection,
    Gate,
    ScriptedDriver,
    assert_sound,
    idle,
    in_child,
    lent,
    nothing,
    park,
    until,
    waiting,
    watch,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


class Watched(Runtime):
    broken: list[str]


@pytest.fixture(params=["caller", "background"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Two connections at most; at the end, in the parent, all is well."""
    runtime = Watched(ScriptedDriver(), Limits(max_size=2, opener=request.param))
    runtime.broken = watch(runtime)
    yield runtime
    assert runtime.broken == []
    assert runtime.driver.mistakes == []  # type: ignore[attr-defined]
    assert_sound(runtime)
    runtime.apply(Shutdown(runtime.clock()))


def turn(runtime: Any) -> Any:
    handle = runtime.acquire(FOR_EVER)
    connection = handle.connection
    runtime.release(handle)
    return connection


def look_around(runtime: Any) -> str:
    """In the child: nothing is there, everything can be had, and the parent's is not touched."""
    inherited = list(runtime.driver.opened)
    for hook in ("on_connect", "on_alive", "on_reset", "on_close"):
        setattr(runtime.driver, hook, nothing)
    state = runtime.state
    assert (idle(runtime), lent(runtime), waiting(runtime), state.opening) == ([], [], 0, 0)
    assert not runtime.monitor.jobs
    threads = {thread.name for thread in threading.enumerate()}
    assert len(threads - {"purepool observer"}) == 1  # that is for what other tests observe
    handles = [runtime.acquire(FOR_EVER) for _ in range(2)]
    assert not {handle.connection for handle in handles} & set(inherited)
    with pytest.raises(PoolTimeout):
        runtime.acquire(0)
    for handle in handles:
        runtime.release(handle)
    runtime.discard(runtime.acquire(FOR_EVER))
    del handles
    gc.collect()
    until(lambda: len(runtime.driver.closed) - sum(item.closed for item in inherited) == 1)
    runtime.apply(Shutdown(runtime.clock()))
    assert [connection.closed for connection in inherited] == [0] * len(inherited)
    assert runtime.broken == []
    return "well"


def test_nothing_yet(runtime: Any) -> None:
    assert in_child(lambda: look_around(runtime)) == "well"
    turn(runtime)


def test_idle_connections(runtime: Any) -> None:
    connection = turn(runtime)
    assert in_child(lambda: look_around(runtime)) == "well"
    assert turn(runtime) is connection


def test_a_lease_of_ones_own(runtime: Any) -> None:
    """The child's copy of the handle is worth nothing: not to return it, nor to lose it."""
    handles = [runtime.acquire(FOR_EVER)]

    def child() -> str:
        mine = handles.pop()
        assert runtime.release(mine) is False
        del mine
        gc.collect()
        return look_around(runtime)

    assert in_child(child) == "well"
    assert runtime.release(handles.pop()) is True
    assert len(idle(runtime)) == 1


def test_a_lease_that_the_child_loses(runtime: Any) -> None:
    handles = [runtime.acquire(FOR_EVER)]

    def child() -> str:
        handles.clear()
        gc.collect()
        return look_around(runtime)

    assert in_child(child) == "well"
    assert runtime.release(handles.pop()) is True


def test_waiters(runtime: Any) -> None:
    handles = [runtime.acquire(FOR_EVER) for _ in range(2)]
    waiters = [park(runtime, turn, runtime) for _ in range(3)]
    assert in_child(lambda: look_around(runtime)) == "well"
    assert waiting(runtime) == 3
    for handle in handles:
        runtime.release(handle)
    for waiter in waiters:
        waiter.result()


@pytest.mark.parametrize("hook", ["on_connect", "on_alive", "on_close"])
def test_work_in_flight(runtime: Any, hook: str) -> None:
    """It goes on in the parent, and does not exist in the child."""
    if hook != "on_connect":
        turn(runtime)
    gate = Gate()
    setattr(runtime.driver, hook, gate)

    def work() -> None:
        handle = runtime.acquire(FOR_EVER)
        runtime.discard(handle)

    call = Call(work)
    until(lambda: gate.standing)

    def child() -> str:
        if hook == "on_close":  # begun by the parent, so the count above is none of ours
            runtime.driver.opened.clear()
        return look_around(runtime)

    assert in_child(child) == "well"
    gate.open()
    call.result()


def test_closes_that_nobody_began(runtime: Any) -> None:
    """Left over by a lost handle: they are the parent's to make."""
    gate = Gate()
    runtime.driver.on_close = gate
    handles = [runtime.acquire(FOR_EVER) for _ in range(2)]
    connections = [handle.connection for handle in handles]
    del handles[:]
    if runtime.helpers is not None:
        until(lambda: gate.standing == 2)

    def child() -> str:
        runtime.driver.opened.clear()
        look_around(runtime)
        assert len(runtime.driver.closed) <= 2
        return "well"

    before = [connection.closed for connection in connections]
    assert in_child(child) == "well"
    gate.open()
    turn(runtime)
    until(lambda: [connection.closed for connection in connections] == [1, 1])
    assert before in ([0, 0], [1, 1])


def test_a_lock_that_is_held(runtime: Any) -> None:
    """By a thread that does not exist in the child."""
    gate = Gate()
    plain_step = runtime.step

    def step(state: Any, event: Any) -> Any:
        runtime.step = plain_step
        gate()
        return plain_step(state, event)

    runtime.step = step
    call = Call(turn, runtime)
    until(lambda: gate.standing)
    assert in_child(lambda: look_around(runtime)) == "well"
    gate.open()
    call.result()


def test_in_the_middle_of_everything(runtime: Any) -> None:
    stop = threading.Event()

    def work(act: Callable[[Any], Any]) -> None:
        while not stop.is_set():
            act(runtime)
            time.sleep(0)  # else it keeps the interpreter from the one who forks

    def turn_and_close(runtime: Any) -> None:
        runtime.discard(runtime.acquire(FOR_EVER))
        time.sleep(0.001)  # the driver remembers every connection, and each child looks at them

    calls = [Call(work, act) for act in (turn, turn, turn_and_close)]

    def child() -> str:
        runtime.driver.opened.clear()
        return look_around(runtime)

    for _ in range(6):
        assert in_child(child) == "well"
    stop.set()
    for call in calls:
        call.result()


def test_a_handler_of_signals_may_fork(runtime: Any) -> None:
    """Even in the middle of a transition: no lock is taken for the fork."""
    answers: list[str] = []
    plain_step = runtime.step

    def step(state: Any, event: Any) -> Any:
        runtime.step = plain_step
        answers.append(in_child(lambda: look_around(runtime)))
        return plain_step(state, event)

    runtime.step = step
    turn(runtime)
    assert answers == ["well"]


def test_tickets_are_not_used_again(runtime: Any) -> None:
    """What the parent issued before the fork fences the child's leases off, too."""
    handle = runtime.acquire(FOR_EVER)

    def child() -> int:
        mine = runtime.acquire(FOR_EVER)
        return int(mine.ticket > handle.ticket and mine.key > handle.key)

    assert in_child(child) == "1"
    runtime.release(handle)


def test_what_is_the_parents_is_never_collected(runtime: Any) -> None:
    """What is idle, what is lent and what was to be closed: a finalizer would say goodbye to the
    server on the wire that the parent uses."""
    kept = runtime.acquire(FOR_EVER)
    turn(runtime)
    state = runtime.state

    def child() -> str:
        closing, other = Connection(8), Connection(9)
        connections = [*forks.connections_of(state), closing]
        assert len(connections) == 3
        before = [sys.getrefcount(connection) for connection in (*connections, other)]
        forks.keep_for_ever(state, [Close(8, closing, "closed"), Grant(1, 9, other, None)])
        after = [sys.getrefcount(connection) for connection in (*connections, other)]
        assert [now - then for then, now in zip(before, after, strict=True)] == [1, 1, 1, 0]
        return "well"

    assert in_child(child) == "well"
    runtime.release(kept)
