"""An event that is not allowed says why, in words that a person can use."""

from __future__ import annotations

import pytest

from pool import (
    Acquire,
    Adopt,
    Cancel,
    Configure,
    Dead,
    Discard,
    Expire,
    Ignored,
    Limits,
    Opened,
    OpenFailed,
    Release,
    Resume,
    Retire,
    Shutdown,
    Suspend,
    initial,
    step,
)
from pool.core.effects import Effect
from pool.core.events import AdoptLease, Event
from pool.core.state import Failure

ONE = [Acquire(0, 1), Opened(0, 1, "c1", 0)]
CLOSED = [Shutdown(0)]
NOT_HELD = "this ticket does not hold this connection"
CASES: list[tuple[list[Event], Event, str]] = [
    (ONE, Acquire(1, 1), "this ticket was used before"),
    (ONE, Expire(1, 1), "this ticket does not wait"),
    (ONE, Cancel(1, 2), "this ticket neither waits, opens nor holds"),
    (ONE, OpenFailed(1, 1, Failure("OSError", "late")), "nobody is waiting for this connect"),
    (ONE, Release(1, 2, 1), NOT_HELD),
    (ONE, Discard(1, 1, 2), NOT_HELD),
    (ONE, Dead(1, 2, 1), NOT_HELD),
    (
        [Adopt(0, in_use=(AdoptLease(None, "a1", 0, 0),))],
        Dead(1, 0, 1),
        "an adopted connection has no caller to serve again",
    ),
    (CLOSED, Retire(1), "the pool is closed"),
    (CLOSED, Configure(1, Limits()), "the pool is closed"),
    (ONE, Configure(1, Limits(opener="background")), "opener cannot change"),
    (CLOSED, Suspend(1), "the pool is closed"),
    ([Suspend(0)], Suspend(1), "the pool is suspended"),
    (ONE, Resume(1), "the pool is open"),
    (CLOSED, Shutdown(1), "the pool is closed"),
    (CLOSED, Adopt(1), "the pool is closed"),
]


@pytest.mark.parametrize(
    ("history", "event", "why"), CASES, ids=[type(event).__name__ for _, event, _ in CASES]
)
def test_what_is_ignored_says_why(history: list[Event], event: Event, why: str) -> None:
    state = initial(Limits(max_size=2))
    for earlier in history:
        state, _ = step(state, earlier)
    effects: tuple[Effect, ...] = (Ignored(why),)
    assert step(state, event) == (state, effects)
