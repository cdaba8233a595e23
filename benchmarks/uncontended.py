"""What a turn costs when nobody waits: the price that everybody pays, all the time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import playhouse.pool

import pool.peewee
from benchmarks.claims import OURS, Claim, Plan, Row, at_most
from benchmarks.measure import in_turns, median, now, ratio
from benchmarks.peers import Database, Peer, installed, pretended

PLAYHOUSE = "playhouse.pool"
PLAIN, BLOCK, READY = "acquire + release", "with block", "with block, all kept ready"
RIVALS = {
    PLAIN: ["SQLAlchemy"],
    BLOCK: ["psycopg_pool", "SQLAlchemy"],
    READY: ["psycopg_pool", "SQLAlchemy"],
}
"""Whom a turn must not cost more than with. psycopg_pool's documentation gives the block. Its
`getconn` and `putconn` are reported only, as DBUtils is, and cost less than our `acquire` and
`release`: they do not find a connection that was lost, nor know who holds one; to know that takes
an object per turn, with a finalizer and a weak reference, and two transitions more than a deque."""


def timed(turn: Callable[[], Any], times: int) -> Callable[[], float]:
    """The seconds that one turn takes, over so many."""

    def run() -> float:
        began = now()
        for _ in range(times):
            turn()
        return (now() - began) / times

    return run


def turn_of(database: Any) -> Callable[[], None]:
    connect, close = database.connect, database.close

    def turn() -> None:
        connect()
        close()

    return turn


def measure_peewee(plan: Plan) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory(prefix="purepool-") as directory:

        def sqlite(module: Any, **settings: Any) -> Any:
            return module.PooledSqliteDatabase(str(Path(directory) / "turns.db"), **settings)

        def fake(module: Any) -> Any:
            return pretended(module.PooledDatabase)("pretended")

        kinds: list[tuple[str, Callable[[Any], Any]]] = [
            ("pretended driver", fake),
            ("SQLite", sqlite),
            (
                "SQLite, timeout=10, stale_timeout=300",
                lambda module: sqlite(module, timeout=10, stale_timeout=300),
            ),
        ]
        times = plan.some(150, 15)
        for number, (what, make) in enumerate(kinds):
            databases = [make(module) for module in (pool.peewee, playhouse.pool)]
            runs = [timed(turn_of(database), 1000) for database in databases]
            for run in runs:
                run()  # connects, and warms the interpreter up

            def tell(done: int, number: int = number, what: str = what) -> None:
                plan.tell((number + done / times) / len(kinds), what)

            ours, theirs = in_turns(runs, times, tell)
            for database in databases:
                database.close_all()
            figures = {OURS: median(ours), PLAYHOUSE: median(theirs)}
            rows.append(Row(what, "us", figures))
            figures = {OURS: ratio(ours, theirs), PLAYHOUSE: 1.0}
            rows.append(at_most(f"{what}: ratio", "ratio", figures, 1.0))
    return rows


def measure_pools(plan: Plan) -> list[Row]:
    kinds, missing = installed()
    parts = [(1, {PLAIN: plainly, BLOCK: within}), (5, {READY: within})]
    rows = []
    for number, (ready, ways) in enumerate(parts):

        def tell(done: float, what: str, number: int = number) -> None:
            plan.tell((number + done) / len(parts), what)

        pools = {kind.name: kind(Database(), most=5, ready=ready) for kind in kinds}
        try:
            rows += compare(attrs.evolve(plan, tell=tell), pools, missing, ways)
        finally:
            for peer in pools.values():
                peer.end()
    return rows


def compare(
    plan: Plan,
    pools: Mapping[str, Peer],
    missing: Mapping[str, str],
    ways: Mapping[str, Callable[[Peer], Callable[[], Any]]],
    turns: int = 500,
) -> list[Row]:
    """What a turn costs in each of these ways, and how much more than with ours."""
    times = plan.some(150, 15)
    rows = []
    for number, (what, way) in enumerate(ways.items()):
        runs = [timed(way(peer), turns) for peer in pools.values()]
        for run in runs:
            run()

        def tell(done: int, number: int = number, what: str = what) -> None:
            plan.tell((number + done / times) / len(ways), what)

        found = dict(zip(pools, in_turns(runs, times, tell), strict=True))
        figures: dict[str, Any] = {name: median(values) for name, values in found.items()}
        rows.append(Row(what, "us", {**figures, **missing}))
        figures = {name: ratio(values, found[OURS]) for name, values in found.items()}
        rivals = [figures[name] for name in RIVALS.get(what, ()) if name in figures]
        target, met = f"{', '.join(RIVALS.get(what, ()))} > 1", min(rivals, default=0.0) > 1
        rows.append(Row(f"{what}: ratio to ours", "ratio", {**figures, **missing}, target, met))
    return rows


def plainly(peer: Any) -> Callable[[], Any]:
    acquire, release = peer.acquire, peer.release
    return lambda: release(acquire())


def within(peer: Any) -> Callable[[], Any]:
    use: Callable[[], Any] = peer.use
    return use


CLAIMS = (
    Claim(
        "peewee-checkout",
        "A peewee application pays nothing for the change of pools",
        "connect() and close() with nobody waiting, runs of 1,000 that alternate "
        "with playhouse.pool; the ratio is the median of those of neighbouring runs.",
        measure_peewee,
    ),
    Claim(
        "checkout",
        "Taking and returning a connection is cheap",
        "Acquire and release with nobody waiting, and a driver that costs nothing; runs of 500. "
        "The `with` block is the one that the pool's documentation gives; psycopg_pool's "
        "`getconn` and `putconn`, beside our acquire and release, do not find what was lost. At "
        "most 5 connections, 1 of them kept idle; in the last rows, all 5.",
        measure_pools,
    ),
)
