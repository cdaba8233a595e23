"""Waiting for the pool as a whole: until it is filled, until it is closed.

Theory.  Such a wait belongs to no checkout, so the machine has no word for it: somebody looks
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


def wait(
    onlookers: Callable[[], Onlookers],
    sync: Any,
    holds: Callable[[], bool],
    timeout: float | None,
) -> bool:
    """Until this holds, or the timeout in seconds has passed (None: for ever); whether it holds.
    `onlookers` gives those of the pool: others in a child process, which may come back to this."""
    deadline = None if timeout is None else sync.monotonic() + timeout
    parker, among = sync.lock(), Onlookers()
    try:
        while True:
            if among is not (now := onlookers()):
                among = now
                among.append(parker)
            if holds():
                return True
            left = -1.0 if deadline is None else deadline - sync.monotonic()
            if deadline is not None and left <= 0:
                return False
            parker.acquire(True, min(left, threading.TIMEOUT_MAX))
    finally:
        if parker in among:
            among.remove(parker)
