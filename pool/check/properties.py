"""What must be true of every step, besides the invariants: the promises about a whole run.

Theory.  A promise about a run ("every ticket is answered exactly once") becomes one about
a step, because tickets and keys are never used again (`NeverReused`): who was pending
before a step and is not after it was answered in it, once.  If that holds of every step
of every reachable state, it holds of every run.

The predicates look at the two states and at the effects, as `pool/invariants.py` does,
and share no code with `transition.py`.

| property | says |
|---|---|
| `Total` | `step` does not raise |
| `IgnoredUnchanged` | an event that is ignored says only that, and the state is the same object |
| `AnsweredOnce` | who stops waiting or connecting is granted or refused once, or was cancelled |
| `ClosedOnce` | a connection that the pool lets go of is closed once, or was to be forgotten |
| `NothingAfterClose` | what is granted is held by the pool, and then in use by that ticket |
| `Ordered` | wakes before Io, closes before opens |
| `Counted` | the counters count what the effects say |
| `Carried` | connection and owner stay with their key and ticket |
| `NeverReused` | keys and tickets only grow |
| `ShortcutsAgree` | a shortcut does what the handler does |
"""

from __future__ import annotations

from typing import Any

from pool import heap, shortcuts, transition
from pool.effects import Close, Effect, Grant, Ignored, Leaked, Open, Refuse
from pool.events import Acquire, Adopt, Cancel, Dead, Event, Forked, Opened, Release
from pool.state import State

RUN_PROPERTIES = (
    "Total",
    "IgnoredUnchanged",
    "AnsweredOnce",
    "ClosedOnce",
    "NothingAfterClose",
    "Ordered",
    "Counted",
    "Carried",
    "NeverReused",
    "ShortcutsAgree",
)
"""Checked of every step."""

GRAPH_PROPERTIES = ("Answerable", "Live", "Drained", "Goals")
"""Checked of the whole graph (`liveness.py`, and the goals of a configuration)."""

_RANK: dict[type[Any], int] = {Grant: 0, Refuse: 0, Leaked: 1, Close: 1}


def _rank(effect: Effect) -> int:
    if type(effect) is Open:
        return 2 if effect.ticket is None else 0
    return _RANK.get(type(effect), 3)


def broken(before: State, event: Event, effects: tuple[Effect, ...], after: State) -> str | None:
    """The name of the first property that this step breaks, if any."""
    if after is before or (effects and type(effects[-1]) is Ignored):
        same = after is before and len(effects) == 1 and type(effects[0]) is Ignored
        return None if same else "IgnoredUnchanged"
    kind = type(event)

    answered: list[Any] = []
    closed: list[int] = []
    grants: list[Grant] = []
    rank = 0
    for effect in effects:
        its = type(effect)
        if its is Grant:
            grants.append(effect)  # type: ignore[arg-type]  # it is one
            answered.append(effect[0])
            if rank:
                return "Ordered"
        elif its is Close:
            if rank > 1:
                return "Ordered"
            rank = 1
            closed.append(effect[0])  # type: ignore[arg-type]  # a key
            connection = effect[1]
            if connection[1:] != str(effect[0]):
                return "Carried"
        else:
            if its is Refuse:
                answered.append(effect[0])
            new_rank = _rank(effect)
            if new_rank < rank:
                return "Ordered"
            rank = new_rank

    pending: set[Any] = set()
    if before.waiters is not None:
        pending.update(before.waiters[0])
    if before.opening_tickets:
        pending.update(before.opening_tickets)
    if kind is Acquire or kind is Dead:
        pending.add(event[1])
    if after.waiters is not None:
        pending.difference_update(after.waiters[0])
    if after.opening_tickets:
        pending.difference_update(after.opening_tickets)
    cancelled = 0
    if kind is Cancel and event[1] in pending:
        pending.discard(event[1])
        cancelled = 1
    if len(answered) != len(pending) or not pending.issuperset(answered):
        return "AnsweredOnce"

    in_use, held = after.in_use, before.in_use
    kept = len(in_use) + heap.size(after.idle)
    were = len(held) + heap.size(before.idle)
    adopted = after.counters.adopted - before.counters.adopted
    came = were + (kind is Opened) + adopted
    forgotten = after.counters.forgotten - before.counters.forgotten
    if came - kept - forgotten != len(closed) or (
        forgotten and kind is not Forked and kind is not Adopt
    ):
        return "ClosedOnce"
    if (adopted and kind is not Adopt) or (
        kind is Forked and (closed or forgotten != were or kept)
    ):
        return "ClosedOnce"
    if closed:
        known = {*held, *[item[2][0] for item in heap.items(before.idle)]}
        if kind is Opened or kind is Adopt:
            known.update(range(before.next_seq, after.next_seq))
        staying = {*in_use, *[item[2][0] for item in heap.items(after.idle)]}
        if len(set(closed)) != len(closed) or not known.difference(staying).issuperset(closed):
            return "ClosedOnce"

    for ticket, key, connection, _ in grants:
        lease = in_use.get(key)
        if lease is None or lease[2] != ticket or lease[0][0] != key or key in closed:
            return "NothingAfterClose"
        if key not in held:
            idle_before = any(item[2][0] == key for item in heap.items(before.idle))
            arrived = (kind is Opened and key == before.next_seq) or key >= before.next_seq
            if not idle_before and not arrived:
                return "NothingAfterClose"
        if connection[1:] != str(key) or lease[0][1] != connection:
            return "Carried"

    counts, old = after.counters, before.counters
    if (
        after.granted - before.granted != len(grants)
        or counts[4] - old[4] != len(answered) - len(grants)
        or counts[2] - old[2] != len(closed)
        or counts[5] - old[5] != cancelled
        or after.issued - before.issued != (kind is Acquire)
        or counts[6] - old[6] != (kind is Dead)
        or counts[0] - old[0] != (kind is Opened)
    ):
        return "Counted"
    if after.next_seq < before.next_seq or after.next_ticket < before.next_ticket:
        return "NeverReused"
    if (kind is Acquire and after.next_ticket <= event[1]) or (  # type: ignore[operator]
        kind is Opened and after.next_seq == before.next_seq
    ):
        return "NeverReused"
    return None


def shortcut_differs(
    before: State, event: Event, effects: tuple[Effect, ...], after: State
) -> bool:
    """Whether a shortcut applies here and the general handler would do something else."""
    general: tuple[State, tuple[Effect, ...]]
    if type(event) is Acquire:
        if shortcuts.acquire(before, event) is None:
            return False
        general = transition.acquire(before, event)
    elif type(event) is Release:
        if shortcuts.release(before, event) is None:
            return False
        general = transition.release(before, event)
    else:
        return False
    return general != (after, effects)


def carries_owners(before: State, event: Event, after: State) -> bool:
    """Whether every ticket has the owner it came with, all over the state."""
    owners: dict[int, Any] = {}
    if before.waiters:
        owners.update((ticket, link.owner) for ticket, link in before.waiters.links.items())
    owners.update(before.opening_tickets)
    owners.update((lease.ticket, lease.owner) for lease in before.in_use.values())
    if isinstance(event, Acquire):
        owners[event.ticket] = event.owner
    now = [(lease.ticket, lease.owner) for lease in after.in_use.values()]
    now += list(after.opening_tickets.items())
    if after.waiters:
        now += [(ticket, link.owner) for ticket, link in after.waiters.links.items()]
    return all(owners.get(ticket) == owner for ticket, owner in now)
