"""`Pool` over the scripted driver of `drivers.py`, for all tests of `Pool`.

Theory.  The pool's functions are those of a `ScriptedDriver`, so that everything a test of the
runtime can do with a script can be done here.  `whole` is what every test ends with: after
everything was given back, all of the capacity can be lent again, and every transition kept
the invariants.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pool import Lease, Pool
from tests.integration.drivers import (
    FOR_EVER,
    PATIENCE,
    ScriptedDriver,
    assert_sound,
    lent,
    soon,
    until,
    watch,
)


class Scripted(Pool[Any]):
    """A pool with a scripted driver, each of its transitions checked."""

    def __init__(self, max_size: int | None = 4, **settings: Any) -> None:
        self.driver = ScriptedDriver()
        given: dict[str, Any] = {
            "timeout": FOR_EVER,
            "check": self.driver.is_alive,
            "reset": self.driver.reset,
            "close": self.driver.close,
            **settings,
        }
        super().__init__(self.driver.connect, max_size=max_size, **given)
        self.broken = watch(self._runtime)

    @property
    def runtime(self) -> Any:
        return self._runtime


def is_whole(pool: Pool[Any], size: int, timeout: float = PATIENCE) -> None:
    """So many can be lent at once, all different; then everything is given back."""
    with contextlib.ExitStack() as stack:
        leases: list[Lease[Any]] = []
        for _ in range(size):
            leases.append(stack.enter_context(pool.acquire(timeout)))
        assert len({id(lease.connection) for lease in leases}) == size


@contextlib.contextmanager
def scripted(
    max_size: int | None = 4, *, stormy: bool = False, **settings: Any
) -> Iterator[Scripted]:
    """A scripted pool that must be sound at the end, and then closes in order.

    `stormy`: its callers connect and close by themselves, and are struck in the middle of that;
    what they had in their hands then is collected, not closed."""
    pool = Scripted(max_size, **settings)
    yield pool
    until(lambda: not lent(pool))
    with soon():
        assert pool.close(PATIENCE)
    until(lambda: pool.statistics().opening == 0)
    assert_sound(pool)
    assert pool.broken == []
    assert pool.driver.mistakes == [], pool.driver.mistakes
    if stormy:
        assert all(connection.closed <= 1 for connection in pool.driver.opened)
    else:
        until(lambda: all(connection.closed == 1 for connection in pool.driver.opened))
