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
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from itertools import repeat

import attrs

from pool.core.effects import Effect, Grant, Open
from pool.core.events import Acquire, Dead, Discard, Event, Opened, OpenFailed, Release, Retire
from pool.core.text import repr_of


@attrs.frozen
class Call:
    """One caller: when it asks, and for how long it will hold what it gets; in seconds."""

    at: float
    """When it asks, from the beginning on."""
    hold: float
    """For how long it keeps the connection."""
    spoils: bool = False
    """Whether the connection is closed then, and not lent again."""


@attrs.frozen(kw_only=True)
class Load:
    """Callers, and the database that they call. Immutable; times are in seconds."""

    calls: tuple[Call, ...]
    """In the order of their times."""
    connects: tuple[float, ...] = (0.0,)
    """How long connects take: the first, the second, ..., and again from the first."""
    outages: tuple[tuple[float, float], ...] = ()
    """When the database cannot be reached: a connect that begins from the first time of a pair up
    to the second one fails. In their order, from the same beginning on as calls."""
    drains: tuple[float, ...] = ()
    """When every connection is replaced, as by `drain()`."""
    failing: float = 0.0
    """How long a connect takes that fails."""
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
        """The same callers, `factor` times as fast: twice as many each second for 2. An outage
        or a drain meets the same callers. Raises `ValueError` for what is not above 0."""
        if not 0 < factor < math.inf:
            raise ValueError(f"factor={repr_of(factor)}: allowed is a number above 0")
        return attrs.evolve(
            self,
            calls=tuple(attrs.evolve(call, at=call.at / factor) for call in self.calls),
            drains=tuple(at / factor for at in self.drains),
            outages=tuple((since / factor, until / factor) for since, until in self.outages),
            origin=f"{self.origin}, at {factor:g} times the rate",
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

    Each does what it did: a connection that was discarded, or could not be reset, is closed again,
    and drains come when they came. A caller that was refused, or still held its connection at the
    end, is taken to hold for as long as the average of the others. Of a connect is known what it
    took the background opener or the caller that connected. Connects that failed, with none that
    succeeded between them, are an outage, from when the first began until the last had failed.
    ValueError where no call was ever granted and returned.
    """
    asked: dict[int, float] = {}
    begun: dict[tuple[int, int], float] = {}
    held: dict[int, float] = {}
    spoilt: set[int] = set()
    connects: list[float] = []
    drains: list[float] = []
    opens = _Opens()
    for event, effects in history:
        if isinstance(event, Acquire):
            asked[event.ticket] = event.now
        elif isinstance(event, Release | Discard | Dead):
            since = begun.pop((event.ticket, event.key), None)
            if since is not None and not isinstance(event, Dead):
                held[event.ticket] = event.now - since
                if isinstance(event, Discard) or not event.reusable:
                    spoilt.add(event.ticket)
        elif isinstance(event, Retire):
            drains.append(event.now)
        elif isinstance(event, Opened):
            connects.append(max(0.0, event.now - event.created))
            opens.succeeded(event.ticket)
        elif isinstance(event, OpenFailed):
            opens.failed(event.ticket, event.now)
        for effect in effects:
            if isinstance(effect, Grant):
                begun[effect.ticket, effect.key] = event.now
            elif isinstance(effect, Open):
                opens.begun(effect.ticket, event.now)
    if not held:
        raise ValueError("no call was granted a connection and returned it: nothing to size for")
    usual = math.fsum(held.values()) / len(held)
    first = min(asked.values(), default=0.0)
    calls = [
        Call(at - first, held.get(ticket, usual), ticket in spoilt) for ticket, at in asked.items()
    ]
    calls.sort(key=lambda call: call.at)
    return Load(
        calls=tuple(calls),
        connects=tuple(connects) or (0.0,),
        outages=tuple((since - first, until - first) for since, until in opens.outages),
        drains=tuple(max(0.0, at - first) for at in drains),
        failing=math.fsum(opens.took) / len(opens.took) if opens.took else 0.0,
        origin="a recording",
    )


class _Opens:
    """Connects under way, and those that failed. Which of several that are nobody's has ended is
    not recorded: it is taken to be the first that began."""

    def __init__(self) -> None:
        self.under_way: dict[int | None, deque[float]] = defaultdict(deque)
        self.outages: list[tuple[float, float]] = []
        self.took: list[float] = []
        self.is_down = False

    def begun(self, ticket: int | None, now: float) -> None:
        self.under_way[ticket].append(now)

    def succeeded(self, ticket: int | None) -> None:
        self._end(ticket, 0.0)
        self.is_down = False

    def failed(self, ticket: int | None, now: float) -> None:
        since = self._end(ticket, now)
        self.took.append(now - since)
        if self.is_down:
            since, _ = self.outages.pop()
        self.outages.append((since, now))
        self.is_down = True

    def _end(self, ticket: int | None, otherwise: float) -> float:
        times = self.under_way.get(ticket)
        if not times:  # it began before the recording
            return otherwise
        since = times.popleft()
        if not times:
            del self.under_way[ticket]
        return since
