"""The drop-in for `playhouse.pwasyncio`: its databases, over `pool.aio.Pool`.

Theory.  playhouse asks its pool for four things (`_create_pool_async`, `_pool_acquire`,
`_pool_release`, `_pool_close`), and here they are.  Everything else is playhouse's.  What it lends
to a task is its own wrapper of a connection; ours holds the lease too, so that whoever loses the
one loses the other, and the connection comes back.

Where this pool differs from playhouse's on purpose, `docs/peewee.md` says so.
"""

from __future__ import annotations

from typing import Any

from peewee import ImproperlyConfigured, InterfaceError, OperationalError
from playhouse import pwasyncio

from pool.aio import Lease, OpenError, Pool, PoolClosed, PoolError
from pool.shared.holders import Holding
from pool.shared.listeners import Kind, Listener
from pool.statistics import Statistics


class _Leased:
    """A connection's wrapper, which holds its lease."""

    lease: Lease[Any] | None = None
    conn: Any

    async def close(self) -> None:
        """Have the connection closed: its database has another pool by now, or none."""
        lease, self.lease, self.conn = self.lease, None, None
        if lease is not None:
            lease.discard()


class _SqliteConnection(_Leased, pwasyncio.AsyncSqliteConnection):  # type: ignore[misc]
    pass


class _MySQLConnection(_Leased, pwasyncio.AsyncMySQLConnection):  # type: ignore[misc]
    pass


class _PostgresqlConnection(_Leased, pwasyncio.AsyncPostgresqlConnection):  # type: ignore[misc]
    pass


class PooledAsync(pwasyncio.AsyncDatabaseMixin):  # type: ignore[misc]
    """What the databases here have in common. Options are playhouse's: `pool_size` (10),
    `pool_min_size` (1), `acquire_timeout` (10 seconds)."""

    _wrapper: Any
    _pool: Any
    server_version: Any

    async def _purepool_connect(self) -> Any:
        raise NotImplementedError

    async def _purepool_configure(self, connection: Any) -> None:
        raise NotImplementedError

    def _purepool_settings(self) -> dict[str, Any]:
        """What `pool.aio.Pool` is given."""
        return {
            "max_size": self._pool_size,
            "min_idle": min(self._pool_min_size, self._pool_size),
            "timeout": self._acquire_timeout,
            "configure": self._purepool_configure,
            "name": str(self.database),
        }

    async def _ensure_pool(self) -> Any:
        """Nothing is awaited here, so nobody else can be making one, and no lock is needed."""
        if self._pool is None:
            self._pool = await self._create_pool_async()
        return self._pool

    async def _create_pool_async(self) -> Any:
        return Pool(self._purepool_connect, **self._purepool_settings())

    async def _pool_acquire(self, pool: Pool[Any]) -> Any:
        try:
            lease = await pool.acquire()
        except OpenError as error:
            raise error.__cause__ or error from None  # the driver's own, as with playhouse
        except PoolClosed as error:
            raise InterfaceError(str(error)) from None
        except PoolError as error:
            raise OperationalError(str(error)) from error
        wrapper = self._wrapper(lease.connection)
        wrapper.lease = lease
        return wrapper

    async def _pool_release(self, connection: Any) -> None:
        lease = connection.lease if connection is not None else None
        if lease is not None:
            connection.lease = None
            await lease.release()

    async def _pool_close(self) -> None:
        if self._pool is not None:
            await self._pool.close(self._acquire_timeout)

    # ------------------------------------------------------------ what `Pool` has

    def statistics(self) -> Statistics | None:
        """The numbers of this instant; None as long as nobody has connected."""
        return self._pool.statistics() if self._pool is not None else None

    def holders(self) -> list[Holding]:
        """Who holds connections right now, those who hold longest first."""
        return self._pool.holders() if self._pool is not None else []

    async def listen(self, kind: Kind, function: Listener) -> None:
        """Call `function` with a `Notice` whenever something of this `kind` happens: see
        `pool.Notice.kind`."""
        (await self._ensure_pool()).listen(kind, function)


class AsyncSqliteDatabase(PooledAsync, pwasyncio.AsyncSqliteDatabase):  # type: ignore[misc]
    """`playhouse.pwasyncio.AsyncSqliteDatabase` over this pool."""

    _wrapper = _SqliteConnection

    def _purepool_settings(self) -> dict[str, Any]:
        settings = super()._purepool_settings()
        if self.database == ":memory:":  # each connection would be a database of its own
            settings.update(max_size=1, min_idle=0, max_lifetime=None, max_idle=None)
        return settings

    async def _purepool_connect(self) -> Any:
        if pwasyncio.aiosqlite is None:
            raise ImproperlyConfigured("aiosqlite is not installed")
        given = {"timeout": self._timeout, "isolation_level": None, **self.connect_params}
        return await pwasyncio.aiosqlite.connect(self.database, **given)

    async def _purepool_configure(self, connection: Any) -> None:
        await self._add_conn_hooks(connection)


class AsyncMySQLDatabase(PooledAsync, pwasyncio.AsyncMySQLDatabase):  # type: ignore[misc]
    """`playhouse.pwasyncio.AsyncMySQLDatabase` over this pool."""

    _wrapper = _MySQLConnection

    async def _purepool_connect(self) -> Any:
        if pwasyncio.aiomysql is None:
            raise ImproperlyConfigured("aiomysql is not installed")
        given = {"connect_timeout": self._acquire_timeout, **self.connect_params}
        return await pwasyncio.aiomysql.connect(db=self.database, autocommit=True, **given)

    async def _purepool_configure(self, connection: Any) -> None:
        if self.server_version is None:
            self.server_version = self._extract_server_version(connection.get_server_info())


class AsyncPostgresqlDatabase(PooledAsync, pwasyncio.AsyncPostgresqlDatabase):  # type: ignore[misc]
    """`playhouse.pwasyncio.AsyncPostgresqlDatabase` over this pool. As there, a connection that
    comes back is reset by asyncpg, in one round trip."""

    _wrapper = _PostgresqlConnection

    def _purepool_settings(self) -> dict[str, Any]:
        async def reset(connection: Any) -> None:
            await connection.reset()

        return {**super()._purepool_settings(), "reset": reset}

    async def _purepool_connect(self) -> Any:
        if pwasyncio.asyncpg is None:
            raise ImproperlyConfigured("asyncpg is not installed")
        given = {"timeout": self._acquire_timeout, **self.connect_params}
        is_url = str(self.database).startswith(("postgresql://", "postgres://"))
        given["dsn" if is_url else "database"] = self.database
        return await pwasyncio.asyncpg.connect(**given)

    async def _purepool_configure(self, connection: Any) -> None:
        await self.register_adapters(connection)


AsyncModel = pwasyncio.AsyncModel
AsyncModelMixin = pwasyncio.AsyncModelMixin
MissingGreenletBridge = pwasyncio.MissingGreenletBridge
await_ = pwasyncio.await_
greenlet_spawn = pwasyncio.greenlet_spawn
