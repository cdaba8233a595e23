"""A small peewee application on a SQLite file: what `make run` has its threads do.

Theory.  A web shop's visitors, each a thread: one takes a connection, reads the last few orders
of a customer, writes one of its own, and gives the connection back.  There are far fewer
connections than visitors, so what a visitor feels is the pool.  The same visitors run over
either pool; only the class of the database differs, as it would for one who changes the import.

A turn is noted as four numbers in a list of its thread's own: no lock, nothing shared, so that
measuring does not put the threads in order.
"""

from __future__ import annotations

import statistics
import threading
from pathlib import Path
from typing import Any

import attrs
import peewee
import playhouse.pool

import pool.peewee
from benchmarks.measure import Turn, median, now, percentile, wakeups
from pool.record import Recorder

POOLS: dict[str, Any] = {
    "purepool": pool.peewee.PooledSqliteDatabase,
    "playhouse.pool": playhouse.pool.PooledSqliteDatabase,
}

CUSTOMERS = 50
PATIENCE = 120.0
"""Seconds that a visitor would wait for a connection: nobody is to be turned away here."""


def open_shop(kind: str, path: Path, connections: int) -> tuple[Any, Any]:
    """A pooled database of this kind over an empty file, and the model of its one table."""
    database = POOLS[kind](
        str(path),
        max_connections=connections,
        timeout=PATIENCE,
        pragmas={"journal_mode": "wal", "synchronous": "off", "busy_timeout": 30_000},
        check_same_thread=False,
    )

    class Order(peewee.Model):
        customer = peewee.IntegerField(index=True)
        amount = peewee.IntegerField()

        class Meta:
            table_name = "orders"

    Order.bind(database)
    with database.connection_context():
        database.create_tables([Order])
    return database, Order


class Round:
    """So many visitors over so many connections, for so many seconds."""

    def __init__(self, kind: str, path: Path, threads: int, connections: int) -> None:
        self.kind = kind
        self.database, self.order = open_shop(kind, path, connections)
        self.recorder: Recorder | None = None
        if kind == "purepool":
            self.recorder = Recorder(self.database)
        self.turns: list[list[tuple[int, float, float, float]]] = [[] for _ in range(threads)]
        self.asking = [0.0] * threads
        """Since when each thread has been asking for a connection; 0: it has one."""
        self.errors: list[BaseException] = []
        self.over = threading.Event()
        self._start = threading.Barrier(threads + 1)
        self._threads = [
            threading.Thread(target=self._visit, args=(number,), daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()
        self._start.wait()
        self.began = now()

    def _visit(self, number: int) -> None:
        mine, asking, over = self.turns[number], self.asking, self.over
        database, order = self.database, self.order
        self._start.wait()
        try:
            while not over.is_set():
                asking[number] = asked = now()
                database.connect()
                running = now()
                asking[number] = 0.0
                try:
                    customer = (number * 7 + len(mine)) % CUSTOMERS
                    order.create(customer=customer, amount=len(mine))
                    latest = order.select().where(order.customer == customer)
                    list(latest.order_by(order.id.desc()).limit(5))
                    connection = id(database.connection())
                finally:
                    returned = now()
                    database.close()
                mine.append((connection, asked, running, returned))
        except BaseException as error:
            self.errors.append(error.with_traceback(None))
            over.set()

    def waiting(self) -> int:
        """How many wait for a connection right now."""
        return sum(map(bool, self.asking))

    def end(self) -> None:
        """Let everybody finish the turn under way, and close the shop."""
        self.over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        if self.recorder is not None:
            self.recorder.stop()
        self.database.close_all()
        if self.errors:
            raise self.errors[0]

    def figures(self, seconds: float) -> Figures:
        """What came of it. Turns are counted that began within so many seconds."""
        end = self.began + seconds
        turns = [Turn(number, *turn) for number, mine in enumerate(self.turns) for turn in mine]
        counts = [sum(turn[2] < end for turn in mine) for mine in self.turns]
        waits = [turn.wait for turn in turns]
        means = [
            statistics.fmean(turn[2] - turn[1] for turn in mine) for mine in self.turns if mine
        ]
        return Figures(
            throughput=sum(counts) / seconds,
            wait_p50=percentile(waits, 50),
            wait_p99=percentile(waits, 99),
            wait_max=max(waits, default=0.0),
            wait_thread=median(means),
            wait_worst=max(means),
            fewest=min(counts),
            most=max(counts),
            wakeup=median(wakeups(turns)),
        )


@attrs.frozen
class Figures:
    """A round in numbers; times in seconds."""

    throughput: float
    """Turns per second."""
    wait_p50: float
    wait_p99: float
    wait_max: float
    wait_thread: float
    """The mean wait of the thread in the middle: half the threads fare worse."""
    wait_worst: float
    """That of the thread that fares worst."""
    fewest: float
    """Turns of the thread that had the fewest."""
    most: float
    wakeup: float
    """The median time from a connection given back to the next waiter running with it."""

    @classmethod
    def medians(cls, rounds: list[Figures]) -> Figures:
        """Of several rounds: the median of each number; the worst wait is the worst of all."""
        names = [field.name for field in attrs.fields(cls)]
        middle = {name: median(getattr(each, name) for each in rounds) for name in names}
        middle["wait_max"] = max(each.wait_max for each in rounds)
        return cls(**middle)
