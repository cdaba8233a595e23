"""The runs that are drawn: real pools, real threads, a database that does as it is told.

Theory.  A time line needs no knowledge of a pool: a thread that asks for a connection knows when it
asked, when it had it and what it got instead.  So each writes that down itself, in a lane of its
own, and every pool can be drawn beside every other in the same way.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import interrupts
from benchmarks.fairness import record
from benchmarks.measure import now, percentile
from benchmarks.peers import Database, Pretended, installed, pretended
from benchmarks.pictures import dashboard
from pool import Pool

ROOT = Path(__file__).parents[2]
Recording = dict[str, Any]

ROUNDS = 3
"""Of each pool; the one with the middle number of checkouts is drawn."""


class Lanes:
    """Who did what, from when to when. Each lane is written by one thread at a time."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began = now()
        self.lanes: dict[str, list[list[Any]]] = {}

    def add(self, lane: str) -> None:
        self.lanes[lane] = []

    @contextlib.contextmanager
    def span(self, lane: str, kind: str, otherwise: str = "") -> Iterator[None]:
        """Something that takes time; `otherwise` is what it was if it raises."""
        since = now()
        try:
            yield
        except BaseException:
            self.note(lane, otherwise or kind, since)
            raise
        self.note(lane, kind, since)

    def note(self, lane: str, kind: str, since: float, until: float | None = None) -> None:
        end = now() if until is None else until
        span = [round(since - self.began, 4), round(end - self.began, 4), kind]
        self.lanes[lane].append(span)

    def recording(self) -> Recording:
        lanes = [{"name": name, "spans": spans} for name, spans in self.lanes.items()]
        return {"title": self.title, "lanes": lanes}


def fairness() -> Recording:
    """40 threads, 4 connections, 3 seconds: what each thread got, and how long it waited."""
    kinds, _ = installed()
    runs: dict[str, list[Recording]] = {kind.name: [] for kind in kinds}
    for kind in kinds * ROUNDS:  # in turn: the speed of the machine changes
        peer = kind(Database(), most=4, ready=4)
        turns, end = record(peer.acquire, peer.release, threads=40, work=0.002, seconds=3.0)
        peer.end()
        waits = [had - asked for mine in turns for asked, had, _ in mine]
        longest = [max(had - asked for asked, had, _ in mine) for mine in turns]
        runs[kind.name].append(
            {
                "pool": kind.name,
                "checkouts": sorted(sum(had < end for _, had, _ in mine) for mine in turns),
                "longest": round(max(longest), 4),
                "longest_of_each": sorted(round(wait, 4) for wait in longest),
                "p50": round(percentile(waits, 50), 6),
                "p99": round(percentile(waits, 99), 6),
            }
        )
    middle = [sorted(each, key=lambda run: sum(run["checkouts"])) for each in runs.values()]
    return {"kind": "fairness", "pools": [each[ROUNDS // 2] for each in middle]}


def capacity() -> Recording:
    """A pool of 20 after so many exceptions from outside: how many of its connections are left."""
    kinds, _ = installed()
    hits = (0, 5, 10, 20, 40, 60, 80, 100)
    found = []
    for kind in kinds:
        left = [interrupts.in_a_process(kind.name, 1, many) for many in hits]
        found.append({"pool": kind.name, "left": left})
    return {"kind": "capacity", "hits": list(hits), "of": interrupts.CAPACITY, "pools": found}


# ---------------------------------------------------------------- wakeups that are lost

GIVE_UP = 2.0


def strand(title: str, acquire: Callable[[], Any], release: Callable[[Any], Any]) -> Recording:
    """`first` connects, which fails after 0.3 s; `second` wants the one place there is."""
    lanes = Lanes(title)
    lanes.add("first")
    lanes.add("second")

    def first() -> None:
        with contextlib.suppress(Exception), lanes.span("first", "connecting", "failed"):
            acquire()

    def second() -> None:
        lease, since = None, now()
        try:
            lease = acquire()
        except Exception:
            lanes.note("second", "waiting", since)
            lanes.note("second", "refused", now())
            return
        lanes.note("second", "waiting", since)
        with lanes.span("second", "holding"):
            time.sleep(0.3)
        release(lease)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    time.sleep(0.1)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    for thread in threads:
        thread.join()
    return lanes.recording()


def once_down() -> Callable[..., Any]:
    """The first connect fails after a while, the others are quick."""
    down = [True]

    def connect(*_: object, **__: object) -> Any:
        if down.pop() if down else False:
            time.sleep(0.3)
            raise ConnectionError("the database refuses")
        return Pretended()

    return connect


def stranded() -> Recording:
    """One place; who has it fails to connect: does who waits hear of it?"""
    import playhouse.pool
    from sqlalchemy.pool import QueuePool

    panels = []
    ours = Pool(once_down(), max_size=1, opener="caller", timeout=GIVE_UP)
    panels.append(strand("purepool", ours.acquire, lambda lease: lease.release()))
    ours.close()
    alchemy = QueuePool(once_down(), pool_size=1, max_overflow=0, timeout=GIVE_UP)
    panels.append(strand("SQLAlchemy", alchemy.connect, lambda lease: lease.close()))
    theirs = pretended(playhouse.pool.PooledDatabase, once_down())(
        "pretended", max_connections=1, timeout=GIVE_UP
    )
    panels.append(strand("playhouse.pool", theirs.connect, lambda _: theirs.close()))
    return {"kind": "lanes", "seconds": 2.6, "panels": panels}


# ---------------------------------------------------------------- a database that goes away


def outage() -> Recording:
    """Six callers, two connections, and a database that is away from 0.8 s to 2.8 s."""
    lanes = Lanes("")
    up = threading.Event()
    up.set()
    over = threading.Event()
    lanes.add("database")
    lanes.add("connects")

    class Connection(Pretended):
        def __init__(self) -> None:
            super().__init__()
            self.session = len(sessions)
            sessions.append(True)

    sessions: list[bool] = []

    def connect() -> Connection:
        with lanes.span("connects", "connecting", "failed"):
            time.sleep(0.02)
            if not up.is_set():
                raise ConnectionError("connection refused")
            return Connection()

    def is_alive(connection: Connection) -> bool:
        return sessions[connection.session]

    pool = Pool(
        connect,
        max_size=2,
        timeout=0.6,
        check=is_alive,
        check_after=0,
        backoff_initial=0.1,
        backoff_max=0.8,
    )

    def work(name: str, number: int) -> None:
        time.sleep(number * 0.02)
        while not over.is_set():
            since = now()
            try:
                lease = pool.acquire()
            except Exception:
                lanes.note(name, "waiting", since)
                lanes.note(name, "refused", now())
                time.sleep(0.1)
                continue
            lanes.note(name, "waiting", since)
            with lanes.span(name, "holding"):
                time.sleep(0.05)
            lease.release()
            time.sleep(0.02)

    workers = []
    for number in range(6):
        name = f"caller {number + 1}"
        lanes.add(name)
        workers.append(threading.Thread(target=work, args=(name, number)))
    for worker in workers:
        worker.start()
    with lanes.span("database", "up"):
        time.sleep(0.8)
    up.clear()
    sessions[:] = [False] * len(sessions)
    with lanes.span("database", "down"):
        time.sleep(2.0)
    up.set()
    with lanes.span("database", "up"):
        time.sleep(1.0)
        over.set()
    for worker in workers:
        worker.join()
    pool.close()
    return {"kind": "lanes", "seconds": 3.95, "panels": [lanes.recording()]}


# ---------------------------------------------------------------- a history of the specification


CASE = "in-their-order"
"""Of spec/vectors/scenarios.jsonl: two connections, five callers, one connect that fails."""


def vector() -> Recording:
    """A test vector as a time line: the rule OPF-2 at work."""
    file = ROOT / "spec" / "vectors" / "scenarios.jsonl"
    cases = [json.loads(line) for line in file.read_text("utf-8").splitlines()[1:]]
    (steps,) = [case["steps"] for case in cases if case["case"] == CASE]
    doing: dict[int, tuple[float, str]] = {}
    spans: dict[int, list[list[Any]]] = {}

    def turn(ticket: int, now: float, what: str | None, otherwise: str = "") -> None:
        if ticket in doing:
            since, kind = doing.pop(ticket)
            spans.setdefault(ticket, []).append([since, now, otherwise or kind])
        if what is not None:
            doing[ticket] = (now, what)

    for number, step in enumerate(steps):
        # Events of a vector may share a time, for it is about their order: so that is drawn.
        event, now = step["event"], float(number)
        if event["event"] == "Acquire":
            turn(event["ticket"], now, "waiting")
        elif event["event"] in ("Release", "Discard", "Cancel"):
            turn(event["ticket"], now, None)
        for effect in step["effects"]:
            if effect["effect"] == "Open" and effect["ticket"]:
                turn(effect["ticket"], now, "connecting")
            elif effect["effect"] == "Grant":
                turn(effect["ticket"], now, "holding")
            elif effect["effect"] == "Refuse":
                turn(effect["ticket"], now, None, "failed")
    for ticket in list(doing):
        turn(ticket, float(len(steps)), None)
    lanes = [{"name": f"ticket {ticket}", "spans": found} for ticket, found in spans.items()]
    events = [
        f"{step['event']['event']}({step['event'].get('ticket', '')})"
        + "".join(
            f" → {each['effect']}({each['ticket']})" for each in step["effects"] if "ticket" in each
        )
        for step in steps
    ]
    panel = {"title": f"the vector {CASE}", "lanes": lanes, "ticks": events}
    return {"kind": "lanes", "seconds": float(len(steps)), "panels": [panel]}


RUNS: dict[str, Callable[[], Recording]] = {
    "fairness": fairness,
    "capacity": capacity,
    "stranded": stranded,
    "outage": outage,
    "vector": vector,
    "dashboard": dashboard.record,
}
