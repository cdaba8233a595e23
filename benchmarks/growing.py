"""What a checkout costs among many: connections lent, at rest, and callers that wait.

Theory.  A pool looks after thousands of connections with the same two calls as after ten, so what
a call costs must not depend on how many there are.  What does depend on it, by its nature (a walk
over all that is idle), is measured too: it is done when it has something to find, and a look of the
watch that finds nothing due walks over nothing.

The queue is measured where it is, in the pure function: two thousand threads that wait would
measure the system's scheduler.  A garbage collection that walks over all these connections is the
program's cost, not the pool's, and is kept out.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.claims import OURS, Claim, Plan, Row, at_most
from benchmarks.measure import in_turns, median, ratio
from benchmarks.opening import Connection
from pool import Acquire, Limits, Opened, Pool, Release, State, Tick, initial, step
from pool.core import shortcuts
from pool.core.limits import IdleOrder
from pool.core.outlook import walk
from pool.core.transition import wake_at

FEW = 10
CLOSED = 100
"""Of fewer the fixed part of `close()` is what is measured."""
LENT, IDLE, WAITING = 5_000, 10_000, 2_000
CALLS = 2_000
MOST = 1.3
LOOK = 0.001


def cpu(call: Callable[[], object], calls: int = CALLS) -> float:
    """Seconds of this thread's CPU for each call."""
    began = time.thread_time()
    for _ in range(calls):
        call()
    return (time.thread_time() - began) / calls


@contextmanager
def filled(lent: int, idle: int, order: IdleOrder = "lifo") -> Iterator[Pool[Connection]]:
    """A pool with so many connections lent and at rest, which no garbage collection visits."""
    pool = Pool(Connection, max_size=None, opener="caller", idle_order=order, max_idle=None)
    held = [pool.acquire() for _ in range(lent)]
    for lease in [pool.acquire() for _ in range(idle)]:
        lease.release()
    gc.collect()
    gc.freeze()
    try:
        yield pool
    finally:
        gc.unfreeze()
        for lease in held:
            lease.release()
        pool.close()


def compared(
    what: str,
    few: Callable[[], float],
    many: Callable[[], float],
    times: int,
    most: float | None = MOST,
    than: int = FEW,
) -> list[Row]:
    small, large = in_turns([few, many], times)
    figures = {OURS: ratio(large, small)}
    text = f"{what}: ratio to {than}"
    last = Row(text, "ratio", figures) if most is None else at_most(text, "ratio", figures, most)
    return [Row(what, "us", {OURS: median(large)}), last]


def checkouts(lent: int, idle: int, what: str, times: int, order: IdleOrder = "lifo") -> list[Row]:
    few = (min(lent, FEW), min(idle, FEW))
    with filled(*few, order) as small, filled(lent, idle, order) as large:
        runs = [lambda pool=pool: cpu(lambda: pool.acquire().release()) for pool in (small, large)]
        return compared(what, *runs, times, MOST if order == "lifo" else None)


def calls_of(name: str, times: int) -> list[Row]:
    with filled(FEW, FEW) as small, filled(LENT, FEW) as large:
        runs = [lambda pool=pool: cpu(getattr(pool, name)) for pool in (small, large)]
        return compared(f"{name}() with {LENT:,} lent", *runs, times)


def closing(size: int) -> float:
    """Seconds of CPU for each connection."""
    with filled(0, size) as pool:
        return cpu(pool.close, 1) / size


def ends(times: int) -> list[Row]:
    runs = [lambda size=size: closing(size) for size in (CLOSED, LENT)]
    return compared(f"close() of {LENT:,}, for each", *runs, times, than=CLOSED)


class HandingOver:
    """A full pool, as a state, with so many callers in its queue: one comes, one is served."""

    def __init__(self, waiting: int) -> None:
        state, connections = initial(Limits(max_size=4)), 4
        for ticket in range(1, connections + 1):
            state, _ = step(state, Acquire(1.0, ticket, True, None))
            state, _ = step(state, Opened(1.0, ticket, ticket, 1.0))
        for ticket in range(connections + 1, connections + 1 + waiting):
            state, _ = step(state, Acquire(1.0, ticket, True, None))
        self.fields: Any = tuple(state)
        self.holders = {key: key for key in range(1, connections + 1)}
        self.ticket = connections + 1 + waiting

    def __call__(self) -> None:
        key = 1 + self.ticket % len(self.holders)
        returned = shortcuts.release(self.fields, 2.0, self.holders[key], key, True)
        assert returned is not None
        self.fields, (grant,) = returned
        self.holders[key] = grant.ticket  # type: ignore[union-attr]
        taken = shortcuts.acquire(self.fields, 2.0, self.ticket, True, None)
        assert taken is not None
        self.fields = taken[0]
        self.ticket += 1


def resting(count: int) -> State:
    """A state in which so many are idle, and nothing is due for an hour."""
    limits = Limits(max_size=None, max_lifetime=3600.0, max_idle=3600.0)
    state = initial(limits)
    for ticket in range(1, count + 1):
        state, _ = step(state, Acquire(1.0, ticket, True, None))
        state, _ = step(state, Opened(1.0, ticket, ticket, 1.0))
    for key in range(1, count + 1):
        state, _ = step(state, Release(2.0, key, key))
    return state


def looks(times: int) -> list[Row]:
    """What a look costs that finds nothing due, and what the walk would cost that it spares."""
    state = resting(IDLE)
    outlook = walk(state, 3.0, 3.0)

    def look() -> None:
        assert outlook.holds(state, 4.0)
        outlook.pause(state, 4.0)

    def timed(call: Callable[[], object], calls: int) -> dict[str, float]:
        return {OURS: median(cpu(call, calls) for _ in range(times))}

    what = f"{IDLE:,} idle, nothing due"
    return [
        at_most(f"{what}: a look of the watch", "us", timed(look, CALLS), LOOK),
        Row(f"{what}: wake_at", "us", timed(lambda: wake_at(state), 1)),
        Row(f"{what}: Tick", "us", timed(lambda: step(state, Tick(4.0)), 1)),
    ]


def measure(plan: Plan) -> list[Row]:
    times = plan.some(7, 1)
    what = f"a checkout with {IDLE:,} idle"
    parts: list[tuple[str, Callable[[], list[Row]]]] = [
        ("lent", lambda: checkouts(LENT, FEW, f"a checkout with {LENT:,} lent", times)),
        ("idle", lambda: checkouts(0, IDLE, what, times)),
        ("fifo", lambda: checkouts(0, IDLE, f"{what} (fifo)", times, "fifo")),
        ("oldest", lambda: checkouts(0, IDLE, f"{what} (oldest)", times, "oldest")),
        ("waiting", lambda: waiting(times)),
        ("statistics", lambda: calls_of("statistics", times)),
        ("close()", lambda: ends(times)),
        ("looks", lambda: looks(times)),
    ]
    rows = []
    for number, (name, part) in enumerate(parts):
        plan.tell(number / len(parts), name)
        rows += part()
    return rows


def waiting(times: int) -> list[Row]:
    few, many = HandingOver(FEW), HandingOver(WAITING)
    what = f"a hand-over with {WAITING:,} waiting"
    return compared(what, lambda: cpu(few), lambda: cpu(many), times)


CLAIMS = (
    Claim(
        "growing",
        "Among many, everything costs what it costs among few",
        f"CPU time of a call, with a driver that costs nothing, in turns with a pool of {FEW}; a "
        "hand-over is that of the pure function. What is only reported grows with what is idle: a "
        "walk over it in proportion; and lending each in its turn (fifo) finds none of them in "
        "the processor's cache.",
        measure,
    ),
)
