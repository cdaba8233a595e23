"""What the pool knows about asynchronous drivers.

Theory.  As `recipes.py`, of which the readable half is used here as it is: what a driver shows
costs no round trip and no `await`, whichever of its faces is used.  Here is what has to be awaited,
and one thing more: how a connection is dropped without a loop, for when there is none any more.

`is_clean` answers the question that decides whether a return needs a task: is there nothing
to be undone, as far as the driver shows?

What a recipe refuses to know: the pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from pool.drivers.postgres import ACTIVE, IDLE, IN_ERROR, IN_TRANSACTION, Psycopg
from pool.drivers.proxies import follow, get, has_method, path_to
from pool.drivers.recipe import Recipe

PATIENCE = 5.0
"""Seconds that a cancelled query may take to end."""


class AsyncRecipe(Recipe):
    """How to handle one connection; this one is for an unknown driver, of whose methods
    `commit`, `rollback` and `close` are awaited where that is needed."""

    __slots__ = ()

    def is_clean(self, connection: Any) -> bool:
        """Whether a reset would find nothing to do."""
        return not self.has_transactions

    def is_at_rest(self, connection: Any) -> bool:
        """Whether the driver knows that no answer is still to come, after a query that was
        interrupted."""
        return False

    async def is_alive(self, connection: Any) -> bool:  # type: ignore[override]
        return True

    async def commit(self, connection: Any) -> bool:  # type: ignore[override]
        """Commit what is open. Whether `reset` would find nothing to do."""
        if self.has_transactions and not self.in_autocommit(connection):
            await awaited(connection.commit())
        return self.is_clean(connection)

    async def roll_back(self, connection: Any) -> bool:  # type: ignore[override]
        """Roll back what is open; False if the connection is of no use any more."""
        if self.has_transactions:
            await awaited(connection.rollback())
        return True

    async def restore(self, connection: Any) -> bool:  # type: ignore[override]
        raw = self.behind(connection)
        if not self.is_finished(raw):
            return False
        if self._read is None or self._read(raw) == self._kept:
            return True
        for name, was, now in zip(self._names, self._kept, self._read(raw), strict=True):
            if was is not now and was != now:
                await self.put_back(raw, name, was, now)
        return self.is_as_left(raw)

    async def put_back(self, raw: Any, name: str, was: Any, now: Any) -> None:  # type: ignore[override]
        setter = get(raw, f"set_{name}")
        if name not in self.FIXED and setter is not None:
            await awaited(setter(was))
        else:
            super().put_back(raw, name, was, now)

    async def reset(self, connection: Any) -> bool:  # type: ignore[override]
        return await self.roll_back(connection) and await self.restore(connection)

    async def settle(self, connection: Any) -> bool:  # type: ignore[override]
        """After the user's reset: commit what is open, put back what was changed. What was begun by
        hand, in autocommit, is committed by nobody, and not lent to the next one."""
        await self.commit(connection)
        return await self.restore(connection) and not self.is_open(connection)

    async def close(self, connection: Any) -> None:
        if has_method(connection, "close"):
            await awaited(connection.close())

    def terminate(self, connection: Any) -> None:
        """Drop it without a loop."""
        for name in ("terminate", "close"):
            method = get(connection, name)
            if callable(method) and not inspect.iscoroutinefunction(method):
                answer = method()
                if inspect.iscoroutine(answer):
                    answer.close()
                return


class AsyncPsycopg(AsyncRecipe, Psycopg):  # type: ignore[misc]  # what is awaited is the former's
    """psycopg's `AsyncConnection`."""

    __slots__ = ()

    is_clean = Psycopg.is_clean

    def is_at_rest(self, connection: Any) -> bool:
        raw = self.behind(connection)
        status = raw.pgconn.transaction_status
        return status in (IDLE, IN_TRANSACTION, IN_ERROR) and not raw.lock.locked()

    async def is_alive(self, connection: Any) -> bool:  # type: ignore[override]
        raw = self.behind(connection)
        if raw.autocommit:
            await raw.execute("")
            return True
        await raw.set_autocommit(True)
        try:
            await raw.execute("")
        finally:
            if not raw.closed:
                await raw.set_autocommit(False)
        return True

    async def commit(self, connection: Any) -> bool:  # type: ignore[override]
        raw = self.behind(connection)
        status = raw.pgconn.transaction_status
        if status != IDLE and not self.is_closed(connection):
            if raw._pipeline is None and raw.autocommit:
                return False
            if raw.lock.locked():
                self._refuse_unfinished(raw, "notifies(), stream() or a COPY has not ended")
            if raw._pipeline is None and status == ACTIVE:
                self._refuse_unfinished(raw, "a query or a COPY has not ended")
            if raw.autocommit:
                await raw._pipeline.sync()
            else:
                await connection.commit()
        return self.is_clean(connection)

    async def roll_back(self, connection: Any) -> bool:  # type: ignore[override]
        raw = self.behind(connection)
        status = raw.pgconn.transaction_status
        if status == IDLE:
            return True
        if status not in (IN_TRANSACTION, IN_ERROR) or raw.lock.locked():
            return False
        await connection.rollback()
        return True

    def terminate(self, connection: Any) -> None:
        self.behind(connection).pgconn.finish()


class Asyncpg(AsyncRecipe):
    """asyncpg. Its connections are in autocommit, until a transaction is begun."""

    __slots__ = ()

    SHOWN = "is_in_transaction"
    SETTINGS = ()

    def is_closed(self, connection: Any) -> bool:
        return bool(self.behind(connection).is_closed())

    def is_finished(self, raw: Any) -> bool:
        return not raw.is_closed() and not raw._protocol._is_cancelling()

    def is_open(self, connection: Any) -> bool:
        return bool(self.behind(connection).is_in_transaction())

    def is_clean(self, connection: Any) -> bool:
        raw = self.behind(connection)
        return self.is_finished(raw) and not raw.is_in_transaction()

    def is_at_rest(self, connection: Any) -> bool:
        """asyncpg cancels a query by itself whose caller was cancelled, and says when it is over:
        `roll_back` waits for that."""
        return not self.behind(connection).is_closed()

    async def is_alive(self, connection: Any) -> bool:  # type: ignore[override]
        await self.behind(connection).fetchval("select 1")
        return True

    async def commit(self, connection: Any) -> bool:  # type: ignore[override]
        if self.behind(connection).is_in_transaction():  # begun by hand: `transaction()` has ended
            await self.behind(connection).execute("COMMIT")
        return self.is_clean(connection)

    async def roll_back(self, connection: Any) -> bool:  # type: ignore[override]
        raw = self.behind(connection)
        if raw._protocol._is_cancelling():
            await asyncio.wait_for(raw._protocol._wait_for_cancellation(), PATIENCE)
        if raw.is_in_transaction():
            raw._top_xact = None  # its block ends without its connection
            await raw.execute("ROLLBACK")
        return not raw.is_in_transaction()

    def terminate(self, connection: Any) -> None:
        raw = self.behind(connection)
        _drop(get(raw, "_transport"), raw.terminate)


class Aiosqlite(AsyncRecipe):
    """aiosqlite: a sqlite3 connection on a thread of its own."""

    __slots__ = ()

    SHOWN = "in_transaction"
    SETTINGS = ("isolation_level", "row_factory", "text_factory")

    def is_setting(self, raw: Any, name: str) -> bool:
        return hasattr(raw, name)

    def is_closed(self, connection: Any) -> bool:
        return not self._has_thread(self.behind(connection))

    def _has_thread(self, raw: Any) -> bool:
        return raw._connection is not None and bool(raw._running)

    def is_finished(self, raw: Any) -> bool:
        """What is under way on its thread is not seen from here; what waits for the thread is."""
        return self._has_thread(raw) and raw._tx.empty()

    def is_open(self, connection: Any) -> bool:
        return bool(self.behind(connection).in_transaction)

    def is_clean(self, connection: Any) -> bool:
        raw = self.behind(connection)
        return self.is_finished(raw) and not raw.in_transaction and self.is_as_left(raw)

    async def is_alive(self, connection: Any) -> bool:  # type: ignore[override]
        return self.is_finished(self.behind(connection))

    async def commit(self, connection: Any) -> bool:  # type: ignore[override]
        raw = self.behind(connection)
        if self.is_closed(connection):
            return False
        if raw.in_transaction and not await self._is_by_hand(raw):
            await connection.commit()
        return self.is_clean(connection)

    async def roll_back(self, connection: Any) -> bool:  # type: ignore[override]
        raw = self.behind(connection)
        if self.is_closed(connection):
            return False
        if raw.in_transaction:
            if await self._is_by_hand(raw):
                await raw.execute("rollback")
            else:
                await connection.rollback()
        return True

    async def _is_by_hand(self, raw: Any) -> bool:
        """Whether the open transaction was begun by hand, in autocommit, of which the methods
        know nothing. (`autocommit` came with Python 3.12, and can be asked on its own thread only.)
        """
        autocommit = await raw._execute(lambda: getattr(raw._conn, "autocommit", -1))
        return autocommit is True or (autocommit == -1 and raw.isolation_level is None)

    def terminate(self, connection: Any) -> None:
        raw = self.behind(connection)
        if not raw._running:
            return
        # It would tell the loop that runs here when it has stopped: that may be closed by then, and
        # nobody asks. A thread without a loop has none to name.
        stopping = threading.Thread(target=raw.stop)
        try:
            stopping.start()
        except RuntimeError:  # the interpreter ends, or the system has no thread for us
            raw.stop()
        else:
            stopping.join()


class Aiomysql(AsyncRecipe):
    """aiomysql and asyncmy."""

    __slots__ = ()

    SHOWN = "get_autocommit"
    SETTINGS = ("charset",)

    def is_setting(self, raw: Any, name: str) -> bool:
        return hasattr(raw, name)

    def remember(self, connection: Any) -> None:
        super().remember(connection)
        raw = self.behind(connection)
        self._names = (*self._names, "get_autocommit")
        read = self._read
        self._read = lambda raw: (*(read(raw) if read else ()), raw.get_autocommit())
        self._kept = self._read(raw)

    async def put_back(self, raw: Any, name: str, was: Any, now: Any) -> None:  # type: ignore[override]
        if name == "get_autocommit":
            await raw.autocommit(was)

    def is_closed(self, connection: Any) -> bool:
        return not self._is_connected(self.behind(connection))

    def _is_connected(self, raw: Any) -> bool:
        """As aiomysql shows it, or asyncmy, which has no `closed`."""
        return get(raw, "closed") is not True and get(raw, "connected") is not False

    def is_finished(self, raw: Any) -> bool:
        result = get(raw, "_result")
        is_read = (
            get(result, "unbuffered_active") is not True and get(result, "has_next") is not True
        )
        return is_read and self._is_connected(raw)

    def is_open(self, connection: Any) -> bool:
        return bool(self.behind(connection).get_transaction_status())

    def is_clean(self, connection: Any) -> bool:
        raw = self.behind(connection)
        return self.is_finished(raw) and not raw.get_transaction_status() and self.is_as_left(raw)

    def is_at_rest(self, connection: Any) -> bool:
        """One whose query was cancelled has closed itself."""
        return self.is_finished(self.behind(connection))

    async def is_alive(self, connection: Any) -> bool:  # type: ignore[override]
        await self.behind(connection).ping(reconnect=False)
        return True

    async def commit(self, connection: Any) -> bool:  # type: ignore[override]
        raw = self.behind(connection)
        if self.is_closed(connection) or raw.get_autocommit():
            return False
        if get(get(raw, "_result"), "unbuffered_active") is True:
            self._refuse_unfinished(raw, "an unbuffered result was not read to its end")
        await connection.commit()
        return self.is_clean(connection)

    async def roll_back(self, connection: Any) -> bool:  # type: ignore[override]
        raw = self.behind(connection)
        if not self.is_finished(raw):
            return False
        if not raw.get_autocommit() or raw.get_transaction_status():
            await connection.rollback()
        return True

    async def close(self, connection: Any) -> None:
        await self.behind(connection).ensure_closed()

    def terminate(self, connection: Any) -> None:
        raw = self.behind(connection)
        _drop(get(get(raw, "_writer"), "transport") or get(raw, "_transport"), raw.close)


RECIPES: dict[str, type[AsyncRecipe]] = {
    "psycopg": AsyncPsycopg,
    "asyncpg": Asyncpg,
    "aiosqlite": Aiosqlite,
    "aiomysql": Aiomysql,
    "asyncmy": Aiomysql,
}
"""By the package that a connection's class, or a class it is derived from, comes from."""

BLOCKING = {
    "sqlite3": "aiosqlite",
    "psycopg": "psycopg's AsyncConnection",
    "psycopg2": "psycopg's AsyncConnection, or asyncpg",
    "pymysql": "aiomysql or asyncmy",
    "mysql": "aiomysql or asyncmy",
    "mariadb": "aiomysql or asyncmy",
}
"""Drivers that would stop the loop, and what to use in their place."""


def recipe_for(connection: Any) -> AsyncRecipe:
    """A recipe for this connection. Raises `TypeError` for one of a blocking driver."""
    path = path_to(connection, lambda thing: kind.SHOWN if (kind := _kind_of(thing)) else None)
    raw = follow(connection, path) if path is not None else connection
    kind = _kind_of(raw)
    if kind is None or (kind is AsyncPsycopg and not _is_awaited(raw, "commit")):
        package = _blocking_package_of(raw)
        if package is not None and not _is_awaited(raw, "commit"):
            raise TypeError(f"connect returned a connection {instead_of(package)}")
        recipe = AsyncRecipe()
        recipe.has_transactions = has_method(connection, "rollback")
        return recipe
    return kind(path or ())


def drop(connection: Any) -> None:
    """Close a connection of an asynchronous driver, without a loop; leave anything else alone."""
    with contextlib.suppress(Exception):
        recipe = recipe_for(connection)
        if type(recipe) is not AsyncRecipe:
            recipe.terminate(connection)


def _kind_of(connection: Any) -> type[AsyncRecipe] | None:
    for base in type(connection).__mro__:
        kind = RECIPES.get(_package(base))
        if kind is not None:
            return kind
    return None


def _blocking_package_of(connection: Any) -> str | None:
    for base in type(connection).__mro__:
        package = _package(base)
        if package in BLOCKING:
            return package
    return None


def _package(thing: Any) -> str:
    """The package that a class or a function comes from."""
    return str(get(thing, "__module__")).partition(".")[0]


def instead_of(package: str) -> str:
    """What to say of something of this blocking driver."""
    return (
        f"of {package}, a blocking driver, which would stop the event loop: use "
        f"{BLOCKING[package]}, or `pool.Pool` with threads"
    )


def blocking_maker(connect: Any) -> str | None:
    """The blocking driver whose own function this is, or whose connection, if so."""
    while isinstance(connect, functools.partial):
        connect = connect.func
    package = _package(connect).removeprefix("_")
    is_blocking = package in BLOCKING and not inspect.iscoroutinefunction(connect)
    return package if is_blocking else None


def _is_awaited(connection: Any, name: str) -> bool:
    return inspect.iscoroutinefunction(get(connection, name))


def _drop(transport: Any, close: Callable[[], None]) -> None:
    """Close a driver's connection, and its socket where the loop that would do it is closed."""
    loop = get(transport, "_loop")
    if loop is None or not loop.is_closed():
        close()
        return
    with contextlib.suppress(RuntimeError):  # of that loop
        close()
    sock = get(transport, "_sock")
    if sock is not None:
        sock.close()
        transport._sock = None
    with contextlib.suppress(RuntimeError):  # the transport is closing by now, and needs no loop
        close()


async def awaited(answer: Any) -> Any:
    """What a function returned, awaited if it has to be."""
    return await answer if inspect.isawaitable(answer) else answer
