"""What a pool raises, in one tree.

Theory.  A caller who is refused wants to know two things: whether to try again, and what
was going on.  The class answers the first, the message the second.  Errors of a driver's
connect are the driver's own; only where somebody else made the attempt is there an
`OpenError`.

The message of a refusal is the first thing that people see of an exhausted pool, so it says
who holds the connections, for how long, and, where leak tracking is on, which line took them.
"""

from __future__ import annotations

from pool.core import heap, waiters
from pool.core.effects import Refuse, RefuseReason
from pool.core.state import Failure, State
from pool.core.text import kind_of, text_of
from pool.shared.holders import describe_holders


class PoolError(Exception):
    """Anything that the pool itself raises.

    `failure`: the last connect that failed, if none has succeeded since, as kind and text; its
    exception is `__cause__`, where the pool still has it.
    """

    failure: Failure | None = None
    reason: str | None = None
    """Why a caller was refused, in a word: `timeout`, `exhausted`, `suspended`, `too_many_waiting`,
    `open_failed`, `closed`, `forked`, `reentered`."""


class PoolTimeout(PoolError, TimeoutError):
    """No connection within the timeout, or none at once for a caller that does not wait."""


class PoolReentered(PoolTimeout):
    """An acquire from within another call of the same thread (by a signal's handler, a finalizer
    or a hook of the pool) that would have had to wait for the thread it is on."""

    reason = "reentered"


class PoolSuspended(PoolTimeout):
    """As `PoolTimeout`, while the pool is suspended."""


class TooManyWaiting(PoolError):
    """As many callers wait already as `max_waiting` allows."""


class OpenError(PoolError):
    """A connect that the pool made on behalf of its callers failed."""


class PoolClosed(PoolError):
    """The pool is closed, or was closed while the caller waited."""


class PoolForked(PoolError):
    """The caller asked before a fork and looks for its answer after it."""


class WrongLoop(PoolError, RuntimeError):
    """A pool for asyncio was used outside the event loop to which it belongs."""


class LeaseEnded(PoolError):
    """A lease was asked for its connection after it had been given back."""


# Named as users import them, in tracebacks too.
for _kind in (PoolError, PoolTimeout, PoolReentered, PoolSuspended, TooManyWaiting, OpenError):
    _kind.__module__ = "pool"
for _kind in (PoolClosed, PoolForked, LeaseEnded):
    _kind.__module__ = "pool"
WrongLoop.__module__ = "pool.aio"

WITHIN = (
    "this thread is in the middle of another call of the pool (this one comes from a signal "
    "handler, a finalizer or a hook), so it cannot wait"
)

NO_CONNECTION = "no connection could be made"
"""Where somebody else tried to. Who knows what went wrong says that instead."""

_CLASSES: dict[RefuseReason, tuple[type[PoolError], str]] = {
    "timeout": (PoolTimeout, "no connection within {timeout:g} s"),
    "exhausted": (PoolTimeout, "no connection to be had without waiting"),
    "suspended": (PoolSuspended, "the pool is suspended"),
    "too_many_waiting": (TooManyWaiting, "too many callers wait already"),
    "open_failed": (OpenError, NO_CONNECTION),
    "closed": (PoolClosed, "the pool is closed"),
    "forked": (PoolForked, "this process was forked while the caller waited"),
}


def describe(state: State, now: float) -> str:
    """What is going on, in one line."""
    limits = state.limits
    most = "no limit" if limits.max_size is None else text_of(limits.max_size)
    bound = "" if limits.max_connecting is None else f" of at most {text_of(limits.max_connecting)}"
    numbers = (
        f"max {most}, in use {len(state.in_use)}, idle {heap.size(state.idle)}, "
        f"opening {state.opening}{bound}, waiting {waiters.size(state.waiters)}"
    )
    return "; ".join(filter(None, (numbers, describe_holders(state, now))))


def failure_of(error: BaseException) -> Failure:
    """What the machine is told of an error: text, and not too much of it."""
    return Failure(kind_of(error), text_of(error))


def error_for(refusal: Refuse, state: State, timeout: float | None, now: float) -> PoolError:
    """The exception that tells a caller of its refusal, at this time on the clock of events."""
    kind, text = _CLASSES[refusal.reason]
    text = text.format(timeout=timeout or 0.0)
    error = error_of(kind, text, state, now, refusal.error)
    error.reason = refusal.reason
    return error


def unanswered(state: State, now: float) -> PoolError:
    """For a caller whose deadline passed while its connection was asked whether it is alive."""
    text = "the database did not answer a check in time"
    error = error_of(PoolTimeout, text, state, now, None)
    error.reason = "timeout"
    return error


def error_of(
    kind: type[PoolError], text: str, state: State, now: float, failure: Failure | None
) -> PoolError:
    """An exception that says what is going on, and what the last connect failed with."""
    message = f"{text} ({describe(state, now)})"
    if failure is not None:
        message += f"; the last connect failed: {failure.kind}: {failure.text}"
    error = kind(message)
    error.failure = failure
    return error
