"""What databases do to a pool for asyncio: refuse, kill, go silent, hang; and closes that fail.

Theory.  As `test_pool_outages.py`, whose proxy stands for the network.  Servers that stop and start
and queries that are cancelled are in `test_aio_databases.py`.  What has happened is waited for;
times are the pool's promises, with room to spare.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pool.aio import Pool, PoolTimeout
from pool.tasks import performer
from tests.integration.asynchronous import ended, running, until
from tests.integration.drivers import PATIENCE
from tests.integration.test_pool_outages import Proxy

for driver in ("aiomysql", "asyncmy", "asyncpg", "psycopg"):  # all that the next import needs
    pytest.importorskip(driver)

from tests.integration.test_aio_databases import (  # noqa: E402
    DRIVERS,
    Place,
    alone,
    sessions_on,
    whole,
    within,
)

POSTGRES = pytest.mark.parametrize("name", ["psycopg", "asyncpg"])


@pytest.fixture
def proxy(postgres: Any) -> Iterator[Proxy]:
    proxy = Proxy(postgres.host, postgres.port)
    yield proxy
    proxy.close()


async def comes(holds: Callable[[], Any]) -> None:
    """Wait for what takes time."""
    for _ in range(int(PATIENCE * 100)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to hold")


@POSTGRES
def test_a_server_with_fewer_connections(name: str, postgres_with: Callable[..., Any]) -> None:
    """`max_connections` smaller than the pool's: callers are served by those there are; a timeout
    carries the server's refusal; nobody is stranded."""
    server = postgres_with(max_connections=5, superuser_reserved_connections=0)
    place = Place(name, DRIVERS[name], server)

    async def main() -> None:
        settings: dict[str, Any] = {"backoff_initial": 0.01, "backoff_max": 0.05}
        async with place.pool(max_size=20, max_opening=3, timeout=PATIENCE, **settings) as pool:
            leases = [await pool.acquire() for _ in range(5)]
            tasks = [asyncio.ensure_future(pool.acquire()) for _ in range(3)]
            await comes(lambda: pool.statistics().last_error)
            with pytest.raises(PoolTimeout, match=r"too many clients|remaining connection"):
                await pool.acquire(0.05)
            assert pool.statistics().waiting == 3
            for lease in leases:
                await lease.release()
            for lease in await within(asyncio.gather(*tasks)):
                await lease.release()

            async def caller() -> None:
                for _ in range(20):
                    async with pool.connection() as connection:
                        await place.driver.fetch(connection, "select 1")

            await within(asyncio.gather(*(caller() for _ in range(20))))
            statistics = pool.statistics()
            assert statistics.in_use == 0
            assert statistics.size - statistics.opening <= 5  # others may be tried just now

    asyncio.run(main())


@POSTGRES
def test_backends_are_killed_under_load(name: str, postgres: Any) -> None:
    """At random, again and again: queries break, nobody is refused, nothing is lost."""
    place, dice = Place(name, DRIVERS[name], postgres), random.Random(4)

    async def main() -> None:
        before = sessions_on(place)
        async with place.pool(max_size=6, timeout=PATIENCE, check_after=0.0) as pool:
            served = broken = 0
            over = False

            async def caller() -> None:
                nonlocal served, broken
                while not over:
                    async with await pool.acquire() as lease:
                        try:
                            await place.driver.fetch(lease.connection, "select 1")
                            served += 1
                        except Exception:
                            broken += 1

            tasks = [asyncio.ensure_future(caller()) for _ in range(20)]
            for _ in range(20):
                wanted = served + 20
                await comes(lambda wanted=wanted: served >= wanted)
                victims = sorted(await asyncio.to_thread(sessions_on, place) - before)
                if victims:
                    query = place.driver.kill.format(dice.choice(victims))
                    await asyncio.to_thread(postgres.run, query)
            over = True
            await within(asyncio.gather(*tasks))  # nobody was refused
            sessions = await whole(pool, place, 6)
            await alone(place, sessions, before)
            assert pool.statistics().closed + broken >= 10

    asyncio.run(main())


@POSTGRES
def test_half_open_connections(name: str, postgres: Any, proxy: Proxy) -> None:
    """The other end is gone and nobody said so: the check does not answer, so the connection is
    replaced and the caller served; one whose deadline is sooner is told in time."""
    place = Place(name, DRIVERS[name], postgres)
    connect = place.driver.connect({**postgres.parameters, "port": proxy.port})

    async def main() -> None:
        settings: dict[str, Any] = {"check_after": 0.0, "check_timeout": 1.0, "timeout": PATIENCE}
        pool: Pool[Any] = Pool(connect, max_size=3, **settings)
        await whole(pool, place, 3)
        proxy.go_silent()
        with pytest.raises(PoolTimeout, match="did not answer a check in time"):
            await within(pool.acquire(0.05))
        async with pool.connection() as connection:
            assert await place.driver.fetch(connection, "select 1") == 1
        assert pool.statistics().dead >= 1
        proxy.close_silent()
        await whole(pool, place, 3)
        await within(pool.close(None))

    asyncio.run(main())


@POSTGRES
def test_a_connect_that_hangs(name: str, postgres: Any, proxy: Proxy) -> None:
    """The server accepts and says nothing: acquire keeps its timeout, others go on with what is
    there, and once the driver gives up everything is as before."""
    place = Place(name, DRIVERS[name], postgres)
    connect = place.driver.connect({**postgres.parameters, "port": proxy.port})

    async def main() -> None:
        pool: Pool[Any] = Pool(connect, max_size=2, timeout=PATIENCE, backoff_max=0.1)
        lease = await pool.acquire()
        proxy.deaf = True
        with pytest.raises(PoolTimeout):
            await within(pool.acquire(0.1))
        await lease.release()
        for _ in range(10):
            async with pool.connection() as connection:
                assert await place.driver.fetch(connection, "select 1") == 1
        await comes(lambda: proxy.silent)
        proxy.deaf = False
        proxy.close_silent()
        await whole(pool, place, 2)
        await within(pool.close(None))

    asyncio.run(main())


# ------------------------------------------------------------ closes


def test_closes_that_raise(caplog: pytest.LogCaptureFixture) -> None:
    """1,000 discards whose close raises: logged, and no room is lost."""

    async def broken(_: Any) -> None:
        raise OSError("close failed")

    async def main() -> None:
        runtime = running(max_size=4)
        runtime.driver.on_close = broken
        for _ in range(1000):
            runtime.discard(await runtime.acquire(PATIENCE))
        handles = [await runtime.acquire(PATIENCE) for _ in range(4)]
        await until(lambda: not runtime.monitor.closing)
        assert sum("failed" in record.message for record in caplog.records) == 1000
        for handle in handles:
            await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())


def test_closes_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 discards whose close hangs: acquire works, and each is dropped in the end."""
    monkeypatch.setattr(performer, "PATIENCE", 0.5)

    async def hangs(_: Any) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        runtime = running(max_size=4)
        runtime.driver.on_close = hangs
        for _ in range(1000):
            runtime.discard(await runtime.acquire(PATIENCE))
        handles = [await runtime.acquire(PATIENCE) for _ in range(4)]
        await comes(lambda: not runtime.monitor.closing)
        assert len(runtime.driver.terminated) == 1000
        for handle in handles:
            await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())
