"""A runtime for asyncio over a driver that does what it is told, and what tests ask of it.

Theory.  Nothing here takes time: what has to come first is waited for in rounds of the loop, and
where a moment matters the clock of the events is a number that the test sets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pool import Limits, step
from pool.core.events import (
    Shutdown,
)
from pool.tasks.runtime import Runtime
from tests.integration.drivers import PATIENCE

Does = Callable[[Any], Awaitable[Any]]


class Connection:
    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"c{self.number}"

    def __bool__(self) -> bool:
        """Whether a connection is true is its driver's affair."""
        return False


async def nothing(_: Any) -> Any:
    return True


class Driver:
    """Does what it is told, and remembers in whose name."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.terminated: list[Any] = []
        self.said: list[str] = []
        self.on_connect: Does = nothing
        self.on_check: Does = nothing
        self.on_reset: Does = nothing
        self.on_close: Does = nothing
        self.clean = True

    async def _do(self, what: Does, connection: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self.said.append(task.get_name())
        return await what(connection)

    async def connect(self) -> Any:
        await self._do(self.on_connect, None)
        self.made.append(Connection(len(self.made) + 1))
        return self.made[-1]

    async def is_alive(self, connection: Any) -> Any:
        return await self._do(self.on_check, connection)

    async def reset(self, connection: Any) -> Any:
        return await self._do(self.on_reset, connection)

    async def close(self, connection: Any) -> None:
        await self._do(self.on_close, connection)

    def is_clean(self, connection: Any) -> bool:
        return self.clean

    def terminate(self, connection: Any) -> None:
        self.terminated.append(connection)


def running(max_size: int | None = 1, **more: Any) -> Any:
    limits = {name: more.pop(name) for name in list(more) if hasattr(Limits, name)}
    given: dict[str, Any] = {"backoff_initial": 0.001, "backoff_max": 0.01, **limits}
    runtime: Any = Runtime(
        Driver(), Limits(max_size=max_size, opener="background", **given), **more
    )
    runtime.label = "me: "
    return runtime


def watched(runtime: Any) -> list[Any]:
    """Every event from now on; nothing takes a shortcut any more."""
    events: list[Any] = []

    def look_on(state: Any, event: Any) -> Any:
        events.append(event)
        return step(state, event)

    runtime.step = look_on
    return events


def of(kind: type, events: list[Any]) -> Any:
    (found,) = [event for event in events if type(event) is kind]
    return found


async def until(holds: Callable[[], Any]) -> None:
    """Let the loop go round until this holds; far more rounds than it takes."""
    for _ in range(100_000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")


async def ended(runtime: Any) -> None:
    """It is closed, and nothing is left of it."""
    runtime.apply(Shutdown(runtime.clock()))
    assert await runtime.until(runtime.is_at_rest, PATIENCE)
    assert not runtime.monitor.busy
    assert not runtime.monitor.closing
    await until(lambda: not runtime.monitor.tasks)


class Struck(BaseException):
    """What comes out of nowhere: a signal's handler."""


def once(function: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """Raises this the first time, and then does what the function does."""
    left = [error]

    def call(*arguments: Any, **more: Any) -> Any:
        if left:
            raise left.pop()
        return function(*arguments, **more)

    return call


def quietly() -> None:
    """What is raised in a callback is the test's own."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
