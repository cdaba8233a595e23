"""Slow connects and slow checks, side by side: nobody stands behind somebody else's I/O."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import playhouse.pool

import pool.peewee
from benchmarks.claims import OURS, Claim, Plan, Row, at_most
from benchmarks.measure import median, now, together
from benchmarks.peers import Pretended, pretended

THREADS = 20
CONNECT = 0.050
PING = 0.020
KINDS = {OURS: pool.peewee.PooledDatabase, "playhouse.pool": playhouse.pool.PooledDatabase}


def connects(kind: Any) -> float:
    """Seconds until twenty threads that start with an empty pool have all had a connection."""

    def connect() -> Pretended:
        time.sleep(CONNECT)
        return Pretended()

    database = pretended(kind, connect)("pretended", max_connections=THREADS, timeout=60)
    return together(THREADS, borrower(database))


def pings(kind: Any) -> float:
    """The same for twenty connections that are idle and have to be checked."""
    checking = False

    def is_alive(_: Any) -> bool:
        if checking:
            time.sleep(PING)
        return True

    database = pretended(kind, Pretended, is_alive)(
        "pretended", max_connections=THREADS, timeout=60
    )
    together(THREADS, borrower(database))
    checking = True
    return together(THREADS, borrower(database))


def borrower(database: Any) -> Callable[[int], None]:
    """Takes a connection and keeps it until everybody has one."""
    barrier = threading.Barrier(THREADS)

    def borrow(_: int) -> None:
        database.connect()
        barrier.wait()
        database.close()

    return borrow


def measure(plan: Plan) -> list[Row]:
    rows = []
    cases = [
        (f"{THREADS} connects of {CONNECT * 1000:g} ms", connects, 1.5 * CONNECT, "1.5 x 50 ms"),
        (f"{THREADS} checks of {PING * 1000:g} ms", pings, 2 * PING, "2 x 20 ms"),
    ]
    rounds = plan.some(5, 1)
    for number, (what, run, most, formula) in enumerate(cases):
        taken: dict[str, list[float]] = {name: [] for name in KINDS}
        starts = []
        for done in range(rounds):
            plan.tell((number + done / rounds) / len(cases), what)
            for name, kind in KINDS.items():
                taken[name].append(run(kind))
            starts.append(thread_start())
        start = min(starts)
        figures = {name: median(values) for name, values in taken.items()}
        why = f"{formula} + {start * 1000:.1f} ms to start the threads"
        rows.append(at_most(what, "s", figures, most + start, why))
    return rows


def thread_start() -> float:
    """Seconds to start so many threads that do nothing but see that all are there, and end."""
    barrier = threading.Barrier(THREADS)
    began = now()
    together(THREADS, lambda _: barrier.wait())
    return now() - began


CLAIMS = (
    Claim(
        "cold-start",
        "One slow connect or check holds up nobody else",
        f"{THREADS} threads at once over at most {THREADS} connections: with an empty pool and a "
        "driver that takes 50 ms to connect, then with idle connections and a check of 20 ms.",
        measure,
    ),
)
