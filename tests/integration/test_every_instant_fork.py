"""A fork at every instant of a turn, one after the other. (RUN-9)

Theory.  Where a process is forked is nothing that a pool can choose.  Another thread does it, or
the handler of a signal; in the child the turn that was under way stays as it was, for ever.  The
child has a pool in which everything can be had, and nothing that was the parent's; the parent
notices nothing.  (A handler that forks and then lets the child go on with the turn is not tried:
see `docs/forking-servers.md`.)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from pool import Limits
from pool.shared.errors import PoolTimeout
from pool.threads.runtime import Runtime
from tests.integration.drivers import (
    FOR_EVER,
    Call,
    ScriptedDriver,
    assert_sound,
    in_child,
    lent,
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

    assert every_instant(prepare, check, happen) > 20
