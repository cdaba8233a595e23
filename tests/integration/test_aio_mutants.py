"""Small things of `pool.aio` and `pool.peewee.aio` that nothing else would miss.

Theory.  Each test is for a change of the code that all other tests let pass (`make
mutation-runtime`).
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pool.aio import OpenError, Pool, PoolClosed, PoolTimeout, WrongLoop
from pool.core.events import Tick
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
        with pytest.raises(OpenError):
            await pool.acquire(60.0)  # so that one has failed, however late this task gets on
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


def test_what_a_database_owes_its_driver() -> None:
    """What is done to a new connection is done to that one."""
    given: list[Any] = []

    async def register(connection: Any) -> None:
        given.append(connection)

    postgres = aio.AsyncPostgresqlDatabase("shop")
    postgres.register_adapters = register
    sqlite = aio.AsyncSqliteDatabase("shop.db")
    sqlite._add_conn_hooks = register
    connection = SimpleNamespace(get_server_info=lambda: "11.4.2-MariaDB")
    for database in (postgres, sqlite):
        asyncio.run(database._purepool_configure(connection))
    assert given == [connection, connection]

    mysql = aio.AsyncMySQLDatabase("shop")
    asyncio.run(mysql._purepool_configure(connection))
    assert mysql.server_version == (11, 4, 2)
    connection.get_server_info = lambda: 1 / 0  # it is not asked again
    asyncio.run(mysql._purepool_configure(connection))


def test_a_database_without_a_pool_and_with_one() -> None:
    database = aio.AsyncSqliteDatabase("shop.db", acquire_timeout=3)
    assert database.statistics() is None
    assert database.holders() == []
    asyncio.run(database._pool_close())
    asyncio.run(database._pool_release(None))
    closed: list[Any] = []

    async def close(timeout: Any) -> None:
        closed.append(timeout)

    database._pool = SimpleNamespace(
        statistics=lambda: "numbers", holders=lambda: ["somebody"], close=close
    )
    assert database.statistics() == "numbers"
    assert database.holders() == ["somebody"]
    asyncio.run(database._pool_close())
    assert closed == [3], "seconds, for it may wait for what is lent"


def test_a_listener_of_a_database_that_nobody_has_connected_to() -> None:
    class Scripted(aio.AsyncSqliteDatabase):
        async def _purepool_connect(self) -> Connection:
            return Connection()

        async def _purepool_configure(self, connection: Any) -> None:
            """Nothing to do."""

    async def main() -> None:
        database = Scripted("shop.db")
        told: list[Any] = []
        await database.listen("connect", told.append)
        await (await database._pool.acquire()).release()
        assert {notice.kind for notice in told} == {"connect"}
        await database._pool.close()

    asyncio.run(main())


class Lease:
    connection = "the connection"

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def release(self) -> None:
        self.ended.append("released")

    def discard(self) -> None:
        self.ended.append("discarded")


def test_a_lease_ends_once_with_its_wrapper() -> None:
    """However often it is given back, or closed."""
    database = aio.AsyncSqliteDatabase("shop.db")
    for way in ("released", "discarded"):
        lease = Lease()

        async def acquire(lease: Lease = lease) -> Lease:
            return lease

        async def main(way: str = way, acquire: Any = acquire) -> None:
            wrapper = await database._pool_acquire(SimpleNamespace(acquire=acquire))
            assert wrapper.conn == "the connection"
            for _ in range(2):
                if way == "released":
                    await database._pool_release(wrapper)
                else:
                    await wrapper.close()
                    assert wrapper.conn is None

        asyncio.run(main())
        assert lease.ended == [way]


def test_a_pool_that_is_closed_is_told_as_by_peewee() -> None:
    async def acquire() -> Any:
        raise PoolClosed("pool 'shop': the pool is closed")

    database = aio.AsyncSqliteDatabase("shop.db")
    with pytest.raises(aio.InterfaceError, match=r"^pool 'shop': the pool is closed$"):
        asyncio.run(database._pool_acquire(SimpleNamespace(acquire=acquire)))


def test_a_discard_from_another_thread_is_refused_and_told_to_nobody() -> None:
    async def main() -> None:
        told: list[Any] = []
        listeners: Any = {"checkin": lambda notice: told.append(notice.reason)}
        async with Pool(Connection, max_size=1, listeners=listeners) as pool:
            lease = await pool.acquire()
            with pytest.raises(WrongLoop):
                await asyncio.to_thread(lease.discard)
            assert told == []
            assert await lease.release()
            assert told == ["released"]

    asyncio.run(main())


def test_a_retry_comes_though_a_handler_has_resumed_in_the_middle_of_a_transition() -> None:
    """RUN-8: what was noted may be due earlier than all before."""
    fails: list[bool] = []

    async def connect() -> Connection:
        if fails:
            fails.pop()
            await asyncio.sleep(0)
            raise OSError("away")
        return Connection()

    async def main() -> None:
        async with Pool(connect, max_size=1, backoff_initial=0.2, backoff_max=0.2) as pool:
            (await pool.acquire()).discard()
            while pool.statistics().opened != pool.statistics().closed:
                await asyncio.sleep(0)
            fails.append(True)
            caller = asyncio.ensure_future(pool.acquire(60.0))
            await asyncio.sleep(0)
            pool.suspend()
            while pool._runtime.state.retry_at is None:
                await asyncio.sleep(0)
            monitor = pool._runtime.monitor
            step = monitor.step

            def resumed(state: Any, event: Any) -> Any:
                monitor.step = step
                pool.resume()
                return step(state, event)

            monitor.step = resumed
            pool._runtime.apply(Tick(pool._runtime.clock()))
            await (await asyncio.wait_for(caller, 60.0)).release()

    asyncio.run(main())
