"""What a pool's transitions add up to: waits, holds and connects as numbers.

Theory.  An observer (`observation.py`) that keeps counts.  All it knows comes from events, effects
and their times, so it is the same for threads and for tasks, and a recording gives the same numbers
as the pool did.  A distribution is kept as counts of bounded buckets, each 5 % wider than the one
before: any quantile is right within that, and no number of callers makes it larger.

What it refuses to know: who reads the numbers, and the state, which says better than any count
what is idle or lent right now.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import attrs

from pool.core.effects import Close, Effect, Grant, Ignored, Refuse
from pool.core.events import (
    Acquire,
    Cancel,
    Configure,
    Dead,
    Discard,
    Event,
    Forked,
    Opened,
    OpenFailed,
    Release,
)

LEAST = 1e-6
"""Seconds below which all is one."""

GROWTH = math.log(1.05)
"""How much wider each bucket is than the one before: the logarithm of it."""

MOST_BUCKETS = 520
"""The last of them ends at some thirty hours."""

OnTime = Callable[[str, float], object]
"""Told `wait`, `hold` or `connect`, and how many seconds that took."""


@attrs.frozen(kw_only=True)
class Times:
    """How long something took so far. Immutable; times are in seconds."""

    count: int = 0
    """How often it happened."""
    total: float = 0.0
    """All of it together."""
    most: float = 0.0
    """The longest."""
    buckets: dict[int, int] = attrs.field(factory=dict, repr=False)
    """How often, by the number of the bucket: from 1 microsecond on, each 5 % wider."""

    @property
    def mean(self) -> float:
        """The average; 0 where nothing happened."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, part: float) -> float:
        """What this `part` of them did not exceed, within 5 %: 0.99 for p99. 0 where nothing
        happened."""
        left = math.ceil(part * self.count)
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return min(self.most, end_of(bucket))
        return self.most


def end_of(bucket: int) -> float:
    """The longest time in it, in seconds."""
    return LEAST * math.exp(bucket * GROWTH)


class Sketch:
    """A distribution that grows. One thread adds at a time; reading is possible from any."""

    def __init__(self) -> None:
        self.count = 0
        self.total = self.most = 0.0
        self.buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        if seconds > self.most:
            self.most = seconds
        bucket = 0
        if seconds > LEAST:
            bucket = min(MOST_BUCKETS, math.ceil(math.log(seconds / LEAST) / GROWTH))
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def times(self) -> Times:
        return Times(
            count=self.count, total=self.total, most=self.most, buckets=self.buckets.copy()
        )


class Meter:
    """An observer that counts. `on_time` is told of each wait, hold and connect as it ends."""

    def __init__(self, max_size: int | None, on_time: OnTime | None = None) -> None:
        self.max_size = max_size
        self.on_time = on_time
        self.waits, self.holds, self.connects = Sketch(), Sketch(), Sketch()
        self.refused: Counter[str] = Counter()
        """Callers, by reason."""
        self.closed: Counter[str] = Counter()
        """Connections, by reason."""
        self.failed = 0
        """Connects."""
        self.saturated = 0.0
        """Seconds in which everything was in use and somebody waited."""
        self._asked: dict[int, float] = {}
        self._held: dict[int, tuple[float, int, float]] = {}
        self._keys: dict[int, int] = {}
        self._saturated_since: float | None = None
        self._last: Event | None = None

    def __call__(self, event: Event, effects: tuple[Effect, ...]) -> None:
        if event is self._last:  # told again, after an interrupt
            return
        self._last = event
        now = event.now
        if isinstance(event, Acquire):
            self._asked[event.ticket] = now
        elif effects and type(effects[-1]) is Ignored:
            return
        elif isinstance(event, Release | Discard):
            self._end(event.key, now)
        elif isinstance(event, Dead):
            _, _, asked = self._held.pop(event.key, (now, 0, now))
            self._asked[event.ticket] = asked
        elif isinstance(event, Opened):
            self._took("connect", self.connects, now - event.created)
        elif isinstance(event, OpenFailed):
            self.failed += 1
        elif isinstance(event, Forked):
            self._asked.clear()
            self._held.clear()
            self._keys.clear()
        elif isinstance(event, Configure):
            self.max_size = event.limits.max_size
        elif isinstance(event, Cancel):
            self._asked.pop(event.ticket, None)
            if event.ticket in self._keys:
                self._end(self._keys[event.ticket], now)
        for effect in effects:
            if type(effect) is Grant:
                self._grant(effect, now)
            elif type(effect) is Refuse:
                self.refused[effect.reason] += 1
                self._asked.pop(effect.ticket, None)
            elif type(effect) is Close:
                self.closed[effect.reason] += 1
                self._end(effect.key, now)
        self._note_saturation(now)

    def _grant(self, grant: Grant, now: float) -> None:
        asked = self._asked.pop(grant.ticket, now)
        self._held[grant.key] = now, grant.ticket, asked
        self._keys[grant.ticket] = grant.key
        self._took("wait", self.waits, now - asked)

    def _end(self, key: int, now: float) -> None:
        since, ticket, _ = self._held.pop(key, (now, 0, now))
        if ticket:
            self._keys.pop(ticket, None)
            self._took("hold", self.holds, now - since)

    def _took(self, what: str, sketch: Sketch, seconds: float) -> None:
        seconds = max(0.0, seconds)  # a clock may have been put back
        sketch.add(seconds)
        if self.on_time is not None:
            self.on_time(what, seconds)

    def _note_saturation(self, now: float) -> None:
        is_full = self.max_size is not None and len(self._held) >= self.max_size
        if self._saturated_since is not None:
            self.saturated += max(0.0, now - self._saturated_since)
        self._saturated_since = now if is_full and self._asked else None

    def saturated_until(self, now: float) -> float:
        """As `saturated`, with what goes on right now."""
        since = self._saturated_since
        return self.saturated + (max(0.0, now - since) if since is not None else 0.0)
