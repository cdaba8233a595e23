"""What the runtime stands on: a driver above it, and locks, a clock and threads below.

Theory.  Both are asked for little, and by few names, so that others can stand in their place: the
functions of a user, a peewee database, a script; and a scheduler that tries every order of threads.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol


class Driver(Protocol):
    """What the runtime asks of a database driver. Called without the lock, from any thread.

    Exceptions from `connect` go to the caller; from `is_alive` and `reset` they mean no;
    from `close` they are logged.
    """

    def connect(self) -> Any:
        """A new connection."""

    def is_alive(self, connection: Any) -> bool:
        """Whether a connection that rested still works."""

    def reset(self, connection: Any) -> bool:
        """Make a returned connection fit for the next holder; whether that worked."""

    def close(self, connection: Any) -> None:
        """Close it."""


class Sync:
    """The primitives the runtime stands on. Tests put a scheduler of their own here."""

    @staticmethod
    def lock() -> Any:
        return threading.Lock()

    @staticmethod
    def rlock() -> Any:
        """A re-entrant one, which knows whether it is owned by the thread that asks."""
        return threading.RLock()

    monotonic = staticmethod(time.monotonic)
    """The clock that waits are measured on."""

    ident: Callable[[], Any] = staticmethod(threading.get_ident)
    """Which thread this is."""

    @staticmethod
    def is_waited_for() -> bool:
        """Whether the program ends only after this thread."""
        return not threading.current_thread().daemon

    @staticmethod
    def start(target: Callable[[], object], name: str) -> None:
        """Start a helper's thread; `RuntimeError` if there can be none. It is a daemon but where a
        subinterpreter has none: that waits for its threads first, then comes what is done at its
        exit, and a thread that begins later would outlive it.

        May be interrupted anywhere by an exception. `threading.Thread.start` may not: from Python
        3.14 on one that comes as it takes a lock leaves that locked, and no thread of the program
        ever starts again. So a daemon is started by the one call below, before or after which it
        comes; since 3.13 what `threading` keeps of such a thread goes when it ends."""
        try:
            thread = threading.Thread(target=target, name=name, daemon=True)
        except RuntimeError:
            if is_ending():
                raise
            thread = threading.Thread(target=target, name=name, daemon=False)
        if thread.daemon and sys.version_info >= (3, 13):
            _thread.start_new_thread(_begin, (thread,))
        else:
            thread.start()


def _begin(thread: threading.Thread) -> None:
    """What this one is for, on the thread that it is called by, which is shown under its name."""
    threading.current_thread().name = thread.name
    thread.run()


def is_ending() -> bool:
    """Whether the program waits for its last threads, or has come to its exit handlers. There are
    versions of Python (3.12.0 to 3.12.2) that start no thread any more then."""
    # The second is for subinterpreters, whose main thread never counts as ended from 3.13 on.
    return not threading.main_thread().is_alive() or getattr(threading, "_SHUTTING_DOWN", False)
