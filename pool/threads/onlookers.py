"""Waiting for the pool as a whole: until it is filled, until it is closed.

Theory.  Such a wait belongs to nobody's turn, so the machine has no word for it: somebody looks
at the state from outside until it is as hoped.  Who looks parks on a lock of its own, and everyone
who changed something wakes all of them to look again.  There are hardly ever any, so what
it costs others is one look at an empty list.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any


class Onlookers(list[Any]):
    """The locks on which those park who wait for the pool as a whole. Thread-safe."""

    def notify(self) -> None:
        """Something has changed. Never blocks."""
        for parker in list(self):
            with contextlib.suppress(RuntimeError):  # it was told already
                parker.release()

    def wait(self, sync: Any, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Until this holds, or the timeout in seconds has passed (None: for ever); whether it
        holds."""
        deadline = None if timeout is None else sync.monotonic() + timeout
        parker = sync.lock()
        self.append(parker)
        try:
            while not holds():
                left = -1.0 if deadline is None else deadline - sync.monotonic()
                if deadline is not None and left <= 0:
                    return False
                parker.acquire(True, min(left, threading.TIMEOUT_MAX))
            return True
        finally:
            self.remove(parker)
