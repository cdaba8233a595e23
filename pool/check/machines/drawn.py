"""What the Hypothesis machines draw alike: limits, times, which one of several.

Theory.  Limits are as small as histories are long: two connections show what two hundred would.
Times are multiples of a quarter: sums of such floats are exact, and both sides may compute them in
any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from pool.core.limits import IdleOrder, Limits, Opener
from pool.core.state import Failure

QUARTERS = st.sampled_from([0.25, 0.5, 1.0, 2.0, 5.0])
LATER = st.sampled_from([0.0, 0.0, 0.25, 1.0, 5.0])
PICK = st.integers(0, 15)
FAILURES = st.sampled_from([Failure("OperationalError", "refused"), Failure("OSError", "away")])
JITTER = st.sampled_from([0.0, 0.25, 0.5, 0.75])


@st.composite
def limits_strategy(draw: st.DrawFn, opener: Opener | None = None) -> Limits:
    """Limits as small as histories are long; each feature is off in half of the runs."""
    who: Opener = draw(st.sampled_from(_OPENERS)) if opener is None else opener
    max_size = draw(st.sampled_from([2, 1, 3, 2, 1, 4, None]))
    most_idle = 0 if who == "caller" else min(3, max_size or 3)
    initial_pause = draw(st.sampled_from([0.25, 1.0]))
    return Limits(
        opener=who,
        max_size=max_size,
        min_idle=draw(st.integers(0, most_idle)),
        max_lifetime=draw(st.sampled_from([None, None, 2.0, 5.0, 20.0])),
        max_idle=draw(st.sampled_from([None, None, 0.5, 2.0])),
        max_waiting=draw(st.sampled_from([None, None, None, 2, 0])),
        max_opening=draw(st.sampled_from([None, 1, 2])),
        max_connecting=draw(st.sampled_from([None, None, 1, 2])),
        leak_after=draw(st.sampled_from([None, 1.0, 4.0])),
        idle_order=draw(st.sampled_from(_ORDERS)),
        backoff_initial=initial_pause,
        backoff_max=draw(st.sampled_from([initial_pause, 4.0])),
    )


_ORDERS: tuple[IdleOrder, ...] = ("lifo", "oldest", "fifo")

_OPENERS: tuple[Opener, ...] = ("caller", "background")


def chosen(options: Sequence[Any], pick: int) -> Any:
    return options[pick % len(options)]
