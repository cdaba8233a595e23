"""asyncio: what a checkout costs, who waits how long, and what is left when tasks die.

Theory.  All pools of a table are in one process, on one loop, one at a time, with servers on this
machine; what is compared in microseconds takes turns.  There are two tables: pools over PostgreSQL,
and those of other drivers and of peewee, where a checkout costs what the driver does.  What each
does with a connection that comes back differs: asyncpg's pool resets it in a round trip, which is
part of what its users pay; ours and psycopg's see that there is nothing to reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import heapq
import random
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import peers_aio
from benchmarks.claims import OURS, Claim, Plan, Row, at_least, at_most
from benchmarks.measure import median, now
from benchmarks.peers_aio import (
    KINDS,
    MOST,
    OTHERS,
    PATIENCE,
    PSYCOPG,
    Hold,
    Peer,
    Purepool,
    PurepoolPsycopg,
    Servers,
)


async def turn(peer: Peer, work: Callable[[], Awaitable[Any]] | None = None) -> float:
    """Take and return; the seconds until it was taken."""
    asked = now()
    lease = await peer.acquire()
    waited = now() - asked
    try:
        if work is not None:
            await work()
    finally:
        await peer.release(lease)
    return waited


async def warm(peer: Peer, most: int) -> Peer:
    """With all of its connections open."""
    await (await Hold.begin(peer, most)).over()
    return peer


async def quiet(peer: Peer, turns: int) -> float:
    """Seconds of a checkout with nobody waiting; the first may be asked whether it is alive."""
    await turn(peer)
    began = now()
    for _ in range(turns):
        await turn(peer)
    return (now() - began) / turns


async def within(peer: Peer, turns: int) -> float:
    """The same, as a block."""
    began = now()
    for _ in range(turns):
        async with peer.block():
            pass
    return (now() - began) / turns


async def crowd(peer: Peer, tasks: int, turns: int) -> float:
    """Checkouts per second of many tasks that let others go on, once, while they hold."""

    async def caller() -> None:
        for _ in range(turns):
            await turn(peer, lambda: asyncio.sleep(0))

    began = now()
    await asyncio.gather(*(caller() for _ in range(tasks)))
    return tasks * turns / (now() - began)


class Shares(NamedTuple):
    """Of 40 tasks that hold a connection for 2 ms, again and again."""

    spread: float
    """How many more turns the most had than the fewest."""
    longest: float
    """Seconds that the longest wait took."""
    beside: float
    """That wait in the place of the longest one of a queue that costs nothing, with the same holds:
    a sleep of 2 ms takes longer, on a busy machine much longer."""


TASKS = 40


async def shares(peer: Peer, seconds: float) -> Shares:
    counts, waits, holds = [0] * TASKS, list[float](), list[float]()
    end = now() + seconds

    async def caller(number: int) -> None:
        while (asked := now()) < end:
            try:
                lease = await peer.acquire()
            except Exception:  # its timeout
                waits.append(PATIENCE)
                continue
            began, place = now(), len(holds)
            waits.append(began - asked)
            holds.append(0.0)
            try:
                await asyncio.sleep(0.002)
            finally:
                holds[place] = now() - began
                await peer.release(lease)
            counts[number] += 1

    await asyncio.gather(*map(caller, range(TASKS)))
    longest = max(waits)
    return Shares(max(counts) - min(counts), longest, longest / ideal(holds))


def ideal(holds: Sequence[float]) -> float:
    """The longest wait where each of these holds begins as soon as one of `MOST` connections is
    free, for the task that has waited longest."""
    asked = deque([0.0] * TASKS)
    free, longest = [0.0] * MOST, 0.0
    for hold in holds:
        began = max(heapq.heappop(free), asked[0])
        longest = max(longest, began - asked.popleft())
        heapq.heappush(free, began + hold)
        asked.append(began + hold)
        asked = deque(sorted(asked)) if asked[-1] < asked[-2] else asked
    return longest


async def left_over(peer: Peer) -> float:
    """Connections that can be had at once after so many tasks died with theirs."""

    async def dies() -> None:
        await peer.acquire()
        raise ZeroDivisionError

    for _ in range(MOST):
        with contextlib.suppress(ZeroDivisionError):
            await asyncio.ensure_future(dies())
    gc.collect()
    return await there_at_once(peer)


async def there_at_once(peer: Peer) -> float:
    """How many connections can be had."""
    hold = await Hold.begin(peer, MOST, 2.0)
    await hold.over()
    return hold.count


async def swallowed(peer: Peer, times: int) -> float:
    """Of so many cancellations, of 20 tasks at instants that nobody chose: those after which the
    task went on."""
    chance, lost = random.Random(0), 0

    async def caller() -> None:
        while True:
            async with peer.block():
                await asyncio.sleep(0)

    tasks = [asyncio.ensure_future(caller()) for _ in range(20)]
    for _ in range(times):
        for _ in range(chance.choice((0, 1, 2, 3, 10))):
            await asyncio.sleep(0)
        number = chance.randrange(len(tasks))
        tasks[number].cancel()
        await asyncio.wait([tasks[number]], timeout=1.0)
        while not tasks[number].done():
            lost += 1
            tasks[number].cancel()
            await asyncio.wait([tasks[number]], timeout=1.0)
        tasks[number].cancelled() or tasks[number].exception()
        tasks[number] = asyncio.ensure_future(caller())
    while pending := [task for task in tasks if not task.done()]:  # one may go on again
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=1.0)
    return lost


async def late(kind: type[Purepool], parameters: dict[str, Any], times: int) -> float:
    """By how much 20 callers miss a deadline of 50 ms, at most, while a server says nothing: to a
    connect, or to the check of a connection."""
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    host, port = silent.getsockname()
    peer = await kind.make({**parameters, "host": host, "port": port}, MOST)
    checked = kind.over(object, MOST, check=lambda _: asyncio.Event().wait(), check_after=0.0)
    await warm(checked, MOST)
    worst = 0.0

    async def caller(of: Peer) -> None:
        nonlocal worst
        began = now()
        try:
            await of.acquire(timeout=0.05)
        except TimeoutError:
            worst = max(worst, now() - began - 0.05)
        else:
            raise AssertionError("a connection that nobody can have")

    try:
        for _ in range(times):
            for of in (peer, checked):
                await asyncio.gather(*(caller(of) for _ in range(20)))
    finally:
        silent.close()
        await peer.end(timeout=0)
        await checked.end(timeout=0)
    return worst


COMPARED = ("quiet", "block", "crowd", "share", "wait", "beside")


async def _measured(servers: Servers, kinds: Mapping[str, type[Peer]], plan: Plan) -> list[Row]:
    missing: dict[str, str] = {}
    figures: dict[str, dict[str, Any]] = {
        name: {}
        for name in (
            "quiet",
            "block",
            "crowd",
            "share",
            "wait",
            "beside",
            "cancelled",
            "whole",
            "left",
        )
    }
    peers: dict[str, Peer] = {}
    for name, kind in kinds.items():
        try:
            peers[name] = await warm(await kind.make(servers.parameters(kind), MOST), MOST)
        except ImportError:
            missing[name] = f"pip install {kind.install}"
        except servers.Unavailable as reason:
            missing[name] = str(reason)
    rounds: dict[str, list[float]] = {name: [] for name in peers}
    blocks: dict[str, list[float]] = {name: [] for name in peers}
    times = plan.some(20, 4)
    for done in range(times):
        plan.tell(0.3 * done / times, "a checkout with nobody waiting")
        there = list(peers) if done % 2 else list(reversed(peers))
        for name in there:
            rounds[name].append(await quiet(peers[name], 200))
            blocks[name].append(await within(peers[name], 100))
    figures["block"] = {name: median(given) for name, given in blocks.items()}
    figures["quiet"] = {name: median(given) for name, given in rounds.items()}
    for number, (name, peer) in enumerate(peers.items()):
        plan.tell(0.3 + 0.3 * number / len(peers), f"40 tasks over 4 connections: {name}")
        seen = await shares(peer, plan.seconds(3.0, 0.5))
        figures["share"][name], figures["wait"][name] = seen.spread, seen.longest
        figures["beside"][name] = seen.beside
    for number, (name, peer) in enumerate(peers.items()):
        plan.tell(0.6 + 0.2 * number / len(peers), f"tasks that are cancelled, or die: {name}")
        if issubclass(kinds[name], Purepool):  # one that swallows them is not soon done with
            figures["cancelled"][name] = await swallowed(peer, plan.some(500, 50))
            figures["whole"][name] = await there_at_once(peer)
        figures["left"][name] = await left_over(peer)
        await peer.end()
    crowds: dict[str, list[float]] = {name: [] for name in peers}
    larger = {
        name: await warm(await kinds[name].make(servers.parameters(kinds[name]), 10), 10)
        for name in peers
    }
    for done in range(plan.some(5, 1)):
        plan.tell(0.8 + 0.04 * done, "1,000 tasks over 10 connections")
        for name in larger if done % 2 else reversed(list(larger)):
            crowds[name].append(await crowd(larger[name], 1000, 3))
    for peer in larger.values():
        await peer.end()
    figures["crowd"] = {name: median(given) for name, given in crowds.items()}
    for each in figures.values():
        each.update(missing)
    return _rows(figures, [name for name in peers if not issubclass(kinds[name], Purepool)])


def _rows(figures: dict[str, dict[str, Any]], rivals: list[str]) -> list[Row]:
    """What is asked of ours, beside those of other pools that are as quick as can be."""
    same = [name for name in rivals if name in AS_QUICK]
    quickest = min((figures["block"][name] for name in same), default=12e-6)
    many = "1,000 tasks, 10 connections: checkouts/s"
    if same == ["aiomysql.Pool"]:  # who gives back and asks again has it at once: nobody is woken
        crowd_of = Row(many, "count", figures["crowd"])
        longest = Row("the same: longest wait", "s", figures["wait"])
    else:
        fastest = max((figures["crowd"][name] for name in same), default=0.0)
        crowd_of = at_least(many, "count", figures["crowd"], fastest)
        why = "1.2 x 20 ms, the ideal"
        longest = at_most("the same: longest wait", "s", figures["wait"], 1.2 * 0.020, why)
    return [
        at_most("a checkout with nobody waiting", "us", figures["quiet"], 12e-6),
        at_most("the same as a block", "us", figures["block"], quickest),
        crowd_of,
        at_most("40 tasks, 4 connections: most minus fewest", "count", figures["share"], 2),
        longest,
        at_most("the same, of an ideal queue's with those holds", "ratio", figures["beside"], 1.2),
        at_most("tasks cancelled at random: went on", "count", figures["cancelled"], 0),
        at_least("afterwards: left of 4", "count", figures["whole"], MOST),
        at_least("4 tasks died with theirs: left of 4", "count", figures["left"], MOST),
    ]


AS_QUICK = ("asyncpg.Pool", "AsyncConnectionPool", "aiomysql.Pool")
"""Pools whose speed ours has to have, over the same drivers."""


async def _before_a_silent_server(servers: Servers, plan: Plan) -> list[Row]:
    figures: dict[str, Any] = {}
    ours: dict[str, type[Purepool]] = {OURS: Purepool, PSYCOPG: PurepoolPsycopg}
    for name, kind in ours.items():
        try:
            figures[name] = await late(kind, servers.parameters(kind), plan.some(5, 1))
        except ImportError:
            figures[name] = f"pip install {kind.install}"
        except servers.Unavailable as reason:
            figures[name] = str(reason)
    return [at_most("a silent server: beyond the deadline", "s", figures, 0.020)]


def measure(kinds: Mapping[str, type[Peer]], plan: Plan) -> list[Row]:
    servers = Servers()
    try:
        rows = asyncio.run(_measured(servers, kinds, plan))
        if kinds is KINDS:
            rows += asyncio.run(_before_a_silent_server(servers, plan))
        return rows
    finally:
        servers.close()


def versions(kinds: Mapping[str, type[Peer]]) -> str:
    """Those of other pools in the table."""
    return ", ".join(
        f"{name} {peers_aio.version(name)}"
        for name, kind in kinds.items()
        if not issubclass(kind, Purepool)
    )


OF_OTHERS = {OURS: OTHERS["purepool, aiomysql"], **dict(list(OTHERS.items())[1:])}
"""Ours is the one over aiomysql."""

CLAIMS = (
    Claim(
        "asyncio",
        "Tasks are served in order, at once, and none takes a connection with it",
        "PostgreSQL on this machine, one process, one loop; asyncpg connections for purepool, "
        f"asyncpg's own pool and SQLAlchemy. {versions(KINDS)}.",
        functools.partial(measure, KINDS),
    ),
    Claim(
        "asyncio-others",
        "The same over aiomysql and under peewee",
        "MariaDB, SQLite and PostgreSQL on this machine, one process, one loop; aiomysql "
        f"connections for purepool. {versions(OTHERS)}.",
        functools.partial(measure, OF_OTHERS),
    ),
)
