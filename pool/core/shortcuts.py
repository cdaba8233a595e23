"""The two ordinary events, written out for speed.

Theory.  Almost every event of a healthy pool is an `Acquire` that finds an idle
connection, or, where all are lent, joins the queue; or a `Release` that nobody waits for, or that
hands the connection to the oldest who waits.  The handlers in `transition.py` thaw a
draft, serve, and freeze it again; here the same next state is built in one go, in a
fourth of the time.  A shortcut is given the state, or its fields as `state.fields_of` has them, and
the fields of the event; it gives those of the next state and of its effect, so that a runtime need
make none of these.  It gives None where its case does not hold: then the handler decides.  What
these events do not change (the limits, whether the pool is open, what is being opened) is reckoned
once, in `Steady`, and handed on.

It adds no behaviour.  `tests/model/test_shortcuts.py` compares shortcut and handler on
every event it applies to, in every state the explorer reaches.
"""

from __future__ import annotations

from typing import Any

from pool.core import heap, waiters
from pool.core.effects import Effect, Grant
from pool.core.state import Fields, Steady, fields_of

# Measured: this takes half the time of calling the class.
_new = tuple.__new__


def refills(steady: Steady, resting: int, lent: int) -> bool:
    """Whether a connect would begin with so much at rest and lent (SRV-4, SRV-5)."""
    limits, opening = steady.limits, steady.opening
    return (
        steady.opening_background < limits.min_idle - resting
        and resting + lent < steady.room
        and (limits.max_opening is None or opening < limits.max_opening)
        and (limits.max_connecting is None or opening < limits.max_connecting)
    )


def acquire(
    fields: Fields, now: float, ticket: int, wait: bool, owner: Any
) -> tuple[Fields, int, Any, float | None] | None:
    """Open and not backing off. Something is idle, nobody waits, and it need not be made good: the
    next fields, and key, connection and rest of the `Grant`. Or all are lent, and this caller may
    wait: the next fields, and key 0."""
    try:
        steady, in_use, idle, queue, next_seq, next_ticket, issued, granted = fields
    except ValueError:  # a handler gave a `State`
        return acquire(fields_of(fields), now, ticket, wait, owner)
    if ticket < next_ticket or not steady.is_ordinary:
        return None
    if idle is None:
        longest = steady.limits.max_waiting
        if (
            not wait
            or len(in_use) < steady.room
            or (longest is not None and waiters.size(queue) >= longest)
        ):
            return None
        queue = waiters.insert(queue, ticket, owner)
        fields = steady, in_use, None, queue, next_seq, ticket + 1, issued + 1, granted
        return fields, 0, None, None
    resting, (_, _, entry, since), left, right = idle
    key, created = entry.key, entry.created
    lifetime = steady.max_lifetime
    if (
        queue is not None
        or (resting <= steady.min_idle and refills(steady, resting - 1, len(in_use) + 1))
        or created < steady.retire_before
        or (lifetime is not None and now >= created + lifetime * (1.0 - entry.jitter))
    ):
        return None
    fields = (
        steady,
        in_use.set(key, (entry, now, ticket, owner, False)),
        left if right is None else heap.rest(left, right),
        None,
        next_seq,
        ticket + 1,
        issued + 1,
        granted + 1,
    )
    return fields, key, entry.connection, now - since


def release(
    fields: Fields, now: float, ticket: int, key: int, reusable: bool
) -> tuple[Fields, tuple[Effect, ...]] | None:
    """Open, not backing off, and the connection is as good as it was. Nobody waits; or it is handed
    to the oldest who does, as the pool is full and nothing can be opened for others."""
    try:
        steady, in_use, idle, queue, next_seq, next_ticket, issued, granted = fields
    except ValueError:  # as above
        return release(fields_of(fields), now, ticket, key, reusable)
    lease = in_use.get(key)
    if lease is None or not reusable or lease[2] != ticket or not steady.is_ordinary:
        return None
    entry = lease[0]
    created = entry.created
    lifetime = steady.max_lifetime
    if created < steady.retire_before or (
        lifetime is not None and now >= created + lifetime * (1.0 - entry.jitter)
    ):
        return None
    if queue is not None:
        if idle is not None or len(in_use) != steady.room:
            return None
        first, owner, left = waiters.pop(queue)
        in_use = in_use.set(key, (entry, now, first, owner, False))
        fields = steady, in_use, None, left, next_seq + 1, next_ticket, issued, granted + 1
        return fields, (_new(Grant, (first, key, entry.connection, now - now)),)
    resting = 0 if idle is None else idle[0]
    if resting + len(in_use) > steady.room or (
        resting < steady.min_idle and refills(steady, resting + 1, len(in_use) - 1)
    ):
        return None
    kind = steady.idle_order
    rested: heap.Node
    if kind == "lifo":  # it comes before all that rest
        rested = resting + 1, (-next_seq, next_seq, entry, now), idle, None
    elif kind == "fifo":
        rested = heap.append(idle, (next_seq, next_seq, entry, now))
    else:  # where orders are equal, the older one comes first
        rested = heap.push(idle, (created, next_seq, entry, now))
    fields = (
        steady,
        in_use.delete(key),
        rested,
        None,
        next_seq + 1,
        next_ticket,
        issued,
        granted,
    )
    return fields, ()
