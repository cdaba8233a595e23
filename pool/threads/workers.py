"""Threads for jobs: one that has done its job waits a moment for the next.

Theory.  Each job of a pool's helpers (a connect, a check, a close) has a thread to itself, so that
one that hangs holds up nobody.  To start a thread takes the time of sixty checkouts, though, and a
pool that checks every connection has a job in each.  So a thread that has done its job waits for
`KEPT` seconds, and whoever has a job wakes the one that waits for the shortest time, if any.  A
thread that waits has nothing to do, so no job ever waits for another.

Whoever takes a thread off the list owns it, and may be interrupted right then: so it is taken and
woken in one `for`, between whose steps no exception comes, and one that is woken for nothing waits
again.  The threads are the process's, not a pool's: a pool that is gone is not kept by them.  None
waits where threads cannot be daemons, for the end would wait for it.

What it refuses to know: pools, and what a job is.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import contextvars
import os
import sys
import threading
from collections.abc import Callable

KEPT = 1.0
"""Seconds for which a thread waits for another job."""

IDLE = "purepool, waiting for a job"
"""Its name meanwhile."""

Job = tuple[Callable[[], object], str]
"""What is to be called, and the name under which the thread is shown meanwhile."""

_waiting: list[_Worker] = []
"""The one that came last at the end."""


class _Worker:
    """A thread for jobs. Its job is here until it begins: a thread refers to its arguments until
    it ends, and whoever waits is to keep nothing alive."""

    __slots__ = ("alarm", "job")

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self.alarm = threading.Lock()
        self.alarm.acquire()

    def another(self) -> Job | None:
        """The next job; None if there was none in time."""
        while not _is_over:
            _waiting.append(self)
            if not self.alarm.acquire(True, KEPT):
                try:
                    _waiting.remove(self)
                except ValueError:  # somebody has just taken it off: that one wakes it
                    self.alarm.acquire()
                else:
                    return None
            job, self.job = self.job, None
            if job is not None:
                return job
        return None


_is_over = False
"""The program ends."""


def start(target: Callable[[], object], name: str) -> None:
    """Have this called on a thread that has nothing else to do; `RuntimeError` if there can be
    none. It is a daemon but where a subinterpreter has none: that waits for its threads first, then
    comes what is done at its exit, and a thread that begins later would outlive it.

    May be interrupted anywhere by an exception. `threading.Thread.start` may not: from Python
    3.14 on one that comes as it takes a lock leaves that locked, and no thread of the program
    ever starts again. So a daemon is started by the one call below, before or after which it
    comes; since 3.13 what `threading` keeps of such a thread goes when it ends."""
    try:
        for worker in iter(_waiting.pop, None):
            try:
                worker.job = target, name
            finally:
                worker.alarm.release()
            return
    except IndexError:  # none waits
        pass
    worker = _Worker((target, name))
    try:
        thread = threading.Thread(target=_serve, name=name, args=(worker,), daemon=True)
    except RuntimeError:
        if is_ending():
            raise
        thread = threading.Thread(target=target, name=name, daemon=False)
    if thread.daemon and sys.version_info >= (3, 13):
        _thread.start_new_thread(_serve, (worker,))
    else:
        thread.start()


def _serve(worker: _Worker) -> None:
    """One job after the other, as long as there are any. An exception ends the thread, and is told
    as that of any thread is."""
    job, worker.job = worker.job, None
    while job is not None:
        target, threading.current_thread().name = job
        job = None
        contextvars.Context().run(target)
        del target
        threading.current_thread().name = IDLE
        job = worker.another()


def _dismiss() -> None:
    """The program ends: none waits any more."""
    global _is_over
    _is_over = True
    with contextlib.suppress(IndexError):  # others may take them off meanwhile
        while True:
            _waiting.pop().alarm.release()


atexit.register(_dismiss)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.clear)  # it has none of these threads


def is_ending() -> bool:
    """Whether the program waits for its last threads, or has come to its exit handlers. There are
    versions of Python (3.12.0 to 3.12.2) that start no thread any more then."""
    # The second is for subinterpreters, whose main thread never counts as ended from 3.13 on.
    return not threading.main_thread().is_alive() or getattr(threading, "_SHUTTING_DOWN", False)
