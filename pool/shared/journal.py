"""What a pool writes to the log for those who operate it.

Theory.  A healthy pool writes nothing.  What is written is what somebody would want to know of: a
bug of theirs that the pool covers up, a caller that may wait for itself, and the beginning and the
end of what is bad.  Each is written once, not each time in a storm: per line of code, per place
and class of an exception, per outage, per burst of refusals.  `docs/logging.md` has all of it.

Nothing here is called under the pool's lock, nor from a finalizer.  Nothing here raises: a log
handler that does must not cost a connection.  What is to happen once is decided by one operation
of a dict, for several threads may come at the same time.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import attrs

from pool.core import waiters
from pool.core.state import State
from pool.core.text import kind_of, text_of
from pool.shared.causes import is_the_drivers
from pool.shared.errors import OpenError, PoolError, PoolTimeout, TooManyWaiting
from pool.shared.holders import Holder, line_here, taken_here
from pool.shared.log import logger

QUIET = 10.0
"""Seconds without a refusal, after which the next one begins another burst."""

UNREACHED = "the database could not be reached"
CONNECT_FAILED = "connect failed"
CONFIGURE_FAILED = "configure failed"


@attrs.frozen
class Outage:
    """From a connect that failed until the next one that succeeds."""

    began: float
    refused: int
    """Callers that had been refused before."""


@attrs.frozen
class Leak:
    """A lease that was reported because it lasts so long."""

    number: object
    """Which connection."""
    key: int
    """The machine's number of it."""
    began: float


class Burst:
    """Something that happens again and again, without a pause of `QUIET` seconds."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._begun: dict[float | None, object] = {}

    def begins(self, now: float) -> bool:
        """It happens now: whether that is the first time."""
        me = object()
        last, self._last = self._last, now
        if last is not None and now - last < QUIET:
            return False
        if self._begun.setdefault(last, me) is not me:  # others have read the same
            return False
        self._begun = {last: me}
        return True


class Journal:
    """The log of one pool. Thread-safe. Raises no `Exception`. `now` is on the clock of events."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._told: dict[tuple[object, ...], object] = {}
        self.begin_anew()

    def begin_anew(self) -> None:
        """In a child process: what the parent is in the middle of is not its own."""
        self._outages: dict[str, Outage] = {}
        self._refusals = Burst()
        self._losses = Burst()

    # ------------------------------------------------------------ bugs of the program

    def hook_failed(self, hook: str, error: Exception, connection: Any) -> None:
        """The user's check or reset raised this, and its connection is going to be closed."""
        with contextlib.suppress(Exception):
            if is_the_drivers(error, connection):
                return
        if self._is_first(hook, kind_of(error), *_origin(error)):
            self._warn(
                "%s raised what is no error of the driver, so the connection is closed, as each "
                "one will be for which it does that again",
                hook,
                bug=error,
            )

    def listener_failed(self, kind: str, error: Exception) -> None:
        if self._is_first("listener", kind, kind_of(error), *_origin(error)):
            self._warn("a %s listener failed; what it does again is not logged", kind, bug=error)

    def waits(self, state: State, ticket: int, what: str = "thread") -> None:
        """A caller is about to wait: this thread, or this task. By now its ticket may have been
        granted: that is nothing which it held before."""
        if _is_for_holders(state) and (taken := taken_here(state, ticket)):
            line = line_here()
            if self._is_first("holds", line):
                self._warn(
                    "a %s that holds a connection%s waits for another one at %s: when as many "
                    "%ss do that as there are connections, all wait for ever",
                    what,
                    _taken_at(taken),
                    line,
                    what,
                )
        if what == "thread" and _runs_a_loop():
            line = line_here()
            if self._is_first("loop", line):
                self._warn(
                    "a caller waits for a connection at %s on a thread whose event loop is "
                    "running: nothing else runs there meanwhile; use asyncio.to_thread",
                    line,
                )

    def lost(self, number: object, owner: Any, held: float, now: float) -> None:
        """A lease was collected that nobody had given back."""
        line = owner.line if isinstance(owner, Holder) else None
        first = self._is_first("lost", line) if line else self._losses.begins(now)
        if first:
            self._warn(
                "connection %s was lost after %.1f s, and is closed: %r took it%s, and nothing "
                "refers to its lease any more",
                number,
                held,
                owner,
                _taken_at(owner),
            )

    # ------------------------------------------------------------ what begins and ends

    def leaked(self, number: object, held: float, stack: str | None) -> None:
        text = "connection %s has been held for %.1f s; it was taken here:\n%s"
        self._warn(text, number, held, stack)

    def leak_ended(self, leak: Leak, now: float) -> None:
        held = now - leak.began
        self._warn("connection %s is no longer held, after %.1f s", leak.number, held)

    def connect_failed(self, words: str, error: Exception, refused: int, now: float) -> None:
        """`words` say what failed; so many callers have been refused so far."""
        outage = Outage(now, refused)
        if self._outages.setdefault("now", outage) is outage:
            self._warn(
                "no connection can be made: %s: %s: %s",
                words,
                kind_of(error),
                text_of(error),
                bug=None if words == UNREACHED else error,
            )

    def connected(self, refused: int, now: float) -> None:
        """A connect succeeded."""
        outage = self._outages.pop("now", None) if self._outages else None
        if outage is not None:
            self._warn(
                "connections can be made again, after %.1f s in which %d callers were refused",
                now - outage.began,
                refused - outage.refused,
            )

    def refused(self, error: PoolError, text: str, now: float) -> None:
        """A caller was. Not worth a word if the pool is closed: that was meant."""
        if not isinstance(error, (PoolTimeout, TooManyWaiting, OpenError)):
            return
        if self._refusals.begins(now):
            self._warn("a caller was refused, the first one in %g s or more: %s", QUIET, text)

    # ------------------------------------------------------------

    def _is_first(self, *place: object) -> bool:
        me = object()
        return self._told.setdefault(place, me) is me

    def _warn(self, text: str, *values: object, bug: Exception | None = None) -> None:
        logger.warning("pool %r: " + text, self.name, *values, exc_info=bug)


def _is_for_holders(state: State) -> bool:
    """Whether those who wait, wait for what others hold: no connect will serve them all."""
    most = state.limits.max_size
    return (
        most is not None
        and len(state.in_use) + state.opening >= most
        and waiters.size(state.waiters) > state.opening
    )


def _runs_a_loop() -> bool:
    running = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    return running is not None and running() is not None


def _taken_at(owner: Any) -> str:
    line = owner.line if isinstance(owner, Holder) else None
    return f" (taken at {line})" if line else ""


def _origin(error: BaseException) -> tuple[object, ...]:
    """The line that raised it."""
    try:
        traceback = error.__traceback__
    except Exception:  # an error of somebody else's can be anything
        return ()
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return ()
    return traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
