"""What is explored: small pools with few callers, small enough to see every state of them.

Theory.  A `Configuration` says how large the world is and what can happen in it, and
nothing about what then happens.  The explorer of `step` and TLC both take their bounds
from here, so that the two graphs can only differ where the machines differ.

Faults of pools need little room: two connections, and two callers more than
connections (fewer hide an unfair queue).  What needs time, phases, new limits or an
adapter gets a world of its own, for the product of all of them is large and says
nothing more.  A configuration also lists the *goals* that a run must meet, so that
one in which nothing happens cannot pass for one in which nothing goes wrong.

Time is whole units.  `ticking` lets it pass, one unit at a time, for ever; what is older
than any limit can tell is no longer told apart (`canonical.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, get_args

import attrs

from pool.core import events
from pool.core.limits import Limits

EVENTS: Mapping[str, type[Any]] = MappingProxyType(
    {kind.__name__: kind for kind in get_args(events.Event)}
)
"""Every event by name, in the order of the specification."""

TRAFFIC = (
    *("Acquire", "Opened", "OpenFailed", "Dead"),
    *("Release", "Discard", "Expire", "Cancel"),
)
PHASES = ("Suspend", "Resume", "Shutdown", "Forked")


def _words(given: str | Iterable[str]) -> tuple[str, ...]:
    """Names, which may be given as one text."""
    return tuple(given.split() if isinstance(given, str) else given)


def _set(given: str | Iterable[str]) -> frozenset[str]:
    return frozenset(_words(given))


@attrs.frozen(kw_only=True)
class Configuration:
    """The bounds of one exploration. Raises `ValueError`, naming field and what is allowed.

    Several names may also be given as one text."""

    name: str
    about: str
    limits: tuple[Limits, ...]
    """The first is in force at the beginning; `Configure` may bring any of them."""
    callers: int
    """Most tickets that wait, connect or hold a connection at one time."""
    events: frozenset[str] = attrs.field(converter=_set)
    strangers: frozenset[str] = attrs.field(default=(), converter=_set)
    """Events that also come with tickets and keys that are not right."""
    waits: tuple[bool, ...] = (True,)
    """`wait` of `Acquire` and of `Dead`."""
    reusable: tuple[bool, ...] = (True, False)
    """`reusable` of `Release`."""
    owners: tuple[str | None, ...] = (None,)
    """Who asks. At most one ticket at a time has an owner that is not None."""
    errors: tuple[str, ...] = ("down",)
    """Texts of failures."""
    lags: tuple[int, ...] = (0,)
    """How many units ago a connection that comes in was begun; with `Adopt`, checked out."""
    jitters: tuple[int, ...] = (0,)
    """Jitter of connections and pauses, in halves."""
    befores: tuple[int, ...] = (0, -1)
    """`CloseStale` with `before` so many units ago."""
    ticking: bool = False
    """Whether time passes."""
    ticks: int | None = None
    """How many units may pass in all. None: any number."""
    adopts: int = 0
    """`Adopt` puts in a connection while fewer than this are idle or in use."""
    goals: tuple[str, ...] = attrs.field(default=(), converter=_words)
    """What must be seen: `Event`, `Event>Effect` or `Event>Effect:reason`."""

    def __attrs_post_init__(self) -> None:
        unknown = (self.events | self.strangers) - EVENTS.keys()
        if unknown:
            raise ValueError(f"events: {', '.join(sorted(unknown))}: no such event")
        if self.callers < 1:
            raise ValueError(f"callers={self.callers!r}: allowed is a whole number, at least 1")
        if self.ticks is not None and self.ticks < 0:
            raise ValueError(f"ticks={self.ticks!r}: allowed is a whole number, at least 0")
        if "Adopt" in self.events and any(limits.max_idle for limits in self.limits):
            raise ValueError(
                "events: Adopt does not go with max_idle (pool/check/explore/canonical.py)"
            )

    @property
    def start(self) -> int:
        """The time of the first event: late enough that nothing is made before 0."""
        return max(self.lags) + 1

    @property
    def opener(self) -> str:
        return self.limits[0].opener


def _by_name(*configurations: Configuration) -> Mapping[str, Configuration]:
    return MappingProxyType({one.name: one for one in configurations})


def background(**limits: Any) -> Limits:
    """Limits of a pool whose connects are nobody's, and whose pauses are 1 and 2 units."""
    return Limits(**{"opener": "background", "backoff_initial": 1.0, "backoff_max": 2.0, **limits})


def _serves(*events: str, by: str) -> tuple[str, ...]:
    return tuple(f"{event}>{by}" for event in events)


_CALLER_GOALS = (
    *_serves("Acquire", "Opened", "Dead", "Release", "Cancel", by="Grant"),
    *_serves("Acquire", "OpenFailed", "Dead", "Release", "Discard", "Cancel", by="Open"),
    "Acquire>Refuse:exhausted",
    "OpenFailed>Refuse:open_failed",
    "Expire>Refuse:timeout",
    "Dead>Close:dead",
    "Release>Close:not_reusable",
    "Discard>Close:discarded",
)

_BACKGROUND_GOALS = (
    *_serves("Acquire", "Opened", "Dead", "Release", "Cancel", by="Grant"),
    *_serves("Acquire", "Dead", "Release", "Discard", "Tick", by="Open"),
    "Acquire>Refuse:exhausted",
    "OpenFailed>Refuse:open_failed",
    "Expire>Refuse:timeout",
)

_PHASE_GOALS = _words(
    "Acquire>Refuse:closed Acquire>Refuse:suspended Expire>Refuse:suspended Resume>Grant "
    "Resume>Open Shutdown>Refuse:closed Shutdown>Close:closed Release>Close:closed "
    "Dead>Refuse:closed Forked>Refuse:forked Opened>Close:unasked CloseIdle>Close:close_idle "
    "CloseAll>Close:close_all"
)

_BASE_CALLER = Configuration(
    name="base-caller",
    about="traffic alone; the caller connects",
    limits=(Limits(max_size=3),),
    callers=6,
    events=TRAFFIC,
    waits=(True, False),
    goals=_CALLER_GOALS,
)

_BASE_BACKGROUND = Configuration(
    name="base-background",
    about="traffic alone; connects are nobody's, failures back off",
    limits=(background(max_size=3, min_idle=1),),
    callers=5,
    events=(*TRAFFIC, "Tick"),
    waits=(True, False),
    ticking=True,
    goals=_BACKGROUND_GOALS,
)

CONFIGURATIONS = _by_name(
    _BASE_CALLER,
    _BASE_BACKGROUND,
    Configuration(
        name="phases-caller",
        about="suspend, resume, shutdown, fork; the caller connects",
        limits=(Limits(max_size=2),),
        callers=3,
        events=(*TRAFFIC, *PHASES, "CloseIdle", "CloseAll", "Retire"),
        strangers="Opened",
        waits=(True, False),
        errors=("down", "password"),
        goals=_PHASE_GOALS,
    ),
    Configuration(
        name="phases-background",
        about="suspend, resume, shutdown, fork; connects are nobody's",
        limits=(background(max_size=2, min_idle=1, backoff_initial=2.0),),
        callers=3,
        jitters=(0, 1),
        events=(*TRAFFIC, *PHASES, "CloseIdle", "CloseAll", "Tick"),
        strangers="Opened OpenFailed",
        ticking=True,
        goals="Shutdown>Close:closed Opened>Close:closed Forked>Open",
    ),
    Configuration(
        name="ages",
        about="connections expire, are retired, leak and go stale; the oldest goes first",
        limits=(Limits(max_size=2, max_lifetime=2.0, leak_after=2.0, idle_order="oldest"),),
        callers=2,
        events="Acquire Opened Release Cancel CloseStale Retire Tick",
        waits=(True,),
        reusable=(True,),
        lags=(0, 1),
        jitters=(0, 1),
        ticking=True,
        goals=(
            "Acquire>Close:lifetime Release>Close:lifetime Release>Close:retired "
            "Cancel>Close:retired Retire>Close:retired Tick>Close:lifetime Tick>Leaked "
            "CloseStale>Close:stale"
        ),
    ),
    Configuration(
        name="rest",
        about="idle connections rest, expire and are made again; first in, first out",
        limits=(
            background(
                max_size=3,
                min_idle=1,
                max_idle=1.0,
                max_lifetime=2.0,
                max_opening=2,
                idle_order="fifo",
            ),
        ),
        callers=2,
        events="Acquire Opened OpenFailed Release Expire Tick",
        reusable=(True,),
        ticking=True,
        goals="Tick>Close:rested Tick>Close:lifetime Tick>Open Opened>Grant Acquire>Close:lifetime",
    ),
    Configuration(
        name="resize",
        about="limits change: size 1 to 3, order, who may wait and how many connect",
        limits=(
            Limits(max_size=2),
            Limits(max_size=1, max_waiting=1, idle_order="fifo"),
            Limits(max_size=3, max_opening=1, idle_order="oldest"),
            Limits(max_size=3, opener="background"),
        ),
        callers=5,
        events="Acquire Opened OpenFailed Release Discard Configure",
        reusable=(True,),
        goals=(
            "Configure>Close:surplus Release>Close:surplus Configure>Open "
            "Acquire>Refuse:too_many_waiting"
        ),
    ),
    Configuration(
        name="resize-background",
        about="limits change while connects are nobody's",
        limits=(
            Limits(max_size=2, opener="background", max_opening=1),
            Limits(max_size=1, opener="background", max_waiting=0, idle_order="fifo"),
            Limits(max_size=3, min_idle=2, opener="background"),
        ),
        callers=4,
        events="Acquire Opened Release Discard Dead Configure Cancel",
        reusable=(True,),
        goals=(
            "Configure>Close:surplus Opened>Close:surplus Configure>Open "
            "Acquire>Refuse:too_many_waiting"
        ),
    ),
    Configuration(
        name="adopt",
        about="an adapter puts in, changes and removes connections",
        limits=(
            Limits(max_size=1, idle_order="oldest"),
            Limits(max_size=2, idle_order="lifo"),
        ),
        callers=1,
        events="Acquire Opened Release Dead CloseStale Retire Configure Shutdown Adopt",
        strangers="Dead Adopt",
        reusable=(True,),
        lags=(0, 1),
        adopts=2,
        goals=(
            "Dead>Ignored Adopt Adopt>Close:surplus Adopt>Grant Release>Close:surplus "
            "CloseStale>Close:stale"
        ),
    ),
    Configuration(
        name="strangers",
        about="every event also with tickets and keys that are not right",
        limits=(Limits(max_size=2),),
        callers=4,
        events=(*TRAFFIC, "Shutdown"),
        strangers=(*TRAFFIC,),
        goals=tuple(f"{name}>Ignored" for name in TRAFFIC if name != "Opened"),
    ),
    Configuration(
        name="connecting-caller",
        about="one connect at a time, or two, in an empty pool too; the caller connects",
        limits=(
            Limits(max_size=3, max_connecting=1),
            Limits(max_size=3, max_connecting=2, max_opening=1),
        ),
        callers=5,
        events=(*TRAFFIC, "CloseAll", "Configure", "Suspend", "Resume"),
        waits=(True, False),
        reusable=(True,),
        goals=(
            *_serves("Acquire", "Opened", "OpenFailed", "Dead", "Cancel", by="Open"),
            *_serves("CloseAll", "Configure", "Resume", by="Open"),
            *_serves("Acquire", "Dead", by="Refuse:exhausted"),
            "Release>Grant",
        ),
    ),
    Configuration(
        name="connecting-background",
        about="one connect at a time, or two, in an empty pool too; connects are nobody's",
        limits=tuple(
            background(max_size=3, min_idle=2, max_connecting=most, backoff_max=1.0)
            for most in (1, 2)
        ),
        callers=5,
        events=(
            *("Acquire", "Opened", "OpenFailed", "Release", "Discard", "Cancel"),
            *("CloseAll", "Configure", "Suspend", "Resume", "Tick"),
        ),
        reusable=(True,),
        ticking=True,
        goals=(
            *_serves("Acquire", "Opened", "CloseAll", by="Open"),
            *_serves("Configure", "Resume", "Tick", by="Open"),
        ),
    ),
    Configuration(
        name="unbounded",
        about="no limit on size; one connect at a time",
        limits=(Limits(max_size=None, max_opening=1, idle_order="fifo"),),
        callers=3,
        events=TRAFFIC,
        waits=(True, False),
        goals="Opened>Open Acquire>Refuse:exhausted Dead>Refuse:exhausted",
    ),
)
"""Explored by `purepool check`, by name."""

DEEP = _by_name(
    attrs.evolve(
        _BASE_CALLER,
        name="deep-caller",
        about="as base-caller, six connections, twelve callers",
        limits=(Limits(max_size=6),),
        callers=12,
    ),
    attrs.evolve(
        _BASE_BACKGROUND,
        name="deep-background",
        about="as base-background, five connections, nine callers",
        limits=(background(max_size=5, min_idle=1, max_opening=3),),
        callers=9,
    ),
)
"""Explored by the nightly profile, besides the others."""

_LIVELY = ("Acquire", "Opened", "OpenFailed", "Dead", "Release", "Discard", "Suspend", "Resume")

_LIVE_CALLER = Configuration(
    name="live-caller",
    about="every ticket is answered; the caller connects",
    limits=(Limits(max_size=2),),
    callers=4,
    events=(*_LIVELY, "Shutdown"),
    owners=(None, "watched"),
    reusable=(True,),
)

_LIVE_BACKGROUND = Configuration(
    name="live-background",
    about="every ticket is answered; connects are nobody's, failures back off",
    limits=(background(max_size=2),),
    callers=4,
    events=(*_LIVELY, "Tick", "Shutdown"),
    owners=(None, "watched"),
    reusable=(True,),
    ticking=True,
)

LIVENESS = _by_name(
    _LIVE_CALLER,
    _LIVE_BACKGROUND,
    attrs.evolve(
        _LIVE_CALLER,
        name="live-connecting-caller",
        about="every ticket is answered; one connect at a time, the caller's",
        limits=(Limits(max_size=2, max_connecting=1),),
    ),
    attrs.evolve(
        _LIVE_BACKGROUND,
        name="live-connecting-background",
        about="every ticket is answered; one connect at a time, nobody's",
        limits=(attrs.evolve(_LIVE_BACKGROUND.limits[0], max_connecting=1),),
    ),
)
"""Where liveness is checked: without `Cancel` and `Expire`, which would make it hold by
themselves, and with one ticket at a time that is watched."""
