"""What a pool is doing, as numbers at one instant.

Theory.  The state is one immutable value, so reading all numbers from it gives a picture that
was true at one instant, without a lock.  Only the closes are not in it: the machine has let
go of a connection when it asks for its close; they are counted where they are done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pool.core import heap, waiters
from pool.core.effects import Close
from pool.core.state import Phase
from pool.shared.meter import Meter, Times

if TYPE_CHECKING:
    from pool.threads.runtime import Runtime


@attrs.frozen(kw_only=True)
class Statistics:
    """Numbers of one instant. Immutable; counts are those since the pool was made."""

    name: str
    """Of the pool."""
    phase: Phase
    """`open`, `suspended` or `closed`."""
    max_size: int | None
    """The limit; None: there is none."""
    min_idle: int
    """Idle connections to keep ready."""
    idle: int
    """Connections at rest."""
    in_use: int
    """Connections lent."""
    opening: int
    """Connects under way."""
    waiting: int
    """Callers in the queue."""
    closing: int
    """Closes under way."""
    closes_waiting: int
    """Connections that wait for their close, because as many as may are under way."""
    requests: int
    """Calls of acquire so far."""
    granted: int
    """Connections lent so far."""
    refused: int
    """Callers so far that got an error from the pool."""
    cancelled: int
    """Callers so far that were interrupted while they waited."""
    opened: int
    """Connections made so far."""
    closed: int
    """Connections closed so far, or handed over to be closed."""
    forgotten: int
    """Connections left to the parent process after a fork."""
    dead: int
    """Connections so far that were found dead before they were lent."""
    connects_failed: int
    """Connects so far that failed. As many were tried as failed and as were `opened`."""
    waits: int
    """Callers so far that had to wait, for what others held or for a connect."""
    wait_times: Times | None
    """How long those waited that got a connection; None where nobody measures (`pool.metrics`)."""
    hold_times: Times | None
    """How long connections were held that came back; None as above."""
    failures: int
    """Failed connects in a row; those of one outage that came together count once."""
    last_error: str | None
    """The last failed connect, if none has succeeded since."""

    @property
    def size(self) -> int:
        """Connections at rest, lent and being made: what `max_size` bounds."""
        return self.idle + self.in_use + self.opening


def statistics_of(runtime: Runtime, name: str) -> Statistics:
    """The numbers right now."""
    state, driver = runtime.state, runtime.driver
    meter = _meter_of(runtime.monitor)
    counts, error = state.counters, state.last_error
    return Statistics(
        name=name,
        phase=state.phase,
        max_size=state.limits.max_size,
        min_idle=state.limits.min_idle,
        idle=heap.size(state.idle),
        in_use=len(state.in_use),
        opening=state.opening,
        waiting=waiters.size(state.waiters),
        closing=len(runtime.monitor.closing),
        closes_waiting=sum(type(job) is Close for job in list(runtime.monitor.jobs.values())),
        requests=state.issued,
        granted=state.granted,
        refused=counts.refused,
        cancelled=counts.cancelled,
        opened=counts.opened,
        closed=counts.closed,
        forgotten=counts.forgotten,
        dead=counts.dead,
        connects_failed=getattr(driver, "failed_connects", 0),
        waits=getattr(driver, "waits", 0),
        wait_times=meter.waits.times() if meter else None,
        hold_times=meter.holds.times() if meter else None,
        failures=state.failures,
        last_error=f"{error.kind}: {error.text}" if error else None,
    )


def _meter_of(monitor: Any) -> Meter | None:
    """The one that counts for this pool, if one does, with all that has been so far."""
    observed = monitor.observed
    if observed is None:
        return None
    meter = next((one for one in observed.observers() if isinstance(one, Meter)), None)
    if meter is not None:
        observed.tell(monitor)
    return meter
