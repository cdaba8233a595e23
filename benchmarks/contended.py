"""Callers wait: how many checkouts per second a pool makes then, and what each costs.

Theory.  Without work between, all there is to see is the pool: each checkout ends with a hand-over,
to the thread that has waited longest.  So does psycopg_pool's; the others let whoever comes take
what is free, which makes more checkouts per second and lets some threads wait while others have
thousands.  A thread that runs is cheaper than one that has to be woken, so the counts of threads
say what was bought with it.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import attrs

from benchmarks.claims import Claim, Plan, Row, at_least, at_most
from benchmarks.fairness import Fairness, compete, of_rounds
from benchmarks.measure import median, now, ratio
from benchmarks.peers import Database, Peer, installed

RIVAL = "psycopg_pool"

CASES = ((8, 4), (32, 4), (128, 4), (32, 32))
"""Threads over connections, without work."""

WORKING = ((32, 4), (128, 32))
"""The same, with a millisecond of work."""


@attrs.frozen
class Contention:
    """What came of one run."""

    rate: float
    """Checkouts per second, of all threads."""
    cost: float
    """Seconds of CPU time per checkout."""


def contend(peer: Peer, threads: int, seconds: float) -> Contention:
    """So many threads borrow and return, and do nothing else."""
    counts = [0] * threads
    barrier = threading.Barrier(threads + 1)
    over = threading.Event()

    def run(number: int) -> None:
        use, is_over, done = peer.use, over.is_set, 0
        barrier.wait()
        while not is_over():
            use()
            done += 1
            counts[number] = done

    workers = [
        threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    time.sleep(seconds / 10)  # until all of them are in the queue
    began, spent, before = now(), time.process_time(), sum(counts)
    time.sleep(seconds)
    took, spent, made = now() - began, time.process_time() - spent, sum(counts) - before
    over.set()
    for worker in workers:
        worker.join(60)
    return Contention(rate=made / took, cost=spent / max(made, 1))


def measure(plan: Plan) -> list[Row]:
    kinds, missing = installed()
    seconds, rounds = plan.seconds(0.7, 0.1), plan.some(7, 1)
    rows = []
    for number, (threads, most) in enumerate(CASES):
        pools = {kind.name: kind(Database(), most=most, ready=most) for kind in kinds}
        del pools["playhouse.pool"]  # its lease is the thread's, and its wait is a sleep
        found: dict[str, list[Contention]] = {name: [] for name in pools}
        try:
            for turn in range(rounds):
                plan.tell((number + turn / rounds) / len(CASES), f"{threads} over {most}")
                order = list(pools.items())
                for name, peer in order if turn % 2 else reversed(order):
                    found[name].append(contend(peer, threads, seconds))
        finally:
            for peer in pools.values():
                peer.end()
        what = f"{threads} threads, {most} connections"
        rates = {name: [each.rate for each in runs] for name, runs in found.items()}
        costs = {name: [each.cost for each in runs] for name, runs in found.items()}
        rows.append(per_second(what, rates, missing))
        rows.append(compared(f"{what}: ratio to {RIVAL}", rates, missing, at_least))
        rows.append(Row(f"{what}: CPU", "us", {**of_all(costs), **missing}))
        rows.append(compared(f"{what}: CPU, ratio", costs, missing, at_most))
    return rows


def of_all(runs: dict[str, list[float]]) -> dict[str, Any]:
    return {name: median(each) for name, each in runs.items()}


def per_second(what: str, rates: dict[str, list[float]], missing: dict[str, str]) -> Row:
    figures = {name: round(value) for name, value in of_all(rates).items()}
    return Row(f"{what}: checkouts/s", "count", {**figures, **missing})


def compared(what: str, runs: dict[str, list[float]], missing: dict[str, str], target: Any) -> Row:
    """By the median of the ratios of neighbours."""
    if RIVAL not in runs:
        return Row(what, "ratio", missing)
    figures: dict[str, Any] = {name: ratio(each, runs[RIVAL]) for name, each in runs.items()}
    row: Row = target(what, "ratio", {**figures, **missing}, 1.0)
    return row


def measure_working(plan: Plan) -> list[Row]:
    kinds, missing = installed()
    kinds = [kind for kind in kinds if kind.name != "playhouse.pool"]
    seconds, rounds = plan.seconds(1.5, 0.2), plan.some(5, 1)
    rows = []
    for number, (threads, most) in enumerate(WORKING):
        found: dict[str, list[Fairness]] = {kind.name: [] for kind in kinds}
        for turn in range(rounds):
            for kind in kinds if turn % 2 else reversed(kinds):
                plan.tell((number + turn / rounds) / len(WORKING), kind.name)
                peer = kind(Database(), most=most, ready=most)
                found[kind.name].append(
                    compete(
                        peer.acquire,
                        peer.release,
                        threads=threads,
                        connections=most,
                        work=0.001,
                        seconds=seconds,
                    )
                )
                peer.end()
        what = f"{threads} threads, {most} connections, 1 ms"
        middle = {name: of_rounds(runs) for name, runs in found.items()}
        rates = {name: [each.turns / seconds for each in runs] for name, runs in found.items()}
        waits = {name: [each.p99 for each in runs] for name, runs in found.items()}
        spreads = {name: each.spread for name, each in middle.items()}
        rows.append(per_second(what, rates, missing))
        rows.append(compared(f"{what}: ratio to {RIVAL}", rates, missing, at_least))
        rows.append(Row(f"{what}: wait, p99", "s", {**of_all(waits), **missing}))
        rows.append(compared(f"{what}: p99, ratio", waits, missing, at_most))
        rows.append(Row(f"{what}: most minus fewest", "count", {**spreads, **missing}))
    return rows


CLAIMS = (
    Claim(
        "contended",
        "Where callers wait, order costs no more than elsewhere",
        "The `with` block of each, with nothing in it, by more threads than there are connections; "
        f"medians, alternating with {RIVAL}, which keeps the order, too. A pool that lets anybody "
        "barge in makes more checkouts of fewer threads.",
        measure,
    ),
    Claim(
        "contended-work",
        "Where callers wait and work, nobody waits longer than elsewhere",
        "Threads that hold a connection for a millisecond.",
        measure_working,
    ),
)
