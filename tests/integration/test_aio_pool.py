"""`pool.aio.Pool` as its users see it: on asyncio's loop, in its debug mode, on uvloop, and with
eager tasks.

Theory.  What can happen between tasks is tried in every order in `tests/model/test_tasks.py`.
Here are real loops, and what is beyond one: its end, other threads, forks, a program that ends.
Connections are pretended, or those of aiosqlite.  Nothing here sleeps to get an order.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import sqlite3
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

import pool
from pool.aio import (
    Lease,
    LeaseEnded,
    OpenError,
    Pool,
    PoolClosed,
    PoolSuspended,
    PoolTimeout,
    TooManyWaiting,
    WrongLoop,
)
from pool.record import Recorder
from pool.shared.errors import PoolReentered
from tests.integration.asynchronous import until
from tests.integration.drivers import PATIENCE
from tests.integration.processes import run

aiosqlite = pytest.importorskip("aiosqlite")

Main = Callable[[], Awaitable[Any]]


class Connection:
    """A pretended connection of an asynchronous driver."""

    made = 0

    def __init__(self) -> None:
        Connection.made += 1
        self.number = Connection.made
        self.said: list[str] = []
        self.open = True
        self.gate: asyncio.Event | None = None
        """For how long a rollback takes."""

    async def commit(self) -> None:
        self.said.append("commit")

    async def rollback(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.said.append("rollback")

    async def close(self) -> None:
        assert self.open
        self.open = False

    def terminate(self) -> None:
        self.open = False


async def connect() -> Connection:
    return Connection()


def _plain(main: Main) -> Any:
    return asyncio.run(main())  # type: ignore[arg-type]


def _debug(main: Main) -> Any:
    return asyncio.run(main(), debug=True)  # type: ignore[arg-type]


def _eager(main: Main) -> Any:
    async def begin() -> Any:
        factory = asyncio.eager_task_factory  # type: ignore[attr-defined]
        asyncio.get_running_loop().set_task_factory(factory)
        return await main()

    return asyncio.run(begin())


def _uvloop(main: Main) -> Any:
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


LOOPS = [_plain, _debug, _uvloop]
if sys.version_info >= (3, 12):
    LOOPS.append(_eager)


@pytest.fixture(params=LOOPS, ids=lambda loop: loop.__name__.strip("_"))
def loop_run(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    """Runs a program on a loop of this kind."""
    run: Callable[[Main], Any] = request.param
    return run


async def turns(count: int = 5) -> None:
    """Let whatever is ready go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def whole(pool: Pool[Any], size: int) -> None:
    """All of it can be had."""
    leases = [await pool.acquire(30.0) for _ in range(size)]
    assert len({id(lease.connection) for lease in leases}) == size
    for lease in leases:
        await lease.release()


# ------------------------------------------------------------ borrowing


def test_a_block_commits_or_rolls_back(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with Pool(connect, max_size=1) as pool:
            async with pool.connection() as connection:
                pass
            assert connection.said == ["commit", "rollback"]  # of an unknown driver, to be sure
            with pytest.raises(ZeroDivisionError):
                async with pool.connection() as connection:
                    raise ZeroDivisionError
            assert connection.said == ["commit", "rollback", "rollback"]
        assert not connection.open

    loop_run(main)


def test_what_configure_leaves_open_is_committed() -> None:
    """Of an unknown driver, too."""

    async def configure(connection: Connection) -> None:
        connection.said.append("configure")

    async def main() -> None:
        pool: Pool[Connection] = Pool(connect, max_size=1, configure=configure)
        async with pool, pool.connection() as connection:
            assert connection.said == ["configure", "commit"]

    asyncio.run(main())


def test_a_lease_is_fenced_off(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with Pool(connect, max_size=1) as pool:
            lease = await pool.acquire()
            first = lease.connection
            assert await lease.release() is True
            assert await lease.release() is False
            assert lease.discard() is False
            with pytest.raises(LeaseEnded):
                lease.connection  # noqa: B018
            again = await pool.acquire()
            assert again.connection is first
            assert again.discard() is True
            await until(lambda: not first.open)
            async with await pool.acquire() as lease:
                assert lease.connection is not first
            assert pool.statistics().in_use == 0

    loop_run(main)


def test_sqlite(loop_run: Callable[[Main], Any], tmp_path: Any) -> None:
    async def main() -> None:
        path = tmp_path / "database"
        others = set(threading.enumerate())
        async with Pool(lambda: aiosqlite.connect(path), max_size=2) as pool:
            async with pool.connection() as connection:
                await connection.execute("create table t (x)")

            async def fails() -> None:
                async with pool.connection() as connection:
                    await connection.execute("insert into t values (1)")
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await fails()
            async with pool.connection() as connection:
                await connection.execute("insert into t values (2)")
                connection.row_factory = sqlite3.Row  # the next borrower does not get this
            async with pool.connection() as connection:
                cursor = await connection.execute("select x from t")
                assert await cursor.fetchall() == [(2,)]
            assert pool.statistics().opened == 1
        threads = set(threading.enumerate()) - others
        for thread in [one for one in threads if "_connection_worker" in one.name]:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    loop_run(main)


def test_those_who_wait_are_served_in_their_order(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        served: list[int] = []

        async def caller(number: int) -> None:
            async with pool.connection():
                served.append(number)
                await turns(1)

        async with Pool(connect, max_size=1) as pool:
            lease = await pool.acquire()
            tasks = [asyncio.ensure_future(caller(number)) for number in range(20)]
            await turns()
            assert pool.statistics().waiting == 20
            await lease.release()
            await asyncio.gather(*tasks)
        assert served == list(range(20))

    loop_run(main)


def test_who_is_granted_a_connection_runs_next(loop_run: Callable[[Main], Any]) -> None:
    """In the next iteration of the loop: what a wait takes beyond the work of others is no more."""

    async def main() -> None:
        served: list[int] = []

        async def caller(number: int) -> None:
            lease = await pool.acquire()
            served.append(number)
            assert lease._give_back(True) is True

        async with Pool(connect, max_size=1) as pool:
            lease = await pool.acquire()
            tasks = [asyncio.ensure_future(caller(number)) for number in range(3)]
            await until(lambda: pool.statistics().waiting == 3)
            lease._give_back(True)
            for iterations in range(1, 4):
                await asyncio.sleep(0)
                assert served == list(range(iterations))
            await asyncio.gather(*tasks)

    loop_run(main)


def test_forty_tasks_have_their_fair_share(loop_run: Callable[[Main], Any]) -> None:
    """Counted in rounds of the loop, not in seconds."""

    async def main() -> None:
        counts = [0] * 40

        async def caller(number: int) -> None:
            while sum(counts) < 4000:
                async with pool.connection():
                    counts[number] += 1
                    await turns(2)

        async with Pool(connect, max_size=4) as pool:
            await asyncio.gather(*map(caller, range(40)))
        assert max(counts) - min(counts) <= 2

    loop_run(main)


def test_refusals(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with Pool(connect, max_size=1, max_waiting=1, name="mine") as pool:
            lease = await pool.acquire()
            with pytest.raises(PoolTimeout, match=r"pool 'mine': .*held by this task 'Task-"):
                await pool.acquire(0)
            with pytest.raises(PoolTimeout, match=r"within 0\.01 s"):
                await pool.acquire(0.01)
            waits = asyncio.ensure_future(pool.acquire())
            await turns()
            with pytest.raises(TooManyWaiting):
                await pool.acquire()
            with pytest.raises(ValueError, match=r"timeout=-1"):
                await pool.acquire(-1)
            await lease.release()
            pool.suspend()
            await (await waits).release()
            with pytest.raises(PoolSuspended):
                await pool.acquire(0.01)
            pool.resume()
            await whole(pool, 1)
        with pytest.raises(PoolClosed):
            await pool.acquire()
        with pytest.raises(PoolClosed):
            pool.drain()

    loop_run(main)


def test_a_database_that_is_away(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        away = True

        async def connect_or_not() -> Connection:
            if away:
                raise ConnectionRefusedError("nobody listens")
            return Connection()

        settings: dict[str, Any] = {"backoff_initial": 0.001, "backoff_max": 0.01}
        async with Pool(connect_or_not, max_size=2, **settings) as pool:
            with pytest.raises(OpenError) as refused:
                await pool.acquire(30.0)
            assert isinstance(refused.value.__cause__, ConnectionRefusedError)
            away = False
            await pool.wait(30.0)
            await whole(pool, 2)

    loop_run(main)


def test_min_idle_and_resize(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        pool = Pool(connect, min_idle=3, max_size=4)
        await pool.wait(30.0)
        assert pool.statistics().idle == 3
        pool.resize(max_size=1, min_idle=0)
        await until(lambda: pool.statistics().size == 1)
        pool.drain()
        await until(lambda: pool.statistics().size == 0)
        assert await pool.close()

    loop_run(main)


def test_what_rests_is_asked(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        asked: list[Connection] = []

        async def check(connection: Connection) -> bool:
            asked.append(connection)
            return connection.open

        async with Pool(connect, max_size=1, check=check, check_after=0.0) as pool:
            async with pool.connection() as first:
                assert not asked
            async with pool.connection() as again:
                assert again is first
            first.open = False
            first.close = connect  # type: ignore[method-assign]  # its close does nothing more
            async with pool.connection() as other:
                assert other is not first
            assert asked == [first, first]
            assert pool.statistics().dead == 1

    loop_run(main)


def test_a_check_that_hangs_holds_up_nobody(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def check(_: Connection) -> bool:
            await gate.wait()
            return True

        settings: dict[str, Any] = {"check": check, "check_after": 0.0, "check_timeout": None}
        async with Pool(connect, max_size=1, **settings) as pool:
            await (await pool.acquire()).release()
            with pytest.raises(PoolTimeout, match="did not answer a check in time"):
                await pool.acquire(0.01)
            gate.set()  # it lives: its place is not lost, and no connect follows
            await whole(pool, 1)
            assert pool.statistics().opened == 1
            pool.resize(max_size=2)
            gate.clear()
        assert pool.statistics().size == 0

    loop_run(main)


def test_a_check_without_an_answer_means_dead(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async def check(connection: Connection) -> bool:
            await asyncio.Event().wait()
            return True

        settings: dict[str, Any] = {"check": check, "check_after": 0.0, "check_timeout": 0.01}
        async with Pool(connect, max_size=1, **settings) as pool:
            await (await pool.acquire()).release()
            async with pool.connection():
                assert pool.statistics().dead == 1

    loop_run(main)


# ------------------------------------------------------------ cancellation


def test_a_cancelled_waiter_leaves_the_queue(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with Pool(connect, max_size=1) as pool:
            lease = await pool.acquire()
            waits = asyncio.ensure_future(pool.acquire())
            await turns()
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            assert pool.statistics().waiting == 0
            assert pool.statistics().cancelled == 1
            await lease.release()
            await whole(pool, 1)

    loop_run(main)


def test_a_cancellation_that_meets_the_grant(loop_run: Callable[[Main], Any]) -> None:
    """In the same turn of the loop, in both orders: it goes on, and the connection to the next.
    (RUN-12)"""

    async def main(granted_first: bool) -> None:
        async with Pool(connect, max_size=1) as pool:
            lease = await pool.acquire()
            waits = asyncio.ensure_future(pool.acquire())
            behind = asyncio.ensure_future(pool.acquire())
            await turns()
            if granted_first:
                lease.discard()  # no await until its grant is there
                await until(lambda: pool.statistics().granted == 2)
                waits.cancel()
            else:
                waits.cancel()
                lease.discard()
            with pytest.raises(asyncio.CancelledError):
                await waits
            await (await behind).release()

    for granted_first in (True, False):
        loop_run(lambda first=granted_first: main(first))  # type: ignore[misc]


def test_a_cancelled_block_loses_nothing(loop_run: Callable[[Main], Any]) -> None:
    """While it works, while its connection is reset, and again while that goes on."""

    async def main() -> None:
        async with Pool(connect, max_size=2) as pool:
            gate = asyncio.Event()

            async def caller() -> None:
                async with pool.connection() as connection:
                    connection.gate = gate
                    await turns(3)

            for rounds in range(12):
                for times in (1, 2):
                    gate.clear()
                    task = asyncio.ensure_future(caller())
                    await turns(rounds)
                    for _ in range(times):
                        task.cancel()
                        await turns(1)
                    gate.set()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    await until(lambda: not pool.statistics().in_use)
            await whole(pool, 2)

    loop_run(main)


def test_a_scope_of_anyio_that_cancels_again_and_again() -> None:
    async def main() -> None:
        async with Pool(connect, max_size=1) as pool:
            gate = asyncio.Event()
            with anyio.CancelScope() as scope:
                async with pool.connection() as connection:
                    connection.gate = gate
                    scope.cancel()
                    await anyio.sleep_forever()
            assert scope.cancelled_caught
            gate.set()
            await whole(pool, 1)

    asyncio.run(main())


@pytest.mark.parametrize("rest", [False, True], ids=["unknown", "at rest"])
def test_a_block_that_is_cancelled_in_a_query(rest: bool, loop_run: Callable[[Main], Any]) -> None:
    """The connection is closed, unless its driver knows that nothing is still to come."""

    async def main() -> None:
        async with Pool(connect, max_size=1) as pool:
            if rest:
                pool._driver.is_at_rest = lambda connection: True

            inside: list[Connection] = []

            async def caller() -> None:
                async with pool.connection() as connection:
                    inside.append(connection)
                    await asyncio.Event().wait()

            task = asyncio.ensure_future(caller())
            await until(lambda: inside)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await whole(pool, 1)
            assert pool.statistics().opened == (1 if rest else 2)

    loop_run(main)


def test_a_generator_that_is_closed_gives_back(loop_run: Callable[[Main], Any]) -> None:
    """Nothing may be awaited there: the pool does what is left to do."""

    async def main() -> None:
        async with Pool(connect, max_size=1) as pool:

            async def rows() -> AsyncIterator[int]:
                async with pool.connection():
                    for number in range(10):
                        yield number

            generator: Any = rows()
            assert await generator.__anext__() == 0
            await generator.aclose()
            generator = rows()
            assert await generator.__anext__() == 0
            del generator
            gc.collect()
            await whole(pool, 1)

    loop_run(main)


# ------------------------------------------------------------ what is lost


def test_tasks_that_die_with_their_connection(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with Pool(connect, max_size=4) as pool:

            async def dies() -> None:
                lease = await pool.acquire()
                assert lease.connection.open
                raise ZeroDivisionError

            for _ in range(4):
                with pytest.raises(ZeroDivisionError):
                    await asyncio.ensure_future(dies())
            gc.collect()
            await whole(pool, 4)

    loop_run(main)


def test_a_lease_that_is_lost_on_another_thread(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with Pool(connect, max_size=1) as pool:
            leases = [await pool.acquire()]
            thread = threading.Thread(target=leases.clear)
            thread.start()
            thread.join()
            await whole(pool, 1)

    loop_run(main)


def test_what_is_lost_and_what_leaks_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        told: list[str | None] = []
        listeners: Any = {"leak": lambda notice: told.append(notice.stack)}
        async with Pool(connect, leak_after=0.01, listeners=listeners) as pool:
            lease: Any = await pool.acquire()
            for _ in range(1000):
                if told:
                    break
                await asyncio.sleep(0.01)
            assert told[0] is not None
            assert "test_what_is_lost_and_what_leaks_is_told" in told[0]
            del lease
            gc.collect()
            await until(lambda: pool.statistics().closed)

    asyncio.run(main())
    texts = [record.getMessage() for record in caplog.records]
    assert any("was lost after" in text and "task 'Task-" in text for text in texts)


# ------------------------------------------------------------ loops, threads, processes


def test_one_pool_in_several_runs() -> None:
    """The loop of the last run is closed: its connections are dropped, and the pool begins anew."""
    pool: Pool[Connection] = Pool(connect, max_size=1)
    seen: list[Connection] = []
    leases: list[Lease[Connection]] = []

    async def main() -> None:
        async with pool.connection() as connection:
            seen.append(connection)
        leases.append(await pool.acquire())

    async def late() -> bool:
        return await leases[0].release()

    asyncio.run(main())
    assert seen[0].open
    asyncio.run(main())
    assert not seen[0].open
    assert seen[1] is not seen[0]
    assert asyncio.run(late()) is False


def test_connects_that_the_end_of_a_loop_cuts_short() -> None:
    """Also those whose tasks never had a first step."""
    pool: Pool[Connection] = Pool(connect, min_idle=2, max_size=2, max_opening=None)

    async def main() -> None:
        pool.resize(min_idle=2)

    async def later() -> None:
        await whole(pool, 2)
        assert await pool.close()

    asyncio.run(main())
    asyncio.run(later())


def test_another_loop_is_refused() -> None:
    """It is named, and nothing is lost. (RUN-11)"""

    async def main() -> None:
        async with Pool(connect, max_size=1) as pool:
            lease = await pool.acquire()
            errors: list[BaseException] = []

            def elsewhere() -> None:
                for call in (lease.release, pool.acquire, pool.close):
                    with pytest.raises(WrongLoop) as refused:
                        asyncio.run(call())  # type: ignore[operator]
                    errors.append(refused.value)
                for order in (lease.discard, pool.drain):
                    with pytest.raises(WrongLoop) as refused:
                        order()
                    errors.append(refused.value)

            await asyncio.to_thread(elsewhere)
            assert str(errors[0]).count("EventLoop") == 2  # both are named
            assert len(errors) == 5
            assert lease.connection.open
            await lease.release()
            await whole(pool, 1)

    asyncio.run(main())


def test_outside_a_loop() -> None:
    pool: Pool[Connection] = Pool(connect)
    with pytest.raises(WrongLoop, match="no event loop"):
        pool.acquire().send(None)
    pool.resize(max_size=3)
    assert pool.statistics().max_size == 3


def test_the_wrong_kind_of_block() -> None:
    async def main() -> None:
        sync: Any = Pool(connect)
        with pytest.raises(TypeError, match="async with"), sync:
            pass
        with pytest.raises(TypeError, match="async with"), sync.connection():
            pass
        with pytest.raises(TypeError, match="async with"):
            await sync.connection()
        lease = await sync.acquire()
        with pytest.raises(TypeError, match="async with"), lease:
            pass
        with pytest.raises(AttributeError, match=r"lease\.connection"):
            lease.execute  # noqa: B018
        with pytest.raises(TypeError, match="copied"):
            copy.copy(lease)
        with pytest.raises(TypeError, match="copied"):
            copy.copy(sync)
        await lease.release()
        assert await sync.close()

    asyncio.run(main())


def test_drivers_of_the_other_kind() -> None:
    async def main() -> None:
        blocking: Pool[Any] = Pool(lambda: sqlite3.connect(":memory:"))
        with pytest.raises(OpenError) as refused:
            await blocking.acquire(30.0)
        assert "blocking driver" in str(refused.value.__cause__)
        assert "aiosqlite" in str(refused.value.__cause__)
        await blocking.close()

    asyncio.run(main())
    with pytest.raises(ValueError, match="connect="):
        pool.Pool(connect)


HANGS_AT_EXIT = """
import asyncio, aiosqlite
from pool.aio import Pool
pool = Pool(lambda: aiosqlite.connect(":memory:"))
async def main():
    global lease
    lease = await pool.acquire()
    async with pool.connection() as connection:
        await connection.execute("select 1")
    print("done")  # and no connect is under way, which aiosqlite's thread would not survive
asyncio.run(main())
"""


def test_a_program_that_never_closes_its_pool_ends() -> None:
    """aiosqlite has a thread for each connection, and an interpreter waits for threads."""
    done = run([sys.executable, "-c", HANGS_AT_EXIT])
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_process_begins_anew() -> None:
    async def main() -> None:
        async with Pool(connect, max_size=1) as pool:
            lease = await pool.acquire()
            with warnings.catch_warnings():  # other tests may have left a thread
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if not child:
                status = 1
                try:
                    assert pool.statistics().in_use == 0
                    assert lease.connection.open

                    async def inside() -> None:
                        assert await lease.release() is False
                        async with pool.connection() as connection:
                            assert connection.number == number + 1

                    asyncio._set_running_loop(None)
                    asyncio.new_event_loop().run_until_complete(inside())
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
            assert await lease.release() is True

    number = Connection.made + 1
    asyncio.run(main())


def test_close_waits_for_others_and_not_for_its_own(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        pool: Pool[Connection] = Pool(connect, max_size=2)
        gate = asyncio.Event()

        async def holds() -> None:
            async with pool.connection():
                await gate.wait()

        task = asyncio.ensure_future(holds())
        await until(lambda: pool.statistics().in_use)
        assert await pool.close(0.01) is False
        lease = None
        gate.set()
        assert await pool.close(30.0) is True
        await task
        pool = Pool(connect, max_size=2)
        lease = await pool.acquire()
        assert await pool.close(None) is False
        await lease.release()
        assert await pool.close(None) is True

    loop_run(main)


def test_what_is_plain_may_be_plain() -> None:
    """Functions that are no coroutine functions."""
    said: list[str] = []

    def check(_: Any) -> None:
        said.append("check")

    def reset(_: Any) -> None:
        said.append("reset")

    def configure(_: Any) -> None:
        said.append("configure")

    def close(_: Any) -> None:
        said.append("close")

    async def main() -> None:
        hooks: dict[str, Any] = {
            "check": check,
            "reset": reset,
            "configure": configure,
            "close": close,
        }
        async with Pool(object, max_size=1, check_after=0.0, **hooks) as pool:
            for _ in range(2):
                async with pool.connection():
                    pass

    asyncio.run(main())
    assert said == ["configure", "reset", "check", "reset", "close"]


def test_what_a_pool_does_is_recorded_and_checked(loop_run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        pool: Pool[Connection] = Pool(connect, max_size=1)
        with Recorder(pool) as recorder:
            async with pool.connection():
                waiting = asyncio.ensure_future(pool.acquire())
                await turns()
            await (await waiting).release()
        kinds = [type(event).__name__ for event, _ in recorder.history]
        assert kinds.count("Acquire") == kinds.count("Release") == 2
        assert recorder.check() == []
        await pool.close()
        assert len(recorder.history) == len(kinds)

    loop_run(main)


def test_a_recorder_within_a_transition_is_refused() -> None:
    pool: Pool[Connection] = Pool(connect)
    pool._runtime.monitor.applying = True
    with pytest.raises(PoolReentered):
        Recorder(pool)
