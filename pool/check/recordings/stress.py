"""Pools under stress, recorded: what `purepool check --profile nightly` has TLC judge.

Theory.  Each program makes all happen that can happen to a pool of its kind: connects that fail,
connections found dead, deadlines that pass, leaks, ages, drains, other limits, suspension, and the
end, with threads or tasks that get in each other's way.  What they do is drawn at random, and
other each time.  That all of it is right is not for them to say; an error that a caller of a pool
must be ready for is no fault.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pool
import pool.aio
from pool.peewee import MaxConnectionsExceeded, PooledSqliteDatabase
from pool.record import FlightRecorder

ROUNDS = 60
"""Borrowings of each thread or task."""

BORROWERS = 8

LIMITS: Mapping[str, Any] = MappingProxyType(
    {
        "max_size": 3,
        "max_waiting": 6,
        "max_lifetime": 0.05,
        "max_idle": 0.01,
        "leak_after": 0.02,
        "check_after": 0.001,
    }
)


class Driver:
    """A driver some of whose connects fail, and some of whose connections die."""

    def connect(self) -> sqlite3.Connection:
        if random.random() < 0.15:
            raise sqlite3.OperationalError("no database")
        return sqlite3.connect(":memory:", check_same_thread=False)

    def check(self, connection: sqlite3.Connection) -> None:
        if random.random() < 0.1:
            raise sqlite3.OperationalError("the connection is dead")

    def reset(self, connection: sqlite3.Connection) -> None:
        if random.random() < 0.05:
            raise sqlite3.OperationalError("cannot be reset")


@contextmanager
def _quiet() -> Iterator[None]:
    """What a pool has to say of it all is of no interest here."""
    own = logging.getLogger("pool")
    before = own.level
    own.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        own.setLevel(before)


def _together(work: Callable[[], None], meanwhile: Callable[[], None]) -> None:
    """Many threads do this; one does that. Raises what one of them raises."""
    with ThreadPoolExecutor(BORROWERS + 1) as executor:
        calls = [executor.submit(work) for _ in range(BORROWERS)]
        calls.append(executor.submit(meanwhile))
    for call in calls:
        call.result()


def _patience() -> float:
    return random.choice([0, 0.002, 0.02, 1.0])


def _while() -> float:
    return random.choice([0, 0, 0, 0.001, 0.001, 0.03])


def threads(path: Path, opener: str = "background") -> None:
    """Threads that share a pool."""
    driver = Driver()
    limits = {**LIMITS, "opener": opener, "min_idle": 0 if opener == "caller" else 1}
    subject = pool.Pool(driver.connect, check=driver.check, reset=driver.reset, **limits)

    def work() -> None:
        for _ in range(ROUNDS):
            try:
                with subject.acquire(_patience()) as lease:
                    time.sleep(_while())
                    if random.random() < 0.05:
                        lease.discard()
            except (pool.PoolError, sqlite3.Error):
                pass
            time.sleep(_while())

    def meanwhile() -> None:
        for _ in range(10):
            for act in (subject.drain, subject.suspend, subject.resume):
                time.sleep(0.01)
                act()
            for size in (2, 4):
                time.sleep(0.01)
                subject.resize(size)

    with _quiet(), FlightRecorder(subject, path):
        _together(work, meanwhile)
        subject.close()


def callers(path: Path) -> None:
    """Threads that connect themselves."""
    threads(path, "caller")


def tasks(path: Path) -> None:
    """Tasks that share a pool, and are cancelled."""
    driver = Driver()

    class Connection:
        async def close(self) -> None:
            await asyncio.sleep(0)

    async def connect() -> Connection:
        await asyncio.sleep(0.001)
        driver.connect().close()
        return Connection()

    async def work(subject: Any) -> None:
        for _ in range(ROUNDS):
            try:
                async with subject.connection(timeout=_patience()):
                    await asyncio.sleep(_while())
            except (pool.PoolError, sqlite3.Error):
                pass
            await asyncio.sleep(_while())

    async def main() -> None:
        limits = {name: value for name, value in LIMITS.items() if name != "check_after"}
        subject = pool.aio.Pool(connect, min_idle=1, **limits)
        with FlightRecorder(subject, path):
            working = [asyncio.ensure_future(work(subject)) for _ in range(BORROWERS)]
            await asyncio.sleep(0.1)
            working[0].cancel()
            subject.drain()
            await asyncio.gather(*working, return_exceptions=True)
            await subject.close()

    with _quiet():
        asyncio.run(main())


def database(path: Path) -> None:
    """Threads that share a pooled database of peewee, whose lists are written to."""
    subject = PooledSqliteDatabase(
        "file::memory:?cache=shared", uri=True, max_connections=3, stale_timeout=0.05, timeout=0.05
    )

    def work() -> None:
        for number in range(ROUNDS):
            try:
                subject.connect()
                time.sleep(_while())
                if number % 10 == 9:
                    subject.manual_close()
                else:
                    subject.close()
            except MaxConnectionsExceeded:
                pass
            time.sleep(_while())

    def meanwhile() -> None:
        """What programs do that know playhouse's lists."""
        for number in range(100):
            time.sleep(0.002)
            with subject._pool_lock:
                idle = subject._connections
                idle[:] = [] if number % 2 else [(at - 0.01, *rest) for at, *rest in idle]

    with _quiet(), FlightRecorder(subject, path):
        _together(work, meanwhile)
        subject.close_all()


PROGRAMS: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {
        "stress-threads": threads,
        "stress-callers": callers,
        "stress-tasks": tasks,
        "stress-database": database,
    }
)
"""Each writes a recording to a path."""
