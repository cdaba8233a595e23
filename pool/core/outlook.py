"""When a pool is to be looked at next, without a walk over all that it has each time.

Theory.  `wake_at` walks over every connection.  The watch is nudged whenever a connect has ended;
if it walked each time, opening would cost the more, the more there is.  But what one walk has shown
holds on: the ends of what was there then are known, and what is lent or returned later rests, or
is held too long, only so much later.  What is opened later ends as much later as the oldest
connect began that was under way.  So each walk gives an `Outlook`, and until its time has come, or
something has changed that it could not foresee, the next walk would find nothing to do.

Pure: it is given states and times.  What it refuses to know: who looks; and an `Adopt` that
changes a connection which is there already, for adapters that do that have no watch.
"""

from __future__ import annotations

import attrs

from pool.core import heap
from pool.core.limits import Limits
from pool.core.state import Phase, State, expires_at, leased
from pool.core.transition import wake_at

JITTER = 0.1
"""The largest part of `max_lifetime` that a runtime denies a connection."""


@attrs.frozen
class Outlook:
    """What a walk over a state has shown of the states that follow it. Immutable."""

    limits: Limits
    phase: Phase
    retire_before: float
    adopted: int
    opened: int
    resting: int
    due: float | None
    """When the first `Tick` can be due for what was there, or is lent or returned later."""
    due_if_opened: float | None
    """When, for what was opened later."""

    def holds(self, state: State, now: float) -> bool:
        """Whether a `Tick` would change nothing, for all that is known."""
        times = self.times(state)
        return (
            state.limits is self.limits
            and state.phase == self.phase
            and state.retire_before == self.retire_before
            and state.counters.adopted == self.adopted
            # One that is above `min_idle` only now may have rested for long.
            and not 0 < self.resting <= self.limits.min_idle < heap.size(state.idle)
            and all(now < time for time in times)
        )

    def pause(self, state: State, now: float) -> float | None:
        """The seconds until it may hold no longer, if nobody tells of anything. None: for ever."""
        times = self.times(state)
        return max(0.0, min(times) - now) if times else None

    def times(self, state: State) -> list[float]:
        times = [self.due]
        if state.counters.opened != self.opened:
            times.append(self.due_if_opened)
        if state.phase == "open":
            times.append(state.retry_at)
        return [time for time in times if time is not None]


def walk(state: State, now: float, began: float) -> Outlook:
    """Look at everything. `began`: no connect that is under way, or begins later, did so before."""
    limits = state.limits
    times = [wake_at(state)]
    if state.phase != "closed":
        times += [now + wait for wait in (limits.max_idle, limits.leak_after) if wait is not None]
        ends = (expires_at(limits, lease.entry) for lease in leased(state.in_use).values())
        times += [end for end in ends if end is not None and end > now]
    lifetime = limits.max_lifetime
    return Outlook(
        limits,
        state.phase,
        state.retire_before,
        state.counters.adopted,
        state.counters.opened,
        heap.size(state.idle),
        min((time for time in times if time is not None), default=None),
        None if lifetime is None else began + lifetime * (1.0 - JITTER),
    )


def next_look(state: State, now: float) -> float | None:
    """In how many seconds the first `Tick` can be due, of what is there and of what comes
    without anybody telling: a connection lent or returned. None: never."""
    return walk(state, now, now).pause(state, now)
