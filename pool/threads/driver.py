"""What the runtime stands on: a driver above it, and locks, a clock and threads below.

Theory.  Both are asked for little, and by few names, so that others can stand in their place: the
functions of a user, a peewee database, a script; and a scheduler that tries every order of threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from pool.threads.workers import start


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

    lock: Callable[[], Any] = staticmethod(threading.Lock)

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

    start: Callable[[Callable[[], object], str], None] = staticmethod(start)
    """Have something called on a thread that has nothing else to do, shown under this name;
    `RuntimeError` if there can be none."""
