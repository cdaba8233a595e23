"""The plays of `report.py` for pools of asyncio, over servers on this machine.

Theory.  A cancellation takes the place of an exception.  It comes between two steps of the loop, so
every one of them can be tried: the task is cancelled after no step, one, two, and so on, until it
is done by then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import peers_aio
from benchmarks.aio import left_over, warm
from benchmarks.peers_aio import KINDS, MOST, OTHERS, Peer, Servers

AT_ONCE = 2.0
STEPS = 40

POOLS: dict[str, type[Peer]] = {**KINDS, **OTHERS}

Answer = tuple[bool | None, str]


async def _served(peer: Peer, name: str, served: list[str]) -> None:
    lease = await peer.acquire()
    served.append(name)
    await peer.release(lease)


async def _can_be_had(peer: Peer) -> bool:
    try:
        await asyncio.wait_for(_served(peer, "", []), AT_ONCE)
    except Exception:
        return False
    return True


def _went_on(task: asyncio.Task[None]) -> str:
    if not task.done():
        return f"has not ended within {AT_ONCE:g} s"
    error = task.exception()
    return "goes on as if it had not been" if error is None else f"ends with {error!r}"


async def order(make: Callable[[int], Awaitable[Peer]]) -> Answer:
    """Those who wait are served in the order in which they came."""
    peer, served = await make(1), list[str]()
    lease = await peer.acquire()
    tasks = []
    for name in "BCDE":
        tasks.append(asyncio.ensure_future(_served(peer, name, served)))
        await asyncio.sleep(0.05)
    await peer.release(lease)
    await asyncio.wait(tasks, timeout=2 * AT_ONCE)
    await peer.end()
    story = f"A holds; B, C, D, E wait, in this order; A gives back: {', '.join(served)}"
    return (True, "") if served == list("BCDE") else (False, story)


async def cancelled_as_it_is_served(make: Callable[[int], Awaitable[Peer]]) -> Answer:
    """A task is cancelled as it is served: the next one is, and it ends as cancelled."""
    peer, served = await make(1), list[str]()
    lease = await peer.acquire()
    first = asyncio.ensure_future(_served(peer, "B", served))
    await asyncio.sleep(0.05)
    second = asyncio.ensure_future(_served(peer, "C", served))
    await asyncio.sleep(0.05)
    await peer.release(lease)
    was_asked = first.cancel()
    await asyncio.wait([first, second], timeout=AT_ONCE)
    story = "A holds; B, C wait; A gives back, and B is cancelled"
    if "C" not in served:
        return False, f"{story}: C is not served within {AT_ONCE:g} s"
    if was_asked and not first.cancelled():
        return False, f"{story}: B {_went_on(first)}"
    await peer.end()
    return True, ""


async def cancelled_at_every_step(make: Callable[[int], Awaitable[Peer]]) -> Answer:
    """A task that asks and gives back is cancelled, at each step: nothing is lost by it, and the
    cancellation is not swallowed."""
    for steps in range(STEPS):
        peer, served = await make(1), list[str]()
        task = asyncio.ensure_future(_served(peer, "A", served))
        for _ in range(steps):
            await asyncio.sleep(0)
        was_asked = task.cancel()
        await asyncio.wait([task], timeout=AT_ONCE)
        story = f"A asks, gives back, and is cancelled after {steps} steps of the loop"
        if not await _can_be_had(peer):
            return False, f"{story}: the connection is not to be had within {AT_ONCE:g} s"
        if was_asked and not task.cancelled():
            return False, f"{story}: A {_went_on(task)}"
        await peer.end()
    return True, ""


async def tasks_that_die(make: Callable[[int], Awaitable[Peer]]) -> Answer:
    """Tasks end without giving back: their places are free for others."""
    peer = await make(MOST)
    left = await left_over(peer)
    with contextlib.suppress(Exception):
        await peer.end()
    if left == MOST:
        return True, ""
    return False, f"{MOST} tasks end with theirs: {left:g} of {MOST} can be had"


QUESTIONS: dict[str, Callable[[Any], Awaitable[Answer]]] = {
    play.__name__.replace("_", " "): play
    for play in (order, cancelled_as_it_is_served, cancelled_at_every_step, tasks_that_die)
}


async def _ask(servers: Servers, tell: Callable[[str], None]) -> Any:
    found: dict[str, dict[str, Answer]] = {}
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    for question, play in QUESTIONS.items():
        for name, kind in POOLS.items():
            tell(f"{question}: {name}")

            async def make(most: int, kind: type[Peer] = kind) -> Peer:
                return await warm(await kind.make(servers.parameters(kind), most), most)

            try:
                answer = await asyncio.wait_for(play(make), 60.0)
            except Exception as error:
                answer = None, f"it could not be asked: {error!r}"
            found.setdefault(question, {})[name] = answer
    return found


def ask(tell: Callable[[str], None]) -> dict[str, dict[str, Answer]]:
    """The answers, by question and pool."""
    peers_aio.PATIENCE = 2 * AT_ONCE
    servers = Servers()
    try:
        answers: dict[str, dict[str, Answer]] = asyncio.run(_ask(servers, tell))
        return answers
    finally:
        servers.close()
