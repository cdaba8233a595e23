"""The asyncio round of `make run`: tasks over `pool.aio.Pool`, some of them cancelled all the time.

Theory.  No driver and no server is needed: the connections are stand-ins whose query takes a while.
What is shown is the pool: that tasks get their connection in turn, that each cancellation comes
through, and that afterwards every connection can be had.  All of it is recorded, and checked.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from typing import Any

import attrs

from benchmarks.measure import now
from pool.aio import Pool
from pool.record import Recorder

QUERY = 0.002
"""Seconds that a query takes."""
IMPATIENT = 8
"""Tasks more, which are cancelled again and again."""


class Connection:
    """A stand-in, of no driver."""

    async def execute(self) -> None:
        await asyncio.sleep(QUERY)

    def close(self) -> None:
        pass


@attrs.frozen
class TaskFigures:
    """The round in numbers; times in seconds."""

    throughput: float
    """Checkouts per second, of all that were not cancelled."""
    fewest: int
    """Checkouts of the patient task that had the fewest."""
    most: int
    wait_max: float
    """The longest wait of a patient task."""
    cancelled: int
    """Cancellations asked for."""
    delivered: int
    """Those that came through."""
    whole: int
    """Connections that could be had at once afterwards."""


class TaskRound:
    """So many patient tasks, and some that are not, over so many connections."""

    def __init__(self, tasks: int, connections: int) -> None:
        self.connections = connections
        self.turns = [0] * tasks
        self.recorder: Recorder | None = None
        self._longest = 0.0
        self._others = 0
        self._over = False
        self._sent = self._came = 0

    def play(self, seconds: float, look: Callable[[float], None]) -> TaskFigures:
        """`look` is called all the while with the seconds gone; what it raises ends the round."""
        return asyncio.run(self._play(seconds, look))

    async def _play(self, seconds: float, look: Callable[[float], None]) -> TaskFigures:
        pool = Pool(Connection, max_size=self.connections, timeout=120.0, name="tasks")
        self.recorder = Recorder(pool)
        patient = [asyncio.ensure_future(self._visit(pool, n)) for n in range(len(self.turns))]
        others = [asyncio.ensure_future(self._try(pool)) for _ in range(IMPATIENT)]
        began, chance = now(), random.Random(0)
        try:
            while (gone := now() - began) < seconds:
                look(gone)
                for _ in range(20):
                    await asyncio.sleep(min(0.005, seconds / 20))
                    self._sent += chance.choice(others).cancel()
            counts, done = list(self.turns), sum(self.turns) + self._others
            self._over = True
            await asyncio.gather(*patient, *others)
            leases = [await pool.acquire() for _ in range(self.connections)]
            whole = len({id(lease.connection) for lease in leases})
            for lease in leases:
                await lease.release()
        finally:
            self._over = True
            for task in (*patient, *others):
                task.cancel()
            await asyncio.gather(*patient, *others, return_exceptions=True)
            self.recorder.stop()
            await pool.close()
        return TaskFigures(
            done / seconds,
            min(counts),
            max(counts),
            self._longest,
            self._sent,
            self._came,
            whole,
        )

    async def _visit(self, pool: Pool[Any], number: int) -> None:
        while not self._over:
            asked = now()
            async with pool.connection() as connection:
                self._longest = max(self._longest, now() - asked)
                await connection.execute()
            self.turns[number] += 1

    async def _try(self, pool: Pool[Any]) -> None:
        while not self._over:
            try:
                async with pool.connection() as connection:
                    await connection.execute()
                self._others += 1
            except asyncio.CancelledError:
                self._came += 1
                if sys.version_info >= (3, 11):
                    task = asyncio.current_task()
                    assert task is not None
                    task.uncancel()
