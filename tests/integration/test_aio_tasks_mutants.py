"""What the runtime for asyncio does with its tasks, where a mutant showed that no test asked.

Theory.  Each of these kills mutants that `make mutation-runtime` found alive in `pool/tasks`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from pool import OpenError, PoolReentered
from pool.aio import Pool
from pool.core.effects import Close, Leaked, Open
from pool.core.events import (
    Configure,
    Opened,
    OpenFailed,
    Release,
    Tick,
)
from pool.core.outlook import JITTER
from pool.core.transition import wake_at
from pool.shared.errors import WITHIN
from pool.shared.observation import observe
from tests.integration.asynchronous import (
    Connection,
    Struck,
    ended,
    nothing,
    of,
    once,
    quietly,
    running,
    until,
    watched,
)
from tests.integration.drivers import PATIENCE

# ------------------------------------------------------------ tasks


def test_the_tasks_of_a_pool_are_named() -> None:
    async def main() -> None:
        runtime = running(check_after=0.0)
        runtime.driver.clean = False
        handle = await runtime.acquire(PATIENCE)
        assert await runtime.release(handle) is True
        handle = await runtime.acquire(PATIENCE)
        assert runtime.discard(handle) is True
        await ended(runtime)
        names = [f"purepool {what}" for what in ("connect", "reset", "check", "close")]
        assert runtime.driver.said == names

    asyncio.run(main())


def test_what_a_task_leads_to_is_done_in_no_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")
    seen: dict[str, str] = {}

    async def main() -> None:
        now = [0.0]
        runtime = running(leak_after=10.0, clock=lambda: now[0])
        variable.set("a caller's")
        runtime.on_close = lambda _: seen.setdefault("close", variable.get())
        runtime.on_leak = lambda _: seen.setdefault("leak", variable.get())
        handle = await runtime.acquire(PATIENCE)
        now[0] = 10.0
        runtime.apply(Tick(now[0]))
        await until(lambda: "leak" in seen)
        runtime.discard(handle)
        await until(lambda: "close" in seen)
        await ended(runtime)

    asyncio.run(main())
    assert seen == {"leak": "nobody's", "close": "nobody's"}


def test_what_has_been_begun_is_not_begun_again() -> None:
    """By whoever had it in a list of his own, while an eager task came here in between."""

    async def main() -> None:
        runtime = running()
        reported: list[Any] = []
        runtime.on_leak = reported.append
        runtime.bind()
        for effect in (Leaked(1, 1, None, 1.0), Close(7, "c7", "dead"), Open(None)):
            runtime._begin(effect)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (reported, runtime.driver.said) == ([], [])

    asyncio.run(main())


def test_a_leak_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        now = [0.0]
        runtime = running(leak_after=10.0, clock=lambda: now[0])
        reported: list[Any] = []

        def report(leak: Any) -> None:
            reported.append(leak)
            raise ZeroDivisionError

        runtime.on_leak = report
        handle = await runtime.acquire(PATIENCE)
        now[0] = 10.0
        runtime.apply(Tick(now[0]))
        await until(lambda: reported)
        assert not runtime.monitor.jobs
        for _ in range(3):
            runtime.apply(Tick(now[0]))
            await asyncio.sleep(0)
        (leak,) = reported
        assert (leak.ticket, leak.key) == (handle.ticket, handle.key)
        assert await runtime.release(handle) is True
        await ended(runtime)

    asyncio.run(main())
    (record,) = caplog.records
    assert record.getMessage() == "me: reporting a leak failed"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_what_became_of_a_task_is_not_lost_by_an_exception() -> None:
    """One that comes while it is noted: it is noted again, with the same."""

    async def main() -> None:
        runtime = running()
        runtime.bind()
        seen: list[Any] = []

        def end(*about: Any) -> None:
            seen.append(about)
            if len(seen) == 1:
                raise Struck

        task = asyncio.ensure_future(asyncio.sleep(0))
        runtime.monitor.tasks.add(task)
        with pytest.raises(Struck):
            runtime._ended(end, (1, 2), task)
        assert seen == [(task, 1, 2)] * 2
        assert task not in runtime.monitor.tasks
        runtime._ended(end, (1, 2), task)
        assert len(seen) == 2, "it was of a loop that was given up"
        await task

    asyncio.run(main())


def test_a_connect_that_is_cancelled_has_failed() -> None:
    """By whoever finds the pool's task: its place is free again."""

    async def main() -> None:
        runtime = running()
        events = watched(runtime)

        async def cancelled(_: Any) -> None:
            runtime.driver.on_connect = nothing
            raise asyncio.CancelledError

        runtime.driver.on_connect = cancelled
        with pytest.raises(OpenError):
            await runtime.acquire(PATIENCE)
        assert of(OpenFailed, events).error.kind == "CancelledError"
        handle = await runtime.acquire(PATIENCE)
        assert await runtime.release(handle) is True
        await ended(runtime)

    asyncio.run(main())


def test_what_a_connect_tells() -> None:
    async def main() -> None:
        now = [10.0]
        runtime = running(clock=lambda: now[0], jitter=lambda: 0.5)
        events = watched(runtime)

        async def takes(_: Any) -> None:
            now[0] += 2.0

        async def fails(_: Any) -> None:
            runtime.driver.on_connect = takes
            raise OSError("away")

        runtime.driver.on_connect = fails
        with pytest.raises(OpenError):
            await runtime.acquire(PATIENCE)
        failed = of(OpenFailed, events)
        assert (failed.now, failed.ticket, failed.jitter) == (10.0, None, 0.25)
        now[0] += 1.0
        handle = await runtime.acquire(PATIENCE)
        opened = of(Opened, events)
        assert opened == Opened(13.0, None, handle.held, 11.0, 0.5 * JITTER)
        assert not runtime.monitor.connecting
        await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())


def test_each_connect_has_its_own_beginning() -> None:
    async def main() -> None:
        now, gate = [1.0], asyncio.Event()
        runtime = running(max_size=2, max_opening=None, clock=lambda: now[0])
        events = watched(runtime)

        async def waits(_: Any) -> None:
            await gate.wait()

        runtime.driver.on_connect = waits
        tasks = [asyncio.ensure_future(runtime.acquire(PATIENCE))]
        await until(lambda: len(runtime.driver.said) == 1)
        now[0] = 2.0
        tasks.append(asyncio.ensure_future(runtime.acquire(PATIENCE)))
        await until(lambda: len(runtime.driver.said) == 2)
        now[0] = 3.0
        gate.set()
        handles = await asyncio.gather(*tasks)
        assert [event.created for event in events if type(event) is Opened] == [1.0, 2.0]
        for handle in handles:
            await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())


def test_a_connect_that_was_struck_as_it_was_noted() -> None:
    async def main() -> None:
        quietly()
        runtime = running()
        events = watched(runtime)
        runtime.jitter = once(lambda: 0.0, Struck())
        handle = await runtime.acquire(PATIENCE)
        opened = of(Opened, events)
        assert isinstance(opened.created, float)
        assert await runtime.release(handle) is True
        await ended(runtime)

    asyncio.run(main())


def test_a_reset_that_was_struck_as_it_was_noted() -> None:
    async def main() -> None:
        quietly()
        runtime = running()
        runtime.driver.clean = False
        handle = await runtime.acquire(PATIENCE)
        release = runtime._release
        runtime._release = once(release, Struck())
        assert await runtime.release(handle) is True
        await ended(runtime)

    asyncio.run(main())


def test_a_check_that_was_struck_as_it_was_noted() -> None:
    async def main() -> None:
        quietly()
        runtime = running(check_after=0.0)
        await runtime.release(await runtime.acquire(PATIENCE))

        async def fails(_: Any) -> None:
            raise OSError("gone")

        runtime.driver.on_check = fails
        runtime.number_of = once(lambda key, _: key, Struck())
        handle = await runtime.acquire(PATIENCE)
        assert handle.held is runtime.driver.made[1]
        await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())


def test_a_close_that_was_struck_as_it_was_noted() -> None:
    async def main() -> None:
        quietly()
        runtime = running()
        handle = await runtime.acquire(PATIENCE)
        runtime.discard(handle)
        looks_on = asyncio.ensure_future(runtime.until(runtime.is_at_rest, None))
        await until(lambda: runtime.monitor.onlookers)
        leave = runtime._leave
        runtime._leave = once(leave, Struck())
        await until(lambda: looks_on.done())
        assert not runtime.monitor.closing
        runtime._leave = leave
        await ended(runtime)

    asyncio.run(main())


# ------------------------------------------------------------ messages


def numbered(runtime: Any) -> list[Any]:
    """Of what a number was asked."""
    asked: list[Any] = []

    def number_of(key: int, connection: Any) -> str:
        asked.append((key, connection))
        return f"number {len(asked)}"

    runtime.number_of = number_of
    return asked


def said(caplog: pytest.LogCaptureFixture, text: str) -> Any:
    """The one record with this text, and the error in it."""
    (record,) = [one for one in caplog.records if one.getMessage() == text]
    return record.exc_info[1] if record.exc_info else None


def test_what_is_said_of_a_connect_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pool")

    async def main() -> None:
        runtime = running()

        async def fails(_: Any) -> None:
            raise OSError("away")

        runtime.driver.on_connect = fails
        with pytest.raises(OpenError):
            await runtime.acquire(PATIENCE)
        runtime.driver.on_connect = nothing
        await ended(runtime)

    asyncio.run(main())
    assert said(caplog, "me: connect failed: OSError: away") is None


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("reset", "me: connection number 1 cannot be reset"),
        ("check", "me: connection number 1 is dead"),
        ("close", "me: closing connection number 2 failed"),
    ],
)
def test_what_is_said_of_a_driver_that_fails(
    what: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the connection that it was, and brings the error."""
    caplog.set_level(logging.DEBUG, "pool")
    failure = OSError("broken")

    async def fails(_: Any) -> None:
        raise failure

    async def main() -> None:
        runtime = running(check_after=0.0)
        runtime.driver.clean = what != "reset"
        asked = numbered(runtime)
        handle = await runtime.acquire(PATIENCE)
        key, connection = handle.key, handle.held
        setattr(runtime.driver, f"on_{what}", fails)
        assert await runtime.release(handle) is True
        if what == "check":
            handle = await runtime.acquire(PATIENCE)
            assert handle.held is not connection
            setattr(runtime.driver, f"on_{what}", nothing)
            await runtime.release(handle)
        await ended(runtime)
        assert asked[0] == (key, connection)
        if what == "close":
            assert asked[1] == (key, connection)

    asyncio.run(main())
    assert said(caplog, text) is failure
    if what != "close":
        assert not [one for one in caplog.records if "closing" in one.msg and "failed" in one.msg]


def test_what_is_said_of_a_close(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pool")

    async def main() -> None:
        runtime = running()
        asked = numbered(runtime)
        handle = await runtime.acquire(PATIENCE)
        key, connection = handle.key, handle.held
        runtime.discard(handle)
        await ended(runtime)
        assert asked == [(key, connection)]

    asyncio.run(main())
    assert said(caplog, "me: closing connection number 1: discarded") is None
    assert len(caplog.records) == 1


def test_what_is_said_of_one_that_cannot_be_dropped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pool")
    runtime = running()
    failure = OSError("stuck")

    def fails(_: Any) -> None:
        raise failure

    runtime.driver.terminate = fails
    runtime.terminate("c1")
    assert said(caplog, "me: a connection could not be dropped") is failure


# ------------------------------------------------------------ transitions


def test_what_is_asked_in_the_middle_of_a_transition_is_noted() -> None:
    async def main() -> None:
        runtime = running(clock=lambda: 5.0)
        monitor = runtime.monitor
        handle = await runtime.acquire(PATIENCE)
        ticket, key = handle.ticket, handle.key
        monitor.applying = True
        with pytest.raises(PoolReentered) as refused:
            await runtime.acquire(PATIENCE)
        assert str(refused.value) == WITHIN
        assert runtime._release(999, 999, False) is False
        assert runtime._release(ticket, key, True) is True
        tick = Tick(5.0)
        assert runtime.apply(tick) == monitor.apply(tick) == ()
        assert [note for (note,) in monitor.inbox] == [
            Release(5.0, 999, 999, False),
            Release(5.0, ticket, key, True),
            tick,
            tick,
        ]
        assert runtime.state.in_use, "nothing has happened yet"
        monitor.applying = False
        runtime._leave()
        assert not runtime.state.in_use
        assert not monitor.inbox
        handle.ended = True
        await ended(runtime)

    asyncio.run(main())


def test_a_release_of_what_is_no_longer_lent() -> None:
    async def main() -> None:
        runtime = running()
        runtime.bind()
        assert runtime._release(999, 999, True) is False
        await ended(runtime)

    asyncio.run(main())


def test_the_two_ordinary_events_take_their_shortcuts() -> None:
    async def main() -> None:
        runtime = running(clock=lambda: 5.0)
        monitor, asked = runtime.monitor, list[Any]()
        await runtime.release(await runtime.acquire(PATIENCE))
        real = monitor.shortcuts

        def acquire(*arguments: Any) -> Any:
            asked.append(arguments)
            return real.acquire(*arguments)

        def release(*arguments: Any) -> Any:
            asked.append(arguments)
            return real.release(*arguments)

        monitor.shortcuts = SimpleNamespace(acquire=acquire, release=release)
        before = monitor.current[0]
        handle = await runtime.acquire(PATIENCE, "me")
        lent = monitor.current[0]
        ticket, key = handle.ticket, handle.key
        assert await runtime.release(handle) is True
        assert asked == [(before, 5.0, ticket, True, "me"), (lent, 5.0, ticket, key, True)]
        assert asked[0][3] is asked[1][4] is True
        monitor.shortcuts = real
        await ended(runtime)

    asyncio.run(main())


def test_a_release_does_what_is_in_the_inbox() -> None:
    """With nobody who looks on, and nothing else to do."""

    async def main() -> None:
        runtime = running(max_size=2)
        first, second = [await runtime.acquire(PATIENCE) for _ in range(2)]
        first.ended = True
        runtime.monitor.inbox.append((first.ticket, first.key))
        assert await runtime.release(second) is True
        assert not runtime.monitor.inbox
        assert not runtime.state.in_use
        await ended(runtime)

    asyncio.run(main())


def test_an_observer_is_not_told_what_is_not_in_force() -> None:
    """It is written down first; whoever is interrupted then has changed nothing."""

    async def main() -> None:
        runtime = running()
        told: list[Any] = []
        observing = observe(runtime, lambda event, _: told.append(event), batch=1)
        runtime.monitor.observed(runtime.state, Tick(1.0))
        runtime._leave()
        assert told == []
        observing.stop()
        await ended(runtime)

    asyncio.run(main())


def test_an_observer_is_told_as_things_happen() -> None:
    async def main() -> None:
        pool: Pool[Any] = Pool(lambda: Connection(1), max_size=1)
        told: list[str] = []
        pool.observe(lambda event, _: told.append(type(event).__name__))
        lease = await pool.acquire()
        await lease.release()
        await (await pool.acquire()).release()
        assert told.count("Acquire") == 2
        assert told.count("Opened") == 1
        batches: list[str] = []
        pool.observe(lambda event, _: batches.append(type(event).__name__), batch=4)
        for _ in range(8):
            await (await pool.acquire()).release()
        assert len(batches) >= 8
        await pool.close()

    asyncio.run(main())


def test_what_is_due_no_earlier_is_not_looked_for() -> None:
    """Most events bring nothing forward; a new limit may."""

    async def main() -> None:
        runtime = running()
        looked: list[int] = []
        runtime.bind()
        runtime._look = lambda: looked.append(1)
        runtime.apply(Tick(runtime.clock()))
        assert not looked
        runtime.apply(Configure(runtime.clock(), runtime.state.limits))
        assert looked == [1]
        del runtime._look
        await ended(runtime)

    asyncio.run(main())


def test_what_was_asked_for_before_there_was_a_loop_is_done_in_it() -> None:
    runtime = running(max_size=2, min_idle=2, max_opening=None)
    runtime.apply(Tick(runtime.clock()))
    assert runtime.monitor.jobs
    assert not runtime.monitor.tasks

    async def main() -> None:
        runtime.bind()
        await until(lambda: len(runtime.driver.made) == 2)
        await ended(runtime)

    asyncio.run(main())


def test_a_tick_at_the_very_moment_that_it_is_due() -> None:
    async def main() -> None:
        now = [0.0]
        runtime = running(max_idle=10.0, clock=lambda: now[0])
        await runtime.release(await runtime.acquire(PATIENCE))
        now[0] = due = wake_at(runtime.state) or 0.0
        assert due >= 10.0
        runtime.monitor.outlook = None
        runtime._look()
        assert runtime.state.counters.closed or runtime.monitor.closing
        await ended(runtime)

    asyncio.run(main())
