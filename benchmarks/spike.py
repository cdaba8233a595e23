"""Fifty callers at once: does the pool wait for a connect where a released connection would do?"""

from __future__ import annotations

import threading
import time
from typing import Any

from benchmarks.claims import Claim, Plan, Row, at_most
from benchmarks.measure import median, now
from benchmarks.peers import Database, installed

CALLERS = 50
CONNECT = 0.150
QUERY = 0.002
READY = 5


def spike(kind: Any) -> tuple[float, int]:
    """Seconds from the start of all callers to the end of the last; connections opened by then."""
    database = Database()
    peer = kind(database, most=CALLERS, ready=READY)
    database.connect_seconds = CONNECT
    ends: list[float] = []
    barrier = threading.Barrier(CALLERS + 1)

    def call() -> None:
        barrier.wait()
        lease = peer.acquire()
        time.sleep(QUERY)
        peer.release(lease)
        ends.append(now())

    threads = [threading.Thread(target=call, daemon=True) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = now()
    for thread in threads:
        thread.join(60)
    opened = database.opened
    time.sleep(CONNECT)  # let those under way come home before the pool goes
    peer.end()
    return max(ends) - began, opened


def measure(plan: Plan) -> list[Row]:
    kinds, missing = installed()
    rounds = plan.some(5, 1)
    found: dict[str, list[tuple[float, int]]] = {kind.name: [] for kind in kinds}
    for number in range(rounds):
        for position, kind in enumerate(kinds):
            plan.tell((number + position / len(kinds)) / rounds, kind.name)
            found[kind.name].append(spike(kind))
    took: dict[str, Any] = {name: median(each[0] for each in all_) for name, all_ in found.items()}
    opened: dict[str, Any] = {
        name: median(each[1] for each in all_) for name, all_ in found.items()
    }
    rows = [
        Row("until the last is done", "s", took | missing),
        Row("connections opened", "count", opened | missing),
    ]
    rival = "psycopg_pool"
    if rival not in took:
        return rows
    return [
        at_most(rows[0].what, "s", rows[0].figures, 1.1 * took[rival], f"{rival}'s, give or take"),
        at_most(rows[1].what, "count", rows[1].figures, opened[rival], f"{rival}'s"),
    ]


CLAIMS = (
    Claim(
        "spike",
        "A spike is served by the connections there are",
        f"{CALLERS} callers at once over a pool of at most {CALLERS} with {READY} ready; a connect "
        "takes 150 ms, a query 2 ms; medians of the rounds.",
        measure,
    ),
)
