"""What a transition asks of the runtime, as data and never as callables.

Theory.  There are two kinds, and the difference is the lock.  A *wake* answers a parked
caller and is delivered before the lock is left, so that whoever sees the new state also
sees its answers.  *Io* is performed outside the lock, in order, closes before opens.  A
close is fire and forget: it holds no slot and has no outcome.  An open always has one,
`Opened` or `OpenFailed`.  `Ignored` says that the event was not allowed: it comes
alone, and the state is then the very same object.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pool.core.state import Failure
from pool.core.values import value

RefuseReason = Literal[
    "timeout",  # its deadline passed
    "suspended",  # its deadline passed, or it may not wait, while the pool is suspended
    "exhausted",  # it may not wait and nothing is to be had
    "too_many_waiting",  # max_waiting others wait already
    "open_failed",  # the driver's connect failed; `error` is why
    "closed",  # the pool is closed
    "forked",  # it asked the parent process
]

CloseReason = Literal[
    "lifetime",  # it reached max_lifetime
    "retired",  # it was made before the last Retire
    "rested",  # it was idle for max_idle
    "surplus",  # there are more connections than max_size
    "not_reusable",  # its reset failed
    "discarded",  # its holder gave it up
    "dead",  # its holder found it dead
    "stale",  # CloseStale
    "close_idle",  # CloseIdle
    "close_all",  # CloseAll
    "closed",  # the pool is closed
    "unasked",  # nobody is waiting for this connect any more
]


@value
class Grant(NamedTuple):
    """Wake: the ticket holds this connection. `rested` is for how many seconds it was
    idle; None says that it was opened just now, so there is nothing to check."""

    ticket: int
    key: int
    connection: Any
    rested: float | None


@value
class Refuse(NamedTuple):
    """Wake: the ticket gets nothing. `error` is the last failed connect, if any."""

    ticket: int
    reason: RefuseReason
    error: Failure | None


@value
class Open(NamedTuple):
    """With a ticket, a wake: its caller connects. With None, Io: somebody connects."""

    ticket: int | None


@value
class Close(NamedTuple):
    """Io: close this connection; the pool has let go of it."""

    key: int
    connection: Any
    reason: CloseReason


@value
class Leaked(NamedTuple):
    """Io: report that this connection has been held for so many seconds."""

    ticket: int
    key: int
    owner: Any
    held: float


@value
class Ignored(NamedTuple):
    """The event was not allowed and changed nothing."""

    why: str


Effect = Grant | Refuse | Open | Close | Leaked | Ignored
