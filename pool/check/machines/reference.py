"""A second pool, as naive as can be: what `pool.step` is compared with.

Theory.  Two programs written by different roads from one text seldom share a mistake.
This one is read off the prose of `spec/README.md`, sentence by sentence, with plain lists
and dicts that it changes in place, and searches all of them for everything: obvious, not
fast.  What all events share is in `verbs.py`.  Of the pool both know the events, the effects, the
limits and `Failure`, as data; they share no code with what they judge.

`cite` puts the id of a rule next to the line that keeps it, and counts how often the rule
was met, so that a run can say which rules it has exercised.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from pool.check.machines.verbs import Connection, Verbs
from pool.core import events
from pool.core.effects import Effect, Ignored, Leaked


class NotAllowed(Exception):  # not an error: it is how a guard ends a handler
    """A guard failed; its rule and why."""


class Reference(Verbs):
    """The machine of `spec/README.md`, changed in place. Not thread-safe.

    `apply(event)` gives the effects; `view()` is everything there is to compare;
    `cited` counts the rules that were met.
    """

    def ignore(self, rule: str, why: str) -> NoReturn:
        self.cite(rule)
        raise NotAllowed(f"{rule}: {why}")

    def apply(self, event: events.Event) -> tuple[Effect, ...]:
        """Change the model as the event says; the effects, first the wakes, then the Io."""
        self.wakes, self.io = [], []
        name = re.sub(r"(?<!^)([A-Z])", r"_\1", type(event).__name__).lower()
        try:
            served = getattr(self, name)(event)
        except NotAllowed as guard:
            return (Ignored(str(guard)),)
        if not served:
            self.serve(event.now)
        return (*self.wakes, *self.io)

    # ------------------------------------------------------------ section 6: events
    # A handler that gives True has served the queue already, or the rule says "that is all".

    def acquire(self, event: events.Acquire) -> bool:
        ticket = event.ticket
        if ticket < self.next_ticket:
            self.ignore("ACQ-1", "used before")
        self.cite("ACQ-2")
        self.next_ticket = ticket + 1
        self.issued += 1
        if self.phase == "closed":
            self.refuse(ticket, "closed")
            return True
        self.cite("ACQ-3")
        self.start_waiting(ticket, event.owner)
        self.serve(event.now)
        if self.waits(ticket) and not event.wait:
            self.cite("ACQ-4")
            self.send_away(ticket, "exhausted")
        most = self.limits.max_waiting
        if self.waits(ticket) and most is not None and len(self.waiters) > most:
            self.cite("ACQ-5")
            self.send_away(ticket, "too_many_waiting")
        return True

    def opened(self, event: events.Opened) -> None:
        self.count["opened"] += 1
        one = Connection(self.new_seq(), event.connection, event.created, event.jitter)
        if not self.asked_for(event):
            self.cite("OPN-1")
            self.close(one, "unasked")
        elif event.ticket is not None:
            self.cite("OPN-2")
            owner = self.opening_tickets.pop(event.ticket)
            self.last_error = None
            self.grant(event.ticket, owner, one, event.now, fresh=True)
        else:
            self.cite("OPN-3")
            self.opening_background -= 1
            self.failures, self.retry_at, self.last_error = 0, None, None
            if self.phase == "open" and self.waiters and not self.full():
                ticket, owner = self.waiters.pop(0)
                self.grant(ticket, owner, one, event.now, fresh=True)
            else:
                self.cite("OPN-4")
                self.settle(one, event.now)

    def asked_for(self, event: events.Opened | events.OpenFailed) -> bool:
        if event.ticket is None:
            return self.opening_background > 0
        return event.ticket in self.opening_tickets

    def open_failed(self, event: events.OpenFailed) -> None:
        if not self.asked_for(event):
            self.ignore("OPF-1", "not asked for")
        self.last_error = event.error
        if event.ticket is not None:
            self.cite("OPF-2")
            del self.opening_tickets[event.ticket]
            self.refuse(event.ticket, "open_failed")
            return
        self.cite("OPF-3")
        self.opening_background -= 1
        backing_off = self.retry_at is not None and self.retry_at > event.now
        if not backing_off:
            self.failures += 1
            doubled = self.limits.backoff_initial * 2 ** min(self.failures - 1, 60)
            pause = min(self.limits.backoff_max, doubled)
            self.retry_at = event.now + pause * (1 - event.jitter)
        if self.phase == "open" and self.count["opened"] == 0:
            self.cite("OPF-4")
            for ticket, _ in self.waiters:
                self.refuse(ticket, "open_failed")
            self.waiters = []

    def dead(self, event: events.Dead) -> bool:
        ticket = event.ticket
        one = self.lease(ticket, event.key)
        if one is None:
            self.ignore("DEA-1", "not held")
        if ticket == 0:
            self.ignore("DEA-2", "adopted")
        self.cite("DEA-3")
        self.close(one, "dead")
        self.count["dead"] += 1
        if self.phase == "closed":
            self.cite("DEA-4")
            self.refuse(ticket, "closed")
            return True
        self.cite("DEA-5")
        self.start_waiting(ticket, one.owner)
        self.serve(event.now)
        if self.waits(ticket) and not event.wait:
            self.cite("DEA-6")
            self.send_away(ticket, "exhausted")
        return True

    def release(self, event: events.Release) -> None:
        one = self.lease(event.ticket, event.key)
        if one is None:
            self.ignore("REL-1", "not held")
        if not event.reusable:
            self.cite("REL-2")
            self.close(one, "not_reusable")
        else:
            self.cite("REL-3")
            self.settle(one, event.now)

    def discard(self, event: events.Discard) -> None:
        one = self.lease(event.ticket, event.key)
        if one is None:
            self.ignore("DIS-1", "not held")
        self.cite("DIS-2")
        self.close(one, "discarded")

    def expire(self, event: events.Expire) -> None:
        if not self.waits(event.ticket):
            self.ignore("EXP-1", "does not wait")
        self.cite("EXP-2")
        self.send_away(event.ticket, "timeout")

    def cancel(self, event: events.Cancel) -> None:
        ticket = event.ticket
        own = [one for one in self.in_use if one.ticket == ticket and ticket != 0]
        if self.waits(ticket):
            self.cite("CAN-2")
            self.stop_waiting(ticket)
            self.count["cancelled"] += 1
        elif ticket in self.opening_tickets:
            self.cite("CAN-3")
            del self.opening_tickets[ticket]
            self.count["cancelled"] += 1
        elif own:
            self.cite("CAN-4")
            self.settle(own[0], event.now)
        else:
            self.ignore("CAN-1", "neither waits, nor opens, nor holds")

    def close_idle(self, event: events.CloseIdle) -> None:
        self.cite("CLI-1")
        self.close_all_idle("close_idle")

    def close_stale(self, event: events.CloseStale) -> None:
        self.cite("CST-1")
        for one in self.leases():
            if one.checked_out < event.before:
                self.close(one, "stale")

    def close_all(self, event: events.CloseAll) -> None:
        self.cite("CAL-1")
        self.close_all_idle("close_all")
        self.cite("CAL-2")
        for one in self.leases():
            self.close(one, "close_all")

    def retire(self, event: events.Retire) -> None:
        if self.phase == "closed":
            self.ignore("RET-1", "closed")
        self.cite("RET-2")
        self.retire_before = max(self.retire_before, event.now)
        self.close_expired_idle(event.now)

    def tick(self, event: events.Tick) -> None:
        now = event.now
        self.cite("TIC-1")
        self.close_expired_idle(now)
        max_idle = self.limits.max_idle
        while max_idle is not None and len(self.idle) > self.limits.min_idle:
            self.cite("TIC-2")
            longest = min(self.idle, key=lambda one: (one.since, one.seq, one.key))
            if now < longest.since + max_idle:
                break
            self.close(longest, "rested")
        leak_after = self.limits.leak_after
        for one in self.leases() if leak_after is not None else []:
            self.cite("TIC-3")
            if not one.leaked and now >= one.checked_out + (leak_after or 0):
                one.leaked = True
                self.io.append(Leaked(one.ticket, one.key, one.owner, now - one.checked_out))

    def configure(self, event: events.Configure) -> None:
        if self.phase == "closed":
            self.ignore("CFG-1", "closed")
        if event.limits.opener != self.limits.opener:
            self.ignore("CFG-2", "another opener")
        self.cite("CFG-3")
        self.limits = event.limits  # `order` is computed where it is asked for
        self.trim()

    def suspend(self, event: events.Suspend) -> None:
        if self.phase != "open":
            self.ignore("SUS-1", "not open")
        self.cite("SUS-2")
        self.phase = "suspended"

    def resume(self, event: events.Resume) -> None:
        if self.phase != "suspended":
            self.ignore("RES-1", "not suspended")
        self.cite("RES-2")
        self.phase = "open"

    def shutdown(self, event: events.Shutdown) -> None:
        if self.phase == "closed":
            self.ignore("SHU-1", "closed")
        self.cite("SHU-2")
        self.phase = "closed"
        self.cite("SHU-3")
        self.refuse_all("closed")
        self.cite("SHU-4")
        self.close_all_idle("closed")

    def forked(self, event: events.Forked) -> None:
        self.cite("FRK-1")
        self.refuse_all("forked")
        self.cite("FRK-2")
        self.count["forgotten"] += len(self.idle) + len(self.in_use)
        self.idle, self.in_use = [], []
        self.opening_background = self.failures = 0
        self.retry_at = self.last_error = None
        self.retire_before = 0.0

    def adopt(self, event: events.Adopt) -> None:
        if self.phase == "closed":
            self.ignore("ADO-1", "closed")
        for key in event.removed:
            self.cite("ADO-2")
            for place in (self.idle, self.in_use):
                for one in [one for one in place if one.key == key]:
                    place.remove(one)
                    self.count["forgotten"] += 1
        self.next_seq = max([self.next_seq, event.next_seq, *(put.seq + 1 for put in event.idle)])
        for put in event.idle:
            self.cite("ADO-3")
            one = self.known_or_new(self.idle, put, event.now)
            one.seq = put.seq
        for lent in event.in_use:
            self.cite("ADO-4")
            one = self.known_or_new(self.in_use, lent, event.now)
            one.checked_out = lent.checked_out
        self.cite("ADO-5")
        self.trim()

    def known_or_new(
        self, place: list[Connection], put: events.AdoptIdle | events.AdoptLease, now: float
    ) -> Connection:
        """The connection of that key in that place, changed; else a new one put there."""
        for one in place:
            if one.key == put.key:
                one.connection, one.created = put.connection, put.created
                return one
        self.count["adopted"] += 1
        one = Connection(self.new_seq(), put.connection, put.created, jitter=0.0, since=now)
        place.append(one)
        return one

    # ------------------------------------------------------------ section 7

    def wake_at(self) -> float | None:
        """When to send a `Tick`; None: never."""
        self.cite("WAK-1")
        limits = self.limits
        times = []
        for one in self.idle:
            if one.created < self.retire_before:
                times.append(0.0)
            if limits.max_lifetime is not None:
                times.append(one.created + limits.max_lifetime * (1 - one.jitter))
            if limits.max_idle is not None and len(self.idle) > limits.min_idle:
                times.append(one.since + limits.max_idle)
        for one in self.in_use:
            if limits.leak_after is not None and not one.leaked:
                times.append(one.checked_out + limits.leak_after)
        if self.phase == "open" and self.retry_at is not None:
            times.append(self.retry_at)
        return min(times, default=None)

    def view(self) -> dict[str, Any]:
        """Every field of the state in plain lists and dicts, the idle in lending order."""
        return {
            "limits": self.limits,
            "phase": self.phase,
            "idle": [
                (self.order(one), one.seq, one.key, *self.entry(one), one.since)
                for one in self.as_lent()
            ],
            "in_use": {
                one.key: (*self.entry(one), one.checked_out, one.ticket, one.owner, one.leaked)
                for one in self.in_use
            },
            "waiters": list(self.waiters),
            "opening_tickets": dict(self.opening_tickets),
            "opening_background": self.opening_background,
            "failures": self.failures,
            "retry_at": self.retry_at,
            "last_error": self.last_error,
            "retire_before": self.retire_before,
            "next_seq": self.next_seq,
            "next_ticket": self.next_ticket,
            "issued": self.issued,
            "granted": self.granted,
            **self.count,
        }

    def entry(self, one: Connection) -> tuple[Any, float, float]:
        return one.connection, one.created, one.jitter
