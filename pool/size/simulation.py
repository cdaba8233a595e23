"""A pool in virtual time: the real `step`, callers that are numbers, and no thread.

Theory.  What a pool does is a function of its events, so a simulation needs no model of a pool that
might be wrong: it needs events.  This file makes those that the world would make.  A caller asks
at its time and returns what it got after its hold; a connect that was asked for ends after its
time, well unless it began in an outage; a deadline passes; a `Tick` comes when `wake_at` says that
it is useful.  Who gets what, who waits and who is refused is decided where it always is.

Time costs nothing here, and neither does the pool itself: no lock, no switch of threads, no reset.
So waits are those of the queue alone.  How long a caller holds does not depend on how many others
hold: a database that becomes slower when it is asked more is not in here.

The first tenth of the calls is not counted: a pool that begins empty, and a queue that begins
short, say nothing of an ordinary hour.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable
from itertools import count

import attrs

from pool.core import shortcuts
from pool.core.effects import Close, Effect, Grant, Open, Refuse
from pool.core.events import Acquire, Event, Expire, Opened, OpenFailed, Release, Retire, Tick
from pool.core.limits import Limits
from pool.core.state import Failure, Fields, initial, state_of
from pool.core.transition import step, wake_at
from pool.size.loads import Load

WARM_UP = 0.1
"""The part of the calls that is not counted."""

BATCHES = 20
"""Pieces whose averages say how sure the average is."""

SURE = 2.093
"""Student's t for 19 degrees of freedom and 95 %."""

PROGRESS_EVERY = 2000
"""Calls between two reports of how far it has come."""

# In the order in which they come where they are due at one time; who asks then comes last.
RETURNS, OPENED, FAILED, DRAIN, DEADLINE, TICK = range(6)

NO_DATABASE = Failure("Outage", "a connect that failed in the recording")

SHORTER = 0.25
"""The part of the pause after a failed connect that is left out: on average that of a pool, where
it is drawn at random, up to a half."""


@attrs.frozen(kw_only=True)
class Result:
    """What callers met with one setting. Immutable; times are in seconds."""

    limits: Limits
    """The setting."""
    calls: int
    """Callers that were counted."""
    waits: tuple[float, ...]
    """Of those that got a connection, from asking to having it, shortest first."""
    refused: Counter[str]
    """Callers that got none, by reason."""
    opened: int
    """Connects, those before the counting began, too."""
    failed: int
    """Connects that failed, likewise."""
    closed: int
    """Connections closed, likewise."""
    used: float
    """Connections in use, on average over time."""
    most_used: int
    """Connections in use at a time, at most."""
    full: float
    """The part of the time in which somebody waited."""
    mean: float
    """The average wait."""
    margin: float
    """The average is right within this with 95 % confidence: from the averages of pieces."""

    def quantile(self, part: float) -> float:
        """The wait that this `part` of those who got a connection did not exceed: 0.99 for p99;
        not a number where nobody got one."""
        if not self.waits:
            return math.nan
        return self.waits[max(0, math.ceil(part * len(self.waits)) - 1)]

    @property
    def refused_part(self) -> float:
        """The part of the callers that got nothing."""
        return self.refused.total() / self.calls if self.calls else 0.0


def simulate(limits: Limits, load: Load, progress: Callable[[int], None] | None = None) -> Result:
    """What the callers of `load` meet with these `limits`. The same for the same arguments.

    O(calls): some ten microseconds each. `progress` is told how many calls there were so far.
    """
    return _Simulation(limits, load).run(progress)


class _Simulation:
    """One run."""

    def __init__(self, limits: Limits, load: Load) -> None:
        self.limits, self.load = limits, load
        self.state: Fields = initial(limits)
        self.order = count()
        self.due: list[tuple[float, int, int, int, int]] = []
        self.waiting: dict[int, float] = {}
        self.first_counted = 1 + int(len(load.calls) * WARM_UP)
        self.waits: list[tuple[int, float]] = []
        self.refused: Counter[str] = Counter()
        self.opened = self.failed = self.closed = self.connects = self.outage = 0
        self.in_use = self.most_used = 0
        self.since = self.used = self.full = self.counted_from = 0.0
        self.next_tick: float | None = None
        # Then each change of the state may change when a `Tick` is due.
        self.ages = any(limit is not None for limit in (limits.max_idle, limits.max_lifetime))

    def run(self, progress: Callable[[int], None] | None) -> Result:
        calls, due = self.load.calls, self.due
        timeout = self.load.timeout
        for at in self.load.drains:
            self.plan(at, DRAIN)
        if self.limits.min_idle:
            self.apply(Tick(calls[0].at if calls else 0.0), 0.0)
        for ticket, call in enumerate(calls, start=1):
            at = call.at
            while due and due[0][0] <= at:
                self.happen(heapq.heappop(due))
            if ticket == self.first_counted:
                self.used = self.full = 0.0
                self.since = self.counted_from = at
                self.most_used = self.in_use
            self.pass_to(at)
            taken = None if self.ages else shortcuts.acquire(self.state, at, ticket, True, None)
            if taken is not None and taken[1]:
                self.state, key = taken[0], taken[1]
                self.granted(ticket, key, at, 0.0)
            else:
                self.waiting[ticket] = at
                if timeout is not None:
                    self.plan(at + timeout, DEADLINE, ticket)
                self.apply(Acquire(at, ticket), at)
            if progress is not None and ticket % PROGRESS_EVERY == 0:
                progress(ticket)
        end = calls[-1].at if calls else 0.0
        self.pass_to(end)
        used, full, most = self.used, self.full, self.most_used
        # Those who wait now are served, too; nobody else comes. (A pool that can't grant any more,
        # for all that it can still do is to grow older, is at its end.)
        while self.waiting and due:
            self.happen(heapq.heappop(due))
        return self.result(max(end - self.counted_from, 0.0), used, full, most)

    # ------------------------------------------------------------ what happens

    def plan(self, at: float, kind: int, ticket: int = 0, key: int = 0) -> None:
        heapq.heappush(self.due, (at, kind, next(self.order), ticket, key))

    def happen(self, due: tuple[float, int, int, int, int]) -> None:
        now, kind, _, ticket, key = due
        self.pass_to(now)
        if kind == RETURNS:
            self.in_use -= 1
            spoils = self.load.calls[ticket - 1].spoils
            usual = not (self.ages or spoils)
            returned = shortcuts.release(self.state, now, ticket, key, True) if usual else None
            if returned is not None:
                self.state = returned[0]
                self.obey(returned[1], now)
            else:
                self.apply(Release(now, ticket, key, not spoils), now)
        elif kind == FAILED:
            self.failed += 1
            self.apply(OpenFailed(now, ticket or None, NO_DATABASE, SHORTER), now)
        elif kind == OPENED:
            self.opened += 1
            took = self.load.connects[key % len(self.load.connects)]
            # A connect is somebody's or nobody's (0), and takes its own time.
            self.apply(Opened(now, ticket or None, None, now - took), now)
        elif kind == DRAIN:
            self.apply(Retire(now), now)
        elif kind == DEADLINE:
            if ticket in self.waiting:
                self.apply(Expire(now, ticket), now)
        elif now == self.next_tick:
            self.next_tick = None
            self.apply(Tick(now), now)

    def apply(self, event: Event, now: float) -> None:
        state, effects = step(state_of(self.state), event)
        self.state = state
        self.obey(effects, now)
        if self.ages or state.retry_at is not None:
            at = wake_at(state)
            if at is not None and (self.next_tick is None or at < self.next_tick):
                self.next_tick = max(at, now)
                self.plan(self.next_tick, TICK)

    def obey(self, effects: tuple[Effect, ...], now: float) -> None:
        for effect in effects:
            if isinstance(effect, Grant):
                self.granted(effect.ticket, effect.key, now, now - self.waiting.pop(effect.ticket))
            elif isinstance(effect, Refuse):
                self.waiting.pop(effect.ticket)
                if effect.ticket >= self.first_counted:
                    self.refused[effect.reason] += 1
            elif isinstance(effect, Open):
                self.connect(effect.ticket or 0, now)
            elif isinstance(effect, Close):
                self.closed += 1

    def connect(self, ticket: int, now: float) -> None:
        outages = self.load.outages
        while self.outage < len(outages) and outages[self.outage][1] <= now:
            self.outage += 1
        if self.outage < len(outages) and outages[self.outage][0] <= now:
            self.plan(now + self.load.failing, FAILED, ticket)
            return
        connects = self.load.connects
        took = connects[self.connects % len(connects)]
        self.plan(now + took, OPENED, ticket, self.connects)
        self.connects += 1

    def granted(self, ticket: int, key: int, now: float, waited: float) -> None:
        self.in_use += 1
        if self.in_use > self.most_used:
            self.most_used = self.in_use
        self.plan(now + self.load.calls[ticket - 1].hold, RETURNS, ticket, key)
        if ticket >= self.first_counted:
            self.waits.append((ticket, waited))

    def pass_to(self, now: float) -> None:
        """Time passes, in which nothing changes."""
        passed = now - self.since
        self.used += self.in_use * passed
        if self.waiting:
            self.full += passed
        self.since = now

    # ------------------------------------------------------------ afterwards

    def result(self, seconds: float, used: float, full: float, most: int) -> Result:
        counted = max(0, len(self.load.calls) - self.first_counted + 1)
        waits = [wait for _, wait in sorted(self.waits)]
        mean = math.fsum(waits) / len(waits) if waits else math.nan
        return Result(
            limits=self.limits,
            calls=counted,
            waits=tuple(sorted(waits)),
            refused=self.refused,
            opened=self.opened,
            failed=self.failed,
            closed=self.closed,
            used=used / seconds if seconds else 0.0,
            most_used=most,
            full=full / seconds if seconds else 0.0,
            mean=mean,
            margin=_margin(waits),
        )


def _margin(waits: list[float]) -> float:
    """Half of the 95 % confidence interval of the average, by the averages of pieces."""
    length = len(waits) // BATCHES
    if not length:
        return math.inf
    means = [math.fsum(waits[i * length : (i + 1) * length]) / length for i in range(BATCHES)]
    middle = math.fsum(means) / BATCHES
    variance = math.fsum((mean - middle) ** 2 for mean in means) / (BATCHES - 1)
    return SURE * math.sqrt(variance / BATCHES)
