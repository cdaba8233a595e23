"""What every exporter reads of a pool: its state at an instant, and what its meter has counted."""

from __future__ import annotations

import weakref
from typing import Any

import attrs

from pool.core import heap, waiters
from pool.core.state import State, leased
from pool.shared.meter import Meter, OnTime
from pool.shared.observation import Observing, observe, runtime_of
from pool.shared.regularly import BATCH, tell_regularly


@attrs.frozen(kw_only=True)
class Reading:
    """One look at a pool."""

    state: State
    meter: Meter
    now: float

    @property
    def used(self) -> int:
        return len(self.state.in_use)

    @property
    def idle(self) -> int:
        return heap.size(self.state.idle)

    @property
    def waiting(self) -> int:
        return waiters.size(self.state.waiters)

    @property
    def counts(self) -> list[tuple[str, float]]:
        """Connections, by the conventions' names for what they are doing."""
        return [("idle", self.idle), ("used", self.used)]

    @property
    def most(self) -> list[float]:
        """What bounds the open ones, if anything does."""
        most = self.state.limits.max_size
        return [] if most is None else [most]

    @property
    def refused(self) -> list[tuple[str, float]]:
        """Callers, by reason."""
        return list(dict(self.meter.refused).items())

    @property
    def closed(self) -> list[tuple[str, float]]:
        """Connections, by reason."""
        return list(dict(self.meter.closed).items())

    @property
    def saturated(self) -> float:
        """Seconds so far in which every connection was in use and somebody waited."""
        return self.meter.saturated_until(self.now)

    @property
    def oldest(self) -> float:
        """For how many seconds the oldest lease lasts; 0 if there is none."""
        taken = [lease.checked_out for lease in leased(self.state.in_use).values()]
        return max(0.0, self.now - min(taken)) if taken else 0.0


class Reader:
    """Reads one pool, without keeping it alive."""

    def __init__(self, pool: Any, name: str | None, on_time: OnTime | None = None) -> None:
        runtime = runtime_of(pool)
        self.name = name if name is not None else _name_of(pool)
        self.meter = Meter(runtime.state.limits.max_size, on_time)
        self._runtime = weakref.ref(runtime)
        self._observing: Observing | None = observe(runtime, self.meter, batch=BATCH)
        tell_regularly(runtime)

    def read(self) -> Reading | None:
        """None of a pool that is gone, or is not measured any more."""
        runtime = self._runtime()
        observing = self._observing
        if runtime is None or observing is None:
            return None
        observing.flush()
        return Reading(state=runtime.state, meter=self.meter, now=runtime.clock())

    def stop(self) -> None:
        """Measure no more. May be called again."""
        observing, self._observing = self._observing, None
        if observing is not None:
            observing.stop()


def _name_of(pool: Any) -> str:
    own = getattr(pool, "_purepool", None)
    return str(getattr(pool, "name", "") if own is None else own.label() or "database")
