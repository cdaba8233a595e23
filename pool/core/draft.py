"""`Draft`: a state being worked on, and what may be done to it.

Theory.  A handler reads best as a sequence of small changes, and a state is immutable.
So each transition thaws its state into a draft, changes that, and freezes it into the
next state: two copies of a tuple, however many changes there are.  A draft lives within
one `step` and is never seen outside.

The methods are the words that the rules of `spec/README.md` are written in: grant,
refuse, settle, send away.  Who deserves what is decided in `transition.py`.
"""

from __future__ import annotations

from typing import Any

import attrs

from pool.core import heap, waiters
from pool.core.effects import Close, CloseReason, Effect, Grant, Leaked, Refuse, RefuseReason
from pool.core.events import Adopt, AdoptIdle, AdoptLease
from pool.core.limits import Limits
from pool.core.maps import Map
from pool.core.state import (
    Counters,
    Entry,
    Idle,
    Lease,
    Leases,
    State,
    at_rest,
    expires_at,
    lease_of,
    leased,
    resting,
)

Outcome = tuple[State, tuple[Effect, ...]]


class Draft:
    """A state being worked on, and the effects so far. Lives within one `step`."""

    __slots__ = (*State._fields[:-1], *Counters._fields, "io", "wakes")

    def __init__(self, state: State) -> None:
        (
            self.limits,
            self.phase,
            self.idle,
            self.in_use,
            self.waiters,
            self.opening_tickets,
            self.opening_background,
            self.failures,
            self.retry_at,
            self.last_error,
            self.retire_before,
            self.next_seq,
            self.next_ticket,
            self.issued,
            self.granted,
            (
                self.opened,
                self.adopted,
                self.closed,
                self.forgotten,
                self.refused,
                self.cancelled,
                self.dead,
            ),
        ) = state
        self.wakes: list[Effect] = []
        self.io: list[Effect] = []

    def outcome(self) -> Outcome:
        counters = (
            self.opened,
            self.adopted,
            self.closed,
            self.forgotten,
            self.refused,
            self.cancelled,
            self.dead,
        )
        fields = (
            self.limits,
            self.phase,
            self.idle,
            self.in_use,
            self.waiters,
            self.opening_tickets,
            self.opening_background,
            self.failures,
            self.retry_at,
            self.last_error,
            self.retire_before,
            self.next_seq,
            self.next_ticket,
            self.issued,
            self.granted,
            tuple.__new__(Counters, counters),
        )
        # tuple.__new__ takes half the time of State(...): one of the two costs of a draft
        return tuple.__new__(State, fields), (*self.wakes, *self.io)

    def opening(self) -> int:
        """Driver connects under way."""
        return len(self.opening_tickets) + self.opening_background

    def size(self) -> int:
        """Connections idle, in use and being opened."""
        return heap.size(self.idle) + len(self.in_use) + self.opening()

    def is_full(self) -> bool:
        return reaches(self.size(), self.limits.max_size)

    def draw_seq(self) -> int:
        seq = self.next_seq
        self.next_seq = seq + 1
        return seq

    # What can happen to a ticket ...

    def grant(self, ticket: int, owner: Any, entry: Entry, now: float, since: float | None) -> None:
        self.in_use = self.in_use.set(entry.key, (entry, now, ticket, owner, False))
        self.granted += 1
        rested = None if since is None else now - since
        self.wakes.append(Grant(ticket, entry.key, entry.connection, rested))

    def refuse(self, ticket: int, reason: RefuseReason) -> None:
        self.refused += 1
        self.wakes.append(Refuse(ticket, reason, self.last_error))

    def refuse_everybody(self, reason: RefuseReason) -> None:
        """All who have no answer yet, in ticket order."""
        tickets = [ticket for ticket, _ in waiters.items(self.waiters)]
        for ticket in sorted([*tickets, *self.opening_tickets]):
            self.refuse(ticket, reason)
        self.waiters = None
        self.opening_tickets = Map()

    # ... and to a connection.

    def end_lease(self, key: int) -> Entry:
        entry: Entry
        entry, *_ = self.in_use[key]
        self.in_use = self.in_use.delete(key)
        return entry

    def close(self, entry: Entry, reason: CloseReason) -> None:
        self.closed += 1
        self.io.append(Close(entry.key, entry.connection, reason))

    def close_idle(self, reason: CloseReason) -> None:
        """All that is idle, in the order it would have been lent."""
        for _, _, entry, _ in sorted(heap.items(self.idle)):
            self.close(entry, reason)
        self.idle = None

    def settle(self, entry: Entry, now: float) -> None:
        """A connection came back: to idle, unless it is not wanted any more (SET-1)."""
        if self.phase == "closed":
            self.close(entry, "closed")
        elif reason := expiry(self.limits, self.retire_before, entry, now):
            self.close(entry, reason)
        elif self.is_full():
            self.close(entry, "surplus")
        else:
            seq = self.draw_seq()
            add = heap.append if self.limits.idle_order == "fifo" else heap.push
            self.idle = add(self.idle, (idle_order(self, entry, seq), seq, entry, now))

    def sweep(self, now: float) -> None:
        """Close the idle that have expired."""
        limits, retire_before = self.limits, self.retire_before
        if not any(
            expiry(limits, retire_before, entry, now) for _, _, entry, _ in heap.items(self.idle)
        ):
            return  # to sort them all would take ten times as long
        kept = []
        for idle in sorted(resting(self.idle)):
            if reason := expiry(limits, retire_before, idle.entry, now):
                self.close(idle.entry, reason)
            else:
                kept.append(idle)
        self.idle = at_rest(self.limits, kept)

    def shrink(self, now: float) -> None:
        """Close the idle above `min_idle` that rested for `max_idle`, longest first."""
        most = self.limits.max_idle
        if most is None or all(now < since + most for _, _, _, since in heap.items(self.idle)):
            return  # as above
        left = sorted(resting(self.idle), key=lambda idle: (idle.since, *idle[1:3]))
        while len(left) > self.limits.min_idle and now >= left[0].since + most:
            self.close(left.pop(0).entry, "rested")
        self.idle = at_rest(self.limits, left)

    def report_leaks(self, now: float) -> None:
        """Each connection held for `leak_after`, once."""
        leak_after = self.limits.leak_after
        if leak_after is None:
            return
        for key, lease in by_key(self.in_use):
            if not lease.leaked and now >= lease.checked_out + leak_after:
                self.in_use = self.in_use.set(key, lease._replace(leaked=True))
                self.io.append(Leaked(lease.ticket, key, lease.owner, now - lease.checked_out))

    def arrange(self) -> None:
        """Sort the idle by the order in force, and close those above `max_size`, those
        that would be lent last first."""
        ordered = sorted(
            idle._replace(order=idle_order(self, idle.entry, idle.seq))
            for idle in resting(self.idle)
        )
        most = self.limits.max_size
        surplus = 0 if most is None else max(0, self.size() - most)
        for _ in range(min(surplus, len(ordered))):
            self.close(ordered.pop().entry, "surplus")
        self.idle = at_rest(self.limits, ordered)

    # ... or is said by an adapter.

    def forget(self, keys: tuple[int, ...]) -> None:
        """These are not there any more, wherever they were."""
        gone = set(keys)
        kept = [idle for idle in resting(self.idle) if idle.entry.key not in gone]
        self.forgotten += heap.size(self.idle) - len(kept)
        self.idle = at_rest(self.limits, kept)
        for key in gone:
            if key in self.in_use:
                self.forgotten += 1
                self.in_use = self.in_use.delete(key)

    def believe(self, event: Adopt) -> None:
        """These are there, idle or lent, known or new. The order is left to `arrange`."""
        idle = {item.entry.key: item for item in resting(self.idle)}
        self.next_seq = max(self.next_seq, event.next_seq, *(item.seq + 1 for item in event.idle))
        for item in event.idle:
            known = idle.get(item.key) if item.key is not None else None
            entry = self.entry_of(known.entry if known else None, item)
            since = known.since if known else event.now
            idle[entry.key] = Idle(0.0, item.seq, entry, since)
        for put in event.in_use:
            lease = lease_of(self.in_use, put.key) if put.key is not None else None
            entry = self.entry_of(lease.entry if lease else None, put)
            lease = lease or Lease(entry, put.checked_out, 0, None, False)
            changed = lease._replace(entry=entry, checked_out=put.checked_out)
            self.in_use = self.in_use.set(entry.key, changed)
        self.idle = at_rest(self.limits, idle.values())

    def entry_of(self, known: Entry | None, item: AdoptIdle | AdoptLease) -> Entry:
        """The entry that an adapter describes: a known one changed, or a new one."""
        if known:
            return attrs.evolve(known, connection=item.connection, created=item.created)
        self.adopted += 1
        return Entry(self.draw_seq(), item.connection, item.created, 0.0)


def reaches(count: int, most: int | None) -> bool:
    """Whether so many are as many as a limit allows. None: no limit."""
    return most is not None and count >= most


def idle_order(draft: Draft, entry: Entry, seq: int) -> float:
    """How the heap sorts it: the smallest is lent first (ORD-1)."""
    match draft.limits.idle_order:
        case "oldest":
            return entry.created
        case "lifo":
            return -seq
        case "fifo":
            return seq


def expiry(limits: Limits, retire_before: float, entry: Entry, now: float) -> CloseReason | None:
    """Why this entry may not be lent again, if so (AGE-1)."""
    if entry.created < retire_before:
        return "retired"
    if limits.max_lifetime is None:
        return None
    end = expires_at(limits, entry)
    return "lifetime" if end is not None and now >= end else None


def by_key(in_use: Leases) -> list[tuple[int, Lease]]:
    """A map has no order that another language could reproduce."""
    return sorted(leased(in_use).items(), key=lambda item: item[0])
