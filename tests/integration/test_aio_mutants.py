"""Small things of `pool.aio` and `pool.peewee.aio` that nothing else would miss.

Theory.  Each test is for a change of the code that all other tests let pass (`make
mutation-runtime`).
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pool.aio import Pool, PoolClosed, PoolTimeout
from pool.peewee import aio
from pool.tasks import exits


class Connection:
    def close(self) -> None:
        pass


async def hangs() -> Connection:
    await asyncio.Event().wait()
    return Connection()


def test_waiting_for_min_idle() -> None:
    async def main() -> None:
        async with Pool(Connection, min_idle=2) as pool:
            await pool.wait(60.0)
            assert pool.statistics().idle == 2
        with pytest.raises(PoolClosed, match="the pool is closed"):
            await pool.wait()

    asyncio.run(main())


def test_min_idle_that_is_not_reached() -> None:
    async def main() -> None:
        pool = Pool(hangs, min_idle=2, timeout=0.03)
        with pytest.raises(PoolTimeout, match=r"min_idle=2 not reached within 0\.02 s"):
            await pool.wait(0.02)
        with pytest.raises(PoolTimeout, match=r"min_idle=2 not reached within 0\.03 s"):
            await pool.wait()
        await pool.close(0)

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [-1.0, "soon"])
def test_a_timeout_that_is_none(timeout: Any) -> None:
    async def main() -> None:
        pool = Pool(Connection)
        for call in (pool.wait, pool.acquire, pool.close):
            with pytest.raises(ValueError, match=r"^timeout=.* to wait for ever"):
                await call(timeout)
        await pool.close()

    asyncio.run(main())


def test_waiting_for_one_tries_again() -> None:
    failing = [OSError("away"), OSError("away")]

    async def connect() -> Connection:
        if failing:
            raise failing.pop()
        return Connection()

    async def main() -> None:
        async with Pool(connect, backoff_initial=0.01, backoff_max=0.01) as pool:
            await pool.wait(60.0)
            statistics = pool.statistics()
            assert (statistics.idle, statistics.in_use, statistics.opened) == (1, 0, 1)

    asyncio.run(main())


def test_waiting_for_one_in_vain() -> None:
    def refuse() -> Connection:
        raise OSError("away")

    async def main() -> None:
        pool = Pool(refuse, backoff_initial=0.01, backoff_max=0.01)
        with pytest.raises(PoolTimeout, match=r"within 0\.05 s") as raised:
            await pool.wait(0.05)
        assert isinstance(raised.value.__cause__, OSError)
        with pytest.raises(PoolTimeout):
            await pool.wait(0)
        await pool.close()

    asyncio.run(main())


def test_the_text_of_a_lease() -> None:
    async def main() -> None:
        async with Pool(Connection, max_size=1) as pool:
            block = pool.connection()
            assert repr(block) == "<Lease: ended>"
            lease = await pool.acquire()
            assert repr(lease) == f"<Lease: {lease.connection!r}>"
            entering = asyncio.ensure_future(block.__aenter__())
            await asyncio.sleep(0)
            assert repr(block) == "<Lease: waiting>"
            await lease.release()
            assert repr(lease) == "<Lease: ended>"
            assert await entering
            await block.__aexit__(None, None, None)

    asyncio.run(main())


def test_a_program_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What belongs to a loop that runs elsewhere is left alone; one mistake costs the others
    nothing."""
    dropped: list[str] = []

    class Kept:
        def __init__(self, name: str, running: bool, broken: bool = False) -> None:
            self.name, self.running, self.broken = name, running, broken

        def is_running(self) -> bool:
            if self.broken:
                raise ZeroDivisionError
            return self.running

        def abandon_loop(self) -> None:
            dropped.append(self.name)

    kept = [Kept("broken", False, True), Kept("running", True), Kept("left", False)]
    monkeypatch.setattr(exits, "_runtimes", kept)
    exits.drop_what_is_kept()
    assert dropped == ["left"]


# ---------------------------------------------------------------- peewee


def connected(
    monkeypatch: pytest.MonkeyPatch, module: str, database: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the driver is called with."""
    called: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    async def connect(*positional: Any, **named: Any) -> Connection:
        called.append((positional, named))
        return Connection()

    monkeypatch.setattr(aio.pwasyncio, module, SimpleNamespace(connect=connect))
    asyncio.run(database._purepool_connect())
    return called[0]


@pytest.mark.parametrize(
    ("name", "field"),
    [("shop", "database"), ("postgresql://h/shop", "dsn"), ("postgres://h/shop", "dsn")],
)
def test_how_postgresql_is_called(monkeypatch: pytest.MonkeyPatch, name: str, field: str) -> None:
    database = aio.AsyncPostgresqlDatabase(name, user="u", acquire_timeout=3)
    assert connected(monkeypatch, "asyncpg", database) == (
        (),
        {"timeout": 3, "user": "u", field: name},
    )


def test_how_mysql_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    database = aio.AsyncMySQLDatabase("shop", user="u", acquire_timeout=3)
    _, named = connected(monkeypatch, "aiomysql", database)
    wanted = {"db": "shop", "autocommit": True, "connect_timeout": 3, "user": "u"}
    assert {field: named[field] for field in wanted} == wanted


def test_how_sqlite_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    database = aio.AsyncSqliteDatabase("shop.db", timeout=7)
    positional, named = connected(monkeypatch, "aiosqlite", database)
    assert positional == ("shop.db",)
    assert (named["timeout"], named["isolation_level"]) == (7, None)


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        (aio.AsyncPostgresqlDatabase, "asyncpg"),
        (aio.AsyncMySQLDatabase, "aiomysql"),
        (aio.AsyncSqliteDatabase, "aiosqlite"),
    ],
)
def test_a_driver_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, kind: Any, module: str
) -> None:
    monkeypatch.setattr(aio.pwasyncio, module, None)
    with pytest.raises(aio.ImproperlyConfigured, match=f"^{module} is not installed$"):
        asyncio.run(kind("shop")._purepool_connect())


def test_a_database_in_memory_has_one_connection() -> None:
    given = aio.AsyncSqliteDatabase(":memory:", pool_size=4)._purepool_settings()
    assert (given["max_size"], given["min_idle"]) == (1, 0)
    assert (given["max_lifetime"], given["max_idle"]) == (None, None)
    plain = aio.AsyncSqliteDatabase("shop.db", pool_size=4)._purepool_settings()
    assert (plain["max_size"], plain["min_idle"], plain["name"]) == (4, 1, "shop.db")
    assert plain["timeout"] == 10
    assert "max_lifetime" not in plain


def test_a_returned_connection_of_postgresql_is_reset_by_asyncpg() -> None:
    called: list[str] = []

    async def reset() -> None:
        called.append("reset")

    given = aio.AsyncPostgresqlDatabase("shop")._purepool_settings()
    asyncio.run(given["reset"](SimpleNamespace(reset=reset)))
    assert called == ["reset"]
    assert given["max_size"] == 10
