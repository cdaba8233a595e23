"""What the runtime for asyncio owes its callers, where a mutant of it showed that no test asked.

Theory.  Each of these kills mutants that `make mutation-runtime` found alive in `pool/tasks`.
"""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest

from pool import PoolTimeout
from pool.core.effects import Close, Open
from pool.core.events import (
    Acquire,
    CloseAll,
    Dead,
    Discard,
)
from pool.core.state import leased
from pool.shared import forks
from pool.shared.handles import Handle
from pool.tasks import performer
from pool.tasks.performer import NEVER, Check
from tests.integration.asynchronous import (
    Connection,
    Struck,
    ended,
    nothing,
    of,
    once,
    running,
    until,
    watched,
)
from tests.integration.drivers import PATIENCE

# ------------------------------------------------------------ checks


def test_a_check_without_limit_has_no_alarm() -> None:
    async def main() -> None:
        runtime = running(check_after=0.0)
        assert runtime.check_after == 0.0
        assert running().check_after == 0.0
        handle = await runtime.acquire(PATIENCE)
        loop = asyncio.get_running_loop()
        for seconds, is_set in ((None, False), (NEVER, False), (1e9, False), (60.0, True)):
            runtime.check_timeout = seconds
            check = Check(SimpleNamespace(wake=lambda: None), handle.key, handle.held)  # type: ignore[arg-type]
            runtime._begin_check(loop, check)
            await until(lambda check=check: check.answer is not None)
            assert (check.alarm is not None) is is_set
        await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())


async def stubborn(gate: asyncio.Event, cancelled: list[int]) -> bool:
    """A driver that does not let itself be cancelled."""
    while not gate.is_set():
        try:
            await gate.wait()
        except asyncio.CancelledError:
            cancelled.append(1)
    return True


def test_a_check_that_took_too_long_is_answered_at_once() -> None:
    """Whatever its driver makes of that; its connection is closed when it has come to its end."""

    async def main() -> None:
        gate, cancelled = asyncio.Event(), list[int]()
        runtime = running(check_after=0.0, check_timeout=0.01)
        await runtime.release(await runtime.acquire(PATIENCE))
        runtime.driver.on_check = lambda _: stubborn(gate, cancelled)
        handle = await asyncio.wait_for(runtime.acquire(None), PATIENCE)
        assert handle.held is runtime.driver.made[1]
        assert cancelled == [1]
        for _ in range(10):
            await asyncio.sleep(0)
        assert "purepool close" not in runtime.driver.said, "it is still being asked"
        gate.set()
        await until(lambda: "purepool close" in runtime.driver.said)
        await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())


def test_a_check_that_outlasts_its_close_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(performer, "PATIENCE", 0.01)

    async def main() -> None:
        gate, cancelled = asyncio.Event(), list[int]()
        runtime = running(check_after=0.0, check_timeout=0.01)
        await runtime.release(await runtime.acquire(PATIENCE))
        runtime.driver.on_check = lambda _: stubborn(gate, cancelled)
        handle = await asyncio.wait_for(runtime.acquire(None), PATIENCE)
        while len(cancelled) < 2:
            await asyncio.sleep(0.001)
        assert runtime.driver.terminated == [runtime.driver.made[0]]
        gate.set()
        monkeypatch.undo()
        await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())


def test_a_check_that_is_cancelled_means_dead() -> None:
    async def main() -> None:
        runtime = running(check_after=0.0)
        await runtime.release(await runtime.acquire(PATIENCE))

        async def cancelled(_: Any) -> None:
            raise asyncio.CancelledError

        runtime.driver.on_check = cancelled
        handle = await runtime.acquire(PATIENCE)
        assert handle.held is runtime.driver.made[1]
        await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [PATIENCE, 0])
def test_what_is_told_of_a_dead_connection(timeout: float) -> None:
    """Which it was, and whether its caller waits for another."""

    async def main() -> None:
        runtime = running(check_after=0.0, clock=lambda: 5.0)
        handle = await runtime.acquire(PATIENCE)
        key = handle.key
        await runtime.release(handle)

        async def dead(_: Any) -> bool:
            return False

        runtime.driver.on_check = dead
        events = watched(runtime)
        handle = Handle(runtime)
        try:
            await runtime.acquire(timeout, None, handle)
        except PoolTimeout:
            assert not timeout
        else:
            assert timeout
            await runtime.release(handle)
        ticket = of(Acquire, events).ticket
        assert of(Dead, events) == Dead(5.0, ticket, key, bool(timeout))
        await ended(runtime)

    asyncio.run(main())


@pytest.mark.parametrize("answer", [True, False])
def test_a_check_whose_caller_is_gone(answer: bool) -> None:
    """Its connection goes back, or is closed, when the answer comes."""

    async def main() -> None:
        gate = asyncio.Event()
        runtime = running(check_after=0.0, clock=lambda: 5.0)
        await runtime.release(await runtime.acquire(PATIENCE))

        async def asked(_: Any) -> bool:
            await gate.wait()
            return answer

        runtime.driver.on_check = asked
        with pytest.raises(PoolTimeout):
            await runtime.acquire(0.01)
        assert runtime.state.in_use
        events = watched(runtime)
        gate.set()
        await until(lambda: not runtime.state.in_use)
        if not answer:
            assert of(Discard, events).now == 5.0
        await ended(runtime)

    asyncio.run(main())


@pytest.mark.parametrize("late", [False, True])
def test_a_connection_that_was_closed_while_it_was_asked(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By somebody else: its caller asks anew, in the same name; if its deadline has passed
    meanwhile, it does not wait."""

    async def main() -> None:
        gate = asyncio.Event()
        runtime = running(check_after=0.0, clock=lambda: 5.0)
        await runtime.release(await runtime.acquire(PATIENCE))

        async def asked(_: Any) -> bool:
            await gate.wait()
            return False

        runtime.driver.on_check = asked
        events = watched(runtime)
        handle = Handle(runtime)
        task = asyncio.ensure_future(runtime.acquire(PATIENCE, "me", handle))
        await until(lambda: "purepool check" in runtime.driver.said)
        before = handle.ticket
        runtime.apply(CloseAll(5.0))
        gate.set()
        await task
        assert handle.held is runtime.driver.made[1]
        assert handle.ticket > before
        first, second = [event for event in events if type(event) is Acquire]
        assert first == Acquire(5.0, before, True, "me")
        assert second == Acquire(5.0, handle.ticket, True, "me")
        assert of(Dead, events).now == 5.0
        (lease,) = leased(runtime.state.in_use).values()
        assert lease.owner == "me"
        assert not runtime.monitor.cells
        await runtime.release(handle)
        await ended(runtime)

    async def too_late() -> None:
        gate = asyncio.Event()
        runtime = running(check_after=0.0)
        await runtime.release(await runtime.acquire(PATIENCE))

        async def asked(_: Any) -> bool:
            await gate.wait()
            return False

        runtime.driver.on_check = asked
        events = watched(runtime)
        task = asyncio.ensure_future(runtime.acquire(0))
        await until(lambda: "purepool check" in runtime.driver.said)
        runtime.apply(CloseAll(runtime.clock()))
        gate.set()
        with pytest.raises(PoolTimeout):
            await task
        first, second = [event for event in events if type(event) is Acquire]
        assert first.wait is second.wait is False
        assert not runtime.monitor.cells
        await ended(runtime)

    monkeypatch.setattr("pool.tasks.runtime.AT_ONCE", PATIENCE)
    asyncio.run(too_late() if late else main())


# ------------------------------------------------------------ callers


def test_what_a_caller_met() -> None:
    async def main() -> None:
        waits: list[int] = []
        longer: list[int] = []
        runtime = running(check_after=60.0)
        runtime.on_wait, runtime.on_long_wait = waits.append, longer.append
        first = await runtime.acquire(PATIENCE)
        assert (first.has_waited, first.is_new) == (True, True)
        assert waits == longer == [first.ticket]
        task = asyncio.ensure_future(runtime.acquire(PATIENCE))
        await until(lambda: len(waits) == 2)
        await runtime.release(first)
        second = await task
        assert (second.has_waited, second.is_new) == (True, False)
        await runtime.release(second)
        third = await runtime.acquire(PATIENCE)
        assert (third.has_waited, third.is_new) == (False, False)
        await runtime.release(third)
        assert waits == longer == [first.ticket, second.ticket]
        runtime.check_after = 0.0
        fourth = await runtime.acquire(PATIENCE)  # asked, and there without a wait for its place
        assert (fourth.has_waited, fourth.is_new) == (False, False)
        await runtime.release(fourth)
        await ended(runtime)

    asyncio.run(main())


@pytest.mark.parametrize(("timeout", "is_set"), [(NEVER, False), (1e9, False), (60.0, True)])
def test_a_deadline_that_never_comes_has_no_alarm(timeout: float, is_set: bool) -> None:
    async def main() -> None:
        runtime = running()
        loop: Any = asyncio.get_running_loop()
        handle = await runtime.acquire(None)
        set_for: list[float] = []
        real = loop.call_later

        def call_later(delay: float, *arguments: Any, **more: Any) -> Any:
            set_for.append(delay)
            return real(delay, *arguments, **more)

        loop.call_later = call_later
        task = asyncio.ensure_future(runtime.acquire(timeout))
        await until(lambda: runtime.monitor.cells)
        del loop.call_later
        assert (timeout in set_for) is is_set
        await runtime.release(handle)
        await runtime.release(await task)
        await ended(runtime)

    asyncio.run(main())


def test_a_caller_in_a_hurry_waits_a_moment_for_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for ever, and the connection is not lost."""
    monkeypatch.setattr("pool.tasks.runtime.AT_ONCE", 0.01)

    async def main() -> None:
        gate = asyncio.Event()
        runtime = running(check_after=0.0)
        await runtime.release(await runtime.acquire(PATIENCE))

        async def asked(_: Any) -> bool:
            await gate.wait()
            return True

        runtime.driver.on_check = asked
        with pytest.raises(PoolTimeout, match="did not answer"):
            await asyncio.wait_for(runtime.acquire(0), PATIENCE)
        gate.set()
        await until(lambda: not runtime.state.in_use)
        handle = await runtime.acquire(0)
        assert handle.held is runtime.driver.made[0]
        await runtime.release(handle)
        await ended(runtime)

    asyncio.run(main())


def test_an_acquire_that_never_began_has_nothing_to_lose() -> None:
    """It was struck before it had a ticket, and its handle is collected."""

    async def main() -> None:
        runtime = running()
        other = await runtime.acquire(PATIENCE)  # ticket 1
        clock = runtime.clock
        runtime.clock = once(clock, Struck())
        handle: Any = Handle(runtime)
        with pytest.raises(Struck):
            await runtime.acquire(PATIENCE, None, handle)
        assert (handle.ticket, handle.key) == (0, 0)
        del handle
        gc.collect()
        await asyncio.sleep(0)
        assert runtime.state.in_use
        assert await runtime.release(other) is True
        await ended(runtime)

    asyncio.run(main())


def test_what_is_given_back_is_reset_unless_it_is_said_to_be_clean() -> None:
    async def main() -> None:
        runtime = running(check_after=60.0)
        runtime.driver.clean = False
        seen: list[Any] = []

        async def reset(connection: Any) -> bool:
            seen.append(connection)
            return True

        runtime.driver.on_reset = reset
        for clean in ({}, {"clean": False}, {"clean": True}):
            handle = await runtime.acquire(PATIENCE)
            assert await runtime.release(handle, **clean) is True
        assert seen == [runtime.driver.made[0]] * 2
        handle = await runtime.acquire(PATIENCE)
        given = runtime.give_back(handle)
        assert type(given) is not bool
        assert await given is True
        assert len(seen) == 3
        assert runtime.give_back(handle) is False, "it has ended"
        assert runtime.discard(handle) is False
        await ended(runtime)

    asyncio.run(main())


def test_a_handle_of_another_pool() -> None:
    async def main() -> None:
        mine, other = running(), running()
        handle = await other.acquire(PATIENCE)
        for call in (mine.give_back, mine.discard):
            with pytest.raises(ValueError, match="belongs to another pool"):
                call(handle)
        assert await other.release(handle) is True
        await ended(mine)
        await ended(other)

    asyncio.run(main())


# ------------------------------------------------------------ loops and processes


def test_whether_it_is_running() -> None:
    runtime = running()
    assert runtime.is_running() is False

    async def main() -> None:
        runtime.bind()
        assert runtime.is_running() is True
        await ended(runtime)

    asyncio.run(main())
    assert runtime.is_running() is False


def test_what_a_closed_loop_leaves_is_dropped() -> None:
    """What was being closed, too, and what was to be; once each."""
    runtime = running(max_size=3)

    async def hangs(_: Any) -> None:
        await asyncio.Event().wait()

    async def main() -> Any:
        runtime.driver.on_close = hangs
        handles = [await runtime.acquire(PATIENCE) for _ in range(3)]
        runtime.discard(handles[0])
        await until(lambda: "purepool close" in runtime.driver.said)
        return handles

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    handles = loop.run_until_complete(main())
    loop.close()
    unsaid = Connection(9)
    runtime.monitor.jobs[1] = Close(99, unsaid, "dead")
    runtime.monitor.jobs[2] = Open(None)

    async def again() -> None:
        runtime.driver.on_close = nothing
        runtime.bind()
        dropped = [*runtime.driver.made, unsaid]
        assert sorted(map(repr, runtime.driver.terminated)) == sorted(map(repr, dropped))
        handle = await runtime.acquire(PATIENCE)
        assert await runtime.release(handle) is True
        await ended(runtime)

    asyncio.run(again())
    del handles


def test_a_child_keeps_what_is_the_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks, cells, the timer and what is being closed are never collected there."""

    async def main() -> None:
        runtime = running(max_idle=60.0)
        handle = await runtime.acquire(PATIENCE)
        runtime._look()
        assert runtime.monitor.alarm is not None
        kept: list[Any] = []
        monkeypatch.setattr(forks, "keep", lambda *things: kept.append(things))
        monitor = runtime.monitor
        theirs = (monitor.tasks, monitor.cells, monitor.alarm, monitor.closing)
        runtime._after_fork()
        (found,) = [things for things in kept if len(things) == 4 and things[0] is monitor.tasks]
        assert all(one is other for one, other in zip(found, theirs, strict=True))
        assert runtime.monitor is not monitor
        assert await runtime.release(handle) is False
        monkeypatch.undo()
        await ended(runtime)

    asyncio.run(main())
