"""Tells observers regularly, on a thread of its own: for those to whom a moment does not matter.

Theory.  To write a transition down costs its caller part of a microsecond, to tell it several.
Metrics and recordings need not be told at once.  So one daemon thread for all pools of a process
tells what waits, four times a second.  It holds runtimes weakly, and ends when nobody is observed.

A child process has no such thread: it gets one of its own.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Any

from pool.shared.log import logger
from pool.shared.members import members

PAUSE = 0.25
"""Seconds between two rounds."""

BATCH = 20_000
"""Transitions that may wait for this thread; then whoever uses the pool tells."""

_runtimes: weakref.WeakSet[Any] = weakref.WeakSet()
_threads: list[threading.Thread] = []
"""The one that tells, if there is one."""


def tell_regularly(runtime: Any) -> None:
    """From now on, as long as it is observed."""
    _runtimes.add(runtime)
    _start()


def _start() -> None:
    if _threads:
        return
    try:
        thread = threading.Thread(target=_tell, name="purepool observer", daemon=True)
        _threads.append(thread)
        thread.start()
    except RuntimeError:  # a subinterpreter has no daemons, the system no threads, or all ends
        _threads.clear()  # then callers tell, once enough waits


def _tell() -> None:
    me = threading.current_thread()
    try:
        while len(_runtimes):
            time.sleep(PAUSE)
            for runtime in members(_runtimes):
                _tell_of(runtime)
                runtime = None  # it may be collected meanwhile
    finally:
        if me in _threads:
            _threads.remove(me)
    if len(_runtimes):  # one that came in between
        _start()


def _tell_of(runtime: Any) -> None:
    monitor = runtime.monitor
    observed = monitor.observed
    if observed is None:
        _runtimes.discard(runtime)
        observed = monitor.observed
        if observed is None:
            return
        _runtimes.add(runtime)  # somebody has begun to, in between
    try:
        observed.tell(monitor)
    except Exception:
        logger.warning("%sobservers could not be told", runtime.label, exc_info=True)


def _after_fork_in_child() -> None:
    _threads.clear()
    if len(_runtimes):
        _start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
