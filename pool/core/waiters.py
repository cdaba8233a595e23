"""A persistent queue: the callers that wait, in ticket order.

Theory.  A queue of waiting callers is entered at the back, left at the front, and left
from anywhere by those who give up.  Tickets only grow, and are drawn one by one: so a persistent
map from ticket to owner is a queue already, as soon as it is known where it begins.  Who comes
next is the next number that waits; the numbers between belong to callers who were refused, or have
given up, and each of them is walked past once.  Where there are more of them than callers that
wait, the least ticket is looked for instead.  So whatever happens takes one change of the map, and,
shared out over all the tickets, a few steps.  The empty queue is `None`: `if queue:` asks whether
anybody waits.

A caller whose fresh connection was found dead takes up its old place: its number says where.

It refuses to know why anybody waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pool.core.maps import Map

Waiting = tuple[Map[int, Any], int]
"""A queue that is not empty: the owners of those who wait, by ticket, and the oldest ticket. A bare
tuple, which every contended checkout makes and unpacks: a named one takes three times the
instructions."""

Queue = Waiting | None


def size(queue: Queue) -> int:
    """How many wait. O(1)."""
    return len(queue[0]) if queue else 0


def contains(queue: Queue, ticket: int) -> bool:
    """Whether this ticket waits. O(log n)."""
    return queue is not None and ticket in queue[0]


def insert(queue: Queue, ticket: int, owner: Any) -> Waiting:
    """The queue with this ticket in its place. O(log n)."""
    if queue is None:
        return Map({ticket: owner}), ticket
    owners, first = queue
    return owners.set(ticket, owner), first if first < ticket else ticket


def remove(queue: Waiting, ticket: int) -> Queue:
    """The queue without this ticket, which must wait in it. O(log n), and for the oldest the
    steps to the next one."""
    owners, first = queue
    if len(owners) == 1:
        return None
    left = owners.delete(ticket)
    return left, _after(left, first) if ticket == first else first


def pop(queue: Waiting) -> tuple[int, Any, Queue]:
    """The oldest ticket, its owner, and the queue without it."""
    owners, first = queue
    owner = owners[first]
    if len(owners) == 1:
        return first, owner, None
    left, later = owners.delete(first), first + 1  # as `remove`, written out
    return first, owner, (left, later if later in left else _after(left, later))


def items(queue: Queue) -> Iterator[tuple[int, Any]]:
    """Every (ticket, owner), oldest first. O(n log n)."""
    if queue:
        owners, _ = queue
        for ticket in sorted(owners):
            yield ticket, owners[ticket]


def _after(owners: Map[int, Any], ticket: int) -> int:
    """The least ticket in the map, all of which are greater than this one."""
    for later in range(ticket + 1, ticket + 1 + len(owners)):
        if later in owners:
            return later
    return min(owners)
