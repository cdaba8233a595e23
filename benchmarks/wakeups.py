"""From the moment capacity is freed to the moment that the waiter runs, on every path.

Theory.  A pool is quick on the path that everybody looks at, `close`.  So each way in which a
connection, or the room for one, comes free is measured: a waiter stands in the queue of a pool
of one connection, the connection is freed in that way, and the clock runs from there to the
waiter's first line after `connect()`.  Capacity is freed when `close()` and its like are
called; when the driver's connect raises; when the last line of a thread was run.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import playhouse.pool

import pool.peewee
from benchmarks.claims import OURS, Claim, Plan, Row, at_most
from benchmarks.contended import RIVAL, compared, of_all
from benchmarks.measure import in_turns, median, now, until
from benchmarks.peers import Database, Peer, Pretended, installed, pretended
from pool.core import waiters

PLAYHOUSE = "playhouse.pool"
KINDS = {OURS: pool.peewee.PooledDatabase, PLAYHOUSE: playhouse.pool.PooledDatabase}
TARGET = 0.005
GIVE_UP = 3.0
"""Seconds after which a waiter counts as never woken."""


class Interruption(BaseException):
    """What is thrown at a waiter."""


class Refused(Exception):
    """What the driver raises where it is told to."""


class Scene:
    """A pool of one connection. `freed` is when it came free."""

    def __init__(self, kind: Any) -> None:
        self.freed = 0.0
        self.alive = True
        self.stand: threading.Event | None = None
        """Where the driver stands before it refuses to connect; None: it connects."""
        self.standing = threading.Event()
        self.database = pretended(kind, self._connect, lambda _: self.alive)(
            "pretended", max_connections=1, timeout=GIVE_UP
        )

    def _connect(self) -> Any:
        stand, self.stand = self.stand, None
        if stand is None:
            return Pretended()
        self.standing.set()
        stand.wait()
        self.freed = now()
        raise Refused

    def waiting(self) -> int:
        """How many wait in the queue."""
        if isinstance(self.database, pool.peewee.PooledDatabase):
            return waiters.size(self.database._purepool.runtime.state.waiters)
        return len(self.database._pool_available._waiters)

    def park(self, target: Callable[[], Any], *, queue: bool = True) -> threading.Thread:
        """Start a thread, and let it wait; if not in the pool's queue, then where it can."""
        before = self.waiting()
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        if queue:
            until(lambda: self.waiting() > before)
        else:
            time.sleep(0.01)
        return thread


Path = Callable[[Scene], Any]
"""Frees the connection that this thread holds."""


def call(name: str, *arguments: Any) -> Path:
    def free(scene: Scene) -> None:
        scene.freed = now()
        getattr(scene.database, name)(*arguments)

    return free


def wakeup(kind: Any, free: Path) -> float:
    """One wakeup where this thread holds the connection and frees it."""
    scene = Scene(kind)
    scene.database.connect()
    ran: list[float] = []
    waiter = scene.park(lambda: visit(scene, ran))
    free(scene)
    return outcome(scene, waiter, ran)


def visit(scene: Scene, ran: list[float]) -> None:
    try:
        scene.database.connect()
    except playhouse.pool.MaxConnectionsExceeded:
        return
    ran.append(now())
    scene.database.close()


def outcome(scene: Scene, waiter: threading.Thread, ran: list[float]) -> float:
    waiter.join(2 * GIVE_UP)
    if not ran or ran[0] - scene.freed >= GIVE_UP:
        return float("inf")
    return ran[0] - scene.freed


def failed_connect(kind: Any) -> float:
    """Another thread's connect fails: its room goes to the waiter."""
    return refused(Scene(kind))


def dead_connection(kind: Any) -> float:
    """Another thread finds its connection dead, and cannot have a new one."""
    scene = Scene(kind)
    scene.database.connect()
    scene.database.close()
    scene.alive = False
    return refused(scene)


def refused(scene: Scene) -> float:
    scene.stand = stand = threading.Event()

    def fail() -> None:
        try:
            scene.database.connect()
        except Refused:
            scene.alive = True

    threading.Thread(target=fail, daemon=True).start()
    scene.standing.wait()
    ran: list[float] = []
    # playhouse connects under its lock, so there one waits for that
    queue = isinstance(scene.database, pool.peewee.PooledDatabase)
    waiter = scene.park(lambda: visit(scene, ran), queue=queue)
    stand.set()
    return outcome(scene, waiter, ran)


def dead_thread(kind: Any) -> float:
    """The holder's thread ends without giving its connection back."""
    scene = Scene(kind)
    end = threading.Event()
    connected = threading.Event()

    def die() -> None:
        scene.database.connect()
        connected.set()
        end.wait()
        scene.freed = now()

    threading.Thread(target=die, daemon=True).start()
    connected.wait()
    ran: list[float] = []
    waiter = scene.park(lambda: visit(scene, ran))
    end.set()
    return outcome(scene, waiter, ran)


def interrupted_waiter(kind: Any) -> float:
    """The first in the queue gets the connection and is interrupted; it goes to the second."""
    scene = Scene(kind)
    scene.database.connect()

    def first() -> None:
        try:
            scene.database.connect()
        except Interruption:
            return
        scene.database.close()

    thread = scene.park(first)
    ran: list[float] = []
    waiter = scene.park(lambda: visit(scene, ran))
    # It is raised in that thread at its next step: when it has been woken.
    identity = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(Interruption))
    scene.freed = now()
    scene.database.close()
    return outcome(scene, waiter, ran)


def holding(free: Path) -> Callable[[Any], float]:
    return lambda kind: wakeup(kind, free)


PATHS: dict[str, Callable[[Any], float]] = {
    "close": holding(call("close")),
    "manual_close": holding(call("manual_close")),
    "close_stale": holding(call("close_stale", -1)),
    "close_all": holding(call("close_all")),
    "failed connect": failed_connect,
    "dead connection": dead_connection,
    "dead thread": dead_thread,
    "interrupted waiter": interrupted_waiter,
}


def measure(plan: Plan) -> list[Row]:
    rows = []
    hook, threading.excepthook = threading.excepthook, lambda _: None
    was_enabled = gc.isenabled()
    gc.disable()  # a pause of the collector is nobody's wakeup
    try:
        for number, (what, wake) in enumerate(PATHS.items()):
            figures: dict[str, Any] = {}
            for name, kind in KINDS.items():
                rounds = plan.some(200, 10) if name == OURS else plan.some(7, 1)
                times = []
                for done in range(rounds):
                    plan.tell((number + done / rounds) / len(PATHS), f"{what}, {name}")
                    times.append(wake(kind))
                middle = median(times)
                figures[name] = "never" if middle == float("inf") else middle
            rows.append(at_most(what, "s", figures, TARGET))
            gc.collect()
    finally:
        threading.excepthook = hook
        if was_enabled:
            gc.enable()
    return rows


class Relay:
    """A pool of one connection, and a thread that waits for it whenever it is asked to."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.asked, self.about, self.over = (threading.Semaphore(0) for _ in range(3))
        self.ran = 0.0
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        peer = self.peer
        while True:
            self.asked.acquire()
            self.about.release()
            lease = peer.acquire()
            self.ran = now()
            peer.release(lease)
            self.over.release()

    def once(self) -> float:
        """From the call that returns the connection to the waiter's next line."""
        lease = self.peer.acquire()
        self.asked.release()
        self.about.acquire()
        time.sleep(0.001)  # until it is parked, and the machine has gone to sleep
        freed = now()
        self.peer.release(lease)
        self.over.acquire()
        return self.ran - freed

    def many(self, times: int) -> float:
        return median(self.once() for _ in range(times))


def measure_pools(plan: Plan) -> list[Row]:
    kinds, missing = installed()
    kinds = [kind for kind in kinds if kind.name != PLAYHOUSE]  # its lease is the thread's
    relays = {kind.name: Relay(kind(Database(), most=1, ready=1)) for kind in kinds}
    times, rounds = plan.some(100, 5), plan.some(21, 2)
    was_enabled = gc.isenabled()
    gc.disable()  # as above
    try:
        runs = [functools.partial(relay.many, times) for relay in relays.values()]
        for run in runs:
            run()
        found = in_turns(runs, rounds, lambda done: plan.tell(done / rounds, "round"))
    finally:
        if was_enabled:
            gc.enable()
        for relay in relays.values():
            relay.peer.end()
    medians = dict(zip(relays, found, strict=True))
    return [
        Row("release", "us", {**of_all(medians), **missing}),
        compared(f"release: ratio to {RIVAL}", medians, missing, at_most),
    ]


CLAIMS = (
    Claim(
        "wakeups",
        "A waiter runs as soon as there is something for it",
        "A pool of one connection and a waiter; from the moment the connection, or the room for "
        f"one, is freed to the waiter's next line. Medians over 200 (playhouse.pool: 7); `never`: "
        f"not within {GIVE_UP:g} s.",
        measure,
    ),
    Claim(
        "wakeups-pools",
        "A waiter runs no later than with another pool",
        "A pool of one connection, a waiter that parked a millisecond ago; from the call that "
        "returns the connection to the waiter's next line. Medians of 100, 21 of them of each pool "
        "in turn; the ratio is the median of those of neighbours.",
        measure_pools,
    ),
)
