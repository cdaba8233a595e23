"""A persistent queue: the callers that wait, in ticket order.

Theory.  A queue of waiting callers is entered at the back, left at the front, and left
from anywhere by those who give up.  As a value that is a doubly linked list laid out in
a persistent map: ticket -> (previous ticket, next ticket, owner).  Every operation
touches at most three entries of the map, each in O(log n) with a base of 32.  The empty
queue is `None`: `if queue:` asks whether anybody waits.

Tickets only grow, so a newcomer goes to the back.  The one who does not is a caller
whose fresh connection was found dead: it takes up its old place, which is the front or
just behind others of its kind; `insert` walks past those.

It refuses to know why anybody waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pool.core.maps import Map


class Link(NamedTuple):
    """A caller in the queue. Tickets begin at 1, so 0 says that there is no neighbour."""

    previous: int
    next: int
    owner: Any


class Waiting(NamedTuple):
    """A queue that is not empty: its links by ticket, the oldest and the youngest ticket."""

    links: Map[int, Link]
    first: int
    last: int


Queue = Waiting | None


def size(queue: Queue) -> int:
    """How many wait. O(1)."""
    return len(queue.links) if queue else 0


def contains(queue: Queue, ticket: int) -> bool:
    """Whether this ticket waits. O(log n)."""
    return queue is not None and ticket in queue.links


def insert(queue: Queue, ticket: int, owner: Any) -> Waiting:
    """The queue with this ticket in its place. O(log n) at the back and at the front."""
    if queue is None:
        return Waiting(Map({ticket: Link(0, 0, owner)}), ticket, ticket)
    links, first, last = queue
    if ticket > last:
        before, after = last, 0
    else:
        before, after = 0, first
        while after < ticket:
            before, after = after, links[after].next
    links = links.set(ticket, Link(before, after, owner))
    if before:
        previous, _, theirs = links[before]
        links = links.set(before, Link(previous, ticket, theirs))
    if after:
        _, next_, theirs = links[after]
        links = links.set(after, Link(ticket, next_, theirs))
    return Waiting(links, first if before else ticket, last if after else ticket)


def remove(queue: Waiting, ticket: int) -> Queue:
    """The queue without this ticket, which must wait in it. O(log n)."""
    links, first, last = queue
    before, after, _ = links[ticket]
    if not before and not after:
        return None
    links = links.delete(ticket)
    if before:
        previous, _, theirs = links[before]
        links = links.set(before, Link(previous, after, theirs))
    if after:
        _, next_, theirs = links[after]
        links = links.set(after, Link(before, next_, theirs))
    return Waiting(links, first if before else after, last if after else before)


def pop(queue: Waiting) -> tuple[int, Any, Queue]:
    """The oldest ticket, its owner, and the queue without it. O(log n)."""
    ticket = queue.first
    return ticket, queue.links[ticket].owner, remove(queue, ticket)


def items(queue: Queue) -> Iterator[tuple[int, Any]]:
    """Every (ticket, owner), oldest first. O(n)."""
    ticket = queue.first if queue else 0
    while queue and ticket:
        link = queue.links[ticket]
        yield ticket, link.owner
        ticket = link.next
