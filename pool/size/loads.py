"""What callers do to a pool: when each asks, how long it holds, how long a connect takes.

Theory.  A pool is sized for its callers, so a load is theirs alone and says nothing of limits: the
same calls are put to every setting, and two settings differ by nothing but themselves.  A load is
made up of a rate and a time, or taken from what a `Recorder` saw.

Callers are independent: that one had to wait changes neither when the next asks nor how long
anybody holds.  That is true of the users of a service, and not of a fixed number of workers, who
ask again only when they have been served; for those it errs to the side of more waiting.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

import attrs

from pool.core.effects import Effect, Grant
from pool.core.events import Acquire, Dead, Discard, Event, Opened, Release
from pool.core.text import repr_of


@attrs.frozen
class Call:
    """One caller: when it asks, and for how long it will hold what it gets; in seconds."""

    at: float
    """When it asks, from the beginning on."""
    hold: float
    """For how long it keeps the connection."""


@attrs.frozen(kw_only=True)
class Load:
    """Callers, and the database that they call. Immutable; times are in seconds."""

    calls: tuple[Call, ...]
    """In the order of their times."""
    connects: tuple[float, ...] = (0.0,)
    """How long connects take: the first, the second, ..., and again from the first."""
    timeout: float | None = None
    """For how long each is ready to wait. None: for ever."""
    origin: str = "calls"
    """Where it comes from, for people."""

    def __attrs_post_init__(self) -> None:
        if not self.connects:
            raise ValueError("connects=(): allowed is at least one time")

    @property
    def seconds(self) -> float:
        """From the first call to the last."""
        return self.calls[-1].at - self.calls[0].at if self.calls else 0.0

    @property
    def rate(self) -> float:
        """Calls for each second. 0 where there is no time between the first and the last."""
        return (len(self.calls) - 1) / self.seconds if self.seconds else 0.0

    @property
    def hold(self) -> float:
        """For how long a connection is held, on average."""
        return math.fsum(call.hold for call in self.calls) / len(self.calls) if self.calls else 0.0

    @property
    def busy(self) -> float:
        """Connections in use at a time, on average, where nobody has to wait."""
        return self.rate * self.hold

    def scaled(self, factor: float) -> Load:
        """The same callers, `factor` times as fast: twice as many each second for 2. Raises
        `ValueError` for what is not above 0."""
        if not 0 < factor < math.inf:
            raise ValueError(f"factor={repr_of(factor)}: allowed is a number above 0")
        calls = tuple(Call(call.at / factor, call.hold) for call in self.calls)
        return attrs.evolve(
            self, calls=calls, origin=f"{self.origin}, at {factor:g} times the rate"
        )


# ---------------------------------------------------------------- made up

Draw = Callable[[random.Random], float]
"""Draws a time whose average is 1."""


def exponential(draw: random.Random) -> float:
    return draw.expovariate(1.0)


def fixed(_: random.Random) -> float:
    return 1.0


def lognormal(spread: float) -> Draw:
    """Many short and a few very long ones. `spread`: the standard deviation over the average."""
    sigma = math.sqrt(math.log(1.0 + spread * spread))
    return lambda draw: draw.lognormvariate(-sigma * sigma / 2.0, sigma)


def poisson(
    rate: float,
    hold: float,
    *,
    calls: int = 100_000,
    shape: Draw = exponential,
    connect: float = 0.0,
    timeout: float | None = None,
    seed: int = 0,
    origin: str = "",
) -> Load:
    """Calls that know nothing of one another, `rate` for each second on average, each holding
    for `hold` seconds on average. The same for the same arguments.

    * `calls`: how many.
    * `shape`: draws by how much longer than the average one holds; by default exponential.
    * `connect`: how many seconds each connect takes.
    * `timeout`: how many seconds each is ready to wait; None: for ever.
    * `seed`: other numbers draw other calls.
    * `origin`: where they come from, for people.
    """
    arrivals, holds = random.Random(f"arrivals {seed}"), random.Random(f"holds {seed}")
    at, made = 0.0, []
    for _ in repeat(None, calls):
        at += arrivals.expovariate(rate)
        made.append(Call(at, hold * shape(holds)))
    return Load(
        calls=tuple(made),
        connects=(connect,),
        timeout=timeout,
        origin=origin or f"{rate:g} calls/s that hold for {hold:g} s",
    )


# ---------------------------------------------------------------- recorded


def load_of(history: Iterable[tuple[Event, tuple[Effect, ...]]]) -> Load:
    """The load that a `Recorder` saw; `history` is its: `load_of(recorder.history)`.

    A caller that was refused, or still held its connection at the end, is taken to hold for as
    long as the average of the others. Of a connect is known what it took the background opener
    or the caller that connected. ValueError where no call was ever granted and returned.
    """
    asked: dict[int, float] = {}
    begun: dict[tuple[int, int], float] = {}
    held: dict[int, float] = {}
    connects = []
    for event, effects in history:
        if isinstance(event, Acquire):
            asked[event.ticket] = event.now
        elif isinstance(event, Release | Discard | Dead):
            since = begun.pop((event.ticket, event.key), None)
            if since is not None and not isinstance(event, Dead):
                held[event.ticket] = event.now - since
        elif isinstance(event, Opened):
            connects.append(max(0.0, event.now - event.created))
        for grant in _grants(effects):
            begun[grant.ticket, grant.key] = event.now
    if not held:
        raise ValueError("no call was granted a connection and returned it: nothing to size for")
    usual = math.fsum(held.values()) / len(held)
    first = min(asked.values(), default=0.0)
    calls = [Call(at - first, held.get(ticket, usual)) for ticket, at in asked.items()]
    calls.sort(key=lambda call: call.at)
    return Load(calls=tuple(calls), connects=tuple(connects) or (0.0,), origin="a recording")


def _grants(effects: Iterable[Any]) -> Iterator[Grant]:
    return (effect for effect in effects if isinstance(effect, Grant))
