"""purepool: a database connection pool whose whole behaviour is one pure function.

`step(state, event) -> (state', effects)` decides everything; see `spec/README.md`.
Importing this package imports no driver, no peewee and none of the checking tools.
"""

from pool.effects import Close, Effect, Grant, Ignored, Leaked, Open, Refuse
from pool.events import (
    Acquire,
    Adopt,
    AdoptIdle,
    AdoptLease,
    Cancel,
    CloseAll,
    CloseIdle,
    CloseStale,
    Configure,
    Dead,
    Discard,
    Event,
    Expire,
    Forked,
    Opened,
    OpenFailed,
    Release,
    Resume,
    Retire,
    Shutdown,
    Suspend,
    Tick,
)
from pool.invariants import INVARIANTS, STEP_INVARIANTS
from pool.limits import Limits
from pool.state import Entry, Failure, Idle, Lease, State, initial
from pool.transition import step, wake_at

__all__ = [
    "INVARIANTS",
    "STEP_INVARIANTS",
    "Acquire",
    "Adopt",
    "AdoptIdle",
    "AdoptLease",
    "Cancel",
    "Close",
    "CloseAll",
    "CloseIdle",
    "CloseStale",
    "Configure",
    "Dead",
    "Discard",
    "Effect",
    "Entry",
    "Event",
    "Expire",
    "Failure",
    "Forked",
    "Grant",
    "Idle",
    "Ignored",
    "Leaked",
    "Lease",
    "Limits",
    "Open",
    "OpenFailed",
    "Opened",
    "Refuse",
    "Release",
    "Resume",
    "Retire",
    "Shutdown",
    "State",
    "Suspend",
    "Tick",
    "initial",
    "step",
    "wake_at",
]
