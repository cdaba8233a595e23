"""What is true of every reachable state, and of every step.

Theory.  An invariant is a named predicate, so that a checker can say which promise was
broken; `spec/Pool.tla` defines the same names.  They are written for clarity, from the
state alone, and share no code with `transition.py`: a slip there must not excuse itself
here.  `Bounded` and the second half of `Fifo` compare two states, so they are step
invariants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pool.core import heap, waiters
from pool.core.effects import Effect, Grant, Open
from pool.core.events import Adopt, Event
from pool.core.state import State, leased, resting

Invariant = Callable[[State], bool]
StepInvariant = Callable[[State, Event, tuple[Effect, ...], State], bool]


def _idle(state: State) -> int:
    return heap.size(state.idle)


def _room(state: State) -> float:
    """Connections that may still be made, those being opened included."""
    if state.limits.max_size is None:
        return float("inf")
    return max(0, state.limits.max_size - _idle(state) - len(state.in_use))


def _most_opening(state: State) -> float:
    """`max_connecting`, and `max_opening` where it binds: while something is idle or in use."""
    bounds = [state.limits.max_connecting]
    if state.idle or state.in_use:
        bounds.append(state.limits.max_opening)
    return min((bound for bound in bounds if bound is not None), default=float("inf"))


def exclusive(state: State) -> bool:
    """No connection is twice in idle or in use, nor in both."""
    leases = leased(state.in_use)
    keys = [item.entry.key for item in resting(state.idle)]
    keys += [lease.entry.key for lease in leases.values()]
    named_well = all(key == lease.entry.key for key, lease in leases.items())
    return named_well and len(keys) == len(set(keys))


def shrunk(state: State) -> bool:
    """More connections than `max_size` (after a shrink): none of them is idle."""
    most = state.limits.max_size
    return most is None or state.size <= most or state.idle is None


def served(state: State) -> bool:
    """Open, and somebody waits: nothing is idle."""
    return state.phase != "open" or state.waiters is None or state.idle is None


def covered(state: State) -> bool:
    """Open, and somebody waits: as many connects are under way as may be and would help."""
    if state.phase != "open":
        return True
    most = min(_room(state), _most_opening(state))
    if state.limits.opener == "caller":
        return state.waiters is None or state.opening >= most
    if state.retry_at is not None:
        return True
    shortfall = max(0, state.limits.min_idle - _idle(state))
    return state.opening >= min(waiters.size(state.waiters) + shortfall, most)


def conserved(state: State) -> bool:
    """No connection and no ticket appears from nowhere or vanishes."""
    count = state.counters
    known = count.closed + count.forgotten + _idle(state) + len(state.in_use)
    answered = state.granted - count.dead + count.refused + count.cancelled
    pending = waiters.size(state.waiters) + len(state.opening_tickets)
    return count.opened + count.adopted == known and state.issued == answered + pending


def fifo(state: State) -> bool:
    """Waiters are in ticket order, none of them is also opening, all were issued."""
    queue = state.waiters
    tickets = [ticket for ticket, _ in waiters.items(queue)]
    ordered = queue is None or tickets[:1] == [queue[1]]
    apart = not any(ticket in state.opening_tickets for ticket in tickets)
    issued = all(ticket < state.next_ticket for ticket in [*tickets, *state.opening_tickets])
    return ordered and apart and issued


def heap_ordered(state: State) -> bool:
    """The heap is one: no child before its parent, weights true, the heavier child left. Of a
    line: each before the next, places without a gap."""
    if state.idle and type(place := state.idle[3]) is int:
        count, top, others, _ = state.idle
        queue = [top, *(others.get(place + number) for number in range(count - 1))]
        return count == 1 + len(others) and None not in queue and queue == sorted(queue)
    nodes = [state.idle] if state.idle else []
    while nodes:
        count, top, left, right = nodes.pop()
        children = [child for child in (left, right) if child]
        if count != 1 + heap.size(left) + heap.size(right) or heap.size(left) < heap.size(right):
            return False
        if any(child[1] < top for child in children):
            return False
        nodes.extend(children)
    return True


def shut(state: State) -> bool:
    """Closed: nothing is idle, nobody waits, no ticket is opening."""
    if state.phase != "closed":
        return True
    return state.idle is None and state.waiters is None and not state.opening_tickets


def bounded(before: State, event: Event, effects: tuple[Effect, ...], after: State) -> bool:
    """Idle, in use and opening are at most `max_size`, or no more than before; and opening is at
    most `max_connecting`, or no more than before.

    `Adopt` may exceed `max_size`: what an adapter put in is there, however much it is."""
    most, size = after.limits.max_size, after.size
    if most is not None and size > max(most, before.size) and not isinstance(event, Adopt):
        return False
    most = after.limits.max_connecting
    return most is None or after.opening <= max(most, before.opening)


def fifo_step(before: State, event: Event, effects: tuple[Effect, ...], after: State) -> bool:
    """Nobody granted or told to open is younger than one who waited before and still does.

    An `Opened` that belongs to a ticket is its own outcome and overtakes nobody."""
    oldest = after.waiters[1] if after.waiters else None
    served_now = [
        effect.ticket
        for effect in effects
        if isinstance(effect, (Grant, Open)) and effect.ticket is not None
        if effect.ticket not in before.opening_tickets
    ]
    return oldest is None or all(ticket < oldest for ticket in served_now)


INVARIANTS: Mapping[str, Invariant] = MappingProxyType(
    {
        "Exclusive": exclusive,
        "Shrunk": shrunk,
        "Served": served,
        "Covered": covered,
        "Conserved": conserved,
        "Fifo": fifo,
        "HeapOrdered": heap_ordered,
        "Shut": shut,
    }
)
"""Predicates of one state, by name."""

STEP_INVARIANTS: Mapping[str, StepInvariant] = MappingProxyType(
    {"Bounded": bounded, "FifoStep": fifo_step}
)
"""Predicates of (before, event, effects, after), by name."""
