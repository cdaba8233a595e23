"""`pool.aio.Pool` over real PostgreSQL and MariaDB, with each driver that it knows.

Theory.  What a driver shows of its connection, and what it does when a query is cancelled, can only
be seen with a server behind it.  The server's own list of sessions is what is compared: nothing
that the pool lost stays there.  The order of things comes from what has happened, never from time.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest

from pool.aio import Pool, PoolTimeout
from tests.integration.drivers import PATIENCE

aiomysql = pytest.importorskip("aiomysql")
asyncmy = pytest.importorskip("asyncmy")
asyncpg = pytest.importorskip("asyncpg")
psycopg = pytest.importorskip("psycopg")


@attrs.frozen
class Driver:
    """One driver, and what the tests ask of its connections."""

    connect: Callable[[dict[str, Any]], Callable[[], Awaitable[Any]]]
    execute: Callable[[Any, str], Awaitable[Any]]
    fetch: Callable[[Any, str], Awaitable[Any]]
    """The first column of the first row."""
    sleep: str
    session: str
    kill: str
    begin: str | None
    """How a transaction is begun where none is by itself."""


async def _fetch_psycopg(connection: Any, query: str) -> Any:
    row = await (await connection.execute(query)).fetchone()
    return row[0]


async def _execute_mysql(connection: Any, query: str) -> None:
    cursor = connection.cursor()
    if asyncio.iscoroutine(cursor) or hasattr(cursor, "__await__"):
        cursor = await cursor
    await cursor.execute(query)


async def _fetch_mysql(connection: Any, query: str) -> Any:
    cursor = connection.cursor()
    if asyncio.iscoroutine(cursor) or hasattr(cursor, "__await__"):
        cursor = await cursor
    await cursor.execute(query)
    row = await cursor.fetchone()
    return row[0]


def _psycopg(parameters: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
    return lambda: psycopg.AsyncConnection.connect(**parameters)


def _asyncpg(parameters: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
    names = {"dbname": "database"}
    given = {names.get(name, name): value for name, value in parameters.items()}
    return lambda: asyncpg.connect(**given)


def _mysql(module: Any) -> Callable[[dict[str, Any]], Callable[[], Awaitable[Any]]]:
    names = {"database": "db"}

    def of(parameters: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
        given = {names.get(name, name): value for name, value in parameters.items()}

        async def connect() -> Any:
            return await module.connect(**given)

        return connect

    return of


_POSTGRES: dict[str, Any] = {
    "sleep": "select pg_sleep(600)",
    "session": "select pg_backend_pid()",
    "kill": "select pg_terminate_backend({})",
}
_MARIADB: dict[str, Any] = {
    "execute": _execute_mysql,
    "fetch": _fetch_mysql,
    "sleep": "select sleep(600)",
    "session": "select connection_id()",
    "kill": "kill {}",
    "begin": None,
}
DRIVERS = {
    "psycopg": Driver(
        connect=_psycopg,
        execute=lambda connection, query: connection.execute(query),
        fetch=_fetch_psycopg,
        begin=None,
        **_POSTGRES,
    ),
    "asyncpg": Driver(
        connect=_asyncpg,
        execute=lambda connection, query: connection.execute(query),
        fetch=lambda connection, query: connection.fetchval(query),
        begin="begin",
        **_POSTGRES,
    ),
    "aiomysql": Driver(connect=_mysql(aiomysql), **_MARIADB),
    "asyncmy": Driver(connect=_mysql(asyncmy), **_MARIADB),
}
SERVERS = {
    "psycopg": "postgres",
    "asyncpg": "postgres",
    "aiomysql": "mariadb",
    "asyncmy": "mariadb",
}


@attrs.frozen
class Place:
    """A driver and a server with an empty table."""

    name: str
    driver: Driver
    server: Any

    def pool(self, **settings: Any) -> Pool[Any]:
        return Pool(self.driver.connect(self.server.parameters), **settings)

    async def insert(self, connection: Any, value: int) -> None:
        if self.driver.begin:
            await self.driver.execute(connection, self.driver.begin)
        await self.driver.execute(connection, f"insert into aio_t values ({value})")

    async def count(self, pool: Pool[Any]) -> int:
        async with pool.connection() as connection:
            found = await self.driver.fetch(connection, "select count(*) from aio_t")
        return int(found)


@pytest.fixture(params=[pytest.param((name, server), id=name) for name, server in SERVERS.items()])
def place(request: pytest.FixtureRequest) -> Place:
    name, server = request.param
    started = request.getfixturevalue(server)
    started.run("drop table if exists aio_t")
    started.run("create table aio_t (x integer)")
    return Place(name, DRIVERS[name], started)


async def within(awaitable: Awaitable[Any]) -> Any:
    """Far longer than it takes."""
    return await asyncio.wait_for(awaitable, PATIENCE)


async def whole(pool: Pool[Any], place: Place, size: int) -> set[int]:
    """All of it can be had, and works; the sessions on the server."""
    leases = [await within(pool.acquire(None)) for _ in range(size)]
    sessions = set()
    for lease in leases:
        sessions.add(await place.driver.fetch(lease.connection, place.driver.session))
    assert len(sessions) == size
    for lease in leases:
        await lease.release()
    return sessions


def sessions_on(place: Place) -> set[int]:
    """Those of our pools, by what the server says."""
    if SERVERS[place.name] == "postgres":
        rows = place.server.run(
            "select pid from pg_stat_activity where pid <> pg_backend_pid() "
            "and backend_type = 'client backend'"
        )
    else:
        rows = place.server.run(
            "select id from information_schema.processlist "
            "where id <> connection_id() and user <> 'system user'"
        )
    return {row[0] for row in rows}


async def alone(place: Place, sessions: set[int], before: set[int]) -> None:
    """The server has these sessions, and no others: one that was dropped ends a little later, as
    does that of whoever asks."""
    there = set[int]()
    for _ in range(int(PATIENCE * 20)):
        there = await asyncio.to_thread(sessions_on, place) - before
        if there == sessions:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"on the server: {there}, of the pool: {sessions}")


async def asleep(place: Place) -> None:
    """The server is at work on the query that sleeps. (One that psycopg has not yet sent when it is
    cancelled is sent all the same, and its connection given up after five seconds.)"""
    query = (
        "select count(*) from pg_stat_activity where state = 'active' and query like '%sleep(600)'"
        if SERVERS[place.name] == "postgres"
        else "select count(*) from information_schema.processlist where info like '%sleep(600)'"
    )
    for _ in range(int(PATIENCE * 20)):
        if (await asyncio.to_thread(place.server.run, query))[0][0]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the query never came to the server")


def test_a_block_commits_or_rolls_back(place: Place) -> None:
    async def main() -> None:
        async with place.pool(max_size=1) as pool:
            async with pool.connection() as connection:
                await place.insert(connection, 1)

            async def fails() -> None:
                async with pool.connection() as connection:
                    await place.insert(connection, 2)
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await fails()
            async with await pool.acquire() as lease:
                await place.insert(lease.connection, 3)
            assert await place.count(pool) == 1
            assert pool.statistics().opened == 1

    asyncio.run(main())


def test_a_clean_return_makes_no_task(place: Place) -> None:
    async def main() -> None:
        async with place.pool(max_size=1) as pool:
            async with pool.connection() as connection:
                await place.driver.fetch(connection, "select 1")
            lease = await pool.acquire()
            before = asyncio.all_tasks()
            ended = lease._give_back(False)
            assert ended is True
            assert asyncio.all_tasks() == before

    asyncio.run(main())


@pytest.mark.parametrize(
    "place", [item for item in SERVERS.items() if item[0] != "asyncpg"], indirect=True
)
def test_what_one_borrower_changes(place: Place) -> None:
    """Autocommit on, by whoever had it: the next one's rollback still undoes. (asyncpg has no such
    setting.)"""

    async def main() -> None:
        async with place.pool(max_size=1) as pool:
            async with pool.connection() as connection:
                if place.name == "psycopg":
                    await connection.set_autocommit(True)
                else:
                    await connection.autocommit(True)

            async def fails() -> None:
                async with pool.connection() as connection:
                    await place.insert(connection, 1)
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await fails()
            assert await place.count(pool) == 0
            assert pool.statistics().opened == 1

    asyncio.run(main())


def test_a_connection_that_was_killed(place: Place) -> None:
    async def main() -> None:
        async with place.pool(max_size=2, check_after=0.0) as pool:
            sessions = await whole(pool, place, 2)
            for session in sessions:
                await asyncio.to_thread(place.server.run, place.driver.kill.format(session))
            others = await whole(pool, place, 2)
            assert not sessions & others
            assert pool.statistics().dead == 2

    asyncio.run(main())


def test_a_query_that_is_cancelled(place: Place) -> None:
    async def main() -> None:
        before = sessions_on(place)
        async with place.pool(max_size=2) as pool:
            for _ in range(4):
                inside = asyncio.Event()

                async def caller(inside: asyncio.Event = inside) -> None:
                    async with pool.connection() as connection:
                        inside.set()
                        await place.driver.execute(connection, place.driver.sleep)

                task = asyncio.ensure_future(caller())
                await within(inside.wait())
                await asleep(place)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await within(task)
            sessions = await whole(pool, place, 2)
            await alone(place, sessions, before)
        await alone(place, set(), before)

    asyncio.run(main())


CANCELLATIONS = 2500
"""Of each of the four drivers."""


def test_cancellations_at_random(place: Place) -> None:
    """Of 50 tasks over 5 connections, at instants that nobody chose: all of it can be had again,
    and the server has no sessions but those of the pool."""
    chance = random.Random(0)

    async def main() -> None:
        before = sessions_on(place)
        async with place.pool(max_size=5) as pool:
            cancelled = 0

            async def caller() -> None:
                while True:
                    async with pool.connection() as connection:
                        await place.driver.fetch(connection, "select 1")

            tasks = [asyncio.ensure_future(caller()) for _ in range(50)]
            while cancelled < CANCELLATIONS:
                for _ in range(chance.choice((0, 1, 2, 3, 10, 30))):
                    await asyncio.sleep(0)
                number = chance.randrange(50)
                tasks[number].cancel()
                cancelled += 1
                with pytest.raises(asyncio.CancelledError):
                    await within(tasks[number])
                tasks[number] = asyncio.ensure_future(caller())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            sessions = await whole(pool, place, 5)
            await alone(place, sessions, before)
            assert len(sessions) == pool.statistics().size == 5

    asyncio.run(main())


@pytest.mark.parametrize("name", ["psycopg", "asyncpg"])
def test_the_server_stops_and_starts_under_load(name: str, postgres_with: Any) -> None:
    """Callers are told, within their timeout, and served again when it is back."""
    server = postgres_with()
    place = Place(name, DRIVERS[name], server)

    async def main() -> None:
        settings: dict[str, Any] = {"timeout": 1.0, "backoff_initial": 0.01, "backoff_max": 0.1}
        async with place.pool(max_size=4, check_after=0.0, **settings) as pool:
            served, refused = 0, 0
            ends = False

            async def caller() -> None:
                nonlocal served, refused
                while not ends:
                    try:
                        async with pool.connection() as connection:
                            await place.driver.fetch(connection, "select 1")
                        served += 1
                    except Exception:  # the pool's, or the driver's
                        refused += 1
                        await asyncio.sleep(0.01)

            async def more(of: Callable[[], int]) -> None:
                wanted = of() + 20
                while of() < wanted:
                    await asyncio.sleep(0.01)

            tasks = [asyncio.ensure_future(caller()) for _ in range(20)]
            await within(more(lambda: served))
            for _ in range(2):
                await asyncio.to_thread(server.stop, abruptly=True)
                await within(more(lambda: refused))
                await asyncio.to_thread(server.start)
                await within(more(lambda: served))
            ends = True
            await within(asyncio.gather(*tasks))
            await whole(pool, place, 4)

    asyncio.run(main())


@pytest.mark.parametrize("name", ["psycopg", "asyncpg"])
def test_a_server_that_does_not_answer(name: str, postgres: Any) -> None:
    """A connect that hangs holds up nobody beyond its timeout, and no close."""
    place = Place(name, DRIVERS[name], postgres)
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen()

    async def main() -> None:
        host, port = silent.getsockname()
        parameters = {**postgres.parameters, "host": host, "port": port}
        pool: Pool[Any] = Pool(place.driver.connect(parameters), max_size=2)
        tasks = [asyncio.ensure_future(pool.acquire(0.05)) for _ in range(10)]
        done = await within(asyncio.gather(*tasks, return_exceptions=True))
        assert all(isinstance(error, PoolTimeout) for error in done)
        assert await pool.close(0.05) is False  # connects are under way: the loop's end ends them

    try:
        asyncio.run(main())
    finally:
        silent.close()
