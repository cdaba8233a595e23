"""Every pool asked the same questions: docs/report.md, by `make report`.

Theory.  A figure says how fast; here is asked what is kept.  Each question is a small play with one
pool, whose end shows whether what was asked for held: who was served in which order, whether the
connection can be had again.  Nothing is asked that needs a look inside.  Each play runs in a
process of its own, for some do not end; what is reported of several rounds is the first that went
wrong.  A pool need not have promised what it is asked: the page says what was seen, and when.

    make report                                         all of it, into docs/report.md
    python -m benchmarks.report --one POOL QUESTION     one play, here
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib.metadata
import json
import logging
import os
import platform
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from benchmarks import interrupts, peers, report_aio
from benchmarks.claims import OURS
from benchmarks.peers import Database, Peer

ROUNDS = 5
PATIENCE = 60.0
"""Seconds that a play may take."""
AT_ONCE = 2.0
"""Seconds within which somebody is served that could be: far more than it takes."""
SETTLED = 0.1
"""Seconds after which a thread that waits is taken to be in the queue."""


class PurepoolCaller(peers.Purepool):
    """As `pool.Pool(opener="caller")`, which starts no threads."""

    name = "purepool, caller"

    def __init__(self, database: Database, *, most: int, ready: int = 0) -> None:
        import pool

        self.pool = pool.Pool(
            database.connect, max_size=most, timeout=peers.PATIENCE, opener="caller"
        )
        self.acquire = self.pool.acquire  # type: ignore[method-assign]


POOLS: tuple[type[Peer], ...] = (
    peers.Purepool,
    PurepoolCaller,
    peers.PsycopgPool,
    peers.SQLAlchemy,
    peers.DBUtils,
    peers.Playhouse,
)

PACKAGES = {
    "psycopg_pool": "psycopg_pool",
    "SQLAlchemy": "sqlalchemy",
    "DBUtils": "dbutils",
    "playhouse.pool": "peewee",
    **{name: kind.package for name, kind in report_aio.POOLS.items() if kind.package},
}


@attrs.frozen
class Seen:
    """What came of a play."""

    kept: bool | None
    """None: it cannot be asked of this pool."""
    story: str = ""
    """The shortest history in which it did not hold, or why it cannot be asked."""


class Interruption(BaseException):
    """What is thrown at a thread."""


class Scripted(Database):
    """A database whose next connects do what they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[Callable[[], None]] = []

    def connect(self, *_: object, **__: object) -> Any:
        if self.script:
            self.script.pop(0)()
        return super().connect()


def started(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def waiter(peer: Peer, name: str, served: list[str]) -> threading.Thread:
    """A thread that asks, and gives back at once. `served` is told of it, or of its error."""

    def ask() -> None:
        try:
            lease = peer.acquire()
        except Exception:
            served.append(f"{name} gets an error")
            return
        served.append(name)
        peer.release(lease)

    thread = started(ask)
    time.sleep(SETTLED)
    return thread


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


def holding(peer: Peer) -> Callable[[], None]:
    """A thread of its own has a connection, until this is called."""
    got, over = threading.Event(), threading.Event()

    def hold() -> None:
        lease = peer.acquire()
        got.set()
        over.wait()
        peer.release(lease)

    started(hold)
    got.wait()
    return over.set


# ---------------------------------------------------------------- the plays


def order(kind: type[Peer]) -> Seen:
    """Those who wait are served in the order in which they came."""
    for _ in range(ROUNDS):
        peer = kind(Database(), most=1)
        end, served = holding(peer), list[str]()
        for name in "BCDE":
            waiter(peer, name, served)
        end()
        within(4 * AT_ONCE, lambda served=served: len(served) == 4)
        if served != list("BCDE"):
            got = ", ".join(served) or "nobody"
            return Seen(False, f"A holds; B, C, D, E wait, in this order; A gives back: {got}")
    return Seen(True)


def newcomer(kind: type[Peer]) -> Seen:
    """Who comes later does not take what one who waits could have."""
    peer = kind(Database(), most=1)
    for _ in range(10 * ROUNDS):
        served: list[str] = []
        lease = peer.acquire()
        thread = waiter(peer, "B", served)
        peer.release(lease)
        lease = peer.acquire()
        served.append("A")
        peer.release(lease)
        thread.join(AT_ONCE)
        if served != ["B", "A"]:
            return Seen(False, "A holds; B waits; A gives back and asks again: A has it, B waits")
    return Seen(True)


def failed_connect(kind: type[Peer]) -> Seen:
    """A connect fails: whoever waits connects, or is told, at once."""
    peers.warm = lambda *_: None
    database = Scripted()
    peer = kind(database, most=1)
    there, go, served = threading.Event(), threading.Event(), list[str]()

    def fails() -> None:
        there.set()
        go.wait()
        raise peers.Pretended.OperationalError("refused")

    def first() -> None:
        with contextlib.suppress(Exception):
            peer.release(peer.acquire())

    database.script = [fails]
    started(first)
    there.wait(AT_ONCE)
    waiter(peer, "B", served)
    go.set()
    if within(AT_ONCE, lambda: bool(served)):
        return Seen(True)
    story = "A connects; B waits; A's connect fails, the next would not: B has neither a connection"
    return Seen(False, f"{story} nor an error within {AT_ONCE:g} s")


def lost_lease(kind: type[Peer]) -> Seen:
    """A thread ends without giving back: its place is free for others."""
    peer = kind(Database(), most=1)
    thread = started(lambda: peer.acquire())
    thread.join()
    gc.collect()
    served: list[str] = []
    waiter(peer, "B", served)
    if within(AT_ONCE, lambda: "B" in served):
        return Seen(True)
    return Seen(False, f"A has it, and its thread ends; B asks: not served within {AT_ONCE:g} s")


def interrupted_waiter(kind: type[Peer]) -> Seen:
    """An exception comes to one who waits as it is served: the next one is."""
    for _ in range(ROUNDS):
        peer = kind(Database(), most=1)
        end, served = holding(peer), list[str]()

        def first(peer: Peer = peer) -> None:
            with contextlib.suppress(Interruption):
                peer.release(peer.acquire())

        thread = started(first)
        time.sleep(SETTLED)
        waiter(peer, "C", served)
        # It is raised at the thread's next step: when it has been woken.
        identity = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(Interruption))
        end()
        if not within(AT_ONCE, lambda served=served: "C" in served):
            story = "A holds; B, C wait; A gives back, and an exception comes to B as it wakes"
            return Seen(False, f"{story}: C is not served within {AT_ONCE:g} s")
    return Seen(True)


def deadline(kind: type[Peer]) -> Seen:
    """Who waits with a deadline comes back by then."""
    return _timed(kind, "A holds; B asks", lambda database, peer: holding(peer))


def deadline_of_connect(kind: type[Peer]) -> Seen:
    """The same, where the database does not answer a connect for three seconds."""
    peers.warm = lambda *_: None

    def hang(database: Scripted, _: Peer) -> None:
        database.script = [lambda: time.sleep(3.0)] * 9

    return _timed(kind, "connects take 3 s; B asks", hang)


def _timed(kind: type[Peer], scene: str, prepare: Callable[[Scripted, Peer], Any]) -> Seen:
    if kind is peers.DBUtils:
        return Seen(None, "it has no deadlines")
    peers.PATIENCE = 0.3
    database = Scripted()
    peer = kind(database, most=1)
    prepare(database, peer)
    took: list[float] = []

    def ask() -> None:
        began = time.monotonic()
        with contextlib.suppress(Exception):
            peer.acquire()
        took.append(time.monotonic() - began)

    started(ask).join(5.0)
    if took and took[0] < 1.5:
        return Seen(True)
    said = f"after {took[0]:.1f} s" if took else "not within 5 s"
    return Seen(False, f"{scene} with a deadline of 0.3 s: it comes back {said}")


def random_exceptions(kind: type[Peer]) -> Seen:
    """Exceptions at random instants leave the whole capacity."""
    interrupts.PEERS = POOLS
    left = interrupts.fuzz(kind.name, 1, interrupts.HITS)
    if left == interrupts.CAPACITY:
        return Seen(True)
    hits = f"{interrupts.HITS} exceptions of a signal handler"
    return Seen(False, f"after {hits}, {left} of {interrupts.CAPACITY} can be had at once")


QUESTIONS: dict[str, Callable[[type[Peer]], Seen]] = {
    function.__name__.replace("_", " "): function
    for function in (
        order,
        newcomer,
        failed_connect,
        lost_lease,
        interrupted_waiter,
        deadline,
        deadline_of_connect,
        random_exceptions,
    )
}


# ---------------------------------------------------------------- the page


def played(pool: str, question: str) -> Seen:
    """A play in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.report", "--one", pool, question]
    place = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(
            command,
            cwd=place,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Seen(False, f"the process does not come to its end within {PATIENCE:g} s")
    lines = done.stdout.splitlines()
    if not lines:
        return Seen(None, f"it could not be asked: {done.stderr.splitlines()[-1:]}")
    return Seen(**json.loads(lines[-1]))


def version(pool: str) -> str:
    if pool in PACKAGES:
        return importlib.metadata.version(PACKAGES[pool])
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    found = re.search(r'^version = "(.+)"$', project.read_text(encoding="utf-8"), re.M)
    assert found is not None  # what is asked is this source, whatever was installed before it
    return found[1]


MARKS = {True: "yes", False: "**no**", None: "–"}

Found = dict[str, dict[str, Seen]]
"""By question and pool."""


def table(found: Found, about: dict[str, str]) -> str:
    pools = list(next(iter(found.values())))
    lines = [
        "| | " + " | ".join(f"{name} {version(name)}" for name in pools) + " |",
        "|---|" + "---|" * len(pools),
    ]
    for question, seen in found.items():
        lines.append(
            f"| {about[question]} | "
            + " | ".join(MARKS[each.kept] for each in seen.values())
            + " |"
        )
    return "\n".join(lines)


def stories(found: Found, about: dict[str, str]) -> str:
    """What did not hold, by pool, each with its shortest history."""
    parts = []
    for name in next(iter(found.values())):
        told = [
            f"* {about[question]} *{seen[name].story}.*"
            for question, seen in found.items()
            if seen[name].kept is not True
        ]
        parts.append("\n".join([f"**{name}**", "", *(told or ["* All of it held."])]))
    return "\n\n".join(parts)


def about(questions: dict[str, Any]) -> dict[str, str]:
    """What is asked, in a sentence."""
    return {name: " ".join((play.__doc__ or "").split()) for name, play in questions.items()}


HEAD = """# The same questions to every pool

What happens to callers when things go wrong, asked of this pool and of others by the same small
plays ([benchmarks/report.py](../benchmarks/report.py)). Each is in its own process, with pretended
connections for threads, and with PostgreSQL, MariaDB and SQLite for asyncio; each pool has the
settings that its own documentation gives. `make report` writes this page again, in some minutes.

This is what was seen of these versions, on {date}, with Python {python} on {system}. It is not
said that a pool had promised it. Two pools with the same answer can differ in what was not asked.
A `yes` means that it held in every round of a play, which is no proof; for this pool
[assurance.md](assurance.md) says what else was done. If an answer is wrong, or no longer true, the
page is to be mended.
"""

OURSELVES = """## What this pool does not keep, or does not claim

* With `opener="caller"` a deadline bounds the queue, not the driver: the table says so. By default
  connects run on threads of the pool's own.
* A connection that was lent is not taken back: who holds one for ever has it for ever. It is
  reported (`leak_after`).
* An exception that strikes on the way into or out of peewee's `with database._pool_lock` can leave
  that locked.
* On the free-threaded build the pool is tried, and not supported. In a child process that returns
  from the signal handler which forked it, a query, rollback or connect that was under way goes on.
* It is younger than all the others, and used by fewer people.
"""


def page(tell: Callable[[str], None]) -> str:
    threads: Found = {}
    for question in QUESTIONS:
        for kind in POOLS:
            tell(f"{question}: {kind.name}")
            threads.setdefault(question, {})[kind.name] = played(kind.name, question)
    tell("asyncio")
    tasks = {
        question: {name: Seen(*each) for name, each in seen.items()}
        for question, seen in report_aio.ask(tell).items()
    }
    head = HEAD.format(
        date=time.strftime("%Y-%m-%d"),
        python=platform.python_version(),
        system=platform.system(),
    )
    mine, theirs = about(QUESTIONS), about(report_aio.QUESTIONS)
    parts = [head, "## Threads\n", table(threads, mine) + "\n", stories(threads, mine) + "\n"]
    parts += ["## Tasks of asyncio\n", table(tasks, theirs) + "\n", stories(tasks, theirs) + "\n"]
    return "\n".join([*parts, OURSELVES])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("POOL", "QUESTION"), help="one play, here")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    if not given.one:
        sys.stdout.write(page(lambda what: print(what, file=sys.stderr, flush=True)))
        return
    name, question = given.one
    threading.excepthook = lambda _: None
    kind = next(kind for kind in POOLS if kind.name == name)
    seen = QUESTIONS[question](kind)
    print(json.dumps(attrs.asdict(seen)), flush=True)
    os._exit(0)  # some would wait here for threads that are stuck


if __name__ == "__main__":
    assert peers.Purepool.name == OURS
    main()
