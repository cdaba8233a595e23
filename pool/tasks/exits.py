"""A program that ends: the connections of pools that were never closed are dropped then.

Theory.  When a program ends no loop runs any more, so nothing can be awaited: not a goodbye, not
a rollback, which servers do by themselves for a client that is gone.  But some drivers keep a
thread for each connection (aiosqlite), and the interpreter waits for threads before it calls what
`atexit` was given.  So this is called before that.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import Protocol

from pool.shared.log import logger
from pool.shared.members import members


class Droppable(Protocol):
    """What is needed of a runtime whose connections are to be dropped."""

    def is_running(self) -> bool: ...
    def abandon_loop(self) -> None: ...


_runtimes: weakref.WeakSet[Droppable] = weakref.WeakSet()


def expect(runtime: Droppable) -> None:
    """What this one keeps is dropped when the program ends."""
    _runtimes.add(runtime)


def drop_what_is_kept() -> None:
    """By all pools in this process."""
    for runtime in members(_runtimes):
        try:
            if not runtime.is_running():  # one in a thread that goes on
                runtime.abandon_loop()
        except Exception:  # whatever is wrong with one pool, the others must not suffer for it
            logger.warning("connections could not be dropped at exit", exc_info=True)


try:
    threading._register_atexit(drop_what_is_kept)  # type: ignore[attr-defined]
except Exception:  # it is not public, or the interpreter is ending
    atexit.register(drop_what_is_kept)
