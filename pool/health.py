"""Whether a pool can serve: what `/healthz` wants to know.

Theory.  A pure function of the state.  A pool that is busy is not ill: it says so, and a service
that is taken out of rotation for it makes the others busier.  So only what no caller can get
through is `down`.  No text of an error is told, for such pages are often open to everybody.
"""

from __future__ import annotations

from typing import Literal

import attrs

from pool.core import heap, waiters
from pool.core.state import State, leased


@attrs.frozen(kw_only=True)
class Health:
    """How a pool is at one instant. Immutable."""

    status: Literal["ok", "degraded", "down"]
    """`down`: no caller gets a connection. `degraded`: they wait."""
    reasons: tuple[str, ...] = ()
    """Why, for people."""

    @property
    def is_ok(self) -> bool:
        """Whether callers get connections, if only after a wait: for the status of a page."""
        return self.status != "down"


def health_of(state: State, now: float) -> Health:
    """How a pool in this `state` is, at the time `now` on the clock of its events."""
    there = heap.size(state.idle) + len(state.in_use)
    waiting = waiters.size(state.waiters)
    reasons = []
    if state.phase == "closed":
        return Health(status="down", reasons=("the pool is closed",))
    if state.last_error is not None:
        reasons.append(f"the last connect failed: {state.last_error.kind}")
        if not there:
            return Health(status="down", reasons=tuple(reasons))
    if state.phase == "suspended":
        reasons.append("the pool is suspended")
    most = state.limits.max_size
    if waiting and most is not None and len(state.in_use) >= most:
        oldest = max(now - lease.checked_out for lease in leased(state.in_use).values())
        text = f"{waiting} wait, all {len(state.in_use)} connections are in use, the oldest lease"
        reasons.append(f"{text} for {max(0.0, oldest):.1f} s")
    return Health(status="degraded" if reasons else "ok", reasons=tuple(reasons))
