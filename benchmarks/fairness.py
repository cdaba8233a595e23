"""Far more threads than connections: does everybody get a turn, and when?

Theory.  In a fair queue each of T threads over C connections waits for (T / C) turns, give or
take one.  That is the ideal below, with the work as long as it really was: `time.sleep(0.001)`
takes longer than a millisecond, on a busy machine much longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from statistics import fmean
from typing import Any

import attrs
import playhouse.pool

import pool.peewee
from benchmarks.claims import OURS, Claim, Plan, Row, at_most
from benchmarks.measure import median, now, percentile
from benchmarks.peers import Database, installed, pretended


@attrs.frozen
class Fairness:
    """What came of one run; times in seconds."""

    fewest: float
    most: float
    p99: float
    worst: float
    usual: float
    """The mean wait of the thread in the middle: half the threads fare worse."""
    ideal: float
    turns: float

    @property
    def spread(self) -> float:
        return self.most - self.fewest


Turn = tuple[float, float, float]
"""When a thread asked for a connection, had it, and had given it back."""


def compete(
    acquire: Callable[[], Any],
    release: Callable[[Any], Any],
    *,
    threads: int,
    connections: int,
    work: float,
    seconds: float,
) -> Fairness:
    """So many threads take turns for so many seconds; what came of it."""
    turns, end = record(acquire, release, threads=threads, work=work, seconds=seconds)
    # Turns that began in time; the waits also of those who were still waiting at the end.
    counts = [sum(running < end for _, running, _ in mine) for mine in turns]
    waits = [running - asked for mine in turns for asked, running, _ in mine]
    spent = [returned - running for mine in turns for _, running, returned in mine]
    means = [fmean(running - asked for asked, running, _ in mine) for mine in turns]
    mean = sum(spent) / len(spent)
    return Fairness(
        fewest=min(counts),
        most=max(counts),
        p99=percentile(waits, 99),
        worst=max(waits),
        usual=median(means),
        ideal=threads / connections * mean,
        turns=sum(counts),
    )


def record(
    acquire: Callable[[], Any],
    release: Callable[[Any], Any],
    *,
    threads: int,
    work: float,
    seconds: float,
) -> tuple[list[list[Turn]], float]:
    """So many threads take turns for so many seconds: the turns of each, and when time was up."""
    turns: list[list[tuple[float, float, float]]] = [[] for _ in range(threads)]
    barrier = threading.Barrier(threads + 1)
    over = threading.Event()

    def run(number: int) -> None:
        mine = turns[number]
        barrier.wait()
        while not over.is_set():
            asked = now()
            lease = acquire()
            running = now()
            time.sleep(work)
            returned = now()
            release(lease)
            mine.append((asked, running, returned))

    workers = [
        threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    end = now() + seconds
    time.sleep(seconds)
    over.set()
    for worker in workers:
        worker.join(60)
    return turns, end


def of_rounds(rounds: list[Fairness]) -> Fairness:
    """The medians; but the worst wait is the worst of all."""
    names = [field.name for field in attrs.fields(Fairness)]
    middle = {name: median(getattr(each, name) for each in rounds) for name in names}
    return Fairness(**middle | {"worst": max(each.worst for each in rounds)})


def rows_of(found: dict[str, Fairness], missing: dict[str, Any]) -> dict[str, Row]:
    def row(what: str, unit: str, value: Callable[[Fairness], float]) -> Row:
        return Row(what, unit, missing | {name: value(each) for name, each in found.items()})

    return {
        "fewest": row("checkouts of the thread with fewest", "count", lambda each: each.fewest),
        "most": row("checkouts of the thread with most", "count", lambda each: each.most),
        "spread": row("most minus fewest", "count", lambda each: each.spread),
        "p99": row("wait, p99", "s", lambda each: each.p99),
        "ideal": row("ideal wait: threads / connections x work", "s", lambda each: each.ideal),
        "usual": row("mean wait of the median thread", "s", lambda each: each.usual),
        "worst": row("wait, worst", "s", lambda each: each.worst),
        "turns": row("checkouts of all threads", "count", lambda each: each.turns),
    }


def ignoring_its_argument(function: Callable[[], Any]) -> Callable[[Any], Any]:
    return lambda _: function()


def measure_peewee(plan: Plan) -> list[Row]:
    kinds = {OURS: pool.peewee.PooledDatabase, "playhouse.pool": playhouse.pool.PooledDatabase}
    seconds = plan.seconds(4.0, 0.4)
    found: dict[str, list[Fairness]] = {name: [] for name in kinds}
    rounds = plan.some(3, 1)
    for number in range(rounds):
        for position, (name, kind) in enumerate(kinds.items()):
            plan.tell((number + position / len(kinds)) / rounds, name)
            database = pretended(kind)("pretended", max_connections=4, timeout=60)
            acquire, release = database.connect, ignoring_its_argument(database.close)
            result = compete(
                acquire, release, threads=32, connections=4, work=0.001, seconds=seconds
            )
            found[name].append(result)
    medians = {name: of_rounds(each) for name, each in found.items()}
    rows = rows_of(medians, {})
    most = 1.5 * medians[OURS].ideal
    spread, p99 = rows["spread"], rows["p99"]
    rows["spread"] = at_most(spread.what, spread.unit, spread.figures, 5)
    rows["p99"] = at_most(p99.what, p99.unit, p99.figures, most, "1.5 x ideal")
    return list(rows.values())


def measure_pools(plan: Plan) -> list[Row]:
    kinds, missing = installed()
    rival = "psycopg_pool"
    seconds = plan.seconds(3.0, 0.3)
    rounds = plan.some(5, 1)
    schedule = [kind for _ in range(rounds) for kind in kinds if kind.name in (OURS, rival)]
    schedule += [kind for kind in kinds if kind.name not in (OURS, rival)]
    found: dict[str, list[Fairness]] = {kind.name: [] for kind in kinds}
    for number, kind in enumerate(schedule):
        plan.tell(number / len(schedule), kind.name)
        peer = kind(Database(), most=4, ready=4)
        found[kind.name].append(
            compete(
                peer.acquire, peer.release, threads=40, connections=4, work=0.002, seconds=seconds
            )
        )
        peer.end()
    medians = {name: of_rounds(each) for name, each in found.items()}
    rows = rows_of(medians, missing)
    if rival in medians:
        theirs = medians[rival]
        spread, p99 = rows["spread"], rows["p99"]
        rows["spread"] = at_most(
            spread.what, spread.unit, spread.figures, 1.2 * theirs.spread, f"1.2 x {rival}"
        )
        rows["p99"] = at_most(p99.what, p99.unit, p99.figures, 1.2 * theirs.p99, f"1.2 x {rival}")
    return list(rows.values())


CLAIMS = (
    Claim(
        "fairness",
        "Every thread gets a connection as often as the others",
        "32 threads of a peewee application over 4 connections, 1 ms of work each time, 4 s, "
        "alternating with playhouse.pool; medians of the rounds.",
        measure_peewee,
    ),
    Claim(
        "fairness-pools",
        "Nobody is fairer",
        "40 threads over 4 connections, 2 ms of work each time, 3 s; five rounds, "
        "alternating with psycopg_pool, one of each other pool; medians.",
        measure_pools,
    ),
)
