"""A hundred asynchronous exceptions at random instants: what is left of the pool?

Theory.  Ctrl-C, a signal handler that raises, a timeout library: an exception can arrive between
any two steps of a program, so also in the middle of a pool.  A process of its own runs a loop of
ordinary `with` blocks (or what the pool's documentation gives for that) while a signal handler
raises at random microseconds.  Afterwards as many threads as the pool has connections ask for one
at the same time; those who get one are the capacity that is left.  A process that does not come
back has none.

    python -m benchmarks.interrupts NAME SEED HITS     prints how many connections are left
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from benchmarks.claims import OURS, Claim, Plan, Row
from benchmarks.measure import median, now
from benchmarks.peers import PEERS, Database, installed

CAPACITY = 20
HITS = 100
PATIENCE = 40.0
ASK = 3.0
"""Seconds that each of the threads is given at the end."""


class Hit(BaseException):
    """What the signal handler raises."""


def fuzz(name: str, seed: int, hits: int) -> int:
    """Run the storm in this process; the connections that can be had at once afterwards."""
    logging.disable()
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None
    pause = random.Random(seed)
    kind = next(kind for kind in PEERS if kind.name == name)
    peer = kind(Database(), most=CAPACITY, ready=CAPACITY)
    raised = 0
    inside = False

    def interrupt(*_: object) -> None:
        nonlocal raised
        if inside:
            raised += 1
            raise Hit

    signal.signal(signal.SIGALRM, interrupt)
    while raised < hits:
        before = raised
        try:
            try:
                inside = True
                signal.setitimer(signal.ITIMER_REAL, pause.uniform(20e-6, 800e-6))
                while raised == before:
                    peer.use()
            except (Hit, Exception):  # a pool may well say that it is exhausted, or in disorder
                inside = False
        except Hit:
            pass
        inside = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    return usable(peer)


def usable(peer: Any) -> int:
    """How many threads can hold a connection at the same time."""
    got: list[Any] = []
    over = threading.Event()

    def hold() -> None:
        got.append(peer.acquire())
        over.wait()

    for _ in range(CAPACITY):
        threading.Thread(target=hold, daemon=True).start()
    deadline = now() + ASK
    while len(got) < CAPACITY and now() < deadline:
        over.wait(0.01)
    return len(got)


def in_a_process(name: str, seed: int, hits: int) -> int:
    """`fuzz` in a process of its own; 0 if that does not come back."""
    command = [sys.executable, "-m", "benchmarks.interrupts", name, str(seed), str(hits)]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return int(json.loads(done.stdout))
    except (subprocess.TimeoutExpired, ValueError):
        return 0


def measure(plan: Plan) -> list[Row]:
    kinds, missing = installed()
    seeds = plan.some(5, 1)
    hits = plan.some(HITS, 20)
    left: dict[str, list[int]] = {}
    for position, kind in enumerate(kinds):
        for seed in range(seeds):
            plan.tell((position + seed / seeds) / len(kinds), kind.name)
            left.setdefault(kind.name, []).append(in_a_process(kind.name, seed, hits))
    middle: dict[str, Any] = {
        name: 100.0 * median(values) / CAPACITY for name, values in left.items()
    }
    worst: dict[str, Any] = {name: 100.0 * min(values) / CAPACITY for name, values in left.items()}
    return [
        Row("capacity left, median", "%", middle | missing),
        Row("capacity left, worst", "%", worst | missing, "100 %", worst[OURS] == 100.0),
    ]


CLAIMS = (
    Claim(
        "interrupts",
        "Nothing is lost to an exception, wherever it is raised",
        f"{HITS} exceptions raised by a signal handler at random microseconds while a pool of "
        f"{CAPACITY} is used; what can be had at once afterwards. Five processes for each pool.",
        measure,
    ),
)

if __name__ == "__main__":
    print(fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), flush=True)
    os._exit(0)  # some pools would wait here for threads that are stuck
