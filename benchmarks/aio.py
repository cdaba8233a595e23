"""asyncio: what a checkout costs, who waits how long, and what is left when tasks die.

Theory.  All pools lend connections to one PostgreSQL on this machine, in one process, on one loop,
one pool at a time; what is compared in microseconds takes turns.  Each pool is used as its pages
say.  What each does with a connection that comes back differs: asyncpg's pool resets it in a round
trip, which is part of what its users pay; ours and psycopg's see that there is nothing to reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.claims import OURS, Claim, Plan, Row, at_least, at_most
from benchmarks.measure import median, now

MOST = 4
PATIENCE = 30.0

PSYCOPG = "purepool, psycopg"


class Peer:
    """A pool, and how it lends. `acquire` gives what `release` takes."""

    install = ""
    acquire: Callable[..., Awaitable[Any]]
    release: Callable[[Any], Awaitable[Any]]
    end: Callable[..., Awaitable[Any]]
    block: Callable[[], Any]
    """The context manager that the pool's pages give."""

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        raise NotImplementedError


def _asyncpg(parameters: dict[str, Any]) -> dict[str, Any]:
    return {("database" if name == "dbname" else name): value for name, value in parameters.items()}


class Purepool(Peer):
    install = "asyncpg"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        asyncpg = importlib.import_module("asyncpg")
        return cls._over(lambda: asyncpg.connect(**_asyncpg(parameters)), most)

    @classmethod
    def _over(cls, connect: Callable[[], Any], most: int) -> Peer:
        from pool.aio import Pool

        peer = cls()
        pool: Any = Pool(connect, max_size=most, timeout=PATIENCE, max_opening=None)
        peer.acquire = pool.acquire
        peer.release = lambda lease: lease.release()
        peer.end = pool.close
        peer.block = pool.connection
        return peer


class PurepoolPsycopg(Purepool):
    install = "psycopg[binary]"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        psycopg = importlib.import_module("psycopg")
        return cls._over(lambda: psycopg.AsyncConnection.connect(**parameters), most)


class Asyncpg(Peer):
    install = "asyncpg"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        asyncpg = importlib.import_module("asyncpg")
        peer = cls()
        pool = await asyncpg.create_pool(**_asyncpg(parameters), min_size=1, max_size=most)
        peer.acquire = lambda: pool.acquire(timeout=PATIENCE)
        peer.release = pool.release
        peer.block = lambda: pool.acquire(timeout=PATIENCE)

        async def end() -> None:
            pool.terminate()

        peer.end = end
        return peer


class AsyncConnectionPool(Peer):
    install = "psycopg_pool"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        psycopg_pool = importlib.import_module("psycopg_pool")
        peer = cls()
        pool = psycopg_pool.AsyncConnectionPool(
            kwargs=parameters, min_size=1, max_size=most, timeout=PATIENCE, open=False
        )
        await pool.open()
        peer.acquire, peer.release, peer.block = pool.getconn, pool.putconn, pool.connection
        peer.end = lambda: pool.close(timeout=0)
        return peer


class SQLAlchemy(Peer):
    install = "sqlalchemy"

    @classmethod
    async def make(cls, parameters: dict[str, Any], most: int) -> Peer:
        sqlalchemy = importlib.import_module("sqlalchemy")
        extension = importlib.import_module("sqlalchemy.ext.asyncio")
        peer = cls()
        url = sqlalchemy.URL.create("postgresql+asyncpg")
        given = _asyncpg(parameters)
        engine = extension.create_async_engine(
            url, pool_size=most, max_overflow=0, pool_timeout=PATIENCE, connect_args=given
        )
        peer.acquire = lambda: engine.connect()
        peer.block = engine.begin
        peer.release = lambda connection: connection.close()
        peer.end = engine.dispose
        return peer


KINDS: dict[str, type[Peer]] = {
    OURS: Purepool,
    PSYCOPG: PurepoolPsycopg,
    "asyncpg.Pool": Asyncpg,
    "AsyncConnectionPool": AsyncConnectionPool,
    "SQLAlchemy": SQLAlchemy,
}


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
    for lease in [await peer.acquire() for _ in range(most)]:
        await peer.release(lease)
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


async def shares(peer: Peer, seconds: float) -> tuple[float, float]:
    """40 tasks that hold a connection for 2 ms, again and again: how many more turns the most had
    than the fewest, and the longest wait."""
    counts, longest = [0] * 40, 0.0
    end = now() + seconds

    async def caller(number: int) -> None:
        nonlocal longest
        while now() < end:
            try:
                waited = await turn(peer, lambda: asyncio.sleep(0.002))
            except Exception:  # its timeout
                waited = PATIENCE
            counts[number] += 1
            longest = max(longest, waited)

    await asyncio.gather(*map(caller, range(40)))
    return max(counts) - min(counts), longest


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
    held: list[Any] = []

    async def take() -> None:
        held.append(await peer.acquire())

    tasks = [asyncio.ensure_future(take()) for _ in range(MOST)]
    await asyncio.wait(tasks, timeout=2.0)
    count = len(held)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for lease in held:
        await peer.release(lease)
    return count


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
    """By how much 20 callers miss a deadline of 50 ms, at most, while a server says nothing."""
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    host, port = silent.getsockname()
    peer = await kind.make({**parameters, "host": host, "port": port}, MOST)
    worst = 0.0

    async def caller() -> None:
        nonlocal worst
        began = now()
        with contextlib.suppress(TimeoutError):
            await peer.acquire(timeout=0.05)
        worst = max(worst, now() - began - 0.05)

    try:
        for _ in range(times):
            await asyncio.gather(*(caller() for _ in range(20)))
    finally:
        silent.close()
        await peer.end(timeout=0)
    return worst


async def _measured(parameters: dict[str, Any], plan: Plan) -> list[Row]:
    missing: dict[str, str] = {}
    figures: dict[str, dict[str, Any]] = {
        name: {}
        for name in (
            "quiet",
            "block",
            "crowd",
            "share",
            "wait",
            "cancelled",
            "whole",
            "left",
            "late",
        )
    }
    peers: dict[str, Peer] = {}
    for name, kind in KINDS.items():
        try:
            peers[name] = await warm(await kind.make(parameters, MOST), MOST)
        except ImportError:
            missing[name] = f"pip install {kind.install}"
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
        share, wait = await shares(peer, plan.seconds(3.0, 0.5))
        figures["share"][name], figures["wait"][name] = share, wait
    for number, (name, peer) in enumerate(peers.items()):
        plan.tell(0.6 + 0.2 * number / len(peers), f"tasks that are cancelled, or die: {name}")
        if issubclass(KINDS[name], Purepool):  # one that swallows them is not soon done with
            figures["cancelled"][name] = await swallowed(peer, plan.some(500, 50))
            figures["whole"][name] = await there_at_once(peer)
        figures["left"][name] = await left_over(peer)
        await peer.end()
    crowds: dict[str, list[float]] = {name: [] for name in peers}
    larger = {name: await warm(await KINDS[name].make(parameters, 10), 10) for name in peers}
    for done in range(plan.some(5, 1)):
        plan.tell(0.8 + 0.04 * done, "1,000 tasks over 10 connections")
        for name in larger if done % 2 else reversed(list(larger)):
            crowds[name].append(await crowd(larger[name], 1000, 3))
    for peer in larger.values():
        await peer.end()
    ours: dict[str, type[Purepool]] = {OURS: Purepool, PSYCOPG: PurepoolPsycopg}
    for name, kind in ours.items():
        if name in peers:
            figures["late"][name] = await late(kind, parameters, plan.some(5, 1))
    figures["crowd"] = {name: median(given) for name, given in crowds.items()}
    for each in figures.values():
        each.update(missing)
    rivals = [name for name in ("asyncpg.Pool", "AsyncConnectionPool") if name in peers]
    fastest = max((figures["crowd"][name] for name in rivals), default=0.0)
    quickest = min(figures["block"][name] for name in rivals) if rivals else 12e-6
    return [
        at_most("a checkout with nobody waiting", "us", figures["quiet"], 12e-6),
        at_most("the same as a block", "us", figures["block"], quickest),
        at_least("1,000 tasks, 10 connections: checkouts/s", "count", figures["crowd"], fastest),
        at_most("40 tasks, 4 connections: most minus fewest", "count", figures["share"], 2),
        at_most("the same: longest wait", "s", figures["wait"], 1.2 * 0.020, "1.2 x the ideal"),
        at_most("tasks cancelled at random: went on", "count", figures["cancelled"], 0),
        at_least("afterwards: left of 4", "count", figures["whole"], MOST),
        at_most("a silent server: beyond the deadline", "s", figures["late"], 0.020),
        at_least("4 tasks died with theirs: left of 4", "count", figures["left"], MOST),
    ]


def measure(plan: Plan) -> list[Row]:
    from tests.integration.servers import Postgres, Unavailable, Workplace

    place = Workplace()
    try:
        try:
            parameters = Postgres(place).parameters
        except Unavailable as reason:
            return [Row("with asyncpg", "us", {OURS: str(reason)})]
        return asyncio.run(_measured(parameters, plan))
    finally:
        place.close()


CLAIMS = (
    Claim(
        "asyncio",
        "Tasks are served in order, at once, and none takes a connection with it",
        "PostgreSQL on this machine, one process, one loop; asyncpg connections for purepool, "
        "asyncpg's own pool and SQLAlchemy.",
        measure,
    ),
)
