"""What it costs a checkout that a flight recorder or metrics are on.

Theory.  Whoever uses the pool writes down what came, and a thread of its own tells it, four times
a second.  So what is measured is the time of the thread that uses the pool, in pieces that are
shorter than what makes it tell by itself; pools with and without take turns.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.claims import OURS, Claim, Plan, Row, at_most
from benchmarks.measure import median
from benchmarks.peers import Pretended
from pool import Pool
from pool.metrics import collector
from pool.record import FlightRecorder

PIECE = 4000
"""Checkouts of a pool in one turn."""

RECORDED, MEASURED = "a flight recorder", "metrics"
MOST = {RECORDED: 2e-6, MEASURED: 1.5e-6}


def piece(pool: Any) -> float:
    """Seconds of this thread for acquire and release."""
    acquire = pool.acquire
    began = time.thread_time()
    for _ in range(PIECE):
        acquire().release()
    return (time.thread_time() - began) / PIECE


def measure(plan: Plan) -> list[Row]:
    with tempfile.TemporaryDirectory() as place:
        pools = {name: Pool(Pretended, max_size=4) for name in ("", RECORDED, MEASURED)}
        recorder = FlightRecorder(pools[RECORDED], Path(place) / "bench.rec", keep="1 MB")
        metrics = collector(pools[MEASURED])
        found: dict[str, list[float]] = {name: [] for name in pools}
        rounds = plan.some(15, 1)
        for number in range(-1, rounds):
            plan.tell(max(0, number) / rounds, "turns")
            for name, pool in pools.items():
                took = piece(pool)
                if number >= 0:  # the first warms up
                    found[name].append(took)
                time.sleep(0.3)  # the other thread tells
        recorder.stop()
        metrics.stop()
        for pool in pools.values():
            pool.close()
    rows = [Row("acquire and release, nobody looks on", "us", {OURS: median(found[""])})]
    for name, most in MOST.items():
        pairs = zip(found[""], found[name], strict=True)
        more = median(with_ - without for without, with_ in pairs)
        rows.append(at_most(f"more with {name}", "us", {OURS: more}, most))
    return rows


CLAIMS = [
    Claim(
        "observed",
        "what it costs to be recorded and measured",
        "One thread, its own CPU time; pools without and with take turns of 4,000 checkouts.",
        measure,
    )
]
