"""What `pool.aio.Pool` and its leases owe where a mutant of them showed that no test asked.

Theory.  Each of these kills mutants that `make mutation-runtime` found alive in `pool/aio`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from types import SimpleNamespace
from typing import Any

import pytest

import pool as threads
from pool.aio import Lease, LeaseEnded, Pool, PoolTimeout
from pool.aio import api as face
from pool.aio.holders import introduce
from pool.core.effects import Leaked
from pool.core.events import CloseAll, Tick
from pool.core.state import leased
from pool.shared.holders import Holder
from pool.tasks import exits
from pool.tasks.performer import NEVER
from tests.integration.asynchronous import Struck, ended, of, running, until, watched
from tests.integration.drivers import PATIENCE


class Connection:
    """Of an unknown driver."""

    def __init__(self) -> None:
        self.said: list[str] = []

    async def commit(self) -> None:
        self.said.append("commit")

    async def rollback(self) -> None:
        self.said.append("rollback")

    async def close(self) -> None:
        self.said.append("close")


async def hangs() -> Connection:
    await asyncio.Event().wait()
    return Connection()


def made(**settings: Any) -> Any:
    return Pool(Connection, max_size=1, **settings)


# ------------------------------------------------------------ settings


def test_what_both_faces_default_to() -> None:
    """What the other face has, which is compared with the page of options."""
    assert asyncio.run(made().close()) is True
    others = inspect.signature(threads.Pool).parameters
    for name, parameter in inspect.signature(Pool).parameters.items():
        assert parameter.default == others[name].default, name
    for method in ("close", "acquire", "connection", "wait", "resize"):
        ours, theirs = (inspect.signature(getattr(kind, method)) for kind in (Pool, threads.Pool))
        for name, parameter in ours.parameters.items():
            assert parameter.default == theirs.parameters[name].default, (method, name)


# ------------------------------------------------------------ waiting


def test_waiting_for_ever_for_one() -> None:
    async def main() -> None:
        async with made() as pool:
            await pool.wait(None)
            assert pool.statistics().idle == 1

    asyncio.run(main())


def test_waiting_for_one_that_does_not_come() -> None:
    async def main() -> None:
        pool: Any = Pool(hangs, max_size=1)
        with pytest.raises(PoolTimeout):
            await asyncio.wait_for(pool.wait(0.02), PATIENCE)
        await pool.close(0)

    asyncio.run(main())


def test_waiting_looks_at_the_time() -> None:
    async def main() -> None:
        async with made(min_idle=1) as pool:
            await pool.wait(PATIENCE)
            events = watched(pool._runtime)
            pool._runtime.clock = lambda: 1e6
            await pool.wait(PATIENCE)
            assert of(Tick, events) == Tick(1e6)

    asyncio.run(main())


# ------------------------------------------------------------ who is told, and what


def test_what_a_listener_is_told_of_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    async def main() -> None:
        async with made(listeners={"checkout": told.append}, check_after=60.0) as pool:
            times = iter([10.0, 12.5, 20.0, 20.0])
            monkeypatch.setattr(face, "time", SimpleNamespace(monotonic=lambda: next(times)))
            lease = await pool.acquire()
            connection = lease.connection
            (notice,) = told
            assert notice.connection is connection
            assert (notice.seconds, notice.is_new, notice.has_waited) == (2.5, True, True)
            await lease.release()
            lease = await pool.acquire()
            assert (told[1].seconds, told[1].is_new, told[1].has_waited) == (0.0, False, False)
            await lease.release()

    asyncio.run(main())


def test_what_a_listener_is_told_of_a_return() -> None:
    """Once, and why."""
    told: list[Any] = []

    async def main() -> None:
        async with made(listeners={"checkin": told.append}) as pool:
            lease = await pool.acquire()
            connection = lease.connection
            assert await lease.release() is True
            assert await lease.release() is False
            assert lease.discard() is False
            assert [(one.connection, one.reason) for one in told] == [(connection, "released")]
            lease = await pool.acquire()
            assert lease.discard() is True
            assert lease.discard() is False
            assert await lease.release() is False
            assert [one.reason for one in told] == ["released", "discarded"]
            assert told[1].connection is connection

    asyncio.run(main())


def test_a_connection_that_a_listener_had_in_hand_is_reset() -> None:
    """It may have used it, after the commit found nothing to do."""

    async def main(listeners: Any, resets: int) -> None:
        async with made(listeners=listeners) as pool:
            seen: list[Any] = []

            async def commit(_: Any) -> bool:
                return True

            async def reset(connection: Any) -> bool:
                seen.append(connection)
                return True

            driver = pool._driver
            driver.is_clean = lambda _: False
            driver.commit, driver.reset = commit, reset
            async with pool.connection() as connection:
                pass
            assert seen == [connection] * resets

    asyncio.run(main({}, 0))
    asyncio.run(main({"checkin": lambda _: None}, 1))


def test_a_holder_is_known_by_its_lease() -> None:
    """By a weak reference that tells the runtime; with the lines of code where leaks are asked for,
    and only there."""

    async def main(kind: type, **settings: Any) -> None:
        async with made(**settings) as pool:
            lease = await pool.acquire()
            (lent,) = leased(pool._runtime.state.in_use).values()
            assert type(lent.owner) is kind
            assert lent.owner() is lease
            assert lent.owner.__callback__ == pool._runtime.lost
            assert bool(pool._listeners.lent) is ("listeners" in settings)
            await lease.release()

    asyncio.run(main(Holder))
    asyncio.run(main(Holder, listeners={"checkout": lambda _: None}))
    asyncio.run(main(face.TracedHolder, leak_after=60.0))


def test_a_leak_that_is_over_is_forgotten() -> None:
    async def main() -> None:
        told: list[Any] = []
        async with made(leak_after=0.001, listeners={"leak": told.append}) as pool:
            for end in ("discard", "release"):
                lease = await pool.acquire()
                while not told:
                    await asyncio.sleep(0.001)
                assert pool._driver.leaks
                ended = getattr(lease, end)()
                assert (ended if end == "discard" else await ended) is True
                await until(lambda: not pool._driver.leaks)  # what is discarded: with its close
                told.clear()

    asyncio.run(main())


def test_a_leak_that_is_reported_while_its_lease_is_reset_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async def reset(_: Any) -> None:
            driver.report_leak(Leaked(lease.ticket, lease.key, owner, 3.0))
            resets.append(dict(driver.leaks))

        resets: list[Any] = []
        async with made(reset=reset) as pool:
            driver: Any = pool._driver
            lease = await pool.acquire()
            (lent,) = leased(pool._runtime.state.in_use).values()
            owner = lent.owner
            assert await lease.release() is True
            assert resets == [{}]
            driver.report_leak(Leaked(lease.ticket, lease.key, None, 3.0))
            assert driver.leaks == {}

    asyncio.run(main())
    assert [text.split()[4:6] for text in caplog.messages] == [["has", "been"], ["is", "no"]] * 2


def test_a_listener_that_is_struck_costs_no_connection() -> None:
    async def main() -> None:
        async with made(listeners={"checkout": lambda _: None}) as pool:

            def begin(*_: Any) -> None:
                raise Struck

            pool._listeners.begin = begin
            with pytest.raises(Struck):
                await pool.acquire()
            del pool._listeners.begin
            assert pool.statistics().in_use == 0
            await (await pool.acquire(PATIENCE)).release()

    asyncio.run(main())


# ------------------------------------------------------------ leases


def test_a_lease_holds_nothing_before_and_after() -> None:
    async def main() -> None:
        async with made() as pool:
            lease: Any = Lease(pool._runtime)
            assert lease.ended is True
            for end in ("release", "discard"):
                lease = await pool.acquire()
                assert lease.held is not None
                ended = getattr(lease, end)()
                assert (ended if end == "discard" else await ended) is True
                assert lease.held is None
                with pytest.raises(LeaseEnded, match="this lease has ended"):
                    lease.connection  # noqa: B018
            lease = await pool.acquire()
            pool._runtime.give_up(lease)
            assert lease.ended is True

    asyncio.run(main())


def test_a_block_in_itself() -> None:
    async def main() -> None:
        async with made() as pool:
            block = pool.connection()
            async with block as connection:
                with pytest.raises(RuntimeError, match="this block holds a connection"):
                    await block.__aenter__()
                assert block.connection is connection
            async with block as again:
                assert again is connection

    asyncio.run(main())


@pytest.mark.parametrize("error", [asyncio.CancelledError, Struck])
def test_the_end_of_a_block_by_an_exception(error: type[BaseException]) -> None:
    """Out of nowhere: what may be in the middle of something is closed, in a block of a lease, and
    where it comes in the middle of a commit."""

    async def of_a_lease(pool: Any) -> None:
        async with await pool.acquire() as lease:
            seen.append(lease.connection)
            raise error

    async def of_a_commit(pool: Any) -> None:
        async def struck(_: Any) -> bool:
            raise error

        async with pool.connection() as connection:
            seen.append(connection)
            pool._driver.commit = struck

    seen: list[Connection] = []

    async def main() -> None:
        for block in (of_a_lease, of_a_commit):
            async with made() as pool:
                task = asyncio.ensure_future(block(pool))
                await asyncio.wait([task])
                if error is not asyncio.CancelledError:
                    assert isinstance(task.exception(), Struck)
                await until(lambda: seen[-1].said == ["close"])

    asyncio.run(main())
    assert len(seen) == 2


def test_a_cancelled_block_whose_connection_is_at_rest_is_rolled_back() -> None:
    async def main() -> None:
        async with made() as pool:
            asked: list[Any] = []

            def is_at_rest(connection: Any) -> bool:
                asked.append(connection)
                return True

            pool._driver.is_at_rest = is_at_rest
            with pytest.raises(asyncio.CancelledError):
                async with pool.connection() as connection:
                    raise asyncio.CancelledError
            assert asked == [connection]
            await until(lambda: connection.said)
            assert connection.said == ["rollback"]

    asyncio.run(main())


# ------------------------------------------------------------ holders


def test_the_text_of_a_task_that_holds() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        taken: list[Any] = []

        async def takes() -> None:
            taken.append(introduce())
            await gate.wait()

        task = asyncio.create_task(takes(), name="mine")
        await until(lambda: taken)
        assert repr(taken[0]) == "task 'mine'"
        gate.set()
        await task
        assert repr(taken[0]) == "task 'mine' (a task that has ended)"
        del task
        assert repr(taken[0]) == "task 'mine' (a task that has ended)"

    asyncio.run(main())


def test_a_coroutine_without_a_task() -> None:
    """One that is driven by a callback."""

    async def main() -> None:
        taken: list[Any] = []
        asyncio.get_running_loop().call_soon(lambda: taken.append(introduce()))
        await until(lambda: taken)
        assert repr(taken[0]) == "task 'no task'"

    asyncio.run(main())


# ------------------------------------------------------------ the runtime as a whole


def test_what_is_said_of_a_pool_that_cannot_be_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pool")
    failure = ZeroDivisionError()

    def fails() -> bool:
        raise failure

    monkeypatch.setattr(exits, "_runtimes", [SimpleNamespace(is_running=fails)])
    exits.drop_what_is_kept()
    (record,) = caplog.records
    assert record.getMessage() == "connections could not be dropped at exit"
    assert record.exc_info is not None
    assert record.exc_info[1] is failure


def test_a_discard_of_what_is_no_longer_lent() -> None:
    async def main() -> None:
        runtime = running()
        handle = await runtime.acquire(PATIENCE)
        runtime.apply(CloseAll(runtime.clock()))
        assert runtime.discard(handle) is False
        await ended(runtime)

    asyncio.run(main())


@pytest.mark.parametrize(("timeout", "is_set"), [(NEVER, True), (math.inf, False), (1e9, False)])
def test_who_waits_for_the_pool_as_a_whole(timeout: float, is_set: bool) -> None:
    """A limit beyond all measure is none; afterwards nobody looks on."""

    async def main() -> None:
        runtime = running()
        loop: Any = asyncio.get_running_loop()
        real, alarms = loop.call_at, list[float]()
        there: list[bool] = []

        def call_at(when: float, *arguments: Any, **more: Any) -> Any:
            alarms.append(when)
            return real(when, *arguments, **more)

        runtime.bind()
        loop.call_at = call_at
        task = asyncio.ensure_future(runtime.until(lambda: bool(there), timeout))
        await until(lambda: runtime.monitor.onlookers)
        del loop.call_at
        assert bool(alarms) is is_set
        there.append(True)
        runtime.monitor.notify()
        assert await task is True
        assert not runtime.monitor.onlookers
        await ended(runtime)

    asyncio.run(main())


def test_who_does_not_wait_for_the_pool_as_a_whole() -> None:
    """With a timeout of 0, at the very same moment."""

    async def main() -> None:
        runtime = running()
        loop: Any = asyncio.get_running_loop()
        runtime.bind()
        loop.time = lambda: 5.0
        asked = runtime.until(lambda: False, 0)
        try:
            with pytest.raises(StopIteration) as stopped:
                asked.send(None)
        finally:
            del loop.time
        assert stopped.value.value is False
        await ended(runtime)

    asyncio.run(main())


def test_what_is_still_to_be_done_is_no_rest() -> None:
    async def main() -> None:
        runtime = running()
        runtime.bind()
        monitor = runtime.monitor
        assert runtime.is_at_rest() is True
        fields = monitor.current[0]
        monitor.current = (fields, (object(),))
        assert runtime.is_at_rest() is False
        monitor.current = (fields, ())
        for told in (monitor.jobs, monitor.closing):
            told[1] = object()
            assert runtime.is_at_rest() is False
            told.clear()
        await ended(runtime)

    asyncio.run(main())


def test_a_caller_cancelled_after_a_dead_connection_leaves_the_queue() -> None:
    """It had been granted one, waits for another, and has neither."""

    async def main() -> None:
        runtime = running(check_after=0.0)
        await runtime.release(await runtime.acquire(PATIENCE))
        gate = asyncio.Event()

        async def dead(_: Any) -> bool:
            return False

        async def slow(_: Any) -> None:
            await gate.wait()

        runtime.driver.on_check, runtime.driver.on_connect = dead, slow
        task = asyncio.ensure_future(runtime.acquire(PATIENCE))
        await until(lambda: runtime.monitor.connecting)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert runtime.state.counters.cancelled == 1
        assert not runtime.monitor.cells
        gate.set()
        handle = await runtime.acquire(PATIENCE)
        await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())
