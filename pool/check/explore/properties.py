"""What must be true of every step, besides the invariants: the promises about a whole run.

Theory.  A promise about a run ("every ticket is answered exactly once") becomes one about
a step, because tickets and keys are never used again (`NeverReused`): who was pending
before a step and is not after it was answered in it, once.  If that holds of every step
of every reachable state, it holds of every run.

The predicates look at the two states and at the effects, as `pool/core/invariants.py` does,
and share no code with `transition.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from pool.core import heap, invariants, shortcuts, transition, waiters
from pool.core.effects import Close, Effect, Grant, Ignored, Leaked, Refuse
from pool.core.events import Acquire, Adopt, Cancel, Dead, Event, Forked, Opened, Release, Tick
from pool.core.state import State, leased, state_of

RUN_PROPERTIES = {
    "Total": "`step` does not raise",
    "IgnoredUnchanged": "an event that is ignored says only that; the state is the same object",
    "AnsweredOnce": "who stops waiting or connecting is granted or refused once, or was cancelled",
    "ClosedOnce": "a connection that the pool lets go of is closed once, or was to be forgotten",
    "NothingAfterClose": "what is granted is held by the pool, and then in use by that ticket",
    "Ordered": "wakes before Io, closes before opens",
    "Counted": "the counters count what the effects say",
    "Carried": "connection and owner stay with their key and ticket",
    "NeverReused": "keys and tickets only grow",
    "ShortcutsAgree": "a shortcut does what the handler does",
    "Punctual": "(of a state) before `wake_at` a `Tick` changes nothing",
}
"""Checked of every step."""

GRAPH_PROPERTIES = ("Answerable", "Live", "Drained", "Goals")
"""Checked of the whole graph (`liveness.py`, and the goals of a configuration)."""

Outcome = tuple[State, tuple[Effect, ...]]


@attrs.frozen
class Machine:
    """What is checked: the module with `step` and the handlers, and its shortcuts."""

    transition: Any = transition
    shortcuts: Any = shortcuts

    @property
    def step(self) -> Callable[[State, Event], Outcome]:
        function: Callable[[State, Event], Outcome] = self.transition.step
        return function


MACHINE = Machine()
"""The pool's own."""


def broken(before: State, event: Event, effects: tuple[Effect, ...], after: State) -> str | None:
    """The name of the first property that this step breaks, if any."""
    if after is before or (effects and type(effects[-1]) is Ignored):
        same = after is before and len(effects) == 1 and type(effects[0]) is Ignored
        return None if same else "IgnoredUnchanged"
    answered: list[Any] = []
    closed: list[int] = []
    grants: list[Grant] = []
    rank = 0
    for effect in effects:
        new_rank = _rank(effect)
        if new_rank < rank:
            return "Ordered"
        rank = new_rank
        if isinstance(effect, Grant):
            grants.append(effect)
            answered.append(effect[0])
        elif isinstance(effect, Refuse):
            answered.append(effect[0])
        elif isinstance(effect, Close):
            closed.append(effect[0])
            if effect[1][1:] != str(effect[0]):
                return "Carried"
    return (
        _answers(before, event, answered, after)
        or _grants(before, event, grants, closed, after)
        or _closes(before, event, closed, after)
        or _counts(before, event, (len(grants), len(answered), len(closed)), after)
    )


def _rank(effect: Effect) -> int:
    """Wakes, then closes and leaks, then opens."""
    kind = type(effect)
    if kind is Grant or kind is Refuse:
        return 0
    if kind is Close or kind is Leaked:
        return 1
    return 2 if effect[0] is None else 0


def _answers(before: State, event: Any, answered: list[Any], after: State) -> str | None:
    """Who is not pending any more was answered."""
    pending: set[Any] = set()
    if before.waiters is not None:
        pending.update(before.waiters[0])
    if before.opening_tickets:
        pending.update(before.opening_tickets)
    kind = type(event)
    if kind is Acquire or kind is Dead:
        pending.add(event.ticket)
    if after.waiters is not None:
        pending.difference_update(after.waiters[0])
    if after.opening_tickets:
        pending.difference_update(after.opening_tickets)
    if kind is Cancel:
        pending.discard(event.ticket)
    fair = len(answered) == len(pending) and pending.issuperset(answered)
    return None if fair else "AnsweredOnce"


def _grants(
    before: State, event: Any, grants: list[Grant], closed: list[int], after: State
) -> str | None:
    """What is granted was there or has just come, was not closed, and is in use now."""
    for ticket, key, connection, _ in grants:
        lease = after.in_use.get(key)
        if lease is None or lease[2] != ticket or lease[0].key != key or key in closed:
            return "NothingAfterClose"
        known = key in before.in_use or key >= before.next_seq
        if not (known or any(item[2].key == key for item in heap.items(before.idle))):
            return "NothingAfterClose"
        if connection[1:] != str(key) or lease[0].connection != connection:
            return "Carried"
    return None


def _closes(before: State, event: Any, closed: list[int], after: State) -> str | None:
    """What was there or has come, and is not there any more, was closed or forgotten."""
    kind = type(event)
    adopted = after.counters[1] - before.counters[1]
    forgotten = after.counters[3] - before.counters[3]
    were = len(before.in_use) + heap.size(before.idle)
    are = len(after.in_use) + heap.size(after.idle)
    if were + (kind is Opened) + adopted - are - forgotten != len(closed):
        return "ClosedOnce"
    if kind is Forked:
        return "ClosedOnce" if closed or are else None
    if (adopted or forgotten) and kind is not Adopt:
        return "ClosedOnce"
    if closed:
        known = {*before.in_use, *[item[2].key for item in heap.items(before.idle)]}
        if kind is Opened or kind is Adopt:
            known.update(range(before.next_seq, after.next_seq))
        known.difference_update(after.in_use)
        known.difference_update([item[2].key for item in heap.items(after.idle)])
        if len(set(closed)) != len(closed) or not known.issuperset(closed):
            return "ClosedOnce"
    return None


def _counts(before: State, event: Any, seen: tuple[int, int, int], after: State) -> str | None:
    """Counters count, and what names tickets and connections grows."""
    kind = type(event)
    grants, answers, closes = seen
    now, old = after.counters, before.counters
    pending = kind is Cancel and not any(
        lease[2] == event.ticket for lease in before.in_use.values()
    )
    if (
        after.granted - before.granted != grants
        or now[4] - old[4] != answers - grants
        or now[2] - old[2] != closes
        or now[5] - old[5] != pending
        or after.issued - before.issued != (kind is Acquire)
        or now[6] - old[6] != (kind is Dead)
        or now[0] - old[0] != (kind is Opened)
    ):
        return "Counted"
    if (
        after.next_seq < before.next_seq + (kind is Opened)
        or after.next_ticket < before.next_ticket
        or (kind is Acquire and after.next_ticket <= event.ticket)
    ):
        return "NeverReused"
    return None


def shortcut_differs(
    machine: Machine, before: State, event: Event, effects: tuple[Effect, ...], after: State
) -> bool:
    """Whether a shortcut applies here and does something else than the handler did."""
    if type(event) is Acquire:
        taken = machine.shortcuts.acquire(before, *event)
        if taken is None:
            return False
        fields, key, connection, rested = taken
        granted = (Grant(event.ticket, key, connection, rested),) if key else ()
        return bool(state_of(fields) != after or granted != effects)
    if type(event) is Release:
        returned = machine.shortcuts.release(before, *event)
        if returned is None:
            return False
        return bool(state_of(returned[0]) != after or returned[1] != effects)
    return False


def ticks_in_time(
    machine: Machine, shape: Callable[[State, int], Any], state: State, now: int
) -> bool:
    """Whether a `Tick` that `wake_at` did not ask for changes nothing."""
    due = machine.transition.wake_at(state)
    if due is not None and due <= now:
        return True
    after, effects = machine.step(state, Tick(now))
    return not effects and bool(shape(after, now) == shape(state, now))


def carries_owners(before: State, event: Event, after: State) -> bool:
    """Whether every ticket has the owner it came with, all over the state."""
    owners: dict[int, Any] = {}
    owners.update(waiters.items(before.waiters))
    owners.update(before.opening_tickets)
    owners.update((lease.ticket, lease.owner) for lease in leased(before.in_use).values())
    if isinstance(event, Acquire):
        owners[event.ticket] = event.owner
    now = [(lease.ticket, lease.owner) for lease in leased(after.in_use).values()]
    now += list(after.opening_tickets.items())
    now += waiters.items(after.waiters)
    return all(owners.get(ticket) == owner for ticket, owner in now)


def all_broken(
    machine: Machine, before: State, event: Event, effects: tuple[Effect, ...], after: State
) -> tuple[str, ...]:
    """The names of all properties that this step or the state it leads to breaks."""

    def fails(holds: Callable[..., bool], *arguments: Any) -> bool:
        try:
            return not holds(*arguments)
        except Exception:  # a state so broken that it cannot even be asked
            return True

    step = before, event, effects, after
    names = [name for name, holds in invariants.INVARIANTS.items() if fails(holds, after)]
    names += [name for name, holds in invariants.STEP_INVARIANTS.items() if fails(holds, *step)]
    first = broken(*step)
    names += [first] if first else []
    if after is not before:
        if shortcut_differs(machine, *step):
            names.append("ShortcutsAgree")
        if not carries_owners(before, event, after):
            names.append("Carried")
    return tuple(names)
