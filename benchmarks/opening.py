"""What it costs to open one connection, and to be refused one, when there are many."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from benchmarks.claims import OURS, Claim, Plan, Row, at_most
from benchmarks.measure import in_turns, median, ratio
from pool import Pool, PoolTimeout

FEW, MANY = 100, 5000
CALLERS = (50, 1000)
REFUSALS = 500


class Connection:
    """Of a driver that costs nothing."""

    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...


def opening(size: int, opener: Any) -> float:
    """Seconds of CPU, on all threads, for each of so many connections."""
    with Pool(Connection, max_size=size, opener=opener) as pool:
        began = time.process_time()
        leases = [pool.acquire() for _ in range(size)]
        took = time.process_time() - began
        for lease in leases:
            lease.release()
    return took / size


def refusals() -> float:
    """Seconds of CPU for five hundred callers who are refused by a pool of five."""
    with Pool(Connection, max_size=5, opener="caller", name="opening") as pool:
        leases = [pool.acquire() for _ in range(5)]
        began = time.thread_time()
        for _ in range(REFUSALS):
            with suppress(PoolTimeout):
                pool.acquire(0)
        took = time.thread_time() - began
        for lease in leases:
            lease.release()
    return took


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many that do nothing."""
    over = threading.Event()
    before = threading.stack_size(128 * 1024)
    there = [threading.Thread(target=over.wait, daemon=True) for _ in range(count)]
    for thread in there:
        thread.start()
    threading.stack_size(before)
    try:
        yield
    finally:
        over.set()
        for thread in there:
            thread.join()


def measure(plan: Plan) -> list[Row]:
    rows = []
    for number, opener in enumerate(("caller", "background")):
        plan.tell(number / 3, f"opener={opener!r}")
        opening(FEW, opener)
        times = plan.some(3, 1)
        runs = [lambda size=size, opener=opener: opening(size, opener) for size in (FEW, MANY)]
        few, many = in_turns(runs, times)
        what = f"opener={opener!r}: CPU to open one"
        rows += [
            Row(f"{what} of {FEW}", "us", {OURS: median(few)}),
            Row(f"{what} of {MANY:,}", "us", {OURS: median(many)}),
            at_most(f"{what}: ratio", "ratio", {OURS: ratio(many, few)}, 1.5),
        ]
    plan.tell(2 / 3, "refusals")
    few, many = in_turns([lambda count=count: among(count) for count in CALLERS], plan.some(9, 3))
    what = f"CPU for {REFUSALS} refusals"
    rows += [Row(f"{what} among {CALLERS[1]:,} threads", "s", {OURS: median(many)})]
    figures = {OURS: ratio(many, few)}
    return [*rows, at_most(f"{what}: ratio to {CALLERS[0]} threads", "ratio", figures, 1.2)]


def among(count: int) -> float:
    logger = logging.getLogger("pool")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the first refusal of a burst is worth a line
    try:
        with threads(count):
            return refusals()
    finally:
        logger.setLevel(level)


CLAIMS = (
    Claim(
        "opening",
        "Opening a connection and being refused one cost the same among many",
        f"CPU time per connection, with a driver that costs nothing, of opening {FEW} and {MANY:,} "
        f"in turn; of {REFUSALS} refusals by a full pool of five, in a process with {CALLERS[0]} "
        f"idle threads and with {CALLERS[1]:,}.",
        measure,
    ),
)
