"""Events, effects and states with names in the place of objects: for what outlives a transition.

Theory.  The machine never looks at a connection or an owner, so it does the same with names.  What
is kept of a history must not keep anything alive: a connection that somebody has the state of is
not collected, and a lease whose owner is known for longer than it would look like a loss.  So a
connection becomes its key (`connection 17`), and an owner whatever a function makes of it.

What it refuses to know: what becomes of the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from pool.core.effects import Close, Effect, Grant, Leaked
from pool.core.events import Acquire, Adopt, Event, Opened
from pool.core.maps import Map
from pool.core.state import Entry, Idle, Lease, State, at_rest, leased, resting
from pool.core.waiters import Queue

Owner = Callable[[int, Any], Any]
"""Makes a name of a ticket and what it came with."""


def connection(key: int) -> str:
    return f"connection {key}"


def event(
    before: State, event: Event, after: State, effects: tuple[Effect, ...], owner: Owner
) -> Event:
    """The event with names. O(1), but for an `Adopt`."""
    if isinstance(event, Acquire):
        now, ticket, wait, who = event
        return event if who is None else Acquire(now, ticket, wait, owner(ticket, who))
    if isinstance(event, Opened):  # its entry gets the next number (OPN-1 to OPN-4)
        return event._replace(connection=connection(before.next_seq))
    if isinstance(event, Adopt):
        return _adoption(before, event, after, effects)
    return event


def _adoption(before: State, event: Adopt, after: State, effects: tuple[Effect, ...]) -> Adopt:
    """Those that it brings get keys in the order in which they come (ADO-3, ADO-4)."""
    known = _keys(before)
    brought = _keys(after) | {effect.key for effect in effects if isinstance(effect, Close)}
    fresh = iter(sorted(brought - known))

    def named(items: Iterable[Any]) -> Any:
        for item in items:
            key = item.key if item.key in known else next(fresh, 0)
            yield item._replace(connection=connection(key))

    return event._replace(idle=tuple(named(event.idle)), in_use=tuple(named(event.in_use)))


def _keys(state: State) -> set[int]:
    return {item.entry.key for item in resting(state.idle)} | set(state.in_use)


def effects(effects: tuple[Effect, ...], owner: Owner) -> tuple[Effect, ...]:
    """The effects with names."""
    return tuple([_effect(effect, owner) for effect in effects]) if effects else effects


def _effect(effect: Effect, owner: Owner) -> Effect:
    if isinstance(effect, (Grant, Close)):
        return effect._replace(connection=connection(effect.key))
    if isinstance(effect, Leaked) and effect.owner is not None:
        return effect._replace(owner=owner(effect.ticket, effect.owner))
    return effect


def state(state: State, owner: Owner) -> State:
    """The state with names. O(connections + waiters)."""

    def named(ticket: int, who: Any) -> Any:
        return who if who is None else owner(ticket, who)

    def called(entry: Entry) -> Entry:
        return attrs.evolve(entry, connection=connection(entry.key))

    def named_idle(item: Idle) -> Idle:
        return item._replace(entry=called(item.entry))

    def named_queue(queue: Queue) -> Queue:
        if queue is None:
            return None
        owners, first = queue
        return Map({ticket: named(ticket, owner) for ticket, owner in owners.items()}), first

    def named_lease(key: int, lease: Lease) -> Lease:
        return lease._replace(entry=called(lease.entry), owner=named(lease.ticket, lease.owner))

    return state._replace(
        idle=at_rest(state.limits, map(named_idle, resting(state.idle))),
        in_use=Map({key: named_lease(key, lease) for key, lease in leased(state.in_use).items()}),
        waiters=named_queue(state.waiters),
        opening_tickets=Map(
            {ticket: named(ticket, who) for ticket, who in state.opening_tickets.items()}
        ),
    )
