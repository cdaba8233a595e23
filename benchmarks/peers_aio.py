"""Pools for asyncio, each used as its pages say: for `make bench` and `make report`.

Theory.  What is asked of them is the same, so each is brought to one form: take, give back, a
block, an end.  A pool that keeps a connection for each task (peewee's) gives the same one to a task
that asks twice, so whoever wants several asks by several tasks (`hold`).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs

from benchmarks.claims import OURS

MOST = 4
PATIENCE = 30.0

PSYCOPG = "purepool, psycopg"


class Peer:
    """A pool, and how it lends. `acquire` gives what `release` takes."""

    install = ""
    package = ""
    """What is installed, for its version."""
    server = "postgres"
    acquire: Callable[..., Awaitable[Any]]
    release: Callable[[Any], Awaitable[Any]]
    end: Callable[..., Awaitable[Any]]
    block: Callable[[], Any]
    """The context manager that the pool's pages give."""

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        raise NotImplementedError


def _asyncpg(parameters: dict[str, Any]) -> dict[str, Any]:
    return {("database" if name == "dbname" else name): value for name, value in parameters.items()}


class Purepool(Peer):
    install = "asyncpg"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        asyncpg = importlib.import_module("asyncpg")
        return cls.over(lambda: asyncpg.connect(**_asyncpg(parameters)), most)

    @classmethod
    def over(cls, connect: Callable[[], Any], most: int, **settings: Any) -> Peer:
        from pool.aio import Pool

        peer = cls()
        pool: Any = Pool(connect, max_size=most, timeout=PATIENCE, max_opening=None, **settings)
        peer.acquire = pool.acquire
        peer.release = lambda lease: lease.release()
        peer.end = pool.close
        peer.block = pool.connection
        return peer


class PurepoolPsycopg(Purepool):
    install = "psycopg[binary]"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        psycopg = importlib.import_module("psycopg")
        return cls.over(lambda: psycopg.AsyncConnection.connect(**parameters), most)


class Asyncpg(Peer):
    install = package = "asyncpg"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        asyncpg = importlib.import_module("asyncpg")
        peer = cls()
        pool = await asyncpg.create_pool(**_asyncpg(parameters), min_size=1, max_size=most)
        peer.acquire = lambda: pool.acquire(timeout=PATIENCE)
        peer.release = pool.release
        peer.block = lambda: pool.acquire(timeout=PATIENCE)

        async def end() -> None:
            pool.terminate()

        peer.end = end
        return peer


class AsyncConnectionPool(Peer):
    install = package = "psycopg_pool"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        psycopg_pool = importlib.import_module("psycopg_pool")
        peer = cls()
        pool = psycopg_pool.AsyncConnectionPool(
            kwargs=parameters, min_size=1, max_size=most, timeout=PATIENCE, open=False
        )
        await pool.open()
        peer.acquire, peer.release, peer.block = pool.getconn, pool.putconn, pool.connection
        peer.end = lambda: pool.close(timeout=0)
        return peer


class SQLAlchemy(Peer):
    install = package = "sqlalchemy"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        sqlalchemy = importlib.import_module("sqlalchemy")
        extension = importlib.import_module("sqlalchemy.ext.asyncio")
        peer = cls()
        url = sqlalchemy.URL.create("postgresql+asyncpg")
        given = _asyncpg(parameters)
        engine = extension.create_async_engine(
            url, pool_size=most, max_overflow=0, pool_timeout=PATIENCE, connect_args=given
        )
        peer.acquire = lambda: engine.connect()
        peer.block = engine.begin
        peer.release = lambda connection: connection.close()
        peer.end = engine.dispose
        return peer


def _mysql(parameters: dict[str, Any]) -> dict[str, Any]:
    return {("db" if name == "database" else name): value for name, value in parameters.items()}


class PurepoolAiomysql(Purepool):
    install = "aiomysql"
    server = "mariadb"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        aiomysql = importlib.import_module("aiomysql")
        return cls.over(lambda: aiomysql.connect(**_mysql(parameters)), most)


class Aiomysql(Peer):
    """Its acquire has no timeout of its own."""

    install = package = "aiomysql"
    server = "mariadb"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        aiomysql = importlib.import_module("aiomysql")
        peer = cls()
        pool = await aiomysql.create_pool(**_mysql(parameters), minsize=1, maxsize=most)
        peer.acquire = peer.block = pool.acquire
        peer.release = pool.release

        async def end() -> None:
            pool.terminate()
            await asyncio.wait([asyncio.ensure_future(pool.wait_closed())], timeout=2.0)

        peer.end = end
        return peer


class PurepoolAiosqlite(Purepool):
    install = "aiosqlite"
    server = "sqlite"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        aiosqlite = importlib.import_module("aiosqlite")
        return cls.over(lambda: aiosqlite.connect(**parameters), most)


class PwasyncioSqlite(Peer):
    """peewee keeps a connection for each task, and has it back when the task ends."""

    install = "peewee greenlet aiosqlite"
    package = "peewee"
    server = "sqlite"
    kind = "AsyncSqliteDatabase"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        pwasyncio = importlib.import_module("playhouse.pwasyncio")
        importlib.import_module(cls.install.rpartition(" ")[2])  # else it says so at its first use
        given = dict(parameters)
        peer, database = (
            cls(),
            getattr(pwasyncio, cls.kind)(
                given.pop("dbname", None) or given.pop("database"),
                pool_size=most,
                acquire_timeout=PATIENCE,
                **given,
            ),
        )
        peer.acquire, peer.end = database.aconnect, database.close_pool
        peer.release = lambda _: database.aclose()
        peer.block = lambda: database
        return peer


class PwasyncioPostgresql(PwasyncioSqlite):
    """The same over asyncpg's pool."""

    install = "peewee greenlet asyncpg"
    server = "postgres"
    kind = "AsyncPostgresqlDatabase"


KINDS: dict[str, type[Peer]] = {
    OURS: Purepool,
    PSYCOPG: PurepoolPsycopg,
    "asyncpg.Pool": Asyncpg,
    "AsyncConnectionPool": AsyncConnectionPool,
    "SQLAlchemy": SQLAlchemy,
}

OTHERS: dict[str, type[Peer]] = {
    "purepool, aiomysql": PurepoolAiomysql,
    "aiomysql.Pool": Aiomysql,
    "purepool, aiosqlite": PurepoolAiosqlite,
    "pwasyncio, SQLite": PwasyncioSqlite,
    "pwasyncio, PostgreSQL": PwasyncioPostgresql,
}


def version(name: str) -> str:
    """Of the pool that is called so, where it is installed."""
    package = {**KINDS, **OTHERS}[name].package
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package or "purepool")
    return "(not installed)"


@attrs.frozen
class Hold:
    """So many connections at once, each held by a task of its own."""

    peer: Peer
    end: asyncio.Event
    tasks: list[asyncio.Task[None]]
    count: int

    @classmethod
    async def begin(cls, peer: Peer, most: int, seconds: float | None = None) -> Hold:
        """As many as there are within so many seconds."""
        end, got = asyncio.Event(), asyncio.Semaphore(0)

        async def take() -> None:
            lease = await peer.acquire()
            got.release()
            try:
                await end.wait()
            finally:
                await peer.release(lease)

        tasks = [asyncio.ensure_future(take()) for _ in range(most)]
        count = 0
        try:
            for _ in tasks:
                await asyncio.wait_for(got.acquire(), seconds)
                count += 1
        except asyncio.TimeoutError:
            pass
        return cls(peer, end, tasks, count)

    async def over(self) -> None:
        """Give them back; whoever still waits is cancelled."""
        self.end.set()
        if self.count < len(self.tasks):
            await asyncio.wait(self.tasks, timeout=0.1)
            for task in self.tasks:
                task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Servers:
    """What is connected to, by `Peer.server`: each is started when the first pool asks for it."""

    def __init__(self) -> None:
        from tests.integration.servers import Unavailable, Workplace

        self.Unavailable = Unavailable
        self.place = Workplace()
        self.files = tempfile.TemporaryDirectory()
        self.started: dict[str, dict[str, Any]] = {}

    def parameters(self, kind: type[Peer]) -> dict[str, Any]:
        """Of its server. Raises `Unavailable`, which says why there is none."""
        from tests.integration.servers import MariaDB, Postgres

        if kind.server == "sqlite":
            return {"database": str(Path(self.files.name) / "database")}
        if kind.server not in self.started:
            server = {"postgres": Postgres, "mariadb": MariaDB}[kind.server](self.place)
            self.started[kind.server] = server.parameters
        return self.started[kind.server]

    def close(self) -> None:
        self.place.close()
        self.files.cleanup()
