"""The state of a pool: one immutable value that says everything about it.

Theory.  A connection is an `Entry` from the moment it is opened until it is closed or
forgotten, and it is in exactly one place: `idle` or `in_use`.  A caller is a ticket,
and it too is in one place at a time: among the `waiters`, among the `opening_tickets`
(it is connecting on its own thread), or answered.  Nothing else exists.  All numbers
that a reader would want (room, size, demand) are functions of these, not fields.

The state refuses to know what a connection is, what time it is, and who asks: those
arrive inside events.  Times are seconds, not negative, on the one clock that the events
of a run use.  Assigning to a field raises `AttributeError`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import attrs

from pool.core import heap, waiters
from pool.core.limits import Limits
from pool.core.maps import Map
from pool.core.values import value

# Measured: this takes half the time of calling the class.
_new = tuple.__new__

Phase = Literal["open", "suspended", "closed"]

Leases = Map[int, tuple[Any, ...]]


@value
class Failure(NamedTuple):
    """Why a driver's connect failed: type and text, never a traceback, which pins frames."""

    kind: str
    text: str


@attrs.frozen(order=True)
class Entry:
    """A connection the pool is responsible for.

    No tuple as the others: the ordinary events read it, and to unpack a named tuple takes twice the
    instructions. Ordered by its key, as items at rest are where all else is equal (ORD-1)."""

    key: int
    """The machine's own name for it, never used again."""
    connection: Any
    """The driver's object, opaque here."""
    created: float
    """When it was made."""
    jitter: float
    """The part of `max_lifetime`, from 0 up to 1, that it is denied, so that
    connections made together do not end together."""


class Idle(NamedTuple):
    """An entry at rest. `order` and `seq` come first: they are how the heap sorts.

    In the heap it may be the bare tuple, which every release makes: `resting` gives the names back.
    So it is equal to that tuple."""

    order: float
    seq: int
    entry: Entry
    since: float
    """When it was returned, or opened for nobody."""


class Lease(NamedTuple):
    """An entry in use.

    In the map it may be the bare tuple, which every acquire makes: `leased` and `lease_of` give the
    names back. So it is equal to that tuple."""

    entry: Entry
    checked_out: float
    ticket: int
    """Whose it is, and the fencing token. 0: an adapter's, taken by no `Acquire`."""
    owner: Any
    leaked: bool
    """Whether it was reported as held too long."""


@value
class Counters(NamedTuple):
    """What has happened so far, apart from the four counts that change all the time."""

    opened: int = 0
    adopted: int = 0
    closed: int = 0
    forgotten: int = 0
    refused: int = 0
    cancelled: int = 0
    """Tickets withdrawn before they were answered."""
    dead: int = 0
    """Grants taken back."""


@value
class State(NamedTuple):
    """A pool, as a value. Made by `initial`, changed by `step` alone."""

    limits: Limits
    phase: Phase
    idle: heap.Heap
    in_use: Leases
    """By key."""
    waiters: waiters.Queue
    opening_tickets: Map[int, Any]
    """Tickets told to connect, each with its owner (`opener="caller"`)."""
    opening_background: int
    """Connects under way that are nobody's (`opener="background"`)."""
    failures: int
    """Failed background connects since the last success, those of one pause counted once."""
    retry_at: float | None
    """Backing off: no background connect before this time. None: not backing off."""
    last_error: Failure | None
    retire_before: float
    """Connections made before this time have expired."""
    next_seq: int
    """Names the next entry, and the next place in the idle order."""
    next_ticket: int
    """Every ticket below it has been used."""
    issued: int
    """Tickets that came with an `Acquire`."""
    granted: int
    counters: Counters

    @property
    def opening(self) -> int:
        """Driver connects under way."""
        return len(self.opening_tickets) + self.opening_background

    @property
    def size(self) -> int:
        """Connections idle, in use and being opened: what `max_size` bounds."""
        return heap.size(self.idle) + len(self.in_use) + self.opening

    def __repr__(self) -> str:
        """What is idle as a list, by its places: the heap of thousands may be as deep."""
        shown = self._asdict() | {"idle": sorted(resting(self.idle))}
        return f"State({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class Steady:
    """What of a state the ordinary events do not change, and what follows from that. Immutable."""

    __slots__ = (
        "fields",
        "idle_order",
        "is_ordinary",
        "limits",
        "max_lifetime",
        "min_idle",
        "opening",
        "opening_background",
        "retire_before",
        "room",
    )

    def __init__(self, state: State) -> None:
        limits, opening = state.limits, state.opening
        self.fields = (*state[:2], *state[5:11], state.counters)
        self.limits = limits
        self.is_ordinary = state.phase == "open" and state.retry_at is None
        """Open, and not backing off."""
        self.min_idle = limits.min_idle
        self.max_lifetime = limits.max_lifetime
        self.idle_order = limits.idle_order
        self.retire_before = state.retire_before
        self.opening = opening
        self.opening_background = state.opening_background
        self.room = math.inf if limits.max_size is None else limits.max_size - opening
        """How many may be idle or in use."""


Fields = tuple[Any, ...]
"""A state as the ordinary events see it (`shortcuts.py`): half as much to take apart and to put
together again. Either a `State`, or what `fields_of` makes of one; `state_of` makes it whole. What
is idle has one index in both."""


def fields_of(fields: Fields) -> Fields:
    """Those of this state: what the ordinary events change, behind all that they do not."""
    state = state_of(fields)
    return (
        Steady(state),
        state.in_use,
        state.idle,
        state.waiters,
        state.next_seq,
        state.next_ticket,
        state.issued,
        state.granted,
    )


def state_of(fields: Fields) -> State:
    """The state whose fields these are."""
    if type(fields) is State:
        return fields
    steady, in_use, idle, queue, next_seq, next_ticket, issued, granted = fields
    (
        limits,
        phase,
        opening_tickets,
        opening_background,
        failures,
        retry_at,
        last_error,
        retire_before,
        counters,
    ) = steady.fields
    made = (
        limits,
        phase,
        idle,
        in_use,
        queue,
        opening_tickets,
        opening_background,
        failures,
        retry_at,
        last_error,
        retire_before,
        next_seq,
        next_ticket,
        issued,
        granted,
        counters,
    )
    return _new(State, made)


def resting(idle: heap.Heap) -> Iterator[Idle]:
    """What is idle, in no particular order."""
    return map(Idle._make, heap.items(idle))


def at_rest(limits: Limits, items: Iterable[Idle]) -> heap.Heap:
    """These are idle, in the order in force."""
    return heap.line(sorted(items)) if limits.idle_order == "fifo" else heap.build(items)


def leased(in_use: Leases) -> dict[int, Lease]:
    """What is in use, by key, in no particular order."""
    return {key: Lease._make(lease) for key, lease in in_use.items()}


def lease_of(in_use: Leases, key: int) -> Lease | None:
    """The lease of the connection with this key. None: it is not in use."""
    lease = in_use.get(key)
    return None if lease is None else Lease._make(lease)


def initial(limits: Limits) -> State:
    """The state of a new pool with these `limits` (rule INI-1).

    A pool with `min_idle` is backing off until time 0, so that its first event, whatever
    that is, makes it open what it owes; `wake_at` tells the runtime to send a `Tick`.
    """
    return State(
        limits=limits,
        phase="open",
        idle=None,
        in_use=Map(),
        waiters=None,
        opening_tickets=Map(),
        opening_background=0,
        failures=0,
        retry_at=0.0 if limits.min_idle else None,
        last_error=None,
        retire_before=0.0,
        next_seq=1,
        next_ticket=1,
        issued=0,
        granted=0,
        counters=Counters(),
    )


def expires_at(limits: Limits, entry: Entry) -> float | None:
    """When this entry has lived its time (rule AGE-1). None: never."""
    lifetime = limits.max_lifetime
    return None if lifetime is None else entry.created + lifetime * (1.0 - entry.jitter)
