"""The pools that are compared, behind one face, over a database that is only pretended.

Theory.  What a pool costs is measured best when the database costs nothing, or exactly as
much as the benchmark says.  Each pool is given the same connections (`Pretended`) and the
settings that its own documentation would give for the task; how it is asked and answered is its
own, without a Python frame of ours in between.  A pool that is not installed is not there, and the
table says how to get it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from operator import methodcaller
from typing import Any

import peewee
import playhouse.pool

import pool
import pool.peewee

POOL = "Pool"
"""The class of `pool` that is measured, if it is there."""

PATIENCE = 30.0
"""Seconds that a caller waits for a connection."""


class Pretended:
    """A connection to nothing: as much of DB-API, and of psycopg, as the pools look at."""

    closed = False
    broken = False
    autocommit = True

    class Error(Exception):
        """DB-API wants it."""

    OperationalError = InternalError = InterfaceError = ProgrammingError = Error

    def __init__(self) -> None:
        self.pgconn = self  # psycopg_pool asks it for its `transaction_status`
        self.transaction_status: Any = 0  # idle

    def __enter__(self) -> Pretended:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def cursor(self) -> Pretended:
        return self

    def execute(self, *_: object) -> None:
        pass

    def commit(self) -> None:
        pass

    def rollback(self) -> None:
        pass

    def ping(self, *_: object) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


class Database:
    """Where connections come from. `connect` takes so many seconds; `opened` counts."""

    threadsafety = 2
    Error = OperationalError = InternalError = InterfaceError = Pretended.Error

    def __init__(self, connect_seconds: float = 0.0) -> None:
        self.connect_seconds = connect_seconds
        self.opened = 0
        """Connects begun."""

    def connect(self, *_: object, **__: object) -> Pretended:
        self.opened += 1
        if self.connect_seconds:
            time.sleep(self.connect_seconds)
        return Pretended()


class Peer:
    """A pool under test. `acquire` gives what `release` takes; both are called from any thread."""

    name = ""
    install = ""
    """What to install if it is missing."""

    def __init__(self, database: Database, *, most: int, ready: int = 0) -> None:
        """A pool of at most so many connections, with so many of them ready."""

    def acquire(self) -> Any:
        raise NotImplementedError

    def release(self, lease: Any) -> None:
        raise NotImplementedError

    def use(self) -> None:
        """Borrow a connection and give it back in the way that the documentation shows, which is
        what survives an exception best."""
        lease = self.acquire()
        try:
            pass
        finally:
            self.release(lease)

    def end(self) -> None:
        """Let go of whatever runs."""


def warm(peer: Any, ready: int) -> None:
    """Have so many connections open and idle, for pools that don't do it themselves."""
    barrier = threading.Barrier(ready)

    def hold() -> None:
        lease = peer.acquire()
        barrier.wait()
        peer.release(lease)

    threads = [threading.Thread(target=hold, daemon=True) for _ in range(ready)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _Driver:
    """For `pool.threads.runtime`, where there is no `pool.Pool`."""

    def __init__(self, database: Database) -> None:
        self.connect = database.connect

    def is_alive(self, connection: Pretended) -> bool:
        return True

    def reset(self, connection: Pretended) -> bool:
        return True

    def close(self, connection: Pretended) -> None:
        connection.close()


class Purepool(Peer):
    """`pool.Pool`."""

    name = "purepool"

    def __init__(self, database: Database, *, most: int, ready: int = 0) -> None:
        settings: dict[str, Any] = {"max_size": most, "min_idle": ready}
        self.pool = getattr(pool, POOL)(database.connect, timeout=PATIENCE, **settings)
        self.acquire = self.pool.acquire  # type: ignore[method-assign]
        if ready:
            self.pool.wait(timeout=PATIENCE)

    release = methodcaller("release")  # type: ignore[assignment]

    def use(self) -> None:
        with self.pool.connection():
            pass

    def end(self) -> None:
        self.pool.close(timeout=PATIENCE)


class PurepoolRuntime(Peer):
    """The runtime that `pool.Pool` stands on, while there is none."""

    name = "purepool"

    def __init__(self, database: Database, *, most: int, ready: int = 0) -> None:
        from pool.threads.runtime import Runtime

        limits = pool.Limits(max_size=most, min_idle=ready, max_opening=1, opener="background")
        self.runtime = Runtime(_Driver(database), limits, check_after=0.5)
        self.release = self.runtime.release  # type: ignore[method-assign,assignment]
        while pool.heap.size(self.runtime.state.idle) < ready:
            time.sleep(0.001)

    def acquire(self) -> Any:
        return self.runtime.acquire(PATIENCE)

    def end(self) -> None:
        self.runtime.apply(pool.Shutdown(self.runtime.clock()))


class PsycopgPool(Peer):
    name = "psycopg_pool"
    install = "psycopg[binary] psycopg_pool"

    def __init__(self, database: Database, *, most: int, ready: int = 0) -> None:
        import psycopg_pool

        class Connection(Pretended):
            connect = staticmethod(database.connect)

        self.pool = psycopg_pool.ConnectionPool(
            connection_class=Connection,  # type: ignore[type-var]  # pretends
            min_size=ready,
            max_size=most,
            timeout=PATIENCE,
            open=True,
        )
        self.pool.wait(PATIENCE)
        self.acquire = self.pool.getconn  # type: ignore[method-assign]
        self.release = self.pool.putconn  # type: ignore[method-assign,assignment]

    def use(self) -> None:
        with self.pool.connection():
            pass

    def end(self) -> None:
        self.pool.close()


class SQLAlchemy(Peer):
    name = "SQLAlchemy"
    install = "sqlalchemy"

    def __init__(self, database: Database, *, most: int, ready: int = 0) -> None:
        from sqlalchemy.pool import QueuePool

        creator: Any = database.connect
        self.pool = QueuePool(creator, pool_size=most, max_overflow=0, timeout=PATIENCE)
        self.acquire = self.pool.connect  # type: ignore[method-assign]
        warm(self, ready or 1)

    release = methodcaller("close")  # type: ignore[assignment]

    def end(self) -> None:
        self.pool.dispose()


class DBUtils(Peer):
    name = "DBUtils"
    install = "dbutils"

    def __init__(self, database: Database, *, most: int, ready: int = 0) -> None:
        from dbutils.pooled_db import PooledDB  # type: ignore[import-untyped]

        self.pool = PooledDB(database, mincached=ready, maxconnections=most, blocking=True)
        self.acquire = self.pool.connection  # type: ignore[method-assign]

    release = methodcaller("close")  # type: ignore[assignment]

    def end(self) -> None:
        self.pool.close()


class Playhouse(Peer):
    """peewee's own; a lease belongs to a thread, and there is nothing to hand around."""

    name = "playhouse.pool"

    def __init__(self, database: Database, *, most: int, ready: int = 0) -> None:
        self.pool = pretended(playhouse.pool.PooledDatabase, database.connect)(
            "pretended", max_connections=most, timeout=PATIENCE
        )
        self.acquire = self.pool.connect  # type: ignore[method-assign]
        warm(self, ready or 1)

    def release(self, lease: Any) -> None:
        self.pool.close()

    def use(self) -> None:
        with self.pool.connection_context():
            pass


def pretended(
    pooled: Any,
    connect: Callable[[], Any] = Pretended,
    is_alive: Callable[[Any], bool] | None = None,
) -> Any:
    """A pooled peewee database of this kind, over pretended connections."""

    class Underneath(peewee.SqliteDatabase):
        def _connect(self) -> Any:
            return connect()

        def _close(self, connection: Any) -> None:
            connection.close()

    class PooledPretended(pooled, Underneath):  # type: ignore[misc]
        def _is_closed(self, connection: Any) -> bool:
            return is_alive is not None and not is_alive(connection)

    return PooledPretended


PEERS: tuple[type[Peer], ...] = (
    Purepool if hasattr(pool, POOL) else PurepoolRuntime,
    PsycopgPool,
    SQLAlchemy,
    DBUtils,
    Playhouse,
)


def installed() -> tuple[list[type[Peer]], dict[str, str]]:
    """The pools that are there; and what to install for those that are not, by name."""
    there, missing = [], {}
    for kind in PEERS:
        try:
            kind(Database(), most=1).end()
        except ImportError:
            missing[kind.name] = f"pip install {kind.install}"
        else:
            there.append(kind)
    return there, missing
