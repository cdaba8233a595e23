"""`pool.peewee.aio` in the place of `playhouse.pwasyncio`: what loses connections there.

Theory.  Each program runs over SQLite, PostgreSQL and MariaDB.  What playhouse's own pool does not
survive is said where it is tried.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import peewee
import pytest

from tests.integration.drivers import PATIENCE

pytest.importorskip("aiosqlite")
pytest.importorskip("greenlet")
aio: Any = pytest.importorskip("pool.peewee.aio")

Make = Callable[..., Any]


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def make(request: pytest.FixtureRequest, tmp_path: Any) -> Make:
    """Makes a database with these options."""
    if request.param == "sqlite":
        return lambda **options: aio.AsyncSqliteDatabase(str(tmp_path / "db"), **options)
    pytest.importorskip("asyncpg" if request.param == "postgres" else "aiomysql")
    parameters = dict(request.getfixturevalue(request.param).parameters)
    name = parameters.pop("dbname", None) or parameters.pop("database", None)
    kind = aio.AsyncPostgresqlDatabase if request.param == "postgres" else aio.AsyncMySQLDatabase
    return lambda **options: kind(name, **{**parameters, **options})


def model_of(database: Any) -> Any:
    class Note(database.Model):  # type: ignore[misc, name-defined]
        text = peewee.TextField()

        class Meta:
            table_name = "aio_note"

    return Note


async def whole(database: Any, size: int) -> None:
    """As many tasks as there are connections, each with one of its own at the same time."""
    there = 0
    met = asyncio.Event()

    async def caller() -> None:
        nonlocal there
        async with database:
            assert await database.scalar(peewee.Select(columns=[peewee.SQL("1")]).bind(database))
            there += 1
            if there == size:
                met.set()
            await met.wait()

    await asyncio.wait_for(asyncio.gather(*(caller() for _ in range(size))), 60.0)


def test_a_model(make: Make) -> None:
    async def main() -> None:
        database = make()
        Note = model_of(database)
        async with database:
            await database.adrop_tables([Note], safe=True)
            await database.acreate_tables([Note])
            await Note.acreate(text="one")
            with pytest.raises(ZeroDivisionError):
                await fails(database, Note)
            assert await database.count(Note.select()) == 1
            assert [note.text async for note in database.iterate(Note.select())] == ["one"]
        assert database.statistics().in_use == 0
        await database.close_pool()

    async def fails(database: Any, Note: Any) -> None:
        async with database.atomic():
            await Note.acreate(text="two")
            raise ZeroDivisionError

    asyncio.run(main())


def test_tasks_that_are_cancelled_while_their_connection_is_given_back(make: Make) -> None:
    """Four of them leave playhouse's own SQLite pool 0 of 4, for ever."""

    async def main() -> None:
        database = make(pool_size=4)
        await whole(database, 4)
        for rounds in range(8):

            async def caller() -> None:
                async with database:
                    await database.aexecute_sql("begin")

            tasks = [asyncio.ensure_future(caller()) for _ in range(4)]
            for _ in range(rounds):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await whole(database, 4)
        await database.close_pool()

    asyncio.run(main())


def test_tasks_that_end_with_their_connection(make: Make) -> None:
    async def main() -> None:
        database = make(pool_size=2)

        async def dies() -> None:
            await database.aconnect()
            raise ZeroDivisionError

        for _ in range(4):
            with pytest.raises(ZeroDivisionError):
                await asyncio.ensure_future(dies())
        gc.collect()
        await whole(database, 2)
        await database.close_pool()

    asyncio.run(main())


def test_a_timeout_says_who_holds(make: Make) -> None:
    async def main() -> None:
        database = make(pool_size=1, acquire_timeout=PATIENCE)
        gate, inside = asyncio.Event(), asyncio.Event()

        async def holds() -> None:
            async with database:
                inside.set()
                await gate.wait()

        task = asyncio.ensure_future(holds())
        await asyncio.wait_for(inside.wait(), PATIENCE)
        database._pool._timeout = 0.5
        with pytest.raises(peewee.OperationalError, match="held by task"):
            await database.aconnect()
        gate.set()
        await task
        await database.close_pool()

    asyncio.run(main())


def test_the_pool_is_closed_while_others_wait_and_hold(make: Make) -> None:
    """With playhouse's, who waits sleeps its whole timeout."""

    async def main() -> None:
        database = make(pool_size=1, acquire_timeout=600)
        gate, inside = asyncio.Event(), asyncio.Event()

        async def holds() -> None:
            async with database:
                inside.set()
                await gate.wait()

        async def waits() -> None:
            await database.aconnect()

        holder = asyncio.ensure_future(holds())
        await inside.wait()
        waiter = asyncio.ensure_future(waits())
        while not database.statistics().waiting:
            await asyncio.sleep(0)
        closer = asyncio.ensure_future(database.close_pool())
        with pytest.raises(peewee.InterfaceError):
            await asyncio.wait_for(waiter, 60.0)
        gate.set()
        await asyncio.wait_for(asyncio.gather(closer, holder), 60.0)
        await whole(database, 1)
        await database.close_pool()

    asyncio.run(main())


def test_one_database_in_several_runs(make: Make) -> None:
    database = make(pool_size=2)
    for _ in range(2):
        asyncio.run(whole(database, 2))
    asyncio.run(database.close_pool())


def test_a_database_that_is_away(tmp_path: Any) -> None:
    """The error is the driver's, as playhouse's is; and then it is there."""

    async def main() -> None:
        database = aio.AsyncSqliteDatabase(str(tmp_path / "missing" / "db"), pool_size=2)
        with pytest.raises(peewee.OperationalError, match="unable to open"):
            await database.aconnect()
        (tmp_path / "missing").mkdir()
        await asyncio.sleep(0)
        for _ in range(600):
            try:
                await database.aconnect()
                break
            except peewee.OperationalError:
                await asyncio.sleep(0.1)
        await database.aclose()
        await whole(database, 2)
        await database.close_pool()
        # aiosqlite's thread of a connect that failed still tells the loop of its own end.
        for thread in threading.enumerate():
            if "_connection_worker" in thread.name:
                thread.join(PATIENCE)

    asyncio.run(main())
