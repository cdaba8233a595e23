"""purepool: a database connection pool whose whole behaviour is one pure function.

`step(state, event) -> (state', effects)` decides everything; see `spec/README.md`.
`Pool` is that function at work for any driver. Importing this package imports no driver, no
peewee and none of the checking tools.
"""

import os

from pool.api import Pool
from pool.core.effects import Close, Effect, Grant, Ignored, Leaked, Open, Refuse
from pool.core.events import (
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
from pool.core.invariants import INVARIANTS, STEP_INVARIANTS
from pool.core.limits import Limits
from pool.core.state import Entry, Failure, Idle, State, initial
from pool.core.transition import step, wake_at
from pool.drivers.callables import NO_RESET
from pool.health import Health
from pool.lease import Lease
from pool.shared.errors import (
    LeaseEnded,
    OpenError,
    PoolClosed,
    PoolError,
    PoolForked,
    PoolReentered,
    PoolSuspended,
    PoolTimeout,
    TooManyWaiting,
)
from pool.shared.holders import Holding
from pool.shared.listeners import Notice
from pool.shared.meter import Times
from pool.shared.observation import Observing, observe
from pool.statistics import Statistics

__all__ = [
    "INVARIANTS",
    "NO_RESET",
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
    "Health",
    "Holding",
    "Idle",
    "Ignored",
    "Leaked",
    "Lease",
    "LeaseEnded",
    "Limits",
    "Notice",
    "Observing",
    "Open",
    "OpenError",
    "OpenFailed",
    "Opened",
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolForked",
    "PoolReentered",
    "PoolSuspended",
    "PoolTimeout",
    "Refuse",
    "Release",
    "Resume",
    "Retire",
    "Shutdown",
    "State",
    "Statistics",
    "Suspend",
    "Tick",
    "Times",
    "TooManyWaiting",
    "initial",
    "observe",
    "step",
    "wake_at",
]

if "PUREPOOL_RECORD" in os.environ:  # as `purepool record` asks for
    from pool.record import program

    program.begin(os.environ)
