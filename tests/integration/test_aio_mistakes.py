"""What is easily done wrong with two kinds of pools: each mistake is told with the right way, and
costs nothing.

Theory.  A driver of the wrong kind, a block of the wrong kind, the wrong loop, or none.  After each
mistake the pool is asked for all that it can lend.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pool
from pool.aio import OpenError, Pool, WrongLoop
from tests.integration.drivers import PATIENCE, until

aiosqlite = pytest.importorskip("aiosqlite")


@pytest.fixture(autouse=True)
def nothing_is_left_unawaited() -> Iterator[None]:
    """No mistake leaves a coroutine that nobody awaits."""
    gc.collect()  # what other tests left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert not [str(one.message) for one in caught if "never awaited" in str(one.message)]


class Connection:
    """A pretended connection, of a driver of either kind."""

    def close(self) -> None:
        pass


async def whole(mine: Pool[Any], size: int = 2) -> None:
    """All of it can be had, and nothing is in use before."""
    assert mine.statistics().in_use == 0
    leases = [await mine.acquire(PATIENCE) for _ in range(size)]
    assert len({id(lease.connection) for lease in leases}) == size
    for lease in leases:
        assert await lease.release() is True


def whole_of_threads(mine: pool.Pool[Any], size: int = 2) -> None:
    until(lambda: mine.statistics().in_use == 0)
    leases = [mine.acquire(PATIENCE) for _ in range(size)]
    for lease in leases:
        assert lease.release() is True


# ------------------------------------------------------------ a driver of the other kind


@pytest.mark.parametrize(
    "connect",
    [
        sqlite3.connect,
        sqlite3.Connection,
        functools.partial(sqlite3.connect, ":memory:"),
        functools.partial(functools.partial(sqlite3.connect), ":memory:"),
    ],
    ids=["function", "class", "partial", "partial of one"],
)
def test_a_blocking_connect(connect: Any) -> None:
    """Known by its module, before anything is connected."""
    with pytest.raises(ValueError, match=r"^connect=.*of sqlite3, a blocking driver") as refused:
        Pool(connect)
    assert "use aiosqlite, or `pool.Pool` with threads" in str(refused.value)


def test_a_connection_in_the_place_of_connect() -> None:
    """One of sqlite3 can be called, but not for a connection."""
    connection = sqlite3.connect(":memory:")
    with pytest.raises(ValueError, match=r"^connect=<sqlite3\.Connection .*aiosqlite"):
        Pool(connection)  # type: ignore[arg-type]
    assert connection.execute("select 1").fetchone() == (1,), "it is still its maker's"
    connection.close()


def test_a_blocking_connection() -> None:
    """Where only what comes of it shows: it is closed, not kept."""
    made: list[Any] = []

    def connect() -> Any:
        made.append(sqlite3.connect(":memory:"))
        return made[-1]

    async def main() -> None:
        async with Pool(connect, max_size=1) as mine:
            with pytest.raises(OpenError, match="of sqlite3, a blocking driver") as refused:
                await mine.acquire(PATIENCE)
            assert isinstance(refused.value.__cause__, TypeError)
            assert "use aiosqlite, or `pool.Pool` with threads" in str(refused.value)
            assert mine.statistics().size == 0

    asyncio.run(main())
    for connection in made:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("select 1")


def test_a_blocking_connection_of_psycopg(postgres: Any) -> None:
    psycopg = pytest.importorskip("psycopg")
    with pytest.raises(ValueError, match=r"use psycopg's AsyncConnection, or `pool\.Pool` with"):
        Pool(functools.partial(psycopg.connect, **postgres.parameters))
    made: list[Any] = []

    def connect() -> Any:
        made.append(psycopg.connect(**postgres.parameters))
        return made[-1]

    async def main() -> None:
        async with Pool(connect, max_size=1) as mine:
            with pytest.raises(OpenError, match=r"use psycopg's AsyncConnection, or `pool\.Pool`"):
                await mine.acquire(PATIENCE)
            assert mine.statistics().size == 0

    asyncio.run(main())
    assert made
    assert all(connection.closed for connection in made), "no session is left"

    async def instead() -> None:
        right = functools.partial(psycopg.AsyncConnection.connect, **postgres.parameters)
        async with Pool(right, max_size=2) as mine:
            await whole(mine)

    asyncio.run(instead())


def test_an_asynchronous_connect_with_threads() -> None:
    async def connect() -> Connection:
        return Connection()

    for each in (connect, functools.partial(connect)):
        with pytest.raises(ValueError, match=r"^connect=.*for those of asyncio.*`pool\.aio\.Pool`"):
            pool.Pool(each)
    for later in (lambda: connect(), lambda: aiosqlite.connect(":memory:")):
        with pool.Pool(later, max_size=1) as mine:
            with pytest.raises(OpenError, match=r"to be awaited.*`pool\.aio\.Pool`"):
                mine.acquire(PATIENCE)
            assert mine.statistics().in_use == 0


def test_an_asynchronous_connection_of_psycopg_with_threads(postgres: Any) -> None:
    """One that was connected elsewhere: neither kept, nor asked for anything that is awaited."""
    psycopg = pytest.importorskip("psycopg")
    made: list[Any] = []

    def connect() -> Any:
        connecting = psycopg.AsyncConnection.connect(**postgres.parameters)
        made.append(asyncio.run(connecting))
        return made[-1]

    with pytest.raises(ValueError, match=r"`pool\.aio\.Pool`"):
        pool.Pool(psycopg.AsyncConnection.connect)
    with pool.Pool(connect, max_size=1) as mine:
        with pytest.raises(OpenError, match=r"an asynchronous driver.*`pool\.aio\.Pool`"):
            mine.acquire(PATIENCE)
        until(lambda: mine.statistics().size == 0)
    assert made
    assert all(connection.closed for connection in made), "no session is left"


def test_a_connection_of_aiosqlite_with_threads(tmp_path: Any) -> None:
    """One that was connected elsewhere: its thread, which a program would wait for at its end,
    ends."""
    made: list[Any] = []

    async def begin() -> None:
        made.append(await aiosqlite.connect(tmp_path / "database"))

    def connect() -> Any:
        asyncio.run(begin())
        return made[-1]

    with pool.Pool(connect, max_size=1) as mine:
        with pytest.raises(OpenError, match=r"to be awaited.*`pool\.aio\.Pool`"):
            mine.acquire(PATIENCE)
        until(lambda: mine.statistics().size == 0)
    assert made
    for connection in made:
        connection._thread.join(PATIENCE)
        assert not connection._thread.is_alive()


# ------------------------------------------------------------ a block of the other kind


def test_with_in_the_place_of_async_with() -> None:
    async def main() -> None:
        async with Pool(Connection, max_size=2) as given:
            mine: Any = given
            right = r"`async with`, or with threads `pool\.Pool`"
            with pytest.raises(TypeError, match=right), mine:
                raise AssertionError("it must not be entered")
            right = r"`async with pool\.connection\(\) as connection:`.*`pool\.Pool`"
            with pytest.raises(TypeError, match=right), mine.connection():
                raise AssertionError("it must not be entered")
            lease = await mine.acquire()
            right = r"`async with await pool\.acquire\(\) as lease:`.*`pool\.Pool`"
            with pytest.raises(TypeError, match=right), lease:
                raise AssertionError("it must not be entered")
            assert await lease.release() is True
            with pytest.raises(TypeError, match="async with"):
                await mine.connection()
            for thing in (mine, mine.connection(), lease):
                assert not hasattr(thing, "__enter__")
                assert not hasattr(thing, "__exit__")
            await whole(given)

    asyncio.run(main())


def test_async_with_in_the_place_of_with() -> None:
    async def main(mine: Any) -> None:
        with pytest.raises(TypeError, match=r"`with`, or with asyncio `pool\.aio\.Pool`"):
            async with mine:
                raise AssertionError("it must not be entered")
        with pytest.raises(TypeError, match=r"`with pool\.connection\(\) as connection:`"):
            async with mine.connection():
                raise AssertionError("it must not be entered")
        lease = mine.acquire()
        with pytest.raises(TypeError, match=r"`with pool\.acquire\(\) as lease:`.*pool\.aio\.Pool"):
            async with lease:
                raise AssertionError("it must not be entered")
        assert lease.release() is True
        for thing in (mine, mine.connection(), lease):
            assert not hasattr(thing, "__aenter__")
            assert not hasattr(thing, "__aexit__")

    with pool.Pool(Connection, max_size=2) as mine:
        asyncio.run(main(mine))
        whole_of_threads(mine)


# ------------------------------------------------------------ the wrong loop, or none


def test_acquire_outside_of_a_loop() -> None:
    mine: Pool[Connection] = Pool(Connection, max_size=2)
    for call in (mine.acquire, mine.connection().__aenter__, mine.wait, mine.close):
        with pytest.raises(WrongLoop, match=r"no event loop.*`asyncio\.run`.*`pool\.Pool`"):
            call().send(None)

    async def main() -> None:
        await whole(mine)
        assert await mine.close() is True

    asyncio.run(main())


def in_a_thread(function: Callable[[], object]) -> None:
    """Run it there, to its end; what it raises is raised here."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


async def _as_a_block(lease: Any) -> None:
    async with lease:
        pass


WAYS: dict[str, Callable[[Any], object]] = {
    "release, no loop": lambda lease: lease.release().send(None),
    "discard, no loop": lambda lease: lease.discard(),
    "release, another loop": lambda lease: asyncio.run(lease.release()),
    "discard, another loop": lambda lease: asyncio.run(_discard(lease)),
    "the end of its block, another loop": lambda lease: asyncio.run(_as_a_block(lease)),
}


async def _discard(lease: Any) -> object:
    return lease.discard()


@pytest.mark.parametrize("way", WAYS)
def test_a_lease_released_elsewhere(way: str) -> None:
    """By another thread, with a loop of its own or without: it is refused, and still held."""

    async def main() -> None:
        async with Pool(Connection, max_size=2) as mine:
            lease = await mine.acquire()
            held = lease.connection
            text = "asyncio.run" if "no loop" in way else "run_coroutine_threadsafe"
            with pytest.raises(WrongLoop, match=text):
                in_a_thread(lambda: WAYS[way](lease))
            assert mine.statistics().in_use == 1
            assert lease.connection is held
            assert await lease.release() is True
            await whole(mine)

    asyncio.run(main())


def test_the_way_that_is_named_works() -> None:
    """From a thread, by the loop of the pool."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Pool(Connection, max_size=2) as mine:
            lease = await mine.acquire()

            def release() -> bool:
                return asyncio.run_coroutine_threadsafe(lease.release(), loop).result(PATIENCE)

            assert await asyncio.to_thread(release) is True
            await whole(mine)

    asyncio.run(main())


def test_a_lease_released_in_another_loop_of_the_same_thread() -> None:
    """Whose own loop is not closed, and does not run."""
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        mine: Pool[Connection] = Pool(Connection, max_size=2)
        lease = first.run_until_complete(mine.acquire())
        with pytest.raises(WrongLoop) as refused:
            second.run_until_complete(lease.release())
        assert f"{id(first):#x}" in str(refused.value)
        assert f"{id(second):#x}" in str(refused.value)
        assert first.run_until_complete(lease.release()) is True
        first.run_until_complete(whole(mine))
        assert first.run_until_complete(mine.close()) is True
    finally:
        first.close()
        second.close()
