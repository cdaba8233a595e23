"""What the rules of the reference model are written in: sections 3 to 5 of `spec/README.md`.

Theory.  See `reference.py`, which has sections 6 and 7.  Plain lists and dicts, changed in place
and searched for everything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from pool.core.effects import Close, CloseReason, Effect, Grant, Open, Refuse, RefuseReason
from pool.core.limits import Limits
from pool.core.state import Failure


@dataclass(eq=False)
class Connection:
    """A connection, and what is to be known of it while it rests and while it is held."""

    key: int
    connection: Any
    created: float
    jitter: float
    since: float = 0.0
    seq: int = 0
    checked_out: float = 0.0
    ticket: int = 0
    owner: Any = None
    leaked: bool = False


class Verbs:
    """A pool that is changed in place, and what rules do with it."""

    def __init__(self, limits: Limits) -> None:
        self.cited: Counter[str] = Counter()
        self.wakes: list[Effect] = []
        self.io: list[Effect] = []
        self.cite("INI-1")
        self.limits = limits
        self.phase = "open"
        self.idle: list[Connection] = []
        self.in_use: list[Connection] = []
        self.waiters: list[tuple[int, Any]] = []
        self.opening_tickets: dict[int, Any] = {}
        self.opening_background = 0
        self.failures = 0
        self.retry_at: float | None = 0.0 if limits.min_idle > 0 else None
        self.last_error: Failure | None = None
        self.retire_before = 0.0
        self.next_seq = 1
        self.next_ticket = 1
        self.issued = 0
        self.granted = 0
        self.count = dict.fromkeys(
            ("opened", "adopted", "closed", "forgotten", "refused", "cancelled", "dead"), 0
        )

    def cite(self, rule: str) -> None:
        self.cited[rule] += 1

    # ------------------------------------------------------------ section 3: derived

    def opening(self) -> int:
        return len(self.opening_tickets) + self.opening_background

    def size(self) -> int:
        return len(self.idle) + len(self.in_use) + self.opening()

    def full(self) -> bool:
        return self.limits.max_size is not None and self.size() >= self.limits.max_size

    def order(self, one: Connection) -> float:
        self.cite("ORD-1")
        return {"oldest": one.created, "lifo": -one.seq, "fifo": one.seq}[self.limits.idle_order]

    def as_lent(self) -> list[Connection]:
        return sorted(self.idle, key=lambda one: (self.order(one), one.seq, one.key))

    def expired(self, one: Connection, now: float) -> CloseReason | None:
        self.cite("AGE-1")
        if one.created < self.retire_before:
            return "retired"
        lifetime = self.limits.max_lifetime
        if lifetime is not None and now >= one.created + lifetime * (1 - one.jitter):
            return "lifetime"
        return None

    def new_seq(self) -> int:
        self.next_seq += 1
        return self.next_seq - 1

    def take(self, one: Connection) -> None:
        """From where it is, if it is anywhere."""
        for place in (self.idle, self.in_use):
            if one in place:
                place.remove(one)

    # ------------------------------------------------------------ section 4: effects

    def grant(self, ticket: int, owner: Any, one: Connection, now: float, fresh: bool) -> None:
        self.take(one)
        rested = None if fresh else now - one.since
        one.checked_out, one.ticket, one.owner, one.leaked = now, ticket, owner, False
        self.in_use.append(one)
        self.granted += 1
        self.wakes.append(Grant(ticket, one.key, one.connection, rested))

    def refuse(self, ticket: int, reason: RefuseReason) -> None:
        self.count["refused"] += 1
        self.wakes.append(Refuse(ticket, reason, self.last_error))

    def close(self, one: Connection, reason: CloseReason) -> None:
        self.take(one)
        self.count["closed"] += 1
        self.io.append(Close(one.key, one.connection, reason))

    # ------------------------------------------------------------ section 5: shared

    def serve(self, now: float) -> None:
        if self.phase != "open":
            self.cite("SRV-1")
            return
        while self.waiters and self.idle:
            self.cite("SRV-2")
            first = self.as_lent()[0]
            reason = self.expired(first, now)
            if reason:
                self.close(first, reason)
            else:
                ticket, owner = self.waiters.pop(0)
                self.grant(ticket, owner, first, now, fresh=False)
        if self.limits.opener == "caller":
            while self.waiters and self.room_for_one():
                self.cite("SRV-3")
                ticket, owner = self.waiters.pop(0)
                self.opening_tickets[ticket] = owner
                self.wakes.append(Open(ticket))
        else:
            self.cite("SRV-4")
            if self.retry_at is not None and now < self.retry_at:
                return
            self.retry_at = None
            short = max(0, self.limits.min_idle - len(self.idle))
            while self.opening_background < len(self.waiters) + short and self.room_for_one():
                self.opening_background += 1
                self.io.append(Open(None))

    def room_for_one(self) -> bool:
        self.cite("SRV-5")
        if self.full():
            return False
        most = self.limits.max_connecting
        if most is not None and self.opening() >= most:
            return False
        binds = self.limits.max_opening is not None and (self.idle or self.in_use)
        return not binds or self.opening() < (self.limits.max_opening or 0)

    def settle(self, one: Connection, now: float) -> None:
        self.cite("SET-1")
        self.take(one)
        if self.phase == "closed":
            self.close(one, "closed")
        elif reason := self.expired(one, now):
            self.close(one, reason)
        elif self.full():
            self.close(one, "surplus")
        else:
            one.since = now
            one.seq = self.new_seq()
            self.idle.append(one)

    def send_away(self, ticket: int, reason: RefuseReason) -> None:
        self.cite("AWY-1")
        self.stop_waiting(ticket)
        if self.phase == "suspended" and reason in ("exhausted", "timeout"):
            reason = "suspended"
        self.refuse(ticket, reason)

    # ------------------------------------------------------------ small words of section 6

    def waits(self, ticket: int) -> bool:
        return ticket in [one for one, _ in self.waiters]

    def start_waiting(self, ticket: int, owner: Any) -> None:
        self.waiters.append((ticket, owner))
        self.waiters.sort(key=lambda one: one[0])

    def stop_waiting(self, ticket: int) -> None:
        self.waiters = [one for one in self.waiters if one[0] != ticket]

    def lease(self, ticket: int, key: int) -> Connection | None:
        """The connection of this key, if it is in use by this ticket."""
        for one in self.in_use:
            if one.key == key and one.ticket == ticket:
                return one
        return None

    def leases(self) -> list[Connection]:
        return sorted(self.in_use, key=lambda one: one.key)

    def refuse_all(self, reason: RefuseReason) -> None:
        for ticket in sorted([*(one for one, _ in self.waiters), *self.opening_tickets]):
            self.refuse(ticket, reason)
        self.waiters = []
        self.opening_tickets = {}

    def close_all_idle(self, reason: CloseReason) -> None:
        for one in self.as_lent():
            self.close(one, reason)

    def close_expired_idle(self, now: float) -> None:
        self.cite("RET-3")
        for one in self.as_lent():
            reason = self.expired(one, now)
            if reason:
                self.close(one, reason)

    def trim(self) -> None:
        self.cite("CFG-4")
        while self.limits.max_size is not None and self.size() > self.limits.max_size and self.idle:
            last = self.as_lent()[-1]
            self.close(last, "surplus")
