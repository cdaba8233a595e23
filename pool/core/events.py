"""Everything that can happen to a pool, as data.

Theory.  The machine has no clock, no random numbers and no identity of its own: `now`
(seconds), `jitter` (from 0 up to 1) and tickets arrive inside events.  An event says
what happened, never what to do about it.  Its name is also, in small letters, the name
of its handler in `transition.py`; the TLA+ action and the vectors have the same name.

A ticket is drawn just before `Acquire` and carried by it: strictly increasing from 1,
gaps allowed, never used twice.  It is the caller's place in the queue, then the fencing
token of its lease.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pool.core.limits import Limits
from pool.core.state import Failure
from pool.core.values import value


@value
class Acquire(NamedTuple):
    """A caller wants a connection. With `wait=False`: now, or not at all."""

    now: float
    ticket: int
    wait: bool = True
    owner: Any = None


@value
class Opened(NamedTuple):
    """A driver's connect succeeded: the ticket's own, or nobody's (None).

    `jitter` is the part of `max_lifetime` that this connection is denied."""

    now: float
    ticket: int | None
    connection: Any
    created: float
    jitter: float = 0.0


@value
class OpenFailed(NamedTuple):
    """A driver's connect failed. `jitter` is the part of the pause that is left out."""

    now: float
    ticket: int | None
    error: Failure
    jitter: float = 0.0


@value
class Dead(NamedTuple):
    """The holder found its fresh grant dead; it wants another in its old place."""

    now: float
    ticket: int
    key: int
    wait: bool = True


@value
class Release(NamedTuple):
    """The holder returns its connection, which was reset, or could not be."""

    now: float
    ticket: int
    key: int
    reusable: bool = True


@value
class Discard(NamedTuple):
    """The holder wants its connection closed, or lost it."""

    now: float
    ticket: int
    key: int


@value
class Expire(NamedTuple):
    """The caller's deadline has passed."""

    now: float
    ticket: int


@value
class Cancel(NamedTuple):
    """The caller is gone and no connection reached it."""

    now: float
    ticket: int


@value
class CloseIdle(NamedTuple):
    """Close every idle connection."""

    now: float


@value
class CloseStale(NamedTuple):
    """Close every connection in use that was checked out before this time."""

    now: float
    before: float


@value
class CloseAll(NamedTuple):
    """Close every connection, idle or in use."""

    now: float


@value
class Retire(NamedTuple):
    """Every connection made before now has expired: a drain, a fail-over."""

    now: float


@value
class Tick(NamedTuple):
    """Time has passed. `wake_at` says when this is useful."""

    now: float


@value
class Configure(NamedTuple):
    """New limits. `opener` cannot change."""

    now: float
    limits: Limits


@value
class Suspend(NamedTuple):
    """Grant nothing until `Resume`."""

    now: float


@value
class Resume(NamedTuple):
    """Go on after `Suspend`."""

    now: float


@value
class Shutdown(NamedTuple):
    """No more connections, for ever."""

    now: float


@value
class Forked(NamedTuple):
    """This is a child process: what the pool held is the parent's."""

    now: float


@value
class AdoptIdle(NamedTuple):
    """An idle connection that an adapter put in (`key` None) or changed."""

    key: int | None
    connection: Any
    created: float
    seq: int


@value
class AdoptLease(NamedTuple):
    """A connection in use that an adapter put in (`key` None) or changed."""

    key: int | None
    connection: Any
    created: float
    checked_out: float


@value
class Adopt(NamedTuple):
    """What an adapter put in, changed or removed behind the machine's back.

    `removed` names keys to forget; then come the changed and the new. `next_seq` is at
    least what the adapter counted up to."""

    now: float
    idle: tuple[AdoptIdle, ...] = ()
    in_use: tuple[AdoptLease, ...] = ()
    removed: tuple[int, ...] = ()
    next_seq: int = 0


Event = (
    Acquire
    | Opened
    | OpenFailed
    | Dead
    | Release
    | Discard
    | Expire
    | Cancel
    | CloseIdle
    | CloseStale
    | CloseAll
    | Retire
    | Tick
    | Configure
    | Suspend
    | Resume
    | Shutdown
    | Forked
    | Adopt
)
